"""The conditions of tasks, as TFX writes them for Vertex AI: a small part of CEL."""

from __future__ import annotations

import re

from tests.standins.vertex_metadata import Artifact

_FIELD = re.compile(
    r"inputs\.artifacts\['(?P<key>[^']+)'\]\.artifacts\[(?P<index>\d+)\]"
    r"\.(?:(?P<uri>uri)|metadata\['(?P<name>[^']+)'\])"
)


def holds(condition: str, inputs: dict[str, list[Artifact]]) -> bool:
    """Whether a task's condition is met.

    Raises:
        ValueError: It has anything but comparisons of input artifacts with constants.
    """

    def value(match: re.Match) -> str:
        artifact = inputs[match["key"]][int(match["index"])]
        held = artifact.uri if match["uri"] else artifact.metadata.get(match["name"])
        return repr(held)

    text = _FIELD.sub(value, condition)
    text = text.replace("&&", " and ").replace("||", " or ")
    text = re.sub(r"!(?!=)", " not ", text)
    names = set(re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'|\"[^\"]*\"", "", text)))
    if names - {"and", "or", "not", "None", "True", "False"}:
        raise ValueError(f"a condition that this stand-in does not know: {condition}")
    return bool(eval(text, {"__builtins__": {}}))
