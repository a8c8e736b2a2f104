"""The SavedModel of a Model artifact and its digest, on a file system or in Cloud Storage."""

from pathlib import Path

from data.errors import DataError
from data.storage import gs
from pipeline.artifacts.digests import settings_digest

FOLDER = "Format-Serving"
"""Folder of the SavedModel in a Model artifact of TFX's Trainer."""

GRAPH = "saved_model.pb"

DIGEST = "model_digest"
"""Custom property of evaluations and blessings: the digest of the evaluated SavedModel."""


class SavedModelError(RuntimeError):
    """A SavedModel is missing or cannot be read."""


def model_digest(folder: str) -> str:
    """Returns the SHA-256 (hex) over the file names and contents of a SavedModel.

    The digest does not depend on the location of the model.

    Args:
        folder: a local folder or a `gs://` URI.

    Raises:
        SavedModelError: the folder is not a SavedModel, or Cloud Storage cannot be read.
    """
    files = file_digests(folder)
    if GRAPH not in files:
        raise SavedModelError(f"no SavedModel in {folder}: {GRAPH} is missing")
    return settings_digest(files)


def file_digests(folder: str) -> dict[str, str]:
    """Returns the MD5 (base64, as in Cloud Storage) of each file by its path in the folder.

    Raises:
        SavedModelError: Cloud Storage cannot be read.
    """
    if not folder.startswith(gs.PREFIX):
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): gs.md5(path.read_bytes()) for path in paths}
    try:
        return {name: digest for name, _, digest in gs.entries(folder) if name}
    except (OSError, DataError) as error:
        raise SavedModelError(f"cannot read {folder}: {error}") from error
