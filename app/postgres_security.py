"""What libpq would do with a password, by its own rules: URL, ``PG*`` variables, service and password file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.loopback import is_loopback
from app.secret_file import secret

if TYPE_CHECKING:
    from app.postgres_settings import PostgresSettings

VERIFIED = "verify-full"


def conninfo(settings: PostgresSettings) -> str:
    """Return libpq's connection string, with the password of ``password_file`` as it is now. Raises OSError."""
    url = settings.url.get_secret_value()
    if settings.password_file is None:
        return url
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - settings are read where psycopg is not needed

    return make_conninfo(url, password=secret(None, settings.password_file))


def refuse_unverified(settings: PostgresSettings) -> None:
    """Raise ValueError when a password would go to a server whose identity nobody verified, off loopback."""
    if settings.allow_insecure_credentials:
        return
    given = effective(settings.url.get_secret_value())
    if given.get("sslmode") == VERIFIED or all(map(is_here, hosts(given))):
        return
    if settings.password_file or given.get("password") or Path(passfile(given)).is_file():
        raise ValueError(
            f"sslmode={given.get('sslmode')} would give the password to whoever answers in the server's place; add "
            "sslmode=verify-full and sslrootcert=FILE (or sslrootcert=system) to the URL, or consent with "
            "KEEPSTREAM_POSTGRES__ALLOW_INSECURE_CREDENTIALS=true"
        )


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


def is_here(host: str) -> bool:
    """Whether it is this machine: loopback, or a Unix socket, which is also libpq's default."""
    return not host or host.startswith(("/", "@")) or is_loopback(host)


def passfile(given: dict[str, str]) -> str:
    return given.get("passfile") or str(Path.home() / ".pgpass")
