"""tlog-viewer.html in real Chromium, from a file and with the network off: its verdicts, and that everybody can use it."""

from __future__ import annotations

import json
import re

import bundles
import make_viewer
import pytest
from browser.chromium import PHONE, ZOOMED, Watched, browser, lacks_chromium
from bundles import file_of
from core import test_soundness as soundness

pytestmark = pytest.mark.skipif(bool(lacks_chromium()), reason=lacks_chromium() or "-")

VKEY = bundles.vkey()
ABOUT = {"resourceType": "record", "resourceId": "R:4"}
FIELDS = ("resourceType", "resourceId", "userId", "action", "from", "to")


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture
def viewer(chromium):
    watched = Watched(chromium)
    watched.page.goto(make_viewer.VIEWER.as_uri())
    yield watched
    assert watched.reports() == []
    assert watched.errors == []
    assert [url for url in watched.requests if not url.startswith(("file:", "blob:"))] == []
    watched.context.close()


def ask(viewer, files, question, vkey=VKEY):
    """Choose files, type key and question, check; return the verdict in words."""
    page = viewer.page
    page.set_input_files(
        "#files", [{"name": name, "mimeType": "text/plain", "buffer": data} for name, data in files.items()]
    )
    page.fill("#vkey", vkey)
    for name, value in question.items():
        page.select_option(f"#{name}", value) if name == "action" else page.fill(f"#{name}", value)
    page.evaluate("document.getElementById('verdict').textContent = ''")
    page.click("#check")
    page.locator("#verdict:not(:empty)").wait_for()
    return page.inner_text("#verdict")


def lines(viewer, table="facts"):
    return viewer.page.eval_on_selector_all(
        f"#{table} tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )


def test_a_bundle(viewer):
    said = ask(viewer, {"answer.json": file_of(soundness.LOG.bundle(ABOUT, disclose=True))}, ABOUT)
    answers = [n for n in range(*soundness.LOG.window(ABOUT)) if soundness.LOG.answers(n, ABOUT)]
    assert said == f"VERIFIED: {len(answers)} events, and no others, answer your question"
    facts = lines(viewer)
    assert ["names", "in this bundle, checked"] in facts
    assert [label for label, _ in facts].count("not proved") == 2
    rows = lines(viewer, "events")
    assert [int(row[7]) for row in rows] == answers[::-1]
    assert all(
        row[2].startswith(soundness.LOG.events[int(row[7])].members.get("userId") or "(unknown)") for row in rows
    )


@pytest.mark.parametrize("place", ["entries", "hashes", "disclosures", "question", "checkpoint"])
def test_a_changed_bundle(viewer, place):
    bundle = json.loads(file_of(soundness.LOG.bundle(ABOUT, disclose=True)))
    if place == "disclosures":
        bundle["disclosures"][0][1]["actor"]["body"] = bundle["disclosures"][0][1]["actor"]["body"].replace(
            "user-", "user+"
        )
    elif place == "question":
        bundle["question"] = {**ABOUT, "resourceId": "R:5"}
    else:
        bundle[place] = (
            json.loads(file_of(soundness.LOG.bundle({"userId": "user-3"})))[place]
            if place != "checkpoint"
            else bundle[place].replace("\n\n", "\nx\n\n")
        )
    said = ask(viewer, {"answer.json": file_of(bundle)}, ABOUT)
    assert said.startswith("FAILED: "), said
    assert lines(viewer, "events") == []
    assert viewer.page.is_hidden("#independent")


def test_another_question(viewer):
    said = ask(viewer, {"answer.json": file_of(soundness.LOG.bundle(ABOUT))}, {**ABOUT, "resourceId": "R:5"})
    assert said.startswith("OTHER QUESTION: the log signed this")
    assert ["resourceId", "R:5", "R:4", "differs"] in lines(viewer, "comparison")


def test_a_set_a_checkpoint_and_a_proof(viewer):
    start, end = soundness.LOG.window(ABOUT)
    parts = soundness.LOG.parts(ABOUT, [start + 30, end - 20])
    files = {f"{number:06}.json": file_of(part) for number, part in enumerate(parts, 1)}
    assert ask(viewer, files, ABOUT).startswith("VERIFIED: ")
    del files["000002.json"]
    assert ask(viewer, files, ABOUT) == "INCOMPLETE: part 2 of the 3 parts of the set is not there"
    note = parts[0]["checkpoint"].encode()
    assert ask(viewer, {"checkpoint": note}, {}).startswith("VERIFIED: the log signed ")
    proof, event = soundness.RECOVERED.event_proof(4, disclose=True)
    files = {"a.tlog-proof": proof, "a.event.json": event}
    assert ask(viewer, files, {}).startswith("VERIFIED: entry 4 is in the log")
    assert ask(viewer, files | {"a.event.json": event.replace(b"user-", b"user+", 1)}, {}).startswith("FAILED: ")
    assert ask(viewer, {"a.tlog-proof": proof}, {}).startswith("MALFORMED: choose ")


def test_what_a_producer_wrote_is_text(viewer):
    """S: markup in ids is shown, and nothing of it is run or loaded."""
    evil = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>'
    event = bundles.Event(1, evil, ("record", evil), "read", at=1, outcome="success")
    log = bundles.NaiveLog([event, bundles.sample_event(2)], [3])
    question = {"resourceType": "record", "resourceId": evil}
    assert ask(viewer, {"a.json": file_of(log.bundle(question, disclose=True))}, question).startswith(
        "VERIFIED: 1 event, and no other"
    )
    (row,) = lines(viewer, "events")
    assert evil in row[2]
    assert evil in row[4]
    assert viewer.page.evaluate("window.evil") is None


def test_a_browser_without_ed25519_says_not_checked(viewer):
    viewer.page.evaluate(
        "void (crypto.subtle.importKey = () => Promise.reject(new DOMException('no', 'NotSupportedError')))"
    )
    assert ask(viewer, {"a.json": file_of(soundness.LOG.bundle(ABOUT))}, ABOUT).startswith(
        "NOT CHECKED: this browser has no Ed25519"
    )


def test_by_keyboard_alone(viewer):
    """Tab reaches everything in its order; Enter asks; the verdict gets the focus, so that a reader of screens says it."""
    page = viewer.page
    page.set_input_files(
        "#files", [{"name": "a.json", "mimeType": "text/plain", "buffer": file_of(soundness.LOG.bundle(ABOUT))}]
    )
    page.focus("#files")
    page.keyboard.press("Tab")
    page.keyboard.type(VKEY)
    page.keyboard.press("Tab")
    page.keyboard.type("record")
    page.keyboard.press("Tab")
    page.keyboard.type("R:4")
    page.keyboard.press("Enter")
    page.locator("#verdict:focus").wait_for()
    assert page.inner_text("#verdict").startswith("VERIFIED: ")
    for expected in ("rows", "print", "save"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == expected


def test_it_is_accessible(viewer):
    page = viewer.page
    assert viewer.violations() == []
    for question in (ABOUT, {**ABOUT, "resourceId": "R:5"}):
        ask(viewer, {"a.json": file_of(soundness.LOG.bundle(ABOUT, disclose=True))}, question)
        assert viewer.violations() == []
        assert viewer.cut(PHONE) + viewer.cut(ZOOMED) == []
        assert viewer.out_of_reach() == []
    page.evaluate("document.querySelector('label[for=userId]').remove()")
    assert viewer.violations() == ["label"], "the control: a field without its label"


def test_print_has_the_verdict_and_every_row(viewer, tmp_path):
    said = ask(viewer, {"a.json": file_of(soundness.LOG.bundle(ABOUT, disclose=True))}, ABOUT)
    rows = lines(viewer, "events")
    page = viewer.page
    page.emulate_media(media="print")
    assert page.is_hidden("#form")
    assert page.is_hidden("#print")
    printed = page.inner_text("body")
    assert said in printed
    assert printed.count("record R:4") >= len(rows) - 5
    pdf = page.pdf(path=tmp_path / "verdict.pdf", format="A4")
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type */Page\b", pdf)) >= 1
    page.emulate_media(media="screen")


def test_the_verdict_can_be_saved(viewer, tmp_path):
    ask(viewer, {"a.json": file_of(soundness.LOG.bundle(ABOUT))}, ABOUT)
    with viewer.page.expect_download() as download:
        viewer.page.click("#save")
    download.value.save_as(tmp_path / "verdict.json")
    saved = json.loads((tmp_path / "verdict.json").read_text())
    assert (saved["verdict"], saved["question"]) == ("verified", ABOUT)


def test_a_script_that_is_not_the_viewers_is_blocked_and_reported(chromium, tmp_path):
    """The control of the policy: the page with a script more."""
    text = make_viewer.make().replace("</body>", "<script>window.evil = 1</script></body>")
    (tmp_path / "viewer.html").write_text(text, encoding="utf-8")
    watched = Watched(chromium)
    watched.page.goto((tmp_path / "viewer.html").as_uri())
    assert watched.page.evaluate("window.evil") is None
    assert watched.reports() == ["script-src-elem"]
    watched.context.close()
