"""`python -m experiments.report`: pages of sweeps, of evaluations, of runs beside one another."""

import json
import re
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vae_jax import Model, likelihoods, networks, pages
from vae_jax.cli.commands import evaluate, report
from vae_jax.errors import UsageError
from vae_jax.evaluation import paired
from vae_jax.evaluation.subject import Subject
from vae_jax.lab import comparison, comparison_page, config, pictures, sweep, sweep_page
from vae_jax.lab.settings import Plan
from vae_jax.objectives import beta_vae

SMALL = {"epochs": "1", "widths": "16", "latent_dim": "2"}
BAD = "<script>alert(1)</script>"


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# --- Paired differences


def test_a_paired_difference_is_that_of_a_paired_t_test():
    values, reference = normal(0, 50), normal(1, 50)
    gap = paired.difference(values, reference)
    expected = scipy.stats.ttest_rel(values, reference)
    np.testing.assert_allclose(gap.mean / gap.standard_error, expected.statistic, rtol=1e-12)
    assert gap.num == 50
    # what is hard for both drops out
    hard = 1e3 * normal(2, 50)
    np.testing.assert_allclose(paired.difference(values + hard, reference + hard), gap, rtol=1e-9)
    # the other way round the sign alone changes
    back = paired.difference(reference, values)
    np.testing.assert_allclose(back[:2], (-gap.mean, gap.standard_error), rtol=1e-12)


def test_a_difference_is_clear_beyond_two_standard_errors():
    assert paired.Difference(0.21, 0.1, 9).is_clear
    assert paired.Difference(-0.21, 0.1, 9).is_clear
    assert not paired.Difference(0.19, 0.1, 9).is_clear
    assert not paired.Difference(-0.19, 0.1, 9).is_clear
    assert not paired.difference([1.0], [0.0]).is_clear


def test_pairs_of_other_shapes_or_without_a_value_are_refused():
    with pytest.raises(UsageError, match=r"shapes \[2\] and \[3\]: must be both \[N\]"):
        paired.difference([0.0, 1.0], [0.0, 1.0, 2.0])
    with pytest.raises(UsageError, match="reference: 1 of 2 values are not finite"):
        paired.difference([0.0, 1.0], [np.nan, 1.0])


class Rows(NamedTuple):
    """A split without labels and factors."""

    x: np.ndarray
    labels: None = None
    factors: None = None

    def __len__(self):
        return len(self.x)


@pytest.fixture(scope="module")
def subject():
    """A model of six numbers that nobody trained, and nine examples."""
    data = types.SimpleNamespace(test=Rows(normal(3, 9, 6).astype(np.float32)))
    encoder, decoder = networks.build("linear", shape=(6,), latent_dim=2, num_outputs=1)
    model = Model(encoder, decoder, likelihoods.Gaussian(variance=0.5), (6,), 2)
    params = model.init(jax.random.key(0))
    return Subject(model, params, data, preprocess=lambda x, key: x, key=jax.random.key(1))


def test_the_terms_of_an_example_are_those_of_the_elbo(subject):
    found = paired.per_example(subject)
    x = subject.x()
    batch = {"x": x, "mask": jnp.ones(len(x))}
    key = jax.random.fold_in(subject.key, 0)
    _, expected = beta_vae.loss(subject.model, subject.params, batch, key, beta=1.0)
    for name in ("elbo", "rate", "distortion"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    gaps = x - np.asarray(subject.model.reconstruct(subject.params, x))
    np.testing.assert_allclose(found["squared_error"], (gaps**2).sum(axis=1), rtol=1e-5)
    assert set(found) == set(paired.TERMS)


# --- Runs beside one another


def run_of(name, elbo, examples="a", likelihood="gaussian", **settings):
    chosen = config.from_flags({"likelihood": likelihood, **settings})
    terms = {"elbo": np.array(elbo), "squared_error": -np.array(elbo)}
    result = {"status": "done", "step": 10, "elbo": 1.5, "elbo_standard_error": 0.25}
    return comparison.Compared(
        None, name, chosen.requested(), result, terms if elbo else {}, chosen, examples
    )


BETTER = run_of("better", [2.0, 3.0, 4.5], beta="4")
FIRST = run_of("first", [1.0, 2.0, 3.0], beta="1")


def test_runs_differ_from_the_first_by_example():
    reference, found = comparison.differences([FIRST, BETTER])
    assert reference.reason == "the reference"
    assert found.gaps["elbo"] == paired.difference([2.0, 3.0, 4.5], [1.0, 2.0, 3.0])
    assert comparison.apart([FIRST, BETTER]) == ["beta"]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (run_of("a", [1.0, 2.0, 3.0], examples="b"), "their test examples are not the same"),
        (run_of("a", []), "one of the two diverged"),
        (run_of("a", [1.0, 2.0, 3.0], scaling="unit"), "their inputs are not the same: scaling"),
    ],
)
def test_runs_that_do_not_compare_are_told_apart_by_the_reason(run, reason):
    _, found = comparison.differences([FIRST, run])
    assert found.reason.startswith(reason)
    (told,) = comparison_page.verdict([FIRST, run], comparison.differences([FIRST, run]))
    assert told.startswith("a cannot be compared with first: ")


def test_densities_and_probabilities_share_their_squared_error_alone():
    _, found = comparison.differences([FIRST, run_of("b", [1.0, 2.0, 3.5], likelihood="bernoulli")])
    assert list(found.gaps) == ["squared_error"]


def test_the_verdict_follows_the_numbers():
    def told(*runs):
        return list(comparison_page.verdict(runs, comparison.differences(runs)))

    (line,) = told(FIRST, BETTER)
    assert line == (
        "better is better than first: its ELBO is higher by 1.17 ± 0.17, paired over 3 test "
        "examples."
    )
    assert told(BETTER, FIRST)[0].startswith("first is worse than better: its ELBO is lower by")
    (line,) = told(FIRST, run_of("same", [0.0, 2.1, 4.0]))
    assert line.startswith("same and first cannot be told apart by the ELBO: +0.0333 ± ")
    other = run_of("bernoulli", [2.0, 3.0, 4.5], likelihood="bernoulli")
    assert "is better than first: its squared error is lower" in told(FIRST, other)[0]


def safe(text):
    """Checks that a page runs no script and fetches nothing."""
    assert "<script" not in text
    assert f'content="{pages.POLICY}"' in text
    assert not re.search(r'(?:src|href)="(?!data:image/|#)', text)
    assert "@import" not in text
    return text


def test_the_page_of_several_runs_shows_them_side_by_side_and_escapes_what_they_say():
    hostile = run_of(BAD, [0.0, 2.1, 4.0], ema_decay="0.5")._replace(
        result={"status": BAD, "step": 1, "diagnosis": [dict.fromkeys(("a", "b", "c"), BAD)]}
    )
    drawn = [{"a": b"PNG", "b": b"PNG"}, {}, {BAD: b"PNG", "a": b"PNG"}]
    text = safe("\n".join(comparison_page.lines([FIRST, BETTER, hostile], drawn)))
    assert "<td>better</td>" in text
    assert '<td class="number">+1.167 ± 0.17</td>' in text
    assert "<td>ema_decay</td>" in text
    assert text.count("<figure>") == 4
    # a picture of two runs is there twice below one head
    (of_a,) = re.findall(r'<h3>a</h3><div class="pictures">\n(.*\n.*)\n</div>', text)
    assert of_a.count("<figure>") == 2


# --- A sweep, its page and its members compared


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two runs in a program."""
    directory = tmp_path_factory.mktemp("swept") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        patch.setattr(pictures, "draw_sweep", lambda *_: [])
        values = {**SMALL, "beta": "1,4", "workdir": str(directory)}
        sweep.main(values, Plan(), ["--beta=1,4"])
    return directory


def call(*runs, **flags):
    values = dict.fromkeys(report.FLAGS)
    report.main({**values, "run": [str(each) for each in runs], **flags})


def test_a_sweep_leaves_a_page_whose_points_lead_to_its_runs(swept):
    text = safe((swept / "report.html").read_text())
    links = re.findall(r'href="#(run-\d)"', text)
    assert sorted(links) == ["run-0", "run-0", "run-1", "run-1"]  # of the plane and the table
    sections = re.findall(r'<section class="(run(?: best)?)" id="(run-\d)">\n<h3>(.*?):', text)
    assert [(place, name) for _, place, name in sections] == [
        ("run-0", "beta=1"),
        ("run-1", "beta=4"),
    ]
    best = json.loads((swept / "best.json").read_text())["run"]
    assert [kind.endswith("best") for kind, *_ in sections] == [best == 0, best == 1]
    assert f"--run={swept}/programs/all --member=1</pre>" in text


def test_a_page_is_written_again(swept, capsys):
    page = swept / "report.html"
    before = page.read_text()
    page.unlink()
    call(swept)
    assert page.read_text() == before
    assert f"in {page}: open it in a browser" in capsys.readouterr().out


def test_only_the_best_of_very_many_runs_are_shown(monkeypatch):
    monkeypatch.setattr(sweep_page, "MOST", 2)
    chosen = [config.from_flags({"seed": str(seed)}) for seed in range(4)]
    results = [{"status": "done", "step": 5, "elbo": elbo} for elbo in (-4.0, -1.0, -3.0)]
    runs = [
        sweep_page.Shown("program", number, each, result)
        for number, (each, result) in enumerate(zip(chosen, [*results, None], strict=True))
    ]
    text = "\n".join(sweep_page.lines(types.SimpleNamespace(name=BAD), BAD, runs, {BAD: b"PNG"}))
    assert re.findall(r'id="run-(\d)"', safe(text)) == ["1", "2"]
    assert "The 2 best of 4 runs; sweep.csv holds all." in text


def test_members_of_a_sweep_are_compared(swept, tmp_path, capsys):
    path = tmp_path / "two.html"
    call(swept, member="1,0", to=str(path), num_examples="60")
    verdict, where = capsys.readouterr().out.splitlines()
    assert re.search(r"^beta=1 .* beta=4.*: .*, paired over 60 test examples\.$", verdict)
    assert where == f"in {path}: open it in a browser"
    text = safe(path.read_text())
    assert "2 runs compared" in text
    assert pages.escape(verdict) in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"member": "0"}, "names one run, a comparison needs two: .* such as --member=0,1"),
        ({"member": "0,1", "to": "a.png"}, r"--to=a\.png: must be a file that ends in \.html"),
        ({"member": "0,7"}, "member=7: must be"),
    ],
)
def test_what_cannot_be_compared_is_refused(swept, flags, message):
    with pytest.raises(UsageError, match=message):
        call(swept, **flags)


def test_too_many_runs_are_refused(swept, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison, "MOST", 3)
    with pytest.raises(UsageError, match="--run: name a run directory"):
        call()
    with pytest.raises(UsageError, match=r"--member=0: chooses among .* --run names 2"):
        call(swept, swept, member="0")
    with pytest.raises(UsageError, match="names 4 runs, must be at most 3"):
        call(swept, swept)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    call(swept, swept, num_examples="20")
    *verdicts, where = capsys.readouterr().out.splitlines()
    assert where == "in comparison.html: open it in a browser"
    # a run differs from itself by nothing
    assert len(verdicts) == 3
    assert "cannot be told apart by the ELBO: +0 ± 0" in verdicts[1]


def test_an_evaluation_adds_its_numbers(tmp_path, capsys):
    directory = tmp_path / "alone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *_: [])
        sweep.main({**SMALL, "workdir": str(directory)}, Plan(), [])
    page = directory / "report.html"
    (directory / "result.json").rename(tmp_path / "result.json")
    with pytest.raises(UsageError, match="its training has not ended: train it first"):
        call(directory)
    (tmp_path / "result.json").rename(directory / "result.json")
    page.write_text("")
    call(directory)
    before = page.read_text()
    values = {**dict.fromkeys(evaluate.flag_texts()), "run": str(directory)}
    evaluate.main({**values, "metrics": "nll", "nll_num_samples": "20", "num_examples": "40"})
    assert "report.html" in capsys.readouterr().out.splitlines()[-1]
    text = safe(page.read_text())
    kept = json.loads((directory / "evaluation/member-0.json").read_text())["metrics"]["nll"]
    assert f'<td class="number">{kept["values"]["nll"]:.3f}</td>' in text
    assert "<h3>nll</h3>" in text
    assert "<h2>Evaluation</h2>" not in before
    # the page is otherwise what it was
    assert [line for line in before.splitlines() if line not in text.splitlines()] == []
