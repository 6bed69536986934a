"""The dead letter topic with its index in PostgreSQL, opened for a command or a page."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice

from keepstream.app.connect.services import Services
from keepstream.app.dlq.coverage import IndexCoverage, ranges_of
from keepstream.app.dlq.lookup_by_offset import require_ids
from keepstream.app.dlq.selectors import DeadLetterQuery, bad_selector
from keepstream.app.errors import FAILED, NOT_FOUND, KeepstreamError
from keepstream.processors.replay.selection import Selection
from keepstream.schemas.claim_check import claim_check_sha256
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.sinks.kafka.admin import KafkaAdmin, TopicMissingError
from keepstream.sinks.kafka.dead_letter_reader import follow, oldest_first
from keepstream.sinks.postgres.claim_checks import ClaimCheckReader
from keepstream.sinks.postgres.dead_letters import UNRESOLVED, DeadLetterIndex

_BATCH = 200
Listed = tuple[DeadLetterRecord, str | None]
"""A dead letter and its state, None where PostgreSQL has none."""
Notify = Callable[[str], None]
"""Gets messages that are not errors."""


@dataclass(frozen=True, slots=True)
class DeadLetterTopic:
    """A dead letter topic that answers. ``index`` is None where PostgreSQL does not."""

    client: KafkaAdmin
    name: str
    partitions: tuple[int, ...]
    claim_checks: ClaimCheckReader
    notify: Notify
    index: DeadLetterIndex | None = None
    coverage: IndexCoverage = field(default_factory=IndexCoverage)

    def oldest(self, query: DeadLetterQuery) -> Iterator[Listed]:
        """Yield what matches, oldest first within each partition. Raises as `require_ids`."""
        ranges = ranges_of(self.client, self.name, query.selection, self.index)
        found = require_ids(oldest_first(self.client, self.name, ranges), query.selection.ids)
        return self._listed(found, query, _BATCH)

    def follow(self, query: DeadLetterQuery) -> Iterator[Listed]:
        """Yield what matches as it arrives, for ever; first what is there since the time or offset selected."""
        selection = query.selection
        ends = {p: end for p, (_, end) in self.client.watermarks(self.name, selection.partitions or None).items()}
        if selection.since or selection.from_offset:
            ranges = ranges_of(self.client, self.name, selection, self.index)
            ends |= {p: parts[0][0] for p, parts in ranges.items() if parts}
        return self._listed(follow(self.client, self.name, ends), query, 1)

    def resolve(self, dead_letter: DeadLetterRecord) -> DeadLetterRecord:
        """Return the dead letter with its own bytes, also where the topic has only a claim check.

        Raises `KeepstreamError` when PostgreSQL does not answer (4), or has them no more (1).
        """
        try:
            dead_letter = self.claim_checks.resolve(dead_letter)
        except ValueError as error:
            raise KeepstreamError("original_damaged", str(error), exit_code=FAILED) from None
        if claim_check_sha256(dead_letter):
            raise KeepstreamError(
                "original_missing", f"{dead_letter.id} is too large for {self.name}, and PostgreSQL does not hold it",
                "was the database restored from an older backup?", FAILED,
            )  # fmt: skip
        return dead_letter

    def check_rights(self) -> None:
        """Check, before Kafka is changed, that PostgreSQL will take what follows. Raises `KeepstreamError` (1)."""
        if self.index:
            self.index.check_rights()

    def notify_unpublished(self) -> None:
        """Notify of dead letters that no list shows yet."""
        if self.index and (count := self.index.unpublished()):
            self.notify(f"{count:,} wait in PostgreSQL for Kafka to confirm them, and are listed then at the latest")

    def select(
        self,
        found: Iterable[DeadLetterRecord],
        query: DeadLetterQuery,
        unless: Callable[[str | None], bool] = lambda _: False,
    ) -> Iterator[Listed]:
        """Yield what matches, with states. ``unless`` gets the record id in the row of each and leaves it out."""
        found = map(self.resolve, found) if query.selection.where else found
        matching = [one for one in found if query.selection.matches(one)]
        known = self.index.known([one.id for one in matching]) if self.index and matching else {}
        for one in matching:
            state, record_id = known.get(one.id, (None, None))
            if (query.resolved_too or state is None or state in UNRESOLVED) and not unless(record_id):
                yield one, state

    def _listed(self, found: Generator[DeadLetterRecord], query: DeadLetterQuery, batch_size: int) -> Iterator[Listed]:
        with closing(found):
            while batch := list(islice(found, batch_size)):
                yield from self.select(batch, query)


@contextmanager
def open_dead_letter_topic(
    services: Services,
    selection: Selection | None = None,
    *,
    with_index: bool = True,
    needs_index: bool = False,
    notify: Notify,
    coverage: IndexCoverage | None = None,
) -> Iterator[DeadLetterTopic]:
    """Open the dead letter topic of the settings. A console keeps ``coverage`` from page to page.

    Raises `KeepstreamError` when Kafka does not answer (4), there is no such topic (3) or it lacks a partition
    selected (2). ``notify`` gets one line when PostgreSQL does not answer; a command that changes the topic
    ``needs_index``, for the tables have to follow, and ends (4).
    """
    topic, admin = services.settings.kafka.dlq_topic, services.admin()
    with services.kafka_errors(), ExitStack() as stack:
        partitions = _partitions(services, admin, selection)
        index = open_index(services, stack, notify, needed=needs_index) if with_index else None
        claim_checks = ClaimCheckReader(lambda: stack.enter_context(services.postgres()))
        yield DeadLetterTopic(admin, topic, partitions, claim_checks, notify, index, coverage or IndexCoverage())


def open_index(services: Services, stack: ExitStack, notify: Notify, *, needed: bool) -> DeadLetterIndex | None:
    """Connect to PostgreSQL until the stack ends; None, and one line notified, when it does not answer.

    Where the index is ``needed``, a PostgreSQL that does not answer raises `KeepstreamError`.
    """
    try:
        index = DeadLetterIndex(stack.enter_context(services.postgres()))
    except KeepstreamError as error:
        if needed:
            raise
        notify(f"Only what the topic says, without states and rows: {error.message}")
        return None
    if index.usable():
        return index
    notify("Only what the topic says, without states and rows: the tables do not exist (`keepstream db migrate`)")
    return None


def _partitions(services: Services, admin: KafkaAdmin, selection: Selection | None) -> tuple[int, ...]:
    topic = services.settings.kafka.dlq_topic
    try:
        found = admin.partitions(topic)
    except TopicMissingError:
        hint = "is KEEPSTREAM_KAFKA__DLQ_TOPIC right?"
        error = KeepstreamError("topic_missing", f"there is no topic {topic!r}", hint, NOT_FOUND)
        raise services.in_topic(error) from None
    for partition in selection.partitions if selection else ():
        if partition not in found:
            raise bad_selector("--partition", f"{topic} has no partition {partition}")
    return tuple(found)
