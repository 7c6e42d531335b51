"""The documentation site builds without a warning, a dead link stops it, and no page loads anything from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from support import ROOT

# What a browser loads by itself, by element and attribute; a link that a reader may follow is none of it.
_LOADED = {
    ("script", "src"), ("img", "src"), ("img", "srcset"), ("source", "src"), ("source", "srcset"), ("iframe", "src"),
    ("video", "src"), ("audio", "src"), ("embed", "src"), ("object", "data"), ("image", "href"), ("image", "xlink:href"),
    ("use", "href"), ("use", "xlink:href"), ("link", "href"),
}  # fmt: skip
_ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)
_LINKS_NOT_LOADED = {"canonical", "next", "prev", "alternate"}


def build(project, site):
    """Build the site of a directory with docs/ and tools/mkdocs.yml strictly."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", project / "tools" / "mkdocs.yml", "-d", site]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    done = build(ROOT, directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "mkdocs.yml", tmp_path / "tools")
    return tmp_path


class _Loads(HTMLParser):
    """Collects what a page loads from another host."""

    def __init__(self):
        super().__init__()
        self.elsewhere = []

    def handle_starttag(self, tag, attrs):
        values = {name: value or "" for name, value in attrs}
        if tag == "link" and values.get("rel") in _LINKS_NOT_LOADED:
            return
        self.elsewhere += [
            value for name, value in values.items() if (tag, name) in _LOADED and _ELSEWHERE.match(value)
        ]
        self.elsewhere += styles_from_elsewhere(values.get("style", ""))
        if "mermaid" in values.get("class", "").split():
            self.elsewhere.append("the program that draws Mermaid, which the theme fetches")

    def handle_data(self, data):
        if self.lasttag == "style":
            self.elsewhere += styles_from_elsewhere(data)


def styles_from_elsewhere(text):
    return re.findall(r"(?:url\(\s*|@import\s+)['\"]?(?:https?:)?//[^)'\"\s]*", text, re.IGNORECASE)


def loads_from_elsewhere(page):
    parser = _Loads()
    parser.feed(page)
    return parser.elsewhere


def test_no_page_loads_from_another_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    found = {}
    for path in pages:
        found[path.name] = loads_from_elsewhere(path.read_text(encoding="utf-8"))
    for path in [*site.rglob("*.css"), *site.rglob("*.svg")]:
        found[path.name] = styles_from_elsewhere(path.read_text(encoding="utf-8"))
    assert {name: loads for name, loads in found.items() if loads} == {}


def test_no_drawing_loads_from_another_host():
    for path in (ROOT / "docs").rglob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert loads_from_elsewhere(text) == [], path
        assert "<script" not in text, path


@pytest.mark.parametrize(
    "planted",
    [
        '<script src="https://example.com/a.js"></script>',
        '<link rel="stylesheet" href="//example.com/a.css">',
        "<style>@import 'https://example.com/a.css';</style>",
        "<style>@font-face { src: url(https://example.com/a.woff2) }</style>",
        '<img src="https://example.com/a.png">',
        '<p style="background: url(https://example.com/a.png)">',
        '<pre class="mermaid">',
    ],
)
def test_what_is_loaded_from_another_host_would_be_found(planted):
    assert len(loads_from_elsewhere(f"<html><body>{planted}</body></html>")) == 1


@pytest.mark.parametrize(
    "link, target",
    [
        ("[no such page](nowhere.md)", "nowhere.md"),
        ("[no such section](tutorial.md#nowhere)", "#nowhere"),
        ("[outside the pages](../CHANGELOG.md)", "../CHANGELOG.md"),
        ("[absolute](/tutorial.md)", "/tutorial.md"),
    ],
)
def test_one_dead_link_stops_the_build(copy, link, target):
    page = copy / "docs" / "index.md"
    page.write_text(page.read_text(encoding="utf-8") + f"\n{link}\n", encoding="utf-8")
    done = build(copy, copy / "site")
    assert done.returncode == 1
    assert target in done.stderr
    assert "Aborted with 1 warning" in done.stdout + done.stderr, "and nothing else does"


def test_a_page_that_is_left_out_stops_the_build(copy):
    (copy / "docs" / "how-to" / "forgotten.md").write_text("# Forgotten\n", encoding="utf-8")
    done = build(copy, copy / "site")
    assert done.returncode == 1
    assert "how-to/forgotten.md" in done.stderr
