"""The vectors of tests/vectors: each verdict, and that the files are what tools/make_vectors.py makes."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import make_vectors
import pytest
import reference

import tlog
from tlog.core.entry import parse_entry
from tlog.core.note import open_note
from tlog.core.tile import Tile, parse_tile_path

VECTORS = Path(__file__).parents[1] / "vectors"
FILES = sorted(VECTORS.glob("*.json"))
ERRORS = {None: None, "malformed": tlog.MalformedInputError, "verification": tlog.VerificationError}


def unbase64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def carried(case: dict[str, Any], member: str) -> bytes:
    """Return the bytes that a case carries as text, or as base64 where they are no text."""
    return case[member].encode() if member in case else unbase64(case[f"{member}Base64"])


def run_inclusion(case: dict[str, Any]) -> None:
    proof = [unbase64(item) for item in case["proof"]]
    tlog.verify_inclusion(case["index"], case["size"], unbase64(case["leafHash"]), proof, unbase64(case["root"]))


def run_consistency(case: dict[str, Any]) -> None:
    roots = unbase64(case["oldRoot"]), unbase64(case["newRoot"])
    tlog.verify_consistency(case["oldSize"], case["newSize"], *roots, [unbase64(item) for item in case["proof"]])


def run_notes(case: dict[str, Any]) -> None:
    open_note(carried(case, "note"), [tlog.parse_vkey(vkey) for vkey in case["vkeys"]])


def run_checkpoints(case: dict[str, Any]) -> None:
    checkpoint = tlog.open_checkpoint(carried(case, "note"), tlog.parse_vkey(case["vkey"]))
    assert (checkpoint.size, checkpoint.root) == (case["size"], unbase64(case["root"]))


def run_tlog_proofs(case: dict[str, Any]) -> None:
    proof = tlog.parse_inclusion_proof(carried(case, "proof"))
    checkpoint = tlog.open_checkpoint(proof.checkpoint, tlog.parse_vkey(case["vkey"]))
    leaf = tlog.leaf_hash(carried(case, "entry"))
    tlog.verify_inclusion(proof.index, checkpoint.size, leaf, proof.hashes, checkpoint.root)


def run_consistency_proofs(case: dict[str, Any]) -> None:
    proof = tlog.parse_consistency_proof(carried(case, "proof"))
    checkpoint = tlog.open_checkpoint(proof.checkpoint, tlog.parse_vkey(case["vkey"]))
    old_root = unbase64(case["oldRoot"])
    tlog.verify_consistency(proof.old_size, checkpoint.size, old_root, checkpoint.root, proof.hashes)


def run_tile_paths(case: dict[str, Any]) -> None:
    assert parse_tile_path(case["path"]) == Tile(case["level"], case["index"], case["width"])


def run_entries(case: dict[str, Any]) -> None:
    parse_entry(carried(case, "entry"))
    assert tlog.leaf_hash(carried(case, "entry")) == unbase64(case["leafHash"])


RUN = {
    "inclusion": run_inclusion,
    "consistency": run_consistency,
    "notes": run_notes,
    "checkpoints": run_checkpoints,
    "tlog-proofs": run_tlog_proofs,
    "consistency-proofs": run_consistency_proofs,
    "tile-paths": run_tile_paths,
    "entries": run_entries,
}
CASES = [(file.stem, case) for file in FILES for case in json.loads(file.read_bytes())]


@pytest.mark.parametrize(("kind", "case"), CASES, ids=[f"{kind}: {case['name']}" for kind, case in CASES])
def test_verdict(kind: str, case: dict[str, Any]):
    error = ERRORS[case["error"]]
    if error is None:
        RUN[kind](case)
    else:
        with pytest.raises(error):
            RUN[kind](case)


def test_every_kind_has_good_cases_and_bad_ones():
    assert {file.stem for file in FILES} == set(RUN) == set(make_vectors.KINDS)
    for file in FILES:
        cases = json.loads(file.read_bytes())
        names = [case["name"] for case in cases]
        assert len(names) == len(set(names))
        good = [case["name"] for case in cases if case["error"] is None]
        assert good == [name for name in names if name.startswith("good")]
        assert 0 < len(good) < len(cases)


def test_good_proofs_are_those_of_the_definition():
    entries = reference.entries(20)
    for kind, case in CASES:
        if kind == "inclusion" and case["error"] is None:
            expected = reference.path(case["index"], entries[: case["size"]])
            assert [unbase64(item) for item in case["proof"]] == expected
            assert unbase64(case["root"]) == reference.tree_hash(entries[: case["size"]])
        if kind == "consistency" and case["error"] is None:
            expected = reference.proof(case["oldSize"], entries[: case["newSize"]])
            assert [unbase64(item) for item in case["proof"]] == expected
            assert unbase64(case["oldRoot"]) == reference.tree_hash(entries[: case["oldSize"]])


def test_the_files_are_what_the_program_makes(capsys):
    assert make_vectors.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_the_check_notices_every_kind_of_difference(tmp_path, capsys):
    directory = tmp_path / "vectors"
    assert make_vectors.main(["--directory", str(directory)]) == 0
    assert make_vectors.main(["--directory", str(directory), "--check"]) == 0
    for damage in (
        lambda file: file.write_text(file.read_text("ascii").replace("null", '"malformed"', 1), "ascii"),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(b"\xff"),
        lambda file: file.unlink(),
        lambda file: shutil.copy(file, file.with_name("more.json")),
    ):
        make_vectors.main(["--directory", str(directory)])
        damage(directory / "notes.json")
        assert make_vectors.main(["--directory", str(directory), "--check"]) == 1
        assert "is not what tools/make_vectors.py makes" in capsys.readouterr().err


def test_the_vectors_stay_small():
    assert sum(file.stat().st_size for file in FILES) < 200_000
