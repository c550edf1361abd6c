"""Losses, distributions, likelihoods, and what is added to or taken from x."""

from ._lab import of

OF_LOSSES = ("losses", "objectives_disentangling", "properties_losses")

plant = of("vae_jax/losses/reductions.py", *OF_LOSSES)
plant(
    "mask * values, 0.0), axis=0) / jnp.sum(mask)",
    "mask * values, 0.0), axis=0) / mask.shape[0]",
    "a mean over the rows that count is divided by all rows",
)

plant = of("vae_jax/losses/distortions.py", *OF_LOSSES)
plant(
    "* logits_dot + logits * x_dot)",
    "* logits_dot)",
    "the cross-entropy has no gradient in x",
)
plant(
    "jnp.mean(batch_mean(jnp.square(zero_padding(x - mean, mask)), mask))",
    "jnp.mean(batch_mean(jnp.square(zero_padding(x - mean, mask))))",
    "the optimal variance counts padding",
)

plant = of("vae_jax/losses/similarity.py", "properties_losses")
plant(
    "_mean_of(luminance * contrast if is_last else contrast)",
    "_mean_of(luminance * contrast)",
    "luminance counts at every scale",
)
plant(
    "variances = seen(jnp.square(x) + jnp.square(y)) - of_means[1]",
    "variances = seen(jnp.square(x) + jnp.square(y))",
    "second moments stand for variances",
)

plant = of("vae_jax/losses/rates.py", *OF_LOSSES)
plant(
    "above = batch_mean(rate_per_dim, mask) >= threshold",
    "above = batch_mean(rate_per_dim) >= threshold",
    "free bits: padding decides which dimensions are above the floor",
)
plant(
    "penalty = gamma * jnp.abs(batch_mean(rate, mask) - capacity)",
    "penalty = gamma * jnp.maximum(batch_mean(rate, mask) - capacity, 0.0)",
    "a rate below the capacity costs nothing",
)

plant = of("vae_jax/losses/bounds.py", *OF_LOSSES, "objectives_bounds")
plant(
    "jnp.log(float(log_weights.shape[0]))",
    "jnp.log(float(log_weights.shape[1]))",
    "importance weights are averaged over B instead of K",
)
plant(
    "near = 0.5 * order[None]",
    "near = -0.5 * order[None]",
    "Rényi near α = 1: the sign of the second-order term",
)

plant = of("vae_jax/losses/aggregate.py", *OF_LOSSES)
plant(
    "(size - others) / (size * others), 1.0 / others)",
    "1.0 / others, 1.0 / others)",
    "stratified weights are not corrected for the batch's share of the data",
)
plant(
    "densities = densities * kept[None, None, :]",
    "densities = densities * jnp.ones_like(kept)[None, None, :]",
    "log q(z) counts masked dimensions",
)
plant(
    'centered.T, centered, precision="highest") / jnp.sum(weights)',
    'centered.T, centered, precision="highest") / (jnp.sum(weights) - 1.0)',
    "the covariance is divided by n − 1",
)
plant(
    "jnp.where(identity > 0, diagonal, off_diagonal)",
    "jnp.where(identity > 0, off_diagonal, diagonal)",
    "the weights of variances and covariances are exchanged",
)

plant = of("vae_jax/losses/discrepancies.py", *OF_LOSSES)
plant(
    " * (1.0 - jnp.eye(len(x), dtype=rows.dtype))",
    "",
    "the MMD counts pairs of a row with itself: biased",
)
plant(
    "jnp.mean(jnp.sum(squares, axis=1) / jnp.sum(rows))",
    "jnp.mean(jnp.sum(squares, axis=1) / len(x))",
    "the sliced Wasserstein distance is divided by all rows",
)

plant = of("vae_jax/losses/adversaries.py", *OF_LOSSES, "objectives_adversaries")
plant(
    "(None, 0))(key, jnp.arange(z.shape[1]))",
    "(None, 0))(key, jnp.zeros(z.shape[1], int))",
    "all dimensions are shuffled by one permutation",
)
plant(
    "jax.nn.softplus(-real) + jax.nn.softplus(fake)",
    "jax.nn.softplus(-real) + jax.nn.softplus(-fake)",
    "the discriminator is to call fakes real",
)

plant = of("vae_jax/losses/quantization.py", *OF_LOSSES)
plant(
    "sum_event(jnp.square(features - jax.lax.stop_gradient(quantized)))",
    "sum_event(jnp.square(features - quantized))",
    "the commitment moves the codes too",
)

plant = of("vae_jax/losses/contraction.py", "objectives_deterministic")
plant(
    "return jnp.mean(jax.vmap(squares)(jax.random.split(key, num_probes)), axis=0)",
    "return jnp.sum(jax.vmap(squares)(jax.random.split(key, num_probes)), axis=0)",
    "the Jacobian's norm is summed over probes",
)

plant = of("vae_jax/losses/contrast.py", "objectives_contrastive")
plant(
    "is_other = ~jnp.eye(2 * num, dtype=bool) & jnp.tile(counts, 2)[None, :]",
    "is_other = ~jnp.eye(2 * num, dtype=bool)",
    "padding is an alternative",
)
plant(
    "is_other = ~jnp.eye(2 * num, dtype=bool) & jnp.tile(counts, 2)[None, :]",
    "is_other = jnp.tile(counts, 2)[None, :] & True",
    "a code is its own alternative",
)
plant("codes * jax.lax.rsqrt(lengths + 1e-6)", "codes", "the length of a code counts")
plant("0.5 * (each[:num] + each[num:])", "each[:num]", "one version alone looks for its partner")

plant = of("vae_jax/losses/bounds.py", "objectives_bounds")
plant(
    " * (num_samples / (num_samples - 1))",
    "",
    "the TVO's covariance has K for K − 1 below",
)

plant = of("vae_jax/distributions.py", "distributions", "properties_distributions")
plant(
    "jnp.expm1(log_ratio) - log_ratio + jnp.square(mean - prior_mean) * jnp.exp(-prior_logvar)",
    "jnp.expm1(log_ratio) - log_ratio",
    "the KL lacks the term of the means",
)
plant(
    "jnp.square(mean - prior_mean) * jnp.exp(-prior_logvar)",
    "jnp.square(mean - prior_mean)",
    "the KL's means are not in units of the prior's deviation",
)
plant(
    "log_scale = 0.5 * (_align(bound_logvar(logvar), x) - math.log(2))",
    "log_scale = 0.5 * _align(bound_logvar(logvar), x)",
    "Laplace: b² is taken for the variance 2b²",
)
plant(
    "lowest, highest = x < half_bin, x > 1 - half_bin",
    "lowest, highest = x < half_bin, x > 1 + half_bin",
    "discretized logistic: the highest level is not open above",
)
plant(
    "groups.mean(axis=-1, keepdims=True), groups.shape)",
    "groups.sum(axis=-1, keepdims=True), groups.shape)",
    "each category carries the rate of its whole variable",
)
plant(
    "variance = self.mean * (1.0 - self.mean)",
    "variance = self.mean",
    "the deviation of a one-hot dimension is √p",
)
plant(
    "/ codes.shape[0]\n        # Σ = V diag(s) Vᵀ",
    "/ (codes.shape[0] - 1)\n        # Σ = V diag(s) Vᵀ",
    "a Gaussian is fit with n − 1 below",
)
plant(
    "moved = jnp.matmul(eps, self.factor.T,",
    "moved = jnp.matmul(eps, self.factor,",
    "draws have the covariance factorᵀ · factor",
)
plant(
    "(None, 0))(key, jnp.arange(latent_dim)))",
    "(None, 0))(key, jnp.zeros(latent_dim, int)))",
    "all latent dimensions share their noise",
)

plant = of("vae_jax/likelihoods/text.py", "likelihoods", "recurrent")
plant(
    "jnp.cumsum(is_end, axis=1) > is_end",
    "jnp.cumsum(is_end, axis=1) > 0",
    "the end of a string is missing too",
)

plant = of("vae_jax/likelihoods/_scaled.py", "likelihoods", "recurrent")
plant(
    'return jax.lax.stop_gradient(logvar) if self.variance == "given" else logvar',
    "return logvar",
    "a variance that is given is trained",
)

plant = of("vae_jax/likelihoods/laplace.py", "likelihoods", "recurrent")
plant(
    "# b = exp(½ (logvar − log 2))\n"
    "        scale = jnp.broadcast_to(jnp.exp(0.5 * (logvar - math.log(2))), mean.shape)",
    "scale = jnp.broadcast_to(jnp.exp(0.5 * logvar), mean.shape)",
    "Laplace draws have twice the variance",
)

plant = of("vae_jax/likelihoods/_levels.py", "likelihoods", "recurrent")
plant(
    "bin_edge = (k - 0.5) / (num_levels - 1)",
    "bin_edge = (k + 0.5) / (num_levels - 1)",
    "the mean of levels is one level too low",
)

plant = of("vae_jax/likelihoods/gaussian.py", "likelihoods", "recurrent")
plant(
    "self._mean(outputs), mask)}",
    "self._mean(outputs))}",
    "the optimal variance is not told of padding",
)

plant = of("vae_jax/likelihoods/categorical.py", "likelihoods", "recurrent")
plant(
    "level = jnp.round(at_least_float32(x) * (self.num_levels - 1)).astype(int)",
    "level = (at_least_float32(x) * (self.num_levels - 1)).astype(int)",
    "levels are cut instead of rounded",
)

plant = of("vae_jax/likelihoods/_likelihood.py", "likelihoods", "recurrent")
plant(
    "return losses.sum_event(jnp.where(is_known, values, 0.0))",
    "return losses.sum_event(values)",
    "what is missing counts as if it were 0",
)

plant = of("vae_jax/rbm.py", "rbm")
plant(
    "fantasy = jax.lax.stop_gradient(gibbs_chain(key, v, *machine, **options))",
    "fantasy = gibbs_chain(key, v, *machine, **options)",
    "contrastive divergence differentiates the chain",
)
plant(
    "jax.lax.fori_loop(0, num_steps - 1, step, v)",
    "jax.lax.fori_loop(0, num_steps, step, v)",
    "the Gibbs chain is a step too long",
)

plant = of("vae_jax/corruptions.py", "corruptions")
plant(
    "places[:, axis] * (size - side + 1.0)",
    "places[:, axis] * (size - side)",
    "a patch never lies at the last row or column",
)
plant(
    "shown = jnp.where(jnp.isnan(x), x, CORRUPTIONS[name](key, x, level))",
    "shown = CORRUPTIONS[name](key, x, level)",
    "a corruption puts 0 where x is missing",
)
