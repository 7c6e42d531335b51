"""The names that the package offers at its top, each loaded when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tlog


def test_every_public_name_is_there():
    assert sorted(tlog._MODULES) == sorted(tlog.__all__)
    assert all(callable(getattr(tlog, name)) for name in tlog.__all__)
    with pytest.raises(AttributeError, match="module 'tlog' has no attribute 'verify_everything'"):
        tlog.verify_everything  # noqa: B018 - to ask is what is tested


def test_importing_the_package_loads_no_module_of_it():
    program = "import sys, tlog; print(*sorted(name for name in sys.modules if name.startswith('tlog')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "tlog\n"
