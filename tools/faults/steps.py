"""Children that die at a chosen step or meet a full disk: what R2 is made of.

A child is forked for each point: it is killed at the n-th line that it executes of the files under test, or may write no
file longer than n bytes, or has its n-th call of a kind refused. It acknowledges through a pipe; the parent looks at what is on
disk afterwards. Killing between lines of Python leaves out the middle of a C call; `faults.calls` kills there.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import sys
import threading
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import verify

from tlog.answering import export
from tlog.answering.export import export_static
from tlog.core.chain import CHAIN_START
from tlog.core.checkpoint import open_checkpoint
from tlog.core.making.parsing import parse_batch
from tlog.core.merkle import EMPTY_ROOT
from tlog.errors import AnchorMissingError
from tlog.files import durable
from tlog.location import DataDirectory, utc_now
from tlog.signing import anchor, signer
from tlog.signing.anchor import Anchor, Anchored
from tlog.signing.signer import CheckpointSigner
from tlog.storage.appending import AppendStore
from tlog.storage.reading import ReadStore
from tlog.storage.sealing import SealStore
from tlog.writing import sealer
from tlog.writing.appender import Appender
from tlog.writing.drafting import LOCAL, draft_events
from tlog.writing.sealer import Sealer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType

    from faults.service import Source
    from tlog.core.note import Verifier
    from tlog.storage.database import Database
    from tlog.storage.rows import SealedCheckpoint

    Acknowledge = Callable[[int], object]

FIRST: Final = Anchored("example.com/gates", 0, EMPTY_ROOT, CHAIN_START, b"", 0)
ADVANCES: Final = 3
_MOST: Final = 2_000  # points of one scenario; none has nearly as many


class Scenario(Protocol):
    """Something that changes files, and what has to hold whenever it was interrupted."""

    def counts(self, code: CodeType) -> bool:
        """Tell whether lines of this code are points to die at."""

    def prepare(self, directory: Path) -> None:
        """Make the state before."""

    def act(self, directory: Path, acknowledge: Acknowledge) -> None:
        """Do it, and acknowledge each part that is done, by its number from 1."""

    def problems(self, directory: Path, acknowledged: int) -> list[str]:
        """Return what does not hold afterwards; goes on from there as a next start would."""


class Outcome(NamedTuple):
    """How a child ended: what was the last it acknowledged, and whether it was killed or failed."""

    acknowledged: int
    killed: bool
    failed: bool


class Interrupted(NamedTuple):
    """Figures of one scenario under one kind of fault; `lines` are those at which it was killed, as "file:line"."""

    points: int
    problems: list[str]
    lines: frozenset[str] = frozenset()


# --- Faults ---------------------------------------------------------------------------------------------------------


def die_at(point: int, counts: Callable[[CodeType], bool], trail: Path) -> None:
    """Kill this process when it comes to its `point`-th line, counted from 1, or return, of the code that counts.

    The line is added to the file `trail` first.
    """
    reached = 0

    def local(frame: FrameType, event: str, __: object) -> Any:  # noqa: ANN401 - a trace function returns itself
        nonlocal reached
        if event in {"line", "return"}:
            reached += 1
            if reached == point:
                with trail.open("a", encoding="utf-8") as file:
                    file.write(f"{frame.f_code.co_filename}:{frame.f_lineno}\n")
                os.kill(os.getpid(), signal.SIGKILL)
        return local

    def entered(frame: FrameType, _: str, __: object) -> Any:  # noqa: ANN401 - see above
        return local if counts(frame.f_code) else None

    threading.settrace(entered)
    sys.settrace(entered)


def limit_files(size: int) -> None:
    """Let no file of this process become longer than `size` bytes: writing fails as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def refuse_call(name: str, number: int) -> None:
    """Let the `number`-th call of this function of `os` by this process's own code fail, counted from 1."""
    real, calls = getattr(os, name), 0

    def refusing(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    setattr(os, name, refusing)


def in_child(act: Callable[[Acknowledge], None], fault: Callable[[], None]) -> Outcome:
    """Act in a child process that meets a fault."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _be_child(act, fault, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().split()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    return Outcome(int(said[-1]) if said else 0, killed, not killed and status != 0)


def _be_child(act: Callable[[Acknowledge], None], fault: Callable[[], None], writer: int) -> None:
    """Act and end, whatever happens: nothing of the parent's may run here."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        fault()
        act(lambda number: os.write(writer, b"%d\n" % number))
        code = 0
    finally:
        os._exit(code)


def interrupt_at_every_line(scenario: Scenario, directory: Path, *, stride: int = 1) -> Interrupted:
    """Kill a child at every line, or every `stride`-th, until one gets to its end."""
    points, problems, trail = 0, [], directory / "lines"
    trail.touch()
    while True:
        place = directory / str(points)
        scenario.prepare(place)
        at = 1 + points * stride
        outcome = in_child(partial(scenario.act, place), partial(die_at, at, scenario.counts, trail))
        found = scenario.problems(place, outcome.acknowledged)
        shutil.rmtree(place, ignore_errors=True)
        problems += [f"killed at line {at}: {each}" for each in found]
        if outcome.failed:
            problems.append(f"line {at}: the child failed")
        if not outcome.killed or points == _MOST:
            return Interrupted(points, problems, frozenset(trail.read_text(encoding="utf-8").split("\n")))
        points += 1


def statements(file: str) -> set[str]:
    """Return the lines, as "file:line", at which the statements of a file's functions begin."""
    functions = [each for each in ast.walk(ast.parse(Path(file).read_bytes())) if isinstance(each, ast.FunctionDef)]
    found = [each for function in functions for each in ast.walk(function) if isinstance(each, ast.stmt)]
    texts = [function.body[0] for function in functions if ast.get_docstring(function) is not None]
    return {f"{file}:{each.lineno}" for each in found if each not in functions and each not in texts}


def refuse_every(scenario: Scenario, directory: Path, faults: Sequence[Callable[[], None]]) -> Interrupted:
    """Run a child under each of the faults; each has to fail, or to have done and acknowledged everything."""
    points, problems = 0, []
    for number, fault in enumerate(faults):
        place = directory / f"refused-{number}"
        scenario.prepare(place)
        outcome = in_child(partial(scenario.act, place), fault)
        found = scenario.problems(place, outcome.acknowledged)
        shutil.rmtree(place, ignore_errors=True)
        points += outcome.failed
        problems += [f"fault {number}: {each}" for each in found]
        if outcome.killed:
            problems.append(f"fault {number}: the child was killed")
    return Interrupted(points, problems)


# --- The anchor -----------------------------------------------------------------------------------------------------


class AnchorLike(Protocol):
    """What is used of an anchor, so that a broken one can take its place."""

    def exists(self) -> bool: ...  # noqa: D102 - as tlog.signing.anchor.Anchor
    def create(self, first: Anchored) -> None: ...  # noqa: D102
    def read(self) -> Anchored: ...  # noqa: D102
    def advance(self, old: Anchored, new: Anchored) -> None: ...  # noqa: D102


def following(old: Anchored, note: bytes = b"note") -> Anchored:
    """Return what may be anchored after `old`."""
    return old._replace(size=old.size + 1, note=note, sealed_at=old.sealed_at + 1)


class CreatingAnchor:
    """Making the anchor: afterwards there is none, or the whole one."""

    def __init__(self, kind: Callable[[Path], AnchorLike] = Anchor, file: str = anchor.__file__) -> None:
        self._kind = kind
        self._file = file

    def counts(self, code: CodeType) -> bool:
        """Tell whether lines of this code are points to die at."""
        return code.co_filename in {self._file, durable.__file__}

    def prepare(self, directory: Path) -> None:
        """Make the state before."""
        directory.mkdir()

    def act(self, directory: Path, acknowledge: Acknowledge) -> None:
        """Make the anchor."""
        self._kind(directory / "anchor.sqlite3").create(FIRST)
        acknowledge(1)

    def problems(self, directory: Path, acknowledged: int) -> list[str]:
        """Return what does not hold afterwards."""
        there = self._kind(directory / "anchor.sqlite3")
        if not there.exists():
            if acknowledged:
                return ["the anchor was acknowledged and is not there"]
            there.create(FIRST)
        return _broken(there, (FIRST,), directory)


class AdvancingAnchor(CreatingAnchor):
    """Advancing the anchor: afterwards the anchor holds the last acknowledged state or the one after."""

    def prepare(self, directory: Path) -> None:
        """Make the anchor."""
        super().prepare(directory)
        self._kind(directory / "anchor.sqlite3").create(FIRST)

    def act(self, directory: Path, acknowledge: Acknowledge) -> None:
        """Advance it a few times."""
        there, old = self._kind(directory / "anchor.sqlite3"), FIRST
        for number in range(1, ADVANCES + 1):
            new = following(old)
            there.advance(old, new)
            acknowledge(number)
            old = new

    def problems(self, directory: Path, acknowledged: int) -> list[str]:
        """Return what does not hold afterwards."""
        there, states = self._kind(directory / "anchor.sqlite3"), [FIRST]
        for _ in range(ADVANCES):
            states.append(following(states[-1]))
        found = _broken(there, tuple(states[acknowledged : acknowledged + 2]), directory)
        if not found:
            old = there.read()
            there.advance(old, following(old))  # and sealing goes on
        return found


def _broken(there: AnchorLike, allowed: tuple[Anchored, ...], directory: Path) -> list[str]:
    try:
        held = there.read()
    except (AnchorMissingError, ValueError, TypeError) as error:
        return [f"the anchor cannot be read: {error}"]
    if held not in allowed:
        return [f"the anchor holds size {held.size}, not one of {[each.size for each in allowed]}"]
    if isinstance(there, Anchor):
        with contextlib.closing(sqlite3.connect(directory / "anchor.sqlite3")) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        return [] if verdict == "ok" else [f"the anchor's file: {verdict}"]
    return []


class OverwrittenAnchor:
    """The control: an anchor that is a file written in place, without an atomic change of any kind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        """Tell whether there is one."""
        return self._path.exists()

    def create(self, first: Anchored) -> None:
        """Write it."""
        fields = [value.hex() if isinstance(value, bytes) else value for value in first]
        text = json.dumps(fields)
        with self._path.open("w", encoding="utf-8") as file:
            file.write(text[:20])
            file.flush()
            file.write(text[20:])

    def read(self) -> Anchored:
        """Read it."""
        origin, size, root, chain, note, *others = json.loads(self._path.read_text(encoding="utf-8"))
        root, chain, note = map(bytes.fromhex, (root, chain, note))
        return Anchored(origin, size, root, chain, note, *others)

    def advance(self, old: Anchored, new: Anchored) -> None:
        """Write the new one over it, whatever it holds."""
        assert old.origin == new.origin
        self.create(new)


# --- Files ----------------------------------------------------------------------------------------------------------


class WritingFile:
    """Replacing a file: afterwards the file has the last acknowledged content or the one after, whole.

    What a killed process of an earlier version left is there as well. `tidy`: nothing else may be left, as after a refusal.
    """

    def __init__(
        self, write: Callable[[Path, bytes], None], file: str = durable.__file__, *, tidy: bool = False
    ) -> None:
        self._write = write
        self._file = file
        self._tidy = tidy

    def counts(self, code: CodeType) -> bool:
        """Tell whether lines of this code are points to die at."""
        return code.co_filename == self._file

    def prepare(self, directory: Path) -> None:
        """Make the old file."""
        directory.mkdir()
        (directory / "file").write_bytes(_text(0))
        (directory / "file.new").write_bytes(b"half")

    def act(self, directory: Path, acknowledge: Acknowledge) -> None:
        """Replace it a few times."""
        for number in range(1, ADVANCES + 1):
            self._write(directory / "file", _text(number))
            acknowledge(number)

    def problems(self, directory: Path, acknowledged: int) -> list[str]:
        """Return what does not hold afterwards."""
        held = (directory / "file").read_bytes()
        if held not in (_text(acknowledged), _text(acknowledged + 1)):
            return [f"the file is half written: {len(held)} bytes"]
        found = _left(directory, {"file", "file.new"}) if self._tidy else []
        self._write(directory / "file", _text(9))  # and writing goes on
        return found if (directory / "file").read_bytes() == _text(9) else [*found, "the next write is lost"]


class WritingOnce(WritingFile):
    """Writing a file that nothing replaces: afterwards there is none, or the whole one."""

    def __init__(self, *, tidy: bool = False) -> None:
        super().__init__(durable.write_once, tidy=tidy)

    def prepare(self, directory: Path) -> None:
        """Make the state before."""
        directory.mkdir()
        (directory / "file.new").write_bytes(b"half")

    def act(self, directory: Path, acknowledge: Acknowledge) -> None:
        """Write it, and try to replace it."""
        durable.write_once(directory / "file", _text(1))
        acknowledge(1)
        with contextlib.suppress(FileExistsError):
            durable.write_once(directory / "file", _text(2))
            acknowledge(2)

    def problems(self, directory: Path, acknowledged: int) -> list[str]:
        """Return what does not hold afterwards."""
        found = _left(directory, {"file", "file.new"}) if self._tidy else []
        if not (directory / "file").exists():
            if acknowledged:
                return ["the file was acknowledged and is not there"]
            durable.write_once(directory / "file", _text(1))
        with contextlib.suppress(FileExistsError):
            durable.write_once(directory / "file", _text(3))
            found.append("the file was replaced")
        held = (directory / "file").read_bytes()
        return found if acknowledged < ADVANCES - 1 and held == _text(1) else [*found, "the file is another one"]


class MakingDirectory(WritingFile):
    """Making a directory: afterwards there is none, or the whole one, and the next start removes what is left."""

    def __init__(self, *, tidy: bool = False) -> None:
        super().__init__(durable.write_whole, tidy=tidy)

    def prepare(self, directory: Path) -> None:
        """Leave what a killed process would."""
        (directory / "tree.new" / "half").mkdir(parents=True)

    def act(self, directory: Path, acknowledge: Acknowledge) -> None:
        """Make it, as a start does."""
        durable.remove_partials(directory / "tree")
        with durable.making(directory / "tree", durable=True) as partial:
            partial.mkdir()
            for number in range(ADVANCES):
                (partial / str(number)).write_bytes(_text(number))
        acknowledge(1)

    def problems(self, directory: Path, acknowledged: int) -> list[str]:
        """Return what does not hold afterwards."""
        found = _left(directory, {"tree", "tree.new"}) if self._tidy else []
        tree = directory / "tree"
        if tree.exists():
            durable.remove_partials(tree)
        elif acknowledged:
            return ["the directory was acknowledged and is not there"]
        else:
            self.act(directory, lambda _: None)
        whole = [(tree / str(number)).read_bytes() == _text(number) for number in range(ADVANCES)]
        return [*found, *_left(directory, {"tree"})] if all(whole) else [*found, "the directory is half made"]


def write_in_place(path: Path, data: bytes) -> None:
    """Write a file over the old one: the control."""
    with path.open("wb") as file:
        file.write(data[:5000])
        file.flush()
        file.write(data[5000:])


def _text(number: int) -> bytes:
    return b"%d" % number * 10_000 * (number + 1)


def _left(directory: Path, allowed: set[str]) -> list[str]:
    return [f"{each.name} is left" for each in directory.iterdir() if each.name not in allowed]


# --- Sealing and publishing -----------------------------------------------------------------------------------------


class Sealing:
    """An event appended and sealed: the anchor never lags a publication, and no size has two roots."""

    def __init__(self, database: Database, directory: DataDirectory, source: Source) -> None:
        self._database = database
        self._directory = directory
        self._source = source
        self._roots: dict[int, bytes] = {}
        self.anchored: list[bytes] = []

    def counts(self, code: CodeType) -> bool:
        """Tell whether lines of this code are points to die at."""
        return code.co_filename in {sealer.__file__, signer.__file__, anchor.__file__}

    def prepare(self, directory: Path) -> None:
        """Seal what an interrupted child left, as a next start would, and append an event; the log goes on."""
        del directory
        asyncio.run(self._seal(lambda _: None))
        asyncio.run(append(self._database, self._directory, self._source.take(1)))

    def act(self, directory: Path, acknowledge: Acknowledge) -> None:
        """Seal it as a new start would."""
        del directory
        asyncio.run(self._seal(acknowledge))

    async def _seal(self, acknowledge: Acknowledge) -> None:
        store = await SealStore.open(self._database)
        one = Sealer(store, CheckpointSigner(Anchor(self._directory.anchor), self._directory.signing_key(), utc_now))
        await one.recover()
        if (sealed := await one.seal()) is not None:
            acknowledge(sealed.size)
        await store.close()

    def problems(self, directory: Path, acknowledged: int) -> list[str]:
        """Return what does not hold afterwards."""
        del directory
        held = Anchor(self._directory.anchor).read()
        published = asyncio.run(self._published())
        self.anchored += [held.note] if held.note else []
        found = []
        if held.size < acknowledged or (acknowledged and (published is None or published.size < acknowledged)):
            found.append(f"size {acknowledged} was acknowledged, anchored is {held.size}")
        if published is not None and published.size > held.size:
            found.append(f"published is size {published.size}, anchored only {held.size}")
        for note in filter(None, (held.note, published.note if published else b"")):
            opened = open_checkpoint(note, self._directory.verifier())
            if self._roots.setdefault(opened.size, opened.root) != opened.root:
                found.append(f"two root hashes of size {opened.size} are signed")
        return found

    async def _published(self) -> SealedCheckpoint | None:
        store = await SealStore.open(self._database)
        try:
            return await store.latest_checkpoint()
        finally:
            await store.close()


class Exporting:
    """A static export over an older one: the checkpoint is the old or the new one, and all of it is there."""

    def __init__(self, database: Database, verifier: Verifier, older: Path, newest: SealedCheckpoint) -> None:
        self._database = database
        self._vkey = verifier.vkey()
        self._older = older
        self._newest = newest
        self._notes = (older / "checkpoint").read_bytes(), newest.note

    def counts(self, code: CodeType) -> bool:
        """Tell whether lines of this code are points to die at: between those of the writing functions nothing is written.

        The lines between them in `files.durable` are points of `WritingFile`.
        """
        files, names = {export.__file__, durable.__file__}, {"_write", "_publish", "write_whole"}
        return code.co_filename in files and code.co_name in names

    def prepare(self, directory: Path) -> None:
        """Copy the older export."""
        shutil.copytree(self._older, directory)

    def act(self, directory: Path, acknowledge: Acknowledge) -> None:
        """Export the newest checkpoint over it."""
        asyncio.run(export_to(self._database, directory, self._newest))
        acknowledge(1)

    def problems(self, directory: Path, acknowledged: int) -> list[str]:
        """Return what does not hold afterwards: the offline verifier decides."""
        note = (directory / "checkpoint").read_bytes()
        if note not in self._notes or (acknowledged and note != self._newest.note):
            return ["the checkpoint is another one than was exported"]
        try:
            verify.command_log(Namespace(file=directory, vkey=self._vkey, old=[]))
        except (verify.VerificationError, verify.MalformedError, verify.IncompleteError) as error:
            return [f"the export does not verify: {error}"]
        return []


async def append(database: Database, directory: DataDirectory, raws: list[bytes]) -> None:
    """Append events in this process."""
    appender = Appender(AppendStore(database), utc_now)
    task = asyncio.create_task(appender.run())
    try:
        await appender.append(draft_events(parse_batch(raws), directory.bucket_keys(), LOCAL))
    finally:
        appender.close()
        await task


async def export_to(database: Database, directory: Path, checkpoint: SealedCheckpoint) -> None:
    """Export a log in this process."""
    reader = ReadStore(database, connections=1)
    await reader.open()
    try:
        await export_static(reader, directory, checkpoint)
    finally:
        await reader.close()
