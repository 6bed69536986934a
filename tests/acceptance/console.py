"""The console as a process, and a browser's part played by hand: attacks need requests that no browser sends."""

from __future__ import annotations

import http.client
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from tests.fork_server import Forked, forked_with_pipe
from tests.real import eventually

NAME, PASSWORD = "ann", "correct horse"
_SALT = "c2FsdHNhbHRzYWx0c2FsdA=="
_KEY = "A9lBa6RTbfBovWqamVIqXKovIl4Vk6OZyVojLJmYmSKcTeUeY+NUusSAWsrrtKYgxHMy6+bWk1+GJd0o/FW2Bw=="
PASSWORD_HASH = f"scrypt$10${_SALT}${_KEY}"
"""A cheap one: cost is not what these tests are about."""
TOKEN = "token-token-token-token"  # noqa: S105 - the same
WITH_LOGIN = {"KEEPSTREAM_WEB__USERS": f'{{"{NAME}": "{PASSWORD_HASH}"}}', "KEEPSTREAM_WEB__TOKEN": TOKEN}
MAY_REPLAY = {**WITH_LOGIN, "KEEPSTREAM_WEB__ALLOW_REPLAY": "true"}


@dataclass(frozen=True)
class Page:
    """What the console answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class ConsoleProcess:
    """A running ``keepstream web``."""

    process: Forked
    said: list[str] = field(default_factory=list)
    cookie: str = ""
    csrf: str = ""

    @property
    def url(self) -> str:
        lines = [line for line in self.said if "serving the console on " in line]
        return lines[0].rpartition(" ")[2].strip().rstrip("/") if lines else ""

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Page:  # fmt: skip
        """Send a request as it is given; the cookie goes along when there is one."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        sent = {**({"Cookie": self.cookie} if self.cookie else {}), **(headers or {})}
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Page(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Page:
        return self.ask("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path: str, fields: Mapping[str, str] | Sequence[tuple[str, str]], **headers: str | None) -> Page:
        """Send a form as one of our own pages would; a header given as None is left out."""
        given = {"Origin": self.url, "Content-Type": "application/x-www-form-urlencoded",
                 **{k.replace("_", "-"): v for k, v in headers.items()}}  # fmt: skip
        return self.ask("POST", path, urlencode(fields).encode(), {k: v for k, v in given.items() if v is not None})

    def log_in(self, name: str = NAME, password: str = PASSWORD) -> Page:
        page = self.post("/login", {"name": name, "password": password})
        if page.status == 303:
            self.cookie = page.headers["set-cookie"].partition(";")[0]
            found = re.search(r'name="csrf" value="([^"]+)"', self.get("/events").text)
            assert found
            self.csrf = found[1]
        return page

    def submit(self, path: str, **fields: str) -> Page:
        """Post a form of a logged-in page."""
        return self.post(path, {"csrf": self.csrf, **{k.replace("_", "-"): v for k, v in fields.items()}})


@contextmanager
def console(settings: Mapping[str, str], *arguments: str) -> Iterator[ConsoleProcess]:
    """Run ``keepstream web`` on a free port until the context ends."""
    with forked_with_pipe(["web", "--port", "0", *arguments], {**os.environ, **settings}) as (process, stderr):
        running = ConsoleProcess(process)
        reader = threading.Thread(target=lambda: running.said.extend(iter(stderr.readline, "")), daemon=True)
        reader.start()
        try:
            eventually(lambda: running.url or process.poll() is not None, 30, "the console serves")
            assert running.url, running.said
            yield running
        finally:
            process.terminate()
            process.wait(20)
            reader.join(5)
