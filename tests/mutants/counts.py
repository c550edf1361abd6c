"""Faults of likelihoods of counts, proportions and heavy tails, and of what they are given."""

from tests.mutants._lab import of

DENSITIES = "properties_distributions", "likelihoods_counts"

plant = of("vae_jax/gammas.py", *DENSITIES)
plant("1 / 2 + t * (1 / 6", "1 / 2 + t * (1 / 3", "the deviance is wrong where it is small")
plant(
    "jnp.log(many)) - series",
    "jnp.log(many)) + series",
    "the series of Stirling has the wrong sign",
)
plant(
    "jnp.where(x > 0, log_ratio, 1.0)",
    "jnp.where(x > 0, log_ratio, 0.0)",
    "a count of 0 costs nothing",
)

plant = of("vae_jax/distributions.py", *DENSITIES)
plant(
    "        + (log_theta - jnp.log(num))\n",
    "",
    "a negative binomial variable is a binomial one of θ",
)
plant(
    "jnp.where(x > 0, is_open + log_prob, of_zero)",
    "jnp.where(x > 0, log_prob, of_zero)",
    "gates cost counts above 0 nothing",
)
plant(
    "axis=-1) - gammas.stirling(total[..., 0])",
    "axis=-1)",
    "a multinomial variable has the constant of Poisson variables",
)
plant(
    "- (half + 0.5) * jnp.log1p(0.5 * square / half)",
    "- half * jnp.log1p(0.5 * square / half)",
    "the tails of Student's t have the exponent ν",
)
plant(
    "log_part - distance - log_share",
    "log_part - distance",
    "a beta density is that of log-odds",
)

plant = of("vae_jax/likelihoods/_counts.py", "likelihoods_counts")
plant("jnp.log1p(jnp.where(x < 0, 0.0, x))", "x", "networks read counts as they are")
plant(
    "jax.nn.log_softmax(rates, axis=range(1, rates.ndim))",
    "jax.nn.log_softmax(rates, axis=-1)",
    "each row of an example has the total of all",
)
plant(
    "jnp.maximum(jnp.mean(totals(examples)), 1.0)",
    "jnp.maximum(jnp.max(totals(examples)), 1.0)",
    "rows that are drawn have the largest total",
)

plant = of("vae_jax/likelihoods/negative_binomial.py", "likelihoods_counts")
plant(
    "jnp.exp(log_gamma + log_dispersion + log_mean)",
    "jnp.exp(log_gamma + log_mean)",
    "draws have the mean θμ",
)
plant("jnp.maximum(1.0 - dispersion, 0.0)", "1.0", "the mode is the mean")
plant(
    "jnp.tile(own, (len(outputs) // len(own), *[1] * (own.ndim - 1)))",
    "jnp.repeat(own, len(outputs) // len(own), axis=0)",
    "samples of a row have the dispersion of another",
)
plant(
    "shape if not self.reads_condition else (self.num_conditions, *shape)",
    "shape",
    "all batches share the dispersions",
)

plant = of("vae_jax/likelihoods/zero_inflated_negative_binomial.py", "likelihoods_counts")
plant(
    "return jax.nn.sigmoid(-outputs[..., 1]) * super().mean(params, outputs)",
    "return super().mean(params, outputs)",
    "the mean is that of open gates",
)

plant = of("vae_jax/likelihoods/multinomial.py", "likelihoods_counts")
plant(
    "jnp.where(is_known, logits, -jnp.inf) if self.has_missing else logits",
    "logits",
    "missing counts have a share of the total",
)

plant = of("vae_jax/likelihoods/student_t.py", "likelihoods_counts")
plant(
    "jnp.log(half) - jax.random.loggamma(gamma_key, half)",
    "jax.random.loggamma(gamma_key, half) - jnp.log(half)",
    "draws are multiplied by the gamma variable",
)

plant = of("vae_jax/likelihoods/beta.py", "likelihoods_counts")
plant("(outputs, -outputs)", "(outputs, outputs)", "draws have the mean ½")

plant = of("vae_jax/likelihoods/__init__.py", "ranges")
plant(
    'return "none" if is_raw and scaling == "auto" else scaling',
    "return scaling",
    "counts are standardized",
)

plant = of("vae_jax/ranges.py", "ranges")
plant(
    "values.low >= 0 and is_whole and values.high",
    "values.low >= 0 and values.high",
    "fractions are counts",
)
plant("not (low > 0 and high < 1)", "not (low >= 0 and high <= 1)", "0 and 1 are proportions")
plant(
    "is_whole = is_whole and bool((known == np.floor(known)).all())",
    "is_whole = bool((known == np.floor(known)).all())",
    "the last block decides whether values are whole",
)

plant = of("vae_jax/model.py", "likelihoods_counts")
plant(
    'self.likelihood.mean(_part(params, "likelihood"), self.decode(params, z, like))',
    'self.likelihood.mean(_part(params, "likelihood"), self.decode(params, z))',
    "a reconstruction has the total of a typical row",
)
plant("return x, step.seen(x)", "return x, x", "a decoder is fed counts, not their logarithms")

plant = of("vae_jax/evaluation/collapse.py", "evaluation_collapse")
plant(
    "likelihood.log_prob(own, likelihood.sized(own, rows, x), x)",
    "likelihood.log_prob(likelihood.init(x.shape[1:]), likelihood.sized(own, rows, x), x)",
    "the floor has the initial dispersion",
)

plant = of("vae_jax/data/_sparse.py", "data_sparse", "data_reading")
plant(
    "return is_large and self.dense_bytes", "return self.dense_bytes", "full matrices stay sparse"
)
plant(
    "self._matrix[rows.ravel()].toarray()",
    "self._matrix[np.sort(rows.ravel())].toarray()",
    "the rows of a batch come in the order of the file",
)

plant = of("vae_jax/data/_market.py", "data_matrices")
plant("return matrix.T.tocsr(), [", "return matrix, [", "genes are examples")
plant("for place in (1, 0):", "for place in (0, 1):", "genes have the names of identifiers")

plant = of("vae_jax/data/_annotated.py", "data_matrices")
plant("else held.layers[layer]", "else held.X", "every layer is X")

plant = of("vae_jax/data/_ratings.py", "ratings")
plant("if len(rows) >= LEAST:", "if len(rows) > LEAST:", "users of five ratings keep none aside")
plant(
    'by_user = np.argsort(users, kind="stable")',
    "by_user = np.lexsort((-np.arange(len(users)), users))",
    "ratings are drawn in another order",
)
plant(
    "_first_seen(triplets.items[np.isin(triplets.users, users[0])])",
    "_first_seen(triplets.items)",
    "items of held-out users alone are learned",
)
plant("values[rows] >= least", "values[rows] > least", "the threshold itself does not count")

plant = of("vae_jax/evaluation/ranking.py", "ratings")
plant(
    "np.where(np.asarray(seen) > 0, -np.inf, np.asarray(scores, np.float64))",
    "np.asarray(scores, np.float64)",
    "known items are ranked",
)
plant("most = np.minimum(", "most = np.maximum(", "the best ranking has all wanted items")
plant("/ np.minimum(k, np.sum(", "/ np.maximum(1, np.sum(", "recall is of all wanted items")

plant = of("vae_jax/model.py", "likelihoods_counts")
plant(
    "decoder = self._started(decoder, self.likelihood.starts_near(rest))",
    "",
    "a decoder of counts begins at 1 for each",
)
