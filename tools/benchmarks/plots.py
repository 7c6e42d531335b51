"""Plots of figures, as SVG files; matplotlib is in the extra `bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from benchmarks.machine import median_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes


def draw(figures: dict[str, Any], directory: Path) -> list[Path]:
    """Draw what there are figures for; return the files."""
    drawings: dict[str, tuple[str, Callable[[Axes, dict[str, Any]], None]]] = {
        "http": ("Appended over HTTP, batches of 1,000", _timeline),
        "growth": ("Appending while the log grows", _growth),
        "peers": ("The same events, kept in four ways", _peers),
        "storage": ("Bytes per event on disk", _storage),
    }
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (title, drawing) in drawings.items():
        if name not in figures or "missing" in figures[name]:
            continue
        # The same figures make the same file.
        with mpl.rc_context(
            {"svg.hashsalt": name, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
        ):
            figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
            drawing(axes, figures[name])
            axes.set_title(title, loc="left")
            path = directory / f"performance-{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            plt.close(figure)
            written.append(path)
    return written


def _timeline(axes: Axes, figures: dict[str, Any]) -> None:
    rates = figures["timeline"]
    axes.step(range(len(rates)), rates, where="post")
    axes.axhline(median_of(figures["events_per_second"]), linestyle="--", linewidth=1, color="grey")
    axes.set(xlabel="seconds", ylabel="events/s acknowledged", ylim=(0, None))


def _growth(axes: Axes, figures: dict[str, Any]) -> None:
    sizes, rates, costs = zip(*figures["samples"], strict=True)
    millions = [size / 1e6 for size in sizes]
    axes.plot(millions, rates, linewidth=1, label="events/s")
    axes.set(xlabel="million entries in the log", ylabel="events/s", ylim=(0, None))
    other = axes.twinx()
    other.plot(millions, costs, linewidth=1, color="tab:orange", label="CPU time")
    other.set(ylabel="µs of CPU time per event", ylim=(0, 2 * max(costs)))  # below the other line
    figure = axes.get_figure()
    assert figure is not None
    figure.legend(loc="outside lower center", ncols=2, frameon=False)


def _peers(axes: Axes, figures: dict[str, Any]) -> None:
    names = [name for name in ("chained", "pymerkle", "tlog", "copy") if name in figures]
    rates = [median_of(figures[name]["events_per_second"]) for name in names]
    bars = axes.barh(names, rates, color=["tab:orange" if name == "tlog" else "tab:blue" for name in names])
    axes.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates], padding=3)
    axes.set(xlabel="events/s (logarithmic)", xscale="log", xlim=(min(rates) / 2, max(rates) * 3))


def _storage(axes: Axes, figures: dict[str, Any]) -> None:
    parts = {
        f"{table}, {place}": size for table, each in figures["log"]["parts"].items() for place, size in each.items()
    }
    left = 0.0
    for name, size in sorted(parts.items(), key=lambda each: -each[1]):
        if size >= 1:
            axes.barh("tlog", size, left=left, label=f"{name}: {size:.0f}")
            left += size
    plain, left = figures["plain"]["parts"], 0.0
    for name, size in plain.items():
        axes.barh("plain rows", size, left=left, color="lightgrey", edgecolor="grey", label=f"plain {name}: {size:.0f}")
        left += size
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=7)
    axes.set(xlabel="bytes per event")
