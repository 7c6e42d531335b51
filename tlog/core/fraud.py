"""Convicting a log: files that show that what it signed is false. Three kinds (docs/reference/formats.md, "Fraud").

An index that leaves an entry out (`find_fraud`), an entry that carries the key of other data (`find_false_key`), and a clock
that went back (`find_clock_fraud`). The first two need an event's proof, the second one with its data. A receipt convicts
nobody, because it is unsigned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from tlog.core.checkpoint import open_checkpoint
from tlog.core.disclosed import disclosed_ident
from tlog.core.entry import IndexEntry
from tlog.core.evidence import (
    BucketKeys,
    Evidence,
    clock_went_back,
    entries_of,
    entry_zero,
    prove_bucket,
    ranges_of,
    require,
)
from tlog.core.pseudonym import check_assigned
from tlog.core.segment import parse_table, table_hash, verify_number
from tlog.core.strict import CanonicalFile, parse_base64
from tlog.errors import NotCheckedError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tlog.core.entry import EventEntry
    from tlog.core.note import Verifier


class ClockFraud(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Two entries of one tree by which a clock went back: index and text of each, and the joint proof of both."""

    checkpoint: str
    entries: tuple[tuple[int, str], tuple[int, str]]
    hashes: str
    type: Literal["tlog-clock-fraud"]
    v: Literal[1]


_FILE: Final = CanonicalFile(ClockFraud, "a clock fraud file")
format_clock_fraud: Final = _FILE.format
parse_clock_fraud: Final = _FILE.parse


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
    epoch = entries_of(bundle, checkpoint).get(bundle.epoch)
    table = parse_base64(bundle.table.encode(), "the segment table")
    if not isinstance(epoch, IndexEntry) or table_hash(table) != epoch.table_hash():
        message = "the bundle's epoch is not one that the log signed"
        raise VerificationError(message)
    for segment, proof in ranges_of(bundle, parse_table(table)):
        if segment.start <= index < segment.end:
            there = verify_number(segment, *segment.bounds(key, index, index + 1), proof)
            require(not there, f"the index holds entry {index} under this key")
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
        NotCheckedError: nothing is proved, and an id has characters that this program's Unicode tables do not know.
        VerificationError: nothing is proved.

    """
    checkpoint = open_checkpoint(bundle.checkpoint.encode(), log)
    commitment = entry_zero(entries_of(bundle, checkpoint), checkpoint)
    doubt: NotCheckedError | None = None
    for group, body in bodies.items():
        ident = disclosed_ident(entry, group, body)
        try:
            check_assigned(ident.decode(), f"the {group} shown")
        except NotCheckedError as error:
            doubt = error
            continue
        for path in bundle.buckets:
            try:
                proved = BucketKeys(commitment.bits, prove_bucket(commitment, ident, path))
            except VerificationError:
                continue  # the key of another bucket
            if proved.contradicts(entry.key_of(group), ident):
                return f"event {entry.eventId} carries a false key: its {group} has another one"
    if doubt is not None:
        raise doubt
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
    went_back = clock_went_back(entries_of(bundle, open_checkpoint(bundle.checkpoint.encode(), log)))
    if went_back is None:
        message = "the entries are logged in order"
        raise VerificationError(message)
    return went_back
