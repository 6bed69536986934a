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
from keepstream.app.web.context import audit_log, console_of, topic_of
from keepstream.app.web.facets import GROUPS, facets_of, matching
from keepstream.app.web.payload import payload_of, timeline_of
from keepstream.app.web.query import Query, cursor_of, cursor_text
from keepstream.app.web.topics import TopicState
from keepstream.schemas.dead_letter_record import DeadLetterRecord

routes = web.RouteTableDef()
PAGE_SIZE, MAX_PAGE_SIZE = 50, 500
SCAN_TIMEOUT_S = 3.0
"""Time limit to search the topic for an id that PostgreSQL does not know; `dlq show` has none."""


@routes.get("/dead-letters")
async def listing(request: web.Request) -> web.StreamResponse:
    """Show the list; the URL has the selectors of the command line. Counts are read concurrently."""
    topic = topic_of(request)
    query, start = topic.query(request.query.items()), cursor_of(request.query.get("before", ""))
    rows, (page, notices) = await asyncio.gather(topic.facets.rows(query), topic.blocking(_page, topic, query, start))
    return console_of(request).page(
        request, "dead_letters.html", query=query, page=page, notices=notices, facets=facets_of(query, rows),
        groups=[*GROUPS], counted=_counted(query, rows), following=cursor_text(page.following),
        start=start, command=query.command("dlq list"),
    )  # fmt: skip


@routes.get("/dead-letter")
async def single(request: web.Request) -> web.StreamResponse:
    """Show the details of a dead letter; ``id``: its id, its record id in the topic, or an event id."""
    topic, name = topic_of(request), request.query.get("id", "")
    found = await topic.blocking(find_dead_letter, topic, name)
    payload = payload_of(found.dead_letter, topic.mask, topic.settings.web.show_bytes)
    return console_of(request).page(
        request, "dead_letter.html", dead_letter=found.dead_letter, details=found.details, notices=found.notices,
        payload=payload,
        timeline=timeline_of(found.dead_letter, found.details),
        headers=[(name, topic.mask.header(name, value)) for name, value in found.dead_letter.record.headers],
    )  # fmt: skip


@routes.get("/dead-letter/raw")
async def raw(request: web.Request) -> web.StreamResponse:
    """Return the unchanged bytes of the value, as a download."""
    topic, name = topic_of(request), request.query.get("id", "")
    found = await topic.blocking(find_dead_letter, topic, name)
    value = found.dead_letter.record.value
    if topic.mask.touches(value):
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


def find_dead_letter(topic: TopicState, name: str) -> DeadLetterDetails:
    """Find a dead letter by id, record id or event id. Raises `KeepstreamError`. Blocks."""
    notices: list[str] = []
    with open_dead_letter_topic(topic.services, notify=notices.append) as dead_letters:
        named = bool(name) and "\0" not in name
        found = find(dead_letters, name, lambda _text: None, SCAN_TIMEOUT_S) if named else None
        if found is None:
            hint = "it may have left the topic; `keepstream dlq show` scans all of it"
            raise KeepstreamError(
                "unknown_letter", "no dead letter has this id, record id or event id", hint, NOT_FOUND
            )
        dead_letter = dead_letters.claim_checks.resolve(found) if dead_letters.index else found
        return DeadLetterDetails(dead_letter, describe(dead_letters, dead_letter), notices)


def _page(topic: TopicState, query: Query, start: Cursor) -> tuple[Page, list[str]]:
    notices: list[str] = []
    size = min(query.chosen.limit or PAGE_SIZE, MAX_PAGE_SIZE)
    with open_dead_letter_topic(
        topic.services, query.chosen.selection, notify=notices.append, coverage=topic.coverage,
    ) as dead_letters:  # fmt: skip
        dead_letters.notify_unpublished()
        page = list_page(dead_letters, query.chosen, size, start)
    if topic.coverage.is_stale:
        threading.Thread(target=_reload, args=(topic,), name="coverage", daemon=True).start()
    return page, notices


def _reload(topic: TopicState) -> None:
    """Load the complete blocks again, while pages use those of a minute ago."""
    with (
        suppress(KeepstreamError),
        open_dead_letter_topic(topic.services, notify=lambda _text: None) as dead_letters,
        open_offset_reader(dead_letters.client, dead_letters.name) as reader,
    ):
        if dead_letters.index:
            topic.coverage.load(dead_letters.index, reader)


def _counted(query: Query, rows: Any) -> int | None:  # noqa: ANN401
    """Return the number of dead letters in the selection, if the facets' counts cover all its selectors."""
    beyond = {name for name, _ in query.pairs} - {*GROUPS, "since", "until", "include-resolved"}
    return None if rows is None or beyond else matching(rows, query).total()
