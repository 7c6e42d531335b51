"""Verify evidence from a tlog audit log, offline, with this one file and Python 3.11 or newer. Nothing to install.

Trusted are this file (read it), Python's standard library, and the log's public key (its vkey), which you must have from
somewhere you believe. Nothing else is believed before it was checked:

    checkpoint   the log signed this tree size and root hash                      c2sp.org/signed-note, tlog-checkpoint
    proof        this event is in the signed tree, with this personal data        c2sp.org/tlog-proof, RFC 6962
    consistency  the newer signed tree contains the older one, unchanged          RFC 6962
    log          every entry and tile of an export leads to the signed root hash  c2sp.org/tlog-tiles
    evidence     these events and no others answer your question                  docs/reference/formats.md
    fraud        the log contradicts what it signed                               docs/reference/formats.md
    fork         the key signed two histories                                     docs/reference/formats.md
Exit codes: 0 verified; 1 verification failed; 2 malformed input or usage, or evidence that answers another question; 3 not
everything asked for could be checked.
Left out: other signatures than Ed25519, cosignatures of witnesses, fetching anything over a network.
"""

import argparse
import binascii
import csv
import hashlib
import hmac
import html
import json
import re
import struct
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

MAX_FILE, MAX_BUNDLE, MAX_ENTRY, MAX_SIZE = 1 << 20, 1 << 25, 65_535, 2**63 - 1
HASH, WIDTH, POSTING, PAGE = 32, 256, 12, 32 * 12
EMPTY_ROOT = hashlib.sha256(b"").digest()
LEAF, NODE, CHAIN, COMMITMENT, TABLE = b"\x00", b"\x01", b"\x02", b"\x10", b"\x13"


class VerificationError(Exception):
    """Well-formed evidence that does not prove what it should."""


class MalformedError(Exception):
    """Input that does not have the form it must have."""


class IncompleteError(Exception):
    """Something that was asked for is not there to be checked."""


class OtherQuestionError(Exception):
    """Evidence that is right, and answers another question; that question and its mode are in `args[1:]`."""


def require(condition: object, message: str, error: type[Exception] = VerificationError) -> None:
    """Raise an error unless `condition` holds."""
    if not condition:
        raise error(message)


# The form of JSON values, as `fits` compares them: exactly these members ("?": it may be absent), [items of a list], (items by
# their places), a range of integers, a pattern of the whole text.
FORK = {"first": str, "proof": [str], "root": str, "second": str, "type": "tlog-fork", "v": 1}
CLOCK_FRAUD = {"checkpoint": str, "entries": [(int, str)], "hashes": str, "type": "tlog-clock-fraud", "v": 1}
SALTED = {"body": str, "salt": str}
EVENT_FILE = {"absent": [(str, int)], "disclosed": [str], "disclosures": dict, "entry": str}
# What the groups of an event hold; of the rest of it only the names of the members matter here, so any value will do.
ACTOR: dict[str, Any] = {"appendedBy": str, "userId?": str}
ACTOR |= dict.fromkeys(("address?", "email?", "ipAddress?", "role?", "type?", "userAgent?"), ...)
DETAILS = dict.fromkeys(
    ["fieldsAccessed?", "newValues?", "oldValues?", "purpose?", "query?", "reason?", "recipient?"], ...
)
RESOURCE = {"details?": DETAILS, "metadata?": dict, "resource": {"id": str, "name?": ..., "type": str}}
RELATED = {"id": str, "name?": ..., "role?": ..., "type": str}
TIMES_OF_WITNESSES = {"after": str, "afterProof": [str], "before": str, "beforeProof": [str]}
BUNDLE: dict[str, Any] = dict.fromkeys(("checkpoint", "disclosure", "hashes", "mode", "table"), str)
BUNDLE |= {
    **dict.fromkeys(("end", "epoch", "start"), int),
    "absent": [(int, str, int)],
    "buckets": [{"hashes": str, "key": str}],
    "disclosures": [(int, dict)],
    "entries": [(int, str)],
    "manifest": {"answers": int, "disclosures": int, "postings": int},
    "part?": (int, int),
    "question": dict,
    "rosters": [],
    "segments": [{"hashes": str, "runs": [(int, str)]}],
    "times?": [TIMES_OF_WITNESSES],
    "type": "tlog-evidence",
    "v": 1,
}
VERDICTS = {VerificationError: ("failed", 1), MalformedError: ("malformed", 2), IncompleteError: ("incomplete", 3)}
VERDICTS[OtherQuestionError] = "other-question", 2


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


def parse_json(data: bytes, what: str, *, exact: bool = True) -> dict[str, Any]:
    """Return the JSON object in `data`, I-JSON (RFC 7493) of at most 32 levels, if `exact` written as RFC 8785 says."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        require(len(dict(pairs)) == len(pairs), "a member stands twice", ValueError)
        return dict(pairs)

    def number(text: str) -> float:
        # RFC 8785 writes numbers as doubles, below 10^21 without an exponent.
        require(not text.strip("-").isdigit() or len(text) <= 22, "never written", ValueError)
        value = int(text) if text.strip("-").isdigit() and abs(int(text)) < 2**53 else float(text)
        require(abs(value) != float("inf"), "no number", ValueError)
        return value

    def constant(_: str) -> None:
        raise ValueError

    try:
        hooks = {"parse_int": number, "parse_float": number, "parse_constant": constant}
        value = json.loads(data.decode(), object_pairs_hook=unique, **hooks)  # type: ignore[arg-type]
        written = canonical(value).encode()  # which half a surrogate pair cannot be
        # Other spacing, escapes, order, numbers: all of them come out different.
        right = isinstance(value, dict) and (written == data or not exact)
    except (ValueError, RecursionError):
        right = False
    require(right, f"{what} is not a JSON object" + " in canonical form (RFC 8785)" * exact, MalformedError)
    return value  # type: ignore[no-any-return]


TEXT = json.JSONEncoder(ensure_ascii=False).encode


def canonical(value: object, depth: int = 0) -> str:
    """Return a JSON value as RFC 8785 writes it."""
    require(depth < 32 or not isinstance(value, dict | list), "nested deeper than 32 levels", ValueError)
    if isinstance(value, dict):
        names = (
            sorted(value) if all(map(str.isascii, value)) else sorted(value, key=lambda name: name.encode("utf-16-be"))
        )
        return "{" + ",".join(f"{TEXT(name)}:{canonical(value[name], depth + 1)}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    if not isinstance(value, float):
        return TEXT(value)
    sign, figures, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits, point = "".join(map(str, figures)), len(figures) + int(exponent)  # the value is 0.<digits> times 10^point
    if not value:
        return "0"
    if 0 < point <= 21:
        text = digits[:point].ljust(point, "0") + ("." + digits[point:]) * (len(digits) > point)
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + ("." + digits[1:]) * (len(digits) > 1) + f"e{point - 1:+d}"
    return "-" * sign + text


def fits(value: object, form: Any) -> bool:  # noqa: ANN401 - a form is made of types and values
    """Tell whether a JSON value has a form: int is a whole number from 0 to the largest tree size, and true is none."""
    if isinstance(form, dict):
        members = {name.removesuffix("?"): part for name, part in form.items()}
        needed = {name for name in form if not name.endswith("?")}
        same = isinstance(value, dict) and needed <= value.keys() <= members.keys()
        return same and all(fits(part, members[name]) for name, part in value.items())  # type: ignore[attr-defined]
    if isinstance(form, list):
        return isinstance(value, list) and all(form and fits(item, form[0]) for item in value)
    if isinstance(form, tuple):
        return isinstance(value, list) and len(value) == len(form) and all(map(fits, value, form))
    if isinstance(form, re.Pattern):
        return type(value) is str and form.fullmatch(value) is not None
    if isinstance(form, type):
        return type(value) is form and (form is not int or 0 <= value <= MAX_SIZE)  # type: ignore[operator]
    inside = isinstance(form, range) and type(value) is int and value in form
    return form is ... or inside or (type(value) is type(form) and value == form)


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
    data = vkey.encode("utf-8", "replace")
    if vkey.startswith("@"):
        data = read(vkey[1:]).removesuffix(b"\n").removesuffix(b"\r")
    match = re.fullmatch(r"([^\s\x00-\x1f+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", data.decode("utf-8", "replace"))
    if match is None or len(match[1].encode()) > 255:
        hint = ""
        with suppress(OSError, ValueError):  # what is no name of a file
            hint = f"; did you mean @{vkey}?" if Path(vkey).is_file() else ""
        raise MalformedError("a vkey has the form <name>+<key ID>+<base64 key>, the name at most 255 bytes" + hint)
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
        changed = ": its line ends were changed" * (b"\r\n" in note)
        raise MalformedError(f"a note must be UTF-8 without control characters{changed}")
    text, separator, tail = note.rpartition(b"\n\n")
    lines = tail.split(b"\n")
    if not separator or lines.pop() or not 1 <= len(lines) <= 100:
        raise MalformedError("a note is a text, an empty line and 1 to 100 signature lines, each ended by a newline")
    matches = [re.fullmatch(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)", line.decode()) for line in lines]
    named = all(match and len(match[1].encode()) <= 255 for match in matches)
    form = "a signature line has the form '— <key name> <base64 signature>', the name at most 255 bytes"
    require(named, form, MalformedError)
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
    form = f"a proof has a line '{label.decode()}<number>', at most 63 hashes, an empty line and a checkpoint"
    require(note and 1 <= len(lines) <= 1 + 63 and lines[0].startswith(label), form, MalformedError)
    number = parse_decimal(lines[0][len(label) :], f"the number after '{label.decode()}'")
    return number, [parse_base64(line, "a hash of the proof", HASH) for line in lines[1:]], note


# --- Entries and event files -----------------------------------------------------------------------------------------
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
ACTIONS = "read", "create", "update", "delete", "export", "login", "logout", "permission_change", "config_change"
HASH_TEXT, KEY_TEXT = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", "[A-Za-z0-9_-]{21}[AQgw]"  # without bits that say nothing
TYPE, VERB = "[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", "[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}"
CONTROL = "(?!(?:event|index|index-keys)$)[a-z-]{1,32}"
EVENT = re.compile(  # an event's entry, member by member in the order of RFC 8785
    rf'\{{"action":"(?P<action>{"|".join(ACTIONS)})","commitments":\{{"actor":"(?P<actor>{HASH_TEXT})",'
    rf'(?:"related":\["(?P<related>{HASH_TEXT}(?:","{HASH_TEXT}){{0,31}})"\],)?"resource":"(?P<resource>{HASH_TEXT})"\}},'
    rf'"eventId":"(?P<eventId>[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})","keys":\["(?P<keys>{KEY_TEXT}(?:","{KEY_TEXT})+)"\],'
    rf'"loggedAt":"(?P<loggedAt>{TIME}\.[0-9]{{6}}Z)",(?:"operation":"(?P<operation>{VERB})",)?'
    rf'"outcome":"(?P<outcome>success|failure|unknown)","resourceType":"(?P<resourceType>{TYPE})",'
    rf'(?:"source":\{{"id":"(?P<sourceId>{VERB})","seq":(?P<seq>0|[1-9][0-9]{{0,15}})\}},)?'
    rf'"timestamp":"(?P<timestamp>{TIME}(?:\.[0-9]{{1,9}})?Z)","type":"event","v":1\}}'
)
WHEN, INSTANCE = re.compile(rf"{TIME}\.[0-9]{{6}}Z"), re.compile("[A-Za-z0-9_-]{10}[AEIMQUYcgkosw048]")
SERVER = {"system": re.compile("0|[1-9][0-9]{0,19}"), "timeline": range(1, 1 << 32)}
WHY = re.compile("database|disk|standby|signer|clock")
KIND, HASHED, KEYED = map(re.compile, ("[a-z-]{1,32}", HASH_TEXT, KEY_TEXT))
INDEX_KEYS = {"bits": range(25), "loggedAt": WHEN, "origin": str, "root": HASHED, "type": "index-keys", "v": 1}
INDEX = {"ends": [int], "loggedAt": WHEN, "size": int, "table": HASHED, "type": "index", "v": 1}
SAID = {"keys": [KEYED], "loggedAt": WHEN, "v": 1}
OUTCOME = SAID | {"kind": KIND, "report": dict, "type": "outcome"}
REPORTS = {  # of outcomes, by their kind
    "checked": {"since": int, "size": int, "unexplained": int, "verdict": re.compile("verified|failed|incomplete")},
    "failover": {"accepted": re.compile("synchronous|operator"), "from": SERVER, "size": int, "to": SERVER},
    "lost": {"end": int, "n": int, "start": int},
    "restored": {"backup": HASHED, "size": int, "takenAt": WHEN},
    "stalled": {"from": WHEN, "to": WHEN, "what": re.compile("appending|sealing"), "why": WHY},
    "started": {"instance": INSTANCE, "version": re.compile("[0-9A-Za-z.+-]{1,64}")},
    "stopped": {"instance": INSTANCE},
}
STREAM = re.compile("kafka:[A-Za-z0-9_.-]{1,64}/[A-Za-z0-9_.-]{1,249}/[A-Za-z0-9_-]{22}")
PART: dict[str, Any] = dict.fromkeys(("from", "logged", "refused", "to"), range(1 << 53))
PART |= {"lost?": True, "partition": range(1 << 31), "released?": True}
INTAKE = SAID | {"format": KIND, "partitions": [PART], "root": HASHED, "stream": STREAM, "type": "intake"}


def public_key(kind: str, value: str) -> bytes:
    """Return the index key of what is public: an action, an operation, a source, the type of a control entry."""
    return sha256(f"public\0{kind}\0{value}".encode())[:16]


def parse_entry(data: bytes) -> dict[str, Any]:
    """Return the members of an entry that are needed here; `keys` by name and `commitments` by group are dictionaries.

    The names of an event's keys are their kinds, and related/0, related/1, …; of what another entry's keys are of, only the
    first one is known. An entry of a type or version that this file does not know has `known` false.
    """
    require(len(data) <= MAX_ENTRY, f"an entry has at most {MAX_ENTRY} bytes", MalformedError)
    match = EVENT.fullmatch(data.decode("latin-1"))  # which has a character for each byte
    if match is not None and int(match["seq"] or "0") < 2**53:
        entry = match.groupdict()
        related = [] if entry["related"] is None else entry["related"].split('","')
        about = {kind: entry[name] for kind, name in PUBLIC.items() if kind != "control" and entry[name] is not None}
        names = ["actor", "resource", *about, *(f"related/{number}" for number in range(len(related)))]
        texts = entry["keys"].split('","')
        require(len(texts) == len(names), "an event has one index key for each thing that it names", MalformedError)
        keys = dict(zip(names, decode_keys(texts), strict=True))
        right = all(keys[kind] == public_key(kind, value) for kind, value in about.items())
        require(right, "a key is not that of the event's action, operation or source", MalformedError)
        check_date(entry["loggedAt"])
        check_date(entry["timestamp"])
        entry |= {"type": "event", "v": 1, "known": True, "keys": keys}
        return entry | {"commitments": groups_of({"related": related, **{each: entry[each] for each in GROUPS}})}
    entry = parse_json(data, "the entry")
    kind, version, logged_at = (entry.get(name) for name in ("type", "v", "loggedAt"))
    named = fits([kind, logged_at], (str, WHEN)) and type(version) is int
    require(named, "an entry has a type, a version, and as loggedAt a time", MalformedError)
    check_date(str(logged_at))
    form = {"event": {}, "index-keys": INDEX_KEYS, "index": INDEX}.get(str(kind)) if version == 1 else None
    if form is None:
        parse = {"outcome": parse_outcome, "intake": parse_intake}.get(str(kind)) if version == 1 else None
        said = {"known": False} if parse is None else parse(entry)
        return {"type": kind, "v": version, "loggedAt": logged_at} | said | parse_unknown(entry)
    known = form and fits(entry, form)
    require(known, "the entry does not have exactly the members of version 1 of its type", MalformedError)
    if kind == "index":
        ends = [0, *entry["ends"]]
        whole = all(a < b for a, b in pairwise(ends)) and ends[-1] == entry["size"] > 0
        require(whole, "the ends of an index epoch rise from above 0 to its size", MalformedError)
    return entry | {"known": True, "keys": {}, "commitments": {}}


def parse_unknown(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the keys, by name, and the commitments, by group, of an entry of a type or version that this file does not know."""
    require(not has_inner_keys([*entry.values()]), "a member called keys stands inside of another", MalformedError)
    texts, commitments = entry.get("keys", []), entry.get("commitments", {})
    right = fits(texts, [KEYED]) and ("keys" in entry) == (1 <= len(texts) <= 40)
    require(right, "keys are 1 to 40 texts of 22 characters each, in canonical base64url", MalformedError)
    keys = {f"any/{number}": key for number, key in enumerate(decode_keys(texts))}
    if keys and entry["type"] != "event":
        keys = {"control": keys.pop("any/0"), **keys}
        typed = keys["control"] == public_key("control", entry["type"])
        require(typed, "the first key is not the one of the entry's type", MalformedError)
    right = fits(commitments, {"actor?": HASHED, "related?": [HASHED], "resource?": HASHED})
    right = right and ("related" not in commitments or 1 <= len(commitments["related"]) <= 32)
    require(right, "the commitments are not those of groups, in canonical base64url", MalformedError)
    return {"keys": keys, "commitments": groups_of(commitments)}


def parse_outcome(entry: dict[str, Any]) -> dict[str, Any]:
    """Return kind and report of an outcome, in which the log says what it did; a kind may be one that this file does not know."""
    right = fits(entry, OUTCOME) and fits(entry["report"], REPORTS.get(entry["kind"], dict))
    require(right, "an outcome has exactly its members, and its report those of its kind", MalformedError)
    kind, report, known = entry["kind"], entry["report"], entry["kind"] in REPORTS
    for time in [each for each in report.values() if known and fits(each, WHEN)]:
        check_date(time)
    ordered = kind != "stalled" or report["from"] <= report["to"]
    ordered = ordered and (kind != "checked" or report["since"] <= report["size"])
    ordered = ordered and (kind != "lost" or 1 <= report["n"] <= report["end"] - report["start"])
    require(ordered, "what an outcome reports ends before it begins, or is of no entry", MalformedError)
    return {"kind": kind, "report": report, "known": known}


def parse_intake(entry: dict[str, Any]) -> dict[str, Any]:
    """Return stream and partitions of an intake, in which the log says what of a stream it took."""
    require(fits(entry, INTAKE), "an intake has exactly its members, each in its form", MalformedError)
    keys = [public_key("control", "intake"), public_key("stream", entry["stream"])]
    require(
        decode_keys(entry["keys"]) == keys, "the keys of an intake are those of its type and its stream", MalformedError
    )
    parts, taken = entry["partitions"], 0
    rising = all(before["partition"] < after["partition"] for before, after in pairwise(parts))
    require(rising and 1 <= len(parts) <= 500, "an intake is of 1 to 500 partitions, rising", MalformedError)
    for part in parts:
        number, length = part["logged"] + part["refused"], part["to"] - part["from"]
        right = 0 <= number <= length and ("lost" not in part or (number == 0 < length and "released" not in part))
        require(right and ("released" not in part or not length), "a partition's numbers contradict", MalformedError)
        taken += number
    empty = parse_base64url(entry["root"], "the root over the marks", HASH) == EMPTY_ROOT
    require(empty == (taken == 0), "the root of an intake is not one over so many messages", MalformedError)
    return {"stream": entry["stream"], "partitions": parts, "known": True}


def decode_keys(texts: list[str]) -> list[bytes]:
    """Return index keys, of 16 bytes, whose texts have their form."""
    keys = [binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "==") for text in texts]
    distinct = len({key[:8] for key in keys}) == len(keys)
    require(distinct, "the index keys of an entry differ in their first 8 bytes", MalformedError)
    return keys


def has_inner_keys(value: object) -> bool:
    """Tell whether a member called keys stands somewhere in a value."""
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return (isinstance(value, dict) and "keys" in value) or any(map(has_inner_keys, items))


def groups_of(commitments: dict[str, Any]) -> dict[str, Any]:
    """Return the commitments by group, in the order of the groups."""
    first = {group: commitments[group] for group in GROUPS if group in commitments}
    return first | {f"related/{number}": each for number, each in enumerate(commitments.get("related", []))}


def check_date(time: str) -> None:
    """Check that the day of a time that begins with TIME exists."""
    try:
        datetime.fromisoformat(time[:10])
    except ValueError:
        raise MalformedError("a time of the entry does not exist") from None


def ident_of(kind: str, *values: str) -> bytes:
    """Return what a personal index key is made of: its kind and values in Unicode's form NFC, between zero bytes."""
    return unicodedata.normalize("NFC", "\0".join([kind, *values])).encode()


def unassigned(text: str) -> str:
    """Return the code points of a text that this Python does not know, and so not their form NFC; nothing if there are none."""
    strangers = sorted({character for character in text if unicodedata.category(character) == "Cn"})
    known = f"(Python's tables here are those of Unicode {unicodedata.unidata_version})"
    return ", ".join(f"U+{ord(each):04X}" for each in strangers) + f" {known}" if strangers else ""


def check_disclosure(entry: dict[str, Any], group: str, salt: bytes, body: str) -> bytes:
    """Check that a disclosure is what the entry commits to and what the group holds; return the ident of what it is about."""
    commitment = parse_base64url(entry["commitments"][group], f"the {group} commitment", HASH)
    if sha256(COMMITMENT, salt, body.encode()) != commitment:
        raise VerificationError(f"the {group} data is not what the entry commits to")
    if not entry["known"]:
        return b""  # what its groups hold is for somebody to say who knows its type
    content = parse_json(body.encode(), f"the {group} data", exact=False)
    kind = group.split("/", maxsplit=1)[0]
    what = f"the {group} data is not what an event has there"
    require(fits(content, {"actor": ACTOR, "resource": RESOURCE, "related": RELATED}[kind]), what, MalformedError)
    if kind == "actor":
        actor, user = content.get("type", "service"), content.get("userId", "")
        named = user if actor in ("service", "system") else actor == "unknown" and "userId" not in content
        require(named, what, MalformedError)
        return ident_of(kind, user)
    about = content["resource"] if kind == "resource" else content
    require(re.fullmatch(TYPE, about["type"]), what, MalformedError)
    same = kind == "related" or about["type"] == entry["resourceType"]
    require(same, "the resource data is of another type than the entry says")
    return ident_of(kind, about["type"], about["id"])


def parse_event_file(data: bytes) -> tuple[bytes, dict[str, tuple[bytes, str]], dict[str, int]]:
    """Return the entry's bytes, and (salt, body) of each group that is disclosed, of an event file.

    Of each other group that it claims to disclose there is the index of the outcome that is to explain that it is absent; 0,
    which explains nothing, if it names none.
    """
    require(data.endswith(b"\n"), "an event file ends with a newline", MalformedError)
    content = parse_json(data[:-1], "the event file")
    members = "an event file has the members 'absent', 'disclosed', 'disclosures' and 'entry', and no others"
    require(fits(content, EVENT_FILE), members, MalformedError)
    disclosures = parse_disclosures(content["disclosures"], ALL_GROUPS)
    claimed, absent = content["disclosed"], dict(content["absent"])
    rising = all(list(each) == [group for group in ALL_GROUPS if group in each] for each in (claimed, absent))
    rising = rising and len(absent) == len(content["absent"])
    require(rising, "'disclosed' or 'absent' does not list groups, in their order", MalformedError)
    right = {*disclosures, *absent} <= {*claimed} and not disclosures.keys() & absent.keys()
    require(right, "what is disclosed or absent is not claimed, or is both", MalformedError)
    unseen = {each: absent.get(each, 0) for each in claimed if each not in disclosures}
    return content["entry"].encode(), disclosures, unseen


def parse_disclosures(disclosures: dict[str, Any], groups: Collection[str]) -> dict[str, tuple[bytes, str]]:
    """Return (salt, body) of each of these groups that is disclosed, in their order."""
    right = disclosures.keys() <= {*groups} and all(fits(each, SALTED) for each in disclosures.values())
    require(right, "disclosures are of groups of the entry, each with the members 'body' and 'salt'", MalformedError)
    shown = [(group, disclosures[group]) for group in groups if group in disclosures]
    return {group: (parse_base64url(each["salt"], "a salt", 16), each["body"]) for group, each in shown}


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

    def __init__(self, directory: Path, watched: set[int], origin: str) -> None:
        """Look below `directory`; keep the root hashes at the sizes `watched`."""
        self.directory, self.watched, self.origin = directory, watched, origin
        self.problems: list[str] = []
        self.missing: list[str] = []
        self.levels: list[tuple[int, list[bytes]]] = []  # of each level the right-most tile: its index and hashes
        self.roots: dict[int, bytes] = {}
        self.entries = self.tiles = self.unknown = 0
        self.chain, self.log_id, self.logged_at = bytes(HASH), b"", ""

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
        self.log_id = self.log_id or leaf
        self.chain = sha256(CHAIN, self.chain, leaf)
        try:
            entry = parse_entry(data)
            before, self.logged_at = self.logged_at, entry["loggedAt"]
            require(self.logged_at >= before, "it is logged earlier than the entry before", MalformedError)
            first = self.entries or entry.get("origin") == self.origin
            require(first, "it does not commit to bucket keys of this origin", MalformedError)
            early = entry.get("size", 0) <= self.entries
            require(early, "its index epoch claims to cover entries from its own on", MalformedError)
            self.unknown += not entry["known"]
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
GROUPS = "actor", "resource"  # and related/0, related/1, …
ALL_GROUPS = [*GROUPS, *(f"related/{number}" for number in range(32))]
# Which member of a question asks for a public key, by the kind of the key.
PUBLIC = {"action": "action", "operation": "operation", "source": "sourceId", "control": "control"}
TIMES = {"from": "since", "to": "to", "loggedFrom": "logged_from", "loggedTo": "logged_to"}
# The values that entries can have. Under another one nothing is in the index, and the proof of that would be right.
VALUES = {
    "action": "|".join(ACTIONS),
    "actorType": "unknown",
    "control": CONTROL,
    "operation": VERB,
    "outcome": "success|failure|unknown",
    "resourceType": TYPE,
    "sourceId": VERB,
}
IDS = {"resourceId": (1024, 2048), "userId": (256, 1024)}  # at most so many characters and bytes
REFUSED_IN_IDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def parse_question(arguments: argparse.Namespace) -> tuple[dict[str, str], list[str]]:
    """Return the question of the command line in the form of a bundle, and what has to be said about that form."""
    given: list[tuple[str, str]] = []
    for ask in arguments.ask:
        name, _, value = ask.partition("=")
        names = ["resourceType", "resourceId"] if name == "resource" else [name]
        known = value and {*names} <= {*VALUES, *IDS, *TIMES}
        asks = ", ".join(["resource", *VALUES, *IDS, *TIMES])
        require(known, f"--ask takes one of {asks}, as in action=read", MalformedError)
        values = value.split(":") if name == "resource" else [value]
        colon = "resource=TYPE:ID has exactly one colon; ask with resourceType=… and resourceId=… instead"
        require(len(values) == len(names) and all(values), colon, MalformedError)
        given += zip(names, values, strict=True)
    times = [(name, getattr(arguments, option)) for name, option in TIMES.items()]
    given += [(name, time) for name, time in times if time is not None]
    return form_question(given)


def form_question(given: list[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Return the question of members and their values in the form of a bundle, and what has to be said about that form."""
    question, said = dict(given), list[str]()
    require(len(question) == len(given), "a part of the question is asked for twice", MalformedError)
    for name, value in given:
        if name in TIMES:
            question[name] = to_utc(value, name)
        elif name in VALUES:
            require(re.fullmatch(VALUES[name], value), f"no entry can have this {name}", MalformedError)
        else:
            question[name], hashed = to_id(value, name)
            said += [f"{name} breaks the rule of ids, so it was hashed: {question[name]}"] if hashed else []
    check_question(question)
    return question, said


def check_question(question: dict[str, str]) -> None:
    """Check that the parts of a question go together."""
    paired = "resourceId" not in question or "resourceType" in question
    require(paired, "resourceId needs resourceType: both together name a resource", MalformedError)
    alone = not {"actorType", "userId"} <= question.keys()
    require(alone, "actorType=unknown asks for events without a userId, so not beside userId", MalformedError)
    beside = question.keys() - {"control", "loggedFrom", "loggedTo"}
    alone = "control" not in question or beside in (set(), {"resourceId", "resourceType"})
    require(alone, "control stands beside resourceType with resourceId, loggedFrom and loggedTo only", MalformedError)
    for first, last in (("from", "to"), ("loggedFrom", "loggedTo")):
        ordered = {first, last} - question.keys() or comparable(question[first]) <= comparable(question[last])
        require(ordered, f"'{first}' is after '{last}'", MalformedError)
    since, until = looks_from(question), question.get("loggedTo")
    ordered = since is None or until is None or comparable(since) <= comparable(until)
    require(ordered, "'from' is more than 24 hours after 'loggedTo'; state 'loggedFrom' as well", MalformedError)
    indexed = question.keys() & {"resourceId", "userId", "actorType", *PUBLIC.values()}
    index = "a resource, a userId, actorType, sourceId, operation, control or action"
    require(indexed, f"ask for {index}: only those are in the index", MalformedError)


def to_id(text: str, what: str) -> tuple[str, bool]:
    """Return an id in the form that questions have it, and whether it breaks the rule of ids and was hashed for that."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise MalformedError(f"'{what}' is no text in UTF-8") from None
    strangers = unassigned(text)
    require(not strangers, f"'{what}' has code points whose form is not known: {strangers}", IncompleteError)
    (characters, size), forms = IDS[what], (text, unicodedata.normalize("NFC", text))  # which may be longer, or shorter
    keeps = all(len(form) <= characters and len(form.encode()) <= size for form in forms)
    if not keeps or REFUSED_IN_IDS.search(text):
        return f"sha256:{hashlib.sha256(data).hexdigest()}", True
    return forms[1], False


def to_utc(text: str, what: str) -> str:
    """Return a time of any zone, or a date for its midnight, in UTC with the fraction digits it came with."""
    given = f"{text}T00:00:00Z" if re.fullmatch(r"[0-9-]{10}", text) else text.upper()
    match = re.fullmatch(rf"({TIME})(\.[0-9]{{1,9}})?(Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])", given)
    try:
        moment = None if match is None else datetime.fromisoformat(match[1] + match[3]).astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if match is None or moment is None:
        raise MalformedError(f"'{what}' is no date, and no time with its zone, such as 2026-03-01T08:00:00Z")
    return f"{moment.isoformat()[:19]}{match[2] or ''}Z"


def idents_of(question: dict[str, str]) -> dict[str, bytes]:
    """Return what the personal index keys asked for are made of, by kind, in the order that their buckets have in a bundle."""
    idents = {}
    if "resourceId" in question:
        kinds = ("related",) if "control" in question else ("resource", "related")
        idents = {kind: ident_of(kind, question["resourceType"], question["resourceId"]) for kind in kinds}
    if question.keys() & {"userId", "actorType"}:
        idents["actor"] = ident_of("actor", question.get("userId", ""))  # who is unknown has the empty userId
    return idents


def looked_under(question: dict[str, str]) -> list[str]:
    """Return the kinds of the index keys under which the question is looked up."""
    public = [kind for kind in ("source", "operation", "control", "action") if PUBLIC[kind] in question]
    kinds = [*idents_of(question), *public]
    return [kind for kind in kinds if kind in ("resource", "related")] or kinds[:1]


def looks_from(question: dict[str, str]) -> str | None:
    """Return when the first entries that are looked at were logged: a producer's clock may be ahead by 24 hours."""
    if "loggedFrom" in question or "from" not in question:
        return question.get("loggedFrom")
    time = question["from"]
    try:
        return (datetime.fromisoformat(time[:19]) - timedelta(days=1)).isoformat() + time[19:]
    except OverflowError:  # in the first day of the year 1
        return "0001-01-01T00:00:00Z"


def comparable(timestamp: str) -> str:
    """Return a UTC timestamp with nine fraction digits, so that text sorts like time."""
    return f"{timestamp[:19]}.{timestamp[20:-1]:0<9}Z"


# --- Evidence: complete answers from the log's own index ---------------------------------------------------------------
def read_document(path: str | Path) -> dict[str, Any]:
    """Return the JSON object in a file that has evidence."""
    data = read(path, MAX_BUNDLE)
    require(data.endswith(b"\n"), "evidence ends with a newline", MalformedError)
    return parse_json(data[:-1], "the evidence")


def open_entries(
    document: dict[str, Any], key: tuple[str, bytes, bytes]
) -> tuple[Checkpoint, dict[int, dict[str, Any]], dict[int, bytes]]:
    """Return a document's checkpoint, and its entries and leaf hashes, which were checked to be in the checkpoint's tree."""
    checkpoint = open_checkpoint(document["checkpoint"].encode(), key)
    entries = {index: text.encode() for index, text in document["entries"]}
    rising = [index for index, _ in document["entries"]] == sorted(entries)
    require(rising, "the entries do not rise by index")
    leaves = {index: sha256(LEAF, entry) for index, entry in entries.items()}
    verify_joint(checkpoint.size, leaves, document["hashes"], checkpoint.root, "the entries")
    return checkpoint, {index: parse_entry(entry) for index, entry in entries.items()}, leaves


def log_id(leaf: bytes) -> str:
    """Return the ID of a log, the leaf hash of its entry 0, as text."""
    return binascii.b2a_base64(leaf, newline=False).decode().translate(str.maketrans("+/", "-_", "="))


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
        modes = bundle["mode"] in ("answer", "count", "part") and (bundle["mode"] == "part") == ("part" in bundle)
        require(modes, "the mode of a bundle is answer, count, or part with the member part", MalformedError)
        some = bundle["disclosure"] == "full" and bundle["mode"] != "count"
        right = some or (bundle["disclosure"] == "none" and not bundle["disclosures"] + bundle["absent"])
        form = "disclosure is full or none, as of a count; with none nothing is there or absent"
        require(right, form, MalformedError)
        self.bundle = bundle
        self.part, self.parts = bundle.get("part", (1, 1))
        require(1 <= self.part <= self.parts, "a part is one of those that there are", MalformedError)
        some = "times" not in bundle or 1 <= len(bundle["times"]) <= 1000
        require(some, "there are 1 to 1,000 times, or no member times", MalformedError)
        self.buckets: dict[int, bytes] = {}  # those whose proofs were checked
        self.checkpoint, self.entries, self.leaves = open_entries(bundle, key)

    def open_index(self) -> None:
        """Check the index epoch and its table, and which parts of it the window meets."""
        bundle = self.bundle
        self.epoch = self.entries.get(bundle["epoch"], {"type": None})
        known = self.epoch["type"] == "index" and self.epoch["known"]
        require(known, "the index epoch's entry is not there")
        table = decode(bundle["table"], "the segment table")
        self.segments = [Segment(*row) for row in struct.iter_unpack(">QQQ32s", table)]
        ends = [each.end for each in self.segments]
        whole = [each.start for each in self.segments] == [0, *ends[:-1]]
        whole = whole and all(each.start < each.end < each.start + 2**32 for each in self.segments)
        require(whole, "the segments do not cover the epoch, each entry once", MalformedError)
        empty = all(each.postings or each.root == EMPTY_ROOT for each in self.segments)
        require(empty, "a segment without postings has another root than that of nothing", MalformedError)
        committed = parse_base64url(self.epoch["table"], "the hash of the table", HASH)
        same = committed == sha256(TABLE, table) and ends == self.epoch["ends"]
        require(same, "the epoch commits to another segment table")
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
        asked = {kind: question[name] for kind, name in PUBLIC.items() if name in question}
        return keys | {kind: public_key(kind, value) for kind, value in asked.items()}

    def commitment(self) -> dict[str, Any]:
        """Return entry 0, which commits to the bucket keys of the log that signed."""
        first = self.entries.get(0, {"type": None})
        known = first["type"] == "index-keys" and first["known"]
        require(known, "entry 0, which commits to the bucket keys, is not there")
        require(first["origin"] == self.checkpoint.origin, "entry 0 is that of a log of another origin")
        return first

    def bucket(self, ident: bytes) -> int:
        """Return the number of an ident's bucket."""
        return int.from_bytes(sha256(ident)) >> 8 * HASH - int(self.commitment()["bits"])

    def add_bucket(self, ident: bytes, path: dict[str, str]) -> None:
        """Take in the key of an ident's bucket, if it is the one that entry 0 commits to."""
        key = decode(path["key"], "a bucket key", HASH)
        root = parse_base64url(self.commitment()["root"], "a root", HASH)
        leaf = {self.bucket(ident): sha256(LEAF, key)}
        verify_joint(1 << self.commitment()["bits"], leaf, path["hashes"], root, "a bucket key")
        self.buckets[self.bucket(ident)] = key

    def index_key(self, ident: bytes) -> bytes:
        """Return the index key of an ident in a bucket whose key was taken in."""
        return hmac.digest(self.buckets[self.bucket(ident)], ident, "sha256")[:16]

    def convicts_key(self, entry: dict[str, Any], group: str, ident: bytes) -> bool:
        """Tell whether one of the bucket keys shows that an entry's key is not that of its data, whose ident is given."""
        self.buckets = {}
        for path in self.bundle["buckets"]:
            with suppress(VerificationError):  # the key of another bucket, or entry 0 is not there
                self.add_bucket(ident, path)
        return bool(self.buckets) and self.has_false_key(entry, group, ident)

    def has_false_key(self, entry: dict[str, Any], group: str, ident: bytes) -> bool:
        """Tell whether an entry's key is shown not to be that of its data, whose ident is given."""
        known = group in entry["keys"] and self.bucket(ident) in self.buckets
        return known and entry["keys"][group] != self.index_key(ident)

    def check_window(self, question: dict[str, str]) -> set[int]:
        """Check that the window is the smallest one with every entry logged when the question looks; return its edges, and 0."""
        self.commitment()
        require(self.start < self.end or "part" not in self.bundle, "a part of a set has an empty window")
        size, ends = self.epoch["size"], []
        if self.part == 1:  # inner ends of a set have no edges
            ends.append(("begins", self.start, looks_from(question), 0))
        if self.part == self.parts:
            ends.append(("ends", self.end, question.get("loggedTo"), size))
        edges = {0, *(at for _, edge, _, _ in ends for at in (edge - 1, edge) if 0 <= at < size)}
        require(edges <= self.entries.keys(), "an entry at an edge of the window, or entry 0, is not there")
        logged = {at: comparable(self.entries[at]["loggedAt"]) for at in edges}
        for verb, edge, bound, unbounded in ends:
            if bound is None:
                late, early = edge > unbounded, edge < unbounded
            else:
                late = edge > 0 and logged[edge - 1] >= comparable(bound)
                early = edge < size and logged[edge] < comparable(bound)
            require(not late, f"the window {verb} later than the question looks")
            require(not early, f"the window {verb} earlier than the question looks")
        return edges

    def search(self, keys: dict[str, bytes], *, count: bool) -> tuple[dict[str, int], dict[str, set[int]]]:
        """Return, by kind of key, how many postings the index has in the window, and of which entries (not for a count)."""
        number_of, indexes = dict.fromkeys(keys, 0), {kind: set[int]() for kind in keys}
        for segment, text in self.ranges:
            pages, needed = open_pages(segment, text), set[int]()
            bounds = max(self.start - segment.start, 0), min(self.end, segment.end) - segment.start
            for kind, key in keys.items():
                (first, low), (last, high) = (pages.place(key[:8] + struct.pack(">I", each)) for each in bounds)
                number_of[kind] += high - low
                # Before the pages are counted: a log may say that there are 2^50 of them.
                require(count or high - low == last - first, "pages between the first and the last are not there")
                found = [] if count else pages.postings[first:last]
                indexes[kind] |= {segment.start + struct.unpack(">I", each[8:])[0] for each in found}
                if segment.postings:
                    beside = max(low - 1, 0), min(low, pages.total - 1), max(high - 1, 0), min(high, pages.total - 1)
                    between = range(beside[0] // 32, beside[3] // 32 + 1)
                    needed |= {place // 32 for place in beside} if count else {*between}
            shown = {place // 32 for place in pages.places}
            require(needed <= shown, "pages between the first and the last are not there")
            require(shown <= needed, "there are pages of the index that the question does not need")
        return number_of, indexes

    def explained(self, shown: dict[int, dict[str, Any]]) -> dict[tuple[int, str], int]:
        """Check that what is claimed and absent is explained; return by which entry, by index and group of each entry that answers."""
        rows = [(index, ALL_GROUPS.index(group), by) for index, group, by in self.bundle["absent"]]
        rising = all(before[:2] < after[:2] for before, after in pairwise(rows))
        require(rising, "the rows of what is absent do not rise by index and group")
        full, entries = self.bundle["disclosure"] == "full", self.entries
        claimed = [(index, group) for index in shown for group in entries[index]["commitments"] if full]
        absent = [(index, group) for index, group in claimed if group not in shown[index]]
        lost = losses({row[2] for row in rows}, entries, [index for index in shown if shown[index]])
        said_by = {(index, ALL_GROUPS[group]): by for index, group, by in rows if index in lost[by]}
        check_missing([each for each in absent if each not in said_by])
        require({*absent} == {*said_by} and len(said_by) == len(rows), "something that is not absent is explained")
        return said_by


def losses(outcomes: Collection[int], entries: dict[int, dict[str, Any]], there: list[int]) -> dict[int, range]:
    """Return of which entries each of these outcomes says that their data is lost; refuse one that what is shown contradicts.

    Shown are the entries, rising, and of those in `there` some data. Recovery ends at the tail of the log and brings back no
    data. Otherwise one outcome, years later, would explain any single deletion.
    """
    events = [index for index, entry in entries.items() if entry["type"] == "event"]
    committing, result = [index for index, entry in entries.items() if entry["commitments"]], {}
    seen = [*entries]
    for by in outcomes:
        said = f"MISSING: entry {by}, which is to explain what is absent, is no outcome"
        require(entries.get(by, {}).get("kind") == "lost", f"{said} of the kind lost")
        start, end, number = (entries[by]["report"][name] for name in ("start", "end", "n"))
        require(not between(events, end, by), f"{said} that does so: events came later")
        require(not between(there, start, end), f"{said} that does so: of those entries something is there")
        least, unseen = between(committing, start, end), end - start - between(seen, start, end)
        require(least <= number <= least + unseen, f"{said} that does so: another number of those entries has data")
        result[by] = range(start, end if end <= by else start)
    return result


def between(rising: list[int], start: int, end: int) -> int:
    """Return how many of rising numbers are at least `start` and below `end`."""
    return max(bisect_left(rising, end) - bisect_left(rising, start), 0)


def check_missing(missing: list[tuple[int, str]]) -> None:
    """Refuse data that is claimed to be there, (index, group), and is neither there nor explained: all counted, 1,000 named."""
    named = ", ".join(f"entry {index} {group}" for index, group in missing[:1000])
    more = f", and {len(missing) - 1000:,} more" if len(missing) > 1000 else ""
    require(not missing, f"MISSING: {len(missing):,} disclosures are absent, and no outcome explains it: {named}{more}")


class Pages(NamedTuple):
    """Postings of a segment that were proved, rising, and the place of each one among all `total` postings of the segment."""

    total: int
    places: list[int]
    postings: list[bytes]

    def place(self, bound: bytes) -> tuple[int, int]:
        """Return how many postings are smaller than a bound: of those that are shown, and of all, which these have to show."""
        at = bisect_left(self.postings, bound)
        before = self.places[at - 1] + 1 if at else 0
        after = self.places[at] if at < len(self.places) else self.total
        require(before == after, "the pages do not show where the postings asked for would be")
        return at, before


def open_pages(segment: Segment, text: dict[str, Any]) -> Pages:
    """Return the postings of pages of the index, in runs of neighbours, that were checked under the segment's root."""
    number, after, leaves, result = -(-segment.postings // 32), 0, dict[int, bytes](), Pages(segment.postings, [], [])
    for first, encoded in text["runs"]:
        postings = cut(decode(encoded, "pages of the index"), POSTING)
        last = first + (len(postings) - 1) // 32
        have = segment.postings if last == number - 1 else 32 * (last + 1)
        right = after <= first <= last < number and len(b"".join(postings)) == POSTING * (have - 32 * first)
        require(right, "pages that are not of the index")
        leaves |= {first + n: sha256(LEAF, page) for n, page in enumerate(cut(b"".join(postings), PAGE))}
        result.postings.extend(postings)
        result.places.extend(range(32 * first, have))
        after = last + 2
    require(all(a < b for a, b in pairwise(result.postings)), "pages that are not of the index")
    if segment.postings:
        verify_joint(number, leaves, text["hashes"], segment.root, "the index's pages")
    require(segment.postings or not text["hashes"], "hashes of a segment that has no pages")
    return result


# --- What a bundle answers, or the parts of a set together ------------------------------------------------------------
SHARED = "checkpoint", "disclosure", "epoch", "question", "table"  # the same in all parts of a set


class Answering(NamedTuple):
    """An entry that answers: at which place it has the key asked for, and of its groups data, or which entry says it is lost."""

    number: int
    entry: dict[str, Any]
    place: str
    disclosures: dict[str, tuple[bytes, str]]
    absent: dict[str, int]


class Answer:
    """An answer to a question, to which each part of a set adds."""

    def __init__(self, question: dict[str, str], mode: str) -> None:
        """Begin with nothing: not even a number is believed before its proof."""
        self.question, self.mode, self.looked = question, mode, looked_under(question)
        self.answers: list[Answering] = []
        self.apart: list[tuple[int, dict[str, Any]]] = []
        self.number_of = dict.fromkeys(self.looked, 0)
        self.entries = self.segments = self.disclosed = 0
        self.lost: dict[int, dict[str, Any]] = {}  # the outcomes that explain something
        self.alike: list[int] = []
        self.strangers: list[str] = []
        self.latest: dict[int, dict[str, Any]] = {}  # the last entry of the windows so far
        self.seen: dict[int, dict[str, Any]] = {}

    def add(self, evidence: Evidence) -> None:
        """Check a bundle, or a part of a set, and take in what it proves."""
        bundle, entries, question = evidence.bundle, evidence.entries, self.question
        inside = {index: entry for index, entry in entries.items() if bundle["start"] <= index < bundle["end"]}
        fault = went_back(entries) or went_back(self.latest | inside)
        require(not fault, f"{fault}, which convicts the log: see the command fraud")
        self.latest = dict([*self.latest.items(), *inside.items()][-1:])
        evidence.open_index()
        keys, edges = evidence.keys(question), evidence.check_window(question)
        counts, found = evidence.search({kind: keys[kind] for kind in self.looked}, count=self.mode == "count")
        met = sorted(set[int]().union(*found.values()))
        answers = {}
        for index in met:
            require(index in entries, f"entry {index}, to which the index points, is not there")
            kind, *twice = [kind for kind in self.looked if index in found[kind]]
            require(not twice, f"entry {index} names the resource twice, which no log lets in")
            matched = place_of(index, entries[index], kind, keys[kind])
            if not matched:
                self.alike.append(index)
            elif answers_to(question, entries[index], keys):
                answers[index] = matched
            elif "eventId" not in entries[index] and "control" not in question:
                self.apart.append((index, entries[index]))
        shown, bodies = [index for index, _ in bundle["disclosures"]], dict(bundle["disclosures"])
        rising = shown == sorted({*shown} & answers.keys()) and all(bodies.values())
        require(rising, "disclosures rise by index, are of entries that answer, and none is empty")
        data = {index: parse_disclosures(bodies.get(index, {}), entries[index]["commitments"]) for index in answers}
        for index, disclosures in data.items():
            self.check_keys(evidence, index, disclosures, keys)
        stray = entries.keys() - {*met, bundle["epoch"], *(by for _, _, by in bundle["absent"])} - edges
        require(not stray, "there are entries in the bundle that the question does not need")
        disclosed, counted = sum(map(len, bodies.values())), counts[self.looked[0]]
        answered = counted if self.mode == "count" else len(answers)
        manifest = {"answers": answered, "disclosures": disclosed, "postings": sum(counts.values())}
        require(bundle["manifest"] == manifest, "the manifest does not count what is there")
        said_by = evidence.explained(data)  # last: what is MISSING is missing from an answer that is right in all else
        self.lost |= {by: entries[by] for by in said_by.values()}
        self.seen |= entries
        absent: dict[int, dict[str, int]] = {index: {} for index in answers}
        for (index, group), by in said_by.items():
            absent[index][group] = by
        self.answers += [Answering(n, entries[n], place, data[n], absent[n]) for n, place in answers.items()]
        self.number_of = {kind: number + counts[kind] for kind, number in self.number_of.items()}
        self.entries, self.segments = self.entries + len(entries), self.segments + len(evidence.ranges)
        self.disclosed += disclosed

    def check_keys(
        self, evidence: Evidence, index: int, disclosures: dict[str, tuple[bytes, str]], keys: dict[str, bytes]
    ) -> None:
        """Check that what is disclosed of an entry that answers is its own, and leads to its keys."""
        entry, asked = evidence.entries[index], idents_of(self.question)
        for group, disclosure in disclosures.items():
            ident = check_disclosure(entry, group, *disclosure)
            if strangers := unassigned(ident.decode()):
                self.strangers.append(f"the id in {group} of entry {index}: {strangers}")
                continue
            of = next((kind for kind in asked if entry["keys"].get(group) == keys[kind]), "")
            false = asked[of] != ident if of else evidence.has_false_key(entry, group, ident)
            require(not false, f"entry {index} carries a false key: the {group} shown has another one")


def place_of(index: int, entry: dict[str, Any], kind: str, key: bytes) -> str:
    """Return the place at which an entry has a key of a kind, nothing if it has another key with the same first 8 bytes."""
    place, alike = next((each for each in entry["keys"].items() if each[1][:8] == key[:8]), ("", b""))
    require(place, f"the index points to entry {index}, which does not have the key asked for")
    right = alike != key or place.split("/")[0] in (kind, "any")
    require(right, f"the index points to entry {index}, which has the key asked for in the place of another kind")
    return place if alike == key else ""


def answers_to(question: dict[str, str], entry: dict[str, Any], keys: dict[str, bytes]) -> bool:
    """Tell whether an entry that has a key looked under has all else that is asked."""
    if "control" in question or "eventId" not in entry:
        return "eventId" not in entry and entry["keys"].get("control") == keys.get("control", b"")
    names = ["action", "operation", "outcome", "sourceId"] + ["resourceType"] * ("resourceId" not in question)
    clear = all(question.get(name, entry[name]) == entry[name] for name in names)
    time = comparable(entry["timestamp"])
    early = "from" in question and time < comparable(question["from"])
    late = "to" in question and time >= comparable(question["to"])
    return clear and not early and not late and entry["keys"]["actor"] == keys.get("actor", entry["keys"]["actor"])


# --- What commands check, before it is put into words ------------------------------------------------------------------
def open_event(
    arguments: argparse.Namespace,
) -> tuple[int, dict[str, Any], dict[str, tuple[bytes, str]], dict[str, int], Checkpoint]:
    """Return index, entry, disclosures and what explains others of an event whose inclusion proof was checked, and its checkpoint."""
    index, proof, note = parse_proof(read(arguments.proof), b"index ")
    data, disclosures, absent = parse_event_file(read(arguments.event))
    entry = parse_entry(data)
    about = entry["type"] not in ("index", "index-keys") or not entry["known"]
    require(about, "the entry is not an event", MalformedError)
    right = disclosures.keys() <= entry["commitments"].keys()
    require(right, "the entry has no such group as is shown", MalformedError)
    checkpoint = open_checkpoint(note, parse_vkey(arguments.vkey))
    verify_inclusion(index, checkpoint.size, sha256(LEAF, data), proof, checkpoint.root)
    require(absent.keys() <= entry["commitments"].keys(), "the entry has no such group as is claimed to be disclosed")
    check_missing([(index, group) for group, by in absent.items() if by <= index])
    for group, disclosure in disclosures.items():
        check_disclosure(entry, group, *disclosure)
    return index, entry, disclosures, absent, checkpoint


def open_growth(arguments: argparse.Namespace) -> tuple[Checkpoint, Checkpoint]:
    """Return two checkpoints between which the log only grew."""
    key = parse_vkey(arguments.vkey)
    old_size, proof, note = parse_proof(read(arguments.file), b"old ")
    old, new = open_checkpoint(read(arguments.old), key), open_checkpoint(note, key)
    require(old.size == old_size, f"the proof starts at size {old_size}, the checkpoint has {old.size}")
    verify_consistency(old.size, new.size, old.root, new.root, proof)
    return old, new


def open_log(arguments: argparse.Namespace) -> tuple[LogChecker, list[Checkpoint], bool]:
    """Return what an exported log has, the checkpoints that it keeps, and whether its chain was recomputed."""
    directory, key = Path(arguments.file), parse_vkey(arguments.vkey)
    newest = open_checkpoint(read(directory / "checkpoint"), key)
    checkpoints = [newest, *(open_checkpoint(read(path), key) for path in arguments.old)]
    checker = LogChecker(directory, {each.size for each in checkpoints}, newest.origin)
    checker.run(newest.size)
    problems = checker.problems
    for each in checkpoints:
        if each.size > newest.size:
            problems.append(f"a checkpoint of {each.size} entries was signed: entries are missing from the export")
        elif checker.roots.get(each.size, each.root) != each.root:
            problems.append(f"the first {each.size} entries do not lead to the root hash the log signed")
    chained = checker.entries == newest.size and (directory / "chain").exists()
    ends = b"%d\n%b\n" % (newest.size, binascii.b2a_base64(checker.chain, newline=False))
    if chained and read(directory / "chain") != ends:
        problems.append("chain: the recomputed hash chain ends elsewhere")
    require(not problems, "\n".join(problems[:100]))
    return checker, checkpoints, chained


def open_answer(arguments: argparse.Namespace, question: dict[str, str]) -> tuple[Answer, Evidence, list[str]]:
    """Return what a bundle or a set answers, its last bundle, and what could not be checked.

    The bundle is verified as the answer to its own question, and only then that one is compared with the question asked: what
    somebody forged has failed, and is never merely about something else.
    """
    check_countable(question, arguments.mode)
    key, path, unchecked = parse_vkey(arguments.vkey), Path(arguments.file), []
    whole = path.is_dir()
    require(not whole or (path / "000001.json").exists(), "part 1 of the set is not there", IncompleteError)
    evidence = Evidence(read_document(path / "000001.json" if whole else arguments.file), key)
    first, theirs, mode = evidence.bundle, evidence.bundle["question"], evidence.bundle["mode"]
    right = theirs.keys() <= {*VALUES, *IDS, *TIMES} and fits([*theirs.values()], [str])
    right = right and form_question([*theirs.items()])[0] == theirs
    require(right, "the bundle's question has not the form of questions", MalformedError)
    check_countable(theirs, mode)
    require(not whole or mode == "part", f"the bundle is of the mode {mode}")
    require(mode != "part" or arguments.mode == "answer", "--count is not for a set", MalformedError)
    stems = [each.stem for each in path.glob("*.json") if re.fullmatch("[0-9]+", each.stem)]
    beyond = [each for each in stems if not 1 <= int(each) <= evidence.parts or each != f"{int(each):06}"]
    require(not beyond, f"{min(beyond, default='')}.json is a file too many: parts of the set: {evidence.parts:,}")
    answer = Answer(theirs, mode)
    answer.add(evidence)
    if whole:
        for number in range(1, evidence.parts + 1):
            name, end = f"{number:06}.json", evidence.end
            there = (path / name).exists()
            require(there, f"part {number} of the {evidence.parts} parts of the set is not there", IncompleteError)
            evidence = evidence if number == 1 else Evidence(read_document(path / name), key)
            same = all(evidence.bundle[member] == first[member] for member in SHARED)
            placed = (evidence.part, evidence.parts) == (number, first["part"][1])
            require(same and placed, f"{name} is not part {number} of this set")
            if number > 1:
                require(evidence.bundle["start"] == end, f"{name} does not begin where the part before ends")
                answer.add(evidence)
        shown = [each.number for each in answer.answers if each.disclosures]
        losses(answer.lost, dict(sorted(answer.seen.items())), shown)
    elif mode == "part":
        unchecked.append(f"this is part {evidence.part} of {evidence.parts} alone: give the directory of the set")
    given = "count" if mode == "count" else "answer"
    if (theirs, given) != (question, arguments.mode):
        other = "the log signed this, but it answers another question; nothing is proved about yours"
        raise OtherQuestionError(other, theirs, given)
    return answer, evidence, unchecked


def check_countable(question: dict[str, str], mode: str) -> None:
    """Check that a question can be counted from index keys alone, if its mode is count."""
    alone = question.keys() - {"loggedFrom", "loggedTo"}
    countable = {"resourceId", "resourceType"}, {"userId"}, {"actorType"}, {"action"}, {"operation"}, {"control"}
    one = "--count is for one resource, userId, actorType, action, operation or control, and the log's clock only"
    require(mode != "count" or alone in countable, one, MalformedError)


def convict(arguments: argparse.Namespace) -> tuple[str, int, list[tuple[int, dict[str, Any], Checkpoint]], Checkpoint]:
    """Return the fraud in words, how many entries show it, the event that does (if one was given) with its checkpoint, and what was signed."""
    key, document = parse_vkey(arguments.vkey), read_document(arguments.file)
    given = [each for each in (arguments.proof, arguments.event) if each is not None]
    require(len(given) != 1, "--proof and --event belong together", MalformedError)
    if document.get("type") == CLOCK_FRAUD["type"]:
        alone = not given and fits(document, CLOCK_FRAUD) and len(document["entries"]) == 2
        form = "a clock fraud file has exactly its members, two entries, and no --proof or --event"
        require(alone, form, MalformedError)
        checkpoint, entries, _ = open_entries(document, key)
        evidence = None
    else:
        evidence = Evidence(document, key)
        checkpoint, entries = evidence.checkpoint, evidence.entries
    if fault := went_back(entries):
        return fault, len(entries), [], checkpoint
    if evidence is None or not given:
        raise VerificationError("the entries are logged in order: nothing is proved")
    index, entry, disclosures, _, older = open_event(arguments)
    strangers = []
    for group, disclosure in disclosures.items():
        ident = check_disclosure(entry, group, *disclosure)
        if unassigned(ident.decode()):
            strangers.append(f"the id in {group} of entry {index}: {unassigned(ident.decode())}")
        elif evidence.convicts_key(entry, group, ident):
            said = f"entry {index} carries a false key: its {group} has another one"
            return said, 2, [(index, entry, older)], checkpoint
    try:
        return left_out(evidence, index, entry), 2, [(index, entry, older)], checkpoint
    except VerificationError:
        unknown = f"code points whose form this Python does not know are in {', '.join(strangers)}"
        require(not strangers, unknown, IncompleteError)
        raise


def left_out(evidence: Evidence, index: int, entry: dict[str, Any]) -> str:
    """Return that the index leaves out an entry under one of its keys, if the bundle shows that."""
    evidence.open_index()
    said = f"the bundle does not show what the index has of entry {index}: nothing is proved"
    for segment, text in evidence.ranges:
        for index_key in entry["keys"].values() if segment.start <= index < segment.end else []:
            low, high = (index_key[:8] + struct.pack(">I", index + n - segment.start) for n in (0, 1))
            with suppress(VerificationError):  # the bundle is about another key
                pages = open_pages(segment, text)
                if pages.place(low) == pages.place(high):
                    return f"the index epoch of {evidence.epoch['size']:,} entries leaves out entry {index}"
                said = f"the index has entry {index} under each key that the bundle shows: no fraud"
    raise VerificationError(said)


def open_fork(arguments: argparse.Namespace) -> tuple[Checkpoint, Checkpoint]:
    """Return two checkpoints that the key signed, of which the larger tree is shown not to continue the smaller one.

    The proof leads to the larger tree from another root hash at the smaller one's size than was signed. One that leads nowhere
    convicts nobody: anybody can damage a proof.
    """
    fork, key = read_document(arguments.file), parse_vkey(arguments.vkey)
    require(fits(fork, FORK), "not a tlog-fork with exactly the members of version 1", MalformedError)
    first, second = (open_checkpoint(fork[note].encode(), key) for note in ("first", "second"))
    proof = [decode(each, "a hash of the proof", HASH) for each in fork["proof"]]
    root = decode(fork["root"], "the root hash of the fork", HASH)
    rising = 1 <= first.size <= second.size
    require(rising, f"no fork: the first tree has {first.size} entries, the second {second.size}")
    verify_consistency(first.size, second.size, root, second.root, proof)
    require(root != first.root, f"no fork: the tree of {second.size} entries continues the one of {first.size}")
    return first, second


def read(path: str | Path, limit: int = MAX_FILE) -> bytes:
    """Return a file's bytes, at most `limit`; "-" is standard input."""
    with Path("/dev/stdin" if path == "-" else path).open("rb") as file:
        data = file.read(limit + 1)
    require(len(data) <= limit, f"{path} is longer than {limit} bytes", MalformedError)
    return data


# === Showing: what is above checks, and calls nothing of what is below ==================================================
class Verdict(NamedTuple):
    """What a command found: in words, in lines, how many of what it checked, what could not be checked, and all that evidence says."""

    summary: str
    details: list[str]
    checked: dict[str, int]
    unchecked: tuple[str, ...] = ()
    said: dict[str, Any] | None = None


def command_checkpoint(arguments: argparse.Namespace) -> Verdict:
    """Check a checkpoint's signature and form."""
    checkpoint = open_checkpoint(read(arguments.file), parse_vkey(arguments.vkey))
    return Verdict(f"the log signed {checkpoint}", [], {"checkpoints": 1})


def command_proof(arguments: argparse.Namespace) -> Verdict:
    """Check that an event is in the log."""
    index, entry, disclosures, absent, checkpoint = open_event(arguments)
    details = [f"entry     {index}: {title(entry)}"]
    if "eventId" in entry:
        details = [f"event     {entry['eventId']}: {title(entry).partition(' ')[2]}"]
        details += [f"time      {entry['timestamp']} says the producer, {entry['loggedAt']} says the log"]
    unchecked = []
    for group in entry["commitments"]:
        lost = f"LOST, as entry {absent.get(group)} says, which is not in this file" if group in absent else ""
        unchecked += [f"{group}: {lost}"] if lost else []
        said = disclosures[group][1] if group in disclosures else lost or "not disclosed, so not checked"
        details.append(f"{group:9} {said}")
    details.append(f"log       {checkpoint}")
    if arguments.require_disclosures and len(disclosures) < len(entry["commitments"]):
        unchecked.append("the event is in the log, but not all of its data was given to be checked")
    if not entry["known"]:
        unchecked.append(
            f"the entry is in the log, of a type this version does not know: {entry['type']}, {entry['v']}"
        )
    summary = f"entry {index} is in the log {checkpoint.origin}, in its signed tree of {checkpoint.size:,} entries"
    return Verdict(summary, details, {"entries": 1, "disclosures": len(disclosures)}, (*unchecked,))


def command_consistency(arguments: argparse.Namespace) -> Verdict:
    """Check that the log only grew between two checkpoints."""
    old, new = open_growth(arguments)
    summary = f"{new.origin} grew from {old.size:,} to {new.size:,} entries, and nothing in the older tree changed"
    return Verdict(summary, [], {"checkpoints": 2})


def command_log(arguments: argparse.Namespace) -> Verdict:
    """Check a whole exported log."""
    checker, checkpoints, chained = open_log(arguments)
    details = [f"log ID    {log_id(checker.log_id)}"] if checker.entries else []
    details += [f"unknown   {checker.unknown} entries of a type this version does not know"] if checker.unknown else []
    details += [f"chain     {'recomputed' if chained else 'not checked (there is no file chain)'}"]
    lacks = checker.missing[:20] or ["any entry"] * (not checker.entries)
    unchecked = ["not there to be checked: " + ", ".join(lacks)] if lacks else []
    checked = {"entries": checker.entries, "tiles": checker.tiles, "checkpoints": len(checkpoints)}
    return Verdict(f"all of the log: {checkpoints[0]}", details, checked, (*unchecked,))


def command_evidence(arguments: argparse.Namespace) -> Verdict:
    """Check that events, and no others, answer a question; the question is yours, not the bundle's.

    BUNDLE is a file, or the directory of a set, which has the files 000001.json, 000002.json, …
    """
    question, asked = parse_question(arguments)
    answer, evidence, unchecked = open_answer(arguments, question)
    met = [(each.number, each.entry) for each in answer.answers] + answer.apart
    if unknown := sorted(index for index, entry in met if not entry["known"]):
        listed = ", ".join(map(str, unknown[:20]))
        what = counted(len(unknown), "entry", "entries")
        unchecked.append(f"{what} of a type this version does not know: {listed}")
    unchecked += [f"code points whose form is not known here are in {each}" for each in answer.strangers[:20]]
    if arguments.require_disclosures and (evidence.bundle["disclosure"] == "none" or answer.lost):
        unchecked.append("the personal data that was required is not in the bundle, or not all of it")
    checked = {"entries": answer.entries, "segments": answer.segments, "disclosures": answer.disclosed}
    return Verdict(words(answer), [], checked, (*unchecked,), everything(answer, evidence, asked))


def words(answer: Answer) -> str:
    """Return in words how many entries answer."""
    of, control = [answer.number_of[kind] for kind in answer.looked], answer.question.get("control")
    if answer.mode == "count" and len(of) > 1:
        events, named = counted(of[0], "event"), counted(of[1], "entry that names", "entries that name")
        return f"exactly {events} of the resource, and {named} it, have been logged for your question"
    what = (f"entry of the type {control}", f"entries of the type {control}") if control else ("event", "events")
    number = of[0] if answer.mode == "count" else len(answer.answers)
    if answer.mode == "count":
        found = f"exactly {counted(number, *what)}" if number else f"no {what[0]}"
        return f"{found} {'has' if number <= 1 else 'have'} been logged for your question"
    if not number:
        return f"no {what[0]} answers your question"
    journal = sum(each.entry.get("resourceType") == "log" for each in answer.answers)
    asks = f" ({journal:,} of them {'asks' if journal == 1 else 'ask'} the log itself)" if journal else ""
    return f"{counted(number, *what)}, and no other{', answers' if number == 1 else 's, answer'} your question{asks}"


def counted(number: int, one: str, many: str = "events") -> str:
    """Return a number with what it counts."""
    return f"{number:,} {one if number == 1 else many}"


def everything(answer: Answer, evidence: Evidence, asked: list[str]) -> dict[str, Any]:
    """Return all that an answer says, as in the verdict for programs."""
    epoch, question, checkpoint = evidence.epoch, answer.question, evidence.checkpoint
    since, until, origin = looks_from(question), question.get("loggedTo"), checkpoint.origin
    number, count = len(answer.answers), answer.mode == "count"
    proved = f"{'it is' if number == 1 else 'they are'} in {origin}, unchanged; its index has no other for it"
    proved = proved if number else f"the index of {origin} has {'exactly so many' if count else 'none'} for it"
    alike = "shares the first 8 bytes of a key asked for, which answers nothing"
    beside = [*asked, *(f"entry {index} is no event: its type is {entry['type']}" for index, entry in answer.apart)]
    beside += [f"entry {index} {alike}" for index in answer.alike]
    for by, outcome in sorted(answer.lost.items()):
        start, end, lost = (outcome["report"][name] for name in ("start", "end", "n"))
        said = f"the data of {lost:,} of the entries {start} to {end - 1} was lost"
        beside.append(f"entry {by}, logged {outcome['loggedAt']}, says that {said}")
    doubts = {
        "that the index names every event: whoever holds the entries can replay it (tlog fsck)": True,
        "that entries without shown data carry the keys of their data": True,
        "that no entry only shares the first 8 bytes of the key (2^32 hashes of work)": count,
        "that so many entries had data as is said to be lost, and no event came before that was said (tlog fsck)": answer.lost,
        "the times that witnesses say": "times" in evidence.bundle,
    }
    withheld = evidence.bundle["disclosure"] == "none"
    not_seen = [f"from entry {epoch['size']:,} on", since and f"before {since}", until and f"at {until} or later"]
    return {
        "question": question,
        "proved": [proved],
        "asOf": {
            "size": epoch["size"],
            "loggedAt": epoch["loggedAt"],
            "checkpointSize": checkpoint.size,
            "root": checkpoint.root.hex(),
        },
        "log": {"origin": origin, "id": log_id(evidence.leaves[0])},
        "names": "none" if withheld else "some" if any(each.absent for each in answer.answers) else "all",
        "notSeen": [each for each in not_seen if each],
        "notProved": [each for each, true in doubts.items() if true],
        "beside": beside,
        "answers": [shown(each) for each in reversed(answer.answers)],
    }


CLEAR = "eventId timestamp loggedAt action operation outcome resourceType type kind report"


def shown(each: Answering) -> dict[str, Any]:
    """Return an entry that answers with what is disclosed of it, as in the verdict for programs."""
    known, result = each.entry["known"], {"index": each.number} | {name: each.entry.get(name) for name in CLEAR.split()}
    data: dict[str, Any] = {
        group: parse_json(body.encode(), group, exact=False) if known else body
        for group, (_, body) in each.disclosures.items()
    }
    related = [data.get(group) for group in each.entry["commitments"] if group.startswith("related/")]
    place = re.sub("^any/.*", "related", each.place)
    matched = place if place.split("/")[0] in ("resource", "related") else None
    groups = {"actor": data.get("actor"), "resource": data.get("resource"), "related": related}
    return {**result, **groups, "matched": matched, "lost": [*map(list, each.absent.items())]}


COLUMNS = "happened", "logged", "who", "role", "action", "what", "purpose", "outcome", "entry", "eventId"


def cells(answer: dict[str, Any]) -> dict[str, str]:
    """Return what the row of an answer says, by column."""
    lost, actor, data = dict(answer["lost"]), answer["actor"], answer["resource"]
    if answer["eventId"] is None:
        what = canonical(answer["report"]) if answer["report"] else ""
        values = [answer["loggedAt"], answer["loggedAt"], "", "", answer["kind"] or answer["type"], what, "", ""]
    else:
        absent = {group: f"(lost, says entry {by})" for group, by in lost.items()}
        actor = actor or {"userId": absent.get("actor", "(not in this bundle)")}
        about = (data or {}).get("resource", {"id": absent.get("resource", "")})
        operation = f" ({answer['operation']})" if answer["operation"] else ""
        named = f" (asked for as {answer['matched']})" if str(answer["matched"]).startswith("related") else ""
        values = [answer["timestamp"], answer["loggedAt"], actor.get("userId", "(unknown)"), actor.get("role", "")]
        values += [answer["action"] + operation, f"{answer['resourceType']} {about['id']}".rstrip() + named]
        values += [(data or {}).get("details", {}).get("purpose", ""), answer["outcome"]]
    return dict(zip(COLUMNS, map(str, [*values, answer["index"], answer["eventId"] or ""]), strict=True))


def facts(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what has to be said of an answer, line by line."""
    as_of, short = said["asOf"], sum(bool(each["lost"]) for each in said["answers"])
    names = {
        "none": "not in this bundle: ask for it with --disclose",
        "some": f"in part: {short:,} of {len(said['answers']):,} erased, retired or lost",
        "all": "in this bundle, checked",
    }
    tree = f"signed tree of {as_of['checkpointSize']:,} entries"
    lines = [("proved", each) for each in said["proved"]]
    lines.append(("as of", f"entry {as_of['size']:,}, logged {as_of['loggedAt']}; {tree}"))
    lines += [("names", names[said["names"]])] if said["answers"] else []
    lines.append(("not seen", f"what was logged {', or '.join(said['notSeen'])}"))
    lines += [("not proved", each) for each in said["notProved"]] + [("beside", each) for each in said["beside"]]
    return [*lines, ("log", f"{said['log']['origin']}, ID {said['log']['id']}")]


def lines_of(verdict: str, problems: list[str], said: dict[str, Any]) -> list[str]:
    """Return the lines of a verdict about evidence: rows of its answers, the verdict, what has to be said of it."""
    told = [f"{verdict}: {line}" for line in problems]
    if "mode" in said:
        asked = {**said["question"], "mode": said["mode"]}
        theirs = {**said["bundleQuestion"], "mode": said["bundleMode"]}
        rows = [("", "you asked", "the bundle answers", "")]
        for name in sorted({*asked, *theirs}, key=lambda each: (each == "mode", each)):
            a, b = asked.get(name, "-"), theirs.get(name, "-")
            rows.append((name, a, b, "differs" * (a != b)))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return told + [f"{a:{widths[0]}}  {b:{widths[1]}}  {c:{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    lines = []
    for row in map(cells, said["answers"]):
        who = f"{row['who']} ({row['role']})" if row["role"] else row["who"]
        shows = (
            row["happened"],
            who,
            row["action"],
            row["what"],
            row["purpose"],
            row["outcome"],
            f"entry {row['entry']}",
        )
        lines.append("  ".join(each for each in shows if each))
    before = ""
    for label, text in facts(said):
        told.append(f"{'' if label == before else label:11} {text}")
        before = label
    return lines + told


FORMULAS = {*"=+-@\uff1d\uff0b\uff0d\uff20"}


def neutral(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    first = next((each for each in text if not each.isspace() and unicodedata.category(each) not in ("Cc", "Cf")), "")
    return f"'{text}" if first in FORMULAS or text[:1] in {"\t", "\r", "\n", "\0"} else text


def write_reports(arguments: argparse.Namespace, summary: str, said: dict[str, Any]) -> None:
    """Write what was verified for people, into files that are not there yet."""
    rows = [[*cells(each).values()] for each in said["answers"]]
    if arguments.csv is not None:
        with Path(arguments.csv).open("x", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["no evidence: that is the bundle, which verify.py checks"])
            lines.writerows([COLUMNS, *(map(neutral, row) for row in rows)])
    if arguments.html is not None:
        path = Path(arguments.file)
        files = sorted(path.glob("*.json")) if path.is_dir() else [path] * path.exists()
        hashes = [("SHA-256 of", f"{each.name}: {hash_of(each)}") for each in (*files, Path(__file__))]
        key = read(arguments.vkey[1:]).decode().strip() if arguments.vkey.startswith("@") else arguments.vkey
        told = [
            ("question", canonical(said["question"])),
            *facts(said),
            ("key", key),
            ("root hash", said["asOf"]["root"]),
        ]
        told += [*hashes, ("made", datetime.now(UTC).isoformat(timespec="seconds"))]
        with Path(arguments.html).open("x", encoding="utf-8") as file:
            title_of = f"VERIFIED: {summary}"
            file.write(HTML.format(html.escape(title_of), table(told), table([COLUMNS, *rows])))


HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{0}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>body {{ font: 10pt sans-serif }} td {{ vertical-align: top; padding: 2pt 8pt 2pt 0; overflow-wrap: anywhere }}</style>
</head><body><h1>{0}</h1>{1}<h2>Events</h2>{2}</body></html>
"""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as an HTML table in which nothing that a producer wrote is markup."""
    cut_rows = ("".join(f"<td>{html.escape(escaped(each))}</td>" for each in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cut_rows)}</table>"


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def command_fraud(arguments: argparse.Namespace) -> Verdict:
    """Check that the log convicts itself: of an index that leaves out an event, of a false key, of a clock that went back.

    The first two take an event's proof, its event file and the evidence bundle that lacks it, the second one the event's data
    as well. The last one takes a clock fraud file or a bundle alone.
    """
    said, number, events, checkpoint = convict(arguments)
    lines = [f"entry     {index}: {title(entry)}; in {older}" for index, entry, older in events]
    return Verdict(f"FRAUD: {said}", [*lines, f"signed    {checkpoint}"], {"entries": number})


def title(entry: dict[str, Any]) -> str:
    """Return an entry in words."""
    if "eventId" not in entry:
        said = f", {entry['kind']}: {canonical(entry['report'])}" if "kind" in entry else ""
        said = f", of {entry['stream']}: {canonical(entry['partitions'])}" if "stream" in entry else said
        return f"{entry['loggedAt']} control entry of the type {entry['type']}{said}"
    operation = "" if entry["operation"] is None else f" ({entry['operation']})"
    return f"{entry['timestamp']} {entry['action']}{operation} {entry['resourceType']}, {entry['outcome']}"


def command_fork(arguments: argparse.Namespace) -> Verdict:
    """Check that a key signed two histories. It accuses the key, whoever used it."""
    signed = open_fork(arguments)
    summary = f"FORK: the key of {signed[0].origin} signed two histories; whoever used it, the key is convicted"
    return Verdict(summary, [f"signed    {each}" for each in signed], {"checkpoints": 2})


class Once(argparse.Action):
    """An option that may be given once; argparse alone would let the last one replace the others."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        """Take the value of the option."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option} is given twice")
        setattr(namespace, self.dest, values)


class Version(argparse.Action):
    """An option that says which file this is: only then it is read, and what comes from standard input is none."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Say so, and end."""
        digest = f"SHA-256 {hash_of(Path(__file__))}" if Path(__file__).is_file() else "not read from a file"
        parser.exit(write([f"verify.py for version 1 of the formats, {digest}"], 0))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return what the command line says; `function` is the command."""
    codes = "Exit codes: 0 verified, 1 failed, 2 malformed input or usage or another question, 3 not everything could be checked."
    parser = argparse.ArgumentParser(prog="verify.py", description=str(__doc__).split("\n")[0], epilog=codes)
    parser.add_argument("--version", action=Version, nargs=0, help="show which file this is, by its hash")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    options: dict[str, argparse.ArgumentParser] = {}
    public = command_checkpoint, command_proof, command_consistency, command_log
    for function in (*public, command_evidence, command_fraud, command_fork):
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
            "evidence": "the bundle, or the directory of a set of bundles",
            "fraud": "the evidence bundle, or a clock fraud file",
        }
        command.add_argument("proof" if name == "proof" else "file", help=what.get(name, f"the {name} file"))
    options["fraud"].add_argument("--proof", action=Once, help="the event's .tlog-proof file")
    for name in ("proof", "fraud"):
        required = name == "proof"
        options[name].add_argument("--event", action=Once, required=required, help="the event's .event.json file")
    for name in ("proof", "evidence"):
        options[name].add_argument("--require-disclosures", action="store_true", help="exit with 3 if data is withheld")
    older = "the older checkpoint; the proof has the newer one"
    options["consistency"].add_argument("--old", action=Once, required=True, help=older)
    options["log"].add_argument("--old", action="append", default=[], help="an older checkpoint; repeatable")
    asks = f"one of {', '.join(['resource=TYPE:ID', *VALUES, *IDS, *TIMES])}, as in action=read; repeatable, all apply"
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
    for name in ("html", "csv"):
        what_for = "write the verdict and the events to a new file, if verified: "
        help_for = {"html": "a page to read and print", "csv": "a table, which is no evidence"}[name]
        options["evidence"].add_argument(f"--{name}", action=Once, metavar="FILE", help=what_for + help_for)
    for stream in (sys.stdout, sys.stderr):  # None if Python was started without one
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return parser.parse_args(argv)
    except (SystemExit, OSError) as ended:  # the usage, or the help, which may not have been written
        raise SystemExit(write([], getattr(ended, "code", 2), end="")) from None


def main(argv: list[str] | None = None) -> int:
    """Run a command and print its verdict; return the exit code."""
    arguments = parse_arguments(argv)
    verdict, problems, (name, code) = Verdict("", [], {}), list[str](), ("verified", 0)
    try:
        verdict = arguments.function(arguments)
        if problems := [*verdict.unchecked]:
            verdict, (name, code) = verdict._replace(summary=""), VERDICTS[IncompleteError]
        elif verdict.said is not None:
            write_reports(arguments, verdict.summary, verdict.said)
    except tuple(VERDICTS) as error:
        problems, (name, code) = str(error.args[0]).split("\n"), VERDICTS[type(error)]
        verdict = Verdict("", [], {})
        if isinstance(error, OtherQuestionError):
            asked = {"question": parse_question(arguments)[0], "mode": arguments.mode}
            verdict = Verdict("", [], {}, (), asked | {"bundleQuestion": error.args[1], "bundleMode": error.args[2]})
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, struct.error, RecursionError):
        problems, (name, code) = ["the file does not have the members its format needs"], VERDICTS[MalformedError]
    except OSError as error:
        verdict, problems = Verdict("", [], {}), [f"{error.filename}: {error.strerror}"]
        name, code = VERDICTS[MalformedError]
    if arguments.json:
        said = {"verdict": name, "exitCode": code, "summary": verdict.summary, "problems": problems}
        # In pieces: standard output without a buffer (PYTHONUNBUFFERED) may stop in the midst of a large one.
        said |= {"checked": verdict.checked} | ({"details": verdict.details} if verdict.said is None else verdict.said)
        return write([*json.JSONEncoder().iterencode(said)], code)
    loud, told = name.upper().replace("-", " "), problems or [verdict.summary]
    lines = [*verdict.details, *(f"{loud}: {line}" for line in told)]
    lines = lines if verdict.said is None else lines_of(loud, told, verdict.said)
    return write(["\n".join(map(escaped, lines))], code)


def escaped(line: str) -> str:
    """Return a line in which what a producer wrote does not command the reader's terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line)


def write(verdict: list[str], code: int, end: str = "\n") -> int:
    """Write a verdict to standard output; return its exit code, which is never 0 where the verdict was not written whole."""
    try:
        if sys.stdout is None:  # what Python has there if it was started without one
            raise OSError("it is closed")
        print(*verdict, sep="", end=end, flush=True)
    except OSError as error:
        sys.stdout = None  # or Python would try to write the rest when it ends
        if isinstance(error, BrokenPipeError):  # whoever reads has read enough
            return code
        with suppress(OSError):
            print(f"verify.py: cannot write the verdict to standard output: {error}", file=sys.stderr)
        return code or 2
    return code


if __name__ == "__main__":
    sys.exit(main())
