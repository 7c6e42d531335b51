"""Random questions, and what answers them found by brute force over the events that were sent."""

from __future__ import annotations

import os

from tlog.core.question import parse_question

QUESTIONS = int(os.environ.get("TLOG_TEST_QUESTIONS", "300"))


def brute_force(sent, members):
    """The eventIds of the events that answer, newest first."""
    question = parse_question(members)

    def applies(event):
        wanted = {
            "userId": event["actor"]["userId"],
            "resourceType": event["resource"]["type"],
            "resourceId": event["resource"]["id"],
            "action": event["action"],
            "outcome": event.get("outcome", "unknown"),
        }
        asked = {name: value for name, value in members.items() if name in wanted}
        times = {name: value for name, value in question.document().items() if name in ("from", "to")}
        at = event["timestamp"]  # the sample's are all in UTC with three digits
        return (
            all(wanted[name] == value for name, value in asked.items())
            and times.get("from", "") <= at
            and (at < times["to"] if "to" in times else True)
        )

    return [event["eventId"] for event in reversed(sent) if applies(event)]


def random_question(rng, sent):
    event = rng.choice(sent)
    absent = rng.random() < 0.05
    candidates = {
        "userId": "nobody" if absent else event["actor"]["userId"],
        "resource": event["resource"],
        "resourceType": event["resource"]["type"],
        "action": event["action"],
        "outcome": event.get("outcome", "unknown"),
        "from": min(event["timestamp"], rng.choice(sent)["timestamp"]),
        "to": max(event["timestamp"], rng.choice(sent)["timestamp"]),
    }
    names = rng.sample(sorted(candidates), rng.randint(0, 3))
    members = {name: candidates[name] for name in names if name != "resource"}
    if "resource" in names:
        members |= {"resourceType": event["resource"]["type"], "resourceId": event["resource"]["id"]}
    if "from" in members:
        members["loggedFrom"] = "2020-01-01"
    if "from" in members and "to" in members and members["from"] > members["to"]:
        del members["to"]
    return members
