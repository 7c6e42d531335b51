"""The gates' own machinery: what a line says, when a run fails, that controls are run, and that the small checks can fail."""

from __future__ import annotations

import json
import os
from functools import partial

import gates
import pytest
from faults import history, steps
from faults.gate import NONE, Bound, Control, Gate, NotHereError, Run
from support import ROOT

from tlog.core.chain import CHAIN_START, chain_hash
from tlog.core.checkpoint import Checkpoint
from tlog.core.merkle import Frontier, leaf_hash
from tlog.core.strict import encode_base64
from tlog.files import durable

MEMBERS = {"id", "metric", "value", "goal", "pass"}


def toy(lost=0, broken=1, **options):
    controls = (Control(lambda _: {"lost": broken}, "lost", "something broken"),)
    return Gate(
        "X1",
        "toys",
        lambda _: {"lost": lost, "rounds": 5},
        {"lost": NONE, "rounds": Bound(">=", 5)},
        controls,
        **options,
    )


def run(capsys, *rows, size="fast"):
    code = gates.main([size, "--json", "--jobs", "1"], rows)
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_gate_that_holds_and_a_control_that_does_not_pass(capsys):
    code, lines = run(capsys, toy())
    assert code == 0
    assert [(line["id"], line["pass"]) for line in lines] == [("X1", True), ("X1-control", True)]
    assert all(set(line) == MEMBERS for line in lines)
    assert lines[0]["goal"] == {"lost": "= 0", "rounds": ">= 5"}
    assert lines[0]["value"]["lost"] == 0


def test_a_control_about_times_is_run_where_nothing_disturbs_them(capsys):
    gate = toy()
    late = gate.controls[0]._replace(full_only=True)
    gate = Gate(gate.id, gate.metric, gate.measure, gate.goal, (*gate.controls, late))
    assert [line["id"] for line in run(capsys, gate)[1]] == ["X1", "X1-control-1"]
    assert [line["id"] for line in run(capsys, gate, size="full")[1]] == ["X1", "X1-control-1", "X1-control-2"]


def test_a_gate_that_takes_long_is_run_if_it_is_named(capsys):
    gate = toy(by_name=True)
    assert run(capsys, gate) == (0, [])
    assert gates.main(["fast", "--json", "--jobs", "1", "--only", "X1"], [gate]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    "row, passed",
    [
        (toy(lost=1), [False, True]),
        (toy(broken=0), [True, False]),  # a control that holds shows that the gate cannot fail
        (Gate("X1", "toys", lambda _: {}, {"lost": NONE}, ()), [False]),  # what was not measured does not hold
        (Gate("X1", "toys", lambda _: {"lost": 0}, {"lost": NONE}, (Control(lambda _: {}, "lost", "nothing"),)), [True, False]),
    ],
)  # fmt: skip
def test_anything_else_fails(capsys, row, passed):
    code, lines = run(capsys, row)
    assert code == 1
    assert [line["pass"] for line in lines] == passed


def test_full_runs_have_goals_of_their_own(capsys):
    row = toy(full_goal={"rounds": Bound(">=", 1_000)})
    assert run(capsys, row)[0] == 0
    assert run(capsys, row, size="full")[0] == 1


def test_a_gate_that_cannot_be_run_here_says_why_and_has_to_be_listed(capsys, tmp_path, monkeypatch):
    def nowhere(_):
        message = "no tmpfs"
        raise NotHereError(message)

    def judged(*rows):
        code = gates.main(["fast", "--json", "--jobs", "1"], rows, tmp_path / "expected.toml")
        said = capsys.readouterr()
        return code, [json.loads(line) for line in said.out.splitlines()], said.err

    gate = Gate("X1", "toys", nowhere, {"lost": NONE}, ())
    listed = '[[gate]]\ngate = "X1"\nreason = "no tmpfs"\ncondition = "benchmarks-not-asked-for"\nwhy = "A toy."\n'
    monkeypatch.delenv("TLOG_ALL_BENCHMARKS", raising=False)
    (tmp_path / "expected.toml").write_text(listed)
    code, (line,), said = judged(gate)
    assert (code, line["pass"], line["value"], said) == (3, None, {"not_here": "no tmpfs"}, "")
    assert judged(gate, toy(lost=1))[0] == judged(toy(lost=1), gate)[0] == 1, "a failure weighs more"

    monkeypatch.setenv("TLOG_ALL_BENCHMARKS", "1")
    code, (line,), said = judged(gate)
    assert (code, line["pass"]) == (1, None)
    assert (
        "X1 has to run here: as a skip it is not accepted, listed for benchmarks-not-asked-for, which does not hold here"
        in said
    )

    for other in (
        "",
        listed.replace("X1", "X2"),
        listed.replace("no tmpfs", "no disk"),
        listed.replace("gate", "test"),
    ):
        (tmp_path / "expected.toml").write_text(other)
        code, _, said = judged(gate)
        assert (code, "no row of expected_skips.toml lists it" in said) == (1, True), other
        assert judged(gate, toy())[0] == 1, "nor does a gate that passes make up for it"


def test_a_gate_that_breaks_off_has_not_passed(capsys):
    def broken(_):
        message = "the server did not start"
        raise AssertionError(message)

    code, (line,) = run(capsys, Gate("X1", "toys", broken, {"lost": NONE}, ()))
    assert (code, line["pass"]) == (1, False)
    assert line["value"] == {"broke_off": "AssertionError: the server did not start"}


def test_usage(capsys):
    for arguments in ([], ["quick"], ["fast", "--only", "R99"]):
        with pytest.raises(SystemExit) as caught:
            gates.main(arguments)
        assert caught.value.code == 2
    assert "there is no gate R99" in capsys.readouterr().err


def test_every_gate_has_a_control_that_breaks_one_of_its_bounds():
    assert len({gate.id for gate in gates.GATES}) == len(gates.GATES)
    for gate in gates.GATES:
        assert gate.controls, gate.id
        assert all(control.breaks in gate.bounds(full=control.full_only) for control in gate.controls), gate.id
        assert not all(control.full_only for control in gate.controls), gate.id


def test_every_gate_is_described():
    page = (ROOT / "docs" / "explanation" / "gates.md").read_text(encoding="utf-8")
    for gate in gates.GATES:
        assert f"| {gate.id} |" in page


# --- What the gates count ----------------------------------------------------------------------------------------------


def rows(count):
    chain, made = CHAIN_START, []
    for index in range(count):
        leaf = leaf_hash(b"%d" % index)
        chain = chain_hash(chain, leaf)
        made.append(history.Row(index, f"event-{index}", leaf, chain))
    return made


def receipt(row, **changes):
    said = {
        "eventId": row.event_id,
        "index": row.index,
        "leafHash": encode_base64(row.leaf).decode(),
        "chainHash": encode_base64(row.chain).decode(),
    }
    return {**said, **changes}


@pytest.mark.parametrize(
    "change, wrong",
    [
        ({}, {}),
        ({"eventId": "another"}, {"lost": 1, "index_reused": 1}),
        ({"index": 3}, {"lost": 1, "index_reused": 1}),
        ({"leafHash": encode_base64(bytes(32)).decode()}, {"lost": 1}),
        ({"chainHash": encode_base64(bytes(32)).decode()}, {"lost": 1}),
    ],
)
def test_what_was_acknowledged_and_is_not_there_counts(change, wrong):
    stored = rows(5)
    receipts = [*map(receipt, stored), receipt(stored[2], **change)]
    expected = {"lost": 0, "index_reused": 0, "duplicates": 0, "misplaced": 0} | wrong
    assert history.count_acknowledged(stored, receipts) == expected


def test_gaps_and_repetitions_count():
    stored = rows(5)
    assert history.count_acknowledged(stored[:2] + stored[3:], [])["misplaced"] == 2
    again = [*stored, stored[4]._replace(index=5, chain=chain_hash(stored[4].chain, stored[4].leaf))]
    assert history.count_acknowledged(again, [])["duplicates"] == 1


def test_forks_wrong_roots_and_sizes_that_go_back_count():
    leaves = [row.leaf for row in rows(9)]

    def checkpoint(size, root=None):
        frontier = Frontier()
        frontier.extend(leaves[:size])
        return Checkpoint("example.com/log", size, frontier.root() if root is None else root)

    honest = [checkpoint(size) for size in (2, 3, 8, 9)]
    assert (
        history.count_forks(leaves, honest),
        history.count_wrong_roots(leaves, honest),
        history.count_going_back(honest),
    ) == (0, 0, 0)
    forked = [*honest, checkpoint(3, bytes(32))]
    assert history.count_forks(leaves, forked) == 4, "with its own size, one smaller and two larger"
    assert history.count_wrong_roots(leaves, forked) == 1
    assert history.count_going_back(forked) == 1
    assert history.count_wrong_roots(leaves[:5], honest) == 2, "signed beyond what there is"


def test_a_child_dies_at_every_line_and_a_broken_anchor_is_found(tmp_path):
    sound = steps.interrupt_at_every_line(steps.CreatingAnchor(), tmp_path)
    assert sound.points > 20
    assert sound.problems == []
    broken = steps.interrupt_at_every_line(steps.CreatingAnchor(steps.OverwrittenAnchor, steps.__file__), tmp_path)
    assert broken.problems


def test_a_writer_dies_at_every_line_and_a_file_written_in_place_is_found_half_written(tmp_path):
    (tmp_path / "sound").mkdir()
    sound = steps.interrupt_at_every_line(steps.WritingFile(durable.write_durable), tmp_path / "sound")
    assert sound.points > 60
    assert sound.problems == []
    lines = steps.statements(durable.__file__)
    assert len(lines) > 30
    assert 10 < len(lines & sound.lines) < len(lines), "writing once and making directories are scenarios of their own"
    (tmp_path / "broken").mkdir()
    in_place = steps.WritingFile(steps.write_in_place, steps.__file__)
    broken = steps.interrupt_at_every_line(in_place, tmp_path / "broken")
    assert any("half written" in problem for problem in broken.problems)


def test_a_refused_write_that_leaves_a_part_is_found(tmp_path):
    def untidy(path, data):
        partial = path.with_name("part")
        partial.write_bytes(data)
        os.replace(partial, path)  # noqa: PTH105 - the call that is refused

    faults = [partial(steps.refuse_call, "replace", number) for number in range(1, 5)]
    sound = steps.refuse_every(steps.WritingFile(durable.write_whole, tidy=True), tmp_path, faults)
    assert (sound.points, sound.problems) == (steps.ADVANCES, [])
    assert len(steps.refuse_every(steps.WritingFile(untidy, tidy=True), tmp_path, faults).problems) == steps.ADVANCES


def test_the_size_of_a_run_counts():
    assert (Run(False, ROOT).count(3, 20), Run(True, ROOT).count(3, 20)) == (3, 20)
