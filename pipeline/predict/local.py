"""Predicts with a SavedModel on this machine."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.artifacts.version_folder import served_version
from pipeline.predict.prediction import Failure, ModelError, Prediction, parse_outputs

_BATCH = 16
_SIGNATURE = "serving_default"


class LocalModel:
    """The served version of a folder of versions, or one SavedModel.

    Args:
        path: The folder.

    Raises:
        ModelError: `path` has no model, or it cannot be loaded.
    """

    def __init__(self, path: str):
        folder = Path(path)
        if not folder.is_dir():
            raise ModelError(
                f"no such folder: {path}; give a serving folder, a SavedModel or a URL"
            )
        if not (folder / "saved_model.pb").is_file():
            version = served_version(folder)
            if version is None:
                raise ModelError(f"{path} is neither a SavedModel nor a folder of versions")
            folder = folder / str(version)
        # Imported after the path was checked: TensorFlow takes seconds to import.
        with _buffered_stderr():
            from pipeline.serve.loaded_model import LoadedModel

        try:
            self._model = LoadedModel(folder, 0)
            self._signature = self._model.signatures[_SIGNATURE]
        except KeyError:
            raise ModelError(f"the model at {folder} has no signature {_SIGNATURE}") from None
        except Exception as error:  # a damaged model may raise anything
            raise ModelError(f"the model at {folder} cannot be loaded: {error}") from error

    def predict(self, records: Sequence[bytes]) -> list[Prediction | Failure]:
        """Predicts serialized records."""
        from pipeline.serve.errors import RowError

        results: list[Prediction | Failure] = []
        for start in range(0, len(records), _BATCH):
            for row in self._model.predict(self._signature, records[start : start + _BATCH]):
                if isinstance(row, RowError):
                    results.append(Failure(row.message))
                else:
                    results.append(parse_outputs(row))
        return results


@contextlib.contextmanager
def _buffered_stderr() -> Iterator[None]:
    """Suppresses standard error; writes it out if the block raises.

    TensorFlow 2.21 logs while it is imported, before its log level takes effect.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as buffer:
        saved = os.dup(2)
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        except BaseException:
            buffer.seek(0)
            os.write(saved, buffer.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
