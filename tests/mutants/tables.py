"""Faults of the kinds of a table's columns and of the mixed likelihood."""

from tests.mutants._lab import of

plant = of("vae_jax/likelihoods/mixed.py", "mixed")
plant(
    "order = np.argsort(np.concatenate([group.places.ravel() for group in self._groups]))",
    "order = np.concatenate([group.places.ravel() for group in self._groups])",
    "numbers of groups are put back in another order",
)
plant(
    "return ~jnp.isnan(x[:, _starts(self.sizes)])",
    "return jnp.ones_like(x[:, _starts(self.sizes)], bool)",
    "the encoder does not see what is missing",
)
plant(
    "return self._each(lambda p, _, own: p.filled(own), {}, x)",
    "return jnp.where(jnp.isnan(x), 0.0, x)",
    "a missing positive number is computed as 0",
)

plant = of("vae_jax/likelihoods/_likelihood.py", "mixed")
plant(
    "numbers = jnp.where(jnp.isnan(x), 0.0, self.seen(self.filled(x)))",
    "numbers = jnp.where(jnp.isnan(x), 1.0, self.seen(self.filled(x)))",
    "the encoder reads ones in place of missing numbers",
)
plant(
    "return losses.sum_event(jnp.where(is_known, values, 0.0))",
    "return losses.sum_event(values)",
    "a missing cell costs something",
)

plant = of("vae_jax/likelihoods/_parts/ordinal.py", "mixed")
plant(
    "between = jax.nn.log_sigmoid(outputs).at[..., 0].set(0.0)",
    "between = jax.nn.log_sigmoid(outputs)",
    "the lowest level pays for a threshold below it",
)
plant(
    "-jax.nn.softplus(outputs[..., 1:])",
    "-outputs[..., 1:]",
    "thresholds are not in order",
)

plant = of("vae_jax/likelihoods/_parts/log_normal.py", "mixed")
plant(
    "return distributions.gaussian_log_prob(logs, outputs, self._logvar(params)) - logs",
    "return distributions.gaussian_log_prob(logs, outputs, self._logvar(params))",
    "the density is of the logarithm",
)
plant(
    "return jnp.exp(jnp.minimum(outputs + half, _HIGHEST))",
    "return jnp.exp(jnp.minimum(outputs, _HIGHEST))",
    "the mean is the median",
)

plant = of("vae_jax/schema/_schema.py", "schema")
plant(
    "lost = [c.name for c in columns if c.name not in rows]",
    "lost = []",
    "a missing column is not said",
)

plant = of("vae_jax/schema/_schema.py", "data_parts")
plant(
    "return tuple(c for c in each if not c.is_given)",
    "return tuple(each)",
    "a column that is given is learned as well",
)
plant(
    'return self._stored(self.given, codes, "auto")',
    "return self",
    "conditions are not standardized",
)

plant = of("vae_jax/schema/_numbers.py", "schema")
plant(
    "codes = np.sort(codes)",
    "codes = codes + 0.0",
    "units depend on the order of the rows",
)

plant = of("vae_jax/schema/_levels.py", "schema")
plant(
    "x[~is_known] = np.nan",
    "x[~is_known] = 0.0",
    "a missing category is none of the levels",
)

plant = of("vae_jax/schema/date.py", "schema")
plant(
    "_THURSDAY = 3  #",
    "_THURSDAY = 4  #",
    "Monday is Tuesday",
)
plant(
    'of_day = np.rint(passed["hour"] * SECONDS_OF_DAY) % SECONDS_OF_DAY / SECONDS_OF_DAY',
    "of_day = _hour(elapsed)",
    "hours come back with the precision of the elapsed time",
)
plant(
    "whole = np.rint(days * unit).astype(np.int64)",
    "whole = np.floor(days * unit).astype(np.int64)",
    "a date becomes the day before",
)

plant = of("vae_jax/data/_tables.py", "schema")
plant(
    "is_plain = not any(cells.missing.any() for cells in numbers.values())",
    "is_plain = True",
    "missing cells of numbers are refused",
)

plant = of("vae_jax/data/_values.py", "data_tables")
plant(
    "tops = (1,) if stays else (1, 255)",
    "tops = (1, 255)",
    "numbers of a table that are 0 or 255 do not stay with scaling=none",
)

plant = of("vae_jax/data/_notations.py", "data_tables")
plant(
    "return is_set or not are_all(own, _ONE_GROUP)",
    "return True",
    "1,234 is read as 1.234 although it may be 1234",
)
plant(
    'evidence = one if is_set or group in _GROUPS else f"{one}(?:{one}|[{decimal}])"',
    "evidence = one",
    "1,234 is read as 1234 although it may be 1.234",
)
plant(
    "return are_all(known, _CODE) and _is_any(known, _LIKE_CODE)",
    "return False",
    "the code 01234 becomes a number",
)

plant = of("vae_jax/data/_other_rows.py", "data_tables")
plant(
    'c.name for c in schema.columns if c.kind == "label" or c.notation or are_words(c)',
    'c.name for c in schema.columns if c.kind == "label" or are_words(c)',
    "1.234 of a second table is not what it is in the first",
)

plant = of("vae_jax/data/_where.py", "data_parts")
plant(
    "return ~cells.missing & np.asarray(",
    "return np.asarray(",
    "a missing cell differs from each value",
)
plant(
    '_JOINTS = {"or": np.logical_or, "and": np.logical_and}',
    '_JOINTS = {"and": np.logical_and, "or": np.logical_or}',
    "or binds tighter than and",
)

plant = of("vae_jax/data/_dataset.py", "data_parts")
plant(
    "test = np.append(test, np.setdiff1d(np.arange(len(whole)), own))",
    "test = np.sort(test)",
    "rows that are not trained on are lost",
)

plant = of("vae_jax/data/_other_rows.py", "data_parts")
plant(
    "known, unseen = schema.without_unseen(found)",
    "known, unseen = found, {}",
    "a level that the first table lacks is refused",
)

plant = of("vae_jax/data/_files.py", "data_parts")
plant(
    'own = {name: part for name, part in parts.items() if name != "test"}',
    "own = dict(parts)",
    "test rows must meet the condition as well",
)

plant = of("vae_jax/lab/stored.py", "schema")
plant(
    'and getattr(config, f.name) == f.default != f.metadata["before"]',
    'and getattr(config, f.name) != f.default != f.metadata["before"]',
    "an older run goes on with other columns",
)
