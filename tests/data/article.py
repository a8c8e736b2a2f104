"""The code of the published workflow, which its readers use, from the shared text."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

_TOP = ("tfr_format", "IMAGE_SIZE", "BATCH_SIZE", "def ", "}", '"')


def conversion_call(folder: Path) -> str:
    """`pd.read_csv(...)` and `to_tfr(...)`; the text lost the line break between the two."""
    (found,) = re.findall(r"dfgcs = pd\.read_csv.*?TFRECORDER_WHEEL\)", _text(folder), re.DOTALL)
    return found.replace("FILENAME)dfgcs", "FILENAME)\ndfgcs")


def reader(folder: Path) -> str:
    """`tfr_format`, `read_tfrecord` and `get_dataset`; the text lost the functions' indentation."""
    text = _text(folder)
    (spec,) = re.findall(r"tfr_format = \{.*?\n\}", text, re.DOTALL)
    (code,) = re.findall(r"IMAGE_SIZE=.*?return dataset\n", text, re.DOTALL)
    lines = [line if line.startswith(_TOP) else f"    {line}" for line in code.splitlines()]
    return textwrap.dedent(spec) + "\n" + "\n".join(lines)


def _text(folder: Path) -> str:
    (path,) = folder.glob("*.txt")
    return path.read_text(encoding="utf-8")
