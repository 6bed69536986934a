"""The search for an event: its row and its dead letters, by event id or correlation id."""

from __future__ import annotations

from typing import Any

import psycopg
from aiohttp import web

from keepstream.app.connect.services import Services
from keepstream.app.dlq.format import escape_control_characters
from keepstream.app.errors import FAILED, KeepstreamError
from keepstream.app.web.context import console_of, topic_of
from keepstream.app.web.masking import Mask
from keepstream.schemas.json_text import indent_json
from keepstream.sinks.postgres.events import NO_FILTER, EventSearch
from keepstream.sinks.postgres.pooled_connection import set_more

routes = web.RouteTableDef()
MAX_ROWS = 100
_MAX_NAME_CHARS = 1024


@routes.get("/events")
async def search(request: web.Request) -> web.StreamResponse:
    console, topic = console_of(request), topic_of(request)
    given = {name: _name(request.query.get(name, "")) for name in ("event-id", "correlation-id")}
    found = await topic.blocking(_search, topic.services, topic.mask, given) if any(given.values()) else None
    return console.page(request, "events.html", given=given, found=found, most=MAX_ROWS)


def _name(text: str) -> str:
    """Return text that PostgreSQL can store, cut to a limit."""
    return text.strip()[:_MAX_NAME_CHARS].encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _search(services: Services, mask: Mask, given: dict[str, str]) -> dict[str, Any]:
    """Return ``event``, ``deaths``, ``events``. The correlation id has no index: its search may time out."""
    with services.postgres() as connection:
        timeout_ms = f"{services.settings.postgres.statement_timeout_s * 1000:.0f}"
        set_more(connection, {"statement_timeout": timeout_ms})
        found = EventSearch(connection)
        try:
            if given["event-id"]:
                return {"event": _masked(found.event(given["event-id"]), mask), "events": [],
                        "deaths": found.deaths(given["event-id"])}  # fmt: skip
            correlated = given["correlation-id"]
            events = list(found.matching({**NO_FILTER, "correlation_id": correlated, "limit": MAX_ROWS}))
            return {"event": None, "events": events, "deaths": found.deaths_of_correlation(correlated, MAX_ROWS)}
        except psycopg.errors.QueryCanceled:
            hint = "search by event id: it has an index"
            raise KeepstreamError("too_slow", "PostgreSQL did not find it in time", hint, FAILED) from None


def _masked(event: dict[str, Any] | None, mask: Mask) -> dict[str, Any] | None:
    """Return the row with payload and metadata as masked text."""
    if event is None:
        return None
    texts = {name: escape_control_characters(indent_json(mask.text(event[name] or "null")))
             for name in ("payload", "metadata")}  # fmt: skip
    return {**event, **texts}
