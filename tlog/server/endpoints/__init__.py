"""The endpoints, a module for each group of them; docs/reference/http.md describes what each takes and answers.

An endpoint reads a request, asks another room, and writes what that room answered. It decides little: the guard decides who
may ask, and what is true is decided below. An error is raised, and `tlog.server.describe.problems` makes its document. A
question with a member that nobody knows is refused, because a misspelt `userId` would ask for something else. No answer
about events leaves before the question is journaled.

    `append`  `POST /v1/audit/events`: one event, an array or NDJSON; all of it or nothing
    `single`  the same with one event, for all that arrived in one turn of the loop
    `bodies`  what it reads: a body cut into one JSON text for each event
    `audit`  questions about events, personal data included: answers, access logs, proofs, exports
    `asking`  what all questions about events have in common: journaled, charged, answered in bulk
    `sending`  what it sends that is large: bulk answers as they are made, large pages in pieces
    `read`  the public half: checkpoint, chain, tiles, entry bundles, proofs by index
    `verification`  `GET /v1/audit/verify`: is everything still as it was logged
    `health`  `/livez`, `/readyz`, `/metrics`

One that answers a single event. The guard has asked for the key (`asking`), `find_event` returns once the question is journaled:

    async def event(request: Request) -> Response:
        found = await find_event(request, {"ask": "event"})     # errors: 404, 503
        return _json(msgspec.json.encode(event_document(found)))

A new endpoint is a function here, a line in `tlog.server.app` with the query parameters that it takes, and its
description in `tlog.server.describe.operations`; a test wants all three.

Left out: finding and proving (`tlog.answering`), appending (`tlog.writing`), the check that `verification` reports
(`tlog.checking`).
"""
