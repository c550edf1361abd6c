"""Faults of the learned priors and of rates without a closed form."""

from tests.mutants._lab import of

plant = of("vae_jax/rates.py", "priors_learned")
plant(
    "ratio = log_q - prior.log_prob(z)",
    "ratio = prior.log_prob(z) - log_q",
    "the estimated rate has the other sign",
)
plant(
    "return values if z.ndim == 2 else values.mean(axis=0)",
    "return values if z.ndim == 2 else values.sum(axis=0)",
    "the rates of several draws are added",
)
plant(
    "joint = prior.log_prob(z * latent_mask[None, :])",
    "joint = prior.log_prob(z)",
    "a masked dimension counts in the decomposed rate",
)
plant(
    "rates = posterior.log_probs(z) - prior.log_probs(z)",
    "rates = posterior.log_probs(z) - prior.marginal_log_probs(z)",
    "rates of dimensions are not those of the chain rule",
)

plant = of("vae_jax/priors/_components.py", "priors_learned")
plant(
    "- 2.0 * _times(moved, apart * precisions)",
    "- 2.0 * _times(moved, apart)",
    "the means of components are not in units of their deviation",
)
plant(
    "constant = self.log_weights - 0.5 *",
    "constant = self.logits - 0.5 *",
    "the weights of components are not normalized",
)
plant(
    "chosen = DiagonalGaussian(self.means[component], self.logvars[component])",
    "chosen = DiagonalGaussian(self.means[component], 2.0 * self.logvars[component])",
    "draws of a mixture have another spread",
)
plant(
    'return jnp.sqrt(jnp.matmul(weights, variances + apart, precision="highest"))',
    'return jnp.sqrt(jnp.matmul(weights, variances, precision="highest"))',
    "the deviation of a mixture is that within its components",
)
plant(
    "if len(logits) == 1:",
    "if False:",
    "a mixture of one component has no closed form",
)

plant = of("vae_jax/priors/mixture.py", "priors_learned")
plant(
    'mean, logvar = (where_kept(params[name], latent_mask) for name in ("mean", "logvar"))',
    'mean, logvar = (params[name] for name in ("mean", "logvar"))',
    "masked dimensions of a mixture are not N(0, 1)",
)

plant = of("vae_jax/priors/mixture.py", "phases")
plant(
    '"mean": found.centers,',
    '"mean": jnp.zeros_like(found.centers),',
    "a mixture does not start at clusters of codes",
)
plant(
    "if len(z) < num:",
    "if False:",
    "a mixture starts at fewer codes than it has components",
)

plant = of("vae_jax/priors/_clusters.py", "phases")
plant(
    "own = jax.nn.one_hot(nearest, len(centers)) * weights[:, None]",
    "own = jax.nn.one_hot(nearest, len(centers))",
    "padding moves the centers of clusters",
)
plant(
    "centers = every[jnp.argmin(errors)]",
    "centers = every[jnp.argmax(errors)]",
    "of several starts the worst is taken",
)
plant(
    "return Clusters(centers + middle[None], shares,",
    "return Clusters(centers, shares,",
    "centers are left where the points were moved to",
)

plant = of("vae_jax/phases.py", "phases")
plant(
    'return of(model, {**still, "prior": params["prior"]})',
    "return of(model, still)",
    "the prior alone has no gradient",
)
plant(
    'is_still = now == (_CODES if name == "prior" else _PRIOR)',
    'is_still = (now == _CODES) & (name == "prior")',
    "codes go on moving while the prior is trained",
)
plant(
    "lambda params: of(model.replace(prior_family=None), params),",
    "lambda params: of(model, params),",
    "codes that are trained first see the prior",
)
plant(
    'prior = _select(_index(prior_phase) == _PRIOR, started, params["prior"])',
    "prior = started",
    "the last phase throws away what the prior has learned",
)

plant = of("vae_jax/training.py", "phases", "training")
plant(
    "params = jax.lax.cond(is_new, begin, _as_it_is, state.params)",
    "params = jax.lax.cond(is_new, _as_it_is, _as_it_is, state.params)",
    "a phase does not begin with its own parameters",
)
plant(
    "ema = None if state.ema is None else jax.tree.map(select, params, state.ema)",
    "ema = state.ema",
    "the average goes on from the parameters before a phase",
)

plant = of("vae_jax/priors/vamp.py", "priors_learned")
plant(
    'if self.pseudo_inputs == "data":',
    'if self.pseudo_inputs != "data":',
    "pseudo-inputs that are training rows are learned",
)

plant = of("vae_jax/priors/_flow.py", "priors_learned")
plant(
    "log_det = log_det + change",
    "log_det = log_det - change",
    "the volume of a flow has the other sign",
)
plant(
    "for index, layer in reversed([*enumerate(self.layers)]):",
    "for index, layer in enumerate(self.layers):",
    "the layers of a flow are inverted in the wrong order",
)

plant = of("vae_jax/priors/realnvp.py", "priors_learned")
plant(
    "return parity if latent_mask is None else parity * latent_mask",
    "return parity",
    "a coupling reads masked dimensions",
)
plant(
    "moves = _of_parity(index + 1, latent_dim, latent_mask)",
    "moves = _of_parity(index, latent_dim, latent_mask)",
    "a coupling moves what it reads",
)

plant = of("vae_jax/flows.py", "priors_learned")
plant(
    "return _MAX_LOG_SCALE * scale * moved, shift * moved",
    "return _MAX_LOG_SCALE * scale * moved, shift",
    "a flow moves the dimensions that it reads",
)
plant(
    "(degree[:, None] < place[None, :])",
    "(degree[:, None] <= place[None, :])",
    "an autoregressive layer reads the dimension that it moves",
)
plant(
    "place = place if index % 2 == 0 else num - 1.0 - place",
    "place = place if index % 2 == 0 else latent_dim - 1.0 - place",
    "the reverse order counts masked dimensions",
)
