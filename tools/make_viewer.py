"""Make tools/tlog-viewer.html: one file that checks evidence in a browser, without a network and without anything beside it.

    python3 tools/make_viewer.py            # writes it
    python3 tools/make_viewer.py --check    # ends with 1 if the file there is another

The page is made of tools/viewer/ and of the verifier that the service's own pages have. The same sources give the same bytes.
What may run in the page is named by its hash (Content Security Policy, level 3), so nothing in a bundle can become a script.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path

TOOLS = Path(__file__).parent
VERIFIER = TOOLS.parent / "tlog" / "server" / "pages" / "static" / "verify.js"
VIEWER = TOOLS / "tlog-viewer.html"
IMPORT = 'import { verifyCheckpoint, verifyEvidence, verifyProof } from "./verify.js";\n'
EXPORT = "export { verifyCheckpoint, verifyEvidence, verifyProof };\n"
POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def source(text: str) -> str:
    """Return the source that a browser names this inline script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def make() -> str:
    """Return the page."""
    verifier, page = VERIFIER.read_text(encoding="utf-8"), (TOOLS / "viewer" / "viewer.js").read_text(encoding="utf-8")
    assert verifier.endswith(EXPORT)
    assert page.startswith(IMPORT)
    script = verifier.removesuffix(EXPORT) + page.removeprefix(IMPORT)
    style = (TOOLS / "viewer" / "viewer.css").read_text(encoding="utf-8")
    assert "</script" not in script
    assert "</style" not in style
    parts = {"CSP": POLICY.format(script=source(script), style=source(style)), "STYLE": style, "SCRIPT": script}
    frame = (TOOLS / "viewer" / "viewer.html").read_text(encoding="utf-8")
    for name, text in parts.items():
        assert frame.count(f"%{name}%") == 1
        before, _, after = frame.partition(f"%{name}%")
        frame = before + text + after
    return frame


def main(arguments: list[str]) -> int:
    """Write the page, or compare it with the one that is there; return the exit code."""
    text = make()
    if arguments == ["--check"]:
        same = VIEWER.exists() and VIEWER.read_bytes() == text.encode()
        print("the same" if same else f"{VIEWER.name} is another: run tools/make_viewer.py")
        return 0 if same else 1
    VIEWER.write_bytes(text.encode())
    print(f"{hashlib.sha256(text.encode()).hexdigest()}  {VIEWER.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
