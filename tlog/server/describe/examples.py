"""Examples for readers of the description; a test sends what is sent, and reads what is answered as what it is said to be."""

from __future__ import annotations

from typing import Any, Final

EVENT: Final[dict[str, Any]] = {
    "eventId": "0190f3c2-5f6e-7d3a-9b1c-2f4e6a8c0d1e",
    "timestamp": "2026-11-24T05:11:59.998Z",
    "actor": {"userId": "n.varga", "role": "nurse", "ipAddress": "10.20.2.99"},
    "action": "read",
    "outcome": "success",
    "resource": {"type": "patient_record", "id": "P-1007"},
    "details": {"fieldsAccessed": ["diagnoses"]},
}
_PLACE: Final[dict[str, Any]] = {
    "index": 1,
    "loggedAt": "2026-11-24T05:12:00.201733Z",
    "leafHash": "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
    "chainHash": "pmWkWSBCL51Bfkhn79xPuKBKHz//H6B+mY6G9/eieuM=",
}
_RECEIPT: Final[dict[str, Any]] = {"eventId": EVENT["eventId"], **_PLACE}
_AHEAD: Final[dict[str, Any]] = {
    "pointer": "/timestamp",
    "detail": "the timestamp is more than 24 hours ahead of the log's clock",
}
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "Event": EVENT,
    "LoggedEvent": {**EVENT, "log": {**_PLACE, "lost": [], "missing": [], "state": "sealed"}},
    "Receipts": {"receipts": [_RECEIPT, {**_RECEIPT, "duplicate": True, "warnings": [_AHEAD]}]},
    "ReceiptCounts": {"count": 100, "duplicates": 0, "lastIndex": 1234, "chainHash": _PLACE["chainHash"]},
    "Problem": {
        "type": "urn:tlog:problem:invalid-event",
        "title": "The event breaks a rule of the event format",
        "status": 422,
        "detail": "this member is required",
        "pointer": "/action",
        "errors": [
            {"pointer": "/action", "detail": "this member is required"},
            {"pointer": "/colour", "detail": "no such member in an event"},
        ],
    },
}
