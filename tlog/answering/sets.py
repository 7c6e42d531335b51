"""Sets of bundles: evidence of an answer that is too large for one bundle, in parts that follow each other in the log.

Own format (docs/reference/formats.md, "Evidence set"). All parts are made from one snapshot. First the postings are gone through
and the answer is cut where a part would become too large; then one part after the other is made, verified and given away, so that
never more than one is held.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from tlog.answering.evidence import MAX_POSTINGS, MAX_SIZE, asked, begin, proving
from tlog.answering.lookup import indexed_rising, met
from tlog.core.commitment import MAX_RELATED, SALT_SIZE, group_names
from tlog.core.evidence import require, verify_part
from tlog.core.evidence_set import logged_of
from tlog.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

    from tlog.answering.evidence import Asked, Making
    from tlog.core.evidence import Evidence
    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.note import Verifier
    from tlog.core.question import Question
    from tlog.storage.reading import ReadStore, View

_LOOKED_AT: Final = 1_000
_READ_AT_ONCE: Final = 4 << 20  # bytes
_HASH_SIZE: Final = 44  # bytes of one hash in base64, at most
# An entry has an index and its marks, a disclosure its names and a salt, and a posting its place in a page.
_AROUND_ENTRY: Final = 100
_AROUND_DISCLOSURE: Final = 100  # a row about an absent one is shorter
_OUTCOMES: Final = 512  # bytes of an outcome that explains, with its proof, for each entry that may need another one
# Checkpoint, question, bucket keys, entries at the edges; of each segment the pages at the ends of two keys with their proof.
_FIXED: Final = 512 << 10
_OF_A_SEGMENT: Final = 6 << 10

_encode: Final = msgspec.json.Encoder().encode


async def make_set(
    reader: ReadStore, verifier: Verifier, bucket_keys: BucketKeys, question: Question, *, disclose: bool = False
) -> AsyncGenerator[Evidence]:
    """Yield the parts of the evidence that answers `question` as of the newest epoch that is sealed, in their order.

    The snapshot is held until the last part was taken or the generator is closed: close it (`contextlib.aclosing`).

    Args:
        reader: the database.
        verifier: the log's public key.
        bucket_keys: the log's; those of the buckets asked for are in each part.
        question: with something in it that has an index key, and so much that answers that `make_evidence` refused it.
        disclose: as in `make_evidence`.

    Raises:
        MalformedInputError: the question has no index key.
        NotFoundError: nothing is indexed and sealed yet.
        DamagedLogError: what is stored does not prove the answer; nothing wrong is handed out.

    """
    async with aclosing(make_parts(reader, verifier, asked(bucket_keys, question, disclose=disclose))) as parts:
        async for part in parts:
            yield part


async def make_parts(reader: ReadStore, verifier: Verifier, asked: Asked) -> AsyncGenerator[Evidence]:
    """Yield the parts of the evidence for what is asked, without the log's bucket keys; see `make_set`.

    All parts disclose alike. Whether something is somebody else's shows only at the end, so one person's set has no names.
    """
    question, disclose = asked.question, asked.disclose and asked.own is None
    async with reader.view() as view:
        with proving():
            making = (await begin(view, asked))._replace(disclose=disclose)
            cuts = [making.start, *[cut async for cut in _cuts(view, making)], making.end]
        latest = ""
        for number, (start, end) in enumerate(pairwise(cuts), 1):
            with proving():
                bundle = await making.bundle(view, start, end, "part", (number, len(cuts) - 1))
                # What is MISSING is for whoever verifies the set to see.
                with suppress(MissingError):
                    logged = logged_of(bundle, verify_part(verifier, question, bundle)[1])
                    require(
                        latest <= min(logged, default=latest), "the log's clock went back from one part to the next"
                    )
                    latest = max(logged, default=latest)
            yield bundle


async def _cuts(view: View, making: Making) -> AsyncIterator[int]:
    """Yield where the parts after the first one begin: each at an entry that would be one too much for the part before it."""
    segments = len(met(making.epoch, making.start, making.end))
    limit = MAX_SIZE - _FIXED - 2 * len(making.epoch.table) - _OF_A_SEGMENT * segments
    postings = size = 0
    last = making.start
    async for indexes in indexed_rising(view, making.epoch, making.keys, making.start, making.end):
        async for index, itself in _sizes(view, indexes, disclose=making.disclose):
            needed = itself + _HASH_SIZE * _hashes_between(last, index)
            if postings and (postings == MAX_POSTINGS or size + needed > limit):
                yield index
                postings = size = 0
            postings, size, last = postings + 1, size + needed, index


async def _sizes(view: View, indexes: list[int], *, disclose: bool) -> AsyncIterator[tuple[int, int]]:
    """Yield of each entry how many bytes of a bundle it takes with its disclosures, without its proof, a few MiB at a time."""
    for at in range(0, len(indexes), _LOOKED_AT):
        looked_at = indexes[at : at + _LOOKED_AT]
        stored = await view.sizes(looked_at, disclosed=disclose)
        for portion in _portions(looked_at, stored):
            for each in await _exact_sizes(view, portion, disclose=disclose):
                yield each


def _portions(indexes: list[int], stored: Mapping[int, int]) -> Iterator[list[int]]:
    """Yield indexes in portions of which no more bytes are stored than are read at once, or of one index."""
    portion: list[int] = []
    size = 0
    for index in indexes:
        if portion and size + stored[index] > _READ_AT_ONCE:
            yield portion
            portion, size = [], 0
        portion.append(index)
        size += stored[index]
    yield portion


async def _exact_sizes(view: View, indexes: list[int], *, disclose: bool) -> list[tuple[int, int]]:
    if not disclose:
        entries = await view.entries(indexes)
        return [(index, len(_encode(entry.decode())) + _AROUND_ENTRY) for index, entry in entries.items()]
    return [
        (
            event.leaf.index,
            len(_encode(event.entry.decode()))
            + _AROUND_ENTRY
            + (_OUTCOMES + _AROUND_DISCLOSURE * len(group_names(MAX_RELATED)) if event.lost_by is not None else 0)
            + sum(
                len(_encode(data[SALT_SIZE:].decode())) + _AROUND_DISCLOSURE for data in event.disclosures().values()
            ),
        )
        for event in await view.explained(await view.events(indexes))
    ]


def _hashes_between(before: int, index: int) -> int:
    """Return how many hashes a joint proof has for what lies between two proved leaves: of the perfect subtrees there.

    They grow up to the boundary of the largest power of two between the two leaves, and shrink after it.
    """
    first = before + 1
    if first >= index:
        return 0
    level = (first ^ index).bit_length() - 1
    boundary = index >> level << level
    return (boundary - first).bit_count() + (index - boundary).bit_count()
