"""What a CloudTrail record names: every id, with the type that its member's name or its neighbour says."""

from __future__ import annotations

import re

import pytest
from support import ROOT

from tlog.ingest import cloudtrail_names
from tlog.ingest.cloudtrail import _RESOURCES
from tlog.ingest.cloudtrail_names import find_related, type_of
from tlog.ingest.total import usable_type


def named(service="ec2.amazonaws.com", **members):
    return [(each["type"], each["id"]) for each in find_related({"eventSource": service, **members})]


@pytest.mark.parametrize(
    "members, found",
    [
        ({"requestParameters": {"instancesSet": {"items": [{"instanceId": "i-a"}, {"instanceId": "i-b"}]}}}, [("AWS::EC2::Instance", "i-a"), ("AWS::EC2::Instance", "i-b")]),
        ({"responseElements": {"instanceIds": ["i-a", ["i-b"], {"x": "no"}]}}, [("AWS::EC2::Instance", "i-a"), ("AWS::EC2::Instance", "i-b")]),
        ({"serviceEventDetails": {"KMSKeyARN": "x", "keyId": 7}}, [("AWS::KMS::Key", "x"), ("AWS::KMS::Key", "7")]),
        ({"requestParameters": {"x": "arn:aws:iam::1:role/y", "y": "arn:aws-cn:s3:::b/k"}}, [("AWS::Resource", "arn:aws:iam::1:role/y"), ("AWS::Resource", "arn:aws-cn:s3:::b/k")]),
        ({"requestParameters": {"x": "not arn:aws:iam::1:role/y", "y": "arn:", "z": "arn::::"}}, []),
        ({"requestParameters": {"roleName": "", "userIds": [None, True, {}, ""], "x": 1, "filterName": False}}, []),
        ({"requestParameters": {"somethingId": "s", "GROUPNAMES": "g", "dbInstanceIDENTIFIER": "d"}}, [("AWS::Resource", "s"), ("AWS::EC2::SecurityGroup", "g"), ("AWS::RDS::DBInstance", "d")]),
        ({"requestParameters": {"bucketName": "b", "key": "k/x"}}, [("AWS::S3::Object", "arn:aws:s3:::b/k/x"), ("AWS::S3::Bucket", "arn:aws:s3:::b")]),
        ({"requestParameters": {"key": "k"}}, []),
        ({"requestParameters": {"bucketName": "arn:aws:s3:::b"}}, [("AWS::S3::Bucket", "arn:aws:s3:::b")]),
        ({"requestParameters": "instanceId", "responseElements": ["x"]}, []),
        ({"resources": [{"ARN": "arn:x", "type": "AWS::X", "accountId": "1"}]}, [("AWS::X", "arn:x"), ("AWS::Account", "1")]),
        ({"resources": [{"ARNPrefix": "arn:aws:s3:::b/p", "type": "AWS::S3::Object"}, {"ARN": "arn:y"}, "arn:aws:s3:::z"]},
         [("AWS::S3::Object", "arn:aws:s3:::b/p"), ("AWS::Resource", "arn:y"), ("AWS::Resource", "arn:aws:s3:::z")]),
        ({"resources": {"ARN": "arn:x"}}, [("AWS::Resource", "arn:x")]),
        ({"userIdentity": {"accessKeyId": "AKIA", "sessionContext": {"sessionIssuer": {"type": "Role", "arn": "arn:r"}}}}, [("AWS::IAM::AccessKey", "AKIA"), ("AWS::IAM::Role", "arn:r")]),
        ({"userIdentity": {"sessionContext": {"sessionIssuer": {"arn": "arn:r"}}}}, [("AWS::Resource", "arn:r")]),
        ({"userIdentity": {"accessKeyId": "", "sessionContext": {"sessionIssuer": {"arn": {}}}}}, []),
        ({"userIdentity": {"sessionContext": "x"}}, []),
        ({"userIdentity": [1]}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_what_is_named(members, found):
    assert named(**members) == found


@pytest.mark.parametrize(
    "name, service, kind",
    [
        ("name", "ssm", "AWS::SSM::Parameter"),
        ("Names", "ssm", "AWS::SSM::Parameter"),
        ("name", "ec2", "AWS::Resource"),
        ("groupName", "ec2", "AWS::EC2::SecurityGroup"),
        ("groupName", "iam", "AWS::IAM::Group"),
        ("functionName", "lambda", "AWS::Lambda::Function"),
        ("role", "lambda", "AWS::IAM::Role"),
        ("role", "iam", None),
        ("description", "ec2", None),
        ("policyArns", "iam", "AWS::IAM::ManagedPolicy"),
        ("id", "ec2", "AWS::Resource"),
    ],
)
def test_types(name, service, kind):
    assert type_of(name, service) == kind


def test_every_member_that_gives_a_main_resource_its_type_gives_a_related_one_the_same():
    for member, kind, _ in _RESOURCES:
        assert type_of(member, "any") == kind, member


def test_every_type_is_one():
    tables = (cloudtrail_names.NAMES, cloudtrail_names.SERVICE_NAMES, cloudtrail_names.NOUNS)
    for table in tables:
        for key, kind in table.items():
            assert usable_type(kind) == kind
            assert (key if isinstance(key, str) else "".join(key)).islower(), "names are compared in small letters"


def test_the_page_has_the_tables():
    page = (ROOT / "docs" / "reference" / "cloudtrail-mapping.md").read_text(encoding="utf-8")
    rows = set(
        re.findall(
            r"^\| `([^|]+)` \| (?:`([^|]*)`)? ?\| `([^|]+)` \|$",
            page.partition("## Related resources")[2],
            re.MULTILINE,
        )
    )
    expected = {(f"{noun}…", "", kind) for noun, kind in cloudtrail_names.NOUNS.items()}
    expected |= {(name, "", kind) for name, kind in cloudtrail_names.NAMES.items()}
    expected |= {(name, service, kind) for (service, name), kind in cloudtrail_names.SERVICE_NAMES.items()}
    assert rows == expected
