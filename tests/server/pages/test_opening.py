"""Requests that another site made a browser send: they show what they ask, and ask nothing before somebody opens it."""

from __future__ import annotations

import pytest
from support import append, sample_events
from visitor import HERE, make_key, visiting

pytestmark = pytest.mark.anyio
EVENT = "8c5b1f0a-0000-4000-8000-000000000000"


PATHS = (
    "/ui?userId=n.varga&tz=UTC",
    f"/ui/event/{EVENT}",
    "/ui/evidence?userId=n.varga",
    "/ui/export?userId=n.varga",
)


async def test_a_link_from_elsewhere_shows_the_question_and_a_button(opened):
    async with opened() as log, visiting(log) as visitor:
        await append(log, sample_events(20))
        await visitor.sign_in((await make_key(log))[0])
        for path in PATHS:
            for site in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": ""}, {}):
                headers = {**{name: value for name, value in HERE.items() if name != "Sec-Fetch-Site"}, **site}
                answer = await visitor.get(path, headers=headers)
                assert (answer.status_code, "Open this?" in answer.text) == (200, True)
                assert f'action="{path.partition("?")[0]}"' in answer.text
                assert "userId" not in path or 'name="userId" value="n.varga"' in answer.text
        assert await visitor.journal("read") == await visitor.journal("export") == []
        for path in PATHS:
            assert "Open this?" not in (await visitor.get(path)).text, "what the button does"
        assert len([*await visitor.journal("read"), *await visitor.journal("export")]) == len(PATHS)


async def test_what_a_link_asks_is_text(opened):
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        answer = await visitor.get(
            "/ui", headers={**HERE, "Sec-Fetch-Site": "cross-site"}, userId='"><script>alert(1)</script>'
        )
        assert "<script>alert" not in answer.text
        assert "&lt;script&gt;alert" in answer.text


async def test_the_empty_form_asks_nothing_wherever_it_is_linked(opened):
    async with opened() as log, visiting(log) as visitor:
        await visitor.sign_in((await make_key(log))[0])
        answer = await visitor.get("/ui", headers={**HERE, "Sec-Fetch-Site": "cross-site"})
        assert "Ask the log" in answer.text
        assert await visitor.journal("read") == []
