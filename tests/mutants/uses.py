"""Faults of a trained model on new rows."""

from tests.mutants._lab import of

plant = of("vae_jax/uses/_engine.py", "uses")
plant(
    "places = np.arange(num, dtype=np.int64) + places if",
    "places = np.arange(num, dtype=np.int64) if",
    "each block of rows draws the numbers of the first",
)
plant(
    "data_key, draw_key = keys_of_example(key, position)",
    "data_key, draw_key = keys_of_example(key, position // 4)",
    "neighbors share their draws",
)
plant(
    "own = model if given is None else model.given(given[None])",
    "own = model if given is None else model.given(jnp.ones_like(given)[None])",
    "the label of a row is not used",
)

plant = of("vae_jax/uses/_use.py", "uses")
plant(
    "log_weights = log_likelihood + (prior.log_prob(drawn.z) - log_q)[:, 0]",
    "log_weights = log_likelihood - log_q[:, 0]",
    "the weights lack the prior",
)
plant(
    "cells = jnp.broadcast_to(x, (num, *model.shape))",
    "cells = jnp.broadcast_to(read, (num, *model.shape))",
    "missing cells count as the value that the encoder reads",
)

plant = of("vae_jax/uses/impute.py", "uses")
plant(
    "weights = jax.nn.softmax(log_weights)",
    "weights = jnp.full(len(log_weights), 1 / len(log_weights))",
    "draws are not weighted",
)
plant(
    "return {CELLS: jnp.where(jnp.isnan(x[0]), mean, x[0])}",
    "return {CELLS: mean}",
    "observed cells are replaced, too",
)
plant(
    "drawn = likelihood.sample(own, cell_key, found.outputs[chosen])",
    "drawn = likelihood.mean(own, found.outputs[chosen])",
    "draws lack the noise of the cells",
)

plant = of("vae_jax/uses/score.py", "uses")
plant(
    "values = (reconstruction + found.rate, -mean_weight,",
    "values = (-reconstruction - found.rate, -mean_weight,",
    "normal rows have the higher score",
)
plant(
    "mean_weight = jax.nn.logsumexp(found.log_weights) - math.log(self.num_samples)",
    "mean_weight = jax.nn.logsumexp(found.log_weights)",
    "the estimate grows with the number of draws",
)

plant = of("vae_jax/uses/encode.py", "uses")
plant(
    'return {"z": found["z"][:, np.asarray(model.latent_mask) > 0]}',
    "return found",
    "masked dimensions are columns",
)

plant = of("vae_jax/data/_matching.py", "applying")
plant(
    "rows = {c.name: self._cells(c, table.column(c.name), first_row) for c in columns}",
    "rows = {\n            c.name: self._cells(c, table.column(place), first_row)\n"
    "            for place, c in enumerate(columns)\n        }",
    "columns are matched by their place",
)
plant(
    "values = _cells.without_marks(_cells.as_text(values), self.marks)",
    "values = _cells.as_text(values)",
    "marks of missing cells are not known",
)
plant(
    "((own < column.low) | (own > column.high)).sum()",
    "(own < column.low).sum()",
    "large numbers are not told",
)

plant = of("vae_jax/forms.py", "applying")
plant(
    "return np.clip(stored, 0, 1) if is_cut else stored",
    "return stored",
    "values beyond the range of training are not cut as in training",
)
plant(
    "x = x * self.scaling.scale + self.scaling.offset",
    "x = x * self.scaling.scale",
    "the scaling is undone without its offset",
)
plant(
    "levels = np.rint(np.clip(x, 0.0, 1.0) * (self.num_levels - 1))",
    "levels = np.rint(np.clip(x, 0.0, 1.0) * self.num_levels)",
    "there is one level more",
)

plant = of("vae_jax/applying.py", "applying")
plant(
    "new = _where(np.isnan(codes[:, place]), new, own)",
    "new = _where(np.ones(len(codes), bool), new, own)",
    "observed cells are written anew",
)
plant(
    "places = first_row + np.arange(len(codes)) if places",
    "places = np.arange(len(codes)) if places",
    "a row's draws depend on its block",
)

plant = of("vae_jax/lab/outputs.py", "apply")
plant(
    "disk.replacing(held, path.name) as file,",
    'path.open("w+b") as file,',
    "an output has its name before it is whole",
)
