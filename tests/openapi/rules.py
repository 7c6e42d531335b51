"""What schemathesis has to know of the service besides its description: rules in words, and how long a check may take."""

from __future__ import annotations

import re

import schemathesis

# The rules of questions and events that the description states in words only: each refusal must be one of them.
IN_WORDS = (
    # questions
    "'resourceId' needs 'resourceType' beside it",
    "'(from|loggedFrom)' is after '(to|loggedTo)'",
    "'(from|to|loggedFrom|loggedTo)': this date and time does not exist",
    "'cursor' is not from an answer to this question",
    "'(resourceType|resourceId)' is in the path already",
    "'actorType' stands for a userId that is not known, so not beside 'userId'",
    "beside 'control' stand only",
    "'from' is more than 24 hours after 'loggedTo'",
    "'(userId|resourceId)'.* Unicode",
    "evidence is about a resource \\(type and ID\\)",
    "a count alone is proved for",
    "'format' is one of",
    # events
    "this date and time does not exist",
    "an integer beyond 2\\^53 - 1 loses digits",
    "a number beyond the range of a double",
    "expected an integer, got a number with a fraction",  # 7.0, to JSON Schema an integer
    "a number that a double does not hold as it was sent",
    "only an actor of the type unknown has no userId",
    "an actor of the type unknown has no userId",
    "the resource types log and index_bucket are the log's own",
    "this related resource stands in the list before",
    "this is the event's main resource",
    "a character that Unicode [0-9.]+ has not assigned cannot stand in an id",
    "expected at most 2048 bytes of UTF-8",
    "nested deeper than 32 levels",
    "an event has at most 65535 bytes",
    "bytes as the log keeps them",
    "a request has at most 10000 events",
    "the request holds no event",  # NDJSON is text, which may be empty
    "two index keys of this event begin alike",
)


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    """Return lines as they are sent: the description has them as one text."""
    return value.encode(errors="surrogatepass") if isinstance(value, str) else b"%r" % value


@schemathesis.check
def refused_for_a_rule_in_words(ctx, response, case):
    """A request that fits its schema is refused for one of the rules above, or not at all."""
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    lines = "ndjson" in (case.media_type or "")  # whose schema is any text
    if positive and not lines and response.status_code in (400, 413, 422):
        detail = response.json()["detail"]
        assert any(re.search(rule, detail) for rule in IN_WORDS), (
            f"refused for a rule that the description could state: {detail}"
        )


@schemathesis.hook
def before_call(context, case, kwargs):
    """Do not wait for a full verification: each takes seconds, and the form of its answer does not depend on the wait."""
    wait = str((case.query or {}).get("wait", 5))
    if case.path == "/v1/audit/verify" and re.fullmatch("[0-9]|[1-5][0-9]|60", wait):
        case.query = {**(case.query or {}), "wait": 0}
