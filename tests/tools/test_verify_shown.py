"""tools/verify.py for people: the words of a verdict, two questions side by side, a page to print, a table that runs nothing."""

from __future__ import annotations

import csv
import errno
import hashlib
import html
import io
import os
import re
import subprocess
import sys

import bundles
import pytest
from bundles import file_of
from core import test_evidence as evidence
from offline import ENTRIES, checkpoint_note, options_of, sign, verify, vkey_of
from support import VERIFIER

ASKED = {"resourceType": "record", "resourceId": "R:4"}
LOG = evidence.LOG


@pytest.fixture
def say(tmp_path, capsys):
    """Return exit code and lines about a bundle, or the parts of a set."""

    def said(bundle, question, *more, vkey=None):
        path = tmp_path / "answer.json"
        if isinstance(bundle, list):
            path = tmp_path / "answer"
            path.mkdir()
            for number, part in enumerate(bundle, 1):
                (path / f"{number:06}.json").write_bytes(file_of(part))
        else:
            path.write_bytes(file_of(bundle))
        code = verify.main(
            ["evidence", "--vkey", vkey or bundles.vkey(), *options_of(question), *map(str, more), str(path)]
        )
        return code, capsys.readouterr().out.splitlines()

    return said


def one_log(*events, **members):
    """A log of a few events, the first of which has these members."""
    first = {"user": "u", "resource": ("record", "R:4"), "action": "read", "at": 1, "outcome": "success"}
    first = bundles.Event(1, **{**first, **members})
    return bundles.NaiveLog([first, *events], [len(events) + 2])


# --- Words --------------------------------------------------------------------------------------------------------------


def test_a_verdict_in_words(say):
    code, lines = say(LOG.bundle(ASKED, disclose=True), ASKED)
    answers = [n for n in range(1, 121) if LOG.answers(n, ASKED)]
    rows, told = lines[: len(answers)], lines[len(answers) :]
    assert code == 0
    assert [int(row.rpartition(" ")[2]) for row in rows] == answers[::-1]
    named = [n for n in answers if bundles.matched(LOG.events[n], ASKED) != "resource"]
    assert sum("(asked for as related/" in row for row in rows) == len(named) > 0
    assert told[0] == f"VERIFIED: {len(answers)} events, and no others, answer your question"
    assert told[1:4] == [
        f"proved      they are in {bundles.ORIGIN}, unchanged; its index has no other for it",
        f"as of       entry 121, logged {bundles.moment(121)}; signed tree of 122 entries",
        "names       in this bundle, checked",
    ]
    assert told[4] == "not seen    what was logged from entry 121 on"
    assert told[5].startswith("not proved  that the index names every event: ")
    assert told[6] == "            that entries without shown data carry the keys of their data"
    assert told[7].startswith(f"log         {bundles.ORIGIN}, ID ")
    assert len(told) == 8


def test_who_and_what_without_and_with_their_data(say):
    log = one_log(user="", operation="Get", related=[("patient", "P:1")])
    (row, *_) = say(log.bundle({"action": "read"}), {"action": "read"})[1]
    assert row.split("  ")[1:] == ["(not in this bundle)", "read (Get)", "record", "success", "entry 1"]
    (row, *_) = say(log.bundle({"action": "read"}, disclose=True), {"action": "read"})[1]
    assert row.split("  ")[1:] == ["(unknown)", "read (Get)", "record R:4", "success", "entry 1"]


def test_questions_about_the_log_itself_are_counted(say):
    log = one_log(*(bundles.Event(n, "u", ("log", bundles.ORIGIN), "read", at=n, outcome="success") for n in (2, 3)))
    for until, said in ((4, "3 events, and no others, answer your question (2 of them ask the log itself)"),
                        (3, "2 events, and no others, answer your question (1 of them asks the log itself)"),
                        (2, "1 event, and no other, answers your question")):  # fmt: skip
        question = {"userId": "u", "loggedTo": bundles.moment(until)}
        assert f"VERIFIED: {said}" in say(log.bundle(question), question)[1]


def test_what_is_not_there_is_said(say):
    question = {"userId": "nobody", "from": "2026-03-01T00:00:00Z", "loggedTo": "2026-04-01T00:00:00Z"}
    code, lines = say(LOG.bundle(question), question)
    assert (code, lines[0]) == (0, "VERIFIED: no event answers your question")
    assert lines[1] == f"proved      the index of {bundles.ORIGIN} has none for it"
    assert not any(line.startswith("names") for line in lines)
    assert (
        "not seen    what was logged from entry 121 on, or before 2026-02-28T00:00:00Z, or at 2026-04-01T00:00:00Z or later"
        in lines
    )


def test_a_count_says_what_it_rests_on(say):
    code, lines = say(LOG.bundle(ASKED, mode="count"), ASKED, "--count")
    assert (code, lines[1]) == (0, f"proved      the index of {bundles.ORIGIN} has exactly so many for it")
    assert any(
        line.endswith("that no entry only shares the first 8 bytes of the key (2^32 hashes of work)") for line in lines
    )


def test_what_is_lost_stands_in_its_row(say):
    log, question = bundles.recovered_log(), {"userId": "user-3"}
    code, lines = say(log.bundle(question, disclose=True), question)
    assert code == 0
    assert (
        "2026-03-01T00:28:00Z  (lost, says entry 61)  export  record (lost, says entry 61)  success  entry 31" in lines
    )
    lost, answers = (
        sum("(lost, says entry 61)" in line for line in lines),
        sum(bool(re.search("  entry [0-9]+$", line)) for line in lines),
    )
    assert f"names       in part: {lost} of {answers} erased, retired or lost" in lines


def test_control_entries_are_rows_too(say):
    log = one_log(bundles.Control(2, "order"), bundles.Outcome(3, "stopped"))
    code, lines = say(log.bundle({"control": "outcome"}), {"control": "outcome"})
    assert (code, lines[1]) == (0, "VERIFIED: 1 entry of the type outcome, and no other, answers your question")
    assert re.fullmatch(r'\S+  stopped  \{"instance":"\S+"\}  entry 3', lines[0])
    code, lines = say(log.bundle({"control": "order"}), {"control": "order"})
    assert (code, lines[1]) == (3, "INCOMPLETE: 1 entry of a type this version does not know: 2")
    assert re.fullmatch(r"\S+  order  entry 2", lines[0])


# --- Another question -----------------------------------------------------------------------------------------------------


def test_two_questions_stand_side_by_side(say):
    question = {"userId": "user-3", "to": "2026-03-31T00:00:00Z"}
    code, lines = say(LOG.bundle(question | {"to": "2026-04-01T00:00:00Z"}), question)
    assert (code, lines) == (2, [
        "OTHER QUESTION: the log signed this, but it answers another question; nothing is proved about yours",
        "        you asked             the bundle answers",
        "to      2026-03-31T00:00:00Z  2026-04-01T00:00:00Z  differs",
        "userId  user-3                user-3",
        "mode    answer                answer",
    ])  # fmt: skip
    lines = say(LOG.bundle({"userId": "user-3"}, mode="count"), {"userId": "user-3", "action": "read"})[1]
    assert lines[2:] == [
        "action  read       -                   differs",
        "userId  user-3     user-3",
        "mode    answer     count               differs",
    ]


FULL = {"userId": "user-3", "action": "read", "outcome": "success", "resourceType": "record", "resourceId": "R:4", "operation": "Do:4",
        "sourceId": "app-6", "from": "2026-03-01T00:10:00Z", "to": "2026-03-02T00:00:00Z", "loggedFrom": "2026-03-01T00:00:00Z",
        "loggedTo": "2026-03-03T00:00:00Z"}  # fmt: skip
OTHERS = {
    "userId": "user-4", "action": "update", "outcome": "failure", "resourceId": "R:5", "resourceType": "bill", "operation": "Do:5", "sourceId": "app-7",
    "from": "2026-03-01T00:11:00Z", "to": "2026-03-02T00:00:01Z", "loggedFrom": "2026-03-01T00:00:01Z", "loggedTo": "2026-03-03T00:00:00.000000001Z",
}  # fmt: skip


@pytest.mark.parametrize("member", FULL)
def test_each_member_that_is_changed_left_out_or_added_is_another_question(say, member):
    without = {
        name: value
        for name, value in FULL.items()
        if name != member and not (member == "resourceType" and name == "resourceId")
    }
    for asked, answered in ((FULL, FULL | {member: OTHERS[member]}), (FULL, without), (without, FULL)):
        code, lines = say(LOG.bundle(answered), asked)
        assert (code, lines[0].split(":")[0]) == (2, "OTHER QUESTION"), lines
        assert any(line.startswith(member) and line.endswith("differs") for line in lines)
    bundle = LOG.bundle(FULL | {member: OTHERS[member]})
    code, lines = say(bundle | {"question": FULL}, FULL)
    assert code == 1 or LOG.bundle(FULL) == bundle | {"question": FULL}, "what is forged has failed"


def test_a_question_that_is_none_is_malformed(say):
    for question in (
        {"userId": 5},
        {"x": "y"},
        {"action": "Read"},
        {"userId": "user-3", "to": "2026-03-01"},
        {"outcome": "success"},
        {"resource": "a:b"},
    ):
        code, lines = say(LOG.bundle({"userId": "user-3"}) | {"question": question}, {"userId": "user-3"})
        assert (code, lines[0].split(":")[0]) == (2, "MALFORMED"), lines
    code, lines = say(LOG.bundle({"action": "read"}, mode="count") | {"question": FULL}, {"action": "read"}, "--count")
    assert (code, lines[0].split(":")[0]) == (2, "MALFORMED"), "its own question cannot be counted"


# --- Reports --------------------------------------------------------------------------------------------------------------


def cells_of(page):
    return [
        [html.unescape(cell) for cell in re.findall("<td>(.*?)</td>", row)]
        for row in re.findall("<tr>(.*?)</tr>", page)
    ]


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.reader(file)]


@pytest.mark.parametrize("whole", [True, False], ids=["bundle", "set"])
def test_reports_say_what_was_verified(say, tmp_path, whole):
    page, table, key = tmp_path / "report.html", tmp_path / "rows.csv", tmp_path / "log.vkey"
    key.write_text(bundles.vkey() + "\n")
    bundle = LOG.bundle(ASKED, disclose=True) if whole else LOG.parts(ASKED, [40, 80], disclose=True)
    code, _ = say(bundle, ASKED, "--html", page, "--csv", table, vkey=f"@{key}")
    assert code == 0
    answers = [str(n) for n in range(1, 121) if LOG.answers(n, ASKED)][::-1]
    text = page.read_text(encoding="utf-8")
    rows = cells_of(text)
    place = rows.index(list(verify.COLUMNS))
    assert [row[-2] for row in rows[place + 1 :]] == answers
    facts = dict(rows[:place])
    assert (facts["key"], facts["root hash"]) == (bundles.vkey(), LOG.root.hex())
    assert facts["question"] == bundles.canonical(ASKED)
    for path in ([tmp_path / "answer.json"] if whole else sorted((tmp_path / "answer").iterdir())) + [VERIFIER]:
        assert f"{path.name}: {hashlib.sha256(path.read_bytes()).hexdigest()}" in text
    assert f"<h1>VERIFIED: {len(answers)} events" in text
    assert "<script" not in text
    note, columns, *rows = read_csv(table)
    assert note[0].startswith("no evidence")
    assert columns == list(verify.COLUMNS)
    assert [row[-2] for row in rows] == answers


def test_reports_are_written_only_if_verified_and_never_over_a_file(say, tmp_path):
    page, table = tmp_path / "report.html", tmp_path / "rows.csv"
    options = ("--html", page, "--csv", table)
    assert say(LOG.bundle(ASKED) | {"hashes": ""}, ASKED, *options)[0] == 1
    assert say(LOG.bundle({"userId": "user-3"}), ASKED, *options)[0] == 2
    assert say(LOG.bundle({"control": "order"}), {"control": "order"}, *options)[0] == 3
    assert not page.exists()
    assert not table.exists()
    for path in (page, table):
        path.write_text("mine")
        code, lines = say(LOG.bundle(ASKED), ASKED, *options)
        assert (code, lines) == (2, [f"MALFORMED: {path}: File exists"])
        assert path.read_text() == "mine"
        path.unlink()
        page.unlink(missing_ok=True)
        table.unlink(missing_ok=True)


EVIL = "<script>alert('1')</script>&"


def test_nothing_that_a_producer_wrote_is_markup_or_a_formula(say, tmp_path):
    page, table = tmp_path / "report.html", tmp_path / "rows.csv"
    log, question = one_log(user=f"=1+{EVIL}", resource=("record", EVIL)), {"action": "read"}
    assert say(log.bundle(question, disclose=True), question, "--html", page, "--csv", table)[0] == 0
    assert "<script" not in page.read_text()
    (_, _, row) = read_csv(table)
    assert (row[2], row[5]) == (f"'=1+{EVIL}", f"record {EVIL}")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", " =1", "\u00a0=1", "\u200b\u200b@", "\x01=", "\uff1d1", "\uff0b", "\uff0d", "\uff20", "\ta", "\ra", "\na", "\0a", "\u202e=1"])  # fmt: skip
def test_cells_that_a_spreadsheet_would_run_are_texts(text):
    assert verify.neutral(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "1-1", " a", "é", "\u200ba", "'=1", "a\tb", "(=1)"])
def test_other_cells_stay_as_they_are(text):
    assert verify.neutral(text) == text


# --- The program ----------------------------------------------------------------------------------------------------------


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-I", "-S", str(VERIFIER), *map(str, arguments)], capture_output=True, check=False, **options
    )


def test_it_says_its_version_and_what_it_is():
    done = run("--version")
    assert done.returncode == 0
    assert (
        done.stdout.decode()
        == f"verify.py for version 1 of the formats, SHA-256 {hashlib.sha256(VERIFIER.read_bytes()).hexdigest()}\n"
    )


def test_it_reads_itself_only_to_say_what_it_is(capsys, monkeypatch):
    for program, said in (
        (VERIFIER, hashlib.sha256(VERIFIER.read_bytes()).hexdigest()),
        ("<stdin>", "not read from a file"),
    ):
        monkeypatch.setattr(verify, "__file__", str(program))
        with pytest.raises(SystemExit) as ended:
            verify.main(["--version"])
        assert (ended.value.code, said in capsys.readouterr().out) == (0, True)


def test_the_program_may_come_from_standard_input(tmp_path):
    path = tmp_path / "checkpoint"
    path.write_bytes(checkpoint_note(ENTRIES))
    command = [sys.executable, "-I", "-S", "-", "checkpoint", "--vkey", vkey_of(), str(path)]
    done = subprocess.run(command, input=VERIFIER.read_bytes(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_standard_input_is_a_file_too(tmp_path):
    question, page = {"action": "read"}, tmp_path / "report.html"
    options = ["evidence", "--vkey", bundles.vkey(), *options_of(question), "--html", page, "-"]
    done = run(*options, input=file_of(LOG.bundle(question)))
    assert (done.returncode, b"VERIFIED: " in done.stdout) == (0, True), done.stdout
    assert f"verify.py: {hashlib.sha256(VERIFIER.read_bytes()).hexdigest()}" in page.read_text()
    assert run("checkpoint", "--vkey", vkey_of(), "-", input=checkpoint_note(ENTRIES)).returncode == 0
    assert run("checkpoint", "--vkey", vkey_of(), "-", input=b"").returncode == 2


@pytest.mark.parametrize("right", [True, False])
def test_a_reader_that_has_read_enough_changes_no_verdict(tmp_path, right):
    path = tmp_path / "answer.json"
    bundle = LOG.bundle({"action": "read"})
    path.write_bytes(file_of(bundle if right else bundle | {"hashes": ""}))
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        command = [
            sys.executable,
            "-I",
            "-S",
            str(VERIFIER),
            "evidence",
            "--vkey",
            bundles.vkey(),
            "--ask",
            "action=read",
            str(path),
        ]
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0 if right else 1, b"")


class Gone(io.RawIOBase):
    """Nobody reads on."""

    def writable(self):
        return True

    def write(self, _):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_reader_that_is_gone_is_not_complained_of(tmp_path, monkeypatch, capsys):
    path = tmp_path / "note"
    for note, expected in ((checkpoint_note(ENTRIES), 0), (b"", 2)):
        path.write_bytes(note)
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Gone(), "utf-8", write_through=True))
        assert verify.main(["checkpoint", "--vkey", vkey_of(), str(path)]) == expected
        assert capsys.readouterr().err == ""


def test_line_ends_that_were_changed_are_named(tmp_path, capsys):
    path = tmp_path / "note"
    path.write_bytes(checkpoint_note(ENTRIES).replace(b"\n", b"\r\n"))
    assert verify.main(["checkpoint", "--vkey", vkey_of(), str(path)]) == 2
    assert capsys.readouterr().out.endswith(": its line ends were changed\n")
    path.write_bytes(sign("a\tb\n"))
    assert verify.main(["checkpoint", "--vkey", vkey_of(), str(path)]) == 2
    assert "line ends" not in capsys.readouterr().out


def test_pages_without_end_between_two_that_are_shown_are_refused(monkeypatch):
    """A segment that is said to have 2^50 postings, of which four are shown: nobody counts the pages that lie between them."""
    key, postings = b"\x01" * 16, 2**50
    shown = [bytes(12), key[:8] + bytes(4), key[:8] + (5).to_bytes(4), b"\xff" * 12]
    pages = verify.Pages(postings, [0, 1, postings - 2, postings - 1], shown)
    monkeypatch.setattr(verify, "open_pages", lambda *_: pages)
    asked = verify.Evidence.__new__(verify.Evidence)
    asked.start, asked.end, asked.ranges = 0, 121, [(verify.Segment(0, 121, postings, bytes(32)), {})]
    with pytest.raises(verify.VerificationError, match="between the first and the last are not there"):
        asked.search({"action": key}, count=False)
