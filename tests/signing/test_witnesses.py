"""The log as a client of witnesses: what counts, what never stops the log, and what does.

The witnesses are real ones (`tlog.witness`); only the network between is not (`witnessing.Streets`).
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import timedelta

import pytest
from witnessing import FORK_SEED, NOW, LeafLog, Streets, witness

from tlog.core.cosignature import CosigningKey
from tlog.core.fork import find_fork, parse_fork
from tlog.core.policy import parse_policy
from tlog.errors import ForkError, MalformedInputError, OperatorError, OverloadedError, RollbackError
from tlog.signing import witnesses as module
from tlog.signing.outside import Answer
from tlog.signing.witnesses import SignedHead, Witnesses, Witnessing
from tlog.witness.decide import Head

pytestmark = pytest.mark.anyio
LOG, FORK = LeafLog(), LeafLog(other=FORK_SEED)
ORIGIN = LOG.signer.verifier.name
TWO_OF_THREE = "group G 2 w0 w1 w2\nquorum G\n"
SECONDS = int(NOW.timestamp())
ANY = "group G any w0 w1 w2\nquorum G\n"


class Clock:
    """A clock that stands until a test moves it."""

    now = NOW

    def __call__(self):
        return self.now


class Town:
    """Three witnesses, and a log that they know."""

    def __init__(self, root, stack):
        self.root, self.stack = root, stack
        self.streets, self.clock = Streets(), Clock()
        self.witnesses = []
        for number in range(3):
            made = stack.enter_context(
                witness(root / f"w{number}", LOG.signer.verifier.vkey(), name=f"witness.example/{number}")
            )
            self.witnesses.append(made)
            self.streets.services[f"w{number}.example"] = made.service

    def text(self, quorum=TWO_OF_THREE, urls=("w0", "w1", "w2")):
        lines = [f"log {LOG.signer.verifier.vkey()}"]
        for number, made in enumerate(self.witnesses):
            address = f" https://w{number}.example/" if f"w{number}" in urls else ""
            lines.append(f"witness w{number} {made.vkeys[0]}{address}")
        return "\n".join([*lines, quorum])

    def client(self, quorum=TWO_OF_THREE, *, urls=("w0", "w1", "w2"), **options):
        text = self.text(quorum, urls)
        witnessing = Witnessing(parse_policy(text.encode()), text, **options)
        return Witnesses(witnessing, LOG.signer.verifier, self.streets, self.root / "evidence", self.clock)

    def sizes(self):
        return [made.state.find(ORIGIN)[1].size for made in self.witnesses]

    def bodies(self, host):
        """Return the first lines of what was sent to a witness, and forget them."""
        sent = [
            content.partition(b"\n")[0].decode()
            for method, url, content in self.streets.asked
            if method == "POST" and host in url
        ]
        self.streets.asked.clear()
        return sent


@pytest.fixture
def town(tmp_path):
    with ExitStack() as stack:
        yield Town(tmp_path, stack)


def head(size, log=LOG, *, moved=False):
    async def prove(old):
        return log.proof(old, size)

    async def root_at(old):
        return log.root(old)

    async def has_moved():
        return moved

    return SignedHead(log.note(size), size, log.root(size), prove, root_at, has_moved)


async def settled(client):
    """Wait until all requests that are under way have ended."""
    running = [address.task for address in client._addresses if address.task is not None]
    if running:
        await asyncio.wait(running)


async def test_a_checkpoint_is_cosigned_by_its_quorum(town):
    client = town.client()
    assert await client.gather(head(5), confirming=True)
    await settled(client)
    client.tend(head(5))
    taken = client.take()
    assert {each.size for each in taken} == {5}
    assert {each.cosignature.name for each in taken} == {f"witness.example/{number}" for number in range(3)}
    assert town.sizes() == [5, 5, 5]
    assert (client.state, client.met_size, client.unwitnessed_since) == ("ok", 5, None)
    assert client.up == {"w0": True, "w1": True, "w2": True}
    assert client.take() == []
    # A witness that was cosigning already is shown the proof at once, from what it cosigned last.
    town.streets.asked.clear()
    assert await client.gather(head(9), confirming=False)
    await settled(client)
    assert town.bodies("w0.example") == ["old 5"]
    await client.close()


async def test_a_witness_that_is_elsewhere_is_asked_once_more_from_there(town):
    """At a start, what is signed is shown with its own size; who knows less says so, and gets a proof."""
    client = town.client()
    town.witnesses[1].state.advance(ORIGIN, town.witnesses[1].state.find(ORIGIN)[1], cosigned_head(3), b"")
    assert await client.gather(head(5), confirming=True)
    await settled(client)
    assert sorted(content.partition(b"\n")[0] for _, _, content in town.streets.asked) == [
        *(b"old 0", b"old 0", b"old 3"),
        *(b"old 5", b"old 5", b"old 5"),
    ]
    assert town.sizes() == [5, 5, 5]
    await client.close()


def cosigned_head(size):
    return Head(size, LOG.root(size))


async def test_the_quorum_is_waited_for_and_asked_again(town, monkeypatch):
    monkeypatch.setattr(module, "_BACKOFF", (0.0,))
    client = town.client(alarm=0.05, timeout=0.0)
    town.streets.away = {"w0.example", "w2.example"}
    assert not await client.gather(head(5), confirming=True)
    assert client.state in {"lags", "down"}
    assert client.unwitnessed_since == NOW.timestamp()
    assert client.up == {"w0": False, "w1": True, "w2": False}
    while client.state != "down":  # noqa: ASYNC110 - a time is what is waited for
        await asyncio.sleep(0.01)
    town.streets.away = {"w2.example"}
    assert await client.gather(head(5), confirming=True)
    assert client.state == "ok"
    # Who came late is asked for the published checkpoint too, and only who is missing.
    town.streets.away = set()
    town.streets.asked.clear()
    client.tend(head(5))
    await settled(client)
    client.tend(head(5))
    assert len(client.take()) == 3
    assert [url for _, url, _ in town.streets.asked if "w2" not in url] == []
    await client.close()


async def test_who_fails_is_asked_after_a_while(town):
    client = town.client(ANY)
    town.streets.away = {"w0.example"}
    assert await client.gather(head(5), confirming=False)
    await settled(client)
    town.streets.asked.clear()
    client.tend(head(5))
    await settled(client)
    assert [url for _, url, _ in town.streets.asked if "w0" in url] == []
    await client.close()


async def test_a_published_checkpoint_is_cosigned_again_after_a_while(town):
    client = town.client(refresh=0.0)
    assert await client.gather(head(5), confirming=True)
    await settled(client)
    client.take()
    for made in town.witnesses:
        made.service._clock = lambda: NOW + timedelta(seconds=70)
    client.tend(head(5))
    await settled(client)
    client.tend(head(5))
    assert {each.cosignature.time for each in client.take()} >= {int(NOW.timestamp()) + 70}
    await client.close()


async def test_after_a_start_everybody_is_needed_where_quorums_need_not_meet(town):
    """The quorum that answers may be the one that never saw the newest checkpoint."""
    client = town.client(ANY)
    town.streets.away = {"w1.example"}
    assert not await client.gather(head(5), confirming=True)
    assert await client.gather(head(5), confirming=False)
    await client.close()
    client = town.client(ANY, gone=frozenset({"w1"}))
    assert await client.gather(head(5), confirming=True)
    await client.close()
    client = town.client(TWO_OF_THREE)  # any two of three have one in common with any two others
    assert await client.gather(head(5), confirming=True)
    await client.close()


async def test_several_keys_at_one_address_are_one_request(town):
    (ed25519, mldsa) = town.witnesses[0].vkeys
    text = f"log {LOG.signer.verifier.vkey()}\n"
    text += (
        f"witness a {ed25519} https://w0.example/\nwitness b {mldsa} https://w0.example\ngroup G all a b\nquorum G\n"
    )
    client = Witnesses(
        Witnessing(parse_policy(text.encode()), text),
        LOG.signer.verifier,
        town.streets,
        town.root / "evidence",
        town.clock,
    )
    town.witnesses[0].state.advance(ORIGIN, town.witnesses[0].state.find(ORIGIN)[1], cosigned_head(5), b"")
    assert await client.gather(head(5), confirming=True)
    assert [len(each.cosignature.signature) for each in client.take()] == [64, 2420]
    assert town.bodies("w0.example") == ["old 5"]
    await client.close()


# --- What a witness may say without any consequence ---------------------------------------------------------------------


def line(key, size=5, log=LOG, time=SECONDS):
    return key.cosign(log.note(size).partition(b"\n\n")[0] + b"\n", time).line()


@pytest.mark.parametrize("difference, counts", [(-300, True), (300, True), (-301, False), (301, False)])
async def test_a_cosignature_with_a_time_far_from_ours_does_not_count(town, difference, counts):
    """Threat A38."""
    key = town.witnesses[0].directory.read_keys()[0]
    answer = Answer(200, "text/plain", line(key, time=int(NOW.timestamp()) + difference))
    town.streets.says["POST", "w0.example"] = answer
    client = town.client("quorum w0\n")
    assert await client.gather(head(5), confirming=True) == counts
    await client.close()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "text/plain", b""),
        Answer(200, "text/plain", b"nonsense"),
        Answer(200, "text/plain", line(CosigningKey("witness.example/0", bytes(32)))),
        Answer(200, "text/plain", b"the line over another checkpoint"),
        Answer(500, "text/plain", b"sorry"),
        Answer(403, "text/plain", b"no"),
        Answer(422, "text/plain", b"no"),
        Answer(409, "text/plain", b"0\n"),
        Answer(409, "text/x.tlog.size", b"0"),
        Answer(409, "text/x.tlog.size", b"zero\n"),
        Answer(409, "text/x.tlog.size", b"3\n"),
        Answer(409, "text/x.tlog.size", b"9\n"),
    ],
    ids=repr,
)  # fmt: skip
async def test_what_is_no_cosignature_is_no_reason_to_stop(town, answer):
    if b"another checkpoint" in answer.body:
        answer = answer._replace(body=line(town.witnesses[0].directory.read_keys()[0], size=6))
    town.streets.says["POST", "w0.example"] = answer
    client = town.client()
    assert await client.gather(head(5), confirming=True)
    await settled(client)
    client.tend(head(5))
    assert client.up["w0"] is False
    assert len(client.take()) == 2
    assert client.state == "ok"
    assert not (town.root / "evidence").exists()
    await client.close()


async def test_a_claim_without_proof_is_told_and_stops_nothing(town):
    client = town.client("quorum w0\n")
    town.streets.says["POST", "w0.example"] = Answer(409, "text/x.tlog.size", b"99\n")
    assert not await client.gather(head(5), confirming=True)
    assert client.state == "contradicted"
    await client.close()


# --- What stops the log -------------------------------------------------------------------------------------------------


async def test_database_and_anchor_that_were_rolled_back_are_noticed_at_the_start(town):
    """Threat A12: the witness has a checkpoint with our own signature that the anchor does not remember."""
    client = town.client()
    assert await client.gather(head(9), confirming=True)
    await settled(client)
    await client.close()
    client = town.client()
    with pytest.raises(RollbackError, match=r"ROLLBACK anchor=5 witness=9: w\d has a checkpoint of 9 entries"):
        await client.gather(head(5), confirming=True)
    await settled(client)
    await client.close()
    evidence = town.root / "evidence"
    assert (evidence / "ours-5.note").read_bytes() == LOG.note(5)
    assert (evidence / "theirs-9.note").read_bytes().startswith(LOG.note(9))
    assert town.sizes() == [9, 9, 9]


@pytest.mark.parametrize("size, known", [(5, 5), (9, 5), (5, 9)])
async def test_another_history_under_our_own_signature_is_a_fork(town, size, known):
    """Threats A14, A15 and A31: whoever has the key and asks the witnesses first is found out by the log itself."""
    thief = town.client()
    assert await thief.gather(head(known, FORK), confirming=True)
    await settled(thief)
    await thief.close()
    client = town.client()
    with pytest.raises(ForkError, match=r"with this log's own signature"):
        await client.gather(head(size), confirming=False)
    await settled(client)
    await client.close()
    evidence = town.root / "evidence"
    assert (evidence / f"theirs-{known}.note").read_bytes().startswith(FORK.note(known))
    files = list(evidence.glob("fork-*.json"))
    assert len(files) == (known <= size), "without the entries of the larger tree nobody can make the proof"
    for file in files:
        assert find_fork(LOG.signer.verifier, parse_fork(file.read_bytes())).second.size == size


async def test_who_no_longer_leads_begins_anew(town):
    client = town.client()
    assert await client.gather(head(9), confirming=True)
    await settled(client)
    with pytest.raises(OverloadedError, match="another process has signed meanwhile"):
        await client.gather(head(5, moved=True), confirming=False)
    await settled(client)
    await client.close()


async def test_what_a_witness_shows_is_asked_at_its_monitoring_address(town):
    client = town.client(monitoring={"w0": "https://shown.example/m/"})
    town.streets.away = {"w1.example", "w2.example", "shown.example"}
    town.streets.says["POST", "w0.example"] = Answer(409, "text/x.tlog.size", b"99\n")
    assert not await client.gather(head(5), confirming=True)
    shown = [url for method, url, _ in town.streets.asked if method == "GET" and "shown" in url]
    assert [url.rpartition("/m/")[0] for url in shown] == ["https://shown.example"]
    await client.close()


# --- What an operator may say -------------------------------------------------------------------------------------------


def test_what_is_no_policy_of_this_log(town):
    with pytest.raises(OperatorError, match="do not meet its quorum; add the addresses"):
        town.client(urls=("w0",))
    with pytest.raises(MalformedInputError, match="has no witness 'w9'; its witnesses are w0, w1, w2"):
        town.client(gone=frozenset({"w9"}))
    with pytest.raises(MalformedInputError, match="has no witness 'w9'"):
        town.client(monitoring={"w9": "https://w.example/"})
    with pytest.raises(MalformedInputError, match="the address of a witness begins with"):
        town.client(monitoring={"w0": "http://w.example/"})
    other = Witnessing(parse_policy(b"quorum none\n"), "quorum none\n")
    with pytest.raises(OperatorError, match=r"add the line 'log log\.example/witnessed\+"):
        Witnesses(other, LOG.signer.verifier, town.streets, town.root / "evidence", town.clock)
