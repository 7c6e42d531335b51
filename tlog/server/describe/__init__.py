r"""What the service says of itself: its description for programs and for people, and the documents that its errors become.

    `openapi`  `/openapi.json` (OpenAPI 3.1) and the page `/docs`
    `operations`  what each operation takes and answers, and who may ask
    `answers`  the types of all answers
    `examples`  examples of what is sent and answered
    `problems`  one table from error class to status, title and type (RFC 9457)

Words:

- *problem*: the document of an error. Its `type` is a name that never changes (`urn:tlog:problem:not-found`), its `title`
  is the same for all errors of a kind, its `detail` says what happened this time and what to do. It never repeats what was
  sent.
- *pointer*: where in the request the mistake is, as RFC 6901 has it, such as `/3/actor/userId`.

The error classes of `tlog.errors` say whose fault an error is; here each gets its one status. The first class that fits
decides:

    >>> import asyncio
    >>> from tlog.errors import MalformedInputError
    >>> from tlog.server.describe.problems import on_error
    >>> answer = asyncio.run(on_error(None, MalformedInputError("'limit' is not a number", "/limit")))
    >>> answer.status_code
    400
    >>> print(answer.body.decode().replace(",", ",\n"))
    {"type":"urn:tlog:problem:malformed-request",
    "title":"The request is malformed",
    "status":400,
    "detail":"'limit' is not a number",
    "pointer":"/limit"}

An error that nobody foresaw becomes a document without particulars, and a line in the server's log with class and place.

Schemas of the event come from the types that validate it, so that the description cannot drift from the check; those of
answers from types as which tests read every answer. Left out: the pages of docs/, which are written for people and not made
from code.
"""
