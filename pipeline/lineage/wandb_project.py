"""Accesses a Weights & Biases project through its client."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.lineage import naming
from pipeline.lineage.expected import ActualRun, ArtifactVersion, ExpectedRun, RunFields
from pipeline.lineage.summary_image import summary_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.metadata.graph import Artifact

TIMEOUT = 10
"""Time limit of a request in seconds."""
_KEPT_VARIABLES = (
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_ENTITY",
    "WANDB_CACHE_DIR",
    "WANDB_CONFIG_DIR",
)
"""Variables of W&B that the mirror uses; all others belong to other runs."""
_PAYLOAD = "payload"
_SUMMARY = "summary.png"


class WandbError(RuntimeError):
    """W&B is unusable. The message says why."""


def clean_environment() -> None:
    """Removes variables of other W&B runs from this process, and sends local files to TMPDIR."""
    for name in [n for n in os.environ if n.startswith("WANDB_") and n not in _KEPT_VARIABLES]:
        del os.environ[name]
    os.environ["WANDB_SILENT"] = "true"
    # Error reports would go to another server than WANDB_BASE_URL.
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.environ["WANDB_DIR"] = os.environ["WANDB_DATA_DIR"] = tempfile.gettempdir()
    os.environ.setdefault("WANDB_CACHE_DIR", tempfile.gettempdir())


class WandbProject:
    """Writes runs and artifacts to a W&B project and reads them back.

    Args:
        project: Name of the project; the first run creates it.
        entity: User or team; None uses the default of the API key.
        upload: W&B types of the artifacts whose local payloads are uploaded.

    Raises:
        WandbError: The API key is missing or invalid, or the server is unusable.
    """

    def __init__(self, project: str, entity: str | None = None, upload: tuple[str, ...] = ()):
        import wandb

        self.base_url = wandb.setup().settings.base_url
        self.probe()
        self._api = wandb.Api(timeout=TIMEOUT)
        self.project = project
        self.entity = entity or os.environ.get("WANDB_ENTITY") or self._api.default_entity
        self._upload = upload

    def __str__(self) -> str:
        return f"{self.base_url}/{self.entity}/{self.project}"

    def probe(self) -> None:
        """Sends a small request to check that the server is usable.

        Raises:
            WandbError: The API key is missing or invalid, or the server is unusable.
        """
        _probe(self.base_url)

    def read_run(self, run_id: str) -> ActualRun | None:
        """Reads a run from the public API; returns None if it does not exist."""
        import wandb

        self._api.flush()  # clears its cache
        try:
            run = self._api.run(f"{self.entity}/{self.project}/{run_id}")
        except (ValueError, wandb.errors.CommError) as error:
            if "Could not find run" in str(error):
                return None
            raise
        facts = run.config.get("mlmd") or {}
        return ActualRun(
            run.state,
            RunFields(
                run.job_type or None,
                run.group or None,
                frozenset(run.tags or ()),
                facts.get("digest"),
            ),
            _versions(run.used_artifacts()),
            _versions(run.logged_artifacts()),
        )

    def has_version(self, version: ArtifactVersion) -> bool:
        """Returns whether a version exists and is committed."""
        return self._api.artifact_exists(f"{self.entity}/{self.project}/{version}")

    def restart_service(self) -> None:
        """Ends W&B's service process, whose memory grows; the next run restarts it."""
        import wandb

        wandb.teardown()
        self._api = wandb.Api(timeout=TIMEOUT)

    def run_ids(self, prefix: str) -> Iterator[str]:
        """Returns the ids of the project's runs that begin with `prefix`."""
        runs = self._api.runs(f"{self.entity}/{self.project}", per_page=100)
        return (run.id for run in runs if run.id.startswith(prefix))

    def write_run(self, expected: ExpectedRun, names: naming.Naming) -> None:
        """Creates or completes a run with its inputs and outputs.

        Args:
            expected: The run; an existing one is resumed. Its inputs must exist.
            names: Names of the store.
        """
        import wandb

        fields = expected.fields
        run = wandb.init(
            project=self.project,
            entity=self.entity,
            id=expected.run_id,
            resume="allow",
            dir=os.environ["WANDB_DIR"],
            settings=_settings(),
            name=expected.name,
            job_type=fields.job_type,
            group=fields.group,
            tags=sorted(fields.tags),
            config={"mlmd": expected.facts} if expected.facts else None,
        )
        failed = True
        try:
            for version in expected.inputs:
                run.use_artifact(f"{self.entity}/{self.project}/{version}")
            for version, artifact in expected.outputs.items():
                made = self._artifact(version, artifact, names.identity(artifact))
                run.log_artifact(made, aliases=[version.alias]).wait(timeout=6 * TIMEOUT)
            failed = expected.state == "failed"
        finally:
            # Also after an error: otherwise the next `wandb.init` would return this run.
            run.finish(exit_code=int(failed))

    def _artifact(
        self, version: ArtifactVersion, artifact: Artifact, identity: tuple[str, str]
    ) -> Any:
        import wandb
        from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

        kind = naming.artifact_type(artifact)
        made = wandb.Artifact(
            version.collection, type=kind, metadata=naming.metadata(artifact, version.alias)
        )
        # Not `add_reference`, which accesses the storage of the reference.
        uri, digest = identity
        made.manifest.add_entry(ArtifactManifestEntry(path="identity", ref=uri, digest=digest))
        local = Path(artifact.uri.removeprefix("file://"))
        if kind in self._upload and artifact.uri and local.exists():
            add = made.add_dir if local.is_dir() else made.add_file
            add(str(local), name=_PAYLOAD)
        elif artifact.uri:
            reference = artifact.uri if "://" in artifact.uri else f"file://{artifact.uri}"
            made.manifest.add_entry(
                ArtifactManifestEntry(
                    path=_PAYLOAD, ref=reference, digest=naming.fingerprint(artifact)
                )
            )
        if image := summary_image(kind, local):
            with made.new_file(_SUMMARY, mode="wb") as file:
                file.write(image)
        return made


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _versions(artifacts: Iterable[Any]) -> frozenset[ArtifactVersion]:
    """Returns the versions that the mirror created; ignores others, such as W&B's own."""
    return frozenset(
        ArtifactVersion(a.source_name.partition(":")[0], a.metadata["alias"])
        for a in artifacts
        if str(a.metadata.get("alias", "")).startswith("mlmd-")
    )


def _settings() -> Any:
    """Returns new settings: `wandb.init` modifies its argument."""
    import wandb

    retries: dict[str, int] = {}
    for kind in ("graphql", "file_stream", "file_transfer"):
        retries |= {
            f"x_{kind}_retry_max": 3,
            f"x_{kind}_retry_wait_min_seconds": 1,
            f"x_{kind}_retry_wait_max_seconds": 5,
            f"x_{kind}_timeout_seconds": TIMEOUT,
        }
    return wandb.Settings(
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        silent=True,
        init_timeout=3 * TIMEOUT,
        mode="online",  # overrides `wandb offline` in W&B's settings file
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        **retries,
    )


def _probe(base_url: str) -> None:
    """Sends one small request, to fail within seconds and with a reason.

    W&B's client would retry for minutes.
    """
    import requests

    key = os.environ.get("WANDB_API_KEY")
    try:
        reply = requests.post(
            f"{base_url}/graphql",
            json={"query": "query Viewer { viewer { id entity } }"},
            auth=("api", key) if key else None,  # None makes requests read .netrc, like W&B
            timeout=TIMEOUT,
        )
    except requests.Timeout:
        raise WandbError(f"{base_url} does not reply within {TIMEOUT} s") from None
    except requests.ConnectionError:
        raise WandbError(f"{base_url} cannot be reached") from None
    except requests.RequestException as error:
        raise WandbError(f"{base_url}: {error}") from None
    if reply.status_code in _REASONS:
        raise WandbError(f"{base_url} {_REASONS[reply.status_code]} ({reply.status_code})")
    if reply.status_code != 200:
        raise WandbError(f"{base_url} replies with {reply.status_code} {reply.reason}")
    try:
        viewer = reply.json()["data"]["viewer"]
    except (ValueError, KeyError, TypeError):
        raise WandbError(f"{base_url} is not a W&B server") from None
    if viewer is None:
        problem = "is invalid" if key else "is missing: set WANDB_API_KEY"
        raise WandbError(f"{base_url} knows no such user: the API key {problem}")


_REASONS = {
    401: "rejects the API key (WANDB_API_KEY)",
    403: "denies access to this API key",
    404: "has no W&B API: check WANDB_BASE_URL",
    429: "limits the rate of requests; try again later",
}
