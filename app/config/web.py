"""The settings of the console: where it is served, who may log in, and what it shows."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from keepstream.app.config.base import Bytes, Seconds, Section


class WebSettings(Section):
    """The console, `keepstream web`: docs/console.md."""

    host: str = "127.0.0.1"
    """The address to bind. Beyond loopback it refuses to start without ``users`` or ``token``."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9109
    """The port to bind; 0 takes a free one and prints it."""
    public_url: Annotated[str, Field(pattern=r"^https?://[a-z0-9.\[\]:-]+$")] | None = None
    """URL of the console for browsers, like ``https://console.example.org``, behind a proxy. Other hosts
    are refused then, and with https the cookie is sent over https only. Default none: the address it binds."""
    allow_replay: bool = False
    """Whether logged in users may replay. Default off: the console is read-only."""
    users: dict[Annotated[str, Field(pattern=r"^[a-zA-Z0-9._@-]{1,64}$")], SecretStr] = {}  # noqa: RUF012 - pydantic copies it
    """Who may log in, as JSON: ``{"ann": "scrypt$..."}``. `keepstream web --hash-password` makes the hash."""
    token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """A shared secret to log in with instead, and the bearer token of scripts, which may only read."""
    session_lifetime_s: Seconds = 28_800.0
    """How long a login lasts. 8 hours: a day's work."""
    login_failures_per_minute: Annotated[int, Field(ge=1, le=1000)] = 5
    """Failed logins per minute of an address, or of a user name, after which both have to wait."""
    mask_fields: tuple[str, ...] = ()
    """Names of payload fields and headers, as JSON: ``["card_number"]``, at any depth, whatever their case. Their
    values are never shown and cannot be searched; dead letters with them are changed with ``path=value`` only."""
    worker_urls: tuple[Annotated[str, Field(pattern=r"^https?://")], ...] = ("http://127.0.0.1:9108/metrics",)
    """Where workers serve their metrics, as JSON: the overview and `keepstream status` read retries and paused
    partitions from there. Default: a worker beside them."""
    show_bytes: Bytes = 256 * 1024
    """Most bytes of a payload that a page shows or edits. The rest is downloaded."""
    request_max_bytes: Bytes = 1024 * 1024
    """Most bytes of a request that are read."""

    @model_validator(mode="after")
    def _hashes_are_hashes(self) -> Self:
        for name, given in self.users.items():
            if not given.get_secret_value().startswith("scrypt$"):
                raise ValueError(f"users: {name} needs a hash of `keepstream web --hash-password`, not a password")
        return self
