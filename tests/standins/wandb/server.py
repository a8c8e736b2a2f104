"""A stand-in for Weights & Biases' server: holds runs and artifacts, takes the real client.

It answers the GraphQL operations that `schema.graphql` declares, `file_stream` and file transfers,
and fails on anything else. The key of every request is checked.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import graphql

from tests.standins.http_service import Answer, HttpService, Request, route
from tests.standins.wandb.mutations import Mutations
from tests.standins.wandb.records import Artifact, Entity, Project, Run, User

KEY = "0123456789abcdef0123456789abcdef01234567"
_SCHEMA = Path(__file__).with_name("schema.graphql")


@dataclass(frozen=True)
class Operation:
    """A GraphQL operation that was executed."""

    kind: str
    """`query` or `mutation`."""
    name: str
    variables: dict


class WandbStandIn(HttpService):
    """The server; use it as a context manager and give clients `environment()`.

    Attributes:
        operations: Every GraphQL operation in the order of arrival.
        unknown: What the schema or the routes refused; a test asserts that it is empty.
        before: Called with each `Operation` before it is executed.
    """

    def __init__(self, entity: str = "paws"):
        super().__init__()
        self.user = User(entity)
        self.projects: dict[tuple[str, str], Project] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.operations: list[Operation] = []
        self.unknown: list[str] = []
        self.before: Callable[[Operation], None] = lambda operation: None
        self._schema = graphql.build_schema(_SCHEMA.read_text())
        self._schema.get_type("ArtifactCreator").resolve_type = lambda value, *_: "Run"
        self._schema.get_type("ArtifactCollection").resolve_type = lambda *_: "ArtifactSequence"
        self._state = threading.RLock()
        self._closing = threading.Event()
        self._lost = False
        self.heal()

    def environment(self) -> dict[str, str]:
        """Variables that lead a client here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def project(self, name: str, entity: str | None = None) -> Project:
        """A project, made where it does not exist."""
        key = (entity or self.user.entity, name)
        if key not in self.projects:
            self.projects[key] = Project(name, Entity(key[0]), self.user)
        return self.projects[key]

    def run(self, project: str, name: str) -> Run:
        """A run that exists."""
        return self.project(project).all_runs[name]

    def mutations(self) -> list[str]:
        """Names of the mutations so far."""
        return [op.name for op in self.operations if op.kind == "mutation"]

    @route("POST", r"/graphql")
    def _graphql(self, request: Request) -> Answer:
        anonymous = "authorization" not in request.headers
        body = json.loads(_plain(request))
        # Without a key W&B answers that there is no viewer; everything else needs one.
        if not (anonymous and "viewer" in body["query"]) and (denied := self._denied(request)):
            return denied
        document, problems = self._parsed(body["query"])
        if problems:
            self.unknown += problems
            return Answer({"errors": [{"message": problem} for problem in problems]}, 400)
        [definition] = [
            d for d in document.definitions if isinstance(d, graphql.OperationDefinitionNode)
        ]
        variables = body.get("variables") or {}
        name = definition.name.value if definition.name else "anonymous"
        operation = Operation(definition.operation.value, name, variables)
        self.before(operation)
        with self._state:
            self.operations.append(operation)
            result = graphql.execute_sync(
                self._schema,
                document,
                root_value=_Root(self, anonymous),
                variable_values=variables,
            )
        answer: dict = {"data": result.data}
        if result.errors:
            self.unknown += [f"{name}: {problem.message}" for problem in result.errors]
            answer["errors"] = [{"message": problem.message} for problem in result.errors]
        return Answer(answer)

    @functools.lru_cache(maxsize=100)  # noqa: B019  (a server lives as long as its test)
    def _parsed(self, query: str) -> tuple[graphql.DocumentNode | None, list[str]]:
        try:
            document = graphql.parse(query)
        except graphql.GraphQLError as error:
            return None, [error.message]
        return document, [problem.message for problem in graphql.validate(self._schema, document)]

    @route("POST", r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream")
    def _file_stream(self, request: Request, entity: str, project: str, name: str) -> Answer:
        if denied := self._denied(request):
            return denied
        body = json.loads(_plain(request))
        with self._state:
            run = self.project(project, entity).all_runs.get(name)
            if run is None:
                return Answer({"error": f"no run {name}"}, 404)
            for file, part in body.get("files", {}).items():
                if file == "wandb-summary.json":
                    run.summaryMetrics = part["content"][-1]
                elif file == "wandb-history.jsonl":
                    run.history += part["content"]
            if body.get("complete"):
                run.state = "failed" if body.get("exitcode") else "finished"
        return Answer({"exitcode": body.get("exitcode"), "limits": {}})

    @route("POST", r"/sdk/otel/v1/metrics")
    def _telemetry(self, request: Request) -> Answer:
        """What wandb 0.31 measures of itself: taken and thrown away."""
        return self._denied(request) or Answer({})

    @route("PUT", r"/storage/(.+)")
    def _upload(self, request: Request, place: str) -> Answer:
        kind, _, rest = place.partition("/")
        with self._state:
            if kind == "manifests":
                self._manifest(rest).content = request.body
            elif kind == "runs":
                project, name, file = rest.split("/", 2)
                self.run(project, name).files[file] = request.body
            else:
                artifact, _, file = rest.partition("/")
                self.artifacts[artifact].files[file] = request.body
        return Answer({})

    @route("GET", r"/storage/(.+)")
    def _download(self, request: Request, place: str) -> Answer:
        kind, _, rest = place.partition("/")
        if kind == "manifests":
            return Answer(self._manifest(rest).content)
        artifact, _, file = rest.partition("/")
        return Answer(self.artifacts[artifact].files[file])

    def _manifest(self, number: str):
        manifests = (m for a in self.artifacts.values() for m in a.manifests)
        return next(m for m in manifests if m.id == number)

    def _denied(self, request: Request) -> Answer | None:
        expected = "Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()
        if request.headers.get("authorization") == expected:
            return None
        return Answer({"errors": [{"message": "user is not logged in"}]}, 401)

    def slow(self, seconds: float) -> None:
        """Makes every answer wait so long."""
        self._delay = seconds

    def hang(self, matches: Callable[[Request], bool] = lambda request: True) -> None:
        """From now on requests that match are taken and never answered."""
        self._silent = matches

    def lose(self) -> None:
        """Goes away: open connections end without an answer, new ones are refused."""
        self._lost = True
        self._server.shutdown()
        self._server.server_close()

    def heal(self) -> None:
        """Forgets every fault but `lose`."""
        self._failures.clear()
        self._delay, self._silent = 0.0, lambda request: False

    def __exit__(self, *arguments) -> None:
        self._closing.set()
        if not self._lost:
            super().__exit__(*arguments)

    def _answer(self, request: Request) -> Answer:
        if self._delay:
            time.sleep(self._delay)
        if self._silent(request):
            self._closing.wait()
        answer = super()._answer(request)
        if self._lost:
            raise ConnectionAbortedError
        if answer.status == 404 and b"No such method" in str(answer.content).encode():
            self.unknown.append(f"{request.method} {request.path}")
        return answer


class _Root(Mutations):
    """Resolvers of queries; those of mutations are in the base class."""

    def __init__(self, server: WandbStandIn, anonymous: bool):
        super().__init__(server)
        self._anonymous = anonymous

    def viewer(self, _info) -> User | None:
        return None if self._anonymous else self.server.user

    def serverInfo(self, _info) -> dict:
        return {"features": [{"name": name, "isEnabled": True} for name in _FEATURES]}

    def entity(self, _info, name=None) -> Entity:
        return Entity(name or self.server.user.entity)

    def project(self, _info, name=None, entityName=None) -> Project | None:
        return self.server.projects.get((entityName or self.server.user.entity, name))

    model = project

    def artifact(self, _info, id) -> Artifact | None:
        return self.server.artifacts.get(id)


_FEATURES = (
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
)


def _plain(request: Request) -> bytes:
    if request.headers.get("content-encoding") == "gzip":
        return gzip.decompress(request.body)
    return request.body
