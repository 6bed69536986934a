"""The pages of a replay: options, dry run, confirmation, progress, reconciliation."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from keepstream.app.dlq.selectors import options_from
from keepstream.app.errors import REFUSED, USAGE, KeepstreamError
from keepstream.app.web.context import audit_log, console_of, form_of, form_pairs, session_of, topic_of
from keepstream.app.web.dead_letters import find_dead_letter
from keepstream.app.web.payload import draft_of, edited_value
from keepstream.app.web.query import Query, link_to
from keepstream.app.web.replay_jobs import Job
from keepstream.app.web.topics import TopicState
from keepstream.schemas.replay import ReplayOptions

routes = web.RouteTableDef()
_MAX_REPLAYS = 1_000_000
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@routes.get("/replay")
async def ask(request: web.Request) -> web.StreamResponse:
    """Show the selection and the form of options."""
    query = topic_of(request).query(request.query.items())
    if "selected" in request.query and not query.values("id"):
        hint = "tick dead letters in the list, or take all that match its filter"
        raise KeepstreamError("nothing_selected", "no dead letter is selected", hint, USAGE)
    return console_of(request).page(request, "replay.html", query=query, command=query.command("dlq replay --dry-run"))


@routes.get("/replay/edit")
async def edit(request: web.Request) -> web.StreamResponse:
    """Show the form to edit the value of one dead letter."""
    topic = topic_of(request)
    found = await topic.blocking(find_dead_letter, topic, request.query.get("id", ""))
    _refuse_masked(topic, found.dead_letter.record.value)
    draft = draft_of(found.dead_letter, topic.settings.web.show_bytes)
    return console_of(request).page(request, "replay_edit.html", dead_letter=found.dead_letter, draft=draft)


@routes.post("/replay/edit")
async def edited(request: web.Request) -> web.StreamResponse:
    """Start a dry run of one dead letter with an edited value."""
    topic, form = topic_of(request), form_of(request)
    found = await topic.blocking(find_dead_letter, topic, form.get("id", ""))
    _refuse_masked(topic, found.dead_letter.record.value)
    value = edited_value(draft_of(found.dead_letter, topic.settings.web.show_bytes), form.get("value", ""))
    if value is None:
        raise KeepstreamError("not_edited", "the value is unchanged", "replay it without editing", USAGE)
    query = topic.query([("id", found.dead_letter.id)])
    return _survey(request, Job(query, _options(topic, query, form), _user(request), [(found.dead_letter, value)]))


@routes.post("/replay/dry-run")
async def dry_run(request: web.Request) -> web.StreamResponse:
    topic = topic_of(request)
    query = topic.query(form_pairs(request))
    return _survey(request, Job(query, _options(topic, query, form_of(request)), _user(request)))


@routes.post("/replay/begin")
async def begin(request: web.Request) -> web.StreamResponse:
    """Start the replay of a dry run that was confirmed by its count."""
    jobs, form = topic_of(request).jobs, form_of(request)
    job = jobs.find(form.get("job", ""))
    try:
        jobs.replay(job, form.get("count", ""), _user(request))
    except KeepstreamError as error:
        if error.code != "not_confirmed":
            raise
        return console_of(request).page(request, "replay_job.html", 409, job=job, wrong=error.message)
    audit_log(request, "replay", dead_letters=job.total, selectors=job.query.link(), edited=len(job.edited))
    return _see(job)


@routes.post("/replay/cancel")
async def cancel(request: web.Request) -> web.StreamResponse:
    job = topic_of(request).jobs.find(form_of(request).get("job", ""))
    job.stop.set()
    audit_log(request, "cancel", phase=job.phase, replay=job.run.id if job.run else None)
    return _see(job)


@routes.get("/replay/job")
async def watch(request: web.Request) -> web.StreamResponse:
    job = topic_of(request).jobs.find(request.query.get("id", ""))
    return console_of(request).page(request, "replay_job.html", job=job, wrong="")


def _survey(request: web.Request, job: Job) -> web.StreamResponse:
    topic_of(request).jobs.survey(job)
    audit_log(request, "dry_run", selectors=job.query.link(), edited=len(job.edited))
    return _see(job)


def _see(job: Job) -> web.HTTPSeeOther:
    return web.HTTPSeeOther(link_to(job.query.topic, "/replay/job", {"id": job.id}))


def _options(topic: TopicState, query: Query, form: Any) -> ReplayOptions:  # noqa: ANN401
    changes = [line.strip() for line in form.get("set", "").splitlines() if line.strip()]
    max_replays = form.get("max-replays", "") or "3"
    if not (max_replays.isascii() and max_replays.isdigit() and int(max_replays[:9]) <= _MAX_REPLAYS):
        raise KeepstreamError("bad_option", "--max-replays: not a number", exit_code=USAGE)
    to_topic = form.get("to-topic", "").strip()
    if to_topic and not _TOPIC.fullmatch(to_topic):
        raise KeepstreamError("bad_option", "--to-topic: not a valid topic name", exit_code=USAGE)
    return options_from(
        topic.settings.kafka.dlq_topic, to_topic or None, changes, form.get("rate", "").strip() or None,
        same_partition=bool(form.get("same-partition")), limit=query.chosen.limit, max_replays=int(max_replays),
        resolved_too=query.chosen.resolved_too,
    )  # fmt: skip


def _refuse_masked(topic: TopicState, value: bytes | None) -> None:
    if topic.mask.touches(value):
        raise KeepstreamError("masked", "some of its fields are masked, so its value cannot be edited as a whole",
                      "replay it with path=value changes", REFUSED)  # fmt: skip


def _user(request: web.Request) -> str:
    session = session_of(request)
    assert session is not None  # noqa: S101 - check_csrf requires a session
    return session.user
