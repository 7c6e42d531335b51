"""Where the offline verifier is: one file for strangers, of which an installed package carries a copy."""

from __future__ import annotations

from pathlib import Path


def offline_verifier() -> Path:
    """Return the path of the single-file verifier: in the installed package, or in `tools/` of a checkout."""
    installed = Path(__file__).with_name("offline_verifier.py")
    return installed if installed.exists() else Path(__file__).parents[2] / "tools" / "verify.py"
