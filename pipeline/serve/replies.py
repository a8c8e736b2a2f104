"""Reply bodies of the REST APIs: TensorFlow Serving, AI Platform and Vertex AI."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from pipeline.serve.errors import RequestError
from pipeline.serve.loaded_model import RowOutputs
from pipeline.serve.served_model import ServedModel
from pipeline.serve.versions import ModelVersionStatus

_GRPC_STATUS = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    413: "OUT_OF_RANGE",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def reply(
    content: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Creates a JSON response."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=True)
    # A lone surrogate of the request is not valid UTF-8: it is returned as a JSON escape.
    body = text.encode(errors="backslashreplace")
    return Response(body, status, headers, media_type="application/json")


@dataclasses.dataclass(frozen=True)
class Dialect:
    """Replies of TensorFlow Serving and AI Platform, which share a format."""

    def predictions(
        self, rows: Sequence[RowOutputs], model: ServedModel, path: Mapping[str, str]
    ) -> dict[str, Any]:
        """Returns the body of a successful prediction; `path` holds the URL's parameters."""
        return {"predictions": list(rows)}

    def error(self, error: RequestError) -> dict[str, Any]:
        """Returns the body of an error."""
        return {"error": error.message}


class Vertex(Dialect):
    """Replies of Vertex AI, which name the deployed model and wrap errors."""

    def predictions(
        self, rows: Sequence[RowOutputs], model: ServedModel, path: Mapping[str, str]
    ) -> dict[str, Any]:
        location = f"projects/{path['project']}/locations/{path['location']}"
        return {
            "predictions": list(rows),
            "deployedModelId": str(model.version),
            "model": f"{location}/models/{path['endpoint']}",
            "modelDisplayName": path["endpoint"],
            "modelVersionId": str(model.version),
        }

    def error(self, error: RequestError) -> dict[str, Any]:
        status = _GRPC_STATUS.get(error.status, "UNKNOWN")
        return {"error": {"code": int(error.status), "message": error.message, "status": status}}


def columns(rows: Sequence[RowOutputs]) -> dict[str, Any]:
    """Returns the body of a successful prediction in TensorFlow Serving's column format."""
    return {"outputs": {name: [row[name] for row in rows] for name in rows[0]}}


def version_status(found: Sequence[ModelVersionStatus]) -> dict[str, Any]:
    """Returns TensorFlow Serving's GetModelStatusResponse."""
    return {
        "model_version_status": [
            {
                "version": str(status.version),
                "state": status.state,
                "status": {
                    "error_code": "UNKNOWN" if status.error else "OK",
                    "error_message": status.error,
                },
            }
            for status in found
        ]
    }


def metadata(name: str, model: ServedModel) -> dict[str, Any]:
    """Returns TensorFlow Serving's GetModelMetadataResponse."""
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(model.version)},
        "metadata": {
            "signature_def": {
                "@type": "type.googleapis.com/tensorflow.serving.SignatureDefMap",
                "signature_def": model.signature_defs,
            }
        },
    }
