"""R1: processes killed at a random moment under load, again and again."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from faults.history import count_acknowledged, examine, read_stored
from faults.service import Acknowledged, Load, Service, Source, embedded, kill_postgres, make_log, make_token
from tlog.location import DataDirectory
from tlog.signing.anchor import Anchor

if TYPE_CHECKING:
    from faults.gate import Figures, Run

_VICTIMS: Final = ("server", "postgres", "both")
_EARLIEST, _LATEST = 0.005, 0.250
_HASTE: Final = ("--interval", "0.05")
_SEALING: Final = ("here", "beside")  # in the killed process, and in a child that outlives it by a moment
# The same program, but a commit no longer waits for the disk.
_FORGETFUL: Final = """
from tlog.storage.queries import QUERIES
QUERIES["lock_state"] = QUERIES["lock_state"].replace("'synchronous_commit', 'on'", "'synchronous_commit', 'off'")
from tlog.cli import app
app.main()
"""


def measure(run: Run) -> Figures:
    """Kill the server, all of PostgreSQL or both 5 to 250 ms after "ready", under load; then recompute everything."""
    data, rng, source, seen = run.directory / "data", random.Random(1), Source(), Acknowledged()  # noqa: S311
    make_log(data)
    token = make_token(data)
    directory, ready, anchored, cycles = DataDirectory(data), [], [], run.count(12, 200)
    for cycle in range(cycles):
        service = Service(data, *_HASTE, "--sealing", _SEALING[cycle % 2])
        ready.append(service.ready_seconds)
        load = Load(service, token, source, seen)
        time.sleep(rng.uniform(_EARLIEST, _LATEST))
        _kill(_VICTIMS[cycle % 3], service)
        load.end()
        anchored.append(Anchor(directory.anchor).read())
        run.progress(cycle + 1, cycles)
    service = Service(data, *_HASTE)
    service.wait_sealed()
    anchored.append(Anchor(directory.anchor).read())
    ended = service.stop()
    with embedded(data) as postgres:
        stored = read_stored(postgres.conninfo(user="postgres"))
    figures = examine(stored, seen, [each.note for each in anchored if each.note], directory.verifier())
    return {
        "kills": cycles,
        **figures,
        "anchor_going_back": sum(new.size < old.size for old, new in pairwise(anchored)),
        "unclean_end": ended,
        # The first start follows no kill.
        "ready_p95_s": round(sorted([*ready[1:], service.ready_seconds])[int(0.95 * cycles)], 2),
    }


def measure_forgetful(run: Run) -> Figures:
    """Kill all of PostgreSQL under a server whose commits do not wait for the disk, until an acknowledged event is lost."""
    data, source = run.directory / "data", Source()
    make_log(data)
    token = make_token(data)
    figures: Figures = {}
    for attempt in range(10):
        acknowledged = Acknowledged()
        # Sealing waits for the disk and would take the appends with it; left elsewhere.
        service = Service(data, "--sealing", "elsewhere", program=("-c", _FORGETFUL), ready=False)
        load = Load(service, token, source, acknowledged, batch=1)
        time.sleep(0.35)
        _kill("both", service)
        load.end()
        with embedded(data) as postgres:
            figures = count_acknowledged(read_stored(postgres.conninfo(user="postgres")).rows, acknowledged.receipts)
        figures = {"kills": attempt + 1, "acknowledged": len(acknowledged.receipts), **figures}
        run.progress(attempt + 1, 10)
        if figures["lost"]:
            break
    return figures


def _kill(victim: str, service: Service) -> None:
    if victim != "server":
        kill_postgres(service.data)
    if victim == "postgres":
        time.sleep(0.1)  # the server meets the loss, under load, before it is ended for the next cycle
    service.kill()
