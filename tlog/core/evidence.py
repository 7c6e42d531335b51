"""Evidence bundles: a complete answer, an exact count, or that there is nothing, proved against a signed checkpoint.

Own format (docs/reference/formats.md, "Evidence bundle"): one canonical JSON object with everything a verifier needs but
two things, which it has to bring along itself: the log's public key, and the question. The chain of reasons is

    checkpoint signed → tree of entries → `index` entry (an epoch) → table → segments → pages around the asked keys
    → all postings of the keys, and with them all entries → which of them answer the question

What a bundle cannot show by itself is that the epoch's segments were derived from the entries as they should be. Whoever
holds the entries can derive them again, and whoever holds an event's proof with its data can convict the log
(`tlog.core.fraud`). An answer too large for one bundle is a set of them (`tlog.core.evidence_set`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType

from tlog.core.checkpoint import Checkpoint, open_checkpoint
from tlog.core.commitment import SALT_SIZE, check_disclosure, group_order
from tlog.core.disclosed import disclosed_ident
from tlog.core.entry import EventEntry, IndexEntry, IndexKeysEntry, OtherEntry, OutcomeEntry, is_unknown, parse_entry
from tlog.core.eventfile import DisclosureText  # noqa: TC001 - msgspec reads the annotation
from tlog.core.merkle import HASH_SIZE, leaf_hash
from tlog.core.outcome import Lost, Seen
from tlog.core.proof import verify_joint
from tlog.core.pseudonym import DISTINCT_SIZE, bucket_of, check_assigned, index_key
from tlog.core.question import Matcher, Question, check_asked, parse_question
from tlog.core.segment import (
    PageRun,
    RangeProof,
    Segment,
    offset_of,
    parse_table,
    table_hash,
    verify_counts,
    verify_ranges,
)
from tlog.core.strict import CanonicalFile, encode_base64, parse_base64
from tlog.core.tile import split_hashes
from tlog.errors import MalformedInputError, MissingError, NotCheckedError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tlog.core.entry import Entry
    from tlog.core.note import Verifier


class _Object(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, gc=False, kw_only=True):
    """Members are declared in RFC 8785 order."""


class KeyPath(_Object, kw_only=True, frozen=True):
    """A bucket key and the joint proof of it under the root that entry 0 commits to, both base64."""

    hashes: str
    key: str


class RangeText(_Object, kw_only=True, frozen=True):
    """A range proof: hashes, and runs as (first page, pages), in base64."""

    hashes: str
    runs: list[tuple[int, str]]


class Manifest(_Object, kw_only=True, frozen=True):
    """What is in the bundle, by numbers: what answers, what is disclosed, what has the keys looked under."""

    answers: int
    disclosures: int
    postings: int


class Bracket(_Object, kw_only=True, frozen=True):
    """Between which witnessed notes entries were logged. This version reads it and says nothing of it."""

    after: str
    afterProof: list[str]  # noqa: N815 - the format's name
    before: str
    beforeProof: list[str]  # noqa: N815 - the format's name


_Nothing = Annotated[list[int], Meta(max_length=0)]
_MAX_NAMED: Final = 1_000


class Evidence(_Object, kw_only=True, frozen=True):
    """An evidence bundle. Each member has to be there, but `part` and `times`."""

    absent: list[tuple[int, str, int]]
    buckets: list[KeyPath]
    checkpoint: str
    disclosure: Literal["full", "none"]
    disclosures: list[tuple[int, dict[str, DisclosureText]]]
    end: int
    entries: list[tuple[int, str]]
    epoch: int
    hashes: str
    manifest: Manifest
    mode: Literal["answer", "count", "part"]
    part: tuple[int, int] | UnsetType = UNSET
    question: Question
    rosters: _Nothing
    segments: list[RangeText]
    start: int
    table: str
    times: Annotated[list[Bracket], Meta(min_length=1, max_length=1_000)] | UnsetType = UNSET
    type: Literal["tlog-evidence"]
    v: Literal[1]


class Shown(Protocol):
    """A file that shows entries of a tree: index and text of each, and the joint proof of all of them."""

    @property
    def entries(self) -> Sequence[tuple[int, str]]:
        """Rising."""

    @property
    def hashes(self) -> str:
        """In base64."""


class Proved(NamedTuple):
    """What evidence proves: these entries and no others, of those looked at, answer the question.

    Attributes:
        checkpoint: of the log that proves it.
        epoch: the index that was looked up.
        start: the first entry that is looked at.
        end: the first entry after those.
        log_id: the leaf hash of entry 0, 32 bytes.
        count: how many answer; in a count about a resource the events of it, without those that only name it.
        named: in a count about a resource how many entries name it (kind `related`), else None.
        answers: rising (index, entry); None where only numbers are proved.
        matched: by index, which group of an answer is the resource asked for; empty where none is.
        bodies: what is disclosed, by index and group.
        absent: (index, group, outcome) of what would be disclosed and is not there, as that outcome's entry explains.
        withheld: the evidence claims to disclose nothing.
        apart: (index, entry) of control entries that have a key asked for by a question that does not ask for them.
        alike: indexes of entries of which a key only begins like one asked for; they are no answers.
        doubt: why something shown could not be checked; "" in what `verify_evidence` and `verify_evidence_set` return.

    """

    checkpoint: Checkpoint
    epoch: IndexEntry
    start: int
    end: int
    log_id: bytes
    count: int  # type: ignore[assignment]  # hides tuple.count, which means nothing here
    named: int | None = None
    answers: list[tuple[int, EventEntry | OtherEntry]] | None = None
    matched: Mapping[int, str] = {}
    bodies: Mapping[int, dict[str, bytes]] = {}
    absent: Sequence[tuple[int, str, int]] = ()
    withheld: bool = False
    apart: Sequence[tuple[int, OtherEntry]] = ()
    alike: Sequence[int] = ()
    doubt: str = ""

    def unknown(self) -> list[int]:
        """Return the indexes of entries of a type or version that this program does not know: with them, knowledge is partial."""
        met = [*(self.answers or ()), *self.apart]
        return sorted(index for index, entry in met if is_unknown(entry))


_FILE: Final = CanonicalFile(Evidence, "an evidence bundle")
format_evidence: Final = _FILE.format
parse_evidence: Final = _FILE.parse


def verify_evidence(log: Verifier, question: Question, bundle: Evidence) -> Proved:
    """Verify that a bundle answers a question completely.

    0. (caller) `log` is the log's key, from where it can be believed; `question` is what the caller wants to know.
    1. The bundle's question has the form of questions, and the bundle is verified as the answer to that.
    2. The checkpoint is signed by the log's key (c2sp.org/signed-note, tlog-checkpoint).
    3. All entries of the bundle are in the checkpoint's tree (joint proof), and their `loggedAt` never goes back. Entry 0 names
       the log as the checkpoint does.
    4. The epoch's entry commits to the table; the table covers the log up to the epoch's size.
    5. Bucket keys are under the root that entry 0 commits to; the index keys asked for follow from them.
    6. The window [start, end) is the smallest that holds every entry logged when the question looks: the entries at its edges
       show that.
    7. Every segment that meets the window proves all its postings of the keys looked under, with as few pages as can be.
    8. The entries under these postings are there, and have the key; of them those count to which everything asked applies.
    9. Disclosures match the commitments of their entries, are what their groups have, and lead to the keys of their entries as
       far as that can be seen: what the question is about, and whatever is in a bucket whose key is there.
    10. The manifest counts right.
    11. If the bundle claims to disclose, each group of each answer is disclosed, or an outcome among the entries explains why it
       is absent. Of how many entries that speaks, and what lies between, is compared as far as the bundle shows it.
    12. The bundle's question is the caller's. This comes last, so that what somebody forged is never merely about something else.

    Raises:
        MalformedInputError: a member has not the form it must have, or the index has or counts nothing of what is asked.
        NotCheckedError: the bundle is one part of a set, or an id shown has characters that this program does not know.
        OtherQuestionError: everything else is right, and the bundle answers another question.
        VerificationError: a step failed.

    """
    proved, _ = verify_part(log, own_question(question, bundle), bundle)
    check_asked(question, bundle.question)
    if proved.doubt:
        raise NotCheckedError(proved.doubt)
    if bundle.part is not UNSET:
        message = f"this is part {bundle.part[0]} of {bundle.part[1]} of an answer: all of them are needed"
        raise NotCheckedError(message)
    return proved


def verify_part(log: Verifier, question: Question, bundle: Evidence) -> tuple[Proved, Mapping[int, Entry]]:
    """Verify what a bundle of any mode shows by itself, a part of a set for its own window; return that, and its entries.

    Raises:
        MalformedInputError, VerificationError: as `verify_evidence` does, which lists the steps.

    """
    _check_form(question, bundle)
    checkpoint = open_checkpoint(bundle.checkpoint.encode(), log)
    entries = entries_of(bundle, checkpoint)
    went_back = clock_went_back(entries)
    require(went_back is None, f"{went_back}, which convicts the log: see 'verify.py fraud'")
    epoch, segments = _open_epoch(bundle, entries)
    bucket_keys = _bucket_keys(bundle, question, entry_zero(entries, checkpoint))
    keys = question.keys(bucket_keys.index_key)
    used = {bundle.epoch} | _check_window(bundle, question, entries, epoch.size)
    log_id = leaf_hash(bundle.entries[0][1].encode())
    proved = Proved(checkpoint, epoch, bundle.start, bundle.end, log_id, 0, withheld=bundle.disclosure == "none")
    lookups = {kind: keys[kind] for kind in question.looked_under()}
    if bundle.mode == "count":
        numbers = _count(bundle, segments, lookups)
        _check_rest(bundle, used, Manifest(answers=numbers[0], disclosures=0, postings=sum(numbers)))
        return proved._replace(count=numbers[0], named=numbers[1] if len(numbers) > 1 else None), entries
    found = _find(bundle, segments, lookups)
    matcher, alike = Matcher(question, keys), list[int]()
    answers, apart = list[tuple[int, EventEntry | OtherEntry]](), list[tuple[int, OtherEntry]]()
    for index, kind in sorted(found.items()):
        entry = entries.get(index)
        if not isinstance(entry, EventEntry | OtherEntry):
            message = f"entry {index}, to which the index points, is not there or has no keys"
            raise VerificationError(message)
        if not _has_key(index, entry, kind, keys[kind]):
            alike.append(index)
        elif matcher.matches(entry):
            answers.append((index, entry))
        elif isinstance(entry, OtherEntry) and question.control is UNSET:
            apart.append((index, entry))
    bodies = _bodies(bundle, dict(answers))
    doubt = _check_disclosed(question, keys, bucket_keys, answers, bodies)
    said_by = {by for _, _, by in bundle.absent}
    disclosed = sum(map(len, bodies.values()))
    _check_rest(
        bundle,
        used | found.keys() | said_by,
        Manifest(answers=len(answers), disclosures=disclosed, postings=len(found)),
    )
    if bundle.disclosure == "full":  # last: what is MISSING is missing from an answer that is right in all else
        _check_absent(bundle, entries, answers, bodies)
    matched = {index: group for index, entry in answers if (group := matcher.matched(entry)) is not None}
    proved = proved._replace(count=len(answers), answers=answers, matched=matched, bodies=bodies)
    return proved._replace(apart=apart, alike=alike, absent=bundle.absent, doubt=doubt), entries


def own_question(asked: Question, bundle: Evidence) -> Question:
    """Return the question that a bundle says it answers.

    Raises:
        MalformedInputError: it has not the form of questions, or no bundle can answer the one asked.
        NotCheckedError: an id has characters that this program's Unicode tables do not know.

    """
    _check_answerable(asked, bundle.mode)
    if parse_question(bundle.question.document()) != bundle.question:
        message = "the bundle's question has not the form of questions"
        raise MalformedInputError(message)
    return bundle.question


def require(condition: object, message: str) -> None:
    """Raise a VerificationError unless a condition holds."""
    if not condition:
        raise VerificationError(message)


def entries_of(shown: Shown, checkpoint: Checkpoint) -> dict[int, Entry]:
    """Return the entries that a file shows by index, proved to be in the checkpoint's tree."""
    indexes = [index for index, _ in shown.entries]
    require(indexes == sorted(set(indexes)), "the entries do not rise by index")
    data = {index: text.encode() for index, text in shown.entries}
    leaves = {index: leaf_hash(entry) for index, entry in data.items()}
    verify_joint(checkpoint.size, leaves, _hashes(shown.hashes, "the proof of the entries"), checkpoint.root)
    return {index: parse_entry(entry) for index, entry in data.items()}


def entry_zero(entries: Mapping[int, Entry], checkpoint: Checkpoint) -> IndexKeysEntry:
    """Return entry 0, which commits to the bucket keys of the log that the checkpoint is of."""
    entry = entries.get(0)
    if not isinstance(entry, IndexKeysEntry):
        message = "entry 0, which commits to the bucket keys, is not there"
        raise VerificationError(message)
    require(entry.origin == checkpoint.origin, "entry 0 names another log than the checkpoint")
    return entry


def clock_went_back(entries: Mapping[int, Entry]) -> str | None:
    """Return in words where the log's clock went back, None if it did nowhere."""
    for before, after in pairwise(sorted(entries)):
        if entries[before].loggedAt > entries[after].loggedAt:
            return f"the log's clock went back: entry {before} says that it was logged later than entry {after}"
    return None


class BucketKeys(NamedTuple):
    """Bucket keys that are proved under the root that entry 0 commits to, by bucket."""

    bits: int
    keys: dict[int, bytes]

    def index_key(self, ident: bytes) -> bytes:
        """Return the 16-byte index key of an ident in one of the buckets."""
        return index_key(self.keys[bucket_of(ident, self.bits)], ident)

    def contradicts(self, key: bytes, ident: bytes) -> bool:
        """Tell whether the bucket keys show that a 16-byte index key is not that of an ident."""
        return bucket_of(ident, self.bits) in self.keys and key != self.index_key(ident)


def prove_bucket(commitment: IndexKeysEntry, ident: bytes, path: KeyPath) -> dict[int, bytes]:
    """Return a bucket key under the number of the bucket of `ident`, proved to be the key of that bucket."""
    key, bucket = parse_base64(path.key.encode(), "a bucket key", HASH_SIZE), bucket_of(ident, commitment.bits)
    hashes = _hashes(path.hashes, "the proof of a bucket key")
    verify_joint(1 << commitment.bits, {bucket: leaf_hash(key)}, hashes, commitment.root_hash())
    return {bucket: key}


def ranges_of(bundle: Evidence, segments: Sequence[Segment]) -> list[tuple[Segment, RangeProof]]:
    """Return the segments that meet the window, each with its proof."""
    met = [segment for segment in segments if segment.start < bundle.end and segment.end > bundle.start]
    require(len(met) == len(bundle.segments), "not every segment that meets the window is there")
    return [(segment, _range_proof(text)) for segment, text in zip(met, bundle.segments, strict=True)]


def format_range(proof: RangeProof) -> RangeText:
    """Return a range proof as it stands in a bundle."""
    runs = [(run.first, encode_base64(run.pages).decode()) for run in proof.runs]
    return RangeText(hashes=encode_base64(b"".join(proof.hashes)).decode(), runs=runs)


def _check_answerable(question: Question, mode: str) -> None:
    if not question.keys(lambda _: b""):
        message = "the question has no index key: ask for a resource, actor, source, operation, control type or action"
        raise MalformedInputError(message)
    if mode == "count" and not question.countable():
        message = "the question cannot be counted by its index key alone: ask with a bundle of the mode answer"
        raise MalformedInputError(message)


def _check_form(question: Question, bundle: Evidence) -> None:
    """Check what the members of a bundle ask of each other and of the question."""
    _check_answerable(question, bundle.mode)
    number, of = (1, 1) if bundle.part is UNSET else bundle.part
    if (bundle.mode == "part") != (bundle.part is not UNSET) or not 1 <= number <= of:
        message = "a bundle of the mode part says which one it is, [k, n] with k from 1 to n, and no other does"
        raise MalformedInputError(message)
    if (bundle.disclosure == "none" and (bundle.disclosures or bundle.absent)) or (
        bundle.disclosure == "full" and bundle.mode == "count"
    ):
        message = "the bundle has disclosures or reasons of absent ones where it says 'none', or says 'full' of a count"
        raise MalformedInputError(message)
    require(bundle.question == question, "the bundle answers another question than the rest of the set")


def _open_epoch(bundle: Evidence, entries: Mapping[int, Entry]) -> tuple[IndexEntry, list[Segment]]:
    epoch = entries.get(bundle.epoch)
    if not isinstance(epoch, IndexEntry):
        message = "the index epoch's entry is not there"
        raise VerificationError(message)
    table = parse_base64(bundle.table.encode(), "the segment table")
    segments = parse_table(table)
    committed = table_hash(table) == epoch.table_hash() and [each.end for each in segments] == epoch.ends
    require(committed, "the epoch's entry does not commit to this segment table")
    require(epoch.size <= bundle.epoch, "the index epoch claims to cover entries from its own on")
    return epoch, segments


def _bucket_keys(bundle: Evidence, question: Question, commitment: IndexKeysEntry) -> BucketKeys:
    """Return the bucket keys of the personal idents asked for, in the order in which the bundle has them."""
    idents = question.idents().values()
    require(len(idents) == len(bundle.buckets), "there are not as many bucket keys as the question needs")
    proved = BucketKeys(commitment.bits, {})
    for ident, path in zip(idents, bundle.buckets, strict=True):
        proved.keys.update(prove_bucket(commitment, ident, path))
    return proved


def _check_window(bundle: Evidence, question: Question, entries: Mapping[int, Entry], size: int) -> set[int]:
    """Check that the window is the smallest one; return the indexes of the entries that show it, and 0.

    A part of a set shows that at the outer ends of the set only.
    """
    start, end = bundle.start, bundle.end
    number, of = (1, 1) if bundle.part is UNSET else bundle.part
    require(0 <= start <= end <= size, "the window is not within the epoch")
    require(start < end or bundle.part is UNSET, "a part of a set has an empty window")
    outer = (*((start - 1, start) if number == 1 else ()), *((end - 1, end) if number == of else ()))
    edges = {at for at in (0, *outer) if 0 <= at < size}
    require(edges <= entries.keys(), "an entry at an edge of the window, or entry 0, is not there")
    logged = {at: entries[at].loggedAt.encode() for at in edges}
    begins, ends = ("begins", start, question.logged_from(), 0), ("ends", end, question.logged_to(), size)
    for verb, edge, bound, unbounded in (*((begins,) if number == 1 else ()), *((ends,) if number == of else ())):
        # The smallest window: what is logged just before the edge is earlier than the bound, what is logged at the edge is not.
        late = edge > unbounded if bound is None else edge > 0 and logged[edge - 1] >= bound
        early = edge < unbounded if bound is None else edge < size and logged[edge] < bound
        require(not late, f"the window {verb} later than the question looks")
        require(not early, f"the window {verb} earlier than the question looks")
    return edges


def _bounds(bundle: Evidence, segment: Segment, lookups: Mapping[str, bytes]) -> list[tuple[bytes, bytes]]:
    return [segment.bounds(key, bundle.start, bundle.end) for key in lookups.values()]


def _count(bundle: Evidence, segments: Sequence[Segment], lookups: Mapping[str, bytes]) -> list[int]:
    """Return how many postings of each key the window has."""
    numbers = [0] * len(lookups)
    for segment, proof in ranges_of(bundle, segments):
        for place, number in enumerate(verify_counts(segment, _bounds(bundle, segment, lookups), proof)):
            numbers[place] += number
    return numbers


def _find(bundle: Evidence, segments: Sequence[Segment], lookups: Mapping[str, bytes]) -> dict[int, str]:
    """Return the indexes to which the postings of the keys point, each with the kind of its key."""
    found: dict[int, str] = {}
    for segment, proof in ranges_of(bundle, segments):
        all_postings = verify_ranges(segment, _bounds(bundle, segment, lookups), proof)
        for kind, postings in zip(lookups, all_postings, strict=True):
            indexes = [segment.start + offset_of(item) for item in postings]
            for index in found.keys() & set(indexes):
                message = f"entry {index} names the resource twice, which no log lets in"
                raise VerificationError(message)
            found |= dict.fromkeys(indexes, kind)
    return found


def _has_key(index: int, entry: EventEntry | OtherEntry, kind: str, key: bytes) -> bool:
    """Tell whether an entry to which the index points has a key, and not only one that begins alike."""
    for has, each in zip(_kinds(entry), entry.index_keys(), strict=True):
        if each[:DISTINCT_SIZE] == key[:DISTINCT_SIZE]:
            right = each != key or has in (kind, None)
            require(
                right, f"the index points to entry {index}, which has the key asked for in the place of another kind"
            )
            return each == key
    message = f"the index points to entry {index}, which does not have the key asked for"
    raise VerificationError(message)


def _kinds(entry: EventEntry | OtherEntry) -> list[str | None]:
    """Return the kinds of an entry's keys, None where only somebody who knows its type can tell."""
    if isinstance(entry, OtherEntry):
        return [None] * len(entry.keys)
    kinds = ["actor", "resource", "action"]
    kinds += [] if entry.operation is UNSET else ["operation"]
    kinds += [] if entry.source is UNSET else ["source"]
    return [*kinds, *["related"] * entry.related_count()]


def _range_proof(text: RangeText) -> RangeProof:
    runs = tuple(PageRun(first, parse_base64(pages.encode(), "pages of a segment")) for first, pages in text.runs)
    return RangeProof(runs, tuple(_hashes(text.hashes, "the proof of pages")))


def _hashes(text: str, what: str) -> Sequence[bytes]:
    return split_hashes(parse_base64(text.encode(), what))


def _bodies(bundle: Evidence, answers: Mapping[int, EventEntry | OtherEntry]) -> dict[int, dict[str, bytes]]:
    bodies: dict[int, dict[str, bytes]] = {}
    indexes = [index for index, _ in bundle.disclosures]
    require(indexes == sorted(set(indexes) & answers.keys()), "a disclosure is of no entry that answers")
    for index, groups in bundle.disclosures:
        require(groups, f"of entry {index} nothing is disclosed")
        bodies[index] = {}
        for group, text in sorted(groups.items(), key=lambda each: group_order(each[0])):
            disclosure = text.data(group)
            check_disclosure(answers[index].commitment(group), disclosure, group)
            bodies[index][group] = disclosure[SALT_SIZE:]
    return bodies


def _check_absent(
    bundle: Evidence,
    entries: Mapping[int, Entry],
    answers: Sequence[tuple[int, EventEntry | OtherEntry]],
    bodies: Mapping[int, Mapping[str, bytes]],
) -> None:
    """Check that what the bundle claims to disclose is there, or explained by an outcome that nothing in it contradicts."""
    rows = [(index, group_order(group)) for index, group, _ in bundle.absent]
    require(rows == sorted(set(rows)), "the reasons of absent disclosures do not rise by index and group")
    said_by = losses((by for _, _, by in bundle.absent), entries, bodies)
    explained = {(index, group) for index, group, by in bundle.absent if said_by[by].covers(index, by)}
    claimed = [(index, group) for index, entry in answers for group in entry.groups()]
    missing = [each for each in claimed if each not in explained and each[1] not in bodies.get(each[0], {})]
    if missing:
        raise MissingError(describe_missing(missing))
    unasked = explained.difference(claimed).union(each for each in explained if each[1] in bodies.get(each[0], {}))
    require(not unasked and len(explained) == len(rows), "a reason is given for something that is not absent")


def losses(outcomes: Iterable[int], entries: Mapping[int, Entry], bodies: Mapping[int, object]) -> dict[int, Lost]:
    """Return what outcomes that are to explain something say, by the index of each.

    Args:
        outcomes: indexes.
        entries: what is shown of the log, by index.
        bodies: by index of each entry of which a disclosure is there.

    Raises:
        VerificationError: one is not there, is no `lost`, or what is shown contradicts it.

    """
    seen = _seen(entries, bodies)
    return {by: _lost(entries.get(by), by, seen) for by in outcomes}


def describe_missing(missing: Sequence[tuple[int, str]]) -> str:
    """Return the message that names what is absent, (index, group), and that nothing explains: all counted, 1,000 named."""
    named = ", ".join(f"entry {index} {group}" for index, group in missing[:_MAX_NAMED])
    more = f", and {len(missing) - _MAX_NAMED:,} more" if len(missing) > _MAX_NAMED else ""
    return f"MISSING: {len(missing):,} disclosures are absent, and no outcome explains it: {named}{more}"


def _seen(entries: Mapping[int, Entry], bodies: Mapping[int, object]) -> Seen:
    """Return what of the log a bundle shows, for whoever judges an explanation."""
    shown = sorted(entries.items())
    return Seen(
        [index for index, _ in shown],
        [index for index, entry in shown if isinstance(entry, EventEntry | OtherEntry) and entry.groups()],
        [index for index, entry in shown if entry.type == "event"],
        sorted(bodies),
    )


def _lost(entry: Entry | None, index: int, seen: Seen) -> Lost:
    """Return what the outcome that is to explain something says."""
    if not isinstance(entry, OutcomeEntry) or not isinstance(entry.report, Lost):
        message = (
            f"MISSING: entry {index}, which is to explain why something is absent, is no outcome of the kind 'lost'"
        )
        raise VerificationError(message)
    if contradiction := entry.report.contradicted(index, seen):
        message = f"MISSING: {contradiction}, so it explains nothing"
        raise MissingError(message)
    return entry.report


def _check_disclosed(
    question: Question,
    keys: Mapping[str, bytes],
    bucket_keys: BucketKeys,
    answers: Sequence[tuple[int, EventEntry | OtherEntry]],
    bodies: Mapping[int, Mapping[str, bytes]],
) -> str:
    """Check that what is disclosed leads to the keys of its entries; return why that cannot be told of some of it, or ""."""
    doubt = ""
    idents = question.idents()
    for index, entry in answers:
        for group, body in bodies.get(index, {}).items():
            if isinstance(entry, OtherEntry):
                continue  # what its groups hold is for somebody to say who knows its type
            ident = disclosed_ident(entry, group, body)
            try:
                check_assigned(ident.decode(), f"the {group} shown of entry {index}")
            except NotCheckedError as error:
                doubt = str(error)
                continue
            key, kind = entry.key_of(group), group.partition("/")[0]
            # An entry that has the key of what is asked cannot have it for other data as well.
            false = key == keys.get(kind) and idents[kind] != ident
            false = false or bucket_keys.contradicts(key, ident)
            require(not false, f"entry {index} carries a false key: the {group} shown has another one")
    return doubt


def _check_rest(bundle: Evidence, used: set[int], manifest: Manifest) -> None:
    require({index for index, _ in bundle.entries} <= used, "there are entries that nothing asks for")
    require(bundle.manifest == manifest, "the manifest does not count what is there")
