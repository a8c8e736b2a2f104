"""Google's client of Vertex AI: credentials, address, transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.cloud import CloudConfig

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def connect(cloud: CloudConfig) -> None:
    """Initializes `google.cloud.aiplatform` with project, region, credentials and address.

    Raises:
        google.auth.exceptions.GoogleAuthError: the credentials are missing or refused.
    """
    from google.cloud import aiplatform

    aiplatform.init(
        project=cloud.project,
        location=cloud.region,
        credentials=login(),
        api_endpoint=cloud.endpoint,
        api_transport=transport(cloud),
    )


def login() -> Credentials:
    """The application default credentials, with a new token.

    Without the token the client would request one with its first call; over gRPC a refusal of that
    request looks, after minutes, like a service that does not answer.

    Raises:
        google.auth.exceptions.GoogleAuthError: the credentials are missing or refused.
    """
    import google.auth
    from google.auth.transport.requests import Request

    credentials, _ = google.auth.default(scopes=[_SCOPE])
    credentials.refresh(Request())
    return credentials


def endpoint(cloud: CloudConfig) -> str:
    """Address of the API."""
    return cloud.endpoint or f"{cloud.region}-aiplatform.googleapis.com"


def transport(cloud: CloudConfig) -> str | None:
    """`rest`, or None for gRPC."""
    return "rest" if endpoint(cloud).startswith("http") else None
