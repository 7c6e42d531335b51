"""What logs say that they took of a topic, against the topic: each fault that is planted is named, and nothing else is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from mirrors import write_mirror
from msgspec import structs
from streams import STREAM

from tlog.checking.mirror import open_mirror
from tlog.checking.topic import (
    Compared,
    Delivered,
    Letter,
    check_logs,
    check_marks,
    name_missing,
    parse_letters,
    ranges_of,
    read_log,
)
from tlog.core.entry import format_logged_at
from tlog.core.intake import Part, logged_mark, raw_message, refused_digest, refused_mark
from tlog.core.making.drafts import draft_index_keys
from tlog.core.making.intake import draft_intake
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer
from tlog.errors import MalformedInputError, NotCheckedError, VerificationError
from tlog.location import utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

SALT = bytes(range(16))
RAW = raw_message(None, b"{not json", [])
# Of partition 0 offsets 0 to 19, of which 7 is refused and 11 and 12 are markers; of partition 1 offsets 0 to 9.
TOPIC = [
    *(
        Delivered(0, n, None if n == 7 else UUID(int=n).bytes, RAW if n == 7 else b"")
        for n in range(20)
        if n not in {11, 12}
    ),
    *(Delivered(1, n, UUID(int=100 + n).bytes, b"") for n in range(10)),
]
LETTERS = {(0, 7): Letter(refused_digest(SALT, RAW), SALT)}


def opening(*partitions, start=0):
    return [Part(start=start, logged=0, partition=n, refused=0, end=start) for n in partitions], []


def step(start, end, partition=0, messages: Sequence[Delivered] = TOPIC):
    """Return the step over these offsets, and its marks, as an honest log makes them."""
    within = [each for each in messages if each.partition == partition and start <= each.offset < end]
    refused = [each for each in within if each.event_id is None]
    marks = [logged_mark(*each[:2], each.event_id) for each in within if each.event_id is not None]
    marks += [refused_mark(*each[:2], refused_digest(SALT, each.raw)) for each in refused]
    part = Part(start=start, logged=len(within) - len(refused), partition=partition, refused=len(refused), end=end)
    return [part], marks


def both(*steps):
    return [part for parts, _ in steps for part in parts], [mark for _, marks in steps for mark in marks]


HONEST = [opening(0, 1), both(step(0, 8), step(0, 10, 1)), step(8, 13), step(13, 20)]


def said(directory, steps, name="one"):
    """Write a mirror of a log that says this, and read it."""
    signer = Signer(f"example.com/{name}", bytes(range(32)))
    at = format_logged_at(utc_now())
    drafts = [draft_index_keys(0, EMPTY_ROOT, signer.verifier.name)]
    drafts += [draft_intake(STREAM, "tlog", *each) for each in steps]
    write_mirror(directory / name, [draft.entry(at) for draft in drafts], signer)
    with open_mirror(str(directory / name)) as mirror:
        return read_log(mirror, signer.verifier, "audit-events")


def compare(logs, messages=TOPIC, letters=LETTERS, firsts=None):
    report = Compared()
    check_logs(report, logs)
    suspects = check_marks(report, logs, messages, letters, firsts or {})
    return report, suspects


def test_an_honest_log_raises_no_alarm(tmp_path):
    report, suspects = compare([said(tmp_path, HONEST)])
    assert (report.problems, report.unchecked, report.exit_code, suspects) == ([], [], 0, {})
    assert (report.intakes, report.messages) == (4, len(TOPIC))
    assert report.text().endswith("VERIFIED")
    assert report.to_json()["verdict"] == "verified"


def without(*places):
    return [each for each in TOPIC if each[:2] not in places]


OTHER = Delivered(0, 15, UUID(int=999).bytes, b"")
FAULTS = {
    "removed": ([*HONEST[:3], step(13, 20, messages=without((0, 15)))], TOPIC, "offsets 13 to 19: .* took 6 messages there, the topic has 7"),
    "added": (HONEST, without((0, 15)), "offsets 13 to 19: .* took 7 messages there, the topic has 6"),
    "swapped": ([*HONEST[:3], step(13, 20, messages=[*without((0, 15)), OTHER])], TOPIC, "offsets 13 to 19: .* took other ones"),
    "overlapping": ([*HONEST[:3], step(11, 20)], TOPIC, "it goes on at 11, and was taken up to 13"),
    "skipped": ([*HONEST[:3], step(15, 20)], TOPIC, "it goes on at 15, and was taken up to 13"),
    "another refused message": (HONEST, [each._replace(raw=b"other") if each.event_id is None else each for each in TOPIC], "offset 7: the dead letter is of another message"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(tmp_path, fault):
    steps, messages, what = FAULTS[fault]
    report, _ = compare([said(tmp_path, steps)], messages)
    assert report.exit_code == 1
    (problem,) = report.problems
    assert re.search(what, problem), problem
    assert report.text().endswith("FAILED")


def test_an_event_that_is_in_no_log_is_named(tmp_path):
    report, suspects = compare([said(tmp_path, FAULTS["removed"][0])])
    assert {each[1] for each in suspects.values()} == set(range(13, 20))
    logged = set(suspects) - {UUID(int=15).bytes}
    name_missing(report, suspects, logged)
    assert report.problems[-1] == "partition 0, offset 15: this event is in no log"
    assert len(report.problems) == 2


def test_what_cannot_be_compared_is_told(tmp_path):
    log = said(tmp_path, HONEST)
    report, _ = compare([log], letters=None)
    assert (report.problems, report.exit_code) == ([], 3)
    assert report.unchecked == [f"{log.name}, entry 2: it has refused messages, and no dead letters were given"]
    report, _ = compare([log], firsts={0: 9})
    assert (len(report.unchecked), report.exit_code) == (2, 3)
    assert report.text().endswith("INCOMPLETE")
    assert Compared().exit_code == 3, "of nothing nothing is verified"
    # Without its salt the digest is what the log committed to, and the message is not looked at.
    report, _ = compare([log], letters={(0, 7): LETTERS[0, 7]._replace(salt=None)})
    assert report.exit_code == 0


def test_a_message_that_is_no_event_needs_a_dead_letter(tmp_path):
    report, _ = compare([said(tmp_path, HONEST)], letters={})
    assert "partition 0, offset 7: no event, and no dead letter" in report.problems[0]


def test_several_logs_share_out_a_topic(tmp_path):
    one = said(tmp_path, [opening(0), step(0, 20)], "one")
    two = said(tmp_path, [opening(1), step(0, 10, 1)], "two")
    report, _ = compare([one, two])
    assert (report.problems, report.exit_code) == ([], 0)
    both_take = said(tmp_path, [opening(0, 1), both(step(0, 20), step(0, 10, 1))], "three")
    report, _ = compare([one, both_take])
    assert report.problems == [
        f"partition 0 of {STREAM}: the offsets 0 to 19 are taken twice, by {one.name} and by {both_take.name}"
    ]
    report, _ = compare([two])
    assert report.problems == [f"partition 0 of {STREAM} is taken by none of the logs"]
    later = said(tmp_path, [opening(0, start=22)], "four")
    report = Compared()
    check_logs(report, [one, later])
    assert report.problems == [f"partition 0 of {STREAM}: the offsets 20 to 21 are taken by none of the logs"]
    handed_over = said(tmp_path, [opening(0, start=20)], "five")
    report = Compared()
    check_logs(report, [one, handed_over])
    assert report.problems == []


def test_entries_that_were_not_signed_are_refused(tmp_path):
    said(tmp_path, HONEST)
    path = tmp_path / "one" / "tile" / "entries" / "000.p" / "5"
    path.write_bytes(path.read_bytes().replace(b'"refused":1', b'"refused":0'))
    with (
        open_mirror(str(tmp_path / "one")) as mirror,
        pytest.raises(VerificationError, match="do not lead to the root"),
    ):
        read_log(mirror, Signer("example.com/one", bytes(range(32))).verifier, "audit-events")


def test_what_is_to_be_read_again(tmp_path):
    log = said(tmp_path, HONEST)
    assert ranges_of([log]) == ({0: 0, 1: 0}, {0: 20, 1: 10}, "tlog")
    assert ranges_of([log.of_stream("kafka:other")]) == ({}, {}, "tlog")
    (_, intake) = log.intakes[1]
    other = log._replace(intakes=[(9, structs.replace(intake, format="cloudevents"))])
    with pytest.raises(NotCheckedError, match="cloudevents, tlog"):
        ranges_of([log, other])


LINE = b'{"digest":"%b","forwarded":false,"offset":7,"partition":0,"salt":%b,"stream":"s"}'


def test_lines_of_dead_letters():
    digest, salt = b"A" * 43, b'"AAAAAAAAAAAAAAAAAAAAAA"'
    assert parse_letters([LINE % (digest, salt), LINE.replace(b":7", b":8") % (digest, b"null")]) == {
        ("s", (0, 7)): Letter(bytes(32), bytes(16)),
        ("s", (0, 8)): Letter(bytes(32), None),
    }
    for wrong in (b"", b"[]", LINE % (digest, b"5"), LINE % (digest[1:], salt), LINE % (digest, b'"A"'), b"\xff"):
        with pytest.raises(MalformedInputError):
            parse_letters([wrong])
