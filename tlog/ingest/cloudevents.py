"""CloudEvents 1.0, in Kafka's two modes: what one becomes, by the one rule for Kafka and HTTP.

Source: the CloudEvents specification 1.0.2, its JSON format and Kafka protocol binding, and the extensions `authcontext` and
`sequence`. `data` that is an event of tlog's own format is taken as it is. Anything else is mapped: what has no time, action or
actor is refused with a pointer and never guessed. `metadata` is all of it.

Left out: Avro and Protobuf formats, and batches, which Kafka does not have.
"""

from __future__ import annotations

import re
import tomllib
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from tlog.core.event import PATTERNS, Action
from tlog.errors import MalformedInputError
from tlog.ingest.total import SetAside, event_id, finish, number, to_timestamp, usable_id, usable_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STRUCTURED: Final = b"application/cloudevents+json"
_BATCH: Final = b"application/cloudevents-batch"
_REQUIRED: Final = ("id", "source", "type")
_SPECVERSION: Final = "1.0"
_VERSION: Final = re.compile(r"v[0-9]+", re.IGNORECASE)
_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_is_uuid: Final = re.compile(PATTERNS["/eventId"]).search
_is_source: Final = re.compile(PATTERNS["/source/id"]).search
_is_json: Final = re.compile(r"[^/;\s]+/(?:[^/;\s]+\+)?json\s*(?:;|\Z)", re.IGNORECASE).match
# The extension `authcontext` names kinds of actors; a person is an actor without a type.
_TYPES: Final = {
    "app_user": None, "user": None, "service_account": "service", "api_key": "service", "system": "system",
    "unauthenticated": "unknown", "unknown": "unknown",
}  # fmt: skip
ACTIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("read", "viewed", "accessed", "opened", "retrieved", "queried", "searched", "listed"), "read"),
    **dict.fromkeys(("created", "added", "inserted", "registered", "uploaded"), "create"),
    **dict.fromkeys(("updated", "changed", "modified", "edited", "patched", "renamed", "moved", "restored"), "update"),
    **dict.fromkeys(("deleted", "removed", "purged", "erased"), "delete"),
    **dict.fromkeys(("exported", "downloaded", "printed"), "export"),
    **dict.fromkeys(("login", "logged_in", "signed_in", "authenticated"), "login"),
    **dict.fromkeys(("logout", "logged_out", "signed_out"), "logout"),
    **dict.fromkeys(("granted", "revoked", "permission_changed", "role_changed"), "permission_change"),
    **dict.fromkeys(("configured", "config_changed", "enabled", "disabled"), "config_change"),
}


class _Own(Struct):
    """What an event of tlog's own format has; of other data at least one of these lacks."""

    action: Raw
    actor: Raw
    eventId: Raw  # noqa: N815 - the format's name
    resource: Raw
    timestamp: Raw


class _Structured(Struct):
    """Of a CloudEvent in the JSON format what shows whether its data is an event of tlog's own."""

    id: str
    source: str
    specversion: str
    type: str
    data: Raw | UnsetType = UNSET


_decode_structured: Final = msgspec.json.Decoder(_Structured).decode
_decode_own: Final = msgspec.json.Decoder(_Own).decode
_decode_any: Final = msgspec.json.Decoder(dict[str, Any], float_hook=number).decode
_decode_value: Final = msgspec.json.Decoder(Any, float_hook=number).decode
_encode: Final = msgspec.json.Encoder().encode


class CloudEvents:
    """The decoder of CloudEvents.

    Attributes:
        actions: which action a type is: of a whole type, or of its last part.

    """

    def __init__(self, actions: Mapping[str, str] | None = None) -> None:
        self.actions = {**ACTIONS, **(actions or {})}

    def text_of(self, headers: Sequence[tuple[bytes, bytes | None]], value: bytes | None) -> bytes:
        """Return the event that a message is, as the JSON text that `tlog.core.making.parsing` takes.

        Args:
            headers: of the message, names and values.
            value: of the message, None if it has none.

        Raises:
            MalformedInputError: the message is no CloudEvent, or nothing says its time, action or actor.

        """
        content_type = next((each or b"" for name, each in headers if name.lower() == b"content-type"), b"")
        kind = content_type.lower()
        if kind.startswith(_BATCH):
            rule = "a batch of CloudEvents; send each in a message of its own"
            raise MalformedInputError(rule)
        if kind.startswith(_STRUCTURED):
            return self._structured(value or b"")
        attributes = {
            name[3:].decode("latin-1"): (each or b"").decode(errors="replace")
            for name, each in headers
            if name.startswith(b"ce_")
        }
        if not attributes:
            rule = (
                "no CloudEvent: neither a content type that begins with application/cloudevents+json, nor headers ce_*"
            )
            raise MalformedInputError(rule)
        _check(attributes)
        if value is not None and _is_own(value):
            return value
        if content_type:
            attributes["datacontenttype"] = content_type.decode("latin-1")
        return self._map(attributes | _data_of(value, kind.decode("latin-1")))

    def _structured(self, text: bytes) -> bytes:
        try:
            event = _decode_structured(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            event = None
        if event is None:
            try:
                attributes = _decode_any(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                rule = "no CloudEvent: the value is not a JSON object"
                raise MalformedInputError(rule) from None
            _check(attributes)
            return self._map(attributes)
        if event.specversion == _SPECVERSION and isinstance(event.data, Raw) and _is_own(bytes(event.data)):
            return bytes(event.data)
        attributes = _decode_any(text)
        _check(attributes)
        return self._map(attributes)

    def _map(self, attributes: Mapping[str, Any]) -> bytes:
        """Return the event that a CloudEvent of something else becomes."""
        try:
            timestamp = to_timestamp(attributes.get("time"), pointer="/time")
        except SetAside as error:
            raise MalformedInputError(error.rule, error.pointer) from None
        ident, source, kind = (str(attributes[name]) for name in _REQUIRED)
        event: dict[str, Any] = {
            "eventId": ident.lower() if _is_uuid(ident) else event_id("cloudevents", source, ident),
            "timestamp": timestamp,
            "actor": _actor(attributes),
            "action": self._action(kind),
            "operation": kind,
            "resource": _resource(attributes.get("subject"), source),
        }
        sequence = str(attributes.get("sequence", ""))
        if _INTEGER.fullmatch(sequence) and int(sequence) < 2**53 and _is_source(source):
            event["source"] = {"id": source, "seq": int(sequence)}
        (made,) = finish(event, attributes)  # it names no related resources, so it is one event
        return _encode(made)

    def _action(self, kind: str) -> str:
        parts = [part for part in re.split(r"[./:]", kind) if part]
        while len(parts) > 1 and _VERSION.fullmatch(parts[-1]):
            parts.pop()
        action = self.actions.get(kind) or self.actions.get(parts[-1].lower() if parts else "")
        if action is None:
            rule = "nothing says which action this type is; name it with --action-map"
            raise MalformedInputError(rule, "/type")
        return action


def _is_own(data: bytes) -> bool:
    try:
        _decode_own(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _check(attributes: Mapping[str, Any]) -> None:
    for name in _REQUIRED:
        value = attributes.get(name)
        if not isinstance(value, str) or not value:
            rule = "a CloudEvent has this attribute, a text that is not empty"
            raise MalformedInputError(rule, f"/{name}")
    if attributes.get("specversion") != _SPECVERSION:
        rule = "this is not version 1.0 of CloudEvents"
        raise MalformedInputError(rule, "/specversion")


def _actor(attributes: Mapping[str, Any]) -> dict[str, str]:
    ident, kind = attributes.get("authid"), attributes.get("authtype")
    named = isinstance(ident, str) and ident != ""
    actor_type = _TYPES.get(str(kind)) if isinstance(kind, str) else None
    if actor_type == "unknown" and not named:
        return {"type": "unknown"}
    if not named:
        rule = "nothing says who acted: there is no authid"
        raise MalformedInputError(rule, "/authid")
    actor = {"userId": str(ident)}
    return actor if actor_type in (None, "unknown") else actor | {"type": str(actor_type)}


def _resource(subject: object, source: str) -> dict[str, str]:
    kind, slash, ident = subject.partition("/") if isinstance(subject, str) else ("", "", "")
    if slash and kind and ident:
        return {"type": usable_type(kind), "id": ident}
    return {"type": "cloudevents_source", "id": usable_id(source)}


def _data_of(value: bytes | None, kind: str) -> dict[str, Any]:
    """Return the data of a message in binary mode: a JSON value, a text, or base64."""
    if value is None:
        return {}
    if not kind or _is_json(kind):
        try:
            return {"data": _decode_value(value)}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    try:
        return {"data": value.decode()}
    except UnicodeDecodeError:
        return {"data_base64": b64encode(value).decode()}


def read_actions(data: bytes) -> dict[str, str]:
    """Return the actions of types that a TOML file names, one "type" = "action" in each line.

    Raises:
        MalformedInputError: it is no such file, or names an action that there is not.

    """
    try:
        found = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"the action map is not TOML: {error}"
        raise MalformedInputError(message) from None
    allowed = get_args(Action)
    for kind, action in found.items():
        if action not in allowed:
            message = f"the action map: '{kind}' is to be one of {', '.join(allowed)}"
            raise MalformedInputError(message)
    return found
