"""The linear VAE has an exact answer, probabilistic PCA: the whole path is held against it.

Lucas et al. 2019, arXiv 1911.02469; Tipping & Bishop 1999. At W = U(Λ − σ²I)^½, σ² = mean of the
discarded eigenvalues, V = M⁻¹Wᵀ, D = σ²M⁻¹, M = WᵀW + σ²I the ELBO equals the log-likelihood.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import data, fitting, likelihoods, networks, objectives
from vae_jax.evaluation import elbo
from vae_jax.model import Model


class PPCA(NamedTuple):
    """Maximum likelihood in closed form: mean [D], W [D, q], variance, in float64."""

    mean: np.ndarray
    weights: np.ndarray
    variance: float

    @classmethod
    def fit(cls, x, q):
        mean = x.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
        values, vectors = values[::-1], vectors[:, ::-1]
        variance = values[q:].mean()
        return cls(mean, vectors[:, :q] * np.sqrt(values[:q] - variance), variance)

    def log_likelihood(self, x):
        """Mean of log N(x; mean, WWᵀ + σ²I) over x [N, D], in nats."""
        size = len(self.mean)
        covariance = self.weights @ self.weights.T + self.variance * np.eye(size)
        centred = x - self.mean
        _, log_determinant = np.linalg.slogdet(covariance)
        distance = np.einsum("nd,nd->n", centred, np.linalg.solve(covariance, centred.T).T)
        return float(np.mean(-0.5 * (size * np.log(2 * np.pi) + log_determinant + distance)))

    def params(self):
        """The same model as parameters of the linear network with a learned variance."""
        q = self.weights.shape[1]
        m = self.weights.T @ self.weights + self.variance * np.eye(q)
        gain = np.linalg.solve(m, self.weights.T)
        tree = {
            "encoder": {
                "mean": {"kernel": gain.T, "bias": -gain @ self.mean},
                "logvar": np.log(self.variance / np.diag(m)),
            },
            "decoder": {"latent": {"kernel": self.weights.T, "bias": self.mean}},
            "likelihood": {"logvar": np.log(self.variance)},
        }
        return jax.tree.map(jnp.float32, tree)


def linear_model(shape, q):
    encoder, decoder = networks.build("linear", shape=shape, latent_dim=q)
    return Model(encoder, decoder, likelihoods.Gaussian("learned"), shape, q)


def float_rows(dataset, split):
    return np.asarray(dataset.decode(jnp.asarray(split.x)), np.float64).reshape(len(split), -1)


@pytest.fixture(scope="module")
def digits():
    dataset = data.load("digits", num_valid=0)
    return dataset, float_rows(dataset, dataset.train)


def test_network_and_oracle_have_the_same_parameters(digits):
    dataset, x = digits
    params = PPCA.fit(x, 3).params()
    own = linear_model(dataset.shape, 3).param_shapes()
    assert jax.tree.map(lambda leaf: leaf.shape, own) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize("q", [1, 2, 10])
def test_importance_weights_are_constant_at_the_optimum(digits, q):
    """log p(x|z) + log p(z) − log q(z|x) = log p(x) for every z: the posterior is exact."""
    dataset, x = digits
    ppca = PPCA.fit(x, q)
    model, params = linear_model(dataset.shape, q), ppca.params()
    batch = {"x": jnp.asarray(x, jnp.float32).reshape(-1, *dataset.shape), "mask": jnp.ones(len(x))}

    @jax.jit
    def log_weights(params, seed):
        posterior = model.encode(params, batch["x"])
        z = posterior.sample(jax.random.key(seed))
        log_joint = model.prior(params).log_prob(z) - model.distortion(params, z, batch)
        return log_joint - posterior.log_prob(z)

    weights = [np.float64(log_weights(params, seed)) for seed in range(2)]
    np.testing.assert_allclose(weights[0], weights[1], atol=2e-3)
    assert weights[0].mean() == pytest.approx(ppca.log_likelihood(x), abs=2e-3)


@pytest.mark.parametrize(
    ("q", "train", "test"),
    [
        *(
            pytest.param(*values, marks=pytest.mark.slow)
            for values in (
                (2, 12.428, 14.360),
                (10, 182.155, 186.024),
                (20, 299.758, None),
                (30, 385.653, 394.616),
                (50, 507.905, 517.603),
            )
        ),
    ],
)
def test_elbo_equals_the_log_likelihood_of_mnist(data_dir, q, train, test):
    """The published values for all 60,000 training images, pixels/255."""
    dataset, x, _ = mnist(data_dir)
    params = PPCA.fit(x, q).params()
    for split, expected in ((dataset.train, train), (dataset.test, test)):
        if expected is None:
            continue
        result = elbo.evaluate(
            objectives.load("beta_vae"),
            linear_model(dataset.shape, q),
            params,
            jnp.asarray(split.x),
            jax.random.key(0),
            {},
            preprocess=lambda stored, key: dataset.decode(stored),
        )
        # the spread over z, not over x: tr(D WᵀW)/σ² ≈ q, so √(q/2N) nats
        spread = 4 * np.sqrt(q / 2 / len(split))
        assert float(result.terms["elbo"]) == pytest.approx(expected, abs=spread + 0.002)


def mnist(data_dir):
    dataset = data.load("mnist", data_dir=data_dir, num_valid=0)
    return dataset, float_rows(dataset, dataset.train), float_rows(dataset, dataset.test)


def train_linear(dataset, q, *, epochs, batch_size, learning_rate):
    model = linear_model(dataset.shape, q)
    trained = fitting.fit(
        "beta_vae",
        model,
        dataset,
        learning_rate=f"cosine({learning_rate}, 0, 100%)",
        epochs=epochs,
        batch_size=batch_size,
    )
    return model, trained.params


def evaluate(dataset, split, model, params):
    result = elbo.evaluate(
        objectives.load("beta_vae"),
        model,
        params,
        jnp.asarray(split.x),
        jax.random.key(0),
        {},
        preprocess=lambda stored, key: dataset.decode(stored),
    )
    return float(result.terms["elbo"])


@pytest.mark.parametrize("q", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_training_finds_the_log_likelihood_of_digits(digits, q):
    dataset, x = digits
    model, params = train_linear(dataset, q, epochs=300, batch_size=100, learning_rate=1e-2)
    expected = PPCA.fit(x, q).log_likelihood(x)
    assert evaluate(dataset, dataset.train, model, params) == pytest.approx(expected, abs=0.25)


@pytest.mark.slow
def test_training_finds_the_log_likelihood_of_mnist(data_dir):
    """q = 10 on all 60,000 images: 182.155 nats on train, 186.024 on test."""
    dataset, _, _ = mnist(data_dir)
    model, params = train_linear(dataset, 10, epochs=20, batch_size=100, learning_rate=1e-2)
    assert evaluate(dataset, dataset.train, model, params) == pytest.approx(182.155, abs=0.3)
    assert evaluate(dataset, dataset.test, model, params) == pytest.approx(186.024, abs=0.3)
