"""What verify.js and tools/verify.py say of the same files: each case is put to both."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from core.test_soundness import run_offline
from support import ROOT

VERIFY_JS = ROOT / "tlog" / "server" / "pages" / "static" / "verify.js"
RUNNER = Path(__file__).with_name("verdicts.mjs")
OLDEST_NODE = 20


def lacks_node():
    """Return why verify.js cannot be run here, "" if it can."""
    if shutil.which("node") is None:
        return "node 20 or newer is not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return "" if int(re.findall("[0-9]+", version)[0]) >= OLDEST_NODE else "node 20 or newer is not installed"


class Node:
    """A Node process that runs a verify.js."""

    def __init__(self, process):
        self._process = process

    def ask(self, **question):
        """Return the verdict about a case."""
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "node ended"
        return json.loads(line)


@contextmanager
def node(source=VERIFY_JS):
    command = ["node", "--no-warnings", str(RUNNER), str(source)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Node(process)
        finally:
            process.stdin.close()


def text_of(data):
    return base64.b64encode(data).decode()


class Case:
    """Files, and what is asked about them: put to verify.js as bytes, and to tools/verify.py as files."""

    def __init__(self, command, vkey, file, *, event=None, asked=(), count=False, require=False):
        self.command, self.vkey, self.file, self.event = command, vkey, file, event
        self.asked, self.count, self.require = [*asked], count, require

    def by_javascript(self, node):
        question = {"command": self.command, "vkey": self.vkey, "requireDisclosures": self.require}
        if self.command == "set":
            files = {name: text_of(data) for name, data in self.file.items()}
            return node.ask(**question, asked=self.asked, files=files)
        question["file"] = text_of(self.file)
        if self.command == "proof":
            return node.ask(**question, event=text_of(self.event))
        return node.ask(**question, asked=self.asked, count=self.count)

    def by_python(self, directory):
        arguments = ["evidence" if self.command == "set" else self.command, "--vkey", self.vkey, "--json"]
        arguments += ["--require-disclosures"] if self.require else []
        arguments += ["--count"] if self.count else []
        for name, value in self.asked:
            arguments += ["--ask", f"{name}={value}"]
        if self.event is not None:
            (directory / "event").write_bytes(self.event)
            arguments += ["--event", directory / "event"]
        path = directory / "file"
        if self.command == "set":
            path = directory / "set"
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            for name, data in self.file.items():
                (path / name).write_bytes(data)
        else:
            path.write_bytes(self.file)
        code, said = run_offline(*arguments, path)
        usage = {
            "verdict": "malformed",
            "exitCode": code,
            "summary": "",
            "problems": ["usage"],
            "checked": {},
            "details": [],
        }
        return json.loads(said) if said else usage


def compared(verdict):
    """Return what has to be the same in both verdicts: everything, but for the words in which something was refused."""
    refused = verdict["exitCode"] and not verdict["checked"]
    return {name: value for name, value in verdict.items() if not refused or name != "problems"}
