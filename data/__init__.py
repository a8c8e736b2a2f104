"""From photos to TFRecords and back: TFRecorder's calls, usable without the rest of pawprint."""

from importlib import import_module

_PUBLIC = {
    "DataError": "data.errors",
    "IMAGE_CSV_SCHEMA": "data.schema",
    "RecordSet": "data.record_set",
    "check_classes": "data.table",
    "convert": "data.conversion",
    "describe": "data.record_set",
    "read_csv": "data.table",
    "scan": "data.folders",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str):
    """Imports what is asked for, when it is asked for."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'data' has no attribute {name!r}")
