"""Each shipped mapping on records of each kind: what becomes of them, and that the metadata give the record back."""

from __future__ import annotations

import copy
import json

import foreign_records as foreign
import pytest

from tlog.core.making.parsing import parse_event
from tlog.ingest.mapping import load_mapping, maps
from tlog.ingest.total import SetAside, event_id


def changed(record, **members):
    """Return a copy with members replaced; a name such as a__b leads into objects, ... removes a member."""
    record = copy.deepcopy(record)
    for path, value in members.items():
        *way, name = path.split("__")
        place = record
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        if value is ...:
            del place[name]
        else:
            place[name] = value
    return record


def only(name, record):
    """Return the one event of a record, without metadata, which are the record."""
    [event] = load_mapping(name).map(record, 0)
    assert event.pop("metadata") == record
    parse_event(json.dumps(event).encode())
    return event


def related(event):
    return [(each["type"], each["id"]) for each in event.get("relatedResources", [])]


def test_ten_are_shipped_and_each_has_a_record_here():
    assert maps() == sorted(foreign.RECORDS)
    assert len(maps()) == 10


@pytest.mark.parametrize("name", sorted(foreign.RECORDS))
def test_every_event_is_valid_and_holds_its_record(name):
    for record in foreign.RECORDS[name]:
        events = load_mapping(name).map(record, 0)
        assert events
        assert len({event["eventId"] for event in events}) == len(events)
        for event in events:
            parse_event(json.dumps(event).encode())
        if len(events) == 1:
            assert events[0]["metadata"] == record
        assert events == load_mapping(name).map(copy.deepcopy(record), 5)


@pytest.mark.parametrize("name", sorted(foreign.RECORDS))
@pytest.mark.parametrize("bad", [None, 7, "text", [], {}, {"items": []}, {"events": None}, [{"x": 1}]])
def test_what_is_no_record_stops_nothing(name, bad):
    mapping = load_mapping(name)
    done = []
    for record in (foreign.RECORDS[name][0], bad, foreign.RECORDS[name][0]):
        try:
            done.append(len(mapping.map(record, 0)))
        except SetAside as error:
            done.append(error.rule)
    assert done[0] == done[2] >= 1
    assert isinstance(done[1], str)


# --- Kubernetes ---------------------------------------------------------------------------------------------------------


def test_kubernetes():
    assert only("kubernetes", foreign.K8S) == {
        "eventId": event_id("kubernetes", foreign.K8S["auditID"], "ResponseComplete"),
        "timestamp": "2026-03-01T08:00:00.223456Z",
        "action": "update",
        "operation": "patch",
        "outcome": "success",
        "actor": {"userId": "n.varga@clinic.example", "ipAddress": "192.0.2.7", "userAgent": "kubectl/v1.31"},
        "resource": {"type": "k8s:pods", "id": "ward/monitor-1"},
        "relatedResources": [{"type": "k8s:namespaces", "id": "ward", "role": "namespace"}],
        "details": {"query": "/api/v1/namespaces/ward/pods/monitor-1?timeout=5s"},
    }


def test_kubernetes_stages_share_an_audit_id():
    received = changed(
        foreign.K8S, stage="RequestReceived", stageTimestamp="2026-03-01T08:00:00.1Z", responseStatus=...
    )
    one, other = only("kubernetes", received), only("kubernetes", foreign.K8S)
    assert one["eventId"] != other["eventId"]
    assert "outcome" not in one


@pytest.mark.parametrize(
    "verb, resource, action",
    [
        ("get", "pods", "read"), ("watch", "secrets", "read"), ("create", "pods", "create"), ("update", "pods", "update"),
        ("delete", "pods", "delete"), ("deletecollection", "pods", "delete"), ("connect", "pods", "update"),
        ("impersonate", "users", "update"), ("patch", "rolebindings", "permission_change"),
        ("deletecollection", "clusterroles", "permission_change"), ("get", "clusterroles", "read"),
    ],
)  # fmt: skip
def test_kubernetes_verbs(verb, resource, action):
    event = only("kubernetes", changed(foreign.K8S, verb=verb, objectRef__resource=resource))
    assert (event["action"], event["operation"]) == (action, verb)


def test_kubernetes_lists_and_paths():
    listed = changed(foreign.K8S, verb="list", objectRef__name=..., requestURI="/api/v1/namespaces/ward/pods?limit=5")
    assert only("kubernetes", listed)["resource"] == {"type": "k8s:pods", "id": "/api/v1/namespaces/ward/pods"}
    path = changed(foreign.K8S, verb="get", objectRef=..., requestURI="/healthz")
    assert only("kubernetes", path)["resource"] == {"type": "k8s:path", "id": "/healthz"}
    node = changed(foreign.K8S, objectRef={"resource": "nodes", "name": "n1"}, user__username="system:node:n1")
    assert only("kubernetes", node)["resource"] == {"type": "k8s:nodes", "id": "n1"}
    assert only("kubernetes", node)["actor"]["type"] == "system"


def test_kubernetes_service_accounts_and_impersonation():
    record = changed(
        foreign.K8S,
        user__username="system:serviceaccount:ward:bot",
        impersonatedUser={"username": "b.toth"},
        responseStatus__code=403,
    )
    event = only("kubernetes", record)
    assert event["actor"]["type"] == "service"
    assert ("user", "b.toth") in related(event)
    assert event["outcome"] == "failure"


def test_kubernetes_event_list():
    stages = [changed(foreign.K8S, stage="RequestReceived"), foreign.K8S]
    whole = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": stages}
    mapping = load_mapping("kubernetes")
    assert mapping.split(whole) == [(("items", 0), stages[0]), (("items", 1), stages[1])]
    # The same event from the log file is the same event: no conflict.
    assert mapping.map(whole, 0) == [event for stage in stages for event in mapping.map(stage, 0)]
    with pytest.raises(SetAside) as caught:
        mapping.map({**whole, "items": [foreign.K8S, {"kind": "Event"}]}, 0)
    assert caught.value.pointer == "/items/1/verb"


# --- Keycloak -----------------------------------------------------------------------------------------------------------


def test_keycloak():
    assert only("keycloak", foreign.KEYCLOAK) == {
        "eventId": foreign.KEYCLOAK["id"],
        "timestamp": "2026-03-01T08:00:00.123Z",
        "action": "login",
        "operation": "LOGIN",
        "outcome": "success",
        "actor": {"userId": "u-1", "ipAddress": "192.0.2.7"},
        "resource": {"type": "keycloak:client", "id": "ehr"},
        "relatedResources": [
            {"type": "user", "id": "n.varga", "role": "username"}, {"type": "keycloak:realm", "id": "clinic"},
        ],
    }  # fmt: skip


def test_a_keycloak_login_error_names_no_user():
    record = {
        "time": 1772352000123, "type": "LOGIN_ERROR", "realmId": "clinic", "clientId": "ehr", "userId": None,
        "ipAddress": "192.0.2.7", "error": "invalid_redirect_uri", "details": {},
    }  # fmt: skip
    event = only("keycloak", record)
    assert event["actor"] == {"type": "unknown", "ipAddress": "192.0.2.7"}
    assert event["eventId"] == event_id("keycloak", record["time"], "LOGIN_ERROR", None)
    assert (event["action"], event["outcome"], event["details"]) == (
        "login",
        "failure",
        {"reason": "invalid_redirect_uri"},
    )
    assert only("keycloak", changed(record, error=...))["outcome"] == "failure"


def test_a_keycloak_admin_event():
    event = only("keycloak", foreign.KEYCLOAK_ADMIN)
    assert (event["action"], event["operation"], event["actor"]["userId"]) == ("permission_change", "CREATE", "u-1")
    assert event["resource"] == {"type": "keycloak:REALM_ROLE_MAPPING", "id": "users/u-2/role-mappings/realm"}
    assert ("user", "u-2") in related(event)
    user = changed(foreign.KEYCLOAK_ADMIN, resourceType="USER", resourcePath="users/u-2", operationType="DELETE")
    assert only("keycloak", user)["action"] == "delete"
    assert ("user", "u-2") in related(only("keycloak", user))


# --- GitHub -------------------------------------------------------------------------------------------------------------


def test_github():
    event = only("github", foreign.GITHUB)
    assert event["eventId"] == "ebbc384a-0c42-57ca-815a-0589480ba36f"
    assert event["timestamp"] == "2026-03-01T08:00:00.123Z"
    assert (event["action"], event["operation"]) == ("permission_change", "team.add_member")
    assert event["actor"] == {"userId": "nvarga", "ipAddress": "192.0.2.7", "userAgent": "Firefox/140"}
    assert event["resource"] == {"type": "team", "id": "clinic/ward7"}
    assert related(event) == [("user", "btoth"), ("organization", "clinic")]


@pytest.mark.parametrize(
    "action, expected",
    [
        ("repo.create", "create"), ("repo.destroy", "delete"), ("git.clone", "read"), ("git.push", "update"),
        ("repo.download_zip", "export"), ("org.remove_member", "permission_change"), ("protected_branch.create", "config_change"),
        ("user.failed_login", "login"), ("workflows.completed_workflow_run", "update"), ("odd", "update"),
    ],
)  # fmt: skip
def test_github_actions(action, expected):
    assert only("github", changed(foreign.GITHUB, action=action))["action"] == expected


def test_github_without_actor_or_document_id():
    record = changed(foreign.GITHUB, _document_id=..., actor="", repo="clinic/ehr", **{"@timestamp": ...})
    event = only("github", record)
    assert event["actor"]["type"] == "unknown"
    assert event["resource"] == {"type": "repository", "id": "clinic/ehr"}
    assert event["eventId"] == event_id("github", record)
    assert only("github", changed(record, actor="x"))["eventId"] != event["eventId"]


# --- Okta ---------------------------------------------------------------------------------------------------------------


def test_okta():
    event = only("okta", foreign.OKTA)
    assert event["eventId"] == foreign.OKTA["uuid"]
    assert (event["action"], event["outcome"]) == ("permission_change", "success")
    assert event["actor"] == {"userId": "n.varga@clinic.example", "ipAddress": "192.0.2.7", "userAgent": "Firefox/140"}
    assert event["resource"] == {"type": "User", "id": "00u2", "name": "B. Toth"}
    assert related(event) == [("UserGroup", "00g1"), ("user", "b.toth@clinic.example"), ("User", "00u1")]


def test_an_okta_event_hook():
    hook = {"eventType": "com.okta.event_hook", "data": {"events": [foreign.OKTA]}}
    assert load_mapping("okta").map(hook, 0) == load_mapping("okta").map(foreign.OKTA, 0)


@pytest.mark.parametrize("target", [None, [], ...])
def test_okta_without_target(target):
    event = only("okta", changed(foreign.OKTA, target=target, eventType="user.session.end", outcome__result="SKIPPED"))
    assert event["resource"] == {"type": "okta:uri", "id": "/api/v1/groups/00g1/users/00u2"}
    assert event["action"] == "logout"
    assert "outcome" not in event


# --- Google Cloud -------------------------------------------------------------------------------------------------------


def test_gcp():
    event = only("gcp", foreign.GCP)
    assert event["eventId"] == event_id(
        "gcp", foreign.GCP["insertId"], foreign.GCP["timestamp"], foreign.GCP["logName"]
    )
    assert event["timestamp"] == "2026-03-01T08:00:00.123456789Z"
    assert (event["action"], event["outcome"], event["operation"]) == ("read", "success", "storage.objects.get")
    assert event["resource"] == {"type": "gcs_bucket", "id": "projects/_/buckets/scans/objects/a.dcm"}
    assert related(event) == [("gcs_bucket", "projects/_/buckets/scans"), ("gcp:project", "clinic")]


def test_gcp_without_principal():
    event = only("gcp", changed(foreign.GCP, protoPayload__authenticationInfo={}, protoPayload__status={"code": 7}))
    assert event["actor"]["type"] == "unknown"
    assert "userId" not in event["actor"]
    assert event["outcome"] == "failure"


@pytest.mark.parametrize(
    "method, action",
    [
        ("SetIamPolicy", "permission_change"), ("google.iam.admin.v1.CreateServiceAccountKey", "permission_change"),
        ("v1.compute.instances.insert", "create"), ("beta.compute.instances.stop", "update"), ("io.k8s.core.v1.nodes.list", "read"),
        ("google.cloud.secretmanager.v1.SecretManagerService.DestroySecretVersion", "delete"),
    ],
)  # fmt: skip
def test_gcp_methods(method, action):
    assert only("gcp", changed(foreign.GCP, protoPayload__methodName=method))["action"] == action


def test_gcp_service_accounts_and_entries():
    record = changed(
        foreign.GCP, protoPayload__authenticationInfo={"principalEmail": "bot@clinic.iam.gserviceaccount.com"}
    )
    assert only("gcp", record)["actor"]["type"] == "service"
    assert len(load_mapping("gcp").map({"entries": [foreign.GCP, record]}, 0)) == 2


# --- Azure --------------------------------------------------------------------------------------------------------------


def test_azure():
    event = only("azure", foreign.AZURE)
    assert event["eventId"] == event_id(
        "azure", foreign.AZURE["correlationId"], foreign.AZURE["time"], foreign.AZURE["operationName"]
    )
    assert event["timestamp"] == "2026-03-01T08:00:00.1234567Z"
    assert (event["action"], event["outcome"]) == ("read", "success")
    assert event["actor"] == {"userId": "n.varga@clinic.example", "role": "Contributor", "ipAddress": "192.0.2.7"}
    assert event["resource"] == {"type": "azure:resource", "id": foreign.AZURE["resourceId"]}
    assert ("azure:principal", "oid-1") in related(event)


def test_azure_of_the_rest_api():
    event = only("azure", foreign.AZURE_REST)
    assert event["eventId"] == "da7a0000-0000-4000-8000-000000000001"
    assert (event["action"], event["outcome"]) == ("permission_change", "failure")
    assert event["operation"] == "Microsoft.Authorization/roleAssignments/write"
    assert event["actor"]["userId"] == "n.varga@clinic.example"


@pytest.mark.parametrize(
    "operation, action",
    [
        ("Microsoft.Compute/virtualMachines/write", "update"), ("MICROSOFT.COMPUTE/VIRTUALMACHINES/DELETE", "delete"),
        ("Microsoft.KeyVault/vaults/keys/purge/action", "delete"), ("Microsoft.Compute/disks/beginGetAccess/action", "export"),
        ("Microsoft.Insights/diagnosticSettings/delete", "config_change"), ("Sign-in activity", "login"), ("GetBlob", "read"),
    ],
)  # fmt: skip
def test_azure_operations(operation, action):
    record = changed(foreign.AZURE, operationName=operation, identity=..., resultType="Started", resultSignature=...)
    event = only("azure", record)
    assert event["action"] == action
    assert event["actor"] == {"type": "unknown", "ipAddress": "192.0.2.7"}
    assert "outcome" not in event


def test_azure_envelopes():
    for name in ("records", "value"):
        assert len(load_mapping("azure").map({name: [foreign.AZURE, foreign.AZURE_REST]}, 0)) == 2


# --- Vault --------------------------------------------------------------------------------------------------------------


def test_vault():
    event = only("vault", foreign.VAULT)
    assert event["timestamp"] == "2026-03-01T08:00:00.123456789Z"
    assert (event["action"], event["operation"]) == ("read", "read")
    assert "outcome" not in event
    assert event["resource"] == {"type": "vault:path", "id": "secret/data/ward7"}
    assert related(event) == [("vault:entity", "e-1"), ("vault:accessor", "hmac-sha256:aa"), ("user", "nvarga")]


def test_vault_request_and_response_share_the_id():
    response = changed(foreign.VAULT, type="response", time="2026-03-01T08:00:00.1234567Z", response={"data": {}})
    one, other = only("vault", foreign.VAULT), only("vault", response)
    assert one["eventId"] == event_id("vault", foreign.VAULT["request"]["id"], "request") != other["eventId"]
    assert other["outcome"] == "success"
    assert only("vault", changed(response, error="permission denied"))["outcome"] == "failure"


def test_vault_logins_and_nobody():
    request = changed(
        foreign.VAULT,
        auth={"token_type": "default"},
        request__operation="update",
        request__path="auth/userpass/login/nvarga",
    )
    assert only("vault", request)["action"] == "login"
    assert only("vault", request)["actor"] == {"type": "unknown", "ipAddress": "192.0.2.7"}
    elsewhere = changed(
        request,
        type="response",
        request__path="auth/staff/login/nvarga",
        response={"auth": {"client_token": "hmac", "display_name": "staff-nvarga"}},
    )
    assert only("vault", elsewhere)["action"] == "login"
    assert only("vault", elsewhere)["actor"]["userId"] == "staff-nvarga"
    policy = changed(foreign.VAULT, request__operation="update", request__path="sys/policies/acl/nurse")
    assert only("vault", policy)["action"] == "permission_change"


def test_vault_without_request_id():
    record = changed(foreign.VAULT, request__id=..., request__operation="help")
    assert only("vault", record)["eventId"] == event_id("vault", record)


# --- OCSF ---------------------------------------------------------------------------------------------------------------


def test_ocsf():
    event = only("ocsf", foreign.OCSF)
    assert event["eventId"] == event_id("ocsf", "m-1")
    assert event["timestamp"] == "2026-03-01T08:00:00.123Z"
    assert (event["action"], event["outcome"], event["operation"]) == ("delete", "success", "DeleteShift")
    assert event["actor"] == {"userId": "nvarga", "ipAddress": "192.0.2.7", "userAgent": "rota-cli"}
    assert event["resource"] == {"type": "Shift", "id": "shift-7", "name": "Night shift"}
    assert ("ocsf:resource", "ward-7") in related(event)
    assert ("user", "n.varga@clinic.example") in related(event)


@pytest.mark.parametrize(
    "members, action",
    [
        ({"type_uid": 600301}, "create"), ({"type_uid": 600399, "activity_id": 99}, "update"),
        ({"type_uid": ..., "class_uid": 3002, "activity_id": 2}, "logout"), ({"type_uid": ..., "class_uid": ...}, "delete"),
    ],
)  # fmt: skip
def test_ocsf_activities(members, action):
    assert only("ocsf", changed(foreign.OCSF, **members))["action"] == action


# --- Google Workspace ---------------------------------------------------------------------------------------------------


def test_workspace_has_one_event_for_each_element():
    view, change = load_mapping("workspace").map(foreign.WORKSPACE, 0)
    for position, event in enumerate((view, change)):
        assert event["eventId"] == event_id("workspace", "-4242", "2026-03-01T08:00:00.123Z", position)
        assert event.pop("metadata") == {**foreign.WORKSPACE, "events": [foreign.WORKSPACE["events"][position]]}
        assert event["resource"]["id"] == "doc-1"
    assert (view["action"], view["operation"], view["resource"]["name"]) == ("read", "view", "Rota")
    assert change["action"] == "permission_change"
    assert change["relatedResources"] == [{"type": "user", "id": "b.toth@clinic.example", "role": "target"}]


def test_workspace_of_another_application():
    record = changed(
        foreign.WORKSPACE,
        id__applicationName="login",
        actor={"callerType": "KEY", "key": "k-1"},
        events={"type": "login", "name": "login_failure"},
    )
    event = only("workspace", record)
    assert (event["action"], event["outcome"], event["actor"]["type"]) == ("login", "failure", "service")
    assert event["resource"] == {"type": "workspace:application", "id": "login"}
    assert (
        len(
            load_mapping("workspace").map({"kind": "admin#reports#activities", "items": [record, foreign.WORKSPACE]}, 0)
        )
        == 3
    )
    assert only("workspace", changed(record, actor={}))["actor"]["type"] == "unknown"
