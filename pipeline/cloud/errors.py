"""What Google's clients raise, in words that say what to do."""

import contextlib
import re
from collections.abc import Iterator

from pipeline.config.cloud import CloudConfig

LOGIN = (
    "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a "
    "service account's key file."
)


class CloudError(RuntimeError):
    """Google Cloud refused or failed; the message says what and what to do."""


class NoAnswerError(CloudError):
    """The service was not reached, or what it answered was lost: it may have done it or not."""


@contextlib.contextmanager
def translate_errors(cloud: CloudConfig, doing: str) -> Iterator[None]:
    """Turns errors of Google's clients into CloudError.

    Args:
        cloud: project and region, for the message.
        doing: what was asked for, e.g. `submit the run`.
    """
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from requests import exceptions as http

    where = f"{cloud.project} in {cloud.region}"
    try:
        yield
    except CloudError:
        raise
    except auth.DefaultCredentialsError as error:
        raise CloudError(f"cannot {doing}: there are no credentials. {LOGIN}") from error
    except (auth.RefreshError, api.Unauthorized) as error:
        said = _said(error)
        raise CloudError(
            f"cannot {doing}: the credentials are expired or were revoked ({said}). {LOGIN}"
        ) from error
    except api.Forbidden as error:
        raise CloudError(
            f"cannot {doing}: these credentials may not do it in {where}: {_said(error)}. The "
            "roles that are needed are listed in docs/production.md."
        ) from error
    except api.TooManyRequests as error:
        raise CloudError(
            f"cannot {doing}: a quota of {where} is used up: {_said(error)}. Ask for more at "
            f"https://console.cloud.google.com/iam-admin/quotas?project={cloud.project}, or use "
            "fewer machines."
        ) from error
    except api.NotFound as error:
        raise CloudError(f"cannot {doing}: not found in {where}: {_said(error)}") from error
    except (
        api.ServerError,
        api.RetryError,
        api.Aborted,
        auth.TransportError,
        http.ConnectionError,
        http.Timeout,
    ) as error:
        raise NoAnswerError(
            f"cannot {doing}: no answer from Google Cloud in {where}: {_said(error)}. Try again."
        ) from error
    except api.GoogleAPICallError as error:
        raise CloudError(f"cannot {doing}: Google Cloud refused it: {_said(error)}") from error


def _said(error: Exception) -> str:
    """The service's own message, in one line."""
    text = getattr(error, "message", None) or (error.args[0] if error.args else error)
    text = re.sub(r"^(GET|POST|DELETE) \S+: ", "", " ".join(str(text).split()))
    return text[:500].rstrip(".")
