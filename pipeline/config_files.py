"""Reads a `Config` from layered YAML files and `--set` overrides."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args, get_type_hints

import yaml
from pydantic import ValidationError

from pipeline.config import Config

BASE = Path(__file__).resolve().parent.parent / "conf" / "base.yaml"


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, its value and what is allowed."""


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Layers `conf/base.yaml`, then the file `path`, then each `section.key=value`.

    Args:
      path: a YAML file, or None for the base alone.
      overrides: `trainer.epochs=3` and the like; values are read as YAML.

    Raises:
      ConfigError: a file that is missing or is not YAML, an unknown key, an unusable value.
    """
    merged: dict = {}
    for layer in [BASE, *([Path(path)] if path else [])]:
        merged = _merge(merged, _read(layer))
    for override in overrides:
        merged = _merge(merged, _parse_override(override))
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _read(path: Path) -> dict:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected `section:` keys, received {type(content).__name__}")
    return content


def _parse_override(text: str) -> dict:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set expects section.key=value, received {text!r}")
    try:
        nested = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is not YAML: {error}") from None
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested


def _merge(below: Mapping, above: Mapping) -> dict:
    """`above` over `below`: sections are merged, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both_sections = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both_sections else value
    return merged


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(map(str, problem["loc"]))
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            lines.append(f"unknown setting {where}{_nearest(problem['loc'])}")
        elif problem["type"] == "missing":
            lines.append(f"{where} is required and not set")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {message}; received {problem['input']!r}")
    return "; ".join(lines)


def _nearest(location: tuple) -> str:
    """` (did you mean section.key?)`, or the known keys of that section."""
    known = _known_keys(location[:-1])
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.6)
    if not close:
        return f"; known here: {', '.join(known)}"
    return f" (did you mean {'.'.join([*map(str, location[:-1]), close[0]])}?)"


def _known_keys(section: tuple) -> list[str]:
    kind: type = Config
    for part in section:
        if isinstance(part, str):
            kind = _section_type(get_type_hints(kind)[part])
    return sorted(field for field in get_type_hints(kind) if field != "model_config")


def _section_type(annotation) -> type:
    """The section's class inside `Section`, `Section | None` or `tuple[Section, ...]`."""
    candidates = [
        a for a in get_args(annotation) or [annotation] if a not in (Ellipsis, type(None))
    ]
    return candidates[0]
