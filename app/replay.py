"""A replay from selection to reconciliation: what the command line and the console both call."""

from __future__ import annotations

import gc
import getpass
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.clients import librdkafka_settings
from app.prefetch import prefetched
from app.stretch import stretch_of
from processors.redress import ChangeError, changed, difference, target_of, verdict_now
from processors.replay import Replay, distinct_chunks
from processors.selection import Selection, selection_from
from schemas.replay import ReplayRun
from sinks.dead_letter_reader import oldest_first
from sinks.postgres.originals import OriginalReader
from sinks.postgres.replays import PostgresReplays
from sinks.replay_outbox import KafkaOutbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psycopg

    from app.settings import KafkaSettings
    from schemas.buried import Buried
    from schemas.replay import Reconciliation, ReplayOptions

_SURVEY_CHUNK = 1000


class UnknownReplayError(LookupError):
    """There is no such replay of this dead letter topic."""


@dataclass(slots=True)
class Survey:
    """What a selection would replay, judged by today's contract. ``refused`` counts reasons why not."""

    selected: int = 0
    would_pass: int = 0
    would_park: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Replayer:
    """One dead letter topic, its ledger and its way out. Holds the right to replay while it is open."""

    kafka: KafkaSettings
    ledger: PostgresReplays
    outbox: KafkaOutbox
    originals: OriginalReader

    def ends(self) -> dict[int, int]:
        """Return where the dead letter topic ends now: later deaths belong to the next replay."""
        return self.outbox.ends([self.kafka.dlq_topic])[self.kafka.dlq_topic]

    def letters(self, selection: Selection, ends: Mapping[int, int]) -> Iterator[Buried]:
        """Yield the matching letters, oldest first within each partition."""
        for found in oldest_first(self._client, self.kafka.dlq_topic, stretch_of(selection)):
            letter, place = self.originals.whole(found), found.record
            if place.offset < ends.get(place.partition, 0) and selection.matches(letter):
                yield letter

    def survey(
        self, selection: Selection, options: ReplayOptions, ends: Mapping[int, int], *, differences: int = 3
    ) -> Survey:
        """Look at everything a replay would send, and send nothing."""
        survey = Survey()
        with without_cycle_search(), prefetched(self.unresolved(selection, options, ends)) as letters:
            for letter in letters:
                self._judge(survey, letter, options, differences)
        return survey

    def begin(self, selection: Selection, options: ReplayOptions, ends: Mapping[int, int]) -> ReplayRun:
        return self.ledger.begin(selection.as_json(), getpass.getuser(), options, ends)

    def resume(self, replay_id: int) -> tuple[ReplayRun, Selection]:
        """Return the run's next pass and its selection. Raises UnknownReplayError."""
        found = self.ledger.resume(replay_id)
        if found is None:
            raise UnknownReplayError(f"there is no replay {replay_id} of {self.kafka.dlq_topic}")
        return found[0], selection_from(found[1])

    def work(
        self, run: ReplayRun, selection: Selection, progress: Callable[[int], None], stop: Callable[[], bool]
    ) -> Reconciliation:
        """Replay, and close the run with its sums; cancelled when told to stop."""
        replay = Replay(run, self.ledger, self.outbox, progress, stop)
        with without_cycle_search(), prefetched(self.letters(selection, run.dlq_ends)) as letters:
            result = replay.work(letters)
        self.ledger.finish(run, result, cancelled=stop())
        return result

    def outcome(self, run: ReplayRun, result: Reconciliation) -> bool:
        """Fill in what became of the replayed; True once it is known for all of them."""
        self.ledger.settle()
        now = self.ledger.reconcile(run)
        result.delivered, result.dead_again = now.delivered, now.dead_again
        return (now.delivered or 0) + (now.dead_again or 0) >= now.replayed

    @property
    def _client(self) -> dict[str, Any]:
        return {**librdkafka_settings(self.kafka), "log_level": 0}

    def unresolved(self, selection: Selection, options: ReplayOptions, ends: Mapping[int, int]) -> Iterator[Buried]:
        nobody = ReplayRun(0, 0, {}, options)
        left = options.limit
        for chunk in distinct_chunks(self.letters(selection, ends), _SURVEY_CHUNK):
            for letter in self.ledger.open_ones(nobody, chunk):
                if left == 0:
                    return
                left = None if left is None else left - 1
                yield letter

    def _judge(self, survey: Survey, letter: Buried, options: ReplayOptions, differences: int) -> None:
        survey.selected += 1
        if letter.replay_count >= options.max_replays:
            survey.would_park += 1
            return
        try:
            value = changed(letter.record.value, options.changes)
            survey.targets[target_of(letter, options)] += 1
        except ChangeError as error:
            survey.refused[str(error)] += 1
            return
        rejection = verdict_now(letter, value)
        if rejection is None:
            survey.would_pass += 1
        else:
            survey.refused[f"{rejection.reason}: {rejection.message}"] += 1
        if value != letter.record.value and len(survey.differences) < differences:
            survey.differences.append(difference(letter, value))


@contextmanager
def without_cycle_search() -> Iterator[None]:
    """Letters make no cycles, and looking for some among thousands of headers took a fifth of a replay's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def open_replayer(
    kafka: KafkaSettings, connection: psycopg.Connection[tuple[Any, ...]], parking_topic: str
) -> Iterator[Replayer]:
    """Take the right to replay. Raises ReplayBusyError when somebody else has it, KafkaException without a broker."""
    ledger = PostgresReplays(connection, kafka.dlq_topic)
    ledger.lock()
    ledger.settle()
    outbox = KafkaOutbox({**librdkafka_settings(kafka), "log_level": 0}, parking_topic)
    yield Replayer(kafka, ledger, outbox, OriginalReader(lambda: connection))
