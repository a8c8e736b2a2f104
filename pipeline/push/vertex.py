"""Vertex AI Prediction: versions of one registered model, which share the traffic of one endpoint.

The version with the alias `default` is the one served; another with traffic is a canary, which
`promote` lets answer everything and `rollback` takes away.
"""

import datetime
import logging
import time

from pipeline.artifacts.digests import settings_digest
from pipeline.config.push import VertexConfig
from pipeline.push import vertex_history as history
from pipeline.push.target import (
    Pushed,
    PushError,
    Status,
    Target,
    VersionStatus,
    rolled_back_error,
)
from pipeline.push.upload import check_store, model_digest, uploaded
from pipeline.push.vertex_service import IDENTITY, VertexService, vertex

_ATTEMPTS = 3
_NEW = "0"  # the service's name, in a traffic split, of the model being deployed


class VertexTarget(Target):
    """Pushes to a registered model and an endpoint of Vertex AI."""

    def __init__(self, options: VertexConfig, keep_last: int = 5):
        """Logs in; see `VertexService`."""
        self._options = options
        self._keep_last = keep_last
        self._service = VertexService(options)

    def check(self) -> None:
        check_store(self._options.models_at)
        self.status()

    def push(self, model: str) -> Pushed:
        shown = {"container", "predict_route", "health_route", "service_account", "kms_key"}
        shown |= {"machine_type", "min_replicas", "max_replicas"}
        made_of = self._options.model_dump(include=shown)
        identity = settings_digest([model_digest(model), made_of])[:32]
        version = self._version_of(identity)
        if version and history.was_rolled_back(version):
            raise rolled_back_error(version.version_id, self._service.model)
        if version is None:
            version = self._upload(uploaded(model, self._options.models_at), identity)
        endpoint = self._service.endpoint() or self._service.create_endpoint()
        deployed = self._service.deployed_id(endpoint, version.version_id)
        share = history.shares(endpoint).get(deployed, 0)
        canary = "default" not in version.version_aliases
        if share == 100:
            self._make_default(version)  # the push before may have died just here
        elif not share or (canary and share != self._options.canary_percent):
            self._serve(endpoint, version, self._options.canary_percent)
        self._tidy()
        return Pushed(version.version_id, f"{self._service.model}@{version.version_id}")

    def status(self) -> Status:
        endpoint, versions = self._service.endpoint(), self._service.versions()
        shares = self._version_shares(endpoint, versions)
        served = history.served(shares, versions)
        rows, notes, later = [], [], served is None
        for version in versions:
            number, share = version.version_id, shares.get(version.version_id, 0)
            aside = history.was_rolled_back(version)
            state = "served" if number == served else "canary" if share else "kept"
            state = "rolled back" if aside and not share else state
            made = version.version_create_time
            at = f"{self._service.model}@{number}"
            made = made.isoformat(timespec="seconds") if made else ""
            rows.append(VersionStatus(number, state, share, made, at))
            if aside and share:
                notes.append(f"version {number} is half rolled back; `rollback` again completes it")
            elif not aside and not share and later:
                notes.append(
                    f"version {number} answers nothing yet; a push or `promote` completes it"
                )
            elif number in shares and not share and not self._options.keep_deployed:
                notes.append(f"version {number} runs without requests; the next push undeploys it")
            later = later or number == served
        if endpoint is None:
            notes.append("there is no endpoint yet; the first push creates it")
        return Status(endpoint.name if endpoint else self._service.model, tuple(rows), tuple(notes))

    def promote(self, version: str | None = None) -> str:
        endpoint, versions = self._existing()
        shares = self._version_shares(endpoint, versions)
        if version is None:
            served = history.served(shares, versions)
            waiting = [v for v, share in shares.items() if share and v != served]
            if not waiting:
                raise PushError(f"nothing waits: no canary behind {endpoint.name}")
            version = max(waiting, key=int)
        chosen = self._known(version, versions)
        if history.was_rolled_back(chosen):
            self._service.mark(chosen, history.STATE, "")
        self._serve(endpoint, chosen, 100)
        self._tidy()
        return version

    def rollback(self, version: str | None = None) -> str:
        endpoint, versions = self._existing()
        shares = self._version_shares(endpoint, versions)
        served = history.served(shares, versions)
        if version is None:
            aside = [v.version_id for v in versions if history.was_rolled_back(v)]
            canary = any(share for v, share in shares.items() if v != served)
            version = served if canary and served not in aside else history.before(served, versions)
            if version is None:
                raise PushError(
                    f"no version of {self._service.model} precedes the one served: nothing to roll "
                    "back to without --version"
                )
        chosen = self._known(version, versions)
        place = versions.index(chosen)
        if served in [v.version_id for v in versions[:place]]:
            raise PushError(
                f"version {version} is newer than the one served, {served}: `promote` it"
            )
        if history.was_rolled_back(chosen):
            self._service.mark(chosen, history.STATE, "")
        # Marked first: a rollback that dies here is completed by the next.
        canaries = [v for v in versions[:place] if shares.get(v.version_id)]
        for other in [*versions[place + 1 :], *canaries]:
            if not history.was_rolled_back(other):
                self._service.mark(other, history.STATE, history.ROLLED_BACK)
        self._serve(endpoint, chosen, 100, back=True)
        self._tidy()
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
        return self._service.upload(model, lambda: self._version_of(identity))

    def _version_of(self, identity: str) -> vertex.Model | None:
        """The version made of this; of two, from two pushes at once, the first."""
        found = [v for v in self._service.versions() if v.labels.get(IDENTITY) == identity]
        return min(found, key=history.number, default=None)

    def _serve(self, endpoint: vertex.Endpoint, version: vertex.Model, percent: int, back=False):
        """Lets a version answer so many percent, and the one served now the rest.

        One that a rollback goes `back` to keeps its place among those that went out.
        """
        for attempt in range(_ATTEMPTS):
            try:
                percent = self._share_out(endpoint, version, percent)
                break
            except PushError:
                before, endpoint = history.shares(endpoint), self._existing()[0]
                if history.shares(endpoint).keys() == before.keys() or attempt == _ATTEMPTS - 1:
                    raise  # otherwise another push has changed what the traffic was shared among
        if percent == 100:
            self._make_default(version, back)

    def _share_out(self, endpoint: vertex.Endpoint, version: vertex.Model, percent: int) -> int:
        """Shares the traffic once; returns the version's percent, 100 where there is no other."""
        deployed = self._service.deployed_id(endpoint, version.version_id)
        shares = history.shares(endpoint)
        rest = {i: share for i, share in shares.items() if share and i != deployed}
        versions = self._service.versions()
        stable = history.served(self._version_shares(endpoint, versions), versions)
        served = stable and self._service.deployed_id(endpoint, stable)
        served = served if served in rest else max(rest, key=rest.get, default=None)
        percent = 100 if served is None else percent
        split = dict.fromkeys(shares, 0) | {deployed or _NEW: percent}
        split |= {served: 100 - percent} if served else {}
        if deployed:
            self._service.set_traffic(endpoint.name, split)
        else:
            self._service.deploy(endpoint.name, version.version_id, split)
        return percent

    def _make_default(self, version: vertex.Model, back=False):
        default = "default" in version.version_aliases
        if not back and not (default and history.PROMOTED_AT in version.labels):
            self._service.mark(version, history.PROMOTED_AT, str(time.time_ns() // 1_000_000))
        if not default:
            self._service.make_default(version.version_id)

    def _tidy(self):
        """Undeploys what has no traffic, then deletes doubles and old versions that pushes made."""
        endpoint, versions = self._existing()
        shares = self._version_shares(endpoint, versions)
        served = history.served(shares, versions)
        ours = [v for v in versions if IDENTITY in v.labels]
        first = {v.labels[IDENTITY]: v for v in sorted(ours, key=history.number, reverse=True)}
        doubles = [v for v in ours if first[v.labels[IDENTITY]] is not v]
        before = history.before(served, [v for v in versions if v not in doubles])
        for number, share in shares.items():
            if not share and not (self._options.keep_deployed and number == before):
                deployed = self._service.deployed_id(endpoint, number)
                self._try(self._service.undeploy, endpoint.name, deployed)
        used = {number for number, share in shares.items() if share} | {before}
        counted = [v for v in ours if v not in doubles and self._counts(v)]
        for version in [*counted[: -self._keep_last], *doubles]:
            if version.version_id not in used and "default" not in version.version_aliases:
                self._try(self._service.delete, version.version_id)

    def _counts(self, version: vertex.Model) -> bool:
        """Whether a version is one of the last that are kept; it may go when it is none of them.

        One that was rolled back stays for its mark, one that another push may be about to deploy
        for that push.
        """
        age = datetime.datetime.now(datetime.timezone.utc) - version.version_create_time
        under_way = age.total_seconds() < self._options.timeout_s
        done = history.PROMOTED_AT in version.labels or not under_way
        return done and not history.was_rolled_back(version)

    def _try(self, tidying, *arguments):
        # The new version answers already: what cannot be tidied now, the next push tries again.
        try:
            tidying(*arguments)
        except PushError as error:
            logging.getLogger(__name__).warning("%s", error)

    def _existing(self) -> tuple[vertex.Endpoint, list[vertex.Model]]:
        endpoint = self._service.endpoint()
        if endpoint is None:
            raise PushError(f"nothing was pushed yet: {self._service.model} has no endpoint")
        return endpoint, self._service.versions()

    def _version_shares(self, endpoint, versions) -> dict[str, int]:
        """Percent of the traffic by version, of those that are deployed."""
        if endpoint is None:
            return {}
        shares = history.shares(endpoint)
        ids = {v.version_id: self._service.deployed_id(endpoint, v.version_id) for v in versions}
        return {number: shares.get(i, 0) for number, i in ids.items() if i}

    def _known(self, version: str, versions: list[vertex.Model]) -> vertex.Model:
        for known in versions:
            if known.version_id == version:
                return known
        listed = ", ".join(v.version_id for v in versions) or "none"
        raise PushError(f"no version {version!r} of {self._service.model}; there are: {listed}")
