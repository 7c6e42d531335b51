"""Signing in and out, as a browser does it; what is refused, and that nothing of it is anywhere."""

from __future__ import annotations

import pytest
from visitor import HERE, LINK, make_key, visiting

from tlog.server.pages.signing_in import leads_to

pytestmark = pytest.mark.anyio


async def test_in_and_out(opened):
    async with opened() as log, visiting(log) as visitor:
        token, key = await make_key(log)
        first = await visitor.get("/ui?userId=n.varga")
        assert (first.status_code, first.headers["location"]) == (303, "/ui/sign-in?then=%2Fui%3FuserId%3Dn.varga")
        form = await visitor.get(first.headers["location"])
        assert '<input type="hidden" name="then" value="/ui?userId=n.varga">' in form.text
        answer = await visitor.sign_in(token, then="/ui?userId=n.varga")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui?userId=n.varga")
        assert answer.headers["set-cookie"].startswith("tlog=")
        assert token not in answer.headers["set-cookie"]
        page = await visitor.get(answer.headers["location"])
        assert page.status_code == 200
        assert token not in page.text
        out = await visitor.post("/ui/sign-out")
        assert (out.status_code, out.headers["location"]) == (303, "/ui/sign-in")
        assert "Max-Age=0" in out.headers["set-cookie"]
        visitor.client.cookies.set("tlog", answer.headers["set-cookie"].partition(";")[0][5:], domain="127.0.0.1")
        assert (await visitor.get("/ui")).status_code == 303, "the cookie that somebody kept is worth nothing"
        assert await visitor.journal("login") == [("auditor", "login", {"ask": "sign-in", "way": "api-key"})]
        assert await visitor.journal("logout") == [("auditor", "logout", {"ask": "sign-in", "way": "api-key"})]
        assert key.key_id not in page.text


async def test_what_is_no_key_to_read_is_refused_and_repeated_nowhere(opened):
    async with opened() as log, visiting(log) as visitor:
        reading, appending = (await make_key(log))[0], (await make_key(log, scopes=["append"]))[0]
        for key in (appending, reading + "x", reading[:-1], "secret words", ""):
            answer = await visitor.sign_in(key)
            assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
            assert "Not signed in" in answer.text
            assert not key or key not in answer.text
        assert await visitor.journal("login") == []
        metrics = (await visitor.client.get("/metrics")).text
        assert 'tlog_pages_sign_ins_total{result="failure",way="api-key"} 5.0' in metrics
        assert "tlog_pages_sessions 0.0" in metrics


FOREIGN = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
)


async def test_a_form_of_another_site_signs_nobody_in_or_out(opened):
    async with opened() as log, visiting(log) as visitor:
        token, _ = await make_key(log)
        for headers in FOREIGN:
            answer = await visitor.post("/ui/sign-in", headers={**HERE, **headers}, key=token)
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
        assert (await visitor.sign_in(token)).status_code == 303, "the control"
        for headers in FOREIGN:
            assert (await visitor.post("/ui/sign-out", headers={**HERE, **headers})).status_code == 403
        assert (await visitor.get("/ui")).status_code == 200


async def test_what_is_no_form(opened):
    async with opened() as log, visiting(log) as visitor:
        form = "application/x-www-form-urlencoded"
        for body, kind, status in (
            (b"key=" + b"x" * 1021, form, 413),
            (b"key", form, 400),
            (b"key=%ff", form, 400),
            (b"key=\xff", form, 400),
            (b"key=x", "text/plain", 415),
        ):
            headers = {**HERE, "Origin": visitor.url, "Content-Type": kind}
            answer = await visitor.client.post("/ui/sign-in", content=body, headers=headers)
            assert (answer.status_code, "<h1>" in answer.text) == (status, True)


async def test_many_wrong_keys_from_one_address_have_to_wait(opened):
    async with opened() as log, visiting(log) as visitor:
        token, _ = await make_key(log)
        answers = [await visitor.sign_in("tlog_wrong") for _ in range(11)]
        assert [each.status_code for each in answers] == [401] * 10 + [429]
        assert int(answers[-1].headers["retry-after"]) > 50
        assert (await visitor.sign_in(token)).status_code == 429


@pytest.mark.parametrize(
    "text, target",
    [
        ("/ui", "/ui"),
        ("/ui?userId=a%20b&tz=Europe/Budapest", "/ui?userId=a%20b&tz=Europe/Budapest"),
        ("/ui/event/8c5b1f0a-0000-4000-8000-000000000000", "/ui/event/8c5b1f0a-0000-4000-8000-000000000000"),
        ("//evil.example", "/ui"),
        ("/ui//evil.example", "/ui"),
        ("/uievil", "/ui"),
        ("/ui\\evil.example", "/ui"),
        ("/ui/\r\nSet-Cookie: a=b", "/ui"),
        ("https://evil.example/ui", "/ui"),
        ("/v1/audit/events", "/ui"),
        ("/ui/sign-in?then=/ui", "/ui"),
        ("/ui?a=ü", "/ui"),
        ("", "/ui"),
    ],
)
def test_nobody_is_led_elsewhere(text, target):
    assert leads_to(text) == target


async def test_a_foreign_link_makes_nobody_ask_by_signing_in(opened):
    async with opened() as log, visiting(log) as visitor:
        token, _ = await make_key(log)
        led = await visitor.get("/ui?userId=n.varga", headers=LINK)
        form = await visitor.get(led.headers["location"], headers=LINK)
        assert 'name="elsewhere" value="yes"' in form.text
        answer = await visitor.sign_in(token, then="/ui?userId=n.varga", elsewhere="yes")
        assert (answer.status_code, "set-cookie" in answer.headers) == (200, True)
        assert "Open this?" in answer.text
        assert await visitor.journal("read") == []


async def test_a_path_that_needs_encoding_is_found_again(opened):
    async with opened() as log, visiting(log) as visitor:
        led = await visitor.get("/ui/resource/batch/a%2Fb%20c%3Fd")
        form = await visitor.get(led.headers["location"])
        assert 'name="then" value="/ui/resource/batch/a%2Fb%20c%3Fd"' in form.text
        answer = await visitor.sign_in((await make_key(log))[0], then="/ui/resource/batch/a%2Fb%20c%3Fd")
        assert answer.headers["location"] == "/ui/resource/batch/a%2Fb%20c%3Fd"


async def test_with_a_public_url_the_cookie_is_for_https(opened):
    async with (
        opened() as log,
        visiting(log, public_url="https://audit.example.com", url="https://audit.example.com") as visitor,
    ):
        token, _ = await make_key(log)
        answer = await visitor.sign_in(token)
        assert answer.headers["set-cookie"].startswith("__Host-tlog=")
        assert "; Secure" in answer.headers["set-cookie"]
        assert (await visitor.get("/ui")).status_code == 200
        elsewhere = await visitor.client.get("http://127.0.0.1:8080/ui", headers=HERE)
        assert elsewhere.status_code == 421
