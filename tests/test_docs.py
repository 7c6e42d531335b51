"""The documentation is true: what can be computed is computed, what lists the code is compared with the code."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from support import ROOT, start_server
from typer.main import get_command

from tlog import errors
from tlog.cli.app import app
from tlog.core.event import Actor, Details, Event, Recipient, RelatedResource, Resource, Source
from tlog.core.pseudonym import public_key
from tlog.ingest import cloudtrail
from tlog.server.describe.openapi import describe

DOCS = ROOT / "docs"
_NAMED_TEST = re.compile(r"`((?:\w+/)*test_\w+\.py)::(\w+)`")
LOOSE = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
PAGES = sorted([*LOOSE, *DOCS.rglob("*.md")])
# Named in CONTRIBUTING.md as what somebody would add.
TO_COME = {"tlog/ingest/syslog.py", "tests/ingest/test_syslog.py", "tlog/signing/witnesses.py", "tlog/witness/"}


def table(page, heading):
    """Return the rows of the first table after `heading`, as lists of cells."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(heading)[2]
    rows = re.search(r"\n\|.*?\n\|[-|]+\n((?:\|.*\n)+)", text)[1].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_quick_start_has_exactly_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"\n## Quick start\n(.*?)\n## ", text, re.DOTALL)[1]
    (block,) = re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL)
    first, second = block.splitlines()
    assert first.endswith("tlog demo")
    assert "pytest" in second


def test_worked_example():
    def sha256(data):
        return hashlib.sha256(data).digest()

    a, b = sha256(b"\0a"), sha256(b"\0b")
    chain_a = sha256(b"\2" + bytes(32) + a)
    expected = [a, b, sha256(b"\1" + a + b), chain_a, sha256(b"\2" + chain_a + b), sha256(b"\x10" + bytes(16) + b"{}")]
    expected.append(public_key("action", "read"))
    assert [bytes.fromhex(value) for _, value in table("reference/formats.md", "## Worked example")] == expected


def test_every_member_of_an_event_is_described():
    described = {name.strip("`") for name, *_ in table("reference/event.md", "# The event")}
    members = set()
    for kind, prefix in (
        (Event, ""),
        (Actor, "actor."),
        (Resource, "resource."),
        (RelatedResource, "relatedResources[]."),
        (Details, "details."),
        (Recipient, "details.recipient."),
        (Source, "source."),
    ):
        members |= {prefix + name for name in kind.__struct_fields__}
    assert described == members - {"actor", "resource", "details", "source"}


def test_every_endpoint_is_described():
    described = {tuple(row[0].strip("`").split()) for row in table("reference/http.md", "# HTTP")}
    routes = {(method.upper(), path) for path, operations in describe()["paths"].items() for method in operations}
    assert described == routes


def test_every_command_is_described():
    described = {row[0].strip("`") for row in table("reference/cli.md", "# The command line")}
    assert described == set(commands_of(get_command(app), "tlog"))


def commands_of(group, name):
    for child, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{name} {child}")
        else:
            yield f"{name} {child}"


def test_exit_codes_are_described():
    described = {row[1].strip("`"): int(row[0]) for row in table("reference/cli.md", "A log that refuses")}
    for name, code in described.items():
        assert getattr(errors, name).exit_code == code
    own = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.OperatorError)
    }
    assert set(described.values()) == own
    advised = {int(row[0]) for row in table("how-to/when-it-refuses.md", "# When it refuses")}
    assert advised == own


def test_cloudtrail_tables_are_the_code():
    actions = [(row[0].strip("`"), row[1].strip("`")) for row in table("reference/cloudtrail-mapping.md", "## Action")]
    assert actions == list(cloudtrail._ACTIONS)
    resources = [
        tuple(cell.strip("`") for cell in row) for row in table("reference/cloudtrail-mapping.md", "## Resource")
    ]
    assert resources == [(member, kind, form.replace("{}", "…")) for member, kind, form in cloudtrail._RESOURCES]


def named_tests():
    """Return (file, test) of every test that the pages on promises and threats name."""
    text = "".join((DOCS / "explanation" / page).read_text(encoding="utf-8") for page in ("security.md", "threats.md"))
    return set(_NAMED_TEST.findall(text))


def test_every_promise_names_tests_that_exist():
    missing = []
    for file, name in sorted(named_tests()):
        path = ROOT / "tests" / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if not re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE):
            missing.append(f"{file}::{name}")
    assert missing == []
    assert len(named_tests()) > 50, "the pattern finds them"
    promises = table("explanation/security.md", "## Promises")
    assert [int(number) for number, _, _ in promises] == list(range(1, len(promises) + 1))
    assert all("::test_" in tests for _, _, tests in promises), "a promise without a test is none"


def test_every_threat_is_answered():
    threats = table("explanation/threats.md", "## Attacks")
    assert [number for number, *_ in threats] == [f"A{number:02d}" for number in range(1, 95)]
    assert all(attack and answer for _, attack, answer, _ in threats)
    assert all(_NAMED_TEST.search(test) or "not in this version" in test or "gate R" in test for *_, test in threats)


def test_every_gate_has_figure_and_control():
    gates = table("explanation/threats.md", "## Gates")
    assert [number for number, *_ in gates] == [f"R{number}" for number in range(1, 23)]
    assert all(cell for row in gates for cell in row)
    latest = {number: figure for number, figure, _ in table("explanation/gates.md", "## Latest figures")}
    for number, _, _, figure, _ in gates:
        if number in latest:
            counts = set(re.findall(r"[0-9][0-9,.]*[0-9]", figure))
            assert counts <= set(re.findall(r"[0-9][0-9,.]*[0-9]", latest[number])), number


def test_the_project_is_laid_out_as_described():
    """Every room and every module of it is named, and nothing that is not there, but for the room that is opened later."""
    described = {
        room.strip("`"): set(re.findall("`(.*?)`", modules))
        for room, _, modules in table("explanation/architecture.md", "## The rooms")
    }
    text = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    described["core"] = set(re.findall("`(.*?)`", re.search(r"\n`core` has(.*?)\n\n", text, re.DOTALL)[1]))
    root = ROOT / "tlog"
    rooms = {str(path.parent.relative_to(root)): set() for path in root.rglob("__init__.py")}
    for path in root.rglob("*.py"):
        if not path.stem.startswith("__"):
            rooms[str(path.parent.relative_to(root))].add(path.stem)
    loose = rooms.pop(".")
    assert described | {"witness": set()} == {**rooms, **{room: set() for room in loose}, "witness": set()}


def test_where_things_live_is_true():
    named = set(
        re.findall(r"`((?:tlog|tests|tools|docs)/[\w./-]*)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    )
    assert len(named) > 50, "the pattern finds them"
    assert {name for name in named if not (ROOT / name).exists()} <= TO_COME


def test_every_decision_is_listed():
    listed = [
        (number, *re.fullmatch(r"\[(.*)\]\((.*)\)", link).groups())
        for number, link, *_ in table("adr/index.md", "# Decisions")
    ]
    decided = []
    for path in sorted((DOCS / "adr").glob("[0-9]*.md")):
        number, title = re.match(r"# ([0-9]+)\. (.*)", path.read_text(encoding="utf-8")).groups()
        assert path.name.startswith(f"{int(number):04d}-")
        decided.append((number, title, path.name))
    assert listed == decided
    numbers = {number for number, *_ in decided}
    for _, _, status, line in table("adr/index.md", "# Decisions"):
        assert re.match(r"accepted|replaced by [0-9]+", status)
        assert set(re.findall("[0-9]+", status)) <= numbers
        assert line


def test_the_tutorials_http_example_works(directory):
    """The event of the tutorial is valid, and the answers are what it says."""
    event = re.search(r"<<'EOF'\n(.*?)\nEOF", (DOCS / "tutorial.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    server = start_server(directory / "data")
    try:
        import json  # noqa: PLC0415

        (receipt,) = server.append([json.loads(event)])
        assert receipt["index"] == 2, "after what names the log, and what says that a service started"
        assert server.append([json.loads(event)])[0]["duplicate"] is True
    finally:
        server.stop()


def test_no_page_is_left_out():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in DOCS.iterdir():
        if page.suffix == ".md" or any(page.glob("*.md")):
            assert f"docs/{page.name}" in readme
    assert Path(ROOT / "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")
