"""Structural similarity of images: how alike they look, which is no likelihood."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.errors import UsageError

__all__ = [
    "SCALE_WEIGHTS",
    "multiscale_similarity",
    "num_possible_scales",
    "structural_similarity",
]

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, scalars, the finest first: Wang et al. 2003, section 3.2."""
_DEVIATION = 1.5
_OF_LUMINANCE, _OF_CONTRAST = 0.01**2, 0.03**2
_LEAST = 0.01
"""Below it a similarity is continued as a positive function: a power has the slope ∞ at 0."""


def structural_similarity(x: jax.Array, y: jax.Array, *, window: int = 11) -> jax.Array:
    """SSIM: the mean over all windows and channels of luminance · contrast and structure.

    (2 m_x m_y + c₁)(2 s_xy + c₂) / ((m_x² + m_y² + c₁)(s_x² + s_y² + c₂)), with the means m, the
    variances s² and the covariance s_xy of a Gaussian window of deviation 1.5, c₁ = 0.01² and
    c₂ = 0.03². It is 1 for equal images, and symmetric.

    Args:
        x, y: images in [0, 1], [B, H, W, C].
        window: side of the window in pixels, at most H and W.

    Returns:
        In [−1, 1], without a unit, [B].

    Raises:
        UsageError: the window is larger than the image.

    Reference:
        Wang et al. 2004, Image quality assessment: from error visibility to structural similarity,
        IEEE TIP 13(4), equation 13.
    """
    luminance, contrast = _maps(x, y, window)
    return _mean_of(luminance * contrast).mean(axis=-1)


def multiscale_similarity(
    x: jax.Array, y: jax.Array, *, window: int = 11, num_scales: int = len(SCALE_WEIGHTS)
) -> jax.Array:
    """MS-SSIM: contrast and structure at M scales, and luminance at the coarsest.

    s_M^{w_M} · Π_{j<M} c_j^{w_j}, averaged over the channels: c_j the mean of contrast and
    structure over the windows of scale j, s_M that of the whole `structural_similarity`. Each scale
    halves the image by means of 2×2 pixels. The exponents w_j are the first M of `SCALE_WEIGHTS`,
    divided by their sum. A similarity s below 0.01 counts as 0.01 e^{s − 0.01}: so powers of
    negative ones exist, and have a gradient that raises s.

    Args:
        x, y: images in [0, 1], [B, H, W, C].
        window: as in `structural_similarity`.
        num_scales: M, at most `num_possible_scales(H, W, window)` and at most 5.

    Returns:
        In (0, 1], without a unit, [B]; 1 for equal images.

    Raises:
        UsageError: the image is too small for so many scales.

    Reference:
        Wang et al. 2003, Multi-scale structural similarity for image quality assessment, Asilomar
        conference, equation 7.
    """
    chex.assert_equal_shape([x, y])
    most = num_possible_scales(*x.shape[1:3], window)
    if not 1 <= num_scales <= most:
        raise UsageError(
            f"num_scales={num_scales}: images of {x.shape[1]}×{x.shape[2]} pixels and "
            f"window={window} allow 1 to {most}: give a smaller num_scales or window"
        )
    total = jnp.zeros(())
    exponents = np.array(SCALE_WEIGHTS[:num_scales]) / sum(SCALE_WEIGHTS[:num_scales])
    for scale, exponent in enumerate(exponents):
        x, y = (_halved(x), _halved(y)) if scale else (x, y)
        is_last = scale == num_scales - 1
        luminance, contrast = _maps(x, y, window)
        of_channels = _mean_of(luminance * contrast if is_last else contrast)
        below = jnp.minimum(of_channels - _LEAST, 0.0)
        logarithm = jnp.log(jnp.maximum(of_channels, _LEAST)) + below
        total = total + float(exponent) * logarithm
    return jnp.exp(total).mean(axis=-1)


def num_possible_scales(height: int, width: int, window: int = 11) -> int:
    """The number of scales, a count of at most 5, at which a window fits an image [H, W].

    It is 0 if the window is larger than the image.
    """
    side, num = min(height, width), 0
    while num < len(SCALE_WEIGHTS) and side >= max(window, 1):
        side, num = side // 2, num + 1
    return num


def _maps(x: jax.Array, y: jax.Array, window: int) -> tuple[jax.Array, jax.Array]:
    """Luminance, and contrast and structure, of each window: [B, H, W, C] to [B, h, w, C]."""
    chex.assert_equal_shape([x, y])
    chex.assert_rank(x, 4)
    if not 1 <= window <= min(x.shape[1:3]):
        raise UsageError(
            f"window={window}: must be from 1 to {min(x.shape[1:3])} for images of "
            f"{x.shape[1]}×{x.shape[2]} pixels"
        )
    bands = [jnp.asarray(_band(side, window), x.dtype) for side in x.shape[1:3]]

    def seen(values):
        # the differences of second moments lose digits
        return jnp.einsum("bhwc,hi,wj->bijc", values, *bands, precision="highest")

    mean_x, mean_y = seen(x), seen(y)
    of_means = 2 * mean_x * mean_y, jnp.square(mean_x) + jnp.square(mean_y)
    covariance = 2 * seen(x * y) - of_means[0]
    variances = seen(jnp.square(x) + jnp.square(y)) - of_means[1]
    luminance = (of_means[0] + _OF_LUMINANCE) / (of_means[1] + _OF_LUMINANCE)
    return luminance, (covariance + _OF_CONTRAST) / (variances + _OF_CONTRAST)


def _band(side: int, window: int) -> np.ndarray:
    """The weights of a Gaussian window at each place where it fits, [side, side − window + 1]."""
    offsets = np.arange(window) - (window - 1) / 2
    weights = np.exp(-np.square(offsets) / (2 * _DEVIATION**2))
    band = np.zeros((side, side - window + 1))
    for place in range(band.shape[1]):
        band[place : place + window, place] = weights / weights.sum()
    return band


def _mean_of(maps: jax.Array) -> jax.Array:
    """The mean over windows, [B, h, w, C] to [B, C]."""
    return maps.mean(axis=(1, 2))


def _halved(images: jax.Array) -> jax.Array:
    """Means of 2×2 pixels, [B, H, W, C] to [B, ⌊H/2⌋, ⌊W/2⌋, C]."""
    height, width = (side // 2 for side in images.shape[1:3])
    even = images[:, : 2 * height, : 2 * width]
    return even.reshape(len(images), height, 2, width, 2, images.shape[-1]).mean(axis=(2, 4))
