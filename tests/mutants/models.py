"""Latents, the model, its modules, networks and convolutions."""

from ._lab import of

plant = of("vae_jax/latents.py", "latents", "objectives_deterministic", "objectives_discrete")
plant(
    "return jax.random.fold_in(key, jnp.uint32(_DISCRETE))",
    "return key",
    "discrete and continuous dimensions are drawn with one key",
)
plant(
    "rank = jnp.where(latent_mask[None, :] > 0, features, -jnp.inf)",
    "rank = features",
    "masked dimensions take places among the k largest",
)
plant(
    "before = jnp.cumsum(self.stages, axis=1) - self.stages",
    "before = jnp.cumsum(self.stages, axis=1)",
    "a stage's residual is what is left after it, not before it",
)
plant(
    "self.codebook[jnp.arange(num_stages), indices]",
    "self.codebook[0, indices]",
    "draws take the codes of all stages from the first codebook",
)
plant(
    "math.log(self.num_codes) / self.code_dim)",
    "math.log(self.num_codes))",
    "each dimension of a code carries the rate of the whole code",
)
plant(
    "return self.num_variables * math.log(self.num_categories)",
    "return math.log(self.num_categories)",
    "the discrete capacity is that of one variable",
)
plant(
    "left = left - chosen[-1]",
    "left = vectors - chosen[-1]",
    "from the third stage on, residuals forget the first codes",
)

plant = of("vae_jax/model.py", "model", "recurrent", "modules", "pixel")
plant(
    "one = (*[1] * num_axes, *rest)",
    "one = rest",
    "the channels of a pixel that is said alone do not depend on each other",
)
plant(
    "return self.sample_given(params, x_key, prior.sample",
    "return self.sample_given(params, z_key, prior.sample",
    "z and x are drawn with one key",
)
plant(
    'params["latent"]["kernel"] * jnp.sqrt(self.latent_dim / fan_in)',
    'params["latent"]["kernel"] * jnp.sqrt(fan_in / self.latent_dim)',
    "the kernel that reads a masked code is scaled the other way",
)
plant(
    'jax.random.fold_in(train_key, ("encoder", "decoder").index(part))',
    "jax.random.fold_in(train_key, 0)",
    "encoder and decoder share their dropout key",
)
plant(
    "jnp.tile(x, (num_samples, *[1] * (x.ndim - 1))), jnp.tile(mask, num_samples)",
    "jnp.repeat(x, num_samples, 0), jnp.repeat(mask, num_samples)",
    "K samples meet the x of other rows",
)
plant(
    "modules.init(self.decoder, decoder_key, z, *given)",
    "modules.init(self.decoder, encoder_key, z, *given)",
    "encoder and decoder are initialized with one key",
)
plant(
    "return step.sample(own, jax.random.fold_in(key, t), outputs)",
    "return step.sample(own, key, outputs)",
    "all steps of a sequence are drawn with one key",
)
plant(
    "return z if self.latent_mask is None else z * self.latent_mask[None, :]",
    "return z",
    "the decoder sees draws of masked dimensions",
)
plant(
    "variables[modules.STATISTICS] = jax.lax.stop_gradient(statistics)",
    "variables[modules.STATISTICS] = statistics",
    "running statistics have a gradient",
)

plant = of("vae_jax/modules.py", "modules")
plant(
    "mode = _mode(module, train_key is not None)",
    "mode = _mode(module, False)",
    "modules are never told that they are trained",
)
plant(
    '"use_running_average", "inference"), False)',
    '"use_running_average", "inference"), True)',
    "`deterministic` means its opposite",
)
plant(
    "return outputs, changed.get(STATISTICS, {})",
    "return outputs, statistics",
    "running statistics never move",
)

plant = of("vae_jax/networks/_recurrent.py", "recurrent")
plant(
    "own, is_step, reverse=k == 1)",
    "own, is_step, reverse=False)",
    "both directions read forward",
)
plant(
    "tuple(jnp.where(is_step[:, None], a, b) for a, b in zip(new, state, strict=True))",
    "new",
    "padding is read as steps",
)
plant(
    "told = jnp.pad(told[:, :-1], ((0, 0), (1, 0), (0, 0)))",
    "told = jnp.pad(told, ((0, 0), (0, 0), (0, 0)))",
    "teacher forcing tells a step itself",
)

plant = of("vae_jax/networks/pixel.py", "pixel")
plant(
    "above = jnp.pad(told[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))",
    "above = told",
    "the vertical stack reads a pixel's own row",
)
plant(
    "left = jnp.pad(told[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))",
    "left = told",
    "the horizontal stack reads the pixel itself",
)
plant(
    "jnp.pad(seen, ((0, 0), (0, 0), (side, side), (0, 0)))",
    "jnp.pad(seen, ((0, 0), (0, 0), (2 * side, 0), (0, 0)))",
    "pixels above and to the right are in a blind spot",
)
plant(
    "from_above.append(features @ layer.across[0] + of_columns)",
    "from_above.append(of_columns)",
    "the horizontal stack hears nothing of the rows above",
)
plant(
    "kept.append(seen[:, values.shape[1] :])",
    "kept.append(before)",
    "what is said row by row forgets the rows before the last",
)
plant(
    "jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)",
    "jnp.concatenate([x, jnp.zeros_like(x[..., :1])], axis=-1)",
    "a black pixel is one that is not there",
)

plant = of("vae_jax/networks/lstm.py", "recurrent")
plant(
    "c = jax.nn.sigmoid(f + 1) * c",
    "c = jax.nn.sigmoid(f) * c",
    "LSTM: the forget gate has no bias",
)

plant = of("vae_jax/networks/gru.py", "recurrent")
plant(
    "reset * (told[:, 2 * width :] + bias[None])",
    "(reset * told[:, 2 * width :] + bias[None])",
    "GRU: the reset gate leaves the bias out",
)

plant = of("vae_jax/networks/_shared.py", "model", "latents", "recurrent")
plant(
    "jax.random.fold_in(jax.random.fold_in(key, latent), part)",
    "jax.random.fold_in(key, latent)",
    "mean and logvar start with the same kernel",
)
plant(
    "kernel = kernel / shape[0] ** 0.5",
    "kernel = kernel / shape[1] ** 0.5",
    "initial kernels are scaled by the fan-out",
)
plant(
    "jax.random.bernoulli(key, 1 - share, told.shape[:-1])",
    "jax.random.bernoulli(key, share, told.shape[:-1])",
    "teacher dropout is the share that is told",
)

plant = of("vae_jax/convolution.py", "convolution")
plant(
    "before = min(k - 1, -(-(k + s - 2) // 2))",
    "before = min(k - 1, (k + s - 2) // 2)",
    "an odd padding of a transposed convolution is rounded down",
)
plant(
    "jnp.flip(kernel, (0, 1)).swapaxes(2, 3)",
    "kernel.swapaxes(2, 3)",
    "a transposed convolution does not flip its kernel",
)
