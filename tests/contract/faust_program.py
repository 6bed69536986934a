"""Running a plain Faust program, asking Kafka what it committed, and making holes in the offsets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.contract.faust_probe import Plan
from tests.real import eventually

REPO = Path(__file__).resolve().parents[2]
WAIT_S = 20.0
SMALL_RECORDS = {"max.message.bytes": "20000"}
"""A topic's config: the broker refuses what is larger."""
TOO_LARGE = 50_000


def numbers(begin: int, end: int) -> list[bytes]:
    """Records' values; a test gives each record the number of its offset."""
    return [b"%d" % number for number in range(begin, end)]


class FaustProgram:
    """`tests.contract.faust_probe` as a process. Leaving the context kills it."""

    def __init__(self, plan: Plan, env: Mapping[str, str]) -> None:
        self._plan = plan
        self._group = Group(plan.broker, plan.group)
        self._lines: list[tuple[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.faust_probe", plan.argument()],
            stdout=subprocess.PIPE,
            cwd=REPO,
            env={**os.environ, **env},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()
        self._group.close()
        if self._process.stdout:
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            what, about = json.loads(line)
            self._lines.append((what, about))

    def said(self, what: str) -> list[Any]:
        return [about for said, about in list(self._lines) if said == what]

    @property
    def processed(self) -> list[int]:
        return self.said("processed")

    def wait_for(self, what: str, times: int = 1) -> None:
        eventually(lambda: len(self.said(what)) >= times, WAIT_S, f"{what} x {times}; said {self._lines}")

    def committed(self) -> int | None:
        return self._group.committed(self._plan.topic)

    def wait_for_commit(self, offset: int) -> None:
        eventually(lambda: self.committed() == offset, WAIT_S, f"commit of {offset}; said {self._lines}")

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code of a program that ends by itself or was asked to."""
        code = self._process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def kill(self) -> None:
        self._process.kill()
        self.wait()


class Group:
    """Asks Kafka where a group stands, without joining it."""

    def __init__(self, bootstrap_servers: str, group: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "log_level": 0})

    def committed(self, topic: str, partition: int = 0) -> int | None:
        """Return None where the group never committed."""
        offset = self._consumer.committed([TopicPartition(topic, partition)], timeout=WAIT_S)[0].offset
        return offset if offset >= 0 else None

    def close(self) -> None:
        self._consumer.close()


def stays(condition: Callable[[], object], for_s: float, what: str) -> None:
    """Watch a condition: it has to hold all the time. For what must not happen."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert condition(), what
        time.sleep(0.05)


class Transactions:
    """A transactional producer to one topic; each call is a transaction, and its end takes one offset (a marker)."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._settings = {"bootstrap.servers": bootstrap_servers, "log_level": 0}
        self._topic = topic

    def commit(self, values: Iterable[bytes], partition: int = 0) -> None:
        self._produce(values, partition).commit_transaction(WAIT_S)

    def abort(self, values: Iterable[bytes], partition: int = 0) -> None:
        self._produce(values, partition).abort_transaction(WAIT_S)

    def marker_only(self, partition: int = 0) -> None:
        """Leave a marker and no record: the broker refuses the record. For topics of `SMALL_RECORDS`."""
        self.abort([b"x" * TOO_LARGE], partition)

    def _produce(self, values: Iterable[bytes], partition: int) -> Producer:
        producer = Producer({**self._settings, "transactional.id": uuid.uuid4().hex})
        producer.init_transactions(WAIT_S)
        producer.begin_transaction()
        for value in values:
            producer.produce(self._topic, value, partition=partition)
        assert producer.flush(WAIT_S) == 0
        return producer
