"""Middleware of all pages: error pages, security headers, host check, authentication, CSRF check.

The attacks are OWASP's; Flower's CVE-2022-30034 and its issues 1216 to 1227 show why a cookie alone is not enough.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from aiohttp import hdrs, web
from multidict import MultiDict

from keepstream.app.config.base import is_loopback
from keepstream.app.errors import NOT_FOUND, REFUSED, UNREACHABLE, USAGE, KeepstreamError
from keepstream.app.web.connections import BODY_TIMEOUT_S
from keepstream.app.web.context import FORM, SESSION, audit_log, console_of, session_of
from keepstream.app.web.sessions import TOKEN_USER, Session

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)
COOKIE, SECURE_COOKIE = "keepstream_session", "__Host-keepstream_session"
LIVENESS_PATH = "/livez"
OPEN_PATHS = ("/login", "/static/", LIVENESS_PATH)
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "Server": "keepstream",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: then browsers send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_FORM_TYPE = "application/x-www-form-urlencoded"
_STATUS = {USAGE: 400, NOT_FOUND: 404, REFUSED: 409, UNREACHABLE: 503}
_SAFE = (hdrs.METH_GET, hdrs.METH_HEAD)


@web.middleware
async def error_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return an error page without quotations for every failure, and add the security headers to every response."""
    try:
        answer = await handler(request)
    except web.HTTPRedirection as redirection:
        answer = redirection
    except web.HTTPException as refusal:
        answer = _page(request, KeepstreamError(str(refusal.status), refusal.text or refusal.reason), refusal.status)
        answer.headers.update({k: v for k, v in refusal.headers.items() if k in (hdrs.ALLOW, hdrs.RETRY_AFTER)})
    except KeepstreamError as error:
        answer = _page(request, error, _STATUS.get(error.exit_code, 500))
    except Exception:
        name = secrets.token_hex(4)
        log.exception("a page failed: %s", name)
        unexpected = KeepstreamError("internal", "Unexpected error.", f"the log has the details at {name}")
        answer = _page(request, unexpected, 500)
    answer.headers.update(HEADERS)
    if not request.path.startswith("/static/"):
        answer.headers[hdrs.CACHE_CONTROL] = "no-store"
    return answer


def _page(request: web.Request, error: KeepstreamError, status: int) -> web.Response:
    return console_of(request).page(request, "error.html", status, error=error)


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse unknown host names: after DNS rebinding, a foreign page could read everything."""
    settings = console_of(request).settings.web
    if settings.public_url:
        known = request.host == urlsplit(settings.public_url).netloc
    else:
        known = console_of(request).logins.needed or _is_local(request.host)
    if not known and request.path != LIVENESS_PATH:  # a probe knows the address only
        raise web.HTTPMisdirectedRequest(text="this console has another name: see KEEPSTREAM_WEB__PUBLIC_URL")
    return await handler(request)


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find the session; without one, redirect to the login where it is required."""
    console = console_of(request)
    request[SESSION] = console.logins.session(request.cookies.get(cookie_name(request), ""))
    bearer = None if session_of(request) else _bearer_of(request)
    if bearer is not None and request.method in _SAFE and _is_token(request, bearer):
        request[SESSION] = Session(TOKEN_USER, secrets.token_urlsafe(32), 0.0)
    if session_of(request) or not console.logins.needed or request.path.startswith(OPEN_PATHS):
        return await handler(request)
    if bearer is not None:
        raise web.HTTPUnauthorized(text="log in, or send the token")
    if request.method in _SAFE and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        # A link in a chat: SameSite=Strict withholds the cookie once, and a reload from this page sends it.
        return console.page(request, "same_site_redirect.html")
    raise web.HTTPSeeOther("/login?next=" + quote(request.path_qs if request.method in _SAFE else "/", safe=""))


@web.middleware
async def check_csrf(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Accept a form only from a page of this console, in a session, with the token of that session."""
    request[FORM] = MultiDict()
    if request.method in _SAFE:
        return await handler(request)
    if not same_origin(request):
        audit_log(request, "refused", path=request.path, why="another origin")
        raise web.HTTPForbidden(text="this form came from another site")
    if request.content_type != _FORM_TYPE:
        raise web.HTTPUnsupportedMediaType(text="only form data are accepted here")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            request[FORM] = await request.post()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the form did not arrive in time") from None
    if request.path != "/login":
        _check_form(request)
    return await handler(request)


def _check_form(request: web.Request) -> None:
    session, given = session_of(request), request[FORM].get("csrf", "")
    if session is None:
        raise web.HTTPForbidden(text="nothing can be changed without a login")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(errors="replace"), session.csrf.encode()):
        audit_log(request, "refused", path=request.path, why="no token of this session")
        raise web.HTTPForbidden(text="this form is not of your session; reload the page")
    if request.path != "/logout" and not console_of(request).settings.web.allow_replay:
        raise web.HTTPForbidden(text="this console only reads; KEEPSTREAM_WEB__ALLOW_REPLAY would change that")


def same_origin(request: web.Request) -> bool:
    """Whether the browser's headers name this console as the origin. False without such headers."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site != "same-origin":
        return False
    origin = request.headers.get(hdrs.ORIGIN) or request.headers.get(hdrs.REFERER) or ""
    public_url = console_of(request).settings.web.public_url
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if public_url:
        return f"{parts.scheme}://{parts.netloc}" == public_url
    return parts.scheme in ("http", "https") and parts.netloc == request.host


def cookie_name(request: web.Request) -> str:
    return SECURE_COOKIE if is_https(request) else COOKIE


def is_https(request: web.Request) -> bool:
    return (console_of(request).settings.web.public_url or "").startswith("https://")


def _is_local(host: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _bearer_of(request: web.Request) -> str | None:
    """Return the bearer token of a request. None for other schemes: a browser sends the proxy's password as Basic."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and console_of(request).settings.web.token else None


def _is_token(request: web.Request, token: str) -> bool:
    """Compare a script's token, with the same limit on attempts as a login."""
    console, keys = console_of(request), (f"address {request.remote}",)
    if wait_s := console.logins.limiter.hit(*keys):
        raise web.HTTPTooManyRequests(text="too many attempts", headers={hdrs.RETRY_AFTER: f"{wait_s:.0f}"})
    if console.logins.is_token(token):
        console.logins.limiter.reset(*keys)
        return True
    audit_log(request, "login_failed", name="bearer")
    return False
