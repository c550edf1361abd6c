"""Single cells: independent genes by maximum likelihood, batches, clusters, a whole trial."""

import numpy as np
import pytest
from scipy import optimize, stats

from experiments.applications import Trial, _table, cells

RNG = np.random.default_rng(0)


def log_prob(x, totals, share, dispersion):
    """Σ log p(x) [N] of a negative binomial variable, by SciPy."""
    theta, mean = 1 / dispersion, totals * share
    return stats.nbinom.logpmf(x, theta, theta / (theta + mean)).sum()


def drawn(totals, share, dispersion):
    theta = 1 / dispersion
    return RNG.poisson(RNG.gamma(theta, totals * share / theta))


def test_genes_are_fit_by_maximum_likelihood():
    """As SciPy's optimizer of both numbers has it; each gene by itself, in blocks of any size."""
    totals = RNG.integers(200, 2_000, 150)
    truth = [(0.01, 0.5), (0.002, 3.0), (0.03, 0.1)]
    counts = np.stack([drawn(totals, *own) for own in truth], axis=1)
    rest = (totals - counts.sum(axis=1))[:, None]
    fitted = cells.independent_genes(np.concatenate([counts, rest], axis=1))
    for gene, own in enumerate(truth):

        def cost(logs, x=counts[:, gene]):
            return -log_prob(x, totals, *np.exp(logs))

        best = optimize.minimize(cost, np.log(own), method="Nelder-Mead", tol=1e-8)
        found = np.array([fitted.shares[gene], fitted.dispersions[gene]])
        np.testing.assert_allclose(found, np.exp(best.x), rtol=1e-4)
        assert cost(np.log(found)) <= best.fun + 1e-6


def test_a_gene_of_equal_cells_has_their_mean_and_no_excess():
    """Counts that vary less than Poisson variables: the least dispersion, and the mean share."""
    counts = np.array([[2, 98], [3, 97], [2, 98], [3, 97]])
    fitted = cells.independent_genes(counts)
    np.testing.assert_allclose(fitted.shares, [0.025, 0.975], rtol=1e-6)
    np.testing.assert_allclose(fitted.dispersions, cells._DISPERSIONS[0], rtol=1e-6)


def test_nats_are_those_of_scipy():
    genes = cells.Genes(np.array([0.2, 0.5, 0.3]), np.array([0.1, 1.0, 5.0]))
    counts = np.array([[0, 3, 7], [40, 0, 12]])
    told = [
        -sum(log_prob(row[[i]], row.sum(), *own) for i, own in enumerate(zip(*genes, strict=True)))
        for row in counts
    ]
    np.testing.assert_allclose(genes.nll(counts), told, rtol=1e-5)


@pytest.mark.parametrize("shares", [[5, 5], [9, 1], [4, 3, 3]])
def test_mixing_is_1_if_batches_are_mixed_and_0_if_they_are_apart(shares):
    """Places that hold each batch as all cells do, as many cells as there are neighbors."""
    batch = np.tile(np.repeat(np.arange(len(shares)), shares), 6)
    places = np.repeat(np.arange(6.0), 10)[:, None] * [100.0, 0.0]
    near = places + RNG.normal(size=(60, 2))
    assert cells.mixing(near, batch, 10) == pytest.approx(1.0)
    assert cells.mixing(RNG.normal(size=(60, 2)), batch, 60) == pytest.approx(1.0)
    apart = RNG.normal(size=(60, 2)) + 1_000 * batch[:, None]
    assert cells.mixing(apart, batch, np.bincount(batch).min()) == 0
    names = np.array([7, 2, 4])[batch]
    assert cells.mixing(near, names, 7) == pytest.approx(cells.mixing(near, batch, 7))


def test_the_rand_index_is_of_clusters_whatever_they_are_called():
    labels = np.repeat(np.arange(3), 20)
    codes = 50.0 * np.eye(3)[labels] + RNG.normal(size=(60, 3))
    assert cells.agreement(codes, labels) == 1
    assert cells.agreement(codes[:, ::-1] * 3 - 7, np.array([9, 4, 5])[labels]) == 1
    turned = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    other = RNG.permutation(labels)
    found = cells.agreement(codes, other)
    assert abs(found) < 0.2
    assert cells.agreement(codes @ turned, other) == pytest.approx(found)


def test_rows_that_are_scaled_have_the_same_log_counts():
    counts = RNG.poisson(3.0, (20, 30)) + 1
    counts[1] = 5 * counts[0]
    found = cells.log_normalized(counts)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    totals = np.expm1(found.astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(totals, np.median(counts.sum(axis=1)), rtol=1e-5)


def test_genes_are_chosen_by_training_cells(monkeypatch):
    counts = RNG.poisson(2.0, (50, 12))
    counts[:, 3] = 0
    counts[:, 8] *= 20 * RNG.integers(0, 2, 50)
    monkeypatch.setattr(cells, "_NUM_GENES", 4)
    few, every = (
        cells.divided(counts, np.arange(50), p, 1) for p in ("variable_genes", "all_genes")
    )
    assert few.is_test.sum() == every.is_test.sum() == 5
    assert every.counts.shape == (50, 11)
    assert few.counts.shape == (50, 4)
    assert (few.counts[:, None] == counts[few.labels][:, 8, None, None]).all(axis=0).any()
    again, other = (cells.divided(counts, np.arange(50), "all_genes", seed) for seed in (1, 2))
    np.testing.assert_array_equal(again.is_test, every.is_test)
    assert (other.is_test != every.is_test).any()
    # what only held-out cells have is no gene of the training
    counts[few.is_test, 3] = 9
    assert cells.divided(counts, np.arange(50), "all_genes", 1).counts.shape == (50, 11)


def test_the_second_batch_keeps_a_share_of_each_gene():
    counts = np.full((400, 5), 1_000)
    batch = np.arange(400) % 2
    found = cells.thinned(counts, batch, np.random.default_rng(3))
    np.testing.assert_array_equal(found[batch == 0], counts[batch == 0])
    shares = np.random.default_rng(3).uniform(size=5)
    own = found[batch == 1]
    np.testing.assert_allclose(own.mean(axis=0) / 1_000, shares, atol=0.01)
    np.testing.assert_allclose(own.var(axis=0), 1_000 * shares * (1 - shares), rtol=0.5)


@pytest.fixture
def trial(monkeypatch, tmp_path):
    """Forty cells of two types and twelve genes, which their types share out differently."""
    types = np.arange(40) % 2
    shares = np.where(types[:, None] == np.arange(12) % 2, 9.0, 1.0)
    np.savez(tmp_path / "tiny.npz", x=RNG.poisson(shares).astype(np.int32), y=types)
    monkeypatch.setattr(cells, "_FILES", {"tiny": "tiny.npz"})
    monkeypatch.setattr(cells, "_STEPS", 1)
    monkeypatch.setattr(cells, "_NUM_SAMPLES", 2)
    monkeypatch.setattr(cells, "_NUM_STARTS", 1)
    monkeypatch.setattr(cells, "_SIZES", {"widths": (2,), "latent_dim": 2, "input_dropout": 0.5})
    return lambda protocol: Trial("tiny", protocol, 0, str(tmp_path))


@pytest.mark.parametrize(
    ("protocol", "chosen"),
    [
        ("variable_genes", ["independent genes", "PCA", "ZINB VAE"]),
        ("batches", ["independent genes", "PCA", "NB VAE"]),
        pytest.param("all_genes", None, marks=pytest.mark.slow),
        pytest.param("batches", None, marks=pytest.mark.slow),
    ],
)
def test_cells_are_measured(trial, protocol, chosen):
    """Each method by its own measures; the default tests train one model of each objective."""
    methods = cells.methods(trial(protocol))
    models = cells.OURS if protocol == "batches" else cells.OURS[:2]
    assert methods.keys() == {"independent genes", "PCA", *models}
    told = {name: methods[name]() for name in chosen or methods}
    mixing = {"mixing"} if protocol == "batches" else set()
    assert told["PCA"].keys() == {"ARI", *mixing}
    assert protocol == "batches" or told["PCA"]["ARI"] == 1
    for name in told.keys() - {"PCA"}:
        # each count by itself has a probability below 1
        assert 0 < told[name]["NLL"] == pytest.approx(told[name]["per cell"] / 12)
        of_codes = set() if name == "independent genes" else {"ARI", *mixing}
        assert told[name].keys() == {"NLL", "per cell", *of_codes}
    results = {("tiny", seed): told for seed in range(2)}
    lines = [*_table.lines(cells, ["tiny"], results), *cells.notes(results)]
    ours = [name for name in models if name in told]
    assert [line.partition(" − PCA")[0] for line in cells.notes(results)] == [
        f"tiny: {name}" for name in ours
    ]
    assert any("− independent genes" in line for line in lines)
