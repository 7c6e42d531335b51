"""tools/verify.py as a module, a log made without tlog's code, and the evidence of bundles.py put before it."""

from __future__ import annotations

import hashlib
import importlib.util
import json

import bundles
import reference
from bundles import b64, b64url, canonical
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support import VERIFIER

SPEC = importlib.util.spec_from_file_location("offline_verifier", VERIFIER)
verify = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(verify)

ORIGIN = "example.com/offline"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def vkey_of(key=KEY, origin=ORIGIN):
    data = b"\1" + key.public_key().public_bytes_raw()
    return origin + "+" + hashlib.sha256(origin.encode() + b"\n" + data).hexdigest()[:8] + "+" + b64(data)


def sign(text, key=KEY, origin=ORIGIN):
    key_id = bytes.fromhex(vkey_of(key, origin).split("+")[1])
    return text.encode() + f"\n— {origin} {b64(key_id + key.sign(text.encode()))}\n".encode()


def checkpoint_note(entries, size=None, *, root=None, key=KEY, origin=ORIGIN):
    size = len(entries) if size is None else size
    root = reference.tree_hash(entries[:size]) if root is None else root
    return sign(f"{origin}\n{size}\n{b64(root)}\n", key, origin)


def disclosure(number, body):
    salt = hashlib.sha256(b"%d" % number).digest()[:16]
    return salt, body, hashlib.sha256(b"\x10" + salt + body.encode()).digest()


def event(number):
    """Return an entry and its event file."""
    actor = disclosure(2 * number, canonical({"userId": f"user-{number}é"}))
    resource = disclosure(2 * number + 1, canonical({"resource": {"id": f"P-{number}", "type": "patient_record"}}))
    entry = canonical(
        {
            "action": "read",
            "commitments": {"actor": b64url(actor[2]), "resource": b64url(resource[2])},
            "eventId": f"00000000-0000-4000-8000-{number:012d}",
            "keys": [*(b64url(bytes([kind]) * 16) for kind in range(2)), b64url(bundles.action_key("read"))],
            "loggedAt": f"2026-03-17T10:{number // 60 % 60:02d}:{number % 60:02d}.000000Z",
            "outcome": "success",
            "resourceType": "patient_record",
            "timestamp": "2026-03-17T09:59:59Z",
            "type": "event",
            "v": 1,
        }
    )
    groups = {"actor": actor, "resource": resource}
    disclosures = {group: {"body": body, "salt": b64url(salt)} for group, (salt, body, _) in groups.items()}
    return entry.encode(), canonical({"disclosures": disclosures, "entry": entry}).encode() + b"\n"


def control():
    return canonical(
        {"bits": 16, "loggedAt": "2026-03-17T10:00:00.000000Z", "root": "A" * 43, "type": "index-keys", "v": 1}
    ).encode()


ENTRIES = [control(), *(event(number)[0] for number in range(1, 12))]


def proof_file(index, entries=ENTRIES, **options):
    hashes = "".join(f"{b64(item)}\n" for item in reference.path(index, entries))
    extra = options.pop("extra", "")
    return f"c2sp.org/tlog-proof@v1\n{extra}index {index}\n{hashes}\n".encode() + checkpoint_note(entries, **options)


def growth(old, entries):
    return reference.proof(old, entries) if 0 < old < len(entries) else []


def growth_file(old, entries=ENTRIES, **options):
    hashes = "".join(f"{b64(item)}\n" for item in growth(old, entries))
    return f"old {old}\n{hashes}\n".encode() + checkpoint_note(entries, **options)


def tile(level, index, width):
    return verify.tile_path(str(level), index, width)


def export(directory, entries, *, chain=True):
    """Write an exported log, tiles cut from the reference tree."""
    files = {"checkpoint": checkpoint_note(entries)}
    for start in range(0, len(entries), 256):
        chunk = entries[start : start + 256]
        bundle = b"".join(len(each).to_bytes(2, "big") + each for each in chunk)
        files[tile("entries", start // 256, len(chunk))] = bundle
    level, hashes = 0, [hashlib.sha256(b"\0" + each).digest() for each in entries]
    while hashes:
        above = []
        for start in range(0, len(hashes), 256):
            chunk = hashes[start : start + 256]
            files[tile(level, start // 256, len(chunk))] = b"".join(chunk)
            if len(chunk) == 256:
                first = start * 256**level
                above.append(reference.tree_hash(entries[first : first + 256 ** (level + 1)]))
        level, hashes = level + 1, above
    running = bytes(32)
    for each in entries:
        running = hashlib.sha256(b"\2" + running + hashlib.sha256(b"\0" + each).digest()).digest()
    if chain:
        files["chain"] = f"{len(entries)}\n{b64(running)}\n".encode()
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


def many(count):
    return [control(), *(event(number)[0] for number in range(1, count))]


# --- What is wrong ----------------------------------------------------------------------------------------------------


def changed(**members):
    return canonical({**json.loads(event(5)[1]), **members}).encode() + b"\n"


GOOD_ENTRY = json.loads(event(5)[0])
BAD_ENTRIES = {
    "not canonical": event(5)[0].replace(b":", b": ", 1),
    "not JSON": b"{",
    "not an object": b"[]",
    "NaN": b'{"a":NaN}',
    "duplicate member": event(5)[0].replace(b'"v":1', b'"v":1,"v":1'),
    "a member too many": canonical({**GOOD_ENTRY, "x": 1}).encode(),
    "another version": canonical({**GOOD_ENTRY, "v": 2}).encode(),
    "true for a version": canonical({**GOOD_ENTRY, "v": True}).encode(),
    "logged at no time": canonical({**GOOD_ENTRY, "loggedAt": "yesterday"}).encode(),
    "logged at a number": canonical({**GOOD_ENTRY, "loggedAt": 1}).encode(),
    "commitments in a list": canonical({**GOOD_ENTRY, "commitments": []}).encode(),
    "a control entry": control(),
    "deeply nested": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a sequence number with a fraction": canonical({**GOOD_ENTRY, "source": {"id": "a", "seq": 1.0}}).encode(),
    "a sequence number beyond 2^53": canonical({**GOOD_ENTRY, "source": {"id": "a", "seq": 2**53}}).encode(),
    "a source that is text": canonical({**GOOD_ENTRY, "source": "a"}).encode(),
    "an eventId that is none": canonical({**GOOD_ENTRY, "eventId": {}}).encode(),
    "keys that are text": canonical({**GOOD_ENTRY, "keys": "abc"}).encode(),
    "a third commitment": canonical({**GOOD_ENTRY, "commitments": {**GOOD_ENTRY["commitments"], "x": "y"}}).encode(),
    "a control entry of another version": control().replace(b'"v":1', b'"v":2'),
    "a control entry of version true": control().replace(b'"v":1', b'"v":true'),
    "a control entry without a type": control().replace(b'"index-keys"', b"7"),
    "a control entry at a number": control().replace(b'"2026-03-17T10:00:00.000000Z"', b"5"),
    "a control entry at no time": control().replace(b"2026-03-17T10", b"2026-03-17 10"),
}


BAD_FILES = {
    "no newline": (event(5)[1][:-1], 2),
    "two newlines": (event(5)[1] + b"\n", 2),
    "not UTF-8": (event(5)[1].replace(b"user", b"\xffser"), 2),
    "lone surrogate": (event(5)[1].replace(b"user", b"\\ud800"), 2),
    "another member": (changed(x=1), 2),
    "entry not text": (changed(entry=1), 2),
    "disclosures not an object": (changed(disclosures=[]), 2),
    "another group": (changed(disclosures={"x": {}}), 2),
    "disclosure not an object": (changed(disclosures={"actor": 1}), 2),
    "disclosure with a member more": (changed(disclosures={"actor": {"body": "", "salt": "", "x": 1}}), 2),
    "body not text": (changed(disclosures={"actor": {"body": 1, "salt": b64url(bytes(16))}}), 2),
    "salt not text": (changed(disclosures={"actor": {"body": "", "salt": 1}}), 2),
    "salt of 15 bytes": (changed(disclosures={"actor": {"body": "", "salt": b64url(bytes(15))}}), 2),
    "salt in the other alphabet": (changed(disclosures={"actor": {"body": "", "salt": "+" * 22}}), 2),
    "another salt": (changed(disclosures={"actor": {"body": "", "salt": b64url(bytes(16))}}), 1),
    "another event": (event(6)[1], 1),
}


# --- Evidence (tools/scenarios/bundles.py) -------------------------------------------------------------------------


def options_of(question):
    """The command line for a question, member by member."""
    asks = {"userId": "actor"}
    times = {"from": "--from", "to": "--to", "loggedFrom": "--logged-from", "loggedTo": "--logged-to"}
    return [
        option
        for name, value in question.items()
        for option in ([times[name], value] if name in times else ["--ask", f"{asks.get(name, name)}={value}"])
    ]


def check_evidence(tmp_path, capsys, bundle, question, *more):
    path = tmp_path / "bundle.json"
    path.write_bytes(bundle if isinstance(bundle, bytes) else bundles.file_of(bundle))
    code = verify.main(["evidence", "--vkey", bundles.vkey(), *options_of(question), *more, "--json", str(path)])
    return code, json.loads(capsys.readouterr().out)


def check_fraud(tmp_path, capsys, bundle, proof_and_event):
    paths = [tmp_path / name for name in ("bundle.json", "proof", "event")]
    for path, data in zip(paths, (bundles.file_of(bundle), *proof_and_event), strict=True):
        path.write_bytes(data)
    code = verify.main(
        ["fraud", "--vkey", bundles.vkey(), "--proof", str(paths[1]), "--event", str(paths[2]), str(paths[0])]
    )
    return code, capsys.readouterr().out
