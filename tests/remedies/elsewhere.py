"""Messages whose remedies other tests carry out, and those whose remedies cannot be tried here."""

from ._cases import at

DEVICES, TFDS = "vae_jax/devices/platform.py", "vae_jax/data/_tfds.py"

FINDINGS = (
    ("collapse", "_remedy", "take beta=1", "take variance=learned", "take posterior=ladder, or"),
    ("collapse", "_remedy", "take beta='linear(0, 1, 50%)'"),
    ("dead_codes", "find", "take revival=0.1, or num_codes=…", "take num_codes=…"),
    ("divergence", "find", "take init_scale=0.5, or a smaller `learning_rate`", "take …"),
    ("idle_dimensions", "find", "take latent_dim=…"),
    ("learning_rate", "find", "take learning_rate='cosine(…, 0, 100%)'", "take learning_rate=…"),
    ("loss_scale", "find", "take variance=learned"),
    ("overfitting", "find", "take patience=10, which keeps the best epoch, or smaller `widths`"),
    ("probes/baseline", "_remedy", "take variance=learned", "take beta=1", "take patience=10"),
    ("probes/generalization", "find", "take smaller `widths`, or patience=10"),
    ("probes/holes", "find", "take beta=1", "take variance=learned", "take prior=mixture, or"),
    ("probes/holes", "find", "take prior=transformer"),
    ("seeds", "find", "take seed=…, or a smaller `learning_rate`"),
    ("under_training", "longer", "take learning_rate=1e-3", "take epochs=…"),
    ("variance_bound", "find", "take variance=learned, or leave out", "take variance=0.001"),
)
"""Findings of the doctor: file, function, and words of their remedies."""

_REPORT = "cli/commands/report"
REPORTS = (
    (
        _REPORT,
        "main",
        "--run: name a run directory",
        "test_a_page_is_written_again",
    ),
    (
        _REPORT,
        "main",
        "name directories of single runs, or leave",
        "test_too_many_runs_are_refused",
    ),
    (_REPORT, "main", "name several with commas", "test_members_of_a_sweep_are_compared"),
    (
        "lab/comparison",
        "compare",
        "name fewer, or choose with",
        "test_too_many_runs_are_refused",
    ),
    (
        "lab/evaluated_page",
        "write",
        "has not ended: train it first",
        "test_an_evaluation_adds_its_numbers",
    ),
)
"""Messages about pages of runs: file, function, words of the remedy, and the test."""

ELSEWHERE = {
    at("vae_jax/storage/hub.py", "_client")("pip install 'vae_jax[hub]'"): (
        "test_hub.py::test_a_run_is_pushed_and_loaded_through_a_hub"
    ),
    at("vae_jax/cli/commands/push.py", "main")("is missing: give …, for example"): (
        "test_hub.py::test_a_folder_gets_what_would_be_sent"
    ),
    at("vae_jax/cli/commands/push.py", "main")("choose another --to"): (
        "test_hub.py::test_a_folder_gets_what_would_be_sent"
    ),
    at("vae_jax/cli/commands/completion.py", "_refuse")("completion: name a shell"): (
        "test_completion.py::test_the_command_prints_the_script"
    ),
    at("vae_jax/cli/commands/doctor.py", "main")("--run: name a run directory"): (
        "test_diagnosis.py::test_the_doctor_measures_prints_and_keeps"
    ),
    **{
        at(f"vae_jax/{file}.py", function)(words): f"test_report.py::{test}"
        for file, function, words, test in REPORTS
    },
    **{
        at(f"vae_jax/diagnosis/{file}.py", function)(words): (
            "test_diagnosis.py::test_the_remedies_of_a_finding_help"
        )
        for file, function, *several in FINDINGS
        for words in several
    },
    at("vae_jax/cli/beginning.py", "begin")("correct or unset it"): (
        "test_environment.py::test_variables_that_are_used_are_recorded"
    ),
    at("vae_jax/lab/build.py", "far_values")("leave scaling=none out, or take scaling=unit"): (
        "test_ranges.py::test_values_far_from_0_are_a_line_of_the_log_and_the_remedies_work"
    ),
    at("vae_jax/lab/build.py", "far_values")("take scaling=unit, or likelihood=laplace"): (
        "test_ranges.py::test_far_columns_are_a_line_of_the_log_and_the_remedies_work"
    ),
    at("vae_jax/lab/executors/slurm.py", "_submit")("Submit from a login node, or choose"): (
        "test_cluster.py::test_never_more_than_num_workers_run_at_once"
    ),
    at("vae_jax/lab/executors/slurm.py", "_submitit")("pip install 'vae_jax[cluster]'"): (
        "test_cluster.py::test_an_array_is_submitted_once_and_runs_the_commands"
    ),
    at(DEVICES, "check_flags")("correct or unset it"): (
        "test_environment.py::test_flags_that_xla_does_not_know_are_one_line"
    ),
    at(DEVICES, "warning")("or set JAX_PLATFORMS=cpu if the CPU is meant"): (
        "test_environment.py::test_an_accelerator_that_is_not_used_is_told_with_a_remedy"
    ),
    at(DEVICES, "refusal")("unset it"): (
        "test_environment.py::test_a_platform_that_is_not_there_is_one_line"
    ),
    at("vae_jax/lab/environment.py", "told")("unset them"): (
        "test_environment.py::test_all_that_is_set_aside_changes_nothing_and_is_told"
    ),
    at("vae_jax/cli/commands/evaluate.py", "main")("--run: name a run directory"): (
        "test_evaluate.py::test_numbers_are_printed_and_kept"
    ),
    at("vae_jax/cli/commands/status.py", "main")("--run: name the directory of a sweep"): (
        "test_overview.py::test_the_commands_show_and_cancel_a_sweep"
    ),
    at("vae_jax/cli/commands/cancel.py", "main")("--run: name the directory of a sweep"): (
        "test_overview.py::test_the_commands_show_and_cancel_a_sweep"
    ),
    at("vae_jax/lab/overview.py", "of_directory")("name the directory of a sweep"): (
        "test_overview.py::test_the_commands_show_and_cancel_a_sweep"
    ),
    at("vae_jax/lab/executors/kubernetes.py", "_kubectl")("or apply what `dry_run=True` shows"): (
        "test_executors.py::test_a_program_is_an_index_of_the_job"
    ),
    at("vae_jax/lab/executors/ray.py", "_joined")("start one, or leave address out"): (
        "test_executors.py::test_tasks_run_on_a_cluster_of_two_nodes"
    ),
    at("vae_jax/lab/executors/ray.py", "_ray")("pip install 'vae_jax[ray]'"): (
        "test_executors.py::test_tasks_run_on_a_cluster_of_two_nodes"
    ),
    at("vae_jax/lab/executors/slurm.py", "_parameters")("export SLURM_EXPORT_ENV=ALL"): (
        "test_slurm.py::test_a_failure_is_told_once_and_retried_if_asked"
    ),
    at("vae_jax/lab/executors/slurm.py", "_parameters")("export …=…"): (
        "test_slurm.py::test_a_failure_is_told_once_and_retried_if_asked"
    ),
    at("vae_jax/lab/executors/slurm.py", "_why")("give a longer time in `slurm`"): (
        "test_slurm.py::test_a_job_that_saved_nothing_is_told_and_goes_on_with_more_time"
    ),
    at("vae_jax/lab/executors/slurm.py", "_why")("give a larger signal_delay_s in `slurm`"): (
        "test_slurm.py::test_a_job_that_was_killed_at_its_limit_is_told"
    ),
    at("launch.sh", "")("delete it when nothing does"): (
        "test_platforms.py::test_another_environment_takes_the_place_of_one_that_may_be_in_use"
    ),
    at("vae_jax/cli/commands/export.py", "main")("--run: name a run directory"): (
        "test_exported.py::test_a_member_is_exported_as_it_is_evaluated"
    ),
    at("vae_jax/cli/commands/explore.py", "main")("--run: name a run directory"): (
        "test_explorer.py::test_a_run_of_an_older_version_has_a_page"
    ),
    at("vae_jax/lab/metrics.py", "Loader", "_dataset")("name the folder by `data_dir`"): (
        "test_evaluate.py::test_data_that_moved_are_found_by_their_folder"
    ),
    at("vae_jax/lab/metrics.py", "Loader", "_dataset")("use the run as it was left"): (
        "test_portability.py::"
        "test_other_data_than_a_run_was_trained_on_are_refused_with_both_hashes"
    ),
    at("experiments/numbers.py", "main")("name one row, or none for a list"): (
        "test_numbers.py::test_a_row_is_run_again_and_both_values_are_printed"
    ),
    at("vae_jax/loggers/_logger.py", "Logger", "require")("pip install 'vae_jax[…]', or"): (
        "test_loggers.py::test_tensorboard_reads_each_row_once"
    ),
    at("experiments/reproduce.py", "measure")("move it away, then run again"): (
        "test_sweep.py::test_only_what_is_missing_is_trained"
    ),
    at("vae_jax/lab/resuming.py", "_refuse_fewer_epochs")("give at least as many"): (
        "test_experiments.py::test_more_epochs_go_on_where_the_run_ended"
    ),
    at("vae_jax/data/_annotated.py", "_opened")("pip install 'vae_jax[anndata]'"): (
        "test_data_matrices.py::test_an_annotated_matrix_is_read_with_its_names"
    ),
    at("vae_jax/data/_sheets.py", "read")(
        "pip install 'vae_jax[excel]', or save the sheet as CSV"
    ): ("test_data_sheets.py::test_a_sheet_is_what_a_csv_file_is"),
    at("vae_jax/data/_sheets.py", "_sheet_of")("give …#…"): (
        "test_data_sheets.py::test_a_sheet_is_named_behind_the_path"
    ),
    at("vae_jax/data/_sheets.py", "_trimmed")("give a sheet with a table"): (
        "test_data_sheets.py::test_rows_without_names_and_titles"
    ),
    at("vae_jax/data/_sheets.py", "_divided")("name each column in it, or delete it if it is"): (
        "test_data_sheets.py::test_rows_without_names_and_titles"
    ),
    at("vae_jax/data/_sheets.py")("save the sheet as CSV or Parquet"): (
        "test_data_sheets.py::test_a_sheet_is_what_a_csv_file_is"
    ),
    at("vae_jax/data/_dicom.py", "_opened")("pip install 'vae_jax[dicom]'"): (
        "test_data_pictures.py::test_dicom_is_in_the_units_of_its_header"
    ),
    at("vae_jax/data/_dataset.py", "mismatch")("fetch the original again"): (
        "test_data_tfds.py::test_the_four_original_files_are_enough"
    ),
    at("vae_jax/data/_sequences.py", "_refuse_numbers")("numpy.save('table.npy', numpy.loadtxt("): (
        "test_data_reading.py::test_lines_of_numbers_are_no_text"
    ),
    at(TFDS, "load")("name the folder that holds it with `data_dir`"): (
        "test_data_tfds.py::test_folders_are_looked_into_in_order"
    ),
    at(TFDS, "_prepare")("or name the folder that holds it with `data_dir`"): (
        "test_data_tfds.py::test_folders_are_looked_into_in_order"
    ),
    at(TFDS, "_prepare")("put the original files into"): (
        "test_data_tfds.py::test_original_files_are_prepared_without_the_network"
    ),
    at(TFDS, "_features")("save the arrays you want as .npz and give its path"): (
        "test_data_files.py::test_keys_of_an_archive"
    ),
    at(TFDS, "_features")("resize them into a folder and give its path"): (
        "test_data_files.py::test_a_folder_of_images_with_labels"
    ),
    at("vae_jax/data/_values.py", "_viewed")("save x.transpose(0, 2, 3, 1)"): (
        "test_data_reading.py::"
        "test_channels_before_height_and_width_are_refused_and_the_remedy_works"
    ),
    at("vae_jax/evaluation/ais.py", "_problem")("give initial=posterior"): (
        "test_priors.py::test_annealing_reaches_the_likelihood_under_any_prior"
    ),
    at("vae_jax/evaluation/exact.py", "_require_integrable")("take ais or nll instead"): (
        "test_priors.py::test_a_prior_that_a_grid_cannot_integrate_is_refused"
    ),
    at("vae_jax/networks/conv_map.py", "build")("or more `widths`, each of which halves the map"): (
        "test_model.py::test_the_remedies_for_a_code_that_does_not_fit_a_map_help"
    ),
    at("vae_jax/devices/processes.py", "initialize")("check JAX_COORDINATOR_ADDRESS"): (
        "test_sweep_faults.py::test_two_processes_are_one_program_which_one_process_continues"
    ),
    at("launch.sh")("give a module"): (
        "test_sweep_faults.py::test_launch_of_one_process_names_nothing"
    ),
}
"""Key of a text → the test that carries out its remedies."""

VERSION = "another version of this program or of what it needs wrote what is read"
UNTRIED = {
    at("vae_jax/lab/stored.py", "refuse_unknown")("use the version that wrote it"): VERSION,
    at("vae_jax/lab/metrics.py", "_refuse_other_settings")("use the version that"): VERSION,
    at("vae_jax/storage/checkpoints.py", "Checkpoints", "_reading")(
        "use the versions named in"
    ): VERSION,
    at(DEVICES, "refusal")("^Unable to initialize"): "a pattern, which nobody is told",
    at(DEVICES, "refusal")("free it, or set JAX_PLATFORMS=cpu"): "needs a device in use by another",
    at("vae_jax/lossless/tables.py", "_cpu")("set JAX_PLATFORMS=cuda,cpu"): "needs a GPU",
    at(DEVICES, "_remedy")("install the version of the plugin"): "installs packages",
    at(DEVICES, "_remedy")("pip install 'jax["): "installs packages",
    at(TFDS, "_find")("delete it and prepare it again"): "needs TensorFlow or the network",
    at(TFDS, "_read_split")("delete it and prepare it again"): "needs TensorFlow or the network",
    at("launch.sh")("install Python 3.11 or newer, or set PYTHON"): "installs a Python",
    at("launch.sh")("3.11 or newer is needed, set PYTHON"): "needs an older Python",
    at("launch.sh")("run the same command again"): "installs packages",
    at("launch.sh")("start one at a time until the environment is made"): "installs packages",
}
"""Key of a text → why its remedies cannot be tried by a test."""
