"""What findings are made of: the records, and how a finding reads them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Evidence", "Finding"]

_NOTHING: Mapping[str, Any] = {}


class Finding(NamedTuple):
    """A fault of a run.

    Attributes:
        what: its name, the file that found it.
        evidence: what shows it, in words, with the numbers.
        remedy: what to do, in words that name settings.
    """

    what: str
    evidence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.evidence}; {self.remedy}"


class Evidence(NamedTuple):
    """What is known of a run when it has ended; plain numbers, scalars unless a shape is given.

    Attributes:
        settings: its settings and hyperparameters by name; a schedule is text.
        rows: one per epoch, as in `metrics.csv`, [epochs].
        result: as in `result.json`.
        num_values: D, the numbers of an example.
        num_train: training examples, a count.
        log_variances: the least and the greatest learned log variance of p(x|z); None if none is
            learned.
        num_codes: codes of a codebook, a count; None if there is none.
        far_values: warnings about the values of the data, each with its remedy, see `ranges`.
        twins: results of runs that differ in the seed alone, by seed.
        measured: name of a probe → what it measured; a probe that was not made is missing.
    """

    settings: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    result: Mapping[str, Any]
    num_values: int = 1
    num_train: int = 1
    log_variances: tuple[float, float] | None = None
    num_codes: int | None = None
    far_values: Sequence[str] = ()
    twins: Mapping[int, Mapping[str, Any]] = _NOTHING
    measured: Mapping[str, Mapping[str, Any]] = _NOTHING

    def number(self, name: str) -> float | None:
        """An entry of the result, a scalar; None if it is missing or not finite."""
        return finite(self.result.get(name))

    def rates(self) -> list[float] | None:
        """The rate of each latent dimension in nats, [L]; None if unknown."""
        rates = self.result.get("rate_per_dim")
        is_known = bool(rates) and all(finite(rate) is not None for rate in rates)
        return [max(0.0, rate) for rate in rates] if is_known else None

    def column(self, name: str) -> list[float]:
        """A column of the rows, [epochs]; [] unless each row has a finite value."""
        values = [finite(row.get(name)) for row in self.rows]
        return [] if None in values else values

    def last(self, name: str) -> float | None:
        """A setting, a scalar, at the end of training; None if it is no number."""
        column = self.column(name)
        if column:
            return column[-1]
        try:
            return finite(float(self.settings[name]))
        except (KeyError, TypeError, ValueError):
            return None

    def losses(self, split: str | None = None) -> list[float]:
        """What training was judged by in each epoch, lower is better, in nats: [epochs].

        It is the loss; if hyperparameters change from epoch to epoch, which changes the loss, it is
        minus the ELBO.

        Args:
            split: "valid" or "train"; None is the validation split if there is one.
        """
        weights = [self.column(name) for name in self.settings if name != "learning_rate"]
        is_constant = all(min(column) == max(column) for column in weights if column)
        for prefix in {"valid": ["valid_"], "train": [""]}.get(split or "", ["valid_", ""]):
            elbo = [-value for value in self.column(f"{prefix}elbo")]
            found = self.column(f"{prefix}loss") if is_constant or not elbo else elbo
            if found:
                return found
        return []

    def error(self) -> float:
        """The standard error of the test loss in nats, a scalar; infinite if unknown."""
        error = self.number("loss_standard_error")
        return math.inf if error is None else error


def finite(value: Any) -> float | None:
    """A scalar if it is a finite number, otherwise None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
