"""Posteriors: densities that integrate to 1, unbiased gradients, masks, objectives with them."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from properties import slow, small

import vae_jax
from vae_jax import (
    distributions,
    latents,
    moments,
    objectives,
    posteriors,
    priors,
    rates,
)
from vae_jax.distributions import DiagonalGaussian
from vae_jax.errors import UsageError
from vae_jax.evaluation import nll
from vae_jax.lab import config
from vae_jax.posteriors import _flow, full, poincare, power_spherical, vmf
from vae_jax.posteriors._sphere import UniformSphere, unit
from vae_jax.posteriors.householder import reflected
from vae_jax.storage import exported

KEY = jax.random.key(0)
SIZE, N, B, L = 6, 12, 5, 4
CASES = {name: small(posteriors.FAMILY, name) for name in posteriors.names()}
CASES["riemannian"] = posteriors.Poincare("riemannian")
ON_SPHERE = {"vmf": vmf.VonMisesFisher, "power_spherical": power_spherical.PowerSphericalDensity}
X = jax.random.bernoulli(jax.random.key(1), 0.4, (N, SIZE)).astype(jnp.float32)
BATCH = {"x": X, "mask": jnp.ones(N)}

each = pytest.mark.parametrize("name", list(CASES))
flowing = pytest.mark.parametrize("flow", ["iaf", "planar", "sylvester"])
LAYERS = ("chain", "ladder", "vdvae")
"""Their masks and moments have tests in test_hierarchies.py and test_vdvae.py."""
OF_ONE_LAYER = [name for name in CASES if name not in (*LAYERS, "riemannian")]
each_of_one_layer = pytest.mark.parametrize("name", [*OF_ONE_LAYER, *slow("riemannian")])
on_sphere = pytest.mark.parametrize("name", list(ON_SPHERE))
on_ball = pytest.mark.parametrize("kind", ["wrapped", "riemannian"])


def make_model(name, latent_dim=L, **settings):
    return vae_jax.make_model(
        (SIZE,),
        likelihood="bernoulli",
        latent_dim=latent_dim,
        widths=(8,),
        posterior=CASES[name],
        **settings,
    )


def normal(*seed, shape):
    """Random numbers that cost no compilation, the same for the same seed."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def perturbed(params):
    """Parameters away from their initial values, so that no network returns zeros."""
    leaves, tree = jax.tree.flatten(params)
    moved = [a + 0.3 * normal(i, shape=a.shape) for i, a in enumerate(leaves)]
    return jax.tree.unflatten(tree, moved)


@functools.cache
def _params(name, latent_dim, is_masked):
    """Parameters of the family itself, as many as in a masked model of L dimensions in use."""
    mask = (jnp.arange(latent_dim) < L).astype(jnp.float32) if is_masked else None
    return perturbed(jax.jit(lambda: CASES[name].init(KEY, latent_dim, mask))())


def posterior_of(name, latent_dim=L, latent_mask=None):
    """q(z|x) of B examples, for fixed outputs of an encoder in each dimension, and p(z)."""
    family = CASES[name]
    parts = [
        jnp.asarray(np.stack([normal(part, i, shape=(B,)) for i in range(latent_dim)], axis=1))
        for part in range(len(family.parts_for(latent_dim)))
    ]
    params = _params(name, latent_dim, latent_mask is not None)
    own = family.posterior(params, parts, latent_mask)
    return own, family.prior(params, latent_dim, latent_mask)


def spherical(name, kappas, nums, size):
    """Densities around one direction, [len(kappas)·len(nums)] rows, the first n axes in use."""
    rows = [(kappa, num) for num in nums for kappa in kappas]
    kappa, num = (jnp.float32(column) for column in zip(*rows, strict=True))
    kept = (jnp.arange(size, dtype=jnp.float32)[None, :] < num[:, None]).astype(jnp.float32)
    direction = unit(jax.random.normal(KEY, kept.shape) * kept)
    return ON_SPHERE[name](direction, kappa[:, None], kept), rows


def exact_on_sphere(name, kappa, num):
    """(KL to the uniform density, E t, Var t) by known formulas in float64."""
    half = num / 2
    log_area = math.log(2) + half * math.log(math.pi) - scipy.special.gammaln(half)
    if name == "vmf":
        bessel = scipy.special.ive(half - 1, kappa)
        log_c = (half - 1) * math.log(kappa) - half * math.log(2 * math.pi)
        log_c -= math.log(bessel) + kappa
        mean = scipy.special.ive(half, kappa) / bessel
        return kappa * mean + log_c + log_area, mean, 1 - mean**2 - (num - 1) / kappa * mean
    beta = (num - 1) / 2
    alpha = beta + kappa
    expected = scipy.special.digamma(alpha) - scipy.special.digamma(alpha + beta)
    log_z = (alpha + beta) * math.log(2) + beta * math.log(math.pi)
    log_z += scipy.special.gammaln(alpha) - scipy.special.gammaln(alpha + beta)
    variance = 4 * alpha * beta / ((alpha + beta) ** 2 * (alpha + beta + 1))
    return kappa * (math.log(2) + expected) - log_z + log_area, kappa / (alpha + beta), variance


@on_sphere
def test_rates_and_moments_on_the_sphere_are_exact_in_all_sizes(name):
    own, rows = spherical(name, [0.5, 2.0, 10.0, 100.0, 1e4], [2, 3, 10, 40, 128], 128)

    @jax.jit
    def evaluate(own):
        prior = UniformSphere(own.kept[0])
        z = own.sample(jax.random.key(3), 500)
        along = jnp.sum(z * own.direction[None], axis=-1)
        rates = distributions.kl_divergence(own, prior)
        return rates, own.mean, own.deviation, along, jnp.sum(jnp.square(z), axis=-1)

    rates, mean, deviation, along, squares = map(np.asarray, evaluate(own))
    expected = np.array([exact_on_sphere(name, *row) for row in rows])
    np.testing.assert_allclose(rates.sum(axis=1), expected[:, 0], rtol=2e-6, atol=2e-4)
    np.testing.assert_array_equal(rates[np.asarray(own.kept) == 0], 0.0)
    np.testing.assert_allclose((mean * own.direction).sum(axis=1), expected[:, 1], atol=2e-4)
    # the trace of the covariance is 1 − |E z|²
    np.testing.assert_allclose(
        np.square(deviation).sum(axis=1), 1 - expected[:, 1] ** 2, rtol=2e-3, atol=2e-5
    )
    np.testing.assert_allclose(squares, 1.0, atol=2e-6)
    error = np.sqrt(expected[:, 2] / len(along))
    assert (np.abs(along.mean(axis=0) - expected[:, 1]) < 5 * error + 1e-6).all()
    np.testing.assert_allclose(along.std(axis=0), np.sqrt(expected[:, 2]), rtol=0.2, atol=1e-6)


def test_the_rate_of_vmf_is_its_integral():
    own, rows = spherical("vmf", [1.5, 30.0], [3, 10], 10)
    found = jax.jit(distributions.kl_divergence)(own, UniformSphere(jnp.ones(10))).sum(axis=1)
    for value, (kappa, num) in zip(found, rows, strict=True):

        def weight(angle, kappa=kappa, num=num):
            return math.exp(kappa * (math.cos(angle) - 1)) * math.sin(angle) ** (num - 2)

        mass = scipy.integrate.quad(weight, 0, math.pi)[0]
        flat = scipy.integrate.quad(lambda a, num=num: math.sin(a) ** (num - 2), 0, math.pi)[0]

        def term(angle, kappa=kappa, weight=weight, mass=mass, flat=flat):
            log_ratio = kappa * (math.cos(angle) - 1) - math.log(mass / flat)
            return weight(angle) / mass * log_ratio

        expected = scipy.integrate.quad(term, 0, math.pi)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@on_sphere
@pytest.mark.parametrize("num", [2, 3])
def test_densities_on_the_sphere_integrate_to_one(name, num):
    own, _ = spherical(name, [1.0, 7.0, 60.0], [num], num)
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    z, area = circle, np.full(len(angle), 2 * np.pi / len(angle))
    if num == 3:
        # the first coordinate is uniform, and its nodes are Gauss's
        height, weight = np.polynomial.legendre.leggauss(60)
        around = circle[None] * np.sqrt(1 - height**2)[:, None, None]
        tops = np.broadcast_to(height[:, None, None], (60, len(angle), 1))
        z = np.concatenate([tops, around], axis=-1).reshape(-1, 3)
        area = np.repeat(weight, len(angle)) * area[0]
    log_prob = jax.jit(own.log_prob)(jnp.float32(np.repeat(z[:, None], 3, axis=1)))
    np.testing.assert_allclose(area @ np.exp(np.asarray(log_prob, np.float64)), 1.0, atol=2e-5)
    flat = UniformSphere(jnp.ones(num))
    np.testing.assert_allclose(area @ np.exp(flat.log_prob(jnp.float32(z))), 1.0, atol=1e-5)


@on_sphere
def test_the_gradient_of_draws_on_the_sphere_is_unbiased(name):
    """At n = 5 and κ = 2 a rejection sampler without its correction has 0.1277 for 0.1474."""
    direction = jnp.zeros((1, 5)).at[0, 0].set(1.0)

    @jax.jit
    def slopes(kappa):
        def draw(kappa):
            own = ON_SPHERE[name](direction, kappa[None, None], jnp.ones((1, 5)))
            return own.sample(KEY, 40_000)[:, 0, 0]

        return jax.jvp(lambda k: (draw(k), jnp.square(draw(k))), (kappa,), (jnp.ones(()),))[1]

    found = [np.asarray(slope, np.float64) for slope in slopes(jnp.float32(2.0))]

    def moments(kappa):
        _, mean, variance = exact_on_sphere(name, kappa, 5)
        return np.array([mean, variance + mean**2])

    expected = (moments(2.001) - moments(1.999)) / 0.002
    if name == "vmf":
        assert abs(expected[0] - 0.1474) < 1e-4
    for slope, value in zip(found, expected, strict=True):
        error = slope.std() / math.sqrt(len(slope))
        assert abs(slope.mean() - value) < 5 * error
        assert error < 0.01 * abs(value)


def test_draws_turn_with_the_direction_and_their_gradient_is_tangential():
    """E f(z) of a linear f has the gradient E t · f; a direction and its opposite alike."""
    across = jnp.float32([0.0, 0.5, 0.3])  # orthogonal to the directions

    @jax.jit
    def slopes(direction):
        def along(step):
            moved = unit(direction + step * across[None])
            own = vmf.VonMisesFisher(moved, jnp.full((2, 1), 3.0), jnp.ones((2, 3)))
            return own.sample(KEY, 20_000) @ across

        return jax.jvp(along, (0.0,), (1.0,))[1]

    found = np.asarray(slopes(unit(jnp.float32([[1.0, 0.3, -0.5], [-1.0, 0.3, -0.5]]))))
    expected = exact_on_sphere("vmf", 3.0, 3)[1] * float(across @ across)
    error = found.std(axis=0) / math.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - expected) < 5 * error + 1e-6).all()


@on_ball
@pytest.mark.parametrize("num", [1, 2])
def test_densities_on_the_ball_integrate_to_one(kind, num):
    mean, logvar = jnp.float32([[0.0] * num, [1.3] * num]), jnp.float32([[0.0] * num, [-1.5] * num])
    own = posteriors.Poincare(kind).posterior({}, (mean, logvar))
    radius = np.tanh(np.linspace(1e-4, 6.0, 1500))
    if num == 1:
        z = np.concatenate([-radius[::-1], radius])[:, None]
        width = np.gradient(z[:, 0])
    else:
        angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        z = (radius[:, None, None] * circle[None]).reshape(-1, 2)
        width = np.repeat(radius * np.gradient(radius), len(angle)) * (angle[1] - angle[0])
    log_prob = jax.jit(own.log_prob)(jnp.float32(np.repeat(z[:, None], 2, axis=1)))
    np.testing.assert_allclose(width @ np.exp(np.asarray(log_prob, np.float64)), 1.0, atol=2e-3)


@on_ball
def test_draws_on_the_ball_lie_inside_with_their_density(kind):
    family = posteriors.Poincare(kind)
    # encoders may return anything
    values = jnp.float32([0.0, 1e-6, 1.0, 50.0, -50.0, 1e8])[:, None]
    mean = jnp.concatenate([jax.random.normal(KEY, (4, L)), jnp.tile(values, (1, L))])
    logvar = jnp.concatenate([jnp.full((4, L), -1.0), jnp.tile(values, (1, L))])

    @jax.jit
    def evaluate(mean, logvar):
        own = family.posterior({}, (mean, logvar))
        z, log_q = own.sample_and_log_prob(KEY, 200)
        center = own.mean[None]
        gaps = (1 - jnp.sum(center**2, -1)) * (1 - jnp.sum(z**2, -1))
        distance = jnp.arccosh(1 + 2 * jnp.sum((z - center) ** 2, -1) / gaps)
        lengths = jnp.sqrt(jnp.sum(jnp.square(own._away(KEY, 200)), axis=-1))
        log_p = family.prior({}, L).log_prob(z)
        return z, log_q, log_p, own.log_prob(z), own._exp(own._log(z)), distance, lengths

    found = jax.tree.map(np.asarray, evaluate(mean, logvar))
    z, log_q, log_p = found[:3]
    assert np.isfinite(log_q).all()
    assert np.isfinite(log_p).all()
    assert (np.square(z).sum(axis=-1) < 1.0).all()
    # four ordinary rows
    z, log_q, _, again, back, distance, lengths = (values[:, :4] for values in found)
    np.testing.assert_allclose(log_q, again, atol=2e-3)
    np.testing.assert_allclose(back, z, atol=1e-5)
    np.testing.assert_allclose(distance, lengths, rtol=2e-3, atol=2e-3)


def test_the_gradient_of_riemannian_draws_is_unbiased():
    def density(logvar, num):
        parts = jnp.zeros((1, num)), jnp.full((1, num), logvar), jnp.ones((1, num))
        return poincare.RiemannianNormal(*parts)

    for num in (4,):

        def squares(logvar, num=num):
            return jnp.sum(jnp.square(density(logvar, num)._away(KEY, 40_000)), axis=-1)[:, 0]

        value, slope = jax.jit(lambda v: jax.jvp(squares, (v,), (jnp.ones(()),)))(jnp.float32(-0.5))
        radius = np.linspace(0, 20, 200_001)

        def exact(logvar, num=num, radius=radius):
            weight = np.exp(-(radius**2) / 2 / np.exp(logvar)) * np.sinh(radius) ** (num - 1)
            return (weight * radius**2).sum() / weight.sum()

        for found, expected in (
            (value, exact(-0.5)),
            (slope, (exact(-0.499) - exact(-0.501)) / 0.002),
        ):
            error = float(found.std()) / math.sqrt(len(found))
            assert abs(float(found.mean()) - expected) < 5 * error


@functools.cache
def facts(name):
    """What is known of a masked posterior and of the smaller one that it must be, [2] each."""
    mask = (jnp.arange(L + 2) < L).astype(jnp.float32)

    _params(name, L + 2, True), _params(name, L, False)  # outside of the program

    @jax.jit
    def evaluate():
        found = []
        for own, prior in (posterior_of(name, L + 2, mask), _smaller(name, mask)):
            z, log_q = rates.draw(own, KEY, 500)
            moments = [getattr(own, n)[:, :L] for n in ("mean", "mode", "deviation")]
            likes = rates.per_dim_or_like_gaussian(own, prior, z[0])
            rate = rates.rate(own, prior, z, log_q)
            first = own.first(L).mean
            found.append((z[..., :L], rate, *moments, first, likes, prior.sample(KEY, 4)[:, :L]))
        return found

    return [tuple(map(np.asarray, each)) for each in evaluate()]


def _smaller(name, mask):
    """The posterior of L dimensions with the parameters of the first L of the masked one."""
    own, prior = posterior_of(name)
    if name == "full":  # the columns of masked dimensions are other parts of the encoder
        big = posterior_of(name, L + 2, mask)[0]
        own = full.TriangularGaussian(big.mean[:, :L], big.factor[:, :L, :L])
    if name == "iaf":  # random numbers of a longer kernel are others
        params, shapes = _params(name, L + 2, True), _params(name, L, False)
        params = jax.tree.map(lambda a, b: a[tuple(map(slice, b.shape))], params, shapes)
        own = dataclasses.replace(own, steps=tuple(params[f"step_{i}"] for i in range(2)))
    return own, prior


@each_of_one_layer
def test_masked_dimensions_are_as_if_there_were_none(name):
    masked, native = facts(name)
    # draws, rates, mean, mode, deviation, the first dimensions' mean, rates for pictures, p(z)
    for index, (found, expected) in enumerate(zip(masked, native, strict=True)):
        assert np.isfinite(found).all()
        if index == 6:
            assert [found.shape, expected.shape] == [(B, L + 2), (B, L)]
            continue
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5, err_msg=str(index))


@each_of_one_layer
def test_moments_are_those_of_draws(name):
    z, _, mean, _, deviation, *_ = facts(name)[1]
    if isinstance(posterior_of(name)[0], moments.Drawn):
        return  # they are those of draws by definition
    error = z.std(axis=0) / math.sqrt(len(z))
    if name not in ("poincare", "riemannian"):  # their mean is the center, in distances
        assert (np.abs(mean - z.mean(axis=0)) < 5 * error).all()
    np.testing.assert_allclose(deviation, z.std(axis=0), rtol=0.5)


def test_a_full_covariance_is_scipys():
    own, prior = posterior_of("full")
    covariance = np.asarray(own.factor @ own.factor.swapaxes(-1, -2), np.float64)
    z = np.asarray(own.sample(KEY, 3))
    for row in range(B):
        known = scipy.stats.multivariate_normal(np.asarray(own.mean[row]), covariance[row])
        np.testing.assert_allclose(own.log_prob(z)[:, row], known.logpdf(z[:, row]), atol=1e-4)
    # KL(N(m, C) ‖ N(0, I)) = ½ (tr C + |m|² − L − log det C)
    traces = np.trace(covariance, axis1=1, axis2=2) + np.square(own.mean).sum(axis=1)
    expected = 0.5 * (traces - L - np.linalg.slogdet(covariance)[1])
    np.testing.assert_allclose(rates.rate(own, prior), expected, rtol=1e-5)
    np.testing.assert_allclose(own.log_probs(z).sum(axis=-1), own.log_prob(z), atol=1e-5)
    np.testing.assert_allclose(own.first(2).log_probs(z[..., :2]), own.log_probs(z)[..., :2])


def test_the_covariance_on_a_plane_is_that_of_all_dimensions_projected():
    plane = normal(7, shape=(2, L))
    turned, _ = posterior_of("householder")
    axes = np.broadcast_to(np.eye(L, dtype=np.float32)[:, None], (L, B, L))
    basis = np.array(reflected(turned.vectors, axes)).transpose(1, 2, 0)  # [B, L, L], H_T … H_1
    triangular, plain = posterior_of("full")[0], DiagonalGaussian(*normal(8, shape=(2, B, L)))
    factors = [
        (triangular, np.array(triangular.factor)),
        (turned, basis * np.array(turned.base.deviation)[:, None]),
        (plain, np.eye(L) * np.exp(0.5 * np.array(plain.logvar))[:, None]),
    ]
    for own, factor in factors:
        expected = plane @ factor @ factor.swapaxes(1, 2) @ plane.T
        np.testing.assert_allclose(own.covariance_on(plane), expected, rtol=1e-4, atol=1e-5)
    discrete = distributions.OneHotCategorical(jnp.zeros((B, 3)), 3)
    both = latents.Pair(discrete, plain).covariance_on(np.pad(plane, ((0, 0), (3, 0))))
    np.testing.assert_array_equal(both, plain.covariance_on(plane))


def test_reflections_keep_volumes_and_lengths():
    own, _ = posterior_of("householder")
    z = own.sample(KEY, 3)
    back = reflected(own.vectors, z, is_back=True)
    np.testing.assert_allclose(reflected(own.vectors, back), z, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(back, axis=-1), np.linalg.norm(z, axis=-1), rtol=1e-5)
    axes = jnp.eye(L)[:, None, :] * jnp.ones((1, B, 1))
    turned = np.asarray(reflected(own.vectors, axes)).swapaxes(0, 1)  # [B, L, L]
    np.testing.assert_allclose(np.abs(np.linalg.det(turned)), 1.0, atol=1e-5)
    for row in range(B):
        variances = np.exp(np.asarray(own.base_logvar[row]))
        covariance = np.asarray(turned[row]).T @ np.diag(variances) @ turned[row]
        known = scipy.stats.multivariate_normal(np.asarray(own.mean[row]), covariance)
        np.testing.assert_allclose(own.log_prob(z)[:, row], known.logpdf(z[:, row]), atol=1e-4)


@flowing
def test_a_flow_knows_its_volume_and_its_inverse(flow):
    own, _ = posterior_of(flow)

    @jax.jit
    def evaluate():
        z, log_q = own.sample_and_log_prob(KEY)
        noise = own.base.sample(KEY)

        def flow(row):  # of the example, all others held
            return jax.jacfwd(lambda n: own.forward(noise.at[row].set(n))[0][row])(noise[row])

        jacobians = jnp.stack([flow(row) for row in range(B)])
        return noise, own.backward(z), log_q, own.log_prob(z), own.forward(noise)[1], jacobians

    noise, back, log_q, again, log_det, jacobians = map(np.asarray, evaluate())
    np.testing.assert_allclose(back, noise, atol=1e-5)
    np.testing.assert_allclose(again, log_q, atol=1e-4)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobians)[1], atol=1e-5)
    assert np.abs(log_det).max() > 0.1


@flowing
def test_a_flow_of_two_dimensions_integrates_to_one(flow):
    own, _ = posterior_of(flow, 2)
    side = np.linspace(-8, 8, 251, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 1, 2)

    @jax.jit
    def evaluate():
        log_prob = own.log_prob(own.mean[None] + own.deviation[None] * grid)
        return log_prob + jnp.log(own.deviation).sum(axis=-1)[None]

    mass = np.exp(np.asarray(evaluate(), np.float64)) * (side[1] - side[0]) ** 2
    np.testing.assert_allclose(mass.sum(axis=0), 1.0, atol=2e-3)


@flowing
def test_equal_posteriors_have_equal_moments_and_masked_dimensions_do_not_vary(flow):
    """The error of the mean of 64 draws is 1/8: one of each example would be an active unit."""
    mask = (jnp.arange(L + 2) < L).astype(jnp.float32)
    own, _ = posterior_of(flow, L + 2, mask)

    def tiled(leaf):
        is_of_rows = leaf.shape[:1] == (B,)
        return jnp.broadcast_to(leaf[:1], leaf.shape) if is_of_rows else leaf

    shared = {name: getattr(own, name) for name in ("steps", "latent_mask") if flow == "iaf"}
    same = dataclasses.replace(jax.tree.map(tiled, own), **shared)

    @jax.jit
    def evaluate(own, same):
        return own.mean, same.mean, same.deviation

    mean, *moments_of_same = map(np.asarray, evaluate(own, same))
    for values in moments_of_same:
        np.testing.assert_array_equal(values, np.broadcast_to(values[:1], values.shape))
    np.testing.assert_allclose(moments_of_same[0][0], mean[0], rtol=1e-5, atol=1e-6)
    assert (np.ptp(mean[:, :L], axis=0) > 0.1).all()
    np.testing.assert_array_equal(np.ptp(mean[:, L:], axis=0), 0.0)


@flowing
def test_a_flow_of_zeros_is_the_gaussian_it_starts_from(flow):
    family = CASES[flow]
    base = DiagonalGaussian(*(normal(part, shape=(B, L)) for part in range(2)))
    zeros = [np.zeros((B, L), np.float32)] * (len(family.parts_for(L)) - 2)
    if flow == "iaf":  # it starts so whatever the context is
        zeros = [normal(2, shape=(B, L)) for _ in zeros]
    own = family.posterior(family.init(KEY, L), [*map(jnp.asarray, (*base, *zeros))])
    z, log_q = own.sample_and_log_prob(KEY, 3)
    np.testing.assert_array_equal(z, base.sample(KEY, 3))
    np.testing.assert_array_equal(log_q, base.log_prob(z))


@pytest.mark.parametrize("name", ["planar", "sylvester"])
def test_flows_stay_invertible_whatever_an_encoder_returns(name):
    """Scales from nothing to what no encoder returns; all planes against the draws, too."""
    family, num = CASES[name], len(CASES[name].parts_for(L)) - 2
    scales = np.float32([0.0, 1e-8, 1.0, 5.0, 100.0])[:, None]
    parts = [scales * normal(part, shape=(B, L)) for part in range(num)]
    if name == "planar":
        parts[1] = -parts[0]  # wᵀu = −|w|²

    @jax.jit
    def evaluate():
        own = family.posterior({}, [jnp.zeros((B, L))] * 2 + [*map(jnp.asarray, parts)])
        noise = own.base.sample(KEY, 20)
        z, log_det = own.forward(noise)
        return noise, z, log_det, own.backward(z)

    noise, z, log_det, back = map(np.asarray, evaluate())
    assert np.isfinite(z).all()
    assert np.isfinite(log_det).all()
    # up to the loss of digits where codes are pressed together, or far away
    error = np.abs(back - noise).max(axis=(0, 2))
    assert (error < np.float32([1e-6, 1e-6, 1e-4, 1e-2, 0.5])).all(), error


def test_the_solution_of_a_rising_equation_and_its_slopes_are_exact():
    slope = np.float32([1e-3, 0.1, 1.0, 3.0, 40.0])[:, None] * np.ones(7, np.float32)
    target = np.float32([-50, -1.3, -0.02, 0.0, 0.7, 3.0, 45.0])[None] * np.ones((5, 1), "f4")

    @jax.jit
    def evaluate(target, slope):
        one, none = jnp.ones_like(target), jnp.zeros_like(target)
        along = [(one, none), (none, one)]
        slopes = [jax.jvp(_flow.solve, (target, slope), tangents)[1] for tangents in along]
        return _flow.solve(target, slope), *slopes

    found, by_target, by_slope = (np.float64(a) for a in evaluate(target, slope))
    tanh = np.tanh(found)
    rises = np.square(tanh) + slope * (1 - np.square(tanh))
    np.testing.assert_allclose(found + (slope - 1) * tanh, target, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_target, 1 / rises, rtol=1e-3)
    np.testing.assert_allclose(by_slope, -tanh / rises, rtol=1e-3, atol=1e-6)


def test_the_axes_of_sylvester_are_orthonormal_and_its_triangles_mix_them():
    """Also of vectors that are 0, alike, or long; R tanh(R̃ Qᵀε + b) is as it is written."""
    family, num, size = posteriors.Sylvester(2, 3), 3, 4
    parts = np.stack([normal(part, shape=(size, L)) for part in range(2 + 2 * (2 * num + 3))])
    parts[2 : 2 + num, 1] = parts[2, 1]
    parts[2 : 2 + num, 2] = 0.0
    parts[2 : 2 + num, 3] *= 1e4
    noise, z = normal(7, shape=(size, L)), np.float64(normal(7, shape=(size, L)))

    @jax.jit
    def evaluate():
        own = family.posterior({}, list(parts))
        return own, own.forward(jnp.asarray(noise))[0]

    own, found = jax.tree.map(np.float64, evaluate())
    products = own.axes @ own.axes.swapaxes(-1, -2)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(num), products.shape), atol=1e-5)
    outer, inner, axes, offsets = own.outer, own.inner, own.axes, own.offsets
    assert (np.tril(outer, -1) == 0).all()
    assert (np.tril(inner, -1) == 0).all()
    diagonals = np.diagonal(outer * inner, axis1=-2, axis2=-1)
    assert (np.abs(diagonals) < 1).all()
    for step in range(2):
        inside = np.einsum("bml,bl->bm", axes[:, step], z)
        inside = np.tanh(np.einsum("bmn,bn->bm", inner[:, step], inside) + offsets[:, step])
        moved = np.einsum("bmn,bn->bm", outer[:, step], inside)
        z = z + np.einsum("bml,bm->bl", axes[:, step], moved)
    np.testing.assert_allclose(found, z, atol=1e-4)


def test_sylvester_of_fewer_dimensions_than_axes_is_that_of_a_smaller_model():
    family, mask = posteriors.Sylvester(2, 4), jnp.float32([1, 1, 0, 0, 0])
    parts = {name: normal(i, shape=(B, 5)) for i, name in enumerate(family.parts_for(5))}

    @jax.jit
    def evaluate():
        masked = family.posterior({}, [*map(jnp.asarray, parts.values())], mask)
        native = family.posterior({}, [jnp.asarray(parts[n][:, :2]) for n in family.parts_for(2)])
        found, log_q = masked.sample_and_log_prob(KEY, 9)
        of_masked = DiagonalGaussian(*jnp.zeros((2, 3))).log_prob(found[..., 2:])
        return (found[..., :2], log_q - of_masked), native.sample_and_log_prob(KEY, 9)

    for found, expected in zip(*evaluate(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "plain"), [("stl", "beta_vae"), ("dreg", "iwae")])
@flowing
def test_the_gradients_of_stl_and_dreg_are_unbiased_with_a_flow(flow, name, plain):
    model = make_model(flow, 2)
    params = perturbed(model.init(KEY))

    @jax.jit
    def gradients(keys):
        def one(objective, key):
            bound = objectives.bind(objective, num_examples=N)
            sampled = {"num_samples": 2} if objective != "stl" else {}
            return jax.grad(lambda p: bound(model, p, BATCH, key, **sampled)[0].mean())(params)

        both = [
            jax.lax.map(lambda k, name=each: one(name, k), keys, batch_size=100)
            for each in (name, plain)
        ]
        return jax.tree.map(lambda a: (a.mean(axis=0), a.var(axis=0)), both)

    num = 1000
    first, second = gradients(jax.random.split(KEY, num))
    is_pair = {"is_leaf": lambda leaf: isinstance(leaf, tuple)}
    pairs = zip(jax.tree.leaves(first, **is_pair), jax.tree.leaves(second, **is_pair), strict=True)
    for (mean, variance), (other, its_variance) in pairs:
        error = np.sqrt((variance + its_variance) / num)
        assert (np.abs(mean - other) < 6 * error + 1e-5).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vmf", "poincare", "riemannian"])
def test_importance_sampling_meets_the_mean_over_the_prior(name):
    """log p(x) = log E_{p(z)} p(x|z), so both measures on the space of codes are the same."""
    model = make_model(name, 2)
    params = perturbed(model.init(KEY))
    found = nll.sample(
        model, params, X[:3], KEY, preprocess=lambda stored, key: stored, num_samples=20_000
    )
    z = model.prior(params).sample(jax.random.key(8), 200_000)
    for row in range(3):
        rows = jnp.broadcast_to(X[row], (len(z), SIZE))
        log_p = -model.distortion(params, z, {"x": rows, "mask": jnp.ones(len(z))})
        expected = float(jax.nn.logsumexp(log_p) - math.log(len(z)))
        assert abs(-float(found.nll[row]) - expected) < 0.05


def test_a_file_holds_a_covariance_of_many_dimensions(tmp_path):
    model = vae_jax.make_model(
        (2,), likelihood="gaussian", latent_dim=101, widths=(1,), posterior="full"
    )
    shapes = model.param_shapes()
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    exported.save(tmp_path / "model.safetensors", model, params)
    assert exported.load(tmp_path / "model.safetensors")[0].latent == posteriors.Full()


@pytest.mark.parametrize("name", ["vmf", "poincare"])
def test_points_between_codes_are_codes(name):
    model = make_model(name)
    params = jax.jit(model.init)(KEY)
    points = 3.0 * jax.random.normal(KEY, (7, L))
    codes = model.onto(points)
    lengths = np.linalg.norm(codes, axis=-1)
    if name == "vmf":
        np.testing.assert_allclose(lengths, 1.0, atol=1e-6)
    else:
        assert (lengths < 1).all()
    np.testing.assert_allclose(model.onto(codes), codes, atol=1e-6)
    line = model.interpolate(params, X[0], X[1], 3)
    z0, z1 = model.encode(params, X[:2]).mode
    middle = model.onto((0.5 * z0 + 0.5 * z1)[None])
    np.testing.assert_allclose(line[1], model.decode_mean(params, middle)[0], atol=1e-6)
    assert model.onto(jnp.zeros((1, L))).shape == (1, L)
    assert bool(jnp.isfinite(model.onto(jnp.zeros((1, L)))).all())


def test_gaussian_codes_are_left_alone():
    z = jax.random.normal(KEY, (3, L))
    assert make_model("full").onto(z) is z
    assert latents.Gaussian().onto(z) is z


def test_what_does_not_go_together_is_refused():
    with pytest.raises(UsageError, match=r"latent_dim=1: a sphere has at least 2"):
        make_model("vmf", 1)
    with pytest.raises(UsageError, match="must be at most 8 for ball_normal=riemannian"):
        make_model("riemannian", 9)
    with pytest.raises(UsageError, match="is a density of Gaussian codes, posterior=VMF"):
        make_model("vmf", prior="mixture")
    with pytest.raises(UsageError, match="must be Gaussians with independent dimensions"):
        make_model("full", prior=priors.Vamp(4))
    with pytest.raises(UsageError, match="is of Gaussian codes, these are Quantized"):
        make_model("full", objective="vq_vae")
    with pytest.raises(UsageError, match="ball_normal"):
        posteriors.Poincare("hyperbolic")
    with pytest.raises(UsageError, match="num_reflections"):
        posteriors.Householder(0)


@pytest.mark.parametrize("objective", ["dip_vae_i", "dip_vae_ii", "beta_tc_vae"])
@pytest.mark.parametrize("name", ["full", "householder", "vmf"])
def test_objectives_of_gaussians_refuse_another_posterior(name, objective):
    model, bound = make_model(name), objectives.bind(objective, num_examples=N)
    with pytest.raises(UsageError, match=r"must be a Gaussian with independent dimensions: leave"):
        jax.eval_shape(lambda: bound(model, model.init(KEY), BATCH, KEY))


def test_free_bits_ask_for_rates_of_dimensions():
    bound = objectives.bind("beta_vae", num_examples=N)
    model = make_model("householder")
    with pytest.raises(UsageError, match="ReflectedGaussian, whose density is only known jointly"):
        jax.eval_shape(lambda: bound(model, model.init(KEY), BATCH, KEY, free_bits=0.1))
    model = make_model("vmf")
    jax.eval_shape(lambda: bound(model, model.init(KEY), BATCH, KEY, free_bits=0.1))


def test_flags_make_posteriors_with_their_settings():
    asked = {"posterior": "poincare", "ball_normal": "riemannian", "latent_dim": "3"}
    assert config.latent_of(config.from_flags(asked)) == posteriors.Poincare("riemannian")
    asked = {"posterior": "householder", "num_reflections": "2"}
    assert config.latent_of(config.from_flags(asked)) == posteriors.Householder(2)
    with pytest.raises(UsageError, match="at least 2 dimensions"):
        config.from_flags({"posterior": "vmf", "latent_dim": "1"})
    with pytest.raises(UsageError, match="ball_normal"):
        config.from_flags({"posterior": "vmf", "ball_normal": "wrapped"})
