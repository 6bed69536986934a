"""Hostile text, and what no page of ours may hold."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import quote

from keepstream.app.config.settings import Settings
from keepstream.app.web.middleware import LIVENESS_PATH
from keepstream.app.web.server import application

XSS = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}</pre></textarea>javascript:alert(3)"
DIGITS = "0.123456789012345678901234567890"
SECRET = "4111-1111-1111-1111"  # noqa: S105 - a card number for tests
FORM = "application/x-www-form-urlencoded"
ROUTES = sorted(
    {(route.method, route.resource.canonical) for route in application(Settings(_env_file=None)).router.routes()
     if route.resource and route.method in ("GET", "POST") and "static" not in route.resource.canonical}
)  # fmt: skip
"""Of the real application: a page that is added is attacked as well."""
BEHIND_LOGIN = [route for route in ROUTES if route[1] not in ("/login", LIVENESS_PATH)]
POSTS = [path for method, path in BEHIND_LOGIN if method == "POST"]


def pages(topic: str) -> list[str]:
    """Return every page, with hostile text in each parameter."""
    bad = quote(XSS, safe="")
    selectors = "&".join(f"{name}={bad}" for name in ("id", "event-id", "key", "step", "reason", "verdict", "sqlstate"))
    return [
        "/", "/dead-letters?include-resolved=1", f"/dead-letters?{selectors}", f"/dead-letters?since={bad}",
        f"/dead-letters?where={bad}", f"/dead-letters?where=a={bad}", f"/dead-letters?before={bad}",
        f"/dead-letters?{bad}", f"/dead-letter?id={topic}-0-1", f"/dead-letter?id={bad}", f"/replay?{selectors}",
        f"/replay/edit?id={topic}-0-1",
        f"/replay/edit?id={bad}", f"/replay/job?id={bad}", f"/events?event-id={bad}", f"/events?correlation-id={bad}",
        f"/login?next={bad}", f"/{bad}", f"/static/{bad}", f"/?topic={bad}", f"/events?topic={bad}&event-id={bad}",
    ]  # fmt: skip


class Suspicious(HTMLParser):
    """Collects what no template of ours has: scripts, handlers, inline style, foreign addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("img", "iframe", "object", "embed", "style", "base") or (
            tag == "script" and given != {"src": "/static/console.js", "defer": None}
        ):
            self.found.append(f"<{tag} {given}>")
        for name, value in attrs:
            ours = name not in ("href", "src", "action") or (value or "").startswith(("/", "#"))
            if name.startswith("on") or name == "style" or not ours or (value or "").startswith("//"):
                self.found.append(f"{tag} {name}={value}")
