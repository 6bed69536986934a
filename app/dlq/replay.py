"""A replay from selection to reconciliation: what the command line and the console both call."""

from __future__ import annotations

import getpass
import math
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from keepstream.app.connect.services import Services, kafka_errors
from keepstream.app.dlq.coverage import ranges_of
from keepstream.app.dlq.lookup_by_offset import StaleRecordIdError, fetch_by_id, open_offset_reader
from keepstream.app.dlq.prefetch import prefetched
from keepstream.app.errors import REFUSED, USAGE, KeepstreamError
from keepstream.app.process.gc_tuning import gc_disabled
from keepstream.processors.replay.outgoing import ChangeError, changed, difference, revalidate, target_topic_of
from keepstream.processors.replay.replay import Replay, distinct_chunks
from keepstream.processors.replay.selection import Selection, SelectorError, parse_condition, selection_from
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.replay import PARKING_SUFFIX, Reconciliation, ReplayOptions, ReplayRun
from keepstream.sinks.kafka.admin import KafkaAdmin
from keepstream.sinks.kafka.dead_letter_reader import oldest_first
from keepstream.sinks.kafka.replay_producer import KafkaReplayProducer
from keepstream.sinks.postgres.claim_checks import ClaimCheckReader
from keepstream.sinks.postgres.dead_letters import DeadLetterIndex
from keepstream.sinks.postgres.replays import PostgresReplayLedger, ReplayBusyError

_SURVEY_CHUNK = 1000


class UnknownReplayError(LookupError):
    """There is no such replay of this dead letter topic."""


@dataclass(slots=True)
class DryRun:
    """What a selection would replay, judged by today's contract. ``refused`` counts reasons why not."""

    selected: int = 0
    would_pass: int = 0
    would_park: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Look:
    """How to survey. ``edited``: values by letter that would go out instead; ``view``: what of a value may be shown."""

    edited: Mapping[str, bytes] = field(default_factory=dict)
    differences: int = 3
    view: Callable[[bytes | None], bytes | None] = lambda value: value
    progress: Callable[[int], None] = lambda _worked: None
    stop: Callable[[], bool] = lambda: False

    def shown(self, letter: DeadLetterRecord) -> DeadLetterRecord:
        return DeadLetterRecord(replace(letter.record, value=self.view(letter.record.value)))


@dataclass(frozen=True, slots=True)
class Replayer:
    """One dead letter topic, its ledger and its way out. Holds the right to replay while it is open."""

    client: KafkaAdmin
    dlq_topic: str
    ledger: PostgresReplayLedger
    outbox: KafkaReplayProducer
    originals: ClaimCheckReader
    states: DeadLetterIndex
    validator: Validator

    def ends(self) -> dict[int, int]:
        """Return where the dead letter topic ends now: later deaths belong to the next replay."""
        return self.outbox.ends([self.dlq_topic])[self.dlq_topic]

    def letters(
        self, selection: Selection, ends: Mapping[int, int], *, copies: bool = False
    ) -> Generator[DeadLetterRecord]:
        """Yield the matching letters, oldest first within each partition. Named ones are read at their places."""
        for found in self._read(selection, copies=copies):
            letter, place = self.originals.whole(found), found.record
            if place.offset < ends.get(place.partition, 0) and selection.matches(letter):
                yield letter

    def _read(self, selection: Selection, *, copies: bool) -> Iterable[DeadLetterRecord]:
        if selection.ids:
            try:
                with open_offset_reader(self.client, self.dlq_topic) as reader:
                    return fetch_by_id(reader, selection.ids, self.states.record_ids)
            except StaleRecordIdError:
                pass  # they are found by reading the topic
        ranges = ranges_of(self.client, self.dlq_topic, selection, self.states)
        return oldest_first(self.client, self.dlq_topic, ranges, copies=copies)

    def survey(
        self, selection: Selection, options: ReplayOptions, ends: Mapping[int, int], look: Look | None = None
    ) -> DryRun:
        """Look at everything a replay would send, and send nothing. Told to stop, it returns what it has so far."""
        survey, look = DryRun(), look or Look()
        with gc_disabled(), prefetched(self.unresolved(selection, options, ends)) as letters:
            for letter in letters:
                self._judge(survey, letter, options, look)
                if survey.selected % _SURVEY_CHUNK == 0:
                    look.progress(survey.selected)
                    if look.stop():
                        break
        return survey

    def begin(
        self, selection: Selection, options: ReplayOptions, ends: Mapping[int, int], started_by: str | None = None
    ) -> ReplayRun:
        """Remember a new run. ``started_by``: who asked, else the user of this process; replayed records say it."""
        somebody = started_by or getpass.getuser()
        return self.ledger.begin(selection.as_json(), somebody, replace(options, requested_by=somebody), ends)

    def resume(self, replay_id: int) -> tuple[ReplayRun, Selection]:
        """Return the run's next pass and its selection. Raises UnknownReplayError."""
        found = self.ledger.resume(replay_id)
        if found is None:
            raise UnknownReplayError(f"there is no replay {replay_id} of {self.dlq_topic}")
        return found[0], selection_from(found[1])

    def work(
        self, run: ReplayRun, selection: Selection, progress: Callable[[int], None], stop: Callable[[], bool]
    ) -> Reconciliation:
        """Replay, and close the run with its sums; cancelled when told to stop."""
        replay = Replay(run, self.ledger, self.outbox, progress, stop, ahead=prefetched)
        # Copies need no memory here: the ledger knows what this pass has seen.
        with gc_disabled(), closing(self.letters(selection, run.dlq_ends, copies=True)) as letters:
            result = replay.work(letters)
        self.ledger.finish(run, result, cancelled=stop())
        return result

    def outcome(self, run: ReplayRun, result: Reconciliation) -> bool:
        """Fill in what became of the replayed; True once it is known for all of them."""
        self.ledger.settle()
        now = self.ledger.reconcile(run)
        result.delivered, result.dead_again = now.delivered, now.dead_again
        return (now.delivered or 0) + (now.dead_again or 0) >= now.replayed

    def unresolved(
        self, selection: Selection, options: ReplayOptions, ends: Mapping[int, int]
    ) -> Generator[DeadLetterRecord]:
        nobody = ReplayRun(0, 0, {}, options)
        left = options.limit
        for chunk in distinct_chunks(self.letters(selection, ends), _SURVEY_CHUNK, lambda letter: letter.id):
            for letter_id in self.ledger.open_ones(nobody, [*chunk]):
                if left == 0:
                    return
                left = None if left is None else left - 1
                yield chunk[letter_id]

    def _judge(self, survey: DryRun, letter: DeadLetterRecord, options: ReplayOptions, look: Look) -> None:
        survey.selected += 1
        if letter.replay_count >= options.max_replays:
            survey.would_park += 1
            return
        try:
            edited = look.edited.get(letter.id)
            value = changed(letter.record.value, options.changes) if edited is None else edited
            survey.targets[target_topic_of(letter, options)] += 1
        except ChangeError as error:
            survey.refused[str(error)] += 1
            return
        rejection = revalidate(self.validator, letter, value)
        if rejection is None:
            survey.would_pass += 1
        else:
            survey.refused[f"{rejection.reason}: {rejection.message}"] += 1
        if value != letter.record.value and len(survey.differences) < look.differences:
            survey.differences.append(difference(look.shown(letter), look.view(value)))


@contextmanager
def open_replayer(services: Services, options: ReplayOptions) -> Iterator[Replayer]:
    """Take the right to replay. `KeepstreamError` when a server is away or another replay of the topic runs."""
    client, topic, validator = services.admin(), services.settings.kafka.dlq_topic, services.validator
    with (
        kafka_errors("the replay can be resumed"),
        services.postgres() as connection,
        closing(PostgresReplayLedger(connection, topic)) as ledger,
    ):
        try:
            ledger.lock()
        except ReplayBusyError as error:
            raise KeepstreamError("busy", str(error), "wait for it, or end it", REFUSED) from None
        ledger.settle()
        outbox = KafkaReplayProducer(client, options.parking_topic)
        claim_checks = ClaimCheckReader(lambda: connection)
        yield Replayer(client, topic, ledger, outbox, claim_checks, DeadLetterIndex(connection), validator)


def options_from(
    dlq_topic: str,
    to_topic: str | None,
    changes: Iterable[str],
    rate: str | None,
    **more: Any,  # noqa: ANN401
) -> ReplayOptions:
    """Read how to replay from what a person wrote. `KeepstreamError` names the option that cannot be understood."""
    try:
        pairs = tuple(parse_condition(change) for change in changes)
        per_s = float(rate.removesuffix("/s")) if rate else None
    except SelectorError as error:
        raise KeepstreamError("bad_option", f"--set: {error}", exit_code=USAGE) from None
    except ValueError:
        raise KeepstreamError("bad_option", f"--rate: {rate!r} is not a rate like 500/s", exit_code=USAGE) from None
    if per_s is not None and not 0 < per_s < math.inf:
        raise KeepstreamError("bad_option", "--rate must be more than 0", exit_code=USAGE)
    return ReplayOptions(to_topic, changes=pairs, rate=per_s, parking_topic=dlq_topic + PARKING_SUFFIX, **more)
