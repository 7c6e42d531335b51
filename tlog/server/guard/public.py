"""What needs no key: the heads of the log alone, what witnesses and holders of proofs need, or everything that is not personal.

Entries hold no names, but whoever has a bucket's key can try names on them (`tlog.server.guard.opened`). An operator who has
no use for strangers that read entries gives them out to keys with the scope `read` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

Public = Literal["checkpoint", "proofs", "all"]
_LEVELS: Final[tuple[Public, ...]] = ("checkpoint", "proofs", "all")
PROOFS: Final = ("/tile/", "/v1/proof/")
_ENTRIES: Final = "/tile/entries/"
_PRIVATE: Final = "no-store"


def is_public(public: Public, path: str) -> bool:
    """Tell whether a path of the public half needs no key."""
    needed: Public = "all" if path.startswith(_ENTRIES) else "proofs" if path.startswith(PROOFS) else "checkpoint"
    return _LEVELS.index(needed) <= _LEVELS.index(public)


def unless_public(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint, asked without a key where that is public, and by keys with the scope `read` where it is not."""

    async def admitted(request: Request) -> Response:
        service = request.app.state.service
        if is_public(service.public, request.scope["path"]):
            return await endpoint(request)
        await service.admission.admit(request, "read")
        response = await endpoint(request)
        response.headers["Cache-Control"] = _PRIVATE
        return response

    return admitted
