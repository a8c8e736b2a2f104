"""Predicts over the REST API of TensorFlow Serving, AI Platform or Vertex AI."""

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.predict.prediction import Failure, ModelError, Prediction, parse_outputs

_VERB = ":predict"
_CONNECTIONS = 8
_TIMEOUT_S = 60
_BUSY = (429, 503)
_ATTEMPTS = 4
_PHOTO_ERRORS = (400, 413, 422)
"""Status codes that concern one photo rather than the model."""


class RemoteModel:
    """A model on a server.

    Args:
        url: URL of a server with a single model, or of a model, with or without version, label and
            `:predict`.

    Raises:
        ModelError: The server is unreachable or does not list its model.
    """

    def __init__(self, url: str):
        parts = urllib.parse.urlsplit(url)
        self._authorization = _authorization(parts)
        path = parts.path.rstrip("/")
        if not path:
            path = f"/v1/models/{self._only_model(url.rstrip('/'))}"
        if not path.endswith(_VERB):
            path += _VERB
        self._url = urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))

    def predict(self, records: Sequence[bytes]) -> list[Prediction | Failure]:
        """Predicts serialized records, one per request, so that each fails alone.

        Raises:
            ModelError: The server is unreachable or has no such model.
        """
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            return list(pool.map(self._predict, records))

    def _predict(self, record: bytes) -> Prediction | Failure:
        body = {"instances": [{"b64": base64.b64encode(record).decode()}]}
        try:
            content = self._send(self._url, json.dumps(body).encode())
        except urllib.error.HTTPError as error:
            reason = _reason(error)
            if error.code in _PHOTO_ERRORS:
                return Failure(reason.removeprefix("instances[0]: "))
            raise ModelError(f"{self._url} replied {error.code}: {reason}") from None
        try:
            outputs = content["predictions"][0]
        except (KeyError, IndexError, TypeError):
            return Failure(f"the server's reply has no predictions: {str(content)[:80]}")
        return parse_outputs(outputs)

    def _only_model(self, url: str) -> str:
        try:
            (name,) = self._send(f"{url}/v1/models")["models"]
        except (urllib.error.HTTPError, KeyError, TypeError, ValueError):
            raise ModelError(
                f"{url} does not list a single model; pass the URL of the model, "
                f"e.g. {url}/v1/models/NAME"
            ) from None
        return name

    def _send(self, url: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(
            url, data=body, headers={"Content-Type": "application/json"}
        )
        if self._authorization:  # dropped on redirects to other servers
            request.add_unredirected_header("Authorization", self._authorization)
        for attempt in range(_ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:
                    return json.load(reply)
            except urllib.error.HTTPError as error:
                if error.code not in _BUSY or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(2**attempt / 4)
            except (OSError, http.client.HTTPException) as error:
                raise ModelError(f"cannot reach {url}{_proxy_note(url)}: {error}") from None
            except ValueError:
                raise ModelError(f"the reply of {url} is not JSON: is it a model server?") from None
        raise AssertionError("unreachable")


def _reason(error: urllib.error.HTTPError) -> str:
    """Returns the message of an error reply, in the format of any of the APIs."""
    text = error.read().decode(errors="replace")
    try:
        found = json.loads(text)["error"]
        return str(found["message"] if isinstance(found, dict) else found)
    except (ValueError, KeyError, TypeError):
        return text.strip()[:200] or str(error.reason)


def _proxy_note(url: str) -> str:
    """Returns ` through the proxy HOST (HTTPS_PROXY)`; "" without a proxy."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    host = proxy.rpartition("@")[2]  # without user and password
    return f" through the proxy {host} ({parts.scheme.upper()}_PROXY)"


def _authorization(parts: urllib.parse.SplitResult) -> str:
    """Returns the caller's bearer token for Google's servers; "" for others.

    Raises:
        ModelError: There are no credentials, or the URL is not https.
    """
    host = parts.hostname or ""
    if host != "googleapis.com" and not host.endswith(".googleapis.com"):
        return ""
    if parts.scheme != "https":
        raise ModelError(f"{host} requires https, because the request carries a token")
    import google.auth
    import google.auth.exceptions
    import google.auth.transport.requests

    try:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        credentials, _ = google.auth.default(scopes=scopes)
        credentials.refresh(google.auth.transport.requests.Request())
    except google.auth.exceptions.GoogleAuthError as error:
        raise ModelError(f"no credentials for {host}: {error}") from None
    return f"Bearer {credentials.token}"
