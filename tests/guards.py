"""Each guard of docs/reliability.md is taken away: its test must fail. Run by `make guards`.

A guard is a statement or an expression of one symbol; what stands in its place goes into a copy of the project. Both
are compared as `ast.unparse` writes them, so a guard follows its symbol through comments, formats and moves.
test_reliability sees that every guard and every test is there.
"""

import ast
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Guard:
    """`text` of a symbol, and what stands there without it.

    `symbol` is a module, or what a module or class defines: a function, a class, a constant. `text` stands once in it:
    an expression, a statement, or the first line of a longer one.
    """

    symbol: str
    text: str
    without: str


# By the test that must then fail.
GUARDS: dict[str, list[Guard]] = {
    "tests/faults/test_copied_prefix.py::test_a_copied_or_moved_prefix_is_used_as_it_is": [
        Guard("bc4all.registry.ownership.Store.address", "return relative_address(experiment)", "pass"),
    ],
    "tests/faults/test_copied_prefix.py::test_a_copied_store_with_absolute_addresses_is_refused": [
        Guard(
            "bc4all.jobs.work.open_registry",
            "registry.tracking.check_owner([client.id for client in clients])",
            "pass",
        ),
    ],
    "tests/faults/test_copied_prefix.py::test_two_prefixes_on_one_store": [
        Guard("bc4all.registry.ownership.Store.is_foreign", "owner is not None", "False"),
    ],
    "tests/faults/test_copied_prefix.py::test_a_store_elsewhere_knows_whose_it_is": [
        Guard(
            "bc4all.registry.ownership.Store.tags",
            "return {} if self.is_inside else {OWNER_TAG: self.layout.prefix}",
            "return {}",
        ),
    ],
    "tests/spark/test_task_progress.py::test_an_address_that_is_none_fails_no_fit": [
        Guard("bc4all.learning.task_progress._Sender.__call__", "suppress(OSError)", "suppress()"),
    ],
    "tests/spark/test_task_progress.py::test_datagrams_of_strangers_are_passed_over": [
        Guard(
            "bc4all.learning.task_progress._follow",
            "len(message) == _MESSAGE.size and message.startswith(key)",
            "len(message) == _MESSAGE.size",
        ),
    ],
    "tests/spark/test_fleet.py::test_ctrl_c_ends_a_job_with_a_line": [
        Guard("bc4all.jobs.application.run_application", "starter.tell_interrupted()", "pass"),
    ],
    "tests/test_interrupts.py::test_ctrl_c_while_a_program_starts": [
        Guard("bc4all.interrupts.leave_at_once", "signal.signal(signal.SIGINT, leave)", "pass"),
        Guard("bc4all.interrupts.give_up", "signal.signal(signal.SIGINT, signal.default_int_handler)", "pass"),
    ],
    "tests/faults/test_forget.py::test_ended_anywhere_it_mixes_nothing": [
        Guard("bc4all.jobs.context.JobContext._refuse_forgotten", "self.files.exists(mark)", "False"),
        Guard(
            "bc4all.jobs.forget.Departure.begun",
            "self.files.write_text(self._mark, _DELIVERIES if deliveries else '')",
            "pass",
        ),
    ],
    "tests/faults/test_forget.py::test_a_job_at_work_is_not_cut_off": [
        Guard("bc4all.jobs.forget.Departure.begun", "for job in JOB_KINDS:", "for job in ():"),
        Guard("bc4all.jobs.forget.Departure.begun", "if alive:", "if False:"),
    ],
    "tests/faults/test_forget.py::test_a_client_of_the_configuration_is_refused": [
        Guard("bc4all.cli.forget.forget", "client_id in load_fleet(config, fits=False).clients", "False"),
    ],
    "tests/spark/test_clean_up.py": [
        Guard(
            "bc4all.jobs.clean_up._old_dates",
            "[entry for entry in found if entry.name.startswith('date=')][:-1]",
            "[entry for entry in found if entry.name.startswith('date=')]",
        ),
        Guard("bc4all.jobs.clean_up._remove_date", "not free", "False"),
        Guard(
            "bc4all.jobs.clean_up._changed",
            "max([file.changed for file in inside], default=entry.changed)",
            "entry.changed",
        ),
        Guard(
            "bc4all.registry.deletion.old_predictions",
            "(run.data.tags.get(_VERSION), run.info.run_name) not in kept",
            "True",
        ),
    ],
    "tests/spark/test_clean_up.py::test_what_fails_keeps_nothing_else_and_comes_once_a_day": [
        Guard("bc4all.jobs.clean_up._remove_all", "(Failure, OSError)", "Failure"),
        Guard("bc4all.state.State.claim_day", "return False", "return True"),
    ],
    "tests/faults/test_copied_prefix.py::test_a_copied_history_forgets_its_own_logs_alone": [
        Guard(
            "bc4all.schedule.dispatch.Dispatcher.forget",
            "self._state.recorded_log(log_file).unlink",
            "Path(log_file).unlink",
        ),
    ],
    "tests/registry/test_pyfunc.py::test_a_model_that_is_not_the_registered_one_is_not_read": [
        Guard("bc4all.pyfunc._load_pyfunc", 'check_digest(one, digests.get(one.name, ""))', "pass"),
    ],
    "tests/registry/test_pyfunc.py::test_without_digests_no_unchecked_part_is_taken": [
        Guard("bc4all.model.model_file.read_model", "is_checked or name not in _UNCHECKED_TYPES", "True"),
    ],
    "tests/registry/test_pyfunc.py::test_a_version_requires_published_packages_alone": [
        Guard(
            "bc4all.registry.artifact._REQUIREMENTS",
            '("numpy", "pandas", "pyarrow", "scikit-learn", "numba", "skops")',
            '("numpy", "pandas", "pyarrow", "scikit-learn", "numba", "skops", "bc4all")',
        ),
    ],
    "tests/faults/test_kills.py::test_a_predict_killed_at_any_step": [
        Guard("bc4all.data.recovery._settle", "done = publisher.complete()", "done: list[str] = []"),
        Guard("bc4all.data.recovery._settle", "close_run(journal.run_id)", "pass"),
    ],
    "tests/faults/test_kills.py::test_a_prediction_of_what_has_not_changed_killed_at_any_step": [
        Guard("bc4all.data.recovery._settle", "done = publisher.complete()", "done: list[str] = []"),
    ],
    "tests/faults/test_kills.py::test_a_train_killed_at_any_step": [
        Guard("bc4all.data.recovery._settle", "publisher.end()", "pass"),
    ],
    "tests/spark/test_tune.py::test_a_tune_that_was_killed_is_closed_by_the_next_job": [
        Guard("bc4all.data.journal.Journal.loads", "found.job in JOB_KINDS", 'found.job in ("train", "predict")'),
    ],
    "tests/spark/test_tune.py::test_what_was_found_is_not_lost_with_the_file": [
        Guard("bc4all.jobs.tune_job._write", "if faults:", "if False:"),
    ],
    "tests/config/test_tuned.py::test_a_write_that_fails_leaves_the_old_file": [
        Guard("bc4all.local_files.replace_text", "unfinished.replace(file)", "file.write_text(text)"),
    ],
    "tests/config/test_tuned.py::test_a_model_that_does_not_go_with_the_features_is_refused": [
        Guard("bc4all.config.fleet_file._check_estimator", "if tuned:", "if False:"),
    ],
    "tests/spark/test_tune.py::test_says_what_hides_the_model": [
        Guard("bc4all.jobs.tune_job._write", "if hidden_by:", "if False:"),
    ],
    "tests/config/test_tuned.py::test_faults_are_told_with_their_place": [
        Guard("bc4all.config.tuned.read_tuned", "source.raise_faults()", "pass"),
    ],
    "tests/config/test_tuned.py::test_an_own_model_hides_the_tuned_one": [
        Guard(
            "bc4all.config.fleet_file.load_fleet",
            "in_force = None if own_models[client_id] else found",
            "in_force = found",
        ),
    ],
    "tests/model/test_blend.py::test_a_forest_that_was_tampered_with_is_refused": [
        Guard("bc4all.model.forest_file._assembled", "(plain < min(n_features, FEATURE)).all()", "True"),
    ],
    "tests/faults/test_kills.py::test_the_whole_group_killed_in_mid_score": [
        Guard("bc4all.data.publishing.publishing", "publisher.begin()", "pass"),
    ],
    "tests/faults/test_kills.py::test_python_workers_killed_in_mid_score": [
        Guard("bc4all.launch.spark_submit._LOCAL", '"local[*,4]"', '"local[*]"'),
        Guard(
            "bc4all.launch.spark_submit.become_spark_submit",
            'os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")',
            "pass",
        ),
    ],
    "tests/faults/test_recovery.py::test_an_object_stores_publication_killed_anywhere": [
        Guard("bc4all.data.publishing.Publisher.complete", "not self._is_mine(e.name, staged, target)", "True"),
        Guard("bc4all.data.publishing.Publisher._move_files", "there.get(entry.name) == entry.size", "False"),
        Guard(
            "bc4all.data.publishing._LAST", "_LAST = {MANIFEST: 1, _SUCCESS: 2}", "_LAST = {MANIFEST: -1, _SUCCESS: -2}"
        ),
    ],
    "tests/spark/test_publishing.py::test_a_rename_whose_answer_is_lost_loses_nothing": [
        Guard("bc4all.data.publishing.Publisher._withdraw", "self._put_back(kept, target, error)", "pass"),
    ],
    "tests/spark/test_publishing.py::test_a_folder_is_never_copied_into_place": [
        Guard("bc4all.data.filesystem.FileSystem.rename", "self._local.is_folder(source)", "False"),
    ],
    "tests/faults/test_recovery.py::test_a_lock_that_is_not_ours_holds_nobody_up": [
        Guard("bc4all.data.recovery._tried", "(Failure, OSError)", "Failure"),
    ],
    "tests/faults/test_files.py::test_a_file_that_is_still_being_written": [
        Guard("bc4all.data.partition.blaming_changes", "(Failure, Py4JError, PySparkException)", "ZeroDivisionError"),
    ],
    "tests/faults/test_files.py::test_a_file_that_is_not_reached_is_not_called_damaged": [
        Guard("bc4all.data.failures.as_failure", "reading and tells_of_damage(messages)", "reading"),
        Guard("bc4all.data.filesystem._translated", "tells_of_damage(causes(error))", '"parquet" in text'),
    ],
    "tests/faults/test_mlflow.py::test_a_lost_answer_starts_no_second_run": [
        Guard("bc4all.registry.tracking.Tracking._create_run", "asked.append(True)", "pass"),
    ],
    "tests/faults/test_mlflow.py::test_a_server_that_has_no_files": [
        Guard(
            "bc4all.registry.mlflow_failures._code",
            '_STATUS[status[1]] if status else getattr(error, "error_code", None)',
            'getattr(error, "error_code", None)',
        ),
    ],
    "tests/schedule/test_child.py::test_a_stranger_of_the_same_number_and_age_is_not_it": [
        Guard("bc4all.schedule.child.Child.ended", "other or stranger", "other"),
    ],
    "tests/schedule/test_child.py::test_its_temporary_files_are_its_own": [
        Guard("bc4all.schedule.child.Child.start", "_make_private(place)", "place.mkdir(exist_ok=True)"),
    ],
    "tests/test_layout.py::test_what_leads_out_is_seen_a_second_time": [
        Guard(
            "bc4all.layout.Layout._inside", 'posixpath.normpath(path) != path or path.startswith(("/", ".."))', "False"
        ),
    ],
    "tests/faults/test_recovery.py::test_a_run_that_lives_is_left_alone": [
        Guard("bc4all.data.recovery._settle", "not dead", "False"),
    ],
    "tests/faults/test_recovery.py::test_a_run_of_another_machine_is_left_alone_for_a_day": [
        Guard(
            "bc4all.data.recovery._settle", "not state.speaks_for(journal.locks) and age < _FOREIGN_AFTER_S", "False"
        ),
    ],
    "tests/faults/test_recovery.py::test_a_journal_that_was_being_written": [
        Guard("bc4all.data.recovery._settle", "age > _UNKNOWN_AFTER_S", "True"),
    ],
    "tests/faults/test_recovery.py::test_what_was_replaced_is_kept_for_a_while": [
        Guard("bc4all.data.recovery.recover", "_age(files, entry, now) > keep_replaced", "True"),
    ],
    "tests/faults/test_recovery.py::test_a_quarantine_that_was_taken_away_does_not_come_back": [
        Guard(
            "bc4all.data.publishing.Publisher.remove",
            'f"{self._trash}/removed{target.removeprefix(self._prefix)}"',
            'f"{self._trash}{target.removeprefix(self._prefix)}"',
        ),
    ],
    "tests/spark/test_publishing.py::test_what_cannot_be_put_back_is_kept_and_named": [
        Guard("bc4all.data.publishing.Publisher._put_back", "self.unsettled = True", "pass"),
    ],
    "tests/spark/test_publishing.py::test_the_audit_refuses_what_is_wrong": [
        Guard(
            "bc4all.data.audit._judged",
            "per_rank != dict.fromkeys(range(ranks), (due.products, due.ids))",
            "total != due.products * ranks",
        ),
    ],
    "tests/schedule/test_operations.py::test_a_killed_job_is_tried_again": [
        Guard("bc4all.schedule.verdict._end", "code > _SIGNAL and code != EXIT_INTERRUPTED", "False"),
    ],
    "tests/faults/test_memory.py::test_a_model_of_half_the_heap_comes_back": [
        Guard(
            "bc4all.learning.task_results.Answers.__init__",
            "min(_MAX_SMALL_BYTES, self._heap // _AT_ONCE // max(1, count))",
            "self._heap",
        ),
        Guard(
            "bc4all.learning.shared_value.SharedValue.__init__",
            "min(_MAX_PIECE_BYTES, heap_bytes(spark) // _SHARE)",
            "heap_bytes(spark)",
        ),
    ],
    "tests/spark/test_task_results.py::test_an_answer_that_was_computed_again_and_is_another_is_refused": [
        Guard("bc4all.learning.task_results._opened", "content.digest() != receipt.sha256", "False"),
    ],
    "tests/learning/test_model_size.py::test_what_cannot_fit_is_refused_before_the_fit": [
        Guard("bc4all.learning.fitting.fits", "raise ModelError(error, about)", "pass"),
    ],
    "tests/faults/test_memory.py::test_a_java_without_memory_ends_the_job": [
        Guard("bc4all.launch.spark_submit.spark_submit", "java = [_EXIT_WITHOUT_MEMORY]", "java: list[str] = []"),
        Guard("bc4all.jobs.fleet._outcome", "java_has_ended(spark)", "False"),
    ],
    "tests/schedule/test_operations.py::test_a_job_whose_java_is_out_of_memory_is_tried_again": [
        Guard("bc4all.schedule.verdict._end", "code == EXIT_JAVA_MEMORY", "False"),
    ],
    "tests/schedule/test_operations.py::test_a_job_whose_driver_never_ran_is_tried_again": [
        Guard("bc4all.schedule.verdict._early_end", "not report.driver_runs", "False"),
    ],
    "tests/spark/test_fleet.py::test_large_clients_begin_when_the_others_have_ended": [
        Guard("bc4all.jobs.fleet.run_waves", "wait(before)", "pass"),
    ],
    "tests/faults/test_memory.py::test_a_driver_whose_java_has_ended_says_so_in_a_line": [
        Guard("bc4all.jobs.fleet.run_waves", "not java_has_ended(spark)", "True"),
        Guard("bc4all.jobs.application._stop", "not java_has_ended(spark)", "True"),
    ],
    "tests/launch/test_submit.py::test_a_java_without_memory_ends": [
        Guard(
            "bc4all.launch.spark_submit.spark_submit", "options.add_java(_DRIVER_JAVA, _EXIT_WITHOUT_MEMORY)", "pass"
        ),
    ],
    "tests/spark/test_text.py::test_registered_coefficients_are_float32": [
        Guard("bc4all.model.coefficients.narrowed", "found.astype(np.float32)", "found.astype(np.float64)"),
    ],
    "tests/schedule/test_operations.py::test_killed_in_mid_run_it_loses_and_doubles_nothing": [
        Guard(
            "bc4all.schedule.dispatch.Dispatcher.adopt",
            "self.running.append(_application(fleet, runs, child, log_file, self._state.results(name)))",
            "pass",
        ),
    ],
    "tests/schedule/test_scheduler.py::test_over_time_together_each_goes_on_alone": [
        Guard(
            "bc4all.schedule.verdict.verdict",
            'stopping == "timeout" and len(report.begun - report.results.keys()) > 1',
            "False",
        ),
        Guard("bc4all.schedule.verdict.verdict", "run.client not in report.begun", "False"),
    ],
    "tests/schedule/test_scheduler.py::test_killed_together_only_the_begun_have_lost_an_attempt": [
        Guard("bc4all.schedule.verdict.verdict", "run.client not in report.begun", "False"),
        Guard(
            "bc4all.schedule.dispatch.Dispatcher._follow_up",
            "run.attempt == fleet.clients[run.client].timing(run.job).retries",
            "False",
        ),
    ],
    "tests/schedule/test_scheduler.py::test_what_is_lost_together_is_tried_again_in_halves": [
        Guard("bc4all.schedule.dispatch.Dispatcher._follow_up", "run.parts * 2 if lost else run.parts", "run.parts"),
    ],
    "tests/schedule/test_scheduler.py::test_a_new_client_is_trained_before_its_first_prediction": [
        Guard(
            "bc4all.schedule.trainings.waiting_predictions",
            "run.note == WAITS and bool(own)",
            "False",
        ),
    ],
    "tests/schedule/test_scheduler.py::test_a_first_training_that_fails_fails_the_prediction": [
        Guard("bc4all.schedule.trainings.train_first", "tried and (not under_way)", "False"),
    ],
    "tests/schedule/test_scheduler.py::test_training_and_prediction_of_a_minute_go_in_that_order": [
        Guard(
            "bc4all.schedule.trainings.waiting_predictions",
            "one.attempt == 1 and one.scheduled_for == run.scheduled_for",
            "False",
        ),
    ],
    "tests/spark/test_unchanged.py::test_a_past_date_that_is_filled_in_says_so": [
        Guard("bc4all.data.unchanged.find_before", "not told.get('backfilled')", "True"),
        Guard("bc4all.jobs.predict_job._publish", "context.backfilled", "False"),
    ],
    "tests/schedule/test_by_hand.py::test_a_job_that_has_ended_is_taken_in_once": [
        Guard("bc4all.schedule.by_hand.take_in", "run.client in report.results or process is None", "False"),
    ],
    "tests/schedule/test_notices.py::test_what_was_kept_is_told_in_a_summary": [
        Guard("bc4all.schedule.notices.Notifier._deliver_next", "held and self._clock() < self._not_before", "False"),
    ],
    "tests/schedule/test_notices.py::test_closing_has_a_deadline": [
        Guard("bc4all.schedule.notices.Notifier.close", "self._closed = True", "pass"),
    ],
    "tests/config/test_config.py::test_says_what_to_write_where_yaml_reads_otherwise": [
        Guard("bc4all.config.yaml_source._misread", "plain and ':' in text", "False"),
    ],
    "tests/config/test_timing.py::test_a_zone_without_a_name_is_refused": [
        Guard("bc4all.config.timing.local_zone", "not is_zone(name)", "False"),
    ],
    "tests/test_layout.py::test_a_prefix_that_would_be_read_otherwise_is_refused": [
        Guard("bc4all.layout.Layout.at", "_SPECIAL.findall(whole)", "None"),
    ],
    "tests/launch/test_submit.py::test_a_spark_home_that_leads_nowhere_is_refused": [
        Guard(
            "bc4all.launch.spark_submit.check_spark_home",
            "not os.access(os.path.join(home, 'bin', 'spark-submit'), os.X_OK)",
            "False",
        ),
    ],
    "tests/registry/test_tracking.py::test_a_deleted_experiment_is_named_and_how_to_restore_it": [
        Guard("bc4all.registry.tracking.Tracking._experiment", "found.lifecycle_stage != ACTIVE", "False"),
        Guard("bc4all.registry.tracking.Tracking.check_owner", "one.lifecycle_stage == ACTIVE", "True"),
    ],
    "tests/faults/test_disk.py::test_a_run_without_a_journal_is_ended": [
        Guard("bc4all.jobs.context.JobContext.attempt", "run.fail(error)", "pass"),
    ],
    "tests/faults/test_disk.py::test_a_prefix_that_cannot_be_written": [
        Guard("bc4all.jobs.application.run_application", "(Failure, OSError)", "Failure"),
    ],
    "tests/faults/test_disk.py::test_a_starter_that_cannot_be_told": [
        Guard("bc4all.starter._tell", "OSError", "ZeroDivisionError"),
    ],
    "tests/learning/test_model_size.py::test_a_tree_that_cannot_grow_is_refused": [
        Guard("bc4all.learning.model_size.refusal", "growing <= (there := memory_bytes()) // 2", "True"),
    ],
    "tests/learning/test_model_size.py::test_a_fit_without_memory_is_refused_for_good": [
        Guard("bc4all.learning.fitting.run", "(ValueError, MemoryError)", "ValueError"),
    ],
    "tests/learning/test_look_alikes.py::test_two_that_look_alike_are_told": [
        Guard("bc4all.learning.look_alikes._looks", "unicodedata.normalize('NFC', name)", "name"),
    ],
    "tests/site/test_report.py::test_what_is_delivered_is_text_on_a_page": [
        Guard(
            "bc4all.site.pages._environment",
            'Environment(loader=PackageLoader("bc4all.site"), autoescape=True, undefined=StrictUndefined, '
            "trim_blocks=True, lstrip_blocks=True)",
            'Environment(loader=PackageLoader("bc4all.site"), autoescape=False, undefined=StrictUndefined, '
            "trim_blocks=True, lstrip_blocks=True)",
        ),
    ],
    "tests/site/test_newest.py::test_markup_in_ids_and_categories_is_text": [
        Guard(
            "bc4all.site.newest_page._literal",
            "_JSON.encode(value).replace('<', '\\\\u003c')",
            "_JSON.encode(value)",
        ),
    ],
    "tests/site/test_newest.py::test_a_date_that_is_replaced_meanwhile_is_told": [
        Guard("bc4all.site.newest.read_predictions", "len(products) < len(shown)", "False"),
    ],
    "tests/site/test_report.py::test_a_clients_own_page_names_no_other_client": [
        Guard("bc4all.site.report.Report.write_alone", "out.exists()", "False"),
    ],
    "tests/cli/test_cli.py::test_check_warns_of_ids_that_are_one_number": [
        Guard("bc4all.identity.equal_numbers", "Decimal(client_id)", "client_id"),
    ],
    "tests/schedule/test_health.py::test_answers_to_its_own_names_alone": [
        Guard(
            "bc4all.schedule.health.HealthServer.__init__",
            "not token and _host_name(self.headers.get('Host', host)) not in {host, *_LOOPBACK}",
            "False",
        ),
    ],
    "tests/schedule/test_health.py::test_while_as_many_as_may_are_there_one_more_is_closed": [
        Guard("bc4all.schedule.health._Server.process_request", "self._free.acquire(blocking=False)", "True"),
    ],
    "tests/schedule/test_scheduler.py::test_over_time_before_any_was_begun_is_tried_again": [
        Guard("bc4all.schedule.verdict._early_end", 'stopping == "timeout"', "False"),
    ],
    "tests/schedule/test_operations.py::test_a_run_that_another_process_has_started_is_not_started_again": [
        Guard("bc4all.schedule.dispatch.Dispatcher._launch", 'run and run.state == "queued"', "run"),
    ],
    "tests/schedule/test_operations.py::test_a_run_that_waits_again_has_a_starter": [
        Guard("bc4all.schedule.history.History.claim", 'run.state == "queued" and run.pid is None', "False"),
    ],
    "tests/schedule/test_operations.py::test_what_another_line_has_queued_is_that_lines": [
        Guard("bc4all.schedule.operations.Operations.run_now", "run.pid in (None, me.pid)", "True"),
    ],
    "tests/schedule/test_scheduler.py::test_a_clock_that_jumps_ends_nothing_and_doubles_nothing": [
        Guard("bc4all.schedule.dispatch.Dispatcher.reap", "now = self._timer()", "now = self._clock()"),
    ],
    "tests/faults/test_files.py::test_two_jobs_for_one_client_at_once": [
        Guard("bc4all.jobs.context.JobContext.attempt", "self.state.exclusive(client.id, job)", "ExitStack()"),
    ],
    "tests/spark/test_unchanged.py::test_whatever_has_changed_is_scored": [
        Guard("bc4all.data.unchanged.find_before", "told.get(MADE_FROM) != wanted", "False"),
        Guard("bc4all.data.unchanged.find_before", 'manifests[QUARANTINE].get("run_id") != told["run_id"]', "False"),
    ],
    "tests/spark/test_unchanged.py::test_what_has_not_changed_is_published_again": [
        Guard("bc4all.jobs.predict_job._publish_again", '{"run_id", "files"}', '{"files"}'),
    ],
    "tests/spark/test_training_waves.py::test_what_is_wrong_with_one_clients_training_is_its_own": [
        Guard("bc4all.learning.lessons._Training.__call__", "return error", "raise"),
        Guard("bc4all.jobs.train_job._prepare", "if member.progress.quarantined is None:", "if True:"),
    ],
    "tests/spark/test_training_waves.py::test_rows_that_are_lost_on_the_way_are_missed": [
        Guard("bc4all.jobs.train_job._check_whole", "rows != products.accepted_rows", "False"),
    ],
    "tests/spark/test_waves.py::test_a_client_that_kills_its_worker_fails_alone": [
        Guard("bc4all.jobs.waves.Wave._halves", "may_be_one_clients(error)", "False"),
    ],
    "tests/spark/test_waves.py::test_a_storage_that_fails_is_not_asked_once_a_client": [
        Guard("bc4all.jobs.waves.Wave._halves", "may_be_one_clients(error)", "True"),
    ],
    "tests/spark/test_waves.py::test_files_that_change_are_one_clients": [
        Guard("bc4all.data.wave.read_wave", "not blamed or not tries", "True"),
    ],
    "tests/spark/test_waves.py::test_mlflow_that_is_away_is_not_asked_for_each": [
        Guard("bc4all.jobs.waves.Wave.fail", "isinstance(error, OutOfReach)", "False"),
    ],
    "tests/spark/test_waves.py::test_after_ctrl_c_nothing_more_is_begun": [
        Guard("bc4all.jobs.waves.Wave._check_going_on", "self._context.interrupted.is_set()", "False"),
    ],
    "tests/spark/test_waves.py::test_the_client_that_lends_its_folder_may_fail": [
        Guard("bc4all.jobs.waves.Wave.fail", "member is self._host", "False"),
    ],
    "tests/faults/test_mlflow.py::test_down_at_start": [
        Guard("bc4all.registry.mlflow_failures._told", "re.search(pattern, said)", "not re.search(pattern, said)"),
    ],
    "tests/faults/test_mlflow.py::test_back_in_time": [
        Guard("bc4all.registry.tracking.Tracking.ask", "attempts = None if self._answered else 1", "attempts = 1"),
    ],
    "tests/faults/test_mlflow.py::test_a_fleet_waits_for_a_dead_server_once": [
        Guard("bc4all.registry.tracking.Tracking.ask", "attempts = None if self._answered else 1", "attempts = None"),
    ],
    "tests/faults/test_mlflow.py::test_answers_500": [
        Guard("bc4all.registry.tracking.Tracking.ask", "attempts = None if self._answered else 1", "attempts = 1"),
    ],
    "tests/faults/test_mlflow.py::test_dies_between_registration_and_alias": [
        Guard("bc4all.registry.champions.Champions.promote", "self._registry.set_alias(version, CHAMPION)", "pass"),
    ],
    "tests/faults/test_mlflow.py::test_slow": [
        Guard("bc4all.registry.mlflow_failures._SHORT", '"timed out|timeout exception"', '"no such words"'),
    ],
    "tests/faults/test_mlflow.py::test_a_lost_answer_registers_nothing_twice": [
        Guard("bc4all.registry.versions.Registry._make_version", "return own[0]", "pass"),
    ],
    "tests/faults/test_mlflow.py::test_refuses_the_credentials": [
        Guard(
            "bc4all.registry.mlflow_failures._FORBIDDEN",
            '_FORBIDDEN = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")',
            "_FORBIDDEN = ()",
        ),
    ],
    "tests/faults/test_mlflow.py::test_eight_trainings_on_a_locked_sqlite_file": [
        Guard("bc4all.registry.mlflow_failures.passes", "_code(error) in (*_REFUSED, *_FORBIDDEN)", "True"),
    ],
    "tests/faults/test_mlflow.py::test_a_file_that_stays_locked": [
        Guard("bc4all.registry.mlflow_failures.failure", "OutOfReach", "Failure"),
    ],
    "tests/faults/test_disk.py": [
        Guard("bc4all.data.failures.as_failure", "_FULL in text", "False"),
    ],
    "tests/faults/test_files.py::test_a_partition_that_changes_while_it_is_read": [
        Guard("bc4all.data.partition.check_unchanged", "_data_entries(files, folder) != list(before)", "False"),
    ],
    "tests/faults/test_files.py::test_what_cannot_be_used_is_told_and_harms_nothing": [
        Guard("bc4all.data.failures.as_failure", "reading and tells_of_damage(messages)", "False"),
        Guard("bc4all.data.filesystem._translated", "tells_of_damage(causes(error))", "False"),
        Guard("bc4all.jobs.predict_job._take", "MissingColumn", "ZeroDivisionError"),
        Guard("bc4all.reading.values._id_faults", "_mask(pc.match_substring(texts, _REPLACED))", "missing"),
        Guard("bc4all.reading.values._id_faults", "_mask(pc.match_substring_regex(texts, _CONTROL))", "missing"),
        Guard("bc4all.reading.header.check_columns", "if doubled:", "if False:"),
    ],
    "tests/faults/test_files.py::test_what_only_looks_odd_is_scored": [
        Guard("bc4all.reading.header._start", "head.startswith(_BYTE_ORDER_MARK)", "False"),
        Guard("bc4all.reading.records._joined", "ends[line] = lines.ends[last]", "pass"),
    ],
    "tests/spark/test_tally.py::test_the_header_is_the_first_line_that_is_not_blank": [
        Guard("bc4all.reading.header._start", "start = _BLANK_LINES.match(head, begin).end()", "start = begin"),
    ],
    "tests/faults/test_files.py::test_a_record_that_the_reader_loses": [
        Guard("bc4all.data.tally.check_ends", "lost > 0", "False"),
    ],
    "tests/spark/test_tally.py::test_a_quote_in_a_header_swallows_no_product": [
        Guard(
            "bc4all.reading.header._QUOTED",
            r"""rb'(?:[^",\r\n]|"")*+)*+"'""",
            r"""rb'(?:[^"]|"")*+)*+"'""",
        ),
    ],
    "tests/spark/test_tally.py::test_every_line_is_accounted_for": [
        Guard("bc4all.reading.records._joined", "counts[line] = has_text[line:last + 1].sum()", "pass"),
    ],
    "tests/reading/test_rows.py::test_a_stray_quote_costs_its_own_line": [
        Guard(
            "bc4all.reading.records._state",
            "fields is None or len(fields) != shape.fields or len(record) > MAX_RECORD_BYTES",
            "False",
        ),
    ],
    "tests/reading/test_rows.py::test_a_backslash_escapes_nothing": [
        Guard("bc4all.reading.records._state", "ESCAPED_QUOTE in record", "False"),
    ],
    "tests/reading/test_rows.py::test_lines_of_commas_alone_are_skipped_and_counted": [
        Guard(
            "bc4all.reading.records._states",
            "states[(counts == lines.ends - lines.starts) & (counts > 0)] = EMPTY",
            "pass",
        ),
    ],
    "tests/reading/test_rows.py::test_a_file_of_another_kind_is_told": [
        Guard("bc4all.reading.header.find_header", "_refuse_kinds(uri, head)", "pass"),
    ],
    "tests/faults/test_delivered.py::test_what_real_files_taught": [
        Guard("bc4all.data.partition.data_files", "check_name(entry.uri, entry.is_file)", "pass"),
        Guard("bc4all.errors.Failure.__str__", "printable", "str.__add__"),
        Guard("bc4all.data.partition._checked_type", "not isinstance(type_, taken)", "False"),
    ],
    "tests/spark/test_products.py::test_the_first_of_two_ids_counts": [
        Guard("bc4all.reading.doubles.mark_all", "product in seen", "False"),
        Guard("bc4all.data.wave._marked", "not doubled", "True"),
    ],
    "tests/faults/test_files.py::test_a_link_that_leads_nowhere": [
        Guard("bc4all.data.delivery.check_listed", "if left_out:", "if False:"),
    ],
    "tests/data/test_delivery.py::test_a_name_that_comes_or_goes_is_a_change": [
        Guard("bc4all.data.delivery._left_out", "not os.path.lexists(file) or name in listing()", "False"),
    ],
    "tests/spark/test_products.py::test_a_quote_that_is_never_closed_costs_its_own_line": [
        Guard("bc4all.reading.records.split", "quoted is None and record[at:at + 1] == b'\"'", "False"),
    ],
    "tests/spark/test_products.py::test_a_feature_may_have_any_name": [
        Guard("bc4all.data.partition.quoted", 'return "`{}`".format(name.replace("`", "``"))', "return name"),
        Guard("bc4all.jobs.session.SQL_SETTINGS", "'spark.sql.caseSensitive'", "'spark.app.id'"),
    ],
    "tests/spark/test_products.py::test_ten_thousand_columns": [
        Guard(
            "bc4all.reading.rows._Reading.rows",
            "numbers = [places[name] for name in self._wanted.names]",
            "numbers = list(range(len(self._wanted.names)))",
        ),
    ],
    "tests/faults/test_files.py::test_a_category_of_ten_thousand_characters": [
        Guard(
            "bc4all.learning.figures._confusion",
            '[printable(name) for name in evaluation.categories["category"].iloc[largest]]',
            'list(evaluation.categories["category"].iloc[largest])',
        ),
        Guard("bc4all.learning.figures._words", "{escape(words)}", "{words}"),
        Guard("bc4all.learning.figures._tip", "{escape(told)}", "{told}"),
        Guard("bc4all.wording.inert", "text.startswith(_FORMULA)", "False"),
        Guard("bc4all.wording.printable", "letter.isprintable()", "True"),
    ],
    "tests/learning/test_suspects.py::test_a_spreadsheet_takes_no_text_for_a_formula": [
        Guard("bc4all.learning.suspects.Suspects.csv", "table[name].map(inert)", "table[name]"),
    ],
    "tests/faults/test_models.py::test_a_spoilt_version_is_refused": [
        Guard("bc4all.registry.versions.Registry._load", "files.refuse_strangers()", "pass"),
        Guard("bc4all.registry.versions._Files.checked", "digest(file) != version.tags.get(tag)", "False"),
        Guard("bc4all.registry.versions.Registry._load", 'version.tags.get("client_id") != client_id', "False"),
        Guard("bc4all.registry.artifact.described", "owner != client_id", "False"),
        Guard("bc4all.registry.versions.Registry._load", "path not in known", "False"),
        Guard("bc4all.model.model_file.check_digest", "found != sha256", "False"),
        Guard(
            "bc4all.model.model_file.read_model",
            "io.load(_with_moved_modules(file), trusted=trusted)",
            "io.load(_with_moved_modules(file), trusted=io.get_untrusted_types(file=file))",
        ),
        Guard(
            "bc4all.registry.versions.Registry._champion",
            "self.tracking.ask(lambda: self._client.get_model_version_by_alias(name, CHAMPION), missing)",
            "self.tracking.ask(lambda: self._client.get_model_version_by_alias(name, CHAMPION))",
        ),
    ],
    "tests/faults/test_secrets.py::test_mlflow_tells_its_makers_nothing": [
        Guard("bc4all", 'os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")', "pass"),
    ],
    "tests/spark/test_promotion.py::test_versions_are_compared_by_what_has_not_seen_the_held_out": [
        Guard("bc4all.jobs.promotion.find_rival", "registry.load_judged", "registry.load"),
    ],
    "tests/faults/test_ids.py::test_becomes_no_path_and_no_name": [
        Guard("bc4all.identity.ClientId", "_WORD.fullmatch", "_WORD.match"),
        Guard("bc4all.identity.RunId", "_WORD.fullmatch", "_WORD.match"),
    ],
    "tests/faults/test_ids.py::test_becomes_no_client_of_a_configuration": [
        Guard("bc4all.identity.ClientId", "_WORD.fullmatch", "_WORD.search"),
    ],
    "tests/faults/test_ids.py::test_reaches_no_command": [
        Guard(
            "bc4all.cli.options.CLIENT_ID", 'CLIENT_ID = _Checked("id", ClientId)', 'CLIENT_ID = _Checked("id", str)'
        ),
    ],
    "tests/faults/test_ids.py::test_ids_that_differ_in_case_alone": [
        Guard("bc4all.config.fleet_file.load_fleet", "other != client_id", "False"),
    ],
    "tests/faults/test_recovery.py::test_a_journal_cannot_lead_elsewhere": [
        Guard(
            "bc4all.data.journal.Journal.loads",
            'RunId(given["run_id"]), ClientId(given["client_id"]), Day(given["day"])',
            'given["run_id"], given["client_id"], given["day"]',
        ),
    ],
    "tests/faults/test_isolation.py::test_a_job_opens_its_own_clients_files_alone": [
        Guard(
            "bc4all.jobs.train_job._learn_together",
            "context.layout.training(member.client.id)",
            'context.layout.training("client_1")',
        ),
    ],
    "tests/config/test_config.py::test_refuses_what_is_no_configuration": [
        Guard("bc4all.config.yaml_source.read_yaml", "len(content) > MAX_BYTES", "False"),
        Guard(
            "bc4all.config.yaml_source._Walk.value",
            "self._nodes > self._most or len(above) > MAX_DEPTH or id(node) in above",
            "False",
        ),
    ],
    "tests/faults/test_secrets.py::test_a_whole_run_keeps_them_to_itself": [
        Guard("bc4all.errors.Failure.__str__", "redact", "str"),
    ],
    "tests/faults/test_secrets.py::test_somebody_elses_message_that_holds_one": [
        Guard("bc4all.errors.Failure.__str__", "redact", "str"),
        Guard("bc4all.registry.run.Run.fail", "redact(str(error))[:5000]", "str(error)[:5000]"),
    ],
    "tests/faults/test_secrets.py::test_a_prefix_with_a_password_is_refused": [
        Guard("bc4all.layout.Layout.at", "has_password(prefix)", "False"),
    ],
    "tests/faults/test_secrets.py::test_a_manifest_with_a_password_is_refused": [
        Guard("bc4all.launch.spark_submit.refuse_password", "has_password(value)", "False"),
    ],
    "tests/schedule/test_health.py::test_other_addresses_want_a_token": [
        Guard("bc4all.schedule.health.HealthServer.__init__", "not token and not _is_loopback(host)", "False"),
        Guard(
            "bc4all.schedule.health.HealthServer.__init__",
            "token and not hmac.compare_digest(given, expected)",
            "False",
        ),
    ],
    "tests/test_audit.py": [
        Guard("bin.audit.faults", "not hashes", "False"),
    ],
}

# Lines of docs/reliability.md whose guard is not this project's to take away.
NOT_OURS = {
    "tests/cluster/test_cluster.py::test_a_cluster_publishes_what_a_laptop_does": "Spark's own: lost tasks run again",
    "tests/spark/test_fleet.py::test_the_notebook_runs_on_published_data": "pandas' own: it escapes what it shows",
}
_NEVER_COPIED = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache")


@click.command()
@click.argument("words", nargs=-1)
def main(words: tuple[str, ...]) -> None:
    """Take away each guard, or those whose symbol or test holds one of WORDS, and see its test fail."""
    every = [(guard, test) for test, guards in GUARDS.items() for guard in guards]
    chosen = [(guard, test) for guard, test in every if not words or any(w in f"{guard.symbol} {test}" for w in words)]
    if not chosen:
        raise click.UsageError(f"no guard's symbol or test holds {' or '.join(words)}")
    if not passes(sorted({test for _, test in chosen})):
        sys.exit("with every guard in place, a test fails already")
    kept = [guard for guard, test in chosen if not fails_without(guard, test)]
    click.echo(f"{len(chosen)} guards were taken away; {len(kept)} were not missed")
    sys.exit(1 if kept else 0)


def passes(tests: list[str]) -> bool:
    """Whether tests pass in a copy of the project as it is: else their failures would tell nothing."""
    with _copy() as copy:
        done = _tested(copy, *tests)
    click.echo(done.stdout.strip().rpartition("\n")[2])
    return done.returncode == 0


def fails_without(guard: Guard, test: str) -> bool:
    """Whether a test fails in a copy of the project that lacks the guard."""
    with _copy() as copy:
        file, code = unguarded(guard)
        (copy / file).write_text(code)
        done = _tested(copy, test)
    missed = done.returncode == 1 and " failed" in done.stdout  # a test, not the collection of tests
    said = "missed" if missed else f"NOT MISSED (pytest's exit code {done.returncode})"
    click.echo(f"{said}: {guard.symbol}: {guard.text[:70]}  by {test.partition('::')[2] or test}")
    return missed


def unguarded(guard: Guard) -> tuple[Path, str]:
    """Return a guard's file, from the project's folder, and its code without the guard.

    Raises LookupError where there is no such symbol, or the guard's text is not once in it.
    """
    file, names = _module(guard.symbol)
    nodes = siblings = [ast.parse((ROOT / file).read_text())]
    place = 0
    for name in names:
        siblings = siblings[place].body
        place = next((at for at, node in enumerate(siblings) if name in _defined(node)), -1)
        if place < 0:
            raise LookupError(f"{guard.symbol}: {file} defines no {name}")
    code, text = ast.unparse(siblings[place]), _normal(guard.text)
    if code.count(text) != 1:
        raise LookupError(f"{guard.symbol} holds {code.count(text)} times: {text}")
    siblings[place : place + 1] = ast.parse(code.replace(text, guard.without)).body
    return file, "\n".join(map(ast.unparse, nodes)) + "\n"


def _module(symbol: str) -> tuple[Path, list[str]]:
    """Return the file of the longest module that a symbol's path begins with, and the names that are left."""
    parts = symbol.split(".")
    for count in range(len(parts), 0, -1):
        for file in (Path(*parts[:count]).with_suffix(".py"), Path(*parts[:count], "__init__.py")):
            if (ROOT / file).is_file():
                return file, parts[count:]
    raise LookupError(f"{symbol}: there is no such module")


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _normal(text: str) -> str:
    """Return an expression, a statement or its first line as `ast.unparse` writes it."""
    if text.endswith(":"):
        return ast.unparse(ast.parse(f"{text} pass")).removesuffix("\n    pass")
    try:
        return ast.unparse(ast.parse(text, mode="eval"))  # first: as a statement, a string would be a docstring
    except SyntaxError:
        return ast.unparse(ast.parse(text))


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bc4all-guards-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=_left_out)
        (copy / ".venv").symlink_to(ROOT / ".venv")
        yield copy


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Return what is not copied of a folder: what is built, and the project's own `data`, but not `bc4all/data`."""
    return _NEVER_COPIED(folder, names) | ({"data", "dist"} if Path(folder) == ROOT else set())


def _tested(copy: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
