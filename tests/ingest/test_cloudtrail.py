"""CloudTrail records become events: deterministic, complete, valid."""

from __future__ import annotations

import gzip
import io
import json

import pytest
from support import ROOT, tlog, verify_offline

from tlog.core.making.parsing import parse_batch
from tlog.errors import MalformedInputError
from tlog.ingest.cloudtrail import map_event, read_cloudtrail

REAL = sorted((ROOT.parent / "shared" / "data" / "cloudtrail").glob("*.json"))
needs_data = pytest.mark.skipif(not REAL, reason="the public CloudTrail sample is not beside this checkout")


def record(**members):
    return {
        "eventVersion": "1.08",
        "userIdentity": {"type": "IAMUser", "userName": "mallory", "arn": "arn:aws:iam::1:user/mallory"},
        "eventTime": "2026-07-10T11:42:36Z",
        "eventSource": "ec2.amazonaws.com",
        "eventName": "DescribeInstances",
        "sourceIPAddress": "192.0.2.7",
        "userAgent": "aws-cli/2",
        "requestParameters": None,
        "eventID": "293BA626-3be5-4a26-ab1b-0f4c54f49959",
        "readOnly": True,
        **members,
    }


def event(**members):
    mapped = map_event(record(**members))
    parse_batch([json.dumps(mapped).encode()])
    return mapped


def test_plain_members():
    mapped = event()
    assert mapped["eventId"] == "293ba626-3be5-4a26-ab1b-0f4c54f49959"
    assert mapped["timestamp"] == "2026-07-10T11:42:36Z"
    assert mapped["actor"] == {
        "userId": "mallory",
        "role": "IAMUser",
        "userAgent": "aws-cli/2",
        "ipAddress": "192.0.2.7",
    }
    assert mapped["details"] == {"query": "ec2.amazonaws.com:DescribeInstances"}
    assert mapped["outcome"] == "success"


@pytest.mark.parametrize(
    "identity, user_id",
    [
        ({"type": "IAMUser", "userName": "a", "arn": "x"}, "a"),
        ({"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/r/s"}, "arn:aws:sts::1:assumed-role/r/s"),
        ({"type": "AWSService", "invokedBy": "rds.amazonaws.com"}, "rds.amazonaws.com"),
        ({"type": "Unknown", "principalId": "P"}, "P"),
        ({"type": "AWSAccount", "accountId": "123"}, "123"),
        ({"type": "Root"}, "Root"),
    ],
)
def test_actor(identity, user_id):
    assert event(userIdentity=identity)["actor"]["userId"] == user_id


def test_service_names_are_no_addresses():
    mapped = event(sourceIPAddress="AWS Internal", userAgent="")
    assert mapped["actor"].keys() == {"userId", "role"}
    assert mapped["metadata"]["sourceIPAddress"] == "AWS Internal"


@pytest.mark.parametrize(
    "name, read_only, action",
    [
        ("GetObject", True, "read"),
        ("AssumeRole", True, "login"),
        ("ConsoleLogin", False, "login"),
        ("RunInstances", False, "create"),
        ("CreateAccessKey", False, "permission_change"),
        ("CreateBucket", False, "create"),
        ("CreateDBSnapshot", False, "export"),
        ("PutBucketPolicy", False, "permission_change"),
        ("PutParameter", False, "update"),
        ("StopLogging", False, "config_change"),
        ("DeleteTrail", False, "delete"),
        ("TerminateInstances", False, "delete"),
        ("SomethingNew", False, "update"),
    ],
)
def test_action(name, read_only, action):
    assert event(eventName=name, readOnly=read_only)["action"] == action


BUCKET = {"type": "AWS::S3::Bucket", "id": "arn:aws:s3:::logs", "name": "logs"}


@pytest.mark.parametrize(
    "members, resource",
    [
        ({"requestParameters": {"bucketName": "logs", "key": "a"}}, BUCKET),
        ({"resources": [{"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::logs/a"}, {"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::logs"}]},
         BUCKET),
        ({"resources": [{"type": "AWS::KMS::Key", "ARN": "arn:k"}]}, {"type": "AWS::KMS::Key", "id": "arn:k"}),
        ({"requestParameters": {"roleName": "admin"}}, {"type": "AWS::IAM::Role", "id": "admin"}),
        ({"requestParameters": {"instanceId": ["a"]}}, {"type": "AWS::Service", "id": "ec2.amazonaws.com"}),
        ({"requestParameters": {"name": "/db/password"}, "eventSource": "ssm.amazonaws.com"}, {"type": "AWS::SSM::Parameter", "id": "/db/password"}),
        ({"resources": [{"ARN": "arn:x"}]}, {"type": "AWS::Resource", "id": "arn:x"}),
        ({}, {"type": "AWS::Service", "id": "ec2.amazonaws.com"}),
    ],
)  # fmt: skip
def test_resource(members, resource):
    assert event(**members)["resource"] == resource


def test_failure():
    mapped = event(errorCode="AccessDenied", errorMessage="no")
    assert (mapped["outcome"], mapped["details"]["reason"]) == ("failure", "AccessDenied: no")
    assert event(errorCode="AccessDenied")["details"]["reason"] == "AccessDenied"


@pytest.mark.parametrize(
    "data, pointer",
    [
        (b"{", ""),
        (b"[]", "/Records"),
        (b'{"Records": {}}', "/Records"),
        (b'{"Records": [1]}', "/Records/0"),
        (json.dumps({"Records": [record(), {"eventID": "x"}]}).encode(), "/Records/1"),
        (b'{"Records": [], "Records": []}', "/Records"),
        (b"\x1f\x8bnot gzip", ""),
    ],
)
def test_files_that_are_none(data, pointer):
    with pytest.raises(MalformedInputError, match=r"trail\.json") as caught:
        list(read_cloudtrail(io.BytesIO(data), "trail.json"))
    assert caught.value.pointer == pointer


def test_compressed_files_are_the_same_and_bombs_are_refused(monkeypatch):
    data = json.dumps({"Records": [record()]}).encode()
    compressed = io.BytesIO(gzip.compress(data))
    assert list(read_cloudtrail(compressed, "x")) == list(read_cloudtrail(io.BytesIO(data), "x"))
    monkeypatch.setattr("tlog.ingest.cloudtrail.MAX_FILE_SIZE", 1000)
    with pytest.raises(MalformedInputError, match="decompresses"):
        list(read_cloudtrail(io.BytesIO(gzip.compress(bytes(10_000))), "x"))


def test_each_record_is_an_item_with_its_place():
    records = [record(), record(eventID="393BA626-3be5-4a26-ab1b-0f4c54f49959", userAgent="caf\u00e9")]
    data = io.BytesIO(json.dumps({"Records": records}).encode())
    items = list(read_cloudtrail(data, "trail.json"))
    assert [item.place for item in items] == ["trail.json, record 1", "trail.json, record 2"]
    assert [json.loads(item.raw) for item in items] == [map_event(each) for each in records]
    assert "caf\u00e9".encode() in items[1].raw


def leaves(value):
    if isinstance(value, dict):
        for child in value.values():
            yield from leaves(child)
    elif isinstance(value, list):
        for child in value:
            yield from leaves(child)
    elif value not in (None, ""):
        yield value


@needs_data
def test_nothing_of_a_real_record_is_lost():
    count = 0
    for path in REAL:
        data = path.read_bytes()
        for source, item in zip(json.loads(data)["Records"], read_cloudtrail(io.BytesIO(data), path.name), strict=True):
            parse_batch([item.raw])
            text = item.raw.decode()
            for value in leaves(source):
                written = json.dumps(value, ensure_ascii=False).strip('"')
                assert written in text or written.lower() in text, (item.place, value)
            count += 1
    assert count == 1233


@needs_data
def test_every_record_that_names_a_bucket_is_found_by_it():
    for path in REAL:
        data = path.read_bytes()
        for source, item in zip(json.loads(data)["Records"], read_cloudtrail(io.BytesIO(data), path.name), strict=True):
            bucket = (source["requestParameters"] or {}).get("bucketName")
            if bucket:
                assert json.loads(item.raw)["resource"]["id"] == f"arn:aws:s3:::{bucket}"


@needs_data
def test_real_import_end_to_end(directory):
    """1,233 real records: imported once, sealed, checked, proved, refused after any change."""
    data = directory / "data"
    tlog("init", "--data", data, "--origin", "example.com/trail")
    first = json.loads(tlog("import", "cloudtrail", *REAL, "--data", data, "--json").stdout)
    size = first.pop("size")
    assert first == {"events": 1233, "appended": 1233, "duplicates": 0}
    assert size >= 1234, "the commitment to the bucket keys, the events, and perhaps an index epoch"
    again = tlog("import", "cloudtrail", *REAL, "--data", data).stdout
    assert "0 appended, 1,233 were in the log already; sealed at tree size 1,2" in again
    report = json.loads(tlog("fsck", "--data", data, "--json", "--second-opinion").stdout)
    assert (report["verdict"], report["checked"]["events"], report["checked"]["disclosures"]) == (
        "verified",
        1233,
        2466,
    )
    vkey = tlog("keys", "show", "--data", data).stdout.strip()
    for path in REAL[::9]:
        event_id = json.loads(path.read_bytes())["Records"][0]["eventID"]
        tlog("prove", event_id, "--out", directory / "out", "--data", data)
        files = directory / "out" / f"{event_id}.event.json", directory / "out" / f"{event_id}.tlog-proof"
        done = verify_offline("proof", "--vkey", vkey, "--event", *files)
        assert done.returncode == 0, done.stdout
        for file in files:
            content = file.read_bytes()
            file.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
            assert verify_offline("proof", "--vkey", vkey, "--event", *files).returncode in (1, 2)
            file.write_bytes(content)


@needs_data
def test_an_auditors_three_questions(directory):
    """What did bert-jan do, who touched this bucket, who used nothing at all: answered, proved, and themselves logged."""
    data, bundle = directory / "data", directory / "bundle.json"
    tlog("init", "--data", data, "--origin", "example.com/trail")
    tlog("import", "cloudtrail", *REAL, "--data", data)
    vkey = tlog("keys", "show", "--data", data).stdout.strip()
    items = [item for path in REAL for item in read_cloudtrail(io.BytesIO(path.read_bytes()), path.name)]
    mapped = [json.loads(item.raw) for item in items]
    bucket = "arn:aws:s3:::stratus-red-team-ctlr-bucket-zqfsvooxqj"
    resource = next(event["resource"] for event in mapped if event["resource"]["id"] == bucket)
    by_type = ["--ask", f"resourceType={resource['type']}", "--ask", f"resourceId={bucket}"]
    questions = [
        (
            ["--user", "bert-jan"],
            ["--ask", "actor=bert-jan"],
            [e for e in mapped if e["actor"]["userId"] == "bert-jan"],
        ),
        (
            ["--resource-type", resource["type"], "--resource-id", bucket],
            by_type,
            [e for e in mapped if e["resource"]["id"] == bucket],
        ),
        (["--user", "nobody-at-all"], ["--ask", "actor=nobody-at-all"], []),
    ]
    for asked, ask, expected in questions:
        answer = json.loads(tlog("query", *asked, "--limit", "1000", "--data", data, "--json").stdout)
        assert {event["eventId"] for event in answer["events"]} <= {event["eventId"] for event in expected}
        assert answer["count"] == min(len(expected), 1000)
        tlog("export", "--evidence", bundle, "--disclose", *asked, "--data", data)
        verdict = json.loads(verify_offline("evidence", "--vkey", vkey, *ask, "--json", bundle).stdout)
        assert (verdict["verdict"], verdict["checked"]["disclosures"]) == ("verified", 2 * len(expected))
        assert len([line for line in verdict["details"] if line.startswith("entry ")]) == len(expected)
        assert verify_offline("evidence", "--vkey", vkey, "--ask", "actor=benjamin", bundle).returncode == 1
    journal = json.loads(tlog("query", "--resource-type", "log", "--data", data, "--json").stdout)["events"]
    logged = [json.loads(event["details"]["query"]) for event in journal]
    for question in ({"userId": "bert-jan"}, {"resourceId": bucket}, {"userId": "nobody-at-all"}):
        asked = [each["ask"] for each in logged if question.items() <= each.items()]
        assert sorted(asked) == ["events", "export"], question
