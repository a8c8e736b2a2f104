"""From photos to TFRecords and back: TFRecorder's calls, usable without the rest of pawprint."""

import os
from importlib import import_module

_PUBLIC = {
    "DataError": "data.errors",
    "FloatInput": "data.types",
    "IMAGE_CSV_SCHEMA": "data.input_schema",
    "ImageUri": "data.types",
    "IntegerInput": "data.types",
    "IntegerLabel": "data.types",
    "RecordSet": "data.record_set",
    "Schema": "data.input_schema",
    "SplitKey": "data.types",
    "StringInput": "data.types",
    "StringLabel": "data.types",
    "check_classes": "data.table",
    "check_photos": "data.folders",
    "convert": "data.conversion",
    "convert_and_load": "data.loading",
    "describe": "data.record_set",
    "inspect": "data.inspection",
    "load": "data.loading",
    "read_csv": "data.table",
    "scan": "data.folders",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str):
    """Imports what is asked for, when it is asked for."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'data' has no attribute {name!r}")


if "PAWPRINT_DATA_WORKER" not in os.environ:  # set by data.pool; a worker needs no pandas
    import_module("data.accessor")
