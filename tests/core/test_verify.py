"""Verification as steps: each of them refuses what only it can see, and says so."""

from __future__ import annotations

import json

import bundles
import pytest
import reference
from bundles import KEY, NaiveLog, b64, b64url, canonical, note, sample_log, vkey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tlog.core.note import parse_vkey
from tlog.core.verify import format_inconsistency, verify_event, verify_growth
from tlog.errors import InconsistentRootsError, MalformedInputError, VerificationError

LOG = sample_log()
VERIFIER = parse_vkey(vkey(KEY))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
INDEX = 6  # with two related resources
EVENT = LOG.events[INDEX]


def event_file(entry: str = EVENT.entry, disclosures: dict[str, tuple[bytes, str]] | None = None) -> bytes:
    shown = EVENT.disclosures if disclosures is None else disclosures
    return bundles.event_file(
        entry, {group: {"body": body, "salt": b64url(salt)} for group, (salt, body) in shown.items()}
    )


def proof_file(index: int = INDEX) -> bytes:
    return LOG.event_proof(index)[0]


def growth(old: int, log: NaiveLog = LOG) -> tuple[bytes, bytes]:
    """An older checkpoint, and the proof that the log grew from there."""
    leaves = [entry.encode() for entry in log.entries]
    hashes = "".join(f"{b64(each)}\n" for each in reference.proof(old, leaves))
    older = note(old, reference.tree_hash(leaves[:old])).encode()
    return older, f"old {old}\n{hashes}\n{note(len(leaves), log.root)}".encode()


def test_an_event_is_verified_with_all_that_was_proved():
    verified = verify_event(VERIFIER, event_file(), proof_file())
    assert verified.index == INDEX
    assert verified.entry.eventId == EVENT.event_id
    assert (verified.checkpoint.size, verified.checkpoint.root) == (len(LOG.entries), LOG.root)
    assert verified.bodies == {group: body.encode() for group, (_, body) in EVENT.disclosures.items()}
    assert verify_event(VERIFIER, event_file(disclosures={}), proof_file()).bodies == {}


@pytest.mark.parametrize("group", ["actor", "resource", "related/0", "related/1"])
def test_one_disclosure_is_enough_and_checked_by_itself(group: str):
    salt, body = EVENT.disclosures[group]
    assert verify_event(VERIFIER, event_file(disclosures={group: (salt, body)}), proof_file()).bodies == {
        group: body.encode()
    }
    for wrong in ((salt, body + " "), (salt[:-1] + bytes([salt[-1] ^ 1]), body)):
        with pytest.raises(VerificationError, match=f"the {group} disclosure does not match its commitment"):
            verify_event(VERIFIER, event_file(disclosures={group: wrong}), proof_file())
    other = {"actor": "resource", "resource": "related/1", "related/0": "related/1", "related/1": "actor"}[group]
    with pytest.raises(VerificationError, match=f"the {other} disclosure does not match"):
        verify_event(VERIFIER, event_file(disclosures={other: (salt, body)}), proof_file())


def test_a_group_that_the_entry_does_not_have_is_malformed():
    with pytest.raises(MalformedInputError, match="does not commit to the group 'related/2'"):
        verify_event(VERIFIER, event_file(disclosures={"related/2": (bytes(16), "{}")}), proof_file())


def test_a_control_entry_is_verified_and_has_no_disclosures():
    entry = LOG.entries[0]
    assert verify_event(VERIFIER, event_file(entry, {}), proof_file(0)).bodies == {}
    with pytest.raises(VerificationError, match="an entry of this type has no disclosures"):
        verify_event(VERIFIER, event_file(entry), proof_file(0))


def changed_log(index: int, **members: object) -> NaiveLog:
    """A log with another entry, rightly signed."""
    log = sample_log()
    log.entries[index] = canonical(json.loads(log.entries[index]) | members)
    log.root = reference.tree_hash([entry.encode() for entry in log.entries])
    return log


def test_entry_0_names_the_log_of_the_checkpoint():
    log = changed_log(0, origin="example.com/other")
    with pytest.raises(VerificationError, match="entry 0 names another log"):
        verify_event(VERIFIER, event_file(log.entries[0], {}), log.event_proof(0)[0])


def test_an_entry_of_an_unknown_type_has_the_groups_that_it_commits_to():
    """What they hold is for those to say who know the type."""
    salt, body = bytes(16), "anything"
    commitment = b64url(bundles.hashlib.sha256(b"\x10" + salt + body.encode()).digest())
    log = changed_log(37, commitments={"resource": commitment})
    proof = log.event_proof(37)[0]
    verified = verify_event(VERIFIER, event_file(log.entries[37], {"resource": (salt, body)}), proof)
    assert verified.bodies == {"resource": b"anything"}
    with pytest.raises(VerificationError, match="the resource disclosure does not match its commitment"):
        verify_event(VERIFIER, event_file(log.entries[37], {"resource": (salt, "other")}), proof)
    with pytest.raises(MalformedInputError, match="does not commit to the group 'actor'"):
        verify_event(VERIFIER, event_file(log.entries[37], {"actor": (salt, body)}), proof)


def test_what_is_disclosed_is_what_an_event_has_there():
    salt, body = bytes(16), canonical({"userId": "u"})  # without appendedBy
    commitments = json.loads(EVENT.entry)["commitments"]
    commitments["actor"] = b64url(bundles.hashlib.sha256(b"\x10" + salt + body.encode()).digest())
    log = changed_log(INDEX, commitments=commitments)
    with pytest.raises(MalformedInputError, match="the actor disclosure is not what an event has there"):
        verify_event(VERIFIER, event_file(log.entries[INDEX], {"actor": (salt, body)}), log.event_proof(INDEX)[0])


def test_each_step_refuses_what_it_is_there_for():
    with pytest.raises(VerificationError, match="key"):
        verify_event(parse_vkey(vkey(STRANGER)), event_file(), proof_file())
    with pytest.raises(VerificationError, match="root"):
        verify_event(VERIFIER, event_file(LOG.events[5].entry, {}), proof_file())
    with pytest.raises(VerificationError):
        verify_event(VERIFIER, event_file(), proof_file(5))
    with pytest.raises(MalformedInputError):
        verify_event(VERIFIER, event_file(EVENT.entry[:-1], {}), proof_file())


@pytest.mark.parametrize("old", [1, 5, 64, len(LOG.entries) - 1, len(LOG.entries)])
def test_growth_is_verified_between_the_two_checkpoints(old: int):
    older, newer = verify_growth(VERIFIER, *growth(old))
    assert (older.size, newer.size, newer.root) == (old, len(LOG.entries), LOG.root)


def test_growth_from_another_size_or_history_or_key_is_refused():
    older, proof = growth(5)
    with pytest.raises(VerificationError, match="the proof starts at size 5, the older checkpoint has size 6"):
        verify_growth(VERIFIER, growth(6)[0], proof)
    for pair in (
        (note(5, bytes(32), STRANGER).encode(), proof),
        (older, proof.replace(b"\n\xe2\x80\x94", b"\n \xe2\x80\x94")),
    ):
        with pytest.raises((VerificationError, MalformedInputError)) as refused:
            verify_growth(VERIFIER, *pair)
        assert not isinstance(refused.value, InconsistentRootsError)


NEWER = note(len(LOG.entries), LOG.root).encode()


def contradiction(older: bytes, proof: bytes) -> InconsistentRootsError:
    with pytest.raises(InconsistentRootsError) as caught:
        verify_growth(VERIFIER, older, proof)
    return caught.value


def test_an_older_checkpoint_that_the_proof_does_not_reach_is_evidence_with_the_proof():
    forked, proof = note(5, bytes(32)).encode(), growth(5)[1]
    error = contradiction(forked, proof)
    assert (error.older, error.newer) == (forked, NEWER)
    assert error.proof == tuple(reference.proof(5, [entry.encode() for entry in LOG.entries]))
    assert str(error) == (
        "the consistency proof does not lead to the old root of size 5; "
        "the proof may be wrong: fetch another proof before you accuse"
    )


@pytest.mark.parametrize("old", [1, 5, len(LOG.entries) - 1])
def test_a_wrong_proof_between_honest_checkpoints_accuses_nobody(old: int):
    older, proof = growth(old)
    lines = proof.split(b"\n")
    longer = b"\n".join([*lines[:2], lines[1], *lines[2:]])
    for wrong in (proof.replace(lines[1], b64(bytes(32)).encode()), longer):
        error = contradiction(older, wrong)
        assert (error.older, error.newer) == (older, NEWER)
        assert str(error).endswith("; the proof may be wrong: fetch another proof before you accuse")


@pytest.mark.parametrize("proof", [b"", b64(bytes(32)).encode() + b"\n"], ids=["no proof", "a proof that cannot be"])
@pytest.mark.parametrize("start", [len(LOG.entries), 5])
def test_two_roots_for_one_size_convict_whatever_the_proof_says(proof: bytes, start: int):
    size = len(LOG.entries)
    forked = note(size, bytes(32)).encode()
    error = contradiction(forked, b"old %d\n%b\n%b" % (start, proof, NEWER))
    assert str(error) == (
        f"the log signed two roots for one tree size, {size}: these two checkpoints convict it without any proof"
    )
    assert (error.older, error.newer, len(error.proof)) == (forked, NEWER, bool(proof))


def test_checkpoints_that_cannot_contradict_each_other_are_no_evidence():
    older = growth(5)[0]
    empty = note(0, reference.tree_hash([])).encode()
    spare = b64(bytes(32)).encode()
    for start, old, new in (
        (len(LOG.entries), NEWER, older),  # the other way round
        (5, older, older),
        (0, empty, NEWER),
    ):
        with pytest.raises(VerificationError) as refused:
            verify_growth(VERIFIER, old, b"old %d\n%b\n\n%b" % (start, spare, new))
        assert not isinstance(refused.value, InconsistentRootsError)


def test_an_inconsistency_is_written_canonically():
    forked, proof = note(5, bytes(32)).encode(), growth(5)[1]
    hashes = [b64(each) for each in reference.proof(5, [entry.encode() for entry in LOG.entries])]
    assert hashes
    members = {
        "newer": NEWER.decode(),
        "older": forked.decode(),
        "proof": hashes,
        "type": "tlog-inconsistency",
        "v": 1,
    }
    assert format_inconsistency(contradiction(forked, proof)) == (canonical(members) + "\n").encode()
