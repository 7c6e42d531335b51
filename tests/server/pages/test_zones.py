"""Times in a zone: what Python makes of them, and that a browser makes the same of them."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from browser.judging import lacks_node
from support import ROOT

from tlog.errors import MalformedInputError
from tlog.server.pages.zones import in_utc, shown, zone_of

ZONES_JS = ROOT / "tlog" / "server" / "pages" / "static" / "zones.js"
SCRIPT = """
import { readFileSync } from "node:fs";
const { inUtc, shown } = await import(process.argv[1]);
const cases = JSON.parse(readFileSync(0));
console.log(JSON.stringify(cases.map(([zone, name, text]) => name ? inUtc([[name, text]], zone)[0][1] : shown(text, zone))));
"""


def test_march_2026_in_budapest():
    march = {"from": "2026-03-01", "to": "2026-04-01", "userId": "2026-03-01"}
    asked = in_utc(march, zone_of("Europe/Budapest"))
    assert asked == {"from": "2026-02-28T23:00:00Z", "to": "2026-03-31T22:00:00Z", "userId": "2026-03-01"}
    first, last = (datetime.fromisoformat(asked[name]) for name in ("from", "to"))
    assert (last - first) / timedelta(hours=1) == 743
    assert in_utc(march, zone_of("UTC"))["to"] == "2026-04-01T00:00:00Z"


@pytest.mark.parametrize(
    "text, first, last",
    [
        (
            "2026-03-29T02:30",
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:30:00Z",
        ),  # no such time: the clock goes from 2 to 3
        ("2026-10-25T02:30", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),  # twice
        ("2026-10-25T12:00", "2026-10-25T11:00:00Z", "2026-10-25T11:00:00Z"),
        ("2026-10-25 12:00:07", "2026-10-25T11:00:07Z", "2026-10-25T11:00:07Z"),
        ("2026-10-25T12:00:00Z", "2026-10-25T12:00:00Z", "2026-10-25T12:00:00Z"),
        ("2026-02-30", "2026-02-30", "2026-02-30"),
        ("yesterday", "yesterday", "yesterday"),
    ],
)
def test_a_window_leaves_nothing_out(text, first, last):
    assert in_utc({"from": text, "to": text}, zone_of("Europe/Budapest")) == {"from": first, "to": last}


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "europe/budapest", " UTC"])
def test_a_zone_that_there_is_not_is_refused(name):
    with pytest.raises(MalformedInputError, match="IANA"):
        zone_of(name)


def test_times_are_shown_in_the_zone():
    assert shown("2026-03-30T18:21:01.440Z", zone_of("Europe/Budapest")) == "2026-03-30 20:21:01"
    assert shown("2026-03-30T18:21:01Z", zone_of("America/New_York")) == "2026-03-30 14:21:01"
    assert shown("9999-12-31T23:59:59Z", zone_of("Europe/Budapest")) == "9999-12-31T23:59:59Z"


@pytest.mark.skipif(bool(lacks_node()), reason=lacks_node() or "-")
def test_a_browser_makes_the_same_of_them():
    chance = random.Random(7)
    zones = [
        "UTC",
        "Europe/Budapest",
        "America/New_York",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "America/St_Johns",
    ]
    cases = []
    for _ in range(3000):
        moment = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * chance.randrange(4 * 24 * 365 * 40))
        form = chance.choice(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"])
        cases.append(
            (chance.choice(zones), chance.choice(["from", "to", "loggedFrom", "loggedTo"]), moment.strftime(form))
        )
        cases.append((chance.choice(zones), "", moment.strftime("%Y-%m-%dT%H:%M:%S.123Z")))
    cases += [
        ("Europe/Budapest", name, text) for name in ("from", "to") for text in ("2026-03-29T02:30", "2026-10-25T02:30")
    ]
    cases += [("Europe/Budapest", "", "9999-12-31T23:59:59Z")]
    cases += [
        ("UTC", "from", text) for text in ("2026-02-30", "nonsense", "2026-03-01T25:00", "2026-03-01T08:00+01:00")
    ]
    expected = [
        in_utc({name: text}, zone_of(zone))[name] if name else shown(text, zone_of(zone)) for zone, name, text in cases
    ]
    source = base64.b64encode(ZONES_JS.read_bytes()).decode()  # which is a module, whatever its directory says
    command = ["node", "--no-warnings", "--input-type=module", "-e", SCRIPT, f"data:text/javascript;base64,{source}"]
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    differ = [
        (case, ours, theirs)
        for case, ours, theirs in zip(cases, expected, json.loads(done.stdout), strict=True)
        if ours != theirs
    ]
    assert differ == []
