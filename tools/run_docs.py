"""Executes the commands of the documentation as they are written: what a page shows is what happens.

    python3 tools/run_docs.py                    README.md, docs/tutorial.md and docs/how-to/*.md
    python3 tools/run_docs.py PAGE…              these pages
    python3 tools/run_docs.py --venv DIR PAGE…   with this installation, if they do not make one themselves

Each page gets a working directory of its own, a copy of the project, in a home of mode 0700 as root's is, and one bash that
runs its `sh` blocks from top to bottom. Pages that do not make `.venv` find that of the first page that did, which README.md
does with its first command; its programs are on the PATH. A command that serves (`tlog serve`, `tlog signer`, `tlog witness --…`,
unless `||` says what follows when it ends) is started, waited for until it says that it is ready, and ended at the end of its
page. Every other command has to end with 0. Pages write into the working directory and the directories of `OUTSIDE`; those must
not exist before, and are removed after each page. What a run left that was ended in the middle, as `UNDER_WAY` tells, is removed
by the next one.

A `text` block, if it is the next after a `sh` block, is the output that the commands have to show, `…` standing for anything in
a line and, alone in a line, for any lines. A block that cannot be executed here has `<!-- not run: REASON -->` in the line
before it; with `<!-- last not run: REASON -->` all of its commands but the last one are.

Needs root, Linux and curl. Exit codes: 0 all is as written · 1 a page is wrong, and where · 2 usage, or this machine lacks
something.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
OUTSIDE = (Path("/var/lib/tlog"), Path("/var/backups/tlog-2026-11-25"), Path("/srv/mirror"))
# There while a run is under way, where only root writes; locked, so that a run's end is seen however it ended.
UNDER_WAY = Path("/var/lib/tlog.run_docs")
PORT = 8080
_NEEDS_ROOT = "the pages make directories such as /var/lib/tlog: run this as root, in a container for instance"
_MAKES_VENV = "python3 -m venv .venv"
_SHOWN = {"text", "json", "ini", "sql", "yaml"}  # languages that nobody types into a shell
_COMMAND_SECONDS = 600
_READY_SECONDS = 60
_END_SECONDS = 60
_POLL_SECONDS = 0.1
_TOO_LONG, _ENDED = 901, 902  # no exit status of a command
_TAIL = 4_000
_NOT_INHERITED = ("TLOG_", "PG", "PYTHON", "VIRTUAL_ENV")
_FENCE = re.compile(r"( *)(?:```|(?=~~~))(.*)")
_NOT_RUN = re.compile(r"<!-- (?P<last>last )?not run: (?P<reason>\S.*) -->")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_SERVES = re.compile(r"\btlog (?:(?:serve|signer)\b|witness --)")
_READY = re.compile(r'"event":"start","process":"(?:serve|signer|witness)"')


class PageError(Exception):
    """A page is not what happens: its place, and what happened."""


@dataclass
class Block:
    """The commands of one `sh` block; line numbers count from 1."""

    line: int
    text: str
    not_run: str | None
    last_only: bool = False  # that is not run
    expected: str | None = None
    expected_line: int = 0


@dataclass
class Result:
    """What became of one page."""

    page: str
    commands: int = 0
    seconds: float = 0.0
    not_run: list[tuple[int, str]] = field(default_factory=list)
    wrong: str | None = None


def read_blocks(page: str, text: str) -> list[Block]:
    """Return the `sh` blocks of a page, each with what it is expected to show.

    Raises:
        PageError: a fence or the comment before one is none of those that the head of this file describes.

    """
    blocks: list[Block] = []
    lines = text.split("\n")
    number, previous = 0, ""
    while number < len(lines):
        fence = _FENCE.fullmatch(lines[number])
        if fence is None:
            number += 1
            continue
        start, language = number + 1, fence[2]
        end = next((each for each in range(start, len(lines)) if lines[each] == fence[1] + "```"), None)
        if end is None:
            message = f"{page}:{start}: this fence is never closed"
            raise PageError(message)
        content = textwrap.dedent("\n".join(lines[start:end]))
        comment = lines[number - 1].strip() if number else ""
        if language == "sh":
            blocks.append(Block(start + 1, content, *_reason(page, start - 1, comment)))
        elif language not in _SHOWN:
            message = f"{page}:{start}: the language '{language}' is unknown; commands are sh, and what is only shown is {_SHOWN}"
            raise PageError(message)
        elif comment.startswith("<!--"):
            _reason(page, start - 1, comment)
            message = f"{page}:{start}: nobody would run this block; take the comment away"
            raise PageError(message)
        elif language == "text" and previous == "sh":
            blocks[-1].expected, blocks[-1].expected_line = content, start + 1
        previous = language
        number = end + 1
    return blocks


def _reason(page: str, line: int, comment: str) -> tuple[str | None, bool]:
    if not comment.startswith("<!--"):
        return None, False
    marker = _NOT_RUN.fullmatch(comment)
    if marker is None:
        message = f"{page}:{line}: the comment before a block is unknown: {comment}; write <!-- not run: REASON -->"
        raise PageError(message)
    return marker["reason"], marker["last"] is not None


def split_commands(page: str, block: Block) -> list[tuple[int, str]]:
    """Return (line, command) of a block: lines belong together until bash finds them complete.

    Raises:
        PageError: bash never does.

    """
    commands = []
    pending: list[str] = []
    complaint = ""
    for number, line in enumerate(block.text.split("\n"), block.line):
        pending.append(line)
        text = "\n".join(pending)
        parsed = subprocess.run(["/bin/bash", "-n"], input=text, capture_output=True, text=True, check=False)
        complaint = parsed.stderr
        if complaint or line.endswith("\\"):
            continue
        if any(each.strip() and not each.lstrip().startswith("#") for each in pending):
            commands.append((number + 1 - len(pending), text))
        pending = []
    if pending:
        start = block.line + block.text.count("\n") + 1 - len(pending)
        message = f"{page}:{start}: this command is not complete\n{_indented(block.text, complaint)}"
        raise PageError(message)
    return commands


def shows(expected: str, output: str) -> bool:
    """Tell whether `output` is what a `text` block says."""
    pattern = ""
    for line in expected.rstrip().split("\n"):
        if line.strip() == "…":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ \t]*\n"
    return re.fullmatch(pattern, output.rstrip() + "\n") is not None


class Shell:
    """One bash in which a page's commands run one after another."""

    def __init__(self, directory: Path, home: Path) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="shell-", dir=home))
        self._started = 0
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        path = f"{directory}/.venv/bin:{os.environ['PATH']}"
        self._done, done = os.pipe()
        with (self._scratch / "bash.out").open("w") as said:
            self._process = subprocess.Popen(
                ["/bin/bash", "--noprofile", "--norc", "-o", "pipefail"],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                bufsize=0,
                cwd=directory,
                env={**kept, "HOME": str(home), "PATH": path, "PWD": str(directory), "TERM": "dumb"},
                pass_fds=(done,),
                start_new_session=True,
            )
        self._tell_done = done
        # What is started with & becomes a process group, which `kill %1` ends as a whole, as at a terminal.
        self._tell("set -m", _END_SECONDS)

    def run(self, command: str) -> tuple[int, str]:
        """Run a command to its end, or until what it serves is ready; return its exit status and output."""
        self._started += 1
        script, output = (self._scratch / f"{self._started}.{kind}" for kind in ("sh", "out"))
        bare = _COMMENT.sub("", command).rstrip()
        serves, in_background = _SERVES.search(bare) is not None and "||" not in bare, bare.endswith("&")
        script.write_text(f"{{ {command}\n}} &\n" if serves and not in_background else f"{command}\n", encoding="utf-8")
        status = self._tell(f"source {script} < /dev/null > {output} 2>&1", _COMMAND_SECONDS)
        if serves and status == 0:
            status = self._wait_until_ready(output)
        return status, _read(output)

    def end(self) -> None:
        """End what the page left running, as closing its terminal would, and what does not end by that."""
        self._tell("for job in $(jobs -p); do kill -- -$job; done; wait", _END_SECONDS)
        # Bash waits for the shells that it made for its jobs, which are gone before what they run is.
        deadline = time.monotonic() + _END_SECONDS
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        for process in left:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        self._process.communicate()
        os.close(self._done)
        os.close(self._tell_done)

    def _left(self) -> list[int]:
        """Return the processes of its session, but bash itself."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, _, session = _read(stat).rpartition(")")[2].split()[:4]
                if int(session) == self._process.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return [each for each in found if each != self._process.pid]

    def _tell(self, line: str, seconds: float) -> int:
        """Let bash run a line; return its exit status, or that of a bash that ended or took too long."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\necho $? >&{self._tell_done}\n".encode())
        deadline = time.monotonic() + seconds
        while not select.select([self._done], [], [], _POLL_SECONDS)[0]:
            if time.monotonic() > deadline:
                return _TOO_LONG
            if (ended := self._process.poll()) is not None:
                return ended or _ENDED
        return int(os.read(self._done, 16))

    def _wait_until_ready(self, output: Path) -> int:
        deadline = time.monotonic() + _READY_SECONDS
        while _READY.search(_read(output)) is None:
            if time.monotonic() > deadline:
                return _TOO_LONG
            if self._tell("jobs -r | grep -q .", _END_SECONDS) != 0:
                return _ENDED
            time.sleep(_POLL_SECONDS)
        return 0


def run_page(page: Path, directory: Path, home: Path) -> Result:
    """Run a page's commands in `directory`; stop at the first that does not do what the page shows."""
    name = _name(page)
    result = Result(name)
    started = time.monotonic()
    shell = Shell(directory, home)
    try:
        for block in read_blocks(name, page.read_text(encoding="utf-8")):
            if block.not_run is None or block.last_only:
                _run_block(shell, block, result)
            else:
                result.not_run.append((block.line, block.not_run))
    except PageError as error:
        result.wrong = str(error)
    finally:
        shell.end()
    result.seconds = time.monotonic() - started
    return result


def _run_block(shell: Shell, block: Block, result: Result) -> None:
    shown = ""
    commands = split_commands(result.page, block)
    if block.last_only and block.not_run is not None:
        result.not_run.append((commands.pop()[0], block.not_run))
    for line, command in commands:
        started = time.monotonic()
        status, output = shell.run(command)
        print(f"{result.page}:{line}: {time.monotonic() - started:5.1f} s  {command.splitlines()[0]}", flush=True)
        if status != 0:
            ending = {_TOO_LONG: "did not end, or was not ready, in time", _ENDED: "ended instead of serving"}
            message = (
                f"{result.page}:{line}: {ending.get(status, f'exit status {status}')}\n{_indented(command, output)}"
            )
            raise PageError(message)
        result.commands += 1
        shown += output
    if block.expected is not None and not shows(block.expected, shown):
        message = f"{result.page}:{block.expected_line}: the output is another\n{_indented(block.expected, shown)}"
        raise PageError(message)


def _indented(wanted: str, output: str) -> str:
    return f"{textwrap.indent(wanted.rstrip(), '    ')}\n  output:\n{textwrap.indent(output[-_TAIL:].rstrip(), '    ')}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else str(page)


def missing_here() -> str | None:
    """Return why pages cannot be run on this machine, if they cannot."""
    for path in OUTSIDE:
        if path.exists():
            return f"{path} exists, and the pages would write there: move it away"
    if os.geteuid() != 0:
        return _NEEDS_ROOT
    if shutil.which("curl") is None:
        return "the pages need curl: install it"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return f"port {PORT} is taken, and the pages serve there: end what uses it"
    return None


@contextmanager
def alone() -> Iterator[None]:
    """Hold `UNDER_WAY`; remove first what a run left in `OUTSIDE` that did not come to its end.

    Raises BlockingIOError while another run holds the file, and PermissionError where this user may not make it.
    """
    unfinished = UNDER_WAY.exists()
    with UNDER_WAY.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if unfinished:
            for path in OUTSIDE:
                shutil.rmtree(path, ignore_errors=True)
        try:
            yield
        finally:
            UNDER_WAY.unlink()


def run_pages(pages: Sequence[Path], venv: Path | None) -> list[Result]:
    """Run pages one after another, each in a copy of the project in a new home."""
    home = Path(tempfile.mkdtemp(prefix="tlog-docs-"))  # of mode 0700
    results = []
    try:
        for number, page in enumerate(pages):
            directory = home / f"{number}-{page.stem}"
            theirs = [path for path in OUTSIDE if path.exists()]
            shutil.copytree(ROOT, directory, ignore=shutil.ignore_patterns(".?*", "__pycache__"))
            if venv is not None and _MAKES_VENV not in page.read_text(encoding="utf-8"):
                (directory / ".venv").symlink_to(venv)
            try:
                results.append(run_page(page, directory, home))
            finally:
                for path in OUTSIDE:
                    if path not in theirs:
                        shutil.rmtree(path, ignore_errors=True)
            if venv is None and (directory / ".venv").exists():
                venv = directory / ".venv"
    finally:
        shutil.rmtree(home)
    return results


def report(results: Sequence[Result]) -> int:
    """Print what became of the pages; return the exit code."""
    print(f"\n{'page':<36} {'commands':>8} {'seconds':>8}")
    for result in results:
        print(
            f"{result.page:<36} {result.commands:>8} {result.seconds:>8.1f}  {'WRONG' if result.wrong else ''}".rstrip()
        )
    not_run = [(f"{result.page}:{line}", why) for result in results for line, why in result.not_run]
    print(f"\nblocks and commands that were not run: {len(not_run)}")
    for where, why in not_run:
        print(f"  {where:<34} {why}")
    wrong = [result.wrong for result in results if result.wrong is not None]
    for each in wrong:
        print(f"\nWRONG {each}")
    return 1 if wrong else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pages that the command line names."""
    parser = argparse.ArgumentParser(description="Execute the commands of the documentation as they are written.")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--venv", type=Path, metavar="DIR", help="an installation for pages that make none")
    options = parser.parse_args(arguments)
    docs = ROOT / "docs"
    pages = options.pages or [ROOT / "README.md", docs / "tutorial.md", *sorted((docs / "how-to").glob("*.md"))]
    venv = None if options.venv is None else options.venv.absolute()
    try:
        with alone():
            lacks = missing_here()
            if lacks is None:
                return report(run_pages([page.absolute() for page in pages], venv))
    except BlockingIOError:
        lacks = "another run is under way: wait for its end"
    except PermissionError:
        lacks = _NEEDS_ROOT
    print(f"run_docs: {lacks}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
