"""Evidence bundles: a complete answer, an exact count, or that there is nothing, proved against a signed checkpoint.

Own format (docs/reference/formats.md, "Evidence bundle"): one canonical JSON object with everything a verifier needs but
two things, which it has to bring along itself: the log's public key, and the question. The chain of reasons is

    checkpoint signed → tree of entries → `index` entry (an epoch) → table → segments → pages around the asked key
    → all postings of the key, and with them all entries → which of them answer the question

What a bundle cannot show by itself is that the epoch's segments were derived from the entries as they should be. Whoever
holds the entries can derive them again, and whoever holds an event's proof with its data (`.tlog-proof` and event file) can
convict an epoch that leaves the event out (`find_fraud`), and a log that gave the event the key of other data
(`find_false_key`). A receipt cannot: it is unsigned. A clock that went back is convicted by two entries (`find_clock_fraud`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from tlog.core.canonical import parse_strict
from tlog.core.checkpoint import Checkpoint, open_checkpoint
from tlog.core.commitment import GROUPS, SALT_SIZE, check_disclosure
from tlog.core.entry import EventEntry, IndexEntry, IndexKeysEntry, parse_entry
from tlog.core.merkle import HASH_SIZE, leaf_hash
from tlog.core.proof import verify_joint
from tlog.core.pseudonym import actor_ident, bucket_of, index_key, resource_ident
from tlog.core.question import Matcher, Question
from tlog.core.segment import (
    PageRun,
    RangeProof,
    Segment,
    offset_of,
    parse_table,
    table_hash,
    verify_count,
    verify_range,
)
from tlog.core.strict import encode_base64, encode_base64url, parse_base64, parse_base64url
from tlog.core.tile import split_hashes
from tlog.errors import MalformedInputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tlog.core.entry import Entry
    from tlog.core.note import Verifier


class _Object(Struct, forbid_unknown_fields=True, frozen=True, gc=False, kw_only=True):
    """Members are declared in RFC 8785 order, so that encoding in declaration order is canonical."""


class DisclosureText(_Object, kw_only=True, frozen=True):
    """One disclosure as text."""

    body: str
    salt: str


class KeyPath(_Object, kw_only=True, frozen=True):
    """A bucket key and the joint proof of it under the root that entry 0 commits to, both base64."""

    hashes: str
    key: str


class RangeText(_Object, kw_only=True, frozen=True):
    """A range proof: hashes, and runs as (first page, pages), in base64."""

    hashes: str
    runs: list[tuple[int, str]]


class Manifest(_Object, kw_only=True, frozen=True):
    """What is in the bundle, by numbers: what answers, what has the key asked for first, what is disclosed."""

    answers: int
    disclosures: int
    postings: int


class Evidence(_Object, kw_only=True, frozen=True):
    """An evidence bundle."""

    buckets: list[KeyPath]
    checkpoint: str
    disclosures: list[tuple[int, dict[str, DisclosureText]]]
    end: int
    entries: list[tuple[int, str]]
    epoch: int
    hashes: str
    manifest: Manifest
    mode: Literal["answer", "count"]
    question: Question
    segments: list[RangeText]
    start: int
    table: str
    type: Literal["tlog-evidence"]
    v: Literal[1]


class ClockFraud(_Object, kw_only=True, frozen=True):
    """Two entries of one tree by which a clock went back: index and text of each, and the joint proof of both."""

    checkpoint: str
    entries: tuple[tuple[int, str], tuple[int, str]]
    hashes: str
    type: Literal["tlog-clock-fraud"]
    v: Literal[1]


class Proved(NamedTuple):
    """What a bundle proves: these entries and no others, of those looked at, answer the question.

    `answers` is rising (index, entry); None where only `count` is proved. `bodies` are the disclosed ones by index.
    """

    checkpoint: Checkpoint
    epoch: IndexEntry
    start: int
    end: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which means nothing here
    answers: list[tuple[int, EventEntry]] | None
    bodies: dict[int, dict[str, bytes]]


_decode: Final = msgspec.json.Decoder(Evidence).decode
_decode_fraud: Final = msgspec.json.Decoder(ClockFraud).decode
_encode: Final = msgspec.json.Encoder().encode


def format_evidence(bundle: Evidence) -> bytes:
    """Return a bundle's bytes: RFC 8785 JSON and one newline."""
    return _encode(bundle) + b"\n"


def parse_evidence(data: bytes) -> Evidence:
    """Return the bundle that bytes hold.

    Raises:
        MalformedInputError: they are not exactly what formatting its members gives.

    """
    try:
        bundle = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = "not an evidence bundle of this format"
        raise MalformedInputError(message) from None
    if format_evidence(bundle) != data:
        message = "the evidence bundle is not in canonical form (RFC 8785), ended by one newline"
        raise MalformedInputError(message)
    return bundle


def verify_evidence(log: Verifier, question: Question, bundle: Evidence) -> Proved:
    """Verify that a bundle answers a question completely.

    0. (caller) `log` is the log's key, from where it can be believed; `question` is what the caller wants to know.
    1. The bundle's question is the caller's.
    2. The checkpoint is signed by the log's key (c2sp.org/signed-note, tlog-checkpoint).
    3. All entries of the bundle are in the checkpoint's tree (joint proof), and their `loggedAt` never goes back.
    4. The epoch's entry commits to the table; the table covers the log up to the epoch's size.
    5. Bucket keys are under the root that entry 0 commits to; the index keys asked for follow from them.
    6. The window [start, end) is the smallest that holds every entry logged when the question looks: the entries at its edges
       show that.
    7. Every segment that meets the window proves all its postings of the key asked for first.
    8. The entries under these postings are there, and have the key; of them those count to which everything asked applies.
    9. Disclosures match the commitments of their entries, and lead to the keys of their entries as far as that can be seen:
       what the question is about, and whatever is in a bucket whose key is there.
    10. The manifest counts right.

    Raises:
        MalformedInputError: a member has not the form it must have, or the index has or counts nothing of what is asked.
        VerificationError: a step failed.

    """
    if not question.keys(lambda _: b""):
        message = "the question has no index key: ask for a resource, an actor or an action"
        raise MalformedInputError(message)
    if bundle.mode == "count" and not question.countable():
        message = "the question cannot be counted by its index key alone: ask with a bundle of the mode answer"
        raise MalformedInputError(message)
    _require(bundle.question == question, "the bundle answers another question than the one asked")
    checkpoint = open_checkpoint(bundle.checkpoint.encode(), log)
    entries = _entries(bundle, checkpoint)
    _check_clock(entries)
    epoch = entries.get(bundle.epoch)
    if not isinstance(epoch, IndexEntry):
        message = "the index epoch's entry is not there"
        raise VerificationError(message)
    table = parse_base64(bundle.table.encode(), "the segment table")
    segments = parse_table(table)
    committed = table_hash(table) == epoch.table_hash() and [each.end for each in segments] == epoch.ends
    _require(committed, "the epoch's entry does not commit to this segment table")
    _require(epoch.size <= bundle.epoch, "the index epoch claims to cover entries from its own on")
    bucket_keys = _bucket_keys(bundle, question, entries.get(0))
    keys = question.keys(bucket_keys.index_key)
    used = {bundle.epoch} | _check_window(bundle, question, entries, epoch.size)
    ranges = _ranges(bundle, segments)
    if bundle.mode == "count":
        count = sum(
            verify_count(segment, *segment.bounds(keys[0], bundle.start, bundle.end), proof)
            for segment, proof in ranges
        )
        _check_rest(bundle, used, Manifest(answers=count, disclosures=0, postings=count))
        return Proved(checkpoint, epoch, bundle.start, bundle.end, count, None, {})
    postings = [
        segment.start + offset_of(item)
        for segment, proof in ranges
        for item in verify_range(segment, *segment.bounds(keys[0], bundle.start, bundle.end), proof)
    ]
    first, place = encode_base64url(keys[0]).decode(), question.places()[0]
    matcher = Matcher(question, keys)
    answers: list[tuple[int, EventEntry]] = []
    for index in sorted(postings):
        entry = entries.get(index)
        if not isinstance(entry, EventEntry):
            message = f"entry {index}, to which the index points, is not there or no event"
            raise VerificationError(message)
        _require(
            first == entry.keys[place], f"the index points to entry {index}, which does not have the key asked for"
        )
        if matcher.matches(entry):
            answers.append((index, entry))
    bodies = _bodies(bundle, dict(answers))
    for index, entry in answers:
        for group, body in bodies.get(index, {}).items():
            ident = disclosed_ident(entry, group, body)
            # The entry has the key of what is asked: it cannot be that of other data as well.
            false = question.idents().get(group, ident) != ident or _has_false_key(entry, group, ident, bucket_keys)
            _require(not false, f"entry {index} carries a false key: the {group} shown has another one")
    disclosed = sum(len(groups) for groups in bodies.values())
    manifest = Manifest(answers=len(answers), disclosures=disclosed, postings=len(postings))
    _check_rest(bundle, used.union(postings), manifest)
    return Proved(checkpoint, epoch, bundle.start, bundle.end, len(answers), answers, bodies)


def find_fraud(log: Verifier, bundle: Evidence, key: bytes, index: int) -> str:
    """Convict an index: show that an epoch the log signed is false about entry `index` and the index key `key`.

    The caller has verified that the log signed entry `index` with `key` among its keys (`tlog.core.verify.verify_event`) for
    "left out"; whether the tree of that checkpoint and of the bundle's are one log does not matter, because if they are
    not, the log showed two histories.

    Returns:
        What is wrong, in words.

    Raises:
        MalformedInputError: a member of the bundle has not the form it must have.
        VerificationError: the bundle does not show that the epoch is false.

    """
    checkpoint = open_checkpoint(bundle.checkpoint.encode(), log)
    epoch = _entries(bundle, checkpoint).get(bundle.epoch)
    table = parse_base64(bundle.table.encode(), "the segment table")
    if not isinstance(epoch, IndexEntry) or table_hash(table) != epoch.table_hash():
        message = "the bundle's epoch is not one that the log signed"
        raise VerificationError(message)
    for segment, proof in _ranges(bundle, parse_table(table)):
        if segment.start <= index < segment.end:
            low, high = segment.bounds(key, index, index + 1)
            _require(not verify_range(segment, low, high, proof), f"the index holds entry {index} under this key")
            return f"the epoch of size {epoch.size} leaves out entry {index}"
    message = f"the bundle says nothing about entry {index}"
    raise VerificationError(message)


def find_false_key(log: Verifier, bundle: Evidence, entry: EventEntry, bodies: Mapping[str, bytes]) -> str:
    """Convict a log of a false key: the data of an event lead to another index key than its entry carries.

    Who asks for what the event is about is not shown it, although the index was derived from the entries as it must be. The
    bundle is one about the question whose answer lacks the event: from it come entry 0 and the bucket key; its window, its
    epoch and its pages do not matter. The caller has verified that the log signed `entry` and that `bodies`, by group, are
    what it commits to (`tlog.core.verify.verify_event`).

    Returns:
        What is wrong, in words.

    Raises:
        MalformedInputError: a member of the bundle or a body has not the form it must have.
        VerificationError: nothing is proved.

    """
    checkpoint = open_checkpoint(bundle.checkpoint.encode(), log)
    commitment = _entries(bundle, checkpoint).get(0)
    if not isinstance(commitment, IndexKeysEntry):
        message = "entry 0, which commits to the bucket keys, is not there"
        raise VerificationError(message)
    for group, body in bodies.items():
        ident = disclosed_ident(entry, group, body)
        for path in bundle.buckets:
            try:
                proved = _BucketKeys(commitment.bits, _bucket_key(commitment, ident, path))
            except VerificationError:
                continue  # the key of another bucket
            if _has_false_key(entry, group, ident, proved):
                return f"event {entry.eventId} carries a false key: its {group} has another one"
    message = "the bundle does not show that a key of the event is false"
    raise VerificationError(message)


def find_clock_fraud(log: Verifier, bundle: Evidence | ClockFraud) -> str:
    """Convict a log whose clock went back: of two entries of one tree the later one says that it was logged earlier.

    Returns:
        What is wrong, in words.

    Raises:
        MalformedInputError: a member has not the form it must have.
        VerificationError: nothing is proved.

    """
    went_back = _went_back(_entries(bundle, open_checkpoint(bundle.checkpoint.encode(), log)))
    if went_back is None:
        message = "the entries are logged in order"
        raise VerificationError(message)
    return went_back


def format_clock_fraud(fraud: ClockFraud) -> bytes:
    """Return the file's bytes: RFC 8785 JSON and one newline."""
    return _encode(fraud) + b"\n"


def parse_clock_fraud(data: bytes) -> ClockFraud:
    """Return what a file of the type `tlog-clock-fraud` holds.

    Raises:
        MalformedInputError: the bytes are not exactly what formatting its members gives.

    """
    try:
        fraud = _decode_fraud(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = "not a clock fraud file of this format"
        raise MalformedInputError(message) from None
    if format_clock_fraud(fraud) != data:
        message = "the clock fraud file is not in canonical form (RFC 8785), ended by one newline"
        raise MalformedInputError(message)
    return fraud


def _require(condition: object, message: str) -> None:
    if not condition:
        raise VerificationError(message)


def _hashes(text: str, what: str) -> Sequence[bytes]:
    return split_hashes(parse_base64(text.encode(), what))


def _entries(bundle: Evidence | ClockFraud, checkpoint: Checkpoint) -> dict[int, Entry]:
    """Return the entries by index, proved to be in the checkpoint's tree."""
    indexes = [index for index, _ in bundle.entries]
    _require(indexes == sorted(set(indexes)), "the entries do not rise by index")
    data = {index: text.encode() for index, text in bundle.entries}
    leaves = {index: leaf_hash(entry) for index, entry in data.items()}
    verify_joint(checkpoint.size, leaves, _hashes(bundle.hashes, "the proof of the entries"), checkpoint.root)
    return {index: parse_entry(entry) for index, entry in data.items()}


class _BucketKeys(NamedTuple):
    """Bucket keys that are proved under the root that entry 0 commits to, by bucket."""

    bits: int
    keys: dict[int, bytes]

    def index_key(self, ident: bytes) -> bytes:
        """Return the 16-byte index key of an ident in one of the buckets."""
        return index_key(self.keys[bucket_of(ident, self.bits)], ident)


def _bucket_keys(bundle: Evidence, question: Question, commitment: Entry | None) -> _BucketKeys:
    """Return the bucket keys of the personal idents asked for, in the order in which the bundle has them."""
    if not isinstance(commitment, IndexKeysEntry):
        message = "entry 0, which commits to the bucket keys, is not there"
        raise VerificationError(message)
    idents = question.idents().values()
    _require(len(idents) == len(bundle.buckets), "there are not as many bucket keys as the question needs")
    proved = _BucketKeys(commitment.bits, {})
    for ident, path in zip(idents, bundle.buckets, strict=True):
        proved.keys.update(_bucket_key(commitment, ident, path))
    return proved


def _bucket_key(commitment: IndexKeysEntry, ident: bytes, path: KeyPath) -> dict[int, bytes]:
    """Return a bucket key under the number of the bucket of `ident`, proved to be the key of that bucket."""
    key, bucket = parse_base64(path.key.encode(), "a bucket key", HASH_SIZE), bucket_of(ident, commitment.bits)
    hashes = _hashes(path.hashes, "the proof of a bucket key")
    verify_joint(1 << commitment.bits, {bucket: leaf_hash(key)}, hashes, commitment.root_hash())
    return {bucket: key}


def disclosed_ident(entry: EventEntry, group: str, body: bytes) -> bytes:
    """Return the ident that a disclosed body leads to.

    Raises:
        MalformedInputError: the body is not what an event has there.
        VerificationError: the resource is of another type than the entry says.

    """
    value = parse_strict(body, stored=True)
    match group, value:
        case "actor", {"userId": str(user_id)}:
            return actor_ident(user_id)
        case "resource", {"resource": {"id": str(resource_id), "type": str(resource_type)}}:
            _require(resource_type == entry.resourceType, "the resource shown is of another type than the entry says")
            return resource_ident(resource_type, resource_id)
        case _:
            message = f"the {group} disclosure is not what an event has there"
            raise MalformedInputError(message)


def _has_false_key(entry: EventEntry, group: str, ident: bytes, bucket_keys: _BucketKeys) -> bool:
    """Tell whether bucket keys show that the key of a disclosed group is not that of its data, whose ident is given."""
    known = bucket_of(ident, bucket_keys.bits) in bucket_keys.keys
    return known and entry.index_keys()[GROUPS.index(group)] != bucket_keys.index_key(ident)


def _check_clock(entries: Mapping[int, Entry]) -> None:
    went_back = _went_back(entries)
    _require(went_back is None, f"{went_back}, which convicts the log: see 'verify.py fraud'")


def _went_back(entries: Mapping[int, Entry]) -> str | None:
    """Return in words where the log's clock went back, None if it did nowhere."""
    for before, after in pairwise(sorted(entries)):
        if entries[before].loggedAt > entries[after].loggedAt:
            return f"the log's clock went back: entry {before} says that it was logged later than entry {after}"
    return None


def _check_window(bundle: Evidence, question: Question, entries: Mapping[int, Entry], size: int) -> set[int]:
    """Check that the window is the smallest one; return the indexes of the entries that show it, and 0."""
    start, end = bundle.start, bundle.end
    _require(0 <= start <= end <= size, "the window is not within the epoch")
    edges = {at for at in (0, start - 1, start, end - 1, end) if 0 <= at < size}
    _require(edges <= entries.keys(), "an entry at an edge of the window, or entry 0, is not there")
    logged = {at: entries[at].loggedAt.encode() for at in edges}
    edge_bounds = ("begins", start, question.logged_from(), 0), ("ends", end, question.logged_to(), size)
    for verb, edge, bound, unbounded in edge_bounds:
        # The smallest window: what is logged just before the edge is earlier than the bound, what is logged at the edge is not.
        late = edge > unbounded if bound is None else edge > 0 and logged[edge - 1] >= bound
        early = edge < unbounded if bound is None else edge < size and logged[edge] < bound
        _require(not late, f"the window {verb} later than the question looks")
        _require(not early, f"the window {verb} earlier than the question looks")
    return edges


def _ranges(bundle: Evidence, segments: Sequence[Segment]) -> list[tuple[Segment, RangeProof]]:
    met = [segment for segment in segments if segment.start < bundle.end and segment.end > bundle.start]
    _require(len(met) == len(bundle.segments), "not every segment that meets the window is there")
    return [(segment, _range_proof(text)) for segment, text in zip(met, bundle.segments, strict=True)]


def _range_proof(text: RangeText) -> RangeProof:
    runs = tuple(PageRun(first, parse_base64(pages.encode(), "pages of a segment")) for first, pages in text.runs)
    return RangeProof(runs, tuple(_hashes(text.hashes, "the proof of pages")))


def _bodies(bundle: Evidence, answers: Mapping[int, EventEntry]) -> dict[int, dict[str, bytes]]:
    bodies: dict[int, dict[str, bytes]] = {}
    indexes = [index for index, _ in bundle.disclosures]
    _require(indexes == sorted(set(indexes) & answers.keys()), "a disclosure is of no entry that answers")
    for index, groups in bundle.disclosures:
        _require(groups and groups.keys() <= {*GROUPS}, "disclosures are of actor and resource")
        bodies[index] = {}
        for group, text in groups.items():
            salt = parse_base64url(text.salt.encode(), "a salt", SALT_SIZE)
            body = text.body.encode()
            check_disclosure(answers[index].commitment(group), salt + body, group)
            bodies[index][group] = body
    return bodies


def _check_rest(bundle: Evidence, used: set[int], manifest: Manifest) -> None:
    _require({index for index, _ in bundle.entries} <= used, "there are entries that nothing asks for")
    _require(bundle.manifest == manifest, "the manifest does not count what is there")


def format_range(proof: RangeProof) -> RangeText:
    """Return a range proof as it stands in a bundle."""
    runs = [(run.first, encode_base64(run.pages).decode()) for run in proof.runs]
    return RangeText(hashes=encode_base64(b"".join(proof.hashes)).decode(), runs=runs)
