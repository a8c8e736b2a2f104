"""The one module that talks to Weights & Biases, by its own client."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.lineage import naming, pictures
from pipeline.lineage.expected import Expected, Labels, Seen, Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.metadata.graph import Artifact

TIMEOUT = 10
"""Seconds that one request may take."""
KEPT = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")
"""Variables of W&B that hold for the mirror; all others are made for other runs."""
_PAYLOAD = "payload"
_PICTURE = "summary.png"


class TargetError(RuntimeError):
    """W&B cannot be used; the message says why."""


def scrub_environment() -> None:
    """Takes out of this process's environment what was set for other W&B runs.

    What W&B's client keeps of each run on disk goes where temporary files go: nothing of it is
    needed once the mirror ends.
    """
    for name in [n for n in os.environ if n.startswith("WANDB_") and n not in KEPT]:
        del os.environ[name]
    os.environ["WANDB_SILENT"] = "true"
    # Reports of its errors go to another server, whatever the user said of W&B's own.
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.environ["WANDB_DIR"] = os.environ["WANDB_DATA_DIR"] = tempfile.gettempdir()
    os.environ.setdefault("WANDB_CACHE_DIR", tempfile.gettempdir())


class Target:
    """A W&B project: writes runs and artifacts, and reads back what arrived."""

    def __init__(self, project: str, entity: str | None = None, upload: tuple[str, ...] = ()):
        """Connects.

        Args:
            project: name of the project; the first run makes it.
            entity: user or team; None takes the key's default.
            upload: W&B types of the artifacts whose local payloads are uploaded.

        Raises:
            TargetError: no key, or a server that does not answer or refuses.
        """
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
        """Asks the server for something small.

        Raises:
            TargetError: no key, or a server that does not answer or refuses.
        """
        _probe(self.base_url)

    def see(self, run_id: str) -> Seen | None:
        """What the public API tells of a run; None where it is not there."""
        import wandb

        self._api.flush()  # It keeps what it has read.
        try:
            run = self._api.run(f"{self.entity}/{self.project}/{run_id}")
        except (ValueError, wandb.errors.CommError) as error:
            if "Could not find run" in str(error):
                return None
            raise
        facts = run.config.get("mlmd") or {}
        return Seen(
            run.state,
            Labels(
                run.job_type or None,
                run.group or None,
                frozenset(run.tags or ()),
                facts.get("digest"),
            ),
            _versions(run.used_artifacts()),
            _versions(run.logged_artifacts()),
        )

    def has(self, version: Version) -> bool:
        """Whether a version is there and committed."""
        return self._api.artifact_exists(f"{self.entity}/{self.project}/{version}")

    def renew(self) -> None:
        """Ends W&B's service process, which grows with each run; the next run starts another."""
        import wandb

        wandb.teardown()
        self._api = wandb.Api(timeout=TIMEOUT)

    def run_ids(self, prefix: str) -> Iterator[str]:
        """Ids of the project's runs that begin with `prefix`."""
        runs = self._api.runs(f"{self.entity}/{self.project}", per_page=100)
        return (run.id for run in runs if run.id.startswith(prefix))

    def write(self, expected: Expected, names: naming.Naming) -> None:
        """Makes or completes a run with its edges.

        Args:
            expected: the run; one that exists is resumed. What it uses must be there.
            names: of the store.
        """
        import wandb

        labels = expected.labels
        run = wandb.init(
            project=self.project,
            entity=self.entity,
            id=expected.run_id,
            resume="allow",
            dir=os.environ["WANDB_DIR"],
            settings=_settings(),
            name=expected.name,
            job_type=labels.job_type,
            group=labels.group,
            tags=sorted(labels.tags),
            config={"mlmd": expected.facts} if expected.facts else None,
        )
        failed = True
        try:
            for version in expected.uses:
                run.use_artifact(f"{self.entity}/{self.project}/{version}")
            for version, artifact in expected.logs.items():
                made = self._artifact(version, artifact, names.identity(artifact))
                run.log_artifact(made, aliases=[version.alias]).wait(timeout=6 * TIMEOUT)
            failed = expected.state == "failed"
        finally:
            # Also after an error: `wandb.init` would return this run where the next one is meant.
            run.finish(exit_code=int(failed))

    def _artifact(self, version: Version, artifact: Artifact, identity: tuple[str, str]):
        import wandb
        from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

        kind = naming.artifact_type(artifact)
        made = wandb.Artifact(
            version.collection, type=kind, metadata=naming.metadata(artifact, version.alias)
        )
        # Entries rather than add_reference, which asks the storage for what it refers to.
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
        if drawn := pictures.picture(kind, local):
            with made.new_file(_PICTURE, mode="wb") as file:
                file.write(drawn)
        return made


def reason(error: Exception) -> str:
    """An error in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _versions(artifacts) -> frozenset[Version]:
    """The versions that the mirror made; others, such as W&B's own, are none of its business."""
    return frozenset(
        Version(a.source_name.partition(":")[0], a.metadata["alias"])
        for a in artifacts
        if str(a.metadata.get("alias", "")).startswith("mlmd-")
    )


def _settings():
    """Settings made afresh: `wandb.init` changes those that it is given."""
    import wandb

    bounded = {}
    for kind in ("graphql", "file_stream", "file_transfer"):
        bounded |= {
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
        mode="online",  # Whatever `wandb offline` left in W&B's settings file.
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        **bounded,
    )


def _probe(base_url: str) -> None:
    """One small request, so that a server which cannot be used costs seconds and has a reason.

    W&B's client would try for minutes.
    """
    import requests

    key = os.environ.get("WANDB_API_KEY")
    try:
        answer = requests.post(
            f"{base_url}/graphql",
            json={"query": "query Viewer { viewer { id entity } }"},
            auth=("api", key) if key else None,  # None: requests reads .netrc, as W&B does
            timeout=TIMEOUT,
        )
    except requests.Timeout:
        raise TargetError(f"{base_url} does not answer within {TIMEOUT} s") from None
    except requests.ConnectionError:
        raise TargetError(f"{base_url} cannot be reached") from None
    except requests.RequestException as error:
        raise TargetError(f"{base_url}: {error}") from None
    if answer.status_code in _REASONS:
        raise TargetError(f"{base_url} {_REASONS[answer.status_code]} ({answer.status_code})")
    if answer.status_code != 200:
        raise TargetError(f"{base_url} answers with {answer.status_code} {answer.reason}")
    try:
        viewer = answer.json()["data"]["viewer"]
    except (ValueError, KeyError, TypeError):
        raise TargetError(f"{base_url} is no W&B server") from None
    if viewer is None:
        missing = "is wrong" if key else "is missing: put it into WANDB_API_KEY"
        raise TargetError(f"{base_url} knows no such user: the API key {missing}")


_REASONS = {
    401: "refuses the API key (WANDB_API_KEY)",
    403: "forbids this key to be used",
    404: "has no W&B interface: is WANDB_BASE_URL right?",
    429: "takes no more requests for now",
}
