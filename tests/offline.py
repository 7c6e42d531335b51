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


def public_key(kind, value):
    """The index key of what is public, as it stands in entries."""
    return b64url(hashlib.sha256(f"public\0{kind}\0{value}".encode()).digest()[:16])


def event_file(entry, disclosures):
    """Return an event file; `disclosures` are texts by group, in the order of the groups."""
    members = {"absent": [], "disclosed": [*disclosures], "disclosures": disclosures, "entry": entry}
    return canonical(members).encode() + b"\n"


def event(number, *, related=(), **members):
    """Return an entry and its event file."""
    user = {"appendedBy": "local", "userId": f"user-{number}é"}
    resource = {"resource": {"id": f"P-{number}", "type": "patient_record"}}
    bodies = {"actor": user, "resource": resource} | {f"related/{k}": each for k, each in enumerate(related)}
    groups = {group: disclosure(40 * number + k, canonical(body)) for k, (group, body) in enumerate(bodies.items())}
    about = [each["type"] + each["id"] for each in related]
    public = {"action": "read"} | {kind: members[kind] for kind in ("operation",) if kind in members}
    public |= {"source": members["source"]["id"]} if "source" in members else {}
    commitments = {group: b64url(commitment) for group, (_, _, commitment) in groups.items() if "/" not in group}
    commitments |= {"related": [b64url(groups[f"related/{k}"][2]) for k in range(len(related))]} if related else {}
    entry = canonical(
        {
            "action": "read",
            "commitments": commitments,
            "eventId": f"00000000-0000-4000-8000-{number:012d}",
            "keys": [
                *(b64url(bytes([kind]) * 16) for kind in range(2)),
                *(public_key(kind, value) for kind, value in public.items()),
                *(b64url(hashlib.sha256(each.encode()).digest()[:16]) for each in about),
            ],
            "loggedAt": f"2026-03-17T10:{number // 60 % 60:02d}:{number % 60:02d}.000000Z",
            "outcome": "success",
            "resourceType": "patient_record",
            "timestamp": "2026-03-17T09:59:59Z",
            "type": "event",
            "v": 1,
        }
        | members
    )
    disclosures = {group: {"body": body, "salt": b64url(salt)} for group, (salt, body, _) in groups.items()}
    return entry.encode(), event_file(entry, disclosures)


def control():
    members = {"bits": 16, "loggedAt": "2026-03-17T10:00:00.000000Z", "origin": ORIGIN, "root": "A" * 43}
    return canonical({**members, "type": "index-keys", "v": 1}).encode()


def stranger(kind="later", **members):
    """An entry of a type that this version does not know."""
    keys = [public_key("control", kind), b64url(b"who it is about."), public_key("order", "erase")]
    members = {"keys": keys, "loggedAt": "2026-03-17T10:00:01.000000Z", "type": kind, "v": 1} | members
    return canonical({name: value for name, value in members.items() if value is not None}).encode()


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
KEYS = GOOD_ENTRY["keys"]
FULL_ENTRY = json.loads(
    event(
        5,
        related=[{"id": "P-9", "role": "patient", "type": "person"}, {"id": "P-10", "type": "person"}],
        operation="GetObject",
        source={"id": "ehr-api:1", "seq": 7},
        timestamp="2026-03-17T09:59:59.123456789Z",
    )[0]
)
STRANGER = json.loads(stranger())


def entry_with(**members):
    """The full entry with other members."""
    return canonical({**FULL_ENTRY, **members}).encode()


def with_key(place, key):
    """The full entry with another key at a place."""
    keys = [*FULL_ENTRY["keys"]]
    keys[place : place + 1] = [] if key is None else [key]
    return entry_with(keys=keys)


BAD_ENTRIES = {
    "not canonical": event(5)[0].replace(b":", b": ", 1),
    "not JSON": b"{",
    "not an object": b"[]",
    "NaN": b'{"a":NaN}',
    "duplicate member": event(5)[0].replace(b'"v":1', b'"v":1,"v":1'),
    "a member too many": canonical({**GOOD_ENTRY, "x": 1}).encode(),
    "true for a version": canonical({**GOOD_ENTRY, "v": True}).encode(),
    "a text for a version": canonical({**GOOD_ENTRY, "v": "1"}).encode(),
    "a version with a fraction": canonical({**STRANGER, "v": 1.5}).encode(),
    "no version": stranger(v=None),
    "logged at no time": canonical({**GOOD_ENTRY, "loggedAt": "yesterday"}).encode(),
    "logged at a number": canonical({**GOOD_ENTRY, "loggedAt": 1}).encode(),
    "commitments in a list": canonical({**GOOD_ENTRY, "commitments": []}).encode(),
    "a control entry": control(),
    "deeply nested": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a sequence number with a fraction": canonical({**GOOD_ENTRY, "source": {"id": "a", "seq": 1.0}}).encode(),
    "a sequence number beyond 2^53": entry_with(source={"id": "ehr-api:1", "seq": 2**53}),
    "a source that is text": canonical({**GOOD_ENTRY, "source": "a"}).encode(),
    "an eventId that is none": canonical({**GOOD_ENTRY, "eventId": {}}).encode(),
    "keys that are text": canonical({**GOOD_ENTRY, "keys": "abc"}).encode(),
    "a third commitment": canonical({**GOOD_ENTRY, "commitments": {**GOOD_ENTRY["commitments"], "x": "y"}}).encode(),
    "an empty list of related commitments": canonical(
        {**GOOD_ENTRY, "commitments": {**GOOD_ENTRY["commitments"], "related": []}}
    ).encode(),
    "a control entry of version true": control().replace(b'"v":1', b'"v":true'),
    "a control entry without a type": control().replace(b'"index-keys"', b"7"),
    "a control entry at a number": control().replace(b'"2026-03-17T10:00:00.000000Z"', b"5"),
    "a control entry at no time": control().replace(b"2026-03-17T10", b"2026-03-17 10"),
    "a control entry without an origin": control().replace(f'"origin":"{ORIGIN}",'.encode(), b""),
    "a timestamp of ten digits": entry_with(timestamp="2026-03-17T09:59:59.1234567890Z"),
    "a loggedAt of nine digits": entry_with(loggedAt="2026-03-17T10:00:05.000000000Z"),
    "a timestamp with an offset": entry_with(timestamp="2026-03-17T09:59:59+00:00"),
    "an operation that begins with a dot": entry_with(operation=".GetObject"),
    "an operation of 129 letters": entry_with(operation="x" * 129),
    "the key of another action": with_key(2, public_key("action", "update")),
    "the key of another operation": with_key(3, public_key("operation", "PutObject")),
    "the operation's key as that of an action": with_key(3, public_key("action", "GetObject")),
    "the key of another source": with_key(4, public_key("source", "ehr-api:2")),
    "no key of the operation": with_key(3, None),
    "no key of the source": with_key(4, None),
    "no key of a related resource": with_key(6, None),
    "a key too many": entry_with(keys=[*FULL_ENTRY["keys"], b64url(b"one key too many")]),
    "a key of a source that is not there": canonical(
        {**GOOD_ENTRY, "keys": [*KEYS, public_key("source", "a")]}
    ).encode(),
    "a related key that begins like another": with_key(6, b64url(hashlib.sha256(b"personP-9").digest()[:8] + bytes(8))),
    "a related key that is the resource's": with_key(6, KEYS[1]),
    "a key with trailing bits": with_key(0, "A" * 21 + "B"),
    "a related commitment too few": canonical({**FULL_ENTRY, "commitments": GOOD_ENTRY["commitments"]}).encode(),
    "unknown, with the key of another type": stranger(keys=[public_key("control", "order")]),
    "unknown, without the key of its type": stranger(keys=[b64url(b"who it is about.")]),
    "unknown, with no keys in its list": stranger(keys=[]),
    "unknown, with 41 keys": stranger(keys=[STRANGER["keys"][0], *(b64url(bytes([n]) * 16) for n in range(40))]),
    "unknown, with a key twice": stranger(keys=[*STRANGER["keys"], STRANGER["keys"][1]]),
    "unknown, with keys that begin alike": stranger(keys=[*STRANGER["keys"], b64url(b"who it iis asked")]),
    "unknown, with a key of 15 bytes": stranger(keys=[STRANGER["keys"][0], b64url(bytes(15))]),
    "unknown, with a key with trailing bits": stranger(keys=[STRANGER["keys"][0], "A" * 21 + "B"]),
    "unknown, with a key that is a number": stranger(keys=[STRANGER["keys"][0], 5]),
    "unknown, with keys that are text": stranger(keys=STRANGER["keys"][0]),
    "unknown, with keys that are null": canonical({**STRANGER, "keys": None}).encode(),
    "unknown, with keys inside of another member": stranger(note={"keys": []}),
    "unknown, with keys deep inside": stranger(note=[1, [{"x": {"keys": 5}}]]),
    "unknown, logged at no time": stranger(loggedAt="2026-03-17T10:00:01Z"),
    "unknown, logged on no day": stranger(loggedAt="2026-02-30T10:00:01.000000Z"),
    "unknown, without a time": stranger(loggedAt=None),
    "unknown, not canonical": stranger(note=1.5).replace(b"1.5", b"1.50"),
    "unknown, with a number that is no double": stranger(note=7).replace(b":7,", b":9007199254740993,"),
    "unknown, with names in another order": stranger(note=7, **{"\ue000": 1, "\U0001f600": 2}),
    "unknown, with a member twice": stranger().replace(b'"v":1', b'"v":1,"v":1'),
    "unknown, nested in 33 levels": stranger(note=7).replace(b":7,", b":" + b"[" * 32 + b"]" * 32 + b","),
    "unknown, with half a surrogate pair": stranger(note=7).replace(b":7,", b':"\\ud800",'),
    "unknown, with commitments of another form": stranger(commitments={"actor": 5}),
    "unknown, with a commitment to another group": stranger(commitments={"x": "A" * 43}),
    "unknown, with no related commitments": stranger(commitments={"related": []}),
    "unknown, with 33 related commitments": stranger(commitments={"related": ["A" * 43] * 33}),
    "unknown, with a commitment of 31 bytes": stranger(commitments={"actor": b64url(bytes(31))}),
    "unknown, too long": stranger(note="x" * 65_536),
}
GOOD_STRANGERS = {
    "a type of later": stranger(),
    "an event of another version": canonical({**GOOD_ENTRY, "v": 2}).encode(),
    "entry 0 of another version": control().replace(b'"v":1', b'"v":2'),
    "no keys": stranger(keys=None),
    "40 keys": stranger(keys=[STRANGER["keys"][0], *(b64url(bytes([n]) * 16) for n in range(39))]),
    "numbers": stranger(note=[1.5, 1e-7, 100, 5e-324, -0.001, 9007199254740992]).replace(b"1e-07", b"1e-7"),
    "a number with an exponent": stranger(note=7).replace(b":7,", b":1.5e+21,"),
    "names by UTF-16": stranger(note=7).replace(b'"note":7', '"note":{"\U0001f600":2,"\ue000":1}'.encode()),
    "32 levels": stranger(note=7).replace(b":7,", b":" + b"[" * 31 + b"]" * 31 + b","),
    "groups": stranger(commitments={"related": ["A" * 43] * 32}),
    "a text called keys": stranger(note="keys"),
}


SALTED = {"body": "", "salt": b64url(bytes(16))}
BAD_FILES = {
    "no newline": (event(5)[1][:-1], 2),
    "two newlines": (event(5)[1] + b"\n", 2),
    "not UTF-8": (event(5)[1].replace(b"user", b"\xffser"), 2),
    "lone surrogate": (event(5)[1].replace(b"user", b"\\ud800"), 2),
    "another member": (changed(x=1), 2),
    "absent that is not empty": (changed(absent=[["actor", 1]]), 2),
    "absent that is no list": (changed(absent=0), 2),
    "disclosed that are text": (changed(disclosed="actor"), 2),
    "disclosed that are numbers": (changed(disclosed=[1]), 2),
    "entry not text": (changed(entry=1), 2),
    "disclosures not an object": (changed(disclosures=[]), 2),
}
BAD_DISCLOSURES = {
    "a group more than is disclosed": (changed(disclosed=["actor"]), 2),
    "a group less than is disclosed": (changed(disclosed=["actor", "resource", "related/0"]), 1),
    "disclosed in another order": (changed(disclosed=["resource", "actor"]), 2),
    "disclosed twice": (changed(disclosed=["actor", "actor", "resource"]), 2),
    "another group": (changed(disclosed=["x"], disclosures={"x": SALTED}), 2),
    "a group that the entry does not have": (changed(disclosed=["related/0"], disclosures={"related/0": SALTED}), 2),
    "disclosure not an object": (changed(disclosed=["actor"], disclosures={"actor": 1}), 2),
    "disclosure with a member more": (changed(disclosed=["actor"], disclosures={"actor": {**SALTED, "x": 1}}), 2),
    "body not text": (changed(disclosed=["actor"], disclosures={"actor": {**SALTED, "body": 1}}), 2),
    "salt not text": (changed(disclosed=["actor"], disclosures={"actor": {**SALTED, "salt": 1}}), 2),
    "salt of 15 bytes": (changed(disclosed=["actor"], disclosures={"actor": {**SALTED, "salt": b64url(bytes(15))}}), 2),
    "salt in the other alphabet": (
        changed(disclosed=["actor"], disclosures={"actor": {**SALTED, "salt": "+" * 22}}),
        2,
    ),
    "another salt": (changed(disclosed=["actor"], disclosures={"actor": SALTED}), 1),
    "another event": (event(6)[1], 1),
}


# --- Evidence (tools/scenarios/bundles.py) -------------------------------------------------------------------------


def options_of(question):
    """The command line for a question, member by member."""
    return [option for name, value in question.items() for option in ("--ask", f"{name}={value}")]


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


def spoken(log, number, **members):
    """The log with other members in the entry of an event, signed."""
    log.entries[number] = canonical(json.loads(log.entries[number]) | members)
    return bundles.signed(log)
