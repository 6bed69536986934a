"""Context of all pages: settings, clients, threads for blocking calls, templates, the session."""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import jinja2
from aiohttp import web

from keepstream.app.config.settings import Settings
from keepstream.app.connect.services import Services
from keepstream.app.dlq.coverage import IndexCoverage
from keepstream.app.dlq.format import format_time, one_line
from keepstream.app.web.facets import Facets
from keepstream.app.web.masking import Mask
from keepstream.app.web.query import Query, query_of
from keepstream.app.web.replay_jobs import Jobs
from keepstream.app.web.sessions import Session, Sessions

P = ParamSpec("P")
T = TypeVar("T")
SESSION = "keepstream.session"
FORM = "keepstream.form"
THREADS = 8
"""Concurrent blocking calls; each has at most one connection to PostgreSQL and two to Kafka."""
audit = logging.getLogger("keepstream.audit")
audit.setLevel(logging.INFO)  # independent of the log level


class Console:
    """State of the console; one per process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.mask = Mask(settings.web.mask_fields)
        self.logins = Sessions(settings.web)
        self.services = Services(settings, "keepstream web")
        self.jobs = Jobs(self.services, self.mask)
        self.facets = Facets(self.services)
        self.coverage = IndexCoverage()
        self._threads = ThreadPoolExecutor(THREADS, "console")
        self._templates = templates()

    async def blocking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*args, **kwargs))

    def query(self, request: web.Request) -> Query:
        return query_of(request.query.items(), self.mask)

    def page(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:  # noqa: ANN401
        session = session_of(request)
        common = {
            "session": session, "csrf": session.csrf if session else "", "may_replay": self.may_replay(request),
            "path": request.path, "dlq_topic": self.settings.kafka.dlq_topic, "topic": self.settings.kafka.topic,
            "web": self.settings.web,
        }  # fmt: skip
        text = self._templates.get_template(template).render(**common, **values)
        return web.Response(text=text, content_type="text/html", status=status)

    def may_replay(self, request: web.Request) -> bool:
        """Whether this user may change something: the console allows it, and there is a session."""
        return self.settings.web.allow_replay and session_of(request) is not None

    def close(self) -> None:
        self.jobs.stop_all()
        self._threads.shutdown(wait=False, cancel_futures=True)


CONSOLE: web.AppKey[Console] = web.AppKey("console", Console)


def console_of(request: web.Request) -> Console:
    return request.app[CONSOLE]


def session_of(request: web.Request) -> Session | None:
    found: Session | None = request.get(SESSION)
    return found


def form_of(request: web.Request) -> Mapping[str, str]:
    """Return the checked form; of repeated fields the last."""
    return dict(form_pairs(request))


def form_pairs(request: web.Request) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request[FORM].items() if isinstance(value, str)]


def audit_log(request: web.Request, action: str, **fields: object) -> None:
    """Log one line about an action of a user, done or refused."""
    session = session_of(request)
    entry = {"user": session.user if session else None, "remote": request.remote, **fields}
    details = " ".join(f"{name}={one_line(str(value), 1024)!r}" for name, value in entry.items() if value is not None)
    audit.info("%s %s", action, details)


def templates() -> jinja2.Environment:
    """Return the template environment: everything is escaped, and an undefined name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keepstream.app.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"line": one_line, "time": format_time, "count": "{:,}".format, "shell": shlex.quote}
    return environment
