"""tools/verify.py: evidence in parts, and what this version, or this Python, does not know."""

from __future__ import annotations

import hashlib
import json

import bundles
import pytest
import reference
from bundles import b64url, canonical
from core import test_evidence as evidence
from offline import check_evidence, check_fraud, options_of, spoken, verify

# --- Evidence sets ---------------------------------------------------------------------------------------------------

SET_QUESTION = {"resourceType": "record", "resourceId": "R:4", "loggedFrom": bundles.moment(5)}
SET = evidence.LOG.parts(SET_QUESTION, [30, 64, 90], disclose=True)


@pytest.fixture
def check_set(tmp_path, capsys):
    """Put the files of a set before the verifier, by name or in their order; returns the exit code and the verdict."""
    counter = iter(range(10**6))

    def check(parts, question=None, *more, vkey=None):
        directory = tmp_path / f"set-{next(counter)}"
        directory.mkdir()
        files = parts if isinstance(parts, dict) else {f"{n:06}.json": each for n, each in enumerate(parts, 1)}
        for name, part in files.items():
            (directory / name).write_bytes(part if isinstance(part, bytes) else bundles.file_of(part))
        asked = options_of(question or SET_QUESTION)
        arguments = ["evidence", "--vkey", vkey or bundles.vkey(), *asked, *more, "--json", str(directory)]
        return verify.main(arguments), json.loads(capsys.readouterr().out)

    return check


def test_a_set_is_verified(check_set):
    answers = [n for n in range(5, 121) if evidence.LOG.answers(n, SET_QUESTION)]
    for cuts in ([], [30], [30, 64, 90], range(6, 121)):
        parts = evidence.LOG.parts(SET_QUESTION, cuts, disclose=True)
        code, verdict = check_set(parts, SET_QUESTION, "--require-disclosures")
        assert (code, verdict["problems"]) == (0, [])
        shown = [each["index"] for each in verdict["answers"]]
        assert (shown, verdict["summary"][:20]) == (answers[::-1], f"{len(answers)} events, and no others"[:20])
        assert verdict["checked"]["disclosures"] == sum(len(evidence.LOG.events[n].disclosures) for n in answers)


def test_a_manifest_counts_for_nothing(check_set):
    files = {f"{number:06}.json": part for number, part in enumerate(SET, 1)}
    for manifest in (b"{}", b"no JSON", b'[{"file":"000001.json","answers":0}]\n'):
        assert check_set(files | {"manifest.json": manifest})[0] == 0


def other_part(number, **members):
    """The set with other members in one part."""
    return [*SET[:number], SET[number] | members, *SET[number + 1 :]]


OTHER_TREE = bundles.sample_log(later=1)
SPOILED_SETS = {
    "the first part removed": ({f"{n:06}.json": part for n, part in enumerate(SET, 1) if n > 1}, 3),
    "a part removed": ({f"{n:06}.json": part for n, part in enumerate(SET, 1) if n != 2}, 3),
    "the last part removed": (SET[:-1], 3),
    "a part removed and the others renamed": ([SET[0], *SET[2:]], 1),
    "the first part removed and the others renamed": (SET[1:], 1),
    "parts swapped": ([SET[0], SET[2], SET[1], SET[3]], 1),
    "a part twice": ([SET[0], SET[0], *SET[2:]], 1),
    "a part cut off": ([*SET[:2], bundles.file_of(SET[2])[:-2], SET[3]], 2),
    "a part of a smaller set": ([*SET[:2], evidence.LOG.parts(SET_QUESTION, [30, 64])[2], SET[3]], 1),
    "a part of another set": ([*SET[:2], evidence.LOG.parts(SET_QUESTION, [30, 60, 90], disclose=True)[2], SET[3]], 1),
    "a part that begins earlier": ([*SET[:2], evidence.LOG.parts(SET_QUESTION, [30, 63, 90], disclose=True)[2], SET[3]], 1),
    "a part without what is disclosed": ([*SET[:2], evidence.LOG.parts(SET_QUESTION, [30, 64, 90])[2], SET[3]], 1),
    "a part of another question": ([*SET[:2], evidence.LOG.parts(SET_QUESTION | {"resourceId": "R:3"}, [30, 64, 90], disclose=True)[2], SET[3]], 1),
    "a part of another tree": ([*SET[:2], OTHER_TREE.parts(SET_QUESTION, [30, 64, 90], disclose=True)[2], SET[3]], 1),
    "a bundle that is no part": ([evidence.LOG.bundle(SET_QUESTION)], 1),
    "a bundle that is no part among parts": ([SET[0], evidence.LOG.bundle(SET_QUESTION), *SET[2:]], 1),
    "no files": ([], 3),
    "part 0": (other_part(0, part=[0, 4]), 2),
    "part 5 of 4": (other_part(3, part=[5, 4]), 2),
    "part true": (other_part(0, part=[True, 4]), 2),
    "a part without its number": (other_part(1, part=None), 2),
    "the part of an answer": (other_part(1, mode="answer"), 2),
    "an inner part said to be an outer one": (other_part(1, part=[4, 4]), 1),
    "an outer end that the question does not have": (evidence.LOG.parts(SET_QUESTION | {"loggedTo": bundles.moment(100)}, [30, 64]), 2),
    "an answer counted too much": (other_part(2, manifest=SET[2]["manifest"] | {"answers": 9}), 1),
    "disclosures of another part": (other_part(2, disclosures=SET[1]["disclosures"]), 1),
    "no bucket keys in a part": (other_part(2, buckets=[]), 1),
    "pages of another part": (other_part(2, segments=SET[1]["segments"]), 1),
}  # fmt: skip


NO_PARTS = ["000005.json", "000000.json", "1.json", "0000002.json", "1000000.json", "99.json"]


@pytest.mark.parametrize("name", NO_PARTS)
def test_a_file_too_many_is_refused(check_set, name):
    """It may be what somebody was shown as one of the parts."""
    files = {f"{number:06}.json": part for number, part in enumerate(SET, 1)}
    for content in (SET[3], b"no JSON"):
        code, verdict = check_set(files | {name: content})
        assert (code, verdict["problems"]) == (1, [f"{name} is a file too many: parts of the set: 4"])
    assert check_set(files | {f"{name}x": b"", f"_{name}": b"", "manifest.json": b"{}"})[0] == 0


@pytest.mark.parametrize("name", SPOILED_SETS)
def test_a_spoiled_set_is_refused(check_set, name):
    parts, expected = SPOILED_SETS[name]
    code, verdict = check_set(parts)
    assert (code, verdict["summary"]) == (expected, ""), verdict


def test_a_part_has_no_empty_window_and_no_edges_inside(check_set):
    code, verdict = check_set(evidence.LOG.parts(SET_QUESTION, [30, 30], disclose=True))
    assert (code, "empty window" in verdict["problems"][0]) == (1, True)
    leaves = [entry.encode() for entry in evidence.LOG.entries]
    there = sorted([*dict(SET[1]["entries"]), SET[1]["end"]])
    stray = SET[1] | evidence.LOG.shown(there)
    assert len(stray["entries"]) == len(SET[1]["entries"]) + 1 <= len(leaves)
    code, verdict = check_set([SET[0], stray, *SET[2:]])
    assert (code, "does not need" in verdict["problems"][0]) == (1, True)


def test_a_clock_that_falls_from_part_to_part_is_refused(check_set):
    """Each part is right by itself: the last answer of one was logged later than the first of the next."""
    question = {"userId": "user-3", "resourceType": "record"}
    log = bundles.sample_log()
    first, second = (next(n for n in order if log.answers(n, question)) for order in (range(63, 0, -1), range(64, 120)))
    log.entries[second] = canonical(json.loads(log.entries[second]) | {"loggedAt": bundles.moment(first - 1)})
    log.root = reference.tree_hash([entry.encode() for entry in log.entries])
    code, verdict = check_set(log.parts(question, [64]), question)
    said = f"entry {first} says that it was logged later than entry {second}"
    assert (code, said in verdict["problems"][0]) == (1, True), verdict


def test_a_part_alone_is_not_the_answer(tmp_path, capsys):
    for number, part in enumerate(SET, 1):
        code, verdict = check_evidence(tmp_path, capsys, part, SET_QUESTION)
        assert (code, f"part {number} of 4 alone" in verdict["problems"][0]) == (3, True), verdict
        assert check_evidence(tmp_path, capsys, part | {"hashes": ""}, SET_QUESTION)[0] == 1
    (alone,) = evidence.LOG.parts(SET_QUESTION, [])
    assert check_evidence(tmp_path, capsys, alone, SET_QUESTION)[0] == 3
    code, verdict = check_evidence(
        tmp_path, capsys, alone | {"question": {"action": "read"}}, {"action": "read"}, "--count"
    )
    assert (code, verdict["problems"]) == (2, ["--count is not for a set"])


# --- What this version, or this Python, does not know --------------------------------------------------------------------


def test_an_answer_that_holds_a_later_version_is_incomplete(tmp_path, capsys):
    question = {"userId": "user-3"}
    log = spoken(bundles.sample_log(), 17, v=2)
    code, verdict = check_evidence(tmp_path, capsys, log.bundle(question), question)
    assert (code, "does not count" in verdict["problems"][0]) == (1, True)  # the maker took it for an event
    bundle = log.bundle(question)
    bundle["manifest"]["answers"] -= 1
    code, verdict = check_evidence(tmp_path, capsys, bundle, question)
    assert (code, verdict["problems"]) == (3, ["1 entry of a type this version does not know: 17"])
    assert verdict["beside"] == ["entry 17 is no event: its type is event"]


def test_an_entry_of_a_later_type_at_the_edge_is_nobodys_business(tmp_path, capsys):
    """It shows when something was logged, which every type says alike."""
    question = {"userId": "user-3", "loggedFrom": bundles.moment(38)}
    assert 37 in evidence.LOG.controls
    assert check_evidence(tmp_path, capsys, evidence.LOG.bundle(question), question)[0] == 0


STRANGE = "a\U0010ffff\u0301"  # a code point that no version of Unicode will assign


def test_code_points_that_python_does_not_know_are_named_and_judged_by_nobody(tmp_path, capsys):
    code, verdict = check_evidence(tmp_path, capsys, evidence.LOG.bundle({"userId": "x"}), {"userId": STRANGE})
    assert (code, "'userId'" in verdict["problems"][0], "U+10FFFF" in verdict["problems"][0]) == (3, True, True)
    log = bundles.sample_log()
    number, question = 17, {"userId": "user-3"}
    salt, body = bundles.disclosure(number, "resource", {"resource": {"id": STRANGE, "type": "record"}})
    commitment = b64url(hashlib.sha256(b"\x10" + salt + body.encode()).digest())
    commitments = json.loads(log.entries[number])["commitments"] | {"resource": commitment}
    log.events[number].disclosures["resource"] = salt, body
    log = spoken(log, number, commitments=commitments)
    bundle = log.bundle(question, disclose=True)
    code, verdict = check_evidence(tmp_path, capsys, bundle, question)
    assert (code, "the id in resource of entry 17: U+10FFFF" in verdict["problems"][0]) == (3, True), verdict
    assert check_evidence(tmp_path, capsys, bundle | {"hashes": ""}, question)[0] == 1
    assert check_evidence(tmp_path, capsys, log.bundle(question), question)[0] == 0
    code, said = check_fraud(tmp_path, capsys, bundle, log.event_proof(number, disclose=True))
    assert (code, "U+10FFFF" in said, "FRAUD" in said) == (3, True, False), said
    assert check_fraud(tmp_path, capsys, bundle, log.event_proof(number))[0] == 1


def test_times_of_witnesses_are_not_checked(tmp_path, capsys):
    question = {"userId": "user-3"}
    bundle = evidence.LOG.bundle(question)
    times = {"after": "", "afterProof": [""], "before": "", "beforeProof": []}
    for count, expected in ((1, 0), (1000, 0), (1001, 2), (0, 2)):
        code, verdict = check_evidence(tmp_path, capsys, bundle | {"times": [times] * count}, question)
        assert code == expected
        assert any("times" in line for line in verdict.get("notProved", ())) == (expected == 0)
    for wrong in ({**times, "x": 1}, {"after": ""}, [], {**times, "after": 1}):
        assert check_evidence(tmp_path, capsys, bundle | {"times": [wrong]}, question)[0] == 2


@pytest.mark.parametrize("change", [{"absent": [[3, "actor", 9]]}, {"rosters": [{}]}, {"absent": None}, {"rosters": 0}])
def test_what_later_versions_say_is_malformed(tmp_path, capsys, change):
    question = {"userId": "user-3"}
    assert check_evidence(tmp_path, capsys, evidence.LOG.bundle(question) | change, question)[0] == 2
