"""Vertex AI Prediction: versions of one registered model, which share the traffic of one endpoint.

The version with the alias `default` is the one served; another with traffic is a canary, which
`promote` lets answer everything and `rollback` takes away.
"""

import logging

from pipeline.digests import settings_digest
from pipeline.push.options import VertexConfig
from pipeline.push.target import (
    Pushed,
    PushError,
    Status,
    Target,
    VersionStatus,
    rolled_back_error,
)
from pipeline.push.upload import check_store, model_digest, uploaded
from pipeline.push.vertex_service import IDENTITY, STATE, VertexService, vertex

_ROLLED_BACK = "rolled-back"
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
        shown = {"container", "predict_route", "health_route", "machine_type", "min_replicas"}
        made_of = self._options.model_dump(include=shown | {"max_replicas", "service_account"})
        identity = settings_digest([model_digest(model), made_of])[:32]
        version = self._version_of(identity)
        if version and version.labels.get(STATE) == _ROLLED_BACK:
            raise rolled_back_error(version.version_id, self._service.model)
        if version is None:
            version = self._upload(uploaded(model, self._options.models_at), identity)
        endpoint = self._service.endpoint() or self._service.create_endpoint()
        share = _shares(endpoint).get(self._service.deployed_id(endpoint, version.version_id), 0)
        if not share:
            self._serve(endpoint, version, self._options.canary_percent)
        elif share == 100:
            self._make_default(version)  # the push before may have died just here
        self._tidy()
        return Pushed(version.version_id, f"{self._service.model}@{version.version_id}")

    def status(self) -> Status:
        endpoint, versions = self._service.endpoint(), self._service.versions()
        shares = self._version_shares(endpoint, versions)
        served = _served(shares, versions)
        rows, notes = [], []
        for version in versions:
            number, share = version.version_id, shares.get(version.version_id, 0)
            aside = version.labels.get(STATE) == _ROLLED_BACK
            state = "served" if number == served else "canary" if share else "kept"
            state = "rolled back" if aside and not share else state
            made = version.version_create_time
            at = f"{self._service.model}@{number}"
            made = made.isoformat(timespec="seconds") if made else ""
            rows.append(VersionStatus(number, state, share, made, at))
            if aside and share:
                notes.append(f"version {number} is half rolled back; `rollback` again completes it")
            elif not aside and not share and (served is None or int(number) > int(served)):
                notes.append(
                    f"version {number} answers nothing yet; a push or `promote` completes it"
                )
            elif number in shares and not share and not self._options.keep_deployed:
                notes.append(f"version {number} runs without requests; the next push undeploys it")
        if endpoint is None:
            notes.append("there is no endpoint yet; the first push creates it")
        return Status(endpoint.name if endpoint else self._service.model, tuple(rows), tuple(notes))

    def promote(self, version: str | None = None) -> str:
        endpoint, versions = self._existing()
        shares = self._version_shares(endpoint, versions)
        if version is None:
            served = _served(shares, versions)
            waiting = [v for v, share in shares.items() if share and v != served]
            if not waiting:
                raise PushError(f"nothing waits: no canary behind {endpoint.name}")
            version = max(waiting, key=int)
        chosen = self._known(version, versions)
        if chosen.labels.get(STATE):
            self._service.mark(chosen, "")
        self._serve(endpoint, chosen, 100)
        self._tidy()
        return version

    def rollback(self, version: str | None = None) -> str:
        endpoint, versions = self._existing()
        shares = self._version_shares(endpoint, versions)
        served = _served(shares, versions)
        if version is None:
            good = [v.version_id for v in versions if v.labels.get(STATE) != _ROLLED_BACK]
            canary = any(share for v, share in shares.items() if v != served)
            before = [v for v in good if served and int(v) < int(served)]
            if canary and served in good:
                version = served
            elif before:
                version = before[-1]
            else:
                raise PushError(
                    f"no version of {self._service.model} precedes the one served: nothing to roll "
                    "back to"
                )
        chosen = self._known(version, versions)
        if served and int(version) > int(served):
            raise PushError(
                f"version {version} is newer than the one served, {served}: `promote` it"
            )
        if chosen.labels.get(STATE):
            self._service.mark(chosen, "")
        # Marked first: a rollback that dies here is completed by the next.
        for newer in versions[versions.index(chosen) + 1 :]:
            if newer.labels.get(STATE) != _ROLLED_BACK:
                self._service.mark(newer, _ROLLED_BACK)
        self._serve(endpoint, chosen, 100)
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
        return found[0] if found else None

    def _serve(self, endpoint: vertex.Endpoint, version: vertex.Model, percent: int):
        """Lets a version answer so many percent, and the one served now the rest."""
        for attempt in range(_ATTEMPTS):
            try:
                percent = self._share_out(endpoint, version, percent)
                break
            except PushError:
                before, endpoint = _shares(endpoint), self._existing()[0]
                if _shares(endpoint).keys() == before.keys() or attempt == _ATTEMPTS - 1:
                    raise  # otherwise another push has changed what the traffic was shared among
        if percent == 100:
            self._make_default(version)

    def _share_out(self, endpoint: vertex.Endpoint, version: vertex.Model, percent: int) -> int:
        """Shares the traffic once; returns the version's percent, 100 where there is no other."""
        deployed = self._service.deployed_id(endpoint, version.version_id)
        shares = _shares(endpoint)
        rest = {i: share for i, share in shares.items() if share and i != deployed}
        versions = self._service.versions()
        stable = _served(self._version_shares(endpoint, versions), versions)
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

    def _make_default(self, version: vertex.Model):
        if "default" not in version.version_aliases:
            self._service.make_default(version.version_id)

    def _tidy(self):
        """Undeploys what has no traffic, then deletes doubles and old versions that pushes made."""
        endpoint, versions = self._existing()
        shares = self._version_shares(endpoint, versions)
        served = _served(shares, versions)
        ours = [v for v in versions if IDENTITY in v.labels]
        identities = [v.labels[IDENTITY] for v in ours]
        doubles = [v for i, v in enumerate(ours) if identities[i] in identities[:i]]
        good = [v for v in versions if v.labels.get(STATE) != _ROLLED_BACK and v not in doubles]
        before = [v.version_id for v in good if served and int(v.version_id) < int(served)][-1:]
        for number, share in shares.items():
            if not share and not (self._options.keep_deployed and number in before):
                deployed = self._service.deployed_id(endpoint, number)
                self._try(self._service.undeploy, endpoint.name, deployed)
        used = {number for number, share in shares.items() if share} | set(before)
        for version in [*ours[: -self._keep_last], *doubles]:
            if version.version_id not in used and "default" not in version.version_aliases:
                self._try(self._service.delete, version.version_id)

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
        shares = _shares(endpoint)
        ids = {v.version_id: self._service.deployed_id(endpoint, v.version_id) for v in versions}
        return {number: shares.get(i, 0) for number, i in ids.items() if i}

    def _known(self, version: str, versions: list[vertex.Model]) -> vertex.Model:
        for known in versions:
            if known.version_id == version:
                return known
        listed = ", ".join(v.version_id for v in versions) or "none"
        raise PushError(f"no version {version!r} of {self._service.model}; there are: {listed}")


def _served(shares: dict[str, int], versions: list[vertex.Model]) -> str | None:
    """The default version; where that has no traffic, as amid a push, the one with the most."""
    default = next((v.version_id for v in versions if "default" in v.version_aliases), None)
    return default if shares.get(default) else max(shares, key=shares.get, default=None)


def _shares(endpoint: vertex.Endpoint) -> dict[str, int]:
    """Percent of the traffic by deployed id; 0 for those without."""
    split = dict(endpoint.traffic_split)
    return {deployed.id: split.get(deployed.id, 0) for deployed in endpoint.deployed_models}
