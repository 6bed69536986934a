"""Context of all pages: settings, the topics and the one that a URL names, templates, the session."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from functools import partial
from typing import Any

import jinja2
from aiohttp import web

from keepstream.app.config.settings import Settings
from keepstream.app.connect.services import Services
from keepstream.app.dlq.format import format_time, one_line
from keepstream.app.errors import NOT_FOUND, KeepstreamError
from keepstream.app.status.workers import WorkerScraper
from keepstream.app.web.masking import Mask
from keepstream.app.web.poller import EVERY_S
from keepstream.app.web.query import link_to
from keepstream.app.web.sessions import Session, Sessions
from keepstream.app.web.topics import TopicState

SESSION = "keepstream.session"
FORM = "keepstream.form"
TOPIC = "keepstream.topic"
"""The topic of a page, None where it is about all of them; only pages behind the login set it."""
SAME_IN_EACH_TOPIC = ("/", "/dead-letters", "/events")
"""Pages that every topic has. The others are about a dead letter or a replay of one topic."""
audit = logging.getLogger("keepstream.audit")
audit.setLevel(logging.INFO)  # independent of the log level


class Console:
    """State of the console; one per process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.mask = Mask(settings.web.mask_fields)
        self.logins = Sessions(settings.web)
        services = Services(settings, "keepstream web").by_topic()
        workers = WorkerScraper(settings.web.worker_urls, EVERY_S / 2)
        self.topics = {
            name: TopicState(own, self.mask, name if len(services) > 1 else "", workers)
            for name, own in services.items()
        }
        self._templates = templates()

    @property
    def has_several_topics(self) -> bool:
        return len(self.topics) > 1

    def page(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:  # noqa: ANN401
        session, topic = session_of(request), request.get(TOPIC)
        common = {
            "session": session, "csrf": session.csrf if session else "", "may_replay": self.may_replay(request),
            "path": request.path, "web": self.settings.web, "topic": topic, "topics": self._switcher(request),
            "link": partial(link_to, topic.parameter if topic else ""),
        }  # fmt: skip
        text = self._templates.get_template(template).render(**common, **values)
        return web.Response(text=text, content_type="text/html", status=status)

    def may_replay(self, request: web.Request) -> bool:
        """Whether this user may change something: the console allows it, and there is a session."""
        return self.settings.web.allow_replay and session_of(request) is not None

    def _switcher(self, request: web.Request) -> list[tuple[str, str, bool]]:
        """Return name, link and whether it is shown, of all topics together and of each one.

        A search for an event goes on in the other topic. Empty before the login, and for one topic.
        """
        if not self.has_several_topics or TOPIC not in request:
            return []
        path = request.path if request.path in SAME_IN_EACH_TOPIC else "/dead-letters"
        event = {name: text for name in ("event-id", "correlation-id") if (text := request.query.get(name))}
        shown = request[TOPIC]
        links = [(name, link_to(name, path, event), topic is shown) for name, topic in self.topics.items()]
        return [("All topics", "/", shown is None), *links]

    def close(self) -> None:
        for topic in self.topics.values():
            topic.jobs.stop_all()
        for topic in self.topics.values():
            topic.close()


CONSOLE: web.AppKey[Console] = web.AppKey("console", Console)


def console_of(request: web.Request) -> Console:
    return request.app[CONSOLE]


def topic_of(request: web.Request) -> TopicState:
    """Return the topic of a page: the one that the URL names, else the first. Raises `KeepstreamError`."""
    topics = console_of(request).topics
    name = request.query.get("topic", "") or next(iter(topics))
    if name not in topics:
        raise KeepstreamError(
            "unknown_topic", "this console has no topic of this name", f"it has {', '.join(topics)}", NOT_FOUND
        )
    found = request[TOPIC] = topics[name]
    return found


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
    topic = request[TOPIC].parameter or None if TOPIC in request else None
    entry = {"user": session.user if session else None, "remote": request.remote, "topic": topic, **fields}
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
