"""What tells one root folder, and its metadata store, from every other."""

import secrets
from pathlib import Path

_FILE = ".store"


def store_identity(root: str) -> str:
    """The identity of a root: a remote one is its own; a local one keeps a random one in `.store`.

    Two machines may both have a root `/runs` and an execution 7 in it: who sends their artifacts
    to one place needs to tell them apart.
    """
    if "://" in root:
        return root.rstrip("/")
    file = Path(root) / _FILE
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(secrets.token_hex(8) + "\n")
    return file.read_text().strip()
