"""The model card of a run: what it is, its numbers and findings, how to use it. Markdown."""

import json
import re
from collections.abc import Mapping
from typing import Any

from vae_jax import objectives
from vae_jax.errors import printable
from vae_jax.lab import diagnoses
from vae_jax.lab.results import summary
from vae_jax.storage import hub

__all__ = ["text"]


def text(repo: str, about: Mapping[str, Any]) -> str:
    """The model card of an exported run.

    Args:
        repo: name of the repository, `user/name`.
        about: what the exported file says beside the model: settings, step, result, data.
    """
    settings, result, data = about["settings"], about["result"], about["data"]
    objective = settings["objective"]
    tags = ["vae_jax", "jax", "autoencoder", objective]
    address = json.dumps(f"{hub.PREFIX}{repo}")
    numbers = ["No result belongs to this step: the training has not ended."]
    if result is not None:
        found = [f"- {_plain(line)}" for line in diagnoses.lines(result)]
        numbers = [f"{_plain(summary(result))}.", *([""] if found else []), *found]
    cells = [f"| {_plain(n)} | {_plain(v)} |" for n, v in settings.items() if v is not None]
    return "\n".join(
        [
            *("---", "library_name: vae_jax", f"tags: {json.dumps(tags)}", "---", ""),
            *(f"# {repo.partition('/')[2]}", ""),
            f"{_plain(objectives.purpose(objective))}. Trained on {_plain(data['name'])} by "
            "vae_jax.",
            *("", "## Numbers", "", *numbers, ""),
            *("## Use", "", "```python", "import vae_jax", ""),
            *(f"trained = vae_jax.load({address})", "new = trained.sample(16)", "```", ""),
            f"The file `{hub.MODEL}` holds plain arrays and text, with a SHA-256 of both; loading "
            "it verifies them and executes nothing.",
            *("", f"x is {_plain(data['x'])}.", "", "## Settings", ""),
            *("| setting | value |", "|---|---|", *cells, ""),
        ]
    )


def _plain(value: Any) -> str:
    """A value as one line of Markdown that is neither markup nor HTML."""
    line = printable(str(value))
    return re.sub(r"([\\`*_{}\[\]<>|~#&!$])", r"\\\1", line)
