"""`summary.json`, the machine-readable summary of a run; docs/summary.md describes its fields."""

import dataclasses
import json
from typing import Any, NamedTuple

from data.storage import files
from pipeline.artifacts.names import CROSS_VALIDATION_FILE, VERDICT_FILE
from pipeline.config.schema import RunConfig
from pipeline.metadata.graph import Artifact
from pipeline.run.dag_runner import NodeReport
from pipeline.run.ingest import DataSource, Ingested

FORMAT_VERSION = 1


class PushedVersion(NamedTuple):
    """The version that a run pushed."""

    version: int | str
    """Version at the push target; an int if it is a number."""
    destination: str
    """Folder or resource name of the version."""


class Outcome:
    """Reads the results of a run from the output artifacts of its components.

    Args:
        reports: the nodes that have ended.
    """

    def __init__(self, reports: list[NodeReport]):
        self._reports = {report.node_id: report for report in reports}

    @property
    def failure(self) -> NodeReport | None:
        """The component that failed, if any."""
        return next((r for r in self._reports.values() if r.error), None)

    def training(self) -> dict[str, Any] | None:
        """Reads the Trainer's `history.json`; None if the model was not trained."""
        return self._read("Trainer", "model_run", "history.json")

    def quality_verdict(self) -> dict[str, Any] | None:
        """Reads the `verdict.json` of gate 1, with its location as `path`."""
        return self._verdict("QualityGate")

    def serving_verdict(self) -> dict[str, Any] | None:
        """Reads the `verdict.json` of gate 2, with its location as `path`.

        InfraValidator writes no file: `checks` is then empty and `path` None.
        """
        verdict = self._verdict("ServingCheck")
        blessing = self.output("InfraValidator", "blessing")
        if verdict is None and blessing:
            return {"passed": blessing.properties.get("blessed") == 1, "checks": [], "path": None}
        return verdict

    def cross_validation(self) -> dict[str, Any] | None:
        """Reads the `cross_validation.json` of CrossValidation; None without the component."""
        return self._read("CrossValidation", "evaluation", CROSS_VALIDATION_FILE)

    def pushed(self) -> PushedVersion | None:
        """Returns the pushed version; None if nothing was pushed."""
        artifact = self.output("Pusher", "pushed_model")
        if artifact is None or artifact.properties.get("pushed") != 1:
            return None
        version = artifact.properties["pushed_version"]
        return PushedVersion(
            int(version) if version.isdecimal() else version,
            artifact.properties["pushed_destination"],
        )

    def output(self, node_id: str, key: str) -> Artifact | None:
        """Returns the first artifact under an output key of a node; None without one."""
        report = self._reports.get(node_id)
        artifacts = report.execution.outputs.get(key) if report and report.execution else None
        return artifacts[0] if artifacts else None

    def _verdict(self, node_id: str) -> dict[str, Any] | None:
        artifact = self.output(node_id, "blessing")
        verdict = self._read(node_id, "blessing", VERDICT_FILE)
        if artifact is None or verdict is None:
            return None
        return {**verdict, "path": files.join(artifact.uri, VERDICT_FILE)}

    def _read(self, node_id: str, key: str, file: str) -> dict[str, Any] | None:
        """Reads a JSON file in the first artifact under an output key of a node."""
        artifact = self.output(node_id, key)
        if artifact is None:
            return None
        content: dict[str, Any] = json.loads(files.read(files.join(artifact.uri, file)))
        return content


def summarise(
    *,
    run_id: str,
    status: str,
    exit_status: int,
    seconds: float,
    source: DataSource,
    config: RunConfig,
    ingested: Ingested,
    reports: list[NodeReport],
) -> dict[str, Any]:
    """Returns the content of `summary.json`."""
    outcome = Outcome(reports)
    quality = outcome.quality_verdict()
    pushed = outcome.pushed()
    return {
        "format_version": FORMAT_VERSION,
        "run_id": run_id,
        "pipeline": config.name,
        "status": status,
        "exit_status": exit_status,
        "seconds": round(seconds, 1),
        "source": dataclasses.asdict(source),
        "dataset": {
            "path": config.records.path,
            "labels": list(config.records.labels),
            "counts": config.records.counts,
            "discarded": len(ingested.discarded),
            "cached": ingested.cached,
        },
        "components": [
            {
                "name": report.node_id,
                "state": report.state,
                "cached": report.state == "cached",
                "seconds": round(report.seconds, 2),
                "error": str(report.error) if report.error else None,
            }
            for report in reports
        ],
        "training": outcome.training(),
        "evaluation": quality["metrics"] if quality else None,
        "gates": {
            "quality": quality,
            "serving": outcome.serving_verdict(),
        },
        "pushed_version": pushed.version if pushed else None,
        "pushed_path": pushed.destination if pushed else None,
    }
