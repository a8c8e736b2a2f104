"""Reads the records of a W&B run that lies on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator


def records(folder: str) -> Iterator:
    """The records (`wandb_internal_pb2.Record`) of an offline run, up to one that is half there.

    Args:
        folder: `wandb/offline-run-…`.
    """
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    [name] = (name for name in os.listdir(folder) if name.endswith(".wandb"))
    store = DataStore()
    store.open_for_scan(f"{folder}/{name}")
    try:
        while data := store.scan_data():
            yield Record.FromString(data)
    except AssertionError:
        return
