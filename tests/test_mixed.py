"""A likelihood for each column of a table: sums, scipy, missing cells, draws, training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from properties import slow

import vae_jax
from vae_jax import data, likelihoods
from vae_jax.errors import DataError, UsageError
from vae_jax.likelihoods import Mixed
from vae_jax.likelihoods._parts import part

B = 6
PARTS = (
    *(("gaussian", 1), ("one_hot", 3), ("log_normal", 1), ("bernoulli", 1), ("ordinal", 3)),
    *(("one_hot", 2), ("gaussian", 1), ("one_hot", 3), ("poisson", 1)),
)
MIXED = likelihoods.make("mixed", parts=PARTS)
MISSING = likelihoods.make("mixed", parts=PARTS, has_missing=True)
D = sum(size for _, size in PARTS)
STARTS = np.cumsum([0, *(size for _, size in PARTS)])
RNG = np.random.default_rng(0)
OUTPUTS = jnp.asarray(1.5 * RNG.normal(size=(B, D)), jnp.float32)
PARAMS = jax.tree.map(
    lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape), jnp.float32), MIXED.init((D,))
)
LEVELS = {place: RNG.integers(0, 3, B) for place in range(len(PARTS))}


def cells(place):
    """The numbers of a column, [B, size]: drawn, or of its levels."""
    name, size = PARTS[place]
    if name == "gaussian":
        return RNG.normal(size=(B, 1))
    if name == "log_normal":
        return np.exp(RNG.normal(size=(B, 1)))
    if name == "bernoulli":
        return (LEVELS[place] % 2)[:, None]
    if name == "poisson":
        return RNG.poisson(3.0, (B, 1)).astype(float)
    if name == "one_hot":
        return np.eye(size)[LEVELS[place] % size]
    return (LEVELS[place][:, None] > np.arange(size)).astype(float)


COLUMNS = [cells(place) for place in range(len(PARTS))]
X = jnp.asarray(np.concatenate(COLUMNS, axis=1), jnp.float32)


def own(place):
    """The outputs of a column [B, size], and the log variance of its part."""
    name, _ = PARTS[place]
    number = [p for p, (n, _) in enumerate(PARTS) if n == name].index(place)
    held = PARAMS.get(name, {}).get("logvar")
    outputs = np.asarray(OUTPUTS, np.float64)[:, STARTS[place] : STARTS[place + 1]]
    return outputs, None if held is None else np.float64(held[number])


def of_scipy(place):
    """log p of a column [B], computed by SciPy, or from the definition of the ordinal model."""
    name, _ = PARTS[place]
    x, (outputs, logvar) = COLUMNS[place], own(place)
    if name == "gaussian":
        return scipy.stats.norm.logpdf(x[:, 0], outputs[:, 0], np.exp(logvar / 2))
    if name == "log_normal":
        scale = np.exp(outputs[:, 0])
        return scipy.stats.lognorm.logpdf(x[:, 0], np.exp(logvar / 2), scale=scale)
    if name == "bernoulli":
        return scipy.stats.bernoulli.logpmf(x[:, 0], scipy.special.expit(outputs[:, 0]))
    if name == "poisson":
        return scipy.stats.poisson.logpmf(x[:, 0], np.exp(outputs[:, 0]))
    if name == "one_hot":
        p = scipy.special.softmax(outputs, axis=1)
        return scipy.stats.multinomial.logpmf(x, 1, p)
    above = scipy.stats.logistic.cdf(
        np.cumsum(np.c_[outputs[:, :1], -np.logaddexp(0, outputs[:, 1:])], axis=1)
    )
    edges = np.c_[np.ones(B), above, np.zeros(B)]
    masses = edges[:, :-1] - edges[:, 1:]
    np.testing.assert_allclose(masses.sum(axis=1), 1)
    assert masses.min() > 0
    return np.log(masses[np.arange(B), x.sum(axis=1).astype(int)])


def test_the_sum_is_that_of_each_column_alone_and_of_scipy():
    by_number = np.asarray(jax.jit(MIXED.log_probs)(PARAMS, OUTPUTS, X), np.float64)
    by_column = np.add.reduceat(by_number, STARTS[:-1], axis=1)
    wanted = np.stack([of_scipy(place) for place in range(len(PARTS))], axis=1)
    np.testing.assert_allclose(by_column, wanted, rtol=2e-5, atol=2e-5)
    total = MIXED.log_prob(PARAMS, OUTPUTS, X)
    np.testing.assert_allclose(total, wanted.sum(axis=1), rtol=2e-5)
    # each part alone, with the parameters of its columns
    for place, (name, _) in enumerate(PARTS):
        alone = part(name)
        outputs, x = (a[:, STARTS[place] : STARTS[place + 1]] for a in (OUTPUTS, X))
        logvar = own(place)[1]
        params = {} if logvar is None else {"logvar": jnp.float32([logvar])}
        found = alone.log_probs(params, outputs, x).sum(axis=-1)
        np.testing.assert_allclose(found, wanted[:, place], rtol=2e-5, atol=2e-5)


def test_a_column_of_several_numbers_is_as_many_columns_of_one():
    """A date has its elapsed time and angles: one cell, each number with its own Gaussian."""
    whole = likelihoods.make("mixed", parts=(("gaussian", 3), ("one_hot", 2), ("gaussian", 1)))
    parts = likelihoods.make(
        "mixed", parts=(*[("gaussian", 1)] * 3, ("one_hot", 2), ("gaussian", 1))
    )
    outputs, x = OUTPUTS[:, :6], jnp.concatenate([OUTPUTS[:, 6:9], X[:, 1:3], X[:, :1]], axis=1)
    params = jax.tree.map(lambda leaf: leaf + jnp.arange(4) / 4, parts.init((6,)))
    jax.tree.map(np.testing.assert_array_equal, whole.init((6,)), parts.init((6,)))
    for name in ("log_probs", "log_prob"):
        found = [getattr(each, name)(params, outputs, x) for each in (whole, parts)]
        np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(whole.mean(params, outputs), parts.mean(params, outputs))
    assert (whole.observed(x).shape, parts.observed(x).shape) == ((B, 3), (B, 5))


def test_a_missing_cell_costs_exactly_nothing_and_has_no_gradient():
    is_missing = np.zeros((B, D), bool)
    for row in range(B):
        for place in range(len(PARTS)):
            is_missing[row, STARTS[place] : STARTS[place + 1]] = (row + place) % 3 == 0
    x = jnp.where(is_missing, jnp.nan, X)

    @jax.jit
    def graded(params, outputs):
        return jax.grad(lambda *a: MISSING.log_prob(*a, x).sum(), (0, 1))(params, outputs)

    of_params, of_outputs = graded(PARAMS, OUTPUTS)
    assert np.all(np.asarray(of_outputs)[is_missing] == 0)
    assert np.isfinite(of_outputs).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(of_params))
    by_number = np.where(is_missing, 0, MIXED.log_probs(PARAMS, OUTPUTS, X))
    np.testing.assert_allclose(MISSING.log_prob(PARAMS, OUTPUTS, x), by_number.sum(1), rtol=1e-5)
    # whatever the decoder says of a missing cell
    moved = jnp.where(is_missing, OUTPUTS + 1e6, OUTPUTS)
    before, after = (MISSING.log_prob(PARAMS, o, x) for o in (OUTPUTS, moved))
    np.testing.assert_array_equal(before, after)
    whole = jnp.full_like(X, jnp.nan)
    assert np.all(np.asarray(MISSING.log_prob(PARAMS, OUTPUTS, whole)) == 0)
    num_known = (~is_missing[:, STARTS[:-1]]).sum(axis=1)
    np.testing.assert_array_equal(MISSING.num_known(x), num_known)


def test_the_encoder_reads_zeros_and_what_is_observed():
    x = X.at[0].set(jnp.nan).at[1, 0].set(jnp.nan)
    read = np.asarray(MISSING.read(x))
    assert read.shape == (B, D + len(PARTS))
    assert np.all(read[0] == 0)
    np.testing.assert_array_equal(read[1, D:], [0, *[1] * (len(PARTS) - 1)])
    seen = np.asarray(MIXED.read(X))
    np.testing.assert_array_equal(read[2:, :D], seen[2:])
    place = [name for name, _ in PARTS].index("log_normal")
    np.testing.assert_allclose(seen[:, STARTS[place]], np.log(X[:, STARTS[place]]), rtol=1e-6)
    count = [name for name, _ in PARTS].index("poisson")
    np.testing.assert_allclose(seen[:, STARTS[count]], np.log1p(X[:, STARTS[count]]), rtol=1e-6)
    others = np.delete(np.arange(D), STARTS[[place, count]])
    np.testing.assert_array_equal(seen[:, others], X[:, others])


def test_draws_have_the_mean_and_are_values_of_the_columns():
    num = 20_000
    one = OUTPUTS[:1]
    draws = np.asarray(
        jax.jit(MIXED.sample)(PARAMS, jax.random.key(1), jnp.broadcast_to(one, (num, D)))
    )
    mean = np.asarray(MIXED.mean(PARAMS, one))[0]
    error = abs(draws.mean(axis=0) - mean)
    np.testing.assert_array_less(error, 5 * draws.std(axis=0) / np.sqrt(num) + 1e-4)
    mode = np.asarray(MIXED.mode(PARAMS, OUTPUTS))
    for place, (name, size) in enumerate(PARTS):
        for values in (draws, mode):
            found = values[:, STARTS[place] : STARTS[place + 1]]
            if name == "one_hot":
                assert np.all(np.sort(found, axis=1) == np.eye(size)[-1])
            elif name == "ordinal":
                assert np.all(np.diff(found, axis=1) <= 0)
                assert {*np.unique(found)} <= {0, 1}
            elif name == "log_normal":
                assert np.all(found > 0)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_outputs_have_finite_densities_and_gradients(size):
    outputs = jnp.full((B, D), size, jnp.float32)
    value, slope = jax.value_and_grad(lambda o: MIXED.log_prob(PARAMS, o, X).sum())(outputs)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_masses_and_densities_are_told_apart():
    masses = [("one_hot", 2), ("ordinal", 2), ("bernoulli", 1)]
    x = jnp.asarray([[0, 1, 1, 0, 1.0]])
    assert bool(likelihoods.make("mixed", parts=masses).is_mass(x)[0])
    assert not MIXED.is_mass(X).any()


@pytest.mark.parametrize(
    ("parts", "sizes"), [((), ()), (("gaussian",), (1, 1)), (("wrong",), (1,)), (("text",), (1,))]
)
def test_parts_that_are_none_are_refused(parts, sizes):
    with pytest.raises(UsageError, match="likelihood=mixed: has the parts"):
        Mixed(parts, sizes)


def test_a_shape_of_other_columns_is_refused():
    with pytest.raises(UsageError, match=f"have {D} numbers"):
        MIXED.init((D + 1,))


# --- Tables that are trained on


def table(share, num=120):
    """A table whose columns depend on two hidden numbers; a share of its cells is missing."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(num, 2))
    level = np.digitize(z[:, 0], (-0.5, 0.5))
    columns = {
        "score": np.round(z[:, 0] + 0.1 * rng.normal(size=num), 4),
        "amount": np.round(np.exp(3 * z[:, 1] + 0.1 * rng.normal(size=num)), 4),
        "city": np.array(["Bonn", "Lima", "Oslo"])[level],
        "active": np.where(z[:, 1] > 0, "yes", "no"),
        "size": np.array(["S", "M", "L"])[level],
    }
    held = {}
    for name, cells in columns.items():
        is_missing = rng.random(num) < share
        held[name] = ["" if m else str(v) for v, m in zip(cells, is_missing, strict=True)]
    return held


def write(path, held):
    rows = zip(*held.values(), strict=True)
    path.write_text("\n".join([",".join(held), *map(",".join, rows)]) + "\n")
    return path


@pytest.mark.parametrize("share", [*slow(0.0), 0.8])
def test_training_works_with_and_without_missing_cells(tmp_path, share):
    path = write(tmp_path / "a.csv", table(share))
    dataset = data.load(path, kinds={"size": "S<M<L"})
    assert dataset.has_missing == (share > 0)
    model = vae_jax.make_model(dataset, latent_dim=2, widths=(16,))
    assert [model.likelihood.has_missing, model.likelihood.sizes] == [share > 0, (1, 1, 3, 1, 2)]
    options = {"batch_size": 24, "seed": 0, "progress": False}
    trained = vae_jax.fit("beta_vae", model, dataset, epochs=40, **options)
    losses = [row["loss"] for row in trained.history]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] - 1
    x = jnp.asarray(dataset.test.x)
    rows = dataset.schema.decode(np.asarray(trained.model.reconstruct(trained.params, x)))
    assert {*rows["city"]} <= {"Bonn", "Lima", "Oslo"}
    assert np.all(rows["amount"] > 0)
    draws, _ = trained.model.sample(trained.params, jax.random.key(0), 5)
    assert {*dataset.schema.decode(np.asarray(draws))["size"]} <= {"S", "M", "L"}


def test_missing_cells_of_numbers_keep_the_gaussian(tmp_path):
    held = {name: cells for name, cells in table(0.3).items() if name == "score"}
    held["twice"] = [c and str(2 * float(c)) for c in held["score"]]
    held["other"] = table(0.0)["score"]
    dataset = data.load(write(tmp_path / "a.csv", held))
    assert (dataset.likelihood, dataset.has_missing) == ("gaussian", True)
    model = vae_jax.make_model(dataset, latent_dim=1, network="linear")
    params = model.init(jax.random.key(0))
    assert params["encoder"]["mean"]["kernel"].shape == (6, 1)
    x = jnp.asarray(dataset.train.x)

    def elbo(x):
        batch = {"x": x, "mask": jnp.ones(len(x))}
        z = model.encode(params, x).mean
        return -model.distortion(params, z, batch).sum()

    slope = jax.grad(elbo)(x)
    is_missing = np.isnan(dataset.train.x)
    assert np.all(np.asarray(slope)[is_missing] == 0)
    assert np.all(np.asarray(slope)[~is_missing] != 0)


def test_encoded_rows_are_arrays_as_others():
    x = np.array(X)
    x[0, 0] = np.nan
    model = vae_jax.make_model(x, likelihood=MISSING, latent_dim=2, widths=(3,))
    trained = vae_jax.fit("beta_vae", model, x, epochs=1, batch_size=B, progress=False)
    assert np.isfinite(trained.history[-1]["loss"])


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", "bernoulli"])
def test_another_likelihood_of_a_mixed_table_is_refused(tmp_path, likelihood):
    dataset = data.load(write(tmp_path / "a.csv", table(0.0)))
    with pytest.raises(DataError, match="columns of several kinds: take likelihood=mixed"):
        vae_jax.make_model(dataset, likelihood=likelihood)


def test_a_mixed_likelihood_is_for_a_schema(tmp_path):
    with pytest.raises(UsageError, match="likelihood=mixed: has the parts and sizes of no column"):
        vae_jax.make_model(data.load("digits"), likelihood="mixed")
    with pytest.raises(DataError, match="has no schema of columns"):
        vae_jax.make_model(data.load("digits"), likelihood=MIXED)
    dataset = data.load(write(tmp_path / "a.csv", table(0.0)))
    with pytest.raises(UsageError, match="has no variance"):
        vae_jax.make_model(dataset, variance=0.1)
