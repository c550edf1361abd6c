"""README and docs: snippets run, links, flags and numbers exist, tables agree with the code."""

import ast
import csv
import dataclasses
import fnmatch
import importlib
import importlib.util
import math
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faults import _lab, _page
from flax import linen as nn
from properties import slow

import vae_jax
from experiments import applications, objectives_table, recipes
from vae_jax import (
    assembly,
    data,
    diagnosis,
    discovery,
    distributions,
    evaluation,
    fitting,
    likelihoods,
    losses,
    networks,
    objectives,
    uses,
)
from vae_jax.cli import help
from vae_jax.cli.commands import (
    apply,
    cancel,
    doctor,
    evaluate,
    explore,
    export,
    push,
    report,
    status,
)
from vae_jax.diagnosis import probes
from vae_jax.lab import config, diagnoses, metrics, settings, settings_file, sweep
from vae_jax.model import Model
from vae_jax.storage import exported

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
}
README = PAGES["README.md"]
with (ROOT / "docs" / "numbers.csv").open(newline="", encoding="utf-8") as file:
    NUMBERS = list(csv.DictReader(file))
B, D, L = 5, 6, 3


# --- Snippets


def snippets(page):
    """The examples in Python of a page, with fewer epochs and samples."""
    found = re.findall(r"```python\n(.*?)```", PAGES[page], re.S)
    return [
        text.replace("epochs=50", "epochs=3").replace("num_samples=5000", "num_samples=100")
        for text in found
    ]


@pytest.fixture(params=["planned", *slow("trained")])
def is_trained(request, monkeypatch):
    """Whether `fit` trains; else it checks and builds all, and returns the initial parameters."""
    if request.param == "planned":

        def begin(planned, keeper, *_):
            return fitting._beginning(planned.program, keeper)

        monkeypatch.setattr(fitting, "_train", begin)
    return request.param == "trained"


def test_every_snippet_is_run():
    """The pages with snippets are those that the tests below run."""
    have = {page for page in PAGES if snippets(page)}
    assert have == {
        *("README.md", "docs/apply.md", "docs/contributing.md", "docs/python-api.md"),
        *("docs/evaluation.md", "docs/getting-started.md", "docs/plots.md"),
        *("docs/priors.md", "docs/sklearn.md"),
        *("docs/data.md", "docs/posteriors.md", "docs/samplers.md", "docs/sweeps-and-clusters.md"),
    }


def test_the_commands_and_snippets_of_settings_in_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = PAGES["docs/getting-started.md"]
    found = [arguments for _, arguments in commands(text)]
    (saving,) = [a for a in found if "--save_config" in a]
    given = dict(word[2:].split("=") for word in saving.split())
    name = given.pop("save_config")
    sweep.main(dict(given), config.Plan(save_config=name), [])
    (configs,) = [sweep.make_configs(given)]
    reading = [a for a in found if f"--config={name}" in a]
    assert len(reading) == 2
    for arguments in reading:
        asked = settings_file.beside(dict(word[2:].split("=") for word in arguments.split()))
        asked.pop("config")
        changed = {"seed": int(asked["seed"])}
        assert sweep.make_configs(asked) == [dataclasses.replace(configs[0], **changed)]
    (snippet,) = snippets("docs/getting-started.md")
    capsys.readouterr()
    exec(snippet, {})
    assert capsys.readouterr().out == f"{given['latent_dim']}\n"
    (toml,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    pathlib.Path("short.toml").write_text(toml)
    several = sweep.make_configs(settings_file.read("short.toml"))
    assert [(c.objective, c.widths, c.seed) for c in several] == [
        ("beta_tc_vae", (200, 200), seed) for seed in range(3)
    ]


def test_the_snippet_of_a_schema():
    names = {}
    (text,) = snippets("docs/data.md")
    exec(text, names)
    assert names["x"].shape == (3, 3)
    assert np.isnan(names["x"][:, 0]).tolist() == [False, True, False]
    assert names["table"].decode(names["x"])["city"].tolist() == ["Oslo", "Lima", "Oslo"]


def test_the_snippet_of_a_feature_space():
    """Normal rows beside normal rows: a network guesses."""
    (text,), names = snippets("docs/evaluation.md"), {}
    exec(text, names)
    found = names["found"]
    assert (found["space"], found["num_dimensions"], found["num_examples"]) == ("mine", 2, 30)
    for name in ("classifier_test", "classifier_test_of_real"):
        assert abs(found[name] - 0.5) < 4 * found[f"{name}_standard_error"]


def test_the_snippet_of_a_picture():
    """It draws two of three dimensions, and nothing of one."""
    (_, _, text), names = snippets("docs/contributing.md"), {}
    exec(text, names)
    (picture,) = names["PICTURES"]
    means, labels = np.arange(12.0).reshape(4, 3), np.arange(4) % 2
    drawn = picture(types.SimpleNamespace(means=means, labels=labels, rates=np.ones(3)))
    assert [row[:2] for row in drawn.table.rows] == [tuple(row[:2]) for row in means]
    assert picture(types.SimpleNamespace(rates=np.ones(1))) is None


def test_the_snippet_of_a_scatter():
    (text,), names = snippets("docs/plots.md"), {}
    exec(text, names)
    (axes,) = names["picture"].figure.axes
    assert axes.get_title("left") == "three clusters"
    assert len(names["picture"].table.rows) == 200


def test_the_snippet_of_a_prior():
    """Its density is Gaussian, so the rate is in closed form and has a gradient to the scale."""
    (text, *_), names = snippets("docs/contributing.md"), {}
    exec(text, names)
    scaled = names["Scaled"]()
    params = {"log_scale": jnp.float32(0.5)}
    found = scaled.of(params, 3, jnp.float32([1, 1, 0]))
    np.testing.assert_allclose(found.deviation, [math.exp(0.5), math.exp(0.5), 1.0], rtol=1e-6)
    model = assembly.make_model((4,), likelihood="gaussian", latent_dim=3, prior=scaled)
    assert model.init(jax.random.key(0))["prior"] == {"log_scale": 0.0}


def test_the_snippets_of_new_rows(tmp_path, monkeypatch):
    """On a model of three columns, whose distance from 0 is that of the code."""
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    model = assembly.make_model(x, latent_dim=2, widths=(3,), likelihood="gaussian")
    params = model.init(jax.random.key(0))
    monkeypatch.chdir(tmp_path)
    exported.save("model.safetensors", model, params)
    first, last = snippets("docs/apply.md")
    names = {"rows": x}
    exec(first, names)
    assert names["scores"].shape == (4,)
    assert names["filled"].shape == (4, 20, 3)
    assert names["new"].shape == (100, 3)
    exec(last, names)
    found = uses.Engine(names["Distance"](), model, params)(x)["distance"]
    z = model.encode(params, x).mode
    np.testing.assert_allclose(found, np.linalg.norm(z, axis=1), rtol=1e-5)


def test_the_snippet_of_learned_priors(is_trained):
    names = {}
    (text,) = snippets("docs/priors.md")
    exec(text, names)
    assert names["density"].log_prob(jnp.zeros(3)).shape == ()
    assert names["density"].means.shape == (8, 3)


@pytest.mark.slow
def test_the_snippets_of_scikit_learn():
    first, last = snippets("docs/sklearn.md")
    names = {}
    exec(first, names)
    assert names["search"].best_params_["vae__beta"] in (0.5, 1.0, 2.0, 4.0)
    assert names["is_outlier"].sum() == pytest.approx(0.05 * len(names["X"]), abs=1)
    exec(last, names)
    assert not np.isnan(names["filled"]).any()


def test_the_snippet_of_samplers(is_trained, capsys):
    names = {}
    (text,) = snippets("docs/samplers.md")
    exec(text, names)
    assert names["new"].shape == (8, 8, 8, 1)
    precision = float(capsys.readouterr().out)
    assert 0 < precision <= 1 or (precision == 0 and not is_trained)


def test_the_snippet_of_a_posterior():
    """Its variance is the same in all dimensions in use; its rate is in closed form."""
    (_, text, _), names = snippets("docs/contributing.md"), {}
    exec(text, names)
    own, prior = names["Isotropic"](), distributions.standard_gaussian(3)
    parts = jnp.ones((2, 3)), jnp.float32([[1.0, 3.0, 9.0]] * 2)
    found = own.posterior({}, parts, jnp.float32([1, 1, 0]))
    np.testing.assert_allclose(found.logvar, [[2.0, 2.0, 0.0]] * 2)
    assert distributions.kl_divergence(found, prior)[0, 2] == 0
    model = assembly.make_model((4,), likelihood="gaussian", latent_dim=3, posterior=own)
    assert model.encode(model.init(jax.random.key(0)), jnp.ones((2, 4))).mean.shape == (2, 3)


def test_the_snippet_of_posteriors(is_trained):
    names = {}
    (text,) = snippets("docs/posteriors.md")
    exec(text, names)
    assert (jnp.sum(jnp.square(names["posterior"].mode), axis=1) < 1).all()


class MyEncoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1)))
        return nn.Dense(8)(h), nn.Dense(8)(h)


class MyDecoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(64)(nn.relu(nn.Dense(16)(z)))


def test_the_snippets_of_python(is_trained, tmp_path, monkeypatch):
    """One after another, as a reader would run them, in a folder with an exported model."""
    monkeypatch.chdir(tmp_path)
    shape = data.load("digits").shape
    modules = networks.build("mlp", shape=shape, latent_dim=3, widths=(4,))
    small = Model(*modules, likelihoods.Gaussian(0.5), shape, 3)
    exported.save("model.safetensors", small, small.init(jax.random.key(0)))

    names, after = {"MyEncoder": MyEncoder, "MyDecoder": MyDecoder}, {}
    for text in snippets("docs/python-api.md"):
        exec(text, names)
        after[text] = dict(names)

    assert_the_loss_serves_plain_functions(names["loss"])
    for name in ("trained", "trained_sparse", "trained_labeled"):
        rows = names[name].history
        assert len(rows) == (3 if is_trained else 0)
        assert not is_trained or rows[-1]["loss"] < rows[0]["loss"]
    (sparse,) = [text for text in after if "num_active=4" in text]
    assert (np.count_nonzero(after[sparse]["codes"], axis=1) <= 4).all()
    if is_trained:
        share = names["trained_sparse"].history[-1]["active_share"]
        assert share == pytest.approx(4 / 32)
    assert names["threes"].shape == (5, 8, 8, 1)
    (nll,) = [text for text in after if "nll.evaluate" in text]
    many = after[nll]["estimate"]
    one = dict(after[nll])
    exec(nll.replace("num_samples=100", "num_samples=1"), one)
    assert many.nll < one["estimate"].nll  # a bound that more samples tighten
    assert 1 < many.effective_samples <= 100
    assert names["codes"].shape == (len(names["x"]), 3)


def assert_the_loss_serves_plain_functions(loss):
    x = jax.random.bernoulli(jax.random.key(0), 0.5, (B, D)).astype(jnp.float32)

    def value(scale):
        return loss(
            lambda x: (x[:, :L] * scale, x[:, L:]), lambda z: jnp.tile(z, 2), x, jax.random.key(1)
        )

    value, gradient = jax.value_and_grad(value)(1.0)
    assert value.shape == ()
    assert np.isfinite(value)
    assert gradient != 0


def test_the_three_lines_of_readme(capsys):
    (text,) = snippets("README.md")
    names = {}
    exec(text, names)
    assert len(names["trained"].history) == 3
    assert float(capsys.readouterr().out) == vae_jax.evaluate(names["trained"])["elbo"]


def test_the_snippet_of_a_member_of_a_sweep(tmp_path, monkeypatch):
    """On a sweep of two runs that lies where the page has one of 32."""
    (text,) = snippets("docs/sweeps-and-clusters.md")
    (program,) = (ROOT / "tests" / "fixtures" / "schema2" / "sweep" / "programs").iterdir()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(program, re.search(r'"(runs/.*)"', text)[1])
    names = {}
    exec(text.replace(" 3\n", " 1\n"), names)
    assert names["member"].settings["latent_dim"]
    assert set(names["member"].params) >= {"encoder", "decoder"}


def test_the_loss_terms_import_what_the_page_says():
    (told,) = re.findall(r"of this package only\s(.*?): no Flax", PAGES["docs/python-api.md"], re.S)
    rooms = {*re.findall(r"`(\w+)`", told), "losses"}
    program = (
        "import sys, vae_jax.losses; "
        "print({m.split('.')[1] for m in sys.modules if m.startswith('vae_jax.')}, "
        "{'flax', 'optax', 'orbax', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    ours, _, others = done.stdout.strip().partition("} ")
    assert set(re.findall(r"\w+", ours)) == rooms
    assert others == "set()"


# --- Links, commands, words


def slug(heading):
    """The anchor of a heading, as forges make it."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def prose(text):
    """A page without its blocks of code."""
    return re.sub(r"```.*?```", "", text, flags=re.S)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((.*?)\)", prose(PAGES[page])):
        if link.startswith(("https://arxiv.org/abs/", "https://semver.org")):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), link
        if anchor:
            text = prose(path.read_text(encoding="utf-8"))
            assert anchor in map(slug, re.findall(r"^#+ (.*)$", text, re.M)), link


def test_every_page_is_in_the_index():
    index = PAGES["docs/index.md"]
    for page in PAGES:
        if page.startswith("docs/") and page != "docs/index.md":
            assert f"({pathlib.Path(page).relative_to('docs').as_posix()})" in index
    assert "docs/security.md" in README


def blocks_of_commands(text):
    """The lines of the blocks in bash, continued ones as one, without comments."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.sub(r"\s+#.*", "", line).strip()


def commands(text):
    """(module, arguments) of each `python -m …` and `./launch.sh …` of a text."""
    lines = [*blocks_of_commands(text), *re.findall(r"`([^`\n]+)`", prose(text))]
    for line in lines:
        for words in re.findall(r"(?:python -m|\./launch\.sh) ([^&|]+)", line):
            module, _, arguments = words.strip().partition(" ")
            if module != "…":
                yield module, arguments


def flags_of(module):
    """The names of a command's flags; None if it is not ours."""
    if module in ("experiments.vae", "experiments.walk"):
        fields = [f.name for of in (config.Config, config.Plan) for f in config.flag_fields(of)]
        own = ["list"] if module == "experiments.walk" else []
        return {*fields, *config.hyperparameter_flags(), *own, "help"}
    if module == "experiments.evaluate":
        return {*evaluate.flag_texts(), "help"}
    if module == "experiments.apply":
        return {*(flag for use in apply.names() for flag in apply.flag_texts(use)), "help"}
    of_flags = (cancel, doctor, explore, export, push, report, status)
    of_texts = {f"experiments.{c.__name__.rpartition('.')[2]}": c for c in of_flags}
    if module in of_texts:
        return {*of_texts[module].FLAGS, "help"}
    if module == "pytest":
        return None
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    if spec.submodule_search_locations:
        files = sorted(pathlib.Path(spec.submodule_search_locations[0]).glob("*.py"))
    else:
        files = [pathlib.Path(spec.origin)]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    return {*re.findall(r"[\"'](?:--)?([a-z_]+)[\"']", source), "help"}


TEXTS = {**PAGES, "docs/numbers.csv": "\n".join(f"`{row['command']}`" for row in NUMBERS)}


@pytest.mark.parametrize("page", TEXTS)
def test_commands_and_their_flags_exist(page):
    for module, arguments in commands(TEXTS[page]):
        flags = flags_of(module)
        named = set(re.findall(r"(?<!\S)--([a-z_]+)", arguments))
        assert flags is None or named <= flags, (module, named - flags)


def test_every_flag_that_a_page_names_exists():
    modules = {module for text in TEXTS.values() for module, _ in commands(text)}
    known = set().union(*(flags_of(m) or () for m in modules))
    for page, text in PAGES.items():
        named = re.findall(r"`--([a-z_]+)[^`]*`", prose(text))
        assert set(named) <= known, page
    assert len(modules) > 8


def test_commands_of_training_are_runs():
    """Their values are parsed, as the command does before it reads the data."""
    found = [a for text in TEXTS.values() for m, a in commands(text) if m == "experiments.vae"]
    plans = {f.name for f in config.flag_fields(config.Plan)}
    names = flags_of("experiments.vae") - {"help"}
    count = 0
    for arguments in found:
        if "…" in arguments or "--help" in arguments or not arguments:
            continue
        given = dict(word[2:].partition("=")[::2] for word in shlex.split(arguments))
        configs = sweep.make_configs({n: given.get(n) for n in names - plans})
        config.plan_from_flags({n: given.get(n) or None for n in plans - {"dry_run"}})
        assert configs
        count += 1
    assert count > 20


def test_the_test_command_of_readme_is_that_of_ci():
    (command,) = [
        line for line in blocks_of_commands(README) if line.startswith("./launch.sh pytest")
    ]
    assert f"{command} || code=$?" in (ROOT / ".ci" / "run").read_text()


def test_pages_are_short_where_they_must_be():
    assert len(README.splitlines()) <= 150
    assert f"| {len(objectives.names())}: " in README
    for page, text in PAGES.items():
        for paragraph in prose(text).split("\n\n"):
            lines = paragraph.strip().splitlines()
            if lines and not lines[0].startswith(("|", "-", "<!--", "1.")):
                assert len(lines) <= 5, (page, lines[0])
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).stat().st_size <= 150_000


# --- Numbers


def numbers_named(text):
    """Names and patterns of rows of `numbers.csv` that a text names."""
    return re.findall(r"\[`([\w.*]+)`\]\([^)]*numbers\.csv\)", text)


def test_pages_and_numbers_name_one_another():
    names = [row["name"] for row in NUMBERS]
    assert len(set(names)) == len(names)
    named = [name for text in PAGES.values() for name in numbers_named(text)]
    for pattern in named:
        assert fnmatch.filter(names, pattern), pattern
    for name in names:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in named), name


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row["name"])
def test_a_number_stands_where_its_row_is_named(row):
    """Each cell of the value stands in a block of text that names the row, or in its page."""
    told, blocks = set(), 0
    cells = row["value"].split(" | ")
    for text in PAGES.values():
        for block in text.split("\n\n"):
            patterns = [p for p in numbers_named(block) if fnmatch.fnmatch(row["name"], p)]
            if not patterns:
                continue
            words = text if any("*" in p for p in patterns) else block
            found = {cell for cell in cells if cell in " ".join(words.split())}
            assert found, block
            told |= found
            blocks += 1
    assert blocks
    assert told == set(cells)


def test_the_table_of_numbers_is_whole():
    for row in NUMBERS:
        assert all(row[name] for name in ("name", "claim", "command", "value", "machine"))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"])
        assert not row["read"] or re.compile(row["read"]).groups


# --- Tables


def test_the_table_of_objectives_is_that_of_their_docstrings():
    """`python -m experiments.objectives_table --write` puts it there."""
    for name in objectives_table.TABLES:
        page = PAGES[f"docs/{name}.md"]
        assert objectives_table.inserted(name, page) == page
    for setting, family in settings.FAMILIES.items():
        for name in family.names():
            table = objectives_table.TABLES[f"{setting}s"]()
            (row,) = re.findall(rf"^\| `{name}` \|.*$", table, re.M)
            for hyperparameter in settings.hyperparameters_of_family(setting, name):
                assert f"--{hyperparameter}" in row
    for name in objectives.names():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", objectives_table.table(), re.M)
        for hyperparameter in objectives.hyperparameters(name):
            assert f"--{hyperparameter}" in row


def test_every_metric_is_in_the_table():
    for name in (metrics.OBJECTIVE, *evaluation.names(), metrics.UDR):
        assert re.search(rf"^\| `{name}` \|", PAGES["docs/evaluation.md"], re.M), name


def test_every_finding_is_in_the_table_of_the_doctor():
    table = PAGES["docs/doctor.md"].partition("## Findings\n")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.M)) == {*diagnoses.names()}
    # what only the command measures has a star
    assert set(re.findall(r"^\| `(\w+)` \*", table, re.M)) == {*diagnosis.names(probes.__name__)}


def test_every_application_is_on_its_page():
    page = PAGES["docs/applications.md"]
    for name in applications.names():
        assert f"experiments.applications {name}" in page


def test_every_recipe_is_in_the_table():
    page = PAGES["docs/evaluation.md"]
    (waiting,) = re.findall(r"^Not run at their budgets yet: (.*)\.$", page, re.M)
    for name in recipes.names():
        assert f"experiments.reproduce {name}" in page
        assert (name in numbers_named(page)) != (f"`{name}`" in waiting)


def test_the_help_names_the_default_widths_of_each_network():
    page = re.sub(r"\s+", " ", help.of_training("all", ""))
    defaults = re.search(r"--widths .*?\(default: (.*?)\)", page)[1]
    parts = re.findall(r"([\d,]+\d) for (.*?)(?=, \d|$)", defaults)
    told = {name: widths for widths, names in parts for name in re.findall(r"\w+", names)}
    for name in networks.names():
        if name != "linear":
            shape = (4, 2) if name in ("gru", "lstm", "bigru", "bilstm") else (8, 8, 1)
            encoder, _ = networks.build(name, shape=shape, latent_dim=4, num_parts=1)
            assert told[name] == ",".join(map(str, encoder.widths))


def faults_tried():
    """(row, name) of each fault of the campaign."""
    for name in discovery.names("faults"):
        importlib.import_module(f"faults.{name}")
    return {(fault.row, fault.name) for fault in _lab.FAULTS}


def test_the_table_of_faults_is_of_the_campaign():
    """Its counts are those of a run: `python -m tests.faults --page=…` writes them."""
    page = PAGES["docs/reliability.md"]
    rows = re.findall(r"^\| (R\d+) \| (.*?) \| ([\d,]+) \| ([\d,]+) \| (\d+) \|$", page, re.M)
    assert len(rows) > 30
    lines = re.findall(r"^\| R\d+ \| .*", page, re.M)
    assert _page.inserted(page, lines) == page
    other = lines[3].replace(rows[3][2], "7")
    assert _page.inserted(page, [other]) == page.replace(lines[3], other)
    assert {(row, name) for row, name, *_ in rows} <= faults_tried()
    for *_, tries, survived, lost in rows:
        assert int(tries.replace(",", "")) == int(survived.replace(",", "")) + int(lost)


def test_the_promises_of_the_security_page_are_tested():
    text = PAGES["docs/security.md"]
    rows = {row for row, _ in faults_tried()}
    assert set(re.findall(r"\bR\d+\b", text)) <= rows
    assert {"R14", "R16", "R17", "R18", "R19", "R22"} <= set(re.findall(r"\bR\d+\b", text))


# --- The scale of the loss


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
    (table,) = re.findall(
        r"^\| you know \|.*\n\|---.*\n((?:\|.*\n)+)", PAGES["docs/loss-scale.md"], re.M
    )
    rows = table.splitlines()
    (of_codes,) = [row for row in rows if "--commitment_weight" in row]
    assert "= β′·D/L" in of_codes
    assert "L × theirs" in of_codes
    assert len(rows) == len(TRANSLATIONS) + 1


# --- The architecture


def test_the_map_of_the_house_names_each_room():
    house = PAGES["docs/architecture.md"].partition("## The rooms\n")[2]
    package = ROOT / "vae_jax"
    rooms = [p.name for p in package.iterdir() if p.suffix == ".py" and p.name[0] != "_"]
    rooms += [f"{p.name}/" for p in package.iterdir() if (p / "__init__.py").exists()]
    assert [room for room in sorted(rooms) if f"vae_jax/{room} " not in house] == []
    named = re.findall(r"^((?:vae_jax|experiments|examples)/\S*)  ", house, re.M)
    assert [name for name in named if not (ROOT / name).exists()] == []


def rooms_imported(path):
    """The rooms of `vae_jax` that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "vae_jax":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("vae_jax."):
            found.add(node.module.split(".")[1])
    return found


def test_each_room_imports_only_rooms_above_it():
    house = PAGES["docs/architecture.md"].partition("## The rooms\n")[2]
    rooms = re.findall(r"^vae_jax/(\w+)", house, re.M)
    assert len(rooms) == len(set(rooms))
    for place, room in enumerate(rooms):
        for path in [ROOT / "vae_jax" / f"{room}.py", *(ROOT / "vae_jax" / room).rglob("*.py")]:
            if path.exists():
                assert not rooms_imported(path) & set(rooms[place + 1 :]), path


def test_the_walk_passes_files_that_exist():
    walk = PAGES["docs/architecture.md"].partition("## The rooms\n")[0]
    named = re.findall(r"`((?:vae_jax|experiments)/\S*\.py)`", walk)
    assert len(named) > 25
    assert [name for name in named if not (ROOT / name).exists()] == []
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in named
    }
    program = (
        "import sys; from vae_jax.cli import command, main; "
        "from vae_jax.cli.commands import train; "
        "command.define_flags(['--beta=4']); "
        f"sys.exit(', '.join({modules - {'experiments.vae'}} - set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
