"""Weights & Biases: a run of the project that `WANDB_PROJECT` names, by default vae_jax.

`WANDB_MODE=offline` sends nothing; `wandb sync` does so later.
"""

import os
import re
import secrets
from collections.abc import Mapping
from typing import Any

from vae_jax.loggers._logger import Logger, step_of, tagged

__all__ = ["Wandb"]


class Wandb(Logger):
    """A run of Weights & Biases, a history of scalars for each metric and split."""

    package = "wandb"

    def _open(self, *, is_new: bool) -> int:
        import wandb

        state = {} if is_new else self._kept()
        known = state.get("id")
        is_known = isinstance(known, str) and re.fullmatch("[a-z0-9]{8}", known) is not None
        self._id = known if is_known else secrets.token_hex(4)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "vae_jax"),
            dir=str(self.directory),
            id=self._id,
            name=self.name,
            group=self.group,
            config=self.settings,
            resume="allow",
            reinit="create_new",  # the runs of a program are open side by side
            settings=wandb.Settings(console="off"),
        )
        last = step_of(state) if is_known else 0
        self._keep(id=self._id, step=last)
        return last

    def _write(self, row: Mapping[str, Any]) -> None:
        self._run.log(tagged(row), step=row["step"])
        self._keep(id=self._id, step=row["step"])

    def _close(self) -> None:
        self._run.finish()
