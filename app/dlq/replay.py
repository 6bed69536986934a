"""Runs a replay from selection to reconciliation, for the command line and the console."""

from __future__ import annotations

import gc
import getpass
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

from keepstream.app.connect.services import Services
from keepstream.app.dlq.coverage import ranges_of
from keepstream.app.dlq.lookup_by_offset import StaleRecordIdError, fetch_by_id, open_offset_reader, require_ids
from keepstream.app.dlq.prefetch import prefetched
from keepstream.app.errors import NOT_FOUND, REFUSED, KeepstreamError
from keepstream.processors.replay.outgoing import ChangeError, apply_changes, diff, revalidate, target_topic_of
from keepstream.processors.replay.replay import Replay, distinct_chunks
from keepstream.processors.replay.selection import Selection, selection_from
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.replay import Reconciliation, ReplayOptions, ReplayRun
from keepstream.sinks.kafka.admin import KafkaAdmin
from keepstream.sinks.kafka.dead_letter_reader import oldest_first
from keepstream.sinks.kafka.replay_producer import KafkaReplayProducer
from keepstream.sinks.postgres.claim_checks import ClaimCheckReader
from keepstream.sinks.postgres.dead_letters import DeadLetterIndex
from keepstream.sinks.postgres.replays import PostgresReplayLedger, ReplayBusyError

_CHUNK = 1000


@dataclass(slots=True)
class DryRun:
    """What a selection would replay, judged by today's contract. ``refused`` counts reasons why not.

    ``not_judged`` go to topics that keepstream does not consume, where its contract does not apply. ``undated`` would
    pass with the time of their failure, since another system kept no timestamp of their records.
    """

    selected: int = 0
    would_pass: int = 0
    would_park: int = 0
    not_judged: int = 0
    undated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DryRunOptions:
    """Options of a dry run. ``edited``: changed values by dead letter id; ``view`` masks a value before it is shown."""

    edited: Mapping[str, bytes] = field(default_factory=dict)
    differences: int = 3
    view: Callable[[bytes | None], bytes | None] = lambda value: value
    progress: Callable[[int], None] = lambda _worked: None
    stop: Callable[[], bool] = lambda: False

    def shown(self, dead_letter: DeadLetterRecord) -> DeadLetterRecord:
        return replace(dead_letter, record=replace(dead_letter.record, value=self.view(dead_letter.record.value)))


@dataclass(frozen=True, slots=True)
class Replayer:
    """A dead letter topic, its replay ledger and a producer. It locks the topic's replays while it produces."""

    client: KafkaAdmin
    consumed_topic: str
    dlq_topic: str
    ledger: PostgresReplayLedger
    producer: KafkaReplayProducer
    claim_checks: ClaimCheckReader
    states: DeadLetterIndex
    validator: Validator

    def ends(self) -> dict[int, int]:
        """Return where the dead letter topic ends now: later dead letters belong to the next replay."""
        return self.producer.ends([self.dlq_topic])[self.dlq_topic]

    def dead_letters(
        self, selection: Selection, ends: Mapping[int, int], *, copies: bool = False
    ) -> Generator[DeadLetterRecord]:
        """Yield the matching dead letters, oldest first within each partition. Those selected by id are fetched.

        Without copies, raises KeepstreamError (3) in the end for an id that was not found.
        """
        read = self._read(selection, copies=copies)
        for found in read if copies else require_ids(read, selection.ids):
            dead_letter, at = self.claim_checks.resolve(found), found.record
            if at.offset < ends.get(at.partition, 0) and selection.matches(dead_letter):
                yield dead_letter

    def _read(self, selection: Selection, *, copies: bool) -> Iterable[DeadLetterRecord]:
        if selection.ids:
            try:
                with open_offset_reader(self.client, self.dlq_topic) as reader:
                    return fetch_by_id(reader, selection.ids, self.states.record_ids)
            except StaleRecordIdError:
                pass  # they are found by reading the topic
        ranges = ranges_of(self.client, self.dlq_topic, selection, self.states)
        return oldest_first(self.client, self.dlq_topic, ranges, copies=copies)

    def dry_run(
        self, selection: Selection, options: ReplayOptions, ends: Mapping[int, int], how: DryRunOptions | None = None
    ) -> DryRun:
        """Judge everything a replay would send, and send nothing. Stopped, it returns the counts so far."""
        result, how = DryRun(), how or DryRunOptions()
        with _gc_disabled(), prefetched(self.unresolved(selection, options, ends)) as dead_letters:
            for dead_letter in dead_letters:
                self._judge(result, dead_letter, options, how)
                if result.selected % _CHUNK == 0:
                    how.progress(result.selected)
                    if how.stop():
                        break
        return result

    def begin(
        self, selection: Selection, options: ReplayOptions, ends: Mapping[int, int], started_by: str | None = None
    ) -> ReplayRun:
        """Insert a new run. ``started_by``: the user, else that of this process; replayed records carry the name.

        Raises KeepstreamError (5) while another replay of the topic produces.
        """
        self._lock()
        user = started_by or _user_name()
        return self.ledger.begin(selection.as_json(), user, replace(options, requested_by=user), ends)

    def resume(self, replay_id: int) -> tuple[ReplayRun, Selection]:
        """Return the run's next pass and its selection. Raises KeepstreamError: 3 for an unknown replay, else 5."""
        self._lock()
        found = self.ledger.resume(replay_id)
        if found is None:
            message = f"there is no replay {replay_id} of {self.dlq_topic}"
            hint = "did KEEPSTREAM_KAFKA__DLQ_TOPIC name another topic when it began? Nothing was changed"
            raise KeepstreamError("unknown_replay", message, hint, NOT_FOUND)
        return found[0], selection_from(found[1])

    def run(
        self, run: ReplayRun, selection: Selection, progress: Callable[[int], None], stop: Callable[[], bool]
    ) -> Reconciliation:
        """Replay, and finish the run with its totals, as cancelled once ``stop`` returns True."""
        replay = Replay(run, self.ledger, self.producer, progress, stop, prefetch=prefetched)
        # Copies need no memory here: the ledger knows what this pass has seen.
        with _gc_disabled(), closing(self.dead_letters(selection, run.dlq_ends, copies=True)) as dead_letters:
            result = replay.execute(dead_letters)
        self.ledger.finish(run, result, cancelled=stop())
        self.ledger.unlock()
        return result

    def _lock(self) -> None:
        try:
            self.ledger.lock()
        except ReplayBusyError as error:
            raise KeepstreamError("busy", str(error), "wait for it, or end it", REFUSED) from None
        self.ledger.settle()

    def outcome(self, run: ReplayRun, result: Reconciliation) -> bool:
        """Count how many were delivered and how many failed again; True once that is known for all of them."""
        self.ledger.settle()
        now = self.ledger.reconcile(run)
        result.delivered, result.dead_again = now.delivered, now.dead_again
        return (now.delivered or 0) + (now.dead_again or 0) >= now.replayed

    def unresolved(
        self, selection: Selection, options: ReplayOptions, ends: Mapping[int, int]
    ) -> Generator[DeadLetterRecord]:
        """Yield what a replay would send: not resolved, not planned by another run, up to the limit."""
        no_run = ReplayRun(0, 0, {}, options)
        chunks = distinct_chunks(self.dead_letters(selection, ends), _CHUNK, lambda dead_letter: dead_letter.id)
        found = (chunk[name] for chunk in chunks for name in self.ledger.unresolved(no_run, [*chunk]))
        yield from islice(found, options.limit)

    def _judge(self, result: DryRun, dead_letter: DeadLetterRecord, options: ReplayOptions, how: DryRunOptions) -> None:
        result.selected += 1
        if dead_letter.replay_count >= options.max_replays:
            result.would_park += 1
            return
        try:
            edited = how.edited.get(dead_letter.id)
            value = apply_changes(dead_letter.record.value, options.changes) if edited is None else edited
            target = target_topic_of(dead_letter, options)
        except ChangeError as error:
            result.refused[str(error)] += 1
            return
        result.targets[target] += 1
        if target != self.consumed_topic:
            result.not_judged += 1
        elif rejection := revalidate(self.validator, dead_letter, value):
            result.refused[f"{rejection.reason}: {rejection.message}"] += 1
        else:
            result.would_pass += 1
            result.undated += not dead_letter.has_original_timestamp
        if value != dead_letter.record.value and len(result.differences) < how.differences:
            result.differences.append(diff(how.shown(dead_letter), how.view(value)))


@contextmanager
def open_replayer(services: Services, options: ReplayOptions) -> Iterator[Replayer]:
    """Open the replays of the topic of the settings. Raises `KeepstreamError` when a server is away."""
    client, topic, validator = services.admin(), services.settings.kafka.dlq_topic, services.validator
    consumed = services.settings.kafka.topic
    with ExitStack() as stack:
        stack.enter_context(services.kafka_errors("the replay can be resumed"))
        connection = stack.enter_context(services.postgres())
        lock_connection = stack.enter_context(services.postgres()) if connection.pooled else None
        ledger = stack.enter_context(closing(PostgresReplayLedger(connection, topic, lock_connection)))
        producer = KafkaReplayProducer(client, options.parking_topic)
        claim_checks = ClaimCheckReader(lambda: connection)
        yield Replayer(client, consumed, topic, ledger, producer, claim_checks, DeadLetterIndex(connection), validator)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return f"uid {os.getuid()}"


@contextmanager
def _gc_disabled() -> Iterator[None]:
    """Disable the cyclic garbage collector: dead letters make no cycles, and it took 20 % of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
