"""tools/verify.py: a fork is convicted, an honest log never, and the core says the same of each file."""

from __future__ import annotations

import base64
import json
import random

import pytest
from offline import verify
from witnessing import FORK_SEED, LeafLog

from tlog.core.canonical import canonical
from tlog.core.checkpoint import Checkpoint
from tlog.core.fork import find_fork, format_fork, make_fork, parse_fork
from tlog.core.merkle import EMPTY_ROOT
from tlog.core.note import Signer, sign_note
from tlog.errors import MalformedInputError, VerificationError

LOG, OTHER = LeafLog(), LeafLog(other=FORK_SEED)
KEY = LOG.signer.verifier


@pytest.fixture
def judge(tmp_path, capsys):
    """Returns what judges the bytes of a file; it returns the exit code and what is said."""

    def judge(data):
        (tmp_path / "fork.json").write_bytes(data)
        code = verify.main(["fork", "--vkey", KEY.vkey(), str(tmp_path / "fork.json")])
        return code, capsys.readouterr().out

    return judge


def core(data):
    """What the core says: 0 a fork, 1 none, 2 malformed."""
    try:
        find_fork(KEY, parse_fork(data))
    except VerificationError:
        return 1
    except MalformedInputError:
        return 2
    return 0


def file_of(first, second, small=OTHER, large=LOG, *, root=None, proof=None):
    root = large.root(first) if root is None else root
    proof = large.proof(first, second) if proof is None else proof
    return format_fork(make_fork(small.note(first), large.note(second), root, proof))


def test_forks_and_nothing_else(judge):
    """Forks of all kinds of sizes; honest pairs as they are, with another root hash, another proof, a proof that is spoiled."""
    sizes = [
        (1, 1),
        (1, 2),
        (2, 2),
        (3, 3),
        (3, 7),
        (4, 8),
        (5, 9),
        (8, 9),
        (7, 300),
        (255, 256),
        (256, 257),
        (300, 300),
    ]
    for first, second in sizes:
        code, said = judge(file_of(first, second))
        assert (code, core(file_of(first, second))) == (0, 0)
        assert f"VERIFIED: FORK: the key of {KEY.name} signed two histories" in said
        assert [line for line in said.splitlines() if line.startswith("signed")] == [
            f"signed    {KEY.name}, {size:,} entries, root hash {log.root(size).hex()}"
            for size, log in ((first, OTHER), (second, LOG))
        ]
        honest, spoiled = LOG.proof(first, second), [OTHER.root(1), *LOG.proof(first, second)[1:]]
        for root, proof in (
            (LOG.root(first), honest),
            (OTHER.root(first), honest),
            (OTHER.root(first), OTHER.proof(first, second)),
            (LOG.root(first), spoiled),
            (LOG.root(first), [*honest, LOG.root(1)]),
        ):
            data = file_of(first, second, small=LOG, root=root, proof=proof)
            assert (judge(data)[0], core(data)) == (1, 1)


@pytest.mark.parametrize(
    "data, said",
    [
        (file_of(5, 9, small=LOG), "no fork: the tree of 9 entries continues the one of 5"),
        (file_of(9, 5, root=LOG.root(5), proof=[]), "no fork: the first tree has 9 entries, the second 5"),
        (
            format_fork(make_fork(sign_note(Checkpoint(KEY.name, 0, EMPTY_ROOT).text(), [LOG.signer]), LOG.note(5), EMPTY_ROOT, [])),
            "no fork: the first tree has 0 entries, the second 5",
        ),
        (file_of(5, 9, root=OTHER.root(5)), "the consistency proof does not lead"),
        (
            format_fork(make_fork(sign_note(Checkpoint(KEY.name, 5, OTHER.root(5)).text(), [Signer(KEY.name, b"5" * 32)]), LOG.note(9), LOG.root(5), LOG.proof(5, 9))),
            "the checkpoint is not signed by the log's key",
        ),
    ],
)  # fmt: skip
def test_what_is_no_fork(judge, data, said):
    code, told = judge(data)
    assert (code, core(data)) == (1, 1)
    assert f"FAILED: {said}" in told


GOOD = json.loads(file_of(5, 9))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "tlog-forks"}, {"v": 2}, {"v": True}, {"more": 1}, {"proof": None}, {"proof": "x"}, {"proof": [1]}, {"first": 7},
        {"root": None}, {"root": "AAAA"}, {"root": "x"}, {"proof": ["AAAA"]}, {"first": "no note"}, {"second": ""},
    ],
    ids=repr,
)  # fmt: skip
def test_what_has_another_form(judge, change):
    data = canonical(GOOD | change) + b"\n"
    assert (judge(data)[0], core(data)) == (2, 2)


def test_a_file_is_canonical(judge):
    good = canonical(GOOD) + b"\n"
    assert (judge(good)[0], core(good)) == (0, 0)
    for data in (good[:-1], good + b"\n", b" " + good, good.replace(b'":', b'": ', 1), good[:100]):
        assert (judge(data)[0], core(data)) == (2, 2)


def test_no_flipped_byte_convicts_and_both_say_the_same(judge):
    good, choose = canonical(GOOD) + b"\n", random.Random(7)
    for place in choose.sample(range(len(good)), 120):
        data = bytearray(good)
        data[place] ^= 1 << choose.randrange(8)
        codes = judge(bytes(data))[0], core(bytes(data))
        assert codes[0] == codes[1] != 0, base64.b64encode(bytes(data))
