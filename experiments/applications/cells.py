"""Single cells: a VAE of counts beside independent genes and principal components.

A tenth of the cells is held out, by the seed. The models are those of scVI (Lopez et al. 2018,
Nature Methods 15): the rates of a cell are shares of its total, which is given, and its counts are
negative binomial variables, with more zeros if zero-inflated. Beside them are independent genes, a
negative binomial variable each, fit to all training cells by maximum likelihood, in the same nats;
and principal components of log-normalized counts. All methods see the same genes: those that a
training cell has. No label and no held-out cell is used to train. Clusters are those of k-means of
the codes of all cells, as many as there are labels; the Rand index is a mean over starts.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

import vae_jax
from experiments.applications import Measure, Results, Trial, _table
from vae_jax import data, likelihoods
from vae_jax.distributions import negative_binomial_log_prob

PROTOCOLS = {
    "variable_genes": "the 2,000 genes whose log-normalized counts vary most in training cells",
    "all_genes": "all genes that a training cell has",
    "batches": "as variable_genes, but half of the cells are a second batch, in which each gene "
    "keeps a share of its counts, drawn by the seed",
}
SEEDS = 3
_NLL = Measure("NLL", "−log p(x) of held-out cells given their totals, nats per gene", False, 5)
_ARI = Measure("ARI", "Rand index of clusters and labels, adjusted for chance; all cells")
_MIXING = Measure("mixing", "entropy of batches among 50 neighbors, over that among all cells")
MEASURES = (_NLL, Measure("per cell", "the same, nats per cell", False, 1), _ARI, _MIXING)
OURS = ("NB VAE", "ZINB VAE", "NB VAE without batch")
_FILES = {
    "pbmc68k": "singlecell/pbmc68k_reduced_counts.npz",
    "worm": "singlecell/worm_neuron_cell.npz",
    "bladder": "singlecell/mouse_bladder_cell_select_2100.npz",
}
_LIKELIHOODS: dict[str, Any] = {
    "NB": likelihoods.NegativeBinomial("total"),
    "ZINB": likelihoods.ZeroInflatedNegativeBinomial("total"),
}
_NUM_GENES, _HELD_OUT = 2_000, 0.1
_SIZES: dict[str, Any] = {"widths": (64,), "latent_dim": 8, "input_dropout": 0.5}
_TRAINING: dict[str, Any] = {
    "optimizer": "adamw",
    "weight_decay": 1.0,
    "learning_rate": "cosine(0.01, 0, 100%)",
    "batch_size": 100,
}
_STEPS, _NUM_SAMPLES = 450, 100
_NUM_COMPONENTS, _NUM_STARTS, _NUM_NEIGHBORS = 20, 5, 50
_DISPERSIONS = (1e-3, 1e3)
_HALVINGS, _BLOCK = 28, 100


class Cells(NamedTuple):
    """Cells of which some are held out.

    Attributes:
        counts: [N, G].
        labels: types of cells, integers [N].
        batch: 0 or 1, [N], or None.
        is_test: which are held out, [N].
    """

    counts: np.ndarray
    labels: np.ndarray
    batch: np.ndarray | None
    is_test: np.ndarray


def tasks(protocol: str, data_dir: str | None) -> list[str]:
    """The datasets; of simulated batches the smallest."""
    return ["pbmc68k"] if protocol == "batches" else [*_FILES]


def methods(trial: Trial) -> dict:
    """Each method's measures."""
    cells = _cells(trial)
    found: dict[str, Callable] = {
        "independent genes": functools.partial(_of_independent_genes, cells),
        "PCA": functools.partial(_of_components, cells, trial.seed),
    }
    for name in _LIKELIHOODS:
        found[f"{name} VAE"] = functools.partial(_of_vae, name, cells, trial.seed)
    if cells.batch is not None:
        found["NB VAE without batch"] = functools.partial(
            _of_vae, "NB", cells, trial.seed, sees_batch=False
        )
    return found


def notes(results: Results) -> list[str]:
    """Each model's Rand index beside that of principal components, by pairs of a seed."""
    found = list(dict.fromkeys(task for task, _ in results))
    told = []
    for task in found:
        for name in OURS:
            gap, error = _table.paired(results, [task], name, "PCA", _ARI)
            if not np.isnan(gap):
                spread = "" if np.isnan(error) else f" ± {error:.3f}"
                told.append(f"{task}: {name} − PCA = {gap:+.3f}{spread} of ARI")
    return told


# --- Cells


def _cells(trial: Trial) -> Cells:
    """The cells of a trial, with the genes of its protocol."""
    read: dict[str, Any] = {"scaling": "none", "num_valid": 0, "loading": "memory"}
    dataset = data.load(_FILES[trial.task], data_dir=trial.data_dir, **read)
    splits = (dataset.train, dataset.test)
    counts = np.concatenate([np.asarray(split.x[:], np.int32) for split in splits])
    labels = np.concatenate([np.asarray(split.labels) for split in splits])
    return divided(counts, labels, trial.protocol, trial.seed)


def divided(counts: np.ndarray, labels: np.ndarray, protocol: str, seed: int) -> Cells:
    """Holds out cells, and leaves genes and cells out that training cells have no count of.

    Args:
        counts: [N, G].
        labels: [N].
        protocol: one of `PROTOCOLS`.
        seed: decides all draws, a count.
    """
    draw = np.random.default_rng(seed)
    is_test = draw.permutation(len(counts)) < _HELD_OUT * len(counts)
    batch = None
    if protocol == "batches":
        batch = draw.permutation(len(counts)) % 2
        counts = thinned(counts, batch, draw)
    counts = counts[:, counts[~is_test].any(axis=0)]
    if protocol != "all_genes":
        spread = log_normalized(counts[~is_test]).var(axis=0)
        counts = counts[:, np.sort(np.argsort(-spread, kind="stable")[:_NUM_GENES])]
    kept = counts.any(axis=1)
    batch = None if batch is None else batch[kept]
    return Cells(counts[kept], labels[kept], batch, is_test[kept])


def thinned(counts: np.ndarray, batch: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Counts [N, G], of which cells of batch 1 keep a share; the share of each gene is uniform.

    Each molecule stays or goes by itself: a binomial variable, as if its gene were caught less.
    """
    shares = draw.uniform(size=counts.shape[1])
    return np.where(batch[:, None] == 1, draw.binomial(counts, shares), counts)


def log_normalized(counts: np.ndarray) -> np.ndarray:
    """log(1 + x) of counts [N, G] that are scaled to the median total of a cell; float32."""
    totals = counts.sum(axis=1, keepdims=True)
    scale = (np.median(totals) / np.maximum(totals, 1)).astype(np.float32)
    return np.log1p(counts.astype(np.float32) * scale)


# --- Independent genes


class Genes(NamedTuple):
    """Independent negative binomial variables.

    Attributes:
        shares: of the total of a cell, [G]: the mean of a gene is its share of it.
        dispersions: α, [G]: the variance of a mean μ is μ + α μ².
    """

    shares: np.ndarray
    dispersions: np.ndarray

    def nll(self, counts: np.ndarray) -> np.ndarray:
        """−log p(x) of cells [N, G] given their totals, nats: [N]."""
        totals = counts.sum(axis=1, keepdims=True)
        log_mean = np.log(np.maximum(totals, 1e-6)) + np.log(self.shares)
        x, log_mean = (jnp.asarray(each, jnp.float32) for each in (counts, log_mean))
        log_dispersion = jnp.log(jnp.asarray(self.dispersions, jnp.float32))
        log_prob = negative_binomial_log_prob(x, log_mean, log_dispersion)
        return -np.asarray(log_prob, np.float64).sum(axis=1)


def independent_genes(counts: np.ndarray) -> Genes:
    """The maximum-likelihood share and dispersion of each gene.

    The dispersion α is found by bisection in log α of the slope of the profile likelihood; the
    share follows it by Fisher scoring. Dispersions are in [10⁻³, 10³].

    Args:
        counts: training cells [N, G]; each cell and each gene has a count.

    Returns:
        `Genes`.

    Reference:
        Lawless 1987, Negative binomial and mixed Poisson regression, Canadian Journal of Statistics
        15.
    """
    totals = counts.sum(axis=1)
    blocks = range(0, counts.shape[1], _BLOCK)
    parts = [_fitted(counts[:, first : first + _BLOCK], totals) for first in blocks]
    shares, dispersions = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Genes(shares, dispersions)


def _fitted(counts: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares and dispersions [G] of a block of genes [N, G] of cells with some totals [N]."""
    size = counts.shape[1]
    sizes, num = np.unique(totals, return_counts=True)
    cells, genes = np.nonzero(counts)
    seen, total = counts[cells, genes].astype(np.float64), totals[cells].astype(np.float64)

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(genes, values, minlength=size)

    def moved(shares: np.ndarray, dispersions: np.ndarray) -> np.ndarray:
        # a step of Fisher scoring in the logarithm: Σ (x − μ)/(1 + αμ) over Σ μ/(1 + αμ)
        means = np.outer(sizes, shares)
        information = num @ (means / (1 + dispersions * means))
        own = sums(seen / (1 + dispersions[genes] * shares[genes] * total))
        return shares * np.exp(np.clip(own / information - 1, -1, 1))

    def slope(shares: np.ndarray, dispersions: np.ndarray) -> np.ndarray:
        # α² d log p / dα = Σ log(1 + αμ) − αμ (1 + αx)/(1 + αμ) + α (x − (ψ(x + θ) − ψ(θ)) θ)
        scaled = dispersions * np.outer(sizes, shares)
        of_all = num @ (np.log1p(scaled) - scaled / (1 + scaled))
        alpha = dispersions[genes]
        theta, mean = 1 / alpha, shares[genes] * total
        of_draws = seen - theta * (special.digamma(seen + theta) - special.digamma(theta))
        return of_all + sums(alpha * (of_draws - seen * alpha * mean / (1 + alpha * mean)))

    shares = sums(seen) / totals.sum()
    low, high = (np.full(size, np.log(bound)) for bound in _DISPERSIONS)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        shares = moved(shares, np.exp(middle))
        rises = slope(shares, np.exp(middle)) > 0
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    return shares, np.exp((low + high) / 2)


def _of_independent_genes(cells: Cells) -> dict[str, float]:
    """Its likelihood; with a batch, genes are fit to the cells of each."""
    of_cells = np.zeros(len(cells.counts), int) if cells.batch is None else cells.batch
    nats = np.zeros(len(cells.counts))
    for batch in np.unique(of_cells):
        own = of_cells == batch
        train = cells.counts[own & ~cells.is_test]
        known = train.any(axis=0)
        # a gene that no cell of the batch has: as if one of a million molecules were of it
        shares, dispersions = np.full((2, train.shape[1]), [[1e-6], [1.0]])
        shares[known], dispersions[known] = independent_genes(train[:, known])
        nats[own] = Genes(shares, dispersions).nll(cells.counts[own])
    return _likelihood(nats[cells.is_test], cells)


def _likelihood(nats: np.ndarray, cells: Cells) -> dict[str, float]:
    """The measures of −log p(x) of held-out cells, [M]."""
    mean = float(nats.mean())
    return {_NLL.name: mean / cells.counts.shape[1], "per cell": mean}


# --- Codes


def _of_components(cells: Cells, seed: int) -> dict[str, float]:
    rows = log_normalized(cells.counts)
    num = min(_NUM_COMPONENTS, *rows.shape)
    codes = PCA(num, svd_solver="randomized", random_state=seed)
    return _of_codes(codes.fit(rows[~cells.is_test]).transform(rows), cells.labels, cells.batch)


def _of_codes(codes: np.ndarray, labels: np.ndarray, batch: np.ndarray | None) -> dict[str, float]:
    """The measures of the codes [N, L] of all cells."""
    told = {_ARI.name: agreement(codes, labels)}
    return told if batch is None else {**told, _MIXING.name: mixing(codes, batch)}


def agreement(codes: np.ndarray, labels: np.ndarray) -> float:
    """The adjusted Rand index of labels [N] and clusters of codes [N, L], a mean over seeds.

    Each seed of k-means is the best of ten starts by its own criterion.

    Reference:
        Hubert & Arabie 1985, Comparing partitions, Journal of Classification 2.
    """
    settings: dict[str, Any] = {"n_clusters": len(np.unique(labels)), "n_init": 10}
    fits = (KMeans(**settings, random_state=seed) for seed in range(_NUM_STARTS))
    found = [adjusted_rand_score(labels, each.fit_predict(codes)) for each in fits]
    return float(np.mean(found))


def mixing(codes: np.ndarray, batch: np.ndarray, num_neighbors: int = _NUM_NEIGHBORS) -> float:
    """Entropy of batches among neighbors: 0 if batches are apart, 1 if mixed as in all cells.

    Args:
        codes: [N, L].
        batch: of each cell, integers [N], at least two of them.
        num_neighbors: the nearest cells of each, itself among them, a count.

    Returns:
        The mean entropy of the batches of these cells over that of the batches of all cells, a
        scalar; small batches among few neighbors make it slightly less than 1 if they are mixed.

    Reference:
        Haghverdi et al. 2018, Batch effects in single-cell RNA-sequencing data, Nature
        Biotechnology 36; Lopez et al. 2018, supplementary note on the entropy of batch mixing.
    """
    num = min(num_neighbors, len(codes))
    near = NearestNeighbors(n_neighbors=num).fit(codes).kneighbors(codes, return_distance=False)
    is_of = batch[:, None] == np.unique(batch)
    shares = is_of[near].mean(axis=1)
    return float(special.entr(shares).sum(axis=1).mean() / special.entr(is_of.mean(axis=0)).sum())


# --- Models


def _as_numbers(counts: jax.Array, key: jax.Array) -> jax.Array:
    """Counts [B, G] as they are stored, as float32."""
    del key
    return counts.astype(jnp.float32)


def _of_vae(
    likelihood: str, cells: Cells, seed: int, *, sees_batch: bool = True
) -> dict[str, float]:
    """The measures of a model, one of `_LIKELIHOODS`, given the batch if there is one."""
    counts = cells.counts.astype(np.min_scalar_type(cells.counts.max()))
    given = cells.batch if sees_batch else None
    objective = "beta_vae" if given is None else "cvae"

    def rows(chosen: np.ndarray) -> Any:
        x = counts[chosen]
        return x if given is None else {"x": x, "labels": given[chosen]}

    train = rows(~cells.is_test)
    model = vae_jax.make_model(
        (counts.shape[1],) if given is None else train,
        objective=objective,
        likelihood=_LIKELIHOODS[likelihood],
        **_SIZES,
    )
    num = np.count_nonzero(~cells.is_test)
    trained = vae_jax.fit(
        objective,
        model,
        train,
        epochs=max(1, round(_STEPS / -(-num // _TRAINING["batch_size"]))),
        seed=seed,
        preprocess=_as_numbers,
        progress=False,
        **_TRAINING,
    )
    score = functools.partial(trained.score, by="iwae", num_samples=_NUM_SAMPLES, seed=seed)
    told = _likelihood(np.asarray(score(rows(cells.is_test)), np.float64), cells)
    codes = trained.encode(rows(np.full(len(counts), True)))
    return told | _of_codes(codes, cells.labels, cells.batch)
