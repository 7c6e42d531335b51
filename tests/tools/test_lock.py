"""The lock holds what the project needs, in versions that it allows, each with hashes; and each fault of one is named."""

from __future__ import annotations

import tomllib

import lock
import pytest
from support import ROOT

TEXT = (ROOT / "requirements.lock").read_text(encoding="utf-8")
WANTED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
HASH = f"--hash=sha256:{'0' * 64}"
PACKAGES = {
    "one": ("1.2", ["two>=2", "win; sys_platform == 'nowhere'", "four; extra == 'more'"]),
    "two": ("2.0", ["One"]),
    "four": ("4", []),
}
GOOD = f"one==1.2 \\\n    {HASH} \\\n    {HASH}\ntwo==2.0 {HASH}\nfour==4 {HASH}\n"


def test_the_lock_of_this_project_holds():
    assert lock.problems_of(TEXT, WANTED, lock.installed_here) == []
    assert len(lock.read_lock(TEXT)[0]) > len(WANTED)


def test_the_command_says_so(capsys, monkeypatch, tmp_path):
    assert lock.main() == 0
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["structlog"]\n')
    (tmp_path / "requirements.lock").write_text(f"structlog==0.1 {HASH}\n")
    assert lock.main() == 0
    assert "structlog: installed " in capsys.readouterr().out
    (tmp_path / "requirements.lock").write_text(f"rich==1 {HASH}\n")
    assert lock.main() == 1
    assert "requirements.lock: structlog is needed and not locked" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, wanted, problem",
    [
        (GOOD, ["one[more]>=1"], None),
        (GOOD, ["one>=1", "absent; sys_platform == 'nowhere'"], None),
        (GOOD, ["one>=2"], "one is locked to 1.2, and one>=2 is needed"),
        (GOOD.replace("two==2.0", "two==1.9"), ["one"], "two is locked to 1.9, and two>=2 is needed"),
        (GOOD.replace("four==4", "five==4"), ["one[more]"], "four is needed and not locked"),
        (GOOD.replace("four==4", "four==4 ; sys_platform == 'nowhere'"), ["one[more]"], "four is needed and not locked"),
        (GOOD.replace("two==2.0", "two>=2.0"), ["one"], "two is not locked to one version"),
        (GOOD.replace(f"two==2.0 {HASH}", "two==2.0"), ["one"], "two has no hash"),
        (GOOD.replace(f"two==2.0 {HASH}", f"two==2.0 {HASH[:-1]}"), ["one"], "two has no hash"),
    ],
)  # fmt: skip
def test_each_fault_is_named(text, wanted, problem):
    assert lock.problems_of(text, wanted, PACKAGES.get) == ([] if problem is None else [problem])


def test_what_is_installed_in_another_version_is_said():
    assert lock.differences(GOOD.replace("two==2.0", "two==2.1"), PACKAGES.get) == ["two: installed 2.0, locked 2.1"]
    assert lock.differences(GOOD.replace("2.0", "2.0.0"), PACKAGES.get) == []
