"""One table discovers every objective: what holds for all of them is tested for all of them."""

import functools
import inspect
import re

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial, loss_of

from vae_jax import (
    distributions,
    fitting,
    latents,
    likelihoods,
    losses,
    networks,
    objectives,
    training,
)
from vae_jax.errors import UsageError
from vae_jax.model import Model
from vae_jax.objectives import m2
from vae_jax.storage import checkpoints

SHAPE = (4, 4, 1)
B, L, N = 6, 6, 100


def make_model(
    latent_dim, latent_mask=None, objective=None, shape=SHAPE, widths=(16,), num_conditions=0
):
    """A model with the latents that an objective asks for."""
    asked = None if objective is None else objective.latent
    latent = latents.Gaussian() if asked is None else asked()
    encoder, decoder = networks.build(
        "mlp", shape=shape, latent_dim=latent_dim, widths=widths, num_parts=len(latent.parts)
    )
    likelihood = likelihoods.Bernoulli()
    return Model(
        encoder,
        decoder,
        likelihood,
        shape,
        latent_dim,
        latent_mask,
        latent,
        num_conditions=num_conditions,
        mechanism=objective and objective.mechanism and objective.mechanism(),
    )


SMALL = {
    "discriminator_width": 16,
    "discriminator_depth": 2,
    "num_codes": 16,
    "code_dim": 3,
    "num_stages": 2,
    "num_categories": 3,
    "classifier_width": 16,
    "num_classes": 3,
}
KINDS = {
    "autoencoder": "contractive contrastive dbn denoising k_sparse rae sparse stacked",
    "beta_vae": "capacity_vae ciwae cvae dip_vae_i dip_vae_ii dreg info_vae iwae miwae ms_ssim "
    "not_miwae",
    "beta_tc_vae": "",
    "factor_vae": "vae_gan wae_gan",
    "gumbel_vae": "joint_vae",
    "m2": "",
    "piwae": "renyi stl tvo",
    "swae": "wae_mmd",
    "vq_vae": "rq_vae",
}
"""One objective of each kind, and those like it, whose programs are compiled in slow tests."""


def all_but(like):
    """All objectives, those that are like another as slow tests; a new one is like none."""
    slow = [pytest.mark.slow]
    return [pytest.param(n, marks=slow if n in like else []) for n in objectives.names()]


LIKE = set(" ".join(KINDS.values()).split())
FEW = all_but(LIKE | KINDS.keys() - {"beta_vae", "factor_vae", "vq_vae"})
# what trains each kind, or β-VAE, by default does as much; a codebook is updated besides
ONE = all_but(LIKE | KINDS.keys() - {"beta_vae"})
UPDATED = all_but(LIKE | KINDS.keys() - {"vq_vae"})


def bind(name):
    """An objective, what is its own of a small size."""
    known = objectives.hyperparameters(name)
    small = {setting: value for setting, value in SMALL.items() if setting in known}
    return objectives.bind(name, num_examples=N, **small)


def with_own(objective, model, params):
    """The parameters of a model, and those that the objective adds."""
    if objective.init is None:
        return params
    return {**params, "objective": objective.init(model, jax.random.key(5))}


def beside(objective, num_examples, num_classes=3):
    """What else a batch holds where an objective asks for it: labels, every second one hidden."""
    if objective.conditions is None:
        return {}
    labels = np.arange(num_examples, dtype=np.int32) % num_classes
    hidden = np.where(np.arange(num_examples) % 2, labels, -1).astype(np.int32)
    return {"condition": labels, **m2.rows(hidden, labels)}


def num_given(objective):
    """How many numbers its model is given: those of the labels, where it is."""
    return 0 if objective.given is None else 3


def fitted(name, setting, latent_mask=None):
    """An objective, and a model, parameters and a batch as it asks for them."""
    objective = bind(name)
    _, _, batch, key = setting
    more = beside(objective, B)
    model = make_model(L, latent_mask, objective, num_conditions=num_given(objective))
    params = with_own(objective, model, initial(model))
    return objective, model, params, {**batch, **more}, key


@pytest.fixture(scope="module")
def setting():
    model = make_model(L)
    params = initial(model)
    x = jax.random.bernoulli(jax.random.key(1), 0.3, (B, *SHAPE)).astype(jnp.float32)
    return model, params, {"x": x, "mask": jnp.ones(B)}, jax.random.key(2)


@pytest.mark.parametrize("name", FEW)
def test_value_and_gradient_are_finite_per_example(name, setting):
    loss_fn, model, params, batch, key = fitted(name, setting)

    def mean_loss(params):
        loss, aux = loss_fn(model, params, batch, key)
        return loss.mean(), (loss, aux)

    grads, (loss, aux) = jax.jit(jax.grad(mean_loss, has_aux=True))(params)
    assert loss.shape == (B,)
    assert all(value.shape == (B,) for value in aux.values())
    assert all(np.isfinite(value).all() for value in (loss, *aux.values()))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", ONE)
def test_jit_equals_eager_and_same_key_same_value(name, setting):
    loss_fn, model, params, batch, key = fitted(name, setting)
    jitted = jax.jit(loss_fn)
    eager = loss_fn(model, params, batch, key)[0]
    own, again = (jitted(model, params, batch, key)[0] for _ in range(2))
    np.testing.assert_allclose(own, eager, rtol=2e-5)
    np.testing.assert_array_equal(own, again)
    other = jitted(model, params, batch, jax.random.key(3))[0]
    is_point = isinstance(model.latent, latents.Quantized | latents.Deterministic)
    is_random = not is_point or loss_fn.corrupt is not None
    assert (np.abs(other - own).max() > 0) == is_random


@pytest.mark.parametrize("name", FEW)
def test_padding_has_no_influence(name, setting):
    """Rows of mask 0 change neither the mean loss of the others nor its gradient."""
    loss_fn, model, params, batch, key = fitted(name, setting)
    mask = jnp.array([1.0, 1, 1, 1, 0, 0])

    def mean_loss(params, padding):
        x = batch["x"].at[4:].set(padding)
        loss, _ = loss_fn(model, params, {**batch, "x": x, "mask": mask}, key)
        return losses.batch_mean(loss, mask)

    both = jax.jit(jax.value_and_grad(mean_loss))
    a, b = (both(params, jnp.float32(padding)) for padding in (0.0, 1.0))
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-6), a, b)


@pytest.mark.parametrize(
    ("name", "free_bits"),
    [*(pytest.param(*some.values, 0.0, marks=some.marks) for some in FEW), ("beta_vae", 0.5)],
)
def test_masked_latents_cost_nothing(name, free_bits, setting):
    """Loss and aux do not know how many masked dimensions there are, whatever their weights."""
    options = {"free_bits": free_bits} if free_bits else {}
    mask = jnp.array([1.0, 1, 1, 0, 0, 0])
    objective, model, params, batch, key = fitted(name, setting, mask)
    loss_fn = jax.jit(functools.partial(objective, **options))
    loss, aux = loss_fn(model, params, batch, key)
    # scrambling what belongs to the masked dimensions changes nothing
    head = params["encoder"]["head"]["posterior"]
    dead = jnp.tile(mask == 0, len(model.latent.parts))[None, :]
    kernel = jnp.where(dead, 100.0, head["kernel"])
    other = {
        **params,
        "encoder": {**params["encoder"], "head": {"posterior": {**head, "kernel": kernel}}},
    }
    loss_2, aux_2 = loss_fn(model, other, batch, key)
    np.testing.assert_array_equal(loss, loss_2)
    jax.tree.map(np.testing.assert_array_equal, aux, aux_2)
    if name == "beta_vae":
        posterior = model.encode(params, batch["x"])
        rate = distributions.kl_divergence(posterior, model.prior(params))[:, :3]
        price = np.where(rate.mean(axis=0) >= free_bits, rate, free_bits).sum(axis=1)
        np.testing.assert_allclose(loss - aux["distortion"], price, atol=1e-5)


OF_BATCHES = [
    *("beta_vae", "beta_tc_vae", "capacity_vae", "dip_vae_i", "dip_vae_ii", "info_vae", "swae"),
    "wae_mmd",
]
"""Objectives of Gaussian codes with terms of a whole batch."""
FREE_BITS = {"beta_vae": {"free_bits": 0.5}}


def test_padded_rows_and_masked_dimensions_are_as_good_as_gone(setting):
    """Each example's loss and terms, of all objectives in one program.

    Draws are those of the batch without padding, and of the model without masked dimensions, whose
    first parameters are those of the masked one.
    """
    _, _, batch, key = setting
    mask = jnp.array([1.0, 1, 1, 0, 0, 0])
    padded = {"x": batch["x"].at[4:].set(1.0), "mask": (jnp.arange(B) < 4).astype(jnp.float32)}
    short = {"x": batch["x"][:4], "mask": jnp.ones(4)}
    wide, native = make_model(L, mask), make_model(3)
    params, own = (initial(model) for model in (wide, native))

    @jax.jit
    def all_of(params, own):
        found = {}
        for name in OF_BATCHES:
            objective = functools.partial(bind(name), **FREE_BITS.get(name, {}))
            pair = (wide, params, padded), (native, own, short)
            found[name] = [objective(*each, key) for each in pair]
        return found

    for name, (first, second) in all_of(params, own).items():
        loss, terms = jax.tree.map(lambda leaf: leaf[:4], first)
        np.testing.assert_allclose(loss, second[0], rtol=2e-4, err_msg=name)
        for term, value in second[1].items():
            told = f"{term} of {name}"
            np.testing.assert_allclose(terms[term], value, rtol=2e-4, atol=1e-4, err_msg=told)


@pytest.mark.parametrize("name", ONE)
def test_improves_on_digits_in_50_steps(name):
    from sklearn.datasets import load_digits

    x = (load_digits().images[:500, :, :, None] / 16).astype(np.float32)
    objective = bind(name)
    more = beside(objective, len(x))
    model = make_model(L, None, objective, x.shape[1:], (200, 200), num_given(objective))
    told = {"x": x, **more} if more else x
    trained = fitting.fit(objective, model, told, learning_rate=3e-3, epochs=10, batch_size=100)
    rows = trained.history
    assert rows[-1]["step"] == 50
    assert rows[-1]["loss"] < rows[0]["loss"]
    # a classifier restores nothing, and features of a small discriminator are not those of pixels
    if name != "vae_gan":
        assert rows[-1].get("distortion", -np.inf) < rows[0].get("distortion", 0.0) - 3


@pytest.mark.parametrize("name", UPDATED)
def test_one_program_resumes_to_the_bit_and_trains_many_runs(name, tmp_path):
    """Chunks of any length are one program, and a checkpoint between two is not seen.

    Mapped over runs, one of them masked in a wider model, that program trains each as alone.
    """
    objective = bind(name)
    x = jax.random.bernoulli(jax.random.key(9), 0.4, (30, *SHAPE)).astype(jnp.float32)
    more = jax.tree.map(jnp.asarray, beside(objective, len(x)))
    rows = {"x": x, **more} if more else x

    def of(latent_dim):
        return training.make_train(
            objective,
            make_model(latent_dim, None, objective, num_conditions=num_given(objective)),
            preprocess=lambda stored, key: stored,
            num_examples=len(x),
            batch_size=16,
            beside=more,
        )

    h = training.Hparams(jnp.int32(0), jnp.float32(1e-3))
    train = of(L)
    init, chunk = jax.jit(train.init), jax.jit(train.chunk)
    with compiling.names() as compiled:
        whole = chunk(init(h), h, rows, jnp.int32(4))
        part = chunk(init(h), h, rows, jnp.int32(1))
        with checkpoints.Checkpoints(tmp_path / "checkpoints") as store:
            store.save(1, part, {})
            part = store.restore(jax.eval_shape(lambda: part)).state
        jax.tree.map(np.testing.assert_array_equal, whole, chunk(part, h, rows, jnp.int32(3)))
    assert compiled.count("chunk") == 1
    assert int(whole.failure) == -1

    wide = of(2 * L)
    masks = [(jnp.arange(2 * L) < num).astype(jnp.float32) for num in (2 * L, L)]
    runs = jax.tree.map(lambda *v: jnp.stack(v), *(h.replace(latent_mask=mask) for mask in masks))
    mapped = jax.jit(jax.vmap(wide.chunk, (0, 0, None, None)))(
        jax.vmap(wide.init)(runs), runs, rows, jnp.int32(4)
    )
    for metric, total in whole.sums.items():
        np.testing.assert_allclose(mapped.sums[metric][1], total, rtol=2e-3, err_msg=metric)


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_explains_itself(name):
    function = objectives.load(name)
    doc = inspect.getdoc(function)
    assert "Reference:" in doc
    assert re.search(r"arXiv \d{4}\.\d{4,5}|\(\d{4}\)|et al\. \d{4}", doc)
    assert objectives.references(name)
    assert objectives.formula(name)
    assert 10 < len(objectives.purpose(name)) < 100
    for flag, hyperparameter in objectives.hyperparameters(name).items():
        if hyperparameter.choices:
            assert hyperparameter.default in hyperparameter.choices, flag
        else:
            assert hyperparameter.default in hyperparameter.interval, flag
        assert len(hyperparameter.help) > 10, flag


def test_surnames_of_several_words_are_read():
    def documented():
        """Sums it up.

        Reference:
            De Cao & Aziz 2020, The Power Spherical distribution, arXiv 2006.04437, equation 9; van
            den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937; Knuth &
            de Bruijn 1970; Burda et al. 2015, arXiv 1509.00519.
        """

    assert objectives.papers(documented) == {
        "De Cao & Aziz 2020": "2006.04437",
        "van den Oord et al. 2017": "1711.00937",
        "Knuth & de Bruijn 1970": None,
        "Burda et al. 2015": "1509.00519",
    }


PARTS = {"loss", "mutual_information", "total_correlation", "dimension_wise_kl"}


@pytest.mark.parametrize("name", objectives.names())
def test_every_defined_term_is_logged(name):
    terms = set(re.findall(r'"(\w+)"', inspect.getdoc(objectives.load(name)))) | PARTS
    assert objectives.definitions(name).keys() <= terms


@pytest.mark.parametrize("ends", ["[]", "[)", "(]", "()"])
def test_ends_belong_to_an_interval_as_it_is_written(ends):
    interval = objectives.Interval.parse(f"{ends[0]}1, 2{ends[1]}")
    found = [number in interval for number in (0.9, 1.0, 1.5, 2.0, 2.1)]
    assert found == [False, ends[0] == "[", True, ends[1] == "]", False]
    low, high = ">=" if ends[0] == "[" else ">", "<=" if ends[1] == "]" else "<"
    assert str(interval) == f"{low} 1 and {high} 2"


def test_nearest_objective_is_suggested():
    with pytest.raises(UsageError, match="did you mean beta_vae"):
        objectives.load("beta_vea")


@pytest.mark.parametrize("latent_dim", [6, 20])
def test_beta_one_is_the_negative_elbo(latent_dim, setting):
    _, _, batch, key = setting
    model = make_model(latent_dim)
    params = initial(model)
    loss, aux = jax.jit(objectives.load("beta_vae"))(model, params, batch, key, beta=1.0)
    np.testing.assert_array_equal(loss, -aux["elbo"])
    np.testing.assert_array_equal(aux["elbo"], -(aux["distortion"] + aux["rate"]))


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_beta_weighs_the_rate_and_not_the_elbo(beta, setting):
    model, params, batch, key = setting
    loss_fn = objectives.load("beta_vae")
    loss, aux = loss_fn(model, params, batch, key, beta=beta)
    np.testing.assert_allclose(loss, aux["distortion"] + beta * aux["rate"], rtol=1e-6)
    np.testing.assert_array_equal(aux["elbo"], loss_fn(model, params, batch, key)[1]["elbo"])


def test_the_distortion_of_several_samples_is_their_mean(setting):
    model, params, batch, key = setting
    _, aux = loss_of("beta_vae", model, params, batch, key, num_samples=3)
    z = model.encode(params, batch["x"]).sample(key, 3)
    each = jnp.stack([model.distortion(params, own, batch) for own in z])
    assert each.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(aux["distortion"], each.mean(axis=0), rtol=1e-5)


def test_free_bits_have_a_floor_of_the_batch_mean(setting):
    model, params, batch, key = setting
    rate = distributions.kl_divergence(model.encode(params, batch["x"]), model.prior(params))
    floor = float(np.median(rate.mean(axis=0)))
    loss, aux = loss_of("beta_vae", model, params, batch, key, beta=2.0, free_bits=floor)
    expected = aux["distortion"].mean() + 2 * np.maximum(rate.mean(axis=0), floor).sum()
    assert float(loss.mean()) == pytest.approx(float(expected), rel=1e-5)


def test_free_bits_do_not_count_padding(setting):
    """The floor lies between the means with and without padding, so the mask decides."""
    model, params, batch, key = setting
    rate = np.asarray(
        distributions.kl_divergence(model.encode(params, batch["x"]), model.prior(params))
    )
    real = rate[:2].mean(axis=0)
    gap = np.abs(real - rate.mean(axis=0))
    floor = float((real + rate.mean(axis=0))[gap.argmax()] / 2)
    assert gap.max() > 1e-3
    padded = {**batch, "mask": (jnp.arange(B) < 2).astype(jnp.float32)}
    loss, aux = objectives.load("beta_vae")(model, params, padded, key, free_bits=floor)
    expected = aux["distortion"][:2].mean() + np.maximum(real, floor).sum()
    assert float(loss[:2].mean()) == pytest.approx(float(expected), rel=1e-5)


def test_capacity_of_zero_is_beta_vae_with_beta_gamma(setting):
    """|rate − 0| = rate: the classic mistake clamps the penalty away at C = 0."""
    model, params, batch, key = setting
    capacity, _ = loss_of("capacity_vae", model, params, batch, key, gamma=7.0, capacity=0.0)
    beta, _ = loss_of("beta_vae", model, params, batch, key, beta=7.0)
    assert float(capacity.mean()) == pytest.approx(float(beta.mean()), rel=1e-5)


def test_capacity_above_the_rate_pulls_it_up(setting):
    model, params, batch, key = setting

    @jax.jit
    def loss(params, capacity):
        settings = {"gamma": 1e6, "capacity": capacity}
        return loss_of("capacity_vae", model, params, batch, key, **settings)[0].mean()

    @jax.jit
    def rate(params):
        posterior = model.encode(params, batch["x"])
        return distributions.kl_divergence(posterior, model.prior(params)).sum(axis=1).mean()

    low, high = rate(params) - 1, rate(params) + 1
    for capacity, sign in ((low, 1), (high, -1)):
        along = sum(
            float(np.vdot(a, b))
            for a, b in zip(
                jax.tree.leaves(jax.jit(jax.grad(loss))(params, capacity)),
                jax.tree.leaves(jax.jit(jax.grad(rate))(params)),
                strict=True,
            )
        )
        assert np.sign(along) == sign
