"""What a deployment may put in the place of our own event shape, and between validate and store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict

from keepstream.schemas.event import Event, Rejection
from keepstream.schemas.record import Record

Step: TypeAlias = Callable[[Event, Record], Event | Rejection]
"""A step of one's own: a pure function of the event. It is called again for the same record after a crash, by the audit
and by a replay's dry run, so it asks nobody and keeps nothing."""


class Contract(BaseModel, ABC):
    """Another event shape: its fields are what producers write, `event` says what they mean.

    A shape that only narrows ours (a typed payload) is a subclass of `Event` instead.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    @abstractmethod
    def event(self, record: Record) -> Event | Rejection:
        """Return the event that this value means, or why it means none."""
