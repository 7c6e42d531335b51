"""The timeline of one resource: old and new values side by side."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from support import append, sample_events
from visitor import make_key, rows_of, visiting

pytestmark = pytest.mark.anyio


def changed(number, old, new):
    event = json.loads(sample_events(1, seed=number)[0])
    event |= {
        "action": "update",
        "resource": {"type": "batch", "id": "a/b c"},
        "timestamp": f"2026-03-17T10:0{number}:00Z",
    }
    event["details"] = {"oldValues": old, "newValues": new, "purpose": "TREAT"}
    return event


async def test_what_became_of_a_resource(opened):
    events = [
        changed(1, {"dose": "5 mg"}, {"dose": "7 mg", "route": "oral"}),
        changed(2, {"checked": False, "n": 1}, {"checked": True}),
    ]
    async with opened() as log, visiting(log, zone="Europe/Budapest") as visitor:
        await append(log, [json.dumps(event).encode() for event in events])
        await visitor.sign_in((await make_key(log))[0])
        page = await visitor.get(f"/ui/resource/batch/{quote('a/b c', safe='')}", **{"from": "2026-03-17"})
        assert page.status_code == 200
        newest, oldest = rows_of(page.text)
        assert (newest[0], newest[3], newest[4]) == ("2026-03-17 11:02:00", "batch a/b c", "TREAT")
        assert newest[6] == "checked false → truen 1 → "
        assert oldest[6] == "dose 5 mg → 7 mgroute  → oral"
        unfolded = re.search(r'id="folded".*?<a href="(/ui/resource/batch/a%2Fb%20c\?[^"]*)">', page.text)
        assert unfolded, "the link has the path as it was asked for"
        query = {"ask": "page", "from": "2026-03-16T23:00:00Z", "page": "timeline", "resourceType": "batch"}
        assert await visitor.journal("read") == [("auditor", "read", query)]
        assert "/ui?from=2026-03-17&amp;tz=Europe%2FBudapest&amp;resourceType=batch&amp;resourceId=a%2Fb+c" in page.text
