"""Google's token service and a throw-away service account whose key points at it."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.standins.http_service import Answer, HttpService, Request, route


def forget_login() -> None:
    """Beam keeps the first login of a process, whose token service may be gone by now."""
    from apache_beam.internal.gcp import auth

    auth._Credentials._credentials_init = False
    auth._Credentials._credentials = None


class TokenStandIn(HttpService):
    """Gives every caller a token.

    Attributes:
        expired: Refuses instead, as it does when a login is over.
    """

    expired = False

    @route("POST", r"/token|/oauth2/v4/token")
    def _token(self, request: Request) -> Answer:
        if self.expired:
            said = {"error": "invalid_grant", "error_description": "Token has been expired."}
            return Answer(said, 400)
        return Answer({"access_token": "local", "token_type": "Bearer", "expires_in": 3600})

    def write_key(self, path: Path) -> Path:
        """Writes the key file of a service account, for GOOGLE_APPLICATION_CREDENTIALS."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        account = {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": "tester@my-project.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }
        path.write_text(json.dumps(account))
        return path
