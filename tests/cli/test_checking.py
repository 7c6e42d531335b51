"""`tlog verify evidence`, `fraud` and `log`: right ones accepted, wrong ones refused, each with its exit code."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time

import bundles
import offline
import pytest
from bundles import file_of
from support import ROOT, tlog
from test_evidence import LOG, QUESTIONS, WRONG, truth
from test_fraud import CHEAT, FALSE, VICTIM, back, clock_fraud, disclosing, signed
from witnessing import FORK_SEED, LeafLog

from tlog.cli import app as cli
from tlog.cli.checking import _describe_answers
from tlog.core.cosignature import CosigningKey
from tlog.core.evidence import Proved
from tlog.core.fork import format_fork, make_fork
from tlog.core.note import split_note
from tlog.core.tlogproof import parse_inclusion_proof

KEY = ("--vkey", bundles.vkey())


@pytest.fixture
def verify(tmp_path, capsys):
    """Run a verify command in this process; files are given by name and content."""

    def run(command, *arguments, **files):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        paths = [str(tmp_path / each) if each in files else str(each) for each in arguments]
        with pytest.raises(SystemExit) as ended:
            cli.app(["verify", command, *KEY, *paths])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


# --- Evidence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUESTIONS)
def test_evidence_is_verified(verify, name):
    question = QUESTIONS[name]
    found = truth(LOG, question)
    bundle = file_of(LOG.bundle(question, disclose=True))
    code, said, complaint = verify("evidence", *offline.options_of(question), "bundle", bundle=bundle)
    later = name == "met by control" or any(index in LOG.controls for index in found)
    assert (code, complaint) == (3 if later else 0, "")
    assert ("of a type this version does not know" in said) is later
    verdict = [line for line in said.splitlines() if line.startswith("VERIFIED: ")]
    number = {0: "no event answers", 1: "exactly 1 event answers"}.get(
        len(found), f"exactly {len(found)} events answer"
    )
    assert verdict == [f"VERIFIED: {number} the question, of the {LOG.epoch} entries that {bundles.ORIGIN} had indexed"]
    entries = [line for line in said.splitlines() if line.startswith("entry ") and "no event" not in line]
    assert [int(line.split()[1].rstrip(":")) for line in entries] == found[::-1]
    events = [index for index in found if index in LOG.events]
    assert said.count("  actor {") == said.count("  resource {") == len(events)
    asked_for = [line.rpartition(", asked for as ")[2] for line in entries if ", asked for as " in line]
    if "resourceId" in question:
        matched = [bundles.matched(LOG.events[index], question) for index in events[::-1]]
        assert asked_for == [group for group in matched if group not in (None, "resource")]
    else:
        assert asked_for == []


def test_a_count_is_verified(verify):
    question = QUESTIONS["actor"]
    number = len(truth(LOG, question))
    bundle = file_of(LOG.bundle(question, mode="count"))
    code, said, _ = verify("evidence", *offline.options_of(question), "--count", "bundle", bundle=bundle)
    assert code == 0
    assert said.startswith(f"VERIFIED: exactly {number} events have been logged for the question, of the ")
    code, said, complaint = verify("evidence", *offline.options_of(question), "bundle", bundle=bundle)
    assert (code, said) == (2, "")
    assert "the bundle is of the mode 'count', not 'answer'" in complaint
    code, said, complaint = verify(
        "evidence", *offline.options_of(question), "--count", "bundle", bundle=file_of(LOG.bundle(question))
    )
    assert (code, said) == (2, "")
    assert "the bundle is of the mode 'answer', not 'count'" in complaint


@pytest.mark.parametrize("name", ["resource", "nothing", "patient"])
def test_a_count_about_a_resource_is_two_numbers(verify, name):
    question = QUESTIONS[name]
    about = question["resourceType"], question["resourceId"]
    of = sum(bundles.matched(event, question) == "resource" for event in LOG.events.values())
    named = sum(about in event.related for event in LOG.events.values())
    named += sum(about in control.named for control in LOG.controls.values())
    bundle = file_of(LOG.bundle(question, mode="count"))
    code, said, _ = verify("evidence", *offline.options_of(question), "--count", "bundle", bundle=bundle)
    assert code == 0
    events = f"exactly {of} event{'' if of == 1 else 's'}" if of else "no event"
    entries = "1 entry" if named == 1 else f"{named} entries"
    assert said.startswith(f"VERIFIED: {events} of the resource, and {entries} naming it, of the ")


def test_a_set_of_bundles_is_verified_whole(verify, tmp_path):
    question = QUESTIONS["actor"]
    directory = tmp_path / "answer"
    directory.mkdir()
    for number, part in enumerate(LOG.parts(question, (30, 64, 90)), 1):
        (directory / f"{number:06}.json").write_bytes(file_of(part))
    (directory / "manifest.json").write_bytes(b"nobody reads this")
    options = offline.options_of(question)
    code, said, complaint = verify("evidence", *options, directory)
    assert (code, complaint) == (0, "")
    assert f"exactly {len(truth(LOG, question))} events answer" in said
    code, said, complaint = verify("evidence", *options, directory / "000002.json")
    assert (code, said) == (3, "")
    assert "this is part 2 of 4" in complaint
    code, said, complaint = verify("evidence", *options, "--count", directory)
    assert (code, said) == (2, "")
    assert "not the number alone" in complaint
    (directory / "000003.json").unlink()
    code, said, complaint = verify("evidence", *options, directory)
    assert (code, said) == (3, "")
    assert "part 3 of the set is missing" in complaint


def test_an_entry_whose_key_only_begins_alike_is_named():
    """Nobody can make one but with 2^64 hashes, so the line is asked for by itself."""
    proved = Proved(None, None, 0, 0, b"", count=0, answers=[], alike=[7])
    assert list(_describe_answers(proved)) == [
        "entry 7: an index key that only begins like one asked for; it is no answer"
    ]


def test_the_key_of_a_file_without_its_sign(verify, tmp_path, monkeypatch):
    question = QUESTIONS["actor"]
    path = tmp_path / "log.vkey"
    path.write_bytes(bundles.vkey().encode() + b"\r\n")
    bundle = file_of(LOG.bundle(question))
    monkeypatch.setattr(sys.modules[__name__], "KEY", ("--vkey", str(path)))
    code, said, complaint = verify("evidence", *offline.options_of(question), "bundle", bundle=bundle)
    assert (code, said) == (2, "")
    assert f"did you mean the file, --vkey @{path}?" in complaint
    monkeypatch.setattr(sys.modules[__name__], "KEY", ("--vkey", f"@{path}"))
    assert verify("evidence", *offline.options_of(question), "bundle", bundle=bundle)[0] == 0
    monkeypatch.setattr(sys.modules[__name__], "KEY", ("--vkey", "nonsense"))
    code, said, complaint = verify("evidence", *offline.options_of(question), "bundle", bundle=bundle)
    assert (code, "did you mean" in complaint) == (2, False)


def test_what_evidence_does_not_look_at_is_said(verify):
    question = {"userId": "user-3", "loggedFrom": bundles.moment(10), "loggedTo": bundles.moment(50)}
    bundle = file_of(LOG.bundle(question, window=(10, 50)))
    options = ("--ask", "userId=user-3", "--logged-from", bundles.moment(10), "--logged-to", bundles.moment(50))
    code, said, _ = verify("evidence", *options, "bundle", bundle=bundle)
    assert code == 0
    assert [line for line in said.splitlines() if line.startswith("not looked at: ")] == [
        f"not looked at: entries logged before {bundles.moment(10)}",
        f"not looked at: entries logged at {bundles.moment(50)} or later",
        f"not looked at: entries from {LOG.epoch} on, which were indexed later",
    ]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_evidence_is_refused(verify, name):
    code, said, complaint = verify(
        "evidence", *offline.options_of(QUESTIONS["both"]), "bundle", bundle=file_of(WRONG[name])
    )
    assert code in (1, 2)
    assert said == ""
    assert complaint.startswith("tlog: ")


ASKS = {
    "another question": (["userId=user-4"], 2, "it answers another question"),
    "no such name": (["person=user-3"], 2, "--ask takes one of resource, action, actorType"),
    "no value": (["userId="], 2, "--ask takes one of resource, action, actorType"),
    "no resource": (["resource=record"], 2, "--ask resource takes TYPE:ID"),
    "twice": (["userId=user-3", "userId=user-3"], 2, "--ask gives 'userId' twice"),
    "twice in other words": (["resource=record:R4", "resourceType=record"], 2, "--ask gives 'resourceType' twice"),
    "more than one colon": (["resource=record:R:4"], 2, "with exactly one colon"),
    "nothing indexed": (["outcome=success"], 2, "ask for a resource, an actor, a source"),
    "no outcome": (["userId=user-3", "outcome=perhaps"], 2, "'outcome'"),
}


@pytest.mark.parametrize("name", ASKS)
def test_what_cannot_be_asked(verify, name):
    asks, expected, message = ASKS[name]
    options = [option for ask in asks for option in ("--ask", ask)]
    code, said, complaint = verify("evidence", *options, "bundle", bundle=file_of(LOG.bundle(QUESTIONS["actor"])))
    assert (code, said) == (expected, "")
    assert message in complaint


def test_evidence_that_is_not_there(verify, tmp_path):
    code, said, complaint = verify("evidence", "--ask", "userId=user-3", tmp_path / "nowhere")
    assert (code, said) == (2, "")
    assert complaint == f"tlog: {tmp_path / 'nowhere'}: No such file or directory\n"
    assert verify("evidence", tmp_path / "nowhere")[0] == 2, "the question is the caller's"


SET = LOG.parts({"userId": "user-3"}, [30, 64])
SPOILED_SETS = {
    "whole": ({}, 0, ""),
    "a file beyond the last part": ({"000004.json": SET[2]}, 1, "000004.json is a file too many: parts of the set: 3"),
    "a file beyond the last part that is none": ({"000004.json": b"?"}, 1, "000004.json is a file too many"),
    "a part under a second name": ({"2.json": SET[1]}, 1, "2.json is a file too many"),
    "part 0": ({"000000.json": SET[1]}, 1, "000000.json is a file too many"),
    "no first part": ({"000001.json": None}, 3, "part 1 of the set is missing"),
    "no second part": ({"000002.json": None}, 3, "part 2 of the set is missing"),
    "a bundle that is no part": ({"000001.json": LOG.bundle({"userId": "user-3"}), "000002.json": None, "000003.json": None}, 1, "no part of a set"),
    "no bundle": ({"000001.json": b"?"}, 2, ""),
    "files that are no parts": ({"manifest.json": b"?", "notes.txt": b"?", "000004.json.part": b"?"}, 0, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED_SETS)
def test_the_files_of_a_set_are_its_parts(verify, tmp_path, capsys, name):
    """As tools/verify.py has it: a file too many may be what somebody was shown as one of the parts."""
    changes, expected, message = SPOILED_SETS[name]
    directory = tmp_path / "set"
    directory.mkdir()
    for file, part in ({f"{number:06d}.json": part for number, part in enumerate(SET, 1)} | changes).items():
        if part is not None:
            (directory / file).write_bytes(part if isinstance(part, bytes) else file_of(part))
    code, said, complaint = verify("evidence", "--ask", "userId=user-3", directory)
    assert (code, bool(said), message in complaint) == (expected, expected == 0, True), complaint
    assert offline.verify.main(["evidence", *KEY, "--ask", "userId=user-3", str(directory)]) == expected
    capsys.readouterr()


def test_what_a_producer_wrote_does_not_command_the_terminal(verify):
    event = bundles.sample_event(1)
    event.disclosures["actor"] = bundles.disclosure(
        1, "actor", {"appendedBy": "a", "role": "\u009b31m", "userId": "user-3"}
    )
    entry = json.loads(event.entry)
    salt, body = event.disclosures["actor"]
    entry["commitments"]["actor"] = bundles.b64url(hashlib.sha256(b"\x10" + salt + body.encode()).digest())
    event.entry = bundles.canonical(entry)
    log = bundles.NaiveLog([event], [2])
    question = {"action": entry["action"]}
    code, said, _ = verify(
        "evidence", *offline.options_of(question), "bundle", bundle=file_of(log.bundle(question, disclose=True))
    )
    assert code == 0
    assert "\u009b" not in said
    assert "\\u009b31m" in said


# --- Fraud ----------------------------------------------------------------------------------------------------------


def fraud_files(log, question, proof_and_event):
    return {"bundle": file_of(log.bundle(question)), "proof": proof_and_event[0], "event": proof_and_event[1]}


FRAUD = ("--proof", "proof", "--event", "event", "bundle")


def test_fraud_is_convicted(verify):
    code, said, complaint = verify(
        "fraud", *FRAUD, **fraud_files(CHEAT, {"userId": "user-0"}, CHEAT.event_proof(VICTIM))
    )
    assert (code, complaint) == (0, "")
    assert said == (
        f"VERIFIED: FRAUD: the epoch of size {CHEAT.epoch} leaves out entry {VICTIM}, "
        f"which {bundles.ORIGIN} signed in its tree of {CHEAT.size + 1} entries\n"
    )


HONEST = {
    "the index has it": (LOG, {"userId": "user-0"}, VICTIM, f"the index holds entry {VICTIM} under this key"),
    "another key": (LOG, {"userId": "user-5"}, VICTIM, "no fraud is proved: "),
    "no event": (CHEAT, {"userId": "user-0"}, 0, "the entry has no index keys"),
}


@pytest.mark.parametrize("name", HONEST)
def test_no_fraud_is_proved(verify, name):
    log, question, index, message = HONEST[name]
    code, said, complaint = verify("fraud", *FRAUD, **fraud_files(log, question, log.event_proof(index)))
    assert (code, said) == (2 if name == "no event" else 1, "")
    assert message in complaint


def test_a_control_entry_convicts_no_honest_index(verify):
    index = min(LOG.controls)
    files = fraud_files(LOG, {"control": LOG.controls[index].kind}, LOG.event_proof(index))
    code, said, complaint = verify("fraud", *FRAUD, **files)
    assert (code, said) == (1, "")
    assert "no fraud is proved" in complaint


def test_a_false_key_is_convicted(verify):
    index, group, body, question = FALSE["related"]
    log, _ = disclosing(index, group, body)
    event = bundles.event_file(
        log.entries[index], {group: {"body": bundles.canonical(body), "salt": bundles.b64url(bytes(16))}}
    )
    files = fraud_files(log, question, (signed(log).event_proof(index)[0], event))
    code, said, complaint = verify("fraud", *FRAUD, **files)
    assert (code, complaint) == (0, "")
    assert said.startswith("VERIFIED: FRAUD: event ")
    assert "carries a false key" in said


def test_a_clock_that_went_back_is_convicted_without_an_event(verify):
    code, said, complaint = verify("fraud", "bundle", bundle=clock_fraud(back(), 10, 17))
    assert (code, complaint) == (0, "")
    assert "VERIFIED: FRAUD: the log's clock went back: entry 10" in said
    code, said, complaint = verify("fraud", "bundle", bundle=file_of(LOG.bundle({"action": "read"})))
    assert (code, said) == (1, "")
    assert "logged in order" in complaint


def test_a_fraud_needs_both_files_of_an_event_or_neither(verify):
    code, said, complaint = verify(
        "fraud", "--proof", "proof", "bundle", **fraud_files(LOG, {"userId": "u"}, (b"", b""))
    )
    assert (code, said) == (2, "")
    assert "--proof and --event go together" in complaint


@pytest.mark.parametrize("file", ["bundle", "proof", "event"])
def test_fraud_takes_whole_files(verify, file):
    files = fraud_files(CHEAT, {"userId": "user-0"}, CHEAT.event_proof(VICTIM))
    code, said, complaint = verify("fraud", *FRAUD, **{**files, file: files[file][:-1]})
    assert (code, said) == (2, "")
    assert complaint.startswith("tlog: ")


def test_fraud_needs_a_genuine_proof(verify):
    files = fraud_files(CHEAT, {"userId": "user-0"}, LOG.event_proof(VICTIM + 1))
    files["event"] = CHEAT.event_proof(VICTIM)[1]
    code, said, _ = verify("fraud", *FRAUD, **files)
    assert (code, said) == (1, "")


# --- Exported logs, in a child process ------------------------------------------------------------------------------


@pytest.fixture
def exported(tmp_path):
    offline.export(tmp_path / "static", offline.ENTRIES)
    return tmp_path / "static"


def verify_log(directory):
    return tlog("verify", "log", "--vkey", offline.vkey_of(), directory, check=False)


def test_an_exported_log_is_verified(exported):
    done = verify_log(exported)
    assert (done.returncode, done.stderr) == (0, "")
    assert "VERIFIED: all of the log" in done.stdout


def test_a_changed_export_fails(exported):
    path = next((exported / "tile" / "entries").rglob("*.p/*"), None) or next(
        (exported / "tile" / "entries").rglob("000")
    )
    path.write_bytes(path.read_bytes().replace(b"success", b"unknown", 1))
    done = verify_log(exported)
    assert (done.returncode, done.stderr) == (1, "")
    assert "FAILED: " in done.stdout


def test_an_export_that_is_none_is_malformed(exported):
    (exported / "checkpoint").write_text("nothing")
    done = verify_log(exported)
    assert done.returncode == 2
    assert "MALFORMED: " in done.stdout


def test_an_export_with_a_gap_is_incomplete(exported):
    path = next((exported / "tile" / "entries").rglob("*.p/*"), None) or next(
        (exported / "tile" / "entries").rglob("000")
    )
    path.unlink()
    done = verify_log(exported)
    assert done.returncode == 3
    assert "INCOMPLETE: " in done.stdout


def test_the_arguments_of_this_process_stay(exported, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", before := ["somebody", "else"])
    with pytest.raises(SystemExit) as ended:
        cli.app(["verify", "log", "--vkey", offline.vkey_of(), str(exported)])
    assert ended.value.code == 0
    assert sys.argv is before
    assert "VERIFIED" in capsys.readouterr().out


def test_ctrl_c_ends_the_child_too(tmp_path):
    """A named pipe instead of a checkpoint: the verifier waits, as for a large log."""
    subprocess.run(["mkfifo", tmp_path / "checkpoint"], check=True)
    command = [sys.executable, "-m", "tlog", "verify", "log", "--vkey", offline.vkey_of(), str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    time.sleep(1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out, said) == (130, b"", b"")


def test_a_policy_demands_cosignatures(verify):
    """Of a checkpoint, and of the one in a proof; the vkey has to be the policy's."""
    proof, event = LOG.event_proof(3)
    note = parse_inclusion_proof(proof).checkpoint
    witness = CosigningKey("witness.example/w1", bytes(32))
    line = witness.cosign(split_note(note)[0], 1_700_000_000).line()
    policy = f"log {bundles.vkey()}\nwitness w1 {witness.cosigner.vkey()}\nquorum w1\n".encode()
    files = {"policy": policy, "checkpoint": note + line, "proof": proof + line, "event": event}
    for command, arguments in (("checkpoint", ["checkpoint"]), ("proof", ["proof", "--event", "event"])):
        asked = (command, *arguments, "--policy", "policy")
        code, said, _ = verify(*asked, **files)
        assert (code, "which its witnesses cosigned as the policy demands" in said) == (0, True)
        code, _, complaint = verify(*asked, **{**files, "checkpoint": note, "proof": proof})
        assert (code, "do not meet its quorum" in complaint) == (1, True)
        code, _, complaint = verify(*asked, **{**files, "policy": b"quorum none\n"})
        assert (code, "does not list the key" in complaint) == (2, True)
        code, _, complaint = verify(*asked, **{**files, "policy": b"quorum none"})
        assert (code, "has to end in a newline" in complaint) == (2, True)


def test_a_fork_is_convicted(tmp_path):
    log, other = LeafLog(), LeafLog(other=FORK_SEED)
    file, vkey = tmp_path / "fork.json", log.signer.verifier.vkey()
    file.write_bytes(format_fork(make_fork(other.note(5), log.note(9), log.root(5), log.proof(5, 9))))
    done = tlog("verify", "fork", "--vkey", vkey, file)
    assert "VERIFIED: FORK: the key of log.example/witnessed signed a tree of 5 entries, and one of 9" in done.stdout
    file.write_bytes(format_fork(make_fork(log.note(5), log.note(9), log.root(5), log.proof(5, 9))))
    honest = tlog("verify", "fork", "--vkey", vkey, file, check=False)
    assert (honest.returncode, "no fork: the tree of 9 entries continues the one of 5" in honest.stderr) == (1, True)
    file.write_bytes(b"{}")
    assert tlog("verify", "fork", "--vkey", vkey, file, check=False).returncode == 2
