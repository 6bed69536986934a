"""The floor: the tightest loop we know that does keepstream's own SQL with confluent-kafka, and nothing else.

No validation (without BENCH_VALIDATE), no dead letters, no retries, no metrics, no rebalance: one thread reads all
partitions and cuts what came into batches of one partition each, one thread per connection writes them. What keepstream
needs on top of this is the price of its guarantees.
"""

from __future__ import annotations

import os
from collections import defaultdict
from queue import Queue
from threading import Thread
from typing import Any

import psycopg
from confluent_kafka import Consumer, Message, TopicPartition
from psycopg.types.numeric import Int4, Int8

from benchmarks.contestants.course import BATCH_SIZE, CONSUMER, PARTITIONS, POSTGRES_URL, SCHEMA, TOPIC
from keepstream.processors.validation.contract import check_contract
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.postgres.connection import ConnectionPolicy, JsonDocument, _JsonDocumentDumper, worker_session
from keepstream.sinks.postgres.offsets import INSERT_PARTITION
from keepstream.sinks.postgres.pooled_connection import SessionConnection
from keepstream.sinks.postgres.store import SETTLE

CONNECTIONS = int(os.environ.get("BENCH_CONNECTIONS", "4"))
SYNCHRONOUS_COMMIT = os.environ.get("BENCH_SYNCHRONOUS_COMMIT") == "on"
VALIDATE = bool(os.environ.get("BENCH_VALIDATE"))
READ_AT_ONCE = 4000
RECORDS_AHEAD = 4000
Batches = Queue[tuple[int, list[Message]]]


def write(batches: Batches) -> None:
    """Settle what comes, in order; a partition always comes to the same connection."""
    policy = ConnectionPolicy(POSTGRES_URL, schema=SCHEMA, synchronous_commit=SYNCHRONOUS_COMMIT)
    with SessionConnection.connect(POSTGRES_URL, autocommit=True, prepare_threshold=0) as link:
        worker_session(policy).pin(link)
        link.adapters.register_dumper(JsonDocument, _JsonDocumentDumper)
        while True:
            partition, messages = batches.get()
            row = link.execute(SETTLE, parameters(partition, messages)).fetchone()
            if row is None or not row[0]:
                os._exit(1)  # fenced: the run is void


def parameters(partition: int, messages: list[Message]) -> dict[str, Any]:
    documents = [document(message) for message in messages]
    first, last = messages[0].offset() or 0, messages[-1].offset() or 0
    return {
        "topic": TOPIC, "partition": Int4(partition), "begin": Int8(first), "end": Int8(last + 1),
        "records": Int8(len(messages)), "events": JsonDocument(b"[%b]" % b",".join(documents)),
        "incoming": Int8(len(messages)), "duplicates": Int8(0), "stale": Int8(0), "ignored": Int8(0), "failed": Int8(0),
        "incarnation": Int4(0), "topic_id": None,
    }  # fmt: skip


def document(message: Message) -> bytes:
    """Return what the statement takes of an event: its bytes and its offset."""
    value, offset = message.value() or b"", message.offset() or 0
    if not VALIDATE:
        return b'%b,"@offset":%d}' % (value[:-1], offset)
    place = (message.topic() or "", message.partition() or 0, offset, message.timestamp()[1])
    checked = check_contract(KafkaRecord(*place, message.key(), value))
    if not isinstance(checked, ValidEvent):
        os._exit(1)  # the backlog has no bad records: the run is void
    return checked.document


def read(consumer: Consumer, writers: list[Batches]) -> None:
    """Cut what comes into batches. What is left of a partition waits for more, but never when nothing comes."""
    waiting: dict[int, list[Message]] = defaultdict(list)
    while True:
        messages = consumer.consume(READ_AT_ONCE, 0.02)
        for message in messages:
            waiting[message.partition() or 0].append(message)
        for partition, held in waiting.items():
            while len(held) >= BATCH_SIZE or (held and not messages):
                writers[partition % len(writers)].put((partition, held[:BATCH_SIZE]))
                del held[:BATCH_SIZE]


def main() -> None:
    places = range(PARTITIONS)
    with psycopg.connect(POSTGRES_URL, autocommit=True, options=f"-c search_path={SCHEMA}") as link:
        new = {"topic": TOPIC, "next_offset": 0, "topic_id": None, "allow_other_topics": False}
        for partition in places:
            link.execute(INSERT_PARTITION, new | {"partition": partition})
    consumer = Consumer(CONSUMER | {"queued.max.messages.kbytes": 16384, "fetch.message.max.bytes": 1048576})
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in places])
    writers: list[Batches] = [Queue(max(2, RECORDS_AHEAD // BATCH_SIZE)) for _ in range(CONNECTIONS)]
    for batches in writers:
        Thread(target=write, args=[batches], daemon=True).start()
    read(consumer, writers)


if __name__ == "__main__":
    main()
