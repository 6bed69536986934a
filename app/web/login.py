"""Login and logout."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from keepstream.app.web.context import audit_log, console_of, form_of, session_of
from keepstream.app.web.middleware import cookie_name, is_https

routes = web.RouteTableDef()


@routes.get("/login")
async def login_form(request: web.Request) -> web.StreamResponse:
    return _form(request, 200)


@routes.post("/login")
async def login(request: web.Request) -> web.StreamResponse:
    """Open a session. Attempts are limited per address and per name; valid and invalid ones take the same time."""
    console, form = console_of(request), form_of(request)
    name, secret = form.get("name", "")[:64], form.get("password", "")
    keys = (f"address {request.remote}", f"name {name}")
    if wait_s := console.logins.limiter.hit(*keys):
        audit_log(request, "login_braked", name=name)
        answer = _form(request, 429, f"Too many attempts. Try again in {wait_s:.0f} seconds.")
        answer.headers[hdrs.RETRY_AFTER] = f"{wait_s:.0f}"
        return answer
    user = await asyncio.to_thread(console.logins.user_of, name, secret)
    if user is None:
        audit_log(request, "login_failed", name=name)
        return _form(request, 403, "Wrong name or password.")
    console.logins.limiter.reset(*keys)
    audit_log(request, "login", name=user)
    answer = web.HTTPSeeOther(safe_path(form.get("next", "")))
    answer.set_cookie(
        cookie_name(request), console.logins.begin(user), path="/", httponly=True, samesite="Strict",
        secure=is_https(request),
    )  # fmt: skip
    return answer


@routes.post("/logout")
async def logout(request: web.Request) -> web.StreamResponse:
    name = cookie_name(request)
    console_of(request).logins.end(request.cookies.get(name, ""))
    audit_log(request, "logout")
    answer = web.HTTPSeeOther("/login")
    answer.del_cookie(name, path="/", httponly=True, samesite="Strict", secure=is_https(request))
    return answer


def safe_path(text: str) -> str:
    r"""Return the path to open after a login, within this console. ``//x`` and ``/\x`` are other hosts."""
    plain = text.isascii() and text.isprintable() and "\\" not in text
    return text if plain and text.startswith("/") and not text.startswith("//") else "/"


def _form(request: web.Request, status: int, wrong: str = "") -> web.Response:
    console = console_of(request)
    if not console.logins.needed or (request.method == hdrs.METH_GET and session_of(request)):
        raise web.HTTPSeeOther("/")
    after = safe_path(request.query.get("next", "") or form_of(request).get("next", ""))
    by_name, by_token = bool(console.settings.web.users), console.settings.web.token is not None
    return console.page(request, "login.html", status, after=after, wrong=wrong, by_name=by_name, by_token=by_token)
