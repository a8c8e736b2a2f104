"""The result of `convert`."""

from __future__ import annotations

import itertools
from typing import Any

from data.conversion.manifest import Manifest

_SHOWN_LABELS = 20  # of a split


class ConversionResult(dict[str, Any]):
    """TFRecorder's result dict; `str()` shows counts by split and label, discards and bytes.

    Attributes:
        manifest: The content of the folder's `manifest.json`; None for a submitted job.
    """

    manifest: Manifest | None = None

    def __str__(self) -> str:
        return summary(self.manifest, self["tfrecord_dir"]) if self.manifest else repr(dict(self))


def result(manifest: Manifest, folder: str, job_id: str = "DirectRunner") -> ConversionResult:
    """Returns the result of a finished conversion."""
    good = sum(shard["records"] for shard in manifest["shards"])
    converted = ConversionResult(
        job_id=job_id,
        metrics={
            "rows": manifest["rows"],
            "good_images": good,
            "bad_images": manifest["rows"] - good,
        },
        tfrecord_dir=folder,
    )
    converted.manifest = manifest
    return converted


def summary(manifest: Manifest, folder: str) -> str:
    """Formats the counts by split and label, the discards, the bytes and the folder."""
    lines = []
    for split, counts in manifest["counts"].items():
        shown = itertools.islice(counts.items(), _SHOWN_LABELS)
        labels = [f"{label} {count}" for label, count in shown]
        more = [f"{len(counts) - _SHOWN_LABELS} more"] * (len(counts) > _SHOWN_LABELS)
        lines.append(f"{split:<11}{sum(counts.values()):>8}  ({', '.join(labels + more)})")
    size = sum(shard["bytes"] for shard in manifest["shards"])
    shards = len(manifest["shards"])
    lines.append(f"{'discarded':<11}{manifest['discarded']:>8}")
    lines.append(f"{size:,} bytes in {shards} shards in {folder}")
    return "\n".join(lines)
