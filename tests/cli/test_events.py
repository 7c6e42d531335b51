"""Bringing events in on the command line: what is refused, what is set aside, exit codes, and never a traceback."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import stat
import sys

import pytest
from foreign_records import cloudtrail_record
from support import ROOT, sample_events, tlog
from typer.main import get_command

from tlog.cli import events as commands
from tlog.cli.app import app
from tlog.errors import MalformedInputError, OverloadedError
from tlog.ingest import shapes
from tlog.ingest.total import event_id

DAMAGED = int(os.environ.get("TLOG_TEST_DAMAGED", "300"))
REAL = sorted((ROOT.parent / "shared" / "data" / "cloudtrail").glob("*.json"))
COMMAND = get_command(app)
CASES = ROOT.parent / "shared" / "cases"


class FakeService:
    """Stands for a running log: keeps events by eventId, says what the client says."""

    def __init__(self):
        self.events = {}
        self.away = False

    def client(self, *_):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def append(self, raws):
        if self.away:
            message = "the log cannot be reached"
            raise OverloadedError(message)
        keys = [json.loads(raw)["eventId"] for raw in raws]
        for position, (key, raw) in enumerate(zip(keys, raws, strict=True)):
            if self.events.get(key, raw) == b"refused":
                message = "Something else"
                raise MalformedInputError(message, "/0")
            if self.events.get(key, raw) != raw:
                message = "The eventId is logged with other content"
                raise MalformedInputError(message, f"/{position}/eventId")
        known = [key in self.events for key in keys]
        self.events.update(zip(keys, raws, strict=True))
        return [
            {"index": list(self.events).index(key), **({"duplicate": True} if again else {})}
            for key, again in zip(keys, known, strict=True)
        ]

    def log(self):
        return {"size": len(self.events) + 1}


@pytest.fixture
def service(monkeypatch):
    fake = FakeService()
    monkeypatch.setattr("tlog.client.Client", fake.client)
    monkeypatch.setenv("TLOG_TOKEN", "token")
    return fake


@pytest.fixture
def run(service, capsys, monkeypatch):
    """Run a command in this process; returns the exit code, what it printed, and what it said."""

    def run(*arguments, stdin=b"", show=False):
        target = () if show else ("--url", "http://log.example")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            COMMAND([*map(str, arguments), *target])
        for spooled in commands._spooled.values():
            spooled.close()
        commands._spooled.clear()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return ended.value.code or 0, said.out, said.err

    return run


def write(path, *lines):
    path.write_bytes(b"\n".join(lines))
    return path


BAD = b'{"action":"read"}'


@pytest.mark.parametrize(
    "data",
    [
        lambda raws: json.dumps([json.loads(raw) for raw in raws], indent=2).encode(),
        lambda raws: b"\n".join(json.dumps(json.loads(raw), indent=2).encode() for raw in raws),
        lambda raws: b"\xef\xbb\xbf" + b"\r\n".join(raws),
        lambda raws: b"[" + b",".join(raws) + b"]",
        lambda raws: gzip.compress(b"\n".join(raws)),
        b"".join,
    ],
    ids=["pretty-printed array", "pretty-printed", "byte order mark", "array", "gzip", "concatenated"],
)
def test_append_takes_every_way_to_write_events(run, service, data):
    raws = sample_events(3)
    code, out, _ = run("append", "--json", stdin=data(raws))
    assert (code, json.loads(out)["appended"]) == (0, 3)
    assert [json.loads(raw) for raw in service.events.values()] == [json.loads(raw) for raw in raws]


def test_append_of_one_pretty_printed_event(run, service, tmp_path):
    path = tmp_path / "event.json"
    path.write_bytes(json.dumps(json.loads(sample_events(1)[0]), indent=4).encode())
    assert run("append", path)[:2] == (0, "1 events read: 1 appended; sealed at tree size 2\n")
    assert run("append", stdin=b"")[:2] == (0, "0 events read: 0 appended; sealed at tree size 2\n")


def test_problems_are_named_and_nothing_goes_in(run, service, tmp_path):
    path = write(tmp_path / "a", *sample_events(2), *[BAD] * 25)
    code, out, err = run("import", "ndjson", path)
    assert (code, out, service.events) == (2, "", {})
    lines = err.splitlines()
    assert len(lines) == 21
    assert lines[0].startswith(f"tlog: {path}, line 3: this member is required (at /")
    assert lines[-1].startswith("tlog: 25 problems, of which the first 20 are named; nothing was imported.")
    assert run("import", "ndjson", write(path, BAD))[2].splitlines()[-1].startswith("tlog: 1 problem; nothing")


def test_skip_invalid_sets_aside_and_imports_the_rest(run, service, tmp_path):
    raws = sample_events(3)
    path, aside = write(tmp_path / "a", raws[0], BAD, raws[1], b"oops", raws[2]), tmp_path / "aside"
    code, out, err = run("import", "ndjson", path, "--skip-invalid", aside)
    assert (code, err) == (3, "")
    assert out == f"3 events read: 3 appended; sealed at tree size 4\n2 set aside in {aside}\n"
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    kept = [json.loads(line) for line in aside.read_bytes().splitlines()]
    assert [(each["place"], each.get("record"), each.get("text")) for each in kept] == [
        (f"{path}, line 2", {"action": "read"}, None),
        (f"{path}, line 4", None, "oops"),
    ]
    code, _, err = run("import", "ndjson", path, "--skip-invalid", aside)
    assert (code, "exists already" in err) == (2, True)
    code, out, _ = run("import", "ndjson", path, "--skip-invalid", tmp_path / "again", "--json")
    assert (code, json.loads(out)) == (
        3,
        {
            "events": 3,
            "appended": 0,
            "duplicates": 3,
            "continuations": 0,
            "setAside": 2,
            "skipped": [],
            "passedOver": [],
            "size": 4,
        },
    )


def test_nothing_set_aside_leaves_no_file(run, tmp_path):
    assert (
        run("import", "ndjson", write(tmp_path / "a", *sample_events(1)), "--skip-invalid", tmp_path / "aside")[0] == 0
    )
    assert not (tmp_path / "aside").exists()
    assert run("import", "ndjson", tmp_path / "a", "--skip-invalid", tmp_path / "nowhere" / "aside")[0] == 2


def test_all_set_aside_asks_no_log(run, service, tmp_path):
    service.away = True
    code, out, _ = run("import", "ndjson", write(tmp_path / "a", BAD), "--skip-invalid", tmp_path / "aside", "--json")
    assert (code, json.loads(out)["setAside"], json.loads(out)["size"]) == (3, 1, None)


def test_conflicts(run, service, tmp_path):
    raws = sample_events(3)
    path = write(tmp_path / "a", *raws)
    service.events[json.loads(raws[1])["eventId"]] = b"other"
    code, _, err = run("import", "ndjson", path)
    assert (code, f"{path}, line 2: its eventId is already logged with other content" in err) == (2, True)
    code, out, _ = run("import", "ndjson", path, "--skip-invalid", tmp_path / "aside", "--json")
    assert (code, json.loads(out)["events"], json.loads(out)["setAside"]) == (3, 2, 1)
    assert json.loads((tmp_path / "aside").read_bytes())["record"] == json.loads(raws[1])


def test_another_refusal_of_the_service_is_no_conflict(run, service, tmp_path):
    raws = sample_events(1)
    service.events[json.loads(raws[0])["eventId"]] = b"refused"
    code, _, err = run("import", "ndjson", write(tmp_path / "a", *raws), "--skip-invalid", tmp_path / "aside")
    assert (code, "Something else" in err, (tmp_path / "aside").exists()) == (2, True, False)


def test_a_log_that_is_away(run, service, tmp_path):
    path, aside = write(tmp_path / "a", *sample_events(1), BAD), tmp_path / "aside"
    service.away = True
    assert run("import", "ndjson", path, "--skip-invalid", aside)[0] == 75
    assert not aside.exists(), "the same command can be run again"
    service.away = False
    assert run("import", "ndjson", path, "--skip-invalid", aside)[0] == 3


def test_a_log_that_does_not_seal(run, service, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "SEAL_SECONDS", 0.2)
    monkeypatch.setattr(service, "log", lambda: {"size": 0})
    assert json.loads(run("import", "ndjson", write(tmp_path / "a", *sample_events(1)), "--json")[1])["size"] == 0


def test_no_record_in_any_file(run, tmp_path):
    for command in ("ndjson", "cloudtrail"):
        code, out, err = run("import", command, write(tmp_path / "a.json", b"\n"))
        assert (code, "no record in any file" in err) == (3, True)
        assert out == "0 events read: 0 appended\n"


def test_directories_digests_and_continuations(run, tmp_path):
    many = cloudtrail_record(2, requestParameters={"instanceIds": [f"i-{k}" for k in range(70)]})
    write(tmp_path / "b.json", json.dumps({"Records": [cloudtrail_record(1), many]}).encode())
    write(tmp_path / "a_CloudTrail-Digest_x.json", b"{}")
    write(tmp_path / "c.json", b'{"digestStartTime":""}')
    write(tmp_path / "LICENSE", b"do what you like")
    code, out, _ = run("import", "cloudtrail", tmp_path)
    assert code == 0
    assert out.splitlines() == [
        "2 events read: 2 appended; sealed at tree size 5",
        "2 more events hold what did not fit, related resources beyond 32",
        "2 digests skipped",
        "1 files passed over that are neither named like JSON nor begin like it",
    ]
    found = json.loads(run("import", "cloudtrail", tmp_path, "--json")[1])
    assert (found["continuations"], found["skipped"]) == (
        2,
        [str(tmp_path / "a_CloudTrail-Digest_x.json"), str(tmp_path / "c.json")],
    )
    assert found["passedOver"] == [str(tmp_path / "LICENSE")]


def test_progress_as_json(run, tmp_path):
    path = write(tmp_path / "a", *sample_events(2))
    code, _, err = run("import", "ndjson", path, "--progress-json")
    lines = [json.loads(line) for line in err.splitlines()]
    assert (code, [line["phase"] for line in lines]) == (0, ["checking", "appending"])
    assert {(line["bytes"], line["records"], line["totalBytes"]) for line in lines} == {
        (path.stat().st_size, 2, path.stat().st_size)
    }


LINE = {
    "id": "AbC-1",
    "at": 1672833679695,
    "action": "read",
    "actor": {"userId": "u"},
    "resource": {"type": "t", "id": "r"},
}
FROM = ("--id-from", "/id", "--time-from", "/at", "--time-unit", "ms")


def test_ids_and_times_of_other_members(run, service, tmp_path):
    path = write(tmp_path / "a", json.dumps(LINE).encode(), json.dumps({**LINE, "id": None}).encode())
    code, _, err = run("import", "ndjson", path, *FROM)
    assert (code, "line 2: there is nothing to make the eventId of (at /id)" in err) == (2, True)
    assert run("import", "ndjson", path, *FROM, "--skip-invalid", tmp_path / "aside")[0] == 3
    (event,) = map(json.loads, service.events.values())
    assert (event["eventId"], event["timestamp"]) == (event_id("ndjson", "AbC-1"), "2023-01-04T12:01:19.695Z")
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    code, out, _ = run("import", "ndjson", path, *FROM, "--id-space", "s", "--id-key", key, "--show", 1, show=True)
    assert (code, json.loads(out)["eventId"]) == (0, event_id("s", "AbC-1", key=bytes(range(32))))
    times = ("--time-from", "/when", "--time-zone", "+02:00", "--id-from", "/id")
    path = write(tmp_path / "b", json.dumps({**LINE, "when": "2026-11-20 10:00:00"}).encode())
    assert '"timestamp":"2026-11-20T08:00:00Z"' in run("import", "ndjson", path, *times, "--show", 5, show=True)[1]


@pytest.mark.parametrize(
    "options, said",
    [
        (("--id-space", "s"), "belong to --id-from"),
        (("--id-key", "KEY"), "belong to --id-from"),
        (("--id-key", "SHORT", "--id-from", "/id"), "has 31 bytes, a key for eventIds has 32"),
        (("--id-key", "NOWHERE", "--id-from", "/id"), "No such file"),
        (("--time-unit", "ms"), "belong to --time-from"),
        (("--time-zone", "UTC"), "belong to --time-from"),
        (("--time-zone", "Nowhere", "--time-from", "/at"), "no such time zone"),
        (("--id-from", "id"), "begins with '/'"),
        (("--map", "github", "--id-from", "/id"), "leave out --id-from"),
        (("--map", "github", "--time-from", "/at"), "leave out --id-from"),
        (("--map", "nonsense"), "nonsense"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(run, tmp_path, options, said):
    write(tmp_path / "KEY", bytes(32))
    write(tmp_path / "SHORT", bytes(31))
    named = [str(tmp_path / each) if each.isupper() and each != "UTC" else each for each in options]
    code, _, err = run("import", "ndjson", write(tmp_path / "a", b"{}"), *named)
    assert (code, said in " ".join(err.split())) == (2, True), err


def test_records_that_a_mapping_makes_events_of(run, service, tmp_path):
    path = write(
        tmp_path / "a",
        b'[{"@timestamp":1,"action":"repo.create","actor":"octocat","_document_id":"AbC-123","repo":"o/r"},7]',
    )
    code, out, err = run("import", "ndjson", path, "--map", "github", "--show", 2, show=True)
    assert (code, json.loads(out)["eventId"]) == (2, "ebbc384a-0c42-57ca-815a-0589480ba36f")
    assert f"{path}, record 2: " in err
    assert run("import", "ndjson", path, "--map", "github", "--skip-invalid", tmp_path / "aside")[0] == 3
    assert len(service.events) == 1


def test_show_prints_events_and_appends_nothing(run, service, tmp_path):
    raws = sample_events(5)
    path = write(tmp_path / "a", *raws[:3])
    damaged, more = write(tmp_path / "b", b"\x1f\x8bdamaged"), write(tmp_path / "c", *raws[3:])
    assert run("import", "ndjson", path, damaged, "--show", 2, show=True)[:2] == (
        0,
        "".join(raw.decode() + "\n" for raw in raws[:2]),
    )
    code, out, err = run("import", "ndjson", path, damaged, more, "--show", 9, show=True)
    assert (code, out.encode().split(), f"{damaged}: the gzip data is damaged" in err) == (
        2,
        [line for raw in raws for line in raw.split()],
        True,
    )
    assert service.events == {}
    trail = write(tmp_path / "d", json.dumps({"digestStartTime": ""}).encode())
    assert run("import", "ndjson", trail, "--show", 1, show=True)[0] == 0


def test_what_can_be_read_only_once(run, service, tmp_path):
    """A named pipe, as a shell's <(…) is one."""
    raws = sample_events(3)
    reader, writer = os.pipe()
    os.write(writer, b"\n".join(raws))
    os.close(writer)
    assert run("import", "ndjson", f"/dev/fd/{reader}")[0] == 0
    os.close(reader)
    assert list(service.events.values()) == raws


def test_files_that_are_not_there(run, tmp_path):
    for command in ("ndjson", "cloudtrail"):
        code, _, err = run("import", command, tmp_path / "nowhere", "--skip-invalid", tmp_path / "aside")
        assert (code, "No such file" in err) == (2, True)
        assert not (tmp_path / "aside").exists()


def test_every_kind_of_damaged_gzip_is_one_sentence(run, tmp_path):
    good = gzip.compress(json.dumps({"Records": [cloudtrail_record(k) for k in range(50)]}).encode())
    path = tmp_path / "x.json.gz"
    for data in (good[:-9], good[:30] + b"\0\0\0\0" + good[34:], good[:-8] + bytes(8), good + b"more", b"\x1f\x8b"):
        path.write_bytes(data)
        code, _, err = run("import", "cloudtrail", path)
        assert (code, err.splitlines()[0]) == (2, f"tlog: {path}: {shapes.DAMAGED_GZIP}")


def damage(seed, good):
    """Return bytes that are damaged in one of many ways."""
    kind = seed.randrange(6)
    data = bytearray(good)
    if kind == 0:
        return bytes(data[: seed.randrange(len(data))])
    if kind == 1:
        return seed.randbytes(seed.randrange(200))
    if kind == 2:
        return (
            bytes(data[: seed.randrange(len(data))])
            + seed.randbytes(seed.randrange(50))
            + bytes(data[seed.randrange(len(data)) :])
        )
    for _ in range(1 if kind == 3 else 5):
        place = seed.randrange(len(data))
        data[place] = data[place] ^ 1 << seed.randrange(8) if kind < 5 else seed.choice(b'{}[]",:\\0\n')
    return bytes(data)


def originals():
    raws = sample_events(3)
    trail = [
        cloudtrail_record(k, requestParameters={"instanceIds": [f"i-{k}"]}, userIdentity={"userName": "\u00e9"})
        for k in range(3)
    ]
    texts = [json.dumps({"Records": trail}), "\n".join(map(json.dumps, trail)), json.dumps(trail, indent=1)]
    texts += [json.dumps({"Events": [{"CloudTrailEvent": json.dumps(each)} for each in trail]})]
    texts += [json.dumps({"place": "", "pointer": "", "record": each, "rule": ""}) for each in trail[:1]]
    files = [text.encode() for text in texts] + [b"\n".join(raws), b"[" + b",".join(raws) + b"]"]
    return files + [gzip.compress(file, mtime=0) for file in files]


def test_no_damage_is_a_traceback(run, service, tmp_path):
    """TLOG_TEST_DAMAGED=20000 for as many as in a full run."""
    seed, codes, files = random.Random(15), set(), originals()
    path = tmp_path / "x"
    for number in range(DAMAGED):
        service.events.clear()
        service.away = number % 10 == 0
        path.write_bytes(damage(seed, files[number % len(files)]))
        command = ["import", seed.choice(["ndjson", "cloudtrail"]), path]
        if seed.randrange(2):
            command += ["--skip-invalid", tmp_path / f"aside{number}"]
        if command[1] == "ndjson" and seed.randrange(3) == 0:
            command += ["--map", "github"] if seed.randrange(2) else list(FROM)
        code, _, err = run(*command)
        assert code in (0, 2, 3, 75), (number, command, err)
        codes.add(code)
    assert codes >= {0, 2, 3}, "the damage is of many kinds"


ODD = {
    "no identity": {"userIdentity": ...},
    "empty identity": {"userIdentity": {"type": "", "principalId": "", "accountId": ""}},
    "without type": {"userIdentity": {"accountId": "1", "invokedBy": "x.amazonaws.com"}},
    "identity is text": {"userIdentity": "root"},
    "long user": {"userIdentity": {"userName": "u" * 300}},
    "no source": {"eventSource": ...},
    "no name": {"eventName": ...},
    "several instances": {"requestParameters": {"instancesSet": {"items": [{"instanceId": f"i-{k}"} for k in range(40)]}}},
    "id that is no UUID": {"eventID": "AbC"},
    "number": {"requestParameters": {"amount": 10**30}},
    "deep": {"requestParameters": json.loads("[" * 60 + "]" * 60)},
    "surrogate": {"userAgent": "\ud800"},
    "time with a space": {"eventTime": "2026-11-20 10:00:00+0000"},
    "large": {"requestParameters": {"x": "y" * 70_000}},
    "parameters are text": {"requestParameters": "x"},
    "resources are text": {"resources": "x"},
    "host": {"sourceIPAddress": "host.example"},
}  # fmt: skip
ASIDE = {
    "no id": {"eventID": ...},
    "no time": {"eventTime": ...},
    "no time that can be read": {"eventTime": "yesterday"},
    "notification": {"eventID": ..., "s3": {}},
}


def odd_file(path):
    whole = {"userIdentity": {"userName": "u"}, "eventSource": "ec2.amazonaws.com", **cloudtrail_record(0)}
    changes = [
        {"eventID": f"10000000-0000-4000-8000-{k:012}", **change}
        for k, change in enumerate([*ODD.values(), *ASIDE.values()])
    ]
    records = [{name: value for name, value in {**whole, **change}.items() if value is not ...} for change in changes]
    path.write_text("\n".join(map(json.dumps, records)) + '\n7\noops\n{"eventID":"x","eventID":"y"}\n')
    return path


def test_one_odd_record_of_each_kind_among_good_ones(run, service, tmp_path):
    odd = odd_file(tmp_path / "odd.json")
    code, out, _ = run("import", "cloudtrail", *REAL, odd, "--skip-invalid", tmp_path / "aside", "--json")
    first = json.loads(out)
    known = 1233 if REAL else 0
    assert (code, first["events"], first["continuations"], first["setAside"]) == (
        3,
        known + len(ODD),
        1,
        len(ASIDE) + 2,
    )
    code, out, _ = run("import", "cloudtrail", *REAL, odd, "--skip-invalid", tmp_path / "again", "--json")
    assert (code, json.loads(out)["appended"], json.loads(out)["duplicates"]) == (3, 0, first["events"])


@pytest.mark.skipif(not CASES.exists(), reason="the collected cases are not beside this checkout")
def test_collected_cases(run, service):
    for name, code in {
        "corrupt-deflate.json.gz": 2,
        "ct-identity-all-empty.json": 0,
        "ct-no-userIdentity.json": 0,
        "ct-terminate-instances.json": 0,
        "ct-digest.json": 3,
        "ct-jsonl.json": 0,
    }.items():
        done, out, _ = run("import", "cloudtrail", CASES / name, "--json")
        assert done == code, name
        assert name != "ct-digest.json" or json.loads(out)["skipped"] == [str(CASES / name)]
    assert len(service.events) == 6
    assert {
        related["id"] for raw in service.events.values() for related in json.loads(raw).get("relatedResources", ())
    } == {"i-0aaa", "i-0bbb"}


def test_a_real_log(directory, tmp_path, capsys):
    """Set aside, imported, repaired, imported again: in a log of its own."""
    data, raws = directory / "data", sample_events(5)
    tlog("init", "--data", data, "--origin", "example.com/events")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            COMMAND([*map(str, arguments), "--data", str(data), "--json"])
        return ended.value.code or 0, json.loads(capsys.readouterr().out)

    path, aside = write(tmp_path / "a", *raws[:4], raws[4].replace(b'"action"', b'"Action"')), tmp_path / "aside"
    code, result = run("import", "ndjson", path, "--skip-invalid", aside)
    assert (code, result["appended"]) == (3, 4)
    aside.write_bytes(aside.read_bytes().replace(b'"Action"', b'"action"'))
    assert run("import", "ndjson", aside)[1]["appended"] == 1
    other = json.loads(raws[0])
    other["action"] = "read" if other["action"] != "read" else "update"
    write(path, json.dumps(other).encode(), raws[1])
    code, result = run("import", "ndjson", path, "--skip-invalid", tmp_path / "b")
    assert (code, result["duplicates"], result["setAside"]) == (3, 1, 1)
    assert json.loads((tmp_path / "b").read_bytes())["record"] == other
