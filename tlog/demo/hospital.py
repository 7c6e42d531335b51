"""A day in a made-up hospital: realistic events for the demo, the tests and a first try. No real person is in it.

The same seed gives the same day. It hides one story worth finding: a nurse of the maternity ward opens the record of a
well-known patient on the cardiology ward, three times, without a reason.
"""

from __future__ import annotations

import random
from bisect import bisect
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterator

SNOOP: Final = "n.varga"
WELL_KNOWN_PATIENT: Final = "P-1007"
DAY: Final = date(2026, 3, 17)

_PATIENTS: Final = 600
_WARDS: Final = ("cardiology", "maternity", "oncology", "surgery", "emergency", "paediatrics")
_BROWSERS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) WardClient/7.2",
    "Mozilla/5.0 (X11; Linux x86_64) LabStation/3.1",
    "MedCart/2.4 (Android 14)",
)
_FIELDS: Final = ("name", "birthDate", "allergies", "medications", "vitals", "diagnoses", "history", "insurance")
_REASONS: Final = (
    "ward round",
    "admission",
    "treatment",
    "discharge",
    "consultation",
    "billing question",
    "shift handover",
)
_SYLLABLES: Final = ("ma", "ri", "ka", "lo", "né", "son", "ber", "tü", "vi", "ana", "dro", "el", "ško", "fi", "gar")


class _Job(NamedTuple):
    """A profession: its role, the system it works on, its number of people, and its work as (action, resource type, weight)."""

    role: str
    source: str
    staff: int
    work: tuple[tuple[str, str, int], ...]


_JOBS: Final = (
    _Job("nurse", "ehr-api-1", 60, (("read", "patient_record", 70), ("update", "patient_record", 20), ("read", "prescription", 10))),
    _Job("physician", "ehr-api-2", 30, (("read", "patient_record", 45), ("create", "prescription", 15), ("read", "lab_result", 25), ("update", "patient_record", 10), ("read", "imaging_study", 5))),
    _Job("lab_technician", "lab-1", 12, (("create", "lab_result", 75), ("read", "lab_result", 20), ("update", "lab_result", 5))),
    _Job("billing_clerk", "billing-1", 8, (("read", "billing_account", 70), ("update", "billing_account", 20), ("export", "billing_account", 10))),
    _Job("administrator", "iam-1", 3, (("permission_change", "user_account", 60), ("config_change", "system_setting", 30), ("delete", "user_account", 10))),
)  # fmt: skip


class _Person(NamedTuple):
    user_id: str
    role: str
    ward: str
    ip_address: str
    browser: str


def hospital_day(count: int = 10_000, *, seed: int = 1, day: date = DAY) -> Iterator[dict[str, Any]]:
    """Yield `count` events of one day, in order of their timestamps, the same ones for the same `seed`."""
    rng = random.Random(seed)
    staff = {job.role: [_person(rng, job, number) for number in range(job.staff)] for job in _JOBS}
    shares = list(accumulate(job.staff for job in _JOBS))
    popularity = list(accumulate(1 / rank for rank in range(1, _PATIENTS + 1)))
    sequences = dict.fromkeys((job.source for job in _JOBS), 0)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    for number, moment in enumerate(_moments(rng, count, start)):
        if number in {count // 3, count // 2, count // 2 + 7}:
            job, person = _JOBS[0], _Person(SNOOP, "nurse", "maternity", "10.20.2.99", _BROWSERS[0])
            event = _look(person, WELL_KNOWN_PATIENT)
        else:
            job = _JOBS[bisect(shares, rng.randrange(shares[-1]))]
            person = rng.choice(staff[job.role])
            patient = 1001 + bisect(popularity, rng.random() * popularity[-1])
            event = _visit(rng) if rng.random() < 0.04 else _work(rng, job, person, patient)  # noqa: PLR2004 - a share
        event["actor"] = {
            "userId": person.user_id,
            "email": f"{person.user_id}@hospital.example",
            "role": person.role,
            "ipAddress": person.ip_address,
            "userAgent": person.browser,
        }
        event["eventId"] = str(UUID(int=rng.getrandbits(128), version=4))
        event["timestamp"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event["metadata"] = {"ward": person.ward, "session": f"s-{rng.getrandbits(32):08x}"}
        event["source"] = {"id": job.source, "seq": sequences[job.source]}
        sequences[job.source] += 1
        yield event


def _moments(rng: random.Random, count: int, start: datetime) -> list[datetime]:
    # More happens in daytime: the sum of two dice has its middle at noon.
    return sorted(start + timedelta(hours=12 * (rng.random() + rng.random())) for _ in range(count))


def _person(rng: random.Random, job: _Job, number: int) -> _Person:
    name = "".join(rng.sample(_SYLLABLES, 3)).encode("ascii", "ignore").decode()
    address = f"10.20.{rng.randrange(8)}.{rng.randrange(1, 255)}"
    return _Person(f"{name[0]}.{name[1:]}{number}", job.role, rng.choice(_WARDS), address, rng.choice(_BROWSERS))


def _look(person: _Person, patient: str) -> dict[str, Any]:
    del person
    resource = {"type": "patient_record", "id": patient, "name": "Record of a well-known patient"}
    return {"action": "read", "resource": resource, "details": {"fieldsAccessed": ["diagnoses"]}, "outcome": "success"}


def _visit(rng: random.Random) -> dict[str, Any]:
    """Return a login or logout, one login in ten failing."""
    action = rng.choice(("login", "logout"))
    failed = action == "login" and rng.random() < 0.1  # noqa: PLR2004 - a share
    session = {"type": "session", "id": f"ws-{rng.randrange(400):03d}"}
    return {"action": action, "resource": session, "outcome": "failure" if failed else "success"}


def _work(rng: random.Random, job: _Job, person: _Person, patient: int) -> dict[str, Any]:
    action, kind, _ = rng.choices(job.work, [weight for *_, weight in job.work])[0]
    name = "".join(rng.sample(_SYLLABLES, 3)).title()
    prefix = {"patient_record": "P", "user_account": "U", "system_setting": "S"}.get(kind, kind[:3].upper())
    details: dict[str, Any] = {"reason": rng.choice(_REASONS)}
    if action == "read":
        details["fieldsAccessed"] = rng.sample(_FIELDS, rng.randrange(1, 6))
    elif action in ("update", "config_change", "permission_change"):
        field = rng.choice(_FIELDS)
        details["oldValues"] = {field: f"v{rng.randrange(100)}", "checked": False}
        details["newValues"] = {field: f"v{rng.randrange(100)}", "checked": True}
    elif action == "export":
        details["query"] = f"accounts of {person.ward} {rng.randrange(1, 13):02d}/2026"
    return {
        "action": action,
        "resource": {"type": kind, "id": f"{prefix}-{patient}", "name": f"{name} {patient}"},
        "details": details,
        "outcome": "failure" if rng.random() < 0.01 else "success",  # noqa: PLR2004 - a share
    }
