"""Following a log: it may grow by any number of entries between two looks; what it is to blame for is named, and nothing else."""

from __future__ import annotations

import pytest
from mirrors import write_mirror
from support import ORIGIN

from tlog.checking import join, ranges, workers
from tlog.checking.follow import Follow
from tlog.checking.mirror import open_mirror
from tlog.core.canonical import canonical
from tlog.core.making.drafts import draft_index, draft_index_keys
from tlog.core.making.posting import LoggedKeys, build_segment, keys_text
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer
from tlog.core.pseudonym import public_text
from tlog.core.segment import Segment, format_table, table_hash
from tlog.errors import NotCheckedError

SIGNER = Signer(ORIGIN, bytes(32))
NOW, EARLIER = b"2026-03-01T12:00:00.000000Z", b"2026-03-01T11:59:59.000000Z"
KEY = public_text("control", "order")
ZERO = draft_index_keys(4, bytes(32), ORIGIN).entry(NOW)


def order(at=NOW):
    return canonical({"keys": [KEY], "loggedAt": at.decode(), "type": "order", "v": 1})


def epoch(entries):
    """Return an epoch that covers these entries."""
    logged = LoggedKeys(0)
    logged.extend(b"".join(map(keys_text, entries)), len(entries))
    segment = build_segment(0, len(entries), logged.postings(0, len(entries)))[0]
    return draft_index([len(entries)], table_hash(format_table([segment]))).entry(NOW)


# 600 entries: entry 0, orders, and two epochs.
ENTRIES = [ZERO, *[order()] * 599]
ENTRIES[50] = epoch(ENTRIES[:40])
ENTRIES[540] = epoch(ENTRIES[:530])
FALSE = draft_index([530], table_hash(format_table([Segment(0, 530, 0, EMPTY_ROOT)]))).entry(NOW)


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Returns what shows entries and returns what the log is to blame for; ranges are of 256 entries."""
    for module in (ranges, join, workers):
        monkeypatch.setattr(module, "BLOCK", 256)
    following = Follow(SIGNER.verifier)

    def look(entries, *, signed=None, spoil=lambda: None):
        checkpoint = write_mirror(tmp_path, entries, SIGNER)
        spoil()
        with open_mirror(str(tmp_path)) as mirror:
            found = following.advance(mirror, signed or checkpoint)
        return [(each.damage, str(each.place)) for each in found]

    yield look
    following.close()


@pytest.mark.parametrize("sizes", [(600,), (1, 2, 51, 255, 256, 257, 512, 512, 540, 541, 599, 600), (300, 541)])
def test_an_honest_log_is_to_blame_for_nothing_however_it_grows(follow, sizes):
    assert [follow(ENTRIES[:size]) for size in (0, *sizes)] == [[]] * (len(sizes) + 1)


@pytest.mark.parametrize("sizes", [(600,), (300, 541, 600)])
def test_a_false_epoch_is_named_at_each_look_from_then_on(follow, sizes):
    entries = [*ENTRIES[:540], FALSE, *ENTRIES[541:]]
    found = [follow(entries[:size]) for size in sizes]
    assert found == [[("index wrong", "entry 540")] if size > 540 else [] for size in sizes]


def test_what_else_a_log_is_to_blame_for(follow):
    assert follow([ZERO, order(), order(EARLIER)]) == [("order", "entry 2")]
    assert follow([ZERO, order(), order(EARLIER), b"{}", order(NOW)]) == [
        ("order", "entry 2"),
        ("entry malformed", "entry 3"),
    ]


def test_entries_that_do_not_lead_to_the_checkpoint_convict_nobody_and_are_forgotten(follow, tmp_path):
    bundle = tmp_path / "tile/entries/000.p/51"
    false = [*ENTRIES[:50], epoch([ZERO, ZERO, *ENTRIES[2:40]]), *ENTRIES[51:]]

    def swap():
        bundle.write_bytes(bundle.read_bytes().replace(ENTRIES[50], false[50]))

    for _ in range(2):
        with pytest.raises(NotCheckedError, match="the entries do not lead to the checkpoint of 51 entries"):
            follow(ENTRIES[:51], spoil=swap)
    # Entries and tiles of another tree than was signed.
    other = write_mirror(tmp_path / "other", ENTRIES[:51], SIGNER)
    with pytest.raises(NotCheckedError, match="do not lead to"):
        follow(false[:51], signed=other)
    with pytest.raises(NotCheckedError, match="has no tile/entries"):
        follow(ENTRIES[:51], spoil=bundle.unlink)
    assert follow(ENTRIES[:300]) == []
