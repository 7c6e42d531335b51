"""Drafts of valid events: each gets two fresh salts and becomes an entry that lacks only its loggedAt."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tlog.core.commitment import SALT_SIZE
from tlog.core.making.drafts import draft_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.drafts import DraftEntry
    from tlog.core.making.parsing import ParsedEvent


def draft_events(events: Sequence[ParsedEvent], keys: BucketKeys) -> list[DraftEntry]:
    """Return the drafts of events (`tlog.core.making.parsing.parse_batch`) in a log with these bucket keys."""
    # One call for the whole batch: asking the kernel costs more than cutting the bytes.
    return draft_entries(events, keys, os.urandom(2 * SALT_SIZE * len(events)))
