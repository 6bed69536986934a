"""``keepstream demo``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.audit import check_row, print_checks
from keepstream.app.cli.output import json_option, load_settings, notify, on_terminal, print_json
from keepstream.app.errors import KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.demo.proof import Proof


@click.command(epilog="Example: keepstream demo --events 100000 --kills 3")
@click.option("--events", type=click.IntRange(100, 10_000_000), default=10_000, envvar="EVENTS", show_envvar=True,
              show_default=True, help="How many records to produce, two percent of them broken.")  # fmt: skip
@click.option("--kills", type=click.IntRange(0, 100), default=0, show_default=True,
              help="How often to kill -9 the worker on the way.")  # fmt: skip
@json_option
def demo(*, events: int, kills: int, as_json: bool) -> None:
    """Start Kafka, PostgreSQL and a worker, let events flow, then prove that nothing was lost or counted twice.

    Services given by KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS and KEEPSTREAM_POSTGRES__URL are used instead of embedded
    ones. Exit 1 when any sum of the proof is off.
    """
    settings = load_settings()
    try:
        from keepstream.app.demo.run import Demo, demo_servers
    except ImportError as error:
        hint = "pip install 'keepstream[embedded]'"
        raise KeepstreamError("extra_missing", f"the package {error.name} is not installed", hint) from None
    with demo_servers(settings, notify) as servers, _progress(events) as progress:
        proof = Demo(servers, events, kills, progress).run()
    _show(proof, as_json=as_json)
    if not proof.holds:
        raise KeepstreamError("proof_failed", "a sum is off: that is a bug in keepstream, please report it")


class _progress:  # noqa: N801 - used like a function
    """A progress bar on a terminal, lines of text elsewhere."""

    def __init__(self, events: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self._events = events
        self._notified = 0
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True)) if on_terminal() else None
        self._task = self._bar.add_task("starting", total=events) if self._bar else None

    def __enter__(self) -> Callable[[int, int, int], None]:
        if self._bar:
            self._bar.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def _update(self, settled: int, produced: int, kills: int) -> None:
        killed = f", worker killed {kills} times" if kills else ""
        text = f"{produced:,} produced, {settled:,} settled{killed}"
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=settled, description=text)
        elif settled - self._notified >= self._events / 5 or settled == self._events != self._notified:
            self._notified = settled
            notify(text)


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
    click.echo(f"\nBacklog: {proof.burst_rate:,.0f} events/s from first to last commit")
    click.echo(f"Live:    p50 {proof.p50_s * 1000:.0f} ms, p99 {proof.p99_s * 1000:.0f} ms from event to {until}")
