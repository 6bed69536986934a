"""``keepstream dlq stats``."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.failure import FAILED, CommandError
from keepstream.app.cli.options import selectors
from keepstream.app.cli.output import json_option, print_rows, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstream.app.dlq.selectors import Chosen
    from keepstream.schemas.dead_letter_record import Buried


def _type(letter: Buried) -> str | None:
    """Look in the envelope's payload, then in the value itself (letters of others), then in CloudEvents' header."""
    from keepstream.processors.replay.selection import json_path
    from keepstream.schemas.record import header

    value = letter.record.value
    return json_path(value, "payload.type") or json_path(value, "type") or header(letter.record, "ce_type")


_GROUPS: dict[str, Callable[[Buried], str | None]] = {
    "step": lambda letter: letter.step,
    "reason": lambda letter: letter.reason,
    "verdict": lambda letter: letter.verdict,
    "type": _type,
    "hour": lambda letter: letter.failed_at.strftime("%Y-%m-%dT%H:00Z"),
}
_DEFAULT = ("step", "reason", "verdict")


@click.command(epilog="Example: keepstream dlq stats --since 1h --fail-above 100 || page-somebody")
@selectors()
@click.option("--by", "groups", multiple=True, type=click.Choice([*_GROUPS]), metavar="GROUP",
              help="step, reason, verdict, type or hour. Repeatable. Default: step, reason and verdict.")  # fmt: skip
@click.option("--fail-above", type=click.IntRange(min=0), metavar="COUNT", help="Exit 1 when there are more.")
@json_option
def stats(*, chosen: Chosen, groups: tuple[str, ...], fail_above: int | None, as_json: bool) -> None:
    """Count the dead letters that are not resolved. ``type`` is the payload's field of that name, or ce_type."""
    from keepstream.app.cli.letters import open_queue

    names = groups or _DEFAULT
    with open_queue(chosen.selection) as queue:
        found = itertools.islice(queue.oldest(chosen), chosen.limit)
        counts = Counter(tuple(_GROUPS[name](letter) for name in names) for letter, _ in found)
    ranked = sorted(counts.items(), key=lambda item: [str(key) for key in item[0]])
    if "hour" not in names:
        ranked.sort(key=lambda item: -item[1])
    print_rows([{"letters": count, **dict(zip(names, key, strict=True))} for key, count in ranked], as_json=as_json)
    total = counts.total()
    say(f"{total:,} dead letters")
    if fail_above is not None and total > fail_above:
        raise CommandError("too_many", f"{total} dead letters are more than {fail_above}", exit_code=FAILED)
