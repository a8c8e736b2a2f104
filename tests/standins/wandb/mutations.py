"""What the stand-in's mutations do to its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.standins.wandb.records import Artifact, Collection, Manifest, Run, new_id

if TYPE_CHECKING:
    from tests.standins.wandb.server import WandbStandIn

_RUN_FIELDS = {
    "groupName": "group",
    "jobType": "jobType",
    "config": "config",
    "tags": "tags",
    "displayName": "displayName",
    "description": "description",
    "notes": "notes",
    "commit": "commit",
    "summaryMetrics": "summaryMetrics",
}


class Mutations:
    """Resolvers of `Mutation`; arguments and results are those of `schema.graphql`."""

    def __init__(self, server: WandbStandIn):
        self.server = server

    def upsertBucket(self, _info, input) -> dict:
        inserted = False
        if input.get("id"):
            run = self._run_of_id(input["id"])
        else:
            project = self.server.project(input["modelName"], input.get("entityName"))
            run = project.all_runs.get(input["name"])
            inserted = run is None
        if inserted:
            run = project.all_runs[input["name"]] = Run(input["name"], project)
        for name, attribute in _RUN_FIELDS.items():
            if input.get(name) is not None:
                setattr(run, attribute, input[name])
        if not input.get("id"):
            run.state = input.get("state") or "running"
        return {"bucket": run, "inserted": inserted, "serverSettings": {"serverMessages": []}}

    def createRunFiles(self, _info, input) -> dict:
        run = self._run(input)
        place = f"{self.server.url}/storage/runs/{run.project.name}/{run.name}/"
        return {
            "runID": run.id,
            "uploadHeaders": [],
            "files": [
                {"id": new_id("File"), "name": name, "uploadUrl": place + name}
                for name in input["files"]
            ],
        }

    def createArtifact(self, _info, input) -> dict:
        project = self.server.project(input["projectName"], input["entityName"])
        name, kind = input["artifactCollectionName"], input["artifactTypeName"]
        collection = project.collections.setdefault(name, Collection(name, kind, project))
        if collection.type != kind:
            raise ValueError(f"collection {name} is of type {collection.type}, received {kind}")
        aliases = [alias["alias"] for alias in input.get("aliases") or ()]
        for version in collection.versions:
            if version.digest == input["digest"] and version.state == "COMMITTED":
                for alias in aliases:
                    collection.alias_of[alias] = version
                self._output(self._run(input), version)
                return {"artifact": version}
        artifact = Artifact(
            collection,
            input["digest"],
            self._run(input),
            metadata=input.get("metadata"),
            description=input.get("description"),
            wanted_aliases=aliases,
        )
        collection.versions.append(artifact)
        self.server.artifacts[artifact.id] = artifact
        return {"artifact": artifact}

    def createArtifactManifest(self, _info, input) -> dict:
        artifact = self.server.artifacts[input["artifactID"]]
        place = f"{self.server.url}/storage/manifests/"
        artifact.manifests.append(Manifest(artifact, input["digest"], place))
        return {"artifactManifest": artifact.manifests[-1]}

    def updateArtifactManifest(self, _info, input) -> dict:
        for artifact in self.server.artifacts.values():
            for manifest in artifact.manifests:
                if manifest.id == input["artifactManifestID"]:
                    manifest.digest = input.get("digest") or manifest.digest
                    return {"artifactManifest": manifest}
        raise ValueError(f"no manifest {input['artifactManifestID']}")

    def createArtifactFiles(self, _info, input) -> dict:
        edges = []
        for wanted in input["artifactFiles"]:
            artifact = self.server.artifacts[wanted["artifactID"]]
            place = f"{self.server.url}/storage/artifacts/{artifact.id}/{wanted['name']}"
            edges.append(
                {
                    "node": {
                        "id": new_id("File"),
                        "name": wanted["name"],
                        "storagePath": f"artifacts/{artifact.id}/{wanted['name']}",
                        "uploadUrl": place,
                        "uploadHeaders": [],
                        "uploadMultipartUrls": None,
                        "artifact": artifact,
                    }
                }
            )
        return {"files": {"edges": edges}}

    def commitArtifact(self, _info, input) -> dict:
        artifact = self.server.artifacts[input["artifactID"]]
        if not artifact.manifests or not artifact.manifests[-1].content:
            raise ValueError("an artifact without a manifest cannot be committed")
        collection = artifact.artifactSequence
        if artifact.state != "COMMITTED":
            numbers = [v.versionIndex for v in collection.versions if v.versionIndex is not None]
            artifact.versionIndex = max(numbers, default=-1) + 1
            artifact.state = "COMMITTED"
            artifact.fileCount = len(artifact.manifest["contents"])
            for alias in {*artifact.wanted_aliases, "latest"}:
                collection.alias_of[alias] = artifact
        self._output(artifact.createdBy, artifact)
        return {"artifact": artifact}

    def useArtifact(self, _info, input) -> dict:
        artifact = self.server.artifacts[input["artifactID"]]
        run = self._run(input)
        if artifact not in run.inputs:
            run.inputs.append(artifact)
            artifact.users.append(run)
        return {"artifact": artifact}

    def _run_of_id(self, id: str) -> Run:
        for project in self.server.projects.values():
            for run in project.all_runs.values():
                if run.id == id:
                    return run
        raise ValueError(f"no run of id {id}")

    def _run(self, input) -> Run:
        project = self.server.project(input["projectName"], input["entityName"])
        if input["runName"] not in project.all_runs:
            raise ValueError(f"no run {input['runName']}")
        return project.all_runs[input["runName"]]

    @staticmethod
    def _output(run: Run, artifact: Artifact) -> None:
        if artifact not in run.outputs:
            run.outputs.append(artifact)
