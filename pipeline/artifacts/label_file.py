"""The label names that a SavedModel carries."""

from pathlib import Path

FILE = "assets/labels.txt"
"""Where they are, in the SavedModel's folder; `models.signatures` writes it."""


def read_labels(saved_model: Path) -> list[str] | None:
    """Label names in the order of their indices; None where the model carries none."""
    try:
        return parse_labels((saved_model / FILE).read_text(encoding="utf-8"))
    except OSError:
        return None


def parse_labels(text: str) -> list[str]:
    """Label names of the file's text, one a line.

    A line break or backslash in a label is written with a backslash.
    """
    return [_unescaped(line) for line in text.split("\n")[:-1]]


def _unescaped(line: str) -> str:
    parts = line.split("\\\\")
    return "\\".join(part.replace("\\n", "\n") for part in parts)
