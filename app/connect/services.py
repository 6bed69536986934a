"""Clients of Kafka and PostgreSQL for commands and the console. Errors are `KeepstreamError`s without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import psycopg
from confluent_kafka import KafkaException

from keepstream.app.config.contract import load_contract
from keepstream.app.config.postgres import PostgresSettings, addresses, conninfo
from keepstream.app.config.settings import Settings
from keepstream.app.config.topics import in_topic
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.connect.diagnose import SEE_ADVERTISED, LastKafkaError, explain_postgres_error, silent_brokers
from keepstream.app.connect.oauth import diagnose_token
from keepstream.app.errors import NOT_FOUND, UNREACHABLE, USAGE, KeepstreamError
from keepstream.processors.validation.validate import Validator
from keepstream.sinks.kafka.admin import ELECTING, KafkaAdmin, TopicMissingError
from keepstream.sinks.postgres.errors import reason_of
from keepstream.sinks.postgres.pooled_connection import SessionConnection
from keepstream.sinks.postgres.session import CLIENT_ENCODING, Session, UnusableDatabaseError

_NO_RIGHT = ("42501", "25006")
"""Insufficient privilege; a write in a read-only transaction."""
_CHECK_SECURITY = "check KEEPSTREAM_KAFKA__SECURITY__..."


class Services:
    """The servers that the settings name. Made once per command, or once per console: each client is made once.

    ``application_name`` is what PostgreSQL shows in ``pg_stat_activity``. Those of a topic are got from `by_topic`.
    """

    def __init__(self, settings: Settings, application_name: str = "keepstream cli") -> None:
        self.settings = settings
        self._application_name = application_name
        self._last_kafka_error = LastKafkaError(settings.kafka)
        self._of_all: Services | None = None
        self._topic: str | None = None

    def by_topic(self) -> dict[str, Services]:
        """Return the servers of each topic, as if it were the only one. They share the client of Kafka."""
        if not self.settings.topics:
            return {self.settings.kafka.topic: self}
        return {topic: self._of(topic, view) for topic, view in self.settings.by_topic().items()}

    def in_topic(self, error: KeepstreamError) -> KeepstreamError:
        """Return an error that names variables with the settings of the topic, where there are several."""
        return in_topic(self._topic, error)

    def _of(self, topic: str, view: Settings) -> Services:
        services = Services(view, self._application_name)
        services._of_all, services._topic, services._last_kafka_error = self, topic, self._last_kafka_error
        return services

    @cached_property
    def kafka_config(self) -> dict[str, Any]:
        """Librdkafka's settings for every client: how to connect and to log in."""
        return librdkafka_settings(self.settings.kafka)

    @cached_property
    def kafka(self) -> KafkaAdmin:
        """The admin client, whether the cluster answers or not."""
        if self._of_all:
            return self._of_all.kafka
        names = self.settings.dlq_headers.names()
        return KafkaAdmin(self.kafka_config, error_cb=self._last_kafka_error, header_names=names)

    def admin(self, timeout_s: float | None = None) -> KafkaAdmin:
        """Return the admin client of a cluster that answers. Raises KeepstreamError (4), which says why it does not."""
        kafka = self.settings.kafka
        try:
            self.kafka.connect()
        except KafkaException as error:  # a certificate or a key that cannot be loaded, a token that cannot be obtained
            if reason := diagnose_token(kafka.security):
                raise KeepstreamError("kafka_unreachable", reason, _CHECK_SECURITY, UNREACHABLE) from None
            message = f"the Kafka client refuses its settings: {error.args[0].str()}"
            raise KeepstreamError("kafka_settings", message, _CHECK_SECURITY, USAGE) from None
        try:
            self.kafka.brokers(timeout_s)
        except KafkaException:
            self.kafka.report_errors()
            if silent := silent_brokers(self._last_kafka_error.advertised):
                raise KeepstreamError(
                    "kafka_failed", f"Kafka failed: {silent[0]}", SEE_ADVERTISED, UNREACHABLE
                ) from None
            raise KeepstreamError(
                "kafka_unreachable",
                f"Kafka cannot be reached at {kafka.bootstrap_servers}: {self._last_kafka_error.explain()}",
                "check KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS and KEEPSTREAM_KAFKA__SECURITY__...", UNREACHABLE,
            ) from None  # fmt: skip
        return self.kafka

    def silent_brokers(self) -> list[str]:
        """Return a sentence per broker that cannot be reached at the address that it advertises."""
        self.kafka.report_errors()
        advertised = {**self._last_kafka_error.advertised}
        with suppress(KafkaException):
            advertised |= self.kafka.brokers()
        return silent_brokers(advertised)

    @contextmanager
    def kafka_errors(self, hint: str = "see `keepstream doctor`") -> Iterator[None]:
        """Map what a Kafka client raises in the block to a KeepstreamError: 3 for a missing topic, else 4."""
        try:
            yield
        except TopicMissingError as error:
            message = f"there is no topic {error.topic!r}"
            raise KeepstreamError("topic_missing", message, "run `keepstream topics ensure`", NOT_FOUND) from None
        except KafkaException as error:
            why, hint = self.explain(error, hint)
            raise KeepstreamError("kafka_failed", f"Kafka failed: {why}", hint, UNREACHABLE) from None

    def explain(self, error: KafkaException, hint: str = "") -> tuple[str, str]:
        """Return why a request to a cluster failed, and what to do: a broker may advertise a wrong address."""
        of_the_client = error.args[0].code() < 0 or error.args[0].code() in ELECTING  # no broker's answer
        if of_the_client and (silent := self.silent_brokers()):
            return silent[0], SEE_ADVERTISED
        return error.args[0].str(), hint

    @cached_property
    def validator(self) -> Validator:
        """The contract of the settings. Raises KeepstreamError (2) when it cannot be imported."""
        return load_contract(self.settings, self._topic)

    @contextmanager
    def postgres(self, connect_timeout_s: int | None = None) -> Iterator[SessionConnection]:
        """Open a connection in autocommit. Raises KeepstreamError (4) when PostgreSQL does not answer."""
        postgres = self.settings.postgres
        try:
            connection = SessionConnection.connect(
                conninfo(postgres), autocommit=True, connect_timeout=connect_timeout_s or postgres.connect_timeout_s,
                application_name=self._application_name, client_encoding=CLIENT_ENCODING,
            )  # fmt: skip
        except psycopg.OperationalError as error:
            raise self._unreachable(error) from None
        with connection:
            try:
                Session.of(postgres.schema_name).pin(connection)
                yield connection
            except UnusableDatabaseError as error:
                raise KeepstreamError("database_unusable", str(error)) from None
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
                raise KeepstreamError(
                    "not_migrated", "tables or columns do not exist", "run `keepstream db migrate`"
                ) from None
            except psycopg.Error as error:
                if error.sqlstate and not error.sqlstate.startswith(("08", "57P")):
                    hint = "docs/security.md lists what each role may" if error.sqlstate in _NO_RIGHT else ""
                    message = f"PostgreSQL refuses: {reason_of(error)}"
                    raise KeepstreamError("postgres_refused", message, hint) from None
                if isinstance(error, psycopg.OperationalError):
                    raise self._unreachable(error) from None
                raise

    def _unreachable(self, error: Exception) -> KeepstreamError:
        """Explain a failed connection; the hint names the URL of the topic, where that has its own."""
        explained = unreachable_postgres(error, self.settings.postgres)
        own = self._of_all and self._of_all.settings.topics.get(self._topic or "")
        return self.in_topic(explained) if own and "url" in own.postgres.model_fields_set else explained


def unreachable_postgres(error: Exception, settings: PostgresSettings) -> KeepstreamError:
    """Explain a failed connection without quoting the driver, whose text may hold the URL."""
    why, hint = explain_postgres_error(str(error), settings)
    message = f"PostgreSQL cannot be reached at {addresses(settings)}: {why}"
    return KeepstreamError("postgres_unreachable", message, hint, UNREACHABLE)
