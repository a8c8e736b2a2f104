"""Atomic writes of small files to any file system that TensorFlow supports."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_TEMPORARY = ".tmp"


def write(path: str, content: bytes) -> None:
    """Writes a file under a temporary name, then renames it."""
    tf.io.gfile.makedirs(path.rpartition("/")[0])
    with tf.io.gfile.GFile(path + _TEMPORARY, "wb") as file:
        file.write(content)
    tf.io.gfile.rename(path + _TEMPORARY, path, overwrite=True)


def read(path: str) -> bytes | None:
    """Returns a file's content, or None if the file does not exist."""
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        content: bytes = file.read()
    return content


def write_json(path: str, content: Any) -> None:
    """Writes a JSON file."""
    write(path, json.dumps(content, indent=1).encode())


def read_json(path: str) -> Any:
    """Returns a JSON file's content, or None if the file does not exist."""
    content = read(path)
    return None if content is None else json.loads(content)


def remove(folder: str, names: Sequence[str]) -> None:
    """Removes files that `write` wrote to a folder, and the folder if it is empty then."""
    for name in (each + ending for each in names for ending in ("", _TEMPORARY)):
        if tf.io.gfile.exists(f"{folder}/{name}"):
            tf.io.gfile.remove(f"{folder}/{name}")
    if tf.io.gfile.exists(folder) and not tf.io.gfile.listdir(folder):
        tf.io.gfile.rmtree(folder)


def copy(folder: str, target: str) -> None:
    """Copies a local folder recursively; skips symbolic links."""
    for parent, _, names in os.walk(folder):
        place = f"{target}/{os.path.relpath(parent, folder)}".removesuffix("/.")
        tf.io.gfile.makedirs(place)
        for name in names:
            if not os.path.islink(f"{parent}/{name}"):
                tf.io.gfile.copy(f"{parent}/{name}", f"{place}/{name}", overwrite=True)
