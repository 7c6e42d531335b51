"""verify.js, the verifier in the browser, comes to the verdicts of tools/verify.py: vectors, mutants, and what JavaScript is lax in.

`TLOG_TEST_MUTANTS=20000` puts that many mutants to both, in each family.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import random
from pathlib import Path

import bundles
import pytest
from browser.judging import VERIFY_JS, Case, compared, lacks_node, node
from bundles import b64, canonical, file_of
from core import test_soundness as soundness
from offline import (
    BAD_DISCLOSURES,
    BAD_ENTRIES,
    BAD_FILES,
    ENTRIES,
    GOOD_STRANGERS,
    ORIGIN,
    event_file,
    proof_file,
    vkey_of,
)
from offline import checkpoint_note as note_of

pytestmark = pytest.mark.skipif(bool(lacks_node()), reason=lacks_node() or "-")

MUTANTS = int(os.environ.get("TLOG_TEST_MUTANTS", "80"))
VECTORS = Path(__file__).parents[1] / "vectors"
LOG, VKEY = soundness.LOG, bundles.vkey()


@pytest.fixture(scope="module")
def javascript():
    with node() as running:
        yield running


@pytest.fixture
def judge(javascript, tmp_path):
    """Return the exit code of both verifiers, which have to say the same."""

    def both(case):
        ours, theirs = case.by_javascript(javascript), case.by_python(tmp_path)
        assert compared(ours) == compared(theirs), (ours["problems"], theirs["problems"])
        return ours["exitCode"]

    return both


# --- Vectors ----------------------------------------------------------------------------------------------------------


def carried(case, member):
    return case[member].encode() if member in case else base64.b64decode(case[f"{member}Base64"])


def cases_of_vectors():
    """Each vector of a file as a case; what one of Merkle trees or notes alone says is part of many others."""
    found = {}
    for kind in ("checkpoints", "tlog-proofs", "entries", "questions", "evidence", "evidence-sets"):
        for vector in json.loads((VECTORS / f"{kind}.json").read_bytes()):
            name = f"{kind}: {vector['name']}"
            if kind == "checkpoints":
                found[name] = Case("checkpoint", vector["vkey"], carried(vector, "note"))
            elif kind == "tlog-proofs":
                found[name] = Case(
                    "proof", vector["vkey"], carried(vector, "proof"), event=shown_nothing(carried(vector, "entry"))
                )
            elif kind == "entries":
                with contextlib.suppress(UnicodeDecodeError):  # no event file has such an entry
                    found[name] = proved_entry(carried(vector, "entry"))
            elif kind == "questions":
                asked = [(name, value) for name, value in vector["question"].items() if isinstance(value, str)]
                found[name] = Case("evidence", VKEY, file_of(LOG.bundle({"action": "read"})), asked=asked)
            elif kind == "evidence":
                asked = vector["question"].items()
                found[name] = Case(
                    "evidence", vector["vkey"], carried(vector, "bundle"), asked=asked, count=vector["mode"] == "count"
                )
            else:
                parts = {f"{number:06}.json": part.encode() for number, part in enumerate(vector["parts"], 1)}
                found[name] = Case("set", vector["vkey"], parts, asked=vector["question"].items())
    return found


def shown_nothing(entry):
    return event_file(entry.decode("utf-8", "surrogatepass"), {})


def proved_entry(entry):
    """An entry in a signed tree, with its proof."""
    entries = [*ENTRIES[:5], entry, *ENTRIES[5:]]
    return Case("proof", vkey_of(), proof_file(5, entries), event=event_file(entry.decode(), {}))


CASES = cases_of_vectors()


def test_every_vector_has_one_verdict(judge):
    codes = {name: judge(case) for name, case in CASES.items()}
    assert {*codes.values()} == {0, 1, 2, 3}
    assert sum(code == 0 for code in codes.values()) > 20


def test_entries_and_event_files_have_one_verdict(judge):
    for entry in (*BAD_ENTRIES.values(), *GOOD_STRANGERS.values()):
        with contextlib.suppress(UnicodeDecodeError):
            judge(proved_entry(entry))
    for file, _ in (*BAD_FILES.values(), *BAD_DISCLOSURES.values()):
        assert judge(Case("proof", vkey_of(), proof_file(5), event=file)) in (1, 2)


SMALL_ORDER = [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18, 2**255 - 1,
               0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
               2**255 - 19 - 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7]  # fmt: skip


def vkey_with(number):
    data = b"\1" + (number % 2**256).to_bytes(32, "little")
    return f"{ORIGIN}+{hashlib.sha256(ORIGIN.encode() + bytes([10]) + data).hexdigest()[:8]}+{b64(data)}"


def signed_by_nobody(vkey, number=0):
    """A note of which R is the identity and S is 0: under a key of order n every n-th text verifies as signed."""
    text = f"{ORIGIN}\n1\n{b64(bytes([number] * 32))}\n"
    key_id = bytes.fromhex(vkey.split("+")[1])
    return f"{text}\n— {ORIGIN} {b64(key_id + (1).to_bytes(32, 'little') + bytes(32))}\n".encode()


def test_public_keys_have_one_verdict(judge):
    """All 16 encodings of points of small order and of what is beyond the field, and small numbers, half of which are no points."""
    for number in [y | sign << 255 for y in (*SMALL_ORDER, *range(2, 40)) for sign in (0, 1)]:
        vkey = vkey_with(number)
        assert judge(Case("checkpoint", vkey, note_of(ENTRIES))) in (1, 2)
        assert judge(Case("checkpoint", vkey, signed_by_nobody(vkey))) in (1, 2)


# --- Mutants ----------------------------------------------------------------------------------------------------------


def scratched(rng, data):
    """Bytes with something changed that a reader of text may not see."""
    at = rng.randrange(len(data) + 1)
    places = [place for place, byte in enumerate(data) if byte in b"0123456789"] or [0]
    digit, letter = rng.choice(places), data[at : at + 1]
    strings = [
        place
        for place in range(1, len(data) - 1)
        if data[place - 1 : place] == b'"' and data[place : place + 1].isalnum()
    ]
    inside = rng.choice(strings or [0])
    return rng.choice([
        lambda: data[:at] + bytes([(letter or b"A")[0] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
        lambda: data[:at] + data[at + 1 :],
        lambda: data[:at] + letter + data[at:],
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data[:at] + rng.choice([b" ", b"\n", b"\r", b"\t", b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"=", b"\xe2\x80\xa8"]) + data[at:],
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data + rng.choice([b"\n", b" ", b"\0"]),
        lambda: data[:digit] + rng.choice([b"0", b"-", b"+", b"9007199254740993", b"1e0"]) + data[digit:],
        lambda: data[: digit + 1] + rng.choice([b".0", b"e0", b"00", b"0" * 20]) + data[digit + 1 :],
        lambda: data[:inside] + b"\\u%04x" % data[inside] + data[inside + 1 :],
        lambda: data[:inside] + rng.choice([b"\\ud800", b"\\u0000", b"\\/", b"\\ud83d\\ude00"]) + data[inside:],
        lambda: data.replace(b'"v":1}', rng.choice([b'"v":1,"v":1}', b'"v":1,"__proto__":1}', b'"v":1,"1":1}', b'"v":1.0}', b'"v":true}'])),
        lambda: data.replace(b"A", b"B", 1),
        lambda: data.replace(b"=", b"", 1),
        lambda: data.replace(b"+", b"-", 1).replace(b"/", b"_", 1),
    ])()  # fmt: skip


def mutants_of_bundles(rng):
    """Bundles changed in one place, as JSON values and as bytes; bundles of other questions; bundles of logs that were spoiled."""
    kind, question = rng.random(), soundness.random_question(rng)
    log = soundness.remade(rng) if kind < 0.25 else soundness.RECOVERED if kind < 0.4 else LOG
    bundle, mode = soundness.bundle_for(rng, log, question)
    asked = question
    if kind > 0.9:
        asked = {name: value for name, value in question.items() if rng.random() < 0.7} or question
    elif 0.25 < kind < 0.7:
        bundle = soundness.mutated(rng, bundle, [soundness.bundle_for(rng, LOG, soundness.random_question(rng))[0]])
    data = file_of(bundle)
    data = scratched(rng, data) if kind > 0.8 else data
    return Case("evidence", VKEY, data, asked=asked.items(), count=mode == "count", require=rng.random() < 0.1)


def mutants_of_disclosures(rng):
    """Bundles with data, something of which was changed: groups renamed, taken out, exchanged."""
    question = rng.choice(
        [soundness.LOST, {"userId": "user-3"}, {"action": "export"}, {"resourceType": "patient", "resourceId": "P:3"}]
    )
    bundle = json.loads(file_of(soundness.RECOVERED.bundle(question, disclose=True)))
    shown = {name: bundle[name] for name in ("disclosures", "absent", "manifest")}
    if rng.random() < 0.9:
        shown = soundness.mutated(rng, shown)
    with contextlib.suppress(
        TypeError, AttributeError, ValueError, KeyError
    ):  # a mutant of which nothing can be counted
        shown["manifest"]["disclosures"] = sum(len(groups) for _, groups in shown["disclosures"])
    return Case("evidence", VKEY, file_of(bundle | shown), asked=question.items())


def mutants_of_sets(rng):
    question = soundness.random_question(rng)
    start, end = LOG.window(question)
    if end - start < 5:
        return mutants_of_sets(rng)
    cuts = sorted(rng.sample(range(start + 1, end), rng.choice([1, 2, 3])))
    parts = LOG.parts(question, cuts, disclose=rng.random() < 0.3)
    place, kind = rng.randrange(len(parts)), rng.random()
    if kind < 0.4:
        parts[place] = soundness.mutated(rng, parts[place], parts)
    elif kind < 0.5:
        parts[place] = rng.choice(parts)
    files = {f"{number:06}.json": file_of(part) for number, part in enumerate(parts, 1)}
    if kind > 0.9:
        files[rng.choice(["000000.json", "1.json", "000009.json", "manifest.json", "0.json", "000001.txt"])] = b"{}\n"
    elif kind > 0.8:
        files.pop(rng.choice([*files]))
    elif kind > 0.7:
        return Case("evidence", VKEY, files["000001.json"], asked=question.items())
    return Case("set", VKEY, files, asked=question.items())


def mutants_of_proofs(rng):
    index = rng.choice([4, 33, 36, 61, 70])
    proof, file = soundness.RECOVERED.event_proof(index, disclose=rng.random() < 0.8)
    kind = rng.random()
    if kind < 0.3:
        proof = scratched(rng, proof)
    elif kind < 0.6:
        file = scratched(rng, file)
    elif kind < 0.9:
        file = file_of(soundness.mutated(rng, json.loads(file)))
    return Case("proof", VKEY, proof, event=file, require=rng.random() < 0.2)


def mutants_of_entries(rng):
    """Entries changed under a signature."""
    entry = canonical(
        soundness.mutated(
            rng,
            json.loads(
                rng.choice(
                    [
                        soundness.RECOVERED.entries[n]
                        for n in (0, 1, 61, 62, 70, *range(93, 99), soundness.RECOVERED.epoch)
                    ]
                )
            ),
        )
    ).encode()
    return proved_entry(scratched_text(rng, entry) if rng.random() < 0.4 else entry)


def scratched_text(rng, data):
    """Bytes with something changed that are still text."""
    while True:
        with contextlib.suppress(UnicodeDecodeError):
            changed = scratched(rng, data)
            changed.decode()
            return changed


def mutants_of_checkpoints(rng):
    vkey, note = vkey_of(), note_of(ENTRIES)
    if rng.random() < 0.3:
        vkey = scratched_text(rng, vkey.encode()).decode()
        return mutants_of_checkpoints(rng) if "\0" in vkey or vkey.startswith("@") else Case("checkpoint", vkey, note)
    return Case("checkpoint", vkey, scratched(rng, note))


FAMILIES = [
    mutants_of_bundles,
    mutants_of_disclosures,
    mutants_of_sets,
    mutants_of_proofs,
    mutants_of_entries,
    mutants_of_checkpoints,
]


def mutants(family, count, seed=53):
    """Cases of a family; some that bundles.py cannot make are left out."""
    rng = random.Random(f"{family.__name__} {seed}")
    for _ in range(count):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            yield family(rng)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_mutants_have_one_verdict(judge, family):
    codes = [judge(case) for case in mutants(family, MUTANTS)]
    assert len(codes) > MUTANTS / 2
    assert len({*codes}) >= 2


# --- Controls: a verify.js that leaves one check out is found -------------------------------------------------------------

CONTROLS = {  # by what is left out: where cases that find it are sought, and the change
    "points of small order": ("keys", "require(!SMALL_ORDER.has(y)", "require(true"),
    "format and compare": ("bundles", "exact ? canonical(value) === text :", "exact ? true :"),
    "canonical base64": ("vectors", "const canonicalText = btoa(data) === text &&", "const canonicalText ="),
    "half a surrogate pair": ("entries", "value.isWellFormed()", "true"),
    "the byte order mark": ("proofs", "ignoreBOM: true", "ignoreBOM: false"),
    "the joint proof": (
        "bundles",
        "require(same(await climbAll(0n, size, 0, indexes.length), root) && !hashes.length, wrong)",
        "await 0",
    ),
    "the inclusion proof": ("proofs", "require(!rest.length && same(computed, root)", "require(true"),
    "the commitment": ("disclosures", "require(committed,", "require(true,"),
    "the keys of an action": ("entries", "keys.get(kind) === (await publicKey(kind, entry[name]))", "true"),
    "keys that begin alike": ("entries", "require(distinct,", "require(true,"),
    "the key of the data": ("vectors", "require(!wrong, `entry", "require(true, `entry"),
    "the window": ("vectors", "require(!early,", "require(true,"),
    "the manifest": ("bundles", 'require(right, "the manifest', 'require(true, "the manifest'),
    "what is missing": ("disclosures", "require(!missing.length, said)", "require(true, said)"),
    "the question": ("bundles", "if (canonical(said) !== canonical(question) || given !== mode)", "if (false)"),
    "the parts of a set": ("vectors", "require(bundle.start === end,", "require(true,"),
    "the number of the first part": ("sets", "require(!isSet || evidence.part === 1,", "require(true,"),
    "a file too many": ("sets", "require(!beyond.length,", "require(true,"),
}


def cases_of(place):
    if place == "vectors":
        yield from CASES.values()
    elif place == "keys":
        for vkey, number in itertools.product(map(vkey_with, SMALL_ORDER), range(20)):
            yield Case("checkpoint", vkey, signed_by_nobody(vkey, number))
    elif place == "entries":
        for entry in BAD_ENTRIES.values():
            with contextlib.suppress(UnicodeDecodeError):
                yield proved_entry(entry)
    else:
        yield from mutants(globals()[f"mutants_of_{place}"], 2_000)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_check_that_is_left_out_is_found(tmp_path, name):
    place, check, instead = CONTROLS[name]
    source = VERIFY_JS.read_text(encoding="utf-8")
    assert source.count(check) == 1
    (tmp_path / "lax.js").write_text(source.replace(check, instead), encoding="utf-8")
    with node(tmp_path / "lax.js") as lax:
        accepted = (case for case in cases_of(place) if case.by_javascript(lax)["exitCode"] in (0, 3))
        assert any(case.by_python(tmp_path)["exitCode"] in (1, 2) for case in accepted)
