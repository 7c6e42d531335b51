"""Questions on the command line: in whose name they are journaled."""

from __future__ import annotations

import os
import pwd

import pytest

from tlog.cli import asking

ME = pwd.getpwuid(os.getuid()).pw_name
ANOTHER = next(entry.pw_name for entry in pwd.getpwall() if entry.pw_name != ME)
SAYS_SO = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture(autouse=True)
def without_sudo(monkeypatch):
    monkeypatch.delenv("SUDO_USER", raising=False)


def test_no_variable_decides_who_asks(monkeypatch):
    """S17: getpass.getuser believes LOGNAME; that is the control."""
    for name in SAYS_SO:
        monkeypatch.setenv(name, ANOTHER)
    assert asking.local_principal() == f"local:{ME}"
    assert os.environ["LOGNAME"] != ME


@pytest.mark.parametrize(
    "says, beside",
    [
        (ANOTHER, f" (SUDO_USER {ANOTHER})"),
        (ME, ""),
        ("", ""),
        ("no-such-user", ""),
        ("root) x (", ""),
        ("x" * 5000, ""),
    ],
)
def test_whom_sudo_names_stands_beside(monkeypatch, says, beside):
    monkeypatch.setenv("SUDO_USER", says)
    assert asking.local_principal() == f"local:{ME}{beside}"


def test_a_user_without_a_name_is_a_number(monkeypatch):
    """As in a container that runs with a number of its own."""
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567)
    assert asking.local_principal() == "local:1234567"
