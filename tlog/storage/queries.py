"""Loads `queries.sql`: statements by the name in their `-- name:` line, read once at import."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final, LiteralString, cast

_NAME: Final = re.compile(r"^-- name: ([a-z_]+)\n", re.MULTILINE)


def _load() -> dict[str, LiteralString]:
    parts = _NAME.split(files("tlog.storage").joinpath("queries.sql").read_text(encoding="utf-8"))
    # The file is part of the package, as literal as a string in this module.
    statements = (cast("LiteralString", text.strip()) for text in parts[2::2])
    return dict(zip(parts[1::2], statements, strict=True))


QUERIES: Final = _load()
