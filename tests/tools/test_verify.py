"""tools/verify.py, the file strangers use: right answers, every wrong one refused, and no traceback ever."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import bundles
import pytest
import reference
from bundles import b64, b64url, canonical
from core import test_evidence as evidence
from core import test_fraud as fraud
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from offline import (
    BAD_DISCLOSURES,
    BAD_ENTRIES,
    BAD_FILES,
    ENTRIES,
    FULL_ENTRY,
    GOOD_STRANGERS,
    KEY,
    ORIGIN,
    check_evidence,
    check_fraud,
    checkpoint_note,
    disclosure,
    event,
    event_file,
    export,
    growth,
    growth_file,
    many,
    proof_file,
    sign,
    stranger,
    verify,
    vkey_of,
)
from support import VERIFIER, verify_offline

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "inclusion"


@pytest.fixture
def run(tmp_path, capsys):
    """Run a command on file contents; returns (exit code, what it printed)."""
    counter = iter(range(10**6))

    def put(argument):
        if not isinstance(argument, bytes):
            return str(argument)
        path = tmp_path / f"file-{next(counter)}"
        path.write_bytes(argument)
        return str(path)

    def call(command, *arguments, vkey=None):
        code = verify.main([command, "--vkey", vkey_of() if vkey is None else vkey, *map(put, arguments)])
        return code, capsys.readouterr().out

    return call


# --- Ed25519 ---------------------------------------------------------------------------------------------------------

RFC_8032 = [  # section 7.1: public key, message, signature
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
]  # fmt: skip


@pytest.mark.parametrize("public, message, signature", RFC_8032, ids=["empty", "one byte", "two bytes"])
def test_rfc_8032_vectors(public, message, signature):
    public, message, signature = map(bytes.fromhex, (public, message, signature))
    verify.verify_ed25519(public, message, signature)
    for position in range(64):
        wrong = bytearray(signature)
        wrong[position] ^= 1
        with pytest.raises(verify.VerificationError):
            verify.verify_ed25519(public, message, bytes(wrong))
    with pytest.raises(verify.VerificationError):
        verify.verify_ed25519(public, message + b"x", signature)
    with pytest.raises(verify.VerificationError, match="64 bytes"):
        verify.verify_ed25519(public, message, signature[:-1])


def test_signature_with_the_group_order_added_is_refused():
    """Threat 36: S + L satisfies the equation, and would be a second signature of the same text."""
    message = b"text"
    signature = KEY.sign(message)
    scalar = int.from_bytes(signature[32:], "little") + verify.L
    with pytest.raises(verify.VerificationError, match="group order"):
        verify.verify_ed25519(
            KEY.public_key().public_bytes_raw(), message, signature[:32] + scalar.to_bytes(32, "little")
        )


Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER = [
    y | sign << 255 for y in (0, 1, verify.P - 1, Y8, verify.P - Y8, verify.P, verify.P + 1) for sign in (0, 1)
]


@pytest.mark.parametrize("encoding", SMALL_ORDER, ids=lambda number: f"{number:064x}")
def test_small_order_public_keys_are_refused(encoding, run):
    """Threat 35: all 14 encodings of the points under which a signature can be made to fit any message."""
    data = b"\1" + encoding.to_bytes(32, "little")
    key_id = hashlib.sha256(ORIGIN.encode() + b"\n" + data).hexdigest()[:8]
    code, said = run("checkpoint", checkpoint_note(ENTRIES), vkey=f"{ORIGIN}+{key_id}+{b64(data)}")
    assert code == 2
    assert "public key" in said


def test_number_that_is_no_point_is_refused():
    with pytest.raises(verify.MalformedError, match="not an Ed25519 point"):
        verify.decode_point((2).to_bytes(32, "little"))


# --- Merkle proofs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*range(1, 18), 31, 32, 33, 63, 64, 65])
def test_inclusion_of_every_entry_against_the_reference(size):
    entries = [b"%d" % number for number in range(size)]
    root = reference.tree_hash(entries)
    for index in range(size):
        leaf, proof = hashlib.sha256(b"\0" + entries[index]).digest(), reference.path(index, entries)
        verify.verify_inclusion(index, size, leaf, proof, root)
        wrong = [(index, size, leaf, [*proof, root], root), (index, size, b"\1" * 32, proof, root),
                 (size, size, leaf, proof, root), (-1, size, leaf, proof, root), (index, size, leaf[1:], proof, root)]  # fmt: skip
        wrong += (
            [(index, size, leaf, proof[:-1], root), (index, size, leaf, [b"\1" * 32, *proof[1:]], root)]
            if proof
            else []
        )
        wrong += [(index ^ 1, size, leaf, proof, root)] if size > 1 else []
        for arguments in wrong:
            with pytest.raises(verify.VerificationError):
                verify.verify_inclusion(*arguments)


@pytest.mark.parametrize("size", [*range(18), 31, 32, 33])
def test_consistency_of_every_prefix_against_the_reference(size):
    entries = [b"%d" % number for number in range(size)]
    new_root = reference.tree_hash(entries)
    for old in range(size + 1):
        old_root, proof = reference.tree_hash(entries[:old]), growth(old, entries)
        verify.verify_consistency(old, size, old_root, new_root, proof)
        wrong = [(old, size, b"\1" * 32, new_root, proof), (old, size, old_root, new_root, [*proof, old_root]),
                 (size + 1, size, old_root, new_root, proof)]  # fmt: skip
        wrong += [(old, size, old_root, b"\1" * 32, proof)] if old or not size else []
        wrong += [(old, size, old_root, new_root, proof[:-1])] if proof else []
        for arguments in wrong:
            with pytest.raises(verify.VerificationError):
                verify.verify_consistency(*arguments)


@pytest.mark.skipif(not VECTORS.exists(), reason="the public proof vectors are not beside this checkout")
def test_public_inclusion_vectors():
    files = sorted(VECTORS.rglob("*.json"))
    assert files
    for path in files:
        vector = json.loads(path.read_text())
        decode = base64.b64decode
        arguments = (vector["leafIdx"], vector["treeSize"], decode(vector["leafHash"]),
                     [decode(each) for each in vector["proof"] or []], decode(vector["root"]))  # fmt: skip
        if vector["wantErr"]:
            with pytest.raises(verify.VerificationError):
                verify.verify_inclusion(*arguments)
        else:
            verify.verify_inclusion(*arguments)


# --- Commands --------------------------------------------------------------------------------------------------------


def test_checkpoint_of_the_specification(run, capsys):
    """The key and note that c2sp.org/signed-note prints; its text is no checkpoint, which is the only complaint."""
    note = (
        "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXs"
        "YjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    code, said = run("checkpoint", note.encode(), vkey=vkey)
    assert (code, "three lines" in said) == (2, True)
    code, said = run("checkpoint", note.replace("example m", "Example m").encode(), vkey=vkey)
    assert (code, "does not verify" in said) == (1, True)


def test_checkpoint(run, tmp_path):
    code, said = run("checkpoint", checkpoint_note(ENTRIES))
    assert code == 0
    assert said.startswith(f"VERIFIED: the log signed {ORIGIN}, 12 entries")
    (tmp_path / "vkey").write_text(vkey_of() + "\n")
    assert run("checkpoint", checkpoint_note(ENTRIES), vkey=f"@{tmp_path / 'vkey'}")[0] == 0
    (tmp_path / "vkey").write_text(vkey_of() + "\r\n")
    assert run("checkpoint", checkpoint_note(ENTRIES), vkey=f"@{tmp_path / 'vkey'}")[0] == 0
    for more in ("\n\n", "\r", " ", "\n\r\n"):
        (tmp_path / "vkey").write_bytes((vkey_of() + more).encode())
        expected = 0 if more == "\r" else 2
        assert run("checkpoint", checkpoint_note(ENTRIES), vkey=f"@{tmp_path / 'vkey'}")[0] == expected, more


def test_a_file_without_its_sign_is_asked_about(run, tmp_path):
    (tmp_path / "log.vkey").write_text(vkey_of())
    code, said = run("checkpoint", checkpoint_note(ENTRIES), vkey=str(tmp_path / "log.vkey"))
    assert (code, f"did you mean @{tmp_path / 'log.vkey'}?" in said) == (2, True)
    code, said = run("checkpoint", checkpoint_note(ENTRIES), vkey=str(tmp_path / "no.vkey"))
    assert (code, "did you mean" in said) == (2, False)
    assert run("checkpoint", checkpoint_note(ENTRIES), vkey="x" * 100_000)[0] == 2


def test_an_origin_has_at_most_255_bytes(run):
    """C2SP cosignatures of type 0x06 have one byte for its length."""
    for origin, expected in (("x" * 255, 0), ("é" * 127 + "x", 0), ("x" * 256, 2), ("é" * 128, 2)):
        note = checkpoint_note(ENTRIES, origin=origin)
        assert run("checkpoint", note, vkey=vkey_of(origin=origin))[0] == expected, origin
        witnessed = checkpoint_note(ENTRIES) + f"— {origin} {b64(bytes(76))}\n".encode()
        assert run("checkpoint", witnessed)[0] == expected, origin


def note_with(text=None, tail=None):
    note = checkpoint_note(ENTRIES).decode()
    body, _, signatures = note.rpartition("\n\n")
    return ((body + "\n" if text is None else text) + "\n" + (signatures if tail is None else tail)).encode()


EMPTY = b64(hashlib.sha256().digest())
BAD_NOTES = {
    "no signature": (note_with(tail=""), 2),
    "no newline at the end": (checkpoint_note(ENTRIES)[:-1], 2),
    "no text": (b"\n" + checkpoint_note(ENTRIES).rpartition(b"\n\n")[2], 2),
    "not UTF-8": (checkpoint_note(ENTRIES).replace(b"example", b"\xffxample"), 2),
    "control character": (checkpoint_note(ENTRIES).replace(b"example", b"\x01xample"), 2),
    "signature without dash": (note_with(tail="example.com/x AAAAAAAA\n"), 2),
    "signature of a key ID only": (note_with(tail=f"— {ORIGIN} AAAAAA==\n"), 2),
    "too many signatures": (note_with(tail=note_with().decode().rpartition("\n\n")[2] * 101), 2),
    "another key": (checkpoint_note(ENTRIES, key=Ed25519PrivateKey.generate()), 1),
    "another origin": (checkpoint_note(ENTRIES, origin="example.com/other"), 1),
    "another origin signed by the key": (sign(f"other\n0\n{EMPTY}\n"), 1),
    "four lines": (sign(f"{ORIGIN}\n0\n{EMPTY}\nmore\n"), 2),
    "size with a leading zero": (sign(f"{ORIGIN}\n012\n{EMPTY}\n"), 2),
    "size with a sign": (sign(f"{ORIGIN}\n+12\n{EMPTY}\n"), 2),
    "size in other digits": (sign(f"{ORIGIN}\n١٢\n{EMPTY}\n"), 2),
    "size beyond 2^63": (sign(f"{ORIGIN}\n{2**63}\n{EMPTY}\n"), 2),
    "root of 31 bytes": (sign(f"{ORIGIN}\n1\n{b64(bytes(31))}\n"), 2),
    "root with trailing bits": (sign(f"{ORIGIN}\n1\n{EMPTY[:-2]}V=\n"), 2),
    "root that is no base64": (sign(f"{ORIGIN}\n1\n{EMPTY[:-2]}*=\n"), 2),
    "empty tree with another root": (sign(f"{ORIGIN}\n0\n{b64(bytes(32))}\n"), 1),
    "longer than a megabyte": (b"x" * (1 << 20) + b"x", 2),
}


@pytest.mark.parametrize("defect", BAD_NOTES)
def test_bad_checkpoints(run, defect):
    note, expected = BAD_NOTES[defect]
    code, said = run("checkpoint", note)
    assert code == expected, said
    assert said.startswith({1: "FAILED: ", 2: "MALFORMED: "}[expected])


def test_signatures_by_unknown_keys_are_ignored(run):
    other = note_with(text="", tail="").decode()
    unknown = f"— witness.example {b64(b'abcd' + bytes(72))}\n— {ORIGIN} {b64(b'abcd' + bytes(64))}\n"
    assert run("checkpoint", checkpoint_note(ENTRIES) + unknown.encode() + other.strip().encode())[0] == 0


@pytest.mark.parametrize(
    "vkey",
    ["", "x", "a+b+c", "a b+00000000+AAAA", vkey_of()[:-4] + "AAAA", vkey_of().replace("+", "+0", 1), "x" + vkey_of(),
     ORIGIN + "+" + hashlib.sha256(ORIGIN.encode() + b"\n" + bytes(33)).hexdigest()[:8] + "+" + b64(bytes(33)),
     "\udcff+00000000+AAAA",
     "@/nowhere/at/all"],
)  # fmt: skip
def test_bad_keys(run, vkey):
    code, said = run("checkpoint", checkpoint_note(ENTRIES), vkey=vkey)
    assert code == 2
    assert said.startswith("MALFORMED: ")


def test_proof_with_all_its_data(run):
    code, said = run("proof", "--event", event(5)[1], proof_file(5))
    assert code == 0
    assert "user-5é" in said
    assert "P-5" in said
    assert said.rstrip().endswith(f"VERIFIED: entry 5 is in the log {ORIGIN}, in its signed tree of 12 entries")


def without(*groups):
    content = json.loads(event(5)[1])
    shown = {group: each for group, each in content["disclosures"].items() if group not in groups}
    return event_file(content["entry"], shown)


def test_proof_without_personal_data(run):
    code, said = run("proof", "--event", without("actor", "resource"), proof_file(5))
    assert code == 0
    assert said.count("not disclosed, so not checked") == 2
    code, said = run("proof", "--require-disclosures", "--event", without("actor"), proof_file(5))
    assert (code, "\nINCOMPLETE: " in said, "VERIFIED" in said) == (3, True, False)
    assert run("proof", "--require-disclosures", "--event", event(5)[1], proof_file(5))[0] == 0


def test_verdict_for_programs(run):
    code, said = run("proof", "--json", "--event", event(5)[1], proof_file(5))
    verdict = json.loads(said)
    assert (code, verdict["verdict"], verdict["exitCode"]) == (0, "verified", 0)
    assert verdict["checked"] == {"entries": 1, "disclosures": 2}
    code, said = run("proof", "--json", "--event", event(6)[1], proof_file(5))
    assert (code, json.loads(said)["verdict"]) == (1, "failed")


def disclosing(group, body, entry=None):
    """Proof and event file of entry 5, which commits to this body and no other that is shown."""
    salt, body, commitment = disclosure(1, body)
    entry = json.loads(event(5)[0]) if entry is None else json.loads(canonical(entry))
    kind, _, number = group.partition("/")
    if number:
        entry["commitments"][kind][int(number)] = b64url(commitment)
    else:
        entry["commitments"][kind] = b64url(commitment)
    entry = canonical(entry)
    file = event_file(entry, {group: {"body": body, "salt": b64url(salt)}})
    return proof_file(5, [*ENTRIES[:5], entry.encode()]), file


def test_what_a_producer_wrote_does_not_command_the_terminal(run):
    user = "\u009b31mred\u202e\u2066\u2028\x1b[2J\x7f"
    proof, file = disclosing("actor", canonical({"appendedBy": "local", "userId": user}))
    code, said = run("proof", "--event", file, proof)
    assert code == 0
    assert not {*user} & {*said} - {*"31mred[2J"}
    for escape in ("\\u009b", "\\u202e", "\\u2066", "\\u2028", "\\u001b", "\\u007f"):
        assert escape in said


ACTOR = {"appendedBy": "local", "userId": "user-5"}
RESOURCE = {"resource": {"id": "P-5", "type": "patient_record"}}
RELATED = {"id": "P-9", "type": "person"}
DETAILS = {
    "fieldsAccessed": ["a"],
    "newValues": {"a": 1},
    "oldValues": {},
    "purpose": "TREAT",
    "query": "q",
    "reason": "r",
    "recipient": {"address": "Main Street 1", "name": "A. Court"},
}
MORE = {"address": "host:80", "email": "a@b", "ipAddress": "::1", "role": "r", "userAgent": "u"}
BODIES = {
    "an actor": ("actor", ACTOR, 0),
    "all that an actor can have": ("actor", {**ACTOR, **MORE, "type": "service"}, 0),
    "a system": ("actor", {**ACTOR, "type": "system"}, 0),
    "an actor who is unknown": ("actor", {"appendedBy": "local", "type": "unknown"}, 0),
    "an actor who is unknown, with a name": ("actor", {**ACTOR, "type": "unknown"}, 2),
    "an actor without a name": ("actor", {"appendedBy": "local"}, 2),
    "a service without a name": ("actor", {"appendedBy": "local", "type": "service"}, 2),
    "an actor with an empty name": ("actor", {**ACTOR, "userId": ""}, 2),
    "a type that is not stored": ("actor", {**ACTOR, "type": "user"}, 2),
    "a type that there is not": ("actor", {**ACTOR, "type": "robot"}, 2),
    "appended by nobody": ("actor", {"userId": "user-5"}, 2),
    "a member that no actor has": ("actor", {**ACTOR, "x": "y"}, 2),
    "userId that is no text": ("actor", {**ACTOR, "userId": 5}, 2),
    "userId that is null": ("actor", {**ACTOR, "userId": None}, 2),
    "all that a resource can have": (
        "resource", {"details": DETAILS, "metadata": {"n": [1, None, True]}, "resource": {**RESOURCE["resource"], "name": "n"}}, 0,
    ),
    "a number as RFC 8785 writes it": ("resource", canonical({**RESOURCE, "metadata": {"n": 7}}).replace("7}", "1e-7}"), 0),
    "a number as 2^53 is stored": ("resource", canonical({**RESOURCE, "metadata": {"n": 2**53}}), 0),
    "a number that is never stored": ("resource", canonical({**RESOURCE, "metadata": {"n": -(10**24)}}), 2),
    "no number": ("resource", canonical({**RESOURCE, "metadata": {"n": 7}}).replace("7}", "NaN}"), 2),
    "an endless number": ("resource", canonical({**RESOURCE, "metadata": {"n": 7}}).replace("7}", "1e999}"), 2),
    "an endless number with a sign": ("resource", canonical({**RESOURCE, "metadata": {"n": 7}}).replace("7}", "-1e999}"), 2),
    "half a surrogate pair": ("resource", canonical({**RESOURCE, "metadata": {"n": 7}}).replace("7}", '"\\ud800"}'), 2),
    "32 levels": ("resource", canonical({**RESOURCE, "metadata": {"n": 7}}).replace("7}", "[" * 30 + "]" * 30 + "}"), 0),
    "33 levels": ("resource", canonical({**RESOURCE, "metadata": {"n": 7}}).replace("7}", "[" * 31 + "]" * 31 + "}"), 2),
    "resource of another type": ("resource", {"resource": {"id": "P-5", "type": "invoice"}}, 1),
    "resource of a type that there is not": ("resource", {"resource": {"id": "P-5", "type": "a b"}}, 2),
    "resource without a type": ("resource", {"resource": {"id": "P-5"}}, 2),
    "resource without an id": ("resource", {"resource": {"type": "patient_record"}}, 2),
    "a resource with a role": ("resource", {"resource": {**RESOURCE["resource"], "role": "r"}}, 2),
    "a resource that is a text": ("resource", {"resource": "P-5"}, 2),
    "no resource": ("resource", ACTOR, 2),
    "a member that no event has there": ("resource", {**RESOURCE, "x": {}}, 2),
    "the outcome in private": ("resource", {**RESOURCE, "outcome": "failure"}, 2),
    "details that are a text": ("resource", {**RESOURCE, "details": "x"}, 2),
    "details with a member more": ("resource", {**RESOURCE, "details": {"x": "y"}}, 2),
    "metadata that is a list": ("resource", {**RESOURCE, "metadata": []}, 2),
    "a related resource": ("related/1", RELATED, 0),
    "all that a related resource can have": ("related/1", {**RELATED, "name": "n", "role": "patient"}, 0),
    "a related resource with a member more": ("related/1", {**RELATED, "details": {}}, 2),
    "a related resource as the main one has it": ("related/1", {"resource": RELATED}, 2),
    "a related resource without an id": ("related/1", {"type": "person"}, 2),
    "a related resource of a type that there is not": ("related/1", {**RELATED, "type": "a\0b"}, 2),
    "not JSON": ("actor", "user-5", 2),
    "not an object": ("actor", '["user-5"]', 2),
    "userId twice": ("actor", '{"appendedBy":"local","userId":"a","userId":"b"}', 2),
    "deeply nested": ("actor", "[" * 100_000, 2),
}  # fmt: skip


@pytest.mark.parametrize("defect", BODIES)
def test_a_disclosed_body_says_what_the_entry_says(run, defect):
    """The commitment alone would let a hostile log commit to one thing in clear and another in private."""
    group, body, expected = BODIES[defect]
    proof, file = disclosing(group, body if isinstance(body, str) else canonical(body), FULL_ENTRY)
    code, said = run("proof", "--event", file, proof)
    assert code == expected, said


def test_each_group_of_an_event_is_proved_by_itself(run):
    related = [{"id": f"P-{number}", "type": "person"} for number in range(12)]
    entry, file = event(5, related=related)
    entries, groups = [*ENTRIES[:5], entry], ["actor", "resource", *(f"related/{number}" for number in range(12))]
    code, said = run("proof", "--require-disclosures", "--event", file, proof_file(5, entries))
    shown = [line.split()[0] for line in said.splitlines() if line.split()[0] in groups]
    assert (code, shown) == (0, groups)
    content = json.loads(file)
    for erased in groups:
        shown = {group: content["disclosures"][group] for group in groups if group != erased}
        arguments = ("--event", event_file(content["entry"], shown), proof_file(5, entries))
        assert run("proof", *arguments)[1].count("not disclosed, so not checked") == 1
        assert run("proof", "--require-disclosures", *arguments)[0] == 3
        other = next(group for group in groups if group != erased)
        swapped = dict.fromkeys([erased], content["disclosures"][other])
        assert run("proof", "--event", event_file(content["entry"], swapped), proof_file(5, entries))[0] == 1


def test_a_terminal_that_cannot_show_a_character_is_no_failure(tmp_path):
    (tmp_path / "proof").write_bytes(proof_file(5))
    (tmp_path / "event").write_bytes(event(5)[1])
    command = [
        sys.executable,
        "-S",
        VERIFIER,
        "proof",
        "--vkey",
        vkey_of(),
        "--event",
        tmp_path / "event",
        tmp_path / "proof",
    ]
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "VERIFIED" in done.stdout


def test_an_origin_may_have_any_character(run):
    origin = "example.com/\ufffd"
    assert run("checkpoint", checkpoint_note(ENTRIES, origin=origin), vkey=vkey_of(origin=origin))[0] == 0


def proved_entry(entry):
    """Return proof and event file for a log whose entry 5 is `entry`."""
    entries = [*ENTRIES[:5], entry]
    return proof_file(5, entries), event_file(entry.decode(), {})


@pytest.mark.parametrize("defect", BAD_ENTRIES)
def test_bad_entries_are_malformed_though_in_the_tree(run, defect):
    if defect in ("deeply nested", "not JSON", "unknown, with half a surrogate pair", "unknown, too long"):
        with pytest.raises(verify.MalformedError):
            verify.parse_entry(BAD_ENTRIES[defect])
    proof, file = proved_entry(BAD_ENTRIES[defect])
    code, said = run("proof", "--event", file, proof)
    assert code == 2, said


@pytest.mark.parametrize("kind", GOOD_STRANGERS)
def test_entries_of_types_that_come_later_are_in_the_tree(run, kind):
    proof, file = proved_entry(GOOD_STRANGERS[kind])
    code, said = run("proof", "--event", file, proof)
    assert (code, "a type this version does not know" in said) == (3, True), said
    assert run("proof", "--event", file, proof_file(6, [*ENTRIES[:5], GOOD_STRANGERS[kind]] * 2))[0] == 1


def test_a_group_of_an_entry_of_a_later_type_is_what_it_commits_to(run):
    salt, body, commitment = disclosure(1, canonical({"appendedBy": "log", "userId": "eve"}))
    entry = stranger(commitments={"actor": b64url(commitment)})
    for text, expected in ((body, 3), (body.replace("eve", "eva"), 1)):
        file = event_file(entry.decode(), {"actor": {"body": text, "salt": b64url(salt)}})
        code, said = run("proof", "--event", file, proof_file(5, [*ENTRIES[:5], entry]))
        assert (code, "eve" in said) == (expected, expected == 3), said


MEMBERS = {
    "source": {"source": {"id": "a", "seq": 1}},
    "operation": {"operation": "2nd/Get_Object-a.b:c"},
    "both": {"operation": "x" * 128, "source": {"id": "a", "seq": 2**53 - 1}},
    "nine digits": {"timestamp": "2026-03-17T09:59:59.000000001Z"},
    "related": {"related": [{"id": f"P-{number}", "type": "person"} for number in range(32)]},
    "all": {"related": [{"id": "P-9", "type": "a"}], "operation": "o", "source": {"id": "a", "seq": 1}},
}


@pytest.mark.parametrize("name", MEMBERS)
def test_members_that_are_optional(run, name):
    entry, file = event(5, **MEMBERS[name])
    code, said = run("proof", "--event", file, proof_file(5, [*ENTRIES[:5], entry]))
    assert code == 0, said
    assert MEMBERS[name].get("operation", "") in said


@pytest.mark.parametrize("defect", [*BAD_FILES, *BAD_DISCLOSURES])
def test_bad_event_files(run, defect):
    file, expected = (BAD_FILES | BAD_DISCLOSURES)[defect]
    code, said = run("proof", "--event", file, proof_file(5))
    assert code == expected, said


GOOD_PROOF = proof_file(5)
BAD_PROOFS = {
    "no header": (GOOD_PROOF.partition(b"\n")[2], 2),
    "nothing behind the header": (b"c2sp.org/tlog-proof@v1\n\n" + checkpoint_note(ENTRIES), 2),
    "no checkpoint": (GOOD_PROOF.partition(b"\n\n")[0] + b"\n", 2),
    "index with a leading zero": (GOOD_PROOF.replace(b"index 5", b"index 05"), 2),
    "another index": (GOOD_PROOF.replace(b"index 5", b"index 6"), 1),
    "index beyond the tree": (GOOD_PROOF.replace(b"index 5", b"index 12"), 1),
    "bad extra line": (GOOD_PROOF.replace(b"index 5", b"extra *\nindex 5"), 2),
    "hash of 31 bytes": (GOOD_PROOF.replace(b"index 5\n", b"index 5\n" + b64(bytes(31)).encode() + b"\n"), 2),
    "a hash too many": (GOOD_PROOF.replace(b"index 5\n", b"index 5\n" + b64(bytes(32)).encode() + b"\n"), 1),
    "signed by another key": (proof_file(5, key=Ed25519PrivateKey.generate()), 1),
    "root of another tree": (proof_file(5, root=bytes(32)), 1),
    "smaller tree": (proof_file(5, size=7), 1),
}


@pytest.mark.parametrize("defect", BAD_PROOFS)
def test_bad_proofs(run, defect):
    file, expected = BAD_PROOFS[defect]
    code, said = run("proof", "--event", event(5)[1], file)
    assert code == expected, said


def test_extra_data_is_allowed_and_proves_nothing(run):
    assert run("proof", "--event", event(5)[1], proof_file(5, extra="extra YWJj\n"))[0] == 0


def test_consistency(run):
    for old in range(len(ENTRIES) + 1):
        code, said = run("consistency", "--old", checkpoint_note(ENTRIES, old), growth_file(old))
        assert code == 0, said
    assert "grew from 12 to 12 entries" in said
    code, said = run("consistency", "--old", checkpoint_note(ENTRIES, 4), growth_file(5))
    assert (code, "the proof starts at size 5" in said) == (1, True)
    other = [*ENTRIES[:3], b"other", *ENTRIES[4:]]
    assert run("consistency", "--old", checkpoint_note(other, 5), growth_file(5))[0] == 1


@pytest.mark.parametrize("flip", [1, 0x80, 0x20])
def test_no_byte_of_proof_or_event_can_be_changed(run, flip):
    """Every single byte of a tlog-proof (its checkpoint included) and of an event file counts."""
    proof, file = proof_file(5), event(5)[1]
    for position in range(len(proof)):
        wrong = bytes([*proof[:position], proof[position] ^ flip, *proof[position + 1 :]])
        assert run("proof", "--event", file, wrong)[0] in (1, 2), position
    for position in range(len(file)):
        wrong = bytes([*file[:position], file[position] ^ flip, *file[position + 1 :]])
        assert run("proof", "--event", wrong, proof)[0] in (1, 2), position


def test_no_byte_of_a_consistency_proof_can_be_changed(run):
    old, proof = checkpoint_note(ENTRIES, 5), growth_file(5)
    for position in range(len(proof)):
        wrong = bytes([*proof[:position], proof[position] ^ 1, *proof[position + 1 :]])
        assert run("consistency", "--old", old, wrong)[0] in (1, 2), position
    for position in range(len(old)):
        wrong = bytes([*old[:position], old[position] ^ 1, *old[position + 1 :]])
        assert run("consistency", "--old", wrong, proof)[0] in (1, 2), position


# --- A whole log -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_exported_log(run, tmp_path, size):
    entries = many(size)
    directory = export(tmp_path / "log", entries)
    code, said = run("log", "--old", checkpoint_note(entries, size // 2), directory)
    assert code == 0, said
    assert "recomputed" in said
    assert f"{size:,} entries" in said


def test_two_levels_of_full_tiles(run, tmp_path, monkeypatch):
    """With tiles of 4 hashes the tree of 100 entries has the levels that real ones reach at 4 billion."""
    monkeypatch.setattr(verify, "WIDTH", 4)
    entries = many(100)
    levels, hashes = {}, [hashlib.sha256(b"\0" + each).digest() for each in entries]
    level = 0
    while hashes:
        for start in range(0, len(hashes), 4):
            chunk = hashes[start : start + 4]
            levels[verify.tile_path(str(level), start // 4, len(chunk))] = b"".join(chunk)
        full = len(hashes) // 4 * 4
        hashes = [verify.fold(hashes[start : start + 4]) for start in range(0, full, 4)]
        level += 1
    for start in range(0, 100, 4):
        bundle = b"".join(len(each).to_bytes(2, "big") + each for each in entries[start : start + 4])
        levels[verify.tile_path("entries", start // 4, 4)] = bundle
    levels["checkpoint"] = checkpoint_note(entries)
    for name, data in levels.items():
        (tmp_path / "log" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "log" / name).write_bytes(data)
    code, said = run("log", tmp_path / "log")
    assert code == 0, said
    assert "no file chain" in said


def flip(path, position=40):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def rewrite(directory, number, entry):
    """Put another entry into the bundle of entry `number` < 256 of a log of 600."""
    path = directory / "tile/entries/000"
    entries = verify.parse_bundle(path.read_bytes(), 256)
    entries[number] = entry
    path.write_bytes(b"".join(len(each).to_bytes(2, "big") + each for each in entries))


LOG_600 = many(600)
EARLY = canonical({**json.loads(LOG_600[7]), "loggedAt": "2020-01-01T00:00:00.000000Z"}).encode()
DAMAGES = {
    "leaf hash": (lambda d: flip(d / "tile/0/001"), 1, "tile/0/001: hash 1 does not follow from the entries from 257"),
    "partial tile": (lambda d: flip(d / "tile/0/002.p/88", 0), 1, "tile/0/002.p/88: hash 0"),
    "upper tile": (lambda d: flip(d / "tile/1/000.p/2"), 1, "tile/1/000.p/2: hash 1 does not follow from the entries from 256"),
    "tile too long": (lambda d: (d / "tile/0/000").write_bytes((d / "tile/0/000").read_bytes() + b"x"), 1, "hash 256"),
    "entry": (lambda d: rewrite(d, 5, event(599)[0]), 1, "hash 5 does not follow"),
    "entry that is none": (lambda d: rewrite(d, 5, b"{}"), 1, "entry 5: an entry has a type"),
    "entry with the key of another action": (
        lambda d: rewrite(d, 5, event(5)[0].replace(b'"action":"read"', b'"action":"export"')), 1, "entry 5: a key is not that",
    ),
    "time going back": (lambda d: rewrite(d, 7, EARLY), 1, "entry 7: it is logged earlier"),
    "bundle cut": (lambda d: (d / "tile/entries/001").write_bytes(b"\0"), 1, "tile/entries/001: its lengths"),
    "bundle with more": (lambda d: (d / "tile/entries/000").write_bytes((d / "tile/entries/000").read_bytes() + b"x"), 1, "its lengths"),
    "chain": (lambda d: flip(d / "chain", 10), 1, "chain: the recomputed hash chain ends elsewhere"),
    "tile missing": (lambda d: (d / "tile/0/001").unlink(), 3, "not there to be checked: tile/0/001"),
    "bundle missing": (lambda d: (d / "tile/entries/001").unlink(), 3, "tile/entries/001"),
    "checkpoint missing": (lambda d: (d / "checkpoint").unlink(), 2, "No such file"),
    "checkpoint of other entries": (lambda d: (d / "checkpoint").write_bytes(checkpoint_note(LOG_600, root=bytes(32))), 1,
                                    "the first 600 entries do not lead to the root hash"),
}  # fmt: skip


@pytest.fixture(scope="module")
def exported_600(tmp_path_factory):
    return export(tmp_path_factory.mktemp("exported") / "log", LOG_600)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_export(run, tmp_path, exported_600, damage):
    action, expected, message = DAMAGES[damage]
    directory = shutil.copytree(exported_600, tmp_path / "log")
    action(directory)
    code, said = run("log", directory)
    assert code == expected, said
    assert message in said


def index_epoch(size, number):
    """The entry of an index epoch, at the place of event `number`."""
    logged_at = f"2026-03-17T10:00:{number:02d}.000000Z"
    members = {"ends": [size], "loggedAt": logged_at, "size": size, "table": "A" * 43, "type": "index", "v": 1}
    return canonical(members).encode()


def log_of(run, directory, entries):
    return run("log", export(directory, entries))


def test_a_log_has_one_origin_and_says_its_id(run, tmp_path):
    entries = many(10)
    code, said = log_of(run, tmp_path / "log", entries)
    log_id = b64url(hashlib.sha256(b"\0" + entries[0]).digest())
    assert (code, f"log ID    {log_id}\n" in said) == (0, True)
    other = entries[0].replace(ORIGIN.encode(), b"example.com/other")
    for number, first in enumerate((other, event(0)[0], stranger(), index_epoch(1, 0))):
        code, said = log_of(run, tmp_path / f"other-{number}", [first, *entries[1:]])
        assert (code, "entry 0: it does not commit to bucket keys of this origin" in said) == (1, True), said


def test_an_epoch_ends_before_its_own_entry(run, tmp_path):
    for size, expected in ((5, 0), (6, 1)):
        code, said = log_of(run, tmp_path / f"log-{size}", [*many(10)[:5], index_epoch(size, 5), *many(10)[6:]])
        assert (code, "entry 5: its index epoch claims" in said) == (expected, bool(expected)), said


def test_entries_of_later_types_are_counted(run, tmp_path):
    later = stranger(loggedAt="2026-03-17T10:00:05.000000Z")
    code, said = log_of(run, tmp_path / "log", [*many(10)[:5], later, later, *many(10)[7:]])
    assert (code, "2 entries of a type this version does not know" in said) == (0, True), said


def test_tile_paths_of_the_specification():
    assert verify.tile_path("0", 1234067, 256) == "tile/0/x001/x234/067"
    assert verify.tile_path("entries", 999, 7) == "tile/entries/999.p/7"
    assert verify.tile_path("1", 1000, 255) == "tile/1/x001/000.p/255"


def test_older_checkpoints_are_held_against_the_export(run, exported_600):
    other = [*LOG_600[:3], b"other", *LOG_600[4:]]
    code, said = run("log", "--old", checkpoint_note(other, 300), exported_600)
    assert (code, "the first 300 entries do not lead" in said) == (1, True)
    code, said = run("log", "--old", checkpoint_note(many(601)), exported_600)
    assert (code, "entries are missing from the export" in said) == (1, True)


def test_a_log_without_entries_is_never_verified(run, tmp_path):
    code, said = run("log", export(tmp_path / "log", []))
    assert (code, "any entry" in said) == (3, True)


def test_random_damage_of_an_export_is_always_noticed(run, tmp_path, exported_600):
    rng = random.Random(1)
    directory = shutil.copytree(exported_600, tmp_path / "log")
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    for _ in range(40):
        path = rng.choice(files)
        original = path.read_bytes()
        flip(path, rng.randrange(len(original)))
        assert run("log", directory)[0] in (1, 2), path
        path.write_bytes(original)
    assert run("log", directory)[0] == 0


# --- The file itself -------------------------------------------------------------------------------------------------


def test_it_runs_alone(tmp_path):
    (tmp_path / "proof").write_bytes(proof_file(5))
    (tmp_path / "event").write_bytes(event(5)[1])
    done = verify_offline("proof", "--vkey", vkey_of(), "--event", tmp_path / "event", tmp_path / "proof")
    assert done.returncode == 0, done.stderr
    assert verify_offline("proof").returncode == 2
    assert verify_offline().returncode == 2
    assert "Exit codes" in verify_offline("--help").stdout


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("output, expected", [("/dev/null", 0), ("/dev/full", 2)])
def test_help_that_cannot_be_written_is_no_traceback(environment, output, expected):
    for arguments in (["--help"], ["evidence", "--help"]):
        with Path(output).open("w") as file:
            command = [sys.executable, "-S", str(VERIFIER), *arguments]
            done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr, "Exception" in done.stderr) == (expected, False, False)
    assert ("cannot write" in done.stderr) == bool(expected)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["evidence", "--help"], ["evidence", "--ask", "userId=é", "\u202e"]], ids=str
)
def test_a_terminal_of_an_odd_locale_is_no_traceback(arguments):
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-S", str(VERIFIER), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0 if "--help" in arguments else 2, False)


def test_what_is_no_name_of_a_file_is_malformed(run):
    assert run("checkpoint", "a\0b")[0] == 2
    assert run("checkpoint", checkpoint_note(ENTRIES), vkey="a\0b")[0] == 2
    assert run("evidence", "--ask", "action=read", "a\0b")[0] == 2


def test_damaged_files_of_all_kinds_are_no_traceback(run, tmp_path, capsys):
    """Files of one kind where another is asked for, cut, empty, and no files at all."""
    bundle = bundles.file_of(evidence.BUNDLE)
    whole = [
        checkpoint_note(ENTRIES),
        proof_file(5),
        event(5)[1],
        growth_file(5),
        bundle,
        b"",
        b"{}\n",
        b"\xff" * 9,
        b'{"type":[]}\n',
    ]
    whole += [
        bundle.replace(b'"mode":"answer"', b'"mode":"part","part":[1,9223372036854775807]'),
        bundle[: len(bundle) // 2],
    ]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "000001.json").mkdir()
    for data in [*whole, tmp_path, tmp_path / "set", tmp_path / "nothing", "\udcff", "x" * 5000]:
        for other in (*whole[:5], b"", tmp_path):
            for arguments in (
                ["checkpoint", data], ["proof", "--event", other, data], ["consistency", "--old", other, data],
                ["log", "--old", other, data], ["evidence", "--ask", "action=read", data], ["fraud", data],
                ["fraud", "--proof", other, "--event", data, bundle], ["fraud", "--proof", data, "--event", other, bundle],
            ):  # fmt: skip
                code, said = run(*arguments)
                assert code in (0, 1, 2, 3), arguments
                assert said.splitlines()[-1].startswith(("VERIFIED", "FAILED", "MALFORMED", "INCOMPLETE")), said


def test_it_ends_with_its_exit_code(tmp_path, monkeypatch):
    (tmp_path / "note").write_bytes(checkpoint_note(ENTRIES)[:-1])
    monkeypatch.setattr("sys.argv", ["verify.py", "checkpoint", "--vkey", vkey_of(), str(tmp_path / "note")])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(VERIFIER), run_name="__main__")
    assert caught.value.code == 2


# --- Evidence bundles (made without tlog's code: tools/scenarios/bundles.py) ---------------------------------------------------


@pytest.mark.parametrize("name", evidence.QUESTIONS)
@pytest.mark.parametrize("disclose", [False, True])
def test_evidence_is_verified(tmp_path, capsys, name, disclose):
    question, log = evidence.QUESTIONS[name], evidence.LOG
    expected = evidence.truth(log, question)
    met = {index for index, each in log.controls.items() if name in ("control", "control about", "met by control")}
    bundle = log.bundle(question, disclose=disclose)
    code, verdict = check_evidence(tmp_path, capsys, bundle, question)
    assert (code, verdict["verdict"], len(verdict["problems"])) == ((3, "incomplete", 1) if met else (0, "verified", 0))
    assert [each["index"] for each in verdict["answers"]] == expected[::-1]
    groups = sum(len(log.events[index].disclosures) for index in expected if index in log.events)
    assert verdict["checked"]["disclosures"] == groups * disclose
    assert verdict["names"] == ("all" if disclose else "none")
    if not met:
        what = "no entry of the type outcome" if name == "no control" else "no event"
        assert verdict["summary"].startswith(f"{len(expected)} event" if expected else f"{what} answers")
    doubts = verdict["notProved"]
    assert ["names every event" in doubts[0], "carry the keys of their data" in doubts[1]] == [True, True]


@pytest.mark.parametrize("name", ["actor", "action", "nobody"])
def test_counts_are_verified(tmp_path, capsys, name):
    question = evidence.QUESTIONS[name]
    expected = sum(bundles.applies(event, question) for event in evidence.LOG.events.values())
    code, verdict = check_evidence(tmp_path, capsys, evidence.LOG.bundle(question, mode="count"), question, "--count")
    assert code == 0, verdict
    assert verdict["summary"].startswith(f"exactly {expected} events" if expected else "no event has been logged")
    assert any("shares the first 8 bytes" in line for line in verdict["notProved"])
    code, verdict = check_evidence(tmp_path, capsys, evidence.LOG.bundle(question, mode="count"), question)
    assert (code, verdict["verdict"], verdict["mode"], verdict["bundleMode"]) == (
        2,
        "other-question",
        "answer",
        "count",
    )


@pytest.mark.parametrize("start, end", [(0, 200), (10, 50), (64, 100), (70, 70), (5, 121)])
def test_windows_of_evidence_are_verified(tmp_path, capsys, start, end):
    question = evidence.windowed(start, end)
    question |= {name: question[name][:19] + "Z" for name in ("loggedFrom", "loggedTo")}
    window = (start, min(end, evidence.LOG.size))
    bundle = evidence.LOG.bundle(question, window=window)
    code, verdict = check_evidence(tmp_path, capsys, bundle, question)
    assert code == 0, verdict
    assert len(verdict["notSeen"]) == 3
    for spoiled in ((start + 1, window[1]), (start, window[1] - 1)):
        if spoiled[0] <= spoiled[1] and start < window[1] and (spoiled[1] == window[1] or end < 121):
            assert check_evidence(tmp_path, capsys, evidence.LOG.bundle(question, window=spoiled), question)[0] == 1


@pytest.mark.parametrize("name", evidence.WRONG)
def test_wrong_evidence_is_refused(tmp_path, capsys, name):
    code, verdict = check_evidence(tmp_path, capsys, evidence.WRONG[name], evidence.ASKED)
    assert (code, verdict["summary"]) in ((1, ""), (2, ""))


def test_more_wrong_evidence_is_refused(tmp_path, capsys):
    stray, nobody = evidence.with_stray_entry()
    assert "does not need" in check_evidence(tmp_path, capsys, stray, nobody)[1]["problems"][0]
    bundle = evidence.LOG.bundle(evidence.QUESTIONS["action"]) | {"question": {"outcome": "success"}}
    assert check_evidence(tmp_path, capsys, bundle, {"outcome": "success"})[0] == 2
    for data in (b"", b"{}\n", b"[]\n", bundles.file_of(evidence.BUNDLE)[:-1], b'{"type":1,"v":1}\n'):
        assert check_evidence(tmp_path, capsys, data, evidence.ASKED)[0] == 2
    for change in ({"start": True}, {"start": -1}, {"v": 2}, {"hashes": 5}, {"checkpoint": 5}, {"entries": 5}):
        assert check_evidence(tmp_path, capsys, evidence.BUNDLE | change, evidence.ASKED)[0] == 2


def test_the_question_is_the_callers(tmp_path, capsys):
    for other in ({"userId": "user-4"}, {**evidence.ASKED, "to": "2026-03-02T00:00:00Z"}, {"userId": "user-3"}):
        code, verdict = check_evidence(tmp_path, capsys, evidence.BUNDLE, other)
        assert (code, verdict["verdict"]) == (2, "other-question")
        assert (verdict["question"], verdict["bundleQuestion"]) == (other, evidence.ASKED)
        forged = evidence.BUNDLE | {"hashes": ""}
        assert check_evidence(tmp_path, capsys, forged, other)[0] == 1, "what is forged has failed"
    vkey = bundles.vkey()
    for wrong in (["--ask", "patient=x"], ["--ask", "userId"], ["--ask", "userId=x", "--from", "yesterday"]):
        assert verify.main(["evidence", "--vkey", vkey, *wrong, str(tmp_path / "bundle.json")]) == 2


def test_a_date_is_its_midnight(tmp_path, capsys):
    question = {"userId": "user-3", "from": "2026-03-01T00:00:00Z"}
    bundle = evidence.LOG.bundle(question)
    path = tmp_path / "bundle.json"
    path.write_bytes(bundles.file_of(bundle))
    options = ["--vkey", bundles.vkey(), "--ask", "userId=user-3", "--from", "2026-03-01"]
    assert verify.main(["evidence", *options, str(path)]) == 0
    assert "or before 2026-02-28T00:00:00Z" in capsys.readouterr().out
    first_day = {"userId": "user-3", "from": "0001-01-01T00:00:00Z"}
    assert check_evidence(tmp_path, capsys, evidence.LOG.bundle(first_day), first_day)[0] == 0


def test_random_changes_of_a_bundle_never_change_the_answer(tmp_path, capsys):
    """The full number is run with TLOG_TEST_CHANGES=10000."""
    rng = random.Random(11)
    cases = []
    for name, options in (("both", {"disclose": True}), ("nobody", {}), ("action", {"mode": "count"})):
        question = evidence.QUESTIONS[name]
        more = ["--count"] if options.get("mode") else []
        data = bundles.file_of(evidence.LOG.bundle(question, **options))
        assert check_evidence(tmp_path, capsys, data, question, *more)[0] == 0
        cases.append((data, question, more))
    for _ in range(int(os.environ.get("TLOG_TEST_CHANGES", "300"))):
        data, question, more = rng.choice(cases)
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        code, verdict = check_evidence(tmp_path, capsys, bytes(changed), question, *more)
        assert code in (1, 2), verdict


@pytest.mark.parametrize(
    "question", [{"userId": "user-0"}, {"resourceType": "record", "resourceId": "R:4"}, {"action": "update"}]
)
def test_an_omission_is_convicted(tmp_path, capsys, question):
    proof_and_event = evidence.LOG.event_proof(fraud.VICTIM)
    code, said = check_fraud(tmp_path, capsys, fraud.CHEAT.bundle(question), proof_and_event)
    assert code == 0
    assert f"FRAUD: the index epoch of 121 entries leaves out entry {fraud.VICTIM}" in said
    code, said = check_fraud(tmp_path, capsys, evidence.LOG.bundle(question), proof_and_event)
    assert code == 1
    assert "no fraud" in said


def test_a_false_epoch_is_named_by_its_size(tmp_path, capsys):
    cheat = fraud.SHORTER
    code, said = check_fraud(tmp_path, capsys, cheat.bundle({"userId": "user-0"}), cheat.event_proof(fraud.VICTIM))
    assert code == 0
    assert f"FRAUD: the index epoch of 115 entries leaves out entry {fraud.VICTIM}\n" in said


def test_what_convicts_nobody(tmp_path, capsys):
    bundle = fraud.CHEAT.bundle(evidence.windowed(0, 60), window=(0, 60))
    assert "nothing is proved" in check_fraud(tmp_path, capsys, bundle, evidence.LOG.event_proof(fraud.VICTIM))[1]
    honest = evidence.LOG.bundle({"userId": "user-1"})
    assert check_fraud(tmp_path, capsys, honest, evidence.LOG.event_proof(fraud.VICTIM))[0] == 1
    code, _ = check_fraud(tmp_path, capsys, fraud.CHEAT.bundle({"userId": "user-0"}), evidence.LOG.event_proof(0))
    assert code == 2


def test_an_index_that_points_elsewhere_is_refused(tmp_path, capsys):
    bundle = bundles.sample_log(spoil=evidence.with_stranger).bundle({"userId": "user-0"})
    code, verdict = check_evidence(tmp_path, capsys, bundle, {"userId": "user-0"})
    assert (code, "does not have the key" in verdict["problems"][0]) == (1, True)


def test_a_segment_without_postings_is_proved_empty(tmp_path, capsys):
    log = bundles.sample_log(ends=[1, 64, 121])
    question = {"userId": "user-3"}
    bundle = log.bundle(question)
    assert bundle["segments"][0] == {"hashes": "", "runs": []}
    assert check_evidence(tmp_path, capsys, bundle, question)[0] == 0
    bundle["segments"][0] = bundle["segments"][1]
    assert check_evidence(tmp_path, capsys, bundle, question)[0] == 1


def test_it_is_short_and_needs_only_the_standard_library():
    """Counted is every line, blank ones and comments too: all that checks stands above the mark, and what is below refuses nothing."""
    text = VERIFIER.read_text()
    checking, mark, showing = text.partition("\n# === Showing: ")
    assert mark
    assert len(checking.splitlines()) <= 1_500, "docs/adr/0022-the-verifier-may-grow.md"
    assert len(showing.splitlines()) <= 450, "docs/adr/0028-what-the-verifier-shows.md"
    assert ("require(" in checking, "require(" in showing, "Error(" in showing.replace("OSError(", "")) == (
        True,
        False,
        False,
    )
    for name in re.findall(r"^def (\w+)", showing, re.MULTILINE):
        assert not re.search(rf"\b{name}\(", checking) or name == "read", f"checking calls {name}, which only shows"
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names
