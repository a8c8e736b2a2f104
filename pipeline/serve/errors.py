"""Errors of the server and of single requests."""

import dataclasses
import http


class RequestError(Exception):
    """A request that is answered with an HTTP error.

    Args:
        status: HTTP status code; 4xx for errors of the client.
        message: What is wrong, what was received and what to do.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = http.HTTPStatus(status)
        self.message = message


class StartError(Exception):
    """The server cannot start. The message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class RowError:
    """Why the model has no prediction for one instance."""

    message: str
    status: int = 400
    """400 if the instance is invalid, 500 if the model fails."""
