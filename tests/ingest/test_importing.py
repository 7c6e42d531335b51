"""One import: what is checked, what is set aside, what is appended, without a log."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import contextmanager
from functools import partial

import pytest
from foreign_records import cloudtrail_record
from support import sample_events

from tlog.errors import InvalidEventError, MalformedInputError
from tlog.ingest import importing
from tlog.ingest.aside import AsideFile
from tlog.ingest.cloudtrail import CloudTrail
from tlog.ingest.importing import ConflictError, Import, Imported
from tlog.ingest.ndjson import read_ndjson
from tlog.ingest.reading import read_records


@contextmanager
def opening(path):
    with path.open("rb") as stream:
        yield stream


class FakeLog:
    """Keeps events by eventId, as a log does."""

    def __init__(self):
        self.events = {}
        self.batches = []

    async def append(self, raws):
        self.batches.append(len(raws))
        keys = [json.loads(raw)["eventId"] for raw in raws]
        for position, (key, raw) in enumerate(zip(keys, raws, strict=True)):
            if self.events.get(key, raw) != raw:
                raise ConflictError(position)
        receipts = [
            (list(self.events).index(key) if key in self.events else len(self.events) + k, key in self.events)
            for k, key in enumerate(keys)
        ]
        self.events.update(zip(keys, raws, strict=True))
        return receipts


def run(files, *, read=read_ndjson, aside=None, log=None):
    """Check and append; return the import, the result, and the reports of both phases."""
    reports = []
    job = Import(files, opening, read, aside)
    job.check(lambda *numbers: reports.append(("check", *numbers)))
    total = asyncio.run(job.append((log or FakeLog()).append, lambda *numbers: reports.append(("append", *numbers))))
    return job, total, reports


def write(path, *lines):
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_all_is_appended_in_order_and_a_second_import_adds_nothing(tmp_path):
    raws = sample_events(2_500)
    files = [write(tmp_path / "a", *raws[:2_000]), write(tmp_path / "b", *raws[2_000:])]
    log = FakeLog()
    job, total, reports = run(files, log=log)
    assert (total, list(log.events.values()), log.batches) == (Imported(2_500, 0, 0, 2_499), raws, [1_000, 1_000, 500])
    assert (job.records, job.good, job.problems) == (2_500, 2_500, 0)
    size = sum(path.stat().st_size for path in files)
    assert reports[-1] == ("append", 2_500, size)
    assert [each for each in reports if each[0] == "check"][-1] == ("check", 2_500, size)
    assert run(files, log=log)[1] == Imported(2_500, 2_500, 0, 2_499)


def test_large_events_are_appended_in_smaller_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "_BATCH_SIZE", 1_000)
    log = FakeLog()
    run([write(tmp_path / "a", *sample_events(10))], log=log)
    assert len(log.batches) > 2


def test_nothing_at_all(tmp_path):
    job, total, _ = run([write(tmp_path / "a", b"")])
    assert (job.records, total) == (0, Imported())


BAD = (b'{"action":"read"}', b"oops", b'{"eventId": "x", "eventId": "y"}', b"[1]", b"x" * 70_000)


def test_problems_are_named_and_counted(tmp_path):
    job = Import([write(tmp_path / "a", sample_events(1)[0], *BAD * 5)], opening, read_ndjson)
    job.check(lambda *_: None)
    assert (job.records, job.good, job.problems, len(job.named)) == (26, 1, 25, 20)
    assert [(each.place.rpartition(" ")[2], each.pointer) for each in job.named[:5]] == [
        ("2", "/actor"),
        ("3", ""),
        ("4", "/eventId"),
        ("5", ""),
        ("6", ""),
    ]


def test_with_a_file_for_it_what_is_wrong_is_set_aside_and_all_else_goes_in(tmp_path):
    raws = sample_events(1_500)
    mixed = [line for k, raw in enumerate(raws) for line in ((raw, BAD[k // 300]) if k % 300 == 7 else (raw,))]
    log, aside = FakeLog(), AsideFile(tmp_path / "aside")
    job, total, _ = run([write(tmp_path / "a", *mixed)], aside=aside, log=log)
    aside.close(keep=True)
    assert (total.events, list(log.events.values()), job.problems) == (1_500, raws, 5)
    kept = lines_of(tmp_path / "aside")
    assert [each.get("text", each.get("record")) for each in kept] == [
        {"action": "read"},
        "oops",
        {"eventId": "y"},
        [1],
        "x" * 70_000,
    ]
    assert b'"record":{"eventId": "x", "eventId": "y"}' in (tmp_path / "aside").read_bytes()


def test_what_was_repaired_in_the_file_is_imported_from_there(tmp_path):
    raws = sample_events(3)
    aside = AsideFile(tmp_path / "aside")
    log = FakeLog()
    run([write(tmp_path / "a", raws[0], raws[1].replace(b'"action"', b'"Action"'), raws[2])], aside=aside, log=log)
    aside.close(keep=True)
    path = tmp_path / "aside"
    path.write_bytes(path.read_bytes().replace(b'"Action"', b'"action"'))
    job, total, _ = run([path], log=log)
    assert (job.problems, total.events - total.duplicates, set(log.events.values())) == (0, 1, set(raws))


def test_a_file_that_is_damaged_at_its_end_goes_nowhere(tmp_path):
    raws = sample_events(3_000)
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(gzip.compress(b"\n".join([*raws[:2_500], b"oops"]))[:-20])
    log, aside = FakeLog(), AsideFile(tmp_path / "aside")
    first = write(tmp_path / "first", raws[2_500], b"oops")
    job, total, _ = run([first, damaged, write(tmp_path / "last", *raws[2_501:], b"oops")], aside=aside, log=log)
    aside.close(keep=True)
    assert list(log.events.values()) == raws[2_500:]
    kept = lines_of(tmp_path / "aside")
    assert [each["place"] for each in kept] == [f"{first}, line 2", str(damaged), f"{tmp_path / 'last'}, line 500"]
    assert (job.records, job.problems, total.events) == (502, 3, 500)
    damaged.write_bytes(b"")
    assert run([tmp_path / "aside"])[0].problems == 3


def test_without_a_file_for_it_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\x1f\x8bdamaged")
    job = Import([path], opening, read_ndjson)
    job.check(lambda *_: None)
    assert [str(each) for each in job.named] == [f"{path}: the gzip data is damaged"]


def test_a_damaged_file_may_be_too_large_to_be_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "MAX_PIECE", 10)
    path = tmp_path / "x"
    path.write_bytes(b"\x1f\x8bdamaged, and long")
    aside = AsideFile(tmp_path / "aside")
    with pytest.raises(MalformedInputError, match="too large to be set aside"):
        Import([path], opening, read_ndjson, aside).check(lambda *_: None)
    aside.close(keep=False)


@pytest.mark.parametrize("which", [[0], [9], [3, 4, 5], range(10), [0, 2, 9]])
def test_an_event_id_that_is_logged_with_other_content_is_set_aside(tmp_path, which):
    raws = sample_events(10)
    log = FakeLog()
    log.events = {json.loads(raws[k])["eventId"]: b"other" for k in which}
    aside = AsideFile(tmp_path / "aside")
    job, total, _ = run([write(tmp_path / "a", *raws)], aside=aside, log=log)
    aside.close(keep=True)
    assert (job.problems, total.events) == (len(which), 10 - len(which))
    assert [each["record"]["eventId"] for each in lines_of(tmp_path / "aside")] == [
        json.loads(raws[k])["eventId"] for k in which
    ]
    assert {each["rule"] for each in lines_of(tmp_path / "aside")} == {
        "its eventId is already logged with other content"
    }
    assert [raw for raw in log.events.values() if raw != b"other"] == [raws[k] for k in range(10) if k not in which]


def test_without_a_file_for_it_a_conflict_ends_the_import(tmp_path):
    raws = sample_events(10)
    log = FakeLog()
    log.events = {json.loads(raws[4])["eventId"]: b"other"}
    with pytest.raises(
        InvalidEventError, match=r"line 5: its eventId is already logged with other content; a new event"
    ) as caught:
        run([write(tmp_path / "a", *raws)], log=log)
    assert caught.value.pointer == "/eventId"


def test_many_conflicts_cost_no_more_than_one_try_for_each(tmp_path):
    raws = sample_events(1_000)
    log = FakeLog()
    log.events = {json.loads(raw)["eventId"]: b"other" for raw in raws}
    aside = AsideFile(tmp_path / "aside")
    job, total, _ = run([write(tmp_path / "a", *raws)], aside=aside, log=log)
    aside.close(keep=True)
    assert (job.problems, total) == (1_000, Imported())
    assert sum(log.batches) < 3_000


def trail(*records):
    return json.dumps({"Records": records}).encode()


read_trail = partial(read_records, mapping=CloudTrail(), cloudtrail=True)
MANY = {"requestParameters": {"instanceIds": [f"i-{k}" for k in range(70)]}}


def test_events_that_continue_one_are_counted_apart_and_go_with_it(tmp_path):
    path = write(tmp_path / "a.json", trail(cloudtrail_record(1), cloudtrail_record(2, **MANY), cloudtrail_record(3)))
    log = FakeLog()
    assert run([path], read=read_trail, log=log)[1] == Imported(3, 0, 2, 4)
    assert run([path], read=read_trail, log=log)[1] == Imported(3, 3, 2, 4)
    other = FakeLog()
    other.events = {list(log.events)[2]: b"other"}  # a part of record 2
    aside = AsideFile(tmp_path / "aside")
    job, total, _ = run([path], read=read_trail, log=other, aside=aside)
    aside.close(keep=True)
    assert (job.problems, total.events, total.continuations) == (1, 2, 0)
    (kept,) = lines_of(tmp_path / "aside")
    assert (kept["place"], kept["pointer"], kept["record"]) == (f"{path}, record 2", "", cloudtrail_record(2, **MANY))


def test_digests_are_counted(tmp_path):
    path = write(
        tmp_path / "a.json",
        b'{"digestStartTime":""}',
        json.dumps(cloudtrail_record(1)).encode(),
        b'{"messageType":"CONTROL_MESSAGE"}',
    )
    job, total, _ = run([path], read=read_trail)
    assert (job.digests, job.records, total.events) == ([str(path)], 1, 1)


def test_a_conflict_that_is_reported_beyond_the_batch_is_the_last(tmp_path):
    """A service that counts otherwise takes nothing away but one record."""

    class Odd(FakeLog):
        async def append(self, raws):
            if len(raws) > 1:
                raise ConflictError(99)
            return await super().append(raws)

    aside = AsideFile(tmp_path / "aside")
    raws = sample_events(2)
    assert run([write(tmp_path / "a", *raws)], aside=aside, log=Odd())[1].events == 1
    aside.close(keep=False)
