"""Logging: structlog for ours, and everybody else's records through the same pipe, to stderr.

No payload is ever handed to a logger. What a person or a library wrote still cannot do harm: control characters are
escaped, and the secrets of the settings are blotted out of every finished line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog
from prometheus_client import Counter
from pydantic import BaseModel, SecretStr

from keepstream.app.config.base import HOLDS_A_SECRET
from keepstream.app.config.base import secret as secret_of
from keepstream.app.config.settings import Settings
from keepstream.processors.partition_queue import Batch

# Their information is noise, their warnings are not.
_CHATTY = (
    "faust",
    "mode",
    "aiokafka",
    "asyncio",
    "psycopg.pool",
    "keepstream.app.worker.faust_app",
    "keepstream.app.worker.consumer_thread",
    "abc",
)
"""The last three are mode's: it names a service's logger after the module of its class, made or subclassed by us."""
CURRENT_BATCH: ContextVar[Batch | None] = ContextVar("current_batch", default=None)
"""The batch that the current task works on; every line of that task tells which one it is."""
MIN_SECRET_CHARS = 4
"""A shorter secret is no secret, and blotting it out would blot out half the log."""


def configure(settings: Settings) -> None:
    """Send every log record of the process to stderr, as JSON or for a console; warnings and crashes too."""
    log = settings.log
    console = log.format == "console" or (log.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _about_batch,
        *_named(log.worker),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level, *shared, structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )  # fmt: skip
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Blotting(secrets_of(settings), shared, _renderers(console=console)))
    handler.addFilter(_is_no_cancellation)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log.level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if log.level == "debug" else logging.WARNING)
    if log.level == "debug":
        logging.getLogger("aiokafka").setLevel(logging.INFO)  # at debug it writes whole responses, records included
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def count(counter: Counter) -> None:
    """Count warnings and worse in a counter with the label ``level``."""
    logging.getLogger().addHandler(_Counting(counter))


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Faust calls a cancelled agent crashed, with a traceback: a worker that is stopped while it starts."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, asyncio.CancelledError)


def secrets_of(settings: BaseModel) -> Iterator[str]:
    """Yield every secret of the tree, its files, and the passwords inside each that is a URL."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from secrets_of(value)
        elif isinstance(value, SecretStr):
            secret = value.get_secret_value()
            password = urlsplit(secret).password or ""
            yield from (secret, password, unquote(password))
            yield from (text for key, text in parse_qsl(urlsplit(secret).query) if key.endswith("password"))
        elif value is not None and HOLDS_A_SECRET in type(settings).model_fields[name].metadata:
            yield secret_of(None, value) or ""


def _renderers(*, console: bool) -> list[structlog.types.Processor]:
    if console:
        return [_printable, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _named(worker: str | None) -> list[structlog.types.Processor]:
    return [lambda _logger, _method, event: {"worker": worker, **event}] if worker else []


def _about_batch(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Name the batch when a line is written, and not at each batch: most batches write none."""
    if batch := CURRENT_BATCH.get():
        span = batch.span
        about = {"topic": span.topic, "partition": span.partition, "offset": batch.records[0].offset}
        return {**about, "records": span.records, **event}
    return event


def _printable(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Escape what could move a terminal's cursor. JSON does that by itself."""
    return {name: _escaped(value) if isinstance(value, str) else value for name, value in event.items()}


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class _Blotting(structlog.stdlib.ProcessorFormatter):
    """Renders a record, then blots secrets out of the finished line, tracebacks included."""

    def __init__(self, secrets: Iterator[str], shared: list[Any], renderers: list[Any]) -> None:
        remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
        super().__init__(foreign_pre_chain=shared, processors=[remove_meta, *renderers])
        known = {secret for secret in secrets if len(secret) >= MIN_SECRET_CHARS}
        written = known | {json.dumps(secret)[1:-1] for secret in known}
        self._secrets = sorted(written, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, "***")
        return line


class _Counting(logging.Handler):
    def __init__(self, counter: Counter) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(_is_no_cancellation)
        self._levels = {
            level: counter.labels(logging.getLevelName(level).lower())
            for level in (logging.WARNING, logging.ERROR, logging.CRITICAL)
        }

    def emit(self, record: logging.LogRecord) -> None:
        if counted := self._levels.get(record.levelno):
            counted.inc()


def _uncaught(kind: type[BaseException], error: BaseException | None, traceback: Any) -> None:  # noqa: ANN401
    if error is not None and not issubclass(kind, KeyboardInterrupt):
        logging.getLogger("keepstream").critical("uncaught %s", kind.__name__, exc_info=(kind, error, traceback))
