"""A SavedModel on this machine."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.artifacts.version_folder import served_version
from pipeline.predict.answers import Failure, ModelError, Prediction, prediction

_BATCH = 16
_SIGNATURE = "serving_default"


class LocalModel:
    """The served version of a folder of versions, or one SavedModel.

    Raises:
        ModelError: there is none at `path`, or it cannot be loaded.
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
                raise ModelError(f"{path} is no SavedModel and has no version of one")
            folder = folder / str(version)
        # TensorFlow takes seconds to import: only now, when there is something to load.
        with _buffered_stderr():
            from pipeline.serve.loaded_model import LoadedModel

        try:
            self._model = LoadedModel(folder, 0)
            self._signature = self._model.signatures[_SIGNATURE]
        except KeyError:
            raise ModelError(f"the model at {folder} has no signature {_SIGNATURE}") from None
        except Exception as error:  # whatever a damaged model raises
            raise ModelError(f"the model at {folder} cannot be loaded: {error}") from error

    def predict(self, records: Sequence[bytes]) -> list[Prediction | Failure]:
        """Asks about serialised records."""
        from pipeline.serve.errors import RowError

        answers = []
        for start in range(0, len(records), _BATCH):
            for answer in self._model.answer(self._signature, records[start : start + _BATCH]):
                failed = isinstance(answer, RowError)
                answers.append(Failure(answer.message) if failed else prediction(answer))
        return answers


@contextlib.contextmanager
def _buffered_stderr() -> Iterator[None]:
    """Holds back what is written to standard error; shows it where the block fails.

    TensorFlow 2.21 writes there as it is imported, before its own level of messages holds.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
