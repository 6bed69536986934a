"""Dead letters for a command or a page: opening the topic and the ledger, finding letters in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from keepstream.app.connect.services import Services, kafka_errors
from keepstream.app.dlq.lookup_by_offset import fetch_by_id
from keepstream.app.dlq.selectors import Chosen, bad_selector
from keepstream.app.errors import FAILED, NOT_FOUND, KeepstreamError
from keepstream.processors.replay.selection import Selection
from keepstream.schemas.claim_check import claim_check_sha256
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.sinks.kafka.admin import KafkaAdmin, TopicMissingError
from keepstream.sinks.kafka.dead_letter_reader import Stretch, follow, newest_first, oldest_first
from keepstream.sinks.postgres.claim_checks import ClaimCheckReader
from keepstream.sinks.postgres.dead_letters import UNRESOLVED, DeadLetterIndex


def scan_range_of(selection: Selection) -> Stretch:
    return Stretch(selection.partitions or None, selection.since, selection.until, selection.from_offset or 0)


_BATCH, _PATIENCE_S = 200, 0.2

Found = tuple[DeadLetterRecord, str | None]
"""A letter and its state; None where none is known."""
Tell = Callable[[str], None]
"""Who hears what is not an error."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A dead letter topic that answers. ``ledger`` is None where PostgreSQL does not."""

    client: KafkaAdmin
    topic: str
    partitions: tuple[int, ...]
    originals: ClaimCheckReader
    ledger: DeadLetterIndex | None = None

    def newest(self, chosen: Chosen) -> Iterator[Found]:
        known = self.ledger.places if self.ledger else lambda _names: {}
        named = fetch_by_id(self.client, self.topic, chosen.selection.ids, known)
        if named is not None:
            return self._select(sorted(named, key=lambda letter: letter.failed_at, reverse=True), chosen)
        return self._select(newest_first(self.client, self.topic, scan_range_of(chosen.selection)), chosen)

    def oldest(self, chosen: Chosen) -> Iterator[Found]:
        return self._select(oldest_first(self.client, self.topic, scan_range_of(chosen.selection)), chosen)

    def arriving(self, chosen: Chosen) -> Iterator[Found]:
        return self._select(follow(self.client, self.topic, scan_range_of(chosen.selection)), chosen, batch=1)

    def whole(self, letter: DeadLetterRecord) -> DeadLetterRecord:
        """Return the letter with its own bytes, also where the topic holds only a reference to them.

        Trouble when PostgreSQL does not answer (4), or does not hold them any more (1).
        """
        try:
            letter = self.originals.whole(letter)
        except ValueError as error:
            raise KeepstreamError("original_damaged", str(error), exit_code=FAILED) from None
        if claim_check_sha256(letter):
            raise KeepstreamError(
                "original_missing", f"{letter.id} is too large for {self.topic}, and PostgreSQL does not hold it",
                "was the database restored from an older backup?", FAILED,
            )  # fmt: skip
        return letter

    def _select(self, letters: Iterable[DeadLetterRecord], chosen: Chosen, batch: int = _BATCH) -> Iterator[Found]:
        """Yield what matches, with states; these are asked for in batches, but what is found is not kept waiting."""
        waiting: list[DeadLetterRecord] = []
        due = 0.0
        for letter in map(self.whole, letters) if chosen.selection.where else letters:
            if chosen.selection.matches(letter):
                waiting.append(letter)
            if waiting and (len(waiting) >= batch or time.monotonic() >= due):
                yield from self.with_states(waiting, resolved_too=chosen.resolved_too)
                waiting = []
                due = time.monotonic() + _PATIENCE_S
        yield from self.with_states(waiting, resolved_too=chosen.resolved_too)

    def with_states(self, letters: Sequence[DeadLetterRecord], *, resolved_too: bool) -> Iterator[Found]:
        states = self.ledger.of([letter.id for letter in letters]) if self.ledger and letters else {}
        for letter in letters:
            state = states.get(letter.id)
            if resolved_too or state is None or state in UNRESOLVED:
                yield letter, state


@contextmanager
def open_dead_letter_topic(
    services: Services,
    selection: Selection | None = None,
    *,
    with_ledger: bool = True,
    tell: Tell,
) -> Iterator[Queue]:
    """Open the dead letter topic of the settings.

    Trouble when Kafka does not answer (4), there is no such topic (3) or it lacks a partition selected (2). That
    PostgreSQL does not answer is told in one line.
    """
    topic, admin = services.settings.kafka.dlq_topic, services.admin()
    with kafka_errors(), ExitStack() as stack:
        partitions = _partitions(admin, topic, selection)
        ledger = open_ledger(services, stack, tell) if with_ledger else None
        originals = ClaimCheckReader(lambda: stack.enter_context(services.postgres()))
        yield Queue(admin, topic, partitions, originals, ledger)


def open_ledger(services: Services, stack: ExitStack, tell: Tell) -> DeadLetterIndex | None:
    """Connect to PostgreSQL until the stack ends; None, and one line told, when it does not answer."""
    try:
        ledger = DeadLetterIndex(stack.enter_context(services.postgres()))
    except KeepstreamError as trouble:
        tell(f"Only what the topic says, without states and rows: {trouble.message}")
        return None
    if ledger.usable():
        return ledger
    tell("Only what the topic says, without states and rows: the tables do not exist (`keepstream db migrate`)")
    return None


def _partitions(admin: KafkaAdmin, topic: str, selection: Selection | None) -> tuple[int, ...]:
    try:
        found = admin.partitions(topic)
    except TopicMissingError:
        hint = "is KEEPSTREAM_KAFKA__DLQ_TOPIC right?"
        raise KeepstreamError("topic_missing", f"there is no topic {topic!r}", hint, NOT_FOUND) from None
    for partition in selection.partitions if selection else ():
        if partition not in found:
            raise bad_selector("--partition", f"{topic} has no partition {partition}")
    return tuple(found)
