"""The BetaVAE score: the accuracy of a linear classifier of the factor that pairs share."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.disentanglement import _common, _groups

__all__ = ["DEFINITIONS", "differences", "evaluate", "linear_accuracy"]

DEFINITIONS = {
    "beta_vae": "accuracy of a linear classifier that tells the factor shared by pairs from their"
    " mean absolute difference in each dimension; 1 / factors to 1"
}
"""The meaning of each score, one line for a scalar."""


@jax.jit
def differences(first: jax.Array, second: jax.Array) -> jax.Array:
    """The classifier's input for a group of pairs: 1/B Σ_b |z_b − z'_b|.

    Args:
        first: codes z of the first of each pair, [G, B, L].
        second: codes z' of the second, [G, B, L].

    Returns:
        [G, L].

    Reference:
        Higgins et al. 2017, beta-VAE, ICLR, section 3.
    """
    chex.assert_rank(first, 3)
    chex.assert_equal_shape([first, second])
    return jnp.mean(jnp.abs(first - second), axis=1)


def linear_accuracy(train, train_fixed, test, test_fixed) -> np.ndarray:
    """The test groups that a multinomial logistic regression classifies correctly.

    Features are standardized on the training groups, so the scale of a dimension does not matter;
    the weights have scikit-learn's L2 penalty (C = 1).

    Args:
        train: differences, [G, L].
        train_fixed: shared factors, [G], at least two distinct ones.
        test: [H, L].
        test_fixed: [H].

    Returns:
        [H] booleans.

    Reference:
        Higgins et al. 2017, beta-VAE, ICLR, section 3.
    """
    from sklearn.linear_model import LogisticRegression

    train, test = _common.standardize(np.asarray(train), np.asarray(test))
    classifier = LogisticRegression(max_iter=10_000).fit(train, np.asarray(train_fixed))
    return classifier.predict(test) == np.asarray(test_fixed)


def evaluate(
    codes,
    factors,
    key: jax.Array,
    *,
    num_train: int = 10_000,
    num_test: int = 5_000,
    batch_size: int = 64,
) -> _common.Result:
    """The BetaVAE score of a table of codes, with pairs drawn from its rows.

    The standard error is that of an accuracy over the test groups, √(a (1 − a) / H). Chance is 1 /
    F; if only one factor varies, the score is 1.

    Args:
        codes: posterior means of all rows, [N, L]: the more of the grid, the better.
        factors: [N, F] integers.
        key: PRNG key, scalar.
        num_train: G, groups to train on.
        num_test: H, groups to measure the accuracy on.
        batch_size: B, pairs per group.

    Returns:
        `Result`: beta_vae.

    Raises:
        DataError: a code is not finite, or no factor varies.
        UsageError: the shapes or types do not fit, or a number is below 1.

    Reference:
        Higgins et al. 2017, beta-VAE, ICLR, section 3; Locatello et al. 2019, arXiv 1811.12359.
    """
    _common.check_counts(num_train=num_train, num_test=num_test, batch_size=batch_size)
    table = _common.check(codes, factors)
    pairs = _groups.sample_pairs(key, table.factors, num_train + num_test, batch_size)
    scaled = jnp.float32(_common.standardize(table.codes)[0])
    features = np.asarray(_groups.map_rows(differences, scaled, pairs.first, pairs.second))
    fixed = np.asarray(pairs.fixed)
    if len(np.unique(fixed[:num_train])) > 1:
        correct = linear_accuracy(
            features[:num_train], fixed[:num_train], features[num_train:], fixed[num_train:]
        )
    else:
        correct = fixed[num_train:] == fixed[0]
    accuracy = float(np.mean(correct))
    return _common.Result(
        {"beta_vae": accuracy},
        {"beta_vae": (accuracy * (1 - accuracy) / num_test) ** 0.5},
        {
            "num_train": num_train,
            "num_test": num_test,
            "batch_size": batch_size,
            "num_factors": int((table.sizes > 1).sum()),
        },
        {},
    )
