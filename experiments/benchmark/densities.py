"""What a learned prior or another posterior costs beside the standard ones."""

from experiments.benchmark.measuring import Target, compare, measure
from experiments.benchmark.workloads import (
    SMALL,
    Effort,
    Workload,
    make_dataset,
    make_program,
    mlp,
    train_program,
)

__all__ = ["densities"]

MODEL = mlp("28×28 uint8, MLP 784-300-300-40, batch 100", "300,300", 40, 100, 28)
CHOICES: dict[str, tuple[dict[str, str], float | None]] = {
    "mixture of 500": ({"prior": "mixture", "num_components": "500"}, 2.0),
    "VampPrior of 500": ({"prior": "vamp", "num_components": "500"}, 4.0),
    "RealNVP, 6 layers of 128": ({"prior": "realnvp"}, None),
    "MAF, 4 layers of 128": ({"prior": "maf"}, None),
    "any covariance": ({"posterior": "full"}, None),
    "IAF, 4 steps of 320": ({"posterior": "iaf"}, 2.2),
    "chain of 2 groups": ({"posterior": "chain"}, None),
    "ladder of 2 groups": ({"posterior": "ladder"}, None),
}
"""What is measured → its flags, and the promised bound of its ratio."""


def densities(effort: Effort):
    """A step with other priors and posteriors, beside N(0, I) and independent Gaussians."""
    workload = SMALL if effort.is_small else MODEL
    dataset = make_dataset(workload, effort.num_images)

    def work(flags: dict[str, str]):
        own = Workload(workload.name, {**workload.flags, **flags}, workload.image_size)
        return train_program(make_program(own, dataset, 1), effort.seconds)

    works = {"standard": work({})}
    works |= {what: work(flags) for what, (flags, _) in CHOICES.items()}
    times = measure(works, rounds=effort.rounds)
    yield compare(workload.name, "standard", times["standard"], times["standard"], "itself")
    for what, (_, bound) in CHOICES.items():
        target = None if bound is None else Target(bound)
        yield compare(
            workload.name, what, times[what], times["standard"], "standard", target=target
        )
