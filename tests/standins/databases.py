"""Private MariaDB and PostgreSQL servers from Debian's packages, each in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "a pass'word"
USER = "mlmd"
DATABASE = "mlmd"


@contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """Runs a MariaDB server; yields the URI of its database."""
    user = _account("mysql")
    server, installer = _program("mariadbd"), _program("mariadb-install-db")
    data = _folder(folder, user)
    flags = [f"--user={user}", f"--datadir={data}"]
    _done([installer, "--no-defaults", *flags, "--skip-test-db", "--auth-root-socket-user=root"])
    port = _free_port()
    grants = data / "init.sql"
    grants.write_text(
        f"CREATE DATABASE {DATABASE};\n"
        f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY \"{PASSWORD}\";\n"
        f"GRANT ALL ON {DATABASE}.* TO {USER}@'127.0.0.1';\n"
    )
    grants.chmod(0o644)
    command = [server, "--no-defaults", *flags, f"--port={port}", "--bind-address=127.0.0.1"]
    command += [f"--socket={data}/s", f"--init-file={grants}", "--skip-name-resolve"]
    with _running(command, port, data / "log"):
        yield f"mysql://{USER}@127.0.0.1:{port}/{DATABASE}"


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Runs a PostgreSQL server; yields the URI of its database."""
    user = _account("postgres")
    tools = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not tools:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    data = _folder(folder, user)
    secret = data.parent / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    if os.getuid():
        become = []
    initdb = [tools[-1] / "initdb", "-D", data / "db", "-U", USER, "-A", "scram-sha-256"]
    _done([*become, *initdb, f"--pwfile={secret}"], cwd=data)
    port = _free_port()
    command = [*become, tools[-1] / "postgres", "-D", data / "db", "-p", str(port)]
    command += ["-h", "127.0.0.1", "-k", data]
    # To its own "fast shutdown"; SIGTERM would wait for every client.
    with _running(command, port, data.parent / "log", signal.SIGINT):
        _done(
            [tools[-1] / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", USER, DATABASE],
            env={**os.environ, "PGPASSWORD": PASSWORD},
        )
        yield f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}"


def _account(name: str) -> str:
    """The account that a server runs under: it refuses to be root."""
    if os.getuid():
        return pwd.getpwuid(os.getuid()).pw_name
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        pytest.skip(f"needs the account {name}, which comes with Debian's package of the server")


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"needs {name} (Debian's package mariadb-server)")
    return found


def _folder(folder: Path, user: str) -> Path:
    """A folder of the server's account, which the way to it lets it reach."""
    data = folder / "data"
    data.mkdir(parents=True)
    if not os.getuid():
        account = pwd.getpwnam(user)
        os.chown(data, account.pw_uid, account.pw_gid)
        for parent in folder.resolve(), *folder.resolve().parents:
            parent.chmod(parent.stat().st_mode | 0o011)
    return data


@contextmanager
def _running(command: list, port: int, log: Path, stop: int = signal.SIGTERM) -> Iterator[None]:
    with log.open("w") as output:
        server = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=output, cwd=log.parent
        )
    try:
        until = time.monotonic() + 60
        while not _answers(port):
            assert server.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.1)
        yield
    finally:
        server.send_signal(stop)
        server.wait(30)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _done(command: list, **options) -> None:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
