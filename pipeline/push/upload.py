"""Uploads SavedModels to Cloud Storage, where Google's prediction services read them."""

from pathlib import Path

from data.errors import DataError
from data.storage import gs
from pipeline.artifacts import saved_model
from pipeline.push.target import PushError


def model_digest(model: str) -> str:
    """`saved_model.model_digest`; raises PushError if there is no readable SavedModel."""
    try:
        return saved_model.model_digest(model)
    except saved_model.SavedModelError as error:
        raise PushError(str(error)) from error


def upload_model(model: str, models_at: str) -> str:
    """Uploads a SavedModel to Cloud Storage unless it is there already; returns its address.

    The address contains the model's digest, so that an interrupted upload is completed and two
    concurrent ones agree. The graph is uploaded last: a model without it is incomplete.

    Args:
        model: folder, local or `gs://`.
        models_at: `gs://bucket/folder` of the uploaded models.

    Returns:
        The `gs://` address of the SavedModel.

    Raises:
        PushError: there is no SavedModel, the upload failed, or the uploaded files differ.
    """
    if model.startswith(gs.PREFIX):
        return model
    digest = model_digest(model)
    address = f"{models_at}/{digest[:16]}"
    local, uploaded = _digests(model), _digests(address)
    missing = [name for name, md5 in local.items() if uploaded.get(name) != md5]
    try:
        for name in sorted(missing, key=lambda name: (name == saved_model.GRAPH, name)):
            gs.upload(str(Path(model) / name), f"{address}/{name}")
    except (OSError, DataError) as error:
        raise PushError(f"the model could not be uploaded: {error}") from error
    if missing and model_digest(address) != digest:
        raise PushError(
            f"the files in {address} differ from those in {model}: the model changed during the "
            f"upload, or the folder holds other files; remove {address} and push again"
        )
    return address


def check_store(models_at: str) -> None:
    """Raises PushError unless the credentials can read the folder `models_at`."""
    _digests(models_at)


def _digests(folder: str) -> dict[str, str]:
    """MD5 of each file by its path below `folder`."""
    try:
        return saved_model.file_digests(folder)
    except saved_model.SavedModelError as error:
        raise PushError(str(error)) from error
