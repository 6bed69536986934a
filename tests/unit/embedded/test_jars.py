"""Fetching jars from a pretended Maven repository on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded import kafka_jars as jars
from keepstream.app.embedded.kafka_jars import Pin, load_pins
from keepstream.app.embedded.service import free_port

CONTENT = b"not really a jar"


def pin(artifact: str, content: bytes = CONTENT) -> Pin:
    return Pin("org.example", artifact, "1.0", len(content), hashlib.sha256(content).hexdigest())


class Repository(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        found = self.path.endswith(".jar")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(CONTENT) if found else 0))
        self.end_headers()
        self.wfile.write(CONTENT if found else b"")

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "jgo.conf"))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    return tmp_path


@pytest.fixture
def repository(isolated: Path) -> Iterator[list[str]]:
    """Serve a mirror named in jgo's own configuration file; yields the paths it is asked for."""
    Repository.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repository)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/maven"
    (isolated / "jgo.conf").write_text(f"[repositories]\ncentral = {url}\n")
    yield Repository.asked
    server.shutdown()
    thread.join()
    server.server_close()


def pinned(monkeypatch: pytest.MonkeyPatch, *pins: Pin) -> None:
    monkeypatch.setattr(jars, "load_pins", lambda: pins)


def test_jars_come_once_from_the_mirror_in_jgos_configuration(
    repository: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned(monkeypatch, pin("one"), pin("two"))
    lines: list[str] = []
    classpath = jars.kafka_classpath(lines.append)
    assert classpath == jars.kafka_classpath(lines.append)
    assert all(path.startswith(str(jars.jar_folder())) for path in classpath.split(":"))
    wanted = ["/maven/org/example/one/1.0/one-1.0.jar", "/maven/org/example/two/1.0/two-1.0.jar"]
    assert sorted(path for path in repository if path.endswith(".jar")) == wanted
    assert lines[0].startswith("Downloading Apache Kafka")


def test_two_processes_download_once(repository: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pinned(monkeypatch, pin("one"))
    both = [threading.Thread(target=jars.kafka_classpath, args=(lambda _: None,)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len([path for path in repository if path.endswith(".jar")]) == 1


@pytest.mark.usefixtures("repository")
def test_a_jar_of_other_content_is_refused_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned(monkeypatch, pin("one", b"what we trust it to hold"))
    with pytest.raises(EmbeddedUnavailableError, match="another sha256"):
        jars.kafka_classpath(print)
    assert list(jars.jar_folder().glob("*.jar")) == []
    assert list(jars.jar_folder().glob(".download-*")) == []


@pytest.mark.usefixtures("isolated")
def test_without_a_network_the_error_comes_quickly_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(EmbeddedUnavailableError) as caught:
        jars.kafka_classpath(print)
    assert caught.value.message.startswith("Apache Kafka jars: ")
    assert "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS" in str(caught.value)


def test_a_cache_that_cannot_be_written_is_a_clear_error(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (isolated / "cache").write_text("a file where the folder should be")
    pinned(monkeypatch, pin("one"))
    with pytest.raises(EmbeddedUnavailableError, match="Apache Kafka jars"):
        jars.kafka_classpath(print)


def test_the_pins_name_the_broker_the_tools_and_a_log_binding() -> None:
    names = {p.artifact for p in load_pins()}
    assert {"kafka_2.13", "kafka-server", "kafka-clients", "kafka-tools", "slf4j-simple"} <= names
    assert {len(p.sha256) for p in load_pins()} == {64}
