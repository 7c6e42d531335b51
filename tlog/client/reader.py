"""A client for whoever asks: questions, checkpoints, proofs, exports, and appends that wait for their answer.

One `Client` is one connection, for one thread; every method is one request (docs/reference/http.md) and returns its answer
once that is complete.

    event       what the producer sends: one JSON text (docs/reference/event.md), without a newline, as bytes
    receipt     the log's unsigned answer to an append: `index`, and `duplicate` where the eventId was known; `append`
                returns one for each event
    checkpoint  what the log signed: the size and root hash of its tree
    proof       what convinces a stranger: a tlog-proof and an event file, together with the log's vkey

An event is appended, proved and verified like this, once it is sealed (for the last line tlog has to be there):

    from tlog.client import Client
    from tlog.core.note import parse_vkey
    from tlog.core.verify import verify_event

    with Client(url, token) as client:
        receipt = client.append([event], wait_sealed=True)[0]
        proof, event_file = client.event_proof(receipt["eventId"])
    verified = verify_event(parse_vkey(vkey), event_file, proof)

An append may be repeated after any error: the log knows the eventIds, and answers a second time with the old receipts.

Left out: verification (`tlog.core.verify`; nothing that a method returns was verified), and repeating a request by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .http import Answer, Connection, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import NoReturn, Self


class Client:
    """A connection to one log's service.

    Every method raises `OverloadedError` if the log cannot take the request now or cannot be reached, after which the same
    call may be repeated, `MalformedInputError` if the request breaks a rule of its format, and `ServiceError` if the log
    refuses it for another reason.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        """Take the service's `url` (scheme, host, port), and the API key for what needs a scope; the first request connects.

        Raises:
            MalformedInputError: the URL or the key is none.

        """
        self._connection = Connection(url, token)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def append(self, events: Sequence[bytes], *, wait_sealed: bool = False) -> list[dict[str, Any]]:
        """Append events, each one JSON text without a newline, all or none; return their receipts in order.

        With `wait_sealed` the receipts come once a signed checkpoint covers the events, otherwise once they are durable.
        """
        query = {"wait": "sealed"} if wait_sealed else None
        fields = {"Content-Type": "application/x-ndjson"}
        path = "/v1/audit/events"
        answer = self._succeed(self._connection.send("POST", path, query=query, body=b"\n".join(events), fields=fields))
        receipts: list[dict[str, Any]] = self._member(answer, "receipts", list)
        return receipts

    def log(self) -> dict[str, Any]:
        """Return the log's description, in which `vkey` is its public key and `size` that of its latest checkpoint."""
        return self._document(self._get("/v1/log"))

    def checkpoint(self) -> bytes:
        """Return the latest checkpoint's note, not verified."""
        return self._get("/checkpoint").body

    def consistency_proof(self, old_size: int) -> bytes:
        """Return the consistency proof file from `old_size` to the latest checkpoint, not verified."""
        return self._get("/v1/proof/consistency", {"from": old_size}).body

    def event_proof(self, event_id: str, *, disclose: bool = False) -> tuple[bytes, bytes]:
        """Return the tlog-proof and the event file of an event, not verified; personal data only with `disclose`."""
        answer = self._get(f"/v1/audit/events/{quote(event_id, safe='')}/proof", {"disclose": str(disclose).lower()})
        proof, event_file = (self._member(answer, name, str) for name in ("proof", "eventFile"))
        return proof.encode(), event_file.encode()

    def ask(self, question: Mapping[str, str], **parameters: str | int) -> dict[str, Any]:
        """Return a page of the answer to a question (docs/reference/http.md); `parameters` are such as `limit` and `cursor`."""
        return self._document(self._get("/v1/audit/events", {**question, **parameters}))

    def export(self, form: str, question: Mapping[str, str], **parameters: str) -> Iterator[bytes]:
        """Yield the bytes of all that answers a question, as "ndjson", "csv" or "evidence"; evidence is not verified.

        Evidence is one bundle, or, where that is too small, a set of them: each bundle is a line. An error in the midst means
        that what was yielded is incomplete.
        """
        fields = {"Accept": "application/json, application/x-ndjson"} if form == "evidence" else None
        return self._connection.stream("/v1/audit/export", {"format": form, **question, **parameters}, fields)

    def _get(self, path: str, query: Mapping[str, object] | None = None) -> Answer:
        return self._succeed(self._connection.send("GET", path, query=query))

    @staticmethod
    def _succeed(answer: Answer) -> Answer:
        if not answer.success:
            answer.raise_problem()
        return answer

    def _document(self, answer: Answer) -> dict[str, Any]:
        """Return the JSON object that an answer has to be, which is never empty."""
        return answer.document() or self._raise_no_log()

    def _member(self, answer: Answer, name: str, kind: type[Any]) -> Any:  # noqa: ANN401 - of that type
        value = answer.document().get(name)
        return value if isinstance(value, kind) else self._raise_no_log()

    def _raise_no_log(self) -> NoReturn:
        host = self._connection.host
        message = f"what answered at {host} is no log, or one of another version: its answer cannot be read"
        raise ServiceError(message)
