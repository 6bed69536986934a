"""Settings of Kafka: brokers, topics, consumer group, TLS and SASL, the same for both client libraries."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FilePath, SecretStr, model_validator

from keepstream.app.config.base import Bytes, Seconds, SecretFile, Section, host_of, is_loopback, port_of

Text = Annotated[str, Field(min_length=1)]


_SERVER = re.compile(r"(\w+://)?(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+)(:[0-9]{1,5})?")


def _are_servers(text: str) -> str:
    for server in text.split(","):
        if not _SERVER.fullmatch(server.strip()) or port_of(server.strip()) >= 2**16:
            raise ValueError(f"{server.strip()!r} is not host:port")
    return text


TopicName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


class KafkaSecuritySettings(Section):
    """TLS and SASL towards Kafka. Secrets come from variables, or from files that a client reads when it starts."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Kafka's ``security.protocol``. The brokers' certificate and host name are always verified where there is TLS."""
    ca_file: FilePath | None = None
    """Authorities that may sign a broker's certificate, PEM. Default none: those of the system."""
    certificate_file: FilePath | None = None
    """Our certificate for mutual TLS, PEM, with its chain."""
    key_file: FilePath | None = None
    """The key of our certificate, PEM. Default none: it is in ``certificate_file``."""
    key_password: SecretStr | None = None
    """Password of the key."""
    key_password_file: SecretFile = None
    """A file with ``key_password``."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    """Kafka's ``sasl.mechanism``. Needed by the two SASL protocols, an error with the others."""
    username: Text | None = None
    """For PLAIN and SCRAM."""
    password: SecretStr | None = None
    """For PLAIN and SCRAM."""
    password_file: SecretFile = None
    """A file with ``password``."""
    oauth_token_file: SecretFile = None
    """OAUTHBEARER: a file with a token that another program renews; read again before the old one expires."""
    oauth_token_endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """OAUTHBEARER: where to get tokens with the client credentials grant (RFC 6749, 4.4). https beyond loopback."""
    oauth_client_id: Text | None = None
    """Client id at the token endpoint."""
    oauth_client_secret: SecretStr | None = None
    """Client secret at the token endpoint."""
    oauth_client_secret_file: SecretFile = None
    """A file with ``oauth_client_secret``."""
    oauth_scope: Text | None = None
    """The scope to ask the token endpoint for. Default none: the endpoint's own default."""
    allow_insecure_credentials: bool = False
    """Whether credentials may leave this machine without TLS, readable on the network. Default
    off: SASL_PLAINTEXT is refused unless every broker of ``bootstrap_servers`` is on loopback."""

    @property
    def tls(self) -> bool:
        return self.protocol in {"SSL", "SASL_SSL"}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._one_of_each("key_password", "password", "oauth_client_secret")
        if self.protocol.startswith("SASL_") != (self.mechanism is not None):
            raise ValueError("SASL_PLAINTEXT and SASL_SSL need mechanism, and nothing else takes one")
        if not self.tls and (self.ca_file or self.certificate_file or self.key_file):
            raise ValueError(f"certificates are given, but {self.protocol} has no TLS")
        if self.certificate_file is None and (self.key_file or self._has("key_password")):
            raise ValueError("a key is of no use without certificate_file")
        if self.mechanism == "OAUTHBEARER":
            self._oauth_is_complete()
        elif self.mechanism and not (self.username and self._has("password")):
            raise ValueError(f"{self.mechanism} needs username, and password or password_file")
        elif not self.mechanism and (self.username or self._has("password")):
            raise ValueError(f"a user is given, but protocol {self.protocol} does not log in; use SASL_SSL")
        return self

    def _oauth_is_complete(self) -> None:
        client = self.oauth_token_endpoint and self.oauth_client_id and self._has("oauth_client_secret")
        if bool(client) == bool(self.oauth_token_file):
            raise ValueError(
                "OAUTHBEARER needs oauth_token_file, or oauth_token_endpoint, oauth_client_id and a client secret"
            )
        endpoint = urlsplit(self.oauth_token_endpoint or "")
        is_safe = endpoint.scheme == "https" or is_loopback(endpoint.hostname or "")
        if client and not self.allow_insecure_credentials and not is_safe:
            raise ValueError("oauth_token_endpoint must be https beyond loopback: the client secret is sent to it")

    def _has(self, name: str) -> bool:
        return getattr(self, name) is not None or getattr(self, f"{name}_file") is not None

    def _one_of_each(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"give {name} or {name}_file, not both")


class KafkaSettings(Section):
    """The brokers, the topics and the consumer group."""

    bootstrap_servers: Annotated[str, AfterValidator(_are_servers)] = "127.0.0.1:9092"
    """Brokers to connect to first, as ``host:port,host:port``. Without a port it is 9092."""
    topic: TopicName = "events"
    """The topic that is consumed."""
    dlq_topic: TopicName = "event-dlq"
    """The topic that takes dead letters."""
    group_id: Annotated[str, Field(min_length=1)] = "keepstream"
    """The consumer group. Workers of one group share the partitions."""
    group_instance_id: str | None = None
    """A name that survives a restart (static membership): no rebalance if the worker is killed and back within the
    session timeout. Must differ per worker. Default none: a killed worker leaves after the session timeout, and all
    partitions are reassigned. Of several topics, a digest of their names is added: a worker of other topics is another
    member."""
    leave_on_stop: bool = True
    """Whether a worker that is asked to stop (SIGTERM) leaves the group, so that the others take its partitions at
    once. ``false``, with a ``group_instance_id``: they wait for its successor, and no other worker is disturbed."""
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where to begin a partition that was never consumed. Default ``earliest``: nothing is skipped."""
    on_gap: Literal["continue", "stop"] = "continue"
    """What to do when records are missing that were never read: retention deleted them, or the topic ends before the
    stored offset or has another id, for it was re-created. ``continue`` logs it, counts it in
    `keepstream_offset_gap_events` and reads what is left: waiting would only lose more. ``stop`` ends the worker with
    exit code 70 before it reads anything, until an operator sets ``continue``."""
    session_timeout_s: Seconds = 10.0
    """A worker that is silent for so long loses its partitions. 10 s: a killed worker is replaced quickly; a garbage
    collection or a slow disk does not cost a rebalance."""
    heartbeat_interval_s: Seconds = 2.0
    """Time between heartbeats to the group coordinator; at most a third of the session timeout."""
    request_timeout_s: Seconds = 30.0
    """How long one request to a broker may take. Must exceed the session timeout."""
    commit_interval_s: Seconds = 1.0
    """How often settled offsets are committed to Kafka: for lag tools, and with the first offset that was read, should
    PostgreSQL lose a partition's row. Settled offsets are in PostgreSQL, so a late commit loses nothing."""
    fetch_max_bytes: Bytes = 1024 * 1024
    """Most bytes of one partition per fetch. Larger records still arrive, one at a time."""
    unpack_max_bytes: Bytes = 32 * 1024 * 1024
    """Most bytes that one compressed batch may unpack to. A partition whose next batch is larger is paused, and the
    others go on. 32 MiB: clients send batches of up to 1 MiB before compression, and a megabyte of malicious zstd
    holds gigabytes."""
    dlq_timeout_s: Seconds = 10.0
    """How long the broker may take to confirm a dead letter before the partition is paused and it is tried again."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """How keepstream compresses what it writes: dead letters, replays, produced events. Azure Event Hubs takes ``gzip``
    or ``none`` only. Every codec is read."""
    security: KafkaSecuritySettings = KafkaSecuritySettings()
    """TLS and SASL."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.session_timeout_s >= self.request_timeout_s:
            raise ValueError("request_timeout_s must be greater than session_timeout_s")
        if self.heartbeat_interval_s * 3 > self.session_timeout_s:
            raise ValueError("heartbeat_interval_s must be at most a third of session_timeout_s")
        if self.topic == self.dlq_topic:
            raise ValueError("dlq_topic must differ from topic, or dead letters would be consumed for ever")
        local = all(is_loopback(host_of(server.strip())) for server in self.bootstrap_servers.split(","))
        security = self.security
        if security.protocol == "SASL_PLAINTEXT" and not (security.allow_insecure_credentials or local):
            raise ValueError(
                "SASL_PLAINTEXT would send credentials to another machine without TLS; use SASL_SSL, or consent with "
                "KEEPSTREAM_KAFKA__SECURITY__ALLOW_INSECURE_CREDENTIALS=true"
            )
        return self
