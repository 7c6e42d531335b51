"""`GET /v1/audit/verify`: is everything still as it was logged? Answered from a real check that runs aside.

The URL says *verify*, as the service always did; in this code *verify* is for proofs, and a run of `tlog fsck` is a *check*.

The check is `tlog fsck`, in a process of its own that yields to the service. The first one looks at everything; later ones
at what came since, until the last full one is a day old or a full one is asked for. An answer never waits long: it is the
last result, with its age, and how far a check that runs now has got. The question is journaled like every other one, and to have
everything checked again, which takes every core for a while, needs the scope `admin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response

from tlog.core.strict import parse_decimal
from tlog.errors import ForbiddenError, MalformedInputError
from tlog.lifecycle.journal import journal
from tlog.server.guard.admission import key_of
from tlog.server.guard.parameters import query_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from tlog.server.service import Service

VERIFY: Final = ("full", "wait")
_FULL: Final = "admin"
_DEFAULT_WAIT: Final = 5
_MAX_WAIT: Final = 60


async def verify(request: Request) -> Response:
    """Return the result of the last check, starting one if none runs; `?full=true` starts a full one."""
    service: Service = request.app.state.service
    given = query_of(request)
    full = given.get("full", "false")
    if full not in ("true", "false"):
        message = "'full' is 'true' or 'false'"
        raise MalformedInputError(message, "/full")
    wait = parse_decimal(given.get("wait", str(_DEFAULT_WAIT)).encode(), "'wait'")
    if wait > _MAX_WAIT:
        message = f"'wait' is at most {_MAX_WAIT} seconds"
        raise MalformedInputError(message, "/wait")
    key = key_of(request)
    if full == "true" and _FULL not in key.scopes:
        raise ForbiddenError(_FULL)
    asked = {"ask": "verify", "full": full}
    await journal(service.log, key.principal, f"api-key:{key.key_id}", "read", asked)
    document = await service.checks.result(full=full == "true", wait=wait)
    return Response(msgspec.json.encode(document), headers={"Cache-Control": "no-store"}, media_type="application/json")
