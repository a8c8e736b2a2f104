"""Reads the history of versions on Vertex AI from their labels, aliases and traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as vertex

STATE = "pawprint_state"
"""Label of a version that was rolled back."""
ROLLED_BACK = "rolled-back"
"""Value of that label."""
PROMOTED_AT = "pawprint_went_out"
"""Label of a version that was pushed or promoted to all traffic: when, in ms since 1970."""


def push_order(version: vertex.Model) -> tuple[int, int]:
    """Sort key: time of the last push or promotion to all traffic, else of creation.

    Version numbers sort differently if an older model was pushed or promoted again.
    """
    promoted_at = int(version.labels.get(PROMOTED_AT, 0))
    created_at = int(version.version_create_time.timestamp() * 1000)
    return promoted_at or created_at, number(version)


def number(version: vertex.Model) -> int:
    """The version's number; numbers increase with the time of creation."""
    return int(version.version_id)


def was_rolled_back(version: vertex.Model) -> bool:
    """Whether the version was rolled back."""
    return bool(version.labels.get(STATE) == ROLLED_BACK)


def traffic(endpoint: vertex.Endpoint) -> dict[str, int]:
    """Percent of the traffic by the id of each deployed model, 0 included."""
    split = dict(endpoint.traffic_split)
    return {deployed.id: split.get(deployed.id, 0) for deployed in endpoint.deployed_models}


def served_version(shares: dict[str, int], versions: list[vertex.Model]) -> str | None:
    """The default version; if that has no traffic, as during a push, the one with the most.

    Args:
        shares: percent of the traffic by version.
        versions: all versions.

    Returns:
        The version's number; None if no version is deployed.
    """
    default = next((v.version_id for v in versions if "default" in v.version_aliases), None)
    if default is not None and shares.get(default):
        return str(default)
    return max(shares, key=shares.__getitem__, default=None)


def previous_version(served: str | None, versions: list[vertex.Model]) -> str | None:
    """The version that a rollback goes back to.

    That is the last one that answered all requests before the served one and was not rolled back.

    Args:
        served: number of the served version.
        versions: all versions in their `push_order`.

    Returns:
        The version's number; None if there is no such version.
    """
    numbers = [v.version_id for v in versions]
    earlier = versions[: numbers.index(served)] if served in numbers else []
    good = [v.version_id for v in earlier if PROMOTED_AT in v.labels and not was_rolled_back(v)]
    return good[-1] if good else None
