"""The signer as a process of its own: whoever asks, it signs one history. Real processes, real sockets."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import msgspec
import pytest
from support import ORIGIN, ROOT, said_by, sample_events, start_server, tlog, verify_offline

from tlog.client import Client
from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import open_checkpoint
from tlog.core.merkle import EMPTY_ROOT, Frontier, fold_perfect, leaf_hash, node_hash
from tlog.core.proof import plan_consistency, prove, verify_consistency
from tlog.errors import ForkError, MalformedInputError, OperatorError, OverloadedError, RollbackError, VerificationError
from tlog.location import DataDirectory, utc_now
from tlog.signing.anchor import Anchor, Anchored
from tlog.signing.signer import GROWTH_A_SECOND, MAX_GROWTH, CheckpointSigner, Proposal
from tlog.signing.socket import NotSigned, Read, Refused, RemoteSigner, Signed, _open_to, group_number, user_number

if TYPE_CHECKING:
    from pathlib import Path

ANSWERS = msgspec.json.Decoder(Signed | NotSigned | Refused)


class Tree:
    """The tree over some entries, and what a sealer would ask to have signed of it."""

    def __init__(self, entries):
        self.leaves = [leaf_hash(b"%d" % entry) for entry in entries]

    def root(self, size):
        frontier = Frontier()
        frontier.extend(self.leaves[:size])
        return frontier.root()

    def proof(self, old, new):
        plan = plan_consistency(old, new)
        nodes = [node for subtree in plan for node in subtree.nodes()]
        return prove(plan, {n: fold_perfect(self.leaves[n.index << n.level : (n.index + 1) << n.level]) for n in nodes})

    def proposal(self, last_size, size, **change):
        chain = CHAIN_START
        for leaf in self.leaves[:size]:
            chain = chain_hash(chain, leaf)
        values = {"origin": ORIGIN, "last_size": last_size, "size": size, "root": self.root(size), "chain_hash": chain}
        values["logged_at"] = 0
        return Proposal(**{**values, "proof": self.proof(last_size, size) if last_size <= size else [], **change})


HONEST = Tree(range(1000))
FORKED = Tree([0, 1, 2, 666, *range(4, 1000)])  # entry 3 is another one


@dataclass
class SignerProcess:
    """A running `tlog signer`."""

    process: subprocess.Popen
    directory: DataDirectory
    socket: Path
    said: Path

    def anchored(self):
        return Anchor(self.directory.anchor).read()

    def client(self, **options):
        return RemoteSigner(self.socket, self.directory.verifier(), **options)

    def send(self, raw):
        """Send bytes as they are; return the answer, None if the connection is closed without one."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.socket))
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                line = connection.makefile("rb").readline()
                return ANSWERS.decode(line) if line else None

    def ask(self, request):
        return self.send(msgspec.json.encode(request) + b"\n")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def make_directory(root):
    directory = DataDirectory(root)
    directory.create()
    directory.create_keys(ORIGIN)
    Anchor(directory.anchor).create(Anchored(ORIGIN, 0, EMPTY_ROOT, CHAIN_START, b"", 0))
    return directory


def start_signer(root, *options, program=("-m", "tlog"), path=None):
    path = path or root / "signer.sock"
    said = root.with_name(f"{root.name}-{time.monotonic_ns()}.stderr")
    command = [sys.executable, *program, "signer", "--data", root, "--socket", path, *options]
    with said.open("w") as stderr:
        process = subprocess.Popen([*map(str, command)], stderr=stderr, cwd=ROOT)
    deadline = time.monotonic() + 60
    while '"event":"start"' not in said.read_text():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.02)
    return SignerProcess(process, DataDirectory(root), path, said)


@pytest.fixture
def start(directory):
    """Starts signers of one directory, one after the other if need be, and ends what is left."""
    started = []

    def start_one(*options, **more):
        root = directory / "signer"
        if not root.exists():
            make_directory(root)
        started.append(start_signer(root, *options, **more))
        return started[-1]

    yield start_one
    for each in started:
        each.kill()


@pytest.fixture(scope="module")
def signer(module_directory):
    """One signer for all attacks: it signed 5 entries, and has to be what it was after each."""
    make_directory(module_directory / "signer")
    running = start_signer(module_directory / "signer")
    assert running.client().sign(HONEST.proposal(0, 5)).size == 5
    yield running
    running.kill()


# --- A stolen service asks ------------------------------------------------------------------------------------------

FORKS = {
    "forked tree, its own proof": FORKED.proposal(5, 9),
    "forked tree, the honest proof": FORKED.proposal(5, 9, proof=HONEST.proof(5, 9)),
    "forked tree, from nothing": FORKED.proposal(0, 9),
    "forked tree, from before the fork": FORKED.proposal(3, 9),
    "forked tree of the signed size": FORKED.proposal(5, 5),
    "forked tree of the signed size, from before the fork": FORKED.proposal(3, 5),
    "signed size, other chain hash": HONEST.proposal(5, 5, chain_hash=bytes(32)),
    "what was never signed": HONEST.proposal(7, 9),
    "smaller": HONEST.proposal(3, 4),
    "smaller, said to continue": HONEST.proposal(5, 4, proof=[]),
    "nothing": HONEST.proposal(0, 0),
    "no proof": HONEST.proposal(5, 9, proof=[]),
    "proof too long": HONEST.proposal(5, 9, proof=[*HONEST.proof(5, 9), bytes(32)]),
    "proof with a hash changed": HONEST.proposal(5, 9, proof=[bytes(32), *HONEST.proof(5, 9)[1:]]),
    "root of another size": HONEST.proposal(5, 9, root=HONEST.root(8)),
    "largest size there is": msgspec.structs.replace(HONEST.proposal(5, 9), size=2**63 - 1),
    "other origin": HONEST.proposal(5, 9, origin="example.com/other-log"),
    "empty origin": HONEST.proposal(5, 9, origin=""),
}


@pytest.mark.parametrize("fork", FORKS)
def test_stolen_service_gets_no_fork_signed(signer, fork):
    """Threats 16, 26, 31, 33: it holds everything but the signer, and asks for every second history."""
    before = signer.anchored()
    answer = signer.ask(FORKS[fork])
    assert isinstance(answer, Refused)
    assert answer.exit_code == ForkError.exit_code
    with pytest.raises(ForkError, match="the signer refuses"):
        signer.client().sign(FORKS[fork])
    assert signer.anchored() == before
    assert signer.client().read() == before


GOOD = msgspec.to_builtins(HONEST.proposal(5, 9)) | {"type": "sign"}


def changed(**members):
    return json.dumps(GOOD | members).encode() + b"\n"


NOISE = {
    "empty line": b"\n",
    "nothing": b"",
    "half a question": json.dumps(GOOD).encode()[:200],
    "no line end": json.dumps(GOOD).encode(),
    "another value": b"7\n",
    "no members": b"{}\n",
    "unknown question": b'{"type":"reset"}\n',
    "binary": bytes(range(256)) * 8 + b"\n",
    "not UTF-8": b'{"type":"sign","origin":"\xff"}\n',
    "deep": b'{"type":' + b"[" * 8000 + b"\n",
    "unknown member": changed(force=True),
    "negative size": changed(last_size=-1),
    "size above the largest": changed(size=2**63),
    "size as text": changed(size="9"),
    "size as fraction": changed(size=9.5),
    "root too short": changed(root="AAAA"),
    "root not base64": changed(root="!" * 44),
    "proof of 64 hashes": changed(proof=["A" * 43 + "="] * 64),
    "proof of short hashes": changed(proof=["AAAA"]),
    "too long": b"x" * 20_000 + b"\n",
    "much too long": b"x" * 2_000_000,
    "too long in a member": changed(origin="x" * 100_000),
}


@pytest.mark.parametrize("noise", NOISE)
def test_noise_is_not_signed(signer, noise):
    """Threat 55 and its neighbours: what is not exactly a question is none, and hurts nobody."""
    before = signer.anchored()
    answer = signer.send(NOISE[noise])
    assert answer is None or (isinstance(answer, Refused) and answer.exit_code == 2)
    assert signer.anchored() == before
    assert signer.client().read() == before


def test_silent_and_slow_connections_do_not_keep_the_honest_sealer_out(signer):
    """Threat 62: of those who say nothing the oldest go first."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(200)]
        for number, connection in enumerate(silent):
            connection.connect(str(signer.socket))
            connection.settimeout(20)
            if number % 2:
                connection.sendall(b'{"type"')
        assert signer.client().sign(HONEST.proposal(0, 5)) == signer.anchored()
        with contextlib.suppress(ConnectionResetError):
            assert silent[0].recv(1) == b""


def test_honest_sealer_is_served_all_the_same(start):
    """The attacks' other half: what continues is signed, once, verifies, and leaves a line without secrets."""
    signer = start()
    client = signer.client()
    last = 0
    for size in (1, 2, 5, 64, 300, 1000):
        anchored = client.sign(HONEST.proposal(last, size))
        assert open_checkpoint(anchored.note, client.verifier)[1:] == (size, HONEST.root(size))
        assert anchored == signer.anchored() == client.read()
        assert client.sign(HONEST.proposal(last, size)) == anchored, "asked again, it is the same note"
        last = size
    signer.process.send_signal(signal.SIGTERM)
    assert signer.process.wait(30) == 0
    said = signer.said.read_text()
    sizes = [line["size"] for line in map(json.loads, said.splitlines()) if line["event"] == "signed"]
    assert sizes == [1, 1, 2, 2, 5, 5, 64, 64, 300, 300, 1000, 1000]
    assert signer.directory.signing_key().skey().split("+", 4)[4] not in said  # the secret may have "+" within


WITHOUT_CHECK = (
    "import tlog.signing.signer as s; s.verify_consistency = lambda *_: None; from tlog.cli.app import main; main()"
)


def test_signer_that_does_not_check_signs_a_fork(start):
    """The control of the attacks: without the consistency check the same question makes a second history."""
    signer = start(program=("-c", WITHOUT_CHECK))
    first = signer.client().sign(HONEST.proposal(0, 5))
    fork = signer.ask(FORKS["forked tree, its own proof"])
    assert isinstance(fork, Signed)
    assert open_checkpoint(fork.note, signer.directory.verifier()).size == 9
    with pytest.raises(VerificationError):
        verify_consistency(5, 9, first.root, fork.root, FORKED.proof(5, 9))


# --- Growth ---------------------------------------------------------------------------------------------------------


def invented(last_size, size, last_root=None):
    """Return a proposal of any size that continues `last_size`, a power of two: nothing on its right has to exist."""
    root = last_root = last_root or HONEST.root(last_size)
    proof, rest = [], (size - 1) // last_size
    while rest:
        proof.append(bytes([len(proof)]) * 32)
        root = node_hash(root, proof[-1])
        rest >>= 1
    verify_consistency(last_size, size, last_root, root, proof)
    return Proposal(ORIGIN, last_size, size, root, bytes(32), 0, proof)


BEGINNING = datetime.datetime(2026, 3, 17, tzinfo=datetime.UTC)


def growing(root, *, seconds=1, allow_growth=0):
    """Return a signer that has signed 4 entries, and asks the time again so many seconds later."""
    directory = make_directory(root)
    times = iter([BEGINNING, *[BEGINNING + datetime.timedelta(seconds=seconds)] * 2])
    signer = CheckpointSigner(
        Anchor(directory.anchor), directory.signing_key(), lambda: next(times), allow_growth=allow_growth
    )
    signer.sign(HONEST.proposal(0, 4))
    return signer


@pytest.mark.parametrize("size", [2**63 - 1, 2**62, 4 + MAX_GROWTH + GROWTH_A_SECOND + 1])
def test_a_size_that_no_log_reaches_is_not_signed(tmp_path, size):
    """S2: its proof holds, and afterwards nothing could be signed any more; the honest log goes on."""
    signer = growing(tmp_path)
    before = signer.read()
    with pytest.raises(ForkError, match=r"grow by \d+ entries within 1 s.*--allow-growth") as refused:
        signer.sign(invented(4, size))
    assert refused.value.exit_code == 7
    assert signer.read() == before
    assert signer.sign(HONEST.proposal(4, 9)).size == 9


def test_without_the_bound_a_log_is_at_its_end(tmp_path, monkeypatch):
    """The control."""
    monkeypatch.setattr("tlog.signing.signer.MAX_GROWTH", 2**63)
    signer = growing(tmp_path)
    assert signer.sign(invented(4, 2**63 - 1)).size == 2**63 - 1
    with pytest.raises(ForkError, match="is signed"):
        signer.sign(HONEST.proposal(4, 9))


@pytest.mark.parametrize("seconds", [1, 3600])
def test_the_bound_grows_with_time(tmp_path, seconds):
    bound = MAX_GROWTH + GROWTH_A_SECOND * seconds
    with pytest.raises(ForkError, match=f"more than {bound} are not signed"):
        growing(tmp_path / "more", seconds=seconds).sign(invented(4, 4 + bound + 1))
    assert growing(tmp_path / "most", seconds=seconds).sign(invented(4, 4 + bound)).size == 4 + bound


def test_before_the_first_signature_no_time_has_passed(tmp_path):
    directory = make_directory(tmp_path / "new")
    signer = CheckpointSigner(Anchor(directory.anchor), directory.signing_key(), utc_now)
    with pytest.raises(ForkError, match="within 0 s"):
        signer.sign(Proposal(ORIGIN, 0, MAX_GROWTH + 1, bytes(32), bytes(32), 0, []))
    assert signer.sign(Proposal(ORIGIN, 0, MAX_GROWTH, bytes(32), bytes(32), 0, [])).size == MAX_GROWTH


def test_a_clock_that_went_back_gives_no_growth(tmp_path):
    with pytest.raises(ForkError, match="within 0 s"):
        growing(tmp_path, seconds=-3600).sign(invented(4, 5 + MAX_GROWTH))


def test_growth_that_was_allowed_is_signed_once(start):
    """`--allow-growth`: by the operator's word, up to the number that was said, and one time."""
    refused = start()
    assert refused.client().sign(HONEST.proposal(0, 4)).size == 4
    answer = refused.ask(invented(4, 2**40))
    assert answer.exit_code == ForkError.exit_code
    refused.kill()
    signer = start("--allow-growth", 2**40)
    assert isinstance(signer.ask(invented(4, 2**41)), Refused)
    assert signer.ask(invented(4, 1024)).size == 1024, "an ordinary step does not use it up"
    assert signer.ask(invented(1024, 2**40, signer.anchored().root)).size == 2**40
    answer = signer.ask(invented(2**40, 2**41, signer.anchored().root))
    assert "--allow-growth 1099511627776" in answer.message
    assert signer.anchored().size == 2**40


# --- Crashes, races, clocks -----------------------------------------------------------------------------------------

KILLED_AFTER_ANCHOR = """
import os, signal
from tlog.signing.anchor import Anchor
advance = Anchor.advance
def advance_and_die(self, old, new):
    advance(self, old, new)
    os.kill(os.getpid(), signal.SIGKILL)
Anchor.advance = advance_and_die
from tlog.cli.app import main
main()
"""


def test_killed_between_anchor_and_answer_it_signs_the_same_again(start):
    """The answer is lost, the signature is not: asked again it is the same note, and no other of that size."""
    dying = start(program=("-c", KILLED_AFTER_ANCHOR))
    with pytest.raises(OverloadedError, match=r"closed the connection|reset"):
        dying.client().sign(HONEST.proposal(0, 5))
    dying.process.wait()
    anchored = dying.anchored()
    assert anchored.size == 5
    signer = start()
    assert signer.client().sign(HONEST.proposal(0, 5)) == anchored
    with pytest.raises(ForkError):
        signer.client().sign(FORKED.proposal(0, 5))
    assert signer.client().sign(HONEST.proposal(5, 9)).size == 9


def test_answer_that_came_too_late_is_found_by_the_next_question(start):
    """Questions are answered in the order they came, so nobody continues what is about to be replaced."""
    signer = start()
    signer.process.send_signal(signal.SIGSTOP)
    with pytest.raises(OverloadedError, match="timed out"):
        signer.client(timeout=0.2).sign(HONEST.proposal(0, 5))
    reading = threading.Thread(target=lambda: found.append(signer.client(timeout=20).read()))
    found = []
    reading.start()
    signer.process.send_signal(signal.SIGCONT)
    reading.join()
    assert found == [signer.anchored()]
    assert found[0].size == 5


def test_of_racing_sealers_exactly_one_is_signed_each_round(start):
    """Threats 26 and 27, gate R4: the losers see other entries than the winner and are refused."""
    signer = start()
    last = 0
    for _ in range(25):
        signed, refused = [], []
        barrier = threading.Barrier(4)

        def race(number, last=last, barrier=barrier, signed=signed, refused=refused):
            client, proposal = signer.client(), HONEST.proposal(last, last + 1 + number)
            barrier.wait()
            try:
                signed.append(client.sign(proposal))
            except ForkError as error:
                refused.append(error)

        threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(signed), len(refused)) == (1, 3)
        assert signed == [signer.anchored()]
        last = signed[0].size


def test_racing_signers_of_one_directory_sign_one_history(start, directory):
    """Two signers by mistake: the anchor decides between them as it does between sealers."""
    one, two = start(), start(path=directory / "second.sock")
    assert one.client().sign(HONEST.proposal(0, 5)).size == 5
    with pytest.raises(ForkError):
        two.client().sign(FORKED.proposal(0, 9))
    assert two.client().sign(HONEST.proposal(5, 9)).size == 9
    with pytest.raises(ForkError, match="another sealer"):
        one.client().sign(HONEST.proposal(5, 10))


def clock_at(moment):
    patched = f"import datetime; from tlog.cli import running; running.utc_now = lambda: {moment!r}"
    return ("-c", f"{patched}; from tlog.cli.app import main; main()")


def test_frozen_clock_and_one_that_goes_back_sign_nothing(start):
    """Threat 29, gate R6: the signer's own clock counts, not what the sealer says; across a restart too."""
    later = datetime.datetime(2090, 1, 1, tzinfo=datetime.UTC)
    frozen = start(program=clock_at(later))
    first = frozen.client().sign(HONEST.proposal(0, 5))
    assert frozen.client().sign(HONEST.proposal(5, 9)) is None
    lags = "the clock lags what was signed and logged"
    assert lags in said_by(frozen.said, lags)
    frozen.kill()
    back = start(program=clock_at(later - datetime.timedelta(milliseconds=1)))
    assert back.client().sign(HONEST.proposal(5, 9)) is None
    assert back.client().sign(HONEST.proposal(0, 5)) == first, "what is signed already needs no clock"
    assert back.anchored() == first
    back.kill()
    past = start(program=clock_at(later + datetime.timedelta(microseconds=1)))
    assert past.client().sign(HONEST.proposal(5, 9)).sealed_at == first.sealed_at + 1


DISK_REFUSES = """
import sqlite3
from tlog.signing.anchor import Anchor
def refuse(*_):
    raise sqlite3.OperationalError("disk I/O error")
Anchor.advance = refuse
from tlog.cli.app import main
main()
"""


def test_disk_that_refuses_ends_the_signer(start):
    """Gate R2: whether the anchor was written is not known, so nothing is handed out and nothing more is signed."""
    signer = start(program=("-c", DISK_REFUSES))
    with pytest.raises(OverloadedError):
        signer.client().sign(HONEST.proposal(0, 5))
    assert signer.process.wait(30) == OperatorError.exit_code
    assert "the anchor cannot be written (disk I/O error)" in " ".join(signer.said.read_text().split())


# --- Who may ask ----------------------------------------------------------------------------------------------------


def test_other_users_are_refused(start):
    """Threat 31: who asks is known from the kernel; the socket's mode keeps everybody else out."""
    signer = start("--allow-user", os.geteuid() + 1)
    assert stat.S_IMODE(signer.socket.stat().st_mode) == 0o600
    for ask in (signer.client().read, lambda: signer.client().sign(HONEST.proposal(0, 5))):
        with pytest.raises(OperatorError, match=f"user {os.geteuid()} may not ask"):
            ask()
    assert signer.anchored().size == 0


def test_whoever_may_not_ask_is_turned_away_at_the_door(start):
    """S19: told before a question was sent, once a minute in the signer's log; 900 silent ones took places for five seconds each."""
    signer = start("--allow-user", os.geteuid() + 1)
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as silent:
            silent.settimeout(4)
            silent.connect(str(signer.socket))
            answer = ANSWERS.decode(silent.makefile("rb").readline())
            assert answer == Refused(f"user {os.geteuid()} may not ask this signer; start it with --allow-user", 4)
            assert silent.recv(1) == b""
    refused = "this user may not ask"
    assert said_by(signer.said, refused).count(refused) == 1


def test_whoever_may_ask_is_waited_for(signer):
    """The control of the test before."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(0.5)
        silent.connect(str(signer.socket))
        with pytest.raises(TimeoutError):
            silent.recv(1)


KNOCKS = """
import contextlib, os, socket, sys
os.setgroups([]); os.setgid(65002); os.setuid(65002)
with contextlib.ExitStack() as stack:
    for _ in range(200):
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        connection.connect(sys.argv[1])
    print("knocked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_knocking_takes_no_place_from_whoever_may_ask(start):
    """S19: of 65 that wait the oldest goes, which was the honest one who had sent half of his question."""
    signer = start()
    signer.socket.parent.chmod(0o711)
    signer.socket.chmod(0o666)
    question = msgspec.json.encode(Read()) + b"\n"
    with socket.socket(socket.AF_UNIX) as honest:
        honest.settimeout(10)
        honest.connect(str(signer.socket))
        honest.sendall(question[:5])
        command = [sys.executable, "-c", KNOCKS, str(signer.socket)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as knocking:
            assert knocking.stdout.readline() == b"knocked\n"
            honest.sendall(question[5:])
            assert isinstance(ANSWERS.decode(honest.makefile("rb").readline()), Signed)
            knocking.communicate()


AS_ANOTHER = """
import os, sys
from pathlib import Path
from tlog.core.note import parse_vkey
from tlog.errors import TlogError
from tlog.signing.socket import RemoteSigner
signer = RemoteSigner(Path(sys.argv[1]), parse_vkey(sys.argv[2]))
os.setgroups([]); os.setgid(int(sys.argv[4])); os.setuid(int(sys.argv[4]))
try:
    (Path(sys.argv[3]) / "keys" / "log.skey").read_bytes()
    print("the key can be read")
except PermissionError:
    print("no key")
try:
    print(signer.read().size)
except TlogError as error:
    print(error)
"""


AS_SIGNER = """
import contextlib, io, os
# What is loaded late is loaded now: the other user cannot reach an installation in root's home.
import asyncio, structlog, uvloop, tlog.files.durable, tlog.location
import tlog.cli.lines, tlog.signing.anchor, tlog.signing.clock, tlog.signing.signer, tlog.signing.socket
from tlog.cli import app as cli
tlog.location.version()
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    cli.app(["signer", "--help"])
os.setgroups([65001]); os.setgid(65003); os.setuid(65003)
cli.main()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
@pytest.mark.parametrize("number, says", [(65_001, "0"), (65_002, "Permission denied")])
def test_users_of_their_own(start, directory, number, says):
    """The service's user reaches the signer and not the key; a user outside the group reaches neither."""
    make_directory(directory / "signer")
    (directory / "run").mkdir()
    subprocess.run(["chown", "-R", "65003:65003", directory / "signer", directory / "run"], check=True)
    (directory / "run").chmod(0o711)
    options = ("--allow-user", 65_001, "--allow-user", 65_002, "--group", 65_001)
    signer = start(*options, program=("-c", AS_SIGNER), path=directory / "run" / "signer.sock")
    assert stat.S_IMODE(signer.socket.stat().st_mode) == 0o660
    vkey, root = signer.directory.verifier().vkey(), signer.directory.root
    command = [sys.executable, "-c", AS_ANOTHER, signer.socket, vkey, root, number]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, cwd=ROOT)
    key, answer = done.stdout.splitlines()
    assert key == "no key"
    assert says in answer
    assert signer.socket.stat().st_uid == 65_003


def open_key(root):
    (root / "keys" / "log.skey").chmod(0o440)


def other_key(root):
    directory = DataDirectory(root.with_name("other"))
    directory.create()
    directory.create_keys(ORIGIN)
    (directory.root / "keys" / "log.skey").replace(root / "keys" / "log.skey")


def other_keys(root):
    directory = DataDirectory(root)
    CheckpointSigner(Anchor(directory.anchor), directory.signing_key(), utc_now).sign(HONEST.proposal(0, 5))
    other_key(root)
    (root.with_name("other") / "keys" / "log.vkey").replace(root / "keys" / "log.vkey")


NO_START = {
    "key open to others": (open_key, 8, "chmod 0400"),
    "key missing": (lambda root: (root / "keys" / "log.skey").unlink(), 8, "bring back this log's key file"),
    "key of another log": (other_key, 8, "do not belong together"),
    "anchor missing": (lambda root: (root / "anchor" / "anchor.sqlite3").unlink(), 6, "no anchor"),
    "anchor of another key": (other_keys, 7, "does not open with this log's key"),
    "no socket in its place": (lambda root: (root / "signer.sock").write_text(""), 4, "is no socket"),
}


@pytest.mark.parametrize("damage", NO_START)
def test_signer_refuses_to_start(directory, damage):
    """Gate R5 for the signer: each with its own words and exit code."""
    action, code, message = NO_START[damage]
    make_directory(directory / "signer")
    action(directory / "signer")
    refused = tlog("signer", "--data", directory / "signer", check=False)
    assert refused.returncode == code, refused.stderr
    assert message in " ".join(refused.stderr.split())


def test_socket_of_a_living_signer_is_not_taken(start):
    signer = start()
    refused = tlog("signer", "--data", signer.directory.root, "--socket", signer.socket, check=False)
    assert refused.returncode == 4
    assert "another signer serves" in " ".join(refused.stderr.split())
    signer.kill()
    assert signer.socket.exists()
    assert start().client().read().size == 0, "a dead one's is"


@pytest.mark.parametrize("planted", ["link", "socket of another", "nothing"])
def test_only_the_signers_own_socket_is_opened_to_the_group(tmp_path, monkeypatch, planted):
    """S7: a link in its place would have the file it leads to opened; the control is the socket itself."""
    path, target = tmp_path / "signer.sock", tmp_path / "target"
    target.touch(mode=0o600)
    if planted == "link":
        path.symlink_to(target)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
        path.chmod(0o600)
    if planted == "nothing":
        _open_to(path, os.getegid())
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        return
    me = os.geteuid()
    if planted == "socket of another":
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(OperatorError, match="somebody put another file"):
        _open_to(path, os.getegid())
    assert {stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(target.stat().st_mode)} == {0o600}


@pytest.mark.parametrize("number_of", [user_number, group_number])
def test_users_and_groups_by_name_or_number(number_of):
    assert number_of("root") == 0
    assert number_of("65001") == 65_001
    with pytest.raises(MalformedInputError, match="no-such-name"):
        number_of("no-such-name")


# --- What answers is no signer --------------------------------------------------------------------------------------

STRANGERS = {
    "noise": (b"noise\n", OperatorError, "not a signer of this version"),
    "not signed": (b'{"type":"not signed"}\n', OperatorError, "not a signer of this version"),
    "endless": (b"x" * 100_000, OperatorError, "not a signer of this version"),
    "nothing": (b"", OverloadedError, "does not answer"),
    "half": (b'{"type":', OverloadedError, "does not answer"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_answers_may_be_no_signer(directory, stranger):
    says, error, message = STRANGERS[stranger]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "stranger.sock"))
        listener.listen()

        def answer():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1000)
                connection.sendall(says)

        answering = threading.Thread(target=answer)
        answering.start()
        keys = make_directory(directory / "keys")
        with pytest.raises(error, match=message):
            RemoteSigner(directory / "stranger.sock", keys.verifier()).read()
        answering.join()


def test_signer_that_is_not_there(directory):
    keys = make_directory(directory / "keys")
    with pytest.raises(OverloadedError, match="does not answer"):
        RemoteSigner(directory / "absent.sock", keys.verifier()).read()


def test_questions_are_what_is_described():
    assert msgspec.json.encode(Read()) == b'{"type":"read"}'


# --- The service and its signer -------------------------------------------------------------------------------------


def move_to_a_signer(data, signer_root):
    """Do what the how-to page says, with these directories, as the user who runs the tests."""
    page = (ROOT / "docs" / "how-to" / "separate-signer.md").read_text(encoding="utf-8")
    script = re.search(r"```sh\n( *install .*?)```", page, re.DOTALL)[1]
    script = script.replace("/var/lib/tlog-signer", str(signer_root)).replace("/var/lib/tlog/", f"{data}/")
    script = re.sub(r"chown -R \S+ ", f"chown -R {os.geteuid()} ", script)
    assert "/var/" not in script
    subprocess.run(["/bin/sh", "-eu", "-c", script], check=True)


@pytest.fixture(scope="module")
def moved_once(module_directory):
    """A log whose key and anchor were moved to a signer's directory; returns a directory with both, and an API key."""
    directory = module_directory / "moved"
    directory.mkdir(mode=0o711)
    server = start_server(directory / "data")
    server.append([json.loads(raw) for raw in sample_events(20)])
    server.seal()
    assert server.stop() == 0
    move_to_a_signer(directory / "data", directory / "signer")
    return directory, server.token


@pytest.fixture
def moved(moved_once, directory):
    """A copy of that for one test; returns (data, signer's directory, token)."""
    for name in ("data", "signer"):
        subprocess.run(["cp", "-a", moved_once[0] / name, directory / name], check=True)
    return directory / "data", directory / "signer", moved_once[1]


def wait_until(what):
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def ready(url):
    return httpx2.get(f"{url}/readyz").json()


def test_service_with_a_signer_of_its_own(moved, monkeypatch, directory):
    """The documented way, all of it: move, serve, lose the signer, lose an answer, have it back, verify offline."""
    data, root, token = moved
    signer = start_signer(root)
    monkeypatch.setenv("TLOG_SIGNER", str(signer.socket))
    server = start_server(data, token=token)
    with Client(server.url, token) as client:
        old = httpx2.get(f"{server.url}/checkpoint").content
        server.append([json.loads(raw) for raw in sample_events(20, seed=2)])
        server.seal()
        sealed = client.log()["size"]

        # Away: events are taken in, nothing is sealed, and it shows.
        signer.kill()
        server.append([json.loads(raw) for raw in sample_events(20, seed=3)])
        wait_until(lambda: ready(server.url).get("sealing") == "waiting")
        assert "does not answer" in said_by(server.said, "does not answer"), "why is for the operator"
        assert ready(server.url)["ready"] is True
        assert "\ntlog_sealer_waiting 1.0" in httpx2.get(f"{server.url}/metrics").text
        report = json.loads(tlog("fsck", "--data", data, "--json", check=False).stdout)
        assert (report["verdict"], report["problems"]) == ("incomplete", [])
        assert "the anchor (the signer at" in report["unchecked"][0]

        # Back, but it dies between anchor and answer; then back for good.
        dying = start_signer(root, program=("-c", KILLED_AFTER_ANCHOR))
        dying.process.wait(60)
        assert dying.anchored().size > sealed
        again = start_signer(root)
        server.seal()
        wait_until(lambda: "sealing" not in ready(server.url))
        assert "\ntlog_sealer_waiting 0.0" in httpx2.get(f"{server.url}/metrics").text
        assert json.loads(tlog("fsck", "--data", data, "--json").stdout)["verdict"] == "verified"
    assert server.stop() == 0, server.said.read_text()

    # On the command line it is the same, and a stranger verifies the whole log and that it only grew.
    tlog("export", "--static", directory / "export", "--data", data)
    done = verify_offline("log", "--vkey", server.vkey, directory / "export")
    assert done.returncode == 0, done.stdout
    tlog("init", "--data", data, "--origin", "example.com/served")
    new = open_checkpoint((directory / "export" / "checkpoint").read_bytes(), again.directory.verifier())
    assert new.size > open_checkpoint(old, again.directory.verifier()).size
    again.kill()
    assert not (data / "keys" / "log.skey").exists()
    assert not (data / "anchor").exists()


def test_service_ends_when_its_signer_signed_something_else(moved):
    """Threat 31: a thief makes the log longer; the honest service notices at its next signature and ends as by a fork."""
    data, root, token = moved
    signer = start_signer(root)
    server = start_server(data, "--signer", signer.socket, token=token)
    server.seal()
    last = settled(signer)
    leaves = httpx2.get(f"{server.url}/tile/0/000.p/{last.size}").content
    longer = Tree(range(1000))
    longer.leaves[: last.size] = [leaves[start : start + 32] for start in range(0, len(leaves), 32)]
    stolen = signer.client().sign(longer.proposal(last.size, 999, origin=last.origin))
    assert (stolen.size, stolen.root) == (999, longer.root(999)), "it is longer, and continues the honest one"
    verify_consistency(last.size, 999, last.root, stolen.root, longer.proof(last.size, 999))

    server.append([json.loads(raw) for raw in sample_events(1, seed=9)])
    assert server.process.wait(60) == ForkError.exit_code
    assert "another sealer signed meanwhile" in " ".join(server.said.read_text().split())
    again = tlog("serve", "--port", "0", "--data", data, "--signer", signer.socket, check=False)
    assert again.returncode == RollbackError.exit_code
    assert "anchor=999" in again.stderr
    assert signer.anchored() == stolen
    signer.kill()


def settled(signer):
    """Return what is signed when nothing more is: index epochs are entries too."""
    last, again = None, signer.client().read()
    while last != again:
        time.sleep(2)
        last, again = again, signer.client().read()
    return last


def test_service_refuses_what_would_undo_the_separation(moved, directory):
    """Half a move, or a forgotten option: nothing is made anew, nothing is changed, and it says what to do."""
    data, root, _ = moved
    vkey = (data / "keys" / "log.vkey").read_bytes()
    for command in (["serve", "--port", "0"], ["init"]):
        refused = tlog(*command, "--data", data, check=False)
        assert refused.returncode == 8
        assert "say --signer SOCKET" in " ".join(refused.stderr.split())
    refused = tlog("seal", "--data", data, check=False)
    assert refused.returncode == 8
    assert (data / "keys" / "log.vkey").read_bytes() == vkey
    assert not (data / "keys" / "log.skey").exists()
    assert not (data / "anchor" / "anchor.sqlite3").exists()

    nowhere = directory / "nowhere"
    refused = tlog("serve", "--port", "0", "--data", nowhere, "--signer", root / "signer.sock", check=False)
    assert refused.returncode == 4, "there is no log, and none is made"
    assert not nowhere.exists()
    away = tlog("serve", "--port", "0", "--data", data, "--signer", root / "signer.sock", check=False)
    assert away.returncode == OverloadedError.exit_code
    shutil.copy(root / "keys" / "log.skey", data / "keys" / "log.skey")
    copied = tlog("serve", "--port", "0", "--data", data, "--signer", root / "signer.sock", check=False)
    assert copied.returncode == 8
    assert "keep no copy" in " ".join(copied.stderr.split())
