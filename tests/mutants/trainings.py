"""Training, fitting, schedules, the order of the examples, and where they lie."""

from ._lab import of

plant = of("vae_jax/training.py", "training")
plant(
    "optax.incremental_update(params, ema, 1.0 - h.ema_decay)",
    "optax.incremental_update(params, ema, h.ema_decay)",
    "the average is weighed by 1 − decay",
)
plant(
    "optax.chain(optax.clip_by_global_norm(h.clip_norm), optimizer)",
    "optax.chain(optimizer, optax.clip_by_global_norm(h.clip_norm))",
    "the update is clipped, not the gradient",
)
plant(
    'metrics["grad_norm"] > h.skip_norm',
    'metrics["grad_norm"] < h.skip_norm',
    "steps of a small gradient are skipped",
)
plant(
    "skipped = state.replace(step=advanced.step)",
    "skipped = state.replace(step=advanced.step, opt_state=opt_state)",
    "a skipped step moves the moments",
)
plant(
    "step(state, hparams, batch, loss_key)",
    "step(state, hparams, batch, preprocess_key)",
    "binarization and loss share a key",
)
plant(
    "own_key = jax.random.fold_in(key, jnp.uint32(_UPDATE))",
    "own_key = key",
    "an objective's update has the key of its loss",
)
plant(
    "own.replace(train_key=jax.random.fold_in(key, jnp.uint32(_TRAIN)))",
    "own.replace(train_key=key)",
    "dropout has the key of the loss",
)
plant(
    "renewed = state.replace(opt_state=jax.tree.map(select, fresh, state.opt_state))",
    "renewed = state",
    "the optimizer is never renewed",
)
plant(
    '"mask": _is_kernel}',
    '"mask": None}',
    "adamw decays biases",
)
plant(
    "weight = mask / mask.sum()",
    "weight = mask / mask.size",
    "the loss of a padded batch is divided by all rows",
)
plant(
    "h = schedules.evaluate(hparams, state.step)",
    "h = schedules.evaluate(hparams, state.step + 1)",
    "schedules are a step ahead",
)
plant(
    "lambda leaf, is_kernel: scale(leaf) if is_kernel else leaf,",
    "lambda leaf, is_kernel: scale(leaf),",
    "init_scale scales what is no kernel",
)
plant(
    "return self.num_examples if name == SKIPPED else num_rows",
    "return self.num_examples if name == SKIPPED else self.batch_size",
    "the last batch of an epoch weighs as if it were full",
)
plant(
    "keep = functools.partial(jnp.where, state.stopped)",
    "keep = functools.partial(jnp.where, after.stopped)",
    "the sums do not tell which term was not finite",
)
plant(
    "mask = (row < self.batch_size) & (position < self.num_examples)",
    "mask = position < self.num_examples",
    "rows that fill a batch up to the devices count",
)
plant(
    'jax.random.fold_in(stream(seed, "order"), step // self.steps_per_epoch)',
    'jax.random.fold_in(stream(seed, "order"), 0)',
    "each epoch has the same order",
)
plant(
    'step_key = jax.random.fold_in(stream(hparams.seed, "step"), state.step)',
    'step_key = stream(hparams.seed, "step")',
    "each step has the same noise",
)
plant(
    "ok = is_finite & ~state.stopped",
    "ok = is_finite",
    "a run that stopped trains on",
)
plant(
    'sizes = metrics["loss"], metrics["grad_norm"], jnp.asarray(',
    'sizes = metrics["loss"], metrics["loss"], jnp.asarray(',
    "a gradient that is not finite is taken",
)
plant(
    'objective.init(own_model, stream(at_start.seed, "objective"))',
    'objective.init(own_model, stream(at_start.seed, "init"))',
    "model and objective are initialized with one key",
)
plant(
    '**decay, **h["adam"])',
    "**decay)",
    "adamw ignores Adam's settings",
)
plant(
    '"logvar": jnp.log(hparams.variance)',
    '"logvar": 0.5 * jnp.log(hparams.variance)',
    "a variance that is given is taken for a deviation",
)

plant = of("vae_jax/training.py", "recurrent")
plant(
    "own.replace(teacher_key=jax.random.fold_in(key, jnp.uint32(_TEACHER)))",
    "own.replace(teacher_key=None)",
    "teacher dropout does nothing in training",
)

plant = of("vae_jax/training.py", "modules")
plant(
    'seen = given.update_statistics(before, batch["x"], key)',
    'seen = given.update_statistics(after, batch["x"], key)',
    "running statistics are those of the parameters after the step",
)

plant = of("vae_jax/training.py", "objectives_adversaries")
plant(
    'apart["objective"] = objective.optimizer(**h.objective)',
    'apart["objective"] = objective.optimizer()',
    "the settings of an objective's own optimizer are ignored",
)

plant = of("vae_jax/training.py", "objectives_stacked", "objectives_discrete")
plant(
    "objective.update(model, before, after, batch, own_key, **h.objective)",
    "objective.update(model, after, after, batch, own_key, **h.objective)",
    "an objective's update sees the parameters after the step alone",
)

plant = of("vae_jax/fitting.py", "fitting")
plant(
    "{n: h.text for n, h in known.items() if not h.is_static}",
    "{n: h.default for n, h in known.items() if not h.is_static}",
    "the schedules that an objective has by default are dropped",
)
plant(
    '"num_steps": epochs * steps_per_epoch}',
    '"num_steps": steps_per_epoch}',
    "a share of the run is a share of an epoch",
)
plant(
    "        optimizer=make_optimizer,\n",
    "",
    "`fit` ignores its optimizer",
)

plant = of("vae_jax/schedules.py", "schedules")
plant(
    "0.5 - 0.5 * jnp.cos(jnp.pi * ramp), ramp)",
    "1.0 - jnp.cos(0.5 * jnp.pi * ramp), ramp)",
    "cosine is a quarter of a wave",
)
plant(
    "period * rising, period, 0)",
    "period * (1 - rising), period, 0)",
    "a cycle rises for the rest of its period",
)
plant(
    'jnp.float32(step), side="right")',
    'jnp.float32(step), side="left")',
    "a piece begins one step late",
)

plant = of("vae_jax/shuffling.py", "shuffling", "run_files")
plant(
    "_keyed(left, second, width)",
    "_keyed(left, first, width)",
    "half of the round keys are used twice: another order",
)

plant = of("vae_jax/devices/streaming.py", "streaming")
plant(
    "np.stack([of_seed(i) for i in slot_of[runs].tolist()])",
    "np.stack([of_seed(0) for i in slot_of[runs].tolist()])",
    "runs of all seeds are fed the rows of the least",
)
plant(
    "return block, first + self.num_steps - step",
    "return block, self.num_steps",
    "a block that is entered late claims all of its steps",
)

plant = of("vae_jax/devices/layout.py", "layout")
plant(
    "np.asarray(a)[: self.num_runs], jax.device_get(tree))",
    "np.asarray(a), jax.device_get(tree))",
    "what fills the devices up is read as runs",
)

plant = of("vae_jax/reuse.py", "reuse")
plant(
    "        batch_size,\n        tuple((n, np.shape(v)[1:]",
    "        8,\n        tuple((n, np.shape(v)[1:]",
    "trainings of other batch sizes share a program",
)
plant(
    "phases.NAME in hparams.objective,",
    "False,",
    "trainings with phases and without share a program",
)
plant(
    "isinstance(leaf, schedules.Schedule) or not callable(leaf)",
    "True",
    "functions of the user are in a shared program",
)
plant(
    "any(model.num_examples) or not _is_built_in(model)",
    "not _is_built_in(model)",
    "the rows of one training start another",
)

plant = of("vae_jax/program.py", "reuse")
plant(
    "vars(other).update({name: getattr(self, name) for name in shared})",
    "pass",
    "each training compiles anew",
)
