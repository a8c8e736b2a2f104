"""Vertex AI Prediction: versions of one registered model behind one endpoint.

The version with the alias `default` is the served one. Another version with traffic is a canary:
`promote` gives it all traffic, `rollback` removes it.
"""

import datetime
import logging
import time
from collections.abc import Callable

from pipeline.artifacts.digests import settings_digest
from pipeline.config.push import VertexConfig
from pipeline.push import vertex_history as history
from pipeline.push.target import (
    PushedVersion,
    PushError,
    PushTarget,
    TargetStatus,
    VersionStatus,
    rolled_back_error,
)
from pipeline.push.upload import check_store, model_digest, upload_model
from pipeline.push.vertex_service import IDENTITY, VertexService, vertex

_ATTEMPTS = 3
_NEW = "0"  # id of the model being deployed, in a traffic split


class VertexTarget(PushTarget):
    """A registered model and an endpoint of Vertex AI.

    Args:
        options: the config's section `push.vertex`.
        keep_last: number of pushed versions to keep.

    Raises:
        PushError: there are no credentials.

    Example:
        >>> options = VertexConfig(
        ...     project="my-project",
        ...     region="europe-west4",
        ...     models_at="gs://my-bucket/models",
        ...     canary_percent=10,
        ... )
        >>> target = VertexTarget(options)  # doctest: +SKIP
        >>> target.push("gs://my-bucket/run/Format-Serving")  # doctest: +SKIP
        >>> target.promote()  # doctest: +SKIP
        '1'
    """

    def __init__(self, options: VertexConfig, keep_last: int = 5):
        self._options = options
        self._keep_last = keep_last
        self._service = VertexService(options)

    def check(self) -> None:
        check_store(self._options.models_at)
        self.status()

    def push(self, model: str) -> PushedVersion:
        names = {"container", "predict_route", "health_route", "service_account", "kms_key"}
        names |= {"machine_type", "min_replicas", "max_replicas"}
        settings = self._options.model_dump(include=names)
        identity = settings_digest([model_digest(model), settings])[:32]
        version = self._find_version(identity)
        if version and history.was_rolled_back(version):
            raise rolled_back_error(version.version_id, self._service.model)
        if version is None:
            version = self._upload(upload_model(model, self._options.models_at), identity)
        endpoint = self._service.endpoint() or self._service.create_endpoint()
        deployed = self._service.deployed_id(endpoint, version.version_id)
        share = history.traffic(endpoint).get(deployed, 0) if deployed else 0
        canary = "default" not in version.version_aliases
        if share == 100:
            self._make_default(version)  # an earlier push may have been interrupted before this
        elif not share or (canary and share != self._options.canary_percent):
            self._serve(endpoint, version, self._options.canary_percent)
        self._clean_up()
        return PushedVersion(version.version_id, f"{self._service.model}@{version.version_id}")

    def status(self) -> TargetStatus:
        endpoint, versions = self._service.endpoint(), self._service.versions()
        shares = self._version_shares(endpoint, versions)
        served = history.served_version(shares, versions)
        rows: list[VersionStatus] = []
        notes: list[str] = []
        is_newer = served is None
        for version in versions:
            number, share = version.version_id, shares.get(version.version_id, 0)
            rolled_back = history.was_rolled_back(version)
            state = "served" if number == served else "canary" if share else "kept"
            state = "rolled back" if rolled_back and not share else state
            created = version.version_create_time
            rows.append(
                VersionStatus(
                    name=number,
                    state=state,
                    share=share,
                    made=created.isoformat(timespec="seconds") if created else "",
                    destination=f"{self._service.model}@{number}",
                )
            )
            if rolled_back and share:
                notes.append(
                    f"the rollback of version {number} was interrupted; `rollback` completes it"
                )
            elif not rolled_back and not share and is_newer:
                notes.append(f"version {number} has no traffic; a push or `promote` completes it")
            elif number in shares and not share and not self._options.keep_deployed:
                notes.append(
                    f"version {number} is deployed without traffic; the next push undeploys it"
                )
            is_newer = is_newer or number == served
        if endpoint is None:
            notes.append("there is no endpoint yet; the first push creates it")
        destination = endpoint.name if endpoint else self._service.model
        return TargetStatus(destination, tuple(rows), tuple(notes))

    def promote(self, version: str | None = None) -> str:
        endpoint, versions = self._require_endpoint()
        shares = self._version_shares(endpoint, versions)
        if version is None:
            served = history.served_version(shares, versions)
            canaries = [v for v, share in shares.items() if share and v != served]
            if not canaries:
                raise PushError(f"no version waits for promotion: {endpoint.name} has no canary")
            version = max(canaries, key=int)
        chosen = self._get_version(version, versions)
        if history.was_rolled_back(chosen):
            self._service.set_label(chosen, history.STATE, "")
        self._serve(endpoint, chosen, 100)
        self._clean_up()
        return version

    def rollback(self, version: str | None = None) -> str:
        endpoint, versions = self._require_endpoint()
        shares = self._version_shares(endpoint, versions)
        served = history.served_version(shares, versions)
        if version is None:
            version = self._rollback_version(served, shares, versions)
        chosen = self._get_version(version, versions)
        position = versions.index(chosen)
        if served in [v.version_id for v in versions[:position]]:
            raise PushError(
                f"version {version} is newer than the served version {served}: `promote` it"
            )
        if history.was_rolled_back(chosen):
            self._service.set_label(chosen, history.STATE, "")
        # Labelled first: repeating an interrupted rollback completes it.
        canaries = [v for v in versions[:position] if shares.get(v.version_id)]
        for other in [*versions[position + 1 :], *canaries]:
            if not history.was_rolled_back(other):
                self._service.set_label(other, history.STATE, history.ROLLED_BACK)
        self._serve(endpoint, chosen, 100, is_rollback=True)
        self._clean_up()
        return version

    def _rollback_version(
        self, served: str | None, shares: dict[str, int], versions: list[vertex.Model]
    ) -> str:
        """The served version if there is a canary to remove, else the one served before."""
        rolled_back = [v.version_id for v in versions if history.was_rolled_back(v)]
        has_canary = any(share for v, share in shares.items() if v != served)
        if has_canary and served not in rolled_back:
            version = served
        else:
            version = history.previous_version(served, versions)
        if version is None:
            raise PushError(
                f"no version of {self._service.model} precedes the served one: nothing to roll "
                "back to without --version"
            )
        return version

    def _upload(self, address: str, identity: str) -> vertex.Model:
        options = self._options
        container = vertex.ModelContainerSpec(
            image_uri=options.container,
            predict_route=options.predict_route or "",
            health_route=options.health_route or "",
        )
        model = vertex.Model(
            display_name=options.model,
            artifact_uri=address,
            container_spec=container,
            labels=options.labels | {IDENTITY: identity},
            encryption_spec=self._service.encryption,
        )
        return self._service.upload(model, lambda: self._find_version(identity))

    def _find_version(self, identity: str) -> vertex.Model | None:
        """The version with this identity; of two made by concurrent pushes, the first."""
        found = [v for v in self._service.versions() if v.labels.get(IDENTITY) == identity]
        return min(found, key=history.number, default=None)

    def _serve(
        self,
        endpoint: vertex.Endpoint,
        version: vertex.Model,
        percent: int,
        is_rollback: bool = False,
    ) -> None:
        """Gives a version `percent` of the traffic, and the served version the rest.

        With `is_rollback` the version keeps its place in the history.
        """
        for attempt in range(_ATTEMPTS):
            try:
                percent = self._split_traffic(endpoint, version, percent)
                break
            except PushError:
                before, endpoint = history.traffic(endpoint), self._require_endpoint()[0]
                unchanged = history.traffic(endpoint).keys() == before.keys()
                if unchanged or attempt == _ATTEMPTS - 1:
                    raise  # otherwise a concurrent push changed the deployed models: try again
        if percent == 100:
            self._make_default(version, is_rollback)

    def _split_traffic(self, endpoint: vertex.Endpoint, version: vertex.Model, percent: int) -> int:
        """Splits the traffic; returns the version's percent, 100 if no other has traffic."""
        deployed = self._service.deployed_id(endpoint, version.version_id)
        shares = history.traffic(endpoint)
        others = {i: share for i, share in shares.items() if share and i != deployed}
        versions = self._service.versions()
        stable = history.served_version(self._version_shares(endpoint, versions), versions)
        served = self._service.deployed_id(endpoint, stable) if stable else None
        if served not in others:
            served = max(others, key=others.__getitem__, default=None)
        split = dict.fromkeys(shares, 0)
        if served is None:
            percent = 100
        else:
            split[served] = 100 - percent
        split[deployed or _NEW] = percent
        if deployed:
            self._service.set_traffic(endpoint.name, split)
        else:
            self._service.deploy(endpoint.name, version.version_id, split)
        return percent

    def _make_default(self, version: vertex.Model, is_rollback: bool = False) -> None:
        default = "default" in version.version_aliases
        if not is_rollback and not (default and history.PROMOTED_AT in version.labels):
            now_ms = str(time.time_ns() // 1_000_000)
            self._service.set_label(version, history.PROMOTED_AT, now_ms)
        if not default:
            self._service.make_default(version.version_id)

    def _clean_up(self) -> None:
        """Undeploys versions without traffic; deletes duplicates and old pushed versions."""
        endpoint, versions = self._require_endpoint()
        shares = self._version_shares(endpoint, versions)
        served = history.served_version(shares, versions)
        pushed = [v for v in versions if IDENTITY in v.labels]
        first = {v.labels[IDENTITY]: v for v in sorted(pushed, key=history.number, reverse=True)}
        duplicates = [v for v in pushed if first[v.labels[IDENTITY]] is not v]
        previous = history.previous_version(served, [v for v in versions if v not in duplicates])
        for number, share in shares.items():
            deployed = self._service.deployed_id(endpoint, number)
            keep = self._options.keep_deployed and number == previous
            if deployed and not share and not keep:
                self._try(self._service.undeploy, endpoint.name, deployed)
        used = {number for number, share in shares.items() if share} | {previous}
        counted = [v for v in pushed if v not in duplicates and self._counts_for_keep_last(v)]
        for version in [*counted[: -self._keep_last], *duplicates]:
            if version.version_id not in used and "default" not in version.version_aliases:
                self._try(self._service.delete, version.version_id)

    def _counts_for_keep_last(self, version: vertex.Model) -> bool:
        """Whether `keep_last` counts a version, which may then be deleted.

        Not counted are versions that were rolled back, whose label must stay, and versions that a
        concurrent push may be about to deploy.
        """
        age = datetime.datetime.now(datetime.timezone.utc) - version.version_create_time
        in_progress = age.total_seconds() < self._options.timeout_s
        done = history.PROMOTED_AT in version.labels or not in_progress
        return done and not history.was_rolled_back(version)

    def _try(self, remove: Callable[..., None], *arguments: str) -> None:
        # The new version is served already, and the next push tries again.
        try:
            remove(*arguments)
        except PushError as error:
            logging.getLogger(__name__).warning("%s", error)

    def _require_endpoint(self) -> tuple[vertex.Endpoint, list[vertex.Model]]:
        """The endpoint and all versions; raises PushError if there is no endpoint."""
        endpoint = self._service.endpoint()
        if endpoint is None:
            raise PushError(f"nothing was pushed yet: {self._service.model} has no endpoint")
        return endpoint, self._service.versions()

    def _version_shares(
        self, endpoint: vertex.Endpoint | None, versions: list[vertex.Model]
    ) -> dict[str, int]:
        """Percent of the traffic by version, of the deployed versions."""
        if endpoint is None:
            return {}
        shares = history.traffic(endpoint)
        ids = {v.version_id: self._service.deployed_id(endpoint, v.version_id) for v in versions}
        return {number: shares.get(i, 0) for number, i in ids.items() if i}

    def _get_version(self, version: str, versions: list[vertex.Model]) -> vertex.Model:
        for candidate in versions:
            if candidate.version_id == version:
                return candidate
        listed = ", ".join(v.version_id for v in versions) or "none"
        raise PushError(f"no version {version!r} of {self._service.model}; there are: {listed}")
