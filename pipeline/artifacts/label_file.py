"""The file of label names in a SavedModel."""

from pathlib import Path

FILE = "assets/labels.txt"
"""Path of the file in the folder of a SavedModel; `models.signatures` writes it."""


def read_labels(saved_model: Path) -> list[str] | None:
    """Returns the label names in the order of their indices; None without a label file."""
    try:
        return parse_labels((saved_model / FILE).read_text(encoding="utf-8"))
    except OSError:
        return None


def parse_labels(text: str) -> list[str]:
    """Parses the text of a label file: one name per line, `\\n` and `\\\\` as escapes."""
    return [_unescaped(line) for line in text.split("\n")[:-1]]


def _unescaped(line: str) -> str:
    parts = line.split("\\\\")
    return "\\".join(part.replace("\\n", "\n") for part in parts)
