"""What is set aside: the records that an import could not take, in a file of their own, as they stood.

A line of that file is `{"place":…,"pointer":…,"record":…,"rule":…}`; what is no JSON stands in `text`, and what is no UTF-8 in
`base64`, instead of `record`. Every importer reads such lines as well (`tlog.ingest.shapes`), so whoever repaired a record in
the file imports the file.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from typing import TYPE_CHECKING, Final, NamedTuple

from tlog.errors import MalformedInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENTS: Final = ("record", "text", "base64")
NAMED: Final = 20  # problems, in a message
_MEMBERS: Final = frozenset(("place", "pointer", "rule"))
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")  # JSON has line ends between its tokens only


class Problem(NamedTuple):
    """A record, a piece of a file or a whole file that is not imported.

    Attributes:
        place: file, and line or number of the record.
        base: JSON pointer of the record in the JSON text around it.
        pointer: JSON pointer of the offending member in the record.
        rule: what is wrong, without values.
        content: returns the bytes as they stood.
        is_json: whether they are one JSON text.

    """

    place: str
    base: str
    pointer: str
    rule: str
    content: Callable[[], bytes]
    is_json: bool = True

    def __str__(self) -> str:
        """Return the problem in one line."""
        pointer = self.base + self.pointer
        return f"{self.place}: {self.rule}" + (f" (at {pointer})" if pointer else "")

    def line(self) -> bytes:
        """Return the line of the file of what was set aside."""
        stood = self.content()
        if self.is_json:
            content = b'"record":' + stood.translate(_ONE_LINE)
        else:
            try:
                content = _member("text", stood.decode())
            except UnicodeDecodeError:
                content = _member("base64", b64encode(stood).decode())
        members = _member("place", self.place), _member("pointer", self.pointer), content, _member("rule", self.rule)
        return b"{" + b",".join(members) + b"}\n"


def _member(name: str, value: str) -> bytes:
    # A file's name may hold bytes that are no UTF-8; they are written as escapes.
    return f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=not _is_text(value))}".encode()


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def set_aside_content(value: object) -> str | None:
    """Return which of `CONTENTS` a line holds, or None if the value is no line of what was set aside."""
    if isinstance(value, dict) and len(value) == len(_MEMBERS) + 1 and value.keys() >= _MEMBERS:
        name = next(iter(value.keys() - _MEMBERS))
        if name == "record" or (name in CONTENTS and isinstance(value[name], str)):
            return str(name)
    return None


class AsideFile:
    """The file that `--skip-invalid` names: new, closed to others, and gone again if nothing was set aside."""

    def __init__(self, path: Path) -> None:
        """Make the file.

        Raises:
            MalformedInputError: there is a file already.
            OSError: the file cannot be made.

        """
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            message = f"{path} exists already; give --skip-invalid the name of a new file"
            raise MalformedInputError(message) from None
        self._path = path
        self._file = os.fdopen(descriptor, "wb")

    def write(self, problem: Problem) -> None:
        """Add a line."""
        self._file.write(problem.line())

    def tell(self) -> int:
        """Return where the next line begins."""
        return self._file.tell()

    def cut(self, size: int) -> None:
        """Forget the lines from `size` on."""
        self._file.seek(size)
        self._file.truncate()

    def close(self, *, keep: bool) -> None:
        """Make the lines durable and close the file; without `keep` remove the file."""
        with self._file as file:
            if keep:
                file.flush()
                os.fsync(file.fileno())
        if not keep:
            self._path.unlink(missing_ok=True)
