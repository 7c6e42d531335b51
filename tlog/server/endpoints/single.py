"""`POST /v1/audit/events` with one event, on the quick way: all that arrived in one turn of the event loop is drafted together.

The rules are those of every append (`tlog.server.endpoints.append`), in the same order and by the same functions: key, scope,
rate, disk and queue, memory, validity. What has to wait before it is drafted is handed over to the application: a key that has to
be looked up, a log that first has to say that it was restored or started.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response

from tlog.core.making.parsing import parse_batch
from tlog.errors import EventConflictError, InvalidBatchError, InvalidEventError, OverloadedError, TlogError
from tlog.server.describe.problems import describe
from tlog.server.endpoints.append import (
    find_ahead,
    latest_second,
    receipt_documents,
    report_appended,
    report_conflicts,
    sender_of,
    without_position,
)
from tlog.server.guard.fields import JSON
from tlog.server.guard.quick import APPENDS
from tlog.writing.drafting import draft_events
from tlog.writing.grouping import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.server.guard.account import Share
    from tlog.server.guard.admission import LetIn
    from tlog.server.guard.quick import Held
    from tlog.server.service import Service
    from tlog.storage.keys import ApiKey
    from tlog.writing.receipts import Receipts

_TOGETHER: Final = 100  # about a millisecond's work
_SPACE: Final = b" \t\r\n"


class _Append:
    """A request that was let in, and the memory that it holds until its answer."""

    __slots__ = ("held", "let_in", "share")

    def __init__(self, held: Held, let_in: LetIn, share: Share) -> None:
        self.held = held
        self.let_in = let_in
        self.share = share


class Singles:
    """Appends what arrives on the quick way."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._arrived: list[Held] = []
        self._under_way: set[_Append] = set()

    def take(self, held: Held) -> None:
        """Take a request whose body is complete."""
        self._arrived.append(held)
        if len(self._arrived) == 1:
            asyncio.get_running_loop().call_soon(self._turn)

    def refuse(self) -> None:
        """Answer those that still wait for their group, because the service ends."""
        for append in list(self._under_way):
            self._end(append, OverloadedError("the service is stopping; try again with the same eventIds"))

    def _turn(self) -> None:
        arrived, self._arrived = self._arrived[:_TOGETHER], self._arrived[_TOGETHER:]
        if self._arrived:
            asyncio.get_running_loop().call_soon(self._turn)
        by_key: dict[str, list[_Append]] = {}
        for held in arrived:
            if (append := self._admit(held)) is not None:
                by_key.setdefault(append.let_in.key.key_id, []).append(append)
        for appends in by_key.values():
            self._append(appends)

    def _admit(self, held: Held) -> _Append | None:
        """Let a request in; None if it is answered, or the application has it now."""
        admission, key = self._service.admission, None
        if held.disconnected:
            self._observe(held, 0, None, 0)
            return None
        try:
            # A list of events is for the application, and so is what is no JSON at all.
            if held.body.lstrip(_SPACE)[:1] == b"{" and self._service.log.appender.gate is None:
                key = admission.seen(held.authorization)
            if key is None:
                held.hand_over()
                return None
            let_in = admission.admit_seen(key, held.length)
        except Exception as error:  # noqa: BLE001 - the last resort, as for every request: the others of this turn go on
            self._answer(held, describe(error), key)
            return None
        append = _Append(held, let_in, admission.account.share(key.key_id))
        self._under_way.add(append)
        self._service.turns.begin_append()
        admission.account.open(append.share)
        try:
            append.share.grow(len(held.body))
        except TlogError as error:
            self._end(append, error)
            return None
        return append

    def _append(self, appends: Sequence[_Append]) -> None:
        """Draft events of one key, and append each by itself."""
        service, key = self._service, appends[0].let_in.key
        try:
            parsed = parse_batch([bytes(append.held.body) for append in appends])
            drafts = draft_events(parsed, service.log.bucket_keys, key.key_id)
            ahead = find_ahead(parsed, latest_second(service))
            for append in appends:
                service.admission.correct(append.let_in, 1)
                service.metrics.received(append.share.size)
            batches = [Batch([draft], append.share.size) for append, draft in zip(appends, drafts, strict=True)]
            submitted = service.log.appender.submit(batches, sender_of(key))
        except InvalidEventError as error:
            if len(appends) == 1:
                self._end(appends[0], error.found[0] if isinstance(error, InvalidBatchError) else error)
                return
            for append in appends:
                self._append([append])
            return
        except Exception as error:  # noqa: BLE001 - the last resort, as for every request
            for append in appends:
                self._end(append, error)
            return
        for position, (append, done) in enumerate(zip(appends, submitted, strict=True)):
            done.add_done_callback(partial(self._done, append, position in ahead))

    def _done(self, append: _Append, ahead: bool, done: asyncio.Future[Receipts]) -> None:  # noqa: FBT001 - of a callback
        """Answer what was appended, or what it was refused for."""
        service, key = self._service, append.let_in.key
        try:
            receipts = done.result()
        except EventConflictError as error:
            report_conflicts(service, key, error)
            self._end(append, without_position(error))
        except Exception as error:  # noqa: BLE001 - likewise
            self._end(append, error)
        else:
            status = report_appended(service, key, receipts)
            document = {"receipts": receipt_documents(receipts, [0] if ahead else [])}
            self._end(append, Response(msgspec.json.encode(document), status, media_type=JSON))

    def _end(self, append: _Append, outcome: Response | Exception) -> None:
        """Answer, unless the service refused it meanwhile, and give its memory back."""
        if append not in self._under_way:
            return
        self._under_way.discard(append)
        self._service.admission.account.close(append.share)
        self._service.turns.end_append()
        response = outcome if isinstance(outcome, Response) else describe(outcome)
        self._answer(append.held, response, append.let_in.key)

    def _answer(self, held: Held, response: Response, key: ApiKey | None) -> None:
        self._service.metrics.responded(response.status_code)
        held.answer(response)
        self._observe(held, response.status_code, key, len(response.body))

    def _observe(self, held: Held, status: int, key: ApiKey | None, sent: int) -> None:
        seconds, key_id = time.perf_counter() - held.began, None if key is None else key.key_id
        self._service.answered("POST", APPENDS, status, key_id=key_id, sent=sent, seconds=seconds)
