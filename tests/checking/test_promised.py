"""Receipts of one's own: which files are, and what they promise."""

from __future__ import annotations

import json
import os

import pytest

from tlog.checking.promised import Promise, read_promises
from tlog.core.strict import encode_base64
from tlog.errors import MalformedInputError

RECEIPT = {"eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", "index": 7, "leafHash": encode_base64(bytes(32)).decode()}


@pytest.mark.parametrize(
    "answer, indexes",
    [
        (RECEIPT, [7]),
        ({"receipts": [RECEIPT, {**RECEIPT, "index": 0, "duplicate": True}], "sealed": False}, [7, 0]),
        ({"receipts": []}, []),
    ],
)
def test_an_answer_to_an_append_promises_entries(tmp_path, answer, indexes):
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(answer, indent=1))
    os.utime(path, (5, 1000))
    assert read_promises(path) == [Promise(index, bytes(32), "answer.json", 1000) for index in indexes]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "7", "{}", '{"receipts": 7}', '{"receipts": [{}]}', "[" * 100_000,
        json.dumps(RECEIPT | {"index": -1}), json.dumps(RECEIPT | {"index": 1.5}), json.dumps(RECEIPT | {"leafHash": "AAAA"}),
        json.dumps(RECEIPT | {"leafHash": "é"}), json.dumps(RECEIPT | {"leafHash": "\ud800"}), json.dumps(RECEIPT)[:-1],
    ],
)  # fmt: skip
def test_what_is_no_receipt(tmp_path, text):
    path = tmp_path / "answer.json"
    path.write_text(text)
    with pytest.raises(MalformedInputError, match=r"answer\.json is no answer to an append, and no receipt"):
        read_promises(path)
