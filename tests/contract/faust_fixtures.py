"""Fixtures of the trap suites: plain Faust programs, and a topic for them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from tests.contract.faust_probe import Plan
from tests.contract.faust_program import FaustProgram, numbers
from tests.real import Kafka

pytestmark = pytest.mark.real

UNCHANGED_S = 1.0
"""How long is watched that nothing happens: several commit intervals, and more than a healthy program's reaction."""


class StartOffset(Protocol):
    def __call__(self, topic: str, *, env: Mapping[str, str] | None = None, **plan: Any) -> FaustProgram: ...


@pytest.fixture
def start(kafka: Kafka) -> Iterator[StartOffset]:
    """Start programs, each a group of its own; they end with the test."""
    with ExitStack() as programs:

        def start(topic: str, *, env: Mapping[str, str] | None = None, **plan: Any) -> FaustProgram:
            group = f"trap-{uuid.uuid4().hex[:12]}"
            return programs.enter_context(FaustProgram(Plan(kafka.bootstrap_servers, topic, group, **plan), env or {}))

        yield start


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """A topic with the records 0 to 9."""
    name = kafka.new_topic()
    kafka.produce(name, numbers(0, 10))
    return name
