"""The same training in PyTorch, in a separate process that needs no JAX.

PyTorch is imported inside functions: it is used if it is installed, but is not a dependency.
"""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence

from experiments.benchmark import workers
from experiments.benchmark.architecture import HIDDEN, KERNEL, Architecture
from vae_jax.devices import hardware

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Makes threads sleep while they wait. By default they spin, which is faster on a quiet machine,
but makes PyTorch many times slower if other programs compute as well."""
EAGER = "PyTorch eager"
EAGER_PASSIVE = "PyTorch eager, OMP_WAIT_POLICY=PASSIVE"
WAYS = {
    EAGER: ("eager", {}),
    EAGER_PASSIVE: ("eager", PASSIVE),
    "PyTorch eager, fused Adam": ("fused", {}),
    "torch.compile": ("compile", {}),
}
"""Ways to train: the name in tables, the argument of `train`, and environment variables."""


def process(
    work: str,
    *settings,
    device: str = "cpu",
    patience: float = 120.0,
    env: Mapping[str, str] | None = None,
):
    """A context that runs a work function of this module in a process, see `workers.worker`.

    Args:
        work: "train" or "multiply".
        settings: settings of the work.
        device: "cpu" or "cuda".
        patience: time limit for preparation, in seconds.
        env: environment variables to set.
    """
    return workers.worker(
        "torch_peer.serve",
        [work, device, *settings],
        env={"TORCHINDUCTOR_COMPILE_THREADS": "1", **(env or {})},
        patience=patience,
        is_silent=True,
    )


def multiplication(size: int, seconds: float, device: str = "cpu"):
    """A context for the product of two matrices [size, size], which counts operations."""
    return process("multiply", size, seconds, device=device)


def serve() -> None:
    """The process: imports PyTorch, prepares, then works on request."""
    work, device, *settings = workers.settings()

    def make_turn():
        torch = _torch(device)
        return (multiply if work == "multiply" else train)(torch, device, *settings)

    workers.serve(make_turn)


def _torch(device: str):
    """The module, with one thread per core of this process."""
    import torch

    torch.set_num_threads(hardware.num_cores())
    torch.manual_seed(0)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError("this PyTorch has no GPU")
        torch.set_float32_matmul_precision("high")  # like JAX
    return torch


def _wait(torch, device: str) -> Callable[[], None]:
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def multiply(torch, device: str, size: int, seconds: float) -> Callable[[], float]:
    """A work function that computes a product [size, size] and counts operations."""
    a, b = torch.randn(2, size, size, device=device)
    out = torch.empty_like(a)

    def step():
        return torch.mm(a, b, out=out)

    # 2·N³: N³ multiply-adds
    return workers.repeat(step, seconds, _wait(torch, device), units=2.0 * size**3)


def train(
    torch, device: str, way: str, sizes: list, num_images: int, seconds: float
) -> Callable[[], float]:
    """A work function that trains and counts steps.

    Args:
        torch: the module.
        device: "cpu" or "cuda".
        way: "eager", "fused" or "compile".
        sizes: an `Architecture`, passed as JSON.
        num_images: N, number of images, a count.
        seconds: minimum duration of a turn.
    """
    if way not in {known for known, _ in WAYS.values()}:
        raise ValueError(f"unknown way {way!r}")
    sizes = Architecture(*sizes)
    height, width, num_channels = sizes.shape
    # as a user would store them: decoded once, in memory
    images = torch.rand(num_images, num_channels, height, width, device=device)
    model = (make_dense if sizes.network == "mlp" else make_conv)(torch, sizes).to(device)
    memory_format = torch.contiguous_format
    if sizes.network == "conv":
        memory_format = torch.channels_last
        model = model.to(memory_format=memory_format)
        images = images.to(memory_format=memory_format)
    is_fused = True if way == "fused" else None
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=is_fused)
    loss_of, update = make_loss(torch, model), optimizer.step
    if way == "compile":
        loss_of, update = torch.compile(loss_of), torch.compile(update)

    def step(x):
        optimizer.zero_grad()
        loss = loss_of(x)
        loss.backward()
        update()
        return loss

    def batches():
        while True:
            order = torch.randperm(num_images, device=device)
            for first in range(0, num_images - sizes.batch_size + 1, sizes.batch_size):
                x = torch.bernoulli(images[order[first : first + sizes.batch_size]])
                yield x.contiguous(memory_format=memory_format)

    feed, total = batches(), torch.zeros((), device=device)

    def iterate():
        nonlocal total
        total = total + step(next(feed)).detach()

    for _ in range(3):  # compiles; an optimizer's first step is another program
        iterate()
    return workers.repeat(iterate, seconds, _wait(torch, device))


def make_dense(torch, sizes: Architecture):
    """A VAE of dense layers: x [B, C, H, W] to (logits [B, C, H, W], mean, logvar [B, L])."""
    nn = torch.nn

    def stack(*widths):
        layers = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.Tanh())]
        return nn.Sequential(*layers[:-1])

    size = sizes.shape[0] * sizes.shape[1] * sizes.shape[2]
    image = (sizes.shape[2], *sizes.shape[:2])
    encoder = nn.Sequential(nn.Flatten(), stack(size, *sizes.widths, 2 * sizes.latent_dim))
    decoder = stack(sizes.latent_dim, *sizes.widths[::-1], size)
    return make_vae(torch, encoder, nn.Sequential(decoder, nn.Unflatten(1, image)))


def make_conv(torch, sizes: Architecture):
    """A convolutional VAE: x [B, C, H, W] to (logits [B, C, H, W], mean, logvar [B, L])."""
    nn, how = torch.nn, {"kernel_size": KERNEL, "stride": 2, "padding": 1}
    channels = (sizes.shape[2], *sizes.widths)
    height, width, num_last = sizes.start
    flat = height * width * num_last
    encoder, decoder = [], []
    for outer, inner in itertools.pairwise(channels):
        encoder += [nn.Conv2d(outer, inner, **how), nn.ReLU()]
        # the last layer, which gives the logits, has no activation
        decoder = [nn.ReLU(), nn.ConvTranspose2d(inner, outer, **how), *decoder]
    encoder += [nn.Flatten(), nn.Linear(flat, HIDDEN), nn.ReLU()]
    encoder += [nn.Linear(HIDDEN, 2 * sizes.latent_dim)]
    start = [nn.Linear(sizes.latent_dim, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, flat)]
    start += [nn.Unflatten(1, (num_last, height, width))]
    return make_vae(torch, nn.Sequential(*encoder), nn.Sequential(*start, *decoder))


def make_vae(torch, encoder, decoder):
    """The module of an encoder, x to [B, 2L], and a decoder, z [B, L] to logits."""

    class VAE(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = encoder, decoder

        def forward(self, x):
            mean, logvar = self.encoder(x).chunk(2, dim=1)
            z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
            return self.decoder(z), mean, logvar

    return VAE()


def make_loss(torch, model):
    """The loss of a batch: binary x [B, C, H, W] to a scalar."""
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits

    def loss_of(x):
        logits, mean, logvar = model(x)
        rate = -0.5 * torch.sum(1 + logvar - mean**2 - torch.exp(logvar))
        return (cross_entropy(logits, x, reduction="sum") + rate) / len(x)

    return loss_of


@contextlib.contextmanager
def trainings(
    ways: Sequence[str],
    sizes: Architecture,
    num_images: int,
    seconds: float,
    patience: float,
    device: str,
):
    """PyTorch's trainings of a model, each in its own process.

    Args:
        ways: names in `WAYS`.
        sizes: sizes of model and batch.
        num_images: N, a count.
        seconds: minimum duration of a turn.
        patience: time limit for compilation in PyTorch, in seconds.
        device: "cpu" or "cuda".

    Yields:
        (name → work function that counts steps, remarks about those that are skipped).
    """
    works, remarks = {}, []
    with contextlib.ExitStack() as stack:
        for name in ways:
            way, env = WAYS[name]
            settings = (way, sizes, num_images, seconds)
            context = process("train", *settings, device=device, patience=patience, env=env)
            try:
                works[name] = stack.enter_context(context)
            except workers.WorkerError as error:
                remarks.append(f"{name} is left out: {error}")
        yield works, remarks
