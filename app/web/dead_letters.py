"""The pages about dead letters: the list and the single one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from keepstream.app.dlq.lookup import describe, locate
from keepstream.app.dlq.page import Cursor, Page, list_page
from keepstream.app.dlq.topic import open_dead_letter_topic
from keepstream.app.errors import NOT_FOUND, REFUSED, KeepstreamError
from keepstream.app.web.context import Console, audit_log, console_of
from keepstream.app.web.facets import GROUPS, facets_of, matching
from keepstream.app.web.payload import payload_of, timeline_of
from keepstream.app.web.query import Query, cursor_of, cursor_text
from keepstream.schemas.dead_letter_record import DeadLetterRecord

routes = web.RouteTableDef()
PAGE_LETTERS, MAX_PAGE_LETTERS = 50, 500
WALK_PATIENCE_S = 3.0
"""A name that PostgreSQL does not know is looked for so long; `dlq show` walks the whole topic."""


@routes.get("/dead-letters")
async def listing(request: web.Request) -> web.StreamResponse:
    """Show the table, with the selectors of the command line in the URL. Letters are counted while they are read."""
    console, query = console_of(request), console_of(request).query(request)
    start = cursor_of(request.query.get("before", ""))
    rows, (page, said) = await asyncio.gather(
        console.facets.rows(query), console.blocking(_page, console, query, start)
    )
    return console.page(
        request, "dead_letters.html", query=query, page=page, said=said, facets=facets_of(query, rows),
        groups=[*GROUPS], counted=_counted(query, rows), following=cursor_text(page.following),
        start=start, command=query.command("dlq list"),
    )  # fmt: skip


@routes.get("/dead-letter")
async def single(request: web.Request) -> web.StreamResponse:
    """Show all that is known of one letter; ``id`` may be its id, its place or an event id."""
    console, name = console_of(request), request.query.get("id", "")
    found = await console.blocking(find_dead_letter, console, name)
    payload = payload_of(found.letter, console.mask, console.settings.web.show_bytes)
    return console.page(
        request, "dead_letter.html", letter=found.letter, known=found.known, said=found.said, payload=payload,
        timeline=timeline_of(found.letter, found.known),
        headers=[(name, console.mask.header(name, value)) for name, value in found.letter.record.headers],
    )  # fmt: skip


@routes.get("/dead-letter/raw")
async def raw(request: web.Request) -> web.StreamResponse:
    """Give the exact bytes, as a download and never as a page."""
    console, name = console_of(request), request.query.get("id", "")
    found = await console.blocking(find_dead_letter, console, name)
    value = found.letter.record.value
    if console.mask.touches(value):
        raise KeepstreamError("masked", "some of its fields are masked", "ask whoever runs this console", REFUSED)
    audit_log(request, "download", letter=found.letter.id)
    answer = web.Response(body=value or b"", content_type="application/octet-stream")
    answer.headers[hdrs.CONTENT_DISPOSITION] = 'attachment; filename="payload.bin"'
    return answer


@dataclass(frozen=True, slots=True)
class Known:
    """One letter, whole; ``known`` as `describe` says it; ``said``: what is missing, in words."""

    letter: DeadLetterRecord
    known: dict[str, Any]
    said: list[str]


def find_dead_letter(console: Console, name: str) -> Known:
    """Find a letter by any of its names. Raises `KeepstreamError`. Blocks."""
    said: list[str] = []
    with open_dead_letter_topic(console.services, tell=said.append) as queue:
        named = bool(name) and "\0" not in name
        letter = locate(queue, name, lambda _text: None, WALK_PATIENCE_S) if named else None
        if letter is None:
            hint = "it may have left the topic; `keepstream dlq show` looks through all of it"
            raise KeepstreamError("unknown_letter", "no dead letter has this id, place or event id", hint, NOT_FOUND)
        letter = queue.originals.whole(letter) if queue.ledger else letter
        return Known(letter, describe(queue, letter), said)


def _page(console: Console, query: Query, start: Cursor) -> tuple[Page, list[str]]:
    said: list[str] = []
    selection = query.chosen.selection
    with open_dead_letter_topic(console.services, selection, tell=said.append) as queue:
        return list_page(queue, query.chosen, min(query.chosen.limit or PAGE_LETTERS, MAX_PAGE_LETTERS), start), said


def _counted(query: Query, rows: Any) -> int | None:  # noqa: ANN401
    """Return how many letters the selection has, where the facets say it all."""
    beyond = {name for name, _ in query.pairs} - {*GROUPS, "since", "until", "all"}
    return None if rows is None or beyond else matching(rows, query).total()
