"""Google Cloud Storage's JSON API, in memory, for unmodified clients.

Start it with `with StorageStandIn() as storage` and set `STORAGE_EMULATOR_HOST` to `storage.url`,
or have it under Google's names in a `cloud_world`: then TensorFlow's own gs:// file system reads
and writes here too. It keeps every request, and can be told to fail.
API: https://cloud.google.com/storage/docs/json_api
"""

from __future__ import annotations

import base64
import email
import hashlib
import json
import uuid
from email.policy import HTTP
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import google_crc32c

from tests.standins.http_service import Answer, HttpService, Request, error, route

TIME = "2026-01-01T00:00:00.000Z"


class StorageStandIn(HttpService):
    """The service.

    Attributes:
        buckets: Bucket name to object name to content.
        page: Objects in one page of a listing.
    """

    def __init__(self, *buckets: str, page: int = 1000):
        super().__init__()
        self.buckets: dict[str, dict[str, bytes]] = {name: {} for name in buckets}
        self.page = page
        self._uploads: dict[str, dict] = {}

    def put(self, uri: str, content: bytes) -> None:
        """Puts an object there directly."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        self.buckets[bucket][name] = content

    def get(self, uri: str) -> bytes:
        """An object's content."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        return self.buckets[bucket][name]

    def names(self, uri: str) -> list[str]:
        """The objects whose address begins like this, below it."""
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        found = self.buckets[bucket]
        return sorted(name[len(prefix) :] for name in found if name.startswith(prefix))

    def fetch(self, uri: str, folder: Path) -> Path:
        """Copies what is below an address to a folder; markers of folders are no files."""
        for name in self.names(f"{uri.rstrip('/')}/"):
            if name and not name.endswith("/"):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.get(f"{uri.rstrip('/')}/{name}"))
        return folder

    @route("GET", r"/storage/v1/b/([^/]+)")
    def _bucket(self, request: Request, bucket: str) -> Answer:
        if bucket not in self.buckets:
            return error(404, f"The specified bucket does not exist: {bucket}")
        return Answer(
            {"kind": "storage#bucket", "id": bucket, "name": bucket, "projectNumber": "1"}
            | {"location": "EU", "storageClass": "STANDARD", "timeCreated": TIME}
            | {"softDeletePolicy": {"retentionDurationSeconds": "0", "effectiveTime": TIME}}
        )

    @route("GET", r"/storage/v1/b/([^/]+)/o")
    def _list(self, request: Request, bucket: str) -> Answer:
        if bucket not in self.buckets:
            return error(404, f"The specified bucket does not exist: {bucket}")
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter")
        objects, folders = [], set()
        for name in sorted(self.buckets[bucket]):
            if not name.startswith(prefix):
                continue
            if delimiter and delimiter in name[len(prefix) :]:
                head = name[len(prefix) :].partition(delimiter)[0]
                folders.add(prefix + head + delimiter)
            else:
                objects.append(name)
        first = int(request.query.get("pageToken", 0))
        size = min(self.page, int(request.query.get("maxResults", self.page)))
        answer = {
            "kind": "storage#objects",
            "items": [self._resource(bucket, name) for name in objects[first : first + size]],
            "prefixes": sorted(folders),
        }
        if first + size < len(objects):
            answer["nextPageToken"] = str(first + size)
        return Answer(answer)

    @route("GET", r"/(?:download/)?storage/v1/b/([^/]+)/o/(.+)")
    def _get(self, request: Request, bucket: str, name: str) -> Answer:
        content = self.buckets.get(bucket, {}).get(name)
        if content is None:
            return error(404, f"No such object: {bucket}/{name}")
        if request.query.get("alt") != "media":
            return Answer(self._resource(bucket, name))
        return self._content(request, content)

    @route("GET", r"/([^/]+)/(.+)")
    def _read(self, request: Request, bucket: str, name: str) -> Answer:
        """The XML API's way to an object, which TensorFlow takes."""
        content = self.buckets.get(bucket, {}).get(name)
        if content is None:
            return error(404, f"No such object: {bucket}/{name}")
        return self._content(request, content)

    @route("POST", r"/batch/storage/v1")
    def _batch(self, request: Request) -> Answer:
        """Several requests in one body; clients end its lines with or without a carriage return."""
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        parts = []
        for part in email.message_from_bytes(head + request.body, policy=HTTP).get_payload():
            answer = self._answer(_inner(part.get_payload(decode=True)))
            content = answer.content
            if not isinstance(content, bytes):
                content = json.dumps(content).encode()
            parts.append(
                f"--batch\r\nContent-Type: application/http\r\n\r\n"
                f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
                f"Content-Type: application/json; charset=UTF-8\r\n"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
                + b"\r\n"
            )
        body = b"".join([*parts, b"--batch--"])
        return Answer(body, headers={"Content-Type": "multipart/mixed; boundary=batch"})

    def _content(self, request: Request, content: bytes) -> Answer:
        headers = {"x-goog-hash": f"crc32c={_crc32c(content)},md5={_md5(content)}"}
        if wanted := request.headers.get("range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            if int(first) >= len(content):
                return error(416, "Requested range not satisfiable")
            end = min(int(last or len(content)) + 1, len(content))
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
            return Answer(content[int(first) : end], 206, headers)
        return Answer(content, headers=headers)

    @route("DELETE", r"/storage/v1/b/([^/]+)/o/(.+)")
    def _delete(self, request: Request, bucket: str, name: str) -> Answer:
        if self.buckets.get(bucket, {}).pop(name, None) is None:
            return error(404, f"No such object: {bucket}/{name}")
        return Answer(b"", 204)

    @route("POST", r"/storage/v1/b/([^/]+)/o/(.+)/(?:rewrite|copy)To/b/([^/]+)/o/(.+)")
    def _copy(self, request: Request, bucket: str, name: str, target: str, copy: str) -> Answer:
        if name not in self.buckets.get(bucket, {}) or target not in self.buckets:
            return error(404, f"No such object: {bucket}/{name}")
        content = self.buckets[target][copy] = self.buckets[bucket][name]
        resource = self._resource(target, copy)
        if "/copyTo/" in request.path:
            return Answer(resource)
        size = str(len(content))
        done = {"kind": "storage#rewriteResponse", "done": True, "resource": resource}
        return Answer(done | {"objectSize": size, "totalBytesRewritten": size})

    @route("POST", r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o")
    def _upload(self, request: Request, bucket: str) -> Answer:
        if bucket not in self.buckets:
            return error(404, f"The specified bucket does not exist: {bucket}")
        kind = request.query.get("uploadType")
        if kind == "media":
            return self._store(bucket, request.query["name"], request.body)
        if kind == "multipart":
            head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
            parts = email.message_from_bytes(head + request.body, policy=HTTP).get_payload()
            described, content = (part.get_payload(decode=True) for part in parts)
            return self._store(bucket, json.loads(described)["name"], content)
        described = json.loads(request.body or b"{}")
        upload = uuid.uuid4().hex
        name = described.get("name") or request.query["name"]
        self._uploads[upload] = {"bucket": bucket, "name": name, "content": b""}
        at = f"{self.url}/upload/storage/v1/b/{quote(bucket)}/o"
        return Answer({}, headers={"Location": f"{at}?uploadType=resumable&upload_id={upload}"})

    @route("PUT", r"/upload/storage/v1/b/([^/]+)/o")
    def _resume(self, request: Request, bucket: str) -> Answer:
        upload = self._uploads.get(request.query.get("upload_id", ""))
        if upload is None:
            return error(404, "No such upload")
        span, _, total = request.headers.get("content-range", "bytes */*")[6:].partition("/")
        upload["content"] += request.body
        if total != "*" and len(upload["content"]) >= int(total):
            return self._store(bucket, upload["name"], upload["content"])
        if span == "*" and total == "*" and "content-range" not in request.headers:
            return self._store(bucket, upload["name"], upload["content"])
        last = len(upload["content"]) - 1
        return Answer(b"", 308, {"Range": f"bytes=0-{last}"} if last >= 0 else {})

    def _store(self, bucket: str, name: str, content: bytes) -> Answer:
        self.buckets[bucket][name] = content
        return Answer(self._resource(bucket, name))

    def _resource(self, bucket: str, name: str) -> dict:
        content = self.buckets[bucket][name]
        link = f"{self.url}/storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}"
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/1",
            "selfLink": link,
            "mediaLink": f"{self.url}/download{link[len(self.url) :]}?alt=media",
            "name": name,
            "bucket": bucket,
            "generation": "1",
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "size": str(len(content)),
            "md5Hash": _md5(content),
            "crc32c": _crc32c(content),
            "timeCreated": TIME,
            "updated": TIME,
        }


def _inner(sent: bytes) -> Request:
    """One request of a batch."""
    head, _, body = sent.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = head.decode().split("\n")
    method, address, *_ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    parts = urlsplit(address)
    return Request(method, parts.path, dict(parse_qsl(parts.query)), headers, body.strip())


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def _crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
