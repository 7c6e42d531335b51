"""Pictures of the pages in README.md and the documentation: each shows the page as its template and style make it now.

`TLOG_UPDATE_PICTURE=1` makes them anew, in Chromium before a real service. Otherwise only what they were made of is compared, so that
no font or clock of a machine decides.
"""

from __future__ import annotations

import hashlib
import json
import os

import httpx2
import pytest
from browser.chromium import Watched, browser, lacks_chromium
from support import ROOT, sample_events, start_server

IMAGES = ROOT / "docs" / "images"
MADE_OF = IMAGES / "pages.json"
ABOUT = {
    "resourceType": "patient_record",
    "resourceId": "P-1007",
    "from": "2026-03-17",
    "to": "2026-03-18",
    "tz": "Europe/Budapest",
}
_ANSWERED = ("templates/base.html", "templates/checking.html", "templates/key.html", "static/tlog.css")
PICTURES = {
    "ask-page.png": ("/ui", ABOUT, (*_ANSWERED, "templates/ask.html", "templates/answer.html", "static/histogram.js")),
    "access-report.png": (
        "/ui/report/access",
        {**ABOUT, "controller": "Example Hospital"},
        (*_ANSWERED, "templates/report.html"),
    ),
}
MOST = 200_000  # bytes


def made_of(files):
    """Return the SHA-256 of what a picture is made of."""
    room = ROOT / "tlog" / "server" / "pages"
    return hashlib.sha256(b"".join(hashlib.sha256((room / each).read_bytes()).digest() for each in files)).hexdigest()


def test_pictures_show_the_pages_as_they_are(directory):
    now = {name: made_of(files) for name, (_, _, files) in PICTURES.items()}
    if os.environ.get("TLOG_UPDATE_PICTURE"):
        draw(directory)
        MADE_OF.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        pytest.fail("the pictures are made anew: look at them, and commit them")
    message = "a page has changed: set TLOG_UPDATE_PICTURE=1, run this test, and look at the pictures"
    assert json.loads(MADE_OF.read_text(encoding="utf-8")) == now, message
    for name in PICTURES:
        assert (IMAGES / name).read_bytes()[:4] == b"\x89PNG"
        assert (IMAGES / name).stat().st_size <= MOST
    assert made_of(_ANSWERED) != made_of(_ANSWERED[1:]), "the control: another source is another picture"


def draw(directory):
    assert not lacks_chromium(), lacks_chromium()
    server = start_server(directory / "data")
    server.append([json.loads(raw) for raw in sample_events(400)])
    server.seal()
    with browser() as running:
        watched = Watched(running, offline=False, viewport={"width": 960, "height": 800})
        page = watched.page
        page.goto(server.url + "/ui/sign-in")
        page.fill("#key", server.token)
        page.click("main button")
        page.wait_for_url("**/ui")
        page.evaluate("vkey => localStorage.setItem('tlog.vkey', vkey)", server.vkey)
        for name, (path, question, _) in PICTURES.items():
            page.goto(str(httpx2.URL(server.url + path, params=question)))
            page.locator("#banner.verified").wait_for()
            page.emulate_media(media="print" if "report" in name else "screen")
            page.locator("main").screenshot(path=IMAGES / name)
        watched.context.close()
    assert server.stop() == 0
