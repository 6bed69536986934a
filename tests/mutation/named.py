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
_FENCE_THAT_MOVES_NOTHING = (
    "UPDATE stream_offsets SET updated_at = now() "
    "WHERE topic = %(topic)s AND partition = %(partition)s AND next_offset = %(begin)s RETURNING 1"
)
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
            "self.settled_to = self.stored_to = batch.offset_range.next_offset",
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
                "WITH fence AS ({fence})",
                f"WITH fence AS ({_FENCE_THAT_MOVES_NOTHING})",
            ),
            Edit(_STORE, """\
            done(Step.METRICS)
        return counts
""", """\
            done(Step.METRICS)
        async with step_connection(self.pool, Step.METRICS) as connection:
            await connection.execute(
                "UPDATE stream_offsets SET next_offset = %s WHERE topic = %s AND partition = %s",
                [offset_range.next_offset, offset_range.topic, offset_range.partition],
            )
        return counts
"""),
        ),
        ("tests/contract/test_one_transaction.py",),
    ),
    Mutant(
        "the offset moves outside the transaction of the rows",
        (
            Edit(
                "sinks/postgres/sql/settle.sql",
                "WITH fence AS ({fence})",
                f"WITH fence AS ({_FENCE_THAT_MOVES_NOTHING})",
            ),
            Edit(_STORE, """\
    _check_fence(offset_range, fenced)
    return OutcomeCounts(
        delivered, duplicate + decided""", """\
    _check_fence(offset_range, fenced)
    await connection.execute(
        "UPDATE stream_offsets SET next_offset = %s WHERE topic = %s AND partition = %s",
        [offset_range.next_offset, offset_range.topic, offset_range.partition],
    )
    return OutcomeCounts(
        delivered, duplicate + decided"""),
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
        "a dead letter leaves the outbox although the broker has not confirmed it",
        (Edit(
            "processors/outbox.py",
            "confirmed.update(publication.record_ids)",
            "confirmed.update(publication.record_ids or dict.fromkeys(waiting))",
        ),),
        ("tests/unit/test_outbox.py", "tests/unit/test_no_record_is_lost.py"),
    ),
    Mutant(
        "a dead letter is published before it is decided",
        (Edit(
            "processors/pipeline.py",
            "        counts = await self.pause.retry_until_healthy(part.queue, tried)\n",
            "        await self.outbox.dead_letters.publish(settlement.outbox)\n"
            "        counts = await self.pause.retry_until_healthy(part.queue, tried)\n",
        ),),
        ("tests/unit/test_outbox.py",),
    ),
    Mutant(
        "a dead letter counts as published before the broker has confirmed it",
        (
            Edit("sinks/kafka/confirmed_producer.py", "                await reports.done\n", "                pass\n"),
            Edit(
                "sinks/kafka/confirmed_producer.py",
                "self.answers: list[Answer] = [KafkaError(KafkaError._MSG_TIMED_OUT)] * count",
                'self.answers: list[Answer] = [""] * count',
            ),
        ),
        ("tests/contract/test_dead_letter_topic.py",),
    ),
    Mutant(
        "a transaction takes waiting batches beyond its limit of records",
        (Edit("processors/partition_queue.py", "records > self.limit.records or", "records > 10**9 or"),),
        ("tests/unit/test_partition_queue.py",),
    ),
    Mutant(
        "a refused transaction is halved instead of divided into its batches",
        (Edit("processors/batch_part.py", "self.borders or [self._middle()]", "[self._middle()]"),),
        ("tests/unit/test_pipeline.py",),
    ),
    Mutant(
        "the offset moves past the first of several batches only",
        (Edit(
            "processors/partition_queue.py",
            "    end = batches[-1].offset_range.next_offset\n",
            "    end = batches[0].offset_range.next_offset\n",
        ),),
        ("tests/unit/test_partition_queue.py", "tests/unit/test_pipeline.py"),
    ),
    Mutant(
        "ignored records are not counted",
        (
            Edit("sinks/postgres/sql/settle.sql", "        ignored = c.ignored + %(ignored)s,\n", ""),
            Edit("sinks/postgres/sql/settle.sql", " + %(ignored)s + %(failed)s", " + %(failed)s"),
        ),
        ("tests/contract/test_event_store.py",),
    ),
    Mutant(
        "the fence ignores Kafka's id of the topic",
        (Edit("sinks/postgres/sql/fence.sql", " AND topic_id IS NOT DISTINCT FROM %(topic_id)s::text", ""),),
        ("tests/contract/test_event_store.py",),
    ),
)  # fmt: skip
