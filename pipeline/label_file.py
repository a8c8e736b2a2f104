"""The label names that a SavedModel carries."""

from pathlib import Path

_FILE = "assets/labels.txt"


def read_labels(saved_model: Path) -> list[str] | None:
    """Label names in the order of their indices; None where the model carries none."""
    try:
        lines = (saved_model / _FILE).read_text(encoding="utf-8").split("\n")[:-1]
    except OSError:
        return None
    return [_unescaped(line) for line in lines]


def _unescaped(line: str) -> str:
    """A line break or backslash in a label is written with a backslash, see models.signatures."""
    parts = line.split("\\\\")
    return "\\".join(part.replace("\\n", "\n") for part in parts)
