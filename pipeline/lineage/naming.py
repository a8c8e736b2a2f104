"""How executions and artifacts are called in Weights & Biases, within its limits."""

from __future__ import annotations

import hashlib
import json
import math
import re

from models.tracking.run_id import training_run_id
from pipeline.metadata.graph import Artifact, Edge, Execution, Graph

_TYPES = {
    "PhotoSet": "dataset",
    "ImageCsv": "dataset",
    "TFRecords": "dataset",
    "Dataset": "dataset",
    "Examples": "examples",
    "ExampleStatistics": "statistics",
    "ExampleAnomalies": "anomalies",
    "Schema": "schema",
    "TransformGraph": "transform",
    "TransformCache": "transform",
    "Model": "model",
    "ModelRun": "training",
    "ModelEvaluation": "evaluation",
    "ModelBlessing": "blessing",
    "InfraBlessing": "blessing",
    "PushedModel": "pushed_model",
}
_NAME_LENGTH = 128
_TAG_LENGTH = 64
_TEXT_LENGTH = 10_000
_MAX_KEYS = 100


class Naming:
    """Names of everything of one store; `store` is its identity."""

    def __init__(self, store: str):
        self.store = store
        self._short = store[:8]

    @property
    def run_prefix(self) -> str:
        """How the ids of all runs begin that the mirror makes itself."""
        return f"mlmd-{self._short}-"

    def run_id(self, execution: Execution, graph: Graph) -> str:
        """The W&B run of an execution: a Trainer's own, else one made of store, id and name."""
        return self._training_run(execution, graph) or (
            f"{self.run_prefix}{clean(str(execution.id), 40)}-{digest(execution.name)[:8]}"
        )

    def outside_run_id(self, artifact: Artifact) -> str:
        """The W&B run that logs an artifact which no execution made."""
        return f"{self.run_prefix}outside-{clean(str(artifact.id), 40)}-{digest(artifact.uri)[:8]}"

    def alias(self, artifact: Artifact) -> str:
        """The alias that finds an artifact's version by its id in the store.

        With a part of its digest: stores that were copied share their identity, and go on to give
        the same ids to different artifacts.
        """
        _, identity = self.identity(artifact)
        return f"mlmd-{self._short}-{clean(str(artifact.id), 60)}-{identity[:8]}"

    def collection(self, artifact: Artifact, producer: Execution | None, key: str) -> str:
        """`<pipeline>.<node>.<output key>`, or `outside.<type>` for what no execution made."""
        if producer is None:
            return clean(f"outside.{artifact.type}", _NAME_LENGTH)
        return clean(f"{producer.pipeline or 'none'}.{producer.node}.{key}", _NAME_LENGTH)

    def identity(self, artifact: Artifact) -> tuple[str, str]:
        """A URI that is the artifact's alone, and a digest of what the store holds of it.

        W&B takes artifacts of equal content for one version: this entry keeps them apart.
        """
        facts = [self.store, artifact.id, artifact.type, artifact.uri, artifact.created]
        return f"mlmd://{self.store}/artifacts/{artifact.id}", digest(json.dumps(facts))

    @staticmethod
    def _training_run(execution: Execution, graph: Graph) -> str | None:
        uris = [
            graph.artifacts[edge.artifact].uri
            for edge in graph.made(execution)
            if graph.artifacts[edge.artifact].type == "ModelRun"
        ]
        try:
            settings = json.loads(execution.properties.get("custom_config", ""))
            return training_run_id(settings["store"], uris[0])
        except (ValueError, TypeError, KeyError, IndexError):
            return None


def artifact_type(artifact: Artifact) -> str:
    """The W&B type of an artifact."""
    if artifact.type in _TYPES:
        return _TYPES[artifact.type]
    # Words of a class name, with a prefix that no type reserved by W&B has.
    return "mlmd_" + clean(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", artifact.type).lower(), 60)


def tags(execution: Execution) -> frozenset[str]:
    """Tags of an execution's run: pipeline and state."""
    return frozenset(tag[:_TAG_LENGTH] for tag in (execution.pipeline, execution.state) if tag)


def facts_digest(facts: dict) -> str:
    """A digest of facts, whose values may have another form once they went over W&B's server."""
    return digest(json.dumps(facts, sort_keys=True, default=str))[:16]


def metadata(artifact: Artifact, alias: str) -> dict:
    """The metadata of an artifact's version."""
    facts = {
        "mlmd_id": artifact.id,
        "mlmd_type": artifact.type,
        "alias": alias,
        "uri": artifact.uri,
        "state": artifact.state,
        "created": artifact.created,
        "fingerprint": fingerprint(artifact),
    }
    room = _MAX_KEYS - len(facts)
    own = sorted(artifact.properties.items())[:room]
    return facts | {f"property.{name}": plain(value) for name, value in own}


def fingerprint(artifact: Artifact) -> str:
    """The digest that the store recorded of the content; else one of what it says of it."""
    for name in ("fingerprint", "sha256", "input_fingerprint"):
        if value := artifact.properties.get(name):
            return digest(str(value)) if name == "input_fingerprint" else str(value)
    facts = [artifact.type, artifact.uri, artifact.created, artifact.properties]
    return digest(json.dumps(facts, sort_keys=True, default=str))


def edges_by_key(edges: tuple[Edge, ...], name) -> dict[str, list[str]]:
    """{key: [name of each artifact]}, sorted: stores give edges in no order."""
    found: dict[str, list[str]] = {}
    for edge in edges:
        found.setdefault(edge.key, []).append(name(edge.artifact))
    return {key: sorted(names) for key, names in found.items()}


def plain(value):
    """A value that W&B's JSON takes: finite numbers, texts of a bounded length."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str) and len(value) > _TEXT_LENGTH:
        return f"{value[:_TEXT_LENGTH]}… ({len(value):,} characters)"
    return value


def clean(text: str, length: int) -> str:
    """`text` in W&B's alphabet and length; what had to change keeps a digest of the original."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "-", text)
    if cleaned == text and len(text) <= length:
        return text
    return f"{cleaned[: length - 9]}-{digest(text)[:8]}"


def digest(text: str) -> str:
    """Sha256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
