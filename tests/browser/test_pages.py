"""The pages in real Chromium, before a real service: what is proved on them, and what a server that lies achieves."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

import httpx2
import make_viewer
import pytest
from browser.chromium import PHONE, ZOOMED, Watched, browser, lacks_chromium
from questions import brute_force
from support import sample_events, start_server, tlog, verify_offline
from visitor import rows_of

from tlog.server.pages.assets import STATIC
from tlog.server.pages.routes import routes

pytestmark = pytest.mark.skipif(bool(lacks_chromium()), reason=lacks_chromium() or "-")

EVIL = '<img src=x onerror="window.evil=1">'
ABOUT = {"resourceType": "patient_record", "resourceId": "P-1007"}
ZONE = "Europe/Budapest"


def events():
    """Return events of a day, a few of them about one patient, one by somebody whose name is markup."""
    made = [json.loads(raw) for raw in sample_events(60)]
    for number in (3, 17, 18, 40):
        made[number]["resource"] = {"type": "patient_record", "id": "P-1007"}
    made[5]["resource"] = {"type": "batch", "id": "B-7"}
    made[5]["relatedResources"] = [{"type": "patient_record", "id": "P-1007"}]
    made[6]["resource"] = {"type": "batch", "id": "B-8"}
    made[6]["relatedResources"] = [{"type": "patient_record", "id": each} for each in ("P-7777", "P-7778")]
    for number, purpose in ((17, None), (40, "PUBHLTH")):
        made[number] |= {"action": "export"}
        made[number]["details"] = {
            "recipient": {"name": "Registry", "address": "1 Main St"},
            "fieldsAccessed": ["diagnoses"],
        }
        made[number]["details"] |= {"purpose": purpose} if purpose else {}
    made[3] |= {
        "action": "update",
        "details": {"oldValues": {"dose": "5 mg", "n": 1}, "newValues": {"dose": "7 mg", "x": True}},
    }
    made[18]["actor"] = {"userId": EVIL, "role": "nurse"}
    return made


EVENTS = events()


@pytest.fixture(scope="module")
def served(module_directory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TLOG_ZONE", ZONE)
        server = start_server(module_directory / "data")
    server.append(EVENTS)
    server.seal()
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@contextmanager
def watching(chromium, server, **options):
    """Open a page of the service; at its end it has loaded nothing from elsewhere and broken no rule of its policy."""
    watched = Watched(chromium, offline=False, **options)
    yield watched
    assert watched.reports() == []
    assert watched.errors == []
    assert [url for url in watched.requests if not url.startswith((server.url, "data:", "blob:"))] == []
    watched.context.close()


@pytest.fixture(scope="module")
def state(chromium, served):
    """What the browser of somebody keeps who is signed in, and has the log's key."""
    with watching(chromium, served) as watched:
        page = watched.page
        page.goto(served.url + "/ui/sign-in")
        page.fill("#key", served.token)
        page.keyboard.press("Enter")
        page.wait_for_url("**/ui")
        page.evaluate("vkey => localStorage.setItem('tlog.vkey', vkey)", served.vkey)
        return watched.context.storage_state()


@pytest.fixture
def signed_in(chromium, served, state):
    with watching(chromium, served, storage_state=state) as watched:
        yield watched


def ask(watched, url, **question):
    """Open the page of a question, and return the word of the banner once it has been checked."""
    watched.page.goto(str(httpx2.URL(url + "/ui", params=question)))
    return verdict(watched.page)


def verdict(page):
    """Return the word of the banner, once the page has checked itself; a policy without eval lets nobody wait by a function."""
    page.locator("#banner[aria-busy=false]").wait_for()
    return page.inner_text("#verdict")


def rows(page):
    return page.eval_on_selector_all(
        "#rows tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    )


def test_sign_in_ask_open_an_event_and_see_it_proved(chromium, served):
    with watching(chromium, served) as watched:
        page = watched.page
        page.goto(served.url)
        assert page.url == f"{served.url}/ui/sign-in?then=%2Fui"
        page.fill("#key", served.token)
        page.click("main button")
        page.wait_for_url("**/ui")
        assert page.context.cookies()[0]["httpOnly"] is True
        page.fill("#resourceType", "patient_record")
        page.fill("#resourceId", "P-1007")
        page.keyboard.press("Enter")
        page.wait_for_url("**/ui?*")
        assert verdict(page) == "CONSISTENT IN ITSELF"
        page.click("#key summary")
        page.fill("#vkey", served.vkey)
        page.click("#key button")
        assert verdict(page) == "VERIFIED"
        expected = brute_force(EVENTS, ABOUT)
        links = page.eval_on_selector_all("#rows a", "links => links.map(link => link.href)")
        assert links == [f"{served.url}/ui/event/{each}" for each in expected]
        assert [row[8] for row in rows(page)] == ["proved"] * len(expected)
        assert re.match(
            r"[0-9]+ events, and no others, as of entry [0-9]+, [0-9]+ seconds? ago", page.inner_text("#summary")
        )
        page.click("#rows a >> nth=0")
        assert verdict(page) == "VERIFIED"
        assert page.eval_on_selector_all("#steps em", "all => all.map(each => each.textContent)") == ["holds"] * 4
        assert "P-1007" in page.inner_text("#members")


def test_what_was_verified_is_written_as_the_server_wrote_it(signed_in, served):
    """An honest server's rows do not change, in none of the zones; so neither of the two writes something else."""
    page = signed_in.page
    for zone in ("UTC", "America/New_York", ""):
        page.route("**/ui/evidence*", lambda route: route.abort())
        page.goto(str(httpx2.URL(served.url + "/ui", params={**ABOUT, "tz": zone})))
        assert verdict(page) == "NOT CHECKED"
        unchecked = rows(page)
        page.unroute("**/ui/evidence*")
        assert ask(signed_in, served.url, **ABOUT, tz=zone) == "VERIFIED"
        checked = rows(page)
        assert [row[:8] for row in checked] == [row[:8] for row in unchecked]
        assert len(checked) == len(brute_force(EVENTS, ABOUT))
        assert {row[8] for row in unchecked} == {"NOT CHECKED"}
    assert any(EVIL in row[2] for row in checked)
    assert any("(named beside)" in row[4] for row in checked)
    assert page.evaluate("window.evil") is None
    signed_in.errors.clear()  # of the requests that were aborted


def histogram(page):
    """Return the caption of the bars, the numbers beside them, and their heights."""
    numbers = "rows => rows.map(row => [row.cells[0].textContent, Number(row.cells[1].textContent)])"
    heights = "bars => bars.map(bar => Number(bar.getAttribute('height')))"
    return (
        page.inner_text("#histogram figcaption"),
        dict(page.eval_on_selector_all("#numbers tbody tr", numbers)),
        page.eval_on_selector_all("#bars rect", heights),
    )


def test_bars_show_when_what_is_proved_happened(signed_in, served):
    """In the clocks of the zone, and from what was verified: a server that lies about times draws nothing that stays."""
    page, found = signed_in.page, [each for each in EVENTS if each["eventId"] in brute_force(EVENTS, ABOUT)]
    hours = [
        datetime.fromisoformat(each["timestamp"]).astimezone(ZoneInfo("Asia/Kathmandu")).strftime("%Y-%m-%d %H:00")
        for each in found
    ]
    with lying(page, served, lambda text: re.sub(r"<td>2026-03-17", "<td>2025-03-17", text)):
        assert ask(signed_in, served.url, **ABOUT, tz="Asia/Kathmandu") == "VERIFIED"
    caption, numbers, heights = histogram(page)
    assert (
        caption
        == f"{len(found)} events over time, all that are proved: a bar is an hour, the highest is {max(Counter(hours).values())}"
    )
    assert {hour: number for hour, number in numbers.items() if number} == Counter(hours)
    assert [next(iter(numbers)), list(numbers)[-1]] == [min(hours), max(hours)]
    assert heights == [number / max(numbers.values()) for number in numbers.values()]


def test_bars_of_what_nothing_proves_say_so(signed_in, served):
    signed_in.page.goto(served.url + "/ui?outcome=success&from=2026-03-17&to=2026-03-19")
    caption, numbers, _ = histogram(signed_in.page)
    assert "those on this page, says the server" in caption
    assert sum(numbers.values()) == len(rows(signed_in.page)) > 0
    signed_in.page.goto(served.url + "/ui?userId=nobody")
    assert signed_in.page.is_hidden("#histogram"), "no event, no bars"


# Times, as clocks show them; what a bar is; and some of the bars.
BARS = {
    "one": (["2026-03-17 10:24"], "a minute", {"2026-03-17 10:24": 1}),
    "an hour": (["2026-03-17 10:00", "2026-03-17 10:59"], "a minute", {"2026-03-17 10:00": 1, "2026-03-17 10:30": 0}),
    "a little more": (
        ["2026-03-17 09:59", "2026-03-17 10:59"],
        "10 minutes",
        {"2026-03-17 09:50": 1, "2026-03-17 10:50": 1},
    ),
    "a leap year": (
        ["2028-02-28 23:59", "2028-03-01 00:00"],
        "an hour",
        {"2028-02-29 12:00": 0, "2028-03-01 00:00": 1},
    ),
    "a week": (["2026-03-17 10:00", "2026-03-24 09:00"], "6 hours", {"2026-03-17 06:00": 1, "2026-03-24 06:00": 1}),
    "a month": (
        ["2026-02-01 10:00", "2026-03-31 10:00", "2026-03-31 23:59"],
        "a day",
        {"2026-02-28": 0, "2026-03-31": 2},
    ),
    "years": (["2022-12-31 10:00", "2026-03-24 09:00"], "a month", {"2022-12": 1, "2023-02": 0, "2026-03": 1}),
    "all that there are": (["0001-01-01 00:00", "9999-12-31 23:59"], "1,000 years", {"0000": 1, "9000": 1}),
}


@pytest.mark.parametrize("name", BARS)
def test_bars_are_as_wide_as_shows_something(signed_in, served, name):
    texts, words, some = BARS[name]
    page = signed_in.page
    page.goto(served.url + "/ui")
    times = [f"{text.replace(' ', 'T')}:00Z" for text in texts]
    drawn = page.evaluate(
        f"times => import('{STATIC}/histogram.js').then(({{ bars }}) => bars(times.map(Date.parse)))", times
    )
    numbers = dict(drawn["bars"])
    assert (drawn["words"], some.items() <= numbers.items(), sum(numbers.values())) == (words, True, len(texts)), (
        numbers
    )
    assert len(numbers) <= 60


# What a server that lies might do with the page's table: each is a change of its HTML.
def _swap(page):
    first, second = re.findall(r"<tr data-index.*?</tr>", page, re.DOTALL)[:2]
    return page.replace(first, "\0").replace(second, first).replace("\0", second)


def _drop(page):
    return page.replace(re.findall(r"<tr data-index.*?</tr>", page, re.DOTALL)[2], "")


def _add(page):
    first = re.findall(r"<tr data-index.*?</tr>", page, re.DOTALL)[0]
    return page.replace(first, re.sub(r'data-index="\d+"', 'data-index="1"', first) + first)


def _twice(page):
    first = re.findall(r"<tr data-index.*?</tr>", page, re.DOTALL)[0]
    return page.replace(first, first + first)


LIES = {
    "swapped": _swap,
    "dropped": _drop,
    "added": _add,
    "twice": _twice,
    "to come": lambda page: _drop(page).replace('<table id="rows"', '<table id="rows" data-following'),
}


@contextmanager
def lying(page, served, change, pattern="**/ui?*"):
    """Let the server say something else: `change` of each answer to a request of this pattern."""

    def answer(route):
        headers = {**route.request.headers, "sec-fetch-site": "same-origin", "sec-fetch-dest": "document"}
        response = route.fetch(headers=headers)
        route.fulfill(response=response, body=change(response.text()))

    page.route(pattern, answer)
    yield
    page.unroute(pattern)


@pytest.mark.parametrize("lie", LIES)
def test_rows_that_differ_from_the_evidence_are_not_proved(signed_in, served, lie):
    with lying(signed_in.page, served, LIES[lie]):
        assert ask(signed_in, served.url, **ABOUT) == "NOT PROVED"
    assert signed_in.page.eval_on_selector("#banner", "banner => banner.className") == "banner failed"
    shown = rows(signed_in.page)
    assert sum(row[8] == "NOT PROVED" for row in shown) == (lie not in {"dropped", "to come"})
    assert signed_in.page.is_visible("#problems")


def test_a_false_text_is_written_over(signed_in, served):
    """Each cell of each row is changed; none of the false texts is left, whatever stands there."""
    page = signed_in.page

    def falsify(text):
        return re.sub(r"<td>(?!NOT)[^<]*</td>", "<td>FALSE</td>", text)

    with lying(page, served, falsify):
        assert ask(signed_in, served.url, **ABOUT) == "VERIFIED"
    assert [row[8] for row in rows(page)] == ["proved"] * len(brute_force(EVENTS, ABOUT))
    assert not any("FALSE" in cell for row in rows(page) for cell in row)


def test_a_script_that_compares_indexes_only_is_fooled(signed_in, served):
    """The control: with the writing left out, false texts get a padlock. A server can send such a script; the viewer is not its."""
    page = signed_in.page
    falsify = lambda text: text.replace("P-1007", "P-9999")  # noqa: E731
    lax = lambda text: text.replace("cells[place].replaceChildren(...nodesOf(content));", "")  # noqa: E731
    with lying(page, served, lax, f"**{STATIC}/page.js"), lying(page, served, falsify):
        page.goto(str(httpx2.URL(served.url + "/ui", params=ABOUT)))
        assert verdict(page) == "VERIFIED"
    assert any("P-9999" in row[4] and row[8] == "proved" for row in rows(page))
    viewer = page.context.new_page()
    viewer.goto(make_viewer.VIEWER.as_uri())
    bundle = page.evaluate(
        "url => fetch(url).then(response => response.text())",
        f"/ui/evidence?{httpx2.QueryParams({**ABOUT, 'disclose': 'true'})}",
    )
    viewer.set_input_files("#files", [{"name": "a.json", "mimeType": "text/plain", "buffer": bundle.encode()}])
    for name, value in {"vkey": served.vkey, **ABOUT}.items():
        viewer.fill(f"#{name}", value)
    viewer.click("#check")
    viewer.locator("#verdict:not(:empty)").wait_for()
    assert viewer.inner_text("#verdict").startswith("VERIFIED: ")
    assert "P-9999" not in viewer.inner_text("#events")
    viewer.close()


def test_evidence_that_answers_another_question_proves_nothing(signed_in, served):
    page = signed_in.page

    def another(route):
        response = route.fetch(
            url=f"{served.url}/ui/evidence?resourceType=batch&resourceId=B-7&disclose=true",
            headers={**route.request.headers, "sec-fetch-site": "same-origin", "sec-fetch-dest": "empty"},
        )
        route.fulfill(response=response)

    page.route("**/ui/evidence*", another)
    assert ask(signed_in, served.url, **ABOUT) == "OTHER QUESTION"
    page.unroute("**/ui/evidence*")
    assert {row[8] for row in rows(page)} == {"NOT CHECKED"}
    page.evaluate("vkey => localStorage.setItem('tlog.vkey', vkey)", "another.log+" + served.vkey.split("+", 1)[1])
    assert ask(signed_in, served.url, **ABOUT) == "MALFORMED"


def test_an_event_that_was_not_asked_for_is_not_proved(signed_in, served):
    page, (wanted, other) = signed_in.page, (EVENTS[3]["eventId"], EVENTS[4]["eventId"])

    def another(route):
        headers = {**route.request.headers, "sec-fetch-site": "same-origin"}
        route.fulfill(response=route.fetch(url=f"{served.url}/ui/event/{other}", headers=headers))

    page.route(f"**/ui/event/{wanted}", another)
    page.goto(f"{served.url}/ui/event/{wanted}")
    assert verdict(page) == "FAILED"
    assert "another event than the one that was asked for" in page.inner_text("#summary")
    page.unroute(f"**/ui/event/{wanted}")


PAGES = {
    "timeline": "/ui/resource/patient_record/P-1007?tz=America/New_York",
    "health": "/ui/health",
    "access": "/ui/report/access?resourceType=patient_record&resourceId=P-1007&controller=C",
    "roles": "/ui/report/access?resourceType=patient_record&resourceId=P-1007&names=roles&from=2026-03-17",
    "accounting": "/ui/report/accounting?resourceType=patient_record&resourceId=P-1007&from=2026-03-01",
}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_writes_what_it_verified(signed_in, served, name):
    """What an honest server wrote does not change, and what a lying one wrote is gone."""
    page, url = signed_in.page, served.url + PAGES[name]
    sent = page.context.request.get(url, headers={"sec-fetch-site": "same-origin", "sec-fetch-dest": "document"})
    page.goto(url)
    assert verdict(page) == "VERIFIED", page.inner_text("#banner")
    shown = [[cell.removeprefix("NOT CHECKED") for cell in row] for row in rows_of(sent.text())]
    written = [
        [cell.removesuffix("proved").rstrip() if cell == "proved" else cell for cell in row] for row in rows(page)
    ]
    assert shown
    assert written[-len(shown) :] == shown
    with lying(
        page,
        served,
        lambda text: re.sub(r"<td>(?!NOT)[^<]*</td>", "<td>FALSE</td>", text),
        "**" + PAGES[name].split("?")[0] + "*",
    ):
        page.goto(url)
        assert verdict(page) == "VERIFIED"
    assert not any("FALSE" in cell for row in rows(page) for cell in row)


def test_a_report_is_printed_with_every_row_and_without_the_form(signed_in, served, tmp_path):
    page = signed_in.page
    page.goto(served.url + PAGES["access"])
    assert verdict(page) == "VERIFIED"
    proved = int(page.inner_text("#summary").split(" ")[0])
    page.emulate_media(media="print")
    assert page.is_hidden("main form")
    assert page.is_hidden("nav")
    printed = page.locator("#rows tbody tr:visible").count() + page.locator("#asks tbody tr:visible").count()
    assert printed == proved
    assert "P-1007" in page.inner_text("#about")
    assert page.pdf(path=tmp_path / "report.pdf", format="A4").startswith(b"%PDF-")
    with page.expect_download() as download:
        page.emulate_media(media="screen")
        page.click("text=Save the evidence")
    download.value.save_as(tmp_path / "evidence.json")
    done = verify_offline(
        "evidence", "--vkey", served.vkey, "--ask", "resource=patient_record:P-1007", tmp_path / "evidence.json"
    )
    assert (done.returncode, f"{proved} events" in done.stdout) == (0, True)


def test_what_is_not_ours_is_blocked_and_reported(chromium, served):
    """The control of the policy: a page into which somebody brought a script."""
    watched = Watched(chromium, offline=False)
    with lying(
        watched.page,
        served,
        lambda text: text.replace("</body>", "<script>window.evil = 1</script></body>"),
        "**/ui/sign-in",
    ):
        watched.page.goto(served.url + "/ui/sign-in")
    assert watched.page.evaluate("window.evil") is None
    assert watched.reports() == ["script-src-elem"]
    watched.context.close()


# Every page that a route leads to, as it looks with and without an answer.
EVERY = {
    "/ui/sign-in": ["/ui/sign-in"],
    "/ui": [
        "/ui",
        f"/ui?{httpx2.QueryParams(ABOUT)}",
        "/ui?outcome=failure&loggedFrom=2026-03-17",
        "/ui?userId=nobody",
    ],
    "/ui/event/{event_id:uuid}": [f"/ui/event/{EVENTS[18]['eventId']}"],
    "/ui/resource/{type}/{id:path}": [PAGES["timeline"]],
    "/ui/report/access": ["/ui/report/access", PAGES["access"]],
    "/ui/report/accounting": ["/ui/report/accounting", PAGES["accounting"]],
    "/ui/health": ["/ui/health"],
    "/ui/{path:path}": ["/ui/nothing"],
}
NO_PAGES = {"/", "/ui/static/{version}/{name}", "/ui/sign-out", "/ui/evidence", "/ui/export"}


def test_every_page_is_looked_at():
    assert EVERY.keys() | NO_PAGES == {route.path for route in routes()}


def finds_nothing(watched, at):
    """Tell whether a page is accessible, all unfolded: axe-core finds nothing, small windows lose nothing, and Tab leads everywhere."""
    if watched.page.locator("#rows[data-provable], #proof, #bundle").count():
        verdict(watched.page)
    folded = watched.page.locator("details:not([open]):visible > summary")
    while folded.count():
        folded.first.click()
    assert watched.violations() == [], at
    assert watched.cut(PHONE) + watched.cut(ZOOMED) == [], at
    assert watched.out_of_reach() == [], at


@pytest.mark.parametrize("route", EVERY)
def test_every_page_is_accessible(signed_in, served, route):
    for path in EVERY[route]:
        signed_in.page.goto(served.url + path)
        finds_nothing(signed_in, path)
    if "nothing" in path:
        signed_in.errors.clear()


def test_the_page_that_asks_before_a_link_is_opened_is_accessible(signed_in, served):
    page = signed_in.page
    page.route(
        "**/ui?*",
        lambda route: route.fulfill(
            response=route.fetch(headers={**route.request.headers, "sec-fetch-site": "cross-site"})
        ),
    )
    page.goto(f"{served.url}/ui?{httpx2.QueryParams(ABOUT)}")
    assert page.inner_text("h1") == "Open this?"
    finds_nothing(signed_in, "open")
    page.unroute("**/ui?*")


def test_what_is_not_accessible_is_found(signed_in, served):
    """The control: a field without its label, one that Tab leaves out, one that shows no focus, and text that is cut."""
    page = signed_in.page
    page.goto(served.url + "/ui/sign-in")
    page.evaluate("document.querySelector('label').remove()")
    assert "label" in signed_in.violations()
    page.evaluate("document.querySelector('main button').tabIndex = -1")
    page.evaluate("document.querySelector('#key').style.outline = 'none'")
    assert [re.match(r"<\w+", each)[0] for each in signed_in.out_of_reach()] == ["<input", "<button"]
    page.evaluate(
        "Object.assign(document.querySelector('#key-help').style, {whiteSpace: 'nowrap', overflow: 'hidden'})"
    )
    assert signed_in.cut(PHONE)[0].startswith('<p id="key-help"')
    page.evaluate("document.querySelector('#key-help').style.overflow = 'visible'")
    assert "the page scrolls sideways" in signed_in.cut(ZOOMED)


@contextmanager
def one_person(chromium, served, patient):
    """The browser of somebody whose key is for the answers about one patient, after signing in."""
    about = f"patient_record:{patient}"
    options = ("--principal", "portal", "--scope", "read", "--about", about, "--data", served.data)
    with watching(chromium, served) as watched:
        watched.page.goto(served.url + "/ui/sign-in")
        watched.page.evaluate("vkey => localStorage.setItem('tlog.vkey', vkey)", served.vkey)
        watched.page.fill("#key", tlog("token", "create", *options).stdout.strip())
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_url("**/ui")
        yield watched


def test_a_person_sees_who_asked_for_their_data_and_nothing_else(chromium, served):
    with one_person(chromium, served, "P-1007") as watched:
        page = watched.page
        page.click("main button")  # the question is in the form already
        page.wait_for_url("**/ui?*")
        assert verdict(page) == "VERIFIED"
        assert page.eval_on_selector_all("#rows a", "links => links.length") == len(brute_force(EVENTS, ABOUT))
        assert page.locator("text=NDJSON").count() == 0
        page.goto(served.url + PAGES["access"])
        assert verdict(page) == "VERIFIED"
        for other in (
            "/ui/health",
            "/ui?resourceType=patient_record&resourceId=P-1001",
            f"/ui/event/{EVENTS[3]['eventId']}",
        ):
            page.goto(served.url + other)
            assert page.inner_text("[role=alert]").startswith(
                "403 this API key is for the answers about one resource"
            ), other
        watched.errors.clear()  # of the three pages that are not theirs


def test_what_is_somebody_elses_is_withheld_and_the_rest_is_proved(chromium, served):
    about = {"resourceType": "patient_record", "resourceId": "P-7777"}
    with one_person(chromium, served, "P-7777") as watched:
        assert ask(watched, served.url, **about) == "VERIFIED WITHOUT NAMES"
        (row,) = rows(watched.page)
        assert (row[2].split(" ")[0], row[4]) == (EVENTS[6]["actor"]["userId"], "batch (withheld) (named beside)")
        assert row[8] == "in the log, text NOT PROVED"
        watched.page.goto(str(httpx2.URL(served.url + "/ui/report/access", params=about)))
        assert verdict(watched.page) == "VERIFIED WITHOUT NAMES"
        assert "the evidence has no names" in watched.page.inner_text("#ground >> xpath=..")
        assert len(rows(watched.page)) == 1
        assert not any(each in watched.page.content() for each in ("P-7778", "B-8"))


def test_asking_by_keyboard_alone(signed_in, served):
    page = signed_in.page
    page.goto(served.url + "/ui")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("patient_record")
    page.keyboard.press("Tab")
    page.keyboard.type("P-1007")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui?*")
    assert verdict(page) == "VERIFIED"


def test_without_a_script_nothing_is_checked_and_everything_else_works(chromium, served):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.url + "/ui/sign-in")
    page.fill("#key", served.token)
    page.click("main button")
    page.fill("#userId", EVIL)
    page.click("main button")
    assert page.inner_text("#verdict") == "NOT CHECKED"
    assert page.locator("#rows tbody tr").count() == 1
    page.click("header button")
    assert page.url.endswith("/ui/sign-in")
    context.close()
