"""A log, its index and evidence bundles made naively, without tlog's own code, so that they can also be made wrongly."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import reference
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from collections.abc import Callable

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
    return b"\0".join([kind.encode(), *(value.encode() for value in values)])


def bucket_of(ident: bytes) -> int:
    """Return the number of the bucket whose key an ident is under."""
    return hashlib.sha256(ident).digest()[0] >> (8 - BITS)


def personal_key(ident: bytes) -> bytes:
    """Return the index key of an actor or a resource: 16 bytes that say nothing without the key of the bucket."""
    return hmac.digest(BUCKETS[bucket_of(ident)], ident, "sha256")[:16]


def action_key(action: str) -> bytes:
    """Return the index key of an action, which anybody can compute: 16 bytes."""
    return hashlib.sha256(b"public\0action\0" + action.encode()).digest()[:16]


def disclosure(number: int, group: str, body: dict[str, Any]) -> tuple[bytes, str]:
    """Return salt and text of what is disclosed of a group of an event."""
    return hashlib.sha256(b"%d %b" % (number, group.encode())).digest()[:16], canonical(body)


class Event:
    """One event and what the log has of it."""

    def __init__(
        self, number: int, user: str, resource: tuple[str, str], action: str, *, at: int, outcome: str
    ) -> None:
        self.number = number
        self.keys = [
            personal_key(ident_of("actor", user)),
            personal_key(ident_of("resource", *resource)),
            action_key(action),
        ]
        self.event_id = f"00000000-0000-4000-8000-{number:012d}"
        self.at = at
        self.members = {"userId": user, "resourceType": resource[0], "resourceId": resource[1], "action": action,
                        "outcome": outcome}  # fmt: skip
        self.disclosures = {
            "actor": disclosure(number, "actor", {"userId": user}),
            "resource": disclosure(number, "resource", {"resource": {"id": resource[1], "type": resource[0]}}),
        }
        commitments = {
            group: b64url(hashlib.sha256(b"\x10" + salt + body.encode()).digest())
            for group, (salt, body) in self.disclosures.items()
        }
        self.entry = canonical(
            {
                "action": action,
                "commitments": commitments,
                "eventId": self.event_id,
                "keys": [b64url(key) for key in self.keys],
                "loggedAt": moment(number),
                "outcome": outcome,
                "resourceType": resource[0],
                "timestamp": moment(at, fraction=False),
                "type": "event",
                "v": 1,
            }
        )


def moment(minute: int, *, fraction: bool = True) -> str:
    """Return the time `minute` minutes into the log's life."""
    return f"2026-03-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00" + (
        ".000000Z" if fraction else "Z"
    )


EARLIEST = datetime.min.replace(tzinfo=UTC)


def instant(time: str) -> datetime:
    """What a time in UTC says."""
    return datetime.fromisoformat(time)


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
        self, number: int, key: bytes, window: tuple[int, int], *, count: bool
    ) -> tuple[dict[str, Any], list[int]]:
        """Return the range proof of one segment, and the indexes of the entries that the segment has."""
        start, end, postings = self.segments[number]
        pages = self.pages(number)
        low, high = (key[:8] + (min(max(at, start), end) - start).to_bytes(4) for at in window)
        first, last = bisect_left(postings, low), bisect_left(postings, high)
        around = [
            sorted({max(place - 1, 0) // 32, min(place, len(postings) - 1) // 32}) if postings else []
            for place in (first, last)
        ]
        shown = sorted({*around[0], *around[1]})
        if not count and shown:
            shown = list(range(shown[0], shown[-1] + 1))
        runs: list[tuple[int, bytes]] = []
        for page in shown:
            if runs and page == runs[-1][0] + len(runs[-1][1]) // 384:
                runs[-1] = (runs[-1][0], runs[-1][1] + pages[page])
            else:
                runs.append((page, pages[page]))
        proof = {
            "hashes": b64(b"".join(joint_proof(len(pages), shown, pages))) if shown else "",
            "runs": [[page, b64(data)] for page, data in runs],
        }
        return proof, [start + int.from_bytes(item[8:]) for item in postings[first:last]]


class NaiveLog:
    """A log: entry 0, events, one index epoch, and `later` events that the epoch does not know."""

    def __init__(
        self, events: list[Event], ends: list[int], spoil: Spoil | None = None, later: list[Event] | None = None
    ) -> None:
        root = reference.tree_hash(BUCKETS)
        first = {"bits": BITS, "loggedAt": moment(0), "root": b64url(root), "type": "index-keys", "v": 1}
        self.events = {event.number: event for event in events}
        self.index = Index({event.number: event.keys for event in events}, ends, spoil)
        table = hashlib.sha256(self.index.table()).digest()
        self.size = ends[-1]
        logged_at = moment(len(events) + 1)
        epoch = {
            "ends": ends,
            "loggedAt": logged_at,
            "size": self.size,
            "table": b64url(table),
            "type": "index",
            "v": 1,
        }
        self.entries = [canonical(first), *(event.entry for event in events), canonical(epoch)]
        self.epoch = len(self.entries) - 1
        self.entries += [event.entry for event in later or []]
        self.events |= {event.number: event for event in later or []}
        self.root = reference.tree_hash([entry.encode() for entry in self.entries])

    def window(self, question: dict[str, str]) -> tuple[int, int]:
        """The smallest range of indexed entries that holds every one logged when the question looks."""
        logged = [instant(json.loads(entry)["loggedAt"]) for entry in self.entries[: self.size]]
        first, last = question.get("loggedFrom"), question.get("loggedTo")
        begin = EARLIEST if first is None else instant(first)
        if first is None and "from" in question and instant(question["from"]) > EARLIEST + timedelta(days=1):
            begin = instant(question["from"]) - timedelta(days=1)
        start = sum(each < begin for each in logged)
        return start, self.size if last is None else sum(each < instant(last) for each in logged)

    def bundle(
        self,
        question: dict[str, str],
        *,
        mode: str = "answer",
        disclose: bool = False,
        window: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        """Return the evidence bundle for a question, honest about what the index has."""
        start, end = window or self.window(question)
        idents = []
        if "resourceId" in question:
            idents.append(ident_of("resource", question["resourceType"], question["resourceId"]))
        if "userId" in question:
            idents.append(ident_of("actor", question["userId"]))
        keys = [personal_key(ident) for ident in idents]
        keys += [action_key(question["action"])] if "action" in question else []
        met = [n for n, (first, last, _) in enumerate(self.index.segments) if first < end and last > start]
        proofs = [self.index.prove(number, keys[0], (start, end), count=mode == "count") for number in met]
        found = sorted(index for _, indexes in proofs for index in indexes)
        answers = [index for index in found if index in self.events and applies(self.events[index], question)]
        shown = [] if mode == "count" else found
        around = {at for at in (0, start - 1, start, end - 1, end) if 0 <= at < self.size}
        needed = sorted({*shown, self.epoch, *around})
        leaves = [entry.encode() for entry in self.entries]
        disclosures = [
            [
                index,
                {
                    group: {"body": body, "salt": b64url(salt)}
                    for group, (salt, body) in self.events[index].disclosures.items()
                },
            ]
            for index in (answers if disclose else [])
        ]
        return {
            "buckets": [
                {
                    "hashes": b64(b"".join(joint_proof(len(BUCKETS), [bucket_of(ident)], BUCKETS))),
                    "key": b64(BUCKETS[bucket_of(ident)]),
                }
                for ident in idents
            ],
            "checkpoint": note(len(self.entries), self.root),
            "disclosures": disclosures,
            "end": end,
            "entries": [[index, self.entries[index]] for index in needed],
            "epoch": self.epoch,
            "hashes": b64(b"".join(joint_proof(len(leaves), needed, leaves))),
            "manifest": {
                "answers": len(found) if mode == "count" else len(answers),
                "disclosures": 2 * len(disclosures),
                "postings": len(found),
            },
            "mode": mode,
            "question": question,
            "segments": [proof for proof, _ in proofs],
            "start": start,
            "table": b64(self.index.table()),
            "type": "tlog-evidence",
            "v": 1,
        }

    def event_proof(self, index: int, *, disclose: bool = False) -> tuple[bytes, bytes]:
        """Return the tlog-proof and the event file of an entry."""
        leaves = [entry.encode() for entry in self.entries]
        hashes = "".join(f"{b64(each)}\n" for each in reference.path(index, leaves))
        proof = f"c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{note(len(leaves), self.root)}"
        shown = self.events[index].disclosures.items() if disclose else ()
        disclosures = {group: {"body": body, "salt": b64url(salt)} for group, (salt, body) in shown}
        return proof.encode(), (canonical({"disclosures": disclosures, "entry": self.entries[index]}) + "\n").encode()


def applies(event: Event, question: dict[str, str]) -> bool:
    """Tell whether an event answers a question."""
    at = moment(event.at, fraction=False)
    clear = all(event.members[name] == question[name] for name in event.members.keys() & question.keys())
    return clear and question.get("from", "0") <= at < question.get("to", "9")


def file_of(bundle: dict[str, Any]) -> bytes:
    """Return a bundle as the bytes of its file."""
    return (canonical(bundle) + "\n").encode()


def sample_event(number: int) -> Event:
    """Return event n, which is by user n % 7 about record n % 11; every fifth fails; every event is 3 minutes late."""
    return Event(number, f"user-{number % 7}", ("record", f"R:{number % 11}"), ["read", "read", "update", "export"][number % 4],
                 at=max(number - 3, 0), outcome="failure" if number % 5 == 0 else "success")  # fmt: skip


def sample_log(count: int = 120, ends: list[int] | None = None, spoil: Spoil | None = None, later: int = 0) -> NaiveLog:
    """Return a log of `count` sample events, the epoch, and `later` events more."""
    events = [sample_event(number) for number in range(1, count + 1)]
    after = [sample_event(number) for number in range(count + 2, count + 2 + later)]
    return NaiveLog(events, ends or [64, 100, 101, count + 1], spoil, after)
