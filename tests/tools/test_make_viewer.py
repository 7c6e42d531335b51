"""tlog-viewer.html is what tools/make_viewer.py makes of its sources, byte for byte, and the docs name its hash."""

from __future__ import annotations

import hashlib
import re

import make_viewer
from support import ROOT, VERIFIER


def test_the_viewer_is_made_of_the_sources_that_are_here(tmp_path, monkeypatch, capsys):
    assert make_viewer.main(["--check"]) == 0
    monkeypatch.setattr(make_viewer, "VIEWER", tmp_path / "viewer.html")
    assert make_viewer.main(["--check"]) == 1
    assert make_viewer.main([]) == 0
    assert (tmp_path / "viewer.html").read_bytes() == (ROOT / "tools" / "tlog-viewer.html").read_bytes()
    assert "run tools/make_viewer.py" in capsys.readouterr().out


def test_the_page_needs_nothing_beside_it():
    text = make_viewer.make()
    assert not re.search(r"(?:src|href)=|@import|\burl\(|\bimport\b[^.(]*from", text)
    assert re.findall(r"https?://[^ \"'<]*", text) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def test_the_docs_name_the_hashes_of_both_files():
    page = (ROOT / "docs" / "how-to" / "verify-offline.md").read_text(encoding="utf-8")
    for path in (VERIFIER, make_viewer.VIEWER):
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" in page, (
            f"docs/how-to/verify-offline.md has another hash of {path.name}"
        )
