"""What header fields say of a body and of the answer that is wanted: media type, coding, preference (RFC 9110, RFC 7240)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.datastructures import Headers

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
# Other names under which lines of JSON are sent; none of them is registered.
_LINES: Final = (NDJSON, "application/ndjson", "application/jsonl")
# RFC 9110 section 12.4.2
_WEIGHT: Final = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def media_type(headers: Headers) -> str:
    """Return the media type of a request's body, `JSON` or `NDJSON`; a request that names none means JSON.

    Raises:
        HTTPException: 415, it is another one, or encoded otherwise than in UTF-8, or compressed.

    """
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        message = "a compressed request body is not accepted; send it without Content-Encoding"
        raise HTTPException(415, message, {"Accept-Encoding": "identity"})
    named = headers.get("content-type")
    return JSON if named is None else _kind(named)


@lru_cache(maxsize=64)
def _kind(named: str) -> str:
    kind, *parameters = (part.strip().lower() for part in named.split(";"))
    if kind not in (JSON, *_LINES):
        message = f"the content type is {JSON} or {NDJSON}; curl needs -H 'Content-Type: {JSON}' to say so"
        raise HTTPException(415, message, {"Accept": f"{JSON}, {NDJSON}"})
    charsets = [
        value.strip('"') for name, _, value in (each.partition("=") for each in parameters) if name == "charset"
    ]
    if charsets not in ([], ["utf-8"]):
        message = "the charset is utf-8; JSON has no other (RFC 8259 section 8.1)"
        raise HTTPException(415, message, {"Accept": f"{JSON}, {NDJSON}"})
    return JSON if kind == JSON else NDJSON


def prefers_minimal(headers: Headers) -> bool:
    """Tell whether a request prefers `return=minimal` (RFC 7240 section 4.2); of several preferences the first counts."""
    for preference in ",".join(headers.getlist("prefer")).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "return":
            return value.strip().strip('"') == "minimal"
    return False


def accepts(headers: Headers, named: str) -> bool:
    """Tell whether a request names a media type among those it accepts (RFC 9110 section 12.5.1); ranges do not count."""
    ranges = [each.replace(" ", "").lower().split(";") for each in headers.get("accept", "").split(",")]
    return any(name == named and not {"q=0", "q=0.0", "q=0.00", "q=0.000"} & {*more} for name, *more in ranges)


def accepts_gzip(headers: Headers) -> bool:
    """Tell whether an answer may be gzip-encoded (RFC 9110 section 12.5.3): accepted, and not liked less than plain."""
    weights: dict[str, float] = {}
    for each in ",".join(headers.getlist("accept-encoding")).split(","):
        coding, *parameters = (part.strip().lower() for part in each.split(";"))
        weights[coding.removeprefix("x-")] = _weight(parameters)
    gzip = weights.get("gzip", weights.get("*", 0.0))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def _weight(parameters: list[str]) -> float:
    """Return the weight that parameters state, 1 if none, 0 if nobody can read it."""
    if not parameters:
        return 1.0
    found = _WEIGHT.fullmatch(parameters[0])
    return 0.0 if found is None else float(found[1])
