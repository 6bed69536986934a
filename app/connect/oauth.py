"""Tokens for SASL OAUTHBEARER, from a file or from a token endpoint: the same ones for both client libraries."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aiokafka.abc import AbstractTokenProvider

from keepstream.app.config.base import secret
from keepstream.app.config.kafka import KafkaSecuritySettings

ANSWER_TIMEOUT_S = 10.0
UNKNOWN_LIFETIME_S = 300.0
"""Assumed lifetime of a token without an expiry time."""
TOKEN_MAX_BYTES = 1024 * 1024
_REFUSED = (400, 401, 403)


class TokenError(ConnectionError):
    """No token is available. The message names the source and the reason, never a secret.

    A ConnectionError, because aiokafka retries those and fails on everything else.
    """


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when it expires, in seconds since 1970."""

    text: str
    expires_at_s: float

    def __repr__(self) -> str:
        return f"Token(expires_at_s={self.expires_at_s})"


class TokenSource(Protocol):
    """Source of tokens."""

    def token(self) -> Token:
        """Return a valid token; blocks. Raises TokenError."""

    def for_librdkafka(self, _config: str) -> tuple[str, float]:
        """Answer confluent-kafka's ``oauth_cb``, which asks again before the token expires."""
        token = self.token()
        return token.text, token.expires_at_s


class AiokafkaTokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Token provider of aiokafka, which asks once per connection."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def token(self) -> str:
        return (await asyncio.to_thread(self._source.token)).text


def token_source(given: KafkaSecuritySettings) -> TokenSource:
    """Return the source; the settings allow exactly one."""
    return TokenFile(given.oauth_token_file) if given.oauth_token_file else TokenEndpoint(given)


def diagnose_token(given: KafkaSecuritySettings) -> str | None:
    """Fetch a token where one is required, and return the error; None when it succeeds."""
    if given.mechanism != "OAUTHBEARER":
        return None
    try:
        token_source(given).token()
    except TokenError as error:
        return str(error)
    return None


@dataclass(frozen=True, slots=True)
class TokenFile(TokenSource):
    """A file that another process renews, as Kubernetes does with a projected service account token."""

    path: Path

    def token(self) -> Token:
        try:
            text = self.path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"the token file {self.path} cannot be read: {type(error).__name__}") from None
        return Token(text, expiry_of(text))


@dataclass(frozen=True, slots=True)
class TokenEndpoint(TokenSource):
    """The client credentials grant: RFC 6749, section 4.4; the secret goes into the header, as 2.3.1 prefers."""

    settings: KafkaSecuritySettings

    def token(self) -> Token:
        endpoint = self.settings.oauth_token_endpoint
        try:
            with urllib.request.urlopen(self._request(), timeout=ANSWER_TIMEOUT_S, context=self._tls()) as answer:  # noqa: S310 - the settings take http and https only
                response = json.loads(answer.read(TOKEN_MAX_BYTES))
            return Token(
                str(response["access_token"]), time.time() + float(response.get("expires_in", UNKNOWN_LIFETIME_S))
            )
        except urllib.error.HTTPError as error:
            hint = ": is the client secret right?" if error.code in _REFUSED else ""
            raise TokenError(f"{endpoint} answered {error.code}{hint}") from None
        except OSError as error:
            raise TokenError(f"{endpoint} does not answer: {error}") from None
        except (ValueError, KeyError, TypeError):
            raise TokenError(f"{endpoint} answered without an access_token") from None

    def _request(self) -> urllib.request.Request:
        form = {"grant_type": "client_credentials"}
        if self.settings.oauth_scope:
            form["scope"] = self.settings.oauth_scope
        client_secret = secret(self.settings.oauth_client_secret, self.settings.oauth_client_secret_file) or ""
        pair = ":".join(map(urllib.parse.quote_plus, (self.settings.oauth_client_id or "", client_secret)))
        return urllib.request.Request(  # noqa: S310 - as above
            self.settings.oauth_token_endpoint or "", urllib.parse.urlencode(form).encode(),
            {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode(), "Accept": "application/json"},
        )  # fmt: skip

    def _tls(self) -> ssl.SSLContext:
        """Trust the system's authorities and the brokers'."""
        context = ssl.create_default_context()
        if self.settings.ca_file:
            context.load_verify_locations(self.settings.ca_file)
        return context


def expiry_of(token: str) -> float:
    """Return the expiry time of a JWT (``exp``); for other tokens, which are opaque, `UNKNOWN_LIFETIME_S` from now."""
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return float(claims["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return time.time() + UNKNOWN_LIFETIME_S
