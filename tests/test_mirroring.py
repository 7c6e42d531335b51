"""`tests/` mirrors `tlog/`: a module has a test file of its name, or a row that says which test exercises it instead."""

from __future__ import annotations

import ast
import shutil

import pytest
from support import ROOT

# Modules without a test file of their name, and a test that fails if they are wrong: they are parts of something that is
# tested as a whole, or only make sense in a running service. Whoever writes the file removes the row.
ELSEWHERE = {
    # The errors and the place of a log have no behaviour but what commands and the service make of them.
    "errors.py": "lifecycle/test_opening.py::test_exit_codes_tell_refusals_apart",
    "location.py": "lifecycle/test_opening.py::test_secrets_are_closed_to_others",
    # The pages of a bundle are what its receiver verifies.
    "answering/pages.py": "answering/test_evidence.py::test_evidence_equals_brute_force_and_verifies",
    # Proof and event file of one event: made by a command, verified by the next.
    "answering/prove.py": "cli/test_app.py::test_prove_and_verify",
    # Parts of the full check, which is attacked as a whole.
    "checking/absent.py": "checking/test_fsck.py::test_an_outcome_that_is_not_true_explains_nothing",
    "checking/event_ids.py": "checking/test_fsck.py::test_attack_is_named",
    "checking/facts.py": "checking/test_disclosed.py::test_the_places_of_facts_are_those_of_their_names",
    "checking/join.py": "checking/test_fsck.py::test_logs_of_several_ranges_raise_no_alarm",
    "checking/opinion.py": "checking/test_fsck.py::test_second_opinion_sees_a_changed_entry",
    "checking/ranges.py": "checking/test_fsck.py::test_attack_is_named",
    "checking/replay.py": "writing/test_indexer.py::test_fsck_replays_every_epoch",
    "checking/runs.py": "checking/test_fsck.py::test_attack_is_named",
    "checking/stored_index.py": "writing/test_indexer.py::test_fsck_replays_every_epoch",
    "checking/workers.py": "checking/test_fsck.py::test_several_processes_find_what_one_finds",
    # The command line is run as its users run it; each group of commands beside what it leads to.
    "cli/keeping.py": "keeping/test_backup.py::test_everything_is_lost_and_comes_back",
    "keeping/failover.py": "writing/test_failover.py::test_a_replica_that_commits_did_not_wait_for_is_refused_until_it_is_accepted",
    "cli/escaping.py": "cli/test_output.py::test_terminals_get_no_control_characters",
    "cli/keys.py": "server/test_app.py::test_revoked_keys_stop_working_and_listing_shows_no_secret",
    "cli/options.py": "cli/test_app.py::test_a_resource_has_type_and_id",
    "cli/running.py": "cli/test_app.py::test_an_address_that_is_taken_is_named_before_anything_starts",
    # What only a log needs of the core, tested with the formats it makes.
    "core/making/bucket_keys.py": "core/test_pseudonym.py::test_the_root_is_over_the_bucket_keys",
    "core/logged_at.py": "core/test_entry.py::test_logged_at_round_trips",
    "core/making/intake.py": "core/test_intake.py::test_the_worked_example",
    "core/making/outcome.py": "core/test_outcome.py::test_what_is_drafted_is_read",
    "core/making/drafts.py": "core/test_entry.py::test_an_event_entry",
    "core/making/matching.py": "core/test_entry.py::test_the_quick_way_says_what_an_entry_says",
    "core/making/posting.py": "core/test_segment.py::test_a_segment_is_its_sorted_postings",
    # A taker on a real broker, as a whole.
    "demo/broker.py": "ingest/test_kafka.py::test_a_topic_is_taken_and_goes_on_where_the_log_is",
    "demo/stream.py": "ingest/test_kafka.py::test_the_demonstration_runs_to_its_end",
    "ingest/batches.py": "ingest/test_taking.py::test_what_is_no_event_is_a_dead_letter_and_the_next_goes_on",
    "ingest/comparing.py": "ingest/test_kafka.py::test_an_auditor_compares_topic_and_logs",
    "ingest/letters.py": "ingest/test_kafka.py::test_what_is_no_event_is_kept_and_told_and_forwarded",
    "ingest/metrics.py": "ingest/test_kafka.py::test_metrics",
    "ingest/serving.py": "ingest/test_kafka.py::test_a_topic_is_taken_and_goes_on_where_the_log_is",
    # The demonstration is one command.
    "demo/hospital.py": "cli/test_app.py::test_demo_runs_to_its_end_and_is_served_until_it_is_ended",
    "demo/hostile.py": "cli/test_app.py::test_demo_runs_to_its_end_and_is_served_until_it_is_ended",
    "demo/story.py": "cli/test_app.py::test_demo_runs_to_its_end_and_is_served_until_it_is_ended",
    "demo/verifier.py": "cli/test_app.py::test_demo_runs_to_its_end_and_is_served_until_it_is_ended",
    # What a mapping file says of an event, refused and followed as a whole.
    "ingest/plan.py": "ingest/test_mapping.py::test_what_is_refused",
    # Making and running a log are the halves of its life that opening stands between.
    "lifecycle/running.py": "writing/test_indexer.py::test_only_who_leads_makes_the_index_again",
    "postgres/basebackup.py": "keeping/test_backup.py::test_damaged_base_backup_is_found",
    # These need a disk that fills and a server that ends, both of which admission answers to.
    "postgres/space.py": "server/guard/test_admission.py::test_r3_what_must_stay_free",
    "postgres/watch.py": "server/guard/test_admission.py::test_an_embedded_server_that_was_killed_is_started_again",
    # What is kept for answers is read by them, and compared by fsck.
    "storage/explanations.py": "checking/test_fsck.py::test_what_an_outcome_explains_is_no_damage",
    # The service is tested over HTTP, whatever module answers.
    "server/listening.py": "server/test_serve.py::test_sigterm_ends_cleanly_and_the_last_one_stops_postgres",
    "server/service.py": "server/test_app.py::test_one_event",
    "server/endpoints/asking.py": "server/endpoints/test_audit.py::test_every_question_is_in_the_journal",
    # An answer is laid out as a page shows it; what a site holds is what its pages work with.
    "server/pages/answers.py": "server/pages/test_ask.py::test_rows_are_the_answer",
    "server/pages/site.py": "server/pages/test_routes.py::test_errors_of_pages_are_pages_and_those_of_the_api_are_documents",
    "server/endpoints/verification.py": "server/endpoints/test_audit.py::test_verification_runs_aside_and_goes_on_where_it_ended",
    "server/observe/checks.py": "server/endpoints/test_audit.py::test_verification_runs_aside_and_goes_on_where_it_ended",
    # The socket is half of the signer's process.
    "signing/socket.py": "signing/test_signer.py::test_what_answers_may_be_no_signer",
    # Stores are statements with a name: they are tested where something is written and read back.
    "storage/appending.py": "writing/test_appender.py::test_receipts_name_the_rows_that_are_stored",
    "storage/intake.py": "writing/test_advancing.py::test_who_comes_second_is_refused_and_nothing_of_it_is_there",
    "storage/cosignatures.py": "writing/test_witnessed.py::test_lines_are_served_in_the_order_of_the_policy_the_newest_of_each",
    "storage/index.py": "writing/test_indexer.py::test_events_are_indexed_and_the_epoch_is_sealed",
    "storage/scan.py": "writing/test_appender.py::test_receipts_name_the_rows_that_are_stored",
    "storage/sealing.py": "writing/test_sealer.py::test_checkpoint_is_signed_over_the_root_of_all_entries",
    "storage/sessions.py": "server/pages/test_sessions.py::test_s9_a_row_changed_in_the_database_is_no_session",
    "storage/statements.py": "writing/test_appender.py::test_same_event_again_gets_its_first_receipt",
    # A group is what an appender makes of the requests that wait.
    "writing/grouping.py": "writing/test_appender.py::test_receipts_name_the_rows_that_are_stored",
    # Sealing and indexing in this process, in a child and elsewhere: only processes that end show what they promise.
    "writing/background.py": "server/test_serve.py::test_sealer_that_meets_damage_ends_the_process",
    "writing/segments.py": "writing/test_indexer.py::test_what_is_merged_without_events_is_in_an_epoch",
}


def without_a_test(root):
    """Return the modules, as paths below tlog/, that have no test file of their name."""
    modules = (
        path.relative_to(root / "tlog") for path in (root / "tlog").rglob("*.py") if path.stem.strip("_") == path.stem
    )
    named = {path: root / "tests" / path.with_name(f"test_{path.name}") for path in modules}
    return {path.as_posix() for path, test in named.items() if not test.exists()}


def problems(root, rows):
    """Return what is wrong with the rows, in words."""
    missing = without_a_test(root)
    found = [f"tlog/{each} has no test file of its name and no row" for each in sorted(missing - rows.keys())]
    found += [f"tlog/{each} needs no row" for each in sorted(rows.keys() - missing)]
    for module, name in rows.items():
        file, _, function = name.partition("::")
        path = root / "tests" / file
        tree = ast.parse(path.read_text(encoding="utf-8") if path.exists() else "")
        if function not in {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }:
            found.append(f"{name}, which the row of tlog/{module} names, is no test")
    return found


def test_every_module_has_a_test():
    assert problems(ROOT, ELSEWHERE) == []


@pytest.mark.parametrize(
    "file, rows, problem",
    [
        ("tlog/signing/planted.py", {}, "tlog/signing/planted.py has no test file of its name and no row"),
        ("tests/answering/test_prove.py", {}, "tlog/answering/prove.py needs no row"),
        (None, {"storage/gone.py": "storage/test_reading.py::test_every_reader_is_in_the_table"}, "tlog/storage/gone.py needs no row"),
        (None, {"errors.py": "test_nowhere.py::test_it"}, "test_nowhere.py::test_it, which the row of tlog/errors.py names, is no test"),
        (None, {"errors.py": "test_mirroring.py::problems_of"}, "test_mirroring.py::problems_of, which the row of tlog/errors.py names, is no test"),
    ],
)  # fmt: skip
def test_each_rule_can_be_broken(tmp_path, file, rows, problem):
    for each in ("tlog", "tests"):
        shutil.copytree(ROOT / each, tmp_path / each, ignore=shutil.ignore_patterns("__pycache__", "*.json", "*.sql"))
    if file is not None:
        (tmp_path / file).touch()
    assert problems(tmp_path, {**ELSEWHERE, **rows}) == [problem]
