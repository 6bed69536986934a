"""``keepstream worker``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.output import load_settings

if TYPE_CHECKING:
    from keepstream.app.config.settings import Settings
    from keepstream.processors.validation.validate import Validator


@click.command(epilog="Example: KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 keepstream worker --log-level debug")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), envvar="KEEPSTREAM_LOG__LEVEL",
              show_envvar=True, help="Least severe line to write.")  # fmt: skip
@click.option("--log-format", type=click.Choice(["auto", "json", "console"]), envvar="KEEPSTREAM_LOG__FORMAT",
              show_envvar=True, help="auto: JSON unless stderr is a terminal.")  # fmt: skip
@click.option("--http-port", type=int, envvar="KEEPSTREAM_HTTP__PORT", show_envvar=True,
              help="Port of /metrics, /livez and /readyz; 0 takes a free one.")  # fmt: skip
@click.option("--batch-size", type=int, envvar="KEEPSTREAM_WORKER__BATCH_SIZE", show_envvar=True,
              help="Most records per transaction.")  # fmt: skip
@click.option("--workers", type=int, envvar="KEEPSTREAM_WORKER__PROCESSES", show_envvar=True,
              help="Number of worker processes; their ports count up from --http-port.")  # fmt: skip
def worker(
    log_level: str | None, log_format: str | None, http_port: int | None, batch_size: int | None, workers: int | None
) -> None:  # fmt: skip
    """Consume the topics until SIGTERM or Ctrl-C: validate, store, count.

    Start as many as there are partitions to share; they find each other through the consumer group. SIGTERM settles
    what is in flight and exits 0. A fatal error exits 70 with one line that says why; start it again. With --workers
    a parent process restarts workers that end, stops all of them together and exits with the worst exit code.
    """
    settings = load_settings({
        "log": {"level": log_level, "format": log_format},
        "http": {"port": http_port},
        "worker": {"batch_size": batch_size, "processes": workers},
    })  # fmt: skip
    from keepstream.app.config.contract import load_contracts
    from keepstream.app.telemetry import logging as logs

    validators = load_contracts(settings)
    logs.configure(settings)
    if settings.log.worker is None:  # else its parent has done it
        logs.warn_of_unread_variables()
    if settings.worker.processes > 1:
        from keepstream.app.process.supervisor import run_workers

        sys.exit(run_workers(settings))
    run_alone(settings, validators)


def run_alone(settings: Settings, validators: Mapping[str, Validator]) -> None:
    """Run a worker in this process."""
    import asyncio

    from keepstream.app.process.exit import exit_fatal, exit_now, exit_on_thread_memory_error
    from keepstream.app.worker.run import run

    exit_on_thread_memory_error()
    try:
        asyncio.run(run(settings, validators))
    except Exception as error:  # noqa: BLE001 - any error ends with one line and exit code 70
        exit_fatal(error)
    exit_now(0)
