"""The broker's configuration: one node that is broker and controller, on loopback, for little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstream.app.embedded.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SINGLE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}
_SMALL_AND_QUICK = {
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A broker that was killed is let in again only when the session of its former self has ended:
    # by default after 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # The default, 128 MB, is half of our whole heap.
    "log.cleaner.dedupe.buffer.size": "8388608",
}
_STRICT = {"auto.create.topics.enable": "false"}


def broker_properties(log_dir: Path, port: int, controller_port: int, overrides: Mapping[str, str]) -> dict[str, str]:
    """All properties; `overrides` win."""
    listeners = f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}"
    placed = {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller_port}",
        "log.dirs": str(log_dir),
    }
    return {**_SINGLE_NODE, **_SMALL_AND_QUICK, **_STRICT, **placed, **overrides}


def render(properties: Mapping[str, str]) -> str:
    """Java's .properties text; a backslash in a value is doubled, as that format asks."""
    doubled = {key: value.replace("\\", "\\\\") for key, value in properties.items()}
    return "".join(f"{key}={value}\n" for key, value in doubled.items())
