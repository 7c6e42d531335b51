"""The rules of the build can fail: each control breaks one and has to be caught."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"


@pytest.mark.skipif(not LINT_IMPORTS.exists(), reason="import-linter is not installed beside this Python")
@pytest.mark.parametrize(
    "module, statement, contract",
    [
        ("core/chain.py", "import os", "The core is pure"),
        ("core/chain.py", "from tlog.storage import queries", "Imports point down only"),
        ("core/chain.py", "from tlog.files import durable", "The core is pure"),
        ("files/durable.py", "from tlog import core", "Imports point down only"),
        ("signing/anchor.py", "from tlog.storage import queries", "Imports point down only"),
        ("writing/sealer.py", "from tlog.lifecycle import opening", "Imports point down only"),
        ("checking/report.py", "from tlog.answering import query", "Imports point down only"),
        (None, None, None),
    ],
)
def test_import_rules(tmp_path, module, statement, contract):
    shutil.copytree(ROOT / "tlog", tmp_path / "tlog", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if module:
        with (tmp_path / "tlog" / module).open("a", encoding="utf-8") as file:
            file.write(f"\n{statement}\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [LINT_IMPORTS, "--no-cache"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    if contract is None:
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        assert done.returncode == 1, done.stdout + done.stderr
        broken = [line for line in done.stdout.splitlines() if line.rstrip().endswith("BROKEN")]
        assert any(line.startswith(contract) for line in broken), done.stdout
