"""Models given labels or numbers: limits, bounds known in closed form, labels that stay hidden."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from properties import initial, jitted, loss_of, slow

from vae_jax import data, fitting, likelihoods, losses, networks, objectives, training
from vae_jax.cli.commands import evaluate
from vae_jax.devices import layout, streaming
from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation import elbo, nll
from vae_jax.lab import config, results, sweep, train
from vae_jax.lab.config import Plan
from vae_jax.model import Model
from vae_jax.objectives import _conditions, m2

SHAPE = (4, 4, 1)
B, L, C = 6, 3, 4
LABELS = np.array([0, 1, 2, 3, 1, 2], np.int32)
NETWORKS = {"mlp": (16,), "conv": (4,), "linear": None}
MAPS = {"conv_map": (4,)}
"""Of 2×2 places, of which L is a multiple."""


def make(network="mlp", likelihood=None, latent_dim=L, mask=None, num_conditions=C):
    likelihood = likelihood or likelihoods.Bernoulli()
    latent_dim = 4 if network in MAPS else latent_dim
    encoder, decoder = networks.build(
        network, shape=SHAPE, latent_dim=latent_dim, widths={**NETWORKS, **MAPS}[network]
    )
    return Model(
        encoder,
        decoder,
        likelihood,
        SHAPE,
        latent_dim,
        latent_mask=mask,
        num_conditions=num_conditions,
    )


encode, decode = jitted(Model.encode), jitted(Model.decode)
"""(model, params, …): one program for all models like it."""


def normal(*shape):
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


def without_condition(params):
    """The parameters with what a condition adds set to 0."""
    return jax.tree.map_with_path(
        lambda path, leaf: 0 * leaf if any("condition" in str(key) for key in path) else leaf,
        params,
    )


def with_classifier(model, params, **sizes):
    return {**params, "objective": m2.init(model, jax.random.key(5), **sizes)}


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).binomial(1, 0.3, (B, *SHAPE)).astype(np.float32)


def batch_of(x, labels=LABELS, truth=LABELS, mask=None):
    mask = np.ones(len(x), np.float32) if mask is None else mask
    return {"x": x, "mask": mask, "condition": LABELS, **m2.rows(labels, truth)}


HIDDEN = np.full(B, -1, np.int32)


# --- A model that is given something


@pytest.mark.parametrize("network", ["mlp", "conv", *slow("linear", *MAPS)])
def test_a_condition_without_weight_is_none(network, x):
    """Draws are those of the unconditional model; with its layer at 0 so is all that follows."""
    plain, conditional = make(network, num_conditions=0), make(network).given(LABELS)
    params, more = (initial(model) for model in (plain, make(network)))
    zeroed = without_condition(more)
    for part in params:
        for name, leaves in params[part].items():
            jax.tree.map(np.testing.assert_array_equal, leaves, more[part][name])
        assert len(more[part]) == len(params[part]) + (part != "likelihood")
    posterior = encode(plain, params, x)
    jax.tree.map(np.testing.assert_array_equal, encode(conditional, zeroed, x), posterior)
    outputs = decode(plain, params, posterior.mean)
    np.testing.assert_array_equal(decode(conditional, zeroed, posterior.mean), outputs)
    assert np.abs(encode(conditional, more, x).mean - posterior.mean).max() > 1e-2
    assert np.abs(decode(conditional, more, posterior.mean) - outputs).max() > 1e-2


@pytest.mark.parametrize("network", ["mlp", *slow("conv", "linear")])
def test_a_masked_conditional_run_starts_as_an_unmasked_one_of_that_size(network, x):
    native, masked = make(network, latent_dim=2), make(network, mask=np.float32([1, 1, 0]))
    params, wide = (initial(model, 3) for model in (native, masked))
    q, q_masked = (encode(m.given(LABELS), p, x) for m, p in ((native, params), (masked, wide)))
    np.testing.assert_allclose(q_masked.mean[:, :2], q.mean, rtol=1e-5, atol=1e-6)
    outputs = decode(native.given(LABELS), params, q.mean)
    wide_outputs = decode(masked.given(LABELS), wide, q_masked.mean)
    np.testing.assert_allclose(wide_outputs, outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", [*NETWORKS, *MAPS])
def test_every_condition_at_once_is_each_in_turn(network, x):
    model = make(network)
    params = initial(model)
    every = model.given(np.repeat(np.eye(C, dtype=np.float32), B, axis=0))
    size = model.latent_dim
    posterior, z = encode(every, params, x), normal(C, B, size)
    outputs = decode(every, params, z.reshape(-1, size)).reshape(C, B, *SHAPE)
    for c in range(C):
        one = model.given(np.full(B, c))
        expected = encode(one, params, x)
        np.testing.assert_allclose(posterior.mean[c * B :][:B], expected.mean, atol=1e-6)
        np.testing.assert_allclose(outputs[c], decode(one, params, z[c]), atol=1e-5)
    # and K samples of a batch are given what the batch is given
    both = decode(model.given(LABELS), params, z[:2].reshape(-1, size))
    again = decode(model.given(np.tile(LABELS, 2)), params, z[:2].reshape(-1, size))
    np.testing.assert_array_equal(both, again)


def test_labels_are_unit_vectors(x):
    model, params = make(), initial(make())
    by_label, by_vector = (model.given(c) for c in (LABELS, np.eye(C, dtype=np.float32)[LABELS]))
    jax.tree.map(
        np.testing.assert_array_equal, encode(by_label, params, x), encode(by_vector, params, x)
    )


def test_missing_conditions_are_reported(x):
    model, params = make(), initial(make())
    with pytest.raises(UsageError, match=r"needs a condition, 4 numbers .* model\.given"):
        model.encode(params, x)
    with pytest.raises(UsageError, match="the batch holds x, mask: give 'condition'"):
        objectives.load("cvae")(model, params, {"x": x, "mask": jnp.ones(B)}, jax.random.key(0))
    encoder, _ = networks.build("mlp", shape=SHAPE, latent_dim=L, widths=())
    with pytest.raises(UsageError, match="a condition needs a hidden layer"):
        model.replace(encoder=encoder).init(jax.random.key(0))


# --- CVAE


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_cvae_without_conditions_is_beta_vae(beta, x):
    params = without_condition(initial(make()))
    key, batch = jax.random.key(2), batch_of(x)
    loss, aux = loss_of("cvae", make(), params, batch, key, beta=beta)
    plain = make(num_conditions=0)
    expected, terms = loss_of("beta_vae", plain, params, batch, key, beta=beta)
    np.testing.assert_array_equal(loss, expected)
    jax.tree.map(np.testing.assert_array_equal, aux, terms)


def test_the_likelihood_given_each_condition_is_that_of_each_alone(x):
    model, params = make(), jax.tree.map(lambda leaf: 2 * leaf, initial(make()))

    def estimate(model, x, first=0):
        settings = {"preprocess": lambda stored, key: stored, "num_samples": 50}
        return nll.sample(model, params, x, jax.random.key(7), first, **settings).nll

    together = estimate(model.given(LABELS), x)
    for i in (0, 3):
        alone = estimate(model.given(LABELS[i : i + 1]), x[i : i + 1], i)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-5)
    other = estimate(model.given((LABELS + 1) % C), x)
    assert np.abs(together - other).max() > 0.1


# --- M2


@pytest.mark.parametrize(
    "likelihood", [*slow(likelihoods.Bernoulli()), likelihoods.Gaussian("optimal")]
)
def test_with_all_labels_m2_is_the_bound_of_cvae(likelihood, x):
    """And log C, minus the log-probability of a label: also where the variance is the batch's."""
    model = make(likelihood=likelihood)
    params = with_classifier(model, initial(model), classifier_width=8)
    key = jax.random.key(2)

    @jax.jit
    def both(params):
        m2_loss, aux = loss_of("m2", model, params, batch_of(x), key, alpha=0.0)
        cvae_loss, terms = loss_of("cvae", model, params, batch_of(x), key)
        return m2_loss, cvae_loss, aux, terms

    m2_loss, cvae_loss, aux, terms = both(params)
    np.testing.assert_allclose(m2_loss, cvae_loss + np.log(C), rtol=1e-6)
    np.testing.assert_allclose(aux["distortion"], terms["distortion"], rtol=1e-6)
    np.testing.assert_allclose(aux["rate"], terms["rate"] + np.log(C), rtol=1e-6)
    grads = jax.jit(jax.jacrev(lambda p: jnp.stack([loss.mean() for loss in both(p)[:2]])))(params)
    grads = [jax.tree.map(lambda leaf, i=i: leaf[i], grads) for i in (0, 1)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), *grads)


def test_the_unlabelled_bound_is_the_sum_over_classes(x):
    """Σ_y q(y|x) (bound of y) + H(q(y|x)), with one class at a time."""
    model = make()
    params = with_classifier(model, initial(model), classifier_width=8)
    key = jax.random.key(2)
    loss, aux = loss_of("m2", model, params, batch_of(x, HIDDEN), key, alpha=3.0)
    q = np.float64(jax.nn.softmax(m2._logits(params["objective"], x, C)))
    bounds = [
        -loss_of("cvae", model, params, {**batch_of(x), "condition": jnp.full(B, c)}, key)[0]
        - np.log(C)
        for c in range(C)
    ]
    expected = np.sum(q * np.stack(bounds, axis=1), axis=1) + scipy.stats.entropy(q, axis=1)
    np.testing.assert_allclose(loss, -expected, rtol=1e-5)
    np.testing.assert_array_equal(loss, -aux["elbo"])
    # the rate is what it is told to be: E KL(q(z|x, y) ‖ p(z)) + KL(q(y|x) ‖ p(y))
    conditions = [{**batch_of(x), "condition": jnp.full(B, c)} for c in range(C)]
    rates = [loss_of("cvae", model, params, b, key)[1]["rate"] for b in conditions]
    of_class = scipy.stats.entropy(q, np.full_like(q, 1 / C), axis=1)
    expected = np.sum(q * np.stack(rates, axis=1), axis=1) + of_class
    np.testing.assert_allclose(aux["rate"], expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 2.0])
def test_a_label_costs_its_cross_entropy(alpha, x):
    """Over an epoch Σ/N of α·N/N_l·(−log q(y|x)) is α times the mean over the labelled."""
    model = make()
    params = with_classifier(model, initial(model), classifier_width=8)
    labels = np.where(np.arange(B) < 2, LABELS, -1).astype(np.int32)
    batch = batch_of(x, labels, labels)
    loss, aux = loss_of("m2", model, params, batch, jax.random.key(2), alpha=alpha)
    log_q = jax.nn.log_softmax(m2._logits(params["objective"], x, C))
    cross_entropy = -np.asarray(log_q)[np.arange(2), LABELS[:2]]
    np.testing.assert_allclose((loss + aux["elbo"])[2:], 0, atol=1e-5)
    expected = alpha * float(cross_entropy.mean())
    assert float((loss + aux["elbo"]).mean()) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert float(aux["cross_entropy"].mean()) == pytest.approx(cross_entropy.mean(), rel=1e-5)
    is_right = np.argmax(log_q[:2], axis=1) == LABELS[:2]
    assert float(aux["accuracy"].mean()) == pytest.approx(float(is_right.mean()), abs=1e-6)


def linear_gaussian(seed=0, dim=6, variance=0.3):
    """A linear model whose posteriors of z and of y are exact, and x [5, D] from it."""
    draw = np.random.default_rng(seed).standard_normal
    w = np.linalg.qr(draw((dim, 2)))[0] * np.array([1.5, 0.7])  # orthogonal: V is exact, D diagonal
    shift, bias = draw((dim, C)), draw(dim)
    m = w.T @ w + variance * np.eye(2)
    v = np.linalg.inv(m) @ w.T
    encoder, decoder = networks.build("linear", shape=(dim,), latent_dim=2)
    model = Model(encoder, decoder, likelihoods.Gaussian(variance), (dim,), 2, num_conditions=C)
    # log p(x|y) is linear in x but for a term that all y share
    covariance = w @ w.T + variance * np.eye(dim)
    means = bias[:, None] + shift
    precise = np.linalg.solve(covariance, means)
    params = {
        "encoder": {
            "mean": {"kernel": v.T, "bias": -v @ bias},
            "condition": {"kernel": -(v @ shift).T},
            "logvar": np.log(variance * np.diag(np.linalg.inv(m))),
        },
        "decoder": {
            "latent": {"kernel": w.T, "bias": bias},
            "condition": {"kernel": shift.T},
        },
        "likelihood": {},
        "objective": {
            "latent": {"kernel": precise, "bias": -0.5 * np.sum(means * precise, axis=0)}
        },
    }
    x = draw((5, dim)) + means.T[[0, 1, 2, 3, 1]]
    log_p = [scipy.stats.multivariate_normal(mean, covariance).logpdf(x) for mean in means.T]
    params = jax.tree.map(jnp.float32, params)
    return model, params, jnp.float32(x), scipy.special.logsumexp(log_p, axis=0) - np.log(C)


def mean_bound(model, params, x, labels, num=4000):
    """Mean of the ELBO over draws of z, [N], and its standard error."""
    batch = batch_of(x, labels, labels)

    def one(key):
        return loss_of("m2", model, params, batch, key)[1]["elbo"]

    values = np.float64(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), num)))
    return values.mean(axis=0), values.std(axis=0) / num**0.5


def test_the_unlabelled_bound_is_tight_where_both_posteriors_are_exact():
    model, params, x, log_p = linear_gaussian()
    bound, error = mean_bound(model, params, x, np.full(5, -1, np.int32))
    np.testing.assert_array_less(np.abs(bound - log_p), 5 * error + 1e-4)


@pytest.mark.parametrize("part", ["encoder", "objective"])
def test_the_unlabelled_bound_is_a_bound(part):
    model, params, x, log_p = linear_gaussian()
    worse = {**params, part: jax.tree.map(lambda leaf: 0.5 * leaf, params[part])}
    bound, error = mean_bound(model, worse, x, np.full(5, -1, np.int32))
    assert (bound < log_p + 5 * error).all()
    assert (bound < log_p - 5 * error).any()


def test_hidden_labels_and_padding_have_no_influence(x):
    """Truth scores, and nothing else; a padded row's label does nothing."""
    model = make()
    params = with_classifier(model, initial(model), classifier_width=8)
    labels = np.where(np.arange(B) % 2, LABELS, -1).astype(np.int32)
    mask = jnp.array([1.0, 1, 1, 1, 0, 0])

    def mean_loss(params, labels, truth):
        batch = batch_of(x, mask=mask)
        batch |= {"labels": labels, "truth": truth, "weight": jnp.ones(B)}
        return losses.batch_mean(loss_of("m2", model, params, batch, jax.random.key(2))[0], mask)

    both = jax.jit(jax.value_and_grad(mean_loss))
    expected = both(params, labels, labels)
    jax.tree.map(np.testing.assert_array_equal, both(params, labels, (labels + 2) % C), expected)
    padded = np.concatenate([labels[:4], (LABELS[4:] + 1) % C])
    jax.tree.map(np.testing.assert_array_equal, both(params, padded, labels), expected)
    known = np.concatenate([(labels[:4] + 1) % C, labels[4:]])
    assert float(both(params, known, labels)[0]) != float(expected[0])


# --- Which labels are revealed


def test_labels_are_revealed_evenly_and_in_one_way():
    labels = np.random.default_rng(3).choice(5, 300, p=[0.5, 0.3, 0.1, 0.08, 0.02])
    labels[:20] = -1  # these nobody knows
    for num in (5, 17, 100, 280):
        revealed = m2.reveal(labels, num)
        kept = revealed >= 0
        assert kept.sum() == num
        np.testing.assert_array_equal(revealed[kept], labels[kept])
        counts, there = (np.bincount(each[each >= 0], minlength=5) for each in (revealed, labels))
        # as many of each class, but for what it has and the last turn
        assert (counts >= np.minimum(there, counts.max() - 1)).all()
        np.testing.assert_array_equal(revealed, m2.reveal(labels, num))
    assert (m2.reveal(labels, 100)[m2.reveal(labels, 17) >= 0] >= 0).all()


def test_hidden_labels_decide_nothing():
    """Those that come last in the order of revealing may be any: the training data are the same."""
    labels = np.random.default_rng(3).choice(5, 300)
    last = np.random.default_rng(m2._SEED).permutation(300)[150:]
    changed = labels.copy()
    changed[last] = np.random.default_rng(4).permutation(labels[last])
    assert (changed != labels).any()
    np.testing.assert_array_equal(m2.reveal(labels, 50), m2.reveal(changed, 50))


def dataset_of(labels, factors=None, condition=None, **metadata):
    """Splits that all have the same rows."""
    split = data.Split(np.zeros((len(labels), 2), np.float32), labels, factors, condition)
    metadata = {"name": "mine", "classes": None, "unlabeled": "", "factor_sizes": None, **metadata}
    return types.SimpleNamespace(train=split, valid=split, test=split, **metadata)


def test_classes_are_the_labels_that_there_are():
    codes, names = _conditions.classes(dataset_of(np.array([7, 3, -5, 7])), "x")
    np.testing.assert_array_equal(codes["test"], [1, 0, -1, 1])
    assert names == ("3", "7")
    named = dataset_of(np.array([1, 0, 2]), classes=("a", "b", "c"))
    assert _conditions.classes(named, "x")[1] == ("a", "b", "c")


def test_evaluation_knows_no_label():
    """Those of test and valid are the truth that accuracy is measured by, and nothing else."""
    labels = np.arange(40) % 4
    found = m2.conditions(dataset_of(labels), num_labeled=8)
    assert found.num == 4
    for part in (found.valid, found.test):
        assert (part["labels"] == -1).all()
        np.testing.assert_array_equal(part["truth"], labels)
        np.testing.assert_array_equal(part["weight"], 1)
    np.testing.assert_array_equal(found.train["labels"], m2.reveal(labels, 8))
    np.testing.assert_array_equal(found.train["truth"], m2.reveal(labels, 8))
    np.testing.assert_array_equal(found.train["weight"], 5.0 * (found.train["labels"] >= 0))


def test_conditions_may_be_factors_or_numbers():
    factors = np.array([[0, 2], [1, 0], [0, 1]])
    numbers = np.float32([[0.5], [-2.0], [7.0]])
    dataset = dataset_of(np.arange(3), factors, numbers, factor_sizes=(2, 3))
    found = objectives.bind("cvae", num_examples=3, condition="factors").conditions(dataset)
    np.testing.assert_array_equal(found.test["condition"], np.float32([[0, 1], [1, 0], [0, 0.5]]))
    assert found.what == "the factors of x"
    found = objectives.bind("cvae", num_examples=3, condition="array").conditions(dataset)
    np.testing.assert_array_equal(found.train["condition"], numbers)
    assert found.num == 1
    assert found.what == "the row that the data have beside x"
    assert len(found.names) == len(found.shown) == 3


@pytest.mark.parametrize(
    ("name", "labels", "settings", "message"),
    [
        ("cvae", None, {}, "condition=labels: train of mine has no labels: give a dataset"),
        ("cvae", [0, 1, -1], {}, "1 of 3 rows of train in mine have no label"),
        ("cvae", [0, 1], {"condition": "factors"}, "mine has no factors"),
        ("cvae", [0, 1], {"condition": "array"}, "under the key condition"),
        ("m2", None, {}, "objective=m2: train of mine has no labels"),
        ("m2", [3, 3, 3], {}, r"mine has 1 class\(es\)"),
        ("m2", [0, 1, 1, -1], {"num_labeled": 4}, "num_labeled=4: .* at least 2, at most 3"),
        ("m2", [0, 1, 1], {"num_labeled": 1}, "num_labeled=1: .* 3 labels of 2 classes"),
    ],
)
def test_data_that_do_not_tell_are_refused(name, labels, settings, message):
    rows = np.zeros(3) if labels is None else np.array(labels)
    dataset = dataset_of(rows)
    if labels is None:
        split = data.Split(dataset.train.x)
        dataset = types.SimpleNamespace(**{**vars(dataset), "train": split})
    with pytest.raises(DataError, match=message):
        objectives.bind(name, num_examples=3, **settings).conditions(dataset)


# --- Training with more than x

N, BATCH = 50, 16
TRUTH = (np.arange(N) % C).astype(np.int32)


def rows_of(num=N):
    stored = np.asarray(jax.random.bernoulli(jax.random.key(9), 0.4, (num, *SHAPE)))
    revealed = m2.reveal(TRUTH[:num], 12)
    return {"x": stored.astype(np.float32), **m2.rows(revealed, revealed)}


def m2_train(**options):
    beside = {name: values for name, values in rows_of().items() if name != "x"}
    return training.make_train(
        objectives.bind("m2", num_examples=N, classifier_width=8),
        make(),
        preprocess=lambda stored, key: stored,
        num_examples=N,
        batch_size=BATCH,
        beside=beside,
        **options,
    )


def hparams(seed=0, alpha=0.1):
    h = {"alpha": jnp.float32(alpha)}
    return training.Hparams(seed=jnp.int32(seed), learning_rate=jnp.float32(1e-2), objective=h)


@pytest.fixture(scope="module")
def trained():
    """(the training, its compiled chunk, the state after 8 steps)."""
    pieces = m2_train()
    chunk = jax.jit(pieces.chunk)
    state, rows = jax.jit(pieces.init)(hparams()), jax.tree.map(jnp.asarray, rows_of())
    for _ in range(2):
        state = chunk(state, hparams(), rows, jnp.int32(4))
    return pieces, chunk, state


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_resuming_from_a_copy_changes_no_bit(trained):
    pieces, chunk, expected = trained
    rows, state = jax.tree.map(jnp.asarray, rows_of()), jax.jit(pieces.init)(hparams())
    for length in (4, 3, 1):
        state = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)
        state = chunk(state, hparams(), rows, jnp.int32(length))
    assert_identical(state, expected)


def test_streamed_batches_equal_those_in_memory():
    """Bit by bit: each step's x, labels, truth and weight are the same rows."""
    pieces = m2_train()
    place = layout.make_layout(1, devices=jax.devices()[:1])
    feed = streaming.Feed(rows_of(), pieces, np.array([0]), place, 3 * BATCH * 80)
    assert 1 <= feed.num_steps < 8
    try:
        for step in range(8):
            block, _ = feed(step)
            rows = pieces.rows(jnp.int32(0), jnp.int32(step))
            for name, values in rows_of().items():
                fed = block.rows[name][0, step - block.first[0]]
                np.testing.assert_array_equal(fed, values[rows])
    finally:
        feed.close()


@pytest.mark.slow
def test_runs_mapped_equal_runs_alone(trained):
    pieces, chunk, _ = trained
    rows, alone = jax.tree.map(jnp.asarray, rows_of()), [hparams(0, 0.1), hparams(1, 2.0)]
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *alone)
    mapped = jax.jit(jax.vmap(pieces.chunk, (0, 0, None, None)))(
        jax.vmap(pieces.init)(stacked), stacked, rows, jnp.int32(4)
    )
    for r, h in enumerate(alone):
        single = chunk(jax.jit(pieces.init)(h), h, rows, jnp.int32(4))
        jax.tree.map(
            lambda a, b, r=r: np.testing.assert_allclose(a[r], b, rtol=1e-4, atol=1e-6),
            mapped.params,
            single.params,
        )


def test_an_epochs_accuracy_is_that_of_the_labelled(trained):
    """N_l = 12 of 50, whatever batches they came in: a multiple of 1/12, and the fit finds them."""
    _, _, state = trained
    accuracy = float(training.epoch_metrics(state, N)["accuracy"])
    assert 12 * accuracy == pytest.approx(round(12 * accuracy), abs=1e-3)


def test_the_evaluated_accuracy_counts(trained):
    _, _, state = trained
    rows = {"x": rows_of()["x"], **m2.rows(np.full(N, -1, np.int32), TRUTH)}
    objective = objectives.bind("m2", num_examples=N)
    found = elbo.evaluate(
        objective,
        make(),
        state.params,
        jax.tree.map(jnp.asarray, rows),
        jax.random.key(0),
        {},
        preprocess=lambda stored, key: stored,
        batch_size=16,
        given=objective.given,
    )
    logits = m2._logits(state.params["objective"], jnp.asarray(rows["x"]), C)
    share = np.mean(np.argmax(np.asarray(logits), axis=1) == rows["truth"])
    assert float(found.terms["accuracy"]) == pytest.approx(share, abs=1e-6)
    assert float(found.terms["loss"]) == pytest.approx(-float(found.terms["elbo"]), rel=1e-6)


@pytest.mark.parametrize("num_known", [3, 20])
def test_accuracy_and_its_error_are_those_of_the_known_rows(trained, num_known):
    _, _, state = trained
    known = np.arange(num_known) * (N // num_known)
    truth = np.full(N, -1, np.int32)
    truth[known] = TRUTH[known]
    rows = {"x": rows_of()["x"], **m2.rows(np.full(N, -1, np.int32), truth)}
    objective = objectives.bind("m2", num_examples=N)
    found = elbo.evaluate(
        objective,
        make(),
        state.params,
        jax.tree.map(jnp.asarray, rows),
        jax.random.key(0),
        {},
        preprocess=lambda stored, key: stored,
        batch_size=16,
        given=objective.given,
    )
    log_q = jax.nn.log_softmax(m2._logits(state.params["objective"], jnp.asarray(rows["x"]), C))
    is_right = np.argmax(np.asarray(log_q), axis=1)[known] == truth[known]
    cross_entropy = -np.float64(log_q)[known, truth[known]]
    for name, values in (("accuracy", is_right), ("cross_entropy", cross_entropy)):
        assert float(found.terms[name]) == pytest.approx(values.mean(), rel=1e-4)
        expected = values.std(ddof=1) / np.sqrt(num_known)
        assert float(found.standard_errors[name]) == pytest.approx(expected, rel=1e-3, abs=1e-7)
        assert float(found.num_rows[name]) == num_known
    # the ELBO is a mean over all rows
    assert found.num_rows.keys() == {"accuracy", "cross_entropy"}


def test_from_python_more_than_x_is_a_dictionary():
    settings = {"epochs": 2, "batch_size": BATCH, "learning_rate": 1e-2}
    rows = {"x": rows_of()["x"], "condition": TRUTH}
    metrics = fitting.fit(objectives.load("cvae"), make(), rows, **settings).history
    assert metrics[1]["loss"] < metrics[0]["loss"]


# --- Whole programs

SMALL = {"epochs": "2", "widths": "16", "latent_dim": "2", "batch_size": "200"}
QUICK_METRICS = {
    "nll_num_samples": "5",
    "latent_use_num_samples": "50",
    "num_examples": "60",
    "latent_probes_max_train": "200",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "metrics", "left_out"),
    [
        ("cvae", {"objective", "nll", "latent_use", "latent_probes"}, "conditional"),
        ("m2", {"objective", "latent_use", "latent_probes"}, "infers"),
    ],
)
def test_a_run_is_drawn_and_evaluated(name, metrics, left_out, tmp_path):
    directory = tmp_path / "run"
    values = {**SMALL, "objective": name, "workdir": str(directory)}
    (result,) = train.train([config.from_flags(values)])
    assert ("accuracy" in result) == (name == "m2")
    for picture in ("samples", "reconstructions", "interpolation", "traversal"):
        assert (directory / "plots" / f"{picture}.png").stat().st_size > 1000
    assert not (directory / "plots" / "manifold.png").exists()
    evaluate.main({**dict.fromkeys(evaluate.flag_texts()), "run": str(directory), **QUICK_METRICS})
    stored = json.loads((directory / "evaluation" / "member-0.json").read_text())["metrics"]
    assert {metric for metric, found in stored.items() if "values" in found} == metrics
    assert left_out in stored["nll" if name == "m2" else "ais"]["left_out"]
    assert stored["objective"]["values"]["elbo"] == pytest.approx(result["elbo"], rel=1e-5)
    given = "the class that q(y|x) finds likeliest" if name == "m2" else "the label of x"
    for metric, found in stored.items():
        is_of_codes = metric in ("latent_probes", "latent_use")
        assert any(f"q(z|x, c), c is {given}" in n for n in found.get("notes", [])) == is_of_codes
    told = stored["objective"]["definitions"]
    assert ("KL(q(y|x) ‖ p(y))" if name == "m2" else "q(z|x, c)") in told["rate"]
    assert ("given the class" in told["total_correlation"]) == (name == "m2")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cvae", "m2"])
def test_a_sweep_is_its_runs_alone(name, tmp_path):
    """Also of masked latents, and of the weight of labels."""
    numbers = {"beta": "1,4"} if name == "cvae" else {"alpha": "0.1,4"}
    values = {**SMALL, "objective": name, "latent_dim": "2,3", "workdir": str(tmp_path / "all")}
    sweep.run(sweep.make_configs({**values, **numbers}), Plan(), [])
    rows = json.loads((tmp_path / "all" / "programs" / "all" / "results.json").read_text())
    flag, value = next(iter(numbers.items()))
    alone = {**values, "latent_dim": "2", flag: value.split(",")[1]}
    alone["workdir"] = str(tmp_path / "alone")
    (single,) = train.train([config.from_flags(alone)])
    (same,) = [
        row
        for row, flags in zip(
            rows,
            json.loads((tmp_path / "all" / "programs" / "all" / "members.json").read_text()),
            strict=True,
        )
        if "--latent_dim=2" in flags and f"--{flag}={value.split(',')[1]}" in flags
    ]
    for term in ("loss", "elbo", "rate", "distortion"):
        assert same[term] == pytest.approx(single[term], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cvae", "m2"])
def test_a_run_that_streams_is_the_run_in_memory(name, tmp_path, monkeypatch):
    monkeypatch.setattr("vae_jax.lab.pictures.draw", lambda *_: [])
    results = []
    for loading in ("memory", "stream"):
        values = {**SMALL, "objective": name, "loading": loading}
        values["workdir"] = str(tmp_path / loading)
        results += train.train([config.from_flags(values)])
    for term in ("loss", "elbo", "rate", "distortion"):
        assert results[0][term] == pytest.approx(results[1][term], rel=1e-5)


def test_data_without_labels_end_in_one_line(tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).random((40, 5)))
    for name in ("cvae", "m2"):
        values = {"dataset": str(tmp_path / "mine.npy"), "objective": name}
        with pytest.raises(DataError, match="has no labels: give a dataset that has some"):
            train.prepare([config.from_flags(values)])


@pytest.mark.parametrize("num_known", [*slow(0), 3])
def test_a_test_split_of_few_labels_or_none(num_known, tmp_path, monkeypatch):
    """The error of the accuracy is over what is known, and told with how many examples that is."""
    monkeypatch.setattr("vae_jax.lab.pictures.draw", lambda *_: [])
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    x = np.float32(rng.normal(size=(120, 4)) + 9 * y[:, None])
    y[100 + num_known :] = -1
    parts = {"train": slice(80), "valid": slice(80, 100), "test": slice(100, 120)}
    arrays = {f"x_{name}": x[part] for name, part in parts.items()}
    arrays |= {f"y_{name}": y[part] for name, part in parts.items()}
    np.savez(tmp_path / "few.npz", **arrays)
    values = {**SMALL, "dataset": str(tmp_path / "few.npz"), "objective": "m2", "epochs": "20"}
    values |= {"num_labeled": "80", "batch_size": "20", "workdir": str(tmp_path / "run")}
    (result,) = train.train([config.from_flags(values)])
    assert result["status"] == "done"
    if num_known == 0:
        assert not [name for name in result if name.startswith(("accuracy", "cross_entropy"))]
        assert "accuracy" not in results.summary(result)
        return
    assert result["accuracy"] == 1
    assert result["accuracy_standard_error"] == 0
    assert result["accuracy_num_examples"] == num_known
    assert "accuracy 1.0000 ± 0.0000 (of 3 known)" in results.summary(result)


def test_numbers_of_ones_own_data(tmp_path):
    draw = np.random.default_rng(0).random
    np.savez(tmp_path / "mine.npz", x=draw((40, 5)), condition=draw((40, 2)))
    values = {"dataset": str(tmp_path / "mine.npz"), "objective": "cvae", "condition": "array"}
    experiment = train.prepare([config.from_flags({**values, "epochs": "1"})])
    assert experiment.model.num_conditions == 2
    rows = experiment.rows("train")
    assert rows["condition"].shape == (len(rows["x"]), 2)
    np.savez(tmp_path / "bad.npz", x=draw((40, 5)), c=draw((39, 2)))
    values["dataset"] = str(tmp_path / "bad.npz")
    with pytest.raises(DataError, match=r"condition is float64 of shape \(39, 2\) for 40 rows"):
        train.prepare([config.from_flags(values)])
