"""AI Platform Prediction: versions of one model, of which the default answers.

A version's name follows from the model's content and its settings: a push that died, or an answer
that was lost, finds its own version again instead of making a second one.
"""

import datetime
import logging
import time

from google.auth.exceptions import GoogleAuthError
from googleapiclient import errors

from pipeline.digests import settings_digest
from pipeline.push import tfx_runner
from pipeline.push.google_errors import not_ended, not_logged_in, refused
from pipeline.push.options import AiPlatformConfig
from pipeline.push.target import (
    Pushed,
    PushError,
    Status,
    Target,
    VersionStatus,
    rolled_back_error,
)
from pipeline.push.upload import check_store, model_digest, uploaded

# The service lets nothing else of a version be changed.
_ROLLED_BACK = "rolled back"


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
        self._wait_until_ready(name)
        if self._options.set_default:
            self._set_default(name)
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
            made, share = version["createTime"][:19] + "+00:00", 100 if served else 0
            rows.append(VersionStatus(_short(version), state, share, made, version["name"]))
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
        if _was_rolled_back(chosen):
            self._describe(version, "")
        self._set_default(version)
        return version

    def rollback(self, version: str | None = None) -> str:
        versions = self._versions()
        served = next((v for v in versions if v.get("isDefault")), None)
        if version is None:
            before = (
                [v for v in versions[: versions.index(served)] if _can_serve(v)] if served else []
            )
            if not before:
                raise PushError(
                    f"no version of {self._name} precedes the default: nothing to roll back to"
                )
            version = _short(before[-1])
        chosen = self._known(version, versions)
        if chosen in _after_default(versions):
            raise PushError(f"version {version} is newer than the default: `promote` it")
        if _was_rolled_back(chosen):
            self._describe(version, "")
        # Marked first: a rollback that dies here is completed by the next.
        for newer in versions[versions.index(chosen) + 1 :]:
            if newer["state"] == "READY" and not _was_rolled_back(newer):
                now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
                self._describe(_short(newer), f"{_ROLLED_BACK} {now}")
        self._set_default(version)
        return version

    def _find(self, name: str) -> dict | None:
        return self._do(
            f"looking for the version {name}", self._calls().get, 404, name=self._at(name)
        )

    def _versions(self) -> list[dict]:
        """All versions, the oldest first; none if there is no model yet."""
        found, token = [], None
        while True:
            doing = f"listing the versions of {self._name}"
            page = self._do(doing, self._calls().list, 404, parent=self._name, pageToken=token)
            found += (page or {}).get("versions", [])
            token = (page or {}).get("nextPageToken")
            if not token:
                return sorted(found, key=lambda version: version.get("createTime", ""))

    def _wait_until_ready(self, name: str):
        while True:
            version = self._find(name)
            if version is None:
                raise PushError(f"the version {name} of {self._name} was deleted while it was made")
            if version["state"] == "READY":
                return
            if version["state"] not in ("CREATING", "UPDATING"):
                said = version.get("errorMessage", version["state"])
                raise PushError(f"creating the version {name} of {self._name} failed: {said}")
            self._pause(f"creating the version {name}", self._at(name))

    def _set_default(self, name: str):
        doing = f"making {name} the default version of {self._name}"
        self._do(doing, self._calls().setDefault, name=self._at(name), body={})

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
        for version in self._versions()[: -self._keep_last]:
            if not version.get("isDefault") and version["state"] in ("READY", "FAILED"):
                try:
                    tfx_runner.delete_version(self._api, self._options, _short(version))
                except PushError as error:  # the new version answers: the next push tries again
                    logging.getLogger(__name__).warning("%s", error)

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


def _can_serve(version: dict) -> bool:
    return version["state"] == "READY" and not _was_rolled_back(version)


def _after_default(versions: list[dict]) -> list[dict]:
    default = next((i for i, v in enumerate(versions) if v.get("isDefault")), -1)
    return versions[default + 1 :]
