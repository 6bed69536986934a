"""The settings that name headers of dead letters which others write."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from keepstream.app.config.base import Section
from keepstream.schemas.header_names import KNOWN, HeaderNames

Name = Annotated[str, Field(min_length=1, max_length=255)]


class DlqHeadersSettings(Section):
    """Names of headers in a dead letter topic that other programs write (docs/other-dead-letters.md).

    Each is looked for first, and the names of Kafka Connect, Spring and the others that keepstream knows behind it.
    Dead letters of keepstream itself are not read by them. A replay drops the headers that are named here. Default
    none each: the known names suffice.
    """

    topic: Name | None = None
    """The topic that the record came from, as text: a replay sends it there. Without it, replays need --to-topic."""
    partition: Name | None = None
    """The partition that it came from, as digits or a big-endian integer of 4 or 8 bytes. With topic and offset it is
    the dead letter's id; without them, each record of the dead letter topic counts as a dead letter of its own."""
    offset: Name | None = None
    """The offset that it had there, in the same form."""
    timestamp: Name | None = None
    """The record's Kafka timestamp: milliseconds since 1970, in the same form, or RFC 3339. A replay restores it.
    Without it the time of the failure counts, and a replayed record may look newer than a row stored since."""
    consumer_group: Name | None = None
    """The consumer group that failed, as text. It is part of the id, so two groups may share a topic."""
    reason: Name | None = None
    """A short reason, like an exception's class: --reason selects by it."""
    message: Name | None = None
    """The error's text."""
    attempts: Name | None = None
    """How often it was tried, in the form of ``partition``."""

    def names(self) -> HeaderNames:
        """Return the names to look for."""
        return KNOWN.preceded_by(self.model_dump(exclude_none=True))
