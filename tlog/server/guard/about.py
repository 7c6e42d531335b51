"""Keys for one person's answers: what a key may ask that was made with `tlog token create --about`.

Such a key gets answers about the one resource, or the one actor, that it names, and evidence of them, and nothing else. Which
endpoints it reaches is a list, so that a new endpoint is closed to it; and every question is compared with it before it is
journaled or answered. A question may be narrower, by time, action, operation and outcome; it may name nobody else, because
that would tell whether they are in an event, and hand out keys of their index buckets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tlog.core.question import parse_question
from tlog.errors import MalformedInputError, NotYoursError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from tlog.core.question import Question
    from tlog.storage.keys import ApiKey

_ANSWERS: Final = frozenset({
    "/v1/audit/events",
    "/v1/audit/export",
    "/v1/audit/resource/{type}/{id:path}/access-log",
    "/ui",
    "/ui/resource/{type}/{id:path}",
    "/ui/report/access",
    "/ui/report/accounting",
    "/ui/evidence",
})  # fmt: skip
_NARROWER: Final = frozenset({"action", "from", "loggedFrom", "loggedTo", "operation", "outcome", "to"})


def about_of(*, resource: tuple[str, str] | None = None, user: str | None = None) -> list[str] | None:
    """Return what a key is about, as it is stored: a resource's type and ID, or a userId alone; None of both for no bound.

    Raises:
        MalformedInputError: no event can have them, or both are given.

    """
    if resource is not None and user is not None:
        message = "a key is about one resource or about one actor, not about both"
        raise MalformedInputError(message)
    if resource is not None:
        question = parse_question({"resourceType": resource[0], "resourceId": resource[1]})
        return [str(question.resourceType), str(question.resourceId)]
    return None if user is None else [str(parse_question({"userId": user}).userId)]


def members_of(about: Sequence[str]) -> dict[str, str]:
    """Return the members of a question that a key with this bound has to ask."""
    names = ("userId",) if len(about) == 1 else ("resourceType", "resourceId")
    return dict(zip(names, about, strict=True))


def check_endpoint(request: Request, key: ApiKey) -> None:
    """Check that a key may reach the endpoint of a request.

    Raises:
        NotYoursError: it is bound to answers, and this is no answer.

    """
    if key.about is not None and getattr(request.scope.get("route"), "path", None) not in _ANSWERS:
        raise NotYoursError


def check_question(key: ApiKey, question: Question | None) -> None:
    """Check that a key may ask a question, None standing for one that names an event by its ID.

    Raises:
        NotYoursError: it is bound to another one.

    """
    if key.about is None:
        return
    asked = {} if question is None else question.document()
    if {name: value for name, value in asked.items() if name not in _NARROWER} != members_of(key.about):
        raise NotYoursError
