"""Bytewax: Kafka source, pydantic in a map, a sink that cuts what it is handed into transactions of 100 rows."""

# mypy: disable-error-code="import-not-found, misc"
from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from bytewax import operators
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.contestants.course import BATCH_SIZE, BOOTSTRAP_SERVERS, POSTGRES_URL, SEARCH_PATH, TOPIC, UPSERT
from benchmarks.contestants.event_model import Event

SNAPSHOTS_EVERY = timedelta(seconds=10)


class Writer(StatelessSinkPartition[tuple[Any, ...]]):
    """One connection."""

    def __init__(self) -> None:
        self._connection = psycopg.connect(POSTGRES_URL, options=SEARCH_PATH)

    def write_batch(self, items: list[tuple[Any, ...]]) -> None:
        with self._connection.cursor() as cursor:
            for start in range(0, len(items), BATCH_SIZE):
                cursor.executemany(UPSERT, items[start : start + BATCH_SIZE])
                self._connection.commit()


class Sink(DynamicSink[tuple[Any, ...]]):
    """The table."""

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> Writer:
        return Writer()


def flow() -> Dataflow:
    flow = Dataflow("events")
    records = operators.input("read", flow, KafkaSource([BOOTSTRAP_SERVERS], [TOPIC], batch_size=BATCH_SIZE))
    rows = operators.map("check", records, lambda record: Event.model_validate_json(record.value).row())
    operators.output("store", rows, Sink())
    return flow


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        init_db_dir(Path(folder), 1)
        cli_main(flow(), epoch_interval=SNAPSHOTS_EVERY, recovery_config=RecoveryConfig(folder))
