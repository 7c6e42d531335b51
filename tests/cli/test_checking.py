"""`tlog verify evidence`, `fraud` and `log`: right ones accepted, wrong ones refused, each with its exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import bundles
import offline
import pytest
from bundles import file_of
from support import ROOT, tlog
from test_evidence import CHEAT, LOG, QUESTIONS, VICTIM, WRONG

from tlog.cli import app as cli

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
    found = [index for index, event in LOG.events.items() if bundles.applies(event, question)]
    bundle = file_of(LOG.bundle(question, disclose=True))
    code, said, complaint = verify("evidence", *offline.options_of(question), "bundle", bundle=bundle)
    assert (code, complaint) == (0, "")
    verdict = [line for line in said.splitlines() if line.startswith("VERIFIED: ")]
    number = {0: "no event answers", 1: "exactly 1 event answers"}.get(
        len(found), f"exactly {len(found)} events answer"
    )
    assert verdict == [f"VERIFIED: {number} the question, of the {LOG.epoch} entries that {bundles.ORIGIN} had indexed"]
    entries = [line for line in said.splitlines() if line.startswith("entry ")]
    assert [int(line.split()[1].rstrip(":")) for line in entries] == found[::-1]
    assert said.count("  actor {") == said.count("  resource {") == len(found)


def test_a_count_is_verified(verify):
    question = QUESTIONS["actor"]
    number = sum(bundles.applies(event, question) for event in LOG.events.values())
    bundle = file_of(LOG.bundle(question, mode="count"))
    code, said, _ = verify("evidence", *offline.options_of(question), "--count", "bundle", bundle=bundle)
    assert code == 0
    assert said.startswith(f"VERIFIED: exactly {number} events have been logged for the question, of the ")
    code, said, complaint = verify("evidence", *offline.options_of(question), "bundle", bundle=bundle)
    assert (code, said) == (1, "")
    assert "the bundle is of the mode 'count', not 'answer'" in complaint


def test_what_evidence_does_not_look_at_is_said(verify):
    question = {"userId": "user-3", "loggedFrom": bundles.moment(10), "loggedTo": bundles.moment(50)}
    bundle = file_of(LOG.bundle(question, window=(10, 50)))
    options = ("--ask", "actor=user-3", "--logged-from", bundles.moment(10), "--logged-to", bundles.moment(50))
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
    "another question": (["actor=user-4"], 1, "the bundle answers another question"),
    "no such name": (["person=user-3"], 2, "--ask takes one of resource, actor, action"),
    "no value": (["actor="], 2, "--ask takes one of resource, actor, action"),
    "no resource": (["resource=record"], 2, "--ask resource takes TYPE:ID"),
    "twice": (["actor=user-3", "actor=user-3"], 2, "--ask gives 'userId' twice"),
    "twice in other words": (["resource=record:R4", "resourceType=record"], 2, "--ask gives 'resourceType' twice"),
    "more than one colon": (["resource=record:R:4"], 2, "with exactly one colon"),
    "nothing indexed": (["outcome=success"], 2, "ask for a resource, an actor or an action"),
    "no outcome": (["actor=user-3", "outcome=perhaps"], 2, "'outcome'"),
}


@pytest.mark.parametrize("name", ASKS)
def test_what_cannot_be_asked(verify, name):
    asks, expected, message = ASKS[name]
    options = [option for ask in asks for option in ("--ask", ask)]
    code, said, complaint = verify("evidence", *options, "bundle", bundle=file_of(LOG.bundle(QUESTIONS["actor"])))
    assert (code, said) == (expected, "")
    assert message in complaint


def test_evidence_that_is_not_there(verify, tmp_path):
    code, said, complaint = verify("evidence", "--ask", "actor=user-3", tmp_path / "nowhere")
    assert (code, said) == (2, "")
    assert complaint == f"tlog: {tmp_path / 'nowhere'}: No such file or directory\n"
    assert verify("evidence", tmp_path / "nowhere")[0] == 2, "the question is the caller's"


def test_what_a_producer_wrote_does_not_command_the_terminal(verify):
    question = {"userId": "user-3\u009b31m"}
    event = bundles.Event(1, question["userId"], ("record", "R:1"), "read", at=0, outcome="success")
    bundle = file_of(bundles.NaiveLog([event], [2]).bundle(question, disclose=True))
    code, said, _ = verify("evidence", "--ask", f"actor={question['userId']}", "bundle", bundle=bundle)
    assert code == 0
    assert "\u009b" not in said
    assert "user-3\ufffd31m" in said


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
    "no event": (CHEAT, {"userId": "user-0"}, 0, "the entry is not an event"),
}


@pytest.mark.parametrize("name", HONEST)
def test_no_fraud_is_proved(verify, name):
    log, question, index, message = HONEST[name]
    code, said, complaint = verify("fraud", *FRAUD, **fraud_files(log, question, log.event_proof(index)))
    assert (code, said) == (2 if name == "no event" else 1, "")
    assert message in complaint


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
