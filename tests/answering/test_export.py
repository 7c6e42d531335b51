"""Static exports: complete, verifiable by strangers, and never of something damaged."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import change_entry
from support import append, control_draft, fill, sample_events, verify_offline

from tlog.answering import export
from tlog.answering.export import export_events, export_static
from tlog.core.question import parse_question
from tlog.errors import DamagedLogError, MalformedInputError

pytestmark = pytest.mark.anyio


def verify(log, directory, *options):
    return verify_offline("log", "--vkey", log.verifier.vkey(), *options, directory)


@pytest.mark.parametrize("size", [1, 256, 257, 700])
async def test_export_verifies_offline(opened, directory, size):
    async with opened() as log:
        if size > 1:
            await fill(log, size - 1)
        checkpoint = await log.wait_sealed(size - 1, 10)
        report = await export_static(log.reader, directory / "out", checkpoint)
        assert report.entries == size
        done = verify(log, directory / "out")
        assert done.returncode == 0, done.stdout
        assert "recomputed" in done.stdout


async def test_only_what_the_checkpoint_covers_is_exported(opened, directory):
    async with opened() as log:
        await fill(log, 10)
        await append(log, sample_events(5, seed=2))
        checkpoint = await log.reader.latest_checkpoint()
        report = await export_static(log.reader, directory / "out", checkpoint)
        assert report.entries == 11
        assert verify(log, directory / "out").returncode == 0


async def test_exporting_again_adds_what_is_new(opened, directory):
    async with opened() as log:
        await fill(log, 600)
        old = await log.reader.latest_checkpoint()
        first = await export_static(log.reader, directory / "out", old)
        (directory / "old").write_bytes(old.note)
        await fill(log, 600, seed=2)
        second = await export_static(log.reader, directory / "out", await log.reader.latest_checkpoint())
        assert second.files < first.files + 9, "full tiles are not written again"
        done = verify(log, directory / "out", "--old", directory / "old")
        assert done.returncode == 0, done.stdout
        with pytest.raises(MalformedInputError, match="newer export"):
            await export_static(log.reader, directory / "out", old)


async def test_directory_of_another_log_is_not_touched(opened, directory):
    (directory / "out").mkdir()
    note = b"example.com/other\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\xe2\x80\x94 example.com/other AAAAAAA=\n"
    (directory / "out" / "checkpoint").write_bytes(note)
    async with opened() as log:
        await fill(log, 3)
        with pytest.raises(MalformedInputError, match="another log"):
            await export_static(log.reader, directory / "out", await log.reader.latest_checkpoint())
    assert [path.name for path in (directory / "out").iterdir()] == ["checkpoint"]


async def test_damaged_log_gets_no_checkpoint(opened, directory, database):
    async with opened() as log:
        await fill(log, 3)
        with database.connect_admin() as admin:
            change_entry(admin, 2, lambda entry: entry + b" ")
        with pytest.raises(DamagedLogError, match="do not lead to the root"):
            await export_static(log.reader, directory / "out", await log.reader.latest_checkpoint())
    assert not (directory / "out" / "checkpoint").exists()


@pytest.mark.parametrize("interrupted", ["checkpoint", "chain"])
async def test_interrupted_export_over_an_older_one_verifies(opened, directory, monkeypatch, interrupted):
    """Gate R2: a checkpoint never stands beside the chain of another."""
    real = export.write_whole

    def replace(path, data):
        if path.name == interrupted:
            raise KeyboardInterrupt
        real(path, data)

    async with opened() as log:
        await fill(log, 10)
        await export_static(log.reader, directory / "out", await log.reader.latest_checkpoint())
        await fill(log, 10, seed=2)
        with monkeypatch.context() as patch:
            patch.setattr(export, "write_whole", replace)
            with pytest.raises(KeyboardInterrupt):
                await export_static(log.reader, directory / "out", await log.reader.latest_checkpoint())
        done = verify(log, directory / "out")
        assert done.returncode == 0, done.stdout
        assert "not checked (there is no file chain)" in done.stdout
        await export_static(log.reader, directory / "out", await log.reader.latest_checkpoint())
        assert "recomputed" in verify(log, directory / "out").stdout


DANGEROUS = [
    *(f"{sign}1+1" for sign in "=+-@\uff1d\uff0b\uff0d\uff20"),
    *(f"{before}=1+1" for before in "\t\r\n\0\x0b\x0c\x1f\x85 \u00a0\u2003\u2028\u200b\u202e\ufeff\u3000"),
    " \ufeff\u00a0 @SUM(1)",
    "\tplain",
    "\rplain",
    "\nplain",
    "\0plain",
]
HARMLESS = [
    "",
    "plain",
    "1=1",
    " plain",
    "\ufeffplain",
    "é",
    "'=1+1",
    '"=1+1"',
    "2026-11-24T05:12:00Z",
    "{}",
    "\u00a0",
    "~=1",
]


@pytest.mark.parametrize("cell", DANGEROUS)
def test_no_cell_is_a_formula_even_for_readers_that_trim(cell):
    line = export._csv_line({"userId": cell}).decode()
    (read,) = csv.reader(io.StringIO(line, newline=""))
    assert read[export._COLUMNS.index("userId")] == f"'{cell}"


@pytest.mark.parametrize("cell", HARMLESS)
def test_other_cells_stay_as_they_are(cell):
    line = export._csv_line({"userId": cell}).decode()
    (read,) = csv.reader(io.StringIO(line, newline=""))
    assert read[export._COLUMNS.index("userId")] == cell


@given(st.text(max_size=20))
def test_whatever_a_cell_is_trimming_makes_no_formula_of_it(cell):
    (read,) = csv.reader(io.StringIO(export._csv_line({"userId": cell}).decode(), newline=""))
    written = read[export._COLUMNS.index("userId")]
    assert written.removeprefix("'").removeprefix("'") == cell.removeprefix("'") or written == cell
    assert not written.strip().strip("\ufeff\u200b\0").startswith(("=", "+", "-", "@"))


async def test_control_entries_are_exported_as_lines_only(opened):
    question = parse_question({"control": "order"})
    async with opened() as log:
        await append(log, sample_events(3))
        await log.appender.append([control_draft(log, "n.varga")])
        lines = b"".join([part async for part in export_events(log.searcher, question, "ndjson")]).splitlines()
        assert [json.loads(line)["entry"]["type"] for line in lines] == ["order"]
        with pytest.raises(MalformedInputError, match="NDJSON"):
            await anext(export_events(log.searcher, question, "csv"))
