"""The HTTP service: producers append, auditors ask, everybody else reads the public half.

It is one process in front of one open log. `create_app` is the container: everything the service needs is passed in, and no
global holds any of it. What comes in passes the guard first, then one endpoint; an error that leaves an endpoint becomes a
problem document (RFC 9457) by one table.

    `app`  `create_app`: routes, errors, the order of everything between
    `service`  what endpoints work with: an open log, and what guards and observes it
    `serve`  the whole, run under uvicorn and ended in order
    `listening`  an address, and uvicorn as services run it
    `guard`  decides about a request before an endpoint sees it
    `endpoints`  the endpoints, a module for each group
    `observe`  what an operator sees of the service
    `pages`  what people look at, under `/ui`
    `describe`  the service described, and its errors

The public half needs no key: checkpoint, tiles, entry bundles and proofs by index hold nothing personal. The auditor's half
needs one, and every question is logged before it is answered.

    $ curl -s localhost:8080/checkpoint
    $ curl -s localhost:8080/v1/audit/events -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d @event.json
    {"receipts":[{"eventId":"…","index":1,"leafHash":"…","chainHash":"…","loggedAt":"…", …}]}
    $ curl -s "localhost:8080/v1/audit/events?userId=nurse-17" -H "Authorization: Bearer $TOKEN"

A request that is refused changed nothing; one that was answered with receipts is on disk. When the service is told to end,
it takes no more, finishes what it took, and leaves.

Left out: TLS, compression and limits per address, which a proxy in front does; and what an answer is (`tlog.answering`).
"""
