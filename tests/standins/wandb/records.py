"""What the stand-in holds: projects, runs, artifact collections and versions.

Field names are those of `schema.graphql`; methods answer its fields that take arguments.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

NOW = "2026-01-01T00:00:00"
_ids = itertools.count(1)


def new_id(kind: str) -> str:
    return f"{kind}:{next(_ids)}"


@dataclass
class Entity:
    name: str
    id: str = field(default_factory=lambda: new_id("Entity"))


@dataclass
class User:
    entity: str
    id: str = field(default_factory=lambda: new_id("User"))
    flags: str = "{}"
    email: str = "tester@example.com"
    admin: bool = False

    @property
    def name(self) -> str:
        return self.entity

    username = name

    @property
    def teams(self) -> dict:
        return {"edges": [{"node": Entity(self.entity)}]}


@dataclass
class Project:
    name: str
    entity: Entity
    user: User
    id: str = field(default_factory=lambda: new_id("Project"))
    readOnly: bool = False
    all_runs: dict[str, Run] = field(default_factory=dict)
    collections: dict[str, Collection] = field(default_factory=dict)

    @property
    def internalId(self) -> str:
        return self.id.removeprefix("Project:")

    @property
    def entityName(self) -> str:
        return self.entity.name

    def bucket(self, _info, name=None, missingOk=False) -> Run | None:
        return self.all_runs.get(name)

    run = bucket

    def _matching(self, filters) -> list[Run]:
        wanted = json.loads(filters or "{}")
        if unknown := set(wanted) - {"group", "jobType", "state"}:
            raise ValueError(f"the stand-in filters no runs by {sorted(unknown)}")
        runs = self.all_runs.values()
        return [r for r in runs if all(getattr(r, k) == v for k, v in wanted.items())]

    def runCount(self, _info, filters=None) -> int:
        return len(self._matching(filters))

    def runs(self, _info, filters=None, after=None, first=50, order=None) -> dict:
        return page(self._matching(filters), after, first)

    def artifactType(self, _info, name) -> dict:
        return {"name": name}

    def find(self, name: str) -> Artifact | None:
        """The committed version that `collection:version or alias` names; `latest` by default."""
        collection, _, alias = name.partition(":")
        found = self.collections.get(collection)
        return found.by_alias(alias or "latest") if found else None

    def artifact(self, _info, name) -> Artifact | None:
        return self.find(name)

    def artifactCollectionMembership(self, _info, name) -> dict | None:
        if (found := self.find(name)) is None:
            return None
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": new_id("Membership"),
            "versionIndex": found.versionIndex,
            "aliases": found.aliases,
            "createdAt": found.createdAt,
            "artifactCollection": found.artifactSequence,
            "artifact": found,
        }


@dataclass
class Run:
    name: str
    project: Project
    id: str = field(default_factory=lambda: new_id("Run"))
    displayName: str | None = None
    description: str | None = None
    notes: str | None = None
    config: str = "{}"
    summaryMetrics: str = "{}"
    systemMetrics: str = "{}"
    state: str = "running"
    group: str | None = None
    jobType: str | None = None
    tags: list[str] = field(default_factory=list)
    commit: str | None = None
    sweepName: str | None = None
    readOnly: bool = False
    createdAt: str = NOW
    heartbeatAt: str = NOW
    historyKeys: dict | None = None
    logLineCount: int = 0
    eventsLineCount: int = 0
    eventsTail: str = "[]"
    history: list[str] = field(default_factory=list)
    inputs: list[Artifact] = field(default_factory=list)
    outputs: list[Artifact] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def projectId(self) -> str:
        return self.project.internalId

    @property
    def user(self) -> User:
        return self.project.user

    @property
    def historyLineCount(self) -> int:
        return len(self.history)

    @property
    def historyTail(self) -> str:
        return json.dumps(self.history[-1:])

    def wandbConfig(self, _info, keys=None) -> str:
        return json.dumps({"t": {}})

    def inputArtifacts(self, _info, after=None, first=100) -> dict:
        return page(self.inputs, after, first)

    def outputArtifacts(self, _info, after=None, first=100) -> dict:
        return page(self.outputs, after, first)

    def settings(self) -> dict:
        """The config as the user gave it."""
        return {
            key: item["value"] for key, item in json.loads(self.config).items() if key != "_wandb"
        }


@dataclass
class Collection:
    """An artifact sequence: the versions under one name, all of one type."""

    name: str
    type: str
    project: Project
    id: str = field(default_factory=lambda: new_id("ArtifactSequence"))
    versions: list[Artifact] = field(default_factory=list)
    alias_of: dict[str, Artifact] = field(default_factory=dict)

    def by_alias(self, alias: str) -> Artifact | None:
        committed = (v for v in self.versions if v.state == "COMMITTED")
        if (found := self.alias_of.get(alias)) is not None:
            return found
        return next((v for v in committed if f"v{v.versionIndex}" == alias), None)

    @property
    def latestArtifact(self) -> Artifact | None:
        return self.alias_of.get("latest")


@dataclass
class Artifact:
    artifactSequence: Collection
    digest: str
    createdBy: Run
    metadata: str | None = None
    description: str | None = None
    wanted_aliases: list[str] = field(default_factory=list)
    id: str = field(default_factory=lambda: new_id("Artifact"))
    state: str = "PENDING"
    versionIndex: int | None = None
    users: list[Run] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    historyStep: int | None = None
    ttlDurationSeconds: int = -2
    ttlIsInherited: bool = True
    tags: tuple = ()
    size: int = 0
    fileCount: int = 0
    createdAt: str = NOW
    updatedAt: str = NOW

    @property
    def commitHash(self) -> str:
        return self.id

    @property
    def artifactType(self) -> dict:
        return {"name": self.artifactSequence.type}

    @property
    def aliases(self) -> list[dict]:
        named = self.artifactSequence.alias_of.items()
        return [
            {"id": new_id("Alias"), "alias": alias, "artifactCollection": self.artifactSequence}
            for alias, version in named
            if version is self
        ]

    @property
    def currentManifest(self) -> Manifest | None:
        return self.manifests[-1] if self.manifests else None

    @property
    def usedBy(self) -> dict:
        return {"edges": [{"node": run} for run in self.users]}

    @property
    def manifest(self) -> dict:
        """The manifest's content: what the client uploaded."""
        return json.loads(self.currentManifest.content)


@dataclass
class Manifest:
    artifact: Artifact
    digest: str
    url: str
    id: str = field(default_factory=lambda: new_id("Manifest"))
    content: bytes = b""

    @property
    def file(self) -> dict:
        return {
            "id": new_id("File"),
            "name": "wandb_manifest.json",
            "directUrl": self.url + self.id,
            "uploadUrl": self.url + self.id,
            "uploadHeaders": [],
        }


def page(items: list, after: str | None, first: int | None) -> dict:
    """One page of a connection."""
    start = int(after or 0)
    end = start + (first or 50)
    return {
        "totalCount": len(items),
        "edges": [
            {"node": item, "cursor": str(start + n + 1)} for n, item in enumerate(items[start:end])
        ],
        "pageInfo": {"endCursor": str(min(end, len(items))), "hasNextPage": end < len(items)},
    }
