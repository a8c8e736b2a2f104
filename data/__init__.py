"""Photos to TFRecords and back, with TFRecorder's calls; usable without the rest of pawprint.

Example:
    ```python
    import data

    table = data.scan("photos")
    converted = data.convert(table, "tfrecords", encoding="jpeg")
    datasets = data.load(converted["tfrecord_dir"], decode=True)
    ```
"""

import os
from importlib import import_module
from typing import Any

_PUBLIC = {
    "DataError": "data.errors",
    "FloatInput": "data.record.types",
    "IMAGE_CSV_SCHEMA": "data.record.input_schema",
    "ImageUri": "data.record.types",
    "IntegerInput": "data.record.types",
    "IntegerLabel": "data.record.types",
    "RecordSet": "data.record_set",
    "Schema": "data.record.input_schema",
    "SplitKey": "data.record.types",
    "StringInput": "data.record.types",
    "StringLabel": "data.record.types",
    "check_classes": "data.sources.table",
    "check_photos": "data.sources.folders",
    "convert": "data.conversion.convert",
    "convert_and_load": "data.loading",
    "describe": "data.record_set",
    "inspect": "data.inspection",
    "load": "data.loading",
    "read_csv": "data.sources.table",
    "scan": "data.sources.folders",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'data' has no attribute {name!r}")


# data.conversion.pool sets this for its workers, which do not need pandas.
if "PAWPRINT_DATA_WORKER" not in os.environ:
    import_module("data.accessor")
