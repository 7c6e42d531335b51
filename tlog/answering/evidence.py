"""Making evidence: one snapshot read, the bundle put together, and verified as its receiver will before it is handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from tlog.answering.query import decode_event, window
from tlog.core.commitment import SALT_SIZE
from tlog.core.evidence import DisclosureText, Evidence, KeyPath, Manifest, format_range, verify_evidence
from tlog.core.making.posting import PAGES_HEIGHT, RUN_PAGES, RUN_POSTINGS, run_tile
from tlog.core.proof import plan_joint, prove
from tlog.core.question import Matcher
from tlog.core.segment import (
    PAGE_POSTINGS,
    PAGE_SIZE,
    POSTING_SIZE,
    PageRun,
    RangeProof,
    offset_of,
    parse_table,
    place_of,
    split_postings,
)
from tlog.core.strict import encode_base64, encode_base64url
from tlog.core.tile import nodes_from_tiles, tiles_for
from tlog.errors import DamagedLogError, MalformedInputError, NotFoundError, TooLargeError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.note import Verifier
    from tlog.core.question import Question
    from tlog.core.segment import Segment
    from tlog.core.tile import Tile
    from tlog.storage.reading import ReadStore, View
    from tlog.storage.rows import FoundEvent

Mode = Literal["answer", "count"]
MAX_POSTINGS: Final = 10_000


async def make_evidence(
    reader: ReadStore,
    verifier: Verifier,
    bucket_keys: BucketKeys,
    question: Question,
    *,
    mode: Mode = "answer",
    disclose: bool = False,
) -> Evidence:
    """Return the evidence that answers `question` as of the newest epoch that is sealed.

    Args:
        reader: the database.
        verifier: the log's public key.
        bucket_keys: the log's; those of the buckets asked for are in the bundle.
        question: with a resource, an actor or an action in it.
        mode: "count" for the number alone, proved without the entries.
        disclose: whether to include the answering events' personal data where it was not erased.

    Raises:
        MalformedInputError: the question has no index key, or cannot be counted.
        NotFoundError: nothing is indexed and sealed yet.
        TooLargeError: there are too many entries under the key; ask for a count, or a narrower window.
        DamagedLogError: what is stored does not prove the answer; nothing wrong is handed out.

    """
    check_provable(question, mode)
    try:
        async with reader.view() as view:
            bundle = await _make(view, bucket_keys, question, mode, disclose=disclose and mode == "answer")
        verify_evidence(verifier, question, bundle)
    except (KeyError, ValueError, MalformedInputError, VerificationError) as error:
        # Something stored is missing or changed; what exactly, fsck says.
        message = "the stored index does not prove this answer; run 'tlog fsck'"
        raise DamagedLogError(message) from error
    return bundle


def check_provable(question: Question, mode: Mode) -> None:
    """Check that a question can be answered with evidence.

    Raises:
        MalformedInputError: it has no index key, or cannot be counted.

    """
    if not question.keys(lambda _: b""):
        message = "evidence is about a resource (type and ID), an actor or an action; the question names none of them"
        raise MalformedInputError(message)
    if mode == "count" and not question.countable():
        message = "a count is proved for one resource, actor or action alone, bounded by loggedFrom and loggedTo"
        raise MalformedInputError(message)


async def _make(view: View, bucket_keys: BucketKeys, question: Question, mode: Mode, *, disclose: bool) -> Evidence:
    """Put the bundle together: each step lays down what the step of the same number of `verify_evidence` checks.

    1. The question goes into the bundle as it was asked.
    2. The checkpoint is the newest one that covers an epoch.
    3. All entries of the bundle get one joint proof; that comes last, after every other step has named its entries.
    4. The epoch's entry and the segment table.
    5. The bucket key of each personal ident of the question, with its proof under entry 0.
    6. The window, and the entries around it.
    7. Of every segment that meets the window the pages that show its postings of the key asked for first.
    8. The entries under these postings; those that answer are counted.
    9. The disclosures of the entries that answer, where they are asked for and were not erased.
    10. The manifest counts answers, disclosures and postings.
    """
    # 2 and 4
    position = await view.position(sealed=True)
    epoch, checkpoint = position.epoch, position.checkpoint
    if epoch is None or checkpoint is None:
        message = "nothing is indexed and sealed yet; ask again in a moment"
        raise NotFoundError(message)
    # 5
    idents: list[bytes] = []
    keys = question.keys(lambda ident: idents.append(ident) or bucket_keys.key(ident))  # type: ignore[func-returns-value]
    # 6
    start, end = await window(view, question, epoch.size)
    # 7
    parts = [
        _Part(segment, segment_id, *segment.bounds(keys[0], start, end))
        for segment, segment_id in zip(parse_table(epoch.table), epoch.segment_ids, strict=True)
        if segment.start < end and segment.end > start
    ]
    await _read_pages(view, parts, mode)
    # 8
    postings = [] if mode == "count" else sorted(index for part in parts for index in part.indexes())
    events = {event.leaf.index: event for event in await view.events(postings)} if disclose else {}
    entries = {index: event.leaf.entry for index, event in events.items()} or await view.entries(postings)
    matcher = Matcher(question, keys)
    answers = [index for index in postings if index in entries and matcher.matches(decode_event(index, entries[index]))]
    # 9
    disclosures = [(index, texts) for index in answers if index in events and (texts := _disclosed(events[index]))]
    # 3: the entries that steps 4, 5 and 6 need are read and proved with those of step 8
    edges = {at for at in (0, start - 1, start, end - 1, end) if 0 <= at < epoch.size}
    entries |= await view.entries((edges | {epoch.entry_index}) - entries.keys())
    hashes = await _prove_entries(view, sorted(entries), checkpoint.size)
    # 10
    count = sum(part.count for part in parts)
    return Evidence(
        buckets=[_bucket(bucket_keys, ident) for ident in idents],
        checkpoint=checkpoint.note.decode(),
        disclosures=disclosures,
        end=end,
        entries=[(index, entries[index].decode()) for index in sorted(entries)],
        epoch=epoch.entry_index,
        hashes=_text(hashes),
        manifest=Manifest(
            answers=count if mode == "count" else len(answers),
            disclosures=sum(len(texts) for _, texts in disclosures),
            postings=count,
        ),
        mode=mode,
        question=question,
        segments=[format_range(proof) for proof in await _prove_pages(view, parts)],
        start=start,
        table=encode_base64(epoch.table).decode(),
        type="tlog-evidence",
        v=1,
    )


class _Part:
    """What is read of one segment."""

    def __init__(self, segment: Segment, segment_id: int, low: bytes, high: bytes) -> None:
        self.segment = segment
        self.segment_id = segment_id
        self.low = low
        self.high = high
        self.runs: dict[int, bytes] = {}
        self.pages: list[int] = []
        self._first = self._last = 0

    @property
    def count(self) -> int:
        """How many postings there are."""
        return self._last - self._first

    def place(self, mode: Mode) -> None:
        """Find where the postings are, from the runs at both ends, and which pages show it."""
        if not self.segment.count:
            return
        self._first, self._last = self._place(self.low, min(self.runs)), self._place(self.high, max(self.runs))
        first, last = self._shown(self._first), self._shown(self._last)
        span = range(first[0], last[-1] + 1)
        self.pages = list(span) if mode == "answer" else sorted({*first, *last})

    def missing(self) -> set[int]:
        """Return which runs have to be read for these pages."""
        return {page // RUN_PAGES for page in self.pages} - self.runs.keys()

    def tiles(self, wanted: Iterable[Tile]) -> dict[tuple[int, int], bytes]:
        """Return those of the wanted tiles that follow from the runs that were read."""
        lowest = [tile.index for tile in wanted if tile.level == 0 and tile.index in self.runs]
        return {(0, index): run_tile(self.runs[index]) for index in lowest}

    def proof(self, hashes: Iterable[bytes]) -> RangeProof:
        """Return the range proof, given the joint proof of the pages."""
        runs: list[PageRun] = []
        for number in self.pages:
            if runs and number == runs[-1].first + len(runs[-1].pages) // PAGE_SIZE:
                runs[-1] = PageRun(runs[-1].first, runs[-1].pages + self._page(number))
            else:
                runs.append(PageRun(number, self._page(number)))
        return RangeProof(tuple(runs), tuple(hashes))

    def indexes(self) -> list[int]:
        """Return the indexes of the entries that the postings point to."""
        if not self.count:
            return []
        pages = b"".join(self._page(number) for number in self.pages)
        before = self.pages[0] * PAGE_POSTINGS
        found = pages[(self._first - before) * POSTING_SIZE : (self._last - before) * POSTING_SIZE]
        return [self.segment.start + offset_of(item) for item in split_postings(found)]

    def _page(self, number: int) -> bytes:
        run, page = divmod(number, RUN_PAGES)
        return self.runs[run][page * PAGE_SIZE : (page + 1) * PAGE_SIZE]

    def _place(self, bound: bytes, run: int) -> int:
        return run * RUN_POSTINGS + place_of(self.runs[run], bound)

    def _shown(self, place: int) -> list[int]:
        """Return the one or two pages that show the postings on both sides of a place."""
        return sorted({max(place - 1, 0) // PAGE_POSTINGS, min(place, self.segment.count - 1) // PAGE_POSTINGS})


async def _read_pages(view: View, parts: Sequence[_Part], mode: Mode) -> None:
    asked = [(part.segment_id, part.low, part.high) for part in parts]
    for run in await view.find_edge_runs(asked) if asked else []:
        parts[run.asked_at].runs[run.number] = run.pages
    for part in parts:
        part.place(mode)
    count = sum(part.count for part in parts)
    if mode == "answer" and count > MAX_POSTINGS:
        message = (
            f"there are {count} entries under the key asked for, evidence carries at most {MAX_POSTINGS}; ask for a "
            "count, or bound the question with loggedFrom and loggedTo"
        )
        raise TooLargeError(message)
    missing = [(part, run) for part in parts for run in sorted(part.missing())]
    for run in await view.runs([(part.segment_id, number) for part, number in missing]) if missing else []:
        missing[run.asked_at][0].runs[run.number] = run.pages


async def _prove_pages(view: View, parts: Sequence[_Part]) -> list[RangeProof]:
    plans = [plan_joint(part.pages, part.segment.pages) if part.pages else [] for part in parts]
    wanted = [tiles_for(plan, part.segment.pages, PAGES_HEIGHT) for part, plan in zip(parts, plans, strict=True)]
    own = [part.tiles(tiles) for part, tiles in zip(parts, wanted, strict=True)]
    missing = [
        (part.segment_id, tile.level, tile.index)
        for part, tiles, had in zip(parts, wanted, own, strict=True)
        for tile in tiles
        if (tile.level, tile.index) not in had
    ]
    stored = await view.index_tiles(missing) if missing else {}
    proofs = []
    for part, plan, had in zip(parts, plans, own, strict=True):
        tiles = {(level, index): tile for (owner, level, index), tile in stored.items() if owner == part.segment_id}
        tiles |= had
        proofs.append(part.proof(prove(plan, nodes_from_tiles(plan, tiles, PAGES_HEIGHT))))
    return proofs


async def _prove_entries(view: View, indexes: Sequence[int], size: int) -> list[bytes]:
    plan = plan_joint(indexes, size)
    return prove(plan, nodes_from_tiles(plan, await view.tiles(tiles_for(plan, size))))


def _bucket(bucket_keys: BucketKeys, ident: bytes) -> KeyPath:
    key, hashes = bucket_keys.prove(ident)
    return KeyPath(hashes=_text(hashes), key=encode_base64(key).decode())


def _disclosed(event: FoundEvent) -> dict[str, DisclosureText]:
    groups = {"actor": event.actor, "resource": event.resource}
    return {
        group: DisclosureText(body=data[SALT_SIZE:].decode(), salt=encode_base64url(data[:SALT_SIZE]).decode())
        for group, data in groups.items()
        if data is not None
    }


def _text(hashes: Iterable[bytes]) -> str:
    return encode_base64(b"".join(hashes)).decode()
