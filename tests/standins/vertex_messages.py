"""Messages of Vertex AI as its REST interface takes and gives them."""

from __future__ import annotations

import json
import re

from google.protobuf import json_format

from tests.standins.http_service import Answer, Request, error

PROJECT_NUMBER = "123456"
AT = r"/v1/(projects/[^/]+/locations/[^/]+)"
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,63}")
EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}


def read(kind, request: Request):
    """The body as a proto.

    Raises:
        json_format.ParseError: It has fields that the service does not know.
    """
    message = kind()
    json_format.Parse(request.body, type(message).pb(message))
    return message


def shown(message) -> Answer:
    return Answer(json.loads(type(message).to_json(message)))


def typed(kind: str, message) -> dict:
    return {"@type": f"type.googleapis.com/google.cloud.aiplatform.v1.{kind}"} | json.loads(
        type(message).to_json(message)
    )


def numbered(at: str) -> str:
    return re.sub(r"projects/[^/]+", f"projects/{PROJECT_NUMBER}", at)


def check_labels(labels) -> None:
    for key, value in labels.items():
        if not _LABEL.fullmatch(key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise ValueError(f"label {key}={value} is not allowed")


def missing(name: str) -> Answer:
    return failed(404, "NOT_FOUND", f"{name} is not found.")


def invalid(message: str) -> Answer:
    return failed(400, "INVALID_ARGUMENT", message)


def failed(status: int, reason: str, message: str) -> Answer:
    answer = error(status, message)
    answer.content["error"]["status"] = reason
    return answer
