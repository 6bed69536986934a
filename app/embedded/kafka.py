"""Apache Kafka in a child process: one KRaft node."""

from __future__ import annotations

import base64
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from keepstream.app.embedded import KAFKA_HINT
from keepstream.app.embedded.java import java, java_env
from keepstream.app.embedded.kafka_jars import KAFKA_VERSION, jar_folder, kafka_classpath
from keepstream.app.embedded.process import ChildProcess, Program
from keepstream.app.embedded.service import LOOPBACK, EmbeddedService, free_port

_AOT_SILENT = "-Xlog:aot*=off"  # it logs to stdout what does not match, between the lines of a tool


_DEFAULTS = {
    "auto.create.topics.enable": "false",
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
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker registers again only when its former session has expired: by default after 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # The default, 128 MB, is half of the heap.
    "log.cleaner.dedupe.buffer.size": "8388608",
}


def broker_properties(log_dir: Path, port: int, controller_port: int, overrides: Mapping[str, str]) -> dict[str, str]:
    """Return all properties; `overrides` take precedence."""
    listeners = f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}"
    addresses = {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller_port}",
        "log.dirs": str(log_dir),
    }
    return _DEFAULTS | addresses | dict(overrides)


def render(properties: Mapping[str, str]) -> str:
    """Return the text of a Java .properties file, with backslashes escaped."""
    doubled = {key: value.replace("\\", "\\\\") for key, value in properties.items()}
    return "".join(f"{key}={value}\n" for key, value in doubled.items())


PART = f"Apache Kafka {KAFKA_VERSION}"
SMALL_JVM = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
LOG_WARNINGS = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
LOG_WITH_TIME = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
START_TIMEOUT_S = 90.0
FORMAT_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 2.0
ORDERLY_EXIT = 143  # what a JVM returns after SIGTERM


class EmbeddedKafka(EmbeddedService):
    """A Kafka broker without Docker. `overrides` are broker properties that replace the defaults."""

    kind = "kafka"
    part = PART
    hint = KAFKA_HINT

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        port: int = 0,
        jvm_options: Sequence[str] = SMALL_JVM,
        overrides: Mapping[str, str] | None = None,
        progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        super().__init__(data_dir, port)
        self._controller_port = free_port()
        self._jvm_options = tuple(jvm_options)
        self._overrides = dict(overrides or {})
        self._progress = progress
        self._java = java()
        # Ahead-of-time cache of loaded and linked classes (JEP 514), which halves the start time of a JVM. The first
        # broker writes it when it stops. The JVM ignores a cache that does not match the jars.
        self._aot_cache = jar_folder() / f"java-{self._java.version}.aot"
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.format_options: tuple[str, ...] = ("--standalone", f"--cluster-id={cluster_id}")

    def _choose_ports(self) -> None:
        super()._choose_ports()
        self._controller_port = free_port()

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def tool_argv(self, main_class: str, *args: str) -> list[str]:
        """Build the command line of a Kafka tool, e.g. org.apache.kafka.tools.ConsoleProducer."""
        return [*self._java_argv(*SMALL_JVM, LOG_WARNINGS, *self._aot_options()), main_class, *args]

    def _launch(self, home: Path) -> None:
        config = self._write_config(home)
        if not (home / "log" / "meta.properties").is_file():
            argv = self.tool_argv("kafka.tools.StorageTool", "format", *self.format_options, "-c", str(config))
            ChildProcess(self._program(argv)).wait_success(timeout_s=FORMAT_TIMEOUT_S)
        aot = self._aot_options() or self._aot_output(home)
        argv = [*self._java_argv(*self._jvm_options, *LOG_WITH_TIME, *aot), "kafka.Kafka", str(config)]
        self._process = ChildProcess(self._program(argv))
        self._process.wait_ready(self._answers, timeout_s=START_TIMEOUT_S)

    def _stopped(self, process: ChildProcess) -> None:
        written = self.home() / self._aot_cache.name
        if process.exit_code == ORDERLY_EXIT and written.is_file():
            with suppress(OSError):  # whole or not at all: another JVM may open it at any time
                beside = self._aot_cache.with_name(f"{written.name}.{os.getpid()}")
                shutil.move(written, beside)
                beside.replace(self._aot_cache)

    def _aot_options(self) -> list[str]:
        return [_AOT_SILENT, f"-XX:AOTCache={self._aot_cache}"] if self._aot_cache.is_file() else []

    def _aot_output(self, home: Path) -> list[str]:
        return [f"-XX:AOTCacheOutput={home / self._aot_cache.name}"] if self._java.caches_classes else []

    def _write_config(self, home: Path) -> Path:
        properties = broker_properties(home / "log", self.port, self._controller_port, self._overrides)
        path = home / "server.properties"
        path.write_text(render(properties), encoding="utf-8")
        return path

    def _program(self, argv: Sequence[str]) -> Program:
        return Program(PART, tuple(argv), self.log_path, KAFKA_HINT, env=java_env())

    def _java_argv(self, *options: str) -> list[str]:
        # Without UsePerfData off, a killed JVM leaves a file in the system's temporary folder.
        own = ["-XX:-UsePerfData", f"-Djava.io.tmpdir={self.home()}", "-cp", kafka_classpath(self._progress)]
        return [str(self._java.path), *options, *own]

    def _answers(self) -> bool:
        quick = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 50, "log_level": 0}
        with suppress(KafkaException):
            admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, **quick})
            return bool(admin.list_topics(timeout=PROBE_TIMEOUT_S).brokers)
        return False
