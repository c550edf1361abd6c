"""A subject shows each metric the same examples and codes, however the work is cut."""

import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial

from vae_jax import data, evaluation, latents, likelihoods, networks
from vae_jax.distributions import kl_divergence
from vae_jax.errors import UsageError
from vae_jax.evaluation import (
    collapse,
    disentanglement,
    exact,
    latent_neighbours,
    latent_probes,
    nll,
)
from vae_jax.evaluation.subject import NotApplicableError, Subject
from vae_jax.model import Model

SHAPE = (8, 8, 1)


class Rows:
    """A dataset of three splits as an evaluation sees it: one and the same, or each its own."""

    def __init__(self, num=23, *, labels=None, factors=None, are_apart=False):
        for seed, name in enumerate(("test", "valid", "train")):
            low, high = (seed, 17 - 5 * seed) if are_apart else (0, 17)
            x = np.random.default_rng(low).integers(0, high, (num, *SHAPE)).astype(np.uint8)
            setattr(self, name, data.Split(x, labels=labels, factors=factors))


def binarized(stored, key):
    return data.binarize(key, stored.astype(jnp.float32) / 16)


def as_stored(stored, key):
    del key
    return stored.astype(jnp.float32) / 16


def make(
    dataset=None,
    *,
    preprocess=binarized,
    likelihood="bernoulli",
    latent_dim=3,
    mask=None,
    network="mlp",
    **settings,
):
    widths = None if network == "linear" else (16,)
    encoder, decoder = networks.build(network, shape=SHAPE, latent_dim=latent_dim, widths=widths)
    chosen = likelihoods.make(likelihood, variance="learned", num_levels=None)
    model = Model(encoder, decoder, chosen, SHAPE, latent_dim)
    params = initial(model, 1)
    if mask is not None:
        model = model.replace(latent_mask=jnp.array(mask))
    dataset = dataset or Rows()
    key = jax.random.key(2)
    return Subject(model, params, dataset, preprocess=preprocess, key=key, **settings)


def test_blocks_do_not_decide_what_is_drawn():
    subject = make()

    def both(params, stored, positions):
        x = subject.inputs(stored, positions)
        return x, subject.model.encode(params, x).mean

    x, mean = subject.over(both)
    assert x.shape == (23, *SHAPE)
    assert set(np.unique(x)) == {0.0, 1.0}
    assert np.array_equal(x, subject.x())
    for num_rows in (1, 5, 23, 100):
        other_x, other_mean = subject.over(both, num_rows=num_rows)
        assert np.array_equal(other_x, x)
        np.testing.assert_allclose(other_mean, mean, rtol=1e-5, atol=1e-6)


def test_the_likelihood_sees_the_same_binarization():
    subject = make()
    # with the encoder's input known to both, one sample of z has the same weight
    found = nll.sample(
        subject.model, subject.params, subject.dataset.test.x, subject.key,
        preprocess=binarized, num_samples=1,
    )  # fmt: skip
    seen = nll.sample(
        subject.model, subject.params, subject.x(), subject.key,
        preprocess=lambda x, key: x, num_samples=1,
    )  # fmt: skip
    np.testing.assert_allclose(found.nll, seen.nll, rtol=1e-6)


def test_which_rows_are_chosen_does_not_decide_what_is_drawn():
    """So that metrics that look at fewer examples look at the same binarization of them."""
    subject = make()
    few = subject.x(num_examples=7)
    np.testing.assert_array_equal(few, subject.x()[subject._rows("test", 7)])
    settings = {"preprocess": binarized, "num_samples": 1}
    args = subject.model, subject.params
    rows = subject._rows("test", 7)
    stored = subject.dataset.test.x
    of_few = nll.sample(*args, stored[rows], subject.key, rows, **settings)
    of_all = nll.sample(*args, stored, subject.key, **settings)
    np.testing.assert_allclose(of_few.nll, of_all.nll[rows], rtol=1e-5)


@pytest.mark.slow
def test_a_member_of_a_sweep_has_an_exact_likelihood():
    """Of three dimensions one is in use: that of the model which has no other."""
    masked, alone = make(mask=[1.0, 0.0, 0.0]), make(latent_dim=1)
    kept = masked.params
    head = kept["encoder"]["head"]["posterior"]
    first = {"kernel": head["kernel"][:, ::3], "bias": head["bias"][::3]}
    latent = {**kept["decoder"]["latent"], "kernel": kept["decoder"]["latent"]["kernel"][:1]}
    alone.params = {
        **kept,
        "encoder": {**kept["encoder"], "head": {"posterior": first}},
        "decoder": {**kept["decoder"], "latent": latent},
    }
    values = [exact.measure(subject, max_examples=5) for subject in (masked, alone)]
    assert values[0]["method"] == "quadrature"
    assert values[0]["nll"] == pytest.approx(values[1]["nll"], abs=1e-3)


@pytest.mark.parametrize("num_rows", [4, 23])
def test_a_mean_counts_each_example_once(num_rows):
    subject = make(preprocess=as_stored)

    def see(params, stored, positions):
        del params
        return subject.inputs(stored, positions)

    mean = subject.mean_over(see, num_rows=num_rows)
    np.testing.assert_allclose(mean, subject.dataset.test.x.mean(axis=0) / 16, rtol=1e-6)


def test_fewer_examples_are_spread_over_the_split():
    labels = np.arange(23, dtype=np.int32)
    factors = np.stack([labels, labels], axis=1)
    subject = make(Rows(labels=labels, factors=factors), num_examples=5)
    chosen = [0, 4, 9, 13, 18]
    assert subject.labels().tolist() == chosen
    assert subject.factors()[:, 0].tolist() == chosen
    assert subject.labels("train").tolist() == labels.tolist()
    assert subject.labels("train", num_examples=5).tolist() == chosen
    plain = make(Rows(), preprocess=as_stored, num_examples=5)
    assert np.array_equal(plain.x(), np.float32(plain.dataset.test.x[chosen]) / 16)


def test_codes_have_the_dimensions_in_use():
    full, masked = make(preprocess=as_stored), make(preprocess=as_stored, mask=[1.0, 1.0, 0.0])
    posterior = masked.posterior()
    assert posterior.mean.shape == (23, 2)
    assert np.array_equal(posterior.mean, full.posterior().mean[:, :2])
    assert masked.prior.mean.shape == (2,)
    z = jnp.array(posterior.mean)
    padded = jnp.pad(z, ((0, 0), (0, 1)))
    assert np.array_equal(masked.decode_mean(z), full.decode_mean(padded))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_floor_is_the_best_model_that_ignores_z(likelihood):
    """A decoder that gives the train mean everywhere, and a posterior that is the prior."""
    preprocess = binarized if likelihood == "bernoulli" else as_stored
    subject = make(Rows(are_apart=True), preprocess=preprocess, likelihood=likelihood)
    x = subject.x("train")
    mean = np.clip(x.mean(axis=0), 1e-3, 1 - 1e-3).reshape(-1)
    params = jax.tree.map(jnp.zeros_like, subject.params)
    output = np.log(mean / (1 - mean)) if likelihood == "bernoulli" else x.mean(axis=0).reshape(-1)
    params["decoder"]["output"]["bias"] = jnp.asarray(output, jnp.float32)
    if likelihood == "gaussian":
        variance = np.square(x - x.mean(axis=0)).mean()
        params["likelihood"] = {"logvar": jnp.log(jnp.float32(variance))}
    subject.params = params
    elbo, floor = collapse.elbo_and_floor(subject)
    assert elbo.shape == (23,)
    np.testing.assert_allclose(elbo, floor, rtol=1e-5)
    found = evaluation.load("nll").measure(subject, num_samples=2)
    assert found["nll_without_z"] == pytest.approx(-floor.mean(), rel=1e-5)
    assert found["nll"] == pytest.approx(found["nll_without_z"], rel=1e-5)


def test_the_elbo_beside_the_floor_is_that_of_one_sample():
    subject = make()
    elbo, _ = collapse.elbo_and_floor(subject)
    posterior = subject.model.encode(subject.params, jnp.asarray(subject.x()))
    rate = kl_divergence(posterior, subject.prior).sum(axis=1)
    keys = jax.random.split(jax.random.key(5), 200)

    def distortion(key):
        z = posterior.sample(key)
        outputs = subject.model.decode(subject.params, z)
        return -subject.model.likelihood.log_prob({}, outputs, jnp.asarray(subject.x()))

    draws = -np.asarray(jax.lax.map(distortion, keys)) - np.asarray(rate)
    error = draws.std(axis=0).mean() / len(elbo) ** 0.5
    assert abs(elbo.mean() - draws.mean()) < 5 * error


def test_the_noise_of_the_elbo_is_not_that_of_the_binarization():
    """No key of a position is used twice: once split, nothing is drawn from it."""
    subject = make()
    elbo, _ = collapse.elbo_and_floor(subject)
    x = jnp.asarray(subject.x())
    posterior = subject.model.encode(subject.params, x)
    position_keys = [jax.random.fold_in(subject.key, i) for i in range(len(x))]
    for keys in (position_keys, *zip(*map(jax.random.split, position_keys), strict=True)):
        eps = jnp.stack([jax.random.normal(key, (3,)) for key in keys])
        z = posterior.mean + posterior.deviation * eps
        outputs = subject.model.decode(subject.params, z)
        log_likelihood = subject.model.likelihood.log_prob({}, outputs, x)
        reused = log_likelihood - kl_divergence(posterior, subject.prior).sum(axis=1)
        assert np.abs(elbo - reused).min() > 1e-4


def test_a_likelihood_without_a_floor_has_none():
    subject = make(preprocess=as_stored, likelihood="logistic")
    assert collapse.elbo_and_floor(subject) == (None, None)
    assert "nll_without_z" not in evaluation.load("nll").measure(subject, num_samples=2)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("ais", "latent_geometry") else [])
        for name in evaluation.names()
        if name != "ranking"  # of ratings alone: test_ratings.py
    ],
)
def test_every_metric_says_what_its_entries_mean(name):
    num = 60
    factors = np.stack(np.divmod(np.arange(num), 4), axis=1).astype(np.int32) % 5
    dataset = Rows(num, labels=factors[:, 0], factors=factors)
    latent_dim = 2 if name == "exact" else 3
    small = {
        "nll": {"num_samples": 20},
        "ais": {"num_chains": 2, "num_temperatures": 5, "num_simulated": 3},
        "latent_use": {"num_samples": 50},
        "latent_geometry": {"num_codes": 5, "num_pairs": 2},
        "latent_neighbours": {"num_lines": 3, "num_draws": 20},
        "disentanglement": {"metrics": "mig,modularity"},
        "exact": {"max_examples": 4},
    }
    module = evaluation.load(name)
    settings = small.get(name, {})
    assert settings.keys() <= evaluation.settings(name).keys()
    values = module.measure(make(dataset, latent_dim=latent_dim), **settings)
    assert values
    assert {n.removesuffix("_standard_error") for n in values} <= module.DEFINITIONS.keys()
    errors = {n for n in values if n.endswith("_standard_error")}
    assert {n.removesuffix("_standard_error") for n in errors} <= values.keys()
    assert all("\n" not in text and len(text) < 200 for text in module.DEFINITIONS.values())
    again = module.measure(make(dataset, latent_dim=latent_dim), **settings)
    assert json.dumps(again) == json.dumps(values)  # the same key, the same numbers; plain ones


def test_a_linear_model_is_measured_by_its_formula():
    """Also where dimensions are masked, and beside the estimators that do not know it is linear."""
    settings = {"preprocess": as_stored, "likelihood": "gaussian", "network": "linear"}
    subject = make(**settings, mask=[1.0, 1.0, 0.0])
    values = exact.measure(subject)
    assert values["method"] == "closed_form"
    assert values["num_examples"] == 23
    sampled = nll.measure(subject, num_samples=4000)
    assert sampled["nll"] == pytest.approx(values["nll"], abs=0.2)


def test_too_many_dimensions_to_integrate_are_reported():
    with pytest.raises(NotApplicableError, match="more than 2 latent dimensions"):
        exact.measure(make())


@pytest.mark.parametrize("metric", [disentanglement, latent_probes])
def test_missing_labels_or_factors_are_reported(metric):
    with pytest.raises(NotApplicableError, match="the data have no"):
        metric.measure(make())


def test_one_label_is_not_read_out():
    dataset = Rows(labels=np.zeros(23, np.int32), factors=np.zeros((23, 2), np.int32))
    for metric in (latent_probes, disentanglement):
        with pytest.raises(NotApplicableError, match=r"one label|no factor varies"):
            metric.measure(make(dataset))


def test_rows_of_unknown_label_are_nothing_to_the_probes():
    labels = np.where(np.arange(40) % 4 == 3, -1, np.arange(40) % 2).astype(np.int32)
    subject = make(Rows(40, labels=labels, are_apart=True))
    measured = latent_probes.measure(subject)
    known = labels >= 0
    train, test = (subject.posterior(split).mean[known] for split in ("train", "test"))
    assert measured == latent_probes.evaluate(train, labels[known], test, labels[known])
    assert (measured["num_train"], measured["num_test"]) == (30, 30)
    assert measured["num_classes"] == 2


@pytest.mark.parametrize("labels", [[-1] * 23, [-1] * 22 + [3]])
def test_no_or_one_known_label_is_not_read_out(labels):
    with pytest.raises(NotApplicableError, match=r"unknown|one label"):
        latent_probes.measure(make(Rows(labels=np.array(labels, np.int32))))


def test_an_unknown_metric_is_corrected():
    with pytest.raises(UsageError, match="did you mean latent_use"):
        evaluation.load("latent_us")


def test_discrete_codes_are_measured_by_their_draws():
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=4, widths=(16,), num_parts=1)
    likelihood = likelihoods.make("bernoulli", variance="learned", num_levels=None)
    model = Model(encoder, decoder, likelihood, SHAPE, 4, latent=latents.Quantized(5, 2))
    rows, params = Rows(60, are_apart=True), initial(model)
    subject = Subject(model, params, rows, preprocess=as_stored, key=jax.random.key(1))
    values = latent_neighbours.measure(subject, num_draws=30)
    assert values.keys() & {"trustworthiness", "smoothness", "num_lines"} == set()
    key = jax.random.fold_in(subject.key, zlib.crc32(b"latent_neighbours"))
    draws = subject.decode_mean(subject.prior.sample(key, 30))
    held = latent_neighbours.support(subject.x(), draws, num_neighbours=5)
    assert values["precision"] == pytest.approx(np.mean(held.num_balls > 0))
    assert values["coverage"] == pytest.approx(np.mean(held.is_covered))
    with pytest.raises(NotApplicableError, match="asks for a continuous code"):
        latent_neighbours.measure(subject, sampler="gaussian")


def test_a_code_without_a_prior_is_drawn_from_the_gaussian_of_training_codes():
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=3, widths=(16,), num_parts=1)
    likelihood = likelihoods.make("bernoulli", variance="learned", num_levels=None)
    model = Model(encoder, decoder, likelihood, SHAPE, 3, latent=latents.Deterministic())
    rows, params = Rows(60, are_apart=True), initial(model)
    subject = Subject(model, params, rows, preprocess=as_stored, key=jax.random.key(1))
    codes = subject.posterior("train").mean
    np.testing.assert_allclose(subject.prior.mean, codes.mean(axis=0), atol=1e-5)
    covariance = subject.prior.factor @ subject.prior.factor.T
    np.testing.assert_allclose(covariance, np.cov(codes.T, bias=True), atol=1e-5)
    subject.require_continuous()
    with pytest.raises(NotApplicableError, match="this one is a point"):
        subject.require_gaussian()
    with pytest.raises(NotApplicableError, match="no density"):
        nll.measure(subject)
