"""Signing in with an API key, and out again. Both are journaled; what was typed and was no key is nowhere."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import Response

from tlog.errors import ForbiddenError, MalformedInputError, UnauthorizedError
from tlog.lifecycle.journal import journal_sign_in
from tlog.server.guard.parameters import query_of
from tlog.server.pages.assets import HEADERS, page
from tlog.server.pages.opening import check_posted, is_asked_here, open_page, path_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from tlog.server.pages.site import Site
    from tlog.storage.keys import ApiKey

SIGN_IN: Final = "/ui/sign-in"
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_FORM: Final = 1024  # bytes
_SEE_OTHER: Final = 303
_WAY: Final = "api-key"
# A path of the pages as a URL has it, and nothing that a browser could take for another host.
_LOCAL: Final = re.compile(r"/ui(?:/[A-Za-z0-9._~%-]+)*(?:\?[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*)?")


def leads_to(text: str) -> str:
    """Return where somebody is led after signing in: a path of the pages, and never elsewhere."""
    return text if _LOCAL.fullmatch(text) and not text.startswith(SIGN_IN) else "/ui"


def sign_in_first(request: Request) -> Response:
    """Return what leads whoever is not signed in to the form, and back to the page that was asked for."""
    query = request.url.query
    then = quote(path_of(request) + (f"?{query}" if query else ""), safe="")
    return Response(status_code=_SEE_OTHER, headers={**HEADERS, "Location": f"{SIGN_IN}?then={then}"})


def role_of(key: ApiKey) -> str:
    """Return with what right somebody asks who signed in by an API key."""
    return f"api-key:{key.key_id}"


async def form(request: Request) -> Response:
    """Show the form."""
    then = leads_to(query_of(request).get("then", "/ui"))
    return _form(then, elsewhere="" if is_asked_here(request) else "yes")


async def sign_in(request: Request) -> Response:
    """Take the form: begin a session, set its cookie, and lead on."""
    site: Site = request.app.state.site
    check_posted(request, site.address.origin(request))
    given = await _read_form(request)
    then, elsewhere = leads_to(given.get("then", "")), given.get("elsewhere", "")
    address = "" if request.client is None else request.client.host
    site.failures.check(address)
    try:
        key = await site.authenticator.check(f"Bearer {given.get('key', '').strip()}", "read")
    except (UnauthorizedError, ForbiddenError) as error:
        site.failures.count(address)
        site.service.metrics.signed_in(_WAY, "failure")
        return _form(then, elsewhere=elsewhere, refused=str(error))
    session_id = await site.sessions.begin(key)
    await journal_sign_in(site.log, key.principal, role_of(key), "login", _WAY)
    site.service.metrics.signed_in(_WAY, "success")
    cookie = {"Set-Cookie": site.address.cookie(session_id)}
    if elsewhere:
        target = urlsplit(then)
        return open_page(target.path, target.query, headers=cookie)
    return Response(status_code=_SEE_OTHER, headers={**HEADERS, **cookie, "Location": then})


async def sign_out(request: Request) -> Response:
    """End the session and take its cookie away."""
    site: Site = request.app.state.site
    check_posted(request, site.address.origin(request))
    session_id = site.address.cookie_of(request)
    with suppress(UnauthorizedError):
        key = await site.sessions.find(session_id)
        await site.sessions.end(session_id)
        await journal_sign_in(site.log, key.principal, role_of(key), "logout", _WAY)
    cookie = {"Set-Cookie": site.address.cookie("")}
    return Response(status_code=_SEE_OTHER, headers={**HEADERS, **cookie, "Location": SIGN_IN})


def _form(then: str, *, elsewhere: str, refused: str = "") -> Response:
    status = 401 if refused else 200
    headers = {"WWW-Authenticate": 'Bearer realm="tlog"'} if refused else {}
    values = {"then": then, "elsewhere": elsewhere, "refused": refused}
    return page("sign-in.html", status=status, headers=headers, title="Sign in", **values)


async def _read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        HTTPException: it is too large, or has another media type.
        MalformedInputError: it is no form.

    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        message = f"a form has the content type {_FORM}"
        raise HTTPException(415, message)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_FORM:
            message = f"a form has at most {_MAX_FORM} bytes"
            raise HTTPException(413, message)
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        message = "this is no form: names and values are percent-encoded UTF-8"
        raise MalformedInputError(message) from None
    return dict(fields)
