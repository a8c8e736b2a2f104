"""Hosts on one wire: network namespaces on a bridge, with names of their own.

What was set up is taken down when the block ends, and also when the process that made it is killed:
a reaper waits for a pipe to close, which the kernel does for the dead.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_NAMES = Path("/etc/netns")  # `ip netns exec` lays these files over /etc

# $1: what all names of this network begin with. Reads until the maker closes the pipe.
_REAPER = """
cat >/dev/null
names=$(ip netns list | cut -d' ' -f1 | grep "^$1-")
for ns in $names; do ip netns pids "$ns" | xargs -r kill -9; done
for ns in $names; do ip netns delete "$ns"; rm -rf "/etc/netns/$ns"; done
# Connections that ended with their hosts keep namespaces for minutes, and these their wires.
for wire in /sys/class/net/"$1"h*; do ip link delete "${wire##*/}" 2>/dev/null; done
ip link delete "$1" 2>/dev/null
rmdir /etc/netns 2>/dev/null
true
"""


class Network:
    """Hosts that reach each other, the services on the bridge, and nothing else.

    Attributes:
        services: Addresses on the bridge, reached by every host and by this process.
        addresses: Host name to IP address.
    """

    def __init__(self, name: str, subnet: str, hosts: Sequence[str], services: int):
        self._name = name
        self.services = [f"{subnet}.{1 + n}" for n in range(services)]
        self.addresses = {host: f"{subnet}.{101 + n}" for n, host in enumerate(hosts)}

    def namespace(self, host: str) -> str:
        """The network namespace of a host."""
        if host not in self.addresses:
            raise ValueError(f"no such host: {host!r}; there are {', '.join(self.addresses)}")
        return f"{self._name}-{host}"

    def set_up(self) -> None:
        _ip("link", "add", self._name, "type", "bridge")
        for address in self.services:
            _ip("address", "add", f"{address}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")
        for number, (host, address) in enumerate(self.addresses.items()):
            ns, wire = self.namespace(host), f"{self._name}h{number}"
            _ip("netns", "add", ns)
            _ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", ns)
            _ip("link", "set", wire, "master", self._name, "up")
            _ip("-n", ns, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", ns, "link", "set", device, "up")

    def name(self, names: Mapping[str, str]) -> None:
        """Tells every host which address each name has; all other names are unknown to it."""
        lines = ["127.0.0.1 localhost", *(f"{ip} {name}" for name, ip in names.items())]
        lines += [f"{ip} {host}" for host, ip in self.addresses.items()]
        for host in self.addresses:
            folder = _NAMES / self.namespace(host)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "hosts").write_text("\n".join([*lines, ""]))
            (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions attempts:1\n")

    def command(self, command: Sequence, host: str) -> list[str]:
        """A command line that runs a command on a host, which has its name."""
        there = ["ip", "netns", "exec", self.namespace(host)]
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]
        return [*there, *named, *map(str, command)]


@contextmanager
def network(hosts: Sequence[str], services: int = 2) -> Iterator[Network]:
    """Makes the hosts; the test is skipped where this process may not.

    Args:
        hosts: Their names.
        services: How many addresses the bridge has.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2 for network namespaces")
    with ExitStack() as stack:
        number = stack.enter_context(_free_number())
        made = Network(f"pawnet{number}", f"10.93.{number}", hosts, services)
        reaper = ["sh", "-c", _REAPER, "reaper", f"pawnet{number}"]
        subprocess.run(reaper, stdin=subprocess.DEVNULL, check=True)
        waiting = subprocess.Popen(reaper, stdin=subprocess.PIPE, start_new_session=True)
        stack.callback(waiting.wait)
        stack.callback(waiting.stdin.close)
        try:
            made.set_up()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        yield made


@contextmanager
def _free_number() -> Iterator[int]:
    """A number that no other living process uses for its network."""
    for number in range(1, 255):
        path = Path(tempfile.gettempdir(), f"pawnet{number}.lock")
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            try:
                yield number
            finally:
                path.unlink(missing_ok=True)
            return
    raise RuntimeError("254 networks are in use")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
