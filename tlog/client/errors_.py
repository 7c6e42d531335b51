"""The errors of tlog that a client raises, from the one place outside of this package that it knows.

In the package `tlog-client`, which is made of this one (tools/build_client.py), this file holds the text of `tlog/errors.py`.
"""

from __future__ import annotations

from tlog.errors import InvalidEventError, MalformedInputError, OperatorError, OverloadedError, TlogError

__all__ = ["InvalidEventError", "MalformedInputError", "OperatorError", "OverloadedError", "TlogError"]
