"""Hostile text and sizes: tried on a running console, in every field and in every parameter."""

from __future__ import annotations

import http.client
from urllib.parse import quote

import pytest

from tests.acceptance.console import ConsoleProcess
from tests.acceptance.dead_letters import SeededTopic
from tests.acceptance.web.malicious_requests import DIGITS, SECRET, XSS, Suspicious, pages
from tests.real import eventually

pytestmark = pytest.mark.real


@pytest.mark.parametrize("which", range(21))
def test_malicious_text_is_escaped_on_every_page(which: int, shared_dlq: SeededTopic, guarded: ConsoleProcess) -> None:
    path = pages(shared_dlq.topic)[which]
    page = guarded.get(path)
    assert page.status < 500, page.text
    if page.headers.get("content-type", "").startswith("text/html"):
        parser = Suspicious()
        parser.feed(page.text)
        assert parser.found == []
    assert "<script>alert" not in page.text
    assert "49" not in page.text.partition("{{7*7}}")[0][-3:]


def test_the_pages_of_the_previous_test_show_the_malicious_text(
    shared_dlq: SeededTopic, guarded: ConsoleProcess
) -> None:
    """Else escaping would not have been needed."""
    for path in (
        f"/dead-letter?id={shared_dlq.topic}-0-1",
        "/dead-letters?include-resolved=1",
        f"/events?event-id={quote(XSS)}",
    ):
        assert "&lt;script&gt;alert(1)" in guarded.get(path).text


@pytest.mark.parametrize("injected", ["x%0d%0aX-Evil: 1", "x%0aX-Evil: 1", "x%00", "%ff%fe", "%f0%9f%98%80", "../../x"])
def test_no_header_can_be_injected(injected: str, guarded: ConsoleProcess) -> None:
    paths = ("/dead-letter/raw?id={}", "/dead-letter?id={}", "/dead-letters?before={}", "/replay/job?id={}", "/{}",
             "/events?event-id={}", "/dead-letters?event-id={}", "/replay?id={}", "/login?next={}")  # fmt: skip
    for path in paths:
        page = guarded.get(path.format(injected.replace(" ", "%20")))
        assert page.status < 500, path
        assert "x-evil" not in page.headers


OUTSIDE = (
    "../console.py", "%2e%2e/console.py", "..%2fconsole.py", "%2e%2e%2f%2e%2e%2fsettings.py", "/etc/passwd",
    "..\\console.py", "console.css/../../console.py", "", ".", "%00",
)  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_static_files_end_at_their_folder(path: str, guarded: ConsoleProcess) -> None:
    page = guarded.get(f"/static/{path}")
    assert page.status in (403, 404)
    assert "import" not in page.text


def test_large_requests_are_refused_and_large_payloads_cut(guarded: ConsoleProcess, shared_dlq: SeededTopic) -> None:
    assert guarded.submit("/replay/dry-run", id="x" * 2_000_000).status == 413
    assert guarded.get("/dead-letters?" + "&".join(f"id={i}" for i in range(201))).status == 400
    assert guarded.get("/dead-letters?reason=" + "x" * 1025).status == 400
    assert guarded.get("/dead-letters?reason=" + "x" * 20_000).status == 400
    assert guarded.get("/dead-letters?from-offset=" + "9" * 400).status == 400
    assert guarded.get("/dead-letters?partition=" + "9" * 15).status == 400
    assert guarded.get("/dead-letters?limit=100000000").status in (200, 400)
    for number in (3, 4):
        page = guarded.get(f"/dead-letter?id={shared_dlq.topic}-0-{number}")
        assert page.status == 200
        assert len(page.body) < 1_200_000
    assert guarded.get(f"/replay/edit?id={shared_dlq.topic}-0-4").status == 409


def test_sql_stays_text(guarded: ConsoleProcess, shared_dlq: SeededTopic) -> None:
    for text in ("' OR 1=1 --", "'; DROP TABLE events; --", "%' OR '%'='", "\\'", "$1", "%s"):
        page = guarded.get(f"/events?event-id={quote(text)}")
        assert "Nowhere" in page.text
        assert guarded.get(f"/events?correlation-id={quote(text)}").status == 200
        assert guarded.get(f"/dead-letters?reason={quote(text)}&event-id={quote(text)}").status == 200
    assert shared_dlq.database.value("SELECT count(*) FROM events") == 1


def test_masked_values_are_on_no_page(guarded: ConsoleProcess, shared_dlq: SeededTopic) -> None:
    place = f"{shared_dlq.topic}-0-2"
    seen = [guarded.get(path) for path in (f"/dead-letter?id={place}", "/dead-letters", f"/dead-letter/raw?id={place}",
                                           f"/replay/edit?id={place}", f"/events?event-id={quote(XSS)}")]  # fmt: skip
    for guess in (
        f"payload.Card={SECRET}",
        f"payload.other.0.card={SECRET}",
        'payload={"Card": "4"}',
        "payload.other=[",
    ):
        seen.append(guarded.get(f"/dead-letters?where={quote(guess)}"))
        assert seen[-1].status == 409
        seen.append(guarded.submit("/replay/dry-run", where=guess))
        assert seen[-1].status == 409
    job = guarded.submit("/replay/dry-run", id="events-0-2", set="payload.other=1").headers["location"]
    eventually(lambda: "What would happen" in guarded.get(job).text, 20)
    seen.append(guarded.get(job))
    assert "Selected</dt><dd>1<" in seen[-1].text
    assert not [page.text for page in seen if SECRET in page.text]
    assert DIGITS in seen[4].text
    assert "\N{BULLET}" in seen[0].text
    assert seen[2].status == seen[3].status == 409


def test_a_connection_that_sends_nothing_or_nonsense_does_no_harm(guarded: ConsoleProcess) -> None:
    for nonsense in (
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"\xff" * 9000,
    ):
        connection = http.client.HTTPConnection(guarded.host, timeout=5)
        connection.connect()
        connection.sock.sendall(nonsense)
        connection.close()
    assert guarded.get("/events").status == 200
