"""Google Cloud as unmodified clients see it, on this machine alone.

    with cloud_world() as world:
        world.storage.put("gs://bucket/photos/1.jpg", content)
        done = world.run(["python", "job.py"], host="client")

Each host is a network namespace in which Google's names lead to local stand-ins over HTTPS, with a
throw-away certificate authority and service account. Nothing else is reachable from there, and
nothing is patched in the clients.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.standins.accounts import TokenStandIn
from tests.standins.certificates import Certificates, make_certificates
from tests.standins.front import Front
from tests.standins.http_service import HttpService
from tests.standins.netns import Network, network
from tests.standins.storage import StorageStandIn

PROJECT = "my-project"
REGION = "europe-west4"
HOSTS = ("client", "dataflow", "worker-1", "worker-2")
_DOMAIN = "googleapis.com"
_HTTPS = ("storage", "www", "oauth2", "dataflow", "iamcredentials", "ml")


class CloudWorld:
    """The hosts and what they see.

    Attributes:
        storage: What is under `storage.googleapis.com` and `www.googleapis.com`.
        tokens: What is under `oauth2.googleapis.com`.
        network: The hosts.
        certificates: For a gRPC server of `<region>-aiplatform.googleapis.com`, see `vertex`.
        vertex: `IP:443`, where that name leads; nothing listens there before a test does.
        folder: For files of this world.
        front: Its `requests` are those that no service has a method for.
    """

    def __init__(self, net: Network, folder: Path, regions: Sequence[str], buckets: Sequence[str]):
        self.network = net
        self.folder = folder
        names = [f"{name}.{_DOMAIN}" for name in _HTTPS]
        names += [f"{region}-ml.{_DOMAIN}" for region in regions]
        vertex = [f"{region}-aiplatform.{_DOMAIN}" for region in regions]
        https, grpc = net.services[:2]
        net.name(dict.fromkeys(names, https) | dict.fromkeys(vertex, grpc))
        self.vertex = f"{grpc}:443"
        self.certificates: Certificates = make_certificates(folder, [*names, *vertex])
        self._services: dict[str, list[HttpService]] = {name: [] for name in names}
        self.front = Front(https, self.certificates, self._services)
        self.storage, self.tokens = StorageStandIn(*buckets), TokenStandIn()
        self.serve(self.storage, "storage", "www")
        self.serve(self.tokens, "oauth2", "www")
        key = self.tokens.write_key(folder / "key.json")
        authority = str(self.certificates.authority)
        self.environment = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(key),
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": authority,
            "REQUESTS_CA_BUNDLE": authority,
            "HTTPLIB2_CA_CERTS": authority,
            "CURL_CA_BUNDLE": authority,  # TensorFlow's own gs:// file system reads this one
            "SSL_CERT_FILE": authority,
            "NO_GCE_CHECK": "true",
            "CLOUDSDK_CONFIG": str(folder / "no-gcloud"),
        }

    def serve(self, service: HttpService, *names: str) -> None:
        """Puts a service, which need not be entered, under `<name>.googleapis.com`."""
        service.url = f"https://{names[0]}.{_DOMAIN}"
        for name in names:
            self._services[f"{name}.{_DOMAIN}"].append(service)

    def run(
        self,
        command: Sequence,
        host: str = "client",
        env: Mapping[str, str] | None = None,
        **options,
    ) -> subprocess.CompletedProcess:
        """`subprocess.run` on a host, output captured as text."""
        options = {"capture_output": True, "text": True} | options
        environment = self._environment(env)
        return subprocess.run(self.network.command(command, host), env=environment, **options)

    def start(
        self, command: Sequence, host: str, env: Mapping[str, str] | None = None, **options
    ) -> subprocess.Popen:
        """`subprocess.Popen` on a host. What still runs at the end is killed."""
        environment = self._environment(env)
        return subprocess.Popen(self.network.command(command, host), env=environment, **options)

    def _environment(self, env: Mapping[str, str] | None) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return kept | self.environment | dict(env or {})


@contextmanager
def cloud_world(
    hosts: Sequence[str] = HOSTS,
    regions: Sequence[str] = (REGION, "us-central1"),
    buckets: Sequence[str] = ("bucket",),
) -> Iterator[CloudWorld]:
    """Sets the world up and takes it down; skips the test where network namespaces are missing."""
    with network(hosts) as net, tempfile.TemporaryDirectory(prefix="cloud-world-") as folder:
        world = CloudWorld(net, Path(folder), regions, buckets)
        with world.front:
            yield world
