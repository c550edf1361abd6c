"""Every prior with every posterior under objectives: it works, or one line refuses it by name."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from properties import slow, small

import vae_jax
from vae_jax import objectives, posteriors, priors, training
from vae_jax.errors import UsageError
from vae_jax.storage import exported

KEY = jax.random.key(0)
SIZE, N, L = 5, 6, 4
X = np.random.default_rng(0).normal(size=(N, SIZE)).astype(np.float32)
BATCH = {"x": jnp.asarray(X), "mask": jnp.ones(N)}
CODES = {"num_codes": 5, "code_dim": 2}
GAUSSIAN = ("beta_vae", "iwae", "stl", "dreg", "tvo", "beta_tc_vae", "info_vae")
OBJECTIVES = {**{name: {} for name in GAUSSIAN}, "vq_vae": CODES}
"""Objectives whose codes may have another density, with their settings."""
ALL = [*itertools.product([None, *priors.names()], [None, *posteriors.names()])]


def fits(objective, prior, posterior):
    """Whether a prior and a posterior go together with the codes of an objective."""
    if objective == "vq_vae":
        return posterior is None and (prior is None or priors.load(prior).of_codes)
    if prior is None:
        return True
    of_prior = priors.load(prior)
    if of_prior.of_codes:
        return False
    return posterior is None or (posteriors.load(posterior).takes_priors and not of_prior.reads_x)


def model_of(prior, posterior, objective="beta_vae", latent_dim=L):
    chosen = {"prior": (priors.FAMILY, prior), "posterior": (posteriors.FAMILY, posterior)}
    made = {what: small(*own) for what, own in chosen.items() if own[1] is not None}
    sizes = {"latent_dim": latent_dim, "likelihood": "gaussian", "widths": (6,)}
    return vae_jax.make_model(X, objective=objective, **sizes, **made, **OBJECTIVES[objective])


def bound_of(objective):
    return objectives.bind(objective, num_examples=N, **OBJECTIVES[objective])


def examples_of(model):
    num = 0 if model.prior_family is None else model.prior_family.num_examples
    return X[:num] if num else None


def own_of(pair):
    """The objectives that go together with a prior and a posterior."""
    return [objective for objective in OBJECTIVES if fits(objective, *pair)]


PAIRS = [pair for pair in ALL if own_of(pair)]


def covering(pairs):
    """A few of them that have each prior and each posterior; two that are new first."""
    chosen, seen = [], set()
    for num_new in (2, 1):
        for pair in pairs:
            new = {*enumerate(pair)} - seen
            if len([name for _, name in new if name is not None]) >= num_new:
                chosen.append(pair)
                seen |= new
    return chosen


COVER = covering(PAIRS)
FEW = [pair for pair in COVER if pair[0] == "realnvp"]
"""That train in an ordinary run: a flow with a flow."""


def name_of(pair):
    return "-".join(str(name) for name in pair)


def each(ordinary):
    """All pairs, those that are not named as slow tests."""
    rest = [pair for pair in PAIRS if pair not in ordinary]
    named = [pytest.param(pair, id=name_of(pair)) for pair in ordinary]
    return pytest.mark.parametrize("pair", [*named, *slow(*rest, ids=[*map(name_of, rest)])])


def test_a_few_pairs_have_each_prior_and_each_posterior():
    assert {prior for prior, _ in COVER} >= {*priors.names()}
    assert {posterior for _, posterior in COVER} >= {*posteriors.names()}
    assert len(COVER) < len(priors.names()) + len(posteriors.names())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_does_not_go_together_is_refused_in_one_line(objective):
    for prior, posterior in ALL:
        if fits(objective, prior, posterior):
            assert model_of(prior, posterior, objective).latent_dim == L
            continue
        with pytest.raises(UsageError) as caught:
            model_of(prior, posterior, objective)
        told = str(caught.value)
        named = [family.load(name).__name__ for family, name in names_of(prior, posterior)]
        assert "\n" not in told
        assert told.startswith(("prior=", "posterior="))
        assert any(name in told for name in named)
        assert "leave" in told


def names_of(prior, posterior):
    both = ((priors, prior), (posteriors, posterior))
    return [(family, name) for family, name in both if name is not None]


def mean_loss_of(pair, objective):
    """Parameters to the mean loss of an objective."""
    model, bound = model_of(*pair, objective), bound_of(objective)
    return lambda params: bound(model, params, BATCH, KEY)[0].mean()


def is_refused(pair, objective):
    """Whether an objective asks for q(z|x) that this posterior does not have."""
    return objective == "beta_tc_vae" and pair[1] is not None


@pytest.mark.parametrize("pair", COVER, ids=name_of)
def test_two_objectives_are_traced_or_refused(pair):
    place, own = COVER.index(pair), own_of(pair)
    assert_traced_or_refused(pair, [*dict.fromkeys(own[i % len(own)] for i in (place, place + 3))])


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=name_of)
def test_objectives_are_traced_or_refused_before_anything_is_compiled(pair):
    assert_traced_or_refused(pair, own_of(pair))


def assert_traced_or_refused(pair, own):
    shapes = model_of(*pair, own[0]).param_shapes()
    for objective in own:
        if objective == "vq_vae" and own[0] != objective:
            shapes = model_of(*pair, objective).param_shapes()
        loss = mean_loss_of(pair, objective)
        if not is_refused(pair, objective):
            assert jax.eval_shape(loss, shapes).shape == ()
            continue
        with pytest.raises(UsageError, match="must be a Gaussian with independent") as caught:
            jax.eval_shape(loss, shapes)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=name_of)
def test_objectives_and_their_gradients_are_finite(pair):
    known = [objective for objective in own_of(pair) if not is_refused(pair, objective)]

    @jax.jit
    def slopes():
        found = {}
        for objective in known:
            model = model_of(*pair, objective)
            params = model.init(KEY, examples_of(model))
            found[objective] = jax.value_and_grad(mean_loss_of(pair, objective))(params)
        return found

    for objective, (value, gradient) in slopes().items():
        assert np.isfinite(value), objective
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)), objective
        moved = jax.tree.map(lambda leaf: bool(np.any(leaf != 0)), gradient)
        assert any(jax.tree.leaves(moved["encoder"])), objective


def train_of(model, objective):
    """A training by plain gradient descent, whose steps are no larger than the gradients."""
    return training.make_train(
        bound_of(objective),
        model,
        preprocess=lambda stored, key: stored,
        num_examples=N,
        batch_size=N,
        optimizer=lambda h: optax.sgd(h["learning_rate"]),
        examples=examples_of(model),
    )


@each(FEW)
def test_training_resumes_and_masked_dimensions_are_as_if_there_were_none(pair):
    """Bit for bit; a masked model trains as one of that size, from the same initial values."""
    objective, num = own_of(pair)[0], 6
    hparams = training.Hparams(seed=jnp.int32(0), learning_rate=0.02)
    mask = (jnp.arange(L + 2) < L).astype(jnp.float32)
    own = train_of(model_of(*pair, objective, L + 2), objective)
    masked = hparams.replace(latent_mask=mask)
    chunk = jax.jit(own.chunk)
    start = jax.jit(own.init)(masked)
    whole = chunk(start, masked, X, num)
    halves = chunk(chunk(start, masked, X, num // 2), masked, X, num - num // 2)
    jax.tree.map(np.testing.assert_array_equal, whole, halves)
    native = train_of(model_of(*pair, objective), objective)
    expected = jax.jit(native.chunk)(jax.jit(native.init)(hparams), hparams, X, num)
    for term, value in expected.sums.items():
        np.testing.assert_allclose(whole.sums[term], value, rtol=2e-4, atol=1e-4, err_msg=term)
    assert float(whole.sums["loss"]) < float(chunk(start, masked, X, 1).sums["loss"])
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), whole.params, start.params)
    assert all(jax.tree.leaves({name: moved.get(name, {}) for name in ("prior", "latent")}))


@each(COVER)
def test_a_file_holds_both(pair, tmp_path):
    model = model_of(*pair, own_of(pair)[0])
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: generator.normal(size=leaf.shape).astype(leaf.dtype), model.param_shapes()
    )
    exported.save(tmp_path / "model.safetensors", model, params)
    again, found = exported.load(tmp_path / "model.safetensors")[:2]
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, found, params)
