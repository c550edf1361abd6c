"""The objectives, and what they share."""

from ._lab import of

plant = of("vae_jax/objectives/__init__.py", "objectives_fit", "objectives")
plant(
    "**{**told, **given})",
    "**{**given, **told})",
    "defaults win over the values that are given",
)
plant(
    "number < self.high if self.is_open[1] else number <= self.high",
    "number < self.high if self.is_open[0] else number <= self.high",
    "the high end of an interval is open where the low one is",
)

plant = of("vae_jax/objectives/_terms.py", "objectives_discrete", "priors")
plant(
    "losses.straight_through(relaxed, z)",
    "losses.straight_through(z, relaxed)",
    "straight through: relaxed codes are decoded, without a gradient",
)
plant(
    "(posterior.mean - prior.mean[None, :]) / prior.deviation[None, :]",
    "posterior.mean - prior.mean[None, :]",
    "codes are not in units of the prior's deviation",
)

plant = of("vae_jax/objectives/_importance.py", "objectives_bounds")
plant(
    "log_weights.reshape(num_bounds, -1, log_weights.shape[1])",
    "log_weights.reshape(-1, num_bounds, log_weights.shape[1])",
    "M bounds of K samples are K of M",
)

plant = of("vae_jax/objectives/_adversary.py", "objectives_adversaries")
plant(
    "(logits(own, jax.lax.stop_gradient(z)) for z in (real, fake))",
    "(logits(own, z) for z in (real, fake))",
    "the discriminator's loss moves the encoder",
)
plant(
    "is_right = [of_real > 0, of_fake <= 0]",
    "is_right = [of_real > 0, of_fake > 0]",
    "the discriminator is right where it takes fakes for real",
)

plant = of("vae_jax/objectives/_surrogate.py", "objectives_surrogates")
plant(
    'fixed = {**jax.lax.stop_gradient(params), "likelihood"',
    'fixed = {**params, "likelihood"',
    "the likelihood trains the decoder beside the term that stands for it",
)

plant = of("vae_jax/objectives/contrastive.py", "objectives_contrastive")
plant(
    "first, second = map(code, jax.random.split(key))",
    "first, second = map(code, (key, key))",
    "both corruptions are the same",
)

plant = of("vae_jax/objectives/vae_gan.py", "objectives_surrogates")
plant(
    "model.decode_mean(fixed, z)",
    "model.decode_mean(params, z)",
    "the features train the decoder twice",
)
plant(
    "codes = jax.lax.stop_gradient(jnp.concatenate([z, model.without_masked(draws)]))",
    "codes = jnp.concatenate([z, model.without_masked(draws)])",
    "the discriminator's verdict trains the encoder",
)
plant(
    "_contest(own, x, jax.lax.stop_gradient(decoded))",
    "_contest(own, x, decoded)",
    "the decoder makes the discriminator's task easy",
)
plant(
    "return 0.5 * losses.squared_error(features, found)",
    "return losses.squared_error(features, found)",
    "the features have a variance of one half",
)

plant = of("vae_jax/objectives/ms_ssim.py", "objectives_surrogates")
plant(
    "loss = lambda_similarity * (1.0 - similarity) + beta * rate",
    "loss = lambda_similarity * similarity + beta * rate",
    "what is unlike x is rewarded",
)

plant = of("vae_jax/objectives/beta_vae.py", "objectives", "objectives_bounds")
plant(
    "distortion = distortion.mean(axis=0)",
    "distortion = distortion[0]",
    "of K samples the first alone counts",
)
plant(
    'losses.free_bits(model.grouped(rate_per_dim), least, batch["mask"])',
    "losses.free_bits(model.grouped(rate_per_dim), least)",
    "free bits count padding",
)

plant = of("vae_jax/objectives/beta_tc_vae.py", "objectives_disentangling", "objectives")
plant(
    "mutual_information + beta * total_correlation + dimension_wise_kl",
    "mutual_information + total_correlation + beta * dimension_wise_kl",
    "another part of the rate is weighted",
)

plant = of("vae_jax/objectives/ciwae.py", "objectives_bounds", "objectives")
plant(
    "-beta * log_weights.mean(axis=0) - (1.0 - beta) * bound",
    "-(1.0 - beta) * log_weights.mean(axis=0) - beta * bound",
    "β is the share of the other bound",
)

plant = of("vae_jax/objectives/denoising.py", "objectives_deterministic", "corruptions")
plant(
    "terms = _deterministic.terms(model, params, z, batch)",
    'terms = _deterministic.terms(model, params, z, {**batch, "x": x})',
    "what is to be restored is the corrupted x",
)

plant = of("vae_jax/objectives/dip_vae_i.py", "objectives_disentangling", "objectives")
plant(
    "losses.covariance(scaled.mean, mask)",
    "losses.covariance(scaled.mean)",
    "the covariance counts padding",
)

plant = of("vae_jax/objectives/dip_vae_ii.py", "objectives_disentangling", "objectives")
plant(
    "losses.aggregate_covariance(*scaled, mask)",
    "losses.covariance(scaled.mean, mask)",
    "the covariance is that of the means alone",
)

plant = of("vae_jax/objectives/dreg.py", "objectives_bounds", "objectives")
plant(
    "scaled = _importance.scale_gradient(z, shares)",
    "scaled = z",
    "the gradient through z is weighed once instead of twice",
)

plant = of("vae_jax/objectives/factor_vae.py", "objectives_adversaries", "objectives")
plant(
    '_adversary.logits(jax.lax.stop_gradient(params["objective"]), z)',
    '_adversary.logits(params["objective"], z)',
    "the total correlation trains the discriminator",
)
plant(
    '_adversary.terms(params["objective"], z, shuffled)',
    '_adversary.terms(params["objective"], shuffled, z)',
    "the discriminator is to tell shuffled codes as real",
)

plant = of("vae_jax/objectives/_aggregate.py", "objectives_divergences", "objectives")
plant(
    "sample(prior_key, len(z))",
    "sample(z_key, len(z))",
    "the draws of the prior have the noise of the codes",
)
plant(
    'batch["mask"], model.latent_mask, kernel',
    'batch["mask"], None, kernel',
    "the MMD counts masked dimensions",
)

plant = of("vae_jax/objectives/info_vae.py", "objectives_divergences", "objectives")
plant(
    '(alpha + lambda_mmd - 1.0) * terms["mmd"]',
    'lambda_mmd * terms["mmd"]',
    "the MMD's weight forgets α − 1",
)

plant = of("vae_jax/objectives/joint_vae.py", "objectives_discrete", "objectives")
plant(
    "jnp.minimum(discrete_capacity, model.latent.discrete_capacity)",
    "discrete_capacity",
    "more is aimed at than categories can hold",
)

plant = of("vae_jax/objectives/m2.py", "objectives_conditional", "objectives")
plant(
    "negentropy = jnp.where(is_known, 0.0, jnp.sum(jnp.exp(log_q) * log_q, axis=1))",
    "negentropy = jnp.sum(jnp.exp(log_q) * log_q, axis=1)",
    "labelled examples have the entropy of q(y|x)",
)
plant(
    "rows(hidden(len(codes[split])), codes[split])",
    "rows(codes[split], codes[split])",
    "evaluation is told the labels",
)
plant(
    "alpha * weight * classification",
    "alpha * classification",
    "the classifier's term lacks N/N_l",
)

plant = of("vae_jax/objectives/_conditions.py", "objectives_conditional")
plant(
    "highest = np.maximum(np.array(dataset.factor_sizes) - 1, 1)",
    "highest = np.array(dataset.factor_sizes)",
    "factors are not scaled to 1",
)

plant = of("vae_jax/objectives/piwae.py", "objectives_bounds", "objectives")
plant(
    "model, jax.lax.stop_gradient(params), posterior, z, batch",
    "model, params, posterior, z, batch",
    "the encoder's bound moves the decoder too",
)

plant = of("vae_jax/objectives/sparse.py", "objectives_deterministic", "objectives")
plant(
    "jnp.sum(rates * kept)",
    "jnp.sum(rates)",
    "masked dimensions have a price",
)
plant(
    'losses.batch_mean(z, batch["mask"])',
    "losses.batch_mean(z)",
    "mean activations count padding",
)

plant = of("vae_jax/objectives/stl.py", "objectives_bounds", "objectives")
plant(
    "density = jax.lax.stop_gradient(posterior)",
    "density = posterior",
    "the score of q is differentiated",
)

plant = of("vae_jax/objectives/swae.py", "objectives_divergences", "objectives")
plant(
    "lines = model.without_masked(normal.sample(line_key, num_projections))",
    "lines = normal.sample(line_key, num_projections)",
    "lines ignore the mask",
)

plant = of("vae_jax/objectives/tvo.py", "objectives_bounds", "objectives")
plant(
    "jnp.arange(num_partitions - 1) / max(num_partitions - 1, 1)",
    "jnp.arange(num_partitions - 1) / num_partitions",
    "the partitions are not at equal ratios up to 1",
)
plant(
    "z, log_q = jax.lax.stop_gradient(rates.draw(posterior, key, num_samples))",
    "z, log_q = rates.draw(posterior, key, num_samples)",
    "samples are differentiated beside their scores",
)

plant = of("vae_jax/objectives/wae_gan.py", "objectives_adversaries", "objectives")
plant(
    "adversarial = jax.nn.softplus(-logits)",
    "adversarial = jax.nn.softplus(logits)",
    "codes are drawn away from the prior",
)

plant = of("vae_jax/objectives/_quantization.py", "objectives_discrete", "objectives")
plant(
    "losses.commitment(features, jnp.cumsum(posterior.stages, axis=1))",
    "losses.commitment(features, posterior.stages)",
    "features commit to each stage's code alone, not to the sum so far",
)
plant(
    "losses.commitment(posterior.stages, posterior.residuals)",
    "losses.commitment(posterior.residuals, posterior.stages)",
    "the codebook's loss moves the features",
)
plant(
    "decay * old + (1.0 - decay) * new, own, new)",
    "(1.0 - decay) * old + decay * new, own, new)",
    "the codebook's averages are weighed by 1 − decay",
)
plant(
    'choices = _choices(model.encode(before, batch["x"]), batch["mask"])',
    'choices = _choices(model.encode(after, batch["x"]), batch["mask"])',
    "the codebook follows features that the loss did not see",
)
plant(
    "count = jnp.where(is_dead, even, count)",
    "count = jnp.where(is_dead, count, count)",
    "a code that was revived counts as dead at the next step",
)

plant = of("vae_jax/objectives/_layers.py", "objectives_stacked", "objectives_dbn")
plant(
    "is_trained = (layer == i) | (layer == num)",
    "is_trained = layer == i",
    "the whole is never trained",
)
plant(
    "corruptions.masking(key, h, level) if is_hidden else h",
    "h",
    "layers are pretrained without noise",
)

plant = of("vae_jax/objectives/dbn.py", "objectives_dbn")
plant(
    "jnp.asarray(pretrained) >= 1.0",
    "jnp.asarray(pretrained) > 1.0",
    "the classifier's loss is averaged over rows of unknown label",
)
