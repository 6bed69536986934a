"""The public interface: the names that a contract or a step of yours imports, ``from keepstream import Contract``.

Everything behind these names is private and may move in any version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from keepstream.schemas.event import Contract, Decode, Event, Ignored, Rejection, Transform
    from keepstream.schemas.record import Record, header

__all__ = ["Contract", "Decode", "Event", "Ignored", "Record", "Rejection", "Transform", "__version__", "header"]


def __getattr__(name: str) -> object:
    """Import a public name on first use: pydantic costs 0.1 s, and `keepstream --help` needs none of it."""
    if name == "__version__":
        return import_module("keepstream.app.config.base").VERSION
    if name not in __all__:
        raise AttributeError(f"module 'keepstream' has no attribute {name!r}")
    home = "record" if name in {"Record", "header"} else "event"
    return getattr(import_module(f"keepstream.schemas.{home}"), name)
