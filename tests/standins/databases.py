"""Private MariaDB and PostgreSQL servers from Debian's packages, each in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "a pass'word"
USER = "mlmd"
DATABASE = "mlmd"


@contextmanager
def mariadb() -> Iterator[str]:
    """Runs a MariaDB server; yields the URI of its database."""
    user = _account("mysql")
    server, installer = _program("mariadbd"), _program("mariadb-install-db")
    with _folder(user) as folder:
        data = folder / "db"
        flags = [f"--user={user}", f"--datadir={data}"]
        bare = ["--skip-test-db", "--auth-root-socket-user=root"]
        _done([installer, "--no-defaults", *flags, *bare])
        port = _free_port()
        grants = folder / "init.sql"
        grants.write_text(
            f"CREATE DATABASE {DATABASE};\n"
            f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY \"{PASSWORD}\";\n"
            f"GRANT ALL ON {DATABASE}.* TO {USER}@'127.0.0.1';\n"
        )
        grants.chmod(0o644)
        command = [server, "--no-defaults", *flags, f"--port={port}", "--bind-address=127.0.0.1"]
        command += [f"--socket={folder}/s", f"--init-file={grants}", "--skip-name-resolve"]
        with _running(command, port, folder / "log"):
            yield f"mysql://{USER}@127.0.0.1:{port}/{DATABASE}"


@contextmanager
def postgresql() -> Iterator[str]:
    """Runs a PostgreSQL server; yields the URI of its database."""
    user = _account("postgres")
    tools = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not tools:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    if os.getuid():
        become = []
    with _folder(user) as folder:
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data = folder / "db"
        initdb = [tools[-1] / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256"]
        _done([*become, *initdb, f"--pwfile={secret}"], cwd=folder)
        port = _free_port()
        command = [*become, tools[-1] / "postgres", "-D", data, "-p", str(port)]
        command += ["-h", "127.0.0.1", "-k", folder]
        # To its own "fast shutdown"; SIGTERM would wait for every client.
        with _running(command, port, folder / "log", signal.SIGINT):
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


@contextmanager
def _folder(user: str) -> Iterator[Path]:
    """A folder of the server's account. Not one of pytest's: it closes those to other accounts,
    also while they are in use, whenever another run of pytest starts."""
    with tempfile.TemporaryDirectory(prefix="database-") as name:
        if not os.getuid():
            account = pwd.getpwnam(user)
            os.chown(name, account.pw_uid, account.pw_gid)
        yield Path(name)


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
