"""Where events, counters and offsets live, and how to get in."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from app.postgres_security import refuse_unverified
from app.section import Seconds, SecretFile, Section


class PostgresSettings(Section):
    """Where events, counters and offsets live."""

    url: SecretStr = SecretStr("postgresql://127.0.0.1:5432/keepstream")
    """libpq URL. What it leaves out comes from libpq's own ``PG*`` variables and password file. Never logged."""
    password_file: SecretFile = None
    """A file with the password, read at every connection: rotate it without a restart. Default none: in the URL."""
    allow_insecure_credentials: bool = False
    """Whether a password may go to another machine with less than ``sslmode=verify-full``. Default off: refused."""
    schema_name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] | None = None
    """The schema of keepstream's tables. Default none: the connection's search path decides."""
    pool_size: Annotated[int, Field(ge=1, le=200)] = 8
    """Connections per worker. More than partitions per worker are never used; 8 saturates two cores."""
    connect_timeout_s: Annotated[int, Field(ge=1, le=60)] = 5
    """How long getting a connection may take before PostgreSQL counts as unreachable. Whole seconds (libpq)."""
    statement_timeout_s: Seconds = 8.0
    """The server cancels a statement after this. Below the retry policy's attempt timeout, so that the server lets go
    first."""
    lock_timeout_s: Seconds = 4.0
    """The server gives up waiting for a lock after this."""
    synchronous_commit: bool = False
    """Whether each batch waits for PostgreSQL's disk. Default off, a quarter faster: a crash of PostgreSQL takes back
    at most the last 0.6 s, rows, counters and offset together, and the worker reads those records again from Kafka.
    Turn it on where others act on rows at once and must never see one vanish for the seconds of such a crash."""

    @model_validator(mode="after")
    def _password_is_safe(self) -> Self:
        refuse_unverified(self)
        return self
