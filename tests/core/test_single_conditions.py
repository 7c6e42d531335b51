"""Each condition of the verifying code alone: inputs that break one rule and keep all others, and those just within it.

A cheating operator signs whatever suits, so roots, tables and hashes here are right for what is wrong.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256

import bundles
import pytest
import reference
from bundles import file_of, sample_log, signed

from tlog.core import evidence
from tlog.core.bundle import parse_bundle
from tlog.core.checkpoint import parse_checkpoint
from tlog.core.commitment import check_disclosure, commit
from tlog.core.fraud import find_fraud
from tlog.core.merkle import EMPTY_ROOT, MAX_TREE_SIZE, Frontier
from tlog.core.note import Signer, check_public_key, parse_vkey, split_note
from tlog.core.proof import MAX_PROOF_HASHES, plan_joint, verify_consistency, verify_inclusion, verify_joint
from tlog.core.question import parse_question
from tlog.core.segment import (
    PageRun,
    RangeProof,
    Segment,
    format_table,
    parse_table,
    posting,
    verify_counts,
    verify_number,
    verify_ranges,
)
from tlog.core.tile import parse_tile_path
from tlog.core.tlogproof import parse_consistency_proof, parse_inclusion_proof
from tlog.errors import MalformedInputError, VerificationError

MIB = 1_048_576
P = 2**255 - 19
LINE = "— a ".encode() + base64.b64encode(b"12345") + b"\n"
VERIFIER = parse_vkey(bundles.vkey())
LOG = sample_log()


# --- Limits, as numbers ----------------------------------------------------------------------------------------------


def test_limits():
    assert MAX_TREE_SIZE == 9_223_372_036_854_775_807
    assert MAX_PROOF_HASHES == 63
    assert parse_tile_path("tile/entries/000").level == -1
    assert parse_tile_path("tile/0/x036/x028/x797/x018/x963/967").index == 2**55 - 1
    with pytest.raises(MalformedInputError):
        parse_tile_path("tile/0/x036/x028/x797/x018/x963/968")


def test_a_note_has_at_most_100_signatures_and_one_mib():
    assert len(split_note(b"text\n\n" + LINE * 100)[1]) == 100
    with pytest.raises(MalformedInputError):
        split_note(b"text\n\n" + LINE * 101)
    rest = b"\n\n" + LINE
    assert split_note(b"x" * (MIB - len(rest)) + rest)
    with pytest.raises(MalformedInputError):
        split_note(b"x" * (MIB + 1 - len(rest)) + rest)


@pytest.mark.parametrize(
    "parse, head",
    [(parse_inclusion_proof, b"c2sp.org/tlog-proof@v1\nindex 1\n\n"), (parse_consistency_proof, b"old 1\n\n")],
)
def test_a_proof_file_has_at_most_one_mib(parse, head):
    assert parse(head + b"x" * (MIB - len(head)))
    with pytest.raises(MalformedInputError):
        parse(head + b"x" * (MIB + 1 - len(head)))


def test_a_number_needs_its_label():
    for data in (b"1\n\nx", b"ld 1\n\nx", b"index 1\n\nx"):
        with pytest.raises(MalformedInputError):
            parse_consistency_proof(data)


def test_a_note_without_text_is_none():
    with pytest.raises(MalformedInputError):
        split_note(LINE)
    assert split_note(b"\n\n" + LINE)[0] == b"\n"


def test_the_largest_public_key_is_p_minus_2():
    check_public_key((P - 2).to_bytes(32, "little"))
    for y in (P - 1, P, P + 1):
        with pytest.raises(MalformedInputError):
            check_public_key(y.to_bytes(32, "little"))


def test_key_ids_are_in_lower_case():
    vkey = next(key for key in (Signer("a", bytes([n]) * 32).verifier.vkey() for n in range(9)) if key != key.lower())
    name, key_id, rest = vkey.split("+", 2)
    assert parse_vkey(vkey)
    with pytest.raises(MalformedInputError):
        parse_vkey(f"{name}+{key_id.upper()}+{rest}" if key_id != key_id.upper() else f"{name}+0{key_id[1:]}x+{rest}")


def test_a_checkpoint_has_three_lines():
    text = b"log\n0\n" + base64.b64encode(EMPTY_ROOT)
    assert parse_checkpoint(text + b"\n").size == 0
    for other in (b"log", b"log\n", b"log\n0\n", text, text + b"\nx", text + b"\nx\n", text + b"\n\n"):
        with pytest.raises(MalformedInputError):
            parse_checkpoint(other)


def test_a_salt_has_16_bytes():
    check_disclosure(commit(bytes(16)), bytes(16), "actor")
    with pytest.raises(VerificationError):
        check_disclosure(commit(bytes(15)), bytes(15), "actor")


def test_a_bundle_that_ends_inside_a_length_is_refused():
    for data in (b"", b"\0", b"\0\1", b"\0\1a\0"):
        with pytest.raises(MalformedInputError):
            parse_bundle(data, 1)


def test_a_segment_has_less_than_2_to_the_32_entries():
    for end in (1, 2**32 - 2, 2**32 - 1):
        assert parse_table(format_table([Segment(0, end, 0, EMPTY_ROOT)]))[0].end == end
    with pytest.raises(MalformedInputError):
        parse_table(format_table([Segment(0, 2**32, 0, EMPTY_ROOT)]))
    with pytest.raises(MalformedInputError):
        parse_table(format_table([Segment(0, 1, 0, EMPTY_ROOT)]) + b"\0")


def climbed(leaf, hashes):
    """The root over a first leaf: everything else is on its right."""
    for each in hashes:
        leaf = sha256(b"\1" + leaf + each).digest()
    return leaf


def test_the_largest_tree():
    leaf, hashes = bytes(32), [bytes([number]) * 32 for number in range(63)]
    root = climbed(leaf, hashes)
    verify_inclusion(0, MAX_TREE_SIZE, leaf, hashes, root)
    verify_joint(MAX_TREE_SIZE, {0: leaf}, hashes, root)
    verify_consistency(MAX_TREE_SIZE, MAX_TREE_SIZE, root, root, [])
    for too_large in (
        lambda: verify_inclusion(0, MAX_TREE_SIZE + 1, leaf, hashes, root),
        lambda: verify_joint(MAX_TREE_SIZE + 1, {0: leaf}, hashes, root),
        lambda: verify_consistency(MAX_TREE_SIZE + 1, MAX_TREE_SIZE + 1, root, root, []),
    ):
        with pytest.raises(VerificationError, match="size"):
            too_large()


def test_leaves_that_are_proved_together_are_all_in_the_tree():
    leaf, stranger = b"1" * 32, b"2" * 32
    verify_joint(1, {0: leaf}, [], leaf)
    for leaves in ({-1: stranger, 0: leaf}, {0: leaf, 1: stranger}, {0: leaf, 5: stranger}, {}, {0: stranger}):
        with pytest.raises(VerificationError):
            verify_joint(1, leaves, [], leaf)


@pytest.mark.parametrize("size", range(1, 520, 7))
def test_a_frontier_grows_by_any_number_of_leaves(size):
    entries = reference.entries(size)
    frontier = Frontier()
    frontier.extend([sha256(b"\0" + entry).digest() for entry in entries])
    assert frontier.root() == reference.tree_hash(entries)


# --- Pages of a segment, under a root that is right for them ---------------------------------------------------------


def verify_range(segment, low, high, proof):
    (found,) = verify_ranges(segment, [(low, high)], proof)
    return found


def verify_count(segment, low, high, proof):
    (number,) = verify_counts(segment, [(low, high)], proof)
    return number


def segment_of(pages):
    return Segment(0, 1000, sum(map(len, pages)) // 12, reference.tree_hash(pages))


def proof_of(pages, *runs):
    """The proof of runs of pages, given as ranges."""
    shown = [number for run in runs for number in run]
    hashes = tuple(reference.tree_hash(pages[part.start : part.end]) for part in plan_joint(shown, len(pages)))
    return RangeProof(tuple(PageRun(run[0], b"".join(pages[n] for n in run)) for run in runs), hashes)


KEY = bytes(8)
POSTINGS = [posting(KEY, number) for number in range(96)]
PAGES = [b"".join(POSTINGS[at : at + 32]) for at in (0, 32, 64)]
LOW, HIGH = posting(KEY, 40), posting(KEY, 50)


def test_a_last_page_may_be_full():
    segment = segment_of(PAGES)
    assert verify_range(segment, LOW, posting(KEY, 96), proof_of(PAGES, [1, 2])) == POSTINGS[40:]
    assert verify_count(segment, LOW, posting(KEY, 96), proof_of(PAGES, [1, 2])) == 56


def test_the_page_before_is_needed_unless_the_first_posting_is_smaller():
    segment, bound = segment_of(PAGES), POSTINGS[32]
    assert verify_range(segment, bound, HIGH, proof_of(PAGES, [0, 1])) == POSTINGS[32:50]
    with pytest.raises(VerificationError):
        verify_range(segment, bound, HIGH, proof_of(PAGES, [1]))


def test_neighbouring_pages_are_one_run():
    segment = segment_of(PAGES)
    assert verify_count(segment, LOW, posting(KEY, 70), proof_of(PAGES, [1, 2])) == 30
    with pytest.raises(VerificationError):
        verify_count(segment, LOW, posting(KEY, 70), proof_of(PAGES, [1], [2]))


@pytest.mark.parametrize("first", [-1, 3, 4, 2**40])
def test_a_page_has_a_number_below_the_number_of_pages(first):
    with pytest.raises(VerificationError):
        verify_range(segment_of(PAGES), LOW, HIGH, RangeProof((PageRun(first, PAGES[1]),), proof_of(PAGES, [1]).hashes))


MIDDLE = POSTINGS[32:64]
BAD_PAGES = {
    "a page is short": MIDDLE[:-1],
    "a page is long": [*MIDDLE, posting(b"\1" * 8, 0)],
    "a posting stands twice": [*MIDDLE[:8], MIDDLE[7], *MIDDLE[9:]],
    "two are swapped": [*MIDDLE[:8], MIDDLE[9], MIDDLE[8], *MIDDLE[10:]],
}


@pytest.mark.parametrize("middle", BAD_PAGES.values(), ids=BAD_PAGES)
def test_pages_that_are_none_are_refused_although_they_are_signed(middle):
    pages = [PAGES[0], b"".join(middle), PAGES[2]]
    for proof in (proof_of(pages, [1]), proof_of(pages, [0, 1])):
        with pytest.raises(VerificationError):
            verify_range(segment_of(pages), LOW, HIGH, proof)


def test_postings_rise_from_run_to_run():
    """A segment whose pages are in a wrong order, under its right root: what is smaller than a bound stands after it as well."""
    turned = [PAGES[0], b"".join(posting(b"\2" * 8, at) for at in range(32)), PAGES[1], PAGES[2]]
    segment, low, high = segment_of(turned), posting(KEY, 5), posting(KEY, 10)
    assert verify_number(segment, low, high, proof_of(turned, [0, 1])) == 5
    with pytest.raises(VerificationError, match="not in order"):
        verify_number(segment, low, high, proof_of(turned, [0, 1], [3]))


# --- Evidence --------------------------------------------------------------------------------------------------------


def verify(bundle, question):
    return evidence.verify_evidence(VERIFIER, parse_question(question), evidence.parse_evidence(file_of(bundle)))


def refused(bundle, question, match):
    with pytest.raises(VerificationError, match=match):
        verify(bundle, question)


def with_entries(log, bundle, indexes):
    """A bundle with these entries of a log, rightly proved."""
    return bundle | log.shown(indexes)


def without(victim):
    """Leave the victim's postings out of the segment that should have them."""
    return lambda start, postings: [item for item in postings if start + int.from_bytes(item[8:]) != victim]


def test_another_table_than_the_committed_one_is_refused():
    question = {"userId": "user-0"}
    other = sample_log(spoil=without(70)).bundle(question)
    bundle = LOG.bundle(question) | {"table": other["table"], "segments": other["segments"]}
    indexes = sorted({0, LOG.epoch, *(index for index, _ in other["entries"])})
    bundle = with_entries(LOG, bundle, indexes) | {"manifest": other["manifest"]}
    refused(bundle, question, "does not commit")
    parsed = evidence.parse_evidence(file_of(bundle))
    with pytest.raises(VerificationError, match="not one that the log signed"):
        find_fraud(VERIFIER, parsed, LOG.events[70].keys[0], 70)


def test_an_epoch_whose_segments_end_elsewhere_is_refused():
    log = sample_log(30, [16, 31])
    epoch = json.loads(log.entries[log.epoch]) | {"ends": [17, 31]}
    log.entries[log.epoch] = bundles.canonical(epoch)
    refused(signed(log).bundle({"userId": "user-3"}), {"userId": "user-3"}, "does not commit")


def test_the_manifest_of_a_count_counts_right():
    question = {"userId": "user-3"}
    bundle = LOG.bundle(question, mode="count")
    assert verify(bundle, question).count
    manifest = bundle["manifest"]
    refused(bundle | {"manifest": manifest | {"answers": manifest["answers"] + 1}}, question, "manifest")


def test_an_index_key_from_another_bucket_key_is_refused(monkeypatch):
    """Under a key of the operator's choice there is nothing, and the proof of that nothing would be right."""
    question = {"userId": "user-3"}
    bucket = bundles.bucket_of(bundles.ident_of("actor", "user-3"))
    monkeypatch.setattr(bundles, "BUCKETS", [*bundles.BUCKETS[:bucket], bytes(32), *bundles.BUCKETS[bucket + 1 :]])
    refused(LOG.bundle(question), question, "leads to another root")


def test_the_entry_that_commits_to_bucket_keys_is_needed():
    question = {"userId": "nobody"}
    bundle = LOG.bundle(question)
    assert verify(bundle, question).count == 0
    refused(with_entries(LOG, bundle, [LOG.epoch]), question, "entry 0, which commits to the bucket keys, is not there")


def test_the_entries_around_the_window_are_needed():
    question = {"action": "export", "loggedFrom": bundles.moment(10), "loggedTo": bundles.moment(50)}
    bundle = LOG.bundle(question, window=(10, 50))
    indexes = [index for index, _ in bundle["entries"]]
    assert verify(bundle, question).answers
    for edge in (9, 10, 49, 50):
        others = [index for index in indexes if index != edge]
        refused(with_entries(LOG, bundle, others), question, "an entry at an edge of the window")


def test_a_disclosure_of_no_group_is_refused():
    question = {"userId": "user-3", "resourceType": "record", "resourceId": "R:4"}
    bundle = LOG.bundle(question, disclose=True)
    empty = [[index, {}] for index, _ in bundle["disclosures"]]
    assert empty
    manifest = bundle["manifest"] | {"disclosures": 0}
    refused(bundle | {"disclosures": empty, "manifest": manifest}, question, "nothing is disclosed")


@pytest.mark.parametrize("victim", [64, 99, 100, 120])
def test_fraud_at_the_ends_of_a_segment(victim):
    """What is left out is convicted, what is there is not: also the first and the last entry of a segment."""
    honest = evidence.parse_evidence(file_of(LOG.bundle({"action": "read"})))
    cheat = evidence.parse_evidence(file_of(sample_log(spoil=without(victim)).bundle({"action": "read"})))
    key = bundles.action_key("read")
    if LOG.events[victim].members["action"] == "read":
        with pytest.raises(VerificationError, match=f"holds entry {victim}"):
            find_fraud(VERIFIER, honest, key, victim)
    assert f"leaves out entry {victim}" in find_fraud(VERIFIER, cheat, key, victim)
