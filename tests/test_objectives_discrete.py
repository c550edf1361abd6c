"""Quantized and categorical codes: whose gradient is whose, how a codebook moves, what is told."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial

from vae_jax import distributions, latents, likelihoods, losses, networks, objectives, training
from vae_jax.errors import UsageError
from vae_jax.model import Model
from vae_jax.objectives import _quantization

SHAPE = (4, 4, 1)
B, L, N = 6, 6, 100
NUM_CODES, CODE_DIM = 8, 3


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def make(objective, latent_dim=L, mask=None):
    latent = objective.latent()
    encoder, decoder = networks.build(
        "mlp", shape=SHAPE, latent_dim=latent_dim, widths=(8,), num_parts=len(latent.parts)
    )
    return Model(encoder, decoder, likelihoods.Bernoulli(), SHAPE, latent_dim, mask, latent)


def bind(name, **settings):
    sizes = {"num_codes": NUM_CODES, "code_dim": CODE_DIM, "num_stages": 2, "num_categories": 3}
    known = objectives.hyperparameters(name)
    sizes = {setting: value for setting, value in sizes.items() if setting in known}
    return objectives.bind(name, num_examples=N, **{**sizes, **settings})


def begin(objective, mask=None):
    """A model with what its objective adds to its parameters."""
    model = make(objective, mask=mask)
    params = initial(model)
    if objective.init is not None:
        params["objective"] = objective.init(model, jax.random.key(1))
    return model, params


@pytest.fixture(scope="module")
def batch():
    x = jax.random.bernoulli(jax.random.key(2), 0.3, (B, *SHAPE)).astype(jnp.float32)
    return {"x": x, "mask": jnp.ones(B)}


KEY = jax.random.key(3)


@pytest.mark.parametrize("name", ["vq_vae", "rq_vae"])
def test_the_straight_through_gradient_is_the_decoders(name, batch):
    """What reaches the encoder is ∂ distortion/∂z at the codes, as if z were its output."""
    objective = bind(name)
    model, params = begin(objective)

    def distortion(encoder):
        loss, _ = objective(
            model, {**params, "encoder": encoder}, batch, KEY, commitment_weight=0.0
        )
        return loss.sum()

    def both(encoder):
        z = model.encode(params, batch["x"]).mode
        of_decoder = jax.grad(lambda z: model.distortion(params, z, batch).sum())(z)

        def features(own):
            return model.encode({**params, "encoder": own}, batch["x"]).features

        (expected,) = jax.vjp(features, encoder)[1](of_decoder)
        return jax.grad(distortion)(encoder), expected

    found, expected = jax.jit(both)(params["encoder"])
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, expected
    )
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 1e-3


def test_terms_pull_features_and_codes_together(batch):
    """β·‖z_e − sg[e]‖² moves the features, ‖sg[z_e] − e‖² the codes that were chosen alone."""
    objective = bind("vq_vae", codebook="gradient")
    model, params = begin(objective)
    posterior = model.encode(params, batch["x"])
    features = posterior.features.reshape(-1, CODE_DIM)
    indices = np.asarray(posterior.indices.ravel())
    codebook = np.asarray(params["latent"]["codebook"][0])

    def total(params, weight):
        return objective(model, params, batch, KEY, commitment_weight=weight)[0].sum()

    grad = jax.jit(jax.grad(total))
    found = grad(params, 0.25)["latent"]["codebook"][0]
    expected = np.zeros_like(codebook)
    for k, v in zip(indices, np.asarray(features), strict=True):
        expected[k] += 2 * (codebook[k] - v)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # the weight is of the features' pull alone
    np.testing.assert_allclose(grad(params, 9.0)["latent"]["codebook"][0], found, rtol=1e-5)
    head = [grad(params, weight)["encoder"]["head"]["posterior"]["bias"] for weight in (0.0, 1.0)]
    pull = 2 * (features - codebook[indices]).reshape(B, L).sum(axis=0)
    np.testing.assert_allclose(head[1] - head[0], pull, rtol=1e-4, atol=1e-4)
    value, aux = objective(model, params, batch, KEY, commitment_weight=0.25)
    np.testing.assert_allclose(value, aux["distortion"] + 1.25 * aux["commitment"], rtol=1e-5)


def test_features_commit_to_the_sum_of_their_codes_so_far(batch):
    """Σ_s ‖z_e − sg[e_1 + … + e_s]‖², of two stages."""
    model, params = begin(bind("rq_vae"))
    _, aux = bind("rq_vae")(model, params, batch, KEY)
    features = np.asarray(model.encode(params, batch["x"]).features).reshape(B, -1, CODE_DIM)
    total, expected = np.zeros_like(features), 0
    for codebook in np.asarray(params["latent"]["codebook"]):
        left = features - total
        nearest = np.square(left[..., None, :] - codebook).sum(axis=-1).argmin(axis=-1)
        total = total + codebook[nearest]
        expected += np.square(features - total).sum(axis=(1, 2))
    np.testing.assert_allclose(aux["commitment"], expected, rtol=1e-4)


def test_the_codebook_follows_the_features_that_the_loss_saw(batch):
    """Of the encoder before the step; what else the optimizer did stands."""
    objective = bind("vq_vae")
    model, before = begin(objective)
    after = {**before, "encoder": jax.tree.map(lambda leaf: leaf + 1.0, before["encoder"])}
    update = jax.jit(functools.partial(objective.update, model))
    found, same = (update(before, each, batch, KEY) for each in (after, before))
    jax.tree.map(np.testing.assert_array_equal, found["latent"], same["latent"])
    jax.tree.map(np.testing.assert_array_equal, found["objective"], same["objective"])
    jax.tree.map(np.testing.assert_array_equal, found["encoder"], after["encoder"])


@pytest.mark.parametrize("name", ["vq_vae", "rq_vae"])
def test_a_codebook_by_moving_averages_has_no_gradient(name, batch):
    objective = bind(name)
    model, params = begin(objective)
    grads = jax.jit(jax.grad(lambda p: objective(model, p, batch, KEY)[0].sum()))(params)
    for part in ("latent", "objective"):
        jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), grads[part])


def test_the_rate_is_that_of_a_uniform_code(batch):
    for name, num_stages in (("vq_vae", 1), ("rq_vae", 2)):
        objective = bind(name)
        for mask, num_groups in ((None, 2), (jnp.array([1.0, 1, 1, 0, 0, 0]), 1)):
            model, params = begin(objective, mask)
            _, aux = jax.jit(objective)(model, params, batch, KEY)
            rate = num_groups * num_stages * np.log(NUM_CODES)
            np.testing.assert_allclose(aux["rate"], rate, rtol=1e-6)
            np.testing.assert_array_equal(aux["elbo"], -(aux["distortion"] + aux["rate"]))
            assert 1 <= aux["perplexity"][0] <= NUM_CODES


def test_one_stage_is_a_vector_quantized_autoencoder(batch):
    both = bind("vq_vae"), bind("rq_vae", num_stages=1)
    (model, params), (other, other_params) = map(begin, both)
    assert model.latent == other.latent
    jax.tree.map(np.testing.assert_array_equal, params, other_params)
    terms = [objective(model, params, batch, KEY) for objective in both]
    jax.tree.map(np.testing.assert_array_equal, *terms)


def updated(objective, model, params, batch, **h):
    update = jax.jit(functools.partial(objective.update, model, **h))
    return update(params, params, batch, KEY)


@pytest.mark.parametrize("mask", [None, jnp.array([1.0, 1, 1, 0, 0, 0])])
def test_moving_averages_are_those_computed_by_hand(batch, mask):
    """Three steps: N ← d·N + (1 − d)·n, m ← d·m + (1 − d)·Σ v, e = m/N; padding does not count."""
    objective = bind("vq_vae")
    model, params = begin(objective, mask)
    codebook = np.asarray(params["latent"]["codebook"][0])
    count, total = np.zeros(NUM_CODES), np.zeros((NUM_CODES, CODE_DIM))
    num_groups = 2 if mask is None else 1
    for step, num in enumerate((6, 4, 5)):
        rows = (jnp.arange(B) < num).astype(jnp.float32)
        x = jnp.where(rows[:, None, None, None] > 0, jnp.roll(batch["x"], step, axis=0), 1e3)
        features = np.asarray(model.encode(params, x).features)[:num].reshape(num, 2, CODE_DIM)
        features = features[:, :num_groups].reshape(-1, CODE_DIM)
        nearest = np.square(features[:, None] - codebook[None]).sum(axis=2).argmin(axis=1)
        count, total = 0.9 * count, 0.9 * total
        for k, v in zip(nearest, features, strict=True):
            count[k] += 0.1
            total[k] += 0.1 * v
        used = count > 0
        codebook = np.where(used[:, None], total / np.maximum(count, 1e-9)[:, None], codebook)
        own = {"x": x, "mask": rows}
        params = updated(objective, model, params, own, codebook_decay=0.9, revival=0.0)
        np.testing.assert_allclose(params["objective"]["count"][0], count, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(params["latent"]["codebook"][0], codebook, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_dead_codes_begin_anew_among_the_features_and_live_ones_stay(batch, codebook):
    objective = bind("vq_vae", codebook=codebook)
    model, params = begin(objective)
    own = {"x": batch["x"].at[4:].set(1e3), "mask": jnp.array([1.0, 1, 1, 1, 0, 0])}
    options = {"codebook_decay": 0.9}
    kept = updated(objective, model, params, own, revival=0.0, **options)
    found = updated(objective, model, params, own, revival=0.1, **options)
    used = np.asarray(kept["objective"]["count"][0]) > 0
    assert 0 < used.sum() < NUM_CODES
    before, after = (np.asarray(each["latent"]["codebook"][0]) for each in (kept, found))
    np.testing.assert_array_equal(after[used], before[used])
    features = np.asarray(model.encode(params, own["x"]).features)[:4].reshape(-1, CODE_DIM)
    distances = np.square(after[~used][:, None] - features[None]).sum(axis=2).min(axis=1)
    np.testing.assert_array_equal(distances, 0)
    if codebook == "gradient":
        np.testing.assert_array_equal(before, params["latent"]["codebook"][0])
    # what began anew counts as a code of mean use, and is not dead again at once
    count = np.asarray(found["objective"]["count"][0])
    np.testing.assert_allclose(count[~used], kept["objective"]["count"][0].mean(), rtol=1e-6)


def test_revived_codes_do_not_depend_on_padding():
    codebook, vectors = jnp.zeros((5, 2)), normal(0, 7, 2)
    weights = jnp.array([0.0, 1, 1, 0, 1, 1, 1])
    args = jax.random.key(0), codebook, jnp.ones(5, bool)
    kept = weights > 0
    whole = _quantization.revive(*args, vectors, weights)
    np.testing.assert_array_equal(
        whole, _quantization.revive(*args, vectors[kept], jnp.ones(int(kept.sum())))
    )
    many = _quantization.revive(
        jax.random.key(1), jnp.zeros((20_000, 2)), jnp.ones(20_000, bool), vectors, weights
    )
    shares = [(np.asarray(many) == v).all(axis=1).mean() for v in np.asarray(vectors)]
    np.testing.assert_allclose(shares, weights / 5, atol=0.02)


def train_of(name, model=None, objective=None, **options):
    objective = objective or bind(name)
    x = jax.random.bernoulli(jax.random.key(9), 0.4, (50, *SHAPE)).astype(jnp.float32)
    train = training.make_train(
        objective,
        model or make(objective),
        preprocess=lambda stored, key: stored,
        num_examples=50,
        batch_size=16,
        **options,
    )
    return train, x


def run(train, x, lengths, h):
    state, chunk = jax.jit(train.init)(h), jax.jit(train.chunk)
    for length in lengths:
        state = chunk(state, h, x, jnp.int32(length))
    return state


def hparams(**options):
    return training.Hparams(jnp.int32(0), jnp.float32(1e-2), **options)


def test_training_moves_the_codebook_and_resumes_to_the_bit():
    train, x = train_of("vq_vae")
    whole, cut = (run(train, x, lengths, hparams()) for lengths in ([4, 4], [4, 1, 3]))
    jax.tree.map(np.testing.assert_array_equal, whole, cut)
    start = jax.jit(train.init)(hparams())
    moved = whole.params["latent"]["codebook"] - start.params["latent"]["codebook"]
    assert (jnp.abs(moved).max(axis=-1) > 0).all()
    assert int(whole.failure) == -1


def test_averaged_parameters_follow_the_updated_ones():
    train, x = train_of("vq_vae")
    h = hparams(ema_decay=jnp.float32(0.5))
    first, second = (run(train, x, [num], h) for num in (1, 2))
    expected = 0.5 * (first.ema["latent"]["codebook"] + second.params["latent"]["codebook"])
    np.testing.assert_allclose(second.ema["latent"]["codebook"], expected, rtol=1e-5, atol=1e-6)


def test_an_update_that_is_not_finite_is_a_failure_and_is_not_taken():
    plain = bind("vq_vae")

    def update(model, before, after, batch, key, **h):
        step = before["objective"]["count"].sum()
        after = plain.update(model, before, after, batch, key, **h)
        bad = jnp.where(step > 3.0, jnp.nan, 1.0)
        return {**after, "latent": {"codebook": after["latent"]["codebook"] * bad}}

    objective = training.Objective(plain.loss, plain.init, latent=plain.latent, update=update)
    train, x = train_of("vq_vae", objective=objective)
    h = hparams(objective={"codebook_decay": jnp.float32(0.9)})
    state = run(train, x, [4], h)
    assert 0 < int(state.failure) == int(state.step) < 4
    assert bool(state.stopped)
    good = run(train, x, [int(state.failure)], h)
    jax.tree.map(np.testing.assert_array_equal, state.params, good.params)


def test_smoothing_less_and_less_is_the_negative_elbo(batch):
    """The ELBO is that of one-hot codes; at temperature 0 it is what is trained."""
    objective = bind("gumbel_vae")
    model, params = begin(objective)
    call = jax.jit(
        lambda temperature: objective(model, params, batch, KEY, temperature=temperature)
    )
    gaps = []
    for temperature in (1.0, 0.1, 0.0):
        loss, aux = call(temperature)
        gaps.append(float(jnp.abs(loss + aux["elbo"]).mean()))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-3
    np.testing.assert_array_equal(call(1.0)[1]["elbo"], call(0.1)[1]["elbo"])
    z = model.encode(params, batch["x"]).sample(KEY)
    np.testing.assert_allclose(
        call(1.0)[1]["distortion"], model.distortion(params, z, batch), rtol=1e-5
    )


def test_straight_through_trains_the_negative_elbo_with_the_smooth_gradient(batch):
    objective = bind("gumbel_vae", estimator="straight_through")
    model, params = begin(objective)
    loss, aux = objective(model, params, batch, KEY)
    np.testing.assert_allclose(loss, -aux["elbo"], rtol=1e-6)

    def logits(params):
        return model.encode(params, batch["x"])

    def both(params):
        found = jax.grad(lambda p: objective(model, p, batch, KEY, beta=0.0)[0].sum())(params)
        posterior = logits(params)
        z = posterior.sample(KEY)
        of_decoder = jax.grad(lambda z: model.distortion(params, z, batch).sum())(z)
        (expected,) = jax.vjp(lambda p: logits(p).relaxed(KEY, 0.5), params)[1](of_decoder)
        return found["encoder"], expected["encoder"]

    found, expected = jax.jit(both)(params)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, expected
    )


def test_joint_without_categories_is_the_gaussian_objective(batch):
    """JointVAE with no discrete variable is the capacity VAE."""
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=L, widths=(8,))
    rest = likelihoods.Bernoulli(), SHAPE, L, None
    joint = Model(encoder, decoder, *rest, latents.Joint(3, 0))
    gaussian = Model(encoder, decoder, *rest)
    params = jax.jit(gaussian.init)(jax.random.key(0))
    options = {"gamma": 7.0, "capacity": 1.5}
    loss, aux = objectives.load("joint_vae")(joint, params, batch, KEY, **options)
    expected, terms = objectives.load("capacity_vae")(gaussian, params, batch, KEY, **options)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for name, value in terms.items():
        np.testing.assert_allclose(aux[name], value, rtol=1e-5, err_msg=name)
    np.testing.assert_array_equal(aux["discrete_rate"], 0)


def test_joint_prices_both_rates_by_their_distance(batch):
    objective = bind("joint_vae")
    model, params = begin(objective)
    rate = distributions.kl_divergence(model.encode(params, batch["x"]), model.prior(params))
    parts = float(rate[:, :3].sum(axis=1).mean()), float(rate[:, 3:].sum(axis=1).mean())
    options = {"gamma": 2.0, "temperature": 0.0}
    # more than a variable of 3 categories can hold is not asked of it
    loss, aux = objective(model, params, batch, KEY, capacity=1.0, discrete_capacity=9.0, **options)
    penalty = 2 * (abs(parts[1] - 1.0) + abs(parts[0] - np.log(3)))
    np.testing.assert_allclose(loss, aux["distortion"] + penalty, rtol=1e-4)
    np.testing.assert_allclose(aux["rate"], rate.sum(axis=1), rtol=1e-5)


def test_schedules_are_what_a_flag_means_by_default():
    capacity = objectives.hyperparameters("joint_vae")["capacity"]
    assert (capacity.default, capacity.text) == (5.0, "linear(0, 5, 50%)")
    assert objectives.hyperparameters("capacity_vae")["capacity"].text == "25"


def test_sizes_are_counts_and_ways_are_words():
    with pytest.raises(UsageError, match="num_codes=0: must be at least 1"):
        bind("vq_vae", num_codes=0).latent()
    with pytest.raises(UsageError, match="hyperparameter of vq_vae 'num_stages'"):
        objectives.bind("vq_vae", num_examples=N, num_stages=2)
    assert losses.perplexity(jnp.ones(7)) == pytest.approx(7, rel=1e-5)
