"""What `convert` returns."""

from __future__ import annotations

import itertools

_SHOWN = 20  # labels of a split


class ConversionResult(dict):
    """TFRecorder's result dict; `str()` of it tells counts by split and label, discards and bytes.

    Attributes:
        manifest: The content of the folder's `manifest.json`; None for a submitted job.
    """

    manifest: dict | None = None

    def __str__(self) -> str:
        return summary(self.manifest, self["tfrecord_dir"]) if self.manifest else repr(dict(self))


def result(manifest: dict, folder: str, job_id: str = "DirectRunner") -> ConversionResult:
    """The result of a finished conversion."""
    good = sum(shard["records"] for shard in manifest["shards"])
    made = ConversionResult(
        job_id=job_id,
        metrics={
            "rows": manifest["rows"],
            "good_images": good,
            "bad_images": manifest["rows"] - good,
        },
        tfrecord_dir=folder,
    )
    made.manifest = manifest
    return made


def summary(manifest: dict, folder: str) -> str:
    """The counts by split and label, the discards, the bytes and the folder, as text."""
    lines = []
    for split, counts in manifest["counts"].items():
        labels = [f"{label} {count}" for label, count in itertools.islice(counts.items(), _SHOWN)]
        more = [f"{len(counts) - _SHOWN} more"] * (len(counts) > _SHOWN)
        lines.append(f"{split:<11}{sum(counts.values()):>8}  ({', '.join(labels + more)})")
    size = sum(shard["bytes"] for shard in manifest["shards"])
    shards = len(manifest["shards"])
    lines.append(f"{'discarded':<11}{manifest['discarded']:>8}")
    lines.append(f"{size:,} bytes in {shards} shards in {folder}")
    return "\n".join(lines)
