"""Exports: events that answer a question as a stream, and the whole sealed log as static files.

The static export is the sealed log as files in the layout of c2sp.org/tlog-tiles, for any file server and for verify.py.

    <directory>/checkpoint      <directory>/tile/<L>/<N>[.p/<W>]      <directory>/tile/entries/<N>[.p/<W>]
    <directory>/chain           tree size and chain hash, so that receipts can be checked as well

Only what the checkpoint covers is written, and only after it was recomputed from the entries. Tiles come before the
checkpoint, so that a directory with a checkpoint is complete but for the chain, which comes last; exporting again into it adds
what is new, also after an interruption.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from unicodedata import category

import msgspec
from msgspec import UNSET

from tlog.answering import MAX_LIMIT
from tlog.answering.query import answer_document
from tlog.core.bundle import format_bundle
from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import peek_checkpoint
from tlog.core.making.integrate import integrate
from tlog.core.merkle import HASH_SIZE, Frontier, leaf_hash
from tlog.core.strict import encode_base64
from tlog.core.tile import ENTRIES, TILE_WIDTH, Tile
from tlog.errors import DamagedLogError, MalformedInputError
from tlog.files.durable import write_whole

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from tlog.answering.query import Cursor, Searcher
    from tlog.core.question import Question
    from tlog.storage.reading import ReadStore
    from tlog.storage.rows import SealedCheckpoint

_ROWS = 16 * TILE_WIDTH


EventFormat = Literal["ndjson", "csv"]
_COLUMNS = (
    "index", "eventId", "timestamp", "loggedAt", "action", "operation", "outcome", "userId", "actorType", "role", "email",
    "ipAddress", "address", "userAgent", "resourceType", "resourceId", "resourceName", "relatedResources", "details", "metadata",
    "sourceId", "sourceSeq", "appendedBy", "lost", "missing", "state", "evidence",
)  # fmt: skip
# What makes a spreadsheet take a cell for a formula (OWASP ASVS 1.2.10), in its full-width forms too; and what a reader that
# trims cells, as many do, takes off first: white space, control and format characters.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SEPARATING = ("\t", "\r", "\n", "\0")
_TRIMMED = {"Zs", "Zl", "Zp", "Cc", "Cf"}


async def export_events(
    searcher: Searcher,
    question: Question,
    form: str,
    *,
    keys: Mapping[str, bytes] | None = None,
    looked: Callable[[int], Awaitable[None]] | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield all events that answer a question, newest first, a page at a time, as of the moment of the first page.

    Args:
        searcher: finds them.
        question: which ones.
        form: "ndjson", documents as `tlog.answering.query.answer_document` makes them; or "csv", with formulas
            neutralised, which is therefore not what was sent and no evidence.
        keys: the question's, as `tlog.answering.query.Searcher.ask` has them.
        looked: as `tlog.answering.query.Searcher.ask` has it.

    Raises:
        MalformedInputError: control entries are asked for as CSV, whose columns are those of events.

    """
    if form == "csv" and question.control is not UNSET:
        message = "CSV has the columns of events: export control entries as NDJSON"
        raise MalformedInputError(message, "/format")
    write = _csv if form == "csv" else _ndjson
    if form == "csv":
        yield _csv_line({name: name for name in _COLUMNS})
    cursor: Cursor | None = None
    while True:
        answer = await searcher.ask(question, keys=keys, limit=MAX_LIMIT, cursor=cursor, looked=looked)
        cursor = answer.next
        page = b"".join(map(write, answer_document(answer, question)["events"]))
        del answer  # while whoever reads the page takes their time, nothing else of it is held
        yield page
        if cursor is None:
            return


def _ndjson(document: dict[str, Any]) -> bytes:
    return msgspec.json.encode(document) + b"\n"


def _csv(document: dict[str, Any]) -> bytes:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    actor, resource, source = plain.get("actor", {}), plain["resource"], plain.get("source", {})
    values: dict[str, object] = {
        **{name: plain.get(name) for name in ("eventId", "timestamp", "action", "operation", "outcome")},
        **{name: actor.get(name) for name in ("userId", "role", "email", "ipAddress", "address", "userAgent")},
        **{name: plain["log"].get(name) for name in ("index", "loggedAt", "appendedBy", "state")},
        **{
            name: msgspec.json.encode(document[name]).decode()
            for name in ("relatedResources", "details", "metadata")
            if name in document
        },
        "actorType": actor.get("type"),
        "lost": " ".join(f"{each['group']}:{each['by']}" for each in plain["log"].get("lost", ())),
        "missing": " ".join(plain["log"].get("missing", ())),
        "resourceType": resource["type"],
        "resourceId": resource.get("id"),
        "resourceName": resource.get("name"),
        "sourceId": source.get("id"),
        "sourceSeq": source.get("seq"),
        "evidence": "none: ask for format=evidence",
    }
    return _csv_line(values)


def _csv_line(values: Mapping[str, object]) -> bytes:
    """Return a line as RFC 4180 wants it, no cell of which a spreadsheet takes for a formula."""
    cells = ["" if (value := values.get(name)) is None else str(value) for name in _COLUMNS]
    line = io.StringIO(newline="")
    csv.writer(line).writerow([f"'{cell}" if _is_formula(cell) else cell for cell in cells])
    return line.getvalue().encode()


def _is_formula(cell: str) -> bool:
    """Tell whether a spreadsheet may take a cell for a formula, or its beginning for the end of a cell."""
    if not cell or "!" < cell[0] < "\x7f":
        return cell.startswith(_FORMULA)
    trimmed = next((at for at, character in enumerate(cell) if category(character) not in _TRIMMED), len(cell))
    return cell.startswith(_SEPARATING) or cell.startswith(_FORMULA, trimmed)


class ExportReport(NamedTuple):
    """What an export wrote: entries covered, and files written now."""

    entries: int
    files: int


async def export_static(
    reader: ReadStore,
    directory: Path,
    checkpoint: SealedCheckpoint,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> ExportReport:
    """Write the log up to `checkpoint` into `directory`.

    Args:
        reader: the database.
        directory: a new directory, or one with an older export of the same log.
        checkpoint: a published checkpoint.
        progress: called with (entries done, entries in all).

    Raises:
        MalformedInputError: the directory holds another log, or a newer checkpoint.
        DamagedLogError: the entries do not lead to the signed root hash; no checkpoint is written.

    """
    _check_directory(directory, checkpoint)
    frontier, chain, files = Frontier(), CHAIN_START, 0
    edge: dict[tuple[int, int], bytes] = {}
    for start in range(0, checkpoint.size, _ROWS):
        entries = await reader.entries(start, min(start + _ROWS, checkpoint.size))
        hashes = [leaf_hash(entry) for entry in entries]
        edge |= integrate(start, edge, hashes)
        frontier.extend(hashes)
        for leaf in hashes:
            chain = chain_hash(chain, leaf)
        for offset in range(0, len(entries), TILE_WIDTH):
            bundle = entries[offset : offset + TILE_WIDTH]
            tile = Tile(ENTRIES, (start + offset) // TILE_WIDTH, len(bundle))
            files += _write(directory, tile, format_bundle(bundle))
        for key in [key for key, data in edge.items() if len(data) == TILE_WIDTH * HASH_SIZE]:
            files += _write(directory, Tile(*key), edge.pop(key))
        progress(frontier.size, checkpoint.size)
    if (frontier.size, frontier.root(), chain) != (checkpoint.size, checkpoint.root, checkpoint.chain_hash):
        message = f"the entries do not lead to the root hash signed at size {checkpoint.size}; run 'tlog fsck'"
        raise DamagedLogError(message)
    for (level, index), data in edge.items():
        files += _write(directory, Tile(level, index, len(data) // HASH_SIZE), data)
    _publish(directory, checkpoint)
    return ExportReport(checkpoint.size, files + 2)


def _publish(directory: Path, checkpoint: SealedCheckpoint) -> None:
    """Replace checkpoint and chain; whoever comes in between finds a checkpoint without a chain, never one with another's."""
    (directory / "chain").unlink(missing_ok=True)
    write_whole(directory / "checkpoint", checkpoint.served)
    write_whole(directory / "chain", b"%d\n%b\n" % (checkpoint.size, encode_base64(checkpoint.chain_hash)))


def _check_directory(directory: Path, checkpoint: SealedCheckpoint) -> None:
    present = directory / "checkpoint"
    if not present.exists():
        directory.mkdir(parents=True, exist_ok=True)
        return
    there, new = peek_checkpoint(present.read_bytes()), peek_checkpoint(checkpoint.note)
    if there.origin != new.origin:
        message = f"{directory} holds an export of another log ({there.origin}); choose an empty directory"
        raise MalformedInputError(message)
    if there.size > new.size:
        message = f"{directory} holds a newer export ({there.size} entries) than this one ({new.size})"
        raise MalformedInputError(message)


def _write(directory: Path, tile: Tile, data: bytes) -> bool:
    """Write a tile unless it is there; tell whether it was written."""
    path = directory / tile.path()
    if path.exists() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
    return True
