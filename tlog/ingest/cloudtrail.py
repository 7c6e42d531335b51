"""AWS CloudTrail records as events; docs/reference/cloudtrail-mapping.md is this mapping in words.

The mapping is a pure function of the record, so importing a file twice adds nothing. Nothing of a record is lost: members
without a place of their own in an event go into `metadata`, to which the event's entry only commits.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from tlog.core.canonical import parse_strict
from tlog.errors import MalformedInputError
from tlog.ingest.importing import Item

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_FILE_SIZE: Final = 256 << 20
_GZIP: Final = b"\x1f\x8b"

# The first prefix of the eventName that fits decides; read-only calls are reads whatever their name.
_ACTIONS: Final = (
    ("ConsoleLogin", "login"),
    ("CheckMfa", "login"),
    ("Logout", "logout"),
    ("AssumeRole", "login"),
    ("GetSessionToken", "login"),
    ("GetFederationToken", "login"),
    ("SwitchRole", "login"),
    ("Attach", "permission_change"),
    ("Detach", "permission_change"),
    ("AddRoleToInstanceProfile", "permission_change"),
    ("RemoveRoleFromInstanceProfile", "permission_change"),
    ("AddUserToGroup", "permission_change"),
    ("RemoveUserFromGroup", "permission_change"),
    ("CreateAccessKey", "permission_change"),
    ("CreateLoginProfile", "permission_change"),
    ("UpdateAssumeRolePolicy", "permission_change"),
    ("UpdateLoginProfile", "permission_change"),
    ("AuthorizeSecurityGroup", "permission_change"),
    ("RevokeSecurityGroup", "permission_change"),
    ("AddPermission", "permission_change"),
    ("RemovePermission", "permission_change"),
    ("PutBucketPolicy", "permission_change"),
    ("PutBucketAcl", "permission_change"),
    ("PutBucketPublicAccessBlock", "permission_change"),
    ("PutRolePolicy", "permission_change"),
    ("PutUserPolicy", "permission_change"),
    ("PutGroupPolicy", "permission_change"),
    ("DeleteRolePolicy", "permission_change"),
    ("DeleteUserPolicy", "permission_change"),
    ("DeleteBucketPolicy", "permission_change"),
    ("ModifySnapshotAttribute", "export"),
    ("ModifyImageAttribute", "export"),
    ("ModifyDBSnapshotAttribute", "export"),
    ("CreateDBSnapshot", "export"),
    ("CreateSnapshot", "export"),
    ("StartExportTask", "export"),
    ("StopLogging", "config_change"),
    ("StartLogging", "config_change"),
    ("UpdateTrail", "config_change"),
    ("PutEventSelectors", "config_change"),
    ("PutBucket", "config_change"),
    ("Modify", "config_change"),
    ("Enable", "config_change"),
    ("Disable", "config_change"),
    ("Delete", "delete"),
    ("Terminate", "delete"),
    ("Deregister", "delete"),
    ("Release", "delete"),
    ("Remove", "delete"),
    ("LeaveOrganization", "delete"),
    ("Create", "create"),
    ("Run", "create"),
    ("Allocate", "create"),
    ("Register", "create"),
    ("Import", "create"),
    ("Generate", "create"),
    ("Put", "update"),
)
_OTHERWISE: Final = "update"

# A member of requestParameters that names what was asked for: (member, resource type, id with {} for its value).
_RESOURCES: Final = (
    ("bucketName", "AWS::S3::Bucket", "arn:aws:s3:::{}"),
    ("secretId", "AWS::SecretsManager::Secret", "{}"),
    ("functionName", "AWS::Lambda::Function", "{}"),
    ("trailName", "AWS::CloudTrail::Trail", "{}"),
    ("instanceId", "AWS::EC2::Instance", "{}"),
    ("snapshotId", "AWS::EC2::Snapshot", "{}"),
    ("vpcId", "AWS::EC2::VPC", "{}"),
    ("subnetId", "AWS::EC2::Subnet", "{}"),
    ("routeTableId", "AWS::EC2::RouteTable", "{}"),
    ("groupId", "AWS::EC2::SecurityGroup", "{}"),
    ("dBInstanceIdentifier", "AWS::RDS::DBInstance", "{}"),
    ("dBSnapshotIdentifier", "AWS::RDS::DBSnapshot", "{}"),
    ("roleName", "AWS::IAM::Role", "{}"),
    ("userName", "AWS::IAM::User", "{}"),
    ("policyArn", "AWS::IAM::ManagedPolicy", "{}"),
    ("instanceProfileName", "AWS::IAM::InstanceProfile", "{}"),
    ("roleArn", "AWS::IAM::Role", "{}"),
    ("keyId", "AWS::KMS::Key", "{}"),
)
_SSM: Final = "ssm.amazonaws.com"
_BUCKET_ARN: Final = re.compile(r"arn:aws[a-z-]*:s3:::([^/]+)")
_PLACED: Final = frozenset(("eventID", "eventTime", "userAgent", "errorCode", "errorMessage"))


def read_cloudtrail(stream: BinaryIO, name: str) -> Iterator[Item]:
    """Yield the event of each record of a CloudTrail log, plain or gzip; its place is the name and the record's number, from 1.

    Raises:
        MalformedInputError: the file is not a CloudTrail log, or a record lacks what an event needs; both are named.

    """
    data = stream.read()
    content = _decompress(data, name) if data.startswith(_GZIP) else data
    try:
        document = parse_strict(content)
    except MalformedInputError as error:
        message = f"{name}: {error}"
        raise MalformedInputError(message, error.pointer) from None
    records = document.get("Records") if isinstance(document, dict) else None
    if not isinstance(records, list):
        message = f"{name}: a CloudTrail log has a member 'Records' with an array"
        raise MalformedInputError(message, "/Records")
    for position, record in enumerate(records):
        try:
            event = map_event(record)
        except (KeyError, TypeError, AttributeError) as error:
            message = f"{name}: the record lacks {error}" if isinstance(error, KeyError) else f"{name}: not a record"
            raise MalformedInputError(message, f"/Records/{position}") from None
        yield Item(f"{name}, record {position + 1}", json.dumps(event, ensure_ascii=False).encode())


def map_event(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of one record.

    Raises:
        KeyError: a member that every CloudTrail record has is missing.

    """
    identity = record["userIdentity"]
    error_code, error_message = record.get("errorCode"), record.get("errorMessage")
    details = {"query": f"{record['eventSource']}:{record['eventName']}"}
    if error_code is not None:
        details["reason"] = error_code if error_message is None else f"{error_code}: {error_message}"
    return {
        "eventId": record["eventID"].lower(),
        "timestamp": record["eventTime"],
        "actor": _actor(record, identity),
        "action": _action(record["eventName"], read_only=record.get("readOnly") is True),
        "resource": _resource(record),
        "details": details,
        "metadata": {key: value for key, value in record.items() if key not in _PLACED},
        "outcome": "success" if error_code is None else "failure",
    }


def _actor(record: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    user_id = next(
        value
        for value in (
            identity.get("userName"),
            identity.get("arn"),
            identity.get("invokedBy"),
            identity.get("principalId"),
            identity.get("accountId"),
            identity["type"],
        )
        if value
    )
    actor = {"userId": user_id, "role": identity["type"]}
    if record.get("userAgent"):
        actor["userAgent"] = record["userAgent"]
    address = record.get("sourceIPAddress", "")
    try:
        ip_address(address)
    except ValueError:
        return actor  # a service's name stays in the metadata
    return {**actor, "ipAddress": address}


def _action(name: str, *, read_only: bool) -> str:
    if read_only and not name.startswith(("AssumeRole", "ConsoleLogin", "GetSessionToken", "GetFederationToken")):
        return "read"
    return next((action for prefix, action in _ACTIONS if name.startswith(prefix)), _OTHERWISE)


def _resource(record: Mapping[str, Any]) -> dict[str, str]:
    parameters = record.get("requestParameters") or {}
    bucket = parameters.get("bucketName")
    listed = [item for item in record.get("resources") or () if item.get("ARN")]
    if bucket is None:
        arns = [_BUCKET_ARN.match(item["ARN"]) for item in listed if item.get("type") == "AWS::S3::Bucket"]
        bucket = next((match[1] for match in arns if match), None)
    if bucket:
        # However a record names a bucket, it gets one id, so that asking for the bucket finds everything.
        return {"type": "AWS::S3::Bucket", "id": f"arn:aws:s3:::{bucket}", "name": bucket}
    for item in listed:
        if item.get("type"):
            return {"type": item["type"], "id": item["ARN"]}
    for member, kind, form in _RESOURCES:
        value = parameters.get(member)
        if isinstance(value, str) and value:
            return {"type": kind, "id": form.format(value)}
    if record["eventSource"] == _SSM and isinstance(parameters.get("name"), str):
        return {"type": "AWS::SSM::Parameter", "id": parameters["name"]}
    for item in listed:
        return {"type": "AWS::Resource", "id": item["ARN"]}
    return {"type": "AWS::Service", "id": record["eventSource"]}


def _decompress(data: bytes, name: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            content = file.read(MAX_FILE_SIZE + 1)
    except (OSError, EOFError):
        message = f"{name}: the gzip data is damaged"
        raise MalformedInputError(message) from None
    if len(content) > MAX_FILE_SIZE:
        message = f"{name}: decompresses to more than {MAX_FILE_SIZE >> 20} MiB"
        raise MalformedInputError(message)
    return content
