"""Settings of TLS and SASL towards Kafka, the same for both client libraries."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, model_validator

from keepstream.app.config.base import SecretFile, Section, is_loopback, only_loopback

Text = Annotated[str, Field(min_length=1)]


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

    def refuse_plaintext_to(self, bootstrap_servers: str) -> None:
        """Raise ValueError when credentials would leave this machine without TLS."""
        if self.protocol == "SASL_PLAINTEXT" and not (
            self.allow_insecure_credentials or only_loopback(bootstrap_servers)
        ):
            raise ValueError(
                "SASL_PLAINTEXT would send credentials to another machine without TLS; use SASL_SSL, or consent with "
                "KEEPSTREAM_KAFKA__SECURITY__ALLOW_INSECURE_CREDENTIALS=true"
            )
