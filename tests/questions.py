"""Random questions, and what answers them found by brute force over the events that were sent."""

from __future__ import annotations

import json
import os

from support import sample_events

from tlog.core.question import parse_question

QUESTIONS = int(os.environ.get("TLOG_TEST_QUESTIONS", "300"))
_OPERATIONS = ("approve", "patch", "TerminateInstances")


def varied_events(rng, count, *, seed=1):
    """Return events as JSON texts, some of which have the optional members that questions can be about."""
    events = [json.loads(raw) for raw in sample_events(count, seed=seed)]
    resources = [event["resource"] for event in events]
    for number, event in enumerate(events):
        if rng.random() < 0.3:
            named = {(each["type"], each["id"]): each for each in rng.sample(resources, rng.choice([1, 1, 2, 10]))}
            named.pop((event["resource"]["type"], event["resource"]["id"]), None)
            if named:
                event["relatedResources"] = [{"type": kind, "id": name} for kind, name in named]
        if rng.random() < 0.3:
            event["operation"] = rng.choice(_OPERATIONS)
        if rng.random() < 0.3:
            event["source"] = {"id": rng.choice(["ehr-api:1", "ehr-api:2"]), "seq": number}
        if rng.random() < 0.1:
            del event["actor"]["userId"]
            event["actor"]["type"] = "unknown"
    return [json.dumps(event, ensure_ascii=False).encode() for event in events]


def resources_of(event):
    """The resources of an event, by the group in which each is disclosed."""
    related = event.get("relatedResources", ())
    named = {"resource": event["resource"], **{f"related/{number}": each for number, each in enumerate(related)}}
    return {group: (each["type"], each["id"]) for group, each in named.items()}


def brute_force(sent, members):
    """The eventIds of the events that answer, newest first."""
    return [event["eventId"] for event in reversed(sent) if applies(event, members)]


def applies(event, members):
    """Tell whether an event answers a question."""
    question = parse_question(members)
    wanted = {
        "userId": event["actor"].get("userId"),
        "actorType": event["actor"].get("type"),
        "action": event["action"],
        "operation": event.get("operation"),
        "sourceId": event.get("source", {}).get("id"),
        "outcome": event.get("outcome", "unknown"),
    }
    if "resourceId" not in members:
        wanted["resourceType"] = event["resource"]["type"]
    elif (members["resourceType"], members["resourceId"]) not in resources_of(event).values():
        return False
    asked = {name: value for name, value in members.items() if name in wanted}
    times = {name: value for name, value in question.document().items() if name in ("from", "to")}
    at = event["timestamp"]  # the sample's are all in UTC with three digits
    return (
        "control" not in members
        and all(wanted[name] == value for name, value in asked.items())
        and times.get("from", "") <= at
        and (at < times["to"] if "to" in times else True)
    )


def random_question(rng, sent):
    """A question that some event answers, or that nothing may answer."""
    event = rng.choice(sent)
    absent = rng.random() < 0.05
    user = event["actor"].get("userId")
    resource = rng.choice([*resources_of(event).values()])
    candidates = {
        "resource": {"resourceType": resource[0], "resourceId": resource[1]},
        "user": {"actorType": "unknown"} if user is None else {"userId": "nobody" if absent else user},
        "resourceType": {"resourceType": event["resource"]["type"]},
        **{name: {name: event[name]} for name in ("action", "operation") if name in event},
        "outcome": {"outcome": event.get("outcome", "unknown")},
        **({"sourceId": {"sourceId": event["source"]["id"]}} if "source" in event else {}),
        "from": {"from": min(event["timestamp"], rng.choice(sent)["timestamp"])},
        "to": {"to": max(event["timestamp"], rng.choice(sent)["timestamp"])},
    }
    members = {}
    # A resource with its ID comes last, because it decides the type as well.
    for name in sorted(rng.sample(sorted(candidates), rng.randint(0, 3)), key=lambda name: name == "resource"):
        members |= candidates[name]
    if "from" in members:
        members["loggedFrom"] = "2020-01-01"
    if "from" in members and "to" in members and members["from"] > members["to"]:
        del members["to"]
    return members
