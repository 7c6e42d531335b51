"""Hypothesis strategies for events and for the many texts that mean the same JSON value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from hypothesis import strategies as st

from tlog.core.event import check_id

if TYPE_CHECKING:
    import random

ACTIONS = ["read", "create", "update", "delete", "export", "login", "logout", "permission_change", "config_change"]

# Characters that JSON, RFC 8785 or the colon count treat in their own way come more often than others.
characters = st.one_of(
    st.sampled_from(':"\\/{}[],\b\t\n\f\r\x00\x1f\x7f\x80 \u2028\u2029\ue000\ufb33\ufeff\uffff\U0001f600é~`$'),
    st.characters(exclude_categories=["Cs"]),
)
texts = st.text(characters, max_size=12)
ids = st.text(
    st.one_of(st.sampled_from(':"\\/ é\U0001f600'), st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"])),
    min_size=1,
    max_size=12,
).filter(lambda text: check_id(text) is None)

numbers = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1),
    # RFC 8785 writes what is left out here as integers that other readers round.
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not 2**53 <= abs(number) < 1e21),
    st.sampled_from([0, -0.0, 1.0, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 2**53 - 1]),
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)

uuids = st.uuids().map(str)
timestamps = st.builds(
    "{:%Y-%m-%dT%H:%M:%S}{}{}".format,
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - Hypothesis takes naive bounds
    st.sampled_from(["", ".5", ".998", ".000001", ".123456", ".10", ".1234567", ".000000001"]),
    st.sampled_from(["Z", "+00:00", "-00:00", "+01:00", "-23:59", "+05:45"]),
)


def objects(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects with these members, in any order."""
    return st.fixed_dictionaries(required, optional=optional).flatmap(
        lambda value: st.permutations(list(value.items())).map(dict)
    )


_actor_members = {
    "address": texts,
    "email": st.sampled_from(["a@example.com", "first.last+tag@mail.example", "jos\u00e9@m\u00fcnchen.example"]),
    "ipAddress": st.sampled_from(["192.0.2.7", "2001:db8::1", "::", "::ffff:192.0.2.1"]),
    "role": texts,
    "userAgent": texts,
}
actors = st.one_of(
    objects({"userId": ids}, _actor_members),
    objects({"userId": ids}, {**_actor_members, "type": st.sampled_from(["user", "service", "system"])}),
    objects({"type": st.just("unknown")}, _actor_members),
)
_types = st.sampled_from(["patient_record", "a:b", "A.b-C_9"])
resources = objects({"type": _types, "id": ids}, {"name": texts})
related = objects({"type": _types, "id": ids}, {"name": texts, "role": texts})
_names = st.text(characters, min_size=1, max_size=12)
recipients = objects({"name": _names}, {"address": _names})
details = objects(
    {},
    {
        "fieldsAccessed": st.lists(texts, max_size=3),
        "oldValues": json_objects,
        "newValues": json_objects,
        "purpose": texts,
        "reason": texts,
        "recipient": recipients,
        "query": texts,
    },
)
sources = objects({"id": st.sampled_from(["ehr-api-7", "a:b/c:d"]), "seq": st.integers(0, 2**53 - 1)}, {})


def _names_each_resource_once(event: dict[str, Any]) -> bool:
    named = [event["resource"], *event.get("relatedResources", [])]
    return len({(each["type"], normalize("NFC", each["id"])) for each in named}) == len(named)


events = objects(
    {
        "eventId": uuids,
        "timestamp": timestamps,
        "actor": actors,
        "action": st.sampled_from(ACTIONS),
        "resource": resources,
    },
    {
        "details": details,
        "metadata": json_objects,
        "operation": st.sampled_from(["TerminateInstances", "patch", "0", "a:b/c_d.e-f"]),
        "relatedResources": st.lists(related, min_size=1, max_size=4),
        "outcome": st.sampled_from(["success", "failure", "unknown"]),
        "source": sources,
    },
).filter(_names_each_resource_once)


def stored_actor(event: dict[str, Any]) -> dict[str, Any]:
    """Return the actor of an event as a log keeps it: without the type that is the same as none."""
    return {name: member for name, member in event["actor"].items() if (name, member) != ("type", "user")}


@dataclass
class Writer:
    """Writes a JSON value with random white space and random escapes.

    Attributes:
        rng: decides; the same seed writes the same text.
        duplicate: which object, counted as written, gets one of its members a second time, if any.
        duplicated: the name of that member, once written.

    """

    rng: random.Random
    duplicate: int = -1
    duplicated: str | None = None

    def text(self, value: object) -> bytes:
        """Return one JSON text of `value`."""
        return (self._space() + self._value(value) + self._space()).encode()

    def _value(self, value: object) -> str:
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, list):
            return "[" + ",".join(self._padded(self._value(item)) for item in value) + self._space() + "]"
        if isinstance(value, dict):
            return self._object(value)
        return json.dumps(value)

    def _object(self, value: dict[str, object]) -> str:
        # Counted before the objects inside; one without members cannot have one twice.
        chosen = bool(value) and self.duplicate == 0
        self.duplicate -= bool(value)
        members = [(name, self._value(child)) for name, child in value.items()]
        if chosen:
            name, text = self.rng.choice(members)
            self.duplicated = name
            others = ['"a:b"', '":::"', '"\\u003a"', "{}", '{"x":{"y":1}}', "null", "0", "[]"]
            other = self.rng.choice([text, text, *others])
            members.insert(self.rng.randint(0, len(members)), (name, other))
        written = (self._padded(self._string(name)) + ":" + self._padded(text) for name, text in members)
        return "{" + ",".join(written) + self._space() + "}"

    def _string(self, value: str) -> str:
        style = self.rng.random()
        return '"' + "".join(self._character(character, style) for character in value) + '"'

    def _character(self, character: str, style: float) -> str:
        if character in '"\\' or character < " ":
            return self.rng.choice([json.dumps(character)[1:-1], f"\\u{ord(character):04x}"])
        if self.rng.random() > style * style * style:
            return character
        if character == "/":
            return "\\/"
        units = character.encode("utf-16-be")
        escapes = [f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)]
        return "".join(escapes).upper().replace("\\U", "\\u") if self.rng.random() < 0.5 else "".join(escapes)

    def _padded(self, text: str) -> str:
        return self._space() + text + self._space()

    def _space(self) -> str:
        return self.rng.choice(["", "", "", " ", "\n", "\t", "\r", " \r\n\t "])


def count_objects(value: object) -> int:
    """Return how many objects with at least one member `value` has."""
    if isinstance(value, dict):
        return bool(value) + sum(map(count_objects, value.values()))
    return sum(map(count_objects, value)) if isinstance(value, list) else 0
