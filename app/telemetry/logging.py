"""Logging to stderr with structlog; the log records of libraries pass through the same processors.

No payload is passed to a logger. Text of users and libraries is made safe: control characters are escaped, and the
secrets of the settings are redacted in every finished line.
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
from keepstream.app.config.variables import environment, unread_variables
from keepstream.processors.partition_queue import Batch

_WARNINGS_ONLY = (
    "faust",
    "mode",
    "aiokafka",
    "asyncio",
    "psycopg.pool",
    "keepstream.app.worker.faust_app",
    "keepstream.app.worker.consumer_thread",
    "abc",
)
"""Loggers whose information is noise. The last three are mode's: it names a logger after the module of a class."""
CURRENT_BATCH: ContextVar[Batch | None] = ContextVar("current_batch", default=None)
"""The batch that the current task processes; each log line of the task names it."""
MIN_SECRET_CHARS = 4
"""A shorter value is no secret, and redacting it would make the log unreadable."""


def configure(settings: Settings) -> None:
    """Send every log record of the process to stderr, as JSON or for a console, with warnings and crashes."""
    log = settings.log
    console = log.format == "console" or (log.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_batch,
        *_worker_name(log.worker),
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
    handler.setFormatter(_RedactingFormatter(secrets_of(settings), shared, _renderers(console=console)))
    handler.addFilter(_is_no_cancellation)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log.level.upper())
    for name in _WARNINGS_ONLY:
        logging.getLogger(name).setLevel(logging.DEBUG if log.level == "debug" else logging.WARNING)
    if log.level == "debug":
        logging.getLogger("aiokafka").setLevel(logging.INFO)  # at debug it writes whole responses, records included
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def warn_of_unread_variables() -> None:
    """Log a line for each variable that looks like a setting and is none."""
    for sentence in unread_variables(environment()):
        logging.getLogger("keepstream").warning("%s", sentence)


def count(counter: Counter) -> None:
    """Count log records at warning and above in a counter with the label ``level``."""
    logging.getLogger().addHandler(_Counting(counter))


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Drop Faust's traceback of a cancelled agent: it logs a crash when a worker is stopped during its start."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not issubclass(kind, asyncio.CancelledError)


def secrets_of(settings: BaseModel) -> Iterator[str]:
    """Yield every secret of the settings, of their files, and the passwords inside URLs."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from secrets_of(value)
        elif isinstance(value, dict):  # topics
            yield from (text for own in value.values() if isinstance(own, BaseModel) for text in secrets_of(own))
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


def _worker_name(worker: str | None) -> list[structlog.types.Processor]:
    return [lambda _logger, _method, event: {"worker": worker, **event}] if worker else []


def _add_batch(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Add the batch's coordinates. Done per line, not per batch: most batches log nothing."""
    if batch := CURRENT_BATCH.get():
        span = batch.offset_range
        fields = {"topic": span.topic, "partition": span.partition, "offset": batch.records[0].offset}
        return {**fields, "records": span.records, **event}
    return event


def _printable(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Escape control characters, which a terminal would interpret. JSON escapes them anyway."""
    return {name: _escaped(value) if isinstance(value, str) else value for name, value in event.items()}


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats a log record, then redacts secrets in the finished line, tracebacks included."""

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
