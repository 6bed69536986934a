"""``keepstream lag``."""

from __future__ import annotations

import click

from keepstream.app.cli.failure import FAILED, CommandError
from keepstream.app.cli.output import json_option, load_settings, print_rows


@click.command(epilog="Example: keepstream lag --max-lag 10000 || page-somebody")
@click.option("--max-lag", type=click.IntRange(min=0), help="Exit 1 when all partitions together are further behind.")
@json_option
def lag(*, max_lag: int | None, as_json: bool) -> None:
    """Show, per partition, what PostgreSQL has settled and where the log ends.

    ``settled`` is the truth from stream_offsets; ``committed`` is what Kafka was told and lag tools see.
    """
    from keepstream.app.status.lag import lag_rows

    settings = load_settings()
    rows = lag_rows(settings)
    print_rows(rows, as_json=as_json)
    total = sum(row["lag"] for row in rows)
    if max_lag is not None and total > max_lag:
        raise CommandError("lagging", f"{total} records are not settled, more than {max_lag}", exit_code=FAILED)
