"""The three dialects of REST: what each calls things, and how it answers."""

import dataclasses
import json
from collections.abc import Sequence

from starlette.responses import Response

from pipeline.serve.errors import RequestError
from pipeline.serve.loaded_model import Answer
from pipeline.serve.served_model import ServedModel
from pipeline.serve.versions import Status

_GRPC_STATUS = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    413: "OUT_OF_RANGE",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def reply(content: dict, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=True)
    # Half a surrogate pair, which a request can hold, is no UTF-8: it goes back as a JSON escape.
    body = text.encode(errors="backslashreplace")
    return Response(body, status, headers, media_type="application/json")


@dataclasses.dataclass(frozen=True)
class Dialect:
    """TensorFlow Serving's and AI Platform's answers, which are alike."""

    def predictions(self, answers: Sequence[Answer], model: ServedModel, path: dict) -> dict:
        """The body of a successful prediction."""
        return {"predictions": list(answers)}

    def error(self, error: RequestError) -> dict:
        """The body of a refused request."""
        return {"error": error.message}


class Vertex(Dialect):
    """Vertex AI's, which names the deployed model and wraps errors."""

    def predictions(self, answers, model, path):
        place = f"projects/{path['project']}/locations/{path['location']}"
        return {
            "predictions": list(answers),
            "deployedModelId": str(model.version),
            "model": f"{place}/models/{path['endpoint']}",
            "modelDisplayName": path["endpoint"],
            "modelVersionId": str(model.version),
        }

    def error(self, error):
        status = _GRPC_STATUS.get(error.status, "UNKNOWN")
        return {"error": {"code": int(error.status), "message": error.message, "status": status}}


def columns(answers: Sequence[Answer]) -> dict:
    """The body of a successful prediction in TensorFlow Serving's column format."""
    if isinstance(answers[0], dict):
        return {"outputs": {name: [answer[name] for answer in answers] for name in answers[0]}}
    return {"outputs": list(answers)}


def version_status(found: Sequence[Status]) -> dict:
    """TensorFlow Serving's GetModelStatusResponse."""
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


def metadata(name: str, model: ServedModel) -> dict:
    """TensorFlow Serving's GetModelMetadataResponse."""
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(model.version)},
        "metadata": {
            "signature_def": {
                "@type": "type.googleapis.com/tensorflow.serving.SignatureDefMap",
                "signature_def": model.signature_defs,
            }
        },
    }
