"""``keepstream dlq replay``."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from keepstream.app.cli.options import SectionedCommand, option_of, selectors
from keepstream.app.cli.output import check_confirmable, json_option, load_services, notify, print_json, progress_bar
from keepstream.app.cli.topic_option import chosen_topic, topic_option
from keepstream.app.cli.types import REPLAY_ID, Seconds, Topic
from keepstream.app.dlq.format import escape_control_characters, one_line
from keepstream.app.dlq.selectors import DeadLetterQuery
from keepstream.app.errors import INTERRUPTED, NOT_FOUND, REFUSED, USAGE, KeepstreamError
from keepstream.processors.replay.selection import Selection
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.replay import Reconciliation, ReplayOptions, ReplayRun

if TYPE_CHECKING:
    from keepstream.app.dlq.replay import DryRun, Replayer


def print_dry_run(found: DryRun, *, dry_run: bool, as_json: bool) -> None:
    if dry_run and as_json:
        print_json({
            "selected": found.selected, "would_pass": found.would_pass, "would_park": found.would_park,
            "not_judged": found.not_judged, "undated": found.undated, "refused": dict(found.refused),
            "targets": dict(found.targets),
        })  # fmt: skip
        return
    write = click.echo if dry_run else notify
    for difference in found.differences:
        write(escape_control_characters(difference))
    write(f"{found.selected:,} selected: {found.would_pass:,} would pass now, "
         f"{sum(found.refused.values()):,} would not, {found.would_park:,} would be parked")  # fmt: skip
    if found.not_judged:
        write(f"  {found.not_judged:>7,}  not judged: they go to topics that keepstream does not consume")
    if found.undated:
        write(f"  {found.undated:>7,}  dated by their failure: without a `timestamp` they overwrite rows of before it")
    for topic, count in found.targets.most_common():
        write(f"  {count:>7,}  to {one_line(topic)}")
    for why, count in found.refused.most_common(20):
        write(f"  {count:>7,}  {why}")


def print_sum(run: ReplayRun | None, result: Reconciliation, *, as_json: bool) -> None:
    if as_json:
        print_json({
            "replay": run and run.id, "selected": result.selected, "replayed": result.replayed,
            "skipped": result.skipped, "failed": result.failed, "delivered": result.delivered,
            "dead_again": result.dead_again, "adds_up": result.adds_up,
        })  # fmt: skip
    else:
        if result.delivered is not None:
            click.echo(f"{result.delivered:,} delivered, {result.dead_again:,} dead again")
        click.echo(f"selected {result.selected:,} = replayed {result.replayed:,} + skipped {result.skipped:,}"
                   f" + failed {result.failed:,}")  # fmt: skip


def conclude(run: ReplayRun, result: Reconciliation, *, known: bool, as_json: bool) -> None:
    """Print the sum; raise `KeepstreamError` (1) when it does not add up, something failed or is not known."""
    print_sum(run, result, as_json=as_json)
    if not result.adds_up:
        raise KeepstreamError("does_not_add_up", "dead letters are missing from the sum", f"--resume {run.id}")
    if result.failed:
        raise KeepstreamError("some_failed", f"{result.failed:,} were not replayed", f"--resume {run.id}")
    if not known:
        raise KeepstreamError("not_settled", "some outcomes are not known yet", "is a worker running?")


_BESIDE_RESUME = frozenset({"resume_id", "wait", "wait_timeout_s", "yes", "as_json", "topic"})
"""A resumed replay has its selection and all other options already."""


_changing, _sending, _around = map(option_of, ("What is sent", "Where and how fast", "Before and after"))


@click.command(
    cls=SectionedCommand, epilog="Example: keepstream dlq replay --reason check_violation --since 2h --dry-run"
)
@selectors()
@_changing("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Change the payload; repeatable.")
@_changing("--edit", is_flag=True, help="Change the values in $EDITOR, each below its id.")
@_sending("--to-topic", type=Topic(), help="Default: the topic each dead letter came from.")
@_sending("--same-partition", is_flag=True, help="Keep the original partition; default: the key decides.")
@_sending("--max-replays", type=click.IntRange(0, 1_000_000), default=3, show_default=True,
          help="A dead letter replayed that often goes to <dead letter topic>-parked.")  # fmt: skip
@_sending("--rate", help="Records per second, like 500/s. Default: as fast as the broker takes them.")
@_around("--dry-run", is_flag=True, help="Only print what would pass today's contract, and why the rest would not.")
@_around("--yes", is_flag=True, help="Do not ask.")
@_around("--wait", is_flag=True, help="Wait until each is delivered or dead again.")
@_around("--wait-timeout", "wait_timeout_s", type=Seconds(0, 604_800), default=300, show_default=True,
         metavar="SECONDS", help="How long --wait waits.")  # fmt: skip
@_around("--resume", "resume_id", type=REPLAY_ID, metavar="ID", help="Resume an interrupted replay.")
@topic_option
@json_option
def replay(  # noqa: PLR0913 - one parameter per option
    *,
    chosen: DeadLetterQuery,
    dry_run: bool,
    edit: bool,
    resume_id: int | None,
    wait: bool,
    wait_timeout_s: float,
    yes: bool,
    as_json: bool,
    **replay_options: Any,  # noqa: ANN401 - of options_from
) -> None:
    """Send dead letters back where they came from, each once, and prove it.

    Key, value, timestamp and original headers stay; the error's headers go. What was replayed too often is parked.
    Ctrl-C or kill -9 at any point: --resume ID goes on and sends nothing twice. The last line adds up:
    selected = replayed + skipped + failed; exit 1 when it does not, or when something failed. Off a terminal it
    refuses without --yes. Exit 3 when one of the ids does not exist (nothing is sent then) or nothing matches.
    """
    from keepstream.app.dlq.replay import open_replayer
    from keepstream.app.dlq.selectors import options_from

    if resume_id is not None:
        _check_resume(click.get_current_context(), resume_id)
    else:
        check_confirmable(yes=yes or dry_run)
    services = load_services()
    options = options_from(
        services.settings.kafka.dlq_topic,
        limit=chosen.limit,
        resolved_too=chosen.resolved_too,
        **replay_options,
    )
    with open_replayer(services, options) as replayer:
        selection = chosen.selection
        if resume_id is not None:
            (run, selection), total = replayer.resume(resume_id), None
        else:
            prepared = _prepare(replayer, selection, options, dry_run=dry_run, edit=edit, yes=yes, as_json=as_json)
            if prepared is None:
                if not dry_run:
                    print_sum(None, Reconciliation(), as_json=as_json)
                return
            run, total = prepared
        result = _work(replayer, run, selection, total)
        known = _wait(replayer, run, result, wait_timeout_s) if wait else True
    conclude(run, result, known=known, as_json=as_json)


def _check_resume(context: click.Context, replay_id: int) -> None:
    """Refuse what a resumed replay would ignore."""
    for parameter in context.command.params:
        name = str(parameter.name)
        if name not in _BESIDE_RESUME and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name
            why = f"--resume {replay_id}: {option} cannot be given: a resumed replay keeps its selection and options"
            raise KeepstreamError(
                "bad_option", why, "only --wait, --wait-timeout, --yes, --topic and --json can", USAGE
            )


def _prepare(  # noqa: PLR0913
    replayer: Replayer,
    selection: Selection,
    options: ReplayOptions,
    *,
    dry_run: bool,
    edit: bool,
    yes: bool,
    as_json: bool,
) -> tuple[ReplayRun, int | None] | None:
    """Make a dry run, print it and ask; return the new run and its size, or None when there is nothing to replay."""
    from keepstream.app.dlq.replay import DryRunOptions

    ends = replayer.ends()
    edited = _edit(replayer, selection, options, ends) if edit else {}
    how = DryRunOptions(edited={name: value for name, (_, value) in edited.items()})
    found = replayer.dry_run(selection, options, ends, how)
    print_dry_run(found, dry_run=dry_run, as_json=as_json)
    if found.selected == 0 and selection != Selection():
        message = "no dead letter that is open matches the selection"
        hint = "--include-resolved takes resolved ones too"
        raise KeepstreamError("nothing_selected", message, hint, NOT_FOUND)
    if found.selected < len(selection.ids):
        notify(f"{len(selection.ids):,} ids select {found.selected:,}: the others are resolved, in another replay, "
               "or left out by another option")  # fmt: skip
    for interrupted in replayer.ledger.interrupted():
        notify(
            f"replay {interrupted} was interrupted and has planned dead letters; resume it with: --resume {interrupted}"
        )
    if dry_run or found.selected == 0:
        return None
    targets = ", ".join(found.targets) or options.parking_topic
    if not yes and not click.confirm(f"Replay {found.selected:,} to {targets}?", err=True):
        raise KeepstreamError("refused", "nothing was replayed", exit_code=REFUSED)
    run = replayer.begin(selection, options, ends)
    for dead_letter, value in edited.values():
        replayer.ledger.remember_edit(run, dead_letter, value)
    return run, found.selected


def _edit(
    replayer: Replayer, selection: Selection, options: ReplayOptions, ends: dict[int, int]
) -> dict[str, tuple[DeadLetterRecord, bytes]]:
    from keepstream.app.dlq.edit import MAX_EDITED, edit_in_editor
    from keepstream.processors.replay.outgoing import diff

    edited = {}
    dead_letters = itertools.islice(replayer.unresolved(selection, options, ends), MAX_EDITED + 1)
    for dead_letter, value in edit_in_editor([*dead_letters]):
        notify(escape_control_characters(diff(dead_letter, value)))
        edited[dead_letter.id] = (dead_letter, value)
    return edited


def _work(replayer: Replayer, run: ReplayRun, selection: Selection, total: int | None) -> Reconciliation:
    """Replay until done or Ctrl-C, which finishes the current chunk first."""
    interrupted = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        with progress_bar(f"replay {run.id}", total) as update:
            if update is None:
                notify(f"replay {run.id}, pass {run.pass_number}")

            def progress(done: int) -> None:
                if update:
                    update(completed=done, description=f"replay {run.id}: {done:,} dead letters")

            result = replayer.run(run, selection, progress, interrupted.is_set)
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted.is_set():
        of = f" --topic {chosen_topic()}" if chosen_topic() else ""
        notify(f"interrupted after {result.selected:,}; resume it with: keepstream dlq replay{of} --resume {run.id}")
        raise click.exceptions.Exit(INTERRUPTED)
    return result


def _wait(replayer: Replayer, run: ReplayRun, result: Reconciliation, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not replayer.outcome(run, result):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
