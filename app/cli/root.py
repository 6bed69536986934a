"""The root command: which commands there are, and how any of them fails."""

from __future__ import annotations

import sys
from typing import Any

import click

from keepstream.app.cli.failure import CommandError
from keepstream.app.cli.lazy import LazyGroup
from keepstream.app.cli.streams import open_standard_streams

# Name -> (module, attribute, short help). The help stands here so that `--help` imports nothing else.
COMMANDS = {
    "worker": ("keepstream.app.cli.worker", "worker", "Consume the topic until SIGTERM."),
    "demo": ("keepstream.app.cli.demo", "demo", "Watch real events flow, then see the proof. Needs nothing installed."),
    "events": ("keepstream.app.cli.events", "events", "Produce, validate, list and look up events."),
    "dlq": ("keepstream.app.cli.dlq", "dlq", "Find, understand, replay and remove dead letters."),
    "web": ("keepstream.app.cli.web", "web", "Serve the console: see the stream, mend dead letters."),
    "db": ("keepstream.app.cli.db", "db", "Create and check the tables."),
    "topics": ("keepstream.app.cli.topics", "topics", "Create and check the topics."),
    "audit": ("keepstream.app.cli.audit", "audit", "Check that nothing was lost and nothing counted twice."),
    "status": ("keepstream.app.cli.status", "status", "One screen: rates, lag, dead letters, what is missing."),
    "lag": ("keepstream.app.cli.lag", "lag", "Show how far each partition is behind."),
    "doctor": ("keepstream.app.cli.doctor", "doctor", "Check everything a worker needs, and say how to fix it."),
    "config": ("keepstream.app.cli.config", "config", "Show the settings."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keepstream", prog_name="keepstream")
def root() -> None:
    """Kafka to PostgreSQL: nothing lost, nothing counted twice.

    Settings come from the environment (KEEPSTREAM_...), .env and keepstream.toml; `keepstream config show` lists them.

    \b
    Exit codes: 0 ok, 1 something failed, 2 usage or settings, 3 not found, 4 Kafka or PostgreSQL unreachable,
    5 refused, 70 worker ended by a fatal error, 130 interrupted.
    """  # noqa: D301 - \\b tells click to keep the lines


def main() -> None:
    """Run the command line and exit with its code."""
    open_standard_streams()
    try:
        result: Any = root.main(standalone_mode=False)
    except CommandError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output left, as `head` does. Nothing to say, and nobody to say it to.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(result if isinstance(result, int) else 0)
