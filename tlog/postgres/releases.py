"""When minor releases of PostgreSQL came out, to tell an old one (https://www.postgresql.org/docs/release/).

PostgreSQL brings corrections, those of security among them, every three months. So a release of more than four months ago
has a successor, and whoever runs it may be open to what that corrects. A release that is not listed is newer than this table.
"""

from __future__ import annotations

from datetime import date
from typing import Final

MAX_AGE_DAYS: Final = 120
# Each day on which minor releases came out, with the one of PostgreSQL 18, 17, 16 and 15; a missing one did not exist yet.
_RELEASES: Final = (
    (date(2022, 10, 13), (None, None, None, 0)),
    (date(2022, 11, 10), (None, None, None, 1)),
    (date(2023, 2, 9), (None, None, None, 2)),
    (date(2023, 5, 11), (None, None, None, 3)),
    (date(2023, 8, 10), (None, None, None, 4)),
    (date(2023, 9, 14), (None, None, 0, None)),
    (date(2023, 11, 9), (None, None, 1, 5)),
    (date(2024, 2, 8), (None, None, 2, 6)),
    (date(2024, 5, 9), (None, None, 3, 7)),
    (date(2024, 8, 8), (None, None, 4, 8)),
    (date(2024, 9, 26), (None, 0, None, None)),
    (date(2024, 11, 14), (None, 1, 5, 9)),
    (date(2024, 11, 21), (None, 2, 6, 10)),
    (date(2025, 2, 13), (None, 3, 7, 11)),
    (date(2025, 2, 20), (None, 4, 8, 12)),
    (date(2025, 5, 8), (None, 5, 9, 13)),
    (date(2025, 8, 14), (None, 6, 10, 14)),
    (date(2025, 9, 25), (0, None, None, None)),
    (date(2025, 11, 13), (1, 7, 11, 15)),
    (date(2026, 2, 12), (2, 8, 12, 16)),
    (date(2026, 2, 26), (3, 9, 13, 17)),
    (date(2026, 5, 14), (4, 10, 14, 18)),
)
_MAJORS: Final = (18, 17, 16, 15)
RELEASED: Final = {
    (major, minor): day
    for day, minors in _RELEASES
    for major, minor in zip(_MAJORS, minors, strict=True)
    if minor is not None
}


def age_in_days(server_version: int, today: date) -> int | None:
    """Return how old a minor release is, given libpq's number of it, such as 180004; None if it is not in the table."""
    released = RELEASED.get((server_version // 10_000, server_version % 10_000))
    return None if released is None else (today - released).days
