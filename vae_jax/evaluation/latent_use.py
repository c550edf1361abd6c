"""How a model uses its codes: the aggregate posterior compared with x and with the prior.

The aggregate posterior of N given examples is the mixture q(z) = 1/N Σ_n q(z|x_n). Over it

E_n KL(q(z|x_n) ‖ p(z)) = I(x; z) + KL(q(z) ‖ p(z))
KL(q(z) ‖ p(z)) = TC(z) + Σ_l KL(q(z_l) ‖ p(z_l)),  TC(z) = KL(q(z) ‖ Π_l q(z_l))

Each term is a mean over samples z ~ q(z) of logarithms of the exact mixture of all N. No minibatch
is used, so for these N examples the only error is that of sampling. Compared with the distribution
that the N examples come from, I(x; z) is biased down (it is at most log N), and KL(q(z) ‖ p(z)) is
biased up by the same amount.

The second line holds if the dimensions of p(z) are independent. Other priors have terms of their
own: their joint density gives KL(q(z) ‖ p(z)), their marginals, if they are known, each KL(q(z_l) ‖
p(z_l)).

Reference: Hoffman & Johnson 2016, ELBO surgery, NIPS workshop on advances in approximate Bayesian
inference; Chen et al. 2018, arXiv 1802.04942, eq. 2.
"""

import functools
import math
import zlib
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import distributions, rates
from vae_jax.blocks import by_blocks
from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError
from vae_jax.evaluation import nll
from vae_jax.evaluation._cost import Cost
from vae_jax.evaluation._shared import (
    is_constant,
    require_at_least,
    require_finite,
    with_errors,
)
from vae_jax.evaluation.collapse import FLOOR_MARGIN, diagnose, elbo_and_floor
from vae_jax.evaluation.discrepancy import maximum_mean_discrepancy
from vae_jax.evaluation.elbo import COLLAPSE_RATE, effective_number, standardized_mean
from vae_jax.evaluation.subject import NotApplicableError
from vae_jax.losses import aggregate_covariance, covariance

__all__ = [
    "COST",
    "DEFINITIONS",
    "AggregateDensity",
    "Terms",
    "aggregate_log_density",
    "decompose",
    "evaluate",
    "gaussian_total_correlation",
    "is_saturated",
    "measure",
    "sample",
]

COST = Cost(place=5, is_quick=True, start=5.0, per_example=2e-3)

DEFINITIONS = {
    "num_examples": "N, the posteriors whose mixture is the aggregate posterior q(z)",
    "num_samples": "S, the samples z ~ q(z) behind each term with a standard error",
    "num_dims": "L, the latent dimensions",
    "rate": "E_n KL(q(z|x_n) ‖ p(z)) in nats, in closed form over the N, else from the S samples",
    "rate_per_dim": "the rate of each dimension in nats; None if p(z) is only known jointly",
    "active_units": "dimensions whose posterior mean varies by over 0.01 of the prior (Burda 2015)",
    "effective_units": "exp of the entropy of the dimensions' shares of the rate; None if unknown",
    "mutual_information": "I(x; z) = E log q(z|x) − log q(z) in nats, at most log N",
    "mutual_information_bound": "log N, which I(x; z) over N examples cannot exceed",
    "mutual_information_saturated": "I(x; z) is within log 2 of log N: more examples may raise it",
    "marginal_kl": "KL(q(z) ‖ p(z)) in nats: total_correlation + dimension_wise_kl if p = Π p(z_l)",
    "total_correlation": "KL(q(z) ‖ Π_l q(z_l)) in nats, 0 where the dimensions are independent",
    "dimension_wise_kl": "Σ_l KL(q(z_l) ‖ p(z_l)) in nats; None if p(z_l) is unknown",
    "kl_per_dim": "KL(q(z_l) ‖ p(z_l)) of each latent dimension, in nats; None likewise",
    "gaussian_tc_means": "total correlation of a Gaussian fit to the posterior means, in nats",
    "gaussian_tc_samples": "total correlation of a Gaussian with the covariance of q(z), in nats",
    "mmd": "unbiased estimate of the squared MMD of q(z) and p(z); 0 in expectation if equal",
    "mmd_kernel": "the kernel of mmd, imq or rbf, of squared width 2L",
    "top_rate_share": "the share of the rate in the 5 dimensions of the highest; None if unknown",
    "collapsed": f"I(x; z) is below {COLLAPSE_RATE:g} nats: z says nothing of x, whatever the rate",
    "elbo_above_floor": "mean ELBO less that of the best model that ignores z, in nats, paired",
    "at_floor": f"elbo_above_floor is at most {FLOOR_MARGIN:g} nat: z does not pay",
    "verdict": "the diagnosis of collapse in words",
}
"""The meaning of each entry of `evaluate`, with its defaults; `name_standard_error` is the error of
`name`."""


class AggregateDensity(NamedTuple):
    """Log-densities of S samples under the mixture of N posteriors, in nats.

    Args:
        joint: log q(z_s) = log 1/N Σ_n q(z_s|x_n), [S].
        marginals: log q(z_sl) = log 1/N Σ_n q(z_sl|x_n), [S, L].
    """

    joint: jax.Array
    marginals: jax.Array


class Terms(NamedTuple):
    """The contribution of each of S samples to the averages, in nats.

    Args:
        mutual_information: log q(z|x) − log q(z), [S].
        marginal_kl: log q(z) − log p(z), [S].
        total_correlation: log q(z) − Σ_l log q(z_l), [S].
        dimension_wise_kl: log q(z_l) − log p(z_l), [S, L]; None if p(z_l) is unknown.
    """

    mutual_information: jax.Array
    marginal_kl: jax.Array
    total_correlation: jax.Array
    dimension_wise_kl: jax.Array | None


def _check_codes(mean, logvar):
    chex.assert_rank(mean, 2)
    chex.assert_equal_shape([mean, logvar])


def sample(
    mean: jax.Array, logvar: jax.Array, key: jax.Array, num_samples: int
) -> tuple[jax.Array, jax.Array]:
    """Independent draws from the aggregate posterior, with the index of their example.

    n_s ~ uniform{0 … N − 1},  z_s ~ q(z|x_{n_s})

    Args:
        mean, logvar: parameters of the posteriors, [N, L].
        key: PRNG key, scalar.
        num_samples: S.

    Returns:
        (n [S] int, z [S, L]).
    """
    _check_codes(mean, logvar)
    row_key, z_key = jax.random.split(key)
    rows = jax.random.randint(row_key, (num_samples,), 0, mean.shape[0])
    return rows, DiagonalGaussian(mean[rows], logvar[rows]).sample(z_key)


@functools.partial(jax.jit, static_argnames=("num_rows", "num_columns"))
def aggregate_log_density(
    z: jax.Array,
    mean: jax.Array,
    logvar: jax.Array,
    *,
    num_rows: int = 64,
    num_columns: int = 256,
) -> AggregateDensity:
    """Log-densities under the exact mixture of all N posteriors, joint and per dimension.

    log q(z) = log 1/N Σ_n Π_l N(z_l; mean_nl, exp(logvar_nl))

    The S × N terms are computed in blocks; the block size affects only the rounding.

    Args:
        z: [S, L].
        mean, logvar: parameters of the posteriors, [N, L].
        num_rows, num_columns: samples and posteriors at a time; num_rows · num_columns · L numbers
            are in memory. The default fits the cache of a CPU; use more on a GPU.

    Returns:
        `AggregateDensity`, in nats.

    Reference:
        Chen et al. 2018, arXiv 1802.04942, eq. 2; its minibatch-weighted estimate of log q(z)
        (eq. 3) is biased and is not used.
    """
    _check_codes(mean, logvar)
    chex.assert_shape(z, (None, mean.shape[1]))
    num_posteriors, latent_dim = mean.shape
    size = min(num_columns, num_posteriors)
    num_blocks = -(-num_posteriors // size)
    padding = ((0, num_blocks * size - num_posteriors), (0, 0))
    means, logvars = (
        jnp.pad(values, padding).reshape(num_blocks, size, latent_dim) for values in (mean, logvar)
    )
    is_real = (jnp.arange(num_blocks * size) < num_posteriors).reshape(num_blocks, size)

    def one(z):
        """z [L] to (joint [], marginals [L])."""

        def add_block(sums, block):
            mean, logvar, is_real = block
            rows = jnp.broadcast_to(z, mean.shape)
            log_probs = distributions.gaussian_log_prob(rows, mean, logvar)
            log_probs = jnp.where(is_real[:, None], log_probs, -jnp.inf)
            joint, marginals = sums
            return (
                nll.add_weights(joint, jnp.sum(log_probs, axis=1)),
                nll.add_weights(marginals, log_probs),
            ), None

        start = nll.empty_sums(), nll.empty_sums((latent_dim,))
        (joint, marginals), _ = jax.lax.scan(add_block, start, (means, logvars, is_real))
        return AggregateDensity(
            nll.log_mean_weight(joint, num_posteriors),
            nll.log_mean_weight(marginals, num_posteriors),
        )

    return by_blocks(jax.vmap(one), z, num_rows)


def decompose(
    z: jax.Array,
    posterior: DiagonalGaussian,
    density: AggregateDensity,
    prior: Any,
    *,
    num_rows: int = 64,
) -> Terms:
    """The terms of each sample; the identities hold for each sample, not only on average.

    log q(z|x) − log p(z) = mutual_information + marginal_kl
    marginal_kl = total_correlation + Σ_l dimension_wise_kl_l, if p(z) = Π_l p(z_l)

    Args:
        z: [S, L].
        posterior: posterior of the example from which each z was drawn, arrays [S, L].
        density: log-densities of these z under the aggregate posterior.
        prior: a density over [L]; `marginal_log_probs` gives log p(z_l) of each dimension.
        num_rows: samples at a time, a scalar.

    Returns:
        `Terms`, in nats.

    Raises:
        UsageError: the prior has no density.

    Reference:
        Hoffman & Johnson 2016, ELBO surgery, section 2; Chen et al. 2018, arXiv 1802.04942, eq. 2.
    """
    chex.assert_equal_shape([z, posterior.mean, density.marginals])
    _require_density(prior, "decompose")
    joint, marginals = _log_prior(prior, z, num_rows)
    return Terms(
        posterior.log_prob(z) - density.joint,
        density.joint - joint,
        density.joint - jnp.sum(density.marginals, axis=1),
        None if marginals is None else density.marginals - marginals,
    )


def _log_prior(prior, z: jax.Array, num_rows: int) -> tuple[jax.Array, jax.Array | None]:
    """log p(z) of samples [S, L], [S], and log p(z_l), [S, L] or None."""
    if type(prior) is DiagonalGaussian:
        marginals = prior.log_probs(z)
        return jnp.sum(marginals, axis=1), marginals
    joint = by_blocks(prior.log_prob, z, num_rows)
    if not hasattr(prior, "marginal_log_probs"):
        return joint, None
    return joint, by_blocks(prior.marginal_log_probs, z, num_rows)


def _lacking(prior) -> list[str]:
    """What a prior over [L] lacks of what the terms ask for."""
    return [n for n in ("log_prob", "first", "mean", "deviation") if not hasattr(prior, n)]


def _require_density(prior, what: str) -> None:
    """Raises UsageError unless a prior over [L] has a density, marginals and moments."""
    if _lacking(prior):
        raise UsageError(f"{what}: {_told(prior)}")


def _told(prior) -> str:
    lacking = ", ".join(_lacking(prior))
    return f"p(z) is of type {type(prior).__name__}, without {lacking}, which its terms need"


def is_saturated(mutual_information: float, num_examples: int) -> bool:
    """Whether I(x; z) is too close to its bound log N to be measured: within log 2 of it.

    log N − I(x; z) is the mean of −log p(n|z). If it is below log 2, a sample identifies its
    example among N with probability above ½ (geometric mean). More examples would be identified as
    well, which would raise the estimate.

    Args:
        mutual_information: in nats, a scalar.
        num_examples: N, a scalar.

    Returns:
        A scalar.

    Reference:
        McAllester & Stratos 2020, arXiv 1811.04251, on the limits of estimates of large
        information.
    """
    return mutual_information > math.log(num_examples) - math.log(2)


def gaussian_total_correlation(matrix: jax.Array) -> jax.Array:
    """The total correlation of a Gaussian: ½ (Σ_l log Σ_ll − log det Σ) = −½ log det R.

    R is the correlation matrix; a dimension of variance 0 is constant, so it is independent. Test
    whether codes are constant on the codes, not on their covariance, see `_shared.is_constant`.

    Args:
        matrix: the covariance Σ, [L, L].

    Returns:
        Scalar in nats, at least 0; ∞ if R is singular at the precision of its type.

    Reference:
        Watanabe 1960, Information theoretical analysis of multivariate correlation; for codes:
        Locatello et al. 2019, arXiv 1811.12359, section 5.3.
    """
    chex.assert_rank(matrix, 2)
    correlation, _ = _standardized(matrix)
    eigenvalues = jnp.linalg.eigvalsh(correlation)
    least = len(matrix) * jnp.finfo(matrix.dtype).eps
    is_singular = jnp.min(eigenvalues) < least
    # −½ Σ_l log λ_l; clamped, because rounding may make it negative
    value = -0.5 * jnp.sum(jnp.log(jnp.maximum(eigenvalues, least)))
    return jnp.where(is_singular, jnp.inf, jnp.maximum(value, 0.0))


def _standardized(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The correlation matrix of a covariance [L, L], and what it was scaled by, [L]."""
    variance = jnp.diag(matrix)
    scale = jnp.where(variance > 0, jax.lax.rsqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    correlation = matrix * scale[:, None] * scale[None, :]
    # exactly 1, even if the variance is 0
    return jnp.where(jnp.eye(len(variance), dtype=bool), 1.0, correlation), scale


def _tc_and_error(matrix, codes, variances) -> tuple[jax.Array, jax.Array]:
    """`gaussian_total_correlation` of Σ, and its standard error by linearization.

    An example with code c and variances v has the influence ½ tr((D⁻¹ − Σ⁻¹)(c cᵀ + diag v)) on
    ½ (Σ_l log Σ_ll − log det Σ), D the diagonal of Σ.

    Args:
        matrix: Σ, [L, L].
        codes: of the N examples, centered, [N, L].
        variances: of their posteriors, [N, L]; 0 for codes without noise.
    """
    correlation, scale = _standardized(matrix)
    inverse = jnp.linalg.inv(correlation)
    codes, variances = codes * scale[None, :], variances * jnp.square(scale)[None, :]
    jointly = jnp.sum(codes * jnp.matmul(codes, inverse, precision="highest"), axis=1)
    jointly = jointly + jnp.sum(variances * jnp.diag(inverse)[None, :], axis=1)
    influence = 0.5 * (jnp.sum(jnp.square(codes) + variances, axis=1) - jointly)
    error = jnp.std(influence, ddof=1) / len(codes) ** 0.5
    return gaussian_total_correlation(matrix), error


@jax.jit
def _both_tcs(mean, logvar) -> dict[str, tuple[jax.Array, jax.Array]]:
    """The total correlation and its error of the means [N, L], and of draws of the posteriors."""
    codes = jnp.where(is_constant(mean)[None], 0.0, mean)
    centered = [each - jnp.mean(each, axis=0)[None] for each in (codes, mean)]
    variances = jnp.exp(distributions.bound_logvar(logvar))
    return {
        "gaussian_tc_means": _tc_and_error(covariance(codes), centered[0], jnp.zeros_like(mean)),
        "gaussian_tc_samples": _tc_and_error(
            aggregate_covariance(mean, logvar), centered[1], variances
        ),
    }


def _gaussian_tcs(mean, logvar) -> dict[str, float | None]:
    """`gaussian_tc_…` of posteriors [N, L], with standard errors."""
    result = {}
    for name, (value, error) in jax.device_get(_both_tcs(mean, logvar)).items():
        is_known = len(mean) > 1 and math.isfinite(value) and math.isfinite(error)
        result[name] = float(value)
        result[f"{name}_standard_error"] = float(error) if is_known else None
    return result


class _Measured(NamedTuple):
    """What a device computes of N posteriors and S samples, see `evaluate`."""

    terms: Terms
    rate: jax.Array | None
    rate_per_dim: jax.Array | None
    standardized_mean: jax.Array
    discrepancy: Any


@functools.partial(jax.jit, static_argnames=("num_samples", "kernel", "num_rows", "num_columns"))
def _measured(mean, logvar, prior, key, *, num_samples, kernel, num_rows, num_columns) -> _Measured:
    """All of `evaluate` that is computed from samples, in one program."""
    q_key, p_key, _ = jax.random.split(key, 3)
    rows, z = sample(mean, logvar, q_key, num_samples)
    density = aggregate_log_density(z, mean, logvar, num_rows=num_rows, num_columns=num_columns)
    posterior, of_rows = DiagonalGaussian(mean, logvar), DiagonalGaussian(mean[rows], logvar[rows])
    terms = decompose(z, of_rows, density, prior, num_rows=num_rows)
    rate, per_dim = None, None
    if rates.has_closed_form(posterior, prior):
        per_dim = distributions.kl_divergence(posterior, prior)
    else:
        rate = terms.mutual_information + terms.marginal_kl
        if rates.has_dims(of_rows, prior):
            of_block = functools.partial(_rates_of_block, prior)
            per_dim = by_blocks(of_block, (of_rows, z), num_rows)
    drawn = prior.sample(p_key, num_samples)
    discrepancy = maximum_mean_discrepancy(z, drawn, kernel=kernel, num_rows=num_rows)
    return _Measured(terms, rate, per_dim, standardized_mean(posterior, prior), discrepancy)


def _rates_of_block(prior, block):
    return rates.per_dim(block[0], prior, block[1])


def evaluate(
    mean: jax.Array,
    logvar: jax.Array,
    key: jax.Array,
    *,
    prior: Any = None,
    elbo: jax.Array | None = None,
    floor: jax.Array | None = None,
    num_samples: int = 5000,
    kernel: str = "imq",
    num_top_dims: int = 5,
    collapse_rate: float = COLLAPSE_RATE,
    floor_margin: float = FLOOR_MARGIN,
    num_rows: int = 64,
    num_columns: int = 256,
) -> dict:
    """Measures how a model uses its latent space, from the posteriors of N examples.

    Args:
        mean, logvar: parameters of the posteriors, [N, L].
        key: PRNG key, scalar, for the samples of q(z) and of p(z).
        prior: p(z), a density over [L]; N(0, I) by default.
        elbo, floor: values of each example, [N], in nats, or None: see `collapse.diagnose`.
        num_samples: S >= 3, scalar.
        kernel: kernel of the discrepancy, "imq" or "rbf".
        num_top_dims, collapse_rate, floor_margin: scalars, see `collapse.diagnose`.
        num_rows, num_columns: scalars, see `aggregate_log_density`.

    Returns:
        The entries of `DEFINITIONS`: numbers, bools, words, lists [L]; None if `elbo` was not
            passed, or if the prior does not know a term. `name_standard_error` is the standard
            error of `name`: for a `rate` in closed form over the N examples, for `gaussian_tc_…` by
            linearization over them, for the others over the S samples.

    Raises:
        UsageError: a value is not finite, a number is too small, or the prior has no density.
    """
    _check_codes(mean, logvar)
    given = {"elbo": elbo, "floor": floor}
    given = {name: values for name, values in given.items() if values is not None}
    require_finite(mean=mean, logvar=logvar, **given)
    require_at_least(3, num_samples=num_samples)
    require_at_least(1, num_rows=num_rows, num_columns=num_columns)
    num_examples, latent_dim = mean.shape
    mean, logvar = jnp.asarray(mean, jnp.float32), jnp.asarray(logvar, jnp.float32)
    prior = distributions.standard_gaussian(latent_dim) if prior is None else prior
    _require_density(prior, "latent_use")
    sizes = {"num_samples": num_samples, "num_rows": num_rows, "num_columns": num_columns}
    found = jax.device_get(_measured(mean, logvar, prior, key, kernel=kernel, **sizes))
    terms = jax.tree.map(np.float64, found.terms)
    rate, rate_per_dim = _rates(found)
    discrepancy = found.discrepancy
    collapse = diagnose(
        rate_per_dim,
        np.var(np.float64(found.standardized_mean), axis=0),
        rate=float(rate.mean()),
        mutual_information=float(terms.mutual_information.mean()),
        elbo=elbo,
        floor=floor,
        num_top_dims=num_top_dims,
        collapse_rate=collapse_rate,
        floor_margin=floor_margin,
    )
    return {
        "num_examples": num_examples,
        "num_samples": num_samples,
        "rate_per_dim": None if rate_per_dim is None else rate_per_dim.tolist(),
        "effective_units": None if rate_per_dim is None else float(effective_number(rate_per_dim)),
        "kl_per_dim": _kl_per_dim(terms),
        "mutual_information_bound": math.log(num_examples),
        "mmd": float(discrepancy.value),
        "mmd_standard_error": float(discrepancy.standard_error),
        "mmd_kernel": kernel,
        **{name: value for name, value in collapse._asdict().items() if name in DEFINITIONS},
        **_gaussian_tcs(mean, logvar),
        **with_errors({"rate": rate, **_totals(terms)}),
        "mutual_information_saturated": is_saturated(collapse.mutual_information, num_examples),
    }


def _rates(found: _Measured) -> tuple[np.ndarray, np.ndarray | None]:
    """The rate of each example, [N], or of each sample, [S]; and the mean of each dimension, [L].

    The second is None if the prior's density is only known jointly.
    """
    per_dim = None if found.rate_per_dim is None else np.float64(found.rate_per_dim)
    rate = per_dim.sum(axis=1) if found.rate is None else np.float64(found.rate)
    return rate, None if per_dim is None else per_dim.mean(axis=0)


def _kl_per_dim(terms: Terms) -> list[float] | None:
    """The mean of each dimension's terms over the samples, [L], or None if they are unknown."""
    of_dims = terms.dimension_wise_kl
    return None if of_dims is None else of_dims.mean(axis=0).tolist()


def _totals(terms: Terms) -> dict[str, np.ndarray]:
    """Terms of each sample by name, summed over latent dimensions: [S] each, or none of them."""
    of_dims = terms.dimension_wise_kl
    total = np.zeros(0) if of_dims is None else of_dims.sum(axis=1)
    return {**terms._asdict(), "dimension_wise_kl": total}


def measure(subject, *, num_samples: int = 5000, kernel: str = "imq") -> dict:
    """How the model uses its latent space on the test split, and whether the decoder benefits.

    Args:
        subject: a `vae_jax.evaluation.subject.Subject`.
        num_samples, kernel: see `evaluate`; a scalar and a name.

    Returns:
        The entries of `DEFINITIONS`, as of `evaluate`; `elbo_above_floor` if there is a floor, see
            `collapse.elbo_and_floor`.

    Raises:
        NotApplicableError: the posterior is not a Gaussian with independent dimensions, or p(z) has
            no density.
    """
    subject.require_gaussian_posterior()
    prior = subject.model.prior(subject.params)
    if _lacking(prior):
        raise NotApplicableError(_told(prior))
    elbo, floor = elbo_and_floor(subject)
    posterior = subject.posterior()
    return evaluate(
        posterior.mean,
        posterior.logvar,
        jax.random.fold_in(subject.key, zlib.crc32(b"latent_use")),
        prior=subject.prior,
        elbo=elbo,
        floor=floor,
        num_samples=num_samples,
        kernel=kernel,
    )
