"""The fuzzer of tools/fuzz.py: a short run of each target finds nothing, and a planted bug is found."""

from __future__ import annotations

import shutil
import subprocess
import sys

import fuzz
import pytest
from support import ROOT

from tlog.core import bundle, checkpoint, entry, evidence, note, proof, question, run, strict, tile, tlogproof
from tlog.core.making import parsing

# How many inputs each target gets here: about a second each.
SLOW = {"checkpoint": 100, "evidence": 40, "files": 80}
COUNT = 500


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_nothing_is_found(name):
    count = SLOW.get(name, COUNT)
    assert fuzz.fuzz(fuzz.TARGETS[name], seed=1, count=count) == (count, None)


def lenient_decimal(text, what):
    return int(text) if text.strip().isdigit() else 0


class Anything:
    """Equal to any number."""

    __hash__ = None

    def __eq__(self, other):
        return True


def lenient_base64(text, what, size=None):
    return strict.binascii.a2b_base64(text)


CONSISTENCY = proof._consistency_roots


# What each bug replaces, and the target that has to find it.
BUGS = {
    "number": (strict, "parse_decimal", lenient_decimal),
    "note": (note, "check_key_name", lambda _: None),
    "checkpoint": (checkpoint, "_check_origin", lambda *_: None),
    "proof": (tlogproof, "parse_base64", lenient_base64),
    "merkle": (
        proof,
        "_consistency_roots",
        lambda old, new, root, hashes: (root, CONSISTENCY(old, new, root, hashes)[1]),
    ),
    "tile-path": (tile, "MAX_LEVEL", 99),
    "bundle": (bundle, "len", lambda data: 0 if data == b"" else len(data) - 1),
    "run": (run, "parse_disclosure_run", lambda data, count: run.pick_disclosures(data, range(count))),
    "event": (parsing, "_count_colons", lambda _: Anything()),
    "lines": (parsing, "_count_colons", lambda _: Anything()),
    "entry": (entry, "_encode", lambda _: LAST[-1]),
    "event-file": (fuzz, "format_event_file", lambda _: b""),
    "evidence": (evidence, "_check_rest", lambda *_: None),
    "question": (question, "_is_unicode", lambda _: True),
    "key": (note, "check_key_id", lambda *_: None),
    "files": (fuzz, "verify_event", lambda *_: None),
}
LAST: list[bytes] = []


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name, monkeypatch, capsys):
    module, attribute, bug = BUGS[name]
    target = fuzz.TARGETS[name]
    if name == "entry":
        # Compares the input with itself instead of with what its members give.
        parse = entry.parse_entry
        monkeypatch.setattr(entry, "parse_entry", lambda data: LAST.append(data) or parse(data))
    monkeypatch.setattr(module, attribute, bug, raising=False)
    try:
        _, found = fuzz.fuzz(target, seed=1, count=4000)
    except Exception:  # noqa: BLE001 - found with the first sample
        found = b""
    assert found is not None
    assert "Traceback" in capsys.readouterr().err or found == b""


def test_every_target_has_a_bug_that_it_finds():
    assert BUGS.keys() == fuzz.TARGETS.keys()


def test_a_reader_that_does_not_end_is_a_finding():
    def endless(data):
        while True:
            data += b""

    with pytest.raises(fuzz.FindingError, match="took more than"):
        fuzz.check_one(fuzz.Target("endless", lambda: [b"x"], endless), b"x")


def test_the_memory_is_that_of_the_program_and_not_of_whoever_started_it():
    """Seen from a child that a process with much memory starts, which is what a runner of many tests is."""
    held = b"\x01" * (256 << 20)
    program = "from tools.fuzz import peak_memory; least = peak_memory(); held = bytes(b'x') * (64 << 20); print(least, peak_memory())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    before, after = map(int, done.stdout.split())
    assert before < len(held)
    assert after > max(before, 64 << 20)


def test_a_bug_in_a_copy_is_found_by_the_command(tmp_path):
    for name in ("tlog", "tools", "tests/vectors"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    strict_py = tmp_path / "tlog" / "core" / "strict.py"
    text = strict_py.read_text()
    assert "encode_base64(data) != text" in text
    command = [sys.executable, "-m", "tools.fuzz", "number", "--count", "4000"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    strict_py.write_text(text.replace("encode_base64(data) != text", "False"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FOUND" in done.stdout
