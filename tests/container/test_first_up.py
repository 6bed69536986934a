"""The first minute of a newcomer: one command, and the console shows events."""

from __future__ import annotations

import re
import time

import pytest

from tests.container.compose import TOKEN, Compose
from tests.container.engine import Engine
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(300)]
FIRST_EVENTS_S = 60


def delivered(compose: Compose) -> int:
    """Return how many delivered records the console's first page shows."""
    page = compose.get("CONSOLE_PORT", "/", Authorization=f"Bearer {TOKEN}")
    found = re.search(r'id="delivered">([\d,]+)<', page)
    return int(found[1].replace(",", "")) if found else 0


@pytest.mark.usefixtures("image", "stand_ins")
def test_the_first_up_shows_events_in_the_console_within_a_minute(engine: Engine) -> None:
    project, began = Compose.on_free_ports(engine), time.monotonic()
    try:
        project("--profile", "demo", "up", "--detach", "--wait", timeout_s=180)
        eventually(lambda: delivered(project) > 0, FIRST_EVENTS_S, "the console shows events")
        assert time.monotonic() - began < FIRST_EVENTS_S
    finally:
        project("--profile", "demo", "down", "--volumes", timeout_s=120)
