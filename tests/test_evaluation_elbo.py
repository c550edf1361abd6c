import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial

import vae_jax
from vae_jax import latents, likelihoods, losses, networks, objectives, program, training
from vae_jax.evaluation import elbo
from vae_jax.model import Model

SHAPE = (4, 4, 1)


def identity(stored, key):
    del key
    return stored


def make(likelihood=None, latent_dim=3):
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=latent_dim, widths=(8,))
    model = Model(encoder, decoder, likelihood or likelihoods.Bernoulli(), SHAPE, latent_dim)
    return model, initial(model)


def mean_loss(model, params, batch, key):
    """Deterministic: the reconstruction in mode, so that batches can be cut at will."""
    del key
    z = model.encode(params, batch["x"]).mean
    return model.distortion(params, z, batch), {}


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_every_example_weighs_the_same(batch_size):
    model, params = make()
    x = jax.random.uniform(jax.random.key(1), (7, *SHAPE))
    result = elbo.evaluate(
        mean_loss,
        model,
        params,
        x,
        jax.random.key(2),
        {},
        preprocess=identity,
        batch_size=batch_size,
    )
    batch = {"x": x, "mask": jnp.ones(7)}
    each = np.asarray(mean_loss(model, params, batch, None)[0], np.float64)
    posterior = model.encode(params, x)
    assert float(result.terms["loss"]) == pytest.approx(each.mean(), rel=1e-6)
    assert float(result.standard_errors["loss"]) == pytest.approx(
        each.std(ddof=1) / np.sqrt(7), rel=1e-4
    )
    np.testing.assert_allclose(result.mean_variance, np.var(posterior.mean, axis=0), rtol=1e-4)
    rate = 0.5 * (np.exp(posterior.logvar) + posterior.mean**2 - 1 - posterior.logvar)
    np.testing.assert_allclose(result.rate_per_dim, rate.mean(axis=0), rtol=1e-5)


def test_terms_add_up():
    model, params = make()
    x = jax.random.uniform(jax.random.key(1), (9, *SHAPE))
    result = elbo.evaluate(
        objectives.load("beta_vae"),
        model,
        params,
        x,
        jax.random.key(2),
        {"beta": jnp.float32(4)},
        preprocess=identity,
        batch_size=4,
    )
    terms = {name: float(value) for name, value in result.terms.items()}
    assert terms["elbo"] == pytest.approx(-terms["distortion"] - terms["rate"], rel=1e-6)
    assert terms["loss"] == pytest.approx(terms["distortion"] + 4 * terms["rate"], rel=1e-6)
    assert float(result.rate_per_dim.sum()) == pytest.approx(terms["rate"], rel=1e-5)


def test_moments_merge_to_those_of_the_whole():
    values = np.random.default_rng(0).normal(100, 0.1, (23, 2)).astype(np.float32)
    moments = (jnp.float32(0), jnp.zeros(2), jnp.zeros(2))
    for start in range(0, 24, 8):
        rows = np.zeros((8, 2), np.float32)
        part = values[start : start + 8]
        rows[: len(part)] = part
        mask = (np.arange(8) < len(part)).astype(np.float32)
        moments = elbo.merge_moments(moments, jnp.asarray(rows), jnp.asarray(mask))
    assert float(moments[0]) == 23
    np.testing.assert_allclose(moments[1], values.astype(np.float64).mean(axis=0), rtol=1e-6)
    variance = values.astype(np.float64).var(axis=0)
    np.testing.assert_allclose(moments[2] / 23, variance, rtol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_standard_error_is_that_of_repetitions(share):
    """Of a term that is the example's own, the whole batch's, or both."""

    def loss_fn(model, params, batch, key):
        own_key, batch_key = jax.random.split(key)
        own = jax.random.normal(own_key, batch["mask"].shape)
        loss = (1 - share) * own + share * jax.random.normal(batch_key)
        return loss, {}

    model, params = make()
    x, measure = jnp.zeros((250, *SHAPE)), elbo.evaluate
    fixed = {"preprocess": identity, "batch_size": 25}
    repeated = jax.lax.map(
        lambda key: measure(loss_fn, model, params, x, key, {}, **fixed)[:2],
        jax.random.split(jax.random.key(0), 300),
    )
    means, errors = (np.asarray(leaf["loss"]) for leaf in repeated)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(means.std(), rel=0.15)


def test_the_order_of_the_examples_changes_no_standard_error():
    """Examples in the order of their ELBO, such as by label, are not a term of the batch."""

    def loss_fn(model, params, batch, key):
        own, of_batch = batch["x"].mean(axis=(1, 2, 3)), jax.random.normal(key)
        return own + 1e-3 * of_batch, {"elbo": -own, "capacity": jnp.full_like(own, of_batch)}

    model, params = make()
    x = (
        jax.random.uniform(jax.random.key(1), (1, *SHAPE))
        * jnp.linspace(0, 1, 250)[:, None, None, None]
    )
    fixed = {"preprocess": identity, "batch_size": 25}
    errors = elbo.evaluate(
        loss_fn, model, params, x, jax.random.key(3), {}, **fixed
    ).standard_errors
    own = np.asarray(x).mean(axis=(1, 2, 3))
    for name in ("loss", "elbo"):
        assert float(errors[name]) == pytest.approx(own.std(ddof=1) / np.sqrt(250), rel=0.01)
    shuffled = jax.random.permutation(jax.random.key(2), x)
    again = elbo.evaluate(
        loss_fn, model, params, shuffled, jax.random.key(3), {}, **fixed
    ).standard_errors
    assert float(again["loss"]) == pytest.approx(float(errors["loss"]), rel=0.01)
    # ten draws, not 250
    assert float(errors["capacity"]) > 0.1
    assert float(errors["capacity"]) == pytest.approx(float(again["capacity"]), rel=1e-4)


def weighed_loss(model, params, batch, key):
    """A term over some rows, "few", beside one over all of them."""
    del model, params, key
    return batch["all"], {"few": batch["few"] * batch["weight"]}


WEIGHED = training.Objective(weighed_loss, row_weights=lambda batch: {"few": batch["weight"]})


def evaluate_rows(objective, batch_size=64, **rows):
    model, params = make()
    num = len(rows["weight"])
    rows = {"x": jnp.zeros((num, *SHAPE)), **{n: jnp.float32(v) for n, v in rows.items()}}
    settings = {"preprocess": identity, "batch_size": batch_size}
    return elbo.evaluate(objective, model, params, rows, jax.random.key(0), {}, **settings)


def some_rows(num=500, num_known=80):
    """Weights of three sizes for rows here and there, whose mean is 1, and values beside them."""
    rng = np.random.default_rng(0)
    weight = np.zeros(num)
    weight[rng.permutation(num)[:num_known]] = rng.choice([1.0, 2.0, 5.0], num_known)
    few = rng.exponential(size=num) + 0.3 * weight
    return {"weight": weight / weight.mean(), "few": few, "all": rng.normal(size=num)}


@pytest.mark.parametrize("batch_size", [7, 64, 500])
def test_the_error_of_a_mean_over_some_rows_is_that_of_the_bootstrap(batch_size):
    rows = some_rows()
    found = evaluate_rows(WEIGHED, batch_size, **rows)
    w, v = rows["weight"], rows["few"]
    assert float(found.terms["few"]) == pytest.approx((w * v).sum() / w.sum(), rel=1e-5)
    assert float(found.num_rows["few"]) == 80
    drawn = np.random.default_rng(1).integers(0, len(w), (4000, len(w)))
    ratios = (w * v)[drawn].sum(axis=1) / w[drawn].sum(axis=1)
    # of 4,000 resamples the deviation is known to 1.1 %, and linear to the order of 1/n
    assert float(found.standard_errors["few"]) == pytest.approx(ratios.std(), rel=0.05)


def test_a_mean_over_all_rows_has_the_error_of_a_mean():
    rows = {**some_rows(), "weight": np.ones(500)}
    found = evaluate_rows(WEIGHED, **rows)
    few = rows["few"]
    assert float(found.terms["few"]) == pytest.approx(few.mean(), rel=1e-5)
    expected = few.std(ddof=1) / np.sqrt(500)
    assert float(found.standard_errors["few"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("num_right", "error"), [(3, 0.0), (2, 1 / 3)])
def test_three_known_rows(num_right, error):
    """√(p(1 − p)/(n − 1)): 0 where all are right; the rows that do not count add nothing to it."""
    known = np.array([4, 90, 91])
    weight, few = np.zeros(100), np.zeros(100)
    weight[known], few[known[:num_right]] = 100 / 3, 1.0
    found = evaluate_rows(WEIGHED, weight=weight, few=few, all=few)
    assert float(found.terms["few"]) == pytest.approx(num_right / 3, rel=1e-6)
    assert float(found.standard_errors["few"]) == pytest.approx(error, rel=1e-5)
    assert float(found.num_rows["few"]) == 3


def test_one_row_has_no_error_and_none_has_no_mean():
    rows = some_rows(20, 1)
    one = evaluate_rows(WEIGHED, **rows)
    assert float(one.terms["few"]) == pytest.approx(rows["few"][rows["weight"] > 0][0], rel=1e-6)
    assert np.isnan(float(one.standard_errors["few"]))
    none = evaluate_rows(WEIGHED, **{**rows, "weight": np.zeros(20)})
    assert np.isnan(float(none.terms["few"]))
    assert float(none.num_rows["few"]) == 0


def test_weights_of_one_term_leave_the_others_as_they_are():
    """To the bit."""
    rows = some_rows()
    found = evaluate_rows(WEIGHED, **rows)
    plain = evaluate_rows(weighed_loss, **rows)
    assert plain.num_rows == {}
    for name in ("terms", "standard_errors"):
        assert getattr(found, name)["loss"] == getattr(plain, name)["loss"]
    np.testing.assert_array_equal(found.rate_per_dim, plain.rate_per_dim)
    np.testing.assert_array_equal(found.mean_variance, plain.mean_variance)


def test_active_units_have_a_threshold_of_one_hundredth():
    np.testing.assert_array_equal(
        elbo.active_units(jnp.array([0.0, 0.0099, 0.0101, 1.0])), [False, False, True, True]
    )


def test_optimal_variance_becomes_the_mean_squared_error():
    model, params = make(likelihoods.Gaussian("optimal"))
    # a decoder that ignores z: the error does not depend on the sample
    params["decoder"]["latent"]["kernel"] *= 0
    x = jax.random.normal(jax.random.key(1), (11, *SHAPE))
    frozen, frozen_params = elbo.freeze_likelihood(
        model, params, x, jax.random.key(0), preprocess=identity, batch_size=4
    )
    error = np.square(np.asarray(x) - np.asarray(model.reconstruct(params, x))).mean()
    variance = float(jnp.exp(frozen_params["likelihood"]["logvar"]))
    assert variance == pytest.approx(float(error), rel=1e-5)
    assert frozen.likelihood == likelihoods.Gaussian("learned")


def test_other_likelihoods_are_left_alone():
    model, params = make()
    x = jnp.zeros((3, *SHAPE))
    same = elbo.freeze_likelihood(model, params, x, jax.random.key(0), preprocess=identity)
    assert same[0] is model
    assert same[1] is params


@pytest.mark.parametrize("num_examples", [9, 1000])
def test_the_parts_of_the_rate_add_up(num_examples):
    """To the mean of log q(z|x) − log p(z) of the very samples, whatever stands for the data."""
    model, params = make()
    x = jax.random.uniform(jax.random.key(1), (9, *SHAPE))
    key = jax.random.key(2)
    parts, errors = elbo.decompose_rate(model, params, x, key, num_examples, preprocess=identity)
    posterior = model.encode(params, x)
    z = posterior.sample(jax.random.split(key)[1])
    rates = posterior.log_prob(z) - model.prior(params).log_prob(z)
    assert float(sum(parts.values())) == pytest.approx(float(rates.mean()), rel=1e-4)
    assert float(parts["mutual_information"]) <= np.log(num_examples)
    assert parts.keys() == errors.keys()


def test_few_examples_stand_for_all_by_the_weights_of_a_batch():
    model, params = make()
    x = jax.random.uniform(jax.random.key(1), (9, *SHAPE))
    key, posterior = jax.random.key(2), model.encode(params, x)
    parts, _ = elbo.decompose_rate(model, params, x, key, 1000, preprocess=identity)
    expected = losses.rate_decomposition(
        posterior.sample(jax.random.split(key)[1]), *posterior, losses.aggregate_weights(9, 1000)
    )
    names = "mutual_information", "total_correlation", "dimension_wise_kl"
    for name, each in zip(names, expected, strict=True):
        assert float(parts[name]) == pytest.approx(float(each.mean()), rel=1e-3, abs=1e-5)


def test_blocks_of_batches_have_the_draws_of_the_whole():
    """Noise follows from a batch's place in the data, not from its place in a block."""
    # of codes without a prior nothing is encoded: a program of a few numbers
    model, params = make()[0].replace(latent=latents.Deterministic()), {}
    x = jnp.zeros((10, *SHAPE))

    def noise(model, params, batch, key):
        del model, params
        return jax.random.normal(key, (len(batch["x"]),)), {}

    def measure(blocks):
        moments, first = None, 0
        for block in blocks:
            args = noise, model, params, block, jax.random.key(2), {}, moments, first
            moments = elbo.accumulate(*args, preprocess=identity, batch_size=2)
            first += len(block) // 2
        return elbo.summarize(moments)

    whole, cut = measure([x]), measure([x[:6], x[6:]])
    assert float(cut.terms["loss"]) == pytest.approx(float(whole.terms["loss"]), rel=1e-5)
    error = float(whole.standard_errors["loss"])
    assert float(cut.standard_errors["loss"]) == pytest.approx(error, rel=1e-4)


def test_a_code_that_says_nothing_has_no_parts():
    model, params = make()
    params = jax.tree.map(jnp.zeros_like, params)
    x = jax.random.uniform(jax.random.key(1), (9, *SHAPE))
    key = jax.random.key(2)
    for part in elbo.decompose_rate(model, params, x, key, 9, preprocess=identity)[0].values():
        assert abs(float(part)) < 1e-5


def test_as_many_rows_are_evaluated_at_once_as_there_are_and_as_fit(monkeypatch):
    seen = set()

    def loss(model, params, batch, key):
        seen.add(len(batch["x"]))
        return mean_loss(model, params, batch, key)

    def sizes(num_valid):
        seen.clear()
        x = np.zeros((6, 40), np.float32)
        valid = np.zeros((num_valid, 40), np.float32)
        model = vae_jax.make_model(x, likelihood="gaussian", latent_dim=2, widths=(2,))
        vae_jax.fit(loss, model, x, epochs=1, batch_size=6, valid=valid, progress=False)
        return seen

    assert sizes(4) == {6, 4}
    monkeypatch.setattr(program, "EVALUATION_NUMBERS", 3 * 40)
    assert sizes(8) == {6, 3}
