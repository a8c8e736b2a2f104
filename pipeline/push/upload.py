"""SavedModels in Cloud Storage, where Google's prediction services read them."""

from pathlib import Path

from data.errors import DataError
from data.storage import gs
from pipeline.artifacts import saved_model
from pipeline.push.target import PushError


def model_digest(model: str) -> str:
    """`saved_model.model_digest`; raises PushError where there is no SavedModel to read."""
    try:
        return saved_model.model_digest(model)
    except saved_model.SavedModelError as error:
        raise PushError(str(error)) from error


def uploaded(model: str, models_at: str) -> str:
    """The `gs://` address of a SavedModel; it is uploaded unless it lies in the store already.

    The address follows from the content: an upload that died is completed, two at once agree. The
    graph is sent last, so that a model without it is known to be incomplete.

    Args:
        model: folder, local or `gs://`.
        models_at: `gs://bucket/folder` below which models lie.

    Raises:
        PushError: there is no SavedModel, the store refuses the upload, or it holds other files
            afterwards.
    """
    if model.startswith(gs.PREFIX):
        return model
    digest = model_digest(model)
    address = f"{models_at}/{digest[:16]}"
    here, there = _files(model), _files(address)
    missing = [name for name, md5 in here.items() if there.get(name) != md5]
    try:
        for name in sorted(missing, key=lambda name: (name == saved_model.GRAPH, name)):
            gs.upload(str(Path(model) / name), f"{address}/{name}")
    except (OSError, DataError) as error:
        raise PushError(f"the model could not be uploaded: {error}") from error
    if missing and model_digest(address) != digest:
        raise PushError(
            f"the files in {address} are not those of {model}: the model changed during the "
            f"upload, or the folder has files of something else; remove {address} and push again"
        )
    return address


def check_store(models_at: str):
    """Raises PushError unless the store can be read with the credentials at hand."""
    _files(models_at)


def _files(folder: str) -> dict[str, str]:
    try:
        return saved_model.file_digests(folder)
    except saved_model.SavedModelError as error:
        raise PushError(str(error)) from error
