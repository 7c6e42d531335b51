"""Appends over HTTP: `http` in batches of 1,000 events, `single` with one event in each request."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.generator import Answer, Generator, prepare
from benchmarks.machine import Usage, memory_of, over_runs, per_event, spread
from benchmarks.service import Service, checked, scratch

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.generator import Bodies

_POLL_SECONDS = 0.05
_ASK_EVERY = 8  # such a question is logged itself
_SEEN_SECONDS = 60.0
_FEW = 10
# How fast the machine is decides how many bodies are made: none is sent twice, and none may be missing.
_CALIBRATION_SECONDS = 3.0
_MARGIN = 1.5
_LEAST_SECONDS = 20.0


class Plan(NamedTuple):
    """A way to append: events in a request, connections, and how many events are made to find out how fast the machine is."""

    batch: int
    connections: int
    calibration: int


# Seven are the fewest that keep a log on two cores at work; each more only waits longer.
HTTP = Plan(1_000, 7, 200_000)
SINGLE = Plan(1, 256, 40_000)


def warm_up(seconds: float) -> float:
    """Return how many seconds of appending are not counted before some that are."""
    return min(3.0, seconds)


class Watch(threading.Thread):
    """Samples at a low rate how far the log is sealed and indexed, as its readers see it, and the server's memory."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self._service = service
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self.sealed: list[tuple[float, int]] = []
        self.indexed: list[tuple[float, int]] = []
        self.memory: list[tuple[float, dict[str, float]]] = []

    def run(self) -> None:
        """Sample until stopped."""
        try:
            self._sample()
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`
            self._failure = error

    def _sample(self) -> None:
        connection, turn, heads = self._service.connect(), 0, self._service.heads()
        while not self._stopping.wait(_POLL_SECONDS):
            _, note = self._service.ask(connection, "/checkpoint")
            self.sealed.append((time.perf_counter(), int(note.split(b"\n")[1])))
            turn += 1
            if turn % _ASK_EVERY == 0:
                position = self._service.document(connection, "/v1/audit/events?limit=1")["asOf"]
                self.indexed.append((time.perf_counter(), position["indexed"]))
                self.memory.append((time.perf_counter(), memory_of(heads)))
        connection.close()

    def see(self, index: int) -> None:
        """Wait until a sample of both is beyond `index`."""
        deadline = time.monotonic() + _SEEN_SECONDS
        while self.is_alive() and not all(each and each[-1][1] > index for each in (self.sealed, self.indexed)):
            if time.monotonic() > deadline:
                sys.exit(f"entry {index} is not seen sealed and indexed after {_SEEN_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End sampling."""
        self._stopping.set()
        self.join(60)
        if self._failure is not None:
            raise self._failure


def lags(answers: list[Answer], samples: list[tuple[float, int]]) -> list[float]:
    """Return for each answer after how many seconds the first sample had a size beyond its index."""
    sizes = np.maximum.accumulate(np.array([size for _, size in samples]))
    moments = np.array([moment for moment, _ in samples])
    places = np.searchsorted(sizes, [answer.index for answer in answers], side="right")
    return [max(0.0, float(moments[place] - answer.at)) for answer, place in zip(answers, places, strict=True)]


def append_over_http(plan: Plan, seconds: float, runs: int, parent: Path | None) -> dict[str, Any]:
    """Measure appends over HTTP, each run on a new log that is checked afterwards."""
    with scratch(parent) as directory:
        prepared = int(_calibrate(directory, plan) * _MARGIN * (seconds + warm_up(seconds)))
        found: list[dict[str, Any]] = []
        while len(found) < runs:
            bodies = prepare(directory / "bodies", prepared, plan.batch, seed=2)
            figures = _run(directory / "log", bodies, plan, seconds)
            shutil.rmtree(directory / "log")
            if figures is None:
                prepared *= 2  # the machine is faster than it was a moment ago
            else:
                found.append(figures)
    return {
        "what": f"{plan.batch:,} events in a request, {plan.connections} connections, {seconds:g} s after a warm-up; "
        "bodies made before, load generator, sampling and log on the same machine",
        **over_runs(found),
        "timeline": found[-1]["timeline"],
        "runs": len(found),
    }


def _calibrate(directory: Path, plan: Plan) -> float:
    """Return about how many events a second this machine takes, from three seconds of them or fewer."""
    bodies = prepare(directory / "bodies", plan.calibration, plan.batch)
    with Service(directory / "calibration") as service:
        begun = time.perf_counter()
        answers = Generator(service, bodies, connections=plan.connections, seconds=_CALIBRATION_SECONDS).answers()
    shutil.rmtree(directory / "calibration")
    return len(answers.found) * plan.batch / (max(answer.at for answer in answers.found) - begun)


def _run(data: Path, bodies: Bodies, plan: Plan, seconds: float) -> dict[str, Any] | None:
    """Measure for so many seconds, or twenty at least if bodies run out; None if there were not even enough for that."""
    with Service(data) as service:
        service.settle()
        watch = Watch(service)
        watch.start()
        generator = Generator(service, bodies, connections=plan.connections, seconds=seconds + warm_up(seconds))
        time.sleep(warm_up(seconds))
        begun, usage = time.perf_counter(), Usage({**service.heads(), "load_generator": generator.pid}, data)
        generator.wait(seconds)
        ended, used = time.perf_counter(), usage.so_far()
        sent = generator.answers()
        ended = min(ended, sent.ran_out_at or ended)
        if ended - begun < min(seconds, _LEAST_SECONDS):
            watch.stop()
            return None
        answers = [answer for answer in sent.found if begun <= answer.at < ended]
        service.settle()
        watch.see(max(answer.index for answer in sent.found))
        watch.stop()
        figures = _figures(answers, watch, plan, begun, ended)
    return {**figures, "cpu_us_per_event": per_event(used, figures["events"]), "checked": checked(data)}


def _figures(answers: list[Answer], watch: Watch, plan: Plan, begun: float, ended: float) -> dict[str, Any]:
    during = [(moment, sum(each.values())) for moment, each in watch.memory if begun <= moment <= ended]
    rates = np.histogram([answer.at - begun for answer in answers], bins=max(int(ended - begun), 1))[0] * plan.batch
    return {
        "events": len(answers) * plan.batch,
        "seconds": round(ended - begun, 1),
        "events_per_second": round(len(answers) * plan.batch / (ended - begun)),
        "acknowledged": spread([answer.seconds for answer in answers]),
        "sealed_within": spread(lags(answers, watch.sealed)),
        "indexed_within": spread(lags(answers, watch.indexed)),
        "memory_mb": {**watch.memory[-1][1], "largest_sum": round(max((each for _, each in during), default=0.0), 1)},
        "memory_growth_mb_per_minute": _slope(during[len(during) // 2 :]),
        "timeline": rates.tolist(),
    }


def _slope(samples: list[tuple[float, float]]) -> float:
    """Return the growth over the second half of the time, by least squares."""
    if len(samples) < _FEW:
        return 0.0
    moments, sizes = np.array(samples).T
    return round(float(np.polyfit(moments - moments[0], sizes, 1)[0]) * 60, 1)
