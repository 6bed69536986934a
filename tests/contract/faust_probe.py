"""A plain Faust program, as its documentation would have one write it; the trap tests run it as a process of its own.

Its one argument is a `Plan` as JSON. Records carry numbers. What happens is reported on stdout, a JSON line each:
``["started", 1]`` when the agent function begins, ``["processed", 7]`` when the body is done with a record, and the
name of an action with its record, ``["raise", 3]``, when the plan's action for that record is carried out.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import faust
from mode.supervisors import CrashingSupervisor

WITHIN_S = 1.0
"""Long enough for batches to fill up: which records share a batch must not depend on the machine's mood."""
RESUME_AFTER_S = 0.3
QUEUED = 4


@dataclass(frozen=True)
class Plan:
    """What the program shall be: how its agent loops, and what its body does at which record, once each."""

    broker: str
    topic: str
    group: str
    loop: str = "take"
    size: int = 5
    actions: Mapping[str, str] = field(default_factory=dict)
    concurrency: int = 1
    crashing: bool = False
    """Whether an exception in the agent shall end the program (mode's `CrashingSupervisor`)."""
    wait_empty: bool = True
    commit_interval_s: float = 0.2
    max_poll_records: int | None = None
    dlq_topic: str = ""
    dead_letter_size: int = 0

    def argument(self) -> str:
        return json.dumps(asdict(self))


def report(what: str, about: object) -> None:
    print(json.dumps([what, about]), flush=True)


class Body:
    """The agent's body: does what the plan says for a record, then claims to have processed the records."""

    def __init__(self, app: faust.App, plan: Plan) -> None:
        self._app = app
        self._plan = plan
        self._actions = dict(plan.actions)

    async def __call__(self, stream: Any, items: Sequence[Any]) -> None:
        """Work on values or events, whatever the loop yields."""
        numbers = [getattr(item, "value", item) for item in items]
        for number in numbers:
            action = self._actions.pop(str(number), None)
            if action is not None:
                report(action, number)
                await getattr(self, f"_{action}")(stream, number)
        for number in numbers:
            report("processed", number)

    async def _raise(self, _stream: Any, number: int) -> None:
        raise RuntimeError(f"record {number}")

    async def _hang(self, _stream: Any, _number: int) -> None:
        await asyncio.Event().wait()

    async def _crash(self, _stream: Any, number: int) -> None:
        await self._app.crash(RuntimeError(f"record {number}"))
        await asyncio.Event().wait()

    async def _pause(self, _stream: Any, _number: int) -> None:
        """Apply backpressure for a moment, the way the API offers it."""
        consumer = self._app.consumer
        partitions = consumer.assignment()
        consumer.pause_partitions(partitions)
        asyncio.get_running_loop().call_later(RESUME_AFTER_S, consumer.resume_partitions, partitions)

    async def _next_generation(self, stream: Any, _number: int) -> None:
        """Do what the driver does first in a rebalance, while records of the old generation are queued."""
        while stream.channel.queue.qsize() < QUEUED:  # noqa: ASYNC110 - the queue tells nobody when it grows
            await asyncio.sleep(0.01)
        self._app.consumer_generation_id += 1

    async def _dead_letter(self, _stream: Any, _number: int) -> None:
        future: Any = await self._app.topic(self._plan.dlq_topic).send(value="x" * self._plan.dead_letter_size)
        report("confirmed", future.done())

    async def _commit(self, _stream: Any, _number: int) -> None:
        report("committed", await self._app.consumer.commit())

    async def _failing_commit(self, _stream: Any, _number: int) -> None:
        """Ask for a commit while the broker is away, and carry on."""
        consumer: Any = self._app.consumer
        working = consumer._commit

        async def broken(_offsets: object) -> bool:
            raise ConnectionError("broker away")

        consumer._commit = broken
        try:
            await consumer.commit()
        except ConnectionError as error:
            report("commit failed", str(error))
        finally:
            consumer._commit = working


async def work(stream: Any, plan: Plan, body: Body) -> None:
    """Loop as the plan says. Each branch is a shape of Faust's user guide."""
    report("started", 1)
    if plan.loop in ("iterate", "events"):
        async for item in stream if plan.loop == "iterate" else stream.events():
            await body(stream, [item])
    elif plan.loop == "noack_take_in_a_variable":
        batches = stream.noack_take(plan.size, within=WITHIN_S)
        async for events in batches:
            await body(stream, events)
            await ack(stream, events)
    else:
        async for items in getattr(stream, plan.loop)(plan.size, within=WITHIN_S):
            await body(stream, items)
            if plan.loop == "noack_take":
                await ack(stream, items)


async def ack(stream: Any, events: Sequence[Any]) -> None:
    for event in events:
        await stream.ack(event)


class _App(faust.App):
    def _create_directories(self) -> None:
        """Make no data folder: there are no tables."""


def build(plan: Plan) -> faust.App:
    app = _App(
        plan.group,
        broker=f"kafka://{plan.broker}",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        stream_wait_empty=plan.wait_empty,
        broker_commit_interval=plan.commit_interval_s,
        broker_max_poll_records=plan.max_poll_records,
    )
    body = Body(app, plan)
    strategy = CrashingSupervisor if plan.crashing else None

    @app.agent(app.topic(plan.topic), concurrency=plan.concurrency, supervisor_strategy=strategy)
    async def probe(stream: Any) -> None:
        await work(stream, plan, body)

    return app


def main() -> None:
    app = build(Plan(**json.loads(sys.argv[1])))
    worker = faust.Worker(app, loglevel="ERROR", quiet=True, stdout=sys.stderr, redirect_stdouts=False)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
