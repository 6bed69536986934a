"""``keepstream dlq``: dead letters. A module per command."""

from __future__ import annotations

import click

from keepstream.app.cli.lazy import LazyGroup

COMMANDS = {
    "list": ("keepstream.app.cli.dlq_browse", "list_letters", "List dead letters, newest first."),
    "show": ("keepstream.app.cli.dlq_show", "show", "Show all that is known of one dead letter."),
    "stats": ("keepstream.app.cli.dlq_stats", "stats", "Count dead letters by step, reason, type or hour."),
    "replay": ("keepstream.app.cli.dlq_replay", "replay", "Send dead letters home, once each, and prove it."),
    "export": ("keepstream.app.cli.dlq_export", "export", "Write dead letters to a file, byte for byte."),
    "import": ("keepstream.app.cli.dlq_import", "import_letters", "Put exported dead letters back."),
    "purge": ("keepstream.app.cli.dlq_transfer", "purge", "Export, then delete old dead letters."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def dlq() -> None:
    """Find, understand, replay and remove dead letters.

    The topic is KEEPSTREAM_KAFKA__DLQ_TOPIC. It may be one that Kafka Connect, Kafka Streams, Spring, SmallRye or
    Karafka fill: their headers are understood.
    """
