"""One HTML file that shows codes and decodes them: nothing is fetched, and no server is needed.

Words of the data reach the page as JSON text, in which no markup can begin, and the script makes
text nodes of them. The policy of the page allows its own script, its own style and its own worker.
"""

import base64
import hashlib
import html as html_lib
import importlib.resources
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax import palette
from vae_jax.explorer.plans import Plan

__all__ = ["LEAST_HALF", "Conditions", "Latent", "Page", "Probes", "html"]

LEAST_HALF = 256
"""Arrays of at least so many weights, a count, are kept as float16."""
_LARGEST_HALF = 6e4


class Latent(NamedTuple):
    """The dimensions of a code.

    Attributes:
        rates: of each dimension, or what else orders them, [L].
        unit: of the rates, in words.
        is_active: which dimensions the model uses, [L].
        mean, deviation: of what a code may be in each dimension, [L].
        num_discrete: the first dimensions, which are discrete, a count.
        group_size: discrete dimensions of which one is 1, a count.
    """

    rates: np.ndarray
    unit: str
    is_active: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    num_discrete: int = 0
    group_size: int = 1


class Conditions(NamedTuple):
    """What the decoder takes beside a code.

    Attributes:
        names: of M conditions to choose from.
        rows: these, [M, C].
        of: the condition of each example, [N, C].
    """

    names: Sequence[str]
    rows: np.ndarray
    of: np.ndarray


class Probes(NamedTuple):
    """Codes whose outputs are known, by which the page finds its error.

    Attributes:
        codes: [P, L].
        conditions: [P, C] or None.
        outputs: of the decoder, [P, *shape].
        range: by which errors are divided, a scalar.
    """

    codes: np.ndarray
    conditions: np.ndarray | None
    outputs: np.ndarray
    range: float


class Page(NamedTuple):
    """What a page shows of N examples.

    Attributes:
        title, about: of the page, each a line.
        view: what the numbers of an example are, plain JSON: `kind` is image, series, text or
            table; `shape`, `low` and `high`, `alphabet` or `columns` as explorer.js reads them.
        codes: [N, L].
        inputs: [N, …]; pictures [N, h, w, C] between 0 and 1 are kept as bytes.
        latent: of the codes.
        labels: [N], below 0 where unknown, or None.
        label_names: of the labels 0 … C − 1, or None.
        planes: name → places of the examples, [N, 2]; NaN for none.
        draws: name → codes [S, L].
        conditions: or None.
        plan: the decoder, or None.
        probes: of the plan.
        is_half: whether large arrays of weights are kept as float16.
        why: why there is no plan, a line.
        reconstructions: like the inputs, [N, …], and of each name in `draws`, [S, …], if there is
            no plan.
    """

    title: str
    about: str
    view: Mapping[str, Any]
    codes: np.ndarray
    inputs: np.ndarray
    latent: Latent
    labels: np.ndarray | None = None
    label_names: Sequence | None = None
    planes: Mapping[str, np.ndarray] = {}
    draws: Mapping[str, np.ndarray] = {}
    conditions: Conditions | None = None
    plan: Plan | None = None
    probes: Probes | None = None
    is_half: bool = True
    why: str = ""
    reconstructions: np.ndarray | None = None
    drawn: Mapping[str, np.ndarray] = {}


class _Arrays:
    """Arrays of any shape as one text: their bytes, deflated, in base64."""

    def __init__(self):
        self.about: list[dict] = []
        self._parts: list[bytes] = []
        self._at = 0

    def add(self, array: np.ndarray, dtype: str = "float32") -> int:
        """Adds an array; its index. The dtype steps32 keeps differences of neighbors as int32."""
        flat = np.ravel(array)
        if dtype == "steps32":
            flat = np.diff(flat.astype(np.int32), prepend=np.int32(0))
        kept = flat.astype("<" + np.dtype(dtype.replace("steps", "int")).str[1:]).tobytes()
        self.about.append({"dtype": dtype, "at": self._at, "size": len(flat)})
        self._parts.append(kept + bytes(-len(kept) % 4))  # views of 4 bytes begin at multiples of 4
        self._at += len(self._parts[-1])
        return len(self.about) - 1

    def text(self) -> str:
        return base64.b64encode(zlib.compress(b"".join(self._parts), 9)).decode()


def html(page: Page) -> str:
    """The page as text, for one file; arrays of shapes as in `Page`."""
    arrays = _Arrays()
    told = _told(page, arrays)
    script, style = (_own(f"explorer.{ending}") for ending in ("js", "css"))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    title, about = html_lib.escape(_line(page.title)), html_lib.escape(_line(page.about))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{style}</style></head>\n"
        f'<body class="{page.view["kind"]}"><header><h1>{title}</h1><p class="note">{about}</p>'
        '</header>\n<main><noscript><p role="alert">This page needs JavaScript.</p></noscript>'
        '</main>\n<footer><p class="note" id="exact"></p></footer>\n'
        f'<script type="application/json" id="about">{_json({**told, "arrays": arrays.about})}'
        f'</script>\n<script type="text/plain" id="arrays">{arrays.text()}</script>\n'
        f"<script>{script}</script></body></html>\n"
    )


def _told(page: Page, arrays: _Arrays) -> dict[str, Any]:
    """What explorer.js reads as JSON; its numbers name arrays."""
    is_bytes = page.view["kind"] == "image"

    def examples(x):
        if is_bytes:
            return arrays.add(np.rint(255 * np.clip(np.nan_to_num(x), 0, 1)), "uint8")
        return arrays.add(x)

    labels, conditions, names = page.labels, page.conditions, page.label_names
    return {
        "palette": _told_palette(),
        "view": dict(page.view),
        "isBytes": is_bytes,
        "inputShape": list(page.inputs.shape[1:]),
        "latent": _told_latent(page),
        "codes": arrays.add(page.codes),
        "inputs": examples(page.inputs),
        "labels": None if labels is None else arrays.add(labels, "int32"),
        "labelNames": None if names is None else [_line(str(name)) for name in names],
        "planes": [{"name": n, "points": arrays.add(xy)} for n, xy in page.planes.items()],
        "draws": [
            {
                "name": name,
                "codes": arrays.add(codes),
                "num": len(codes),
                "pictures": examples(page.drawn[name]) if name in page.drawn else None,
            }
            for name, codes in page.draws.items()
            if page.plan is not None or name in page.drawn
        ],
        "conditions": conditions
        and {
            "names": [_line(str(name)) for name in conditions.names],
            "size": int(np.shape(conditions.rows)[1]),
            "rows": arrays.add(conditions.rows),
            "of": arrays.add(conditions.of),
        },
        "plan": page.plan and _told_plan(page.plan, page.is_half, arrays),
        "probes": page.probes and _told_probes(page.probes, arrays),
        "why": _line(page.why),
        "reconstructions": (
            None if page.reconstructions is None else examples(page.reconstructions)
        ),
    }


def _told_palette() -> dict[str, Any]:
    chosen = [palette.mark_of(rank) for rank in range(palette.MOST_MARKED)]
    sides = {"light": palette.LIGHT._asdict(), "dark": palette.DARK._asdict()}
    return {**sides, "marks": palette.MARKS, "chosen": chosen}


def _told_latent(page: Page) -> dict[str, Any]:
    latent, size = page.latent, page.codes.shape[1]
    groups = page.codes[:, : latent.num_discrete].reshape(-1, latent.group_size)
    is_one_hot = bool(((groups == 0) | (groups == 1)).all() and (groups.sum(axis=1) == 1).all())
    num_chosen = latent.num_discrete if is_one_hot else 0  # others are vectors of a codebook
    falling = np.argsort(-np.asarray(latent.rates), kind="stable")
    found = {n: getattr(latent, n) for n in ("rates", "mean", "deviation")}
    found |= {"low": page.codes.min(axis=0), "high": page.codes.max(axis=0)}
    return {
        "size": size,
        "unit": latent.unit,
        "order": [int(d) for d in falling if d >= num_chosen],
        "active": np.asarray(latent.is_active, bool).tolist(),
        "discrete": latent.num_discrete,
        "chosen": num_chosen,
        "group": latent.group_size,
        **{name: _numbers(values) for name, values in found.items()},
    }


def _told_plan(plan: Plan, is_half: bool, arrays: _Arrays) -> dict[str, Any]:
    def dtype(x):
        fits = x.size >= LEAST_HALF and bool((np.abs(x) < _LARGEST_HALF).all())
        return "float16" if is_half and fits else "float32"

    return {
        "program": plan.program,
        "constants": [arrays.add(each, dtype(each)) for each in plan.constants],
        "places": [arrays.add(each, "steps32") for each in plan.places],
    }


def _told_probes(probes: Probes, arrays: _Arrays) -> dict[str, Any]:
    conditions = probes.conditions
    return {
        "codes": arrays.add(probes.codes),
        "conditions": None if conditions is None else arrays.add(conditions),
        "outputs": arrays.add(probes.outputs),
        "range": float(probes.range),
    }


def _numbers(values: np.ndarray) -> list[float]:
    """Numbers [n] as JSON has them, with 6 digits."""
    return [float(f"{value:.6g}") for value in np.nan_to_num(np.asarray(values, np.float64))]


def _json(told: Any) -> str:
    """JSON in a script element: no tag and no comment can begin or end in it."""
    text = json.dumps(told, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _line(text: str) -> str:
    """Text without characters that are not printed, and that UTF-8 can hold."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    return kept.encode(errors="replace").decode()


def _own(name: str) -> str:
    return importlib.resources.files("vae_jax.explorer").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """The source that a policy names for an element with this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
