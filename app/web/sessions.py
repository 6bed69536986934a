"""Authentication: hashed passwords, sessions in memory, and a limit on attempts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from keepstream.app.config.web import WebSettings

TOKEN_USER = "token"  # noqa: S105 - the user name of the token
MAX_SESSIONS, MAX_LIMITED_KEYS, MAX_SECRET_CHARS = 1000, 10_000, 1024
_LOG_N, _R, _P, _SALT_BYTES = 15, 8, 1, 16
"""Cost of scrypt as recommended by OWASP for 32 MiB: about 0.1 s."""


def password_hash(password: str) -> str:
    """Return ``scrypt$log2(n)$salt$hash``."""
    salt = secrets.token_bytes(_SALT_BYTES)
    hashed = _scrypt(password, salt, _LOG_N)
    return f"scrypt${_LOG_N}${base64.b64encode(salt).decode()}${base64.b64encode(hashed).decode()}"


def is_password(password: str, stored: str) -> bool:
    """Compare in constant time. False for a malformed hash."""
    try:
        _, log_n, salt, wanted = stored.split("$")
        found = _scrypt(password, base64.b64decode(salt), int(log_n))
        return hmac.compare_digest(found, base64.b64decode(wanted))
    except (ValueError, MemoryError):
        return False


def _scrypt(password: str, salt: bytes, log_n: int) -> bytes:
    secret = password.encode(errors="replace")
    return hashlib.scrypt(secret, salt=salt, n=2 ** min(log_n, 20), r=_R, p=_P, maxmem=2**30)


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a user. ``csrf``: token of its forms."""

    user: str
    csrf: str
    ends_at: float


@dataclass(slots=True)
class AttemptLimiter:
    """Limits attempts per key and minute. An attempt counts before it is checked, so concurrent ones count too."""

    per_minute: int
    _attempts: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def hit(self, *keys: str) -> float:
        """Count an attempt and return 0, or return the seconds to wait for one of the keys."""
        now = time.monotonic()
        wait_s = max(self._wait(key, now) for key in keys)
        if wait_s > 0:
            return wait_s
        for key in keys:
            self._attempts.setdefault(key, deque()).append(now)
            self._attempts.move_to_end(key)
        while len(self._attempts) > MAX_LIMITED_KEYS:
            self._attempts.popitem(last=False)
        return 0.0

    def reset(self, *keys: str) -> None:
        """Forget the attempts, after a success."""
        for key in keys:
            self._attempts.pop(key, None)

    def _wait(self, key: str, now: float) -> float:
        found = self._attempts.get(key)
        while found and found[0] <= now - 60:
            found.popleft()
        return found[0] + 60 - now if found and len(found) >= self.per_minute else 0.0


class Sessions:
    """Sessions, in memory: a restart of the console ends all."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._unknown_user = password_hash(secrets.token_hex()) if settings.users else ""
        self.limiter = AttemptLimiter(settings.login_failures_per_minute)

    @property
    def needed(self) -> bool:
        return bool(self._settings.users or self._settings.token)

    def user_of(self, name: str, secret: str) -> str | None:
        """Return the authenticated user, or None. An unknown name takes as long. Blocks for 0.1 s."""
        if len(secret) > MAX_SECRET_CHARS:
            return None
        if not name:
            return TOKEN_USER if self.is_token(secret) else None
        stored = self._settings.users.get(name)
        right = is_password(secret, stored.get_secret_value() if stored else self._unknown_user)
        return name if right and stored else None

    def is_token(self, given: str) -> bool:
        token = self._settings.token
        wanted = token.get_secret_value().encode() if token else b""
        return token is not None and hmac.compare_digest(given.encode(errors="replace"), wanted)

    def begin(self, user: str) -> str:
        """Open a session and return its cookie. Beyond the limit the oldest one ends."""
        cookie = secrets.token_urlsafe(32)
        ends_at = time.monotonic() + self._settings.session_lifetime_s
        self._sessions[_key(cookie)] = Session(user, secrets.token_urlsafe(32), ends_at)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def session(self, cookie: str) -> Session | None:
        found = self._sessions.get(_key(cookie))
        if found and found.ends_at <= time.monotonic():
            self.end(cookie)
            return None
        return found

    def end(self, cookie: str) -> None:
        self._sessions.pop(_key(cookie), None)


def _key(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode(errors="replace")).digest()
