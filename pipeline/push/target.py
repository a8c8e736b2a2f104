"""What every place that models are pushed to can do."""

import abc
import uuid
from dataclasses import dataclass, field


class PushError(RuntimeError):
    """A push, promotion or rollback that did not happen; the message says why and what to do."""


def rolled_back_error(version: str, destination: str) -> PushError:
    """What a push of a model says that was rolled back before."""
    return PushError(
        f"this model is version {version} of {destination}, which was rolled back; "
        f"`python -m pipeline.push promote --version {version}` serves it again"
    )


@dataclass(frozen=True)
class Pushed:
    """What TFX records on the PushedModel artifact."""

    version: str
    """The version's name at the target."""
    destination: str
    """The version's full address there."""


@dataclass(frozen=True)
class VersionStatus:
    """One version at a target."""

    name: str
    state: str
    """`served`, `canary`, `kept`, `rolled back`, or what hinders it, e.g. `creating`."""
    share: int
    """Percent of the requests that it answers."""
    made: str
    """Time of its creation, ISO 8601 in UTC; empty where the target does not say."""
    destination: str


@dataclass(frozen=True)
class Status:
    """What a target holds."""

    destination: str
    versions: tuple[VersionStatus, ...]
    """In the order in which they were pushed."""
    notes: tuple[str, ...] = field(default=())
    """What is out of order, and what will put it right."""


class Target(abc.ABC):
    """A place that models are pushed to. Every method raises PushError where it cannot act."""

    def preflight(self) -> str:
        """Checks all that can be checked before a run, with `check`.

        Returns:
            A value that is unique to this call. As a setting of the Pusher it defeats TFX's cache:
            only the target knows whether the model is still there.
        """
        self.check()
        return uuid.uuid4().hex

    @abc.abstractmethod
    def check(self) -> None:
        """Checks credentials, permissions and places; changes nothing that is served."""

    @abc.abstractmethod
    def push(self, model: str) -> Pushed:
        """Makes the SavedModel in the folder `model` the newest version.

        A model that is there already is not sent again; a push that died half way is completed.
        A model that was rolled back is refused: a run that makes it again must not undo that.
        """

    @abc.abstractmethod
    def status(self) -> Status:
        """What is there; changes nothing."""

    @abc.abstractmethod
    def promote(self, version: str | None = None) -> str:
        """Lets a version answer all requests; None: the one that waits. Returns its name."""

    @abc.abstractmethod
    def rollback(self, version: str | None = None) -> str:
        """Lets an earlier version answer again; None: the one before. Returns its name.

        The version that was served is marked as rolled back.
        """
