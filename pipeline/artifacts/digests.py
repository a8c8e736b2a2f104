"""Digests of files and settings; equal content has the same digest on every machine.

Hashes files without `data.storage.files`: importing `data` imports pandas, which push commands and
Beam workers do not need.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def folder_digest(folder: Path, pattern: str = "*") -> str:
    """Returns the SHA-256 (hex) over the relative paths and contents of the files in a folder.

    Args:
        folder: the folder, searched recursively.
        pattern: glob pattern of the file names.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob(pattern) if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Returns the SHA-256 (hex) of the content of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def settings_digest(settings: Any) -> str:
    """Returns the SHA-256 (hex) of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
