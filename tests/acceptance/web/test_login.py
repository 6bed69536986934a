"""Authentication: no login, guessed passwords, foreign host names, links from other sites."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import urlencode

import pytest

from keepstream.app.web.middleware import HEADERS
from tests.acceptance.console import MAY_REPLAY, NAME, PASSWORD, TOKEN, WITH_LOGIN, ConsoleProcess, console
from tests.acceptance.dead_letters import SeededTopic
from tests.acceptance.web.malicious_requests import BEHIND_LOGIN, FORM, SECRET
from tests.real import eventually

pytestmark = pytest.mark.real


def graves_text(text: str) -> bool:
    """Whether a page says nothing of any letter."""
    return not any(word in text for word in ("events-0-", "e-0", "amount"))


@pytest.mark.parametrize(("method", "path"), BEHIND_LOGIN)
def test_without_a_login_nothing_is_shown_and_nothing_is_done(method: str, path: str, guarded: ConsoleProcess) -> None:
    for cookie in ("", "keepstream_session=", "keepstream_session=guess", "keepstream_session=" + "x" * 5000):
        headers = {"Cookie": cookie, "Origin": guarded.url, "Content-Type": FORM}
        page = ConsoleProcess(guarded.process, guarded.said).ask(
            method, path, b"csrf=x" if method == "POST" else None, headers
        )
        assert page.status in (303, 401)
        assert page.status == 401 or page.headers["location"].startswith("/login?next=")
        assert graves_text(page.text)


@pytest.mark.parametrize(
    "arguments", [("--host", "192.0.2.1"), ("--host", "::"), ("--host", "example.org"), ("--allow-replay",)]
)
def test_without_a_login_it_does_not_start_where_that_is_not_safe(
    arguments: tuple[str, ...], shared_dlq: SeededTopic
) -> None:
    answer = shared_dlq.run("web", "--port", "0", *arguments)
    assert answer.exit_code == 5
    assert "KEEPSTREAM_WEB__TOKEN" in answer.errors


def test_a_foreign_host_name_is_refused(open_one: ConsoleProcess) -> None:
    """DNS rebinding: a page of evil.example whose name was pointed at 127.0.0.1."""
    for host in (
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "[::1",
        "a b",
    ):
        assert open_one.ask("GET", "/dead-letters", headers={"Host": host}).status in (400, 421)
    for host in ("localhost", "127.0.0.1:80", "[::1]:80"):
        assert open_one.ask("GET", "/events", headers={"Host": host}).status == 200


def test_behind_a_public_name_only_that_name_counts(shared_dlq: SeededTopic) -> None:
    with console({**shared_dlq.settings(), **MAY_REPLAY, "KEEPSTREAM_WEB__PUBLIC_URL": "https://c.example"}) as running:
        assert running.get("/login").status == 421
        named = {"Host": "c.example", "Content-Type": FORM}
        body = urlencode({"name": NAME, "password": PASSWORD}).encode()
        for origin in (running.url, "http://c.example", "https://c.example.evil.example", "https://c.example:444"):
            assert running.ask("POST", "/login", body, {**named, "Origin": origin}).status == 403
        page = running.ask("POST", "/login", body, {**named, "Origin": "https://c.example"})
        assert page.status == 303
        cookie = page.headers["set-cookie"]
        assert cookie.startswith("__Host-keepstream_session=")
        assert "Secure" in cookie


def test_the_cookie_is_kept_from_scripts_and_from_other_sites(guarded: ConsoleProcess) -> None:
    cookie = ConsoleProcess(guarded.process, guarded.said).log_in().headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie


def test_every_answer_carries_the_headers(guarded: ConsoleProcess) -> None:
    nobody = ConsoleProcess(guarded.process, guarded.said)
    answers = [
        guarded.get(path) for path in ("/", "/nothing", "/static/console.css", "/dead-letters?since=x", "/login")
    ]
    answers += [nobody.get("/"), nobody.get("/", Authorization="Bearer x"), guarded.post("/replay/dry-run", {})]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name.lower()] == value
    assert "'unsafe" not in HEADERS["Content-Security-Policy"]
    assert guarded.get("/").headers["cache-control"] == "no-store"


ELSEWHERE = (
    "//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/\r\nSet-Cookie: a=b",
    "\t//evil.example", "/\t/evil.example", "///evil.example",
)  # fmt: skip


@pytest.mark.parametrize("after", ELSEWHERE)
def test_a_login_leads_nowhere_else(after: str, guarded: ConsoleProcess) -> None:
    visitor = ConsoleProcess(guarded.process, guarded.said)
    page = visitor.post("/login", {"name": NAME, "password": PASSWORD, "next": after})
    assert page.status == 303
    assert page.headers["location"] == "/"
    assert "a=b" not in page.headers["set-cookie"]


def test_login_attempts_are_limited_per_address_and_name(shared_dlq: SeededTopic) -> None:
    with console({**shared_dlq.settings(), **WITH_LOGIN}) as running:
        for _ in range(8):  # a password for the proxy in front is no guess
            assert running.get("/", Authorization="Basic YW5uOnB3").status == 303
        for _ in range(5):
            assert running.post("/login", {"name": NAME, "password": "wrong"}).status == 403
        page = running.post("/login", {"name": NAME, "password": PASSWORD})
        assert page.status == 429
        assert int(page.headers["retry-after"]) > 30
        assert running.get("/", Authorization=f"Bearer {TOKEN}").status == 429


def test_a_bearer_token_reads_and_does_nothing_else(guarded: ConsoleProcess) -> None:
    script = ConsoleProcess(guarded.process, guarded.said)
    assert script.get("/", Authorization=f"Bearer {TOKEN}").status == 200
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", "Bearer \xff"):
        assert script.get("/", Authorization=wrong).status == 401
    for other_scheme in (f"Basic {TOKEN}", TOKEN):
        assert script.get("/", Authorization=other_scheme).status == 303
    form = {"Origin": guarded.url, "Content-Type": FORM, "Authorization": f"Bearer {TOKEN}"}
    assert script.ask("POST", "/replay/dry-run", b"id=events-0-0", form).status == 401


def test_a_session_ends_with_its_logout_and_with_its_time(shared_dlq: SeededTopic) -> None:
    with console({**shared_dlq.settings(), **WITH_LOGIN, "KEEPSTREAM_WEB__SESSION_LIFETIME_S": "2"}) as running:
        running.log_in()
        assert running.get("/events").status == 200
        old = running.cookie
        assert running.submit("/logout").status == 303
        assert running.cookie == old
        assert running.get("/events").status == 303
        running.cookie = ""
        running.log_in()
        eventually(lambda: running.get("/events").status == 303, 10)


def test_nothing_secret_and_no_second_line_gets_into_the_log(guarded: ConsoleProcess) -> None:
    visitor = ConsoleProcess(guarded.process, guarded.said)
    visitor.post("/login", {"name": 'x"\n{"event": "forged"}', "password": "a-secret-guess"})
    eventually(lambda: any("login_failed" in line and "forged" in line for line in guarded.said), 10)
    assert not [line for line in guarded.said if line.startswith('{"event": "forged"')]
    said = "".join(guarded.said)
    for secret in ("a-secret-guess", PASSWORD, TOKEN, guarded.cookie.partition("=")[2], guarded.csrf, SECRET):
        assert secret not in said


def test_hashing_a_password_prints_no_password() -> None:
    argv = [sys.executable, "-P", "-m", "keepstream.app", "web", "--hash-password"]
    done = subprocess.run(argv, input="s3cret\ns3cret\n", capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("scrypt$")
    assert "s3cret" not in done.stdout
