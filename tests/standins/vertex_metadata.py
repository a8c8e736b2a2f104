"""Vertex ML Metadata as far as pipelines use it: artifacts, and the filters of resolvers."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import yaml

_TERM = re.compile(r'([\w.]+)=("(?:[^"]*)"|[\w.]+)')
_INPUT = re.compile(r"\{\{\$\.inputs\.artifacts\['([^']+)'\]\.metadata\['([^']+)'\]\}\}")


@dataclasses.dataclass
class Artifact:
    """One artifact, as the service keeps it."""

    name: str
    schema: str
    """The instance schema, YAML."""
    uri: str
    pipeline: str
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    state: str = "PENDING"

    @property
    def title(self) -> str:
        """The type's name, e.g. `tfx.Model`."""
        return yaml.safe_load(self.schema)["title"]

    def runtime(self) -> dict:
        """The RuntimeArtifact that a container gets to see."""
        return {
            "name": self.name,
            "uri": self.uri,
            "type": {"instanceSchema": self.schema},
            "metadata": self.metadata,
        }


class MetadataStore:
    """Artifacts in the order in which they were made."""

    def __init__(self, parent: str):
        self._parent = f"{parent}/metadataStores/default/artifacts"
        self.artifacts: dict[str, Artifact] = {}
        self._made = 0

    def new(self, schema: str, uri: str, pipeline: str) -> Artifact:
        """A pending artifact, with a name that the service gives it."""
        self._made += 1
        name = f"{self._parent}/{4710 + self._made}"
        artifact = Artifact(name, schema, uri, pipeline)
        self.artifacts[name] = artifact
        return artifact

    def forget(self, artifacts) -> None:
        """Drops artifacts that did not come about."""
        for artifact in artifacts:
            del self.artifacts[artifact.name]

    def query(self, filter_text: str, inputs: dict[str, list[Artifact]], pipeline: str):
        """The latest artifact of a pipeline that a resolver's filter finds, or none, in a list.

        Raises:
            ValueError: A filter that is not understood.
        """

        def fill_in(match: re.Match) -> str:
            given = inputs.get(match[1]) or []
            return str(given[0].metadata.get(match[2], "")) if given else ""

        terms = _INPUT.sub(fill_in, filter_text).split(" AND ")
        conditions = []
        for term in terms:
            if not (match := _TERM.fullmatch(term)):
                raise ValueError(f"a filter that this stand-in does not know: {term}")
            conditions.append((match[1], match[2].strip('"')))
        found = [
            artifact
            for artifact in self.artifacts.values()
            if artifact.pipeline == pipeline
            and all(_matches(artifact, field, value) for field, value in conditions)
        ]
        return found[-1:]


def _matches(artifact: Artifact, field: str, value: str) -> bool:
    if field == "schema_title":
        return artifact.title == value
    if field == "state":
        return artifact.state == value
    if field == "name":
        return artifact.name == value
    _, key, kind = field.split(".")  # metadata.<key>.number_value
    held = artifact.metadata.get(key)
    return held is not None and (float(held) == float(value) if kind == "number_value" else False)
