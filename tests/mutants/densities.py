"""Faults of layers of codes, samplers, clusters, priors of codes and mixtures of levels."""

from tests.mutants._lab import of

plant = of("vae_jax/posteriors/_hierarchy.py", "hierarchies")
plant(
    "size = 2 ** (num_groups - 1 - index)",
    "size = 2**index",
    "the groups grow upwards",
)
plant(
    'hidden = jnp.tanh(dense(own["hidden_0"], z * lift(read, z)))',
    'hidden = jnp.tanh(dense(own["hidden_0"], z))',
    "a group is conditioned on itself",
)

plant = of("vae_jax/posteriors/_layers.py", "hierarchies")
plant(
    "return standard - 0.5 * distributions.bound_logvar(logvar)",
    "return standard + 0.5 * distributions.bound_logvar(logvar)",
    "the density of a draw has the volume of the inverse map",
)
plant(
    "return z * lift(_hierarchy.groups(z.shape[-1], self.num_groups, None)[0], z)",
    "return z",
    "the decoder reads all groups",
)

plant = of("vae_jax/posteriors/ladder.py", "hierarchies")
plant(
    "return merged * kept, -jnp.log(both) * kept, *of_prior",
    "return merged * kept, logvar * kept, *of_prior",
    "a ladder keeps the variance of the evidence",
)

plant(
    "jnp.var(read, axis=0)",
    "jnp.std(read, axis=0)",
    "the variance of a batch is its deviation",
)
plant(
    "_MOMENTUM * before + (1.0 - _MOMENTUM) * of_batch",
    "(1.0 - _MOMENTUM) * before + _MOMENTUM * of_batch",
    "running statistics are those of the last batch",
)

plant = of("vae_jax/posteriors/vdvae.py", "vdvae")
plant(
    "(mean, logvar, known * step.mean, known * step.logvar)",
    "(mean, logvar, known * step.mean, jnp.zeros_like(logvar))",
    "the rate of a group assumes a prior of variance 1",
)
plant(
    "layout.to_maps(where_kept(z, latent_mask))",
    "layout.to_maps(jnp.zeros_like(z))",
    "the decoder does not read the code",
)
plant(
    "return kept[step.index] * (step.mean + deviation * codes[step.index]), None",
    "return kept[step.index] * (deviation * codes[step.index]), None",
    "draws of the prior have no mean",
)

plant = of("vae_jax/posteriors/_maps.py", "vdvae")
plant(
    "kept = jnp.maximum(num_kept / layout.num_places, 1.0)",
    "kept = jnp.float32(layout.channels)",
    "a masked path starts at the scale of the whole one",
)
plant(
    "falling = np.arange(len(self.maps))[::-1]",
    "falling = np.arange(len(self.maps))",
    "groups are counted from the top",
)
plant(
    "listed = jnp.swapaxes(values.reshape(-1, self.channels, self.num_places), 1, 2)",
    "listed = values.reshape(-1, self.num_places, self.channels)",
    "a code lists all numbers of a place before the next",
)
plant(
    'return mean + dense(own["mean"], hidden), logvar',
    'return dense(own["mean"], hidden), logvar',
    "q(z|x) does not read the mean of the encoder",
)

plant = of("vae_jax/rates.py", "hierarchies", "vdvae")
plant(
    'jnp.matmul(rates_per_dim, groups.T, precision="highest")',
    'jnp.matmul(rates_per_dim, groups[::-1].T, precision="highest")',
    "the rates of groups have each other's names",
)

plant = of("vae_jax/latents.py", "vdvae")
plant(
    "return mean + self.temperature * (z - mean)",
    "return self.temperature * z",
    "a temperature scales the mean too",
)

plant = of("vae_jax/residual.py", "vdvae")
plant(
    "return x[:, : size[0], : size[1]]",
    "return x[:, -size[0] :, -size[1] :]",
    "doubled maps are cropped at the wrong side",
)

plant = of("vae_jax/priors/transformer.py", "priors_codes")
plant(
    "return jnp.where(is_kept, spread, -math.log(num_codes) / code_dim)",
    "return spread",
    "masked one-hot codes are predicted",
)
plant(
    "values = jnp.pad(seen[:, :-1], ((0, 0), (1, 0), (0, 0)))",
    "values = seen",
    "a code reads itself",
)
plant(
    "return posterior.kept * jnp.repeat(",
    "return jnp.ones_like(posterior.kept) * jnp.repeat(",
    "masked codes cost something",
)

plant = of("vae_jax/samplers/mixture.py", "samplers")
plant(
    "if bic < least:",
    "if bic > least:",
    "the mixture of the largest BIC is taken",
)

plant = of("vae_jax/samplers/_sampler.py", "samplers")
plant(
    "return self.own.sample(key, num_samples) * self.scale[None] + self.center[None]",
    "return self.own.sample(key, num_samples) + self.center[None]",
    "draws keep the standardized scale",
)

plant = of("vae_jax/evaluation/clustering.py", "evaluation_clustering")
plant(
    "zip(*linear_sum_assignment(counts, maximize=True), strict=True)",
    "zip(*linear_sum_assignment(counts), strict=True)",
    "clusters get the labels that fit them least",
)

plant = of("vae_jax/objectives/rae.py", "objectives_deterministic")
plant(
    "code_norm = 0.5 * losses.sum_event(jnp.square(z))",
    "code_norm = losses.sum_event(jnp.square(z))",
    "the norm of a code counts twice",
)

plant = of("vae_jax/likelihoods/logistic_mixture.py", "likelihoods")
plant(
    "so_far = jnp.cumsum(jnp.stack(of_channels, axis=-2), axis=-2)",
    "so_far = jnp.stack(of_channels, axis=-2)",
    "channels of a pixel choose their components apart",
)
plant(
    "component_key, noise_key = jax.random.split(key)",
    "component_key, noise_key = key, None",
    "draws have no noise",
)

plant = of("vae_jax/distributions.py", "priors_codes")
plant(
    "return pull - (prior.log_probs(z) + nats)",
    "return pull - prior.log_probs(z)",
    "the rate of one-hot codes lacks the length of the uniform code",
)
