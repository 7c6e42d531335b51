"""Checks requirements.lock: whole, with hashes, within the ranges of pyproject.toml. Standard library and `packaging`.

    python tools/lock.py     0: all of it holds; 1: what does not, a line each

What is installed here may be newer than what is locked, within the ranges; that is said and is no fault. The lock is made anew,
once the tests have passed with the newest versions (`pip freeze > tested`), by

    uv pip compile pyproject.toml -c tested --universal --generate-hashes --no-header --no-annotate -o requirements.lock
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parent.parent
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?= |$)")

Locked = dict[str, list[Requirement]]
Installed = tuple[str, "Sequence[str]"]  # version, requirements


def read_lock(text: str) -> tuple[Locked, list[str]]:
    """Return the requirements of a lock by the names of their packages, and what is wrong with its lines."""
    locked: Locked = {}
    problems = []
    for line in text.replace("\\\n", " ").splitlines():
        requirement = Requirement(line.partition(" --hash")[0])
        locked.setdefault(canonicalize_name(requirement.name), []).append(requirement)
        if not re.fullmatch(r"==[^,*]+", str(requirement.specifier)):
            problems.append(f"{requirement.name} is not locked to one version")
        if not _HASH.search(line):
            problems.append(f"{requirement.name} has no hash")
    return locked, problems


def needed(wanted: Sequence[str], installed: Callable[[str], Installed | None]) -> Iterator[Requirement]:
    """Yield what is needed here to satisfy some requirements, as the metadata of what is installed has it."""
    todo = [(Requirement(each), "") for each in wanted]
    seen = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        yield requirement
        name = canonicalize_name(requirement.name)
        for each in ("", *requirement.extras):
            if (name, each) not in seen and (found := installed(name)) is not None:
                todo += [(Requirement(text), each) for text in found[1]]
            seen.add((name, each))


def problems_of(text: str, wanted: Sequence[str], installed: Callable[[str], Installed | None]) -> list[str]:
    """Return what is wrong with the text of a lock, for a project that wants some requirements."""
    locked, problems = read_lock(text)
    for requirement in needed(wanted, installed):
        name = canonicalize_name(requirement.name)
        here = [each for each in locked.get(name, []) if each.marker is None or each.marker.evaluate()]
        if not here:
            problems.append(f"{name} is needed and not locked")
        for each in here:
            version = next(iter(each.specifier)).version
            if not requirement.specifier.contains(version, prereleases=True):
                problems.append(f"{name} is locked to {version}, and {requirement} is needed")
    return list(dict.fromkeys(problems))


def differences(text: str, installed: Callable[[str], Installed | None]) -> list[str]:
    """Return which packages are installed in another version than the locked one."""
    found = []
    for name, entries in read_lock(text)[0].items():
        here = installed(name)
        versions = {Version(next(iter(each.specifier)).version) for each in entries}
        if here is not None and Version(here[0]) not in versions:
            found.append(f"{name}: installed {here[0]}, locked {', '.join(sorted(map(str, versions)))}")
    return found


def installed_here(name: str) -> Installed | None:
    """Return version and requirements of an installed package, None if it is not installed."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found.version, found.requires or []


def main() -> int:
    """Check the lock of this project."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    for difference in differences(text, installed_here):
        print(difference)
    problems = problems_of(text, wanted, installed_here)
    for problem in problems:
        print(f"requirements.lock: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
