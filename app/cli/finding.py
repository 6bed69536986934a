"""Result of a check of `keepstream doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check: ok, warn or fail, the observation and the fix. ``topic`` is None where there is one."""

    check: str
    state: str
    seen: str
    fix: str = ""
    topic: str | None = None
