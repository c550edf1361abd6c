"""One page that opens in a browser: codes to look at, to move and to decode, without a server."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import distributions, explorer, plots
from vae_jax.explorer import Conditions, Latent, Page, Plan, Probes
from vae_jax.lab.pictures import NUM_EXAMPLES, OfModel, Seen

__all__ = ["PICTURES", "draw", "page"]

_BYTES = 2**21
"""Of all inputs, before they are deflated, a count."""
_SIDE = 32
"""Inputs are shrunk to pictures of at most so many rows and columns, a count."""
_MOST_WEIGHTS = 2**21
"""Of a decoder in a page, a count."""
_NUM_PROBES, _NUM_DRAWS = 4, 200
_EMBEDDED = 1000
"""Examples that t-SNE places, a count."""
_TOLERANCE = 2.5e-4
"""By which float16 weights may change outputs, of their range, a scalar."""
_SEED = 0


def draw(seen: Seen) -> bytes:
    """Returns the page as a file."""
    return explorer.html(page(seen)).encode()


def page(seen: Seen) -> Page:
    """What the page shows of a run."""
    num = _num_shown(seen)
    inputs, codes = seen.inputs(num), np.asarray(seen.codes[:num], np.float32)
    told = None if seen.condition is None else np.asarray(seen.condition[:num], np.float32)
    plan, is_half, why = _planned(seen, codes, told)
    draws = _draws(seen)
    found = Page(
        title=f"{seen.title}: codes of {num:,} examples",
        about=repr(seen.model),
        view=_view(seen, inputs),
        codes=codes,
        inputs=_small(inputs),
        latent=_latent(seen),
        labels=None if seen.labels is None else seen.labels[:num],
        label_names=seen.label_names,
        planes=_planes(codes),
        draws=draws,
        plan=plan,
        is_half=is_half,
        why=why,
    )
    if told is not None:
        conditions = Conditions(seen.conditions.names, seen.conditions.shown, told)
        found = found._replace(conditions=conditions)
    if plan is not None:
        return found._replace(probes=_probes(seen, codes, told))
    drawn = {} if told is not None else {n: _decoded(seen, z) for n, z in draws.items()}
    return found._replace(reconstructions=_decoded(seen, codes, told), drawn=drawn)


def _num_shown(seen: Seen) -> int:
    """As many examples as a page has room for, a count."""
    height, width = (min(n, _SIDE) for n in (*seen.model.shape, 1, 1)[:2])
    is_image = seen.dataset.kind == "image"
    size = height * width * seen.model.shape[-1] if is_image else 4 * seen.x[0].size
    return int(np.clip(_BYTES // size, 1, min(NUM_EXAMPLES, len(seen.codes))))


def _small(x: np.ndarray) -> np.ndarray:
    """Images [N, H, W, C] as pictures of at most 32 rows and columns; other x as it is."""
    if x.ndim != 4 or max(x.shape[1:3]) <= _SIDE:
        return x
    return plots.shrink(x, most=_SIDE * _SIDE)


def _latent(seen: Seen) -> Latent:
    """The dimensions; without a prior of known scale, what codes are in each."""
    has_scale = hasattr(seen.prior, "mean") and hasattr(seen.prior, "deviation")
    mean = seen.prior.mean if has_scale else seen.codes.mean(axis=0)
    deviation = seen.prior.deviation if has_scale else seen.codes.std(axis=0)
    return Latent(
        rates=seen.rates,
        unit="nats" if seen.has_rates else "variance",
        is_active=seen.is_active,
        mean=np.broadcast_to(mean, seen.rates.shape),
        deviation=np.broadcast_to(deviation, seen.rates.shape),
        num_discrete=seen.num_discrete,
        group_size=seen.model.latent.group_size,
    )


# --- The decoder


def _planned(seen: Seen, codes: np.ndarray, told: Any) -> tuple[Plan | None, bool, str]:
    """The decoder as a plan, whether its weights may be float16, and why there is no plan."""
    num = sum(leaf.size for leaf in jax.tree.leaves(seen.params["decoder"]))
    if num > _MOST_WEIGHTS:
        return None, False, _told_why(f"it has {num:,} weights, a page holds {_MOST_WEIGHTS:,}")
    decode = _decoder(seen)
    given = [codes[:1]] if told is None else [codes[:1], told[:1]]
    try:
        plan = explorer.plan(lambda *given: decode(seen.params, *given), *map(jnp.asarray, given))
    except explorer.UnsupportedError as error:
        return None, False, _told_why(f"a page has no step for {error}")
    if plan.num_weights > _MOST_WEIGHTS:
        return None, False, _told_why(f"its steps have {plan.num_weights:,} numbers")
    return plan, _is_half_enough(seen, decode, codes, told), ""


def _told_why(reason: str) -> str:
    return f"Codes are not decoded in this page: of the decoder, {reason}."


def _decoder(seen: Seen):
    """(params, z [B, L], c [B, C]) to E[x|z, c] at the nearest code, [B, *shape]."""

    def decode(params, z, condition=None):
        model = seen.model if condition is None else seen.model.given(condition)
        return model.decode_mean(params, model.onto(z) if seen.is_curved else z)

    return decode


def _is_half_enough(seen: Seen, decode, codes: np.ndarray, told: Any) -> bool:
    """Whether outputs stay nearly the same if weights are rounded to float16."""
    given = [each[:_NUM_PROBES] for each in (codes, told) if each is not None]

    def rounded(leaf):
        is_kept = leaf.size < explorer.LEAST_HALF or not jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf if is_kept else leaf.astype(jnp.float16).astype(leaf.dtype)

    compiled = jax.jit(decode)
    exact = np.asarray(compiled(seen.params, *given))
    near = np.asarray(compiled(jax.tree.map(rounded, seen.params), *given))
    return bool(np.nanmax(np.abs(near - exact)) <= _TOLERANCE * _range(exact))


def _range(x: np.ndarray) -> float:
    """The largest minus the smallest finite number of x, at least 1e-6; a scalar."""
    known = x[np.isfinite(x)]
    return max(float(np.ptp(known)), 1e-6) if known.size else 1.0


def _decoded(seen: Seen, z: np.ndarray, told: Any = None) -> np.ndarray:
    """E[x|z] as the page keeps it, [N, …]."""
    return _small(np.asarray(seen.decode(z[None], told, is_whole=True)[0], np.float32))


def _probes(seen: Seen, codes: np.ndarray, told: Any) -> Probes:
    given = [None if each is None else each[:_NUM_PROBES] for each in (codes, told)]
    outputs = np.asarray(seen.decode(given[0][None], given[1], is_whole=True)[0], np.float32)
    return Probes(*given, outputs, _range(outputs))


# --- Planes and draws


def _planes(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Principal components and t-SNE of codes of more than two dimensions, [N, 2] each."""
    num, size = codes.shape
    if size <= 2 or num < 5:
        return {}
    centered = codes - codes.mean(axis=0)
    _, directions = np.linalg.eigh(centered.T.astype(np.float64) @ centered)
    components = centered @ directions[:, ::-1][:, :2]
    return {"PCA": components, "t-SNE": _embedded(centered @ directions[:, ::-1][:, :50])}


def _embedded(points: np.ndarray) -> np.ndarray:
    """t-SNE of the first thousand points [N, D], NaN for the others: [N, 2].

    Reference: van der Maaten & Hinton 2008, Visualizing data using t-SNE.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    num = min(len(points), _EMBEDDED)
    perplexity = min(30.0, (num - 1) / 3)
    found = np.full((len(points), 2), np.nan)
    method = TSNE(perplexity=perplexity, init="pca", random_state=_SEED, max_iter=500)
    with threadpool_limits(1):  # its threads wait for one another longer than they compute
        found[:num] = method.fit_transform(points[:num].astype(np.float32))
    return found


def _draws(seen: Seen) -> dict[str, np.ndarray]:
    """Codes [200, L] from the prior, from the sampler, and from a Gaussian fit to the codes."""
    sources = {seen.source: seen.draws}
    if seen.has_rates and seen.draws is not seen.prior:
        sources = {"the prior": seen.prior, **sources}
    if seen.has_rates and not seen.num_discrete and not seen.is_curved:
        fitted = distributions.FullGaussian.fit(jnp.asarray(seen.codes))
        sources["a Gaussian fit to the codes"] = fitted
    key = jax.random.fold_in(seen.key, 1)
    return {n: np.asarray(s.sample(key, _NUM_DRAWS), np.float32) for n, s in sources.items()}


# --- What the numbers of an example are


def _view(seen: Seen, inputs: np.ndarray) -> Mapping[str, Any]:
    """How explorer.js shows an example, plain JSON."""
    dataset, shape = seen.dataset, [*seen.model.shape]
    if dataset.kind == "image":
        return {"kind": "image", "shape": shape}
    if dataset.kind == "sequence" and dataset.alphabet is not None:
        return {"kind": "text", "alphabet": list(dataset.alphabet)}
    if dataset.kind == "sequence":
        known = inputs[np.isfinite(inputs)]
        low, high = (float(v) for v in (known.min(), known.max())) if known.size else (0.0, 1.0)
        channels = int(np.prod(shape[1:]))
        return {"kind": "series", "shape": [shape[0], channels], "low": low, "high": high}
    return {"kind": "table", "columns": _columns(dataset, int(np.prod(shape)))}


_HOW = {"one_hot": "likeliest", "bernoulli": "half", "ordinal": "median"}
"""The likelihood of a column → how its cell is read of its numbers, as explorer.js names it."""


def _columns(dataset: Any, size: int) -> list[dict]:
    """How each cell of a row is read of its numbers, in its own units and words."""
    schema, scaling, levels = dataset.schema, dataset.scaling, dataset.num_levels
    if schema is not None and (schema.is_mixed or levels is None):
        return [*_columns_of(schema)]
    names = [f"x{i}" for i in range(size)] if schema is None else [c.name for c in schema.used]
    centers, scales, how = np.zeros(size), np.ones(size), "number"
    if levels is not None:
        scales, how = scales * (levels - 1), "count"
    elif scaling is not None:
        centers, scales = (
            np.broadcast_to(np.ravel(v), size) for v in (scaling.offset, scaling.scale)
        )
    each = zip(names, centers.tolist(), scales.tolist(), strict=True)
    return [
        {"name": name, "start": i, "width": 1, "how": how, "center": center, "scale": scale}
        for i, (name, center, scale) in enumerate(each)
    ]


def _columns_of(schema: Any):
    """`_columns` of a table whose columns may be of several kinds."""
    start = 0
    for column, (part, width) in zip(schema.used, schema.parts, strict=True):
        how = column.kind if column.kind in ("count", "date") else _HOW.get(part, "number")
        yield {
            "name": column.name,
            "start": start,
            "width": width,
            "how": how,
            "center": float(column.center),
            "scale": float(column.scale),
            "levels": [str(level) for level in column.levels],
            "isDay": bool(column.is_day),
        }
        start += width


PICTURES = (
    OfModel(
        draw, needs=lambda seen: seen.inputs is not None and len(seen.codes) > 0, ending=".html"
    ),
)
