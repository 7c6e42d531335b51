"""The vectors of tests/vectors: each verdict, and that the files are what tools/make_vectors.py makes."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import make_vectors
import pytest
import reference
from offline import options_of
from offline import verify as offline

import tlog
from tlog.core.entry import parse_entry
from tlog.core.evidence import Proved, parse_evidence, verify_evidence
from tlog.core.evidence_set import verify_evidence_set
from tlog.core.fraud import find_clock_fraud, parse_clock_fraud
from tlog.core.note import open_note
from tlog.core.question import parse_question
from tlog.core.tile import Tile, parse_tile_path
from tlog.errors import NotCheckedError, OtherQuestionError

VECTORS = Path(__file__).parents[1] / "vectors"
FILES = sorted(VECTORS.glob("*.json"))
ERRORS = {
    None: None,
    "malformed": tlog.MalformedInputError,
    "verification": tlog.VerificationError,
    "not checked": NotCheckedError,
    "other question": OtherQuestionError,
}


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


def run_questions(case: dict[str, Any]) -> None:
    assert parse_question(case["question"]).document() == case["document"]


def run_evidence(case: dict[str, Any]) -> None:
    bundle = parse_evidence(carried(case, "bundle"))
    proved = verify_evidence(tlog.parse_vkey(case["vkey"]), parse_question(case["question"]), bundle)
    check_knowledge(proved)
    if case["mode"] == "count":
        assert (proved.count, proved.named, proved.answers) == (case["count"], case.get("named"), None)
    else:
        assert [index for index, _ in proved.answers] == case["answers"]


def check_knowledge(proved: Proved) -> None:
    """What a program does with an answer that holds entries it does not know."""
    if proved.unknown():
        message = "entries of a type this version does not know"
        raise NotCheckedError(message)


def run_evidence_sets(case: dict[str, Any]) -> None:
    parts = (parse_evidence(part.encode()) for part in case["parts"])
    proved = verify_evidence_set(tlog.parse_vkey(case["vkey"]), parse_question(case["question"]), parts)
    check_knowledge(proved)
    assert [index for index, _ in proved.answers] == case["answers"]


def run_clock_frauds(case: dict[str, Any]) -> None:
    said = find_clock_fraud(tlog.parse_vkey(case["vkey"]), parse_clock_fraud(carried(case, "fraud")))
    assert "entry 2 says that it was logged later than entry 3" in said


RUN = {
    "inclusion": run_inclusion,
    "consistency": run_consistency,
    "notes": run_notes,
    "checkpoints": run_checkpoints,
    "tlog-proofs": run_tlog_proofs,
    "consistency-proofs": run_consistency_proofs,
    "tile-paths": run_tile_paths,
    "entries": run_entries,
    "questions": run_questions,
    "evidence": run_evidence,
    "evidence-sets": run_evidence_sets,
    "clock-frauds": run_clock_frauds,
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


EXIT_CODES = {None: 0, "malformed": 2, "verification": 1, "not checked": 3, "other question": 2}
OFFLINE = [(kind, case) for kind, case in CASES if kind in ("evidence", "clock-frauds")]


@pytest.mark.parametrize(("kind", "case"), OFFLINE, ids=[f"{kind}: {case['name']}" for kind, case in OFFLINE])
def test_offline_verdict(kind: str, case: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """tools/verify.py ends with the exit code that the vector states."""
    path = tmp_path / "file"
    path.write_bytes(carried(case, "bundle" if kind == "evidence" else "fraud"))
    asked = options_of(case["question"]) if kind == "evidence" else []
    more = ["--count"] if case.get("mode") == "count" else []
    command = "evidence" if kind == "evidence" else "fraud"
    code = offline.main([command, "--vkey", case["vkey"], *asked, *more, "--json", str(path)])
    verdict = json.loads(capsys.readouterr().out)
    assert code == EXIT_CODES[case["error"]], verdict
    assert (verdict["verdict"] == "other-question") == (case["error"] == "other question")
    if code == 0 and kind == "evidence":
        count = case["count"] if case["mode"] == "count" else len(case["answers"])
        said = verdict["summary"]
        exactly = "exactly " * (case["mode"] == "count")
        assert said.startswith(f"{exactly}{count} " if count or "named" in case else "no "), said
        assert "named" not in case or re.search(rf"and {case['named']} entr\w* that names? it", said)


SETS = [case for kind, case in CASES if kind == "evidence-sets"]


@pytest.mark.parametrize("case", SETS, ids=[case["name"] for case in SETS])
def test_offline_set(case: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for number, part in enumerate(case["parts"], 1):
        (tmp_path / f"{number:06d}.json").write_text(part, "utf-8")
    arguments = ["evidence", "--vkey", case["vkey"], *options_of(case["question"]), "--json", str(tmp_path)]
    code = offline.main(arguments)
    verdict = json.loads(capsys.readouterr().out)
    assert code == EXIT_CODES[case["error"]], verdict
    assert code or verdict["summary"].startswith(f"{len(case['answers'])} event" if case["answers"] else "no event")


ENTRIES = [case for kind, case in CASES if kind == "entries"]


@pytest.mark.parametrize("case", ENTRIES, ids=[case["name"] for case in ENTRIES])
def test_offline_entry(case: dict[str, Any]):
    if case["error"] is None:
        offline.parse_entry(carried(case, "entry"))
    else:
        with pytest.raises(offline.MalformedError):
            offline.parse_entry(carried(case, "entry"))


QUESTIONS = [case for kind, case in CASES if kind == "questions" and case["name"] != "unknown member"]


@pytest.mark.parametrize("case", QUESTIONS, ids=[case["name"] for case in QUESTIONS])
def test_offline_question(case: dict[str, Any]):
    asked, keyed = case["question"], {}
    if case["error"] is None and not parse_question(asked).keys(lambda _: b""):
        keyed = {"action": "read"}  # the program asks only what the index has
    arguments = SimpleNamespace(
        ask=[f"{name}={value}" for name, value in (asked | keyed).items()],
        **dict.fromkeys(offline.TIMES.values()),
    )
    if case["error"] is None:
        question, said = offline.parse_question(arguments)
        assert question == case["document"] | keyed
        kept = [name for name, value in question.items() if value.startswith("sha256:")]
        assert [line.split()[0] for line in said] == kept
    else:
        refusal = {"malformed": offline.MalformedError, "not checked": offline.IncompleteError}[case["error"]]
        with pytest.raises(refusal):
            offline.parse_question(arguments)


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
    assert sum(file.stat().st_size for file in FILES) < 700_000
