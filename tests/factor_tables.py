"""Tables of factors, and codes of them whose scores are known."""

import numpy as np


def grid(sizes, repeats=1):
    """Every combination of the values, [N, F], each as often as the others."""
    table = np.indices(sizes).reshape(len(sizes), -1).T
    return np.repeat(table, repeats, axis=0)


def shuffled(table, seed=0):
    return np.random.default_rng(seed).permutation(table)


def noise(num_rows, num_columns, seed=0):
    return np.random.default_rng(seed).standard_normal((num_rows, num_columns))


def perfect(factors, seed=0):
    """Each factor in one dimension: another order, other signs, a monotone scale; a dead one."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(factors.shape[1])
    signs = rng.choice([-1.0, 1.0], factors.shape[1])
    codes = np.sinh(0.3 * factors[:, order]) * signs
    return np.concatenate([codes, np.full((len(codes), 1), 0.7)], axis=1), order


def rotated(factors):
    """The first two factors turned by 45°, the others as they are; a dead dimension."""
    codes = np.float64(factors)
    a, b = codes[:, 0].copy(), codes[:, 1].copy()
    codes[:, 0], codes[:, 1] = a + b, a - b
    return np.concatenate([codes, np.zeros((len(codes), 1))], axis=1)
