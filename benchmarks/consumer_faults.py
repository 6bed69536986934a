"""What readers do with batches that decompress to far more than they weigh, that are damaged, or oddly named."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from benchmarks.consumer_bench import AIOKAFKA, BOUNDED, LIBRDKAFKA, Bench
from benchmarks.events import create
from tests.raw_headers import RawName

CODECS = {"gzip": 900_000_000, "snappy": 300_000_000, "lz4": 900_000_000, "zstd": 900_000_000}
"""How much one batch decompresses to. The broker's own check of snappy takes that much of its heap of 1 GB."""


def bomb(bench: Bench) -> None:
    """Measure the memory of one batch that decompresses to hundreds of megabytes."""
    for codec, size_bytes in CODECS.items():
        topic = f"bomb-{codec}"
        create(bench.servers, topic, 1, {"max.message.bytes": "100000000"})
        producer = bench.producer(**{"compression.type": codec, "batch.size": 1_000_000_000})
        producer.produce(topic, b"0" * size_bytes)
        assert producer.flush(120) == 0
        del producer
        log_bytes = next(bench.now.stage.kafka.home().rglob(f"{topic}-0/*.log")).stat().st_size
        for client in (AIOKAFKA, LIBRDKAFKA, BOUNDED):
            figure = bench.run("collect", client, topic, 1, seconds=60.0, any_is_enough=True)
            bench.add("bomb", client, figure, codec=codec, batch_mb=log_bytes / 1e6, decompressed_mb=size_bytes / 1e6)


def corrupt(bench: Bench) -> None:
    """Read three batches of which the second was damaged on the broker's disk."""
    damages = {"a byte of a value": ("none", b"unharmed"), "the header of the codec": ("lz4", b"\x04\x22\x4d\x18")}
    for number, (damage, (codec, found_by)) in enumerate(damages.items()):
        topic = f"corrupt-{number}"
        create(bench.servers, topic, 2)
        producer = bench.producer(**{"compression.type": codec})
        for partition in (0, 0, 0, 1):
            for _ in range(5):
                producer.produce(topic, b"unharmed " * 20, partition=partition)
            producer.flush(30)
        log = next(bench.now.stage.kafka.home().rglob(f"{topic}-0/*.log"))
        content = bytearray(log.read_bytes())
        at = content.index(found_by, len(content) // 3 + 10)
        content[at : at + len(found_by)] = b"damaged "[: len(found_by)]
        with log.open("r+b") as file:
            file.write(content)
        for client in (AIOKAFKA, LIBRDKAFKA, "librdkafka, check.crcs"):
            figure = bench.run("collect", client, topic, 2, seconds=6.0)
            bench.add("corrupt", client, figure, damage=damage)


def header(bench: Bench) -> None:
    """Read three records, the second of which has a header name that is not UTF-8, as clients in C or Go may write."""
    create(bench.servers, "header", 1)
    asyncio.run(produce_named(bench.servers, "header"))
    for client in (AIOKAFKA, LIBRDKAFKA):
        bench.add("header", client, bench.run("collect", client, "header", 1, seconds=4.0))


async def produce_named(servers: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        for name in ("x", RawName("x"), "x"):
            batch = producer.create_batch()
            batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 10**6)  # noqa: SLF001
            batch.append(key=b"k", value=b"v", timestamp=None, headers=[(name, b"1")])
            await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()
