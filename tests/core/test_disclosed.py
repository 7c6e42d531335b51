"""What is disclosed: each group has its own members, and leads to one ident."""

from __future__ import annotations

import pytest
from bundles import Event, canonical

from tlog.core.disclosed import disclosed_ident
from tlog.core.entry import parse_entry
from tlog.core.pseudonym import actor_ident, related_ident, resource_ident
from tlog.errors import MalformedInputError, VerificationError

EVENT = Event(1, "u", ("record", "R:4"), "read", at=1, outcome="success", related=[("patient", "P:1")])
ENTRY = parse_entry(EVENT.entry.encode())
RESOURCE = {"id": "R:4", "type": "record"}


def ident(group, body):
    return disclosed_ident(ENTRY, group, body if isinstance(body, bytes) else canonical(body).encode())


GOOD = {
    "actor": ("actor", {"appendedBy": "k", "userId": "u"}, actor_ident("u")),
    "service": ("actor", {"appendedBy": "k", "type": "service", "userId": "u"}, actor_ident("u")),
    "system": ("actor", {"appendedBy": "k", "type": "system", "userId": "u"}, actor_ident("u")),
    "unknown actor": ("actor", {"appendedBy": "k", "type": "unknown", "role": "r"}, actor_ident("")),
    "all of an actor": (
        "actor",
        {"address": "a", "appendedBy": "k", "email": "e", "ipAddress": "i", "role": "r", "userAgent": "a", "userId": "u"},
        actor_ident("u"),
    ),
    "resource": ("resource", {"resource": RESOURCE}, resource_ident("record", "R:4")),
    "all of a resource": (
        "resource",
        {"details": {"fieldsAccessed": [], "newValues": {}, "oldValues": {}, "purpose": "p", "query": "q", "reason": "r", "recipient": {}},
         "metadata": {"any": "thing"}, "resource": RESOURCE | {"name": "n"}},
        resource_ident("record", "R:4"),
    ),
    "related": ("related/0", {"id": "P:1", "type": "patient"}, related_ident("patient", "P:1")),
    "all of a related one": (
        "related/31", {"id": "P:1", "name": "n", "role": "r", "type": "patient"}, related_ident("patient", "P:1"),
    ),
    "numbers as they are written": (
        "resource", b'{"metadata":{"n":100000000000000000000},"resource":{"id":"R:4","type":"record"}}', resource_ident("record", "R:4"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_group_leads_to_an_ident(name):
    group, body, expected = GOOD[name]
    assert ident(group, body) == expected


MALFORMED = {
    "an actor without appendedBy": ("actor", {"userId": "u"}),
    "appendedBy that is a number": ("actor", {"appendedBy": 1, "userId": "u"}),
    "an actor without a userId": ("actor", {"appendedBy": "k"}),
    "an actor with an empty userId": ("actor", {"appendedBy": "k", "userId": ""}),
    "a userId that is a number": ("actor", {"appendedBy": "k", "userId": 1}),
    "an unknown actor with a userId": ("actor", {"appendedBy": "k", "type": "unknown", "userId": "u"}),
    "a type that is not stored": ("actor", {"appendedBy": "k", "type": "user", "userId": "u"}),
    "a type that there is not": ("actor", {"appendedBy": "k", "type": "robot", "userId": "u"}),
    "a service without a userId": ("actor", {"appendedBy": "k", "type": "service"}),
    "an actor with more": ("actor", {"appendedBy": "k", "userId": "u", "x": 1}),
    "a list": ("actor", []),
    "a resource that is a text": ("resource", {"resource": "R:4"}),
    "a resource without a type": ("resource", {"resource": {"id": "R:4"}}),
    "a resource without an id": ("resource", {"resource": {"type": "record"}}),
    "a resource with more": ("resource", {"resource": RESOURCE | {"role": "r"}}),
    "a group with more": ("resource", {"resource": RESOURCE, "actor": {}}),
    "details with more": ("resource", {"details": {"x": 1}, "resource": RESOURCE}),
    "details that are a list": ("resource", {"details": [], "resource": RESOURCE}),
    "metadata that is a text": ("resource", {"metadata": "x", "resource": RESOURCE}),
    "a related resource with more": ("related/0", {"id": "P:1", "type": "patient", "x": 1}),
    "a related resource without a type": ("related/0", {"id": "P:1"}),
    "a related resource whose id is a number": ("related/0", {"id": 1, "type": "patient"}),
    "another group": ("related/0", {"resource": RESOURCE}),
    "no JSON": ("actor", b"{"),
    "a member twice": ("actor", b'{"appendedBy":"k","userId":"u","userId":"u"}'),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_what_no_event_has_there_is_malformed(name):
    with pytest.raises(MalformedInputError):
        ident(*MALFORMED[name])


def test_a_resource_is_of_the_type_that_the_entry_says():
    with pytest.raises(VerificationError, match="another type than the entry says"):
        ident("resource", {"resource": {"id": "R:4", "type": "bill"}})
