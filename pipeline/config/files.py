"""Reads a `Config` from YAML files and `--set` overrides."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from pydantic import ValidationError

from pipeline.config.schema import Config

CONF = Path(__file__).resolve().parents[2] / "conf"
BASE = CONF / "base.yaml"

_NULL = ("", "null", "~")
_QUOTES = ("'", '"')
_PATTERN_CHARACTERS = "*?[]"


class ConfigError(ValueError):
    """An invalid setting; the message names the setting, its value and the allowed values."""


class _Loader(yaml.SafeLoader):
    """Rejects duplicate keys, of which YAML keeps the last without an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.value in lines:
                raise ConfigError(
                    f"line {key.start_mark.line + 1}: {key.value} is set again, first on line "
                    f"{lines[key.value]}"
                )
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def load_config(
    path: str | Path | None, overrides: Sequence[str] = (), root: str | None = None
) -> Config:
    """Merges `conf/base.yaml`, the file `path` and the overrides; later ones take precedence.

    Args:
        path: a YAML file; None for `conf/base.yaml` alone. `conf/NAME.yaml` is found in the project
            from any working directory.
        overrides: settings as `section.key=value`. The value of a text setting is taken literally,
            that of any other setting is parsed as YAML.
        root: the root folder, taken literally; overrides the setting `root`.

    Raises:
        ConfigError: a file is missing or is not YAML, a key is unknown, or a value is invalid.

    Example:
        >>> config = load_config("conf/local.yaml", ["trainer.epochs=3"])
        >>> config.trainer.epochs
        3
    """
    merged: dict[str, Any] = {}
    for layer in [BASE, *([_found(Path(path))] if path else [])]:
        merged = _merge(merged, _read(layer))
    for override in overrides:
        merged = _merge(merged, _parse_override(override))
    if root is not None:
        merged["root"] = root
    if isinstance(merged.get("root"), str):
        merged["root"] = _checked_root(merged["root"])
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _found(path: Path) -> Path:
    """Returns `path`, or the project's `conf/NAME.yaml` if the working directory has none."""
    in_project = CONF / path.name
    if path.parent == Path("conf") and in_project.exists() and not path.exists():
        return in_project
    return path


def _checked_root(root: str) -> str:
    if "://" in root:
        return root
    if found := sorted({*_PATTERN_CHARACTERS} & {*root}):
        raise ConfigError(
            f"root: TFX treats {' '.join(found)} in a folder's name as a pattern; choose another "
            f"folder. Received: {root}"
        )
    return str(Path(root).expanduser()) if root.startswith("~") else root


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = yaml.load(text, _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}, line {number}: not UTF-8 (byte 0x{error.object[error.start]:02x}); save the "
            "file as UTF-8"
        ) from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not YAML: {error.problem}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}, {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected `section:` keys. Received: {type(content).__name__}")
    return content


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set expects section.key=value. Received: {text!r}")
    parts = key.strip().split(".")
    nested: Any
    if _is_text(parts) and value.strip() not in _NULL and value.strip()[0] not in _QUOTES:
        nested = value
    else:
        try:
            nested = yaml.load(value, _Loader)
        except ConfigError as error:
            raise ConfigError(f"--set {text!r}: {error}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {text!r}: the value is not YAML: {error}") from None
    for part in reversed(parts):
        nested = {part: nested}
    return nested


def _merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Merges sections recursively; any other value of `override` replaces that of `base`."""
    merged = dict(base)
    for key, value in override.items():
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


def _nearest(location: tuple[int | str, ...]) -> str:
    """Returns ` (did you mean section.key?)`, or the known keys of that section."""
    known = _known_keys(location[:-1])
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.6)
    if not close:
        return f"; known settings: {', '.join(known)}"
    return f" (did you mean {'.'.join([*map(str, location[:-1]), close[0]])}?)"


def _known_keys(section: tuple[int | str, ...]) -> list[str]:
    kind: type = Config
    for part in section:
        if isinstance(part, str):
            kind = _section_type(get_type_hints(kind)[part])
    return sorted(field for field in get_type_hints(kind) if field != "model_config")


def _is_text(parts: Sequence[str]) -> bool:
    """Whether the setting has the type `str` or `str | None`."""
    annotation: Any = Config
    for part in parts:
        kind = _section_type(annotation)
        hints = get_type_hints(kind) if isinstance(kind, type) else {}
        if part not in hints:
            return False
        annotation = hints[part]
    return annotation in (str, str | None)


def _section_type(annotation: Any) -> type:
    """Returns the class `Section` of `Section`, `Section | None` or `tuple[Section, ...]`."""
    candidates = [
        a for a in get_args(annotation) or [annotation] if a not in (Ellipsis, type(None))
    ]
    return candidates[0]
