"""What the user reads when Google refuses."""

from pipeline.push.target import PushError

_LOGIN = (
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key "
    "file of a service account"
)
_ADVICE = {
    401: f"the credentials are not accepted; {_LOGIN}",
    403: "the caller lacks a permission, or the API is not enabled; the permissions are listed in "
    "docs/push.md",
    404: "it does not exist, or project or region are wrong",
    409: "somebody else changed it at the same time; push again",
    429: "a quota is used up; try again later or ask for more",
    500: "the service failed; try again, what was done already is not done twice",
    503: "the service cannot be reached; try again, what was done already is not done twice",
}


def refused(doing: str, status: int, said: str) -> PushError:
    """The error for an answer that was not a success.

    Args:
        doing: what was attempted on which resource, e.g. `creating the endpoint x`.
        status: HTTP status; 0 for no answer at all.
        said: the service's own words.
    """
    if not status:
        return PushError(f"{doing} failed: no answer ({said}); {_ADVICE[503]}")
    advice = _ADVICE.get(status, _ADVICE[500] if status >= 500 else "")
    return PushError(f"{doing} failed: {status} {said}" + (f"; {advice}" if advice else ""))


def not_logged_in(error: Exception) -> PushError:
    """The error for credentials that are missing or cannot be used."""
    return PushError(f"no credentials for Google Cloud: {error}; {_LOGIN}")


def not_ended(doing: str, timeout_s: float, where: str) -> PushError:
    """The error for an operation that takes too long."""
    return PushError(
        f"{doing} has not ended within {timeout_s:g} s (timeout_s); it goes on as {where}: push "
        "again later, which waits for it or completes it"
    )
