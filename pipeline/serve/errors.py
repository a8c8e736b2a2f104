"""What a request can be refused for."""

import dataclasses
import http


class RequestError(Exception):
    """A request that gets an error instead of predictions.

    Args:
        status: HTTP status, 4xx for the client's faults.
        message: what is wrong, what was received, what to do.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = http.HTTPStatus(status)
        self.message = message


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class RowError:
    """Why the model has no answer for one instance."""

    message: str
    status: int = 400
    """400 where the instance is at fault, 500 where the model is."""
