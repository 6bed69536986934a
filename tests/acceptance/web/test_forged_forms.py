"""CSRF: forms from another session or from another site."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from tests.acceptance.console import NAME, WITH_LOGIN, ConsoleProcess, console
from tests.acceptance.dead_letters import SeededTopic
from tests.acceptance.web.malicious_requests import FORM, POSTS, ROUTES
from tests.real import eventually

pytestmark = pytest.mark.real


FORGED: dict[str, tuple[dict[str, str], dict[str, str | None]]] = {
    "no token": ({}, {}),
    "a guessed token": ({"csrf": "x" * 43}, {}),
    "an empty token": ({"csrf": ""}, {}),
    "another origin": ({"csrf": "right"}, {"Origin": "https://evil.example"}),
    "an origin that begins like ours": ({"csrf": "right"}, {"Origin": "{url}.evil.example"}),
    "another port": ({"csrf": "right"}, {"Origin": "http://127.0.0.1:1"}),
    "a null origin": ({"csrf": "right"}, {"Origin": "null"}),
    "no origin": ({"csrf": "right"}, {"Origin": None}),
    "another referer": ({"csrf": "right"}, {"Origin": None, "Referer": "https://evil.example/{url}"}),
    "a cross-site fetch": ({"csrf": "right"}, {"Sec-Fetch-Site": "cross-site"}),
    "a same-site fetch": ({"csrf": "right"}, {"Sec-Fetch-Site": "same-site"}),
    "json": ({"csrf": "right"}, {"Content-Type": "application/json"}),
    "plain text": ({"csrf": "right"}, {"Content-Type": "text/plain"}),
    "multipart": ({"csrf": "right"}, {"Content-Type": "multipart/form-data; boundary=x"}),
    "no content type": ({"csrf": "right"}, {"Content-Type": None}),
}


@pytest.mark.parametrize("forgery", FORGED)
@pytest.mark.parametrize("path", POSTS)
def test_a_forged_form_does_nothing(path: str, forgery: str, guarded: ConsoleProcess, shared_dlq: SeededTopic) -> None:
    fields, headers = FORGED[forgery]
    given = {**fields, "id": "events-0-0"} | ({"csrf": guarded.csrf} if fields.get("csrf") == "right" else {})
    sent = {k.replace("-", "_"): v and v.replace("{url}", guarded.url) for k, v in headers.items()}
    assert guarded.post(path, given, **sent).status in (403, 415)
    assert guarded.get("/events").status == 200
    assert shared_dlq.database.value("SELECT count(*) FROM replays") == 0


def test_the_csrf_token_of_another_session_is_refused(guarded: ConsoleProcess) -> None:
    other = ConsoleProcess(guarded.process, guarded.said)
    other.log_in()
    assert other.csrf != guarded.csrf
    assert guarded.post("/replay/dry-run", {"csrf": other.csrf, "id": "events-0-0"}).status == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_do_nothing(method: str, guarded: ConsoleProcess) -> None:
    for _, path in ROUTES:
        headers = {"Origin": guarded.url, "Content-Type": FORM}
        page = guarded.ask(method, path, urlencode({"csrf": guarded.csrf}).encode(), headers)
        assert page.status in (403, 405)
        assert "access-control-allow-origin" not in page.headers


@pytest.mark.parametrize("path", POSTS)
def test_a_link_cannot_do_what_a_form_does(path: str, guarded: ConsoleProcess, shared_dlq: SeededTopic) -> None:
    guarded.get(f"{path}?csrf={guarded.csrf}&id=events-0-0&job=x&count=1")
    assert guarded.get("/events").status == 200
    assert shared_dlq.database.value("SELECT count(*) FROM replays") == 0


def test_a_console_that_only_reads_refuses_every_form(shared_dlq: SeededTopic) -> None:
    with console({**shared_dlq.settings(), **WITH_LOGIN}) as running:
        running.log_in()
        for path in POSTS:
            assert path == "/logout" or running.submit(path, id="events-0-0").status == 403
        assert "Dry run</button>" not in running.get("/replay?id=events-0-0").text


@pytest.mark.parametrize("path", POSTS)
def test_a_console_without_logins_refuses_every_form(path: str, open_one: ConsoleProcess) -> None:
    assert open_one.post(path, {"csrf": "", "id": "events-0-0"}).status == 403


def test_a_replay_needs_the_count_and_happens_once(guarded: ConsoleProcess, shared_dlq: SeededTopic) -> None:
    target = shared_dlq.environment["KEEPSTREAM_KAFKA__TOPIC"]
    job = guarded.submit("/replay/dry-run", id="events-0-0", to_topic=target).headers["location"]
    eventually(lambda: "Type the count" in guarded.get(job).text, 20)
    name = job.partition("=")[2]
    for wrong in ("", "2", "-1", "1.0", "yes", "1 or 1", "\N{ARABIC-INDIC DIGIT ONE}"):
        assert guarded.submit("/replay/begin", job=name, count=wrong).status == 409
    assert guarded.submit("/replay/begin", job=name[:-1] + "?", count="1").status == 404
    assert shared_dlq.database.value("SELECT count(*) FROM replays") == 0
    assert guarded.submit("/replay/begin", job=name, count="1").status == 303
    assert guarded.submit("/replay/begin", job=name, count="1").status == 409
    eventually(lambda: shared_dlq.database.rows("SELECT state FROM replays") == [("finished",)], 30)
    assert shared_dlq.database.value("SELECT started_by FROM replays") == NAME
    guarded.submit("/replay/cancel", job=name)  # nobody consumes: do not wait for what becomes of it
    eventually(lambda: "Reconciliation" in guarded.get(job).text, 20)
    audit = [json.loads(line)["event"] for line in guarded.said if '"keepstream.audit"' in line]
    assert [line for line in audit if line.startswith("dry_run") and "events-0-0" in line and f"user='{NAME}'" in line]
    assert [line for line in audit if line.startswith("replay ") and "dead_letters='1'" in line]
    shared_dlq.database.execute("DELETE FROM replays")
