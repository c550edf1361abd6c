"""What the README says is run, or held against the code."""

import importlib
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faults import _lab, _readme
from flax import linen as nn

from experiments import objectives_table, recipes
from vae_jax import discovery, evaluation, likelihoods, losses, networks, objectives
from vae_jax.cli.commands import evaluate, export
from vae_jax.lab import config, metrics
from vae_jax.model import Model

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
B, D, L = 5, 6, 3


def snippet(word):
    """The one example in Python that holds a word."""
    (found,) = [text for text in PYTHON if word in text]
    return found


def test_the_loss_terms_serve_plain_functions():
    names = {}
    exec(snippet("def loss("), names)
    x = jax.random.bernoulli(jax.random.key(0), 0.5, (B, D)).astype(jnp.float32)

    def value(scale):
        return names["loss"](
            lambda x: (x[:, :L] * scale, x[:, L:]), lambda z: jnp.tile(z, 2), x, jax.random.key(1)
        )

    loss, gradient = jax.value_and_grad(value)(1.0)
    assert loss.shape == ()
    assert np.isfinite(loss)
    assert gradient != 0


def test_your_own_modules_train():
    class MyEncoder(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1)))
            return nn.Dense(8)(h), nn.Dense(8)(h)

    class MyDecoder(nn.Module):
        @nn.compact
        def __call__(self, z):
            return nn.Dense(64)(nn.relu(nn.Dense(16)(z)))

    names = {"MyEncoder": MyEncoder, "MyDecoder": MyDecoder}
    for word, name in [
        ("import vae_jax\n", "trained"),
        ("MyEncoder()", "trained"),
        ('"k_sparse"', "trained_sparse"),
        ('"cvae"', "trained_labeled"),
    ]:
        exec(snippet(word).replace("epochs=50", "epochs=3"), names)
        history = names[name].history
        assert len(history) == 3
        assert history[-1]["loss"] < history[0]["loss"]
    assert names["trained_sparse"].history[-1]["active_share"] == pytest.approx(4 / 32)
    assert names["threes"].shape == (5, 8, 8, 1)
    exec(snippet("nll.evaluate").replace("num_samples=5000", "num_samples=100"), names)
    many = names["estimate"]
    exec(snippet("nll.evaluate").replace("num_samples=5000", "num_samples=1"), names)
    assert many.nll < names["estimate"].nll  # a bound that more samples tighten
    assert 1 < many.effective_samples <= 100


def test_the_table_of_objectives_is_that_of_their_docstrings():
    """`python -m experiments.objectives_table --write` puts it there."""
    assert objectives_table.inserted(README) == README
    for name in objectives.names():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", README, re.M)
        for hyperparameter in objectives.hyperparameters(name):
            assert f"--{hyperparameter}" in row


def test_every_metric_is_in_the_table():
    for name in (metrics.OBJECTIVE, *evaluation.names(), metrics.UDR):
        assert re.search(rf"^\| `{name}` \|", README, re.M), name


def test_every_recipe_is_in_the_table():
    for name in recipes.names():
        assert f"experiments.reproduce {name}" in README


def test_flags_and_files_that_are_named_exist():
    flags = {f.name for of in (config.Config, config.Plan) for f in config.flag_fields(of)}
    flags |= {*config.objective_flags(), *evaluate.flag_texts(), *export.FLAGS}
    commands = re.findall(r"experiments\.(?:vae|evaluate|export) (.*)|^    (--.*)", README, re.M)
    commands = ["".join(groups) for groups in commands]
    named = {name for line in commands for name in re.findall(r"--([a-z_]+)", line)}
    assert len(named) > 5
    assert named <= flags | {"help"}
    files = re.findall(r"\]\((.*?)\)", README)
    files += re.findall(r"^((?:vae_jax|experiments)/\S*)  ", README, re.M)
    ours = [name for name in files if not name.startswith("https://arxiv.org/abs/")]
    assert len(ours) > 10
    assert not [name for name in ours if not (ROOT / name).exists()]


def faults_tried():
    """(row, name) of each fault of the campaign."""
    for name in discovery.names("faults"):
        importlib.import_module(f"faults.{name}")
    return {(fault.row, fault.name) for fault in _lab.FAULTS}


def test_the_table_of_faults_is_of_the_campaign():
    """Its counts are those of a run: `python -m tests.faults` prints the table."""
    rows = re.findall(r"^\| (R\d+) \| (.*?) \| ([\d,]+) \| ([\d,]+) \| (\d+) \|$", README, re.M)
    assert len(rows) > 30
    lines = re.findall(r"^\| R\d+ \| .*", README, re.M)
    assert _readme.inserted(README, lines) == README
    other = lines[3].replace(rows[3][2], "7")
    assert _readme.inserted(README, [other]) == README.replace(lines[3], other)
    assert {(row, name) for row, name, *_ in rows} <= faults_tried()
    for *_, tries, survived, lost in rows:
        assert int(tries.replace(",", "")) == int(survived.replace(",", "")) + int(lost)


def test_what_the_page_on_security_promises_is_tried():
    text = (ROOT / "docs" / "security.md").read_text()
    rows = {row for row, _ in faults_tried()}
    assert set(re.findall(r"\bR\d+\b", text)) <= rows
    assert {"R14", "R16", "R17", "R18", "R19", "R22"} <= set(re.findall(r"\bR\d+\b", text))
    headings = {
        re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^## (.*)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#(.*?)\)", text)) <= headings
    assert "docs/security.md" in README


def ours(likelihood, beta, variance=None):
    """Our loss as a function of what encoder and decoder return, averaged over the batch."""

    def loss(x, outputs, mean, logvar):
        if likelihood == "gaussian":
            distortion = losses.gaussian_distortion(x, outputs, jnp.log(jnp.float32(variance)))
        else:
            distortion = losses.bernoulli_distortion(x, outputs)
        return losses.batch_mean(distortion + beta * losses.gaussian_rate(mean, logvar))

    return loss


def kl(mean, logvar):
    return 0.5 * (jnp.exp(logvar) + mean**2 - 1 - logvar)


def squared(x, outputs):
    return jnp.square(x - outputs)


def cross_entropy(x, logits):
    return jnp.log1p(jnp.exp(logits)) - x * logits


W, C, BETA = 0.3, 5.0, 2.5
TRANSLATIONS = {
    "C squares + KL": (
        lambda x, o, m, v: C * squared(x, o).sum(1).mean() + kl(m, v).sum(1).mean(),
        ours("gaussian", 1.0, 1 / (2 * C)),
    ),
    "half squares + KL": (
        lambda x, o, m, v: 0.5 * squared(x, o).sum(1).mean() + kl(m, v).sum(1).mean(),
        ours("gaussian", 1.0, 1.0),
    ),
    "squares + beta KL": (
        lambda x, o, m, v: squared(x, o).sum(1).mean() + BETA * kl(m, v).sum(1).mean(),
        ours("gaussian", BETA, 0.5),
    ),
    "mean squares + w KL": (
        lambda x, o, m, v: squared(x, o).mean() + W * kl(m, v).sum(1).mean(),
        ours("gaussian", D * W, 0.5),
    ),
    "mean squares + w mean KL": (
        lambda x, o, m, v: squared(x, o).mean() + W * kl(m, v).mean(),
        ours("gaussian", D * W / L, 0.5),
    ),
    "mean squares of 0..255 + w KL": (
        lambda x, o, m, v: squared(255 * x, 255 * o).mean() + W * kl(m, v).sum(1).mean(),
        ours("gaussian", D * W / 255**2, 0.5),
    ),
    "mean cross-entropy + w KL": (
        lambda x, o, m, v: cross_entropy(x, o).mean() + W * kl(m, v).sum(1).mean(),
        ours("bernoulli", D * W),
    ),
    "squares summed over the batch": (
        lambda x, o, m, v: squared(x, o).sum() + BETA * kl(m, v).sum(),
        ours("gaussian", BETA, 0.5),
    ),
}
FACTORS = {"squares summed over the batch": B, "mean squares of 0..255 + w KL": 255**2 / D}


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_each_translation_of_scales_has_the_same_gradient(name):
    """Theirs = factor · ours: the factor is 1/D for means over pixels, 1 for sums."""
    theirs, own = TRANSLATIONS[name]
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.uniform(keys[0], (B, D))
    outputs = jax.random.normal(keys[1], (B, D))
    mean, logvar = jax.random.normal(keys[2], (2, B, L))
    factor = FACTORS.get(name, 1 / D if name.startswith("mean") else 1.0)
    expected = jax.grad(theirs, argnums=(1, 2, 3))(x, outputs, mean, logvar)
    gradients = jax.grad(own, argnums=(1, 2, 3))(x, outputs, mean, logvar)
    for a, b in zip(expected, gradients, strict=True):
        np.testing.assert_allclose(a, factor * b, rtol=2e-4, atol=1e-6)


def test_the_translation_of_quantized_codes_has_the_same_gradient():
    """Theirs = ours / D, for encoder and decoder, and their mean of the commitment is ours / L."""
    num_latents, weight = 6, 0.25
    encoder, decoder = networks.build("linear", shape=(D,), latent_dim=num_latents, num_parts=1)
    latent = objectives.bind("vq_vae", num_examples=B, num_codes=4, code_dim=2).latent()
    gaussian = likelihoods.Gaussian(0.5)
    model = Model(encoder, decoder, gaussian, (D,), num_latents, latent=latent)
    params, x = model.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (B, D))
    commitment_weight = weight * D / num_latents

    def ours(params):
        batch = {"x": x, "mask": jnp.ones(B)}
        loss, aux = objectives.load("vq_vae")(
            model, params, batch, jax.random.key(2), commitment_weight=commitment_weight
        )
        return loss.mean(), aux["commitment"].mean()

    def theirs(params):
        posterior = model.encode(params, x)
        features, codes = posterior.features, jax.lax.stop_gradient(posterior.mean)
        straight = features + jax.lax.stop_gradient(codes - features)
        commitment = squared(features, codes).mean()
        return squared(x, model.decode(params, straight)).mean() + weight * commitment, commitment

    @jax.jit
    def measure(params):
        return [jax.grad(loss, has_aux=True)(params) for loss in (ours, theirs)]

    (gradient, commitment), (expected, averaged) = measure(params)
    assert float(commitment) == pytest.approx(num_latents * float(averaged), rel=1e-5)
    for part in ("encoder", "decoder"):
        leaves = zip(*(jax.tree.leaves(g[part]) for g in (gradient, expected)), strict=True)
        for a, b in leaves:
            assert jnp.abs(b).max() > 1e-3
            np.testing.assert_allclose(a / D, b, rtol=1e-4, atol=1e-6)


def test_every_row_of_the_table_of_scales_is_one_of_the_translations():
    (table,) = re.findall(r"^\| you know \|.*\n\|---.*\n((?:\|.*\n)+)", README, re.M)
    rows = table.splitlines()
    (of_codes,) = [row for row in rows if "--commitment_weight" in row]
    assert "= β′·D/L" in of_codes
    assert "L × theirs" in of_codes
    assert len(rows) == len(TRANSLATIONS) + 1


def test_the_map_of_the_house_names_each_room():
    house = README.partition("## The house\n")[2]
    package = ROOT / "vae_jax"
    rooms = [p.name for p in package.iterdir() if p.suffix == ".py" and p.name[0] != "_"]
    rooms += [f"{p.name}/" for p in package.iterdir() if (p / "__init__.py").exists()]
    assert [room for room in sorted(rooms) if f"vae_jax/{room} " not in house] == []
