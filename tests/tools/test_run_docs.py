"""The runner of the documentation's commands reports what is not as a page says: else a page that runs shows nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import sys

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import run_docs

HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))


def run(tmp_path, *texts):
    """Run pages with these texts; return the exit code."""
    pages = []
    for number, text in enumerate(texts):
        pages.append(tmp_path / f"page{number}.md")
        pages[-1].write_text(text, encoding="utf-8")
    return run_docs.report(run_docs.run_pages(pages, None))


def block(*lines, language="sh", before=""):
    return "\n".join((before, f"```{language}", *lines, "```", ""))


def test_a_page_that_is_right(tmp_path, capsys):
    page = (
        block("greeting='hello", "  there'", "", "# a comment alone", "cat > file <<'EOF'", "it's $greeting", "EOF")
        + block("cat file && \\", "  echo $greeting | tr a-z A-Z", "echo; echo on standard error >&2")
        + block("it's …", "HELLO THERE", "…", "on standard error", language="text")
        + block("nonsense", before="<!-- not run: needs another machine -->")
        + block("echo $greeting > file2", "nonsense", before="<!-- last not run: takes an hour -->")
        + block("cat file2")
        + block('{"not": "a command"}', language="json")
    )
    assert run(tmp_path, page) == 0
    said = capsys.readouterr().out
    assert re.search(r"page0\.md +6 ", said), "six commands, however many lines they have"
    assert "blocks and commands that were not run: 2\n" in said
    assert re.search(r"page0\.md:26 +needs another machine\n", said)
    assert re.search(r"page0\.md:31 +takes an hour\n", said)


@pytest.mark.parametrize(
    "page, where, what",
    [
        (block("true", "false", "echo not reached"), 4, "exit status 1"),
        (block("true | false | true"), 3, "exit status 1"),
        (block("exit 3"), 3, "exit status 3"),
        (block("no-such-command"), 3, "command not found"),
        (block("cat <<'EOF'", "never closed"), 3, "not complete"),
        (block("echo fine", "echo 'never closed", "echo not reached"), 4, "not complete"),
        (block("echo 13 events") + block("12 events", language="text"), 7, "13 events"),
        (block("echo one; echo two") + block("one", language="text"), 7, "two"),
        (block("echo fine") + block("…", "VERIFIED", language="text"), 7, "the output is another"),
        (block("tlog() { echo tlog ends at once; }") + block("tlog serve --data nowhere"), 7, "ended instead of serving"),
        (block("true", before="<!-- skip: for now -->"), 1, "unknown: <!-- skip: for now -->"),
        (block("true", before="<!-- not run: -->"), 1, "unknown: <!-- not run: -->"),
        (block("true", language="bash"), 2, "'bash' is unknown"),
        (block("true", language=""), 2, "'' is unknown"),
        (block("{}", language="json", before="<!-- not run: it is no command -->"), 2, "nobody would run this block"),
        ("```sh\ntrue\n", 1, "never closed"),
        ("~~~sh\nfalse\n~~~\n```\n", 1, "'~~~sh' is unknown"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_reported(tmp_path, capsys, page, where, what):
    """The page after it runs all the same, and does not make it right again."""
    assert run(tmp_path, page, block("echo next")) == 1
    said = capsys.readouterr().out
    assert f"WRONG {tmp_path}/page0.md:{where}: " in said
    assert what in said.partition("WRONG ")[2]
    assert re.search(r"page1\.md +1 ", said)


def test_a_home_and_a_directory_of_its_own(tmp_path):
    probe = block(
        "test $(stat -c %a ~) = 700", 'test -z "$(ls -A ~/page1* ~/.venv 2> /dev/null)"', "test -f tools/verify.py",
        'test "$PWD" != "' + str(ROOT) + '"', "test ! -e left-here", "touch left-here",
    )  # fmt: skip
    assert run(tmp_path, probe, probe) == 0


def test_what_serves_is_waited_for_and_ended(tmp_path, capsys):
    """In the foreground, as somebody with a second terminal would start it, or in the background."""
    stand_in = f"""
        import signal, sys, time
        def end(*_):
            time.sleep(0.5)  # somebody who is killed at once does not come to say that they ended
            open("{tmp_path}/ended", "a").write(sys.argv[1])
            sys.exit()
        signal.signal(signal.SIGTERM, end)
        time.sleep(1)
        print('{{"event":"start","process":"serve"}}', flush=True)
        open("{tmp_path}/ready", "a").write(sys.argv[1])
        time.sleep(60)
    """
    program = tmp_path / "stand_in.py"
    program.write_text("\n".join(line.strip() if line[:9].strip() else line[8:] for line in stand_in.split("\n")))
    function = f'tlog() {{ {sys.executable} {program} "$2"; }}'
    page = block("tlog() { false; }", "tlog serve || echo refused") + block("refused", language="text")
    page += block(function, "true && tlog serve A   # in another terminal", f"grep A {tmp_path}/ready", "tlog serve B &", f"grep AB {tmp_path}/ready")  # fmt: skip
    assert run(tmp_path, page) == 0, capsys.readouterr().out
    assert sorted((tmp_path / "ended").read_text()) == ["A", "B"]


def test_what_was_there_is_never_removed(tmp_path, monkeypatch):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    monkeypatch.setattr(run_docs, "OUTSIDE", (theirs, ours))
    assert "exists" in run_docs.missing_here()
    assert run(tmp_path, block(f"mkdir {ours}", f"touch {theirs}/file")) == 0
    assert not ours.exists()
    assert (theirs / "file").exists()


def test_what_an_ended_run_left_is_removed_by_the_next(tmp_path, monkeypatch, capsys):
    """A run that is killed cannot remove what its page made, and the next one is not refused for it."""
    left, under_way, page = tmp_path / "left", tmp_path / "under_way", tmp_path / "page.md"
    monkeypatch.setattr(run_docs, "OUTSIDE", (left,))
    monkeypatch.setattr(run_docs, "UNDER_WAY", under_way)
    monkeypatch.setattr(run_docs, "missing_here", lambda: "it stands there" if left.exists() else None)
    page.write_text(block(f"mkdir {left}", "kill -9 $PPID", "sleep 60"), encoding="utf-8")
    killed = os.fork()
    if killed == 0:
        run_docs.main([str(page)])
        os._exit(0)
    assert os.waitpid(killed, 0)[1] == signal.SIGKILL
    assert {left, under_way} <= set(tmp_path.iterdir()), "or this test shows nothing"
    page.write_text(block(f"mkdir {left}"), encoding="utf-8")
    assert run_docs.main([str(page)]) == 0, capsys.readouterr()
    assert not {left, under_way} & set(tmp_path.iterdir())
    left.mkdir()
    assert run_docs.main([str(page)]) == 2, "nobody knows whose this is"
    assert {left, under_way} & set(tmp_path.iterdir()) == {left}
    with run_docs.alone():
        assert run_docs.main([str(page)]) == 2
    assert "another run is under way" in capsys.readouterr().err


def test_not_run_is_the_exception():
    """Of other systems' logs and of other machines: three of ten at most."""
    pages = (ROOT / "README.md", ROOT / "docs" / "tutorial.md", *HOW_TO)
    blocks = [block for page in pages for block in run_docs.read_blocks(page.name, page.read_text(encoding="utf-8"))]
    reasons = [block.not_run for block in blocks if block.not_run is not None]
    assert len(reasons) <= 0.3 * len(blocks)
    assert all(len(reason.split()) > 3 for reason in reasons), "each says why"


def test_the_readmes_event_is_the_sample():
    shown = re.search(r"```json\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    sample = (ROOT / "docs" / "samples" / "event.json").read_text(encoding="utf-8")
    assert json.loads(shown) == json.loads(sample)
