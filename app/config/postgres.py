"""Settings of PostgreSQL, and its connection string."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from keepstream.app.config.base import Seconds, SecretFile, Section, is_loopback, secret

DEFAULT_PORT = 5432


class PostgresSettings(Section):
    """The database of events, counters, offsets and dead letters."""

    url: SecretStr = SecretStr("postgresql://127.0.0.1:5432/keepstream")
    """libpq URL. What it leaves out comes from libpq's own ``PG*`` variables and password file. Never logged."""
    password_file: SecretFile = None
    """A file with the password, read at every connection: rotate it without a restart. Default none: in the URL."""
    allow_insecure_credentials: bool = False
    """Whether a password may go to another machine with less than ``sslmode=verify-full``. Default off: refused."""
    schema_name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] | None = None
    """The schema of keepstream's tables. Default none: the connection's search path decides."""
    pool_size: Annotated[int, Field(ge=1, le=200)] = 8
    """Connections per worker for batches; one more is for health probes. More than partitions per worker are never
    used; 8 saturates two cores."""
    connect_timeout_s: Annotated[int, Field(ge=1, le=60)] = 5
    """How long making a connection may take before PostgreSQL counts as unreachable. Whole seconds (libpq)."""
    statement_timeout_s: Seconds = 8.0
    """The server cancels a statement after this. Below the retry policy's attempt timeout, so that the server lets go
    first."""
    lock_timeout_s: Seconds = 4.0
    """The server gives up waiting for a lock after this."""
    allow_other_topics: bool = False
    """Whether another topic's events may be in the same tables, where equal ids of both are one event. Default off: a
    worker refuses a topic that is new in tables of another one. On for a topic that was renamed, or that moved to
    another cluster under a new name."""
    synchronous_commit: bool = True
    """Whether each transaction waits for PostgreSQL's disk. Default on: waiting batches share a transaction, so it
    costs little. Off, a crash of PostgreSQL takes back at most the last 0.6 s, rows, counters and offset together,
    and the worker reads those records again from Kafka: for disks that sync slowly, where no client acts on a row at
    once."""

    @model_validator(mode="after")
    def _password_is_safe(self) -> Self:
        """Refuse to send a password beyond loopback to a server whose identity is not verified."""
        if self.allow_insecure_credentials:
            return self
        given = effective(self.url.get_secret_value())
        if given.get("sslmode") == "verify-full" or all(map(is_local, hosts(given))):
            return self
        passfile = Path(given.get("passfile") or Path.home() / ".pgpass")
        if self.password_file or given.get("password") or passfile.is_file():
            raise ValueError(
                f"sslmode={given.get('sslmode')} would give the password to any server that answers in its place; add "
                "sslmode=verify-full and sslrootcert=FILE (or sslrootcert=system) to the URL, or consent with "
                "KEEPSTREAM_POSTGRES__ALLOW_INSECURE_CREDENTIALS=true"
            )
        return self


def conninfo(settings: PostgresSettings) -> str:
    """Return libpq's connection string, with the password of ``password_file`` as it is now. Raises OSError."""
    url = settings.url.get_secret_value()
    if settings.password_file is None:
        return url
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - settings are read where psycopg is not needed

    return make_conninfo(url, password=secret(None, settings.password_file))


def effective(url: str) -> dict[str, str]:
    """Return every parameter that libpq would use. Raises ValueError, which does not repeat the URL."""
    import psycopg  # noqa: PLC0415 - settings are read where psycopg is not needed
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    defaults = {found.keyword.decode(): found.val for found in psycopg.pq.Conninfo.get_defaults()}
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ValueError("this is no libpq URL, nor a list of name=value") from None
    known = {name: value.decode() for name, value in defaults.items() if value is not None}
    return known | {name: str(value) for name, value in given.items() if value is not None}


def hosts(given: dict[str, str]) -> list[str]:
    """Return where libpq would connect to; an address wins over its name."""
    return (given.get("hostaddr") or given.get("host") or "").split(",")


def addresses(settings: PostgresSettings) -> str:
    """Return the servers that libpq would try, as ``host:port``, without anything else of the URL.

    A password that is not percent-encoded may be taken for a host, a port or a database: then none is named.
    """
    given = effective(settings.url.get_secret_value())
    if "@" in given.get("host", "") + given.get("dbname", ""):
        return "the server of the URL"
    return ", ".join(f"{host or 'the local socket'}:{port}" for host, port in servers(given))


def place(settings: PostgresSettings) -> str:
    """Return servers and database, which differ for two databases. No secret is in it."""
    given = effective(settings.url.get_secret_value())
    return f"{addresses(settings)}/{given.get('dbname') or given.get('user') or ''}"


def servers(given: dict[str, str]) -> list[tuple[str, int]]:
    """Return host and port of each server that libpq would try."""
    names = hosts(given)
    ports = [int(port) if port.isdecimal() else DEFAULT_PORT for port in (given.get("port") or "").split(",")]
    return list(zip(names, ports if len(ports) == len(names) else ports * len(names), strict=False))


def is_local(host: str) -> bool:
    """Return whether a host is loopback or a Unix socket, which is also libpq's default."""
    return not host or host.startswith(("/", "@")) or is_loopback(host)
