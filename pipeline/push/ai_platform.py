"""AI Platform Prediction: versions of one model, of which the default answers requests.

The name of a version contains a digest of the model and its settings, so that repeating a push that
was interrupted, or whose answer was lost, finds the version instead of creating a second one.
"""

import datetime
import logging
import re
import time
from collections.abc import Callable
from typing import Any

from google.auth.exceptions import GoogleAuthError
from googleapiclient import errors

from pipeline.artifacts.digests import settings_digest
from pipeline.config.push import AiPlatformConfig
from pipeline.push import tfx_runner
from pipeline.push.google_errors import credentials_error, request_error, timeout_error
from pipeline.push.target import (
    PushedVersion,
    PushError,
    PushTarget,
    TargetStatus,
    VersionStatus,
    rolled_back_error,
)
from pipeline.push.upload import check_store, model_digest, upload_model

# A version's history is in its description, the only field that can be changed.
_ROLLED_BACK = "rolled back"
_PROMOTED = "went out"
_PUSHED_NAME = re.compile("v_[0-9a-f]{16}")

Version = dict[str, Any]
"""A version as the service's JSON."""


class AiPlatformTarget(PushTarget):
    """A model of AI Platform Prediction.

    Args:
        options: the config's section `push.ai_platform`; `timeout_s` limits all calls together.
        keep_last: number of pushed versions to keep.

    Raises:
        PushError: there are no credentials, or the service does not answer.

    Example:
        >>> options = AiPlatformConfig(
        ...     project="my-project", region="us-central1", models_at="gs://my-bucket/models"
        ... )
        >>> target = AiPlatformTarget(options)  # doctest: +SKIP
        >>> target.push("gs://my-bucket/run/Format-Serving")  # doctest: +SKIP
        >>> target.rollback()  # doctest: +SKIP
        'v_0a1b2c3d4e5f6071'
    """

    def __init__(self, options: AiPlatformConfig, keep_last: int = 5):
        self._options = options
        self._keep_last = keep_last
        self._deadline = time.monotonic() + options.timeout_s
        self._api = tfx_runner.connect(options, self._deadline)
        self._name = f"projects/{options.project}/models/{options.model}"

    def check(self) -> None:
        check_store(self._options.models_at)
        self.status()

    def push(self, model: str) -> PushedVersion:
        digest = model_digest(model)
        settings = self._options.model_dump(
            include={"runtime_version", "machine_type", "min_nodes"}
        )
        name = f"v_{settings_digest([digest, settings])[:16]}"
        found = self._find(name)
        if found and found["state"] == "FAILED":
            tfx_runner.delete_version(self._api, self._options, name)
            found = None
        if found and _was_rolled_back(found):
            raise rolled_back_error(name, self._name)
        if found is None:
            address = upload_model(model, self._options.models_at)
            tfx_runner.create_model(self._api, self._options)
            tfx_runner.create_version(self._api, self._options, name, address)
        version = self._wait_until_ready(name)
        # The service makes the first version the default.
        default = version.get("isDefault", False)
        if (self._options.set_default or default) and not (default and _promoted_at(version)):
            self._promote(name)
        self._delete_old()
        return PushedVersion(name, self._address(name))

    def status(self) -> TargetStatus:
        rows = []
        for version in self._versions():
            served = version.get("isDefault", False)
            state = version["state"].lower()
            if state == "ready":
                rolled_back = _was_rolled_back(version)
                state = "served" if served else _ROLLED_BACK if rolled_back else "kept"
            rows.append(
                VersionStatus(
                    name=_name(version),
                    state=state,
                    share=100 if served else 0,
                    made=_created_at(version),
                    destination=version["name"],
                )
            )
        notes = [
            f"{row.name} failed; pushing its model again creates it anew"
            for row in rows
            if row.state == "failed"
        ]
        return TargetStatus(self._name, tuple(rows), tuple(notes))

    def promote(self, version: str | None = None) -> str:
        versions = self._versions()
        if version is None:
            waiting = [_name(v) for v in _newer_than_default(versions) if _can_serve(v)]
            if not waiting:
                raise PushError(
                    f"no version waits for promotion: none of {self._name} is newer than the "
                    "default"
                )
            version = waiting[-1]
        self._unmark_rolled_back(self._get_ready(version, versions))
        self._promote(version)
        return version

    def rollback(self, version: str | None = None) -> str:
        versions = self._versions()
        if version is None:
            previous = _previous(versions)
            if previous is None:
                raise PushError(
                    f"no version of {self._name} precedes the default: nothing to roll back to "
                    "without --version"
                )
            version = _name(previous)
        chosen = self._get_ready(version, versions)
        if chosen in _newer_than_default(versions):
            raise PushError(f"version {version} is newer than the default: `promote` it")
        self._unmark_rolled_back(chosen)
        # Marked first: repeating an interrupted rollback completes it.
        for newer in versions[versions.index(chosen) + 1 :]:
            if newer["state"] == "READY" and not _was_rolled_back(newer):
                self._mark_rolled_back(newer)
        self._set_default(version)
        return version

    def _find(self, name: str) -> Version | None:
        return self._find_resource(
            f"looking for the version {name}", self._methods().get, name=self._address(name)
        )

    def _versions(self) -> list[Version]:
        """All versions by time of promotion, else of creation; none if there is no model yet."""
        found: list[Version] = []
        token = None
        while True:
            doing = f"listing the versions of {self._name}"
            page = self._find_resource(
                doing, self._methods().list, parent=self._name, pageToken=token
            )
            found += (page or {}).get("versions", [])
            token = (page or {}).get("nextPageToken")
            if not token:
                return sorted(found, key=_push_order)

    def _wait_until_ready(self, name: str) -> Version:
        while True:
            version = self._find(name)
            if version is None:
                raise PushError(
                    f"the version {name} of {self._name} was deleted during its creation"
                )
            if version["state"] == "READY":
                return version
            if version["state"] not in ("CREATING", "UPDATING"):
                said = version.get("errorMessage", version["state"])
                raise PushError(f"creating the version {name} of {self._name} failed: {said}")
            self._pause(f"creating the version {name}", self._address(name))

    def _promote(self, name: str) -> None:
        """Makes a version the default and the newest one."""
        self._set_default(name)
        self._set_description(name, f"{_PROMOTED} {_now().isoformat()}")

    def _set_default(self, name: str) -> None:
        doing = f"making {name} the default version of {self._name}"
        self._call(doing, self._methods().setDefault, name=self._address(name), body={})

    def _mark_rolled_back(self, version: Version) -> None:
        text = f"{_ROLLED_BACK} {_now().isoformat()}; {version.get('description', '')}"
        self._set_description(_name(version), text)

    def _unmark_rolled_back(self, version: Version) -> None:
        if _was_rolled_back(version):
            self._set_description(_name(version), version["description"].partition("; ")[2])

    def _set_description(self, name: str, description: str) -> None:
        doing = f"describing the version {name} of {self._name}"
        body, mask = {"description": description}, "description"
        operation = self._call(
            doing, self._methods().patch, name=self._address(name), body=body, updateMask=mask
        )
        while not operation.get("done"):
            self._pause(doing, operation["name"])
            get = self._api.projects().operations().get
            operation = self._call(doing, get, name=operation["name"])
        if "error" in operation:
            raise PushError(f"{doing} failed: {operation['error'].get('message')}")

    def _delete_old(self) -> None:
        versions = self._versions()
        used = [_previous(versions), *(v for v in versions if v.get("isDefault"))]
        counted = [v for v in versions if self._counts_for_keep_last(v)]
        for version in counted[: -self._keep_last]:
            if version not in used:
                try:
                    tfx_runner.delete_version(self._api, self._options, _name(version))
                except PushError as error:
                    # The new version is served already, and the next push tries again.
                    logging.getLogger(__name__).warning("%s", error)

    def _counts_for_keep_last(self, version: Version) -> bool:
        """Whether `keep_last` counts a version, which may then be deleted.

        Not counted are versions that no push created, versions that were rolled back, whose mark
        must stay, and versions that a concurrent push may be about to make the default.
        """
        created_at = datetime.datetime.fromisoformat(_created_at(version))
        in_progress = (_now() - created_at).total_seconds() < self._options.timeout_s
        ended = version["state"] in ("READY", "FAILED") and not _was_rolled_back(version)
        pushed = _PUSHED_NAME.fullmatch(_name(version)) is not None
        return pushed and ended and (bool(_promoted_at(version)) or not in_progress)

    def _get_ready(self, version: str, versions: list[Version]) -> Version:
        for candidate in versions:
            if _name(candidate) == version and candidate["state"] == "READY":
                return candidate
        listed = ", ".join(_name(v) for v in versions if v["state"] == "READY") or "none"
        raise PushError(f"no version {version!r} of {self._name} is ready; there are: {listed}")

    def _pause(self, doing: str, operation: str) -> None:
        if time.monotonic() + tfx_runner.POLL_S > self._deadline:
            raise timeout_error(doing, self._options.timeout_s, operation)
        time.sleep(tfx_runner.POLL_S)

    def _find_resource(
        self, doing: str, method: Callable[..., Any], **arguments: Any
    ) -> dict[str, Any] | None:
        """Calls a method; returns None if the service answers 404."""
        try:
            return self._call(doing, method, **arguments)
        except PushError as error:
            if isinstance(error.__cause__, errors.HttpError) and error.__cause__.resp.status == 404:
                return None
            raise

    def _call(self, doing: str, method: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
        """Calls a method; raises PushError if it fails."""
        try:
            response: dict[str, Any] = method(**arguments).execute()
            return response
        except errors.HttpError as error:
            raise tfx_runner.http_error(doing, error) from error
        except GoogleAuthError as error:
            raise credentials_error(error) from error
        except tfx_runner.TRANSPORT_ERRORS as error:
            raise request_error(doing, 0, str(error) or type(error).__name__) from error

    def _methods(self) -> Any:
        """The client's methods for versions."""
        return self._api.projects().models().versions()

    def _address(self, name: str) -> str:
        return f"{self._name}/versions/{name}"


def _name(version: Version) -> str:
    return str(version["name"]).rpartition("/")[2]


def _was_rolled_back(version: Version) -> bool:
    return str(version.get("description", "")).startswith(_ROLLED_BACK)


def _promoted_at(version: Version) -> str:
    """Time of the last push or promotion to default, ISO 8601; empty without one."""
    return str(version.get("description", "")).partition(f"{_PROMOTED} ")[2]


def _push_order(version: Version) -> str:
    """Sort key: time of the last push or promotion to default, else of creation."""
    return _promoted_at(version) or str(version.get("createTime", ""))


def _created_at(version: Version) -> str:
    """Creation time, ISO 8601 in UTC."""
    return str(version["createTime"])[:19] + "+00:00"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _previous(versions: list[Version]) -> Version | None:
    """The last version that was the default before this one and was not rolled back."""
    default = next((i for i, v in enumerate(versions) if v.get("isDefault")), 0)
    good = [v for v in versions[:default] if _can_serve(v) and _promoted_at(v)]
    return good[-1] if good else None


def _can_serve(version: Version) -> bool:
    return version["state"] == "READY" and not _was_rolled_back(version)


def _newer_than_default(versions: list[Version]) -> list[Version]:
    default = next((i for i, v in enumerate(versions) if v.get("isDefault")), -1)
    return versions[default + 1 :]
