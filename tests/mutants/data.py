"""Datasets, labels and ranges."""

from ._lab import of

plant = of("vae_jax/data/__init__.py", "data", "properties_data")
plant(
    "jax.random.bernoulli(unrolled(key), x).astype(jnp.float32)",
    "(x > 0.5).astype(jnp.float32)",
    "dynamic binarization is a threshold",
)

plant = of("vae_jax/data/_dataset.py", "data", "properties_data", "data_reading")
plant(
    'digest.update(f"{array.dtype.str}{array.shape}".encode())',
    'digest.update(f"{array.shape}".encode())',
    "the hash of arrays leaves out their dtype",
)
plant(
    "np.random.default_rng(_SEED).permutation(len(own))",
    "np.random.default_rng().permutation(len(own))",
    "the splits are others each time",
)
plant(
    "return x.astype(jnp.float32) / (num_levels - 1)",
    "return x.astype(jnp.float32) / num_levels",
    "the highest level is below 1",
)
plant(
    "index=rows if self.index is None else self.index[rows])",
    "index=rows)",
    "rows chosen among chosen rows are those of the source",
)
plant(
    "if not 0 <= num_valid < num_rows:",
    "if not 0 <= num_valid <= num_rows:",
    "validation may take every row",
)

plant = of("vae_jax/data/_values.py", "data_tables", "data_files", "data", "data_reading")
plant(
    "squares += step**2 * (num_rows * count / np.maximum(total, 1))",
    "squares += 0.0",
    "columns are scaled by the deviation within blocks",
)
plant(
    "splits: tuple[Split, Split, Split], kind: str, scaling: str\n"
    ") -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:",
    "splits: tuple[Split, Split, Split], kind: str, scaling: str\n"
    ") -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:\n"
    "    splits = splits[::-1]",
    "values are scaled by what test holds",
)
plant(
    "is_byte = 128 <= high <= 255",
    "is_byte = high <= 255",
    "few levels are taken for dark pictures of 8 bits",
)

plant = of("vae_jax/data/_spelling.py", "names", "data_reading")
plant(
    "if not own.rest or len(shared[rests[name]] - {None}) > 1 else None",
    "if not own.rest or len(shared[rests[name]] - {None}) > 0 else None",
    "a folder called train_station is a split",
)
plant(
    '("valid", "validation", "val", "dev", "development")',
    '("valid", "validation", "val", "development")',
    "dev is no split",
)

plant = of("vae_jax/data/_spelling.py", "data_layouts")
plant(
    'return name.startswith((".", "@")) or',
    'return name.startswith(".") or',
    "thumbnails that a store of files keeps are pictures",
)

plant = of("vae_jax/data/_values.py", "data_layouts")
plant(
    "return max(means) >= _FACTOR * min(means)",
    "return max(means) >= _FACTOR**9 * min(means)",
    "a test split of 0 … 1 is read beside a train split of 0 … 255",
)
plant(
    "first <= _MOST_CHANNELS and first < min(height, width)",
    "first <= _MOST_CHANNELS and first < height == width",
    "pictures with channels first that are not square are read as others",
)

plant = of("vae_jax/data/_tables.py", "data_tables", "data_reading", "data_files")
plant(
    "values[0] in (0, 1) and bool(",
    "values[0] == 0 and bool(",
    "an index from 1 is learned from",
)
plant(
    "kept = ~is_missing.any(axis=1)",
    "kept = ~is_missing.all(axis=1)",
    "rows with some missing cells are kept",
)

plant = of("vae_jax/data/_csv.py", "data_tables")
plant(
    "if num_sorted > len(known) / 2:",
    "if num_sorted < 0:",
    "a first row of numbers that run up as all others do is lost",
)

plant = of("vae_jax/data/_cells.py", "data_tables")
plant(
    r"(?:(?:0|[1-9]\d*)(?:",
    r"(?:\d+(?:",
    "the label 01 is 1",
)
plant(
    "(num_cells - num_bad + num_written) / max(num_cells - num_unknown, 1)",
    "(num_cells - num_bad + num_written) / num_cells",
    "a column that is mostly blank marks is left out",
)

plant = of("vae_jax/data/_splits.py", "data_tables")
plant(
    'for split in ("train", "test", "valid") if',
    'for split in ("test", "valid", "train") if',
    "rows that are not said to be test validate",
)

plant = of("vae_jax/data/_npy.py", "data_streaming", "data_files")
plant(
    "(np.diff(rows) != 1) | (np.diff(places) != 1)",
    "np.diff(rows) != 1",
    "rows are answered in the order of the file",
)
plant(
    "if self._current_stamp() != self._stamp:",
    "if self._current_stamp() is None:",
    "a file that changes while it is read goes unnoticed",
)

plant = of("vae_jax/data/_sparse.py", "data_reading")
plant(
    'return "csr" if fits[0] else "csc"',
    'return "csc" if fits[0] else "csr"',
    "rows and columns are exchanged where no format is named",
)

plant = of("vae_jax/data/_sequences.py", "data_sequences")
plant(
    "is_past = jnp.cumsum(x == 0, axis=1) > 1",
    "is_past = jnp.cumsum(x == 0, axis=1) > 0",
    "the end of a string is missing too",
)
plant(
    "np.arange(end - window, start - 1, -hop)",
    "np.arange(end - window, start - window, -hop)",
    "windows of validation begin in train",
)

plant = of("vae_jax/data/_folders.py", "data_layouts")
plant(
    "if len(own) == 1 and head and _spelling.split(head[0]).split == split",
    "if len(own) == 1 and head and _spelling.split(head[0]) == (split, ())",
    "the folders of splits that come twice are labels",
)

plant = of("vae_jax/data/_pictures.py", "data_pictures")
plant(
    'if image.getchannel("A").getextrema()[0] == _OPAQUE:',
    'if image.getchannel("A").getextrema()[1] == _OPAQUE:',
    "pictures that are transparent in places are read",
)
plant(
    "left, top = (across - cut_across) // 2, (down - cut_down) // 2",
    "left, top = 0, 0",
    "a crop is of the corner",
)
plant(
    'return {"L": round(gray), "I": round(gray * 257), "F": gray / _OPAQUE}[mode]',
    'return {"L": round(gray), "I": round(gray), "F": gray / _OPAQUE}[mode]',
    "padding of 16 bits is nearly black",
)
plant(
    'converted.putalpha(image.getchannel("A"))',
    "converted.putalpha(255)",
    "a color profile makes pictures opaque",
)
plant(
    "image.seek(number)\n    notes: list[str] = []",
    "image.seek(0)\n    notes: list[str] = []",
    "each page is the first",
)

plant = of("vae_jax/data/_sequences.py", "data_sequences")
plant(
    "starts = np.arange(start + length - size, start - 1, -hop)[::-1]\n",
    "starts = np.arange(start + length - size, max(start - hop, 0) - 1, -hop)[::-1]\n",
    "windows of a series begin in the one before",
)
plant(
    "starts = np.cumsum([0, *lengths[:-1]])",
    "starts = np.cumsum(lengths) * 0",
    "windows of every file are those of the first",
)

plant = of("vae_jax/data/_values.py", "data_sequences")
plant(
    "count = is_known.sum(axis=0, keepdims=True)",
    "count = np.full((1, block.shape[1]), len(block))",
    "missing values of series count as 0 in the mean",
)

plant = of("vae_jax/data/_times.py", "data_sequences")
plant(
    "back = steps < 0",
    "back = steps < steps.min()",
    "rows that go back in time are taken",
)

plant = of("vae_jax/data/_tables.py", "data_sequences")
plant(
    "reading.missing_values is not None and reading.window is None:",
    "reading.missing_values is not None:",
    "rows with missing cells are cut out of time",
)

plant = of("vae_jax/data/_images.py", "data_pictures")
plant(
    "pixels = pixels[..., [0, 0, 0, *range(1, pixels.shape[-1])]]",
    "pixels = pixels[..., [0, 0, 0, *range(0, pixels.shape[-1] - 1)]]",
    "the alpha of gray pictures among color is their gray",
)
plant(
    "{path} {plan.look} {plan.shape} {plan.dtype}",
    "{path} {plan.shape} {plan.dtype}",
    "pixels in another look are taken from the cache",
)

plant = of("vae_jax/data/_label_files.py", "data_pictures")
plant(
    "return len(named), sum(cell.endswith(endings) for cell in column)",
    "return len(named), 0",
    "numbers are taken for names of files, and the names for labels",
)
plant(
    "return len(named), sum(",
    "return sum(cell in places for cell in column), sum(",
    "labels that are spelled as files are names",
)

plant = of("vae_jax/sounds.py", "data_recordings")
plant(
    "/ np.sum(self._window**2)",
    "/ self.frame",
    "energies of bands depend on the window",
)
plant(
    "spectrum = np.sqrt(energy) * own / np.maximum(np.abs(own), 1e-12)",
    "spectrum = np.sqrt(energy).astype(complex)",
    "the sound of bands has no phases",
)
plant(
    "1 + max(0, -(-(num_samples - self.frame) // self.hop))",
    "1 + max(0, (num_samples - self.frame) // self.hop)",
    "the end of a recording is lost",
)

plant = of("vae_jax/data/_recordings.py", "data_recordings")
plant(
    "np.frombuffer(raw, np.uint8).astype(np.float64) / 128 - 1",
    "np.frombuffer(raw, np.int8).astype(np.float64) / 128",
    "samples of 8 bits have a sign",
)
plant(
    "if len(raw) != about.nframes * size or not raw:",
    "if not raw:",
    "a recording that ends early is read",
)

plant = of("vae_jax/data/_dataset.py", "data_recordings")
plant(
    "frames = frames * self.scaling.scale.ravel() + self.scaling.offset.ravel()",
    "frames = frames * self.scaling.scale.ravel()",
    "sound is written without its offset",
)

plant = of("vae_jax/data/_cache.py", "data_tfds", "cache")
plant(
    "if found != recorded[name]:",
    "if not found:",
    "a damaged copy is taken",
)

plant = of("vae_jax/data/sprites.py", "data")
plant(
    "v = (cos * up - sin * right) / zoom",
    "v = (cos * up + sin * right) / zoom",
    "sprites are sheared instead of turned",
)

plant = of("vae_jax/labels.py", "labels", "objectives_conditional")
plant(
    "== {-1} and numbers != {-1, 1}",
    "== {-1}",
    "of the labels −1 and 1 half are unknown",
)
plant(
    "return jnp.where(is_class.any(axis=1, keepdims=True), vectors, jnp.nan)",
    "return vectors",
    "a label that is no class is a condition of zeros",
)
plant(
    'dtype = array.dtype if array.dtype.kind == "f" else np.float64',
    "dtype = np.float64",
    "0.1 in single precision is none of the classes 0.1, 0.2",
)

plant = of("vae_jax/ranges.py", "ranges")
plant(
    "np.fmax(own.high - mean, mean - own.low) / deviation",
    "(own.high - mean) / deviation",
    "far values below the mean go unnoticed",
)
plant(
    "not max(-low, high) <= _LARGEST",
    "not high <= _LARGEST",
    "values that are far below 0 are taken",
)
plant(
    "first_bad = start + row, tuple(place)",
    "first_bad = row, tuple(place)",
    "the row of a NaN is counted from its block",
)
