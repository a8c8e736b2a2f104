"""Opens a metadata store by its URI."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipeline.artifacts.names import METADATA_FILE
from pipeline.metadata.graph import MetadataSource, StoreError

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

PASSWORD = "MLMD_PASSWORD"
FORMS = """\
  sqlite:///absolute/path, or just the path of the file
  mysql://USER@HOST[:3306]/DATABASE         password from MLMD_PASSWORD
  postgresql://USER@HOST[:5432]/DATABASE    password from MLMD_PASSWORD
  vertex://PROJECT/LOCATION[/STORE]         Google's default credentials"""


@contextmanager
def opened(uri: str, run: str | None = None) -> Iterator[MetadataSource]:
    """Opens a store for the `with` block; errors of the store in the block become `StoreError`.

    Args:
        uri: URI of the store, in one of `FORMS`.
        run: name of a pipeline run that the store must contain.

    Yields:
        The opened store.

    Raises:
        StoreError: the store cannot be opened or read, or does not contain the run.
    """
    source = open_source(uri)
    try:
        if run and run not in (known := source.runs()):
            listed = ", ".join(known[-5:]) or "none"
            raise StoreError(f"there is no run {run!r} in {source.uri}; latest runs: {listed}")
        yield source
    except source.errors as error:
        raise StoreError(f"cannot read {source.uri}: {' '.join(str(error).split())}") from None


def open_source(uri: str) -> MetadataSource:
    """Opens a store by its URI.

    Args:
        uri: URI of the store, in one of `FORMS`.

    Raises:
        StoreError: the URI is invalid, the file does not exist or the server cannot be reached.

    Example:
        >>> open_source("runs/metadata.sqlite").runs()
        ['20260101-120000']
    """
    scheme, _, rest = uri.partition("://")
    if not rest:
        scheme, rest = "sqlite", uri
    if scheme == "vertex":
        from pipeline.metadata.vertex_source import VertexSource

        return VertexSource.of(uri)
    if scheme == "sqlite":
        connection, shown = _sqlite(rest)
    elif scheme in ("mysql", "postgresql"):
        connection, shown = _server(uri)
    else:
        raise StoreError(f"cannot read the metadata store {uri!r}; expected one of:\n{FORMS}")
    from ml_metadata import MetadataStore, errors

    from pipeline.metadata.mlmd_source import MlmdSource

    try:
        return MlmdSource(MetadataStore(connection), shown)
    except (errors.StatusError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"cannot open the metadata store {shown}: {reason}") from None


def _sqlite(path: str) -> tuple[mlmd.ConnectionConfig, str]:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    file = Path(path)
    if not file.is_file():
        raise StoreError(
            f"there is no metadata store at {file}; a run writes ROOT/{METADATA_FILE}. "
            f"Expected one of:\n{FORMS}"
        )
    # Checked here, as the client of ML Metadata creates missing tables in any SQLite file.
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("SELECT schema_version FROM MLMDEnv")
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file} is not a metadata store: {error}") from None
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(file)
    connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE
    return connection, f"sqlite://{file.resolve()}"


def _server(uri: str) -> tuple[mlmd.ConnectionConfig, str]:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    parts = urlsplit(uri)
    if parts.password is not None:
        raise StoreError(f"the URI contains a password: remove it and set {PASSWORD} instead")
    database = unquote(parts.path.strip("/"))
    if not (parts.hostname and parts.username and database):
        raise StoreError(f"{uri!r} lacks user, host or database; expected one of:\n{FORMS}")
    connection = mlmd.ConnectionConfig()
    password = os.environ.get(PASSWORD, "")
    if parts.scheme == "mysql":
        server = connection.mysql
        server.database, server.port = database, parts.port or 3306
        server.skip_db_creation = True
        server.host, server.user, server.password = parts.hostname, parts.username, password
    else:
        server = connection.postgresql
        server.dbname, server.port = database, str(parts.port or 5432)
        server.skip_db_creation = True
        server.host, server.user = parts.hostname, parts.username
        # ML Metadata inserts the password unescaped into libpq's `key=value` connection string.
        escaped = password.replace("\\", "\\\\").replace("'", "\\'")
        server.password = f"'{escaped}'"
    return connection, uri
