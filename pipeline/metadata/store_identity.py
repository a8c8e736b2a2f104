"""A unique identity of a root folder and its metadata store."""

import secrets
from pathlib import Path

_FILE = ".store"


def store_identity(root: str) -> str:
    """Returns the identity of a root folder.

    Distinguishes roots of the same path on different machines, e.g. in Weights & Biases.

    Args:
        root: a local folder or a `gs://` URI.

    Returns:
        The URI of a remote root; for a local root a random text, which its file `.store` keeps.
    """
    if "://" in root:
        return root.rstrip("/")
    file = Path(root) / _FILE
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(secrets.token_hex(8) + "\n")
    return file.read_text().strip()
