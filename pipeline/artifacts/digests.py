"""Fingerprints of files and settings: equal content gives an equal digest on every machine."""

import hashlib
import json
from pathlib import Path

_CHUNK = 1 << 20


def folder_digest(folder: Path, pattern: str = "*") -> str:
    """Sha256 (hex) over relative paths and contents of the files below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob(pattern) if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Sha256 (hex) of the content of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def settings_digest(settings) -> str:
    """Sha256 (hex) of anything that JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
