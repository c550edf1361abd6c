"""From flags to results and tables."""

from ._lab import of

plant = of("vae_jax/lab/settings.py", "config", "results", "experiments")
plant(
    '{"adam_b1": "b1", "adam_b2": "b2", "adam_eps": "eps"}',
    '{"adam_b1": "b2", "adam_b2": "b1", "adam_eps": "eps"}',
    "--adam_b1 and --adam_b2 are exchanged",
)

plant = of("vae_jax/lab/resolved.py", "config", "results", "experiments")
plant(
    'weight_decay=schedule(config.weight_decay or "1e-4")',
    'weight_decay=schedule("1e-4")',
    "--weight_decay is ignored",
)
plant(
    '"num_steps": max(1, self.config.epochs * self.steps_per_epoch),',
    '"num_steps": max(1, self.config.epochs),',
    "100% of a schedule is as many steps as there are epochs",
)
plant(
    "np.arange(masked) < config.latent_dim",
    "np.arange(masked) <= config.latent_dim",
    "a mask leaves one dimension too many",
)
plant(
    "clip_norm=schedule(config.clip_norm),",
    "clip_norm=None,",
    "--clip_norm is ignored",
)

plant = of("vae_jax/lab/build.py", "results", "experiments", "evaluate")
plant(
    "-np.asarray(elbo) / (num * math.log(2))",
    "-np.asarray(elbo) / num",
    "bits per character are nats",
)

plant = of("vae_jax/assembly.py", "config")
plant(
    'asked or ("dynamic" if has_prior else "soft")',
    'asked or "dynamic"',
    "targets of a plain autoencoder are binarized",
)

plant = of("vae_jax/program.py", "results", "experiments", "evaluate", "seals")
plant(
    "schedules.evaluate(h, jnp.maximum(step - 1, 0))",
    "schedules.evaluate(h, step)",
    "a result is weighed by the step after the last",
)
plant(
    'jnp.where(score > best["score"], a, b)',
    'jnp.where(score < best["score"], a, b)',
    "the worst parameters are kept",
)
plant(
    'for first, x in program.blocks("train", num):',
    'for first, x in program.blocks("test", num):',
    "an optimal variance is fixed on the test split",
)
plant(
    "terms={**parts, **evaluated.terms},",
    "terms={**evaluated.terms, **parts},",
    "terms of a few examples take the place of the objective's",
)
plant(
    "return carried.state.params if carried.state.ema is None else carried.state.ema",
    "return carried.state.params",
    "results are computed without the average",
)
plant(
    'return carried.best["params"]',
    "return carried.state.params",
    "results are those of the last parameters, not of the best",
)
plant(
    'evaluate(program, density, "valid", state.step)',
    'evaluate(program, density, "test", state.step)',
    "early stopping looks at the test split",
)
plant(
    "params = state.params if state.ema is None else state.ema",
    "params = state.params",
    "validation is without the average",
)
plant(
    'layout.read(best["epoch"]) >= program.patience',
    'layout.read(best["epoch"]) > program.patience',
    "patience is an epoch longer",
)

plant(
    'evaluate(program, params, "test", steps)',
    'evaluate(program, params, "valid", steps)',
    "the objective is measured on the validation split",
)

plant = of("vae_jax/lab/resuming.py", "seals", "results", "experiments")
plant(
    "run.keep_rows(restored.step, restored.config.get(ROWS))",
    "run.keep_rows(2**31, None)",
    "rows after the checkpoint that is resumed stay",
)

plant = of("vae_jax/lab/parts.py", "parts")
plant(
    "if part not in known:",
    "if True:",
    "a split that was measured before an interruption is measured again",
)
plant(
    "self._owner = run, name, (run.id, name, about)",
    "self._owner = run, name, (run.id, name)",
    "numbers of other parameters are taken for those of these",
)
plant(
    "self._owner = run, name, (run.id, name, about)",
    "self._owner = run, name, (name, about)",
    "numbers of another run are taken for those of this one",
)
plant(
    "return seals.numbers(known[part])",
    "return known[part]",
    "infinite numbers are words after an interruption",
)

plant = of("vae_jax/lab/pictures/__init__.py", "parts")
plant(
    "if undrawn and undrawn.keys() <= pictures.keys():",
    "if False:",
    "pictures that are drawn are drawn again after an interruption",
)

plant = of("vae_jax/lab/pictures/_seen.py", "experiments")
plant(
    'order = np.argsort(rows.pop("place"))',
    'order = np.arange(len(rows.pop("place")))',
    "rows of several batches are not in the order of their numbers",
)

plant = of("vae_jax/lab/pictures/latent_scatter.py", "priors")
plant(
    "return numbers[apart <= np.median(apart)]",
    "return numbers[apart >= np.median(apart)]",
    "the farthest examples are taken for typical",
)

plant = of("vae_jax/lab/pictures/one_to_many.py", "priors")
plant(
    "if (z == z[:, :1]).all():",
    "if False:",
    "many equal draws of a code that is decided are shown",
)

plant = of("vae_jax/plots/latents.py", "plots")
plant(
    "roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]",
    "roots = vectors * np.maximum(values, 0.0)[:, None, :]",
    "ellipses are as long as variances",
)

plant = of("vae_jax/plots/draws.py", "plots")
plant(
    "deviation = draws.std(axis=1, dtype=np.float64)",
    "deviation = draws.var(axis=1, dtype=np.float64)",
    "the deviation of draws is their variance",
)

plant = of("vae_jax/lab/report.py", "evaluate")
plant(
    "or seals.digest(result) != told",
    "",
    "a result that another evaluation has kept is taken for this one's",
)
plant(
    'result.get("step") != step',
    "False",
    "a result of an earlier step is taken for that of this one",
)
plant(
    "about = seals.digest(seals.plain(request))",
    'about = ""',
    "results with other settings are taken for these",
)

plant = of("vae_jax/lab/sweep_results.py", "sweep", "tables")
plant(
    "for number, result in zip(program.members, found or (), strict=False):",
    "for number, result in enumerate(found or ()):",
    "results of the second program are put down to the first runs",
)

plant = of("vae_jax/lab/tables.py", "tables", "sweep")
plant(
    '"valid_loss": (-1, "validation loss")',
    '"valid_loss": (1, "validation loss")',
    "the best run is that of the largest validation loss",
)
plant(
    "return statistics.stdev(values) / math.sqrt(len(values))",
    "return statistics.pstdev(values) / math.sqrt(len(values))",
    "the error over seeds has n below",
)

plant = of("vae_jax/lab/metrics.py", "portability")
plant(
    "return self._datasets.load(asked, expected)",
    "return self._datasets.load(asked, None)",
    "a run is evaluated on other data",
)

plant = of("vae_jax/lab/executors/slurm.py", "cluster")
plant(
    """'  if [ "$(saved)" = "$at_start" ]; then',""",
    "'  if false; then',",
    "a job that saved nothing is queued again",
)
plant(
    '"    exit $status",',
    '"    true",',
    "a job that is queued again has ended",
)
plant(
    '(cd "$place" && ls checkpoints; cat $parts)',
    '(cd "$place" && ls checkpoints)',
    "a job that measured a split is not queued again",
)
plant(
    "if code in (None, _SIGKILL) and _LIMIT in tail(log):",
    "if False:",
    "a job that was killed at its time limit is submitted again",
)
plant(
    'scontrol requeue "$id"',
    'scontrol requeue "$SLURM_JOB_ID"',
    "a job that is queued again takes all of its array with it",
)
plant(
    "if queue is None and code is None:",
    "if False:",
    "jobs are lost if squeue does not answer",
)
plant(
    "return max(1, int(told[1]))",
    "return 10**6",
    "arrays are longer than MaxArraySize",
)

plant = of("vae_jax/lab/executors/kubernetes.py", "executors")
plant(
    'None if is_over else record["job"]',
    "None",
    "programs that have no pod yet are submitted again",
)
plant(
    "if is_failure and not _holds(status, _LOST):",
    "if is_failure:",
    "a pod that lost its node has failed",
)
