"""A prior of discrete codes: causal, normalized, uniform at first, learned beside the codes."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vae_jax
from vae_jax import distributions, latents, objectives, priors, rates
from vae_jax.errors import UsageError
from vae_jax.priors.transformer import CausalCodes
from vae_jax.storage import exported

KEY = jax.random.key(0)
SMALL = {"num_layers": 2, "num_heads": 2, "model_width": 8}
STAGES, CODES, SIZE = 2, 3, 2
"""S, K and D of the codes."""


def density(num_groups, num_stages=STAGES, amount=0.7):
    """A density whose parameters are like no others."""
    prior, latent = priors.Transformer(**SMALL), latents.Quantized(CODES, SIZE, num_stages)
    sizes = priors.Sizes(num_groups * SIZE, None, (4,), latent)
    leaves, tree = jax.tree.flatten(prior.init(KEY, sizes))
    keys = jax.random.split(jax.random.key(5), len(leaves))
    moved = [
        leaf + amount * jax.random.normal(k, leaf.shape)
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    codebook = jax.random.normal(KEY, (num_stages, CODES, SIZE))
    params = jax.tree.unflatten(tree, moved)
    return prior.of(params, num_groups * SIZE, codebook=codebook)


def test_the_probabilities_of_all_codes_sum_to_one():
    num_groups = 2
    tokens = list(itertools.product(range(CODES), repeat=STAGES * num_groups))
    indices = jnp.array(tokens).reshape(-1, STAGES, num_groups)
    each = jax.jit(CausalCodes.code_log_probs)(density(num_groups), indices)
    total = np.exp(np.float64(each.sum(axis=(1, 2)))).sum()
    assert total == pytest.approx(1.0, abs=1e-5)
    assert np.ptp(np.asarray(each.sum(axis=(1, 2)))) > 1.0


def test_a_code_depends_on_those_before_it_alone():
    own, tokens = density(3), jnp.zeros((1, 6), int)
    logits = jax.jit(CausalCodes.logits)
    before = logits(own, tokens)[0]
    for t in range(6):
        changed = logits(own, tokens.at[0, t].set(1))[0]
        np.testing.assert_array_equal(changed[: t + 1], before[: t + 1])
        assert t == 5 or (changed[t + 1] != before[t + 1]).all()


def test_draws_are_as_often_as_the_density_says():
    own, num = density(1), 20_000
    z = jax.jit(CausalCodes.sample, static_argnums=2)(own, jax.random.key(3), num)
    pairs = list(itertools.product(range(CODES), repeat=STAGES))
    probs = np.exp(np.float64(own.code_log_probs(jnp.array(pairs)[:, :, None]).sum(axis=(1, 2))))
    centers = np.stack([own.codebook[0, i] + own.codebook[1, j] for i, j in pairs])
    found = np.argmin(np.square(np.asarray(z)[:, None] - centers[None]).sum(axis=-1), axis=1)
    np.testing.assert_allclose(np.asarray(z), centers[found], atol=1e-5)
    shares = np.bincount(found, minlength=len(pairs)) / num
    error = np.sqrt(probs * (1 - probs) / num)
    assert (np.abs(shares - probs) < 5 * error + 1e-4).all()


X = jnp.asarray(np.random.default_rng(0).normal(size=(40, 6)), jnp.float32)


def made(latent_dim=6, prior=None, objective="vq_vae", **settings):
    if objective == "vq_vae":
        settings = {"num_codes": 5, "code_dim": 2, **settings}
    sizes = {"latent_dim": latent_dim, "likelihood": "gaussian", "widths": (8,)}
    return vae_jax.make_model(X, objective=objective, prior=prior, **sizes, **settings)


def made_one_hot(num_variables, prior=None):
    return made(CODES * num_variables, prior, "gumbel_vae", num_categories=CODES)


def learned():
    return priors.Transformer(**SMALL)


def bound():
    return objectives.bind("vq_vae", num_examples=len(X), num_codes=5, code_dim=2)


BATCH = {"x": X, "mask": jnp.ones(len(X))}


def test_it_starts_as_the_uniform_prior_and_leaves_the_codes_their_gradient():
    plain, model = made(), made(prior=learned())
    params = jax.jit(model.init)(KEY)

    @jax.jit
    def slopes(params):
        def total(params, model):
            loss, aux = bound()(model, {**params, "objective": None}, BATCH, KEY)
            return loss.mean(), (loss, aux["rate"])

        return [jax.grad(total, has_aux=True)(params, each) for each in (plain, model)]

    (of_plain, (loss, rate)), (of_model, (with_prior, own_rate)) = slopes(params)
    np.testing.assert_allclose(rate, 3 * math.log(5), rtol=1e-6)
    np.testing.assert_allclose(own_rate, rate, rtol=1e-6)
    np.testing.assert_allclose(with_prior, loss + own_rate, rtol=1e-6)
    for part in ("encoder", "decoder", "likelihood", "latent"):
        jax.tree.map(np.testing.assert_array_equal, of_plain[part], of_model[part])
    assert np.any(of_model["prior"]["head"] != 0)


def test_masked_codes_cost_nothing_and_the_rest_is_a_smaller_model():
    small = made(4, learned())
    large = made(8, learned()).replace(latent_mask=jnp.float32([1, 1, 1, 1, 0, 0, 0, 0]))

    @jax.jit
    def rates(model):
        params = model.init(KEY)
        head = jax.random.normal(KEY, params["prior"]["head"].shape)
        params = {**params, "prior": {**params["prior"], "head": head}}
        return distributions.kl_divergence(model.encode(params, X), model.prior(params))

    of_small, of_large = rates(small), rates(large)
    np.testing.assert_allclose(of_small, of_large[:, :4], rtol=2e-5)
    assert (of_large[:, 4:] == 0).all()
    assert np.ptp(np.asarray(of_small)) > 0.1


def moved(params, amount=0.7):
    """Other parameters of a prior: no longer uniform."""
    leaves, tree = jax.tree.flatten(params["prior"])
    keys = jax.random.split(jax.random.key(5), len(leaves))
    pairs = zip(leaves, keys, strict=True)
    own = [leaf + amount * jax.random.normal(key, leaf.shape) for leaf, key in pairs]
    return {**params, "prior": jax.tree.unflatten(tree, own)}


def test_the_rate_of_one_hot_codes_is_its_expectation():
    """Over all codes that can be drawn; their probabilities sum to 1, and the rates add up."""
    num_variables = 2
    model = made_one_hot(num_variables, learned())
    combinations = np.array(list(itertools.product(range(CODES), repeat=num_variables)))
    z = jnp.asarray(np.eye(CODES)[combinations].reshape(-1, 1, CODES * num_variables), jnp.float32)

    @jax.jit
    def everything(params):
        posterior, prior = model.encode(params, X[:1]), model.prior(params)
        log_q, log_p = posterior.log_prob(z)[:, 0], prior.log_prob(z)[:, 0]
        one, many = rates.rate(posterior, prior, z[3]), rates.per_dim(posterior, prior, z)
        return log_q, log_p, posterior.rates_given(prior, z)[:, 0], one, many

    log_q, log_p, by_dim, one, many = everything(moved(jax.jit(model.init)(KEY)))
    assert np.ptp(np.asarray(log_p)) > 0.3
    assert np.exp(np.float64(log_p)).sum() == pytest.approx(1.0, abs=1e-5)
    share = np.exp(np.float64(log_q))
    expected = share @ (np.float64(log_q) - np.float64(log_p))
    assert share @ np.float64(by_dim).sum(axis=1) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(one, by_dim[3].sum(keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(many[0], by_dim.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_one_hot_codes_are_pulled_to_the_uniform_prior_and_the_prior_follows_them():
    plain, model = made_one_hot(2), made_one_hot(2, learned())
    own = objectives.bind("gumbel_vae", num_examples=len(X), num_categories=CODES)

    @jax.jit
    def slopes(params):
        def total(params, model):
            loss, aux = own(model, params, BATCH, KEY)
            return loss.mean(), aux

        return [jax.grad(total, has_aux=True)(params, each) for each in (plain, model)]

    start = jax.jit(model.init)(KEY)
    (of_plain, aux), (_, uniform) = slopes(start)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), aux, uniform)
    _, (of_model, told) = slopes(moved(start))
    assert np.abs(told["rate"] - aux["rate"]).max() > 0.1
    np.testing.assert_allclose(told["distortion"], aux["distortion"], rtol=1e-6)
    for part in ("encoder", "decoder", "likelihood"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            of_plain[part],
            of_model[part],
        )
    assert np.any(of_model["prior"]["head"] != 0)


def test_masked_one_hot_codes_cost_nothing_and_the_rest_is_a_smaller_model():
    small = made_one_hot(2, learned())
    large = made_one_hot(4, learned()).replace(latent_mask=jnp.float32([1] * 6 + [0] * 6))

    @jax.jit
    def of_dims(model):
        params = model.init(KEY)
        head = jax.random.normal(KEY, params["prior"]["head"].shape)
        params = {**params, "prior": {**params["prior"], "head": head}}
        posterior = model.encode(params, X)
        z = posterior.sample(jax.random.key(1))
        return rates.per_dim(posterior, model.prior(params), z)

    of_small, of_large = of_dims(small), of_dims(large)
    np.testing.assert_allclose(of_small, of_large[:, :6], rtol=2e-5, atol=1e-6)
    assert (of_large[:, 6:] == 0).all()
    assert np.ptp(np.asarray(of_small)) > 0.1


@pytest.mark.slow
def test_one_hot_codes_that_follow_each_other_become_cheap():
    """Both variables of an example hold its class, so the first one tells the second."""
    x = np.repeat(np.random.default_rng(1).integers(0, 4, (200, 1)), 6, axis=1).astype(np.float32)
    sizes = {"latent_dim": 8, "likelihood": "gaussian", "widths": (16,), "num_categories": 4}
    settings = {"epochs": 60, "batch_size": 50, "learning_rate": 1e-2, "progress": False}
    found = []
    for prior in (None, learned()):
        model = vae_jax.make_model(x, objective="gumbel_vae", prior=prior, **sizes)
        trained = vae_jax.fit("gumbel_vae", model, x, num_categories=4, **settings)
        found.append(trained.history[-1])
    # encoder and decoder are trained alike, so what the codes cost is the only difference
    plain, learned_rate = (row["rate"] for row in found)
    assert found[1]["distortion"] == pytest.approx(found[0]["distortion"], rel=1e-3)
    assert learned_rate < plain - 0.3
    draws = trained.model.prior(trained.params).sample(KEY, 500).reshape(500, 2, 4)
    assert (draws.sum(axis=-1) == 1).all()


@pytest.mark.slow
def test_codes_that_follow_each_other_become_cheap(tmp_path):
    """All numbers of an example are equal: the first code tells the others."""
    rows = np.repeat(np.random.default_rng(1).integers(0, 4, (200, 1)), 6, axis=1)
    x = rows.astype(np.float32)
    sizes = {"latent_dim": 6, "likelihood": "gaussian", "network": "linear"}
    model = vae_jax.make_model(
        x, objective="vq_vae", prior=learned(), num_codes=4, code_dim=2, **sizes
    )
    settings = {"epochs": 60, "batch_size": 50, "learning_rate": 1e-2, "progress": False}
    trained = vae_jax.fit("vq_vae", model, x, num_codes=4, code_dim=2, **settings)
    row = trained.history[-1]
    assert row["rate"] < 0.6 * 3 * math.log(4)
    exported.save(tmp_path / "a.safetensors", trained.model, trained.params)
    again, params = exported.load(tmp_path / "a.safetensors")
    assert again == trained.model
    draws = again.sample(params, KEY, 4)[0]
    np.testing.assert_array_equal(draws, trained.model.sample(trained.params, KEY, 4)[0])


def test_a_prior_of_other_codes_is_refused():
    with pytest.raises(UsageError, match=r"prior=Transformer.* is a density of quantized codes"):
        vae_jax.make_model(X, latent_dim=4, likelihood="gaussian", prior="transformer")
    with pytest.raises(UsageError, match=r"prior=Mixture.* is a density of Gaussian codes"):
        made(prior="mixture")
    with pytest.raises(UsageError, match=r"prior=Mixture.* is a density of Gaussian codes"):
        made_one_hot(2, "mixture")
    with pytest.raises(UsageError, match=r"prior=Transformer.* is a density of quantized codes"):
        made(12, "transformer", "joint_vae", num_categories=CODES)
    with pytest.raises(UsageError, match="model_width=9: must be a multiple of num_heads=2: give"):
        priors.Transformer(num_heads=2, model_width=9)
