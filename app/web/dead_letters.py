"""The pages of dead letters: the list and the details."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from keepstream.app.dlq.lookup import describe, find
from keepstream.app.dlq.lookup_by_offset import open_offset_reader
from keepstream.app.dlq.page import Cursor, Page, list_page
from keepstream.app.dlq.topic import open_dead_letter_topic
from keepstream.app.errors import NOT_FOUND, REFUSED, KeepstreamError
from keepstream.app.web.context import Console, audit_log, console_of
from keepstream.app.web.facets import GROUPS, facets_of, matching
from keepstream.app.web.payload import payload_of, timeline_of
from keepstream.app.web.query import Query, cursor_of, cursor_text
from keepstream.schemas.dead_letter_record import DeadLetterRecord

routes = web.RouteTableDef()
PAGE_SIZE, MAX_PAGE_SIZE = 50, 500
SCAN_TIMEOUT_S = 3.0
"""Time limit to search the topic for an id that PostgreSQL does not know; `dlq show` has none."""


@routes.get("/dead-letters")
async def listing(request: web.Request) -> web.StreamResponse:
    """Show the list; the URL has the selectors of the command line. Counts are read concurrently."""
    console, query = console_of(request), console_of(request).query(request)
    start = cursor_of(request.query.get("before", ""))
    rows, (page, notices) = await asyncio.gather(
        console.facets.rows(query), console.blocking(_page, console, query, start)
    )
    return console.page(
        request, "dead_letters.html", query=query, page=page, notices=notices, facets=facets_of(query, rows),
        groups=[*GROUPS], counted=_counted(query, rows), following=cursor_text(page.following),
        start=start, command=query.command("dlq list"),
    )  # fmt: skip


@routes.get("/dead-letter")
async def single(request: web.Request) -> web.StreamResponse:
    """Show the details of a dead letter; ``id``: its id, its record id in the topic, or an event id."""
    console, name = console_of(request), request.query.get("id", "")
    found = await console.blocking(find_dead_letter, console, name)
    payload = payload_of(found.dead_letter, console.mask, console.settings.web.show_bytes)
    return console.page(
        request, "dead_letter.html", dead_letter=found.dead_letter, details=found.details, notices=found.notices,
        payload=payload,
        timeline=timeline_of(found.dead_letter, found.details),
        headers=[(name, console.mask.header(name, value)) for name, value in found.dead_letter.record.headers],
    )  # fmt: skip


@routes.get("/dead-letter/raw")
async def raw(request: web.Request) -> web.StreamResponse:
    """Return the unchanged bytes of the value, as a download."""
    console, name = console_of(request), request.query.get("id", "")
    found = await console.blocking(find_dead_letter, console, name)
    value = found.dead_letter.record.value
    if console.mask.touches(value):
        raise KeepstreamError("masked", "some of its fields are masked", "ask the operator of this console", REFUSED)
    audit_log(request, "download", dead_letter=found.dead_letter.id)
    answer = web.Response(body=value or b"", content_type="application/octet-stream")
    answer.headers[hdrs.CONTENT_DISPOSITION] = 'attachment; filename="payload.bin"'
    return answer


@dataclass(frozen=True, slots=True)
class DeadLetterDetails:
    """A dead letter; ``details`` from `describe`; ``notices``: what could not be read."""

    dead_letter: DeadLetterRecord
    details: dict[str, Any]
    notices: list[str]


def find_dead_letter(console: Console, name: str) -> DeadLetterDetails:
    """Find a dead letter by id, record id or event id. Raises `KeepstreamError`. Blocks."""
    notices: list[str] = []
    with open_dead_letter_topic(console.services, notify=notices.append) as topic:
        named = bool(name) and "\0" not in name
        found = find(topic, name, lambda _text: None, SCAN_TIMEOUT_S) if named else None
        if found is None:
            hint = "it may have left the topic; `keepstream dlq show` scans all of it"
            raise KeepstreamError(
                "unknown_letter", "no dead letter has this id, record id or event id", hint, NOT_FOUND
            )
        dead_letter = topic.claim_checks.resolve(found) if topic.index else found
        return DeadLetterDetails(dead_letter, describe(topic, dead_letter), notices)


def _page(console: Console, query: Query, start: Cursor) -> tuple[Page, list[str]]:
    notices: list[str] = []
    size = min(query.chosen.limit or PAGE_SIZE, MAX_PAGE_SIZE)
    with open_dead_letter_topic(
        console.services, query.chosen.selection, notify=notices.append, coverage=console.coverage,
    ) as topic:  # fmt: skip
        topic.notify_unpublished()
        page = list_page(topic, query.chosen, size, start)
    if console.coverage.is_stale:
        threading.Thread(target=_reload, args=(console,), name="coverage", daemon=True).start()
    return page, notices


def _reload(console: Console) -> None:
    """Load the complete blocks again, while pages use those of a minute ago."""
    with (
        suppress(KeepstreamError),
        open_dead_letter_topic(console.services, notify=lambda _text: None) as topic,
        open_offset_reader(topic.client, topic.name) as reader,
    ):
        if topic.index:
            console.coverage.load(topic.index, reader)


def _counted(query: Query, rows: Any) -> int | None:  # noqa: ANN401
    """Return the number of dead letters in the selection, if the facets' counts cover all its selectors."""
    beyond = {name for name, _ in query.pairs} - {*GROUPS, "since", "until", "include-resolved"}
    return None if rows is None or beyond else matching(rows, query).total()
