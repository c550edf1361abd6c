"""MLflow: a run of the experiment that `MLFLOW_EXPERIMENT_NAME` names, by default vae_jax.

`MLFLOW_TRACKING_URI` names the server or database; by default it is MLflow's own.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from vae_jax.loggers._logger import Logger, tagged

__all__ = ["MLflow"]

_MOST_AT_ONCE = 100  # parameters that MLflow takes in one call


class MLflow(Logger):
    """A run of MLflow, a metric for each metric and split, scalars; the settings are parameters."""

    package = "mlflow"

    def _open(self, *, is_new: bool) -> int:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        known = None if is_new else self._kept().get("id")
        if isinstance(known, str):
            self._client.update_run(known, status="RUNNING")
            self._id = known
            history = self._client.get_metric_history(known, "epoch/train")
            return max((metric.step for metric in history), default=0)
        self._id = self._created()
        self._keep(id=self._id)
        return 0

    def _created(self) -> str:
        """Makes a run with the settings as its parameters; returns its id."""
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "vae_jax")
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        tags = {} if self.group is None else {"group": self.group}
        made = self._client.create_run(number, run_name=self.name, tags=tags).info.run_id
        params = [Param(name, str(value)) for name, value in self.settings.items()]
        for first in range(0, len(params), _MOST_AT_ONCE):
            self._client.log_batch(made, params=params[first : first + _MOST_AT_ONCE])
        return made

    def _write(self, row: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = tagged(row)
        # the one that tells which rows there are comes last
        values["epoch/train"] = values.pop("epoch/train", float(row.get("epoch", 0)))
        metrics = [Metric(tag, value, now, row["step"]) for tag, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def _close(self) -> None:
        self._client.set_terminated(self._id)
