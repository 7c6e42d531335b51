"""What the service answers, as types: `openapi` describes them, and tests read every answer as what it is said to be.

Endpoints write these documents without the types, because many are made of bytes that are stored. Members that are absent at
times have the type `UnsetType` beside their own; programs that read answers have to expect further members.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tlog.core.event import (  # noqa: TC001 - msgspec reads the annotations
    Action,
    Actor,
    Details,
    Outcome,
    RelatedResource,
    Source,
)

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
EventId = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Index = Annotated[int, Meta(ge=0, le=2**63 - 1, description="Position in the log, final")]
LeafHash = Annotated[str, Meta(description="RFC 6962 leaf hash, base64")]
ChainHash = Annotated[str, Meta(description="Hash chain up to this entry, base64")]
LoggedAt = Annotated[str, Meta(description="The log's clock", extra_json_schema={"format": "date-time"})]


class Fault(Struct, rename="camel", kw_only=True):
    """One thing that is wrong with a request, or that its sender should know."""

    pointer: Annotated[str, Meta(description="RFC 6901 pointer to the member in the request")]
    detail: str
    event_id: EventId | UnsetType = UNSET


class Problem(Struct, kw_only=True):
    """An error: RFC 9457 problem details."""

    type: Annotated[str, Meta(description="Never changes, such as urn:tlog:problem:not-found")]
    title: str
    status: int
    detail: Annotated[str, Meta(description="What happened this time, and what to do")]
    pointer: Annotated[str, Meta(description="RFC 6901 pointer to the offending member")] | UnsetType = UNSET
    errors: Annotated[list[Fault], Meta(description="All that is wrong")] | UnsetType = UNSET


class Warned(Struct, kw_only=True):
    """What the sender of an event should know although it is logged."""

    pointer: Annotated[str, Meta(description="RFC 6901 pointer to the member in the event")]
    detail: str


class Receipt(Struct, rename="camel", kw_only=True):
    """The acknowledgement of one event."""

    event_id: EventId
    index: Index
    leaf_hash: LeafHash
    chain_hash: ChainHash
    logged_at: LoggedAt
    duplicate: Annotated[bool, Meta(description="true if the event was in the log already")] | UnsetType = UNSET
    warnings: list[Warned] | UnsetType = UNSET
    entry: Annotated[str, Meta(description="With wait=sealed: the entry's bytes")] | UnsetType = UNSET
    proof: Annotated[str, Meta(description="With wait=sealed: the tlog-proof")] | UnsetType = UNSET


class Receipts(Struct, kw_only=True):
    """A receipt for each event of a request, in its order."""

    receipts: list[Receipt]
    sealed: Annotated[bool, Meta(description="With wait=sealed: whether all of it is")] | UnsetType = UNSET


class ReceiptCounts(Struct, rename="camel", kw_only=True):
    """With `Prefer: return=minimal`: how many events a request brought."""

    count: Number
    duplicates: Annotated[Number, Meta(description="How many were in the log already")]
    last_index: Annotated[Number, Meta(description="The largest index")]
    chain_hash: ChainHash
    warnings: Annotated[Number, Meta(description="How many receipts would have a warning")] | UnsetType = UNSET
    sealed: Annotated[bool, Meta(description="With wait=sealed: whether all of it is")] | UnsetType = UNSET
    tree_size: (
        Annotated[Number | None, Meta(description="With wait=sealed: of the checkpoint that covers it")] | UnsetType
    ) = UNSET


class LoggedResource(Struct, kw_only=True):
    """What was acted on; `id` and `name` are absent where they are lost or missing."""

    type: str
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class LostGroup(Struct, kw_only=True):
    """A group of personal data that is absent, and the entry of the outcome that explains it."""

    group: str
    by: Index


class Place(Struct, rename="camel", kw_only=True):
    """Where an event is in the log."""

    index: Index
    logged_at: LoggedAt
    leaf_hash: LeafHash
    chain_hash: ChainHash
    appended_by: (
        Annotated[
            str,
            Meta(description="The API key's ID, 'local' (the command line) or 'log'; absent where the actor is"),
        ]
        | UnsetType
    ) = UNSET
    lost: Annotated[
        list[LostGroup], Meta(description="Groups of personal data that are absent, as an outcome explains")
    ]
    missing: Annotated[list[str], Meta(description="Groups of personal data that are absent, which nothing explains")]
    withheld: (
        Annotated[
            list[str], Meta(description="Groups that are somebody else's; only for a key for one person's answers")
        ]
        | UnsetType
    ) = UNSET
    matched: (
        Annotated[
            Literal["resource", "related"], Meta(description="What of it was asked for: what was acted on, or named")
        ]
        | UnsetType
    ) = UNSET
    state: Literal["pending", "sealed", "indexed"] | UnsetType = UNSET


class LoggedEvent(Struct, rename="camel", kw_only=True):
    """An event as it was sent, and its place in the log; members whose data is lost or missing are absent."""

    event_id: EventId
    timestamp: Moment
    action: Action
    outcome: Outcome
    actor: Actor | UnsetType = UNSET
    resource: LoggedResource
    details: Details | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    operation: str | UnsetType = UNSET
    related_resources: list[RelatedResource] | UnsetType = UNSET
    source: Source | UnsetType = UNSET
    log: Place


class ControlEntry(Struct, kw_only=True):
    """What the log itself says, where `control` asks for it: its entry, and what is disclosed by group."""

    type: Annotated[str, Meta(description="Of the entry")]
    entry: dict[str, Any]
    disclosed: dict[str, dict[str, Any]]
    log: Place


class AsOf(Struct, kw_only=True):
    """As of when an answer is."""

    size: Annotated[Number, Meta(description="Tree size that was looked at")]
    sealed: Annotated[Number, Meta(description="Of that, covered by the checkpoint")]
    indexed: Annotated[Number, Meta(description="Of that, covered by an index epoch")]
    checkpoint: Annotated[str | None, Meta(description="The latest checkpoint's note")]


# With `control` they are of the type ControlEntry; msgspec cannot tell the two apart.
Events = Annotated[list[LoggedEvent], Meta(description="Newest first; with `control`: entries of that type")]
Next = Annotated[str | None, Meta(description="Cursor of the next page")]
LeftOut = Annotated[list[str], Meta(description="What the answer leaves out")]


class EventsAnswer(Struct, rename="camel", kw_only=True):
    """A page of the events that answer a question."""

    events: Events
    count: Number
    next: Next
    as_of: AsOf
    not_looked_at: LeftOut
    evidence: Annotated[str, Meta(description="With proof=true: the evidence bundle")] | UnsetType = UNSET


class AccessLog(Struct, rename="camel", kw_only=True):
    """A page of who accessed a resource."""

    resource_type: str
    resource_id: str
    access_log: Events
    count: Number
    next: Next
    as_of: AsOf
    not_looked_at: LeftOut


class EventProof(Struct, rename="camel", kw_only=True):
    """The files with which anybody can verify one event."""

    event_id: EventId
    index: Index
    proof: Annotated[str, Meta(description="The tlog-proof (c2sp.org/tlog-proof)")]
    event_file: Annotated[str, Meta(description="The event file, docs/reference/formats.md")]


class Damage(Struct, kw_only=True):
    """One thing that is wrong with the log."""

    damage: Annotated[str, Meta(description="Its class, such as 'entry changed'")]
    place: Annotated[str, Meta(description="Where, such as 'entry 7'")]
    what: str


class Progress(Struct, kw_only=True):
    """How far a verification is."""

    done: Number
    total: Number


class Verification(Struct, rename="camel", kw_only=True):
    """The result of the last full verification; what is about one is absent until the first has ended."""

    verified: Annotated[bool | None, Meta(description="null: no verification has ended yet")]
    total_events: Number | None
    broken_at: Annotated[Number | None, Meta(description="The first entry that is damaged")]
    errors: list[Damage]
    unchecked: Annotated[list[str], Meta(description="What was not checked")] | UnsetType = UNSET
    tree_size: Number | UnsetType = UNSET
    checked_from: Annotated[Number, Meta(description="Entries before it were checked earlier")] | UnsetType = UNSET
    checked_at: Moment | UnsetType = UNSET
    age_seconds: Number | UnsetType = UNSET
    full_check_at: Moment | UnsetType | None = UNSET
    running: Progress | None
    failure: Annotated[str | None, Meta(description="Why the last verification itself failed")]


class LogDescription(Struct, rename="camel", kw_only=True):
    """Who a log is, how far it is, and where to read on."""

    origin: str
    vkey: Annotated[str, Meta(description="The public key, to be compared with one that came another way")]
    size: Annotated[Number, Meta(description="Size of the latest checkpoint")]
    pending: Annotated[Number, Meta(description="How many entries it does not cover yet")]
    hash: Literal["SHA-256"]
    tiles: Literal["https://c2sp.org/tlog-tiles"]
    checkpoint: str
    chain: str
    cors_origin: Annotated[
        str | None, Meta(description="Whose web pages may read the public half; '*': all; null: none")
    ]
    public: Annotated[
        Literal["checkpoint", "proofs", "all"],
        Meta(description="What needs no key: heads; hash tiles and proofs too; entry bundles too"),
    ]
    bucket_bits: Annotated[
        Number, Meta(description="How many bits name a bucket of the index, as the first entry says")
    ]
    witnessing: Annotated[
        Literal["required", "collect"] | None,
        Meta(
            description="Whether a checkpoint is published with the quorum of its witnesses, or collects cosignatures after; "
            "null: this process has no policy"
        ),
    ]
    openapi: str


class PublishedCheckpoint(Struct, rename="camel", kw_only=True):
    """One checkpoint."""

    size: Number
    root_hash: Annotated[str, Meta(description="base64")]
    sealed_at: Moment
    note: Annotated[str, Meta(description="The signed note")]


class Checkpoints(Struct, kw_only=True):
    """A page of published checkpoints."""

    checkpoints: Annotated[list[PublishedCheckpoint], Meta(description="Newest first")]
    next: Annotated[Number | None, Meta(description="`below` of the next page")]


class Readiness(Struct, kw_only=True):
    """Whether a service should get traffic, and what it waits for."""

    ready: bool
    reason: (
        Annotated[Literal["stopping", "database", "standby", "no-checkpoint"], Meta(description="Why it should not")]
        | UnsetType
    ) = UNSET
    size: Annotated[Number, Meta(description="Size of the latest checkpoint")] | UnsetType = UNSET
    leading: Annotated[bool, Meta(description="Whether this service seals")] | UnsetType = UNSET
    sealing: (
        Annotated[Literal["waiting"], Meta(description="Sealing waits; the service's log says for what")] | UnsetType
    ) = UNSET
    indexing: (
        Annotated[Literal["stopped"], Meta(description="Indexing stopped; the service's log says why")] | UnsetType
    ) = UNSET
    appending: (
        Annotated[Literal["no-space"], Meta(description="Nothing is appended; the disk is nearly full")] | UnsetType
    ) = UNSET
    witnessing: (
        Annotated[
            Literal["lags", "down", "contradicted"],
            Meta(
                description="Events are durable, but a checkpoint waits for its witnesses; the service's log says why"
            ),
        ]
        | UnsetType
    ) = UNSET


ANSWERS = (
    *(Problem, Receipts, ReceiptCounts, LoggedEvent, EventsAnswer, AccessLog, EventProof, Verification),
    *(LogDescription, Checkpoints, Readiness, ControlEntry),
)
