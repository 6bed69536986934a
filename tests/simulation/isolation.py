"""One of two topics without its database for long: the other has to go on as if nothing were amiss."""

from __future__ import annotations

import asyncio

from tests.simulation import simulation
from tests.simulation.faults import Fault
from tests.simulation.invariants import require
from tests.simulation.snapshots import Memory
from tests.simulation.topics import Topic

LAST_CALLS_S = 20.0
"""Within this time what was under way is over, once nothing else goes wrong: a slow call takes 15 s."""
PROGRESS_LIMIT_S = 5.0
"""Within this time a topic finds out what happened to it, and settles what there is."""
HAPPENINGS = (Fault.REBALANCE, Fault.RECREATED, Fault.STORE_FORGETS, None)


async def stop_one_database(world: simulation.World) -> None:
    """Stop the database of one topic, and see that the other goes on, whatever happens to it. It stays stopped."""
    away, other = world.rng.sample([*world.topics.values()], 2)
    world.calm()
    away.database.stop(hangs=world.rng.random() < 0.5)
    await world.wait_until(world.is_complete, "the group never gets all of its members back")
    earlier = Memory.of(other)
    away.produce()
    other.produce()
    await _settles(other, LAST_CALLS_S)
    if not away.is_settled():
        other.faults.happened(Fault.OTHER_HANGS if away.database.hangs else Fault.OTHER_STOPPED)
    await _happens(world, other, earlier)
    await _settles(other, PROGRESS_LIMIT_S)


async def _happens(world: simulation.World, topic: Topic, earlier: Memory) -> None:
    """Have something happen to a topic after which its partitions start again."""
    fault = world.rng.choice(HAPPENINGS)
    match fault:
        case Fault.REBALANCE:
            world.group.rebalance()
            await asyncio.sleep(1.0)
            topic.faults.happened(Fault.STARTED_BESIDE)
            topic.produce()
        case Fault.RECREATED:
            topic.recreate()
            topic.faults.happened(Fault.RECREATED_BESIDE)
        case Fault.STORE_FORGETS:  # nothing is written: a fence would find out as well
            earlier.restore(topic)
            topic.faults.happened(Fault.FORGETS_BESIDE)
    if fault is not None:
        topic.faults.happened(fault)


async def _settles(topic: Topic, within_s: float) -> None:
    loop = topic.world.loop
    deadline = loop.time() + within_s
    while not topic.is_settled():
        require(loop.time() < deadline, "I", f"{topic.name} stands still for {within_s} s: {topic.memory.next_offsets}")
        await asyncio.sleep(0.5)
