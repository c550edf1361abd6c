"""Results of an application as Markdown: means, standard errors, who is best."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.applications import Measure, Results

__all__ = ["lines", "mean_and_error", "paired"]

SECONDS = Measure("seconds", "of a method, training and measuring it", False, 1)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean of values, one of each seed, and its standard error; NaN for what is unknown."""
    mean = statistics.fmean(values) if values else math.nan
    if len(values) < 2:
        return mean, math.nan
    return mean, statistics.stdev(values) / math.sqrt(len(values))


def lines(application: Any, tasks: Sequence[str], results: Results) -> Iterator[str]:
    """The tables of what was measured, then the verdicts.

    Several tasks have a table of each measure, with a column of each method and a line of means.
    One task has a table with a column of each measure.
    """
    methods = list(dict.fromkeys(method for found in results.values() for method in found))
    measures = [each for each in application.MEASURES if _is_known(each, results)] + [SECONDS]
    if len(tasks) == 1:
        yield from _rows(
            ["method", *(measure.name for measure in measures)],
            {
                method: [
                    _cell(measure, _values(results, tasks, method, measure)) for measure in measures
                ]
                for method in methods
            },
        )
    else:
        for measure in measures:
            yield from _of_measure(measure, methods, tasks, results)
    for measure in measures[:-1]:
        order = "higher" if measure.higher_is_better else "lower"
        yield f"{measure.name}: {measure.meaning}; {order} is better"
    yield from _verdicts(application, methods, tasks, results)


def _is_known(measure: Measure, results: Results) -> bool:
    """Whether any method has a value of a measure: a protocol may have some of them only."""
    return any(measure.name in own for found in results.values() for own in found.values())


def _of_measure(
    measure: Measure, methods: Sequence[str], tasks: Sequence[str], results: Results
) -> Iterator[str]:
    """The table of one measure: a line of each task, and their mean."""
    rows = {
        task: [_cell(measure, _values(results, [task], method, measure)) for method in methods]
        for task in tasks
    }
    whole = [_cell(measure, _values(results, tasks, method, measure)) for method in methods]
    yield from _rows([measure.name, *methods], rows | {f"mean of {len(tasks)}": whole})


def _values(results: Results, tasks: Sequence[str], method: str, measure: Measure) -> list[float]:
    """The values of each seed, means over tasks; only seeds that have all of them."""
    found = []
    for seed in sorted({seed for _, seed in results}):
        own = [results.get((task, seed), {}).get(method, {}).get(measure.name) for task in tasks]
        if None not in own:
            found.append(statistics.fmean(own))
    return found


def _cell(measure: Measure, values: Sequence[float]) -> str:
    mean, error = mean_and_error(values)
    told = "" if math.isnan(mean) else f"{mean:.{measure.digits}f}"
    return told if math.isnan(error) else f"{told} ± {error:.{measure.digits}f}"


def _rows(heads: Sequence[str], rows: dict[str, list[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for name, cells in rows.items():
        yield "| " + " | ".join([name, *cells]) + " |"


def paired(
    results: Results, tasks: Sequence[str], one: str, other: str, measure: Measure
) -> tuple[float, float]:
    """Mean difference of two methods over seeds, each of one split, and its standard error."""
    differences = []
    for seed in sorted({seed for _, seed in results}):
        only = {key: found for key, found in results.items() if key[1] == seed}
        a, b = (_values(only, tasks, method, measure) for method in (one, other))
        differences += [x - y for x, y in zip(a, b, strict=False)]
    return mean_and_error(differences)


def _verdicts(
    application: Any, methods: Sequence[str], tasks: Sequence[str], results: Results
) -> Iterator[str]:
    """The best model beside the best baseline, by the first measure: of each task and of all."""
    whole = [("all", tasks)] if len(tasks) > 1 else []
    for told, chosen in [*((task, [task]) for task in tasks), *whole]:
        measure = application.MEASURES[0]
        sign = 1 if measure.higher_is_better else -1
        means = {m: mean_and_error(_values(results, chosen, m, measure))[0] for m in methods}
        known = [method for method in methods if not math.isnan(means[method])]
        known.sort(key=lambda method: -sign * means[method])
        model = next((method for method in known if method in application.OURS), None)
        baseline = next((method for method in known if method not in application.OURS), None)
        if model and baseline:
            gap, error = paired(results, chosen, model, baseline, measure)
            told += f": {model} − {baseline} = {gap:+.{measure.digits}f}"
            told += "" if math.isnan(error) else f" ± {error:.{measure.digits}f}"
            yield f"{told} of {measure.name}: {_better(sign * gap, error)}"


def _better(gap: float, error: float) -> str:
    """Who is better, given how much better a model is, and the standard error of that."""
    if not math.isnan(error) and abs(gap) < 2 * error:
        return "undecided within two standard errors"
    return "the model is better" if gap > 0 else "the baseline is better"
