"""Faults of the posteriors."""

from tests.mutants._lab import of

plant = of("vae_jax/posteriors/_radial.py", "posteriors")
plant(
    "share - change)",
    "share)",
    "draws of an angle or a radius have no gradient",
)
plant(
    "sign = jnp.where(is_upper, -1.0, 1.0)",
    "sign = 1.0",
    "the upper half of quantiles is mirrored",
)

plant = of("vae_jax/posteriors/_sphere.py", "posteriors")
plant(
    "table.mean_of(kernel) - table.log_mass",
    "table.mean_of(kernel)",
    "the rate on the sphere lacks its constant",
)
plant(
    "(num - 2.0) * jnp.log(",
    "(num - 3.0) * jnp.log(",
    "the angle's density is that of a sphere of fewer dimensions",
)
plant(
    "noise - normal * along / (1.0 + jnp.abs(first))",
    "noise - normal * along / (1.0 + first)",
    "draws around directions with a negative first coordinate are not orthogonal",
)
plant(
    "kept = lift(jnp.where(is_other[None, :], self.kept, 0.0), noise)",
    "kept = lift(jnp.where(is_other[None, :], 1.0, jnp.zeros_like(self.kept)), noise)",
    "masked dimensions take part in a draw on the sphere",
)

plant = of("vae_jax/posteriors/power_spherical.py", "posteriors")
plant(
    "near = jnp.log1p(-jnp.where(is_near, sin_squared, 0.0))",
    "near = -jnp.where(is_near, sin_squared, 0.0)",
    "Power Spherical is von Mises–Fisher near the mean direction",
)

plant = of("vae_jax/posteriors/poincare.py", "posteriors")
plant(
    "jnp.log(2.0 / _gap(z)[..., 0])",
    "jnp.log(1.0 / _gap(z)[..., 0])",
    "hyperbolic volume lacks a factor of 2 in each dimension",
)
plant(
    "others = lift(self.num[..., 0], length) - 1.0",
    "others = lift(self.num[..., 0], length)",
    "a wrapped normal stretches one dimension too many",
)
plant(
    "z = (gap + apart) * center + gap * step",
    "z = center + gap * step",
    "the exponential map is not Möbius addition",
)

plant = of("vae_jax/posteriors/householder.py", "posteriors")
plant(
    "for index in reversed(order) if is_back else order:",
    "for index in order:",
    "reflections are undone in the wrong order",
)
plant(
    "reflected(self.vectors, rows, is_back=True) * self.base",
    "reflected(self.vectors, rows) * self.base",
    "the covariance on a plane is of reflections in the wrong order",
)

plant = of("vae_jax/posteriors/full.py", "posteriors")
plant(
    'jnp.einsum("pl,blk->bpk", plane, self.factor',
    'jnp.einsum("pl,bkl->bpk", plane, self.factor',
    "the covariance on a plane is of the transposed factor",
)

plant = of("vae_jax/posteriors/_flow.py", "posteriors")
plant(
    "return z, self.base.log_prob(noise) - log_det",
    "return z, self.base.log_prob(noise) + log_det",
    "the volume of a flow has the other sign",
)

plant(
    "return self.forward(self.base.mean[None] + self.base.deviation[None] * noise)[0]",
    "return self.sample(jax.random.key(0), self.num_draws)",
    "the error of a mean is another for each example",
)
plant(
    "missing = target - found - (slope - 1.0) * jnp.tanh(found)",
    "missing = jax.lax.stop_gradient(target - found - (slope - 1.0) * jnp.tanh(found))",
    "the inverse of a step has no gradient",
)

plant = of("vae_jax/posteriors/planar.py", "posteriors")
plant(
    "high + jnp.expm1(low), high + jnp.exp(low)",
    "along, 1.0 + along",
    "a step may fold over its plane",
)
plant(
    "moved = shift + normal * ((wanted - along) / square)[:, None]",
    "moved = shift",
    "the volume of a step is that of another shift",
)

plant = of("vae_jax/posteriors/sylvester.py", "posteriors")
plant(
    "inner = jnp.tril(rows, -1).swapaxes(-1, -2) +",
    "inner = jnp.tril(rows, -1) +",
    "a triangle is the other one",
)
plant(
    "vectors = vectors * sums.over_last(starts)[None, None, :, None]",
    "vectors = vectors * 1.0",
    "axes that are not in use turn the others",
)
plant(
    "for axis in reversed(range(targets.shape[-1])):",
    "for axis in range(targets.shape[-1]):",
    "equations are solved before those they depend on",
)

plant = of("vae_jax/posteriors/full.py", "posteriors")
plant(
    "below = jnp.tril(jnp.stack(columns, axis=-1), -1)",
    "below = jnp.tril(jnp.stack(columns, axis=-1))",
    "the diagonal of the factor is added to twice",
)

plant = of("vae_jax/model.py", "posteriors")
plant(
    "return self.latent.onto(self.without_masked(z))",
    "return self.without_masked(z)",
    "points between codes are no codes",
)
