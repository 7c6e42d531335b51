"""Drafts of valid events: each of their groups gets a fresh salt, and each becomes an entry that lacks only its loggedAt."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tlog.core.making.drafts import draft_entries, salt_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlog.core.making.bucket_keys import BucketKeys
    from tlog.core.making.drafts import DraftEntry
    from tlog.core.making.parsing import ParsedEvent

LOCAL: Final = "local"
LOG: Final = "log"


def draft_events(events: Sequence[ParsedEvent], keys: BucketKeys, appended_by: str) -> list[DraftEntry]:
    """Return the drafts of events (`tlog.core.making.parsing.parse_batch`) in a log with these bucket keys.

    `appended_by` is the ID of the API key that they came with, LOCAL for the command line, or LOG for what the log says itself.
    """
    # One call for the whole batch: asking the kernel costs more than cutting the bytes.
    return draft_entries(events, keys, os.urandom(salt_size(events)), appended_by)
