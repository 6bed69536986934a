"""Connections to Kafka and PostgreSQL for commands and the console. Failures are `KeepstreamError`s without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from confluent_kafka.admin import AdminClient

from keepstream.app.config.postgres import PostgresSettings, conninfo
from keepstream.app.config.settings import KafkaSettings, Settings
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.connect.diagnose import LastKafkaError, postgres_refusal
from keepstream.app.errors import UNREACHABLE, USAGE, KeepstreamError


@contextmanager
def connect(
    settings: Settings, application_name: str = "keepstream cli"
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Open one connection in autocommit; Trouble with exit code 4 when PostgreSQL does not answer."""
    import psycopg

    from keepstream.sinks.postgres.connection import CLIENT_ENCODING, DatabaseEncodingError, Session
    from keepstream.sinks.postgres.errors import reason_of

    postgres = settings.postgres
    try:
        connection = psycopg.connect(
            conninfo(postgres), autocommit=True, connect_timeout=postgres.connect_timeout_s,
            application_name=application_name, client_encoding=CLIENT_ENCODING,
        )  # fmt: skip
    except psycopg.OperationalError as error:
        raise unreachable_postgres(error, postgres) from None
    with connection:
        try:
            Session.of(postgres.schema_name).pin(connection)
            yield connection
        except DatabaseEncodingError as error:
            raise KeepstreamError("database_encoding", str(error)) from None
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            raise KeepstreamError(
                "not_migrated", "tables or columns do not exist", "run `keepstream db migrate`"
            ) from None
        except psycopg.OperationalError as error:
            if error.sqlstate and not error.sqlstate.startswith(("08", "57P")):
                raise KeepstreamError("postgres_refused", f"PostgreSQL refuses: {reason_of(error)}") from None
            raise unreachable_postgres(error, postgres) from None


def unreachable_postgres(error: Exception, settings: PostgresSettings) -> KeepstreamError:
    """Say why without quoting the driver, whose text may hold the URL."""
    message = f"PostgreSQL cannot be reached: {postgres_refusal(str(error), settings)}"
    return KeepstreamError("postgres_unreachable", message, "check KEEPSTREAM_POSTGRES__URL", UNREACHABLE)


def admin_client(kafka: KafkaSettings, timeout_s: float = 10.0) -> AdminClient:
    """Return an admin client of a cluster that answers; Trouble with exit code 4 when none does."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from keepstream.app.connect.oauth import token_trouble

    complaints = LastKafkaError(kafka)
    try:
        admin = AdminClient(librdkafka_settings(kafka) | {"log_level": 0, "error_cb": complaints})
    except KafkaException as error:  # a certificate or a key that cannot be loaded, a token that is not to be had
        if trouble := token_trouble(kafka.security):
            raise KeepstreamError(
                "kafka_unreachable", trouble, "check KEEPSTREAM_KAFKA__SECURITY__...", UNREACHABLE
            ) from None
        raise KeepstreamError("kafka_settings", f"the Kafka client refuses its settings: {error.args[0].str()}",
                      "check KEEPSTREAM_KAFKA__SECURITY__...", USAGE) from None  # fmt: skip
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException:
        admin.poll(0)  # for what it complained of
        raise KeepstreamError(
            "kafka_unreachable", f"Kafka cannot be reached at {kafka.bootstrap_servers}: {complaints.why()}",
            "check KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS and KEEPSTREAM_KAFKA__SECURITY__...", UNREACHABLE,
        ) from None  # fmt: skip
    return admin
