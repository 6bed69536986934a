"""Connections that a command or the console opens for itself. Each failure is a `Trouble` that names no secret."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.clients import librdkafka_settings
from app.trouble import UNREACHABLE, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    from confluent_kafka.admin import AdminClient

    from app.settings import KafkaSettings, Settings


@contextmanager
def connect(
    settings: Settings, application_name: str = "keepstream cli"
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Open one connection in autocommit; Trouble with exit code 4 when PostgreSQL does not answer."""
    import psycopg

    postgres = settings.postgres
    options = f"-c timezone=UTC{f' -c search_path={postgres.schema_name}' if postgres.schema_name else ''}"
    try:
        connection = psycopg.connect(
            postgres.url.get_secret_value(), autocommit=True, options=options,
            connect_timeout=postgres.connect_timeout_s, application_name=application_name,
        )  # fmt: skip
    except psycopg.OperationalError as error:
        raise unreachable_postgres(error) from None
    with connection:
        try:
            yield connection
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            raise Trouble(
                "not_migrated", "tables or columns do not exist", "run `keepstream db migrate`"
            ) from None
        except psycopg.OperationalError as error:
            raise unreachable_postgres(error) from None


def unreachable_postgres(error: Exception) -> Trouble:
    """Say why without quoting the driver, whose text may hold the URL."""
    state = getattr(error, "sqlstate", None)
    why = {"28P01": "the password was refused", "28000": "the user was refused", "3D000": "there is no such database"}
    message = f"PostgreSQL cannot be reached: {why.get(state or '', 'no server answers')}"
    return Trouble("postgres_unreachable", message, "check KEEPSTREAM_POSTGRES__URL", UNREACHABLE)


def admin_client(kafka: KafkaSettings, timeout_s: float = 10.0) -> AdminClient:
    """Return an admin client of a cluster that answers; Trouble with exit code 4 when none does."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    quiet = {"log_level": 0}
    admin = AdminClient({**librdkafka_settings(kafka), **quiet})
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException:
        raise Trouble(
            "kafka_unreachable", f"Kafka cannot be reached at {kafka.bootstrap_servers}",
            "check KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS", UNREACHABLE,
        ) from None  # fmt: skip
    return admin
