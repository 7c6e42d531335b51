"""Commands that check: fsck for a whole log, verify for proofs and evidence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tlog.cli.escaping import visible
from tlog.cli.options import (
    DEFAULT_DATA,
    Data,
    DatabaseUrl,
    DemandedPolicy,
    From,
    Json,
    LoggedFrom,
    LoggedTo,
    SignerSocket,
    To,
    VKey,
    locate,
    read_asks,
    read_vkey,
)
from tlog.cli.output import exit_on_error, open_output, print_progress, refuse, run, show_progress
from tlog.core.checkpoint import open_checkpoint
from tlog.errors import MalformedInputError, NotCheckedError, OtherQuestionError, TlogError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tlog.checking.report import CheckEnd, Report
    from tlog.core.checkpoint import Checkpoint
    from tlog.core.entry import OtherEntry
    from tlog.core.evidence import Evidence, Proved
    from tlog.core.fraud import ClockFraud
    from tlog.core.note import Verifier
    from tlog.core.question import Question
    from tlog.core.verify import VerifiedEvent
    from tlog.location import Location
    from tlog.signing.anchor import Anchored

_SAVE_SECONDS: Final = 5.0


def fsck(  # noqa: PLR0917 - the options of a command line
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = None,
    signer: SignerSocket = None,
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Recompute root and inclusion proofs with pymerkle as well.")
    ] = False,
    since: Annotated[
        Path | None, typer.Option(help="Check only what came after an earlier check: the file that --save wrote then.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write here how far nothing is wrong, now and then and at the end: a later check can go on there."
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URL", help="Check this copy of the log instead: an exported directory, or a served log."
        ),
    ] = None,
    vkey: Annotated[
        str | None, typer.Option("--vkey", help="With --mirror, the log's public key, literally or as @FILE.")
    ] = None,
    earlier: Annotated[
        Path | None, typer.Option(help="With --mirror, a checkpoint from before, which the mirror's has to continue.")
    ] = None,
    json_output: Json = False,
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="Report progress on stderr as lines of JSON, for programs.")
    ] = False,
) -> None:
    """Check everything the database holds against entries, tiles, checkpoints and anchor; name what broke."""
    location = locate(data, database, signer)
    directory = location.directory
    showing = print_progress() if progress_json else show_progress("checking", "entries")
    if mirror is not None:
        if second_opinion or since is not None or save is not None or database is not None:
            refuse("--mirror goes with --vkey, --earlier, --json and --progress-json only")
        key = exit_on_error(lambda: directory.verifier() if vkey is None else read_vkey(vkey))
        before = None if earlier is None else exit_on_error(earlier.read_bytes)
        with showing as report:
            found = exit_on_error(lambda: _check_mirror(mirror, key, before, report))
    elif vkey is not None or earlier is not None:
        refuse("--vkey and --earlier go with --mirror")
    else:
        since_then = None if since is None else exit_on_error(lambda: _read_check_end(since))
        saver = _Saver(save)
        read = anchor_reader(location)

        async def work() -> Report:
            from tlog.checking.fsck import fsck as run_fsck
            from tlog.lifecycle.life import say_checked
            from tlog.lifecycle.opening import database_of

            async with database_of(location) as log:
                with showing as report:
                    found = await run_fsck(
                        log,
                        directory.verifier(),
                        directory.bucket_keys(),
                        read,
                        second_opinion=second_opinion,
                        since=since_then,
                        progress=report,
                        reached=saver.reached,
                    )
                try:
                    found.said_by = await say_checked(log, directory.verifier(), read, found)
                except TlogError as error:
                    found.not_said = str(error)
                return found

        found = run(work())
        if found.end is not None:
            saver.write(found.end)
    print(json.dumps(found.to_json()) if json_output else found.text())
    raise typer.Exit(found.exit_code)


def anchor_reader(location: Location) -> Callable[[], Anchored]:
    """Return what reads the anchor: of the data directory, or through the log's own signer."""
    from tlog.lifecycle.opening import signer_of
    from tlog.signing.anchor import Anchor

    return Anchor(location.directory.anchor).read if location.signer_socket is None else signer_of(location).read


def _read_check_end(path: Path) -> CheckEnd:
    from tlog.checking.report import parse_check_end

    return parse_check_end(path.read_bytes())


def _check_mirror(where: str, key: Verifier, earlier: bytes | None, report: Callable[[int, int], None]) -> Report:
    from tlog.checking.mirror import open_mirror
    from tlog.checking.mirrored import fsck_mirror

    with open_mirror(where) as mirror:
        return fsck_mirror(mirror, key, earlier=earlier, progress=report)


class _Saver:
    """Writes how far a check has got, so that one that is broken off was not for nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = time.monotonic()

    def reached(self, end: CheckEnd) -> None:
        """Write, unless that was done a moment ago."""
        if self._path is not None and str(self._path) != "-" and time.monotonic() - self._written > _SAVE_SECONDS:
            self.write(end)

    def write(self, end: CheckEnd) -> None:
        """Write, if asked to."""
        import msgspec

        if self._path is not None:
            with open_output(self._path) as file:
                file.write(msgspec.json.encode(end))
            self._written = time.monotonic()


def verify_proof(
    proof: Annotated[Path, typer.Argument(help="The .tlog-proof file.")],
    event: Annotated[Path, typer.Option(help="The .event.json file.")],
    vkey: VKey,
    policy: DemandedPolicy = None,
) -> None:
    """Verify that an event is in the log."""
    from tlog.core.tlogproof import parse_inclusion_proof
    from tlog.core.verify import verify_event

    def work() -> VerifiedEvent:
        log, data = read_vkey(vkey), proof.read_bytes()
        verified = verify_event(log, event.read_bytes(), data)
        _check_witnessed(policy, log, parse_inclusion_proof(data).checkpoint)
        return verified

    verified = exit_on_error(work)
    checkpoint = verified.checkpoint
    print(
        f"VERIFIED: entry {verified.index} of {checkpoint.origin}, in its tree of {checkpoint.size:,} entries"
        f"{_cosigned(policy)}"
    )
    if verified.absent:
        for group, by in verified.absent:
            print(f"not checked: {group}: LOST, as entry {by} says, which is not in this file")
        raise typer.Exit(NotCheckedError.exit_code)


def verify_consistency(
    proof: Annotated[Path, typer.Argument(help="The consistency proof, with the newer checkpoint.")],
    old: Annotated[Path, typer.Option(help="The older checkpoint.")],
    vkey: VKey,
) -> None:
    """Verify that the log only grew between two checkpoints."""
    from tlog.core.verify import verify_growth

    older, newer = exit_on_error(lambda: verify_growth(read_vkey(vkey), old.read_bytes(), proof.read_bytes()))
    print(f"VERIFIED: {older.origin} grew from {older.size:,} to {newer.size:,} entries and changed nothing")


def verify_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="The signed checkpoint.")],
    vkey: VKey,
    policy: DemandedPolicy = None,
) -> None:
    """Verify a checkpoint's signature and form."""

    def work() -> Checkpoint:
        log, note = read_vkey(vkey), checkpoint.read_bytes()
        opened = open_checkpoint(note, log)
        _check_witnessed(policy, log, note)
        return opened

    opened = exit_on_error(work)
    print(f"VERIFIED: {opened.origin} signed its tree of {opened.size:,} entries{_cosigned(policy)}")


def _check_witnessed(path: Path | None, log: Verifier, note: bytes) -> None:
    """Check that a checkpoint is what a policy demands of this log, if one does.

    Raises:
        MalformedInputError: the file is no policy, or the policy does not list the log's key.
        VerificationError: the policy does not accept the checkpoint.

    """
    from tlog.core.policy import open_witnessed, parse_policy

    if path is None:
        return
    policy = parse_policy(path.read_bytes())
    if log not in policy.log_keys(log.name):
        message = "the policy does not list the key that --vkey names; use the policy of this log"
        raise MalformedInputError(message)
    open_witnessed(note, policy, log.name)


def _cosigned(policy: Path | None) -> str:
    return "" if policy is None else ", which its witnesses cosigned as the policy demands"


def verify_log(
    directory: Annotated[Path, typer.Argument(help="A static export of the log.")],
    vkey: VKey,
) -> None:
    """Verify a whole exported log with the offline verifier."""
    from tlog.demo.verifier import offline_verifier

    command = [sys.executable, "-I", "-S", str(offline_verifier()), "log", "--vkey", vkey, str(directory)]
    # A group of its own: Ctrl-C reaches this process alone, which ends the child.
    done = subprocess.run(command, stdout=subprocess.PIPE, process_group=0, check=False)  # noqa: S603 - our own file
    sys.stdout.buffer.write(done.stdout)
    raise typer.Exit(done.returncode)


def verify_evidence(  # noqa: PLR0917 - the options of a command line
    bundle: Annotated[Path, typer.Argument(help="The evidence bundle, or the directory of a set of bundles.")],
    ask: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE",
            help="resource=TYPE:ID, userId=…, action=… and so on, as in a bundle's question; repeatable, all apply.",
        ),
    ],
    vkey: VKey,
    from_: From = None,
    to: To = None,
    logged_from: LoggedFrom = None,
    logged_to: LoggedTo = None,
    count: Annotated[bool, typer.Option("--count", help="The bundle proves the number alone.")] = False,
) -> None:
    """Verify that these events, and no others, answer a question; the question is yours, not the bundle's."""
    from tlog.checking.report import counted

    question = read_asks(ask, {"from": from_, "to": to, "loggedFrom": logged_from, "loggedTo": logged_to})
    proved = exit_on_error(lambda: _verify_answer(read_vkey(vkey), question, bundle, count=count))
    for line in _describe_answers(proved):
        print(visible(line))
    log, size = proved.checkpoint.origin, proved.epoch.size
    print(f"VERIFIED: {_verdict(proved, count=count)}, of the {size:,} entries that {log} had indexed")
    if proved.withheld and not count:
        print("WITHHELD: no names in this bundle; ask for --disclose")
    for each in (*question.not_looked_at(), f"entries from {size:,} on, which were indexed later"):
        print(f"not looked at: {each}")
    if unknown := proved.unknown():
        print(f"not checked: {counted(len(unknown), 'entry', 'entries')} of a type this version does not know")
        raise typer.Exit(NotCheckedError.exit_code)


def _verify_answer(log: Verifier, question: Question, path: Path, *, count: bool) -> Proved:
    from tlog.core.evidence import parse_evidence, verify_evidence
    from tlog.core.evidence_set import verify_evidence_set

    if path.is_dir():
        if count:
            message = "a set of bundles proves an answer, not the number alone; leave out --count"
            raise MalformedInputError(message)
        return verify_evidence_set(log, question, (parse_evidence(each.read_bytes()) for each in _files_of_a_set(path)))
    bundle = parse_evidence(path.read_bytes())
    proved = verify_evidence(log, question, bundle)
    if (bundle.mode == "count") != count:
        message = f"the bundle is of the mode '{bundle.mode}', not '{'count' if count else 'answer'}'"
        raise OtherQuestionError(message)
    return proved


def _files_of_a_set(directory: Path) -> list[Path]:
    """Return the files of an evidence set in the order of their parts, refusing one that is none of the parts there are."""
    from tlog.core.evidence import parse_evidence

    numbered = {each.stem: each for each in directory.glob("*.json") if re.fullmatch("[0-9]+", each.stem)}
    if "000001" not in numbered:
        message = "part 1 of the set is missing: all of them are needed"
        raise NotCheckedError(message)
    part = parse_evidence(numbered["000001"].read_bytes()).part
    parts = part[1] if isinstance(part, tuple) else 1
    for stem, file in sorted(numbered.items()):
        if not 1 <= int(stem) <= parts or stem != f"{int(stem):06}":
            message = f"{file.name} is a file too many: parts of the set: {parts:,}"
            raise VerificationError(message)
    return [numbered[stem] for stem in sorted(numbered, key=int)]


def _describe_answers(proved: Proved) -> Iterator[str]:
    from tlog.core.entry import OtherEntry

    absent: dict[int, list[tuple[str, int]]] = {}
    for index, group, by in proved.absent:
        absent.setdefault(index, []).append((group, by))
    for index, entry in reversed(proved.answers or ()):
        if isinstance(entry, OtherEntry):
            yield f"entry {index}: {entry.loggedAt} control entry of the type {entry.type}{_said(entry)}"
            continue
        named = proved.matched.get(index, "resource")
        operation = f" {entry.operation}" if isinstance(entry.operation, str) else ""
        where = "" if named == "resource" else f", asked for as {named}"
        yield f"entry {index}: {entry.timestamp} {entry.action}{operation} {entry.resourceType}, {entry.outcome}{where}"
        for group, body in proved.bodies.get(index, {}).items():
            yield f"  {group} {body.decode()}"
        yield from (f"  {group} LOST, said by entry {by}" for group, by in absent.get(index, ()))
    for index, other in proved.apart:
        yield f"entry {index}: {other.loggedAt} control entry of the type {other.type}, which is no event and not counted"
    for index in proved.alike:
        yield f"entry {index}: an index key that only begins like one asked for; it is no answer"


def _said(entry: OtherEntry) -> str:
    """Return in words what an outcome says, as far as this version knows its kind."""
    import msgspec

    from tlog.core.canonical import canonical
    from tlog.core.entry import OutcomeEntry

    if not isinstance(entry, OutcomeEntry):
        return ""
    report = "" if entry.report is None else f": {canonical(msgspec.to_builtins(entry.report)).decode()}"
    return f", {entry.kind}{report}"


def _verdict(proved: Proved, *, count: bool) -> str:
    from tlog.checking.report import counted

    number = proved.count
    exactly = f"exactly {counted(number, 'event')}" if number else "no event"
    if proved.named is not None:
        return f"{exactly} of the resource, and {counted(proved.named, 'entry', 'entries')} naming it"
    if count:
        return f"{exactly} {'has' if number <= 1 else 'have'} been logged for the question"
    return f"{exactly} {'answers' if number <= 1 else 'answer'} the question"


def verify_fraud(
    bundle: Annotated[Path, typer.Argument(help="The evidence bundle, or a file of the type tlog-clock-fraud.")],
    vkey: VKey,
    proof: Annotated[Path | None, typer.Option(help="The event's .tlog-proof file.")] = None,
    event: Annotated[Path | None, typer.Option(help="The event's .event.json file.")] = None,
) -> None:
    """Verify a fraud: an index that leaves out an event, an event with the key of other data, or a clock that went back."""

    def work() -> tuple[Checkpoint, str]:
        from tlog.core.verify import verify_event

        log = read_vkey(vkey)
        if proof is None or event is None:
            return _find_clock_fraud(log, bundle.read_bytes())
        verified = verify_event(log, event.read_bytes(), proof.read_bytes())
        return verified.checkpoint, _find_fraud(log, bundle.read_bytes(), verified)

    if (proof is None) != (event is None):
        refuse("--proof and --event go together; only a clock that went back is convicted without them")
    checkpoint, fraud = exit_on_error(work)
    print(f"VERIFIED: FRAUD: {fraud}, which {checkpoint.origin} signed in its tree of {checkpoint.size:,} entries")


def verify_fork(
    file: Annotated[Path, typer.Argument(help="A file of the type tlog-fork.")],
    vkey: VKey,
) -> None:
    """Verify a fork: two trees that one key signed, of which the larger does not continue the smaller."""
    from tlog.core.fork import find_fork, parse_fork

    first, second, _ = exit_on_error(lambda: find_fork(read_vkey(vkey), parse_fork(file.read_bytes())))
    print(
        f"VERIFIED: FORK: the key of {first.origin} signed a tree of {first.size:,} entries, and one of {second.size:,} that "
        "does not continue it. Whether the operator or a thief signed, this does not show"
    )


def _find_clock_fraud(log: Verifier, data: bytes) -> tuple[Checkpoint, str]:
    from tlog.core.evidence import parse_evidence
    from tlog.core.fraud import find_clock_fraud, parse_clock_fraud

    try:
        shown: Evidence | ClockFraud = parse_clock_fraud(data)
    except MalformedInputError:
        shown = parse_evidence(data)
    fraud = find_clock_fraud(log, shown)
    return open_checkpoint(shown.checkpoint.encode(), log), fraud


def _find_fraud(log: Verifier, data: bytes, event: VerifiedEvent) -> str:
    """Return in what way the bundle's index or the event's keys are false, under whichever of the keys the index looks."""
    from tlog.core.entry import EventEntry, OtherEntry
    from tlog.core.evidence import parse_evidence
    from tlog.core.fraud import find_false_key, find_fraud

    bundle, entry = parse_evidence(data), event.entry
    if not isinstance(entry, EventEntry | OtherEntry):
        message = "the entry has no index keys, so no index leaves it out"
        raise MalformedInputError(message)
    reasons = []
    for key in entry.index_keys():
        try:
            return find_fraud(log, bundle, key, event.index)
        except VerificationError as error:
            reasons.append(str(error))
    if isinstance(entry, EventEntry):
        try:
            return find_false_key(log, bundle, entry, event.bodies)
        except VerificationError as error:
            reasons.append(str(error))
    message = f"no fraud is proved: {'; '.join(dict.fromkeys(reasons))}"
    raise VerificationError(message)
