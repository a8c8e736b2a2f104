"""SavedModels in Cloud Storage, where Google's prediction services read them."""

import base64
import hashlib
from pathlib import Path

from data import gs
from data.errors import DataError
from pipeline.digests import settings_digest
from pipeline.push.target import PushError

_GRAPH = "saved_model.pb"


def model_digest(model: str) -> str:
    """Sha256 (hex) over the names and contents of a SavedModel, wherever it lies.

    Raises:
      PushError: there is no SavedModel, or the store cannot be read.
    """
    files = _files(model)
    if _GRAPH not in files:
        raise PushError(f"no SavedModel in {model}: {_GRAPH} is missing")
    return settings_digest(files)


def uploaded(model: str, models_at: str) -> str:
    """The `gs://` address of a SavedModel; it is uploaded unless it lies in the store already.

    The address follows from the content: an upload that died is completed, two at once agree. The
    graph is sent last, so that a model without it is known to be incomplete.

    Args:
      model: folder, local or `gs://`.
      models_at: `gs://bucket/folder` below which models lie.
    """
    if model.startswith(gs.PREFIX):
        return model
    address = f"{models_at}/{model_digest(model)[:16]}"
    here, there = _files(model), _files(address)
    missing = [name for name, digest in here.items() if there.get(name) != digest]
    try:
        for name in sorted(missing, key=lambda name: (name == _GRAPH, name)):
            gs.upload(str(Path(model) / name), f"{address}/{name}")
    except (OSError, DataError) as error:
        raise PushError(f"the model could not be uploaded: {error}") from error
    return address


def check_store(models_at: str):
    """Raises PushError unless the store can be read with the credentials at hand."""
    _files(models_at)


def _files(model: str) -> dict[str, str]:
    """MD5 of each file by its path in the model."""
    if not model.startswith(gs.PREFIX):
        paths = [path for path in Path(model).rglob("*") if path.is_file()]
        return {path.relative_to(model).as_posix(): _md5(path) for path in paths}
    try:
        return {name: digest for name, _, digest in gs.entries(model) if name}
    except (OSError, DataError) as error:
        raise PushError(f"cannot read {model}: {error}") from error


def _md5(path: Path) -> str:
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()
