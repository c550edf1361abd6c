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
    "return z, sums.over_last(log_probs - 0.5 * logvars)",
    "return z, sums.over_last(log_probs + 0.5 * logvars)",
    "the density of a draw has the volume of the inverse map",
)
plant(
    "return z * lift(_hierarchy.groups(z.shape[-1], self.num_groups, None)[0], z)",
    "return z",
    "the decoder reads all groups",
)

plant = of("vae_jax/posteriors/ladder.py", "hierarchies")
plant(
    "return merged * kept, -jnp.log(both) * kept",
    "return merged * kept, logvar * kept",
    "a ladder keeps the variance of the evidence",
)

plant = of("vae_jax/priors/transformer.py", "priors_codes")
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
