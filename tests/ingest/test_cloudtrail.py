"""CloudTrail records become events: deterministic, complete, valid, whatever a record holds."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd import VALUES, odd_texts, odd_values
from support import ROOT, tlog, verify_offline

from tlog.core.making.parsing import parse_batch, parse_event
from tlog.ingest import cloudtrail
from tlog.ingest.cloudtrail import CloudTrail
from tlog.ingest.reading import Item, encode_event, read_records
from tlog.ingest.total import SetAside, event_id

SHARED = ROOT.parent / "shared"
REAL = sorted((SHARED / "data" / "cloudtrail").glob("*.json"))
CASES = sorted((SHARED / "cases").glob("ct-*"))
needs_data = pytest.mark.skipif(not REAL, reason="the public CloudTrail sample is not beside this checkout")
UUID = "293ba626-3be5-4a26-ab1b-0f4c54f49959"


def record(**members):
    whole = {
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
    return {name: value for name, value in whole.items() if value is not ...}


def events(**members):
    mapped = CloudTrail().map(record(**members))
    parse_batch([encode_event(each) for each in mapped])
    return mapped


def event(**members):
    (mapped,) = events(**members)
    return mapped


def test_plain_members():
    mapped = event()
    assert mapped["eventId"] == UUID
    assert mapped["timestamp"] == "2026-07-10T11:42:36Z"
    assert mapped["actor"] == {
        "userId": "mallory",
        "role": "IAMUser",
        "userAgent": "aws-cli/2",
        "ipAddress": "192.0.2.7",
    }
    assert mapped["details"] == {"query": "ec2.amazonaws.com:DescribeInstances"}
    assert (mapped["outcome"], mapped["operation"]) == ("success", "DescribeInstances")
    assert mapped["metadata"].keys() == record().keys() - {"eventID", "eventTime", "userAgent"}


@pytest.mark.parametrize(
    "identity, user_id, kind",
    [
        ({"type": "IAMUser", "userName": "a", "arn": "x"}, "a", None),
        ({"type": "IAMUser", "userName": "", "arn": "x"}, "x", None),
        ({"type": "IAMUser", "userName": ["a"], "arn": {}, "principalId": "P"}, "P", None),
        ({"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/r/s"}, "arn:aws:sts::1:assumed-role/r/s", None),
        ({"type": "AWSService", "invokedBy": "rds.amazonaws.com"}, "rds.amazonaws.com", "service"),
        ({"accountId": "1", "invokedBy": "rds.amazonaws.com"}, "rds.amazonaws.com", "service"),
        ({"type": "IAMUser", "userName": "a", "invokedBy": "athena.amazonaws.com"}, "a", "service"),
        ({"type": "AWSService", "principalId": "P"}, "P", "service"),
        ({"type": "Unknown", "principalId": "P"}, "P", None),
        ({"type": "AWSAccount", "accountId": 123}, "123", None),
        ({"type": "Root"}, None, "unknown"),
        ({"type": "AWSService"}, None, "unknown"),
        ({"type": "", "principalId": "", "accountId": ""}, None, "unknown"),
        ({"userName": "u" * 300}, "sha256:" + hashlib.sha256(b"u" * 300).hexdigest(), None),
        ("root", None, "unknown"),
        (None, None, "unknown"),
        (..., None, "unknown"),
    ],
)
def test_actor(identity, user_id, kind):
    mapped = event(userIdentity=identity)
    assert (mapped["actor"].get("userId"), mapped["actor"].get("type")) == (user_id, kind)
    assert identity is ... or mapped["metadata"]["userIdentity"] == identity


def test_service_names_are_addresses_as_the_source_saw_them():
    mapped = event(sourceIPAddress="AWS Internal", userAgent="")
    assert mapped["actor"] == {"userId": "mallory", "role": "IAMUser", "address": "AWS Internal"}
    assert mapped["metadata"]["sourceIPAddress"] == "AWS Internal"


@pytest.mark.parametrize(
    "name, read_only, action",
    [
        ("GetObject", True, "read"),
        ("GetObject", "true", "read"),
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
        (..., False, "update"),
        (["RunInstances"], None, "update"),
    ],
)
def test_action(name, read_only, action):
    assert event(eventName=name, readOnly=read_only)["action"] == action


@pytest.mark.parametrize(
    "name, operation", [("RunInstances", "RunInstances"), ("Run instances", None), ("", None), (7, "7"), (None, None)]
)
def test_operation(name, operation):
    mapped = event(eventName=name)
    assert mapped.get("operation") == operation
    assert mapped["metadata"]["eventName"] == name


BUCKET = {"type": "AWS::S3::Bucket", "id": "arn:aws:s3:::logs", "name": "logs"}
SERVICE = {"type": "AWS::Service", "id": "ec2.amazonaws.com"}


@pytest.mark.parametrize(
    "members, resource",
    [
        ({"requestParameters": {"bucketName": "logs", "key": "a"}}, BUCKET),
        ({"resources": [{"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::logs/a"}, {"type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::logs"}]}, BUCKET),
        ({"resources": [{"type": "AWS::KMS::Key", "ARN": "arn:k"}]}, {"type": "AWS::KMS::Key", "id": "arn:k"}),
        ({"resources": [None, 7, {}, {"ARN": ""}, {"type": "AWS::KMS::Key", "ARN": "arn:k"}]}, {"type": "AWS::KMS::Key", "id": "arn:k"}),
        ({"requestParameters": {"roleName": "admin"}}, {"type": "AWS::IAM::Role", "id": "admin"}),
        ({"requestParameters": {"roleName": "", "userName": "u"}}, {"type": "AWS::IAM::User", "id": "u"}),
        ({"requestParameters": {"instanceId": ["a"]}}, SERVICE),
        ({"requestParameters": "roleName"}, SERVICE),
        ({"requestParameters": ["roleName"]}, SERVICE),
        ({"requestParameters": {"name": "/db/password"}, "eventSource": "ssm.amazonaws.com"}, {"type": "AWS::SSM::Parameter", "id": "/db/password"}),
        ({"resources": [{"ARN": "arn:x"}]}, {"type": "AWS::Resource", "id": "arn:x"}),
        ({"resources": {"ARN": "arn:x"}}, SERVICE),
        ({}, SERVICE),
        ({"eventSource": ..., "recipientAccountId": "111122223333"}, {"type": "AWS::Account", "id": "111122223333"}),
        ({"eventSource": "", "userIdentity": {"accountId": "444455556666"}}, {"type": "AWS::Account", "id": "444455556666"}),
        ({"eventSource": {}, "userIdentity": None}, {"type": "AWS::Service", "id": "unknown"}),
    ],
)  # fmt: skip
def test_resource(members, resource):
    assert event(**members)["resource"] == resource


@pytest.mark.parametrize(
    "members, reason",
    [
        ({"errorCode": "AccessDenied", "errorMessage": "no"}, "AccessDenied: no"),
        ({"errorCode": "AccessDenied"}, "AccessDenied"),
        ({"errorMessage": "no"}, "no"),
        ({"errorCode": 5}, "5"),
        ({"errorCode": {"a": 1}}, None),
        ({"responseElements": {"ConsoleLogin": "Failure"}}, None),
    ],
)
def test_failure(members, reason):
    mapped = event(**members)
    assert (mapped["outcome"], mapped["details"].get("reason")) == ("failure", reason)
    for name, value in members.items():
        assert isinstance(value, str) or mapped["metadata"][name] == value


@pytest.mark.parametrize(
    "members",
    [
        {"errorCode": ""},
        {"errorCode": None},
        {"responseElements": {"ConsoleLogin": "Success"}},
        {"responseElements": "Failure"},
    ],
)
def test_success(members):
    assert event(**members)["outcome"] == "success"


def test_an_event_id_that_is_no_uuid():
    mapped = event(eventID="AbC-1")
    assert (mapped["eventId"], mapped["metadata"]["eventID"]) == (event_id("cloudtrail", "AbC-1"), "AbC-1")
    assert event(eventID=7)["eventId"] == event_id("cloudtrail", "7")


@pytest.mark.parametrize(
    "time, timestamp",
    [
        ("2026-07-10T11:42:36.5Z", "2026-07-10T11:42:36.5Z"),
        ("2026-07-10T11:42:36", "2026-07-10T11:42:36Z"),
        ("2026-07-10 13:42:36+0200", "2026-07-10T11:42:36Z"),
    ],
)
def test_times(time, timestamp):
    mapped = event(eventTime=time)
    assert mapped["timestamp"] == timestamp
    assert ("eventTime" in mapped["metadata"]) == (time != timestamp)


@pytest.mark.parametrize(
    "value, rule, pointer",
    [
        (7, "no JSON object", ""),
        ({}, "there is no eventID", "/eventID"),
        (record(eventID=""), "there is no eventID", "/eventID"),
        (record(eventID={}), "there is no eventID", "/eventID"),
        (record(eventTime=...), "there is no time", "/eventTime"),
        (record(eventTime="yesterday"), "no date and time", "/eventTime"),
        (
            {"eventSource": "aws:s3", "eventTime": "2026-07-10T11:42:36Z", "s3": {"object": {"key": "x"}}},
            "only names a file",
            "",
        ),
        ({"s3Bucket": "b", "s3ObjectKey": ["x"]}, "only names a file", ""),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent"}, "only names a file", ""),
    ],
)
def test_what_is_set_aside(value, rule, pointer):
    with pytest.raises(SetAside, match=rule) as caught:
        CloudTrail().map(value, 0)
    assert caught.value.pointer == pointer


def test_more_than_32_related_resources():
    first, second = events(
        eventName="TerminateInstances",
        requestParameters={"instancesSet": {"items": [{"instanceId": f"i-{k}"} for k in range(40)]}},
    )
    assert [len(each["relatedResources"]) for each in (first, second)] == [32, 8]
    assert second["eventId"] == event_id("part", UUID, 2)
    assert second["metadata"] == {"tlog:continues": UUID, "part": 2, "parts": 2}


def test_a_record_that_is_too_large():
    mapped = event(requestParameters={"roleName": "r", "policyDocument": "x" * 70_000})
    assert mapped["metadata"]["tlog:leftOut"].keys() == {"requestParameters"}
    assert mapped["resource"] == {"type": "AWS::IAM::Role", "id": "r"}


MEMBERS = [
    "additionalEventData", "errorCode", "errorMessage", "eventName", "eventSource", "readOnly", "recipientAccountId",
    "requestParameters", "resources", "responseElements", "serviceEventDetails", "sourceIPAddress", "userAgent", "userIdentity",
]  # fmt: skip
NAMES = [
    "type",
    "userName",
    "arn",
    "invokedBy",
    "principalId",
    "accountId",
    "accessKeyId",
    "sessionContext",
    "sessionIssuer",
    "ARN",
]
NAMES += ["bucketName", "key", "instanceIds", "roleName", "name", "ConsoleLogin"]
inner = st.recursive(
    odd_values,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(NAMES), each, max_size=6),
    max_leaves=6,
)
odd_records = st.builds(
    lambda kept, odd, more: {**kept, **odd, **more},
    st.just({"eventID": UUID, "eventTime": "2026-07-10T11:42:36Z"}),
    st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, inner)),
    st.fixed_dictionaries({}, optional={"eventID": odd_texts, "eventTime": odd_values, "x": odd_values}),
)


def check_odd_record(value):
    try:
        mapped = CloudTrail().map(value, 0)
    except SetAside:
        assert value.keys() >= {"eventID", "eventTime"}
        return
    for each in mapped:
        parse_event(encode_event(each))


@settings(max_examples=VALUES, deadline=None, suppress_health_check=list(HealthCheck))
@given(odd_records)
def test_no_value_is_refused(value):
    check_odd_record(value)


def test_a_mapping_that_fails_on_a_value_would_be_found(monkeypatch):
    """The control: the old way to find the userId."""
    monkeypatch.setattr(cloudtrail, "first_text", lambda *values: next(value for value in values if value))
    found = settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        given(odd_records)(check_odd_record)
    )
    with pytest.raises((StopIteration, RuntimeError)):
        found()


def read(path):
    with path.open("rb") as stream:
        return list(read_records(stream, path.name, CloudTrail(), cloudtrail=True))


def real():
    """Yield (record, events) of the public sample."""
    for path in REAL:
        for source, item in zip(json.loads(path.read_bytes())["Records"], read(path), strict=True):
            yield source, [json.loads(each) for each in item.events]


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
    for source, mapped in real():
        text = json.dumps(mapped, ensure_ascii=False)
        for value in leaves(source):
            written = json.dumps(value, ensure_ascii=False).strip('"')
            assert written in text or written.lower() in text, value
        count += 1
    assert count == 1233


@needs_data
def test_every_record_that_names_a_bucket_is_found_by_it():
    for source, mapped in real():
        bucket = (source["requestParameters"] or {}).get("bucketName")
        if bucket:
            assert mapped[0]["resource"]["id"] == f"arn:aws:s3:::{bucket}"


ID_NAME = re.compile(r"(?i)(?:id|ids|arn|arns|identifier|name|names)\Z")


def ids_of(value, name=""):
    """Yield every text that a record names as an id: the test's own walk, in another way."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from ids_of(child, key)
    elif isinstance(value, list):
        for child in value:
            yield from ids_of(child, name)
    elif isinstance(value, str) and value and (ID_NAME.search(name) or value.startswith("arn:aws")):
        yield value


def named_by(source):
    for member in ("requestParameters", "responseElements", "serviceEventDetails", "resources"):
        yield from ids_of(source.get(member))
    identity = source.get("userIdentity", {})
    yield from filter(
        None, (identity.get("accessKeyId"), identity.get("sessionContext", {}).get("sessionIssuer", {}).get("arn"))
    )


def kept_as(name):
    return name, "sha256:" + hashlib.sha256(name.encode()).hexdigest()


def missing(source, mapped, *, related=True):
    """Return the ids of a record under which its events cannot be asked for."""
    found = {mapped[0]["resource"]["id"], mapped[0]["resource"].get("name")}
    if related:
        found |= {each["id"] for event in mapped for each in event.get("relatedResources", ())}
    return {each for each in named_by(source) if not {*kept_as(each), *kept_as(f"arn:aws:s3:::{each}")} & found}


@needs_data
def test_every_id_that_a_real_record_names_is_findable():
    found = list(real())
    assert [missing(*each) for each in found if missing(*each)] == []
    without = [each for each in found if missing(*each, related=False)]
    assert len(without) > 500, "the control: without related resources most are not"


def test_every_id_that_a_made_record_names_is_findable():
    seed = random.Random(7)
    names = ["instanceId", "ARN", "policyNames", "x", "key", "bucketName", "items", "dBSnapshotIdentifier"]

    def made(levels):
        kind = seed.randrange(4 if levels else 1)
        if kind == 0:
            return seed.choice(["i-1", "arn:aws:iam::1:role/x", "v\u00e9", "x" * 1100, 7, None, True])
        if kind == 1:
            return [made(levels - 1) for _ in range(seed.randrange(4))]
        return {seed.choice(names): made(levels - 1) for _ in range(4)}

    for _ in range(300):
        source = record(
            requestParameters=made(6), responseElements=made(3), resources=[{"type": "AWS::X", "ARN": "arn:aws:x:::y"}]
        )
        mapped = CloudTrail().map(source, 0)
        parse_batch([encode_event(each) for each in mapped])
        assert not missing(source, mapped)


@pytest.mark.skipif(not CASES, reason="the collected cases are not beside this checkout")
def test_collected_cases():
    for path in CASES:
        items = read(path)
        assert all(isinstance(each, Item) for each in items) or path.name == "ct-digest.json"
        for item in items if path.name != "ct-digest.json" else ():
            parse_batch(item.events)


@needs_data
def test_real_import_end_to_end(directory):
    """1,233 real records: imported once, sealed, checked, proved, refused after any change."""
    data = directory / "data"
    tlog("init", "--data", data, "--origin", "example.com/trail")
    first = json.loads(tlog("import", "cloudtrail", *REAL, "--data", data, "--json").stdout)
    size = first.pop("size")
    assert first == {
        "events": 1233,
        "appended": 1233,
        "duplicates": 0,
        "continuations": 0,
        "setAside": 0,
        "skipped": [],
        "passedOver": [],
    }
    assert size >= 1234, "the commitment to the bucket keys, the events, and perhaps an index epoch"
    again = tlog("import", "cloudtrail", *REAL, "--data", data).stdout
    assert "0 appended, 1,233 were in the log already; sealed at tree size 1,2" in again
    report = json.loads(tlog("fsck", "--data", data, "--json", "--second-opinion").stdout)
    groups = sum(2 + len(each.get("relatedResources", ())) for _, parts in real() for each in parts)
    assert (report["verdict"], report["checked"]["events"], report["checked"]["disclosures"]) == (
        "verified",
        1233,
        groups,
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


def concerns(event, kind, name):
    resources = [event["resource"], *event.get("relatedResources", ())]
    return any((each["type"], each["id"]) == (kind, name) for each in resources)


@needs_data
def test_an_auditors_questions(directory):
    """Who acted, who touched this bucket, and everything that a record only names: answered, proved, themselves logged."""
    data, bundle = directory / "data", directory / "bundle.json"
    tlog("init", "--data", data, "--origin", "example.com/trail")
    tlog("import", "cloudtrail", *REAL, "--data", data)
    vkey = tlog("keys", "show", "--data", data).stdout.strip()
    mapped = [each for _, parts in real() for each in parts]
    counts = Counter((each["type"], each["id"]) for event in mapped for each in event.get("relatedResources", ()))
    named = sorted(each for each, count in counts.items() if count < 500)  # an answer on one page
    resources = [
        ("AWS::S3::Bucket", "arn:aws:s3:::stratus-red-team-ctlr-bucket-zqfsvooxqj"),
        *named[:: len(named) // 4],
    ]
    users = {name: [e for e in mapped if e["actor"].get("userId") == name] for name in ("bert-jan", "nobody-at-all")}
    questions = [(["--user", name], ["--ask", f"userId={name}"], events) for name, events in users.items()]
    questions += [
        (
            ["--resource-type", kind, "--resource-id", name],
            ["--ask", f"resourceType={kind}", "--ask", f"resourceId={name}"],
            [e for e in mapped if concerns(e, kind, name)],
        )
        for kind, name in resources
    ]
    for asked, ask, expected in questions:
        answer = json.loads(tlog("query", *asked, "--limit", "1000", "--data", data, "--json").stdout)
        of_the_trail = {each["eventId"] for each in answer["events"] if each["resource"]["type"] != "log"}
        assert of_the_trail <= {each["eventId"] for each in expected}
        assert answer["count"] >= 1000 or len(of_the_trail) == len(expected)
        tlog("export", "--evidence", bundle, "--disclose", *asked, "--data", data)
        done = verify_offline("evidence", "--vkey", vkey, *ask, "--json", bundle)
        verdict = json.loads(done.stdout)
        entries = [each for each in verdict["answers"] if each["resourceType"] != "log"]
        assert (done.returncode, verdict["verdict"], len(entries)) == (0, "verified", len(expected))
        assert verify_offline("evidence", "--vkey", vkey, "--ask", "userId=benjamin", bundle).returncode == 2
        bundle.unlink()
    journal = json.loads(tlog("query", "--resource-type", "log", "--limit", "1000", "--data", data, "--json").stdout)[
        "events"
    ]
    for kind, name in [*(("user", name) for name in users), *resources]:
        asked = [json.loads(each["details"]["query"])["ask"] for each in journal if concerns(each, kind, name)]
        assert sorted(asked) == ["events", "export"], (kind, name)
