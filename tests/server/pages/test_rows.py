"""Rows of events: an accounting is what a naive recount says, and a browser's cells are the server's."""

from __future__ import annotations

import json
import random
from collections import Counter

from tlog.server.pages.rows import NOT_ACCOUNTED_FOR, accounting
from tlog.server.pages.zones import zone_of

PURPOSES = ["TREAT", "HPAYMT", "HOPERAT", "PUBHLTH", "HRESCH", None]


def made(number, chance):
    event = {
        "eventId": str(number), "timestamp": f"2026-{1 + number // 84:02}-{1 + number // 3 % 28:02}T10:00:00Z", "outcome": "success",
        "action": chance.choice(["export", "export", "read"]), "resource": {"type": chance.choice(["patient_record", "log"]), "id": "P-1"},
        "actor": {"userId": "x"}, "log": {"index": number, "loggedAt": "2026-12-01T00:00:00.000000Z", "lost": [], "missing": []},
    }  # fmt: skip
    if (where := chance.random()) < 0.1:
        event["log"]["lost"] = [{"group": "resource", "by": 9}]
        del event["resource"]["id"]
    elif where < 0.9:
        purpose = chance.choice(PURPOSES)
        recipient = {"name": chance.choice(["A", "B"]), **({"address": "C"} if chance.random() < 0.5 else {})}
        event["details"] = {"recipient": recipient, **({"purpose": purpose} if purpose else {})}
    return event


def test_an_accounting_of_a_thousand_events_is_what_a_naive_recount_says():
    chance = random.Random(5)
    events = [made(number, chance) for number in range(1000)]
    found = accounting(events, zone_of("UTC"))
    disclosures = Counter()
    counts = Counter()
    for event in events:
        if event["action"] == "export" and event["resource"]["type"] != "log":
            details = event.get("details", {})
            if event["log"]["lost"]:
                counts["unknown"] += 1
            elif "recipient" not in details:
                counts["without"] += 1
            elif details.get("purpose") in {"TREAT", "HPAYMT", "HOPERAT"}:
                counts["left out"] += 1
            else:
                disclosures[json.dumps(details["recipient"]), details.get("purpose")] += 1
    assert len(found.rows) == len(disclosures)
    assert (found.left_out, found.without_recipient, found.unknown) == (
        counts["left out"],
        counts["without"],
        counts["unknown"],
    )
    told = sum(int(row[0].split(", ")[1].split(" ")[0]) if ", " in row[0] else 1 for row in found.rows)
    assert told == disclosures.total() > 100
    assert not {row[4] for row in found.rows} & NOT_ACCOUNTED_FOR
    assert [row[0][:19] for row in found.rows] == sorted(row[0][:19] for row in found.rows)
