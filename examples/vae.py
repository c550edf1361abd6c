"""A variational autoencoder on handwritten digits, on one page: `python examples/vae.py`.

The network, the training loop and the optimizer are written out; the terms of the loss come from
`vae_jax.losses`, the sampling from `vae_jax.distributions`. The ELBO is in nats per digit:
E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)) (Kingma and Welling 2014, arXiv 1312.6114, equation 3).
"""

import argparse
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from sklearn import datasets, model_selection

from vae_jax import distributions, losses


class Encoder(nn.Module):
    """Maps x [B, D] to the mean and the log variance of q(z|x), [B, L] each."""

    latent_dim: int
    width: int = 256

    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(self.latent_dim)(h), nn.Dense(self.latent_dim)(h)


class Decoder(nn.Module):
    """Maps z [B, L] to the logits of p(x|z), [B, D]."""

    num_pixels: int
    width: int = 256

    @nn.compact
    def __call__(self, z):
        return nn.Dense(self.num_pixels)(nn.relu(nn.Dense(self.width)(z)))


class Terms(NamedTuple):
    """The two terms of the ELBO, [B] each, in nats."""

    distortion: jax.Array  # −E_q[log p(x|z)], estimated with one sample of z
    rate: jax.Array  # KL(q(z|x) ‖ N(0, I))


def elbo_terms(modules, params, x, key) -> Terms:
    """Encodes x [B, D], draws z with the reparameterization trick, and decodes it."""
    encoder, decoder = modules
    mean, logvar = encoder.apply(params["encoder"], x)
    z = distributions.reparameterize(key, mean, logvar)
    logits = decoder.apply(params["decoder"], z)
    return Terms(losses.bernoulli_distortion(x, logits), losses.gaussian_rate(mean, logvar))


def load_digits():
    """Returns train and test digits, binarized, [N, 64] each."""
    pixels, _ = datasets.load_digits(return_X_y=True)
    x = (pixels > 8).astype("float32")
    train, test = model_selection.train_test_split(x, test_size=0.2, random_state=0)
    return jnp.asarray(train), jnp.asarray(test)


def make_step(modules, optimizer, beta):
    """Returns the jitted step: (params, opt_state, x [B, D], key) to the next two."""

    def loss(params, x, key):
        terms = elbo_terms(modules, params, x, key)
        return losses.batch_mean(losses.beta_elbo_loss(*terms, beta=beta))

    @jax.jit
    def step(params, opt_state, x, key):
        gradient = jax.grad(loss)(params, x, key)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return step


def train(args):
    """Trains a VAE and returns (modules, params, mean terms of the test digits)."""
    x, x_test = load_digits()
    modules = Encoder(args.latent_dim), Decoder(x.shape[1])
    init_key, train_key, test_key = jax.random.split(jax.random.key(args.seed), 3)
    keys = jax.random.split(init_key)
    params = {
        "encoder": modules[0].init(keys[0], x[:1]),
        "decoder": modules[1].init(keys[1], jnp.zeros((1, args.latent_dim))),
    }
    optimizer = optax.adam(args.learning_rate)
    opt_state, step = optimizer.init(params), make_step(modules, optimizer, args.beta)
    for epoch in range(args.epochs):
        order_key, *step_keys = jax.random.split(
            jax.random.fold_in(train_key, epoch), 1 + len(x) // args.batch_size
        )
        order = jax.random.permutation(order_key, len(x))
        for i, key in enumerate(step_keys):
            rows = order[i * args.batch_size : (i + 1) * args.batch_size]
            params, opt_state = step(params, opt_state, x[rows], key)
    terms = jax.tree.map(losses.batch_mean, elbo_terms(modules, params, x_test, test_key))
    return modules, params, terms


def show(logits) -> str:
    """Draws digits [N, 64] side by side with characters."""
    digits = (logits > 0).reshape(-1, 8, 8).tolist()
    lines = (("".join(" █"[pixel] for pixel in digit[row]) for digit in digits) for row in range(8))
    return "\n".join("  ".join(line) for line in lines)


def main(argv=None):
    """Trains, prints the ELBO of the test digits, and draws eight samples."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the rate")
    parser.add_argument("--latent_dim", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    (_, decoder), params, terms = train(args)
    elbo = -(terms.distortion + terms.rate)
    print(f"test ELBO {elbo:.2f} nats: distortion {terms.distortion:.2f}, rate {terms.rate:.2f}")
    z = jax.random.normal(jax.random.key(1), (8, args.latent_dim))
    print(show(decoder.apply(params["decoder"], z)))
    return terms


if __name__ == "__main__":
    main()
