"""Errors as RFC 9457 problem+json: one table from error class to status, title and type."""

from __future__ import annotations

from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tlog import errors
from tlog.core.making.parsing import MAX_REPORTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

MEDIA_TYPE: Final = "application/problem+json"
SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
_log: Final = structlog.get_logger()


class Kind(NamedTuple):
    """A kind of problem: what all its documents have in common."""

    status: int
    slug: str
    title: str


# The first class that fits decides, so subclasses stand above their bases.
_KINDS: Final[Mapping[type[Exception], Kind]] = {
    errors.InvalidEventError: Kind(422, "invalid-event", "The event breaks a rule of the event format"),
    # Of a question: its ids have characters that are younger than this program, so that no answer would be certain.
    errors.NotCheckedError: Kind(400, "not-checked", "This version cannot answer for certain"),
    errors.OtherQuestionError: Kind(500, "other-question", "An answer to another question was made"),
    errors.MalformedInputError: Kind(400, "malformed-request", "The request is malformed"),
    errors.EventConflictError: Kind(409, "event-conflict", "An eventId has two contents"),
    errors.NotFoundError: Kind(404, "not-found", "Not in this log"),
    errors.TooLargeError: Kind(413, "too-large", "The request is above a limit"),
    errors.UnauthorizedError: Kind(401, "unauthorized", "A valid API key is needed"),
    errors.ForbiddenError: Kind(403, "forbidden", "The API key lacks a scope"),
    errors.NotYoursError: Kind(403, "not-yours", "The API key is for something else"),
    errors.RateLimitedError: Kind(429, "rate-limited", "The API key's rate is used up"),
    errors.NoSpaceError: Kind(507, "no-space", "The log's disk is nearly full"),
    errors.OverloadedError: Kind(503, "overloaded", "The log cannot take this now"),
    errors.OperatorError: Kind(500, "operator-needed", "The log needs its operator"),
}
_HTTP_TITLES: Final = {
    404: Kind(404, "not-found", "No such resource"),
    405: Kind(405, "method-not-allowed", "The resource has no such method"),
    413: Kind(413, "too-large", "The request is above a limit"),
    415: Kind(415, "unsupported-media-type", "The media type is not supported"),
}
_FOR_OPERATORS: Final = {
    503: "the log's database cannot be reached now; try again in a moment",
    500: "the log's operator has to act; what happened is in the server's log",
}
_FAILURE: Final = Kind(500, "internal-error", "The log failed to answer; nothing is known to be lost")


async def on_error(_: Request, error: Exception) -> Response:
    """Return the problem document of any error, as Starlette asks for it."""
    return describe(error)


def describe(error: Exception) -> Response:
    """Return the problem document of any error."""
    if isinstance(error, HTTPException):
        kind = _HTTP_TITLES.get(error.status_code, Kind(error.status_code, "http-error", "The request failed"))
        return problem(kind, error.detail, dict(error.headers or {}))
    kind = next((kind for kind_of, kind in _KINDS.items() if isinstance(error, kind_of)), _FAILURE)
    extra, headers = _extra(error)
    if kind is _FAILURE:
        # Class and place are enough to find it; a message or a local variable could quote what a caller sent.
        place = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
        _log.error("request_failed", error=type(error).__name__, place=place)
        return problem(kind, "the failure is in the server's log", headers)
    if isinstance(error, errors.UnreachableError | errors.OperatorError):
        # Where things are, and what is wrong with them, is for the operator.
        _log.error("operator_needed", error=type(error).__name__, reason=str(error))
        return problem(kind, _FOR_OPERATORS[kind.status], headers)
    return problem(kind, str(error), headers, extra)


def _extra(error: Exception) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the members and header fields that the document of an error has besides those of all."""
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case errors.InvalidBatchError():
            extra["pointer"] = error.pointer
            found = zip(error.positions, error.found, strict=True)
            extra["errors"] = [
                {"pointer": f"/{position}{pointer}", "detail": detail}
                for position, each in found
                for detail, pointer in each.faults
            ][:MAX_REPORTED]
        case errors.InvalidEventError():
            extra["pointer"] = error.pointer
            extra["errors"] = [{"pointer": pointer, "detail": detail} for detail, pointer in error.faults]
        case errors.EventConflictError():
            extra["pointer"] = error.pointer
            extra["errors"] = [
                {"pointer": each.pointer, "detail": each.rule(), "eventId": each.event_id} for each in error.conflicts
            ]
        case errors.MalformedInputError():
            extra["pointer"] = error.pointer
        case errors.OverloadedError():
            headers["Retry-After"] = str(error.retry_after)
        case errors.UnauthorizedError():
            # RFC 6750 section 3.1: who presents no key is not told of an error.
            headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if error.presented else 'Bearer realm="tlog"'
        case errors.ForbiddenError():
            headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{error.scope}"'
    return extra, headers


def problem(kind: Kind, detail: str, headers: Mapping[str, str], extra: Mapping[str, Any] | None = None) -> Response:
    """Return one problem document."""
    document = {
        "type": f"urn:tlog:problem:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        **(extra or {}),
    }
    return Response(msgspec.json.encode(document), kind.status, headers, MEDIA_TYPE)
