"""From the URI of a metadata store to a source that can be read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.metadata.graph import MetadataSource, StoreError

PASSWORD = "MLMD_PASSWORD"
FORMS = """\
  sqlite:///absolute/path, or just the path of the file
  mysql://USER@HOST[:3306]/DATABASE         password from MLMD_PASSWORD
  postgresql://USER@HOST[:5432]/DATABASE    password from MLMD_PASSWORD
  vertex://PROJECT/LOCATION[/STORE]         Google's default credentials"""


@contextmanager
def opened(uri: str, run: str | None = None) -> Iterator[MetadataSource]:
    """Opens the store at a URI, as `open_source` does.

    Args:
        uri: the store.
        run: name of a pipeline run that must be in it.

    Raises:
        StoreError: as `open_source`; an unknown run; a store that refuses or goes away
            in the block.
    """
    source = open_source(uri)
    try:
        if run and run not in (known := source.runs()):
            listed = ", ".join(known[-5:]) or "none"
            raise StoreError(f"there is no run {run!r} in {source.uri}; the latest: {listed}")
        yield source
    except source.errors as error:
        raise StoreError(f"cannot read {source.uri}: {' '.join(str(error).split())}") from None


def open_source(uri: str) -> MetadataSource:
    """Opens the store at a URI; `FORMS` lists what is understood.

    Raises:
        StoreError: a URI that is none of these, a missing file, a server that cannot be reached.
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
    from ml_metadata import errors

    from pipeline.metadata.mlmd_source import MlmdSource

    try:
        return MlmdSource(connection, shown)
    except (errors.StatusError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"cannot open the metadata store {shown}: {reason}") from None


def _sqlite(path: str):
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    file = Path(path)
    if not file.is_file():
        raise StoreError(
            f"there is no metadata store at {file}; a run leaves one at ROOT/metadata.sqlite, "
            f"other stores are given as:\n{FORMS}"
        )
    # Before ML Metadata's client opens it, which makes its tables in any file that lacks them.
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("SELECT schema_version FROM MLMDEnv")
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file} is no metadata store: {error}") from None
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(file)
    connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE
    return connection, f"sqlite://{file.resolve()}"


def _server(uri: str):
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    parts = urlsplit(uri)
    if parts.password is not None:
        raise StoreError(f"a password does not belong in a URI: put it into {PASSWORD}")
    database = unquote(parts.path.strip("/"))
    if not (parts.hostname and parts.username and database):
        raise StoreError(f"{uri!r} lacks user, host or database; expected:\n{FORMS}")
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
        # ML Metadata puts it into libpq's `key=value` text as it is.
        escaped = password.replace("\\", "\\\\").replace("'", "\\'")
        server.password = f"'{escaped}'"
    return connection, uri
