"""TensorBoard: scalars such as `elbo/train` and `elbo/valid` in event files."""

from collections.abc import Mapping
from typing import Any

from vae_jax.loggers._logger import Logger, step_of, tagged

__all__ = ["TensorBoard"]


class TensorBoard(Logger):
    """Event files of TensorBoard, a scalar for each metric and split."""

    package = "tensorboardX"

    def _open(self, *, is_new: bool) -> int:
        from tensorboardX import SummaryWriter

        last = 0 if is_new else step_of(self._kept())
        # events after the last step that is known to be written are of an earlier log or half a row
        # files of one second would have the same name
        suffix = f".{last}"
        self._writer = SummaryWriter(
            str(self.directory), purge_step=last + 1, filename_suffix=suffix
        )
        return last

    def _write(self, row: Mapping[str, Any]) -> None:
        for tag, value in tagged(row).items():
            self._writer.add_scalar(tag, value, row["step"])
        self._writer.flush()
        self._keep(step=row["step"])

    def _close(self) -> None:
        self._writer.close()
