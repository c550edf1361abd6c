"""The page of a run: its plans compute what JAX does, in a real browser, and nobody's words run."""

import functools
import json
import math
import shutil
from pathlib import Path

import chromium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import data, explorer, likelihoods, palette, schema
from vae_jax.cli.commands import explore
from vae_jax.errors import UsageError
from vae_jax.explorer import Latent, Page, Probes
from vae_jax.lab.pictures import explorer as picture
from vae_jax.model import Model
from vae_jax.networks import build

pytestmark = pytest.mark.usefixtures("traced_once")
FIXTURES = Path(__file__).parent / "fixtures"
KEY = jax.random.key(0)
HOSTILE = "</script><img src=x onerror='hacked=1'><script>hacked=1</script>"
WIDTHS = {
    "conv": (4, 4),
    "conv_pool": (4, 4),
    "conv_map": (4, 4),
    "resnet": (4,),
    "linear": (),
    "gru": (8,),
}


@functools.cache
def model_of(network, likelihood="gaussian", shape=(6, 6, 1), latent_dim=4):
    """A model and its parameters, with biases that are not 0."""
    made = likelihoods.make(likelihood)
    options = {"shape": shape, "latent_dim": latent_dim, "num_outputs": made.num_outputs}
    encoder, decoder = build(network, widths=WIDTHS.get(network, (8,)), **options)
    model = Model(encoder, decoder, made, shape, latent_dim)
    params = model.init(KEY)
    return model, jax.tree.map(lambda leaf: leaf + 0.1, params)


def page_of(network="mlp", num=30, **own):
    """A page of a model that is not trained."""
    model, params = model_of(network)
    codes = np.asarray(jax.random.normal(KEY, (num, model.latent_dim)))
    decode = functools.partial(model.decode_mean, params)
    outputs = np.asarray(decode(codes[:4]))
    page = Page(
        title="digits",
        about=repr(model),
        view={"kind": "image", "shape": [*model.shape]},
        codes=codes,
        inputs=np.linspace(0, 1, num * 36).reshape(num, *model.shape),
        latent=Latent(
            np.array([0.5, 3.0, 0.0, 1.0]),
            "nats",
            np.array([True, True, False, True]),
            np.zeros(4),
            np.ones(4),
        ),
        labels=np.arange(num) % 3 - 1,
        label_names=("zero", "one"),
        planes={"PCA": codes[:, :2]},
        draws={"the prior": codes[::-1]},
        plan=explorer.plan(decode, jnp.zeros((1, 4))),
        probes=Probes(codes[:4], None, outputs, float(np.ptp(outputs))),
    )
    return page._replace(**own)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser with a page, and so with its script."""
    path = tmp_path_factory.mktemp("page") / "a.html"
    with chromium.browser() as page:
        path.write_text(explorer.html(page_of()))
        page.open(path)
        yield page


@pytest.fixture
def shown(browser, tmp_path):
    """A function that opens a page in the browser, and returns the browser."""

    def show(page):
        path = tmp_path / "a.html"
        path.write_text(explorer.html(page))
        browser.events.clear()
        browser.open(path)
        assert browser.js("document.body.dataset.state") == "ready"
        return browser

    return show


# --- Plans


CASES = [
    ("mlp", "bernoulli", (6, 6, 1)),
    ("linear", "gaussian", (5,)),
    ("conv", "gaussian", (7, 6, 3)),
    ("conv_map", "gaussian", (8, 8, 1)),
    ("conv_pool", "gaussian", (7, 6, 3)),
    ("resnet", "gaussian", (6, 6, 1)),
    ("gru", "gaussian", (5, 2)),
    ("mlp", "categorical", (3,)),
    ("mlp", "poisson", (4,)),
]


@pytest.mark.parametrize(("network", "likelihood", "shape"), CASES)
def test_a_browser_decodes_what_jax_does(browser, network, likelihood, shape):
    model, params = model_of(network, likelihood, shape, 16 if network == "conv_map" else 4)
    decode = jax.jit(functools.partial(model.decode_mean, params))
    z = np.asarray(jax.random.normal(KEY, (3, model.latent_dim)))
    wanted = np.asarray(decode(z)).reshape(3, -1)
    found = run_plan(browser, explorer.plan(decode, jnp.zeros((1, model.latent_dim))), z)
    np.testing.assert_allclose(found.reshape(3, -1), wanted, atol=1e-5 * np.ptp(wanted))


def run_plan(browser, plan, *inputs):
    """The outputs of a plan in the browser."""
    told = {
        "program": plan.program,
        "constants": [each.ravel().tolist() for each in plan.constants],
        "places": [each.tolist() for each in plan.places],
    }
    own = json.dumps([np.ravel(each).tolist() for each in inputs])
    return np.array(
        browser.js(
            f"(() => {{ const plan = {json.dumps(told)};"
            "plan.constants = plan.constants.map((x) => Float32Array.from(x));"
            f"const decode = makeDecoder(plan), given = {own}.map((x) => Float32Array.from(x));"
            "return Array.from(decode(...given)); })()"
        )
    )


FUNCTIONS = {
    "sums": lambda x: jnp.cumsum(x, axis=0).sum(axis=1) + x.max(axis=1) * x.min(axis=1),
    "best": lambda x: jnp.argmax(x, axis=0).astype(jnp.float32),
    "choices": lambda x: jnp.where(x > 0.2, x, -x) * jnp.clip(x, -0.5, 0.5),
    "places": lambda x: jnp.concatenate([x[::-1, 1:], jnp.pad(x, ((0, 0), (0, 1)))], axis=1).T,
    "tables": lambda x: x[:, jnp.array([2, 0, 0])] - jnp.tile(x[:, :1], (1, 3)),
    "functions": lambda x: jax.scipy.special.erf(3 * x) + jnp.expm1(x) + jnp.log1p(x * x) + x**3,
    "gates": lambda x: jax.nn.silu(x) + jax.nn.gelu(x, approximate=False) + jax.nn.leaky_relu(x),
    "products": lambda x: jnp.einsum("ij,kj,kl->li", x, x, x),
    "loops": lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y * 0.5 + x + i, x),
    "rounding": lambda x: jnp.round(x * 4) + jnp.floor(x) + jnp.sign(x) + jnp.sqrt(jnp.abs(x)),
    "one axis": lambda x: jax.lax.conv_general_dilated(
        x[None],
        jnp.arange(18.0).reshape(3, 3, 2),
        (1,),
        "SAME",
        dimension_numbers=("NWC", "WIO", "NWC"),
    ),
    "two axes": lambda x: jax.lax.conv_transpose(
        jnp.stack([x, 2 * x], axis=-1)[None], jnp.arange(24.0).reshape(2, 3, 2, 2), (2, 1), "VALID"
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_plan_is_the_function(browser, name):
    x = jax.random.normal(KEY, (4, 3))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        wanted = np.asarray(FUNCTIONS[name](x))
        plan = explorer.plan(FUNCTIONS[name], x)
    found = run_plan(browser, plan, x).reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


def test_what_no_page_can_run_is_refused_by_its_name():
    x = jnp.zeros((1, 3))
    for function, name in (
        (lambda x: jnp.sort(x, axis=1), "sort"),
        (
            lambda x: x.astype(jnp.bfloat16).astype(jnp.float32) * 2,
            "convert_element_type in bfloat16",
        ),
        (lambda x: jax.lax.while_loop(lambda y: y.sum() < 1, lambda y: y + 1, x), "while"),
    ):
        with pytest.raises(explorer.UnsupportedError, match=f"^{name}$"):
            explorer.plan(function, x)
    # what is computed in vain is not needed
    assert explorer.plan(lambda x: (jnp.sort(x, axis=1), x + 1)[1], x).program["steps"]


def test_what_does_not_depend_on_the_code_is_a_constant():
    kernel = jnp.ones((3, 5))
    plan = explorer.plan(
        lambda z: jnp.tanh(z @ jnp.sort(kernel.T, axis=0).T + 1.0), jnp.zeros((1, 3))
    )
    assert [step["op"] for step in plan.program["steps"]] == ["matmul", "zip", "map"]
    assert plan.num_weights == 16


# --- The page


def test_words_of_the_data_are_text(shown):
    page = page_of(title=HOSTILE, about=HOSTILE, label_names=(HOSTILE, "\u2028-->"))
    text = explorer.html(page)
    assert text.count("<script") == 3
    assert "<img" not in text
    found = shown(page)
    assert found.js("document.querySelector('h1').textContent") == HOSTILE
    assert HOSTILE in found.js("document.getElementById('legend').textContent")
    found.js("explorer.then((e) => e.select(1, true))")
    assert HOSTILE in found.js("document.getElementById('said').textContent")
    assert found.js("typeof hacked") == "undefined"
    assert found.js("document.images.length + document.scripts.length") == 3
    assert found.complaints() == []


def test_a_script_in_markup_would_not_run(shown):
    found = shown(page_of())
    found.js("document.querySelector('main').innerHTML += \"<img src=x onerror='hacked=1'>\"")
    found.js(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'hacked=1'}))"
    )
    with pytest.raises(AssertionError):
        found.js("fetch('https://example.org/')")
    assert found.js("typeof hacked") == "undefined"
    assert any("Content Security Policy" in line for line in found.complaints())


def test_nothing_is_fetched(shown):
    found = shown(page_of())
    assert {address.partition(":")[0] for address in found.requested()} <= {"file", "blob"}
    assert found.complaints() == []
    assert found.js("explorer.then((e) => e.decoder.where)") == "a worker"


@pytest.mark.parametrize(("network", "milliseconds"), [("mlp", 30), ("conv", 100)])
def test_a_slider_is_a_picture_at_once(shown, network, milliseconds):
    """The best of some: other programs may hold the processor."""
    found = shown(page_of(network))
    assert found.js("explorer.then((e) => e.error)") < 1e-3
    delays = found.js(SLIDE)
    assert min(delays) < milliseconds
    assert found.js("document.getElementById('exact').textContent").startswith(
        "Decoded in this page"
    )


SLIDE = """explorer.then(async (e) => {
  const delays = [], slider = document.querySelector(".slider input");
  for (let i = 0; i < 10; i++) {
    const drawn = e.drawn;
    slider.value = +slider.value + 2 * slider.step;
    slider.dispatchEvent(new Event("input"));
    while (e.drawn === drawn) await new Promise((go) => setTimeout(go, 1));
    delays.push(e.delay);
  }
  return delays;
})"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "widths", "milliseconds"), [("mlp", (200, 200), 30), ("conv", (32, 64), 100)]
)
def test_pages_of_mnist_are_small_and_quick(shown, data_dir, network, widths, milliseconds):
    """The default networks on 2,000 pictures; the weights are as large as those of training."""
    x = data.load("mnist", data_dir=data_dir).test.x[:2000] / np.float32(255)
    made = likelihoods.make("bernoulli")
    encoder, decoder = build(network, widths=widths, shape=(28, 28, 1), latent_dim=20)
    model = Model(encoder, decoder, made, (28, 28, 1), 20)
    params = model.init(KEY)
    codes = np.asarray(jax.random.normal(KEY, (2000, 20)))
    decode = jax.jit(functools.partial(model.decode_mean, params))
    outputs = np.asarray(decode(codes[:4]))
    page = page_of(
        view={"kind": "image", "shape": [28, 28, 1]},
        codes=codes,
        inputs=x,
        latent=Latent(np.ones(20), "nats", np.ones(20, bool), np.zeros(20), np.ones(20)),
        labels=None,
        planes={"PCA": codes[:, :2], "t-SNE": codes[:, 2:4]},
        draws={"the prior": codes[:200], "a Gaussian": codes[200:400]},
        plan=explorer.plan(decode, jnp.zeros((1, 20))),
        probes=Probes(codes[:4], None, outputs, float(np.ptp(outputs))),
    )
    found = shown(page)
    size, error = len(explorer.html(page)), found.js("explorer.then((e) => e.error)")
    delays = np.array(found.js(SLIDE))
    alone = found.js("explorer.then((e) => e.milliseconds)")
    print(
        f"\n{network}: {size / 1e6:.2f} MB, {100 * error:.3f} % of the range from JAX, an image"
        f" in {alone:.1f} ms, slider to picture in {np.median(delays):.0f} ms"
    )
    assert size < 3e6
    assert error < 1e-3
    assert delays.min() < milliseconds


def test_a_browser_without_workers_decodes_in_the_page(shown, browser):
    told = browser.call("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.Worker")
    found = shown(page_of())
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=told["identifier"])
    assert found.js("explorer.then((e) => [e.decoder.where, e.error < 1e-3])") == ["the page", True]


def test_sliders_are_sorted_by_rate_and_dead_ones_folded(shown):
    found = shown(page_of())
    sliders = "[...document.querySelectorAll('{} input')].map((x) => x.id)"
    assert found.js(sliders.format("#sliders")) == ["z1", "z3", "z0"]
    assert found.js("document.querySelector('#dead').open") is False
    found.js("document.querySelector('#dead').open = true")
    found.until("document.querySelectorAll('#dead input').length")
    assert found.js(sliders.format("#dead")) == ["z2"]


def painted(page, item):
    """The color in the middle of a mark of the legend, and how many of its pixels are covered."""
    mark = f"document.querySelectorAll('#legend canvas')[{item}]"
    data = page.js(f"[...{mark}.getContext('2d').getImageData(0, 0, 14, 14).data]")
    pixels = np.reshape(data, (14, 14, 4))
    color = "#" + "".join(f"{channel:02x}" for channel in pixels[7, 7, :3])
    return color, int((pixels[..., 3] > 127).sum())


@pytest.mark.parametrize(
    ("scheme", "side"), [("light", palette.LIGHT), ("dark", palette.DARK)], ids=["light", "dark"]
)
def test_labels_have_the_colors_and_marks_of_the_pictures(shown, browser, scheme, side):
    own = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", features=own)
    found = shown(page_of(num=40, labels=np.arange(40) % 20, label_names=None))
    marks = [painted(found, rank) for rank in range(20)]
    assert [color for color, _ in marks] == [side.labels[rank % 10] for rank in range(20)]
    assert all(40 <= area <= 90 for _, area in marks)  # of one size: 2.6 · 5² = 65
    found = shown(page_of(num=42, labels=np.arange(42) % 21, label_names=None))
    assert [painted(found, k)[0] for k in (0, 1)] == [side.shades[0], side.shades[-1]]
    assert found.js("document.querySelector('#legend li').textContent").startswith("21 labels")
    browser.call("Emulation.setEmulatedMedia", features=[])


def test_keys_go_from_example_to_example_and_move_sliders(shown):
    found = shown(page_of())
    found.js("document.getElementById('scatter').focus()")
    where = "explorer.then((e) => [e.selected, e.placed[e.selected][0]])"
    before = found.js(where)
    found.key("ArrowRight")
    after = found.js(where)
    assert after[0] != before[0]
    assert after[1] > before[1]
    assert f"example {after[0]}" in found.js("document.getElementById('said').textContent")
    found.key("Enter")
    code = found.js("explorer.then((e) => [Array.from(e.code), Array.from(e.codeOf(e.selected))])")
    assert code[0] == code[1]
    found.js("document.getElementById('z1').focus()")
    found.key("ArrowRight")
    assert found.js("explorer.then((e) => e.code[1])") > code[1][1]


def test_everything_has_a_name_for_a_screen_reader(shown):
    found = shown(page_of())
    found.until("document.querySelectorAll('#between canvas').length")
    roles = {"button", "slider", "combobox", "spinbutton", "image", "application", "heading"}
    nodes = found.call("Accessibility.getFullAXTree")["nodes"]
    known = [node for node in nodes if node.get("role", {}).get("value") in roles]
    assert roles <= {node["role"]["value"] for node in known}
    assert [n["role"]["value"] for n in known if not n.get("name", {}).get("value")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_are_legible(shown, browser, scheme):
    """The contrast that WCAG 2 asks for, 4.5, of text and of what is said beside it."""
    own = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", features=own)
    found = shown(page_of())
    style = "getComputedStyle(document.body)"
    names = "['--paper', '--ink', '--muted']"
    colors = found.js(f"{names}.map((name) => {style}.getPropertyValue(name))")
    paper, *inks = map(luminance, colors)
    browser.call("Emulation.setEmulatedMedia", features=[])
    for ink in inks:
        high, low = max(paper, ink), min(paper, ink)
        assert (high + 0.05) / (low + 0.05) > 4.5
    assert (paper > 0.5) == (scheme == "light")


def luminance(color):
    parts = [int(color.strip()[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_neighbors_ends_and_samples_are_shown(shown):
    page = page_of()
    found = shown(page)
    distances = np.linalg.norm(page.codes - page.codes[7], axis=1)
    nearest = np.argsort(distances)[1:7].tolist()
    assert found.js("explorer.then((e) => e.neighbors(7, 6))") == nearest
    found.js("explorer.then((e) => e.select(7, true))")
    found.js("document.getElementById('end-1').click()")
    found.until("document.querySelector('#between').textContent.endsWith('of 7')")
    assert found.js("document.querySelectorAll('#samples figure').length") == 20
    found.until("document.querySelectorAll('#path figure').length === 9")


def test_a_decoder_that_no_page_can_run_leaves_its_reconstructions(shown):
    page = page_of(plan=None, probes=None, why="Codes are not decoded in this page: sort.")
    made = 1 - page.inputs
    found = shown(page._replace(reconstructions=made, drawn={"the prior": made}))
    assert "sort" in found.js("document.getElementById('why').textContent")
    assert found.js("document.querySelectorAll('.slider').length") == 0
    assert found.js("document.querySelectorAll('#pair canvas').length") == 2
    assert found.js("document.querySelectorAll('#samples canvas').length") == 20


def test_discrete_dimensions_are_chosen_by_group(shown):
    """Of one-hot groups the page has lists; vectors of a codebook have sliders."""
    codes = np.eye(2, dtype=np.float32)[np.arange(60) % 2].reshape(30, 4)
    page = page_of()
    latent = page.latent._replace(num_discrete=4, group_size=2)
    found = shown(page._replace(codes=codes, latent=latent))
    assert found.js("document.querySelectorAll('#sliders select').length") == 2
    found.js("document.getElementById('group-1').value = 0")
    found.js("document.getElementById('group-1').dispatchEvent(new Event('change'))")
    assert found.js("explorer.then((e) => Array.from(e.code))") == [1, 0, 1, 0]
    found = shown(page._replace(codes=codes + 0.5, latent=latent))
    assert found.js("document.querySelectorAll('#sliders input').length") == 3


def test_conditions_can_be_chosen(shown):
    weights = jax.random.normal(KEY, (3, 36))
    decode = jax.jit(lambda z, c: (z[:, :1] + c @ weights).reshape(-1, 6, 6, 1))
    page = page_of()
    of = np.eye(3, dtype=np.float32)[np.arange(30) % 3]
    found = shown(
        page._replace(
            conditions=explorer.Conditions(("a", "<b>", "c"), np.eye(3), of),
            plan=explorer.plan(decode, jnp.zeros((1, 4)), jnp.zeros((1, 3))),
            probes=Probes(page.codes[:4], of[:4], np.asarray(decode(page.codes[:4], of[:4])), 1.0),
        )
    )
    assert found.js("explorer.then((e) => e.error)") < 1e-3
    found.js("document.getElementById('condition').value = 2")
    found.js("document.getElementById('condition').dispatchEvent(new Event('change'))")
    assert found.js("explorer.then((e) => Array.from(e.condition))") == [0, 0, 1]
    assert found.js("document.getElementById('condition').options[2].text") == "<b>"


# --- Tables, series and text


def test_cells_are_those_of_the_schema(shown):
    rows = {
        "kind": np.array(["<b>", "b", "c", "b"] * 5, object),
        "size": np.linspace(-3, 700, 20),
        "count": np.arange(20.0) % 7,
        "yes": np.array(["no", "yes"] * 10, object),
        "day": np.datetime64("2024-02-27", "us") + np.arange(20) * np.timedelta64(1, "D"),
    }
    table = schema.infer(rows)
    table = table.stored(table.codes(rows))
    x = table.encode(rows)
    told = table.decode(x)
    view = {"kind": "table", "columns": [*picture._columns_of(table)]}
    found = shown(table_page(view, x))
    for i in (0, 7, 13):
        found.js(f"explorer.then((e) => e.select({i}, false))")
        found.until(f"document.querySelector('#pair').dataset.example == {i}")
        told_cells = "[...document.querySelectorAll('#pair :is(td, tr > th[scope=row])')]"
        words = found.js(f"{told_cells}.map((cell) => cell.textContent)")
        for name, cell in zip(words[::2], words[1::2], strict=True):
            value = told[name][i]
            if isinstance(value, float):
                assert float(cell) == pytest.approx(value, rel=1e-3, abs=1e-3)
            else:
                assert cell == str(value)


def table_page(view, x, **own):
    """A page without a decoder, of rows [N, …]."""
    codes = np.asarray(jax.random.normal(KEY, (len(x), 2)))
    latent = Latent(np.ones(2), "nats", np.ones(2, bool), np.zeros(2), np.ones(2))
    return Page("a", "b", view, codes, np.asarray(x, np.float32), latent, why="no", **own)


def test_text_is_text(shown):
    letters = np.array([[1, 2, 0, np.nan], [3, 3, 3, 3]]) / 3
    found = shown(table_page({"kind": "text", "alphabet": ["a", "<", "c"]}, letters))
    said = []
    for i in (0, 1):
        found.js(f"explorer.then((e) => e.select({i}, false))")
        found.until(f"document.querySelector('#pair').dataset.example == {i}")
        said.append(found.js("document.querySelector('#pair q').textContent"))
    assert said == ["a<", "ccc" + "c"]


def test_series_are_lines(shown):
    x = np.sin(np.arange(24.0)).reshape(2, 6, 2)
    x[1, 4:] = np.nan
    found = shown(table_page({"kind": "series", "shape": [6, 2], "low": -1, "high": 1}, x))
    ink = (
        "document.querySelector('#pair canvas').getContext('2d').getImageData(0, 0, 320, 160).data"
    )
    assert found.js(f"{ink}.some((v) => v > 0)")


# --- Runs


def test_a_run_of_an_older_version_has_a_page(tmp_path, capsys):
    with pytest.raises(UsageError, match=r"^--run: name a run directory"):
        explore.main({"run": None})
    shutil.copytree(FIXTURES / "schema2" / "single", tmp_path / "run")
    values = {"run": str(tmp_path / "run"), "member": None, "to": None, "data_dir": None}
    explore.main(values)
    text = (tmp_path / "run" / "explorer.html").read_text()
    assert "explorer.html: open it in a browser" in capsys.readouterr().out
    about = json.loads(text.partition('id="about">')[2].partition("</script>")[0])
    assert about["plan"]["program"]["steps"]
    assert about["latent"]["size"] == 2
    assert len(text) < 200_000
    with pytest.raises(UsageError, match=r"^to=a\.txt: must be a file that ends in \.html$"):
        explore.main({**values, "to": "a.txt"})


def test_a_page_has_room_for_few_large_examples():
    sizes = {(28, 28, 1): 2000, (64, 64, 3): 682, (512, 512, 1): 2000}
    for shape, wanted in sizes.items():
        size = math.prod(min(n, 32) for n in shape[:2]) * shape[2]
        assert min(2000, picture._BYTES // size) == wanted
