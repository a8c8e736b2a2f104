"""Errors of Google's clients as messages that say what to do."""

import contextlib
import re
from collections.abc import Iterator

from pipeline.config.cloud import CloudConfig

LOGIN = (
    "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the "
    "key file of a service account."
)
_ADVICE = {
    401: f"The credentials are expired or were revoked. {LOGIN}",
    403: "The account lacks a permission, or the API is not enabled: docs/production.md lists the "
    "roles, docs/push.md those of a push.",
    404: "Check the project, the region, and that the API is enabled.",
    409: "Another request changed it at the same time. Try again.",
    429: "A quota is used up. Wait, use fewer machines, or request more: "
    "https://console.cloud.google.com/iam-admin/quotas",
}
_NO_SUCCESS = "The service failed or did not answer. Try again: completed steps are not repeated."


class CloudError(RuntimeError):
    """Google Cloud refused a request or failed; the message says why and what to do."""


class NoAnswerError(CloudError):
    """The request or its answer was lost: the service may have carried it out or not."""


def advice(status: int) -> str:
    """What to do after an HTTP status that is no success.

    Args:
        status: HTTP status; 0 if there was no answer.

    Returns:
        Whole sentences; empty for a status without advice.
    """
    return _NO_SUCCESS if status == 0 or status >= 500 else _ADVICE.get(status, "")


@contextlib.contextmanager
def translate_errors(cloud: CloudConfig, doing: str) -> Iterator[None]:
    """Turns errors of Google's clients into CloudError.

    Args:
        cloud: project and region, for the message.
        doing: the action in the imperative, e.g. `submit the run`.

    Raises:
        CloudError: the service refused the request.
        NoAnswerError: the service did not answer.
    """
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from requests import exceptions as http

    where = f"project {cloud.project}, region {cloud.region}"
    try:
        yield
    except CloudError:
        raise
    except auth.DefaultCredentialsError as error:
        raise CloudError(f"cannot {doing}: there are no credentials. {LOGIN}") from error
    except auth.RefreshError as error:
        raise CloudError(f"cannot {doing}: {_said(error)} ({where}). {advice(401)}") from error
    except (
        api.ServerError,
        api.RetryError,
        api.Aborted,
        auth.TransportError,
        http.ConnectionError,
        http.Timeout,
    ) as error:
        raise NoAnswerError(
            f"cannot {doing}: no answer from Google Cloud: {_said(error)} ({where}). {advice(0)}"
        ) from error
    except api.GoogleAPICallError as error:
        text = f"cannot {doing}: {_said(error)} ({where}). {advice(error.code or 400)}"
        raise CloudError(text.rstrip()) from error


def _said(error: Exception) -> str:
    """The service's own message, on one line."""
    text = getattr(error, "message", None) or (error.args[0] if error.args else error)
    text = re.sub(r"^(GET|POST|DELETE) \S+: ", "", " ".join(str(text).split()))
    return text[:500].rstrip(".")
