"""Verify evidence from a tlog audit log, offline, with this one file and Python 3.11 or newer. Nothing to install.

Trusted are this file (read it), Python's standard library, and the log's public key (its vkey), which you must have from
somewhere you believe. Nothing else is believed before it was checked:

    checkpoint   the log signed this tree size and root hash                      c2sp.org/signed-note, tlog-checkpoint
    proof        this event is in the signed tree, with this personal data        c2sp.org/tlog-proof, RFC 6962
    consistency  the newer signed tree contains the older one, unchanged          RFC 6962
    log          every entry and tile of an export leads to the signed root hash  c2sp.org/tlog-tiles
    evidence     these events and no others answer your question                  docs/reference/formats.md
    fraud        the log contradicts what it signed                               docs/reference/formats.md
Exit codes: 0 verified; 1 verification failed; 2 malformed input or usage; 3 not everything asked for could be checked.
Left out: other signatures than Ed25519, cosignatures of witnesses, fetching anything over a network.
"""

import argparse
import binascii
import hashlib
import hmac
import json
import re
import struct
import sys
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

MAX_FILE, MAX_BUNDLE, MAX_ENTRY, MAX_SIZE = 1 << 20, 1 << 25, 65_535, 2**63 - 1
HASH, WIDTH, POSTING, PAGE = 32, 256, 12, 32 * 12
EMPTY_ROOT = hashlib.sha256(b"").digest()
LEAF, NODE, CHAIN, COMMITMENT = b"\x00", b"\x01", b"\x02", b"\x10"


class VerificationError(Exception):
    """Well-formed evidence that does not prove what it should."""


class MalformedError(Exception):
    """Input that does not have the form it must have."""


class IncompleteError(Exception):
    """Something that was asked for is not there to be checked."""


def require(condition: object, message: str, error: type[Exception] = VerificationError) -> None:
    """Raise an error unless `condition` holds."""
    if not condition:
        raise error(message)


# The form of JSON values, as `fits` compares them: exactly these members, [items of a list], (items by their places).
INDEX_KEYS = {"bits": int, "loggedAt": str, "root": str, "type": "index-keys", "v": 1}
INDEX = {"ends": [int], "loggedAt": str, "size": int, "table": str, "type": "index", "v": 1}
CLOCK_FRAUD = {"checkpoint": str, "entries": [(int, str)], "hashes": str, "type": "tlog-clock-fraud", "v": 1}
BUNDLE = {
    "buckets": [{"hashes": str, "key": str}],
    "checkpoint": str,
    "disclosures": [(int, dict)],
    "end": int,
    "entries": [(int, str)],
    "epoch": int,
    "hashes": str,
    "manifest": {"answers": int, "disclosures": int, "postings": int},
    "mode": str,
    "question": dict,
    "segments": [{"hashes": str, "runs": [(int, str)]}],
    "start": int,
    "table": str,
    "type": "tlog-evidence",
    "v": 1,
}
CODES = {VerificationError: 1, MalformedError: 2, IncompleteError: 3}
VERDICTS = "verified", "failed", "malformed", "incomplete"


# --- Strict parsing: what is accepted is exactly what formatting it again gives ---------------------------------------
def parse_decimal(text: bytes, what: str) -> int:
    """Return the number below 2**63 written in ASCII decimal without sign or leading zero."""
    if not re.fullmatch(rb"0|[1-9][0-9]{0,18}", text) or int(text) > MAX_SIZE:
        raise MalformedError(f"{what} is not a decimal number below 2^63")
    return int(text)


def parse_base64(text: bytes, what: str, size: int | None = None) -> bytes:
    """Return the bytes of padded standard base64 (RFC 4648 section 4), `size` of them if given."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise MalformedError(f"{what} is not base64") from None
    # Python accepts trailing bits that are not zero; two texts for one value would let proofs be changed.
    if binascii.b2a_base64(data, newline=False) != text or (size is not None and len(data) != size):
        raise MalformedError(f"{what} is not canonical base64 of the right length")
    return data


def parse_base64url(text: object, what: str, size: int) -> bytes:
    """Return the `size` bytes of unpadded URL-safe base64 (RFC 4648 section 5)."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise MalformedError(f"{what} is not base64url")
    padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
    return parse_base64(padded.encode(), what, size)


def decode(text: object, what: str, size: int | None = None) -> bytes:
    """Return the bytes of a JSON member that is base64."""
    require(isinstance(text, str), f"{what} is not text", MalformedError)
    return parse_base64(str(text).encode("utf-8", "replace"), what, size)


def cut(data: bytes, size: int) -> list[bytes]:
    """Return data in pieces of `size`; the last may be shorter."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object that is written as RFC 8785 would (no floats, ASCII member names: all that is read here)."""
    try:
        value = json.loads(data.decode())
        canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        # Duplicate members, other spacing, other escapes: all of them come out different.
        if canonical.encode() != data:
            value = None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is not a JSON object in canonical form (RFC 8785)")
    return value


def fits(value: object, form: Any) -> bool:  # noqa: ANN401 - a form is made of types and values
    """Tell whether a JSON value has a form: int is a whole number from 0 to the largest tree size, and true is none."""
    if isinstance(form, dict):
        same = isinstance(value, dict) and value.keys() == form.keys()
        return same and all(fits(value[name], form[name]) for name in form)  # type: ignore[index]
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(item, form[0]) for item in value)
    if isinstance(form, tuple):
        return isinstance(value, list) and len(value) == len(form) and all(map(fits, value, form))
    if isinstance(form, type):
        return type(value) is form and (form is not int or 0 <= value <= MAX_SIZE)  # type: ignore[operator]
    return type(value) is type(form) and value == form


# --- Hashes and Merkle proofs (RFC 6962 section 2.1, verification as in RFC 9162 section 2.1) --------------------------
def sha256(*parts: bytes) -> bytes:
    """Return SHA-256 over the concatenated parts, the first of which keeps the kinds of hashes apart."""
    return hashlib.sha256(b"".join(parts)).digest()


def split(size: int) -> int:
    """Return the largest power of two smaller than `size`: where RFC 6962 divides a tree."""
    return 1 << (size - 1).bit_length() - 1


def climb(index: int, size: int, leaf: bytes, proof: list[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to, taking its hashes from the end: PATH(m, D[n]) of RFC 6962."""
    if size == 1:
        return leaf
    sibling, left = proof.pop(), split(size)
    if index < left:
        return sha256(NODE, climb(index, left, leaf, proof), sibling)
    return sha256(NODE, sibling, climb(index - left, size - left, leaf, proof))


def climb_both(old: int, new: int, old_root: bytes | None, proof: list[bytes]) -> tuple[bytes, bytes]:
    """Return the two roots that a consistency proof leads to: SUBPROOF(m, D[n], b) of RFC 6962, b as `old_root`."""
    if old == new:
        subtree = proof.pop() if old_root is None else old_root
        return subtree, subtree
    sibling, left = proof.pop(), split(new)
    if old <= left:
        old_hash, new_hash = climb_both(old, left, old_root, proof)
        return old_hash, sha256(NODE, new_hash, sibling)
    old_hash, new_hash = climb_both(old - left, new - left, None, proof)
    return sha256(NODE, sibling, old_hash), sha256(NODE, sibling, new_hash)


def verify_inclusion(index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) is number `index` in the tree of `size` leaves with root hash `root`."""
    if any(len(item) != HASH for item in (leaf, root, *proof)) or not 0 <= index < size <= MAX_SIZE:
        raise VerificationError("a hash does not have 32 bytes, or the index is not below the tree size")
    rest = list(proof)
    try:
        computed: bytes | None = climb(index, size, leaf, rest)
    except IndexError:
        computed = None
    if rest or computed != root:
        raise VerificationError("the inclusion proof does not lead to the checkpoint's root hash")


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> None:
    """Check that the tree of `old_size` leaves is a prefix of the tree of `new_size` leaves."""
    if any(len(item) != HASH for item in (old_root, new_root, *proof)) or not 0 <= old_size <= new_size <= MAX_SIZE:
        raise VerificationError("a hash does not have 32 bytes, or the older tree is larger than the newer one")
    rest = list(proof)
    try:
        computed = climb_both(old_size, new_size, old_root, rest) if old_size else (EMPTY_ROOT, new_root)
    except IndexError:
        computed = None
    if rest or computed != (old_root, new_root) or (new_size == 0 and new_root != EMPTY_ROOT):
        raise VerificationError("the consistency proof does not lead from the older root hash to the newer one")


def verify_joint(size: int, leaves: dict[int, bytes], proof: object, root: bytes, what: str) -> None:
    """Check several leaf hashes at once, by index; the proof has, left to right, the subtrees that hold none of them."""
    data = decode(proof, f"the proof of {what}")
    require(len(data) % HASH == 0, f"the proof of {what} is not made of whole hashes", MalformedError)
    indexes, hashes = sorted(leaves), iter(cut(data, HASH))

    def climb(start: int, end: int, first: int, last: int) -> bytes:
        if first == last:
            return next(hashes)
        if end - start == 1:
            return leaves[start]
        middle = start + split(end - start)
        halfway = bisect_left(indexes, middle, first, last)
        return sha256(NODE, climb(start, middle, first, halfway), climb(middle, end, halfway, last))

    try:
        right = indexes[0] >= 0 and indexes[-1] < size and climb(0, size, 0, len(indexes)) == root
    except (IndexError, StopIteration):
        right = False
    require(right and not [*hashes], f"the proof of {what} does not lead to the root hash")


# --- Ed25519 verification (RFC 8032 section 5.1), slow and plain ------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]  # extended coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, x*y = T/Z
IDENTITY: Point = (0, 1, 1, 0)


def add_points(a: Point, b: Point) -> Point:
    """Return a + b (RFC 8032 section 5.1.4)."""
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    x, t, z, y = f - e, h - g, h + g, f + e
    return (x * t % P, z * y % P, t * z % P, x * y % P)


def multiply_point(factor: int, point: Point) -> Point:
    """Return factor * point; no secret is involved, so time may depend on the factor."""
    result = IDENTITY
    while factor:
        if factor & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        factor >>= 1
    return result


def decode_point(data: bytes) -> Point:
    """Return the point that 32 bytes encode (RFC 8032 section 5.1.3), refusing every second encoding of a point."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    require(y < P, "the public key is not a canonical Ed25519 point", MalformedError)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * SQRT_MINUS_ONE % P
    require(x * x % P == square and (x or not sign), "the public key is not an Ed25519 point", MalformedError)
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


def encode_point(point: Point) -> bytes:
    """Return the 32 bytes of a point."""
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = decode_point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def decode_public_key(key: bytes) -> Point:
    """Return a public key's point, refusing the small-order ones, under which anything can be made to verify."""
    point = decode_point(key)
    if encode_point(multiply_point(8, point)) == encode_point(IDENTITY):
        raise MalformedError("the public key is of small order: signatures under it prove nothing")
    return point


def verify_ed25519(key: bytes, message: bytes, signature: bytes) -> None:
    """Check an Ed25519 signature (RFC 8032 section 5.1.7, the equation without cofactor)."""
    point, scalar = decode_public_key(key), int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or scalar >= L:
        raise VerificationError("the signature does not have 64 bytes, or its S is not below the group order")
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    negated = (P - point[0], point[1], point[2], P - point[3])
    computed = add_points(multiply_point(scalar, BASE), multiply_point(challenge, negated))
    require(encode_point(computed) == signature[:32], "the signature does not verify")


# --- Notes, keys, checkpoints, proof files ---------------------------------------------------------------------------
class Checkpoint(NamedTuple):
    """A checkpoint whose signature was checked."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.origin}, {self.size:,} entries, root hash {self.root.hex()}"


def parse_vkey(vkey: str) -> tuple[str, bytes, bytes]:
    """Return the key of `<name>+<key ID>+<base64(0x01 || public key)>` (c2sp.org/signed-note), or in the file @FILE."""
    data = read(vkey[1:]).removesuffix(b"\n") if vkey.startswith("@") else vkey.encode("utf-8", "replace")
    match = re.fullmatch(r"([^\s\x00-\x1f+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", data.decode("utf-8", "replace"))
    if match is None:
        raise MalformedError("a vkey has the form <name>+<key ID>+<base64 key>")
    name, public = match[1], parse_base64(match[3].encode(), "the key of the vkey", 1 + 32)
    key_id = sha256(name.encode(), b"\n", public)[:4]
    if public[0] != 1 or match[2] != key_id.hex():
        raise MalformedError("the vkey is not an Ed25519 key (type 0x01) with its own key ID")
    decode_public_key(public[1:])
    return name, key_id, public[1:]


def open_checkpoint(note: bytes, key: tuple[str, bytes, bytes]) -> Checkpoint:
    """Return the checkpoint of a note that the log's key signed (c2sp.org/tlog-checkpoint, no extension lines)."""
    text, signatures = split_note(note)
    # Signatures by unknown keys are ignored; a wrong one under the known name and ID condemns the whole note.
    known = [signature for name, key_id, signature in signatures if (name, key_id) == key[:2]]
    require(known, "the checkpoint is not signed by the log's key")
    for signature in known:
        verify_ed25519(key[2], text, signature)
    lines = text.split(b"\n")
    require(len(lines) == 4, "a checkpoint has exactly three lines: origin, tree size, root hash", MalformedError)
    size = parse_decimal(lines[1], "the checkpoint's tree size")
    checkpoint = Checkpoint(lines[0].decode(), size, parse_base64(lines[2], "the checkpoint's root hash", HASH))
    require(checkpoint.origin == key[0], "the checkpoint's origin is not the name of the log's key")
    require(size or checkpoint.root == EMPTY_ROOT, "an empty tree has another root hash")
    return checkpoint


def split_note(note: bytes) -> tuple[bytes, list[tuple[str, bytes, bytes]]]:
    """Return a note's text and its signatures as (name, key ID, signature)."""
    require(len(note) <= MAX_FILE, f"a note has at most {MAX_FILE} bytes", MalformedError)
    if re.search(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]", note.decode("utf-8", "surrogateescape")):
        raise MalformedError("a note must be UTF-8 without control characters")
    text, separator, tail = note.rpartition(b"\n\n")
    lines = tail.split(b"\n")
    if not separator or lines.pop() or not 1 <= len(lines) <= 100:
        raise MalformedError("a note is a text, an empty line and 1 to 100 signature lines, each ended by a newline")
    matches = [re.fullmatch(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)", line.decode()) for line in lines]
    require(all(matches), "a signature line has the form '— <key name> <base64 signature>'", MalformedError)
    signatures = [(match[1], parse_base64(match[2].encode(), "a signature")) for match in matches if match]
    if any(len(data) < 5 for _, data in signatures):
        raise MalformedError("a signature has its 4-byte key ID and nothing after it")
    return text + b"\n", [(name, data[:4], data[4:]) for name, data in signatures]


def parse_proof(data: bytes, label: bytes) -> tuple[int, list[bytes], bytes]:
    """Return the number after `label`, the hashes, and the checkpoint of a proof file."""
    head, _, note = data.partition(b"\n\n")
    lines = head.split(b"\n")
    if label == b"index ":
        if lines.pop(0) != b"c2sp.org/tlog-proof@v1":
            raise MalformedError("a tlog-proof starts with the line c2sp.org/tlog-proof@v1")
        if lines and lines[0].startswith(b"extra "):  # opaque, and proves nothing
            parse_base64(lines.pop(0)[6:], "the extra line")
    if not note or not 1 <= len(lines) <= 1 + 63 or not lines[0].startswith(label):
        raise MalformedError(
            f"a proof has a line '{label.decode()}<number>', at most 63 hashes, an empty line and a checkpoint"
        )
    number = parse_decimal(lines[0][len(label) :], f"the number after '{label.decode()}'")
    return number, [parse_base64(line, "a hash of the proof", HASH) for line in lines[1:]], note


# --- Entries and event files -----------------------------------------------------------------------------------------

TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
EARLIEST, LATEST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
ACTIONS = "read", "create", "update", "delete", "export", "login", "logout", "permission_change", "config_change"
ACTION_KEYS = {action: sha256(b"public\0action\0", action.encode())[:16] for action in ACTIONS}
PLACES = {"actor": 0, "resource": 1, "action": 2}  # of an event's keys
HASH_TEXT = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"  # without bits that say nothing
EVENT = re.compile(  # an event's entry, member by member in the order of RFC 8785
    rf'\{{"action":"(?P<action>{"|".join(ACTIONS)})","commitments":\{{"actor":"(?P<actor>{HASH_TEXT})","resource":"(?P<resource>{HASH_TEXT})"\}},'
    r'"eventId":"(?P<eventId>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})","keys":\["(?P<keys>[\w",-]{72})"\],'
    rf'"loggedAt":"(?P<loggedAt>{TIME}\.[0-9]{{6}}Z)","outcome":"(?P<outcome>success|failure|unknown)",'
    r'"resourceType":"(?P<resourceType>[A-Za-z0-9][\w.:-]{0,63})",'
    r'(?:"source":\{"id":"[A-Za-z0-9][\w.:/-]{0,127}","seq":(?P<seq>0|[1-9][0-9]{0,15})\},)?'
    rf'"timestamp":"(?P<timestamp>{TIME}(?:\.[0-9]{{1,6}})?Z)","type":"event","v":1\}}',
    re.ASCII,
)


def parse_entry(data: bytes) -> dict[str, Any]:
    """Return the members of an entry; those of an event are all text, but for `keys`, a list of 16 bytes each."""
    match = EVENT.fullmatch(data.decode("latin-1"))  # which has a character for each byte
    if match is not None and int(match["seq"] or "0") < 2**53:
        check_date(match["loggedAt"])
        check_date(match["timestamp"])
        keys = [parse_base64url(key, "an index key", 16) for key in match["keys"].split('","')]
        distinct = len(keys) == 3 == len({key[:8] for key in keys})
        require(distinct, "an event has three index keys that differ in their first 8 bytes", MalformedError)
        require(keys[2] == ACTION_KEYS[match["action"]], "the third key is not the one of the action", MalformedError)
        return match.groupdict() | {"keys": keys}
    require(len(data) <= MAX_ENTRY, f"an entry has at most {MAX_ENTRY} bytes", MalformedError)
    entry = parse_json(data, "the entry")
    known = fits(entry, INDEX_KEYS) or fits(entry, INDEX)
    require(known, "the entry does not have exactly the members of version 1 of its type", MalformedError)
    require(re.fullmatch(rf"{TIME}\.[0-9]{{6}}Z", entry["loggedAt"]), "loggedAt is no time", MalformedError)
    check_date(entry["loggedAt"])
    if entry["type"] == "index-keys":
        parse_base64url(entry["root"], "the root of the index keys", HASH)
        require(entry["bits"] <= 24, "there are at most 2^24 index keys", MalformedError)
    else:
        parse_base64url(entry["table"], "the hash of the segment table", HASH)
        ends = [0, *entry["ends"]]
        whole = all(a < b for a, b in pairwise(ends)) and ends[-1] == entry["size"] > 0
        require(whole, "the ends of an index epoch rise from above 0 to its size", MalformedError)
    return entry


def check_date(time: str) -> None:
    """Check that the day of a time that begins with TIME exists."""
    try:
        datetime.fromisoformat(time[:10])
    except ValueError:
        raise MalformedError("a time of the entry does not exist") from None


def check_disclosure(entry: dict[str, Any], group: str, salt: bytes, body: str) -> bytes:
    """Check that a disclosure is what the entry commits to and of the type it says; return the ident of what it is about."""
    commitment = parse_base64url(entry[group], f"the {group} commitment", HASH)
    if sha256(COMMITMENT, salt, body.encode()) != commitment:
        raise VerificationError(f"the {group} data is not what the entry commits to")
    content, what = parse_body(body), f"the {group} data is not what an event has there"
    if group == "actor":
        require(fits(content.get("userId"), str), what, MalformedError)
        return f"actor\0{content['userId']}".encode()
    resource = content.get("resource")
    kind, name = (resource.get("type"), resource.get("id")) if isinstance(resource, dict) else (None, None)
    require(fits([kind, name], [str]), what, MalformedError)
    require(kind == entry["resourceType"], "the resource data is of another type than the entry says")
    return f"resource\0{kind}\0{name}".encode()


def parse_body(body: str) -> dict[str, Any]:
    """Return what a disclosure holds, which the log's own reader takes too: I-JSON (RFC 7493) of at most 32 levels."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    def whole(text: str) -> int:
        if len(text) > 22:  # RFC 8785 writes a number of more than 21 digits with an exponent
            raise ValueError
        return int(text)

    def depth(value: object) -> int:
        items = list(value.values()) if isinstance(value, dict) else value
        return 1 + max(map(depth, items), default=0) if isinstance(items, list) else 0

    try:
        content = json.loads(body, object_pairs_hook=unique, parse_int=whole)
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()  # no NaN, infinity or half a surrogate pair
        if depth(content) > 32:
            content = None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise MalformedError("the data of a disclosure is not a JSON object that an event can have")
    return content


def parse_event_file(data: bytes) -> tuple[bytes, dict[str, tuple[bytes, str]]]:
    """Return the entry's bytes, and (salt, body) of each disclosure, of an event file."""
    require(data.endswith(b"\n"), "an event file ends with a newline", MalformedError)
    content = parse_json(data[:-1], "the event file")
    entry, disclosures = content.get("entry"), content.get("disclosures")
    if content.keys() != {"entry", "disclosures"} or not isinstance(entry, str) or not isinstance(disclosures, dict):
        raise MalformedError("an event file has the members 'entry' and 'disclosures'")
    return entry.encode(), parse_disclosures(disclosures)


def parse_disclosures(disclosures: dict[str, Any]) -> dict[str, tuple[bytes, str]]:
    """Return (salt, body) of each group."""
    found = {}
    for group, each in disclosures.items():
        if group not in ("actor", "resource") or not isinstance(each, dict) or each.keys() != {"body", "salt"}:
            raise MalformedError("disclosures are of 'actor' and 'resource', each with the members 'body' and 'salt'")
        require(isinstance(each["body"], str), "the body of a disclosure is text", MalformedError)
        found[group] = parse_base64url(each["salt"], "a salt", 16), each["body"]
    return found


# --- A whole exported log ---------------------------------------------------------------------------------------------
def tile_path(level: str, index: int, width: int) -> str:
    """Return a tile's path below the export (c2sp.org/tlog-tiles), such as tile/0/x001/234.p/56."""
    name = f"{index % 1000:03d}"
    while index := index // 1000:
        name = f"x{index % 1000:03d}/{name}"
    return f"tile/{level}/{name}" + (f".p/{width}" if width < WIDTH else "")


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """Return the `width` entries of an entry bundle, each after its length in two bytes."""
    entries, position = [], 0
    for _ in range(width):
        end = position + 2 + int.from_bytes(data[position : position + 2], "big")
        entries.append(data[position + 2 : end])
        position = end
    require(position == len(data), "its lengths do not add up to its size", MalformedError)
    return entries


class LogChecker:
    """Recomputes an exported log from its entries: tiles of all levels, root hash, chain, root hashes at older sizes."""

    def __init__(self, directory: Path, watched: set[int]) -> None:
        """Look below `directory`; keep the root hashes at the sizes `watched`."""
        self.directory, self.watched = directory, watched
        self.problems: list[str] = []
        self.missing: list[str] = []
        self.levels: list[tuple[int, list[bytes]]] = []  # of each level the right-most tile: its index and hashes
        self.roots: dict[int, bytes] = {}
        self.entries = self.tiles = 0
        self.chain, self.logged_at = bytes(HASH), ""

    def run(self, size: int) -> None:
        """Check the first `size` entries and everything that follows from them."""
        for index in range(-(-size // WIDTH)):
            width = min(WIDTH, size - index * WIDTH)
            path = tile_path("entries", index, width)
            data = self.read(path)
            if data is None:
                return  # without these entries nothing after them can be recomputed
            try:
                entries = parse_bundle(data, width)
            except MalformedError as error:
                self.problems.append(f"{path}: {error}")
                return
            for entry in entries:
                self.add_entry(entry)
        for level, (index, hashes) in enumerate(self.levels):
            if hashes:
                self.compare(level, index, hashes)

    def root(self) -> bytes:
        """Return the root hash of the entries so far, of at least one: the perfect subtrees in the tiles, joined from the right."""
        root = b""
        for _, hashes in self.levels:
            rest = list(hashes)
            while rest:
                width = len(rest) & -len(rest)
                subtree = fold(rest[-width:])
                root = sha256(NODE, subtree, root) if root else subtree
                del rest[-width:]
        return root

    def add_entry(self, data: bytes) -> None:
        """Take the next entry."""
        leaf = sha256(LEAF, data)
        self.chain = sha256(CHAIN, self.chain, leaf)
        try:
            entry = parse_entry(data)
            before, self.logged_at = self.logged_at, entry["loggedAt"]
            require(self.logged_at >= before, "it is logged earlier than the entry before", MalformedError)
        except MalformedError as error:
            self.problems.append(f"entry {self.entries}: {error}")
        self.add_hash(0, leaf)
        self.entries += 1
        if self.entries in self.watched:
            self.roots[self.entries] = self.root()

    def add_hash(self, level: int, item: bytes) -> None:
        """Add a hash to the right-most tile of a level; a full tile becomes a hash of the level above."""
        if level == len(self.levels):
            self.levels.append((0, []))
        index, hashes = self.levels[level]
        hashes.append(item)
        if len(hashes) == WIDTH:
            self.compare(level, index, hashes)
            self.levels[level] = index + 1, []
            self.add_hash(level + 1, fold(hashes))

    def compare(self, level: int, index: int, hashes: list[bytes]) -> None:
        """Compare a recomputed tile with the exported one."""
        path = tile_path(str(level), index, len(hashes))
        data = self.read(path)
        if data is None:
            return
        self.tiles += 1
        if data != b"".join(hashes):
            wrong = next((n for n, item in enumerate(hashes) if data[n * HASH : (n + 1) * HASH] != item), len(hashes))
            first = (index * WIDTH + wrong) * WIDTH**level
            self.problems.append(f"{path}: hash {wrong} does not follow from the entries from {first}")

    def read(self, path: str) -> bytes | None:
        """Return a file of the export, or None for one that is missing, which is remembered."""
        if not (self.directory / path).exists():
            self.missing.append(path)
            return None
        return read(self.directory / path, MAX_BUNDLE)


def fold(hashes: list[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [sha256(NODE, left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


# --- Questions: what the reader wants to know, from the command line, never from a bundle -------------------------------
# What may be asked with --ask, and which members of a question that is.
ASKS = {
    "resource": ("resourceType", "resourceId"),
    "actor": ("userId",),
    "action": ("action",),
    "outcome": ("outcome",),
    "resourceType": ("resourceType",),
    "resourceId": ("resourceId",),
}
TIMES = {"from": "since", "to": "to", "loggedFrom": "logged_from", "loggedTo": "logged_to"}
# The values that events can have. Under another one nothing is in the index, and the proof of that would be right.
VALUES = {
    "action": "|".join(ACTIONS),
    "outcome": "success|failure|unknown",
    "resourceId": r"[^\x00-\x1f\x7f\ud800-\udfff]{1,1024}",
    "resourceType": r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}",
    "userId": r"[^\x00-\x1f\x7f\ud800-\udfff]{1,256}",
}


class Once(argparse.Action):
    """An option that may be given once; argparse alone would let the last one replace the others."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        """Take the value of the option."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option} is given twice")
        setattr(namespace, self.dest, values)


def parse_question(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the question of the command line in the form of a bundle."""
    given: list[tuple[str, str]] = []
    for ask in arguments.ask:
        name, _, value = ask.partition("=")
        require(name in ASKS and value, f"--ask takes one of {', '.join(ASKS)}, as in action=read", MalformedError)
        values = value.split(":") if name == "resource" else [value]
        colon = "resource=TYPE:ID has exactly one colon; ask with resourceType=… and resourceId=… instead"
        require(len(values) == len(ASKS[name]), colon, MalformedError)
        given += zip(ASKS[name], values, strict=True)
    for name, value in given:
        require(re.fullmatch(VALUES[name], value), f"no event can have this {name}", MalformedError)
    times = [(name, getattr(arguments, option)) for name, option in TIMES.items()]
    given += [(name, to_utc(time, name)) for name, time in times if time is not None]
    question = dict(given)
    require(len(question) == len(given), "a part of the question is asked for twice", MalformedError)
    paired = "resourceId" not in question or "resourceType" in question
    require(paired, "resourceId needs resourceType: both together name a resource", MalformedError)
    for first, last in (("from", "to"), ("loggedFrom", "loggedTo")):
        ordered = comparable(question.get(first, EARLIEST)) <= comparable(question.get(last, LATEST))
        require(ordered, f"'{first}' is after '{last}'", MalformedError)
    ordered = comparable(looks_from(question) or EARLIEST) <= comparable(question.get("loggedTo", LATEST))
    require(ordered, "'from' is more than 24 hours after 'loggedTo'; state 'loggedFrom' as well", MalformedError)
    return question


def to_utc(text: str, what: str) -> str:
    """Return a time of any zone, or a date for its midnight, in UTC with the fraction digits it came with."""
    given = f"{text}T00:00:00Z" if re.fullmatch(r"[0-9-]{10}", text) else text
    match = re.fullmatch(rf"({TIME})(\.[0-9]{{1,6}})?(Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])", given)
    try:
        moment = None if match is None else datetime.fromisoformat(match[1] + match[3]).astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if match is None or moment is None:
        raise MalformedError(f"'{what}' is no date, and no time with its zone, such as 2026-03-01T08:00:00Z")
    return f"{moment.isoformat()[:19]}{match[2] or ''}Z"


def idents_of(question: dict[str, str]) -> dict[str, bytes]:
    """Return what the personal index keys asked for are made of, by kind, the one to look under first."""
    idents = {}
    if "resourceId" in question:
        idents["resource"] = f"resource\0{question['resourceType']}\0{question['resourceId']}".encode()
    if "userId" in question:
        idents["actor"] = b"actor\0" + question["userId"].encode()
    return idents


def looks_from(question: dict[str, str]) -> str | None:
    """Return when the first entries that are looked at were logged: a producer's clock may be ahead by 24 hours."""
    if "loggedFrom" in question or "from" not in question:
        return question.get("loggedFrom")
    moment, earliest = datetime.fromisoformat(question["from"]), datetime.fromisoformat(EARLIEST)
    return (moment - min(timedelta(days=1), moment - earliest)).isoformat().replace("+00:00", "Z")


def comparable(timestamp: str) -> str:
    """Return a UTC timestamp with six fraction digits, so that text sorts like time."""
    return f"{timestamp[:19]}.{timestamp[20:-1]:0<6}Z"


# --- Evidence: complete answers from the log's own index ---------------------------------------------------------------
def read_document(path: str) -> dict[str, Any]:
    """Return the JSON object in a file that has evidence."""
    data = read(path, MAX_BUNDLE)
    require(data.endswith(b"\n"), "evidence ends with a newline", MalformedError)
    return parse_json(data[:-1], "the evidence")


def open_entries(
    document: dict[str, Any], key: tuple[str, bytes, bytes]
) -> tuple[Checkpoint, dict[int, dict[str, Any]]]:
    """Return a document's checkpoint, and its entries, which were checked to be in the checkpoint's tree."""
    checkpoint = open_checkpoint(document["checkpoint"].encode(), key)
    entries = {index: text.encode() for index, text in document["entries"]}
    rising = [index for index, _ in document["entries"]] == sorted(entries)
    require(rising, "the entries do not rise by index")
    leaves = {index: sha256(LEAF, entry) for index, entry in entries.items()}
    verify_joint(checkpoint.size, leaves, document["hashes"], checkpoint.root, "the entries")
    return checkpoint, {index: parse_entry(entry) for index, entry in entries.items()}


def went_back(entries: dict[int, dict[str, Any]]) -> str:
    """Return in words where the log's clock went back among entries that rise by index, nothing if it did nowhere."""
    for before, after in pairwise(entries):
        if entries[before]["loggedAt"] > entries[after]["loggedAt"]:
            return f"the log's clock went back: entry {before} says that it was logged later than entry {after}"
    return ""


class Segment(NamedTuple):
    """A part of the index: the sorted postings of the entries [start, end), in pages of 32 under a root hash."""

    start: int
    end: int
    postings: int
    root: bytes


class Evidence:
    """An evidence bundle: its checkpoint, entries and index epoch checked, ready to be asked."""

    def __init__(self, bundle: dict[str, Any], key: tuple[str, bytes, bytes]) -> None:
        """Check the form of a bundle and that its entries are in the signed tree."""
        require(fits(bundle, BUNDLE), "not a tlog-evidence with exactly the members of version 1", MalformedError)
        require(bundle["mode"] in ("answer", "count"), "the mode of a bundle is answer or count", MalformedError)
        self.bundle = bundle
        self.buckets: dict[int, bytes] = {}  # those whose proofs were checked
        self.checkpoint, self.entries = open_entries(bundle, key)

    def open_index(self) -> None:
        """Check the index epoch and its table, and which parts of it the window meets."""
        bundle = self.bundle
        self.epoch = self.entries.get(bundle["epoch"], {"type": None})
        require(self.epoch["type"] == "index", "the index epoch's entry is not there")
        table = decode(bundle["table"], "the segment table")
        self.segments = [Segment(*row) for row in struct.iter_unpack(">QQQ32s", table)]
        ends = [each.end for each in self.segments]
        whole = [each.start for each in self.segments] == [0, *ends[:-1]]
        whole = whole and all(each.start < each.end < each.start + 2**32 for each in self.segments)
        require(whole, "the segments do not cover the epoch, each entry once", MalformedError)
        empty = all(each.postings or each.root == EMPTY_ROOT for each in self.segments)
        require(empty, "a segment without postings has another root than that of nothing", MalformedError)
        committed = parse_base64url(self.epoch["table"], "the hash of the table", HASH)
        require(committed == sha256(table) and ends == self.epoch["ends"], "the epoch commits to another segment table")
        require(ends[-1] <= bundle["epoch"], "the index epoch claims to cover entries from its own on")
        self.start, self.end = bundle["start"], bundle["end"]
        require(self.start <= self.end <= ends[-1], "the window is not within the epoch")
        met = [each for each in self.segments if each.start < self.end and each.end > self.start]
        require(len(met) == len(bundle["segments"]), "not every segment of the window is there")
        self.ranges = list(zip(met, bundle["segments"], strict=True))

    def keys(self, question: dict[str, str]) -> dict[str, bytes]:
        """Return the index keys asked for, by kind; personal ones follow from bucket keys that entry 0 commits to."""
        idents, paths = idents_of(question), self.bundle["buckets"]
        require(len(paths) == len(idents), "there are not as many bucket keys as are needed")
        for ident, path in zip(idents.values(), paths, strict=True):
            self.add_bucket(ident, path)
        keys = {kind: self.index_key(ident) for kind, ident in idents.items()}
        return keys | ({"action": ACTION_KEYS[question["action"]]} if "action" in question else {})

    def commitment(self) -> dict[str, Any]:
        """Return entry 0, which commits to the bucket keys."""
        first = self.entries.get(0, {"type": None})
        require(first["type"] == "index-keys", "entry 0, which commits to the bucket keys, is not there")
        return first

    def bucket(self, ident: bytes) -> int:
        """Return the number of an ident's bucket."""
        return int.from_bytes(sha256(ident)) >> 8 * HASH - int(self.commitment()["bits"])

    def add_bucket(self, ident: bytes, path: dict[str, str]) -> None:
        """Take in the key of an ident's bucket, if it is the one that entry 0 commits to."""
        key, root = (
            decode(path["key"], "a bucket key", HASH),
            parse_base64url(self.commitment()["root"], "a root", HASH),
        )
        leaf = {self.bucket(ident): sha256(LEAF, key)}
        verify_joint(1 << self.commitment()["bits"], leaf, path["hashes"], root, "a bucket key")
        self.buckets[self.bucket(ident)] = key

    def index_key(self, ident: bytes) -> bytes:
        """Return the index key of an ident in a bucket whose key was taken in."""
        return hmac.digest(self.buckets[self.bucket(ident)], ident, "sha256")[:16]

    def convicts_key(self, entry: dict[str, Any], kind: str, ident: bytes) -> bool:
        """Tell whether one of the bucket keys shows that an entry's key is not that of its data, whose ident is given."""
        self.buckets = {}
        for path in self.bundle["buckets"]:
            try:
                self.add_bucket(ident, path)
            except VerificationError:
                continue  # the key of another bucket, or entry 0 is not there
        return bool(self.buckets) and self.has_false_key(entry, kind, ident)

    def has_false_key(self, entry: dict[str, Any], kind: str, ident: bytes) -> bool:
        """Tell whether an entry's key is shown not to be that of its data, whose ident is given."""
        known = self.bucket(ident) in self.buckets
        return known and entry["keys"][PLACES[kind]] != self.index_key(ident)

    def check_window(self, question: dict[str, str]) -> set[int]:
        """Check that the window is the smallest one with every entry logged when the question looks; return its edges, and 0."""
        size, first, last = self.epoch["size"], looks_from(question), question.get("loggedTo")
        edges = {at for at in (0, self.start - 1, self.start, self.end - 1, self.end) if 0 <= at < size}
        require(edges <= self.entries.keys(), "an entry at an edge of the window, or entry 0, is not there")
        logged = {at: self.entries[at]["loggedAt"] for at in edges}
        for verb, edge, bound, unbounded in (("begins", self.start, first, 0), ("ends", self.end, last, size)):
            if bound is None:
                late, early = edge > unbounded, edge < unbounded
            else:
                late = edge > 0 and logged[edge - 1] >= comparable(bound)
                early = edge < size and logged[edge] < comparable(bound)
            require(not late, f"the window {verb} later than the question looks")
            require(not early, f"the window {verb} earlier than the question looks")
        return edges

    def search(self, key: bytes, *, count: bool) -> tuple[list[int], int]:
        """Return the indexes of all entries of the window that the index has under a key (not for a count), and how many."""
        indexes, number_of = [], 0
        for segment, text in self.ranges:
            low, high = (key[:8] + struct.pack(">I", place) for place in self.offsets(segment))
            first, last, postings = find_places(segment, text, low, high)
            number_of += last - first
            if not count:
                if postings is None:
                    raise VerificationError("pages between the first and the last are not there")
                indexes += [segment.start + struct.unpack(">I", item[8:])[0] for item in postings]
        return indexes, number_of

    def offsets(self, segment: Segment) -> tuple[int, int]:
        """Return where the window begins and ends in a segment."""
        return max(self.start - segment.start, 0), min(self.end, segment.end) - segment.start


def find_places(segment: Segment, text: dict[str, Any], low: bytes, high: bytes) -> tuple[int, int, list[bytes] | None]:
    """Return how many postings are smaller than `low` and than `high`, and those between if the proof has all their pages.

    A run of pages shows a place if what comes before the run is smaller (its first posting is, or nothing comes before), and
    what comes after the run is not (its last posting is not, or nothing comes after).
    """
    if not segment.postings:
        require(text["runs"] == [] and text["hashes"] == "", "pages of a segment that has none")
        return 0, 0, []
    pages, runs, after = -(-segment.postings // 32), [], 0
    leaves: dict[int, bytes] = {}
    for first, encoded in text["runs"]:
        postings = cut(decode(encoded, "pages of the index"), POSTING)
        last = first + (len(postings) - 1) // 32
        have = segment.postings if last == pages - 1 else 32 * (last + 1)
        right = after <= first <= last < pages and len(b"".join(postings)) == POSTING * (have - 32 * first)
        require(right and all(a < b for a, b in pairwise(postings)), "pages that are not of the index")
        leaves |= {first + n: sha256(LEAF, page) for n, page in enumerate(cut(b"".join(postings), PAGE))}
        runs.append((32 * first, postings))
        after = last + 2
    verify_joint(pages, leaves, text["hashes"], segment.root, "the index's pages")
    found = []
    for bound in (low, high):
        for before, postings in runs:
            after = before + len(postings)
            if (not before or postings[0] < bound) and (after == segment.postings or postings[-1] >= bound):
                found.append((before, postings, bisect_left(postings, bound)))
                break
        else:
            raise VerificationError("the pages do not show where the postings asked for would be")
    (one, postings, first), (other, _, last) = found
    return one + first, other + last, postings[first:last] if one == other else None


# --- Commands: each returns its summary, details, and how many of what it checked, or raises ---------------------------
def command_checkpoint(arguments: argparse.Namespace) -> tuple[str, list[str], dict[str, int]]:
    """Check a checkpoint's signature and form."""
    checkpoint = open_checkpoint(read(arguments.file), parse_vkey(arguments.vkey))
    return f"the log signed {checkpoint}", [], {"checkpoints": 1}


def open_event(
    arguments: argparse.Namespace,
) -> tuple[int, dict[str, Any], dict[str, tuple[bytes, str]], Checkpoint]:
    """Return index, entry and disclosures of an event whose inclusion proof was checked, and the checkpoint it is in."""
    index, proof, note = parse_proof(read(arguments.proof), b"index ")
    data, disclosures = parse_event_file(read(arguments.event))
    entry = parse_entry(data)
    require("eventId" in entry, "the entry is not an event", MalformedError)
    checkpoint = open_checkpoint(note, parse_vkey(arguments.vkey))
    verify_inclusion(index, checkpoint.size, sha256(LEAF, data), proof, checkpoint.root)
    return index, entry, disclosures, checkpoint


def command_proof(arguments: argparse.Namespace) -> tuple[str, list[str], dict[str, int]]:
    """Check that an event is in the log."""
    index, entry, disclosures, checkpoint = open_event(arguments)
    details = [f"event     {entry['eventId']}: {entry['action']} {entry['resourceType']}, {entry['outcome']}"]
    details += [f"time      {entry['timestamp']} says the producer, {entry['loggedAt']} says the log"]
    for group in ("actor", "resource"):
        if group in disclosures:
            check_disclosure(entry, group, *disclosures[group])
            details.append(f"{group:9} {disclosures[group][1]}")
        else:
            details.append(f"{group:9} not disclosed, so not checked")
    if arguments.require_disclosures and len(disclosures) < 2:
        raise IncompleteError("the event is in the log, but not all of its data was given to be checked")
    details.append(f"log       {checkpoint}")
    summary = f"entry {index} is in the log {checkpoint.origin}, in its signed tree of {checkpoint.size:,} entries"
    return summary, details, {"entries": 1, "disclosures": len(disclosures)}


def command_consistency(arguments: argparse.Namespace) -> tuple[str, list[str], dict[str, int]]:
    """Check that the log only grew between two checkpoints."""
    key = parse_vkey(arguments.vkey)
    old_size, proof, note = parse_proof(read(arguments.file), b"old ")
    old, new = open_checkpoint(read(arguments.old), key), open_checkpoint(note, key)
    require(old.size == old_size, f"the proof starts at size {old_size}, the checkpoint has {old.size}")
    verify_consistency(old.size, new.size, old.root, new.root, proof)
    summary = f"{new.origin} grew from {old.size:,} to {new.size:,} entries, and nothing in the older tree changed"
    return summary, [], {"checkpoints": 2}


def command_log(arguments: argparse.Namespace) -> tuple[str, list[str], dict[str, int]]:
    """Check a whole exported log."""
    directory, key = Path(arguments.file), parse_vkey(arguments.vkey)
    newest = open_checkpoint(read(directory / "checkpoint"), key)
    checkpoints = [newest, *(open_checkpoint(read(path), key) for path in arguments.old)]
    checker = LogChecker(directory, {each.size for each in checkpoints})
    checker.run(newest.size)
    problems = checker.problems
    for each in checkpoints:
        if each.size > newest.size:
            problems.append(f"a checkpoint of {each.size} entries was signed: entries are missing from the export")
        elif checker.roots.get(each.size, each.root) != each.root:
            problems.append(f"the first {each.size} entries do not lead to the root hash the log signed")
    complete, chain = checker.entries == newest.size, directory / "chain"
    details = [f"chain     {'recomputed' if complete and chain.exists() else 'not checked (there is no file chain)'}"]
    if (
        complete
        and chain.exists()
        and read(chain) != b"%d\n%b\n" % (newest.size, binascii.b2a_base64(checker.chain, newline=False))
    ):
        problems.append("chain: the recomputed hash chain ends elsewhere")
    require(not problems, "\n".join(problems[:100]))
    if checker.missing or not checker.entries:
        raise IncompleteError("not there to be checked: " + ", ".join(checker.missing[:20] or ["any entry"]))
    checked = {"entries": checker.entries, "tiles": checker.tiles, "checkpoints": len(checkpoints)}
    return f"all of the log: {newest}", details, checked


def command_evidence(arguments: argparse.Namespace) -> tuple[str, list[str], dict[str, int]]:
    """Check that events, and no others, answer a question; the question is yours, not the bundle's."""
    question = parse_question(arguments)
    indexed = question.keys() & {"resourceId", "userId", "action"}
    require(indexed, "ask for a resource, an actor or an action: only those are in the index", MalformedError)
    alone = question.keys() - {"loggedFrom", "loggedTo"} in ({"resourceId", "resourceType"}, {"userId"}, {"action"})
    countable = arguments.mode == "answer" or alone
    require(countable, "--count is for one resource, actor or action, bounded by the log's clock only", MalformedError)
    evidence = Evidence(read_document(arguments.file), parse_vkey(arguments.vkey))
    bundle = evidence.bundle
    require(bundle["question"] == question, f"the bundle answers another question: {bundle['question']}")
    require(bundle["mode"] == arguments.mode, f"the bundle is of the mode {bundle['mode']}")
    fault = went_back(evidence.entries)
    require(not fault, f"{fault}, which convicts the log: see the command fraud")
    evidence.open_index()
    keys, edges = evidence.keys(question), evidence.check_window(question)
    first, *_ = keys
    indexes, count = evidence.search(keys[first], count=arguments.mode == "count")
    answers = []
    for index in sorted(indexes):
        entry = evidence.entries.get(index, {})
        require("eventId" in entry, f"entry {index}, to which the index points, is not there or no event")
        has = {kind: entry["keys"][PLACES[kind]] == key for kind, key in keys.items()}
        require(has[first], f"the index points to entry {index}, which does not have the key asked for")
        if all(has.values()) and matches(question, entry):
            answers.append(index)
    indexes_shown, bodies = [index for index, _ in bundle["disclosures"]], dict(bundle["disclosures"])
    rising = indexes_shown == sorted({*indexes_shown} & {*answers}) and all(bodies.values())
    require(rising, "disclosures rise by index, are of entries that answer, and none is empty")
    stray = evidence.entries.keys() - {*indexes, bundle["epoch"]} - edges
    require(not stray, "there are entries in the bundle that the question does not need")
    lines = [f"question  {json.dumps(question, ensure_ascii=False)}"]
    for index in reversed(answers):
        entry = evidence.entries[index]
        lines.append(
            f"entry     {index}: {entry['timestamp']} {entry['action']} {entry['resourceType']}, {entry['outcome']}"
        )
        for group, (salt, body) in parse_disclosures(bodies.get(index, {})).items():
            ident = check_disclosure(entry, group, salt, body)
            false = idents_of(question).get(group, ident) != ident or evidence.has_false_key(entry, group, ident)
            require(not false, f"entry {index} carries a false key: the {group} shown has another one")
            lines.append(f"  {group:9} {body}")
    disclosed = sum(map(len, bodies.values()))
    answered = len(answers) if arguments.mode == "answer" else count
    manifest = {"answers": answered, "disclosures": disclosed, "postings": count}
    require(bundle["manifest"] == manifest, "the manifest does not count what is there")
    epoch = evidence.epoch
    lines.append(f"as of     {epoch['size']:,} entries, {epoch['loggedAt']}; signed in {evidence.checkpoint}")
    since, until = looks_from(question), question.get("loggedTo")
    lines += [] if since is None else [f"not seen  entries logged before {comparable(since)}"]
    lines += [] if until is None else [f"not seen  entries logged at {comparable(until)} or later"]
    lines += [
        f"not seen  entries from {epoch['size']} on, logged after the index epoch",
        "not checked here: that the epoch was derived from the entries; whoever holds them can replay it (tlog fsck)",
        "not checked here: that entries without shown data carry the keys of their data",
    ]
    what = f"exactly {answered:,} events" if answered else "no event"
    answer = "has been logged for" if arguments.mode == "count" else "answers" if answered < 2 else "answer"
    checked = {"entries": len(evidence.entries), "segments": len(evidence.ranges), "disclosures": disclosed}
    return f"{what} {answer} the question, of all that {evidence.checkpoint.origin} had indexed", lines, checked


def command_fraud(arguments: argparse.Namespace) -> tuple[str, list[str], dict[str, int]]:
    """Check that the log convicts itself: of an index that leaves out an event, of a false key, of a clock that went back.

    The first two take an event's proof, its event file and the evidence bundle that lacks it, the second one the event's data
    as well. The last one takes a clock fraud file or a bundle alone.
    """
    key, document = parse_vkey(arguments.vkey), read_document(arguments.file)
    given = [each for each in (arguments.proof, arguments.event) if each is not None]
    require(len(given) != 1, "--proof and --event belong together", MalformedError)
    if document.get("type") == CLOCK_FRAUD["type"]:
        alone = not given and fits(document, CLOCK_FRAUD) and len(document["entries"]) == 2
        require(
            alone, "a clock fraud file has exactly its members, two entries, and no --proof or --event", MalformedError
        )
        checkpoint, entries = open_entries(document, key)
        evidence = None
    else:
        evidence = Evidence(document, key)
        checkpoint, entries = evidence.checkpoint, evidence.entries
    if fault := went_back(entries):
        return f"FRAUD: {fault}", [f"signed    {checkpoint}"], {"entries": len(entries)}
    if evidence is None or not given:
        raise VerificationError("the entries are logged in order: nothing is proved")
    index, entry, disclosures, older = open_event(arguments)
    lines = [f"event     {entry['eventId']} is entry {index} of {older}", f"signed    {checkpoint}"]
    for group, disclosure in disclosures.items():
        if evidence.convicts_key(entry, group, check_disclosure(entry, group, *disclosure)):
            return f"FRAUD: entry {index} carries a false key: its {group} has another one", lines, {"entries": 2}
    evidence.open_index()
    for segment, text in evidence.ranges:
        for index_key in entry["keys"] if segment.start <= index < segment.end else []:
            low, high = (index_key[:8] + struct.pack(">I", index + n - segment.start) for n in (0, 1))
            try:
                first, last, _ = find_places(segment, text, low, high)
            except VerificationError:
                continue  # the bundle is about another key
            require(first == last, f"the index has entry {index} under this key: no fraud")
            said = f"FRAUD: the index epoch of {evidence.epoch['size']:,} entries leaves out entry {index}"
            return said, lines, {"entries": 2}
    raise VerificationError(f"the bundle does not show what the index has of entry {index}: nothing is proved")


def matches(question: dict[str, str], entry: dict[str, Any]) -> bool:
    """Tell whether an entry has what is asked of its clear members."""
    clear = all(question.get(name, entry[name]) == entry[name] for name in ("action", "outcome", "resourceType"))
    time = comparable(entry["timestamp"])
    early = "from" in question and time < comparable(question["from"])
    late = "to" in question and time >= comparable(question["to"])
    return clear and not early and not late


def read(path: str | Path, limit: int = MAX_FILE) -> bytes:
    """Return a file's bytes, at most `limit`."""
    with Path(path).open("rb") as file:
        data = file.read(limit + 1)
    require(len(data) <= limit, f"{path} is longer than {limit} bytes", MalformedError)
    return data


def main(argv: list[str] | None = None) -> int:
    """Run a command and print its verdict; return the exit code."""
    codes = "Exit codes: 0 verified, 1 failed, 2 malformed input or usage, 3 not everything could be checked."
    parser = argparse.ArgumentParser(prog="verify.py", description=str(__doc__).split("\n")[0], epilog=codes)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    options: dict[str, argparse.ArgumentParser] = {}
    for function in (
        command_checkpoint,
        command_proof,
        command_consistency,
        command_log,
        command_evidence,
        command_fraud,
    ):
        name = function.__name__.removeprefix("command_")
        what_for = str(function.__doc__)
        command = options[name] = commands.add_parser(
            name, help=what_for.split("\n", maxsplit=1)[0], description=what_for
        )
        command.set_defaults(function=function)
        command.add_argument("--vkey", action=Once, required=True, help="the log's public key, literally or as @FILE")
        command.add_argument("--json", action="store_true", help="print the verdict as JSON")
        what = {
            "log": "the directory of the export",
            "evidence": "the bundle",
            "fraud": "the evidence bundle, or a clock fraud file",
        }
        command.add_argument("proof" if name == "proof" else "file", help=what.get(name, f"the {name} file"))
    options["fraud"].add_argument("--proof", action=Once, help="the event's .tlog-proof file")
    for name in ("proof", "fraud"):
        required = name == "proof"
        options[name].add_argument("--event", action=Once, required=required, help="the event's .event.json file")
    options["proof"].add_argument("--require-disclosures", action="store_true", help="exit with 3 if data is withheld")
    older = "the older checkpoint; the proof has the newer one"
    options["consistency"].add_argument("--old", action=Once, required=True, help=older)
    options["log"].add_argument("--old", action="append", default=[], help="an older checkpoint; repeatable")
    asks = "resource=TYPE:ID, actor=USERID, action=…, outcome=…, resourceType=…, resourceId=…; repeatable, all apply"
    options["evidence"].add_argument("--ask", action="append", default=[], required=True, help=asks)
    bounds = {
        "--from": "happened then or later, says its producer: 2026-03-01[T08:00:00Z], in any zone",
        "--to": "happened before",
        "--logged-from": "logged then or later, by the log's clock",
        "--logged-to": "logged before",
    }
    for (option, what_for), name in zip(bounds.items(), TIMES.values(), strict=True):
        options["evidence"].add_argument(option, dest=name, action=Once, help=what_for)
    options["evidence"].add_argument(
        "--count", dest="mode", action="store_const", const="count", default="answer", help="only how many"
    )
    arguments = parser.parse_args(argv)
    summary, details, checked, problems, code = "", [], {}, [], 0
    try:
        summary, details, checked = arguments.function(arguments)
    except tuple(CODES) as error:
        problems, code = str(error).split("\n"), CODES[type(error)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, struct.error, RecursionError):
        problems, code = ["the file does not have the members its format needs"], CODES[MalformedError]
    except OSError as error:
        problems, code = [f"{error.filename}: {error.strerror}"], CODES[MalformedError]
    if arguments.json:
        verdict = {"verdict": VERDICTS[code], "exitCode": code, "summary": summary, "problems": problems}
        # In pieces: standard output without a buffer (PYTHONUNBUFFERED) may stop in the midst of a large one.
        return write([*json.JSONEncoder().iterencode({**verdict, "details": details, "checked": checked})], code)
    lines = [*details, *(f"{VERDICTS[code].upper()}: {line}" for line in problems or [summary])]
    # What a producer wrote must not command the reader's terminal.
    return write(["\n".join("".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines)], code)


def write(verdict: list[str], code: int) -> int:
    """Write a verdict to standard output; return its exit code, which is never 0 where the verdict was not written whole."""
    try:
        if sys.stdout is None:  # what Python has there if it was started without one
            raise OSError("it is closed")
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        print(*verdict, sep="", flush=True)
    except OSError as error:
        sys.stdout = None  # or Python would try to write the rest when it ends
        print(f"verify.py: cannot write the verdict to standard output: {error}", file=sys.stderr)
        return code or CODES[MalformedError]
    return code


if __name__ == "__main__":
    sys.exit(main())
