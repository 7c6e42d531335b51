"""Make audit events whose actors and resources are as unevenly popular as real ones (Zipf), for tests and benchmarks.

    python tools/make_events.py 1000000 > events.ndjson

The same seed makes the same events. Each is about 630 bytes of JSON, without a newline inside.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

ACTORS, RESOURCES = 20_000, 1_000_000
ACTIONS = ("read", "read", "read", "read", "read", "read", "update", "update", "create", "export")
TYPES = ("patient_record", "lab_result", "prescription", "billing_account")
CHUNK = 10_000
START = np.datetime64("2026-01-01T00:00:00.000")
_TEMPLATE = (
    '{{"eventId":"{0}","timestamp":"{2}Z","actor":{{"userId":"user-{3:05d}","role":"nurse",'
    '"ipAddress":"10.{4}.{5}.17","userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"}},'
    '"action":"{6}","resource":{{"type":"{7}","id":"R-{8:07d}","name":"Record of visit {8}"}},"details":{{'
    '"fieldsAccessed":["name","birthDate","diagnosis","medication"],"reason":"treatment in ward {9}, planned visit"}},'
    '"metadata":{{"department":"ward-{9}","requestId":"{1}{1}","session":"{1}8f3e91c2"}},"outcome":"{10}",'
    '"source":{{"id":"ehr-api-{11}","seq":{12}}}}}'
)


def popular(rng: np.random.Generator, count: int, among: int, exponent: float = 1.07) -> np.ndarray:
    """Return `count` numbers below `among`; number k is drawn about in proportion to (k + 1) ** -exponent."""
    weights = np.cumsum(np.arange(1, among + 1, dtype=np.float64) ** -exponent)
    return np.asarray(np.searchsorted(weights, rng.random(count) * weights[-1]))


def make_events(
    count: int, *, seed: int = 1, random_ids: bool = False, start: np.datetime64 = START
) -> Iterator[bytes]:
    """Yield `count` events as JSON texts, one each 10 ms from `start`; eventIds are UUIDv7, or UUIDv4 if asked for."""
    rng = np.random.default_rng(seed)
    for first in range(0, count, CHUNK):
        size = min(CHUNK, count - first)
        identifiers = rng.bytes(16 * size).hex()
        moments = start + (first + np.arange(size)) * np.timedelta64(10, "ms")
        actors, resources = popular(rng, size, ACTORS), popular(rng, size, RESOURCES)
        numbers = rng.integers(0, 250, (4, size))
        columns = (array.tolist() for array in (np.datetime_as_string(moments), actors, resources, *numbers))
        milliseconds = moments.astype(np.int64).tolist()
        for at, (time, actor, resource, *n) in enumerate(zip(*columns, strict=True)):
            text = identifiers[32 * at : 32 * at + 32]
            stamp = text[:12] if random_ids else f"{milliseconds[at]:012x}"
            yield _TEMPLATE.format(
                f"{stamp[:8]}-{stamp[8:]}-{4 if random_ids else 7}{text[13:16]}-8{text[17:20]}-{text[20:]}",
                text[8:20], time, actor, n[0], n[1], ACTIONS[n[2] % 10], TYPES[resource % 4], resource, n[3] % 20,
                "failure" if n[2] % 50 == 0 else "success", actor % 8, first + at,
            ).encode()  # fmt: skip


def main() -> None:
    """Write events to standard output, one in each line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("count", type=int, help="how many")
    parser.add_argument("--random-ids", action="store_true", help="eventIds are UUIDv4 instead of UUIDv7")
    parser.add_argument("--seed", type=int, default=1, help="another seed makes other events")
    arguments = parser.parse_args()
    for event in make_events(arguments.count, seed=arguments.seed, random_ids=arguments.random_ids):
        sys.stdout.buffer.write(event + b"\n")


if __name__ == "__main__":
    main()
