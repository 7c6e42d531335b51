"""A client of the HTTP service: append events, ask questions, fetch checkpoints, proofs and exports.

For a producer of events, and for an auditor who asks. One `Client` is one connection, for one thread; every method is one
request (docs/reference/http.md) and returns its answer once that is complete.

    event       what the producer sends: one JSON text (docs/reference/event.md), without a newline, as bytes
    receipt     the log's unsigned answer to an append: `index`, and `duplicate` where the eventId was known; `append`
                returns one for each event
    checkpoint  what the log signed: the size and root hash of its tree
    proof       what convinces a stranger: a tlog-proof and an event file, together with the log's vkey

An event is appended, proved and verified like this, once it is sealed:

    from tlog.client import Client
    from tlog.core.note import parse_vkey
    from tlog.core.verify import verify_event

    with Client(url, token) as client:
        receipt = client.append([event], wait_sealed=True)[0]
        proof, event_file = client.event_proof(receipt["eventId"])
    verified = verify_event(parse_vkey(vkey), event_file, proof)

An append may be repeated after any error: the log knows the eventIds, and answers a second time with the old receipts.

Left out: verification (`tlog.core.verify`; nothing that a method returns was verified), repeating a request by itself, and
a store for events while the log is away. This package needs nothing of tlog but its errors.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar

import httpx2
import msgspec

from tlog.errors import MalformedInputError, OverloadedError, TlogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_Answer = TypeVar("_Answer")
_TIMEOUT: Final = 30.0
_UNAVAILABLE: Final = (429, 503, 507)


class ServiceError(TlogError):
    """The service refused a request; the message is its own, with the pointer to the offending member if it gave one."""


class Client:
    """A connection to one log's service.

    Every method raises `OverloadedError` if the log cannot take the request now or cannot be reached, after which the same
    call may be repeated, `MalformedInputError` if the request breaks a rule of its format, and `ServiceError` if the log
    refuses it for another reason.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        """Take the service's `url` (scheme, host, port), and the API key for what needs a scope; the first request connects.

        Raises:
            MalformedInputError: the URL is none.

        """
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            self._http = httpx2.Client(base_url=url, headers=headers, timeout=_TIMEOUT, follow_redirects=False)
        except httpx2.InvalidURL as error:
            message = "the log's URL has a scheme, a host and a port, such as http://127.0.0.1:8080"
            raise MalformedInputError(message) from error

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._http.close()

    def append(self, events: Sequence[bytes], *, wait_sealed: bool = False) -> list[dict[str, Any]]:
        """Append events, each one JSON text without a newline, all or none; return their receipts in order.

        With `wait_sealed` the receipts come once a signed checkpoint covers the events, otherwise once they are durable.
        """
        params = {"wait": "sealed"} if wait_sealed else {}
        headers = {"Content-Type": "application/x-ndjson"}
        response = self._send("POST", "/v1/audit/events", content=b"\n".join(events), params=params, headers=headers)
        return _decoded(response, _Receipts).receipts

    def log(self) -> dict[str, Any]:
        """Return the log's description, in which `vkey` is its public key and `size` that of its latest checkpoint."""
        return _decoded(self._send("GET", "/v1/log"), dict[str, Any])

    def checkpoint(self) -> bytes:
        """Return the latest checkpoint's note, not verified."""
        return self._send("GET", "/checkpoint").content

    def consistency_proof(self, old_size: int) -> bytes:
        """Return the consistency proof file from `old_size` to the latest checkpoint, not verified."""
        return self._send("GET", "/v1/proof/consistency", params={"from": old_size}).content

    def event_proof(self, event_id: str, *, disclose: bool = False) -> tuple[bytes, bytes]:
        """Return the tlog-proof and the event file of an event, not verified; personal data only with `disclose`."""
        params = {"disclose": str(disclose).lower()}
        response = self._send("GET", f"/v1/audit/events/{event_id}/proof", params=params)
        document = _decoded(response, _EventProof)
        return document.proof.encode(), document.eventFile.encode()

    def ask(self, question: Mapping[str, str], **parameters: str | int) -> dict[str, Any]:
        """Return a page of the answer to a question (docs/reference/http.md); `parameters` are such as `limit` and `cursor`."""
        response = self._send("GET", "/v1/audit/events", params={**question, **parameters})
        return _decoded(response, dict[str, Any])

    def export(self, form: str, question: Mapping[str, str], **parameters: str) -> Iterator[bytes]:
        """Yield the bytes of all that answers a question, as "ndjson", "csv" or "evidence"; evidence is not verified.

        Evidence is one bundle, or, where that is too small, a set of them: each bundle is a line. An error in the midst means
        that what was yielded is incomplete.
        """
        params = {"format": form, **question, **parameters}
        headers = {"Accept": "application/json, application/x-ndjson"} if form == "evidence" else {}
        request = self._http.stream("GET", "/v1/audit/export", params=params, headers=headers)
        with self._reaching(), request as response:
            if not response.is_success:
                response.read()
                self._raise(response)
            yield from response.iter_bytes()

    def _send(self, method: str, path: str, **arguments: Any) -> httpx2.Response:  # noqa: ANN401 - httpx2's own
        with self._reaching():
            response = self._http.request(method, path, **arguments)
        if not response.is_success:
            self._raise(response)
        return response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx2.HTTPError as error:
            message = f"the log at {self._http.base_url} cannot be reached ({type(error).__name__})"
            raise OverloadedError(message) from error

    def _raise(self, response: httpx2.Response) -> NoReturn:
        try:
            problem = msgspec.json.decode(response.content)
            message = f"{problem['title']}: {problem['detail']}"
            pointer = problem.get("pointer", "")
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
            message, pointer = f"the log answered {response.status_code}", ""
        if response.status_code in _UNAVAILABLE:
            seconds = response.headers.get("retry-after", "")
            raise OverloadedError(message, int(seconds) if seconds.isascii() and seconds.isdecimal() else 1)
        if pointer:
            raise MalformedInputError(message, pointer)
        raise ServiceError(message)


class _Receipts(msgspec.Struct):
    receipts: list[dict[str, Any]]


class _EventProof(msgspec.Struct):
    eventFile: str  # noqa: N815 - the format's name
    proof: str


def _decoded(response: httpx2.Response, kind: type[_Answer]) -> _Answer:
    """Return the answer of a request as what it has to be."""
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        message = (
            f"what answered at {response.url.host} is no log, or one of another version: its answer cannot be read"
        )
        raise ServiceError(message) from None
