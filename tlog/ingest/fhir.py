"""FHIR R4 AuditEvent (https://hl7.org/fhir/R4/auditevent.html) as events; docs/how-to/import-from.md is this mapping in words.

Only a record without a readable `recorded` is set aside: every other member may lack or be odd. Codes are compared without
their systems, because senders leave systems out. The metadata hold the whole resource. Left out: FHIR's own validation, and R5.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final

from tlog.core.event import PATTERNS
from tlog.ingest.pointers import write_pointer
from tlog.ingest.total import SetAside, event_id, finish, first_text, text_of, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tlog.ingest.pointers import Steps

_LETTERS: Final = {"C": "create", "R": "read", "U": "update", "D": "delete"}
# Of `E` (execute) the subtype decides, then the type. DICOM PS3.16, CID 400, 401 and 403 (audit event IDs and types); HL7
# http://hl7.org/fhir/restful-interaction.
_CODES: Final = {
    "110100": "config_change",  # Application Activity: started or stopped
    "110101": "read",  # Audit Log Used
    "110105": "delete",  # DICOM Study Deleted
    "110106": "export",  # Export
    "110107": "create",  # Import
    "110112": "read",  # Query
    "110114": "login",  # User Authentication, where no subtype says that it was a logout
    "110120": "config_change",  # Application Start
    "110121": "config_change",  # Application Stop
    "110122": "login",  # Login
    "110123": "logout",  # Logout
    "110126": "login",  # Node Authentication
    "110127": "permission_change",  # Emergency Override Started
    "110128": "config_change",  # Network Configuration
    "110129": "config_change",  # Security Configuration
    "110130": "config_change",  # Hardware Configuration
    "110131": "config_change",  # Software Configuration
    "110133": "config_change",  # Audit Recording Stopped
    "110134": "config_change",  # Audit Recording Started
    "110135": "permission_change",  # Object Security Attributes Changed
    "110136": "permission_change",  # Security Roles Changed
    "110137": "permission_change",  # User security Attributes Changed
    "110138": "permission_change",  # Emergency Override Stopped
    "read": "read",
    "vread": "read",
    "search": "read",
    "search-type": "read",
    "search-system": "read",
    "history": "read",
    "history-instance": "read",
    "history-type": "read",
    "history-system": "read",
    "capabilities": "read",
    "create": "create",
    "update": "update",
    "patch": "update",
    "delete": "delete",
}
_OTHERWISE: Final = "update"
_OUTCOMES: Final = {"0": "success", "4": "failure", "8": "failure", "12": "failure"}
_DESTINATIONS: Final = frozenset(("110152", "110154"))  # Destination Role ID, Destination Media
_PATIENT_ROLE: Final = "1"  # http://terminology.hl7.org/CodeSystem/object-role
_UUID: Final = re.compile(PATTERNS["/eventId"])
# RESTful URL of a resource, or of one version of it: https://hl7.org/fhir/R4/references.html#literal
_REFERENCE: Final = re.compile(
    r"((?:https?://[^?#]*/)?)([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})(/_history/[A-Za-z0-9.-]{1,64})?"
)


class FhirMapping:
    """The mapping `fhir`.

    Attributes:
        name: `fhir`.

    """

    name = "fhir"

    def __init__(self, *, key: bytes | None = None, space: str | None = None) -> None:
        self._key = key
        self._space = self.name if space is None else space

    def split(self, document: Any) -> list[tuple[Steps, Any]]:  # noqa: ANN401 - any JSON value
        """Return (steps, record) of each resource in a Bundle, else the value itself."""
        entries = document.get("entry") if isinstance(document, dict) else None
        if isinstance(entries, list) and entries and document.get("resourceType") == "Bundle":
            return [
                (("entry", number, "resource"), _object(each).get("resource")) for number, each in enumerate(entries)
            ]
        return [((), document)]

    def map(self, record: Any, position: int) -> list[dict[str, Any]]:  # noqa: ANN401 - any JSON value
        """Return the events of an AuditEvent, or of a Bundle of them; the position is not needed.

        Raises:
            SetAside: the record has no time in `recorded`, or says that it is another resource.

        """
        del position
        events = []
        for steps, each in self.split(record):
            try:
                events += finish(self._event(each), each)
            except SetAside as error:
                raise SetAside(error.rule, f"{write_pointer(steps)}{error.pointer}") from None
        return events

    def _event(self, record: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
        if not isinstance(record, dict):
            rule = "a record is a JSON object"
            raise SetAside(rule)
        if record.get("resourceType", "AuditEvent") != "AuditEvent":
            rule = "the resource is no AuditEvent"
            raise SetAside(rule, "/resourceType")
        own = text_of(record.get("id"))
        if own is not None and _UUID.search(own):
            used = own.lower()
        else:
            used = event_id(self._space, record if own is None else own, key=self._key)
        main, others = _resources(record)
        return {
            "eventId": used,
            "timestamp": to_timestamp(record.get("recorded"), pointer="/recorded"),
            "action": _action(record),
            "operation": first_text(*(coding.get("code") for coding in _objects(record.get("subtype")))),
            "outcome": _OUTCOMES.get(text_of(record.get("outcome")) or "", "unknown"),
            "actor": _actor(_requestor(record)),
            "resource": main,
            "relatedResources": others,
            "details": _details(record),
        }


def _action(record: dict[str, Any]) -> str:
    letter = _LETTERS.get(text_of(record.get("action")) or "")
    if letter is not None:
        return letter
    codings = (*_objects(record.get("subtype")), *_objects(record.get("type")))
    codes = (text_of(coding.get("code")) for coding in codings)
    return next((_CODES[code] for code in codes if code in _CODES), _OTHERWISE)


def _requestor(record: dict[str, Any]) -> dict[str, Any] | None:
    return next((agent for agent in _objects(record.get("agent")) if agent.get("requestor") is True), None)


def _actor(agent: dict[str, Any] | None) -> dict[str, Any]:
    if agent is None:
        return {}
    who, network = _object(agent.get("who")), _object(agent.get("network"))
    reference = text_of(who.get("reference"))
    return {
        "userId": first_text(
            _object(who.get("identifier")).get("value"),
            reference,
            agent.get("altId"),
            agent.get("name"),
            who.get("display"),
        ),
        "role": first_text(*(_concept(role) for role in _objects(agent.get("role"))), _concept(agent.get("type"))),
        "type": "system" if _reference(reference)[0] == "Device" else None,
        "address": network.get("address"),
    }


def _details(record: dict[str, Any]) -> dict[str, Any]:
    purposes = [*_objects(record.get("purposeOfEvent")), *_objects((_requestor(record) or {}).get("purposeOfUse"))]
    queries = [entity.get("query") for entity in _objects(record.get("entity"))]
    return {
        "purpose": first_text(*(_code(purpose) for purpose in purposes)),
        "query": first_text(*map(_decode, queries)),
        "reason": text_of(record.get("outcomeDesc")),
        "recipient": next(
            (_recipient(agent) for agent in _objects(record.get("agent")) if _code(agent.get("type")) in _DESTINATIONS),
            None,
        ),
    }


def _recipient(agent: dict[str, Any]) -> dict[str, Any]:
    who, address = _object(agent.get("who")), _object(agent.get("network")).get("address")
    named = first_text(
        agent.get("name"), who.get("display"), who.get("reference"), _object(who.get("identifier")).get("value"),
        agent.get("altId"), address,
    )  # fmt: skip
    return {"name": named, "address": address}


# --- Resources ----------------------------------------------------------------------------------------------------------


def _resources(record: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the main resource, and what else the record names: each entity and agent under each of its names."""
    entities = [(entity, list(_names(entity))) for entity in _objects(record.get("entity"))]
    leading = [names[0] for entity, names in entities if names and _object(entity.get("what"))]
    main = next((name for name in leading if name["type"] == "Patient"), leading[0] if leading else _observer(record))
    others = [name for _, names in entities for name in names]
    for agent in _objects(record.get("agent")):
        role = first_text(_concept(agent.get("type")), *(_concept(each) for each in _objects(agent.get("role"))))
        own = _actor(agent)["userId"] if agent is _requestor(record) else None  # stands in actor.userId
        names = (name for name in _agent_names(agent) if name["id"] != own)
        others += [{**name, "role": None if role is None else role[:64]} for name in names]
    return main, [name for name in others if name != main]


def _names(entity: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an entity as a resource under each of its names, the first one for the main resource."""
    what, role = _object(entity.get("what")), _object(entity.get("role"))
    kind = first_text(
        what.get("type"), "Patient" if text_of(role.get("code")) == _PATIENT_ROLE else None, _kind(entity.get("type"))
    )
    known = {
        "name": first_text(entity.get("name"), what.get("display")),
        "role": (first_text(role.get("display"), role.get("code")) or "")[:64] or None,
    }
    found = list(_references(what, kind or "Entity"))
    if not found and known["name"] is not None:  # described, but not referred to
        found = [{"type": kind or "Entity", "id": known.pop("name")}]
    yield from ({**known, **resource} for resource in found)


def _agent_names(agent: dict[str, Any]) -> Iterator[dict[str, Any]]:
    who = _object(agent.get("who"))
    yield from _references(who, text_of(who.get("type")) or "Agent")
    for other in (agent.get("altId"), None if who else agent.get("name")):
        if (text := text_of(other)) is not None:
            yield {"type": "Agent", "id": text}


def _references(what: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    """Yield (type, id) of a Reference: what it leads to, the version of that, and its identifier."""
    reference = text_of(what.get("reference"))
    if reference is not None:
        found, base, own, version = _reference(reference)
        if found is None:
            yield {"type": kind, "id": reference}
        else:
            yield {"type": found, "id": f"{base}{found}/{own}" if base else own}
            if base:
                yield {"type": found, "id": own}
            if version:
                yield {"type": found, "id": f"{own}{version}"}
    identifier = text_of(_object(what.get("identifier")).get("value"))
    if identifier is not None:
        yield {"type": kind, "id": identifier}


def _reference(reference: str | None) -> tuple[str | None, str, str, str]:
    """Return type, base URL, id and version of a literal reference; no type if it is none."""
    match = _REFERENCE.fullmatch(reference or "")
    return (None, "", "", "") if match is None else (match[2], match[1], match[3], match[4] or "")


def _observer(record: dict[str, Any]) -> dict[str, Any]:
    """Return the system that made the record, which a record without entities is about, such as that of a login."""
    source = _object(record.get("source"))
    observer = _object(source.get("observer"))
    named = first_text(observer.get("display"), source.get("site"))
    found = next(_references(observer, text_of(observer.get("type")) or "AuditSource"), None)
    if found is not None:
        return {**found, "name": named}
    return {"type": "AuditSource", "id": named or "unknown"}


# --- Reading whatever is there ------------------------------------------------------------------------------------------


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list, or a single object as a list of one."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]


def _code(concept: object) -> str | None:
    """Return the code of a CodeableConcept or Coding, else its text."""
    codings = (*_objects(_object(concept).get("coding")), *_objects(concept))
    return first_text(*(coding.get("code") for coding in codings), _object(concept).get("text"))


def _concept(concept: object) -> str | None:
    """Return what a CodeableConcept or Coding says to a reader."""
    codings = (*_objects(_object(concept).get("coding")), *_objects(concept))
    return first_text(
        _object(concept).get("text"),
        *(coding.get("display") for coding in codings),
        *(coding.get("code") for coding in codings),
    )


def _kind(coding: object) -> str | None:
    """Return a resource type of an entity's type: the code of FHIR's resource types, else what a reader sees."""
    own = _object(coding)
    code = text_of(own.get("code"))
    return code if code is not None and code[:1].isalpha() else first_text(own.get("display"), code)


def _decode(query: object) -> str | None:
    """Return a base64Binary as text, or as it stands if it is none."""
    text = text_of(query)
    try:
        return text and (base64.b64decode("".join(text.split()), validate=True).decode() or None)
    except (binascii.Error, ValueError):
        return text
