"""The package's public names, and the inclusion vectors of transparency-dev/merkle through them."""

from __future__ import annotations

import base64
import json
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
