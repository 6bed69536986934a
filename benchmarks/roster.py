"""Who takes part."""

from __future__ import annotations

from benchmarks.contestant import Contestant, keepstream, module
from benchmarks.contestants import connect, flink

KEEPSTREAM_100 = Contestant("keepstream-100", "keepstream, batch 100", keepstream(100), counts_exactly=True)
KEEPSTREAM_500 = Contestant("keepstream-500", "keepstream, batch 500", keepstream(500), counts_exactly=True)
KEEPSTREAM_1000 = Contestant(
    "keepstream-1000", "keepstream's default, up to 1,000 rows per commit",
    keepstream(100, KEEPSTREAM_WORKER__TRANSACTION_SIZE="1000"), counts_exactly=True,
)  # fmt: skip
FLOOR = Contestant("floor", "floor: keepstream's SQL and confluent-kafka", module("floor"), counts_exactly=True)
RAW_JSON = Contestant("raw-json", "hand-written loop, raw JSON", module("raw_json"))
HAND = Contestant("hand", "hand-written loop, executemany", module("hand"))
PLAIN_FAUST = Contestant("plain-faust", "plain Faust, take(100)", module("plain_faust"))
FAST_STREAM = Contestant("faststream", "FastStream (confluent)", module("fast_stream", "faststream"))
QUIX = Contestant("quix", "Quix Streams, PostgreSQLSink", module("quix", "quix"))
BYTEWAX = Contestant("bytewax", "Bytewax", module("wax", "bytewax"))
CONNECT = Contestant("connect", "Kafka Connect + Debezium JDBC sink, 4 tasks", connect.command, flat=True)
FLINK = Contestant("flink", "Flink SQL, parallelism 2", flink.command)

ALL = (
    KEEPSTREAM_100, KEEPSTREAM_500, KEEPSTREAM_1000, FLOOR, RAW_JSON, HAND, PLAIN_FAUST, FAST_STREAM, QUIX, BYTEWAX,
    CONNECT, FLINK,
)  # fmt: skip


def named(names: str) -> tuple[Contestant, ...]:
    """Return the contestants of a list separated by commas, all for an empty one."""
    wanted = [name for name in names.split(",") if name]
    unknown = set(wanted) - {contestant.name for contestant in ALL}
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in ALL)}")
    return tuple(c for c in ALL if not wanted or c.name in wanted)
