"""Policies: every rule of c2sp.org/tlog-policy, and verdicts that are those of a naive reading."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlog.core.checkpoint import Checkpoint, sign_checkpoint
from tlog.core.cosignature import ML_DSA_44, CosigningKey
from tlog.core.note import Signer, sign_note
from tlog.core.policy import MAX_POLICY_SIZE, Group, open_witnessed, parse_policy
from tlog.errors import MalformedInputError, VerificationError

ORIGIN = "log.example/audit"
LOG = Signer(ORIGIN, b"\x66" * 32)
OTHER_LOG = Signer("log.example/other", b"\x77" * 32)
KEYS = [CosigningKey(f"witness.example/w{number}", bytes([number]) * 32) for number in range(8)]
VKEYS = [key.cosigner.vkey() for key in KEYS]
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
TIME = 1_700_000_000
THREE = f"log {LOG.verifier.vkey()}\n" + "".join(f"witness W{n} {VKEYS[n]} https://w{n}.example/\n" for n in range(3))


def cosigned(*numbers, checkpoint=CHECKPOINT, log=LOG):
    note = sign_note(checkpoint.text(), [log])
    return note + b"".join(KEYS[n].cosign(checkpoint.text(), TIME).line() for n in numbers)


def test_the_example_of_the_specification():
    names = ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    lines = [f"log {LOG.verifier.vkey()}", ""]
    lines += [f"witness {name} {vkey}" for name, vkey in zip(names, VKEYS, strict=False)]
    lines += [
        "group X-witnesses 2 X1 X2 X3",
        "group Y-witnesses any Y1 Y2 Y3",
        "group X-and-Y all X-witnesses Y-witnesses",
    ]
    policy = parse_policy("\n".join([*lines, "quorum X-and-Y", ""]).encode())
    for count in range(7):
        for numbers in itertools.combinations(range(6), count):
            met = len([n for n in numbers if n < 3]) >= 2 and any(n >= 3 for n in numbers)
            assert policy.is_met([KEYS[n].cosigner for n in numbers]) == met
    assert not policy.has_disjoint_quorums()


def test_a_policy_is_read_whole():
    text = f"\t# a comment \u00fc\n\n  {THREE}group  all\t2 W0  W2 \nwitness none-of-them {VKEYS[3]}\nquorum all\n"
    policy = parse_policy(text.encode())
    assert [(log.key, log.url) for log in policy.logs] == [(LOG.verifier, None)]
    assert [(witness.name, witness.url) for witness in policy.witnesses] == [
        (b"W0", "https://w0.example/"),
        (b"W1", "https://w1.example/"),
        (b"W2", "https://w2.example/"),
        (b"none-of-them", None),
    ]
    assert policy.groups == (Group(b"all", 2, (b"W0", b"W2")),)
    assert policy.quorum == b"all"


def test_names_are_octets():
    text = (
        b"witness K " + VKEYS[0].encode() + b"\nwitness \xe2\x84\xaa " + VKEYS[1].encode() + b"\nquorum \xe2\x84\xaa\n"
    )
    policy = parse_policy(text)
    assert policy.is_met([KEYS[1].cosigner])
    assert not policy.is_met([KEYS[0].cosigner])


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "exactly one line 'quorum', this one has 0"),
        ("quorum none\nquorum none\n", "exactly one line 'quorum', this one has 2"),
        ("quorum none", "has to end in a newline"),
        ("quorum none\r\n", "no control characters"),
        ("quorum none\x00\n", "no control characters"),
        ("quorum none\x7f\n", "no control characters"),
        ("quorum none # said so\n", "line 1 of the policy: the quorum is given as"),
        ("quorum\n", "the quorum is given as"),
        ("quorum W9\n", "the quorum is given as"),
        (f"quorum W0\nwitness W0 {VKEYS[0]}\n", "the quorum is given as"),
        ("log\nquorum none\n", "a log is given as"),
        ("log a+b+c https://a.example/ x\nquorum none\n", "a log is given as"),
        (f"log {VKEYS[0]}\nquorum none\n", "signature type 0x04"),
        ("log a\nquorum none\n", "a vkey has the form"),
        (f"log {LOG.verifier.vkey()}\nlog {LOG.verifier.vkey()}\nquorum none\n", "this key stands on an earlier line"),
        ("witness W0\nquorum none\n", "a witness is given as"),
        (f"witness W0 {VKEYS[0]} https://a.example/ x\nquorum none\n", "a witness is given as"),
        (f"witness W0 {LOG.verifier.vkey()}\nquorum none\n", "signature type 0x01"),
        (f"witness none {VKEYS[0]}\nquorum none\n", "'none', which is reserved"),
        (f"witness W0 {VKEYS[0]}\nwitness W0 {VKEYS[1]}\nquorum none\n", "this name stands on an earlier line"),
        (f"witness W0 {VKEYS[0]}\nwitness W1 {VKEYS[0]}\nquorum none\n", "this key stands on an earlier line"),
        (THREE + "group W0 any W1\nquorum none\n", "this name stands on an earlier line"),
        (THREE + "group none any W1\nquorum none\n", "'none', which is reserved"),
        (THREE + "group G any none\nquorum none\n", "a member is the name"),
        (THREE + "group G any G\nquorum none\n", "a member is the name"),
        (THREE + "group G any W0 W0\nquorum none\n", "a member is the name"),
        (THREE + "group G any W0\ngroup H any W0\nquorum none\n", "a member is the name"),
        (THREE + "group G any W9\nquorum none\n", "a member is the name"),
        (THREE + "group G any\nquorum none\n", "a group is given as"),
        (THREE + "group G 0 W0\nquorum none\n", "the threshold of a group is between 1"),
        (THREE + "group G 2 W0\nquorum none\n", "the threshold of a group is between 1"),
        (THREE + "group G 01 W0\nquorum none\n", "the threshold of a group is not a decimal"),
        (THREE + "group G -1 W0\nquorum none\n", "the threshold of a group is not a decimal"),
        ("Log\nquorum none\n", "a line begins with"),
        ("quorum none\nnobody\n", "line 2 of the policy: a line begins with"),
    ],
)  # fmt: skip
def test_what_is_no_policy(text, message):
    with pytest.raises(MalformedInputError, match=re.escape(message)):
        parse_policy(text.encode())


def test_a_vkey_is_utf8():
    with pytest.raises(MalformedInputError, match="a vkey is UTF-8"):
        parse_policy(b"log \xff\nquorum none\n")


def test_a_policy_that_is_too_long():
    text = b"quorum none\n" + b"#" * (MAX_POLICY_SIZE - 13) + b"\n"
    assert parse_policy(text).quorum is None
    with pytest.raises(MalformedInputError, match="at most 65536 bytes"):
        parse_policy(b" " + text)


def test_a_witness_has_not_the_name_of_a_log():
    """Threat A37, whichever line comes first; and no key is a log's and a witness's, whatever its type."""
    named = CosigningKey(ORIGIN, b"\x42" * 32).cosigner.vkey()
    lines = [f"witness W0 {named}\n", f"log {LOG.verifier.vkey()}\n"]
    for order in (lines, lines[::-1]):
        with pytest.raises(MalformedInputError, match="has the name of a log"):
            parse_policy("".join([*order, "quorum none\n"]).encode())
    shared = CosigningKey("witness.example/w", b"\x66" * 32).cosigner  # the seed of LOG
    assert shared.public_key == LOG.verifier.public_key
    with pytest.raises(MalformedInputError, match="this key stands on an earlier line"):
        parse_policy(f"log {LOG.verifier.vkey()}\nwitness W0 {shared.vkey()}\nquorum none\n".encode())


def test_verdicts_on_notes():
    policy = parse_policy((THREE + "group G 2 W0 W1 W2\nquorum G\n").encode())
    assert open_witnessed(cosigned(0, 2), policy, ORIGIN) == CHECKPOINT
    assert open_witnessed(cosigned(0, 1, 2, 5), policy, ORIGIN) == CHECKPOINT  # an unknown line counts for nothing
    with pytest.raises(VerificationError, match="1 of the policy's 3 witnesses do not meet its quorum"):
        open_witnessed(cosigned(1, 5), policy, ORIGIN)
    with pytest.raises(VerificationError, match="do not meet its quorum"):
        open_witnessed(cosigned(1, 1), policy, ORIGIN)  # one witness twice is one
    # A line of a known key that fails refuses the whole note, quorum or not.
    other = Checkpoint(ORIGIN, 8, bytes(32)).text()
    with pytest.raises(VerificationError, match="does not verify"):
        open_witnessed(cosigned(0, 2) + KEYS[1].cosign(other, TIME).line(), policy, ORIGIN)
    with pytest.raises(VerificationError, match=r"no key that the policy lists for log\.example/audit"):
        open_witnessed(CHECKPOINT.text() + b"\n" + KEYS[0].cosign(CHECKPOINT.text(), TIME).line(), policy, ORIGIN)
    foreign = Checkpoint("log.example/other", 7, bytes(32))
    with pytest.raises(VerificationError, match="the checkpoint's origin is not the name"):
        open_witnessed(cosigned(0, 2, checkpoint=foreign), policy, ORIGIN)
    with pytest.raises(MalformedInputError):
        open_witnessed(sign_note(b"no checkpoint\n", [LOG]), policy, ORIGIN)


def test_several_logs_and_no_quorum():
    second = Signer(ORIGIN, b"\x55" * 32)
    logs = "".join(f"log {log.verifier.vkey()}\n" for log in (LOG, second, OTHER_LOG))
    policy = parse_policy(f"{logs}quorum none\n".encode())
    assert policy.is_met([])
    assert policy.has_disjoint_quorums()
    assert open_witnessed(cosigned(log=second), policy, ORIGIN) == CHECKPOINT
    with pytest.raises(VerificationError, match="no signature of a known key"):
        open_witnessed(cosigned(log=OTHER_LOG), policy, ORIGIN)
    with pytest.raises(VerificationError, match="no signature of a known key"):
        open_witnessed(cosigned(), parse_policy(b"quorum none\n"), ORIGIN)


def test_a_log_may_sign_with_ml_dsa():
    log, witness = CosigningKey(ORIGIN, bytes(32), ML_DSA_44), CosigningKey("w.example", b"\1" * 32, ML_DSA_44)
    policy = parse_policy(f"log {log.cosigner.vkey()}\nwitness W {witness.cosigner.vkey()}\nquorum W\n".encode())
    text = CHECKPOINT.text()
    note = text + b"\n" + log.cosign(text, TIME).line() + witness.cosign(text, TIME).line()
    assert open_witnessed(note, policy, ORIGIN) == CHECKPOINT
    assert sign_checkpoint(CHECKPOINT, LOG)  # which that policy does not know
    with pytest.raises(VerificationError):
        open_witnessed(cosigned(), policy, ORIGIN)


@st.composite
def policies(draw):
    """Return a random policy over five witnesses, as text, and its groups as nested (threshold, members)."""
    free = {f"W{n}": n for n in range(5)}
    lines = [f"witness W{n} {VKEYS[n]}" for n in range(5)]
    trees = dict(free)
    for number in range(draw(st.integers(0, 4))):
        if not free:
            break
        members = draw(st.lists(st.sampled_from(sorted(free)), min_size=1, max_size=4, unique=True))
        threshold = draw(st.integers(1, len(members)))
        word = draw(
            st.sampled_from(
                [str(threshold), *(["any"] if threshold == 1 else []), *(["all"] if threshold == len(members) else [])]
            )
        )
        trees[f"G{number}"] = (threshold, [trees[member] for member in members])
        free = {name: tree for name, tree in free.items() if name not in members} | {f"G{number}": trees[f"G{number}"]}
        lines.append(f"group G{number} {word} {' '.join(members)}")
    quorum = draw(st.sampled_from(sorted(trees)))
    return "\n".join([*lines, f"quorum {quorum}", ""]), trees[quorum]


def naive(tree, numbers):
    if isinstance(tree, int):
        return tree in numbers
    threshold, members = tree
    return sum(naive(member, numbers) for member in members) >= threshold


@given(policies())
@settings(max_examples=200)
def test_verdicts_are_those_of_a_naive_reading(made):
    """Also whether two quorums can do without a common witness: here by looking at every set and its complement."""
    text, tree = made
    policy = parse_policy(text.encode())
    verdicts = {}
    for bits in range(32):
        numbers = {n for n in range(5) if bits >> n & 1}
        verdicts[bits] = naive(tree, numbers)
        assert policy.is_met([KEYS[n].cosigner for n in numbers]) == verdicts[bits]
    # More cosignatures never hurt, so that two disjoint quorums are there if and only if some set and its complement are two.
    assert policy.has_disjoint_quorums() == any(verdicts[bits] and verdicts[31 - bits] for bits in range(32))
