"""Text that a terminal shows as it is: what it would act on, or hide, is escaped."""

from __future__ import annotations

import re
from typing import Final

# Control characters, U+2028 and U+2029, and what reorders text (UAX #9): no terminal gets them from a file or an event.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """Return text with escapes in place of what a terminal would act on or hide: control characters, line and bidi marks."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
