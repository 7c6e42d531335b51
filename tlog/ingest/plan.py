"""The plan of an event: what a mapping file says of each member, compiled once and then followed for every record.

`compile_plan` refuses what is no member or no rule, with the name of the file and the pointer of the member; `make_event` follows
the plan. What `make_event` returns may hold any value; `tlog.ingest.total.finish` makes an event of that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

from tlog.core.event import PATTERNS, Action, ActorType, Outcome
from tlog.ingest.pointers import Segment, find
from tlog.ingest.rules import POSITION, Compiler, IdRule, Rule, usable
from tlog.ingest.total import UNITS, SetAside, event_id, find_zone, text_of, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UUID: Final = re.compile(PATTERNS["/eventId"])
_ACTIONS: Final = get_args(Action)
_OUTCOMES: Final = get_args(Outcome)
_ACTOR_TYPES: Final = get_args(ActorType)
ACTOR: Final = ("userId", "email", "role", "type", "address", "userAgent")
DETAILS: Final = ("query", "reason", "purpose")
_NO_ACTION: Final = "the mapping has no action for this record"
_NO_ID: Final = "there is no value to make the eventId of"

Rules = list[tuple[str, Rule]]


class _Time(NamedTuple):
    """One candidate of a timestamp: where it stands, and how it is meant."""

    rule: Rule
    unit: str | None
    zone: str | None
    pointer: str


class _Related(NamedTuple):
    """Rules of related resources, one resource for each value that `each` leads to; without `each` for the element itself."""

    within: bool
    each: tuple[Segment, ...]
    rules: Rules


class Plan(NamedTuple):
    """The members of one event, compiled."""

    event_id: IdRule
    event_id_pointer: str
    times: list[_Time]
    action: Rule
    action_pointer: str
    operation: Rule | None
    outcome: Rule | None
    resources: list[Rules]
    actor: Rules
    related: list[_Related]
    details: Rules
    fields: tuple[bool, tuple[Segment, ...]] | None
    recipient: Rules


# --- Following a plan ---------------------------------------------------------------------------------------------------


def make_event(plan: Plan, record: Any, element: Any, position: int, place: str) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Return an event of one element of a record, with whatever values the record has.

    Args:
        plan: what `compile_plan` returned.
        record: the whole record.
        element: what "./" points into, the record itself without `each`.
        position: what "#" stands for.
        place: pointer to the element, for errors.

    Raises:
        SetAside: the record is no event, by the rule that the error states.

    """
    scope = record, element, position
    action = plan.action(*scope)
    if action not in _ACTIONS:
        raise SetAside(_NO_ACTION, _located(plan.action_pointer, place))
    used = plan.event_id(*scope)
    if used is None:
        raise SetAside(_NO_ID, _located(plan.event_id_pointer, place))
    event = {
        "eventId": used,
        "timestamp": _timestamp(plan.times, scope, place),
        "action": action,
        "actor": _fill(plan.actor, scope),
        "resource": _resource(plan.resources, scope),
    }
    if plan.operation is not None:
        event["operation"] = plan.operation(*scope)
    if plan.outcome is not None and (outcome := plan.outcome(*scope)) in _OUTCOMES:
        event["outcome"] = outcome
    if plan.related:
        event["relatedResources"] = [resource for related in plan.related for resource in _find_related(related, scope)]
    if plan.details or plan.fields or plan.recipient:
        event["details"] = _details(plan, scope)
    return event


def _timestamp(times: list[_Time], scope: tuple[Any, Any, int], place: str) -> str:
    refused = SetAside("there is no time", _located(times[0].pointer, place))
    for number, time in enumerate(times):
        value = time.rule(*scope)
        try:
            if value is not None:
                return to_timestamp(value, unit=time.unit, zone=time.zone, pointer=_located(time.pointer, place))
        except SetAside as error:
            refused = error if number == 0 else refused
    raise refused


def _fill(rules: Rules, scope: tuple[Any, Any, int]) -> dict[str, Any]:
    done = {}
    for name, rule in rules:
        value = rule(*scope)
        if value is not None:
            done[name] = value
    return done


def _fill_resource(rules: Rules, scope: tuple[Any, Any, int]) -> dict[str, Any]:
    """Return a resource, empty if the first rule, which is that of the id, gives none."""
    name, rule = rules[0]
    value = rule(*scope)
    return {} if value is None else {name: value, **_fill(rules[1:], scope)}


def _resource(resources: list[Rules], scope: tuple[Any, Any, int]) -> dict[str, Any]:
    """Return the first resource with type and id, else the first with an id."""
    partly: dict[str, Any] = {}
    for rules in resources:
        found = _fill_resource(rules, scope)
        if "type" in found:
            return found
        partly = partly or found
    return partly


def _find_related(related: _Related, scope: tuple[Any, Any, int]) -> Iterator[dict[str, Any]]:
    record, element, position = scope
    start = element if related.within else record
    for each in find(start, related.each) if related.each else (start,):
        resource = _fill_resource(related.rules, (record, each, position))
        if resource:
            yield resource


def _details(plan: Plan, scope: tuple[Any, Any, int]) -> dict[str, Any]:
    details = _fill(plan.details, scope)
    if plan.fields is not None:
        within, segments = plan.fields
        fields = [value for value in find(scope[1] if within else scope[0], segments) if usable(value) is not None]
        if fields:
            details["fieldsAccessed"] = fields
    recipient = _fill(plan.recipient, scope)
    return {**details, "recipient": recipient} if recipient else details


def _located(pointer: str, place: str) -> str:
    """Return a pointer of the mapping as a pointer into the record."""
    return f"{place}{pointer[1:]}" if pointer.startswith(".") else pointer


# --- Compiling a plan ---------------------------------------------------------------------------------------------------


def compile_plan(compiler: Compiler, event: object, space: str, key: bytes | None) -> Plan:
    """Return the plan that the member `event` of a mapping file asks for.

    Args:
        compiler: has the file's tables, and refuses in its name.
        event: the member as it stands.
        space: id space of eventIds made of values.
        key: 32 secret bytes for these, or None.

    Raises:
        MalformedInputError: something in it is no member or no rule.

    """
    members = compiler.members(
        event,
        "/event",
        needed=("eventId", "timestamp", "action", "resource"),
        allowed=("operation", "outcome", "actor", "related", "details"),
    )
    details = compiler.members(
        members.get("details", {}), "/event/details", allowed=(*DETAILS, "fieldsAccessed", "recipient")
    )
    fields = details.get("fieldsAccessed")
    outcome, operation = members.get("outcome"), members.get("operation")
    return Plan(
        event_id=_Ids(space, key).compile(compiler, members["eventId"], "/event/eventId"),
        event_id_pointer=_pointer_in(members["eventId"]),
        times=_times(compiler, members["timestamp"], "/event/timestamp"),
        action=compiler.rule(members["action"], "/event/action", _ACTIONS),
        action_pointer=_pointer_in(members["action"]),
        operation=None if operation is None else compiler.rule(operation, "/event/operation"),
        outcome=None if outcome is None else compiler.rule(outcome, "/event/outcome", _OUTCOMES),
        resources=_resources(compiler, members["resource"]),
        actor=_rules(compiler, members.get("actor", {}), "/event/actor", allowed=ACTOR),
        related=_related(compiler, members.get("related", [])),
        details=_rules(
            compiler, {name: details[name] for name in DETAILS if name in details}, "/event/details", allowed=DETAILS
        ),
        fields=None if fields is None else compiler.segments(fields, "/event/details/fieldsAccessed"),
        recipient=_rules(
            compiler, details.get("recipient", {}), "/event/details/recipient", allowed=("name", "address")
        ),
    )


def _rules(
    compiler: Compiler, value: object, pointer: str, *, needed: tuple[str, ...] = (), allowed: tuple[str, ...] = ()
) -> Rules:
    members = compiler.members(value, pointer, needed=needed, allowed=allowed)
    return [
        (
            name,
            compiler.rule(
                rule, f"{pointer}/{name}", _ACTOR_TYPES if pointer.endswith("actor") and name == "type" else None
            ),
        )
        for name, rule in sorted(members.items(), key=lambda member: member[0] != "id")
    ]


def _resources(compiler: Compiler, value: object) -> list[Rules]:
    several = value if isinstance(value, list) and value else [value]
    return [
        _rules(
            compiler,
            each,
            f"/event/resource/{number}" if several is value else "/event/resource",
            needed=("type", "id"),
            allowed=("name",),
        )
        for number, each in enumerate(several)
    ]


def _related(compiler: Compiler, value: object) -> list[_Related]:
    if not isinstance(value, list):
        compiler.refuse("/event/related", "expected a list")
    found = []
    for number, each in enumerate(value):
        pointer = f"/event/related/{number}"
        members = compiler.members(each, pointer, needed=("type", "id"), allowed=("each", "name", "role"))
        within, segments = compiler.segments(members.get("each", "."), f"{pointer}/each")
        rules = {name: rule for name, rule in members.items() if name != "each"}
        found.append(_Related(within, segments, _rules(compiler, rules, pointer, allowed=tuple(rules))))
    return found


def _times(compiler: Compiler, value: object, pointer: str) -> list[_Time]:
    if isinstance(value, list) and value:
        return [time for number, each in enumerate(value) for time in _times(compiler, each, f"{pointer}/{number}")]
    members: Mapping[str, Any] = {"from": value}
    if isinstance(value, dict):
        members = compiler.members(value, pointer, needed=("from",), allowed=("unit", "zone"))
    unit, zone = members.get("unit"), members.get("zone")
    if unit is not None and unit not in tuple(UNITS):
        compiler.refuse(f"{pointer}/unit", f"expected one of {', '.join(UNITS)}")
    if zone is not None:
        try:
            find_zone(compiler.text(zone, f"{pointer}/zone"))
        except ValueError:
            compiler.refuse(f"{pointer}/zone", "expected UTC, an offset such as +02:00, or the name of a time zone")
    source = members["from"]
    several = source["first"] if isinstance(source, dict) and source.keys() == {"first"} else None
    if isinstance(several, list) and several:  # each candidate counts only if it can be read as a time
        return [
            _Time(compiler.rule(each, f"{pointer}/from/first/{number}"), unit, zone, _pointer_in(each))
            for number, each in enumerate(several)
        ]
    rule_pointer = f"{pointer}/from" if members is value else pointer
    return [_Time(compiler.rule(source, rule_pointer), unit, zone, _pointer_in(source))]


def _pointer_in(rule: object) -> str:
    """Return the pointer of a rule for messages: of several candidates the last one's, which is the most general."""
    if isinstance(rule, str):
        return "" if rule == POSITION else rule
    if isinstance(rule, dict):
        inner = next((rule[name] for name in ("from", "first", "join", "uuid") if name in rule), None)
        return _pointer_in(inner[-1] if isinstance(inner, list) else inner)
    return _pointer_in(rule[0]) if isinstance(rule, list) else ""


class _Ids(NamedTuple):
    """Compiles a rule of eventIds: a list of values, a UUID of the record's own, or the first of several such rules."""

    space: str
    key: bytes | None

    def compile(self, compiler: Compiler, value: object, pointer: str) -> IdRule:
        if isinstance(value, list) and value:
            rules = [_id_value(compiler, each, f"{pointer}/{number}") for number, each in enumerate(value)]
            return self._of_values(rules)
        members = value if isinstance(value, dict) else {}
        if members.keys() == {"uuid"}:
            return self._of_uuid(compiler.rule(members["uuid"], f"{pointer}/uuid"))
        several = members.get("first")
        if members.keys() != {"first"} or not isinstance(several, list) or not several:
            rule = "expected a list of rules, a table with the member uuid, or a table with a list in the member first"
            compiler.refuse(pointer, rule)
        each = [self.compile(compiler, item, f"{pointer}/first/{number}") for number, item in enumerate(several)]
        return lambda *scope: next((found for found in (rule(*scope) for rule in each) if found is not None), None)

    def _of_values(self, rules: list[Rule]) -> IdRule:
        def made(record: Any, element: Any, position: int) -> str | None:  # noqa: ANN401 - any JSON value
            first = rules[0](record, element, position)
            if first is None:
                return None
            return event_id(self.space, first, *(rule(record, element, position) for rule in rules[1:]), key=self.key)

        return made

    def _of_uuid(self, rule: Rule) -> IdRule:
        def taken(record: Any, element: Any, position: int) -> str | None:  # noqa: ANN401 - any JSON value
            text = text_of(rule(record, element, position))
            if text is None:
                return None
            return text.lower() if _UUID.search(text) else event_id(self.space, text, key=self.key)

        return taken


def _id_value(compiler: Compiler, rule: object, pointer: str) -> Rule:
    if rule == "":  # the whole record identifies itself
        return lambda record, _element, _position: record
    return compiler.rule(rule, pointer)
