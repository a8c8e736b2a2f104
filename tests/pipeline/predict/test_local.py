"""Standard error of a library while it is imported."""

import os

import pytest

from pipeline.predict.local import _buffered_stderr


def test_it_is_suppressed(capfd):
    with _buffered_stderr():
        os.write(2, b"I0000 no GPU\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_it_is_written_if_the_import_fails(capfd):
    with pytest.raises(ImportError), _buffered_stderr():
        os.write(2, b"E0000 no such symbol\n")
        raise ImportError
    assert capfd.readouterr().err == "E0000 no such symbol\n"
