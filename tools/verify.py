"""Verify evidence from a tlog audit log, offline, with this one file and Python 3.11 or newer. Nothing to install.

Trusted are this file (read it), Python's standard library, and the log's public key (its vkey), which you must have from
somewhere you believe. Nothing else is believed before it was checked:

    checkpoint   the log signed this tree size and root hash                      c2sp.org/signed-note, tlog-checkpoint
    proof        this event is in the signed tree, with this personal data        c2sp.org/tlog-proof, RFC 6962
    consistency  the newer signed tree contains the older one, unchanged          RFC 6962
    log          every entry and tile of an export leads to the signed root hash  c2sp.org/tlog-tiles
Exit codes: 0 verified; 1 verification failed; 2 malformed input or usage; 3 not everything asked for could be checked.
Left out: other signatures than Ed25519, cosignatures of witnesses, fetching anything over a network.
"""

import argparse
import binascii
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

MAX_FILE, MAX_BUNDLE, MAX_SIZE = 1 << 20, 1 << 25, 2**63 - 1
HASH, WIDTH = 32, 256
EMPTY_ROOT = hashlib.sha256(b"").digest()
LEAF, NODE, CHAIN, COMMITMENT = b"\x00", b"\x01", b"\x02", b"\x10"


class VerificationError(Exception):
    """Well-formed evidence that does not prove what it should."""


class MalformedError(Exception):
    """Input that does not have the form it must have."""


class IncompleteError(Exception):
    """Something that was asked for is not there to be checked."""


def require(condition: object, error: type[Exception], message: str) -> None:
    """Raise `error` unless `condition` holds."""
    if not condition:
        raise error(message)


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
        computed = climb(index, size, leaf, rest)
    except IndexError:
        computed = b""
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
        computed = b"", b""
    if rest or computed != (old_root, new_root) or (new_size == 0 and new_root != EMPTY_ROOT):
        raise VerificationError("the consistency proof does not lead from the older root hash to the newer one")


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
    require(y < P, MalformedError, "the public key is not a canonical Ed25519 point")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * SQRT_MINUS_ONE % P
    require(x * x % P == square and (x or not sign), MalformedError, "the public key is not an Ed25519 point")
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
    require(encode_point(computed) == signature[:32], VerificationError, "the signature does not verify")


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
    match = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)", data.decode("utf-8", "replace"))
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
    require(known, VerificationError, "the checkpoint is not signed by the log's key")
    for signature in known:
        verify_ed25519(key[2], text, signature)
    lines = text.split(b"\n")
    require(len(lines) == 4, MalformedError, "a checkpoint has exactly three lines: origin, tree size, root hash")
    size = parse_decimal(lines[1], "the checkpoint's tree size")
    checkpoint = Checkpoint(lines[0].decode(), size, parse_base64(lines[2], "the checkpoint's root hash", HASH))
    require(checkpoint.origin == key[0], VerificationError, "the checkpoint's origin is not the name of the log's key")
    require(size or checkpoint.root == EMPTY_ROOT, VerificationError, "an empty tree has another root hash")
    return checkpoint


def split_note(note: bytes) -> tuple[bytes, list[tuple[str, bytes, bytes]]]:
    """Return a note's text and its signatures as (name, key ID, signature)."""
    if re.search(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]", note.decode("utf-8", "surrogateescape")):
        raise MalformedError("a note must be UTF-8 without control characters")
    text, separator, tail = note.rpartition(b"\n\n")
    lines = tail.split(b"\n")
    if not separator or not text or lines.pop() or not 1 <= len(lines) <= 100:
        raise MalformedError("a note is a text, an empty line and 1 to 100 signature lines, each ended by a newline")
    matches = [re.fullmatch(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)", line.decode()) for line in lines]
    require(all(matches), MalformedError, "a signature line has the form '— <key name> <base64 signature>'")
    signatures = [(match[1], parse_base64(match[2].encode(), "a signature")) for match in matches if match]
    if any(len(data) < 5 for _, data in signatures):
        raise MalformedError("a signature has its 4-byte key ID and nothing behind it")
    return text + b"\n", [(name, data[:4], data[4:]) for name, data in signatures]


def parse_proof(data: bytes, label: bytes) -> tuple[int, list[bytes], bytes]:
    """Return the number behind `label`, the hashes, and the checkpoint of a proof file."""
    head, separator, note = data.partition(b"\n\n")
    lines = head.split(b"\n")
    if label == b"index ":
        if lines.pop(0) != b"c2sp.org/tlog-proof@v1":
            raise MalformedError("a tlog-proof starts with the line c2sp.org/tlog-proof@v1")
        if lines and lines[0].startswith(b"extra "):  # opaque, and proves nothing
            parse_base64(lines.pop(0)[6:], "the extra line")
    if not separator or not lines or not lines[0].startswith(label):
        raise MalformedError(f"a proof has a line '{label.decode()}<number>', hashes, an empty line and a checkpoint")
    number = parse_decimal(lines[0][len(label) :], f"the number behind '{label.decode()}'")
    return number, [parse_base64(line, "a hash of the proof", HASH) for line in lines[1:]], note


# --- Entries and event files -----------------------------------------------------------------------------------------

TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
EVENT = re.compile(  # an event's entry, member by member in the order of RFC 8785
    r'\{"action":"(?P<action>[a-z_]+)","commitments":\{"actor":"(?P<actor>[\w-]{43})","resource":"(?P<resource>[\w-]{43})"\},'
    r'"eventId":"(?P<eventId>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})","keys":\["[\w-]{22}","[\w-]{22}","[\w-]{22}"\],'
    rf'"loggedAt":"(?P<loggedAt>{TIME}\.[0-9]{{6}}Z)","outcome":"(?P<outcome>success|failure|unknown)",'
    r'"resourceType":"(?P<resourceType>[A-Za-z0-9][\w.:-]{0,63})",'
    r'(?:"source":\{"id":"[A-Za-z0-9][\w.:/-]{0,127}","seq":(?P<seq>0|[1-9][0-9]{0,15})\},)?'
    rf'"timestamp":"(?P<timestamp>{TIME}(?:\.[0-9]{{1,6}})?Z)","type":"event","v":1\}}',
    re.ASCII,
)


def parse_entry(data: bytes) -> dict[str, Any]:
    """Return the members of an event's entry, or loggedAt alone of a control entry."""
    match = EVENT.fullmatch(data.decode("latin-1"))  # which has a character for each byte
    if match is not None and int(match["seq"] or 0) < 2**53:
        return match.groupdict()
    entry = parse_json(data, "the entry")
    logged_at, kind = entry.get("loggedAt"), entry.get("type")
    right = isinstance(kind, str) and kind != "event" and type(entry.get("v")) is int and entry["v"] == 1
    right = right and isinstance(logged_at, str) and re.fullmatch(rf"{TIME}\.[0-9]{{6}}Z", logged_at) is not None
    require(right, MalformedError, "the entry does not have exactly the members of version 1 of its type")
    return {"loggedAt": logged_at}


def check_body(entry: dict[str, Any], group: str, body: str) -> None:
    """Check that a disclosed body is what its group holds, and of the type the entry says in clear."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        content = json.loads(body, object_pairs_hook=unique)
        kind = entry["resourceType"] if group == "actor" and content["userId"] + "" else content["resource"]["type"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise MalformedError(f"the {group} data is not what an event has there") from None
    if kind != entry["resourceType"]:
        raise VerificationError("the resource data is of another type than the entry says")


def parse_event_file(data: bytes) -> tuple[bytes, dict[str, tuple[bytes, str]]]:
    """Return the entry's bytes, and (salt, body) of each disclosure, of an event file."""
    require(data.endswith(b"\n"), MalformedError, "an event file ends with a newline")
    content = parse_json(data[:-1], "the event file")
    entry, disclosures = content.get("entry"), content.get("disclosures")
    if content.keys() != {"entry", "disclosures"} or not isinstance(entry, str) or not isinstance(disclosures, dict):
        raise MalformedError("an event file has the members 'entry' and 'disclosures'")
    found = {}
    for group, each in disclosures.items():
        if group not in ("actor", "resource") or not isinstance(each, dict) or each.keys() != {"body", "salt"}:
            raise MalformedError("disclosures are of 'actor' and 'resource', each with the members 'body' and 'salt'")
        require(isinstance(each["body"], str), MalformedError, "the body of a disclosure is text")
        found[group] = parse_base64url(each["salt"], "a salt", 16), each["body"]
    return entry.encode(), found


# --- A whole exported log ---------------------------------------------------------------------------------------------
def tile_path(level: str, index: int, width: int) -> str:
    """Return a tile's path below the export (c2sp.org/tlog-tiles), such as tile/0/x001/234.p/56."""
    name = f"{index % 1000:03d}"
    while index := index // 1000:
        name = f"x{index % 1000:03d}/{name}"
    return f"tile/{level}/{name}" + (f".p/{width}" if width < WIDTH else "")


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """Return the `width` entries of an entry bundle, each behind its length in two bytes."""
    entries, position = [], 0
    for _ in range(width):
        end = position + 2 + int.from_bytes(data[position : position + 2], "big")
        entries.append(data[position + 2 : end])
        position = end
    require(position == len(data), MalformedError, "its lengths do not add up to its size")
    return entries


class LogChecker:
    """Recomputes an exported log from its entries: tiles of all levels, root hash, chain, root hashes at older sizes."""

    def __init__(self, directory: Path, watched: set[int]) -> None:
        """Look below `directory`; keep the root hashes at the sizes `watched`."""
        self.directory, self.watched = directory, watched
        self.problems: list[str] = []
        self.missing: list[str] = []
        self.levels: list[tuple[int, list[bytes]]] = []  # of each level the right-most tile: its index and hashes
        self.roots = {0: EMPTY_ROOT}
        self.entries = self.tiles = 0
        self.chain, self.logged_at = bytes(HASH), ""

    def run(self, size: int) -> None:
        """Check the first `size` entries and everything that follows from them."""
        for index in range(-(-size // WIDTH)):
            width = min(WIDTH, size - index * WIDTH)
            path = tile_path("entries", index, width)
            try:
                entries = parse_bundle(self.read(path), width)
            except MalformedError as error:
                self.problems += [f"{path}: {error}"] if path not in self.missing else []
                return  # without these entries nothing behind them can be recomputed
            for entry in entries:
                self.add_entry(entry)
        for level, (index, hashes) in enumerate(self.levels):
            if hashes:
                self.compare(level, index, hashes)

    def root(self) -> bytes:
        """Return the root hash of the entries so far: the perfect subtrees in the tiles, joined from the right."""
        root = b""
        for _, hashes in self.levels:
            rest = list(hashes)
            while rest:
                width = len(rest) & -len(rest)
                subtree = fold(rest[-width:])
                root = sha256(NODE, subtree, root) if root else subtree
                del rest[-width:]
        return root or EMPTY_ROOT

    def add_entry(self, data: bytes) -> None:
        """Take the next entry."""
        leaf = sha256(LEAF, data)
        self.chain = sha256(CHAIN, self.chain, leaf)
        try:
            entry = parse_entry(data)
            before, self.logged_at = self.logged_at, entry["loggedAt"]
            require(self.logged_at >= before, MalformedError, "it is logged earlier than the entry before")
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
        self.tiles += bool(data)
        if path not in self.missing and data != b"".join(hashes):
            wrong = next((n for n, item in enumerate(hashes) if data[n * HASH : (n + 1) * HASH] != item), len(hashes))
            first = (index * WIDTH + wrong) * WIDTH**level
            self.problems.append(f"{path}: hash {wrong} does not follow from the entries from {first}")

    def read(self, path: str) -> bytes:
        """Return a file of the export, empty bytes for one that is missing, which is remembered."""
        if not (self.directory / path).exists():
            self.missing.append(path)
            return b""
        return read(self.directory / path, MAX_BUNDLE)


def fold(hashes: list[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [sha256(NODE, left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


# --- Commands: each returns its summary, details, and how many of what it checked, or raises ---------------------------
def command_checkpoint(arguments: argparse.Namespace) -> tuple[str, list[str], dict[str, int]]:
    """Check a checkpoint's signature and form."""
    checkpoint = open_checkpoint(read(arguments.file), parse_vkey(arguments.vkey))
    return f"the log signed {checkpoint}", [], {"checkpoints": 1}


def command_proof(arguments: argparse.Namespace) -> tuple[str, list[str], dict[str, int]]:
    """Check that an event is in the log."""
    index, proof, note = parse_proof(read(arguments.file), b"index ")
    data, disclosures = parse_event_file(read(arguments.event))
    entry = parse_entry(data)
    require("eventId" in entry, MalformedError, "the entry is not an event")
    checkpoint = open_checkpoint(note, parse_vkey(arguments.vkey))
    verify_inclusion(index, checkpoint.size, sha256(LEAF, data), proof, checkpoint.root)
    details = [f"event     {entry['eventId']}: {entry['action']} {entry['resourceType']}, {entry['outcome']}"]
    details += [f"time      {entry['timestamp']} says the producer, {entry['loggedAt']} says the log"]
    for group in ("actor", "resource"):
        if group in disclosures:
            salt, body = disclosures[group]
            commitment = parse_base64url(entry[group], f"the {group} commitment", HASH)
            if sha256(COMMITMENT, salt, body.encode()) != commitment:
                raise VerificationError(f"the {group} data is not what the entry commits to")
            check_body(entry, group, body)
            details.append(f"{group:9} {body}")
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
    require(
        old.size == old_size, VerificationError, f"the proof starts at size {old_size}, the checkpoint has {old.size}"
    )
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
    require(not problems, VerificationError, "\n".join(problems[:100]))
    if checker.missing or not checker.entries:
        raise IncompleteError("not there to be checked: " + ", ".join(checker.missing[:20] or ["any entry"]))
    checked = {"entries": checker.entries, "tiles": checker.tiles, "checkpoints": len(checkpoints)}
    return f"all of the log: {newest}", details, checked


def read(path: str | Path, limit: int = MAX_FILE) -> bytes:
    """Return a file's bytes, at most `limit`."""
    with Path(path).open("rb") as file:
        data = file.read(limit + 1)
    require(len(data) <= limit, MalformedError, f"{path} is longer than {limit} bytes")
    return data


def main(argv: list[str] | None = None) -> int:
    """Run a command and print its verdict; return the exit code."""
    codes = "Exit codes: 0 verified, 1 failed, 2 malformed input or usage, 3 not everything could be checked."
    parser = argparse.ArgumentParser(prog="verify.py", description=str(__doc__).split("\n")[0], epilog=codes)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for function in (command_checkpoint, command_proof, command_consistency, command_log):
        name = function.__name__.removeprefix("command_")
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        command.add_argument("--vkey", required=True, help="the log's public key, literally or as @FILE")
        command.add_argument("--json", action="store_true", help="print the verdict as JSON")
        command.add_argument("file", help="the directory of the export" if name == "log" else f"the {name} file")
        if name == "proof":
            command.add_argument("--event", required=True, help="the .event.json file")
            command.add_argument("--require-disclosures", action="store_true", help="exit with 3 if data is withheld")
        if name == "consistency":
            command.add_argument(
                "--old", required=True, help="the older checkpoint; the proof file carries the newer one"
            )
        if name == "log":
            command.add_argument("--old", action="append", default=[], help="an older checkpoint; repeatable")
    arguments = parser.parse_args(argv)
    summary, details, checked, problems, code = "", [], {}, [], 0
    try:
        summary, details, checked = arguments.function(arguments)
    except tuple(CODES) as error:
        problems, code = str(error).split("\n"), CODES[type(error)]
    except OSError as error:
        problems, code = [f"{error.filename}: {error.strerror}"], CODES[MalformedError]
    if arguments.json:
        verdict = {"verdict": VERDICTS[code], "exitCode": code, "summary": summary, "problems": problems}
        print(json.dumps({**verdict, "details": details, "checked": checked}))
    else:
        lines = [*details, *(f"{VERDICTS[code].upper()}: {line}" for line in problems or [summary])]
        # What a producer wrote must not command the reader's terminal.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        print(*("".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines), sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
