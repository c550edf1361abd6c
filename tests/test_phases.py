"""Phases: codes first, then the prior alone, then both; what stands still keeps every bit."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import slow

import vae_jax
from vae_jax import objectives, phases, priors, schedules, training
from vae_jax.errors import UsageError
from vae_jax.lab import config
from vae_jax.priors import _clusters

KEY = jax.random.key(0)
N, B = 12, 4
X = np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)
ENDS = (3, 5)
"""The steps with which phases 1 and 2 begin."""
PRIORS = {
    "beta_vae": priors.Mixture(3),
    "vq_vae": priors.Transformer(num_layers=1, num_heads=1, model_width=4),
}
SETTINGS = {"beta_vae": {}, "vq_vae": {"num_codes": 5, "code_dim": 2}}


def made(objective, prior):
    sizes = {"latent_dim": 4, "likelihood": "gaussian", "widths": (8,)}
    return vae_jax.make_model(X, objective=objective, prior=prior, **sizes, **SETTINGS[objective])


@functools.cache
def compiled(objective, in_phases=True):
    """The compiled `init` and `chunk` of a training, with a learned prior if it has phases."""
    bound = objectives.bind(objective, num_examples=N, **SETTINGS[objective])
    train = training.make_train(
        phases.by_prior_phase(bound) if in_phases else bound,
        made(objective, PRIORS[objective] if in_phases else None),
        preprocess=lambda stored, key: stored,
        num_examples=N,
        batch_size=B,
        optimizer="adamw",
    )
    return jax.jit(train.init), jax.jit(train.chunk)


def trained(objective, lengths, in_phases=True, learning_rate=0.01):
    """The states after so many more steps each; steps decay weights and average parameters."""
    schedule = schedules.parse(f"piecewise(0, {ENDS[0]}, 1, {ENDS[1]}, 2)")
    hparams = training.Hparams(
        seed=jnp.int32(0),
        learning_rate=jnp.float32(learning_rate),
        objective={phases.NAME: schedule} if in_phases else {},
        weight_decay=jnp.float32(0.1),
        ema_decay=jnp.float32(0.5),
    )
    init, chunk = compiled(objective, in_phases)
    states = [init(hparams)]
    for length in lengths:
        states.append(chunk(states[-1], hparams, jnp.asarray(X), jnp.int32(length)))
    return states


def moved(before, after):
    """The parts of the parameters of which a leaf differs."""
    return {
        name
        for name, own in before.params.items()
        if any(
            jax.tree.leaves(
                jax.tree.map(lambda a, b: bool(jnp.any(a != b)), own, after.params[name])
            )
        )
    }


@pytest.mark.parametrize("objective", ["beta_vae", *slow("vq_vae")])
def test_each_phase_moves_its_own_parts_alone_and_goes_on_anywhere(objective):
    states = trained(objective, (3, 1, 1, 2))
    every = set(states[0].params)
    codes, first, prior, both = (moved(*pair) for pair in itertools.pairwise(states))
    assert "prior" in every
    assert codes == every - {"prior"}
    assert first == prior == {"prior"}  # where it starts, then by its gradient
    assert both == every
    counts = [int(state.opt_state[0].count) for state in states[1:]]
    assert counts == [3, 1, 2, 2]
    # cut within the phases
    again = trained(objective, (2, 2, 3))[-1]
    jax.tree.map(np.testing.assert_array_equal, again, states[-1])
    # codes are trained as if there were no prior
    alone = trained(objective, (3,), in_phases=False)[-1]
    for name in every - {"prior"}:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            states[1].params[name],
            alone.params[name],
        )
    np.testing.assert_allclose(states[1].sums["loss"], alone.sums["loss"], rtol=1e-5)


def test_the_prior_alone_begins_at_clusters_of_codes_and_its_average_with_it():
    """Without a step of the optimizer, the codes are those of the initial encoder."""
    start, before, first, later = trained("beta_vae", (3, 1, 4), learning_rate=0.0)
    jax.tree.map(np.testing.assert_array_equal, start.params, before.params)
    assert moved(before, first) == {"prior"}
    # the center of the mixture of clusters is that of the codes of a batch of 4, plus one point
    # in each cluster; the next phase begins with what there is
    jax.tree.map(np.testing.assert_array_equal, first.params, later.params)
    jax.tree.map(np.testing.assert_array_equal, first.params["prior"], first.ema["prior"])
    model = made("beta_vae", PRIORS["beta_vae"])
    codes = model.encode(start.params, jnp.asarray(X))
    means = first.params["prior"]["mean"]
    near = jnp.square(means[:, None] - codes.mean[None]) / jnp.exp(codes.logvar)[None]
    assert (near.sum(axis=-1).min(axis=1) < 25.0).all()  # 5 deviations from the code of an example


def blobs(num, seed=0):
    """Points around three far centers, and their clusters."""
    rng = np.random.default_rng(seed)
    own = np.arange(num) % 3
    centers = np.float32([[0, 0, 9], [9, 0, 0], [0, 9, 0]])
    return jnp.asarray(centers[own] + rng.normal(size=(num, 3)) * [0.5, 0.3, 0.1], jnp.float32), own


FIND = jax.jit(_clusters.k_means, static_argnums=3)


def test_the_best_of_several_starts_is_taken():
    """A poor start halves the wide cluster, far from the two narrow ones, which then share one."""
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(15, 3)) + np.array([30.0, 0.0, 0.0])
    narrow = 0.05 * rng.normal(size=(16, 3)) + np.repeat([[0.0] * 3, [0.0, 4.0, 0.0]], 8, axis=0)
    points = jnp.pad(jnp.float32(np.concatenate([wide, narrow])), ((0, 9), (0, 2)))
    found = FIND(KEY, points, (jnp.arange(40) < 31).astype(jnp.float32), 3)
    np.testing.assert_allclose(np.sort(found.shares), np.array([9, 9, 16]) / 34, rtol=1e-6)


def test_clusters_far_apart_are_found_whatever_padding_holds():
    """Nor does it matter how far the origin is; masked dimensions are 0."""
    points, own = blobs(31)
    wide = jnp.pad(points, ((0, 9), (0, 2)))
    weights = jnp.arange(40) < 31
    far = jnp.pad(points + 100.0, ((0, 9), (0, 2)), constant_values=1e6)
    for padded, shift in ((wide, 0.0), (far, 100.0)):
        found = FIND(KEY, padded, weights.astype(jnp.float32), 3)
        order = np.argmax(np.asarray(found.centers)[:, :3], axis=1)
        of_cluster = [points[own == {2: 0, 0: 1, 1: 2}[int(place)]] for place in order]
        means = np.stack([np.mean(each, axis=0) for each in of_cluster])
        np.testing.assert_allclose(found.centers[:, :3] - shift, means, atol=1e-4)
        sizes = np.array([len(each) for each in of_cluster])
        np.testing.assert_allclose(found.shares, (sizes + 1) / (31 + 3), rtol=1e-6)
        within = sum(len(each) * np.var(each, axis=0) for each in of_cluster) / 31
        least = 0.01 * np.var(points, axis=0)
        np.testing.assert_allclose(found.variance[:3], np.maximum(within, least), rtol=1e-3)
        assert (found.variance[3:] == 0).all()


def test_as_many_clusters_as_points_leave_a_finite_density():
    prior, mask = priors.Mixture(5), jnp.float32([1, 1, 0])
    points = blobs(5)[0] * mask[None]
    params = prior.at_codes(KEY, {}, points, jnp.float32([1, 1, 1, 1, 0]))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))
    own = prior.of(params, 3, mask)
    assert (own.log_prob(points) > -50.0)[:4].all()
    assert (own.means[:, 2] == 0).all()
    assert (own.logvars[:, 2] == 0).all()


@pytest.mark.slow
def test_a_mixture_that_starts_at_codes_finds_the_clusters_of_the_data(tmp_path):
    """And a run that is resumed from before the prior begins ends with the same bits."""
    points, own = blobs(300)
    x = np.asarray(points @ np.random.default_rng(1).normal(size=(3, 8)), np.float32)
    model = vae_jax.make_model(
        x, latent_dim=2, likelihood="gaussian", prior=priors.Mixture(3), widths=(16,)
    )
    settings = {"batch_size": 50, "progress": False, "learning_rate": 5e-3}
    settings |= {"prior_phase": "piecewise(0, 20ep, 1, 30ep, 2)"}
    settings |= {"beta": "piecewise(0.01, 20ep, 1)"}
    whole = vae_jax.fit("beta_vae", model, x, epochs=40, **settings)
    resumed = [
        vae_jax.fit("beta_vae", model, x, epochs=num, checkpoint=tmp_path / "fit", **settings)
        for num in (15, 40)
    ][-1]
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    codes = model.encode(whole.params, jnp.asarray(x)).mean
    share = np.asarray(model.prior(whole.params).responsibilities(codes))
    clusters = np.argmax(share, axis=1)
    assert len({*zip(clusters.tolist(), own.tolist(), strict=True)}) == 3
    assert share.max(axis=1).min() > 0.9


def test_phases_without_a_learned_prior_and_fewer_codes_than_components_are_refused():
    plain = vae_jax.make_model(X, latent_dim=2, likelihood="gaussian")
    with pytest.raises(UsageError, match=r"prior_phase=1: says when a learned prior is trained"):
        vae_jax.fit("beta_vae", plain, X, epochs=1, prior_phase=1, progress=False)
    for given in ({}, {"prior": "normal"}):
        with pytest.raises(UsageError, match="there is none: leave prior_phase out"):
            config.from_flags({**given, "prior_phase": "1"})
    learned = vae_jax.make_model(X, latent_dim=2, likelihood="gaussian", prior="mixture")
    with pytest.raises(UsageError, match=r"prior_phase=3: must be finite and >= 0 and <= 2"):
        vae_jax.fit("beta_vae", learned, X, epochs=1, prior_phase=3, progress=False)
    with pytest.raises(UsageError, match=r"patience=1: .* do not compare"):
        config.from_flags({"prior": "mixture", "prior_phase": "1", "patience": "1"})
    with pytest.raises(UsageError, match=r"num_components=100: .* the 5 codes of a batch: give"):
        priors.Mixture(100).at_codes(KEY, {}, blobs(5)[0], jnp.ones(5))
