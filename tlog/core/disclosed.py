"""What the disclosures of an entry hold: the members that each group has, and the ident that its data leads to.

Own format (docs/reference/formats.md, "Disclosure"). Only an event's groups are known here; what the groups of other entries
hold is for those to say who know their types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tlog.core.canonical import parse_strict
from tlog.core.pseudonym import actor_ident, related_ident, resource_ident
from tlog.errors import MalformedInputError, VerificationError

if TYPE_CHECKING:
    from tlog.core.entry import EventEntry

_ACTOR: Final = {"address", "appendedBy", "email", "ipAddress", "role", "type", "userAgent", "userId"}
_RESOURCE: Final = {"id", "name", "type"}
_RELATED: Final = {"id", "name", "role", "type"}
_DETAILS: Final = {"fieldsAccessed", "newValues", "oldValues", "purpose", "query", "reason", "recipient"}


def disclosed_ident(entry: EventEntry, group: str, body: bytes) -> bytes:
    """Return the ident that the disclosed body of a group leads to.

    Raises:
        MalformedInputError: the body is not what an event has there.
        VerificationError: the resource is of another type than the entry says.

    """
    value = parse_strict(body, stored=True)
    kind = group.partition("/")[0]
    match kind, value:
        case "actor", {"appendedBy": str()} if _has_only(value, _ACTOR) and (user := _user_of(value)) is not None:
            return actor_ident(user)
        case "resource", {"resource": {"id": str(name), "type": str(of)} as resource} if _is_resource(value, resource):
            if of != entry.resourceType:
                message = "the resource shown is of another type than the entry says"
                raise VerificationError(message)
            return resource_ident(of, name)
        case "related", {"id": str(name), "type": str(of)} if _has_only(value, _RELATED):
            return related_ident(of, name)
    message = f"the {group} disclosure is not what an event has there"
    raise MalformedInputError(message)


def _has_only(value: dict[str, Any], names: set[str]) -> bool:
    return value.keys() <= names


def _user_of(actor: dict[str, Any]) -> str | None:
    """Return the userId of an actor, "" of one who is unknown, None if it is neither."""
    match actor:
        case {"type": "unknown"}:
            return None if "userId" in actor else ""
        case {"userId": str(user)} if user and actor.get("type", "system") in ("service", "system"):
            return user
    return None


def _is_resource(value: dict[str, Any], resource: dict[str, Any]) -> bool:
    details = value.get("details", {})
    return (
        _has_only(value, {"details", "metadata", "resource"})
        and _has_only(resource, _RESOURCE)
        and isinstance(details, dict)
        and _has_only(details, _DETAILS)
        and isinstance(value.get("metadata", {}), dict)
    )
