"""The running service against its own description: every phase and every check of schemathesis, nothing switched off.

What is configured, and why, stands in tests/openapi/schemathesis.toml. `TLOG_TEST_EXAMPLES` says how many examples each
operation gets, 20 if absent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support import ROOT, sample_events, start_server

EXAMPLES = int(os.environ.get("TLOG_TEST_EXAMPLES", "20"))
PHASES = "examples,coverage,fuzzing,stateful"

# `tlog` with a bug in one operation, for some of its requests.
BROKEN = """
from tlog.cli.app import main
from tlog.server.endpoints import read
checkpoints = read.checkpoints
async def broken(request):
    return 1 / 0 if int(request.query_params.get("limit", "0")) > 40 else await checkpoints(request)
read.checkpoints = broken
main()
"""


def schemathesis(server, *options):
    """Run schemathesis over a server's description; return its exit code and what it said."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/openapi/schemathesis.toml", "run"]
    command += [f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {server.token}", "--seed", "1"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "rules", "PYTHONPATH": str(ROOT / "tests" / "openapi")}
    done = subprocess.run(
        [*command, "--generation-database", "none", "--no-shrink", "--workers", "1", *options],
        capture_output=True, text=True, timeout=1800, check=False, cwd=ROOT, env=environment,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def served(directory):
    servers = []

    def start(*program):
        server = start_server(directory / "data", **({"program": program} if program else {}))
        servers.append(server)
        server.append([json.loads(event) for event in sample_events(100)])
        server.seal()
        return server

    yield start
    for server in servers:
        server.stop()


def test_the_service_is_what_it_says(served):
    code, said = schemathesis(served(), "--phases", PHASES, "--max-examples", str(EXAMPLES))
    assert code == 0, said
    for phase in PHASES.split(","):
        assert f"✅ {phase.capitalize()}" in said, said  # a phase that did not run shows nothing


def test_a_bug_is_found(served):
    server = served("-c", BROKEN)
    options = ("--include-path", "/v1/checkpoints", "--phases", "fuzzing", "--max-examples", "40")
    code, said = schemathesis(server, *options)
    assert code == 1, said
    assert "Server error" in said
    assert "limit=" in said
