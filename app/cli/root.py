"""The root command: the table of commands, their exit codes, and how errors are printed."""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from keepstream.app.cli.output import print_error
from keepstream.app.errors import FAILED, INTERRUPTED, KeepstreamError
from keepstream.schemas.record import is_text

_DEBUG = "--debug"
_OPTIONS_OF_ROOT = ("--config", _DEBUG)


class LazyGroup(click.Group):
    """A group that imports a command when it runs. ``lazy`` maps its name to (module, attribute, short help)."""

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str, str]], **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._lazy:
            return None
        module, attribute, _ = self._lazy[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse arguments that no library takes: bytes that are not UTF-8 (surrogates, as Python has them) and NUL."""
        for arg in args:
            if not is_text(arg):
                raise click.UsageError(f"the argument {arg!r} is not UTF-8", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run the command; a KeepstreamError is printed and becomes the exit code."""
        try:
            return super().invoke(ctx)
        except KeepstreamError as error:
            if _DEBUG in sys.argv:
                traceback.print_exc()
            print_error(error)
            ctx.exit(error.exit_code)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self._lazy.items()])


def open_standard_streams() -> None:
    """Open /dev/null in place of a closed stdin, stdout or stderr.

    Otherwise the next socket gets its number, and a library that prints writes into that socket; and ``sys.stderr`` is
    None, for which libraries are not prepared.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - open for as long as we live
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of another encoding gets escapes


# Name -> (module, attribute, short help). The help stands here so that `--help` imports nothing else.
COMMANDS = {
    "worker": ("keepstream.app.cli.worker", "worker", "Consume the topics until SIGTERM."),
    "demo": ("keepstream.app.cli.demo", "demo", "Watch real events flow, then see the proof. Needs nothing installed."),
    "events": ("keepstream.app.cli.events", "events", "Produce, validate, list and show events."),
    "contract": ("keepstream.app.cli.contract", "contract", "Export what the topic accepts, for its producers."),
    "dlq": ("keepstream.app.cli.root", "dlq", "Find, understand, replay and remove dead letters."),
    "web": ("keepstream.app.cli.web", "web", "Serve the console: see the stream, mend dead letters."),
    "db": ("keepstream.app.cli.db", "db", "Create and check the tables."),
    "tables": ("keepstream.app.cli.custom_tables", "tables", "Fill tables of your own, by settings."),
    "topics": ("keepstream.app.cli.topics", "topics", "Create and check the topics."),
    "audit": ("keepstream.app.cli.audit", "audit", "Check that nothing was lost and nothing counted twice."),
    "status": ("keepstream.app.cli.status", "status", "One screen: rates, lag, dead letters, what is missing."),
    "lag": ("keepstream.app.cli.status", "lag", "Show how far each partition is behind."),
    "doctor": ("keepstream.app.cli.doctor", "doctor", "Check everything a worker needs, and say how to fix it."),
    "health": ("keepstream.app.cli.health", "health", "Check that this container's worker or console is alive."),
    "config": ("keepstream.app.cli.config", "config", "Show the settings."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keepstream", prog_name="keepstream")
@click.option("--config", type=click.Path(), metavar="FILE", envvar="KEEPSTREAM_CONFIG", show_envvar=True,
              help="Settings file, in TOML. Default: keepstream.toml in this directory, if it exists.")  # fmt: skip
@click.option(_DEBUG, is_flag=True, help="Print the traceback of an error. It may hold secrets.")
def root(*, config: str | None, **_debug: bool) -> None:
    """Kafka to PostgreSQL: nothing lost, nothing counted twice.

    Settings come from the environment (KEEPSTREAM_...), .env and the settings file, in this order of precedence;
    `keepstream config show` lists them.

    \b
    Exit codes: 0 ok, 1 something failed, 2 usage or settings, 3 not found, 4 Kafka or PostgreSQL unreachable,
    5 refused, 70 worker ended by a fatal error, 130 interrupted.
    """  # noqa: D301 - \\b makes click keep the lines
    if config is not None:
        os.environ["KEEPSTREAM_CONFIG"] = str(Path(config).absolute())  # for processes in other directories, too


def run() -> None:
    """Run the command line and exit with its code. Whatever goes wrong ends with one line on stderr."""
    open_standard_streams()
    try:
        code = _run_root()
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        _discard_output()
        code = 0
    except Exception as error:  # noqa: BLE001 - the last handler
        _discard_output()
        if _DEBUG in sys.argv:
            traceback.print_exception(error)
        print_error(unexpected_error(error))
        code = FAILED
    sys.exit(code)


def _run_root() -> int:
    try:
        result: Any = root.main(prog_name="keepstream", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.option_name in _OPTIONS_OF_ROOT:
            error.message += f" It stands before the command: keepstream {error.option_name} ..."
        if "--json" in sys.argv:
            print_error(KeepstreamError("bad_usage", error.format_message(), exit_code=error.exit_code))
        else:
            error.show()
        return error.exit_code
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # click exits with 1 for it
            raise ended.__context__ from None
        raise
    return result if isinstance(result, int) else 0


def unexpected_error(error: Exception) -> KeepstreamError:
    """Describe an error that no command expects. Its text is left out, for it may hold a secret."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return KeepstreamError("system_error", f"{place}{error.strerror}")
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = f"unexpected {type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
    return KeepstreamError("unexpected", message, "`keepstream --debug ...` prints the traceback; please report it")


def _discard_output() -> None:
    """Write what stdout still buffers to /dev/null: writing it where it was to go would fail again at the exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


DLQ_COMMANDS = {
    "list": ("keepstream.app.cli.dlq_browse", "list_dead_letters", "List dead letters, newest first."),
    "show": ("keepstream.app.cli.dlq_browse", "show", "Show one dead letter, with its event and replays."),
    "stats": ("keepstream.app.cli.dlq_browse", "stats", "Count dead letters by step, reason, type or hour."),
    "replay": ("keepstream.app.cli.dlq_replay", "replay", "Send dead letters back, once each, and prove it."),
    "export": ("keepstream.app.cli.dlq_transfer", "export", "Write dead letters to a file, byte for byte."),
    "import": ("keepstream.app.cli.dlq_transfer", "import_dead_letters", "Put exported dead letters back."),
    "purge": ("keepstream.app.cli.dlq_transfer", "purge", "Export, then delete old dead letters."),
}


@click.group(cls=LazyGroup, lazy=DLQ_COMMANDS)
def dlq() -> None:
    """Find, understand, replay and remove dead letters.

    The topic is KEEPSTREAM_KAFKA__DLQ_TOPIC, of several that of --topic. It may be one that Kafka Connect, Kafka
    Streams, Spring, SmallRye or Karafka fill: their headers are understood.
    """
