"""Makes the wheel of tlog-client, which applications install without tlog. Standard library; the same files give the same bytes.

    python tools/build_client.py DIR      writes DIR/tlog_client-VERSION-py3-none-any.whl, and prints its path

The package `tlog_client` is a copy of `tlog/client`, in which `errors_.py` has the text of `tlog/errors.py`. The wheel is what
the binary distribution format (https://packaging.python.org/specifications/binary-distribution-format/) asks for.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
_PACKAGE = "tlog_client"
_LICENSE = "LICENSE"
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP file knows
_WHEEL = b"Wheel-Version: 1.0\nGenerator: tlog build_client\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def contents() -> dict[str, bytes]:
    """Return the files of the package by their paths in the wheel."""
    found = {f"{_PACKAGE}/{path.name}": path.read_bytes() for path in sorted((ROOT / "tlog" / "client").glob("*.py"))}
    found[f"{_PACKAGE}/errors_.py"] = (ROOT / "tlog" / "errors.py").read_bytes()
    found[f"{_PACKAGE}/py.typed"] = b""
    return found


def metadata(version: str) -> bytes:
    """Return the text of METADATA; the package's docstring is its description."""
    described = ast.get_docstring(ast.parse((ROOT / "tlog" / "client" / "__init__.py").read_bytes())) or ""
    summary, _, description = described.partition("\n")
    lines = [
        "Metadata-Version: 2.4",
        "Name: tlog-client",
        f"Version: {version}",
        f"Summary: {summary}",
        "License-Expression: Apache-2.0",
        f"License-File: {_LICENSE}",
        "Requires-Python: >=3.9",
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join([*lines, "", description.strip(), ""]).encode()


def record(files: dict[str, bytes], own: str) -> bytes:
    """Return the text of RECORD: of each file its path, hash and size."""
    rows = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(data)}\n")
    return "".join([*rows, f"{own},,\n"]).encode()


def build(directory: Path) -> Path:
    """Write the wheel into a directory; return its path."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    info = f"{_PACKAGE}-{version}.dist-info"
    files = contents()
    files[f"{info}/licenses/{_LICENSE}"] = (ROOT / _LICENSE).read_bytes()
    files[f"{info}/METADATA"] = metadata(version)
    files[f"{info}/WHEEL"] = _WHEEL
    files[f"{info}/RECORD"] = record(files, f"{info}/RECORD")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{_PACKAGE}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o100644 << 16
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the wheel where the command line says."""
    parser = argparse.ArgumentParser(description="Make the wheel of tlog-client.")
    parser.add_argument("directory", type=Path, metavar="DIR")
    print(build(parser.parse_args(arguments).directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
