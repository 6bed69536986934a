"""Every panel and every alert, on a real Prometheus that scraped a real worker on good and bad days. `make observe`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstream.app.embedded.service import free_port
from keepstream.app.embedded.services import embedded_services
from tests.acceptance.conftest import System
from tests.acceptance.observed_day import QUERIES, Day, folder_for, table, target
from tests.acceptance.overview_picture import picture
from tests.prometheus import program, scraping
from tests.real import Kafka, Postgres, Servers, eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(420), pytest.mark.long]
FIRES_AND_CLEARS = (
    "KeepstreamBudgetBurnsFast", "KeepstreamDeadLettersGrowing", "KeepstreamDeadLettersNotPublished", "KeepstreamDown",
    "KeepstreamLoopLate", "KeepstreamNoInput", "KeepstreamPartitionStalled", "KeepstreamPartitionsHeld",
    "KeepstreamRetryStorm",
)  # fmt: skip
OF_A_WORKER = {"KeepstreamDown", "KeepstreamLoopLate", "KeepstreamRebalanceLoop"}
NEVER = {"KeepstreamRetentionGap", "KeepstreamDeadLettersOld"}
"""Nothing of that day causes these. Their firing, and that of the rest, is shown by promtool."""
ABOVE_ZERO_IN_AN_OUTAGE = (
    "Paused partitions", "Oldest unsettled", "Lag by partition", "Since the last batch", "Failed attempts", "Retries",
    "Age of the exact figures", "In progress", "Pool errors [no connection]",
)  # fmt: skip


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The whole day, lived once."""
    program("prometheus")
    path, port = tmp_path_factory.mktemp("observe"), free_port()
    with embedded_services() as services:
        servers = Servers(services.bootstrap_servers, services.postgres_url, services.kafka, services.postgres)
        with Postgres(servers.postgres_url).new_schema() as database:
            system = System(Kafka(servers.bootstrap_servers), database, folder_for(path, "workers"), partitions=4)
            with scraping([target(port)], folder_for(path, "prometheus")) as prometheus:
                lived = Day(system, servers, prometheus, str(port))
                try:
                    lived.live()
                    print(f"\n{table(lived)}")
                    if path_of_picture := os.environ.get("OBSERVE_PICTURE"):
                        drawn = picture(prometheus, lived.began, time.time(), lived.marks)
                        Path(path_of_picture).write_text(drawn, encoding="utf-8")
                    yield lived
                finally:
                    system.stop()


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_of_every_panel_returns_data_under_load(name: str, day: Day) -> None:
    values = day.under_load[name]
    assert values
    assert not all(math.isnan(value) for value in values)


@pytest.mark.parametrize("title", ABOVE_ZERO_IN_AN_OUTAGE)
def test_what_an_outage_of_postgres_moves_is_seen_to_move(title: str, day: Day) -> None:
    seen = [max(values) for name, values in day.in_outage.items() if name.endswith(f": {title}") and values]
    assert seen
    assert min(seen) > 0


@pytest.mark.parametrize("alert", FIRES_AND_CLEARS)
def test_the_right_alerts_fire_and_clear(alert: str, day: Day) -> None:
    assert alert in day.fired
    assert alert in day.cleared


def test_the_alerts_of_a_topic_have_its_name_and_those_of_a_worker_have_none(day: Day) -> None:
    assert day.fired_of_topic == day.fired - OF_A_WORKER


def test_no_other_alert_fires_that_has_no_cause(day: Day) -> None:
    assert not day.fired & NEVER


def test_the_exact_totals_are_those_of_postgres(day: Day) -> None:
    names = {"delivered": "delivered", "dead_lettered": "failed", "duplicate": "duplicate", "stale": "stale",
             "ignored": "ignored"}  # fmt: skip

    def shown() -> dict[str, float | None]:
        query = 'max(keepstream_recorded_events_total{{outcome="{}"}})'
        return {name: day.prometheus.value(query.format(outcome)) for outcome, name in names.items()}

    totals = day.system.database.totals()
    eventually(lambda: shown() == {name: totals[name] for name in names.values()}, 30, "the ledger was read once more")


def test_what_was_received_is_what_became_of_it(day: Day) -> None:
    """Over the last worker's life, once it is idle: events_received = the sum of the outcomes + abandoned."""
    parts = [day.prometheus.value(f"sum(keepstream_events_{name})") for name in (
        "received_total", "processed_total", "abandoned_total", "in_progress")]  # fmt: skip
    received, processed, abandoned, in_progress = (part or 0 for part in parts)
    assert received == processed + abandoned
    assert received > 0
    assert in_progress == 0
