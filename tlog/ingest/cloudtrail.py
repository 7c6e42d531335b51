"""AWS CloudTrail records as events; docs/reference/cloudtrail-mapping.md is this mapping in words.

The mapping is a pure function of the record, so importing a file twice adds nothing. Nothing of a record is lost: members
without a place of their own in an event go into `metadata`, to which the event's entry only commits. What a record names is
found by `tlog.ingest.cloudtrail_names`, what becomes of odd values is decided by `tlog.ingest.total`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tlog.core.event import PATTERNS
from tlog.ingest.cloudtrail_names import find_related
from tlog.ingest.total import SetAside, event_id, finish, first_text, text_of, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
_LOGINS: Final = ("AssumeRole", "ConsoleLogin", "GetSessionToken", "GetFederationToken")


class CloudTrail:
    """The mapping of CloudTrail records (`tlog.ingest.total.RecordMapping`)."""

    name = "cloudtrail"

    def map(self, record: Any, position: int = 0) -> list[dict[str, Any]]:  # noqa: ANN401, ARG002 - any mapping's
        """Return the events of a record: one, and one more for each 32 related resources beyond the first 32.

        Raises:
            SetAside: it is no JSON object, has no `eventID` or no `eventTime` that can be read, or only names a file.

        """
        if not isinstance(record, dict):
            rule = "this is no JSON object"
            raise SetAside(rule)
        identity = text_of(record.get("eventID"))
        if identity is None:
            _refuse_notification(record)
            rule = "there is no eventID"
            raise SetAside(rule, "/eventID")
        is_uuid = re.search(PATTERNS["/eventId"], identity) is not None
        event = {
            "eventId": identity.lower() if is_uuid else event_id(self.name, identity),
            "timestamp": to_timestamp(record.get("eventTime"), zone="UTC", pointer="/eventTime"),
            "actor": _actor(record),
            "action": _action(
                text_of(record.get("eventName")) or "", read_only=record.get("readOnly") in (True, "true")
            ),
            "operation": record.get("eventName"),
            "resource": _resource(record),
            "relatedResources": find_related(record),
            "details": _details(record),
            "outcome": "failure" if _failed(record) else "success",
        }
        placed = set(_placed(record, event, is_uuid=is_uuid))
        return finish(event, {name: value for name, value in record.items() if name not in placed})


def _refuse_notification(record: Mapping[str, Any]) -> None:
    if "s3" in record or "s3ObjectKey" in record or record.get("Event") == "s3:TestEvent":
        rule = "this notification only names a file; import the file that it names"
        raise SetAside(rule)


def _placed(record: Mapping[str, Any], event: Mapping[str, Any], *, is_uuid: bool) -> Iterator[str]:
    """Yield the members that the event has whole, outside of its metadata."""
    if is_uuid:
        yield "eventID"
    if event["timestamp"] == record["eventTime"]:
        yield "eventTime"
    texts = ("userAgent", "errorCode", "errorMessage")
    yield from (name for name in texts if isinstance(record.get(name), str) and record[name])


def _members(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _actor(record: Mapping[str, Any]) -> dict[str, Any]:
    identity = _members(record.get("userIdentity"))
    names = ("userName", "arn", "invokedBy", "principalId", "accountId")
    by_service = text_of(identity.get("invokedBy")) is not None or identity.get("type") == "AWSService"
    return {
        "userId": first_text(*map(identity.get, names)),
        "type": "service" if by_service else None,
        "role": identity.get("type"),
        "userAgent": record.get("userAgent"),
        "address": record.get("sourceIPAddress"),
    }


def _action(name: str, *, read_only: bool) -> str:
    if read_only and not name.startswith(_LOGINS):
        return "read"
    return next((action for prefix, action in _ACTIONS if name.startswith(prefix)), _OTHERWISE)


def _failed(record: Mapping[str, Any]) -> bool:
    answer = _members(record.get("responseElements"))
    named = (record.get(name) for name in ("errorCode", "errorMessage"))
    return answer.get("ConsoleLogin") == "Failure" or any(value not in (None, "", [], {}) for value in named)


def _details(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "query": _joined(":", record.get("eventSource"), record.get("eventName")),
        "reason": _joined(": ", record.get("errorCode"), record.get("errorMessage")),
    }


def _joined(separator: str, *values: object) -> str:
    return separator.join(text for text in map(text_of, values) if text is not None)


def _resource(record: Mapping[str, Any]) -> dict[str, Any]:
    parameters = _members(record.get("requestParameters"))
    service = text_of(record.get("eventSource"))
    listed = _listed(record.get("resources"))
    bucket = text_of(parameters.get("bucketName"))
    if bucket is None:
        arns = (_BUCKET_ARN.match(arn) for arn, kind in listed if kind == "AWS::S3::Bucket")
        bucket = next((match[1] for match in arns if match), None)
    if bucket is not None:
        # However a record names a bucket, it gets one id, so that asking for the bucket finds everything.
        return {"type": "AWS::S3::Bucket", "id": f"arn:aws:s3:::{bucket}", "name": bucket}
    for arn, kind in listed:
        if kind is not None:
            return {"type": kind, "id": arn}
    for member, kind, form in _RESOURCES:
        value = parameters.get(member)
        if isinstance(value, str) and value:
            return {"type": kind, "id": form.format(value)}
    if service == _SSM and isinstance(parameters.get("name"), str) and parameters["name"]:
        return {"type": "AWS::SSM::Parameter", "id": parameters["name"]}
    for arn, _ in listed:
        return {"type": "AWS::Resource", "id": arn}
    return _fallback(record, service)


def _listed(value: object) -> list[tuple[str, str | None]]:
    """Return the ARN and the type, if there is one, of each item of `resources`."""
    items = map(_members, value if isinstance(value, list) else ())
    found = ((text_of(item.get("ARN")), text_of(item.get("type"))) for item in items)
    return [(arn, kind) for arn, kind in found if arn is not None]


def _fallback(record: Mapping[str, Any], service: str | None) -> dict[str, Any]:
    account = first_text(record.get("recipientAccountId"), _members(record.get("userIdentity")).get("accountId"))
    if service is not None or account is None:
        return {"type": "AWS::Service", "id": service or "unknown"}
    return {"type": "AWS::Account", "id": account}
