"""aiokafka's inside is known to one file, and to one version."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.worker.consumer import new_consumer
from keepstream.app.worker.consumer_thread import ConsumerThread
from tests.import_names import LAYERS

CHECKOUT = Path(__file__).resolve().parents[2]
INTERNALS = CHECKOUT / "app" / "worker" / "aiokafka_internals.py"
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
PUBLIC = {
    "aiokafka",
    "aiokafka.abc",
    "aiokafka.errors",
    "aiokafka.structs",
    "aiokafka.coordinator.assignors.roundrobin",
}


def private_attributes(tree: ast.AST) -> Iterator[str]:
    """Yield the private attributes of what is not `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            is_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            yield from () if is_own else (node.attr,)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported from inside of aiokafka."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "aiokafka")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "aiokafka":
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name.startswith("_"))


def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_one_file_only_goes_below_the_public_interface_of_aiokafka() -> None:
    inside = set(private_attributes(parsed(INTERNALS)))
    assert {"_coordinator", "_fetcher", "_subscription"} <= inside
    for path in (file for layer in LAYERS for file in (CHECKOUT / layer).rglob("*.py") if file != INTERNALS):
        tree = parsed(path)
        assert inside.isdisjoint(private_attributes(tree)), path
        assert PUBLIC.issuperset(imports(tree)), path


def test_ruff_lets_no_other_file_of_the_product_touch_private_attributes() -> None:
    ignores = PYPROJECT["tool"]["ruff"]["lint"]["per-file-ignores"]
    files = {name for name, rules in ignores.items() if "SLF001" in rules and not name.startswith("tests")}
    assert files == {"app/worker/aiokafka_internals.py"}


def test_aiokafka_is_pinned_to_the_version_that_the_file_was_written_for() -> None:
    (pinned,) = [line for line in PYPROJECT["project"]["dependencies"] if line.startswith("aiokafka")]
    assert pinned == f"aiokafka=={version('aiokafka')}"
    for lock in ("requirements.lock", "runtime.lock"):
        locked = (CHECKOUT / "deploy" / lock).read_text(encoding="utf-8")
        assert re.findall(r"^aiokafka==\S+", locked, re.MULTILINE) == [pinned]


async def test_a_consumer_that_has_not_started_is_not_joining_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """`/readyz` and the membership monitor ask from the first moment on; the coordinator comes with the start."""
    consumer = new_consumer(KafkaSettings())
    thread = ConsumerThread.__new__(ConsumerThread)
    thread._consumer, thread._refusal = consumer, None
    errors = [thread.group_error]
    for generation in (-1, 1):
        with monkeypatch.context() as patch:
            patch.setattr(consumer, "_coordinator", SimpleNamespace(generation=generation))
            errors.append(thread.group_error)
    assert errors == [None, "joining", None]
    await consumer.stop()
