"""R1: how much of what was computed is kept."""

import time

import numpy as np

from ._lab import fault, steps, wait_for


@fault("R1", "goodput: steps kept of steps computed, at the default interval", tries=3, alone=True)
def goodput(lab, tries):
    """Kills a training of MNIST's size, and counts what its checkpoints held."""
    workdir = lab.new()
    workdir.parent.mkdir(parents=True)
    path = workdir.parent / "images.npy"
    images = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28, 1), np.uint8)
    np.save(path, images)
    flags = (f"--dataset={path}", "--network=mlp", "--likelihood=bernoulli", "--epochs=100000")
    kept = computed = 0
    for attempt in range(tries):
        begun = (steps(workdir) or [0])[-1]
        process = lab.start(workdir, *flags)
        wait_for(lambda begun=begun: (steps(workdir) or [0])[-1] > begun, process)
        time.sleep(lab.generator.uniform(100, 260))
        process.kill()
        process.communicate()
        rows = (workdir / "metrics.csv").read_text().splitlines()
        column = rows[0].split(",").index("step")
        # what was computed after the last row is less than an epoch: it counts as a whole one
        per_epoch = int(rows[1].split(",")[column])
        reached = int(rows[-1].split(",")[column]) + per_epoch
        newest = steps(workdir)[-1]
        kept, computed = kept + newest - begun, computed + reached - begun
        share = kept / computed
        print(f"    goodput so far: {kept:,} of {computed:,} steps, {share:.1%}", flush=True)
        # one kill says little: the last one tells of all
        is_enough = attempt < tries - 1 or share >= 0.95
        yield None if is_enough else f"{share:.1%} of the steps were kept"
