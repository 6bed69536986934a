"""Where in a partition of dead letters a time is, without reading it all.

Times of death rise with the offset; the records' own timestamps, which Kafka indexes, are those of the originals and
do not. So a time is found by bisection over what the letters say. Two things break the rise: letters of others, which
say no time, and letters that were imported, which say an old one. A partition in which samples meet either is taken
whole. The samples lie evenly and, denser and denser, towards the end: an import is met when it is a sixteenth of the
partition, or as large as what came after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.admin import Range
from keepstream.sinks.kafka.range_reader import RangeReader

SLACK = timedelta(minutes=10)
"""How far the times of neighbours may be off: workers have clocks of their own."""
SMALL = 200
"""So few letters are read sooner than searched."""
_EVEN_SAMPLES = 16


def narrowed(
    seeker: RangeReader, bounds: Mapping[int, Range], since: datetime | None, until: datetime | None
) -> dict[int, Range]:
    """Return the part of each partition that holds all deaths in ``[since, until)``, and perhaps some more."""
    if since is None and until is None:
        return dict(bounds)
    slopes = {p: _Slope(low, high) for p, (low, high) in bounds.items()}
    _sample(seeker, slopes)
    starts = _first_since(seeker, slopes, since - SLACK) if since else {}
    ends = _first_since(seeker, slopes, until + SLACK) if until else {}
    rising = {p for p, slope in slopes.items() if slope.rises}
    return {
        p: (starts.get(p, low), ends.get(p, high)) if p in rising else (low, high)
        for p, (low, high) in bounds.items()
    }  # fmt: skip


class _Slope:
    """What is known of the times in one partition."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.rises = high - low > SMALL
        self._seen: dict[int, datetime] = {}

    def samples(self) -> list[int]:
        length = self.high - self.low
        even = (self.low + length * i // _EVEN_SAMPLES for i in range(_EVEN_SAMPLES))
        late = (self.high - 2**i for i in range(length.bit_length()))
        return sorted({*even, *late}) if self.rises else []

    def learn(self, record: KafkaRecord | None) -> datetime | None:
        """Return when a letter died; None, for good, when that does not fit to what was seen before."""
        if record is None:
            return None
        died_at = DeadLetterRecord(record).last_failed_at
        if died_at is None or not self._fits(record.offset, died_at):
            self.rises = False
            return None
        self._seen[record.offset] = died_at
        return died_at

    def _fits(self, offset: int, died_at: datetime) -> bool:
        before = (at for seen, at in self._seen.items() if seen < offset)
        after = (at for seen, at in self._seen.items() if seen > offset)
        return all(at - SLACK <= died_at for at in before) and all(died_at <= at + SLACK for at in after)


def _sample(seeker: RangeReader, slopes: Mapping[int, _Slope]) -> None:
    """Look at each partition's samples, one of every partition at a time."""
    samples = {p: slope.samples() for p, slope in slopes.items()}
    while asked := {p: (left.pop(), slopes[p].high) for p, left in samples.items() if left and slopes[p].rises}:
        found = _firsts(seeker, asked)
        for partition in asked:
            slopes[partition].learn(found.get(partition))


def _first_since(seeker: RangeReader, slopes: Mapping[int, _Slope], moment: datetime) -> dict[int, int]:
    """Bisect all partitions together: it takes as many round trips as the largest one needs."""
    spans = {p: (slope.low, slope.high) for p, slope in slopes.items()}
    while middles := {p: (low + high) // 2 for p, (low, high) in spans.items() if low < high and slopes[p].rises}:
        found = _firsts(seeker, {p: (middle, spans[p][1]) for p, middle in middles.items()})
        for partition, middle in middles.items():
            record = found.get(partition)
            died_at = slopes[partition].learn(record)
            low, high = spans[partition]
            earlier = record is not None and died_at is not None and died_at < moment
            spans[partition] = (record.offset + 1, high) if record and earlier else (low, middle)
    return {p: low for p, (low, _) in spans.items()}


def _firsts(seeker: RangeReader, ranges: Mapping[int, Range]) -> dict[int, KafkaRecord]:
    records: Iterable[KafkaRecord] = seeker.read(ranges, only_first=True)
    return {record.partition: record for record in records}
