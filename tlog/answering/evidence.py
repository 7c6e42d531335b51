"""Making evidence: one snapshot read, the bundle put together, and verified as its receiver will before it is handed out."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from msgspec import UNSET, Struct

from tlog.answering.pages import COUNT, find_places, prove_pages, read_pages
from tlog.answering.query import decode_entry, decode_event, groups_of, window
from tlog.answering.withholding import Own, withheld
from tlog.core.eventfile import disclosure_text
from tlog.core.evidence import Evidence, KeyPath, Manifest, format_evidence, format_range, verify_evidence
from tlog.core.proof import plan_joint, prove
from tlog.core.question import Matcher, Question
from tlog.core.strict import encode_base64
from tlog.core.tile import nodes_from_tiles, tiles_for
from tlog.errors import (
    DamagedLogError,
    MalformedInputError,
    MissingError,
    NotFoundError,
    TooLargeError,
    VerificationError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tlog.core.eventfile import DisclosureText
    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.note import Verifier
    from tlog.storage.reading import ReadStore, View
    from tlog.storage.rows import Epoch, FoundEvent, SealedCheckpoint

Mode = Literal["answer", "count"]
MAX_POSTINGS: Final = 10_000
MAX_SIZE: Final = 16 << 20  # bytes
_LOOKED_AT: Final = 1_000
_SURELY_SMALL: Final = 32  # entries: each with its disclosures is below half a MiB


async def make_evidence(
    reader: ReadStore,
    verifier: Verifier,
    bucket_keys: BucketKeys,
    question: Question,
    *,
    mode: Mode = "answer",
    disclose: bool = False,
) -> Evidence:
    """Return the evidence that answers `question` as of the newest epoch that is sealed, in one bundle.

    Args:
        reader: the database.
        verifier: the log's public key.
        bucket_keys: the log's; those of the buckets asked for are in the bundle.
        question: with something in it that has an index key.
        mode: "count" for the number alone, proved without the entries.
        disclose: whether to include the answering entries' personal data. The bundle claims all of it then; for what is absent it
            names the outcome that explains it, and if none does, verifiers say MISSING.

    Raises:
        MalformedInputError: the question has no index key, or cannot be counted.
        NotFoundError: nothing is indexed and sealed yet.
        TooLargeError: one bundle is too small for the answer; `tlog.answering.sets` makes as many as it takes.
        DamagedLogError: what is stored does not prove the answer; nothing wrong is handed out.

    """
    return await make_bundle(reader, verifier, asked(bucket_keys, question, mode, disclose=disclose))


async def make_bundle(reader: ReadStore, verifier: Verifier, asked: Asked) -> Evidence:
    """Return the evidence for what is asked, without the log's bucket keys; see `make_evidence`."""
    with proving():
        async with reader.view() as view:
            making = await begin(view, asked)
            bundle = await making.bundle(view, making.start, making.end, asked.mode)
        # What is MISSING is for whoever verifies the bundle to see: all else is checked before that.
        with suppress(MissingError):
            verify_evidence(verifier, asked.question, bundle)
    if len(bundle.entries) > _SURELY_SMALL and (size := len(format_evidence(bundle))) > MAX_SIZE:
        raise TooLargeError(_too_large(f"it has {size} bytes"))
    return bundle


class Asked(Struct, frozen=True, kw_only=True):
    """What evidence is asked for, with all that it needs of the log's bucket keys: what the bundle itself hands out.

    With `own` a bundle discloses nothing if something of it is somebody else's: it discloses all or nothing.
    """

    question: Question
    mode: Mode
    disclose: bool
    keys: dict[str, bytes]
    buckets: list[KeyPath]
    own: Own | None = None


def asked(
    bucket_keys: BucketKeys,
    question: Question,
    mode: Mode = "answer",
    *,
    disclose: bool = False,
    own: Own | None = None,
) -> Asked:
    """Return what is asked for, given all bucket keys of the log.

    Raises:
        MalformedInputError: the question has no index key, or cannot be counted.

    """
    check_provable(question, mode)
    return Asked(
        question=question,
        mode=mode,
        disclose=disclose and mode != COUNT,
        keys=question.keys(bucket_keys.key),
        buckets=[_bucket(bucket_keys, ident) for ident in question.idents().values()],
        own=own,
    )


def check_provable(question: Question, mode: Mode) -> None:
    """Check that a question can be answered with evidence.

    Raises:
        MalformedInputError: it has no index key, or cannot be counted.

    """
    if not question.looked_under():
        message = (
            "evidence is about a resource (type and ID), an actor, a source, an operation, an action or a type of control "
            "entries; the question names none of them"
        )
        raise MalformedInputError(message)
    if mode == COUNT and not question.countable():
        message = (
            "a count alone is proved for one resource, actor, operation, action or type of control entries, bounded by "
            "loggedFrom and loggedTo; ask in the mode answer, whose bundle is counted by its entries"
        )
        raise MalformedInputError(message)


@contextmanager
def proving() -> Iterator[None]:
    """Name an error of the block as what it means.

    Raises:
        DamagedLogError: something stored is missing or changed; what exactly, fsck says.

    """
    try:
        yield
    except (KeyError, ValueError, MalformedInputError, VerificationError) as error:
        message = "the stored index does not prove this answer; run 'tlog fsck'"
        raise DamagedLogError(message) from error


async def begin(view: View, asked: Asked) -> Making:
    """Return what all bundles that answer a question have in common.

    Raises:
        NotFoundError: nothing is indexed and sealed yet.

    """
    position = await view.position(sealed=True)
    epoch, checkpoint = position.epoch, position.checkpoint
    if epoch is None or checkpoint is None:
        message = "nothing is indexed and sealed yet; ask again in a moment"
        raise NotFoundError(message)
    start, end = await window(view, asked.question, epoch.size)
    return Making(
        question=asked.question,
        disclose=asked.disclose,
        epoch=epoch,
        checkpoint=checkpoint,
        start=start,
        end=end,
        keys=[asked.keys[kind] for kind in asked.question.looked_under()],
        matcher=Matcher(asked.question, asked.keys),
        buckets=asked.buckets,
        own=asked.own,
    )


class Making(NamedTuple):
    """What all bundles that answer a question share: [start, end) are the entries looked at, `keys` those looked under."""

    question: Question
    disclose: bool
    epoch: Epoch
    checkpoint: SealedCheckpoint
    start: int
    end: int
    keys: list[bytes]
    matcher: Matcher
    buckets: list[KeyPath]
    own: Own | None

    async def bundle(
        self,
        view: View,
        start: int,
        end: int,
        mode: Literal["answer", "count", "part"],
        part: tuple[int, int] | None = None,
    ) -> Evidence:
        """Put a bundle together: each step lays down what the step of the same number of `verify_evidence` checks.

        1. The question goes into the bundle as it was asked.
        2. The checkpoint is the newest one that covers an epoch.
        3. All entries of the bundle get one joint proof; that comes last, after every other step has named its entries.
        4. The epoch's entry and the segment table.
        5. The bucket key of each personal ident of the question, with its proof under entry 0.
        6. The window, and the entries around it; of a part those at the ends of the whole.
        7. Of every segment that meets the window the pages that show its postings of the keys looked under.
        8. The entries under these postings; those that answer are counted.
        9. The disclosures of the entries that answer, where they are asked for.
        10. The manifest counts answers, disclosures and postings.
        11. For what of the disclosures is absent, the outcome that explains it, where one is sealed.

        Raises:
            TooLargeError: there are more postings than a bundle may have, or what they lead to has more bytes.

        """
        # 7
        shown = await find_places(view, self.epoch, self.keys, start, end, mode=mode)
        counts = [sum(each.ranges[number].count for each in shown) for number in range(len(self.keys))]
        if mode != COUNT and sum(counts) > MAX_POSTINGS:
            raise TooLargeError(_too_large(f"there are {sum(counts)} entries under what is asked for"))
        await read_pages(view, shown)
        # 8
        postings = [] if mode == COUNT else sorted({index for each in shown for index in each.indexes()})
        if mode == "answer":
            await self._check_size(view, postings)
        found = await view.explained(await view.events(postings)) if self.disclose else []
        events = {event.leaf.index: event for event in found}
        entries = {index: event.entry for index, event in events.items()} or await view.entries(postings)
        answers = [index for index in postings if self.matcher.matches(decode_entry(index, entries[index]))]
        if self.disclose and self._is_of_others(entries, answers):
            return await self._replace(disclose=False).bundle(view, start, end, mode, part)
        # 9
        disclosures = [(index, texts) for index in answers if index in events and (texts := _disclosed(events[index]))]
        # 11
        absent = self._absent(events, entries, answers)
        # 3: the entries that steps 4, 5 and 6 need are read and proved with those of step 8
        needed = self._edges(start, end) | {self.epoch.entry_index} | {by for _, _, by in absent}
        entries |= await view.entries(needed - entries.keys())
        hashes = await _prove_entries(view, sorted(entries), self.checkpoint.size)
        return Evidence(
            absent=absent,
            buckets=self.buckets,
            checkpoint=self.checkpoint.served.decode(),
            disclosure="full" if self.disclose else "none",
            disclosures=disclosures,
            end=end,
            entries=[(index, entries[index].decode()) for index in sorted(entries)],
            epoch=self.epoch.entry_index,
            hashes=_text(hashes),
            manifest=Manifest(
                # Of a resource the first key counts what happened to it.
                answers=counts[0] if mode == COUNT else len(answers),
                disclosures=sum(len(texts) for _, texts in disclosures),
                postings=sum(counts),
            ),
            mode=mode,
            part=UNSET if part is None else part,
            question=self.question,
            rosters=[],
            segments=[format_range(proof) for proof in await prove_pages(view, shown)],
            start=start,
            table=encode_base64(self.epoch.table).decode(),
            type="tlog-evidence",
            v=1,
        )

    def _is_of_others(self, entries: Mapping[int, bytes], answers: Sequence[int]) -> bool:
        """Tell whether whoever asks may not see all of the answering events."""
        if self.own is None:
            return False
        read = (decode_event(index, entries[index]) for index in answers)
        return any(withheld(entry, self.matcher.matched(entry), self.own) for entry in read)

    async def _check_size(self, view: View, indexes: Sequence[int]) -> None:
        """Refuse what is too large for one bundle before it is made: in a bundle nothing takes fewer bytes."""
        if len(indexes) > _SURELY_SMALL:
            size = 0
            for at in range(0, len(indexes), _LOOKED_AT):
                size += sum((await view.sizes(indexes[at : at + _LOOKED_AT], disclosed=self.disclose)).values())
                if size > MAX_SIZE:
                    raise TooLargeError(_too_large(f"what is in it has {size} bytes or more"))

    def _absent(
        self, events: Mapping[int, FoundEvent], entries: Mapping[int, bytes], answers: Sequence[int]
    ) -> list[tuple[int, str, int]]:
        """Return what of answering events is absent and explained by a sealed outcome, whose index comes last."""
        rows = []
        for index in answers if events else ():
            by, there = events[index].lost_by, events[index].disclosures()
            if by is not None and by < self.checkpoint.size:
                groups = groups_of(decode_entry(index, entries[index]))
                rows += [(index, group, by) for group in groups if group not in there]
        return rows

    def _edges(self, start: int, end: int) -> set[int]:
        """Return the indexes of the entries that show where the window is: entry 0, and those at the ends of the whole."""
        edges = {0}
        if start == self.start:
            edges |= {start - 1, start}
        if end == self.end:
            edges |= {end - 1, end}
        return {index for index in edges if 0 <= index < self.epoch.size}


def _too_large(why: str) -> str:
    return (
        f"one bundle of evidence is too small for this answer: {why}, and a bundle has at most {MAX_POSTINGS} entries and "
        f"{MAX_SIZE >> 20} MiB; take a set of bundles (over HTTP /v1/audit/export with 'Accept: application/x-ndjson'), ask for "
        "a count, or bound the question with loggedFrom and loggedTo"
    )


async def _prove_entries(view: View, indexes: Sequence[int], size: int) -> list[bytes]:
    plan = plan_joint(indexes, size)
    return prove(plan, nodes_from_tiles(plan, await view.tiles(tiles_for(plan, size))))


def _bucket(bucket_keys: BucketKeys, ident: bytes) -> KeyPath:
    key, hashes = bucket_keys.prove(ident)
    return KeyPath(hashes=_text(hashes), key=encode_base64(key).decode())


def _disclosed(event: FoundEvent) -> dict[str, DisclosureText]:
    return {group: disclosure_text(data) for group, data in event.disclosures().items()}


def _text(hashes: Iterable[bytes]) -> str:
    return encode_base64(b"".join(hashes)).decode()
