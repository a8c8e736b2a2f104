"""Names of executions and artifacts in Weights & Biases, within its limits."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from typing import Any

from models.tracking.run_id import training_run_id
from pipeline.metadata.graph import Artifact, Edge, Execution, Graph, Id

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
    """Names of the executions and artifacts of one store.

    Args:
        store: Identity of the store.
    """

    def __init__(self, store: str):
        self.store = store
        self._short = store[:8]

    @property
    def run_prefix(self) -> str:
        """Prefix of the ids of all runs that the mirror creates."""
        return f"mlmd-{self._short}-"

    def run_id(self, execution: Execution, graph: Graph) -> str:
        """Returns the id of an execution's run: the Trainer's own, else from store, id and name."""
        return self._training_run_id(execution, graph) or (
            f"{self.run_prefix}{sanitize(str(execution.id), 40)}-{digest(execution.name)[:8]}"
        )

    def imported_run_id(self, artifact: Artifact) -> str:
        """Returns the id of the run that logs an artifact without a producer."""
        return (
            f"{self.run_prefix}outside-{sanitize(str(artifact.id), 40)}-{digest(artifact.uri)[:8]}"
        )

    def alias(self, artifact: Artifact) -> str:
        """Returns the alias of an artifact's version, with its id in the store.

        The alias includes a digest, because copies of a store share their identity and later assign
        the same ids to different artifacts.
        """
        _, identity = self.identity(artifact)
        return f"mlmd-{self._short}-{sanitize(str(artifact.id), 60)}-{identity[:8]}"

    def collection(self, artifact: Artifact, producer: Execution | None, key: str) -> str:
        """Returns `<pipeline>.<node>.<output key>`, or `outside.<type>` without a producer."""
        if producer is None:
            return sanitize(f"outside.{artifact.type}", _NAME_LENGTH)
        return sanitize(f"{producer.pipeline or 'none'}.{producer.node}.{key}", _NAME_LENGTH)

    def identity(self, artifact: Artifact) -> tuple[str, str]:
        """Returns a unique URI of an artifact and a digest of its record in the store.

        W&B merges artifacts of equal content into one version: this entry keeps them apart.
        """
        facts = [self.store, artifact.id, artifact.type, artifact.uri, artifact.created]
        return f"mlmd://{self.store}/artifacts/{artifact.id}", digest(json.dumps(facts))

    @staticmethod
    def _training_run_id(execution: Execution, graph: Graph) -> str | None:
        uris = [
            graph.artifacts[edge.artifact].uri
            for edge in graph.made(execution)
            if graph.artifacts[edge.artifact].type == "ModelRun"
        ]
        try:
            settings = json.loads(str(execution.properties.get("custom_config", "")))
            return training_run_id(settings["store"], uris[0])
        except (ValueError, TypeError, KeyError, IndexError):
            return None


def artifact_type(artifact: Artifact) -> str:
    """Returns the W&B type of an artifact."""
    if artifact.type in _TYPES:
        return _TYPES[artifact.type]
    # The class name in snake case; the prefix avoids types that W&B reserves.
    return "mlmd_" + sanitize(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", artifact.type).lower(), 60)


def tags(execution: Execution) -> frozenset[str]:
    """Returns the tags of an execution's run: pipeline and state."""
    return frozenset(tag[:_TAG_LENGTH] for tag in (execution.pipeline, execution.state) if tag)


def facts_digest(facts: dict[str, Any]) -> str:
    """Returns a digest of facts, to compare them: W&B's server may change the form of values."""
    return digest(json.dumps(facts, sort_keys=True, default=str))[:16]


def metadata(artifact: Artifact, alias: str) -> dict[str, Any]:
    """Returns the metadata of an artifact's version."""
    facts: dict[str, Any] = {
        "mlmd_id": artifact.id,
        "mlmd_type": artifact.type,
        "alias": alias,
        "uri": artifact.uri,
        "state": artifact.state,
        "created": artifact.created,
        "fingerprint": fingerprint(artifact),
    }
    properties = sorted(artifact.properties.items())[: _MAX_KEYS - len(facts)]
    return facts | {f"property.{name}": to_json(value) for name, value in properties}


def fingerprint(artifact: Artifact) -> str:
    """Returns the recorded digest of the content, else a digest of the artifact's record."""
    for name in ("fingerprint", "sha256", "input_fingerprint"):
        if value := artifact.properties.get(name):
            return digest(str(value)) if name == "input_fingerprint" else str(value)
    facts = [artifact.type, artifact.uri, artifact.created, artifact.properties]
    return digest(json.dumps(facts, sort_keys=True, default=str))


def edges_by_key(edges: tuple[Edge, ...], name: Callable[[Id], str]) -> dict[str, list[str]]:
    """Returns the names of the artifacts by key, sorted because stores do not order edges."""
    found: dict[str, list[str]] = {}
    for edge in edges:
        found.setdefault(edge.key, []).append(name(edge.artifact))
    return {key: sorted(names) for key, names in found.items()}


def to_json(value: Any) -> Any:
    """Converts a value to JSON for W&B: finite numbers, strings of a bounded length."""
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str) and len(value) > _TEXT_LENGTH:
        return f"{value[:_TEXT_LENGTH]}… ({len(value):,} characters)"
    return value


def sanitize(text: str, length: int) -> str:
    """Limits `text` to W&B's characters and a length; a changed text gets a digest appended."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "-", text)
    if cleaned == text and len(text) <= length:
        return text
    return f"{cleaned[: length - 9]}-{digest(text)[:8]}"


def digest(text: str) -> str:
    """Returns the SHA-256 digest in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
