"""Google's own descriptions of its services, to check requests against.

They are read out of a wheel of google-api-python-client 2, which cannot be installed beside TFX. It
is downloaded once into the cache folder (`PAWPRINT_TEST_CACHE`, else `~/.cache/pawprint`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest

_VERSION = "2.202.0"
_WHEEL = f"google_api_python_client-{_VERSION}-py3-none-any.whl"
_SHA256 = "aaa90064c9bb642ff1d065b22ca8958a2cb6e345909cefe70d0e5452fc50e08b"
_DOCUMENTS = "googleapiclient/discovery_cache/documents"


@functools.cache
def document(service: str, version: str) -> dict:
    """The description of a service.

    The test is skipped where it is neither cached nor to be downloaded.
    """
    with zipfile.ZipFile(_wheel()) as wheel:
        return json.loads(wheel.read(f"{_DOCUMENTS}/{service}.{version}.json"))


@functools.cache
def schema(service: str, version: str, message: str) -> dict:
    """The JSON Schema of a message; unknown fields are not allowed."""
    schemas = document(service, version)["schemas"]
    definitions = {name: _converted(body) for name, body in schemas.items()}
    return {"$ref": f"#/$defs/{message}", "$defs": definitions}


def check(body: dict, described: dict) -> None:
    """Refuses a body that the service would not understand.

    Raises:
        jsonschema.ValidationError: Where and what.
    """
    jsonschema.Draft202012Validator(described).validate(body)


def _converted(described: dict) -> dict:
    """A schema of a discovery document as JSON Schema."""
    if "$ref" in described:
        return {"$ref": f"#/$defs/{described['$ref']}"}
    kind = described.get("type", "any")
    if kind == "object":
        values = described.get("additionalProperties")
        return {
            "type": "object",
            "properties": {
                name: _converted(body) for name, body in described.get("properties", {}).items()
            },
            "additionalProperties": _converted(values) if values else False,
        }
    if kind == "array":
        return {"type": "array", "items": _converted(described["items"])}
    if kind == "any":
        return {}
    converted = {"type": kind}
    if "enum" in described:
        converted["enum"] = described["enum"]
    if described.get("format") in ("int64", "uint64"):  # a string in JSON
        converted = {"type": ["string", "integer"]}
    return converted


def _wheel() -> Path:
    cache = Path(os.environ.get("PAWPRINT_TEST_CACHE", Path.home() / ".cache" / "pawprint"))
    path = cache / _WHEEL
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        python = Path(sys.base_prefix, "bin", "python3")  # the project's environment has no pip
        what = ["download", "-q", "--no-deps", "-d", str(cache)]
        subprocess.run(
            [python, "-m", "pip", *what, f"google-api-python-client=={_VERSION}"],
            capture_output=True,
            timeout=120,
        )
    if not path.exists():
        pytest.skip(f"needs {_WHEEL} in {cache}, which could not be downloaded")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == _SHA256, f"{path} is not the wheel that was looked at"
    return path
