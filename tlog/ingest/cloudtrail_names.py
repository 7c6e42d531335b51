"""What a CloudTrail record names, so that every id in the record is found: the walk, and the types of what is named.

A text is an id if it is an ARN (AWS General Reference, "Amazon Resource Names"), or if the name of its member says so. Types are
those of CloudFormation. docs/reference/cloudtrail-mapping.md has both in words.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from tlog.ingest.total import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UNKNOWN_TYPE: Final = "AWS::Resource"
WALKED: Final = ("requestParameters", "responseElements", "serviceEventDetails")
_BUCKET: Final = "AWS::S3::Bucket"
_OBJECT: Final = "AWS::S3::Object"
_ARN: Final = re.compile(r"arn:[a-z0-9-]*:[A-Za-z0-9.-]+:[^:\s]*:[^:\s]*:\S.*", re.DOTALL)
_SAYS_ID: Final = re.compile(r"(.*?)(ids?|arns?|identifier|names?)", re.IGNORECASE | re.DOTALL)
_ROLES: Final = {"Role": "AWS::IAM::Role", "IAMUser": "AWS::IAM::User"}

# Names of members, in any case, whatever the rest of a record says.
NAMES: Final = {
    "keyid": "AWS::KMS::Key",
    "keyarn": "AWS::KMS::Key",
    "keyname": "AWS::EC2::KeyPair",
    "kmskeyid": "AWS::KMS::Key",
    "groupid": "AWS::EC2::SecurityGroup",
    "groupname": "AWS::IAM::Group",
    "policyarn": "AWS::IAM::ManagedPolicy",
    "policyid": "AWS::IAM::ManagedPolicy",
    "policyname": "AWS::IAM::Policy",
    "secretlist": "AWS::SecretsManager::Secret",
    "topicarn": "AWS::SNS::Topic",
    "queueurl": "AWS::SQS::Queue",
}
# Names of members in the records of one service, the part of `eventSource` before the first dot.
SERVICE_NAMES: Final = {
    ("ssm", "name"): "AWS::SSM::Parameter",
    ("kms", "aliasname"): "AWS::KMS::Alias",
    ("secretsmanager", "name"): "AWS::SecretsManager::Secret",
    ("secretsmanager", "arn"): "AWS::SecretsManager::Secret",
    ("cloudtrail", "name"): "AWS::CloudTrail::Trail",
    ("cloudtrail", "trailnamelist"): "AWS::CloudTrail::Trail",
    ("ec2", "groupname"): "AWS::EC2::SecurityGroup",
    ("dynamodb", "tablename"): "AWS::DynamoDB::Table",
    ("glue", "tablename"): "AWS::Glue::Table",
    ("glue", "databasename"): "AWS::Glue::Database",
    ("athena", "workgroup"): "AWS::Athena::WorkGroup",
    ("lambda", "role"): "AWS::IAM::Role",
    ("ecs", "cluster"): "AWS::ECS::Cluster",
    ("ecs", "service"): "AWS::ECS::Service",
    ("ecs", "taskdefinition"): "AWS::ECS::TaskDefinition",
    ("eks", "name"): "AWS::EKS::Cluster",
    ("eks", "clustername"): "AWS::EKS::Cluster",
    ("cloudformation", "stackname"): "AWS::CloudFormation::Stack",
    ("autoscaling", "autoscalinggroupname"): "AWS::AutoScaling::AutoScalingGroup",
    ("events", "rule"): "AWS::Events::Rule",
    ("events", "name"): "AWS::Events::Rule",
    ("codebuild", "projectname"): "AWS::CodeBuild::Project",
    ("sagemaker", "notebookinstancename"): "AWS::SageMaker::NotebookInstance",
    ("redshift", "clusteridentifier"): "AWS::Redshift::Cluster",
    ("elasticache", "cacheclusterid"): "AWS::ElastiCache::CacheCluster",
    ("ecr", "repositoryname"): "AWS::ECR::Repository",
    ("codecommit", "repositoryname"): "AWS::CodeCommit::Repository",
    ("elasticloadbalancing", "loadbalancerarn"): "AWS::ElasticLoadBalancingV2::LoadBalancer",
    ("states", "statemachinearn"): "AWS::StepFunctions::StateMachine",
    ("organizations", "policyid"): "AWS::Organizations::Policy",
    ("kinesis", "streamname"): "AWS::Kinesis::Stream",
    ("firehose", "deliverystreamname"): "AWS::KinesisFirehose::DeliveryStream",
}
# What stands before `Id`, `Arn`, `Identifier`, `Name` or their plural: `instanceId`, `instanceIds`, `InstanceArn`.
NOUNS: Final = {
    "accesskey": "AWS::IAM::AccessKey",
    "account": "AWS::Account",
    "recipientaccount": "AWS::Account",
    "owner": "AWS::Account",
    "allocation": "AWS::EC2::EIP",
    "alarm": "AWS::CloudWatch::Alarm",
    "bucket": _BUCKET,
    "s3bucket": _BUCKET,
    "certificate": "AWS::CertificateManager::Certificate",
    "customergateway": "AWS::EC2::CustomerGateway",
    "dbcluster": "AWS::RDS::DBCluster",
    "dbclustersnapshot": "AWS::RDS::DBClusterSnapshot",
    "dbinstance": "AWS::RDS::DBInstance",
    "dbparametergroup": "AWS::RDS::DBParameterGroup",
    "dbsnapshot": "AWS::RDS::DBSnapshot",
    "dbsubnetgroup": "AWS::RDS::DBSubnetGroup",
    "detector": "AWS::GuardDuty::Detector",
    "dhcpoptions": "AWS::EC2::DHCPOptions",
    "distribution": "AWS::CloudFront::Distribution",
    "document": "AWS::SSM::Document",
    "filesystem": "AWS::EFS::FileSystem",
    "finaldbsnapshot": "AWS::RDS::DBSnapshot",
    "flowlog": "AWS::EC2::FlowLog",
    "function": "AWS::Lambda::Function",
    "hostedzone": "AWS::Route53::HostedZone",
    "image": "AWS::EC2::Image",
    "instance": "AWS::EC2::Instance",
    "instanceprofile": "AWS::IAM::InstanceProfile",
    "internetgateway": "AWS::EC2::InternetGateway",
    "kmskey": "AWS::KMS::Key",
    "launchtemplate": "AWS::EC2::LaunchTemplate",
    "layer": "AWS::Lambda::LayerVersion",
    "loggroup": "AWS::Logs::LogGroup",
    "logstream": "AWS::Logs::LogStream",
    "masterkey": "AWS::KMS::Key",
    "natgateway": "AWS::EC2::NatGateway",
    "networkacl": "AWS::EC2::NetworkAcl",
    "networkinterface": "AWS::EC2::NetworkInterface",
    "organization": "AWS::Organizations::Organization",
    "organizationalunit": "AWS::Organizations::OrganizationalUnit",
    "profile": "AWS::RolesAnywhere::Profile",
    "queue": "AWS::SQS::Queue",
    "role": "AWS::IAM::Role",
    "routetable": "AWS::EC2::RouteTable",
    "samlprovider": "AWS::IAM::SAMLProvider",
    "secret": "AWS::SecretsManager::Secret",  # nosec B105
    "securitygroup": "AWS::EC2::SecurityGroup",
    "securitygrouprule": "AWS::EC2::SecurityGroupRule",
    "servercertificate": "AWS::IAM::ServerCertificate",
    "snapshot": "AWS::EC2::Snapshot",
    "stack": "AWS::CloudFormation::Stack",
    "subnet": "AWS::EC2::Subnet",
    "subscription": "AWS::SNS::Subscription",
    "table": "AWS::DynamoDB::Table",
    "topic": "AWS::SNS::Topic",
    "trail": "AWS::CloudTrail::Trail",
    "transitgateway": "AWS::EC2::TransitGateway",
    "trustanchor": "AWS::RolesAnywhere::TrustAnchor",
    "user": "AWS::IAM::User",
    "virtualmfadevice": "AWS::IAM::VirtualMFADevice",
    "volume": "AWS::EC2::Volume",
    "vpc": "AWS::EC2::VPC",
    "vpcendpoint": "AWS::EC2::VPCEndpoint",
    "vpcpeeringconnection": "AWS::EC2::VPCPeeringConnection",
    "vpngateway": "AWS::EC2::VPNGateway",
}


def find_related(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a record names as related resources, in the order in which the names stand; repeats are not removed."""
    service = (text_of(record.get("eventSource")) or "").partition(".")[0].lower()
    found: list[dict[str, Any]] = []
    for member in WALKED:
        found += _walk(record.get(member), service)
    found += _listed(record.get("resources"), service)
    return found + list(_of_identity(record.get("userIdentity")))


@lru_cache(maxsize=65_536)
def type_of(name: str, service: str) -> str | None:
    """Return the type of what a member of this name holds: None if the name does not say that it holds an id."""
    lowered = name.lower()
    for each in (lowered, lowered.removesuffix("s")):
        exact = SERVICE_NAMES.get((service, each)) or NAMES.get(each)
        if exact is not None:
            return exact
    match = _SAYS_ID.fullmatch(lowered)
    return None if match is None else NOUNS.get(match[1], UNKNOWN_TYPE)


def _walk(value: object, service: str) -> Iterator[dict[str, Any]]:
    stack: list[tuple[str, object]] = [("", value)]
    while stack:
        name, item = stack.pop()
        if isinstance(item, dict):
            yield from _object_in_bucket(item)
            stack += reversed(item.items())
        elif isinstance(item, list):
            stack += [(name, child) for child in reversed(item)]
        elif isinstance(item, str | int | float) and not isinstance(item, bool):
            yield from _named(name, str(text_of(item) or ""), service)


def _named(name: str, text: str, service: str) -> Iterator[dict[str, Any]]:
    kind = type_of(name, service)
    is_arn = text.startswith("arn:") and _ARN.fullmatch(text) is not None
    if text and (is_arn or kind is not None):
        kind = kind or UNKNOWN_TYPE
        yield {"type": kind, "id": f"arn:aws:s3:::{text}" if kind == _BUCKET and not is_arn else text}


def _object_in_bucket(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    bucket, key = text_of(item.get("bucketName")), text_of(item.get("key"))
    if bucket is not None and key is not None:
        yield {"type": _OBJECT, "id": f"arn:aws:s3:::{bucket}/{key}"}


def _listed(value: object, service: str) -> Iterator[dict[str, Any]]:
    """Yield what `resources` names: each with the type that stands beside its ARN."""
    for item in value if isinstance(value, list) else [value]:
        kind = text_of(item.get("type")) if isinstance(item, dict) else None
        for each in _walk(item, service):
            typed = kind is not None and each["type"] == UNKNOWN_TYPE
            yield {**each, "type": kind} if typed else each


def _of_identity(value: object) -> Iterator[dict[str, Any]]:
    identity = value if isinstance(value, dict) else {}
    key = text_of(identity.get("accessKeyId"))
    if key is not None:
        yield {"type": "AWS::IAM::AccessKey", "id": key}
    session = identity.get("sessionContext")
    issuer = session.get("sessionIssuer") if isinstance(session, dict) else None
    if isinstance(issuer, dict) and (arn := text_of(issuer.get("arn"))) is not None:
        yield {"type": _ROLES.get(str(issuer.get("type")), UNKNOWN_TYPE), "id": arn}
