"""What is measured of a trained model."""

from ._lab import of

plant = of("vae_jax/evaluation/elbo.py", "evaluation_elbo", "evaluation_latent_use")
plant(
    "squares + batch_squares + jnp.square(delta) * count * batch_count / share,",
    "squares + batch_squares,",
    "the variance over batches is that within them",
)
plant(
    "correction = self.num / jnp.where(self.num > 1, self.num - 1, jnp.nan)",
    "correction = jnp.where(self.num > 1, 1.0, jnp.nan)",
    "the error of a ratio lacks n/(n − 1)",
)
plant(
    "else moments[names]\n    indices = first_batch + jnp.arange(len(rows))",
    "else moments[names]\n    indices = jnp.arange(len(rows))",
    "each block of the data has the draws of the first",
)
plant(
    'total + jnp.exp(fitted["logvar"]) * mask.sum(), None',
    'total + jnp.exp(fitted["logvar"]) * batch_size, None',
    "the last batch weighs as if it were full",
)
plant(
    "return posterior.mean / jnp.maximum(prior.deviation, 1e-12)[None, :]",
    "return posterior.mean",
    "active units are not relative to the prior's deviation",
)
plant(
    "means[2] / means[0][..., None]",
    "means[2] / (means[0][..., None] - 1)",
    "the variance of the posterior means has n − 1 below",
)
plant(
    "weights = losses.aggregate_weights(num, num_examples)",
    "weights = losses.aggregate_weights(num, num)",
    "few examples stand for themselves, not for the data",
)

plant = of("vae_jax/evaluation/_shared.py", "evaluation_nll", "evaluation_latent_use")
plant(
    "(upper - ratio * lower) / lower.mean())[1]",
    "upper / lower.mean())[1]",
    "the error of a ratio takes its lower side as known",
)
plant(
    "jnp.std(value, axis=0, ddof=1), values)",
    "jnp.std(value, axis=0, ddof=1) / num_bootstrap**0.5, values)",
    "the bootstrap's error is divided by the root of the resamples",
)

plant = of("vae_jax/evaluation/nll.py", "evaluation_nll", "evaluation_subject")
plant(
    "jnp.square(scale) * sums.squares",
    "scale * sums.squares",
    "squares of weights are not rescaled as squares",
)
plant(
    "rates.draw(posterior, jax.random.fold_in(z_key, block), SAMPLES_PER_KEY)",
    "rates.draw(posterior, z_key, SAMPLES_PER_KEY)",
    "each block has the same samples",
)
plant(
    "(x, positions_of(first_example, len(x)), model.condition)",
    "(x, positions_of(0, len(x)), model.condition)",
    "each part of the data has the draws of the first",
)

plant = of("vae_jax/evaluation/ais.py", "evaluation_ais")
plant(
    "return point, momentum - 0.5 * step * _slope(point, beta)",
    "return point, momentum",
    "leapfrog ends with a whole step of the momentum",
)
plant(
    "betas[1:-1], increments[1:], step_sizes",
    "betas[1:-1], increments[:-1], step_sizes",
    "weights take the increments of the step before",
)
plant(
    "gain = _GAIN * (jnp.mean(probability, axis=0) - TARGET_ACCEPTANCE)",
    "gain = _GAIN * (TARGET_ACCEPTANCE - jnp.mean(probability, axis=0))",
    "steps grow where too few are accepted",
)

plant = of("vae_jax/evaluation/exact.py", "evaluation_exact")
plant(
    "distance = distance + jnp.sum(jnp.square(posterior_mean), axis=1)",
    "distance = distance + 0.0",
    "the quadratic form lacks mᵀm",
)
plant(
    "every_other + dim * math.log(2) - total",
    "every_other + math.log(2) - total",
    "in two dimensions the error compares with half of the sum",
)

plant = of("vae_jax/evaluation/latent_use.py", "evaluation_latent_use")
plant(
    "log_probs = jnp.where(is_real[:, None], log_probs, -jnp.inf)",
    "log_probs = jnp.where(is_real[:, None], log_probs, log_probs)",
    "posteriors that fill a block up are part of the mixture",
)
plant(
    "math.log(num_examples) - math.log(2)",
    "math.log(num_examples) + math.log(2)",
    "information is never said to be saturated",
)

plant = of("vae_jax/evaluation/latent_use.py", "priors_learned", "priors")
plant(
    "joint = by_blocks(prior.log_prob, z, num_rows)",
    "joint = by_blocks(distributions.standard_gaussian(z.shape[1]).log_prob, z, num_rows)",
    "the aggregate posterior is compared with N(0, I) whatever the prior",
)
plant(
    "rate = terms.mutual_information + terms.marginal_kl",
    "rate = terms.marginal_kl",
    "the rate under another prior lacks the information",
)

plant(
    "influence = 0.5 * (jnp.sum",
    "influence = (jnp.sum",
    "the error of a total correlation is twice as large",
)

plant = of("vae_jax/evaluation/latent_probes.py", "evaluation_latent_probes")
plant(
    "names, counts = np.unique(arrays[1], return_counts=True)",
    "names, counts = np.unique(arrays[3], return_counts=True)",
    "chance is the commonest label of the test examples",
)
plant(
    "KNeighborsClassifier(num_neighbours)",
    "KNeighborsClassifier()",
    "the number of neighbours is ignored",
)

plant = of("vae_jax/evaluation/collapse.py", "evaluation_collapse", "evaluation_subject")
plant(
    "None if above is None else above <= floor_margin",
    "None if above is None else abs(above) <= floor_margin",
    "an ELBO far below its floor is not at it",
)
plant(
    'train_mean = subject.mean_over(see, "train", num_examples=MAX_TRAIN)',
    'train_mean = subject.mean_over(see, "test", num_examples=MAX_TRAIN)',
    "the floor is fit to the test split",
)
plant(
    "rates = np.sort(np.asarray(rate_per_dim, np.float64))[::-1]",
    "rates = np.sort(np.asarray(rate_per_dim, np.float64))",
    "the top dimensions are those of the least rate",
)

plant = of("vae_jax/evaluation/reconstruction.py", "evaluation_reconstruction")
plant(
    "ratio_and_error(ours, theirs)",
    "ratio_and_error(theirs, ours)",
    "the ratio is that of PCA to the model",
)
plant(
    'train = subject.x("train", max(1,',
    'train = subject.x("test", max(1,',
    "PCA is fit to the test split",
)

plant = of("vae_jax/evaluation/discrepancy.py", "evaluation_discrepancy")
plant(
    "4.0 * (num - 2) * first + 2.0 * both",
    "4.0 * (num - 2) * first",
    "the error lacks what remains where distributions are equal",
)

plant = of("vae_jax/evaluation/udr.py", "evaluation_udr")
plant(
    "pairwise[others[:, j], j] for j",
    "pairwise[j, others[j]] for j",
    "a model is scored by what it predicts, not by what predicts it",
)
plant(
    "jnp.sum(rows, dtype=jnp.float32) + jnp.sum(columns, dtype=jnp.float32)",
    "2.0 * jnp.sum(rows, dtype=jnp.float32)",
    "informative dimensions of one model count for both",
)

plant = of("vae_jax/evaluation/subject.py", "evaluation_subject")
plant(
    "mask = jnp.arange(len(leaf)) < kept",
    "mask = jnp.arange(len(leaf)) <= kept",
    "a mean counts a row that fills a block up",
)
plant(
    'codes = self.posterior("train", NUM_FITTED).mean',
    'codes = self.posterior("test", NUM_FITTED).mean',
    "what stands for a prior is fit to the test split",
)
plant(
    "jax.random.split(jax.random.fold_in(self.key, position))",
    "jax.random.split(self.key)",
    "all rows are binarized with one key",
)

plant = of("vae_jax/evaluation/latent_neighbours.py", "evaluation_latent_neighbours")
plant(
    "lines = straight_lines(*pairs, num_points, onto)",
    "lines = straight_lines(*pairs, num_points)",
    "lines between codes leave the sphere",
)
plant(
    "Preservation(penalty(among_codes, among_data), penalty(among_data, among_codes))",
    "Preservation(penalty(among_data, among_codes), penalty(among_codes, among_data))",
    "trustworthiness and continuity are exchanged",
)
plant(
    "i = np.arange(1, num_neighbours + 1)",
    "i = np.arange(1, num_neighbours)",
    "the coverage that is expected is that of k − 1 neighbours",
)

plant = of("vae_jax/evaluation/latent_geometry.py", "evaluation_latent_geometry")
plant(
    "return z if onto is None else onto(z.reshape(-1, z.shape[-1])).reshape(z.shape)",
    "return z",
    "paths leave the sphere of codes",
)
plant(
    "bend = 2.0 * decoded[1:-1] - decoded[:-2] - decoded[2:]",
    "bend = decoded[1:-1] - decoded[:-2]",
    "a curve is pulled to the point before alone",
)

predictors = "evaluation_disentanglement_predictors", "evaluation_disentanglement"
groups = "evaluation_disentanglement_groups", "evaluation_disentanglement"
plant = of("vae_jax/evaluation/disentanglement/irs.py", *predictors)
plant(
    "place = quantile * jnp.maximum(count - 1, 0.0)",
    "place = quantile * jnp.maximum(count, 0.0)",
    "the quantile's place is off by one",
)
plant = of("vae_jax/evaluation/disentanglement/factor_vae.py", *groups)
plant(
    "(accuracy * (1 - accuracy) / num_test) ** 0.5",
    "(accuracy * (1 - accuracy) / num_train) ** 0.5",
    "the standard error is that of the training groups",
)
plant = of("vae_jax/evaluation/disentanglement/beta_vae.py", *groups)
plant(
    "(accuracy * (1 - accuracy) / num_test) ** 0.5",
    "(accuracy * (1 - accuracy) / num_train) ** 0.5",
    "the standard error is that of the training groups",
)

information = "evaluation_disentanglement_information", "evaluation_disentanglement"
plant = of("vae_jax/evaluation/disentanglement/_information.py", *information)
plant(
    "entropy(counts[0].sum(axis=-2))",
    "entropy(counts[0].sum(axis=-1))",
    "the entropy is that of the bins, not of the factor",
)
plant = of("vae_jax/evaluation/disentanglement/modularity.py", *information)
plant(
    "others = jnp.sum(counted, dtype=jnp.float32) - 1",
    "others = information.shape[1] - 1.0",
    "factors that do not vary count",
)

plant = of("vae_jax/evaluation/disentanglement/dci.py", *predictors)
plant(
    "gains.std(axis=0, ddof=1) / np.sqrt(len(gains))",
    "gains.std(axis=0, ddof=1)",
    "a gain must exceed three deviations, not standard errors",
)
plant(
    "inputs = _common.standardize(table.codes[train], table.codes[test])",
    "inputs = [_common.standardize(table.codes[each])[0] for each in (train, test)]",
    "test codes are standardized by themselves",
)
plant = of("vae_jax/evaluation/disentanglement/sap.py", *predictors)
plant(
    "floor = jnp.float32(1 / sizes)",
    "floor = jnp.zeros(len(sizes))",
    "a dead dimension has an accuracy of 0",
)
plant = of("vae_jax/evaluation/disentanglement/explicitness.py", *predictors)
plant(
    "count = np.where(positive, num_positive, num_negative)",
    "count = np.full(len(positive), len(positive))",
    "the error of the area counts both classes as one",
)

plant = of("vae_jax/evaluation/paired.py", "report")
plant(
    "error = gaps.std(ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else np.nan",
    "error = np.sqrt((values.var() + reference.var()) / len(gaps)) if len(gaps) > 1 else np.nan",
    "the error of a paired difference is that of two samples",
)
plant(
    "key = jax.random.fold_in(subject.key, positions[0])",
    "key = subject.key",
    "every block of a comparison has the same noise",
)
plant = of("vae_jax/lab/comparison.py", "report")
plant(
    "    if run.examples != first.examples:",
    "    if len(run.examples) != len(first.examples):",
    "runs of other test examples are compared",
)
plant(
    "    if len(tables.comparable([run.config, first.config])) > 1:",
    "    if len(tables.comparable([run.config, first.config])) > 2:",
    "densities are compared with probabilities",
)
plant = of("vae_jax/lab/comparison_page.py", "report")
plant(
    "is_better = (gap.mean > 0) == _HIGHER_IS_BETTER[term]",
    "is_better = gap.mean > 0",
    "a higher error is called better",
)
plant = of("vae_jax/lab/sweep_page.py", "report")
plant(
    "falling = sorted(group, key=lambda r: -tables.score(_known(runs[r].result)))",
    "falling = list(group)",
    "a page shows the first runs instead of the best",
)
