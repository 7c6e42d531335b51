"""`tlog demo`: the whole story in one command, on real parts.

It starts a real server on a real PostgreSQL in a temporary directory, appends a hospital's day over HTTP, proves and
verifies with the offline verifier in a separate process, and then plays the hostile administrator: a superuser who edits,
deletes, cuts and restores. Each attack is made for real, on a copy of its own, and must be named. If anything that is
expected does not happen, the demo says so and ends with exit code 1.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from tlog.client import Client
from tlog.core.merkle import leaf_hash
from tlog.demo.hospital import SNOOP, WELL_KNOWN_PATIENT, hospital_day
from tlog.demo.hostile import edit_disclosed, edit_entry
from tlog.demo.verifier import offline_verifier
from tlog.errors import RollbackError
from tlog.postgres.server import EmbeddedPostgres
from tlog.storage.database import Database
from tlog.storage.scan import RangeReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tlog.core.run import Disclosed

_ORIGIN: Final = "demo.example/hospital"
_BATCH: Final = 1_000
_PROCESS_SECONDS: Final = 60
_TABLES: Final = ("leaf", "entry_run", "disclosure_run", "entry_run_0", "disclosure_run_0", "tile")
_TRIGGERS_OFF: Final = tuple(f"ALTER TABLE tlog.{table} DISABLE TRIGGER ALL" for table in _TABLES)
_TRIGGERS_ON: Final = (
    *(f"ALTER TABLE tlog.{table} ENABLE ALWAYS TRIGGER append_only" for table in _TABLES),
    "ALTER TABLE tlog.tile ENABLE ALWAYS TRIGGER grow_only",
    "ALTER TABLE tlog.disclosure_run_0 ENABLE ALWAYS TRIGGER keep_place",
)


class DemoError(Exception):
    """Something the demo promises did not happen."""


@dataclass(frozen=True)
class Attack:
    """One thing a superuser does: statements run with all triggers disabled; `expect` must be in what fsck says.

    `statements` makes them, given a reader of what is stored.
    """

    story: str
    statements: Callable[[RangeReader], tuple[str, ...]]
    expect: str


def attacks(victim: int, size: int) -> list[Attack]:
    """Return the attacks on entry `victim` of a log with `size` entries."""
    rechain = f"""
        DO $$
        DECLARE chain bytea; row record;
        BEGIN
            SELECT chain_hash INTO chain FROM tlog.leaf WHERE index = {victim - 1};
            FOR row IN SELECT index, leaf_hash FROM tlog.leaf WHERE index >= {victim} ORDER BY index LOOP
                chain := sha256(decode('02', 'hex') || chain || row.leaf_hash);
                UPDATE tlog.leaf SET chain_hash = chain WHERE index = row.index;
            END LOOP;
            UPDATE tlog.log_state SET chain_hash = chain;
        END $$"""

    def edit(reader: RangeReader) -> tuple[str, ...]:
        return (edit_entry(reader, victim, _other_outcome),)

    def edit_and_rehash(reader: RangeReader) -> tuple[str, ...]:
        hashes: list[str] = []

        def change(entry: bytes) -> bytes:
            hashes.append(leaf_hash(_other_outcome(entry)).hex())
            return _other_outcome(entry)

        edited = edit_entry(reader, victim, change)
        return edited, f"UPDATE tlog.leaf SET leaf_hash = '\\x{hashes[0]}' WHERE index = {victim}", rechain

    return [
        Attack(f"edits entry {victim}, the nurse's last look", edit, f"entry changed: entry {victim}:"),
        Attack(
            f"edits entry {victim} and recomputes the whole hash chain after it",
            edit_and_rehash,
            f"entry changed: entry {victim}:",
        ),
        Attack(
            f"deletes entry {victim}",
            lambda _: (f"DELETE FROM tlog.leaf WHERE index = {victim}",),
            f"row missing: entry {victim}:",
        ),
        Attack(
            f"puts another name into the personal data of entry {victim}",
            lambda reader: (edit_disclosed(reader, victim, _other_name),),
            f"disclosure mismatch: entry {victim}:",
        ),
        Attack(
            "flips one bit of a stored tree hash",
            lambda _: (
                "UPDATE tlog.tile SET hashes = set_bit(hashes, 77, 1 - get_bit(hashes, 77)) "
                "WHERE level = 0 AND tile_index = 0",
            ),
            "tile changed: tile/0/000:",
        ),
        Attack(
            "cuts the last 50 entries off and sets the log's size back",
            lambda _: (
                f"DELETE FROM tlog.leaf WHERE index >= {size - 50}",
                f"UPDATE tlog.log_state SET size = {size - 50}, "
                f"chain_hash = (SELECT chain_hash FROM tlog.leaf WHERE index = {size - 51})",
            ),
            "ROLLBACK",
        ),
    ]


def _other_outcome(entry: bytes) -> bytes:
    return entry.replace(b'"outcome":"success"', b'"outcome":"failure"')


def _other_name(disclosed: Disclosed) -> Disclosed:
    return disclosed._replace(actor=disclosed.actor.replace(SNOOP.encode(), b"k.other"))


def run_demo(events: int, *, keep: bool, port: int | None = None) -> int:
    """Tell the story with `events` events; return the exit code.

    Args:
        events: how many events the day has.
        keep: whether the demo's directory is left.
        port: on which TCP port the day is served in the end until SIGINT or SIGTERM, 0 for a free one; None if it is not.

    """
    console = Console(highlight=False)
    directory = Path(tempfile.mkdtemp(prefix="tlog-demo-"))
    # PostgreSQL's own user has to reach its directory below; nothing else in here is open to others.
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
    started = time.monotonic()
    try:
        story = _Story(console, directory, events)
        story.tell()
        console.print(f"\n[bold]Done in {time.monotonic() - started:.0f} s.[/] Next: README.md, or 'tlog --help'.")
        if port is not None:
            story.serve(port)
    except DemoError as error:
        console.print(f"\n[bold red]The demo failed:[/] {error}", soft_wrap=True)
        return 1
    finally:
        if keep:
            console.print(f"\nEverything is left in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


class _Story:
    def __init__(self, console: Console, directory: Path, events: int) -> None:
        self._console = console
        self._directory = directory
        self._data = directory / "data"
        self._events = [json.dumps(event, ensure_ascii=False).encode() for event in hospital_day(events)]

    def tell(self) -> None:
        self._chapter("A log is made and served", "real PostgreSQL, real HTTP, in a temporary directory")
        self._tlog("init", "--origin", _ORIGIN)
        token = json.loads(self._tlog("token", "create", "--principal", "demo", "--scope", "admin", "--json").stdout)
        vkey = self._tlog("keys", "show").stdout.strip()
        (self._directory / "log.vkey").write_text(vkey + "\n", encoding="utf-8")
        self._say(f"public key  {vkey}")
        with self._serving() as (url, _), Client(url, token["token"]) as client:
            self._append(client)
            self._prove(client)
            self._answer(client)
        self._attack()
        self._roll_back()

    # --- The honest day ------------------------------------------------------------------------------------------

    def _append(self, client: Client) -> None:
        count = len(self._events)
        self._chapter(f"A day in a hospital: {count:,} events over HTTP", "acknowledged only when durable")
        first = client.append(self._events[:1], wait_sealed=True)[0]
        self._old = client.checkpoint()
        self._say(f"first event  index {first['index']}, sealed in a checkpoint of {_size(self._old)} entries")
        started = time.monotonic()
        self._receipts = [first]
        for start in range(1, count, _BATCH):
            self._receipts += client.append(self._events[start : start + _BATCH])
        seconds = time.monotonic() - started
        self._say(f"the rest     {count - 1:,} events in {seconds:.1f} s ({(count - 1) / seconds:,.0f}/s, one client)")
        deadline = time.monotonic() + _PROCESS_SECONDS
        while _size(client.checkpoint()) <= self._receipts[-1]["index"]:
            if time.monotonic() > deadline:
                message = "the events were not sealed"
                raise DemoError(message)
            time.sleep(0.05)
        self._new = client.checkpoint()
        self._say("signed checkpoint:")
        for line in self._new.decode().splitlines():
            self._console.print(f"      {line}", style="dim", markup=False, soft_wrap=True)
        self._say(
            f"{_size(self._new):,} entries for {count:,} events: what the log says itself are entries, too. "
            f"They count from 0, so the first event is entry {first['index']}"
        )
        again = client.append(self._events[:_BATCH])
        self._expect(all(receipt.get("duplicate") for receipt in again), "a repeated request was appended twice")
        self._say(f"sent again   {len(again):,} events, 0 appended: the eventIds are known, the old receipts come back")

    def _prove(self, client: Client) -> None:
        looks = [
            index for index, raw in enumerate(self._events) if (event := json.loads(raw))["actor"]["userId"] == SNOOP
            and event["resource"]["id"] == WELL_KNOWN_PATIENT
        ]  # fmt: skip
        receipt = self._receipts[looks[-1]]
        self._victim = receipt["index"]
        self._chapter("Proofs, checked by one Python file", "another process, standard library only, no network")
        proof, event = client.event_proof(receipt["eventId"], disclose=True)
        files = {
            "event.tlog-proof": proof,
            "event.event.json": event,
            "old.checkpoint": self._old,
            "new.checkpoint": self._new,
            "growth.proof": client.consistency_proof(_size(self._old)),
        }
        for name, content in files.items():
            (self._directory / name).write_bytes(content)
        self._say(
            f"{SNOOP} of maternity looked at {WELL_KNOWN_PATIENT} of cardiology {len(looks)} times. Proof of the last:"
        )
        event_path, proof_path = self._directory / "event.event.json", self._directory / "event.tlog-proof"
        self._verifies("proof", "--event", event_path, proof_path)
        self._say("and that the log only grew since its first event:")
        self._verifies("consistency", "--old", self._directory / "old.checkpoint", self._directory / "growth.proof")
        forged = event.replace(SNOOP.encode(), b"k.other")
        self._expect(forged != event, "the event file does not name the actor")
        event_path.write_bytes(forged)
        self._say("the same proof, with another name put into the event:")
        self._refutes("proof", "--event", event_path, proof_path)

    def _answer(self, client: Client) -> None:
        self._chapter(
            "Complete answers, checked by the same file", "these events and no others, by an index that is in the log"
        )
        self._say(f"everything that {SNOOP} did, with names:")
        # The command line waits until everything is indexed that has been logged; what is asked after it needs not.
        path = self._directory / "answer.json"
        self._tlog("export", "--user", SNOOP, "--disclose", "--evidence", path)
        self._verifies("evidence", "--ask", f"userId={SNOOP}", path)
        # What was read, and not all: that this was asked is an event about the patient too, and in an answer that takes long.
        self._ask(client, "every look at a patient who never was here:", "P-9999", action="read")
        told = f"how often {WELL_KNOWN_PATIENT} is named, and nothing else:"
        self._ask(client, told, WELL_KNOWN_PATIENT, "--count", mode="count")

    def _ask(self, client: Client, told: str, patient: str, *options: str, mode: str = "answer", **more: str) -> None:
        """Ask about a patient's record, and let the file verify the evidence."""
        path = self._directory / "answer.json"
        question = {"resourceType": "patient_record", "resourceId": patient, **more}
        path.write_bytes(b"".join(client.export("evidence", question, mode=mode)))
        self._say(told)
        asks = (f"--ask={each}" for each in (f"resource=patient_record:{patient}", *map("=".join, more.items())))
        self._verifies("evidence", *asks, *options, path, lines=1)

    # --- The hostile administrator -------------------------------------------------------------------------------

    def _attack(self) -> None:
        self._chapter("The hostile administrator", "a superuser, triggers switched off, on copies of the database")
        with EmbeddedPostgres(self._data / "postgres") as postgres:
            self._verdict(self._fsck(postgres.conninfo()), "nothing (the honest log)", expect="verified", code=0)
            for number, attack in enumerate(attacks(self._victim, _size(self._new))):
                copy = f"attacked_{number}"
                postgres.administer(f"CREATE DATABASE {copy} TEMPLATE tlog", dbname="postgres")
                with closing(
                    RangeReader(Database(postgres.conninfo(dbname=copy)).connect_blocking("tlog_reader"), _TABLES)
                ) as reader:
                    statements = attack.statements(reader)
                postgres.administer("; ".join((*_TRIGGERS_OFF, *statements, *_TRIGGERS_ON)), dbname=copy)
                self._verdict(self._fsck(postgres.conninfo(dbname=copy)), attack.story, expect=attack.expect, code=1)

    def _roll_back(self) -> None:
        self._chapter("An older copy of the database", "everything in it is genuine; it is only not the newest")
        cluster, copy = self._data / "postgres" / "cluster", self._directory / "older-copy"
        shutil.copytree(cluster, copy, copy_function=_copy_with_owner)
        _give_like(cluster, copy)
        late = self._directory / "late.ndjson"
        late.write_bytes(b"\n".join(json.dumps(event).encode() for event in hospital_day(100, seed=2)))
        self._say(self._tlog("import", "ndjson", late).stdout.strip())
        cluster.rename(self._directory / "newest-copy")
        shutil.copytree(copy, cluster, copy_function=_copy_with_owner)
        _give_like(copy, cluster)
        code = RollbackError.exit_code
        self._verdict(
            self._refused_start(), "puts the older copy back and starts the server", expect="ROLLBACK", code=code
        )
        shutil.rmtree(cluster)
        self._verdict(self._refused_start(), "deletes the database and starts the server", expect="is gone", code=code)

    # --- The day, to look at -----------------------------------------------------------------------------------------

    def serve(self, port: int) -> None:
        """Serve the day until somebody ends it, and say how to look at it.

        Raises:
            DemoError: the service does not start, or ends by itself.

        """
        self._chapter("The newest copy comes back, and is served", "until Ctrl-C")
        (self._directory / "newest-copy").rename(self._data / "postgres" / "cluster")
        verifier = shutil.copy(offline_verifier(), self._directory / "verify.py")
        key = json.loads(
            self._tlog(
                "token", "create", "--principal", "demo:auditor", "--scope", "read", "--days", 1, "--json"
            ).stdout
        )
        vkey, answer = self._directory / "log.vkey", self._directory / "patient.json"
        about, patient = f"patient_record:{WELL_KNOWN_PATIENT}", ["--resource", f"patient_record:{WELL_KNOWN_PATIENT}"]
        program = ["tlog"] if shutil.which("tlog") else [sys.executable, "-m", "tlog"]
        commands = (
            [*program, "query", *patient, "--data", self._data],
            [*program, "export", *patient, "--disclose", "--evidence", answer, "--data", self._data],
            ["python3", verifier, "evidence", "--vkey", f"@{vkey}", "--ask", f"resource={about}", answer],
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt), self._serving("--port", port) as (url, lines):
            self._say(f"open        {url}/ui?resourceType=patient_record&resourceId={WELL_KNOWN_PATIENT}")
            self._say(f"sign in     {key['token']}")
            self._say("            (an API key for a day, shown once: the log keeps only a digest of it)")
            self._say(f"public key  {vkey.read_text(encoding='utf-8').strip()}")
            self._say("            (put it in below the answer: the page then checks itself against it)")
            self._say("or in another terminal:")
            for command in commands:
                self._say("    " + shlex.join(map(str, command)))
            last = deque(lines, 1)
            message = f"the service ended: {''.join(last)}"
            raise DemoError(message)

    # --- Processes -------------------------------------------------------------------------------------------------

    @contextmanager
    def _serving(self, *options: object) -> Iterator[tuple[str, Iterable[str]]]:
        """Serve; yield the service's address, and the lines that it writes from then on."""
        # In a session of its own, so that Ctrl-C in a terminal reaches this process only, which then ends the service in order.
        process = subprocess.Popen(
            self._command("serve", *(options or ("--port", "0"))),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stderr is not None  # noqa: S101 - it is a pipe; for the type checker
        said = ""
        while line := process.stderr.readline():
            said += line
            if '"address"' in line:
                break
        try:
            if not line:
                message = f"the server did not start: {said}"
                raise DemoError(message)
            yield json.loads(line)["address"], process.stderr
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=_PROCESS_SECONDS)
        if process.returncode != 0:
            message = f"the server did not end cleanly: {said}"
            raise DemoError(message)

    def _refused_start(self) -> subprocess.CompletedProcess[str]:
        done = _call(self._command("serve", "--port", "0"))
        # A service says everything in lines of JSON (docs/how-to/monitor.md); why it ended is the reason in the last of them.
        done.stderr = "\n".join(json.loads(line).get("reason", line) for line in done.stderr.splitlines())
        return done

    def _tlog(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        done = _call(self._command(*arguments))
        self._expect(done.returncode == 0, f"tlog {arguments[0]} failed: {done.stderr}")
        return done

    def _fsck(self, database: str) -> subprocess.CompletedProcess[str]:
        return _call(self._command("fsck", "--database", database))

    def _command(self, command: object, *arguments: object) -> list[str]:
        # "token create" and the like are two words; --data comes after both.
        return [sys.executable, "-m", "tlog", str(command), *map(str, arguments), "--data", str(self._data)]

    def _verify(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command, *rest = map(str, arguments)
        vkey = f"@{self._directory / 'log.vkey'}"
        return _call([sys.executable, "-I", "-S", str(offline_verifier()), command, "--vkey", vkey, *rest])

    def _verifies(self, *arguments: object, lines: int | None = None) -> None:
        done = self._verify(*arguments)
        self._expect(done.returncode == 0, f"verify.py rejects a genuine proof: {done.stdout}{done.stderr}")
        for line in done.stdout.splitlines()[:lines]:
            self._console.print(f"      {line}", style="green", markup=False, soft_wrap=True)

    def _refutes(self, *arguments: object) -> None:
        done = self._verify(*arguments)
        self._expect(done.returncode == 1, f"verify.py does not reject a forged event: {done.stdout}{done.stderr}")
        for line in done.stdout.splitlines()[-1:]:
            self._console.print(f"      {line}", style="red", markup=False, soft_wrap=True)

    # --- Telling ---------------------------------------------------------------------------------------------------

    def _chapter(self, title: str, remark: str) -> None:
        self._console.print(f"\n[bold]{title}[/]  [dim]{remark}[/]", soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", markup=False, soft_wrap=True)

    def _verdict(self, done: subprocess.CompletedProcess[str], story: str, *, expect: str, code: int) -> None:
        """Show what an attack came to, and insist that it was named."""
        said = (done.stdout + done.stderr).strip().splitlines()
        named = next((line.strip() for line in said if expect in line), None)
        self._expect(
            done.returncode == code and named is not None,
            f"'{story}' should end with exit code {code} and name '{expect}', but ended with {done.returncode}:\n"
            + "\n".join(said),
        )
        self._console.print(f"  [bold]{story}[/]")
        self._console.print(f"      {named}", style="green" if code == 0 else "red", markup=False, soft_wrap=True)

    def _expect(self, condition: bool, message: str) -> None:  # noqa: FBT001 - an assertion
        if not condition:
            raise DemoError(message)


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=_PROCESS_SECONDS, check=False)


def _size(note: bytes) -> int:
    return int(note.split(b"\n")[1])


def _copy_with_owner(source: str, target: str) -> str:
    shutil.copy2(source, target)
    status = Path(source).stat()
    os.lchown(target, status.st_uid, status.st_gid)
    return target


def _give_like(model: Path, root: Path) -> None:
    """Give the directories below `root` the owner and mode their models have; files have them from copying."""
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            status = (model / path.relative_to(root)).stat()
            os.lchown(path, status.st_uid, status.st_gid)
