"""Where evidence goes: one bundle into a file; a set of bundles into a new directory, which gets its name when it is complete."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from tlog.answering.manifest import MANIFEST, Manifest, read_bundle
from tlog.cli.output import open_output, refuse, show_progress
from tlog.errors import OverloadedError
from tlog.files.destination import write_destination
from tlog.files.durable import making

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType


class EvidenceOutput:
    """Takes bundles one after the other. Of a set that does not become complete, nothing is left."""

    def __init__(self, path: Path) -> None:
        """Take the name of the file, or of the directory if a set comes; "-" is standard output."""
        self.size = 0
        self.files = 0
        self.answers = 0
        self._path = path
        self._stack = ExitStack()
        self._directory: Path | None = None
        self._manifest = Manifest()
        self._report: Callable[[int, int], None] = lambda *_: None

    def __enter__(self) -> Self:
        """Return it, unless it is certain already that nothing can be written."""
        if str(self._path) != "-" and not self._path.parent.is_dir():
            refuse(f"{self._path}: its directory does not exist")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give a set its name, or leave nothing of it after an error."""
        with self._stack:
            if error is not None:
                self._stack.__exit__(kind, error, traceback)
            else:
                self._finish()

    def take(self, bundle: bytes) -> None:
        """Take the next bundle, as it stands in its file.

        Raises:
            MalformedInputError: it is none.

        """
        seen = read_bundle(bundle)
        self.answers += seen.manifest.answers
        self.files += 1
        self.size += len(bundle)
        if seen.part is None:
            with open_output(self._path) as file:
                file.write(bundle)
            return
        if self._directory is None:
            self._directory = self._begin()
        write_destination(self._directory / self._manifest.add(seen, bundle), bundle)
        self._report(self.files, self._manifest.parts)

    def _begin(self) -> Path:
        path = self._path
        if str(path) == "-":
            refuse("this answer takes a set of bundles, which is a directory of files: name one with --evidence")
        if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
            refuse(
                f"this answer takes a set of bundles, and {path}, where its directory would be, is there already and not "
                "empty; name a new one with --evidence"
            )
        directory = self._stack.enter_context(making(path))
        directory.mkdir(mode=0o700)
        self._report = self._stack.enter_context(show_progress("making evidence", "bundles"))
        return directory

    def _finish(self) -> None:
        if self._directory is None and self.files == 1:
            return
        if self._directory is None or not self._manifest.is_complete():
            message = f"the answer ended after {self.files} of {self._manifest.parts} bundles; ask again"
            raise OverloadedError(message)
        write_destination(self._directory / MANIFEST, self._manifest.text())
