"""fsck of a log as somebody else holds it: an exported directory, a served log; the same code, the same names of damage."""

from __future__ import annotations

import json
import shutil

import pytest
from mirrors import write_mirror
from support import ORIGIN, fill, sample_events, tlog

from tlog.answering.export import export_static
from tlog.checking import join, mirrored, ranges, workers
from tlog.checking.mirror import open_mirror
from tlog.checking.mirrored import fsck_mirror
from tlog.core.canonical import canonical
from tlog.core.entry import format_logged_at
from tlog.core.making.drafts import draft_index, draft_index_keys
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer
from tlog.core.pseudonym import public_text
from tlog.core.segment import Segment, format_table, table_hash
from tlog.errors import NotCheckedError
from tlog.location import utc_now

pytestmark = pytest.mark.anyio


@pytest.fixture
async def export(opened, directory, monkeypatch):
    """An export of 701 entries in ranges of 256, its directory and its log's public key; and a checkpoint from before."""
    for module in (ranges, join, workers):
        monkeypatch.setattr(module, "BLOCK", 256)
    async with opened() as log:
        await fill(log, 300)
        before = (await log.reader.latest_checkpoint()).note
        await fill(log, 400, seed=2)
        await export_static(log.reader, directory / "export", await log.reader.latest_checkpoint())
        return directory / "export", log.verifier, before


def check(path, verifier, **options):
    with open_mirror(str(path)) as mirror:
        return fsck_mirror(mirror, verifier, **options)


async def test_a_clean_export_raises_no_alarm(export):
    path, verifier, before = export
    seen = []
    report = check(path, verifier, earlier=before, progress=lambda *both: seen.append(both))
    assert (report.problems, report.exit_code, report.checked["entries"]) == ([], 0, 701)
    assert (report.checked["tiles"], report.checked["checkpoints"]) == (4, 2)
    assert seen == [(256, 701), (512, 701), (701, 701)]
    assert "no part of this check: disclosures" in report.text()


DAMAGES = {
    "a byte of an entry": ("tile/entries/001", lambda data: data.replace(b'"outcome":"success"', b'"outcome":"failure"', 1), "entry changed", "entry 2"),
    "a bundle cut": ("tile/entries/001", lambda data: data[:-1], "entry malformed", "entries 256 to 511"),
    "a bundle gone": ("tile/entries/001", None, "row missing", "entries 256 to 511"),
    "a partial bundle gone": ("tile/entries/002.p/189", None, "row missing", "entries 512 to 700"),
    "a bit of a tile": ("tile/0/001", lambda data: bytes([data[0] ^ 1]) + data[1:], "tile changed", "tile/0/001"),
    "a tile gone": ("tile/0/000", None, "tile missing", "tile/0/000"),
    "a tile cut": ("tile/0/000", lambda data: data[:-32], "tile changed", "tile/0/000"),
    "an upper tile": ("tile/1/000.p/2", lambda data: data[::-1], "tile changed", "tile/1/000.p/2"),
    "an upper tile gone": ("tile/1/000.p/2", None, "tile missing", "tile/1/000.p/2"),
    "a bit of the checkpoint": ("checkpoint", lambda data: data.replace(b"\n701\n", b"\n700\n"), "checkpoint wrong", "checkpoint"),
    "the chain": ("chain", lambda data: data[:5] + b"A" + data[6:], "chain broken", "chain"),
    "the chain's form": ("chain", lambda data: data + b"\n", "chain broken", "chain"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_named(export, name):
    path, verifier, _ = export
    file, change, damage, place = DAMAGES[name]
    data = (path / file).read_bytes()
    if change is None:
        (path / file).unlink()
    else:
        assert change(data) != data
        (path / file).write_bytes(change(data))
    report = check(path, verifier)
    assert report.exit_code == 1
    assert any(each.damage == damage and str(each.place).startswith(place) for each in report.problems), report.text()


async def test_a_history_that_does_not_continue_the_earlier_one_is_named(export, directory, location):
    """Everything is right by itself and signed with the log's key: only who has a checkpoint from before can tell (A14)."""
    path, verifier, before = export
    with open_mirror(str(path)) as mirror:
        entries = [entry for bundle in range(2) for entry in mirror.entries(bundle)]
    for count, damage in ((512, "root wrong"), (200, "ROLLBACK")):
        other = [entries[0], *entries[2:count], entries[1]]
        write_mirror(directory / f"other-{count}", other, location.directory.signing_key())
        assert {each.damage for each in check(directory / f"other-{count}", verifier).problems} <= {"order"}
        assert damage in {
            each.damage for each in check(directory / f"other-{count}", verifier, earlier=before).problems
        }


async def test_what_is_not_there_is_said(export):
    path, verifier, _ = export
    (path / "chain").unlink()
    report = check(path, verifier)
    assert (report.problems, report.exit_code, report.unchecked) == (
        [],
        3,
        ["the chain (the mirror has no file of it)"],
    )
    (path / "checkpoint").unlink()
    with pytest.raises(NotCheckedError, match="has no checkpoint"):
        check(path, verifier)


class Growing:
    """A mirror of a log that grows: each answer is the next one of those given, the last one again and again."""

    def __init__(self, mirror, checkpoints, chains):
        self._mirror, self._checkpoints, self._chains = mirror, list(checkpoints), list(chains)

    def __getattr__(self, name):
        return getattr(self._mirror, name)

    def checkpoint(self):
        return self._checkpoints.pop(0) if len(self._checkpoints) > 1 else self._checkpoints[0]

    def chain(self):
        return self._chains.pop(0) if len(self._chains) > 1 else self._chains[0]


@pytest.fixture
def growing(tmp_path, monkeypatch):
    """Returns what is found about a log of 5 entries whose head is asked for while it grows: sizes of checkpoints and chains."""
    monkeypatch.setattr(mirrored, "_PAUSE_SECONDS", 0)
    signer, now = Signer(ORIGIN, bytes(32)), format_logged_at(utc_now())
    entries = [draft_index_keys(4, bytes([size]) * 32, ORIGIN).entry(now) for size in range(8)]
    heads = {}
    for size in range(1, 8):
        write_mirror(tmp_path / str(size), entries[:size], signer)
        with open_mirror(str(tmp_path / str(size))) as mirror:
            heads[size] = mirror.checkpoint(), mirror.chain()

    def check_growing(checkpoints, chains):
        with open_mirror(str(tmp_path / "7")) as mirror:
            answers = Growing(mirror, [heads[size][0] for size in checkpoints], [heads[size][1] for size in chains])
            return fsck_mirror(answers, signer.verifier)

    return check_growing


@pytest.mark.parametrize(
    "checkpoints, chains, size", [([7], [7], 7), ([5, 7], [6, 7], 7), ([4, 5, 6, 7], [5, 6, 7, 7], 7), ([3, 4, 5, 6, 7], [4, 5, 6, 7], 7)]
)  # fmt: skip
def test_a_log_that_grows_is_asked_again_for_checkpoint_and_chain(growing, checkpoints, chains, size):
    report = growing(checkpoints, chains)
    assert (report.problems, report.exit_code, report.size) == ([], 0, size)


def test_a_log_that_grows_too_fast_is_not_condemned(growing):
    report = growing([2, 3, 4, 5, 7], [3, 4, 5, 6, 6])
    assert (report.problems, report.exit_code) == ([], 3)
    assert report.unchecked == ["the chain (the log grew each of the 5 times that it was asked for)"]


def test_a_chain_of_another_size_that_stays_is_a_problem(growing):
    report = growing([7], [6])
    assert [(each.damage, str(each.place)) for each in report.problems] == [("chain broken", "chain")]


def test_a_mirror_of_another_log_is_noticed(tmp_path):
    """Signed with the key and the name that were asked for; only entry 0 says whose entries these are."""
    signer = Signer(ORIGIN, bytes(32))
    first = draft_index_keys(4, bytes(32), "example.com/other").entry(format_logged_at(utc_now()))
    write_mirror(tmp_path / "mirror", [first], signer)
    report = check(tmp_path / "mirror", signer.verifier)
    assert [(each.damage, str(each.place)) for each in report.problems] == [("index keys wrong", "entry 0")]


def test_entries_of_a_type_that_is_not_known_are_told(tmp_path):
    signer, now = Signer(ORIGIN, bytes(32)), format_logged_at(utc_now())
    order = {"keys": [public_text("control", "order")], "loggedAt": now.decode(), "type": "order", "v": 1}
    write_mirror(tmp_path / "mirror", [draft_index_keys(4, bytes(32), ORIGIN).entry(now), canonical(order)], signer)
    report = check(tmp_path / "mirror", signer.verifier)
    assert (report.problems, report.exit_code) == ([], 3)
    assert report.unchecked == ["1 entry of a type this version does not know"]


def test_a_cheating_index_is_convicted_by_a_stranger(tmp_path):
    """The epoch is signed and says that there are no postings; whoever has the entries derives others."""
    signer = Signer(ORIGIN, bytes(32))
    now = format_logged_at(utc_now())
    first = draft_index_keys(4, bytes(32), ORIGIN).entry(now)
    honest, cheating = (Segment(0, 1, count, EMPTY_ROOT) for count in (0, 3))
    for segment, expected in ((honest, set()), (cheating, {"index wrong"})):
        epoch = draft_index([1], table_hash(format_table([segment]))).entry(now)
        write_mirror(tmp_path / "mirror", [first, epoch], signer)
        report = check(tmp_path / "mirror", signer.verifier)
        assert {each.damage for each in report.problems} == expected
        shutil.rmtree(tmp_path / "mirror")


def test_a_served_log_is_checked_by_the_command_line(running_server, tmp_path):
    server = running_server
    server.append([json.loads(event) for event in sample_events(300)])
    server.seal()
    done = tlog("fsck", "--mirror", server.url, "--vkey", server.vkey, "--json", check=False)
    report = json.loads(done.stdout)
    assert (report["problems"], report["unchecked"], done.returncode) == ([], [], 0)
    assert report["checked"]["entries"] >= 301
    tlog("export", "--static", tmp_path / "export", "--data", server.data)
    assert tlog("fsck", "--mirror", tmp_path / "export", "--data", server.data).stdout.endswith(
        "verified: everything agrees\n"
    )
    other = Signer(ORIGIN, bytes(32)).verifier.vkey()
    assert tlog("fsck", "--mirror", tmp_path / "export", "--vkey", other, check=False).returncode == 1
    for wrong in (("--mirror", tmp_path / "export", "--second-opinion"), ("--vkey", other), ("--mirror", "ftp://x")):
        assert tlog("fsck", "--data", server.data, *wrong, check=False).returncode == 2
