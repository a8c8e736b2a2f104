"""The ASGI application: routes, request handling and error replies."""

import asyncio
import contextlib
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from pipeline.serve import payload, replies
from pipeline.serve.errors import RequestError, RowError
from pipeline.serve.lineage import version_lineage
from pipeline.serve.loaded_model import RowOutputs
from pipeline.serve.options import ServeOptions
from pipeline.serve.served_model import ServedModel
from pipeline.serve.versions import Versions

LOG = logging.getLogger(__name__)
PAGE = Path(__file__).with_name("page")
_FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
_PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:",
}
_DRAIN_FACTOR = 8
"""A body up to this many times the limit is read to its end before it is rejected."""
_LARGE_BODY = 1 << 20
"""Bytes of a body from which it is parsed in a thread."""
_VERSION_DIGITS = 19
"""Digits of a 64-bit version number, as in TensorFlow Serving."""
STABLE, LATEST = "stable", "latest"


def create_app(
    options: ServeOptions, ready: Callable[[Versions], None] = lambda _: None
) -> Starlette:
    """Creates the application that serves one model.

    Args:
        options: What to serve and how.
        ready: Called at start-up, after the served version was loaded.

    Raises:
        StartError: The model's folder does not exist.

    Example:
        >>> import uvicorn
        >>> uvicorn.run(create_app(ServeOptions(Path("runs/serving"))), port=8501)
    """
    executor = ThreadPoolExecutor(options.threads, "model")
    # A pool of its own: decoding a large photo takes seconds and would delay the model's batches.
    readers = ThreadPoolExecutor(options.threads, "reader")
    versions = Versions(
        options.model, partial(ServedModel.load, executor, options), options.max_loaded
    )
    server = _Server(options, versions, readers)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with contextlib.suppress(RequestError):  # the folder may be empty until the first push
            await versions.refresh()
        ready(versions)
        following = asyncio.create_task(versions.follow(options.poll))
        yield
        following.cancel()
        executor.shutdown()
        readers.shutdown()

    plain, vertex = replies.Dialect(), replies.Vertex()
    of_model = "/v1/models/{name}"
    of_project = "/v1/projects/{project}/models/{name}"
    endpoint = "/v1/projects/{project}/locations/{location}/endpoints/{endpoint}"
    chosen = ("", "/versions/{version}", "/labels/{label}")
    routes = [  # predictions first: the most frequent requests
        *(_predict(server, f"{of_model}{part}:predict", plain) for part in chosen),
        *(_predict(server, f"{of_project}{part}:predict", plain) for part in chosen[:2]),
        _predict(server, f"{endpoint}:predict", vertex),
        *(Route(path, server.page) for path in _FILES),
        Route("/healthz", server.health),
        Route("/v1/models", server.models),
        *(Route(f"{of_model}{part}", server.status) for part in chosen),
        *(Route(f"{of_model}{part}/metadata", server.metadata) for part in chosen),
        *(Route(f"{of_model}{part}/lineage", server.lineage) for part in chosen),
    ]
    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        RequestError: _on_request_error,
        HTTPException: _on_http_error,
        ClientDisconnect: _on_disconnect,
        Exception: _on_error,
    }
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


def _predict(server: "_Server", path: str, dialect: replies.Dialect) -> Route:
    async def predict(request: Request) -> Response:
        try:
            predictions, model, columns = await server.predict(request)
        except RequestError as error:
            return _error_reply(error, dialect)
        if columns:
            content = replies.columns(predictions)
        else:
            content = dialect.predictions(predictions, model, request.path_params)
        return replies.reply(content, headers={"X-Model-Version": str(model.version)})

    return Route(path, predict, methods=["POST"])


class _Server:
    """Handlers of the routes."""

    def __init__(self, options: ServeOptions, versions: Versions, readers: Executor):
        self._options = options
        self._versions = versions
        self._readers = readers

    async def predict(self, request: Request) -> tuple[list[RowOutputs], ServedModel, bool]:
        """Returns the predictions, the version used, and whether to reply in column format."""
        model = await self._model(request)
        body = await _body(request, self._options.max_body)
        if encoding := request.headers.get("content-encoding"):
            body = await self._run_in_thread(_decompress, body, encoding, self._options.max_body)
        read = partial(payload.read, body, model.signatures, self._options.max_instances)
        parsed = await self._run_in_thread(read) if len(body) > _LARGE_BODY else read()
        if parsed.needs_conversion:
            await self._run_in_thread(parsed.convert_photos)
        predictions: list[RowOutputs] = []
        for number, result in enumerate(await model.predict(parsed.signature, parsed.rows)):
            if isinstance(result, RowError):
                raise RequestError(result.status, f"instances[{number}]: {result.message}")
            predictions.append(result)
        return predictions, model, parsed.columns

    async def page(self, request: Request) -> Response:
        return FileResponse(PAGE / _FILES[request.url.path], headers=_PAGE_HEADERS)

    async def health(self, request: Request) -> Response:
        model = await self._versions.get()
        return replies.reply(
            {"status": "ok", "model": self._options.name, "version": model.version}
        )

    async def models(self, request: Request) -> Response:
        return replies.reply({"models": [self._options.name]})

    async def status(self, request: Request) -> Response:
        version = self._version(request)
        found = [s for s in self._versions.status() if version in (None, s.version)]
        if not found and version is not None:
            await self._versions.get(version)  # raises an error that lists the versions
        return replies.reply(replies.version_status(found))

    async def metadata(self, request: Request) -> Response:
        return replies.reply(replies.metadata(self._options.name, await self._model(request)))

    async def lineage(self, request: Request) -> Response:
        model = await self._model(request)
        return replies.reply(await asyncio.to_thread(version_lineage, model.path, model.version))

    async def _run_in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Runs blocking work in a thread, so that it does not block the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, work, *arguments)

    async def _model(self, request: Request) -> ServedModel:
        return await self._versions.get(self._version(request))

    def _version(self, request: Request) -> int | None:
        """Returns the version that the path names; None for the served one."""
        given = request.path_params
        for part in ("name", "version", "label"):
            if verb := given.get(part, "").partition(":")[2]:
                raise RequestError(
                    405, f"{request.method} of {verb!r} is not supported; send POST to ':predict'"
                )
        name = given.get("name", self._options.name)
        if name != self._options.name:
            raise RequestError(404, f"no model {name!r}; this server serves {self._options.name!r}")
        if label := given.get("label"):
            if label not in (STABLE, LATEST):
                raise RequestError(404, f"no label {label!r}; labels: {STABLE}, {LATEST}")
            return None if label == STABLE else max(self._versions.present(), default=None)
        version = given.get("version")
        if version is None:
            return None
        number = version.removeprefix("v")  # AI Platform's version names begin with a letter
        if not (number.isascii() and number.isdigit() and len(number) <= _VERSION_DIGITS):
            raise RequestError(404, f"no version {version[:40]!r}: versions are numbers")
        return int(number)


async def _body(request: Request, limit: int) -> bytes:
    """Returns the body as sent.

    A body over the limit is read to its end and discarded, up to `_DRAIN_FACTOR` times the limit: a
    client that is still sending when the connection closes gets a broken pipe instead of the reply.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit * _DRAIN_FACTOR:
        raise _too_large(limit)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit * _DRAIN_FACTOR:
            break
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


def _decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Decodes `Content-Encoding`; decompresses no more than `limit` bytes."""
    if encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise RequestError(415, f"Content-Encoding {encoding[:40]!r} is not supported; send gzip")
    decompressor = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        content = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise RequestError(400, f"the body is not valid gzip: {error}") from None
    if len(content) > limit:
        raise _too_large(limit)
    if not decompressor.eof:
        raise RequestError(400, "the body is not valid gzip: it is truncated")
    return content


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the body is larger than the limit of {limit} bytes")


def _error_reply(error: RequestError, dialect: replies.Dialect) -> Response:
    headers = {}
    if error.status == 413:
        headers["Connection"] = "close"  # the rest of the body is not read
    if error.status == 503:
        headers["Retry-After"] = "1"
    return replies.reply(dialect.error(error), error.status, headers)


async def _on_request_error(request: Request, error: RequestError) -> Response:
    return _error_reply(error, replies.Dialect())


async def _on_http_error(request: Request, error: HTTPException) -> Response:
    text = f"{request.method} {request.url.path}: {error.detail}"
    if error.status_code == 404:
        text += "; predictions are at POST /v1/models/NAME:predict"
    return replies.reply({"error": text}, error.status_code, error.headers)


async def _on_disconnect(request: Request, error: ClientDisconnect) -> Response:
    client = request.client.host if request.client else "a client"
    LOG.warning("%r: %s disconnected before the request was complete", request.url.path, client)
    return Response(status_code=400)  # never sent: the connection is closed


async def _on_error(request: Request, error: Exception) -> Response:
    return replies.reply({"error": f"{type(error).__name__}: {error}"}, 500)
