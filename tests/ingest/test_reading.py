"""From files to items: which files are read, and where each record is."""

from __future__ import annotations

import gzip
import io
import json

import pytest

from tlog.ingest.aside import Problem
from tlog.ingest.reading import Item, encode_event, find_files, is_json, read_events, read_records
from tlog.ingest.shapes import Skipped
from tlog.ingest.total import JsonText, SetAside


class Echo:
    """A mapping that gives the record back, and its number."""

    name = "echo"

    def map(self, record, position):
        if record == {"bad": 1}:
            rule = "bad"
            raise SetAside(rule, "/bad")
        return [{"r": record}, {"n": position}]


def records(data, **options):
    return list(read_records(io.BytesIO(data), "x", Echo(), **options))


def test_each_record_is_an_item_with_its_place():
    items = records(b'{"a":1}\n\n{"b":\n2}[{"c":3},4]')
    assert [item.place for item in items] == ["x, line 1", "x, line 3", "x, record 3", "x, record 4"]
    assert [json.loads(item.events[1])["n"] for item in items] == [0, 1, 2, 3]
    assert items[1].problem("/p", "r") == Problem("x, line 3", "", "", "r", items[1].record.content)
    assert items[2].problem("/p", "r").base == "/0"


def test_what_cannot_be_taken_is_a_problem():
    good, bad, damaged = records(b'{"a":1}\n{"bad": 1}\noops')
    assert isinstance(good, Item)
    assert (bad.place, bad.pointer, bad.rule, bad.content(), bad.is_json) == (
        "x, line 2",
        "/bad",
        "bad",
        b'{"bad": 1}',
        True,
    )
    assert (damaged.place, damaged.content(), damaged.is_json) == ("x, line 3", b"oops", False)


def test_digests_are_skipped():
    data = b'{"digestStartTime":""}\n{"a":1}'
    assert records(data, cloudtrail=True)[0] == Skipped("digest")
    assert len([each for each in records(data) if isinstance(each, Item)]) == 2


def test_events_stand_as_they_are():
    data = b'[{"a": 1.50}, {"b":1,"b":1}]\noops\n{"place":"","pointer":"","rule":"","record": {"c" :3}}'
    first, doubled, damaged, last = read_events(io.BytesIO(data), "x")
    assert (first.place, first.events) == ("x, record 1", (b'{"a": 1.50}',))
    assert (doubled.place, doubled.pointer) == ("x, record 2", "/b")
    assert damaged.place == "x, line 2"
    assert last.events == (b'{"c" :3}',)
    assert last.problem("/p", "r")[:4] == ("x, record 4", "/record", "/p", "r")


def test_an_event_in_a_line_of_its_own_as_a_problem():
    problem = Item("x, line 1", (b'{"a":1}',)).problem("/p", "r")
    assert (problem.base, problem.pointer, problem.content(), problem.is_json) == ("", "/p", b'{"a":1}', True)
    assert not Item("x, line 1", (b"oops",)).problem("", "r").is_json


@pytest.mark.parametrize(
    "content, answer",
    [(b"{}", True), (b" [1] ", True), (b"{}{}", False), (b"7", False), (b'{"a":"\xff"}', False), (b"", False)],
)
def test_is_json(content, answer):
    assert is_json(content) == answer


def test_texts_of_events():
    assert encode_event({"a": "\u00e9", "b": 1.5}) == '{"a":"\u00e9","b":1.5}'.encode()
    assert encode_event({"a": JsonText("1e400")}) == b'{"a":1e400}'
    assert encode_event({"a": "\ud800"}) == b'{"a":"\\ud800"}'


def test_directories_in_the_order_of_their_names(tmp_path):
    for name in (
        "b/2.json",
        "b/10.json",
        "a.json.gz",
        "c-without-end",
        "README",
        "x.txt",
        "b/1_CloudTrail-Digest_1.json.gz",
        "d-utf-16",
        "e-bom",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            {
                "c-without-end": gzip.compress(b'\n {"a":1}'),
                "README": b"read me",
                "d-utf-16": b"\xff\xfe{\0",
                "e-bom": b"\xef\xbb\xbf[]",
            }.get(name, b"")
        )
    found = find_files([tmp_path / "x.txt", tmp_path])
    names = [str(path.relative_to(tmp_path)) for path in found.files]
    assert names == ["x.txt", "a.json.gz", "b/10.json", "b/2.json", "c-without-end", "d-utf-16", "e-bom"]
    assert found.digests == [str(tmp_path / "b/1_CloudTrail-Digest_1.json.gz")]
    assert found.passed_over == [str(tmp_path / "README"), str(tmp_path / "x.txt")]
    assert find_files([tmp_path / "b/1_CloudTrail-Digest_1.json.gz"]).digests == found.digests


def test_a_directory_may_hold_damaged_files_without_an_ending(tmp_path):
    (tmp_path / "trail").write_bytes(b"\x1f\x8bdamaged")
    assert find_files([tmp_path]).files == [tmp_path / "trail"]
