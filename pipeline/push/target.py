"""The interface of push targets."""

import abc
import uuid
from dataclasses import dataclass


class PushError(RuntimeError):
    """A push, promotion or rollback failed; the message says why and what to do."""


def rolled_back_error(version: str, destination: str) -> PushError:
    """The error for a push of a model that was rolled back."""
    return PushError(
        f"this model is version {version} of {destination}, which was rolled back; "
        f"`python -m pipeline.push promote --version {version}` serves it again"
    )


@dataclass(frozen=True)
class PushedVersion:
    """What the Pusher records on the PushedModel artifact."""

    version: str
    """Name of the version at the target."""
    destination: str
    """Full address of the version."""


@dataclass(frozen=True)
class VersionStatus:
    """Status of one version."""

    name: str
    state: str
    """`served`, `canary`, `kept`, `rolled back`, or a state of the service, e.g. `creating`."""
    share: int
    """Percent of the requests that the version answers."""
    made: str
    """Creation time, ISO 8601 in UTC; empty if unknown."""
    destination: str


@dataclass(frozen=True)
class TargetStatus:
    """Status of a target."""

    destination: str
    versions: tuple[VersionStatus, ...]
    """In the order in which they were pushed or promoted."""
    notes: tuple[str, ...] = ()
    """Problems and how to fix them."""


class PushTarget(abc.ABC):
    """A place that models are pushed to. Every method raises PushError if it fails."""

    def preflight(self) -> str:
        """Calls `check`.

        Returns:
            A new value on every call. As a setting of the Pusher it disables TFX's cache: only the
            target knows whether the model is still there.
        """
        self.check()
        return uuid.uuid4().hex

    @abc.abstractmethod
    def check(self) -> None:
        """Checks credentials, permissions and locations without changing what is served."""

    @abc.abstractmethod
    def push(self, model: str) -> PushedVersion:
        """Makes a SavedModel the newest version.

        Pushing a model that the target already serves is a no-op. An interrupted push of the same
        model is completed.

        Args:
            model: folder of the SavedModel.

        Raises:
            PushError: the push failed, or the model was rolled back before.
        """

    @abc.abstractmethod
    def status(self) -> TargetStatus:
        """The versions at the target; changes nothing."""

    @abc.abstractmethod
    def promote(self, version: str | None = None) -> str:
        """Serves all requests with a version.

        Args:
            version: name of the version; None: the one that waits for its promotion.

        Returns:
            Name of the version.
        """

    @abc.abstractmethod
    def rollback(self, version: str | None = None) -> str:
        """Serves an earlier version again and marks the current one as rolled back.

        Args:
            version: name of the earlier version; None: the one served before.

        Returns:
            Name of the version.
        """
