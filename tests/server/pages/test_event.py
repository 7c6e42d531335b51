"""The page of one event: all of it, and the files that prove it."""

from __future__ import annotations

import html
import json
import re
from uuid import uuid4

import pytest
from stored import entries_by_index, erase
from support import append, fill, rich_events, verify_offline
from visitor import make_key, visiting

pytestmark = pytest.mark.anyio


def shown(page, name):
    return html.unescape(re.search(rf'<pre id="{name}">(.*?)</pre>', page, re.DOTALL)[1])


async def test_an_event_with_the_files_that_prove_it(opened, tmp_path):
    event = json.loads(rich_events(1)[0])
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        (receipt,) = await append(log, [json.dumps(event).encode()])
        await log.wait_sealed(receipt.index, 30)
        page = (await visitor.get(f"/ui/event/{event['eventId']}")).text
        assert html.unescape(page).count(event["relatedResources"][0]["id"]) >= 2, "in the members, and in the file"
        for name, text in (("a.tlog-proof", shown(page, "proof")), ("a.event.json", shown(page, "file"))):
            (tmp_path / name).write_bytes(text.encode())
        done = verify_offline(
            "proof",
            "--vkey",
            log.verifier.vkey(),
            "--require-disclosures",
            "--event",
            tmp_path / "a.event.json",
            tmp_path / "a.tlog-proof",
        )
        assert done.returncode == 0, done.stdout
        asked = re.search(r'<a href="(/ui\?[^"]*)">Who did or asked', page)[1].replace("&amp;", "&")
        answer = await visitor.get(asked)
        assert event["eventId"] in answer.text
        assert await visitor.journal("read") == [
            ("auditor", "read", {"ask": "page", "eventId": event["eventId"], "page": "event"}),
            ("auditor", "read", {"ask": "page", "page": "ask", "resourceType": event["resource"]["type"]}),
        ]


async def test_an_event_that_no_checkpoint_covers_has_no_proof_yet(opened):
    event = json.loads(rich_events(1)[0])
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        await fill(log, 1, seed=5)
        await append(log, [json.dumps(event).encode()])
        page = await visitor.get(f"/ui/event/{event['eventId']}")
        assert page.status_code == 200
        assert "No checkpoint covers this entry yet" in page.text
        assert 'id="proof"' not in page.text


async def test_data_that_is_gone_is_said_to_be_missing(opened, database):
    event = json.loads(rich_events(1)[0])
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        await append(log, [json.dumps(event).encode()])
        with database.connect_admin() as admin:
            erase(admin, entries_by_index(admin), "actor", "resource")
        page = (await visitor.get(f"/ui/event/{event['eventId']}")).text
        assert page.count("MISSING") == 2
        assert "(missing)" in page
        assert "Who did or asked" not in page


async def test_an_event_that_there_is_not(opened):
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        for path, status in ((f"/ui/event/{uuid4()}", 404), ("/ui/event/nothing", 404)):
            answer = await visitor.get(path)
            assert (answer.status_code, "<h1>" in answer.text) == (status, True)
