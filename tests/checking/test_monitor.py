"""A monitor: what a log, its mirrors and its witnesses show is held against what was seen before."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest
from mirrors import write_mirror
from witnessing import FORK_SEED, NOW, LeafLog

from tlog.checking.mirror import open_mirror
from tlog.checking.monitor import Monitor
from tlog.core.cosignature import CosigningKey
from tlog.core.fork import find_fork, parse_fork
from tlog.core.making.drafts import draft_index, draft_index_keys
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer
from tlog.core.policy import parse_policy
from tlog.core.segment import Segment, format_table, table_hash
from tlog.core.strict import encode_base64
from tlog.core.tile import ENTRIES, Tile
from tlog.errors import MalformedInputError, NotCheckedError

LOG, FORK = LeafLog(), LeafLog(other=FORK_SEED)
ORIGIN = LOG.signer.verifier.name
WITNESSES = [CosigningKey(f"witness.example/{n}", bytes([n + 1]) * 32) for n in range(3)]
POLICY = f"log {LOG.signer.verifier.vkey()}\n" + "".join(
    f"witness w{n} {key.cosigner.vkey()}\n" for n, key in enumerate(WITNESSES)
)
POLICY = parse_policy((POLICY + "group G 2 w0 w1 w2\nquorum G\n").encode())


class Place:
    """A directory that shows a log as `tlog export --static` does."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()

    def show(self, size, log=LOG, *, witnesses=(0, 1), at=NOW, tiles=True):
        note = log.note(size)
        text = note.partition(b"\n\n")[0] + b"\n"
        lines = [WITNESSES[n].cosign(text, int(at.timestamp())).line() for n in witnesses]
        (self.directory / "checkpoint").write_bytes(note + b"".join(lines))
        if tiles:
            log.write_tiles(self.directory, size)
        return self

    def looked_at(self, monitor, *others, witnesses=(), receipts=()):
        with open_mirror(str(self.directory)) as log:
            mirrors, witnesses = (
                [Shown(each, name) for each in notes] for notes, name in ((others, "other"), (witnesses, "witness"))
            )
            return monitor.look(log, mirrors, witnesses, receipts)


class Shown:
    """Another place, which shows a checkpoint, and no tiles."""

    def __init__(self, note, name="other"):
        self.note, self.name = note, name

    def checkpoint(self):
        if self.note is None:
            raise NotCheckedError(self.name)
        return self.note

    def tile(self, *_):
        raise NotCheckedError(self.name)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "log")


@pytest.fixture
def make(tmp_path):
    def monitor(clock=lambda: NOW):
        return Monitor(POLICY, ORIGIN, tmp_path / "state", max_age=120, clock=clock)

    return monitor


def events(found):
    return [(each.event, each.where.rpartition("/")[2]) for each in found]


def test_a_log_that_grows_is_in_order_and_what_was_seen_is_remembered(place, make):
    monitor = make()
    for size in (1, 5, 5, 255, 256, 257, 300):
        assert events(place.show(size).looked_at(monitor, LOG.note(size), LOG.note(1))) == [("ok", "log")]
    monitor = make()
    assert events(place.show(257).looked_at(monitor)) == [("rollback", "log")]
    assert events(place.show(300).looked_at(monitor)) == [("ok", "log")]


def test_a_log_that_forks_is_convicted(place, make, tmp_path):
    monitor = make()
    place.show(5).looked_at(monitor)
    for size in (5, 9, 300):
        (found,) = place.show(size, FORK).looked_at(monitor)
        assert found.event == "fork"
        forked = find_fork(LOG.signer.verifier, parse_fork(found.fork))
        assert (forked.first.size, forked.second.size) == (5, size)
    assert events(place.show(9).looked_at(monitor)) == [("ok", "log")]


@pytest.mark.parametrize("size", [3, 9])
def test_a_split_view_is_convicted(place, make, size):
    """Whoever is shown less, or as much, in another history."""
    monitor = make()
    for others, witnesses, where in (((FORK.note(size),), (), "other"), ((), (FORK.note(size),), "witness")):
        (found,) = place.show(9).looked_at(monitor, *others, witnesses=witnesses)
        assert (found.event, found.where) == ("fork", where)
        assert find_fork(LOG.signer.verifier, parse_fork(found.fork)).first.root == FORK.root(size)


def test_a_split_view_is_convicted_by_the_tiles_of_who_is_shown_more(place, make, tmp_path):
    other = Place(tmp_path / "other").show(9, FORK)
    with open_mirror(str(place.show(5).directory)) as log, open_mirror(str(other.directory)) as mirror:
        (found,) = make().look(log, [mirror])
        assert (found.event, found.where) == ("fork", mirror.name)
        assert find_fork(LOG.signer.verifier, parse_fork(found.fork)).first.root == LOG.root(5)


def test_a_split_view_without_tiles_is_convicted_once_the_log_is_as_large(place, make):
    monitor = make()
    assert events(place.show(5).looked_at(monitor, witnesses=[FORK.note(9)])) == [("ok", "log")]
    assert events(place.looked_at(monitor, witnesses=[FORK.note(9)])) == [("stale", "witness")]
    assert events(place.show(12).looked_at(monitor, witnesses=[FORK.note(9)])) == [("fork", "witness")]


def test_a_frozen_log_is_noticed(place, make):
    clock = [NOW]
    monitor = make(lambda: clock[0])
    assert events(place.show(5).looked_at(monitor)) == [("ok", "log")]
    clock[0] = NOW + timedelta(seconds=120)
    assert events(place.looked_at(monitor)) == [("ok", "log")]
    clock[0] = NOW + timedelta(seconds=121)
    assert events(place.looked_at(monitor)) == [("stale", "log")]
    assert events(place.show(5, at=clock[0]).looked_at(monitor)) == [("ok", "log")]


def test_who_is_shown_less_than_a_witness_saw_hears_of_it_at_the_second_pass(place, make):
    assert events(place.show(5).looked_at(make(), LOG.note(9))) == [("ok", "log")]
    monitor = make()  # as the next run of `--once` would
    assert events(place.looked_at(monitor, LOG.note(9))) == [("stale", "other")]
    assert events(place.show(9).looked_at(monitor, LOG.note(12))) == [("ok", "log")]
    assert events(place.show(12).looked_at(monitor, LOG.note(12))) == [("ok", "log")]


@pytest.mark.parametrize("witnesses", [(), (0,)])
def test_a_checkpoint_without_its_quorum_is_named(place, make, witnesses):
    assert events(place.show(5, witnesses=witnesses).looked_at(make())) == [("unwitnessed", "log")]


def test_a_line_of_a_witness_that_fails_is_no_cosignature(place, make):
    note = place.show(5, witnesses=(0, 1, 2)).directory / "checkpoint"
    *lines, last = note.read_bytes().splitlines(keepends=True)
    note.write_bytes(b"".join([*lines, last[:-12] + b"A" * 11 + b"\n"]))
    assert events(place.looked_at(make())) == [("unwitnessed", "log")]


RECEIPT = {"eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e", "chainHash": "", "loggedAt": ""}


@pytest.fixture
def promise(tmp_path):
    """Returns what writes an answer to an append of some entries, in a file of now."""

    def write(name, *indexes, log=LOG, at=NOW):
        receipts = [{**RECEIPT, "index": n, "leafHash": encode_base64(log.leaf(n)).decode()} for n in indexes]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"receipts": receipts}))
        os.utime(path, (at.timestamp(), at.timestamp()))
        return path

    return write


def test_what_was_promised_is_there(place, make, promise):
    monitor = make()
    answers = [promise("a", 0, 4), promise("b", 5, 256)]
    for size in (3, 5, 256, 257, 300):
        assert events(place.show(size).looked_at(monitor, receipts=answers)) == [("ok", "log")]
    assert monitor._kept == {(n, LOG.leaf(n)) for n in (0, 4, 5, 256)}


def test_another_entry_than_was_promised_is_named(place, make, promise):
    answers = [promise("good", 2, 3), promise("bad", 3, 2, log=FORK), promise("later", 9, log=FORK)]
    monitor = make()
    for _ in range(2):
        assert events(place.show(5).looked_at(monitor, receipts=answers)) == [("receipt", "bad.json")]
    assert events(place.show(10).looked_at(monitor, receipts=answers)) == [
        ("receipt", "bad.json"),
        ("receipt", "later.json"),
    ]


def test_an_entry_that_does_not_come_is_named_once_a_later_checkpoint_is_cosigned(place, make, promise):
    clock = [NOW]
    monitor, answers = make(lambda: clock[0]), [promise("a", 2, 7)]
    for seconds, cosigned, expected in (
        (120, 120, [("ok", "log")]),
        (240, 120, [("ok", "log")]),  # nobody cosigned anything that would have to have it
        (241, 120, [("stale", "log")]),
        (241, 121, [("receipt", "a.json")]),
    ):
        clock[0] = NOW + timedelta(seconds=seconds)
        place.show(5, at=NOW + timedelta(seconds=cosigned))
        assert events(place.looked_at(monitor, receipts=answers)) == expected
    assert events(place.show(8, at=clock[0]).looked_at(monitor, receipts=answers)) == [("ok", "log")]


def test_without_witnesses_the_own_clock_says_what_is_late(place, tmp_path, promise):
    alone = parse_policy(f"log {LOG.signer.verifier.vkey()}\nquorum none\n".encode())
    clock = [NOW + timedelta(seconds=120)]
    monitor = Monitor(alone, ORIGIN, tmp_path / "state", max_age=120, clock=lambda: clock[0])
    answers = [promise("a", 7)]
    assert events(place.show(5).looked_at(monitor, receipts=answers)) == [("ok", "log")]
    clock[0] += timedelta(seconds=1)
    assert events(place.looked_at(monitor, receipts=answers)) == [("receipt", "a.json")]


def test_receipts_that_cannot_be_checked_are_named(place, make, promise, tmp_path):
    (tmp_path / "no.json").write_text("half a rec")
    answers = [tmp_path / "no.json", tmp_path / "gone.json", promise("a", 2)]
    monitor = make()
    assert events(place.show(5).looked_at(monitor, receipts=answers)) == [
        ("unreachable", "no.json"),
        ("unreachable", "gone.json"),
    ]
    # While what the log shows is not believed, nothing is held against it.
    assert events(place.show(3).looked_at(monitor, receipts=answers)) == [("rollback", "log")]
    place.show(5)
    monitor = make()
    (place.directory / Tile(0, 0, 5).path()).write_bytes(bytes(5 * 32))
    assert events(place.looked_at(monitor, receipts=answers[2:])) == [("unreachable", "log")]


def test_a_false_epoch_is_named(tmp_path):
    signer, now = Signer(ORIGIN, bytes(32)), b"2026-03-01T12:00:00.000000Z"
    policy = parse_policy(f"log {signer.verifier.vkey()}\nquorum none\n".encode())
    zero = draft_index_keys(4, bytes(32), ORIGIN).entry(now)
    honest, false = (
        draft_index([1], table_hash(format_table([Segment(0, 1, count, EMPTY_ROOT)]))).entry(now) for count in (0, 3)
    )
    with (
        Monitor(policy, ORIGIN, tmp_path / "state", max_age=1, clock=lambda: NOW, replay=True) as monitor,
        open_mirror(str(tmp_path)) as log,
    ):
        for entries in ([zero], [zero, honest]):
            write_mirror(tmp_path, entries, signer)
            assert [each.event for each in monitor.look(log)] == ["ok"]
        write_mirror(tmp_path, [zero, honest, false, false], signer)
        for _ in range(2):
            (found,) = monitor.look(log)
            assert (found.event, found.reason.partition(":")[0]) == ("index", "entry 2")
            assert found.reason.endswith("; and 1 more")
        (tmp_path / Tile(ENTRIES, 0, 4).path()).unlink()
    with (
        Monitor(policy, ORIGIN, tmp_path / "state", max_age=1, clock=lambda: NOW, replay=True) as monitor,
        open_mirror(str(tmp_path)) as log,
    ):
        assert [each.event for each in monitor.look(log)] == ["unreachable"]


def test_what_cannot_be_seen_is_named(place, make):
    monitor = make()
    assert events(place.looked_at(monitor)) == [("unreachable", "log")]
    (place.directory / "checkpoint").write_bytes(LOG.note(5))
    assert events(place.looked_at(monitor, b"nonsense")) == [("unwitnessed", "log"), ("unreachable", "other")]
    # A witness may show nothing, a mirror may not.
    assert events(place.show(5).looked_at(monitor, witnesses=[None])) == [("ok", "log")]
    assert events(place.looked_at(monitor, None, witnesses=[FORK.note(5)])) == [
        ("unreachable", "other"),
        ("fork", "witness"),
    ]
    # Tiles that are missing, or do not lead to the checkpoint, prove nothing, and nothing is remembered.
    assert events(place.show(9, tiles=False).looked_at(monitor)) == [("unreachable", "log")]
    place.show(9)
    tile = place.directory / Tile(0, 0, 9).path()
    tile.write_bytes(bytes(9 * 32))
    assert events(place.looked_at(monitor)) == [("unreachable", "log")]
    assert events(place.show(7).looked_at(monitor)) == [("ok", "log")]


def test_a_state_of_something_else_is_refused(tmp_path, make, place):
    (tmp_path / "state").write_bytes(b"{}\n")
    with pytest.raises(MalformedInputError, match="a monitor's state file"):
        make()
    (tmp_path / "state").write_bytes(b'{"ahead":{},"note":"no note","type":"tlog-monitor","v":1}\n')
    with pytest.raises(MalformedInputError):
        make()
    (tmp_path / "state").unlink()
    place.show(5).looked_at(make())
    other = parse_policy(f"log {Signer(ORIGIN, b'1' * 32).verifier.vkey()}\nquorum none\n".encode())
    with pytest.raises(MalformedInputError, match="the state of another log or of another policy"):
        Monitor(other, ORIGIN, tmp_path / "state", max_age=1, clock=lambda: NOW)
    with pytest.raises(MalformedInputError, match="has no Ed25519 key of log"):
        Monitor(POLICY, "log.example/x", tmp_path / "state", max_age=1, clock=lambda: NOW)


def test_a_thousand_clean_passes_raise_no_alarm(place, make):
    clock, size = [NOW], 1
    monitor = make(lambda: clock[0])
    place.show(size)
    for number in range(1000):
        if number % 50 == 0 and size < 290:
            size += 13
            place.show(size, at=clock[0])
        elif number % 10 == 0:
            place.show(size, at=clock[0], tiles=False)
        assert events(place.looked_at(monitor, LOG.note(size))) == [("ok", "log")]
        clock[0] += timedelta(seconds=7)
