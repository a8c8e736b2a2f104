"""AI Platform Prediction: versions of one model, of which the default answers.

A version's name follows from the model's content and its settings: a push that died, or an answer
that was lost, finds its own version again instead of making a second one.
"""

import datetime
import logging
import re
import time

from google.auth.exceptions import GoogleAuthError
from googleapiclient import errors

from pipeline.artifacts.digests import settings_digest
from pipeline.config.push import AiPlatformConfig
from pipeline.push import tfx_runner
from pipeline.push.google_errors import not_ended, not_logged_in, refused
from pipeline.push.target import (
    Pushed,
    PushError,
    Status,
    Target,
    VersionStatus,
    rolled_back_error,
)
from pipeline.push.upload import check_store, model_digest, uploaded

# A version's description says what became of it, and when: nothing else of it can be changed.
_ROLLED_BACK = "rolled back"
_WENT_OUT = "went out"
_OURS = re.compile("v_[0-9a-f]{16}")


class AiPlatformTarget(Target):
    """Pushes to a model of AI Platform Prediction."""

    def __init__(self, options: AiPlatformConfig, keep_last: int = 5):
        """Logs in, within `options.timeout_s`, which all that follows has to keep too."""
        self._options = options
        self._keep_last = keep_last
        self._deadline = time.monotonic() + options.timeout_s
        self._api = tfx_runner.service(options, self._deadline)
        self._name = f"projects/{options.project}/models/{options.model}"

    def check(self) -> None:
        check_store(self._options.models_at)
        self.status()

    def push(self, model: str) -> Pushed:
        digest = model_digest(model)
        made_of = self._options.model_dump(include={"runtime_version", "machine_type", "min_nodes"})
        name = f"v_{settings_digest([digest, made_of])[:16]}"
        found = self._find(name)
        if found and found["state"] == "FAILED":
            tfx_runner.delete_version(self._api, self._options, name)
            found = None
        if found and _was_rolled_back(found):
            raise rolled_back_error(name, self._name)
        if found is None:
            address = uploaded(model, self._options.models_at)
            tfx_runner.create_model(self._api, self._options)
            tfx_runner.create_version(self._api, self._options, name, address)
        version = self._ready(name)
        # The service makes the first version the default by itself.
        default = version.get("isDefault", False)
        if (self._options.set_default or default) and not (default and _promoted_at(version)):
            self._let_out(name)
        self._remove_old()
        return Pushed(name, f"{self._name}/versions/{name}")

    def status(self) -> Status:
        rows = []
        for version in self._versions():
            served = version.get("isDefault", False)
            state = version["state"].lower()
            if state == "ready":
                aside = _was_rolled_back(version)
                state = "served" if served else _ROLLED_BACK if aside else "kept"
            share = 100 if served else 0
            name, at = _short(version), version["name"]
            rows.append(VersionStatus(name, state, share, _made(version), at))
        notes = [
            f"{r.name} failed; a push of its model makes it anew"
            for r in rows
            if r.state == "failed"
        ]
        return Status(self._name, tuple(rows), tuple(notes))

    def promote(self, version: str | None = None) -> str:
        versions = self._versions()
        if version is None:
            waiting = [_short(v) for v in _after_default(versions) if _can_serve(v)]
            if not waiting:
                raise PushError(
                    f"nothing waits: no version of {self._name} is newer than the default"
                )
            version = waiting[-1]
        chosen = self._known(version, versions)
        self._unmark(chosen)
        self._let_out(version)
        return version

    def rollback(self, version: str | None = None) -> str:
        versions = self._versions()
        if version is None:
            before = _before(versions)
            if before is None:
                raise PushError(
                    f"no version of {self._name} precedes the default: nothing to roll back to "
                    "without --version"
                )
            version = _short(before)
        chosen = self._known(version, versions)
        if chosen in _after_default(versions):
            raise PushError(f"version {version} is newer than the default: `promote` it")
        self._unmark(chosen)
        # Marked first: a rollback that dies here is completed by the next.
        for newer in versions[versions.index(chosen) + 1 :]:
            if newer["state"] == "READY" and not _was_rolled_back(newer):
                self._mark(newer)
        self._set_default(version)
        return version

    def _find(self, name: str) -> dict | None:
        return self._do(
            f"looking for the version {name}", self._calls().get, 404, name=self._at(name)
        )

    def _versions(self) -> list[dict]:
        """All versions as they went out, or were made; none if there is no model yet."""
        found, token = [], None
        while True:
            doing = f"listing the versions of {self._name}"
            page = self._do(doing, self._calls().list, 404, parent=self._name, pageToken=token)
            found += (page or {}).get("versions", [])
            token = (page or {}).get("nextPageToken")
            if not token:
                return sorted(found, key=_since)

    def _ready(self, name: str) -> dict:
        """The version, once it is ready."""
        while True:
            version = self._find(name)
            if version is None:
                raise PushError(f"the version {name} of {self._name} was deleted while it was made")
            if version["state"] == "READY":
                return version
            if version["state"] not in ("CREATING", "UPDATING"):
                said = version.get("errorMessage", version["state"])
                raise PushError(f"creating the version {name} of {self._name} failed: {said}")
            self._pause(f"creating the version {name}", self._at(name))

    def _let_out(self, name: str):
        """Makes a version the default; the last one so treated is the newest from then on."""
        self._set_default(name)
        self._describe(name, f"{_WENT_OUT} {_now().isoformat()}")

    def _set_default(self, name: str):
        doing = f"making {name} the default version of {self._name}"
        self._do(doing, self._calls().setDefault, name=self._at(name), body={})

    def _mark(self, version: dict):
        text = f"{_ROLLED_BACK} {_now().isoformat()}; {version.get('description', '')}"
        self._describe(_short(version), text)

    def _unmark(self, version: dict):
        if _was_rolled_back(version):
            self._describe(_short(version), version["description"].partition("; ")[2])

    def _describe(self, name: str, description: str):
        doing = f"marking the version {name} of {self._name}"
        body, mask = {"description": description}, "description"
        operation = self._do(
            doing, self._calls().patch, name=self._at(name), body=body, updateMask=mask
        )
        while not operation.get("done"):
            self._pause(doing, operation["name"])
            get = self._api.projects().operations().get
            operation = self._do(doing, get, name=operation["name"])
        if "error" in operation:
            raise PushError(f"{doing} failed: {operation['error'].get('message')}")

    def _remove_old(self):
        versions = self._versions()
        used = [_before(versions), *(v for v in versions if v.get("isDefault"))]
        for version in [v for v in versions if self._counts(v)][: -self._keep_last]:
            if version not in used:
                try:
                    tfx_runner.delete_version(self._api, self._options, _short(version))
                except PushError as error:  # the new version answers: the next push tries again
                    logging.getLogger(__name__).warning("%s", error)

    def _counts(self, version: dict) -> bool:
        """Whether a version is one of the last that are kept; it may go when it is none of them.

        Not so one that somebody else made, that was rolled back, which stays for its mark, or that
        another push may be about to make the default.
        """
        made = datetime.datetime.fromisoformat(_made(version))
        under_way = (_now() - made).total_seconds() < self._options.timeout_s
        ended = version["state"] in ("READY", "FAILED") and not _was_rolled_back(version)
        ours = _OURS.fullmatch(_short(version))
        return bool(ours) and ended and (_promoted_at(version) or not under_way)

    def _known(self, version: str, versions: list[dict]) -> dict:
        for known in versions:
            if _short(known) == version and known["state"] == "READY":
                return known
        listed = ", ".join(_short(v) for v in versions if v["state"] == "READY") or "none"
        raise PushError(f"no version {version!r} of {self._name} is ready; there are: {listed}")

    def _pause(self, doing: str, where: str):
        if time.monotonic() + tfx_runner.POLL_S > self._deadline:
            raise not_ended(doing, self._options.timeout_s, where)
        time.sleep(tfx_runner.POLL_S)

    def _do(self, doing: str, method, allowed: int | None = None, **arguments) -> dict | None:
        """Calls a method; None where the service answers with the status `allowed`."""
        try:
            return method(**arguments).execute()
        except errors.HttpError as error:
            if error.resp.status == allowed:
                return None
            raise tfx_runner.http_refused(doing, error) from error
        except GoogleAuthError as error:
            raise not_logged_in(error) from error
        except tfx_runner.NO_ANSWER as error:
            raise refused(doing, 0, str(error) or type(error).__name__) from error

    def _calls(self):
        return self._api.projects().models().versions()

    def _at(self, name: str) -> str:
        return f"{self._name}/versions/{name}"


def _short(version: dict) -> str:
    return version["name"].rpartition("/")[2]


def _was_rolled_back(version: dict) -> bool:
    return version.get("description", "").startswith(_ROLLED_BACK)


def _promoted_at(version: dict) -> str:
    """When a version last became the default, other than by a rollback; empty for never."""
    return version.get("description", "").partition(f"{_WENT_OUT} ")[2]


def _since(version: dict) -> str:
    """Orders versions as they went out, or were made where they did not."""
    return _promoted_at(version) or version.get("createTime", "")


def _made(version: dict) -> str:
    return version["createTime"][:19] + "+00:00"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _before(versions: list[dict]) -> dict | None:
    """The last version that went out before the default and was not rolled back."""
    default = next((i for i, v in enumerate(versions) if v.get("isDefault")), 0)
    good = [v for v in versions[:default] if _can_serve(v) and _promoted_at(v)]
    return good[-1] if good else None


def _can_serve(version: dict) -> bool:
    return version["state"] == "READY" and not _was_rolled_back(version)


def _after_default(versions: list[dict]) -> list[dict]:
    default = next((i for i, v in enumerate(versions) if v.get("isDefault")), -1)
    return versions[default + 1 :]
