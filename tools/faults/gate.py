"""What a gate is: something to measure after a fault, bounds on the figures, and controls that have to break them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

Figures = dict[str, Any]
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {"=": operator.eq, "<=": operator.le, ">=": operator.ge}


class NotHereError(Exception):
    """The gate cannot be run on this machine; the message says why."""


class Bound(NamedTuple):
    """What a figure has to be: "=", "<=" or ">=" a value."""

    comparison: str
    value: float

    def holds(self, figure: object) -> bool:
        """Tell whether the figure is within the bound; one that was not measured is not."""
        return figure is not None and _COMPARE[self.comparison](figure, self.value)

    def __str__(self) -> str:
        """Return the bound as the report shows it."""
        return f"{self.comparison} {self.value:g}"


NONE: Final = Bound("=", 0)


@dataclass
class Run:
    """One run of one gate or control: how much of it, where its files go, and whom to tell how far it is."""

    full: bool
    directory: Path
    progress: Callable[[float, float], None] = lambda *_: None

    def count(self, fast: int, full: int) -> int:
        """Return how often to do something."""
        return full if self.full else fast


Measure = Callable[[Run], Figures]


class Control(NamedTuple):
    """The same measurement on something that is broken on purpose.

    Attributes:
        measure: returns figures of the same names.
        breaks: the bound that has to be broken; the others do not matter.
        what: what is broken, for people.
        full_only: whether it needs the times of a full run, which is alone on the machine.

    """

    measure: Measure
    breaks: str
    what: str
    full_only: bool = False


@dataclass(frozen=True)
class Gate:
    """One row of the table in `tools/gates.py`; `by_name` says that it is only run if it is named, because it takes long."""

    id: str
    metric: str
    measure: Measure
    goal: Mapping[str, Bound]
    controls: tuple[Control, ...]
    full_goal: Mapping[str, Bound] = field(default_factory=dict)
    by_name: bool = False

    def bounds(self, *, full: bool) -> Mapping[str, Bound]:
        """Return the bounds of a run."""
        return {**self.goal, **(self.full_goal if full else {})}


def line(
    identifier: str, metric: str, value: Figures, goal: Mapping[str, Bound], *, passed: bool | None
) -> dict[str, Any]:
    """Return one line of the report; `passed` is None for what could not be run."""
    return {
        "id": identifier,
        "metric": metric,
        "value": value,
        "goal": {name: str(bound) for name, bound in goal.items()},
        "pass": passed,
    }


def judge(gate: Gate, figures: Figures, *, full: bool) -> dict[str, Any]:
    """Return the line of a gate: it passes if every bound holds."""
    bounds = gate.bounds(full=full)
    passed = all(bound.holds(figures.get(name)) for name, bound in bounds.items())
    return line(gate.id, gate.metric, figures, bounds, passed=passed)


def judge_control(gate: Gate, number: int, figures: Figures, *, full: bool) -> dict[str, Any]:
    """Return the line of a control, which passes if the named bound was measured and does not hold."""
    control = gate.controls[number]
    bound = gate.bounds(full=full)[control.breaks]
    figure = figures.get(control.breaks)
    identifier = f"{gate.id}-control" + (f"-{number + 1}" if len(gate.controls) > 1 else "")
    passed = figure is not None and not bound.holds(figure)
    return line(identifier, f"{control.what}: has to break it", figures, {control.breaks: bound}, passed=passed)
