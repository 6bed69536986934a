"""A plain Faust program, as its documentation would have one write it; the trap tests run it as a process of its own.

Its one argument is a `Plan` as JSON. Records carry numbers. What happens is reported on stdout, a JSON line each:
``["started", 1]`` when the agent function begins, ``["processed", 7]`` when the body is done with a record, and the
name of an action, ``["raise", 3]``, when the plan's action for a record is carried out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import faust
from faust.events import Event
from faust.transport.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

RESUME_AFTER_S = 0.3


@dataclass(frozen=True)
class Plan:
    """What the program shall be: how its agent loops, and what its body does at which record, once each."""

    broker: str
    topic: str
    group: str
    loop: str = "take"
    size: int = 5
    concurrency: int = 1
    supervisor: str | None = None
    max_poll_records: int | None = None
    dlq_topic: str = ""
    wait_empty: bool = True
    actions: Mapping[str, str] = field(default_factory=dict)

    def argument(self) -> str:
        return json.dumps(asdict(self))


def report(what: str, number: object) -> None:
    print(json.dumps([what, number]), flush=True)


class Body:
    """The agent's body: does what the plan says for a record, else claims to have processed it."""

    def __init__(self, app: faust.App, plan: Plan) -> None:
        self._app = app
        self._plan = plan
        self._actions = dict(plan.actions)

    async def __call__(self, stream: faust.Stream[Any], numbers: Sequence[int]) -> None:
        for number in numbers:
            action = self._actions.pop(str(number), None)
            if action is not None:
                report(action, number)
                await getattr(self, f"_{action}")(stream, number)
        for number in numbers:
            report("processed", number)

    async def _raise(self, _stream: object, number: int) -> None:
        raise RuntimeError(f"record {number}")

    async def _hang(self, _stream: object, _number: int) -> None:
        await asyncio.Event().wait()

    async def _crash(self, _stream: object, number: int) -> None:
        await self._app.crash(RuntimeError(f"record {number}"))
        await asyncio.Event().wait()

    async def _pause(self, _stream: object, _number: int) -> None:
        """Apply backpressure for a moment, the way the API offers it."""
        consumer = self._app.consumer
        partitions = consumer.assignment()
        consumer.pause_partitions(partitions)
        asyncio.get_running_loop().call_later(RESUME_AFTER_S, consumer.resume_partitions, partitions)

    async def _rebalance(self, _stream: object, _number: int) -> None:
        """Move on to the next generation while records of this one are queued, as a rebalance does."""
        self._app.consumer_generation_id += 1

    async def _dead_letter(self, _stream: object, _number: int) -> None:
        future = await self._app.topic(self._plan.dlq_topic).send(value="x" * 5000)
        report("confirmed", future.done())  # type: ignore[attr-defined]

    async def _break_commit(self, _stream: object, number: int) -> None:
        """Let the next commit fail as a whole; the body asks for it and survives it."""
        consumer: Any = self._app.consumer
        working = consumer._commit

        async def broken(offsets: object) -> bool:
            consumer._commit = working
            report("commit failed", number)
            raise ConnectionError("broker went away")

        consumer._commit = broken
        await asyncio.Event().wait()

    async def _gone(self, _stream: object, _number: int) -> None:
        """Nothing: the record only marks a place."""


async def agent(stream: faust.Stream[Any], plan: Plan, body: Body) -> None:
    """Loop as the plan says. Each branch is the shape found in Faust's user guide."""
    report("started", 1)
    if plan.loop == "iterate":
        async for number in stream:
            await body(stream, [number])
    elif plan.loop == "events":
        async for event in stream.events():
            await body(stream, [event.value])  # type: ignore[list-item]
    elif plan.loop == "take":
        async for numbers in stream.take(plan.size, within=0.1):
            await body(stream, numbers)
    elif plan.loop == "noack_take":
        async for events in stream.noack_take(plan.size, within=0.1):
            await settle(stream, events, body)
    elif plan.loop == "noack_take_in_a_variable":
        batches = stream.noack_take(plan.size, within=0.1)
        async for events in batches:
            await settle(stream, events, body)


async def settle(stream: faust.Stream[Any], events: Sequence[Any], body: Body) -> None:
    await body(stream, [event.value for event in events])
    for event in events:
        await stream.ack(event)


def build(plan: Plan) -> faust.App:
    app = faust.App(
        plan.group,
        broker=f"kafka://{plan.broker}",
        datadir=tempfile.mkdtemp(prefix="faust-probe-"),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        broker_commit_interval=0.2,
        stream_wait_empty=plan.wait_empty,
        broker_max_poll_records=plan.max_poll_records,
    )
    body = Body(app, plan)

    strategy = plan.supervisor and getattr(faust, plan.supervisor)

    @app.agent(app.topic(plan.topic), concurrency=plan.concurrency, supervisor_strategy=strategy)
    async def probe(stream: faust.Stream[Any]) -> None:
        await agent(stream, plan, body)

    return app


def main() -> None:
    app = build(Plan(**json.loads(sys.argv[1])))
    worker = faust.Worker(app, loglevel="ERROR", quiet=True, stdout=sys.stderr, redirect_stdouts=False)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
