"""`summary.json`: the machine-readable account of a run; its fields are in docs/summary.md."""

import dataclasses
import json

from data.storage import files
from pipeline.artifacts.names import CROSS_VALIDATION_FILE, VERDICT_FILE
from pipeline.config.schema import Config
from pipeline.metadata.reader import ArtifactRecord
from pipeline.run.dag_runner import NodeReport
from pipeline.run.ingest import DataSource, Ingested

FORMAT_VERSION = 1


class Outcome:
    """What a run came to, read from the artifacts of its components."""

    def __init__(self, config: Config, reports: list[NodeReport]):
        self._config = config
        self._reports = {report.node_id: report for report in reports}

    @property
    def failure(self) -> NodeReport | None:
        """The component that failed, if one did."""
        return next((r for r in self._reports.values() if r.error), None)

    def training(self) -> dict | None:
        """The content of the Trainer's `history.json`."""
        artifact = self.output("Trainer", "model_run")
        return (
            json.loads(files.read(files.join(artifact.uri, "history.json"))) if artifact else None
        )

    def quality_verdict(self) -> dict | None:
        """The `verdict.json` of gate 1, and where it lies as `path`."""
        return self._verdict("QualityGate")

    def serving_verdict(self) -> dict | None:
        """The `verdict.json` of gate 2, and where it lies as `path`.

        InfraValidator writes none: then `passed` alone is known, and there are no `checks`.
        """
        verdict = self._verdict("ServingCheck")
        blessing = self.output("InfraValidator", "blessing")
        if verdict is None and blessing:
            return {"passed": blessing.properties.get("blessed") == 1, "checks": [], "path": None}
        return verdict

    def cross_validation(self) -> dict:
        """The content of the `cross_validation.json` that CrossValidation wrote."""
        artifact = self.output("CrossValidation", "evaluation")
        return json.loads(files.read(files.join(artifact.uri, CROSS_VALIDATION_FILE)))

    def pushed(self) -> tuple[int | str, str] | None:
        """Version (a number where it is one) and destination; None when nothing was pushed."""
        artifact = self.output("Pusher", "pushed_model")
        if artifact is None or artifact.properties.get("pushed") != 1:
            return None
        properties = artifact.properties
        version = properties["pushed_version"]
        return int(version) if version.isdecimal() else version, properties["pushed_destination"]

    def _verdict(self, node_id: str) -> dict | None:
        artifact = self.output(node_id, "blessing")
        if artifact is None:
            return None
        path = files.join(artifact.uri, VERDICT_FILE)
        return {**json.loads(files.read(path)), "path": path}

    def output(self, node_id: str, key: str) -> ArtifactRecord | None:
        """The first artifact under an output key of a node."""
        report = self._reports.get(node_id)
        artifacts = report.execution.outputs.get(key) if report and report.execution else None
        return artifacts[0] if artifacts else None


def summarise(
    *,
    run_id: str,
    status: str,
    exit_status: int,
    seconds: float,
    source: DataSource,
    config: Config,
    ingested: Ingested,
    reports: list[NodeReport],
) -> dict:
    """Everything that later work reads about a run, as JSON can hold it."""
    outcome = Outcome(config, reports)
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
        "pushed_version": pushed[0] if pushed else None,
        "pushed_path": pushed[1] if pushed else None,
    }
