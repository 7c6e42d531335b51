"""Records of other systems, in the shapes their documentation describes; every name and value is invented."""

from __future__ import annotations

K8S = {
    "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "5d3c9a40-0d8c-4a53-9c3f-0a1b2c3d4e5f",
    "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/ward/pods/monitor-1?timeout=5s", "verb": "patch",
    "user": {"username": "n.varga@clinic.example", "groups": ["system:authenticated"]}, "sourceIPs": ["192.0.2.7", "198.51.100.2"],
    "userAgent": "kubectl/v1.31", "objectRef": {"resource": "pods", "namespace": "ward", "name": "monitor-1", "apiVersion": "v1"},
    "responseStatus": {"metadata": {}, "code": 200}, "requestReceivedTimestamp": "2026-03-01T08:00:00.123456Z",
    "stageTimestamp": "2026-03-01T08:00:00.223456Z", "annotations": {"authorization.k8s.io/decision": "allow"},
}  # fmt: skip
OKTA = {
    "uuid": "0f0c9d1e-1b2a-11f0-9f3a-5b5b5b5b5b5b", "published": "2026-03-01T08:00:00.123Z", "eventType": "group.user_membership.add",
    "version": "0", "severity": "INFO", "displayMessage": "Add user to group", "outcome": {"result": "SUCCESS", "reason": None},
    "actor": {"id": "00u1", "type": "User", "alternateId": "n.varga@clinic.example", "displayName": "N. Varga", "detailEntry": None},
    "client": {"ipAddress": "192.0.2.7", "id": None, "userAgent": {"rawUserAgent": "Firefox/140", "os": "Linux"}},
    "debugContext": {"debugData": {"requestUri": "/api/v1/groups/00g1/users/00u2"}},
    "target": [
        {"id": "00u2", "type": "User", "alternateId": "b.toth@clinic.example", "displayName": "B. Toth"},
        {"id": "00g1", "type": "UserGroup", "alternateId": "unknown", "displayName": "Ward 7"},
    ],
}  # fmt: skip
GCP = {
    "insertId": "1x2y3z", "logName": "projects/clinic/logs/cloudaudit.googleapis.com%2Factivity", "severity": "NOTICE",
    "timestamp": "2026-03-01T08:00:00.123456789Z", "receiveTimestamp": "2026-03-01T08:00:01.1Z",
    "resource": {"type": "gcs_bucket", "labels": {"project_id": "clinic", "bucket_name": "scans"}},
    "protoPayload": {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog", "serviceName": "storage.googleapis.com",
        "methodName": "storage.objects.get", "resourceName": "projects/_/buckets/scans/objects/a.dcm", "status": {},
        "authenticationInfo": {"principalEmail": "n.varga@clinic.example"},
        "authorizationInfo": [{"resource": "projects/_/buckets/scans", "permission": "storage.objects.get", "granted": True}],
        "requestMetadata": {"callerIp": "192.0.2.7", "callerSuppliedUserAgent": "gsutil"},
    },
}  # fmt: skip
AZURE = {
    "time": "2026-03-01T08:00:00.1234567Z", "resourceId": "/SUBSCRIPTIONS/S1/RESOURCEGROUPS/CLINIC/PROVIDERS/MICROSOFT.STORAGE/STORAGEACCOUNTS/SCANS",
    "operationName": "MICROSOFT.STORAGE/STORAGEACCOUNTS/LISTKEYS/ACTION", "category": "Administrative", "resultType": "Success",
    "resultSignature": "Succeeded.OK", "callerIpAddress": "192.0.2.7", "correlationId": "c0c0c0c0-1111-4222-8333-444444444444",
    "identity": {
        "claims": {
            "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": "n.varga@clinic.example", "appid": "app-1",
            "http://schemas.microsoft.com/identity/claims/objectidentifier": "oid-1",
        },
        "authorization": {"scope": "/subscriptions/s1/scans", "evidence": {"role": "Contributor", "principalType": "User"}},
    },
}  # fmt: skip
AZURE_REST = {
    "eventDataId": "DA7A0000-0000-4000-8000-000000000001", "correlationId": "c0c0c0c0-1111-4222-8333-444444444444",
    "eventTimestamp": "2026-03-01T08:00:00.1234567Z", "caller": "n.varga@clinic.example", "subscriptionId": "s1",
    "operationName": {"value": "Microsoft.Authorization/roleAssignments/write", "localizedValue": "Create role assignment"},
    "status": {"value": "Failed"}, "subStatus": {"value": "Forbidden"}, "resourceId": "/subscriptions/s1/providers/x/roleAssignments/r1",
    "httpRequest": {"clientIpAddress": "192.0.2.7", "method": "PUT"},
}  # fmt: skip
VAULT = {
    "time": "2026-03-01T08:00:00.123456789Z", "type": "request",
    "auth": {"display_name": "ldap-nvarga", "entity_id": "e-1", "accessor": "hmac-sha256:aa", "metadata": {"username": "nvarga"}},
    "request": {
        "id": "6a6b6c6d-0000-4000-8000-000000000001", "operation": "read", "path": "secret/data/ward7", "mount_type": "kv",
        "namespace": {"id": "root"}, "remote_address": "192.0.2.7",
    },
}  # fmt: skip
OCSF = {
    "class_uid": 6003, "category_uid": 6, "activity_id": 4, "type_uid": 600304, "activity_name": "Delete", "time": 1772352000123,
    "metadata": {"uid": "m-1", "version": "1.5.0", "product": {"name": "Rota", "vendor_name": "Clinic"}},
    "actor": {"user": {"name": "nvarga", "uid": "u-1", "email_addr": "n.varga@clinic.example", "type_id": 2}},
    "api": {"operation": "DeleteShift", "service": {"name": "rota"}}, "src_endpoint": {"ip": "192.0.2.7"}, "status_id": 1,
    "resources": [{"uid": "shift-7", "name": "Night shift", "type": "Shift"}, {"name": "ward-7"}],
    "http_request": {"user_agent": "rota-cli"}, "severity_id": 1,
}  # fmt: skip
WORKSPACE = {
    "kind": "admin#reports#activity", "etag": "x",
    "id": {"time": "2026-03-01T08:00:00.123Z", "uniqueQualifier": "-4242", "applicationName": "drive", "customerId": "C1"},
    "actor": {"callerType": "USER", "email": "n.varga@clinic.example", "profileId": "117"}, "ipAddress": "192.0.2.7",
    "events": [
        {"type": "access", "name": "view", "parameters": [
            {"name": "primary_event", "boolValue": True}, {"name": "doc_id", "value": "doc-1"}, {"name": "doc_title", "value": "Rota"},
        ]},
        {"type": "acl_change", "name": "change_user_access", "parameters": [
            {"name": "doc_id", "value": "doc-1"}, {"name": "target_user", "value": "b.toth@clinic.example"}, {"name": "old_value", "multiValue": ["none"]},
        ]},
    ],
}  # fmt: skip
GITHUB = {
    "@timestamp": 1772352000123, "_document_id": "AbC-123", "action": "team.add_member", "actor": "nvarga", "actor_id": 7,
    "actor_ip": "192.0.2.7", "actor_location": {"country_code": "HU"}, "created_at": 1772352000123, "org": "clinic", "org_id": 1,
    "team": "clinic/ward7", "user": "btoth", "operation_type": "create", "user_agent": "Firefox/140",
}  # fmt: skip
KEYCLOAK = {
    "id": "11111111-2222-4333-8444-555555555555", "time": 1772352000123, "type": "LOGIN", "realmId": "clinic", "clientId": "ehr",
    "userId": "u-1", "sessionId": "s-1", "ipAddress": "192.0.2.7", "error": None, "details": {"username": "n.varga", "auth_method": "openid-connect"},
}  # fmt: skip
KEYCLOAK_ADMIN = {
    "time": 1772352000123, "realmId": "clinic", "operationType": "CREATE", "resourceType": "REALM_ROLE_MAPPING",
    "resourcePath": "users/u-2/role-mappings/realm", "authDetails": {"realmId": "master", "clientId": "console", "userId": "u-1", "ipAddress": "192.0.2.7"},
    "representation": '[{"name":"nurse"}]',
}  # fmt: skip
FHIR = {
    "resourceType": "AuditEvent", "id": "ae-1", "recorded": "2026-03-01T09:00:00.5+01:00", "action": "R", "outcome": "0",
    "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
    "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": "vread"}],
    "purposeOfEvent": [{"coding": [{"code": "TREAT", "display": "treatment"}]}],
    "agent": [
        {"requestor": True, "who": {"identifier": {"value": "nvarga"}, "reference": "Practitioner/p7"}, "altId": "7",
         "role": [{"text": "nurse"}], "network": {"address": "192.0.2.7", "type": "2"}},
        {"requestor": False, "who": {"reference": "Device/d1"}, "type": {"coding": [{"code": "110152", "display": "Destination Role ID"}]},
         "name": "Laboratory", "network": {"address": "lab.clinic.example", "type": "1"}},
    ],
    "source": {"observer": {"display": "EHR"}},
    "entity": [
        {"what": {"reference": "DocumentReference/doc1"}, "role": {"code": "3", "display": "Report"}},
        {"what": {"reference": "Patient/pat1"}, "role": {"code": "1", "display": "Patient"}, "name": "A. Kiss"},
        {"query": "X2lkPTc=", "role": {"code": "24", "display": "Query"}},
    ],
}  # fmt: skip

# One record of each map to begin with; the tests change it.
RECORDS = {
    "azure": [AZURE, AZURE_REST], "fhir": [FHIR], "gcp": [GCP], "github": [GITHUB], "keycloak": [KEYCLOAK, KEYCLOAK_ADMIN],
    "kubernetes": [K8S], "ocsf": [OCSF], "okta": [OKTA], "vault": [VAULT], "workspace": [WORKSPACE],
}  # fmt: skip


def cloudtrail_record(number, **members):
    return {
        "eventID": f"00000000-0000-4000-8000-{number:012}",
        "eventTime": "2026-11-20T10:00:00Z",
        "eventName": "RunInstances",
        **members,
    }
