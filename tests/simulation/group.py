"""The consumer group: who owns which partition, and who has heard of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from keepstream.schemas.record import TopicPartition
from tests.simulation.loop import SimulationLoop
from tests.simulation.worker import Worker

SESSION_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Group:
    """Eager rebalancing, as aiokafka does it: everybody gives everything up, then the partitions are dealt out."""

    loop: SimulationLoop
    rng: random.Random
    partitions: Sequence[TopicPartition]
    members: list[Worker] = field(default_factory=list)
    generation: int = 0
    refuses_to_s: float = 0.0
    """Until when it takes no member."""
    _owners: dict[TopicPartition, Worker] = field(default_factory=dict)

    @property
    def is_refusing(self) -> bool:
        return self.loop.time() < self.refuses_to_s

    def owner(self, partition: tuple[str, int]) -> Worker | None:
        return self._owners.get(TopicPartition(*partition))

    def join(self, member: Worker) -> None:
        if not member.coordinator.may_join:
            return
        if self.is_refusing:
            member.coordinator.refused()
            return
        self.members.append(member)
        self.rebalance()

    def rejoin(self, member: Worker) -> None:
        """Come back after having been thrown out: its revocation was how it heard of it."""
        if member not in self.members and not member.process.is_dead:
            self.join(member)

    def leave(self, member: Worker) -> None:
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def lose(self, member: Worker) -> None:
        """Have a member's client leave, which gives up what it owns."""
        member.coordinator.lost()
        member.revoke()
        self.leave(member)

    def refuse(self, for_s: float) -> None:
        """Take no member for so long; those that are members have to join again too."""
        self.refuses_to_s = self.loop.time() + for_s
        self.rebalance()

    def rebalance(self, *, steal: bool = False) -> None:
        self.generation += 1
        self.loop.serve(self._rebalance(self.generation, steal=steal))

    async def _rebalance(self, generation: int, *, steal: bool) -> None:
        await asyncio.sleep(self.rng.random() * 0.1)
        if generation != self.generation:
            return
        members = list(self.members)
        answers = [member.revoke() for member in members]
        if answers and not steal:
            await asyncio.wait(answers, timeout=SESSION_TIMEOUT_S)
            self._drop(member for member, answer in zip(members, answers, strict=True) if not answer.done())
        if generation == self.generation:
            self._deal()

    def _drop(self, silent: Iterable[Worker]) -> None:
        for member in {*silent} & {*self.members}:
            self.members.remove(member)
            member.coordinator.lost()

    def _deal(self) -> None:
        if self.is_refusing:
            for member in self.members:
                member.coordinator.refused()
            self.members = []
        self._owners = {p: self.rng.choice(self.members) for p in self.partitions if self.members}
        for member in self.members:
            member.coordinator.joined(self.generation)
            member.assign(p for p, owner in self._owners.items() if owner is member)
