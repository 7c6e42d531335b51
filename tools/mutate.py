"""Mutation testing of what an auditor has to trust: does a test notice when a line of it is wrong?

    python -m tools.mutate --list                                the modules, and how many mutants each has
    python -m tools.mutate tlog/core/proof.py [--jobs 2]         test every mutant of a module; survivors are listed
    python -m tools.mutate tlog/core/proof.py --function verify_inclusion

A mutant is a module with one change: a comparison, a boolean operator, a constant, arithmetic, a statement or `raise`
removed, a condition turned round, a function that returns at once. It is killed if a test fails, or never ends. Those that
no test can kill because they do the same are listed in equivalent_mutants.toml, each with its reason.

No file is changed: each mutant is compiled in a process of its own, forked from one that has imported what does not change,
and runs only the test functions that execute the changed line. Why not mutmut or cosmic-ray: docs/adr/0015.
Exit codes: 0 no survivor; 1 survivors; 2 usage.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import resource
import signal
import sys
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from rich.console import Console
from rich.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType

ROOT: Final = Path(__file__).parents[1]
EQUIVALENT: Final = Path(__file__).with_name("equivalent_mutants.toml")
_CORE: Final = "tests/core/test_{}.py"
# The tests that are about each module; a mutant that only others would notice counts as a survivor.
TARGETS: Final = {
    **{
        f"tlog/core/{name}.py": [_CORE.format(each) for each in (name, "single_conditions", *others)]
        for name, others in {
            "proof": (),
            "merkle": ("second_opinion",),
            "segment": ("evidence",),
            "evidence": (),
            "note": (),
            "checkpoint": (),
            "tlogproof": (),
            "chain": (),
            "commitment": (),
            "tile": (),
            "bundle": (),
            "strict": (),
        }.items()
    },
    "tlog/signing/anchor.py": ["tests/signing/test_anchor.py"],
    "tlog/core/verify.py": ["tests/core/test_verify.py"],
    "tools/verify.py": ["tests/tools/test_verify.py", "tests/tools/test_verify_single_conditions.py"],
}
# Imported before anything is forked: what the tests need and no mutant changes.
_UNCHANGING: Final = (
    "cryptography.hazmat.primitives.asymmetric.ed25519", "hypothesis", "hypothesis.strategies", "msgspec", "numpy",
    "psycopg", "psycopg_pool", "pymerkle", "rfc8785", "starlette.applications", "structlog", "typer", "uvicorn",
)  # fmt: skip
_PLUGINS: Final = ("anyio", "_hypothesis_pytestplugin")
# Forking comes after importing, so that some plugins are imported before pytest could look at their assertions.
_QUIET: Final = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
_MEMORY: Final = 1 << 30
_LEAST_SECONDS: Final = 20.0
_LEAST_SECONDS_OF_A_TEST: Final = 5.0
# CPU time tells an endless loop on a busy machine, too; a mutant that only waits is ended by the clock.
_LIMITS: Final = ((signal.SIGPROF, signal.ITIMER_PROF, 1), (signal.SIGALRM, signal.ITIMER_REAL, 30))

_SWAPPED: Final[dict[type[ast.AST], tuple[type[Any], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add,),
    ast.FloorDiv: (ast.Mult,),
    ast.Div: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.Pow: (ast.Mult,),
}
# Keyword arguments that decide nothing about a verdict: what a class costs, and assertions of the programmer.
_IDLE_KEYWORDS: Final = {"frozen", "gc", "kw_only", "strict", "help", "metavar", "epilog", "prog", "description"}
_PATTERN_CALLS: Final = {
    "compile",
    "fullmatch",
    "search",
    "match",
    "startswith",
    "endswith",
    "removeprefix",
    "partition",
}


class Mutant(NamedTuple):
    """One change of a module."""

    module: str
    line: int
    function: str
    change: str
    code: CodeType

    def name(self) -> str:
        """Return the mutant as lists name it."""
        return f"{self.module}:{self.line} {self.function}: {self.change}"


# --- Making mutants ---------------------------------------------------------------------------------------------------


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module's source."""
    tree = ast.parse(source)
    for function, node, parents in list(_places(tree, "", ())):
        for replacement, change in _variants(node, parents):
            ast.copy_location(replacement, node)
            ast.fix_missing_locations(replacement)
            _replace(node, replacement, parents[-1])
            code = compile(tree, str(ROOT / module), "exec")
            _replace(replacement, node, parents[-1])
            yield Mutant(module, getattr(node, "lineno", 0), function, f"{_text(node)} -> {change}", code)


def _places(
    node: ast.AST, function: str, parents: tuple[ast.AST, ...]
) -> Iterator[tuple[str, ast.AST, tuple[ast.AST, ...]]]:
    """Yield every node that may be changed: its function, itself, and what it stands in."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    if parents:
        yield function or "<module>", node, parents
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params") or _is_idle(node, name):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _places(child, function, (*parents, node))


def _is_idle(node: ast.AST, field: str) -> bool:
    """Tell whether a field holds what only people read, or what only type checkers do."""
    match node:
        case ast.Raise() | ast.JoinedStr():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.keyword(arg=str(name)):
            return name in _IDLE_KEYWORDS
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in ("message", "codes", "asks", "what", "__all__") or field == "targets"
        case ast.Subscript(value=ast.Name(id="Annotated" | "Literal")):
            return True
    return False


def _variants(node: ast.AST, parents: tuple[ast.AST, ...]) -> Iterator[tuple[Any, str]]:
    """Yield what a node can be replaced by, and the same in words."""
    match node:
        case ast.Compare() | ast.BinOp() | ast.AugAssign() | ast.BoolOp():
            yield from _operators(node)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand, _text(operand)
        case ast.Constant():
            yield from ((ast.Constant(value), repr(value)) for value in _constants(node, parents))
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            pass
        case ast.If() | ast.IfExp() | ast.While():
            turned = copy.deepcopy(node)
            turned.test = ast.UnaryOp(ast.Not(), node.test)
            yield turned, "condition turned round"
        case ast.Break():
            yield ast.Continue(), "continue"
        case ast.Continue():
            yield ast.Break(), "break"
        case ast.FunctionDef() if node.name != "__repr__":
            early = copy.deepcopy(node)
            early.body = [ast.Return(None)]
            yield early, "returns at once"
    removable = isinstance(node, ast.Raise | ast.AugAssign | ast.Delete) or (
        isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    )
    if removable:
        yield ast.Pass(), "removed"


def _operators(node: ast.Compare | ast.BinOp | ast.AugAssign | ast.BoolOp) -> Iterator[tuple[ast.AST, str]]:
    operators = node.ops if isinstance(node, ast.Compare) else [node.op]
    for position, operator in enumerate(operators):
        for kind in _SWAPPED.get(type(operator), ()):
            changed = copy.deepcopy(node)
            if isinstance(changed, ast.Compare):
                changed.ops[position] = kind()
            else:
                changed.op = kind()
            yield changed, _text(changed)
    if isinstance(node, ast.BoolOp):
        for position in range(len(node.values)):
            rest = copy.deepcopy(node)
            del rest.values[position]
            shorter = rest if len(rest.values) > 1 else rest.values[0]
            yield shorter, _text(shorter)


def _constants(node: ast.Constant, parents: tuple[ast.AST, ...]) -> list[Any]:
    value = node.value
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value - 1] if value else [1]
        case float():
            return [value + 1]
        case bytes():
            return [value + b"!"]
        case str() if _decides(parents):
            return [value + "!"]
    return []


def _decides(parents: tuple[ast.AST, ...]) -> bool:
    """Tell whether a text is compared with something; other texts are for people."""
    for parent in reversed(parents):
        match parent:
            case ast.Compare() | ast.Dict() | ast.Set():
                return True
            case ast.Call(func=ast.Attribute(attr=name)):
                return name in _PATTERN_CALLS
            case ast.Call() | ast.stmt():
                return False
    return False


def _replace(node: ast.AST, replacement: ast.AST, parent: ast.AST) -> None:
    for name, value in ast.iter_fields(parent):
        if value is node:
            setattr(parent, name, replacement)
        elif isinstance(value, list):
            value[:] = [replacement if item is node else item for item in value]


def _text(node: ast.AST) -> str:
    """Return a node's first line, short."""
    text = ast.unparse(node).strip().split("\n")
    line = text[0] if not isinstance(node, ast.FunctionDef) else f"def {node.name}"
    return line if len(line) <= 110 else line[:107] + "..."  # noqa: PLR2004 - one line of a list


# --- Testing them -----------------------------------------------------------------------------------------------------


class _Unshrunk:
    """Keeps Hypothesis from shrinking: that a difference was found is enough."""

    def pytest_pycollect_makemodule(self) -> None:
        """Change the profile that a conftest loaded, before a module reads it."""
        from hypothesis import Phase, settings  # noqa: PLC0415 - after the conftest

        default = settings.default
        if default is not None and Phase.shrink in default.phases:
            phases = (Phase.explicit, Phase.generate)
            settings.register_profile("unshrunk", default, phases=phases, database=None)
            settings.load_profile("unshrunk")


class _Covered:
    """Notes which test functions execute which lines of a module, and how long they take."""

    def __init__(self, path: Path) -> None:
        from coverage import Coverage  # noqa: PLC0415 - only here

        self._coverage = Coverage(data_file=None, include=[str(path)], config_file=False)
        self._path = path
        self.seconds: Counter[str] = Counter()

    def start(self) -> None:
        """Begin."""
        self._coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Attribute what follows to one test function."""
        self._coverage.switch_context(nodeid.partition("[")[0])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up how long it took."""
        self.seconds[report.nodeid.partition("[")[0]] += report.duration  # type: ignore[assignment]

    def lines(self) -> dict[int, list[str]]:
        """Return the test functions of each line, the quickest first; lines that importing executes have none."""
        self._coverage.stop()
        contexts = self._coverage.get_data().contexts_by_lineno(str(self._path))
        return {
            line: sorted((name for name in names if name), key=lambda name: self.seconds[name])
            for line, names in contexts.items()
        }


class _Timed:
    """Ends the process when a test function takes far longer than it should: with this mutant it never ends."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Begin to count the CPU time of one test."""
        usual = self._seconds.get(nodeid.partition("[")[0], 0.0)
        signal.setitimer(signal.ITIMER_PROF, max(_LEAST_SECONDS_OF_A_TEST, 3 * usual))


@dataclass
class _Tests:
    """The tests of a module: which of them execute which line, and how long each function takes."""

    lines: dict[int, list[str]]
    seconds: dict[str, float]


def _run_pytest(arguments: Sequence[str], plugins: Sequence[object]) -> int:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    chosen = [option for plugin in _PLUGINS for option in ("-p", plugin)]
    options = ["-q", "-x", "-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", *_QUIET, *chosen]
    return int(pytest.main([*options, *arguments], plugins=[*plugins]))


def _in_child(work: Callable[[], bytes], seconds: float) -> tuple[int, bytes]:
    """Do work in a forked process that says nothing; return how it ended (negative: by which signal) and its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            silence = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(silence, descriptor)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            for name, timer, limit in _LIMITS:
                signal.signal(name, signal.SIG_DFL)
                signal.setitimer(timer, seconds * limit)
            with os.fdopen(writing, "wb", closefd=False) as pipe:
                pipe.write(work())
        except BaseException as error:  # noqa: BLE001 - nothing of the parent may go on in the child
            os.write(writing, repr(error).encode())
            os._exit(70)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as results:
        result = results.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), result


def _prepare(module: str, files: Sequence[str]) -> _Tests:
    """Run a module's tests as they are, and note what they execute."""

    def work() -> bytes:
        covered = _Covered(ROOT / module)
        covered.start()
        code = _run_pytest(files, [_Unshrunk(), covered])
        found = {"code": code, "lines": covered.lines(), "seconds": covered.seconds}
        return json.dumps(found).encode()

    how, said = _in_child(work, 600)
    if how:
        message = f"the tests of {module} cannot be run: {said.decode()}"
        raise SystemExit(message)
    found = json.loads(said)
    if found["code"]:
        message = f"the tests of {module} fail as they are"
        raise SystemExit(message)
    return _Tests({int(line): names for line, names in found["lines"].items()}, found["seconds"])


def _is_killed(mutant: Mutant, tests: _Tests) -> bool:
    """Tell whether a test fails with a mutant, or does not end."""
    path = str(ROOT / mutant.module)
    original = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
        return mutant.code if os.path.realpath(loader.path) == path else original(loader, fullname)

    def work() -> bytes:
        SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]
        # What importing executes is put down to the test that imports first, which is none that looks at it.
        imported = mutant.function == "<module>" or mutant.change.endswith("returns at once")
        chosen = [] if imported else tests.lines.get(mutant.line, [])
        chosen = chosen or sorted(tests.seconds, key=lambda name: tests.seconds[name])
        return b"%d" % _run_pytest(chosen, [_Unshrunk(), _Timed(tests.seconds)])

    return _in_child(work, max(_LEAST_SECONDS, 3 * sum(tests.seconds.values()))) != (0, b"0")


def _check(module: str, function: str, jobs: int) -> list[Mutant]:
    """Test the mutants of a module; return those that survive and are not known to do the same."""
    known = {(each["module"], each["function"], each["change"]) for each in _equivalent()}
    tests = _prepare(module, TARGETS[module])
    mutants = [each for each in mutants_of(module, (ROOT / module).read_text()) if function in ("", each.function)]
    candidates = [each for each in mutants if (module, each.function, each.change) not in known]
    with ThreadPoolExecutor(jobs) as pool:
        judging = pool.map(lambda mutant: _is_killed(mutant, tests), candidates)
        verdicts = list(track(judging, module, len(candidates), console=Console(stderr=True)))
    survivors = [mutant for mutant, killed in zip(candidates, verdicts, strict=True) if not killed]
    same = len(mutants) - len(candidates)
    killed = len(candidates) - len(survivors)
    share = 100 * killed / max(1, len(candidates))
    print(f"{module}: {killed} of {len(candidates)} killed ({share:.1f} %), {same} equivalent", flush=True)
    for mutant in survivors:
        print(f"  survives: {mutant.name()}", flush=True)
    return survivors


def _equivalent() -> list[dict[str, str]]:
    known: list[dict[str, str]] = tomllib.loads(EQUIVALENT.read_text())["mutant"] if EQUIVALENT.exists() else []
    return known


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("modules", nargs="*", choices=[[], *TARGETS], metavar="MODULE", help="all if none is named")
    parser.add_argument("--list", action="store_true", help="list modules and numbers of mutants, run nothing")
    parser.add_argument("--function", default="", help="only the mutants of this function")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    options = parser.parse_args(arguments)
    modules = options.modules or list(TARGETS)
    if options.list:
        for module in modules:
            print(f"{module}: {sum(1 for _ in mutants_of(module, (ROOT / module).read_text()))} mutants")
        return 0
    os.chdir(ROOT)
    for name in _UNCHANGING:
        importlib.import_module(name)
    survivors = [mutant for module in modules for mutant in _check(module, options.function, options.jobs)]
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
