"""The manifest of a set names every part, and tells whether all of them are there."""

from __future__ import annotations

import hashlib
import json

import pytest

from tlog.answering.manifest import Manifest, read_bundle
from tlog.errors import MalformedInputError


def bundle(number, of):
    return json.dumps(
        {"end": 10 * number, "manifest": {"answers": 3}, "part": [number, of], "start": 10 * number - 10}
    ).encode()


def test_parts_are_named_in_their_order():
    manifest, texts = Manifest(), [bundle(1, 2), bundle(2, 2)]
    assert manifest.add(read_bundle(texts[0]), texts[0]) == "000001.json"
    assert (manifest.parts, manifest.is_complete()) == (2, False)
    assert manifest.add(read_bundle(texts[1]), texts[1]) == "000002.json"
    assert manifest.is_complete()
    document = json.loads(manifest.text())
    assert (document["type"], document["v"]) == ("tlog-evidence-set", 1)
    assert [each["sha256"] for each in document["files"]] == [hashlib.sha256(text).hexdigest() for text in texts]
    assert [(each["start"], each["end"], each["answers"]) for each in document["files"]] == [(0, 10, 3), (10, 20, 3)]


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff"])
def test_what_is_no_bundle_is_refused(text):
    with pytest.raises(MalformedInputError, match="cannot be read"):
        read_bundle(text)
