"""The pages about mappings say what the code does."""

from __future__ import annotations

import json
import re
import tomllib

from support import ROOT

from tlog.ingest.mapping import FileMapping, load_mapping, maps
from tlog.ingest.plan import ACTOR, DETAILS
from tlog.ingest.total import UNITS

HOW_TO = (ROOT / "docs" / "how-to" / "import-from.md").read_text(encoding="utf-8")
LANGUAGE = (ROOT / "docs" / "reference" / "mapping-language.md").read_text(encoding="utf-8")


def document(name):
    """Return the content of a file that a page writes."""
    return re.search(rf"cat > {re.escape(name)} <<'EOF'\n(.*?)\nEOF\n", HOW_TO, re.DOTALL)[1]


def test_the_worked_mapping_gives_what_the_page_shows():
    mapping = FileMapping(tomllib.loads(document("doors.toml")), "doors.toml")
    records = list(map(json.loads, document("doors.ndjson").splitlines()))
    shown = re.search(r"```text\n(.*?)\n```", HOW_TO.partition("## A mapping of your own")[2], re.DOTALL)[
        1
    ].splitlines()
    for record, line in zip(records, shown, strict=True):
        [event] = mapping.map(record, 0)
        assert event.pop("metadata") == record
        assert json.dumps({**event, "metadata": {}}, separators=(",", ":")) == line.replace("{…}", "{}")


def test_every_shipped_map_has_a_row_and_a_command():
    rows = re.findall(r"^\| `([a-z]+)` \|", HOW_TO.partition("## What is mapped")[2], re.MULTILINE)
    assert sorted(rows) == maps()
    commands = re.findall(r"^tlog import ndjson --map (\w+) \S+", HOW_TO.partition("## Kubernetes")[2], re.MULTILINE)
    assert sorted(set(commands) - {"doors"}) == maps()


def test_the_example_of_the_language():
    mapping = FileMapping(tomllib.loads(re.search(r"```toml\n(.*?)\n```", LANGUAGE, re.DOTALL)[1]), "rota.toml")
    record = {
        "id": "r-1", "at": "2026-03-01 09:00", "from": "192.0.2.7", "by": {"login": "nvarga"}, "result": "error 7", "why": {"code": 7, "text": "no"},
        "changes": [{"verb": "delete", "shift": "s-1", "people": [{"role": "nurse", "login": "btoth"}, {"role": "guest", "login": "x"}]}, {"verb": "view"}],
    }  # fmt: skip
    one, other = mapping.map(record, 0)
    assert (one["action"], one["outcome"], one["resource"]["id"], one["details"]) == (
        "delete",
        "failure",
        "s-1",
        {"reason": "7: no"},
    )
    assert one["relatedResources"] == [{"type": "user", "id": "btoth"}]
    assert (other["action"], other["resource"]["id"]) == ("read", "r-1")


def test_every_member_is_described():
    names = set(re.findall(r"`(\w+)`", LANGUAGE))
    assert {
        *ACTOR,
        *DETAILS,
        *UNITS,
        "v",
        "name",
        "each",
        "records",
        "event",
        "tables",
        "fieldsAccessed",
        "recipient",
        "related",
    } <= names
    assert {"value", "first", "join", "from", "table", "before", "after", "with"} <= set(re.findall(r"\w+", LANGUAGE))
    assert (
        load_mapping("github").map({"_document_id": "AbC-123", "action": "x", "@timestamp": 1}, 0)[0]["eventId"]
        in LANGUAGE
    )
