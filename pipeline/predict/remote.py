"""A model behind the REST of TensorFlow Serving, AI Platform or Vertex AI."""

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.predict.answers import Failure, ModelError, Prediction, prediction

_VERB = ":predict"
_AT_ONCE = 8
_TIMEOUT_S = 60
_BUSY = (429, 503)
_ATTEMPTS = 4
_THE_PHOTOS = (400, 413, 422)  # statuses that one photo may get and the next one not


class RemoteModel:
    """A model on a server.

    Args:
        url: of the server, whose only model is then asked, or of a model, with or without version,
            label and `:predict`.

    Raises:
        ModelError: the server cannot be reached or names no model.
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
        """Asks about serialised records, one a request, so that each fails alone.

        Raises:
            ModelError: the server cannot be reached, or does not know the model.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._ask, records))

    def _ask(self, record: bytes) -> Prediction | Failure:
        body = {"instances": [{"b64": base64.b64encode(record).decode()}]}
        try:
            content = self._send(self._url, json.dumps(body).encode())
        except urllib.error.HTTPError as error:
            reason = _reason(error)
            if error.code in _THE_PHOTOS:
                return Failure(reason.removeprefix("instances[0]: "))
            raise ModelError(f"{self._url} answered {error.code}: {reason}") from None
        try:
            return prediction(content["predictions"][0])
        except (KeyError, IndexError, TypeError):
            return Failure(f"the server's answer has no predictions: {str(content)[:80]}")

    def _only_model(self, url: str) -> str:
        try:
            (name,) = self._send(f"{url}/v1/models")["models"]
        except (urllib.error.HTTPError, KeyError, TypeError, ValueError):
            raise ModelError(
                f"{url} does not say which models it has; give the model's own URL, "
                f"e.g. {url}/v1/models/NAME"
            ) from None
        return name

    def _send(self, url: str, body: bytes | None = None):
        request = urllib.request.Request(
            url, data=body, headers={"Content-Type": "application/json"}
        )
        if self._authorization:  # not to where a reply may redirect to
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
                raise ModelError(f"cannot reach {url}{_through_proxy(url)}: {error}") from None
            except ValueError:
                raise ModelError(f"{url} does not answer in JSON: is it a model server?") from None
        raise AssertionError("unreachable")


def _reason(error: urllib.error.HTTPError) -> str:
    """The message of an error in any of the dialects."""
    text = error.read().decode(errors="replace")
    try:
        found = json.loads(text)["error"]
        return str(found["message"] if isinstance(found, dict) else found)
    except (ValueError, KeyError, TypeError):
        return text.strip()[:200] or error.reason


def _through_proxy(url: str) -> str:
    """` through the proxy HOST (HTTPS_PROXY)`, or nothing where none is used."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    place = proxy.rpartition("@")[2]  # without a password
    return f" through the proxy {place} ({parts.scheme.upper()}_PROXY)"


def _authorization(parts: urllib.parse.SplitResult) -> str:
    """The caller's token, for Google's servers only.

    Raises:
        ModelError: there is none, or the server is to be asked without TLS.
    """
    host = parts.hostname or ""
    if host != "googleapis.com" and not host.endswith(".googleapis.com"):
        return ""
    if parts.scheme != "https":
        raise ModelError(f"{host} is asked over https only, as it needs a token")
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
