"""The SavedModel of a Model artifact and its digest, on a file system or in Cloud Storage."""

from pathlib import Path

from data.errors import DataError
from data.storage import gs
from pipeline.artifacts.digests import settings_digest

FOLDER = "Format-Serving"
"""Where TFX's Trainer puts the SavedModel within a Model artifact."""

GRAPH = "saved_model.pb"

DIGEST = "model_digest"
"""Custom property of evaluations and blessings: the digest of the SavedModel that was judged."""


class SavedModelError(RuntimeError):
    """There is no SavedModel where one should be, or it cannot be read."""


def model_digest(folder: str) -> str:
    """Sha256 (hex) over the names and contents of a SavedModel; the same wherever it lies.

    Raises:
        SavedModelError: there is no SavedModel, or the store cannot be read.
    """
    files = file_digests(folder)
    if GRAPH not in files:
        raise SavedModelError(f"no SavedModel in {folder}: {GRAPH} is missing")
    return settings_digest(files)


def file_digests(folder: str) -> dict[str, str]:
    """MD5 (base64, as Cloud Storage keeps it) of each file by its path below the folder.

    Raises:
        SavedModelError: the store cannot be read.
    """
    if not folder.startswith(gs.PREFIX):
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): gs.md5(path.read_bytes()) for path in paths}
    try:
        return {name: digest for name, _, digest in gs.entries(folder) if name}
    except (OSError, DataError) as error:
        raise SavedModelError(f"cannot read {folder}: {error}") from error
