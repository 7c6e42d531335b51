"""A log, its index and evidence bundles made naively, without tlog's own code, so that they can also be made wrongly."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import reference
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # Takes where a segment starts and its postings; returns the postings that the segment is built from.
    Spoil = Callable[[int, list[bytes]], list[bytes]]

ORIGIN = "example.com/bundles"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
BITS = 4
BUCKETS = [hashlib.sha256(b"bucket %d" % number).digest() for number in range(1 << BITS)]


def b64(data: bytes) -> str:
    """Return base64, as notes and tlog-proofs have it."""
    return base64.b64encode(data).decode()


def b64url(data: bytes) -> str:
    """Return base64url without padding, as entries have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def canonical(value: object) -> str:
    """Return JSON as RFC 8785 writes it, for values without fractions and with ASCII names."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def vkey(key: Ed25519PrivateKey = KEY) -> str:
    """Return the verifier key of `key` under the origin (c2sp.org/signed-note)."""
    data = b"\1" + key.public_key().public_bytes_raw()
    key_id = hashlib.sha256(ORIGIN.encode() + b"\n" + data).hexdigest()[:8]
    return f"{ORIGIN}+{key_id}+{b64(data)}"


def note(size: int, root: bytes, key: Ed25519PrivateKey = KEY) -> str:
    """Return a signed checkpoint (c2sp.org/tlog-checkpoint)."""
    text = f"{ORIGIN}\n{size}\n{b64(root)}\n"
    key_id = bytes.fromhex(vkey(key).split("+")[1])
    return f"{text}\n— {ORIGIN} {b64(key_id + key.sign(text.encode()))}\n"


def ident_of(kind: str, *values: str) -> bytes:
    """Return the text that an index key is made of: the kind and its values, separated by zero bytes."""
    return b"\0".join([kind.encode(), *(normalize("NFC", value).encode() for value in values)])


def bucket_of(ident: bytes) -> int:
    """Return the number of the bucket whose key an ident is under."""
    return hashlib.sha256(ident).digest()[0] >> (8 - BITS)


def personal_key(ident: bytes) -> bytes:
    """Return the index key of an actor or a resource: 16 bytes that say nothing without the key of the bucket."""
    return hmac.digest(BUCKETS[bucket_of(ident)], ident, "sha256")[:16]


def public_key(kind: str, value: str) -> bytes:
    """Return the index key of a public kind, which anybody can compute: 16 bytes."""
    return hashlib.sha256(b"public\0" + kind.encode() + b"\0" + value.encode()).digest()[:16]


def action_key(action: str) -> bytes:
    """Return the index key of an action."""
    return public_key("action", action)


def disclosure(number: int, group: str, body: dict[str, Any]) -> tuple[bytes, str]:
    """Return salt and text of what is disclosed of a group of an event."""
    return hashlib.sha256(b"%d %b" % (number, group.encode())).digest()[:16], canonical(body)


Named = tuple[str, str]  # type and id


class Event:
    """One event and what the log has of it; without a user its actor is unknown."""

    def __init__(
        self, number: int, user: str | None, resource: Named, action: str, *, at: int, outcome: str,
        operation: str | None = None, source: str | None = None, related: Sequence[Named] = (),
    ) -> None:  # fmt: skip
        self.number = number
        self.keys = [
            personal_key(ident_of("actor", user or "")),
            personal_key(ident_of("resource", *resource)),
            action_key(action),
            *([public_key("operation", operation)] if operation else []),
            *([public_key("source", source)] if source else []),
            *(personal_key(ident_of("related", *each)) for each in related),
        ]
        self.event_id = f"00000000-0000-4000-8000-{number:012d}"
        self.at = at
        self.related = list(related)
        given = {"userId": user, "resourceType": resource[0], "resourceId": resource[1], "action": action, "outcome": outcome,
                 "operation": operation, "sourceId": source, "actorType": None if user else "unknown"}  # fmt: skip
        self.members = {name: value for name, value in given.items() if value is not None}
        who = {"userId": user} if user else {"type": "unknown"}
        self.disclosures = {
            "actor": disclosure(number, "actor", {"appendedBy": "key-1", **who}),
            "resource": disclosure(number, "resource", {"resource": {"id": resource[1], "type": resource[0]}}),
        }
        self.disclosures |= {
            f"related/{place}": disclosure(number, f"related/{place}", {"id": name, "role": "named", "type": kind})
            for place, (kind, name) in enumerate(related)
        }
        hashes = [
            b64url(hashlib.sha256(b"\x10" + salt + body.encode()).digest()) for salt, body in self.disclosures.values()
        ]
        commitments = {"actor": hashes[0], "resource": hashes[1], **({"related": hashes[2:]} if related else {})}
        self.entry = canonical(
            {
                "action": action,
                "commitments": commitments,
                "eventId": self.event_id,
                "keys": [b64url(key) for key in self.keys],
                "loggedAt": moment(number),
                **({"operation": operation} if operation else {}),
                "outcome": outcome,
                "resourceType": resource[0],
                **({"source": {"id": source, "seq": number}} if source else {}),
                "timestamp": moment(at, fraction=False),
                "type": "event",
                "v": 1,
            }
        )


class Control:
    """A control entry of a type that no version knows yet, about some resources."""

    known = False

    def __init__(self, number: int, kind: str, named: Sequence[Named] = (), version: int = 1) -> None:
        self.number = number
        self.kind = kind
        self.named = list(named)
        self.keys = [public_key("control", kind), *(personal_key(ident_of("related", *each)) for each in named)]
        self.entry = canonical(
            {
                "about": [{"n": number}],
                "keys": [b64url(key) for key in self.keys],
                "loggedAt": moment(number),
                "type": kind,
                "v": version,
            }
        )


def outcome(number: int, kind: str, report: dict[str, Any]) -> str:
    """Return the entry of an outcome."""
    members = {"kind": kind, "loggedAt": moment(number), "report": report, "type": "outcome", "v": 1}
    return canonical({"keys": [b64url(public_key("control", "outcome"))], **members})


REPORTS: dict[str, dict[str, Any]] = {
    "checked": {"since": 0, "size": 50, "unexplained": 0, "verdict": "verified"},
    "failover": {
        "accepted": "operator",
        "from": {"system": "7312345678901234567", "timeline": 1},
        "size": 50,
        "to": {"system": "7312345678901234567", "timeline": 2},
    },
    "lost": {"end": 61, "n": 30, "start": 30},
    "restored": {"backup": "A" * 43, "size": 50, "takenAt": "2026-03-01T00:00:00.000000Z"},
    "stalled": {
        "from": "2026-03-01T00:00:00.000000Z",
        "to": "2026-03-01T00:00:10.000000Z",
        "what": "appending",
        "why": "disk",
    },
    "started": {"instance": "AAAAAAAAAAA", "version": "1.0.0"},
    "stopped": {"instance": "AAAAAAAAAAA"},
}


class Outcome(Control):
    """A control entry in which the log says what it did."""

    def __init__(self, number: int, said: str, named: Sequence[Named] = (), **report: Any) -> None:  # noqa: ANN401
        super().__init__(number, "outcome", named)
        self.known = said in REPORTS
        self.report = REPORTS.get(said, {}) | report
        members = {name: value for name, value in json.loads(self.entry).items() if name != "about"}
        self.entry = canonical(members | {"kind": said, "report": self.report})


def moment(minute: int, *, fraction: bool = True) -> str:
    """Return the time `minute` minutes into the log's life."""
    return f"2026-03-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00" + (
        ".000000Z" if fraction else "Z"
    )


EARLIEST = datetime.min.replace(tzinfo=UTC)


def padded(time: str) -> str:
    """A UTC time so that it sorts: with nine fraction digits."""
    return f"{time[:19]}.{time[20:-1]:0<9}Z"


def day_before(time: str) -> str:
    """The time a day before a UTC time, with its digits, and not before the year 1."""
    second = datetime.fromisoformat(time[:19] + "Z")
    if second < EARLIEST + timedelta(days=1):
        return "0001-01-01T00:00:00Z"
    return (second - timedelta(days=1)).isoformat()[:19] + time[19:]


def joint_proof(size: int, indexes: list[int], leaves: list[bytes]) -> list[bytes]:
    """Return the hashes, left to right, of the largest subtrees without any of `indexes`; `leaves` are leaf data."""

    def walk(start: int, end: int) -> list[bytes]:
        if not any(start <= index < end for index in indexes):
            return [reference.tree_hash(leaves[start:end])]
        if end - start == 1:
            return []
        middle = start + reference.largest_power_below(end - start)
        return walk(start, middle) + walk(middle, end)

    return walk(0, size) if size else []


class Index:
    """An index over entries: segments that end at `ends`; `spoil` may change the postings of a segment before it is built."""

    def __init__(self, keys: dict[int, list[bytes]], ends: list[int], spoil: Spoil | None = None) -> None:
        self.segments: list[tuple[int, int, list[bytes]]] = []
        start = 0
        for end in ends:
            postings = sorted(
                key[:8] + (index - start).to_bytes(4)
                for index, each in keys.items()
                if start <= index < end
                for key in each
            )
            self.segments.append((start, end, postings if spoil is None else spoil(start, postings)))
            start = end

    def pages(self, number: int) -> list[bytes]:
        """Return the pages of a segment, of 384 bytes each but the last."""
        data = b"".join(self.segments[number][2])
        return [data[at : at + 384] for at in range(0, len(data), 384)]

    def table(self) -> bytes:
        """Return the table of segments: 56 bytes for each."""
        rows = [
            start.to_bytes(8) + end.to_bytes(8) + len(postings).to_bytes(8) + reference.tree_hash(self.pages(number))
            for number, (start, end, postings) in enumerate(self.segments)
        ]
        return b"".join(rows)

    def prove(
        self, number: int, keys: list[bytes], window: tuple[int, int], *, count: bool
    ) -> tuple[dict[str, Any], list[list[int]]]:
        """Return the range proof of one segment for several keys, and of each key the indexes of the entries that have it."""
        start, end, postings = self.segments[number]
        shown: set[int] = set()
        found = []
        for key in keys:
            low, high = (key[:8] + (min(max(at, start), end) - start).to_bytes(4) for at in window)
            first, last = bisect_left(postings, low), bisect_left(postings, high)
            found.append([start + int.from_bytes(item[8:]) for item in postings[first:last]])
            if postings:
                around = [{max(place - 1, 0) // 32, min(place, len(postings) - 1) // 32} for place in (first, last)]
                ends = around[0] | around[1]
                shown |= ends if count else set(range(min(ends), max(ends) + 1))
        return self.range_proof(number, sorted(shown)), found

    def range_proof(self, number: int, shown: list[int]) -> dict[str, Any]:
        """Return these pages of a segment with their proof."""
        pages = self.pages(number)
        runs: list[tuple[int, bytes]] = []
        for page in shown:
            if runs and page == runs[-1][0] + len(runs[-1][1]) // 384:
                runs[-1] = (runs[-1][0], runs[-1][1] + pages[page])
            else:
                runs.append((page, pages[page]))
        return {
            "hashes": b64(b"".join(joint_proof(len(pages), shown, pages))) if shown else "",
            "runs": [[page, b64(data)] for page, data in runs],
        }


class NaiveLog:
    """A log: entry 0, events and control entries, one index epoch, and `later` events that the epoch does not know."""

    def __init__(
        self,
        logged: Sequence[Event | Control],
        ends: list[int],
        spoil: Spoil | None = None,
        later: Sequence[Event] = (),
    ) -> None:
        root = reference.tree_hash(BUCKETS)
        first = {
            "bits": BITS,
            "loggedAt": moment(0),
            "origin": ORIGIN,
            "root": b64url(root),
            "type": "index-keys",
            "v": 1,
        }
        self.events = {each.number: each for each in (*logged, *later) if isinstance(each, Event)}
        self.controls = {each.number: each for each in logged if isinstance(each, Control)}
        self.lost: dict[int, int] = {}  # which outcome says that the data of an event is lost
        self.index = Index({each.number: each.keys for each in logged}, ends, spoil)
        table = hashlib.sha256(b"\x13" + self.index.table()).digest()
        self.size = ends[-1]
        logged_at = moment(len(logged) + 1)
        epoch = {
            "ends": ends,
            "loggedAt": logged_at,
            "size": self.size,
            "table": b64url(table),
            "type": "index",
            "v": 1,
        }
        self.entries = [canonical(first), *(each.entry for each in logged), canonical(epoch)]
        self.epoch = len(self.entries) - 1
        self.entries += [event.entry for event in later]
        self.root = reference.tree_hash([entry.encode() for entry in self.entries])

    def window(self, question: dict[str, str]) -> tuple[int, int]:
        """The smallest range of indexed entries that holds every one logged when the question looks."""
        logged = [padded(json.loads(entry)["loggedAt"]) for entry in self.entries[: self.size]]
        first, last = question.get("loggedFrom"), question.get("loggedTo")
        if first is None and "from" in question:
            first = day_before(question["from"])
        start = sum(each < padded(first) for each in logged) if first else 0
        return start, sum(each < padded(last) for each in logged) if last else self.size

    def bundle(
        self,
        question: dict[str, str],
        *,
        mode: str = "answer",
        disclose: bool = False,
        window: tuple[int, int] | None = None,
        part: tuple[int, int] = (1, 1),
    ) -> dict[str, Any]:
        """Return the evidence bundle for a question, honest about what the index has."""
        start, end = window or self.window(question)
        idents = idents_of(question)
        keys = keys_of(question)
        met = [n for n, (first, last, _) in enumerate(self.index.segments) if first < end and last > start]
        proofs = [self.index.prove(number, keys, (start, end), count=mode == "count") for number in met]
        by_key = [[index for _, found in proofs for index in found[place]] for place in range(len(keys))]
        found = sorted(index for indexes in by_key for index in indexes)
        answers = sorted({index for index in found if self.answers(index, question)})
        outer = (*((start - 1, start) if part[0] == 1 else ()), *((end - 1, end) if part[0] == part[1] else ()))
        around = {at for at in (0, *outer) if 0 <= at < self.size}
        told = [index for index in (answers if disclose else []) if index in self.events]
        disclosures: list[tuple[int, dict[str, dict[str, str]]]] = [
            (index, texts_of(self.events[index])) for index in told if index not in self.lost
        ]
        absent = [(n, group, self.lost[n]) for n in told if n in self.lost for group in self.events[n].disclosures]
        said_by = {by for _, _, by in absent}
        needed = sorted({*(found if mode != "count" else ()), self.epoch, *around, *said_by})
        bundle: dict[str, Any] = {
            "absent": absent,
            "buckets": [
                {
                    "hashes": b64(b"".join(joint_proof(len(BUCKETS), [bucket_of(ident)], BUCKETS))),
                    "key": b64(BUCKETS[bucket_of(ident)]),
                }
                for ident in idents
            ],
            "checkpoint": note(len(self.entries), self.root),
            "disclosure": "full" if disclose else "none",
            "disclosures": disclosures,
            "end": end,
            **self.shown(needed),
            "epoch": self.epoch,
            "manifest": {
                "answers": len(by_key[0]) if mode == "count" else len(answers),
                "disclosures": sum(len(groups) for _, groups in disclosures),
                "postings": len(found),
            },
            "mode": mode,
            "question": question,
            "rosters": [],
            "segments": [proof for proof, _ in proofs],
            "start": start,
            "table": b64(self.index.table()),
            "type": "tlog-evidence",
            "v": 1,
        }
        return bundle | ({"part": list(part)} if mode == "part" else {})

    def parts(self, question: dict[str, str], cuts: Sequence[int], *, disclose: bool = False) -> list[dict[str, Any]]:
        """Return the evidence set for a question, its window divided at `cuts`."""
        start, end = self.window(question)
        windows = list(pairwise((start, *cuts, end)))
        return [
            self.bundle(question, mode="part", disclose=disclose, window=window, part=(number, len(windows)))
            for number, window in enumerate(windows, 1)
        ]

    def shown(self, indexes: list[int]) -> dict[str, Any]:
        """Return the members of a bundle that show entries: the entries, and their joint proof."""
        leaves = [entry.encode() for entry in self.entries]
        hashes = b64(b"".join(joint_proof(len(leaves), indexes, leaves)))
        return {"entries": [[index, self.entries[index]] for index in indexes], "hashes": hashes}

    def answers(self, index: int, question: dict[str, str]) -> bool:
        """Tell whether an entry answers a question."""
        if index in self.controls:
            return names(self.controls[index], question)
        return index in self.events and applies(self.events[index], question)

    def event_proof(self, index: int, *, disclose: bool = False) -> tuple[bytes, bytes]:
        """Return the tlog-proof and the event file of an entry; of one whose data is lost it claims what it would have."""
        leaves = [entry.encode() for entry in self.entries]
        hashes = "".join(f"{b64(each)}\n" for each in reference.path(index, leaves))
        proof = f"c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{note(len(leaves), self.root)}"
        if not disclose:
            return proof.encode(), event_file(self.entries[index], {})
        texts = texts_of(self.events[index])
        absent = [[group, self.lost[index]] for group in texts] if index in self.lost else []
        return proof.encode(), event_file(self.entries[index], {} if absent else texts, absent)


def texts_of(event: Event) -> dict[str, dict[str, str]]:
    """Return what is disclosed of an event as bundles and event files have it."""
    return {group: {"body": body, "salt": b64url(salt)} for group, (salt, body) in event.disclosures.items()}


def event_file(entry: str, texts: dict[str, dict[str, str]], absent: Sequence[Sequence[Any]] = ()) -> bytes:
    """Return the event file of an entry, which claims to disclose what is there and what is absent, [group, outcome]."""
    groups = [*texts, *(group for group, _ in absent)]
    return (canonical({"absent": absent, "disclosed": groups, "disclosures": texts, "entry": entry}) + "\n").encode()


def idents_of(question: dict[str, str]) -> list[bytes]:
    """Return the idents of the personal keys that a question asks for, in the order of a bundle."""
    idents = []
    if "resourceId" in question:
        kinds = ["related"] if "control" in question else ["resource", "related"]
        idents += [ident_of(kind, question["resourceType"], question["resourceId"]) for kind in kinds]
    if "userId" in question or "actorType" in question:
        idents.append(ident_of("actor", question.get("userId", "")))
    return idents


def keys_of(question: dict[str, str]) -> list[bytes]:
    """Return the keys that a question is looked up under first."""
    idents = idents_of(question)
    if idents:
        return [personal_key(ident) for ident in idents if "resourceId" not in question or ident[0] == ord("r")]
    kinds = {"sourceId": "source", "operation": "operation", "control": "control", "action": "action"}
    return [public_key(kind, question[name]) for name, kind in kinds.items() if name in question][:1]


def matched(event: Event, question: dict[str, str]) -> str | None:
    """Return which group of an event is the resource that a question is about."""
    asked = ident_of("", question["resourceType"], question["resourceId"])
    if asked == ident_of("", event.members["resourceType"], event.members["resourceId"]):
        return "resource"
    related = [ident_of("", *each) for each in event.related]
    return f"related/{related.index(asked)}" if asked in related else None


def applies(event: Event, question: dict[str, str]) -> bool:
    """Tell whether an event answers a question."""
    about = {"resourceType", "resourceId"} if "resourceId" in question else set()
    clear = question.keys() - about - {"userId", "from", "to", "loggedFrom", "loggedTo"}
    user = normalize("NFC", event.members.get("userId", ""))
    at = padded(moment(event.at, fraction=False))
    return (
        (not about or matched(event, question) is not None)
        and question.get("userId", user) == user
        and all(event.members.get(name) == question[name] for name in clear)
        and padded(question.get("from", "0001-01-01T00:00:00Z")) <= at
        and at < padded(question.get("to", "9999-12-31T23:59:59.9Z"))
    )


def names(control: Control, question: dict[str, str]) -> bool:
    """Tell whether a control entry answers a question."""
    about = "resourceId" not in question or (question["resourceType"], question["resourceId"]) in control.named
    return question.get("control") == control.kind and about


def file_of(bundle: dict[str, Any]) -> bytes:
    """Return a bundle as the bytes of its file."""
    return (canonical(bundle) + "\n").encode()


def sample_event(number: int) -> Event:
    """Return event n, which is by user n % 7 about record n % 11; every fifth fails; every event is 3 minutes late.

    Every third names a patient and the record after its own, every fourth has an operation, every sixth a source, and nobody
    knows who every 29th is by.
    """
    return Event(
        number,
        f"user-{number % 7}" if number % 29 else None,
        ("record", f"R:{number % 11}"),
        ["read", "read", "update", "export"][number % 4],
        at=max(number - 3, 0),
        outcome="failure" if number % 5 == 0 else "success",
        operation=f"Do:{number % 8}" if number % 4 == 0 else None,
        source=f"app-{number % 12}" if number % 6 == 0 else None,
        related=[("patient", f"P:{number % 9}"), ("record", f"R:{(number + 1) % 11}")] if number % 3 == 0 else [],
    )


def sample_entry(number: int) -> Event | Control:
    """Return entry n: an event, or every 40th a control entry that names patient P:0 and record R:9."""
    if number % 40 == 37:
        return Control(number, "order", [("patient", "P:0"), ("record", "R:9")])
    return sample_event(number)


def sample_log(count: int = 120, ends: list[int] | None = None, spoil: Spoil | None = None, later: int = 0) -> NaiveLog:
    """Return a log of `count` sample entries, the epoch, and `later` events more."""
    logged = [sample_entry(number) for number in range(1, count + 1)]
    after = [sample_event(number) for number in range(count + 2, count + 2 + later)]
    return NaiveLog(logged, ends or [64, 100, 101, count + 1], spoil, after)


def signed(log: NaiveLog) -> NaiveLog:
    """Return the log with a root hash over its entries as they are now."""
    log.root = reference.tree_hash([entry.encode() for entry in log.entries])
    return log


def recovered_log(first: int = 30, own: int = 61, **report: Any) -> NaiveLog:  # noqa: ANN401
    """Return a log that came back from a mirror: from entry `first` on, before entry `own`, there is no data, says that entry.

    After that come `started`, more events, and an outcome of each other kind and of one that no version knows; `report` may
    change what the log says of its loss.
    """
    before = [sample_entry(number) for number in range(1, own)]
    number_of = sum(isinstance(each, Event) for each in before[first - 1 :])
    lost = Outcome(own, "lost", **({"end": own, "n": number_of, "start": first} | report))
    after = [sample_event(number) for number in range(own + 2, own + 32)]
    others = ["failover", "restored", "checked", "stalled", "stopped", "rested"]
    outcomes = [Outcome(own + 32 + place, kind) for place, kind in enumerate(others)]
    logged = [*before, lost, Outcome(own + 1, "started"), *after, *outcomes]
    log = NaiveLog(logged, [40, own, own + 20, len(logged) + 1])
    log.lost = {each.number: own for each in before[first - 1 :] if isinstance(each, Event)}
    return log
