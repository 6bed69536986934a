"""The public interface: the names that a contract or a step of yours imports, ``from keepstream import Contract``.

Everything behind these names is private and may move in any version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from keepstream.schemas.event import Contract as Contract
    from keepstream.schemas.event import Event as Event
    from keepstream.schemas.event import Rejection as Rejection
    from keepstream.schemas.event import Transform as Transform
    from keepstream.schemas.record import Record as Record
    from keepstream.schemas.record import header as header

__all__ = ["Contract", "Event", "Record", "Rejection", "Transform", "__version__", "header"]

_HOMES = {
    "Contract": "keepstream.schemas.event",
    "Event": "keepstream.schemas.event",
    "Record": "keepstream.schemas.record",
    "Rejection": "keepstream.schemas.event",
    "Transform": "keepstream.schemas.event",
    "header": "keepstream.schemas.record",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use: pydantic costs 0.1 s, and `keepstream --help` needs none of it."""
    if name == "__version__":
        return import_module("keepstream.app.config.base").VERSION
    if name not in _HOMES:
        raise AttributeError(f"module 'keepstream' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
