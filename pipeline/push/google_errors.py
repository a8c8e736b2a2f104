"""PushErrors for what Google's services and clients report."""

from pipeline.cloud.errors import LOGIN, advice
from pipeline.push.target import PushError


def request_error(doing: str, status: int, said: str) -> PushError:
    """The error for a request that failed.

    Args:
        doing: the action and its resource, e.g. `creating the endpoint x`.
        status: HTTP status; 0 if there was no answer.
        said: the service's own message.
    """
    said = said.rstrip(".")
    answer = f"{status} {said}" if status else f"no answer ({said})"
    return PushError(f"{doing} failed: {answer}. {advice(status)}".rstrip())


def credentials_error(error: Exception) -> PushError:
    """The error for credentials that are missing or refused."""
    return PushError(f"no credentials for Google Cloud: {error}. {LOGIN}")


def timeout_error(doing: str, timeout_s: float, operation: str) -> PushError:
    """The error for an operation that takes longer than `timeout_s`."""
    return PushError(
        f"{doing} did not end within {timeout_s:g} s (timeout_s) and continues as {operation}. "
        "Push again later: the next push waits for it or completes it."
    )
