"""What the labels, aliases and traffic of versions say: which is served, which went out before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as vertex

STATE = "pawprint_state"
"""Label of a version that was rolled back."""
ROLLED_BACK = "rolled-back"
"""Its value."""
PROMOTED_AT = "pawprint_went_out"
"""Label of a version that was pushed or promoted to all of the traffic: when, in ms since 1970."""


def since(version: vertex.Model) -> tuple[int, int]:
    """Orders versions as they went out, or were made where they did not.

    Their numbers have another order where an older model was pushed or promoted again.
    """
    promoted_at = int(version.labels.get(PROMOTED_AT, 0))
    made = int(version.version_create_time.timestamp() * 1000)
    return promoted_at or made, number(version)


def number(version: vertex.Model) -> int:
    """The version's number, which follows from the time of its making."""
    return int(version.version_id)


def was_rolled_back(version: vertex.Model) -> bool:
    """Whether somebody took the version away."""
    return version.labels.get(STATE) == ROLLED_BACK


def shares(endpoint: vertex.Endpoint) -> dict[str, int]:
    """Percent of the traffic by deployed id; 0 for those without."""
    split = dict(endpoint.traffic_split)
    return {deployed.id: split.get(deployed.id, 0) for deployed in endpoint.deployed_models}


def served(answering: dict[str, int], versions: list[vertex.Model]) -> str | None:
    """The default version; where that has no traffic, as amid a push, the one with the most.

    Args:
        answering: percent of the traffic by version.
        versions: all of them.
    """
    default = next((v.version_id for v in versions if "default" in v.version_aliases), None)
    return default if answering.get(default) else max(answering, key=answering.get, default=None)


def before(served: str | None, versions: list[vertex.Model]) -> str | None:
    """The last version that went out before the one served and was not rolled back.

    Args:
        served: its number.
        versions: in their order, see `since`.
    """
    numbers = [v.version_id for v in versions]
    earlier = versions[: numbers.index(served)] if served in numbers else []
    good = [v.version_id for v in earlier if PROMOTED_AT in v.labels and not was_rolled_back(v)]
    return good[-1] if good else None
