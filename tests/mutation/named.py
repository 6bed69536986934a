"""Mistakes with a name, as edits to be made in a copy of the tree, and the tests that have to notice each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Replace a text that stands exactly once in a file."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


_DISPATCH = "processors/dispatcher.py"
_STORE = "sinks/postgres/store.py"
_WORK = """\
                    await self._process(batch)
                    queue.settle(batch)
                finally:
"""

MUTANTS = (
    Mutant(
        "T1: a batch counts as done although its body raised",
        (Edit(_DISPATCH, _WORK, """\
                    await self._process(batch)
                finally:
                    queue.settle(batch)
"""),),
        ("tests/unit/test_dispatcher.py",),
    ),
    Mutant(
        "T9: what may be committed passes a batch in flight",
        (Edit(
            "processors/partition_queue.py",
            "self.settled_to = self.stored_to = batch.span.next_offset",
            "self.settled_to = self.appended_to",
        ),),
        ("tests/unit/test_partition_queue.py",),
    ),
    Mutant(
        "a batch is acknowledged before it is committed",
        (Edit(_DISPATCH, _WORK, """\
                    queue.settle(batch)
                    await self._process(batch)
                finally:
"""),),
        ("tests/unit/test_dispatcher.py",),
    ),
    Mutant(
        "events are counted before repeats are known",
        (Edit("sinks/postgres/sql/settle.sql", "inserted + woken AS delivered", "incoming AS delivered"),),
        ("tests/contract/test_event_store.py",),
    ),
    Mutant(
        "on the step path the offset moves outside the transaction of the counters",
        (
            Edit(
                "sinks/postgres/sql/count.sql",
                "SET next_offset = %(next_offset)s,",
                "SET next_offset = next_offset,",
            ),
            Edit(_STORE, """\
            done(Step.METRICS)
        return tally
""", """\
            done(Step.METRICS)
        async with self._connection(Step.METRICS) as connection:
            await connection.execute(
                "UPDATE stream_offsets SET next_offset = %s WHERE topic = %s AND partition = %s",
                [span.next_offset, span.topic, span.partition],
            )
        return tally
"""),
        ),
        ("tests/contract/test_one_transaction.py",),
    ),
    Mutant(
        "the offset moves outside the transaction of the rows",
        (
            Edit(
                "sinks/postgres/sql/settle.sql",
                "SET next_offset = %(next_offset)s,",
                "SET next_offset = next_offset,",
            ),
            Edit(_STORE, """\
    _check_fence(span, fenced_in)
    return OutcomeCounts(delivered, duplicate + folded""", """\
    _check_fence(span, fenced_in)
    await connection.execute(
        "UPDATE stream_offsets SET next_offset = %s WHERE topic = %s AND partition = %s",
        [span.next_offset, span.topic, span.partition],
    )
    return OutcomeCounts(delivered, duplicate + folded"""),
        ),
        ("tests/contract/test_one_transaction.py",),
    ),
    Mutant(
        "a conflict sets the status back to pending",
        (Edit(
            "sinks/postgres/sql/store.sql",
            "CASE e.status WHEN 'failed' THEN 'pending' ELSE e.status END",
            "'pending'",
        ),),
        ("tests/contract/test_event_store.py",),
    ),
    Mutant(
        "the offset does not wait for the dead letters to be published",
        (
            Edit("processors/bisect_batch.py", "import time\n", "import asyncio\nimport time\n"),
            Edit(
                "processors/bisect_batch.py",
                "placed = await self.hold.retry_until_healthy(self.batch, lambda: self.dead_letters.publish(new))",
                "placed = new\n            asyncio.ensure_future(self.dead_letters.publish(new))",
            ),
        ),
        ("tests/unit/test_pipeline.py", "tests/unit/test_no_record_is_lost.py"),
    ),
    Mutant(
        "a dead letter counts as published before the broker has confirmed it",
        (
            Edit("sinks/kafka/confirmed_producer.py", "                await waiting.done\n", "                pass\n"),
            Edit(
                "sinks/kafka/confirmed_producer.py",
                "self.answers: list[Answer] = [KafkaError(KafkaError._MSG_TIMED_OUT)] * count",
                'self.answers: list[Answer] = [""] * count',
            ),
        ),
        ("tests/contract/test_dead_letter_topic.py",),
    ),
)  # fmt: skip
