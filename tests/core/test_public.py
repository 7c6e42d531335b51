"""The package's public names, and the inclusion vectors of transparency-dev/merkle through them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tlog

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "inclusion"
FILES = sorted(VECTORS.rglob("*.json"))


def test_the_public_names():
    assert sorted(tlog.__all__) == tlog.__all__
    for name in tlog.__all__:
        assert getattr(tlog, name).__doc__
    for name in ("verify_inclusion", "verify_consistency", "open_checkpoint", "parse_vkey", "leaf_hash"):
        assert name in tlog.__all__
    for name in ("verify_evidence", "find_fraud", "parse_evidence", "parse_question"):
        assert name in tlog.__all__


def test_a_verifier_loads_neither_numpy_nor_what_only_a_log_needs():
    """Importing `tlog` and every module of the core but `making` loads no numpy, database, server or maker."""
    program = """
import importlib, pkgutil, sys
import tlog, tlog.core
names = [each.name for each in pkgutil.iter_modules(tlog.core.__path__, "tlog.core.") if each.name != "tlog.core.making"]
for name in names:
    importlib.import_module(name)
print(len(names), *sorted({"numpy", "psycopg", "starlette", "tlog.core.making"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, *loaded = done.stdout.split()
    assert int(count) > 15
    assert loaded == []


def test_the_core_of_a_verifier_is_short():
    """An auditor reads all of it: the core without `making` has at most 5,500 lines (docs/adr/0031-runs.md)."""
    files = sorted(Path(tlog.__file__).parent.joinpath("core").glob("*.py"))
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= 5_500


def test_errors_say_how_a_program_ends():
    assert issubclass(tlog.VerificationError, tlog.TlogError)
    assert issubclass(tlog.MalformedInputError, tlog.TlogError)
    assert (tlog.VerificationError.exit_code, tlog.MalformedInputError.exit_code) == (1, 2)


def check(vector: dict) -> bool:
    """Return whether the vector's proof verifies."""
    try:
        tlog.verify_inclusion(
            vector["leafIdx"],
            vector["treeSize"],
            base64.b64decode(vector["leafHash"] or ""),
            [base64.b64decode(item) for item in vector["proof"] or []],
            base64.b64decode(vector["root"] or ""),
        )
    except tlog.VerificationError:
        return False
    return True


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the vectors of transparency-dev/merkle are not in ../shared")
def test_inclusion_vectors():
    verdicts = {}
    for file in FILES:
        vector = json.loads(file.read_bytes())
        verdicts[file] = check(vector)
        assert verdicts[file] == (not vector["wantErr"]), file.relative_to(VECTORS)
    found = sum(file.is_file() for file in VECTORS.rglob("*"))
    assert len(verdicts) == found > 0
    # Both verdicts occur, or the vectors prove nothing.
    assert set(verdicts.values()) == {True, False}
