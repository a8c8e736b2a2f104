"""Draws a summary of statistics and evaluations from TFX's files, without TensorFlow."""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from data.record import tfrecord

_PAD, _ROW, _NAME, _CELL = 14, 64, 190, 210
_BAR_WIDTH = 186
_GROUND, _INK, _SOFT, _BAR, _EMPTY = "#ffffff", "#1d2228", "#667079", "#3b6fb6", "#e3e6e9"
_BARS = 24
Cell = tuple[list[float] | float | None, str]
"""Heights of a histogram, a fraction of 1 or None; and a caption."""
Table = tuple[list[str], dict[str, list[Cell]]]
"""Column names, and the cells of each row by its name."""


def summary_image(kind: str, folder: Path) -> bytes | None:
    """Draws a summary of a payload.

    Args:
        kind: W&B type of the artifact.
        folder: Local folder of its payload.

    Returns:
        A PNG file; None for types other than `statistics` and `evaluation` and for unreadable
        payloads.
    """
    read = _READERS.get(kind)
    if read is None or not folder.is_dir():
        return None
    try:
        columns, rows = read(folder)
        return _grid(columns, rows) if rows else None
    except Exception:  # the image is optional: it must not fail the mirror
        return None


def _statistics(folder: Path) -> Table:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    found = {path.parent.name: path.parent for path in folder.glob("Split-*/FeatureStats.pb")}
    splits = [found[name] for name in sorted(found, key=lambda name: (name != "Split-train", name))]
    rows: dict[str, list[Cell]] = {}
    for number, split in enumerate(splits):
        read = statistics_pb2.DatasetFeatureStatisticsList.FromString(
            (split / "FeatureStats.pb").read_bytes()
        )
        for feature in read.datasets[0].features:
            name = feature.name or ".".join(feature.path.step)
            cells = rows.setdefault(name, [(None, "")] * len(splits))
            cells[number] = _feature(feature)
    return [split.name.removeprefix("Split-") for split in splits], rows


def _feature(feature: Any) -> Cell:
    kind = feature.WhichOneof("stats")
    stats = getattr(feature, kind)
    missing = stats.common_stats.num_missing
    note = f", {missing} missing" if missing else ""
    if kind == "num_stats":
        histogram = next(iter(stats.histograms), None)
        bars = [bucket.sample_count for bucket in histogram.buckets] if histogram else []
        return bars, f"{stats.min:g} to {stats.max:g}, mean {stats.mean:.4g}{note}"
    if kind == "string_stats":
        bars = [bucket.sample_count for bucket in stats.rank_histogram.buckets]
        return bars, f"{stats.unique} different{note}"
    return None, kind


def _evaluation(folder: Path) -> Table:
    proto = _without_tensorflow(
        "tensorflow_model_analysis", "tensorflow_model_analysis.proto.metrics_for_slice_pb2"
    )
    values: dict[str, dict[str, float]] = {}
    for file in sorted(folder.glob("metrics-*.tfrecord*")):
        for record in tfrecord.read(str(file)):
            found = proto.MetricsForSlice.FromString(record)
            keys = map(_slice, found.slice_key.single_slice_keys)
            by_name = values.setdefault(", ".join(keys) or "overall", {})
            for item in found.metric_keys_and_values:
                key = item.key
                other = key.is_diff or key.model_name == "baseline"  # the name used by TFMA
                if item.value.WhichOneof("type") == "double_value" and not other:
                    of_one = key.HasField("sub_key") and not key.HasField("aggregation_type")
                    label = f" of {key.sub_key.class_id.value}" if of_one else ""
                    by_name[key.name + label] = item.value.double_value.value
    names = sorted({name for by_name in values.values() for name in by_name})
    ordered = sorted(values, key=lambda slice_: (slice_ != "overall", slice_))
    return names, {
        slice_: [_metric(name, values[slice_].get(name)) for name in names] for slice_ in ordered
    }


def _slice(key: Any) -> str:
    value = getattr(key, key.WhichOneof("kind"))
    return f"{key.column}={value.decode() if isinstance(value, bytes) else value}"


def _metric(name: str, value: float | None) -> Cell:
    if value is None:
        return None, ""
    return value if 0 <= value <= 1 and name != "loss" else None, f"{value:.4g}"


_READERS: dict[str, Callable[[Path], Table]] = {
    "statistics": _statistics,
    "evaluation": _evaluation,
}


def _grid(columns: list[str], rows: dict[str, list[Cell]]) -> bytes:
    font, small = ImageFont.load_default(size=14), ImageFont.load_default(size=12)
    width = 2 * _PAD + _NAME + _CELL * len(columns)
    image = Image.new("RGB", (width, 2 * _PAD + 24 + _ROW * len(rows)), _GROUND)
    draw = ImageDraw.Draw(image)
    for number, name in enumerate(columns):
        draw.text((_PAD + _NAME + _CELL * number, _PAD), name[:28], _SOFT, font)
    for line, (name, cells) in enumerate(rows.items()):
        top = _PAD + 24 + _ROW * line
        draw.line((_PAD, top, width - _PAD, top), _EMPTY)
        draw.text((_PAD, top + 20), name[:24], _INK, font)
        for number, (drawn, caption) in enumerate(cells):
            left = _PAD + _NAME + _CELL * number
            if isinstance(drawn, list):
                _bars(draw, drawn[:_BARS], left, top + 6)
            elif drawn is not None:
                _share(draw, drawn, left, top + 22)
            draw.text((left, top + 44), caption[:38], _INK, small)
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _bars(draw: ImageDraw.ImageDraw, bars: list[float], left: float, top: float) -> None:
    highest = max(bars, default=0)
    for number, height in enumerate(bars):
        size = _BAR_WIDTH / len(bars)
        tall = 34 * height / highest if highest else 0
        box = (left + size * number, top + 36 - tall, left + size * (number + 1) - 2, top + 36)
        draw.rectangle(box, _BAR)


def _share(draw: ImageDraw.ImageDraw, share: float, left: float, top: float) -> None:
    draw.rectangle((left, top, left + _BAR_WIDTH, top + 14), _EMPTY)
    draw.rectangle((left, top, left + _BAR_WIDTH * share, top + 14), _BAR)


def _without_tensorflow(package: str, module: str) -> types.ModuleType:
    """Imports a module without running the `__init__` of its package, which loads TensorFlow."""
    if package in sys.modules:
        return importlib.import_module(module)
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"no package {package}")
    placeholder = types.ModuleType(package)
    placeholder.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[package] = placeholder
    try:
        return importlib.import_module(module)
    finally:
        for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
            del sys.modules[name]
