"""Faults of the learned priors and of rates without a closed form."""

from tests.mutants._lab import of

plant = of("vae_jax/rates.py", "priors_learned")
plant(
    "ratio = log_q - prior.log_prob(z)",
    "ratio = prior.log_prob(z) - log_q",
    "the estimated rate has the other sign",
)
plant(
    "return ratio if z.ndim == 2 else ratio.mean(axis=0)",
    "return ratio if z.ndim == 2 else ratio.sum(axis=0)",
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
