"""The doctor: known answers of its numbers, each finding on records, each remedy on a run."""

import contextlib
import io
import json
import math
import pathlib
import re
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments import calibration
from vae_jax import data, diagnosis, latents, likelihoods, pages
from vae_jax.cli.commands import doctor
from vae_jax.diagnosis import Evidence, probes
from vae_jax.diagnosis.probes import generalization, holes
from vae_jax.errors import UsageError
from vae_jax.evaluation import elbo
from vae_jax.evaluation.subject import Subject
from vae_jax.lab import config, diagnoses, pictures, run_page, train
from vae_jax.model import Model

pytestmark = pytest.mark.usefixtures("traced_once")
SETTINGS = {"likelihood": "gaussian", "variance": "learned", "learning_rate": "1e-3", "beta": "1"}
RESULT = {
    "status": "done",
    "step": 10,
    "num_examples": 100,
    "loss": 5.0,
    "loss_standard_error": 0.1,
    "distortion": 3.0,
    "rate": 2.0,
    "rate_per_dim": [1.0, 1.0],
    "active_units": 2,
}


def falling(num=20, **columns):
    """Rows of a sound training: both losses fall and flatten."""
    rows = []
    for epoch in range(num):
        loss = 5 + 10 * math.exp(-epoch)
        rows.append({"epoch": epoch + 1, "loss": loss, "valid_loss": loss + 0.2})
        rows[-1] |= {"learning_rate": 1e-3, "beta": 1.0}
        rows[-1] |= {name: values[epoch] for name, values in columns.items()}
    return rows


def sound(**changed):
    """The evidence of a run without a fault, with changes."""
    settings = {**SETTINGS, **changed.pop("settings", {})}
    result = {**RESULT, **changed.pop("result", {})}
    rows = changed.pop("rows", falling())
    return Evidence(settings, rows, result, num_train=1000, **changed)


def names_of(evidence):
    found = [*diagnosis.diagnose(evidence), *diagnosis.diagnose(evidence, probes.__name__)]
    return [finding.what for finding in found]


# --- Which dimensions carry the rate


@pytest.mark.parametrize("num", [1, 2, 7])
def test_equal_shares_count_each_dimension_and_idle_ones_count_none(num):
    rates = np.array([0.3] * num + [0.0] * 5, np.float32)
    assert float(elbo.effective_number(rates)) == pytest.approx(num, rel=1e-5)
    assert elbo.carrying(rates, 0.95) == (math.ceil(0.95 * num), pytest.approx(1.0, abs=1 / num))


def test_the_effective_number_is_that_of_the_shares():
    """Shares of ½, ¼, ¼ have the entropy 1.5 log 2."""
    rates = np.float32([1.0, 0.5, 0.5])
    expected = 2**1.5
    for same in (rates, 100 * rates, rates[::-1], np.append(rates, -0.2).astype(np.float32)):
        assert float(elbo.effective_number(same)) == pytest.approx(expected, rel=1e-5)
    runs = jnp.stack([rates, jnp.ones(3), jnp.zeros(3)])
    np.testing.assert_allclose(elbo.effective_number(runs), [expected, 3.0, 0.0], rtol=1e-5)
    assert elbo.carrying(np.zeros(3), 0.95) == (0, 0.0)
    assert elbo.carrying(rates, 0.5) == (1, 0.5)
    assert elbo.carrying(rates, 0.51) == (2, 0.75)


def test_the_sentence_says_what_active_units_hide():
    rates = [2.0, 2.0, 2.0, 1.8, *[0.02] * 7, *[0.0] * 9]
    told = diagnosis.use({"rate_per_dim": rates, "active_units": 11})
    assert told.startswith("4 dimensions carry 98% of the rate (effective number 4.")
    assert told.endswith("; 11 pass Burda's criterion")
    assert diagnosis.use({"active_units": 3}) is None
    assert diagnosis.use({"rate_per_dim": [0.1], "active_units": 1}).startswith("1 dimension carr")


# --- Each finding, on records


def test_a_sound_run_has_no_finding():
    assert names_of(sound()) == []


def jumping(num):
    losses = [5.0] * 20
    for place in range(1, 1 + 2 * num, 2):
        losses[place] = 9.0
    return losses


OVER = [8.0, 6.0, 5.0, *np.linspace(5, 6.5, 17).tolist()]
LOW = [8.0, 6.0, 5.0, *np.linspace(5, 3, 17).tolist()]
SLOPE = np.linspace(20, 5, 20).tolist()
FAULTS = [
    ("collapse", {"result": {"rate": 0.05, "rate_per_dim": [0.05, 0.0]}}),
    ("collapse", {"result": {"active_units": 0}}),
    ("collapse", {"result": {"rate_group_1": 3.0, "rate_group_2": 0.01}}),
    ("idle_dimensions", {"result": {"rate_per_dim": [1.0, 1.0, 0.0, 0.001]}}),
    ("loss_scale", {"settings": {"variance": 1.0}, "result": {"distortion": 0.92}}),
    ("overfitting", {"rows": falling(loss=LOW, valid_loss=OVER)}),
    ("under_training", {"rows": falling(loss=SLOPE, valid_loss=SLOPE)}),
    ("learning_rate", {"rows": falling(loss=jumping(4))}),
    ("learning_rate", {"rows": falling(learning_rate=[1e-3] * 5 + [0.0] * 15)}),
    ("divergence", {"result": {"status": "diverged", "not_finite": ["rate"]}}),
    ("dead_codes", {"result": {"perplexity": 2.0}, "num_codes": 512}),
    ("variance_bound", {"log_variances": (-19.5, 0.0)}),
    ("variance_bound", {"log_variances": (-1.0, 19.5)}),
    ("value_range", {"far_values": ["values far from 0: take scaling=unit"]}),
    ("seeds", {"twins": {1: {"loss": 4.0}, 2: {"loss": "nan"}}}),
    ("baseline", {"measured": {"baseline": {"above": -3.0, "error": 0.5}}}),
    ("holes", {"measured": {"holes": {"far": 0.99, "ratio": 4.0}}}),
    (
        "generalization",
        {
            "measured": {
                "generalization": {"gap": 9.0, "error": 0.5, "of_encoder": 3.0},
                "baseline": {"above": 1.0, "error": 0.5},
            }
        },
    ),
]


@pytest.mark.parametrize(("name", "changed"), FAULTS)
def test_a_fault_in_the_records_is_found_alone(name, changed):
    evidence = sound(**changed)
    assert names_of(evidence) == [name]
    (found,) = [
        *diagnosis.diagnose(evidence),
        *diagnosis.diagnose(evidence, probes.__name__),
    ]
    assert found.evidence
    assert len(str(found).splitlines()) == 1
    assert re.match("take ", found.remedy)


def test_each_finding_is_tried():
    assert {name for name, _ in FAULTS} == {*diagnoses.names()}
    assert {*calibration.PLANTED} == {*diagnoses.names()}


@pytest.mark.parametrize(
    "changed",
    [
        {"result": {"perplexity": 200.0}, "num_codes": 512},
        {"settings": {"variance": 1.0}, "result": {"distortion": 1.42}},
        {"settings": {"variance": 0.1, "likelihood": "laplace"}},
        # a plain autoencoder
        {
            "settings": {"variance": 1.0},
            "result": {"distortion": 0.92, "rate": None, "rate_per_dim": None},
        },
        {"result": {"best_epoch": 3}, "rows": falling(loss=LOW, valid_loss=OVER)},
        {"rows": falling(loss=jumping(2))},
        {"rows": falling(3, loss=[9.0, 7.0, 5.0])},
        {"rows": []},
        {"log_variances": (-8.0, 2.0)},
        {"twins": {1: {"loss": 4.9}}},
        {"result": {"rate_per_dim": None, "rate": None}},
        {"result": {"loss": "nan", "loss_standard_error": None}},
        {"measured": {"baseline": {"above": -0.1, "error": 0.5}}},
        {"measured": {"generalization": {"gap": 9.0, "error": 0.5, "of_encoder": 3.0}}},
    ],
)
def test_what_is_no_fault_or_unknown_is_no_finding(changed):
    assert names_of(sound(**changed)) == []


def test_a_schedule_of_the_weight_is_no_slope_of_the_loss():
    """β falls, and the loss with it: the ELBO shows that nothing was learned."""
    betas = np.linspace(4, 1, 20).tolist()
    rows = falling(loss=SLOPE, valid_loss=SLOPE, beta=betas, valid_elbo=[-5.0] * 20)
    assert names_of(sound(rows=rows)) == []
    rows = falling(loss=SLOPE, valid_loss=SLOPE, valid_elbo=[-5.0] * 20)
    assert names_of(sound(rows=rows)) == ["under_training"]


@pytest.mark.parametrize("weight", [0.01, 0.5, 3.9, 20.0])
def test_the_weight_of_the_rate_is_the_variance_over_the_squared_error(weight):
    """The distortion of a Gaussian with a known squared error gives that error back."""
    variance, num = 0.3, 7
    error = variance / weight
    distortion = num / 2 * (math.log(2 * math.pi * variance) + error / variance)
    settings, result = {"variance": variance}, {"distortion": distortion}
    found = diagnosis.diagnose(sound(settings=settings, result=result, num_values=num))
    assert bool(found) == (not 1 / 4 <= weight <= 4)
    if found:
        assert f"weighs {weight:.2g} times" in found[0].evidence


def test_remedies_follow_the_cause():
    collapsed = {"rate": 0.01, "rate_per_dim": [0.01, 0.0]}
    for settings, remedy in (
        ({"beta": "50"}, "take beta=1"),
        ({"variance": 9.0}, "take variance=learned"),
        ({"posterior": "chain"}, "take posterior=ladder"),
        ({}, "take beta='linear(0, 1, 50%)'"),
    ):
        result = {**collapsed, "distortion": 2.4}
        found = diagnosis.diagnose(sound(settings=settings, result=result, rows=[]))
        own = next(finding for finding in found if finding.what == "collapse")
        assert own.remedy.startswith(remedy)


# --- The probes, against known answers


class Linear(nn.Module):
    """z [B, 1] to z·w, w [2]."""

    weights: tuple[float, float]

    @nn.compact
    def __call__(self, z):
        return z * jnp.asarray([self.weights])


class Encoder(nn.Module):
    """x [B, 2] to mean a·x_1 + b and a log variance."""

    slope: float = 0.0
    offset: float = 0.0
    logvar: float = 0.0

    @nn.compact
    def __call__(self, x):
        mean = self.slope * x[:, :1] + self.offset
        return mean, jnp.full_like(mean, self.logvar)


def linear(weights, **encoder):
    """x = w·z + noise of variance 1, whose likelihood is N(0, I + w wᵀ)."""
    model = Model(
        encoder=Encoder(**encoder),
        decoder=Linear(weights),
        likelihood=likelihoods.Gaussian(1.0),
        shape=(2,),
        latent_dim=1,
        latent=latents.Gaussian(),
    )
    return model, model.init(jax.random.key(0))


def exact(x, weights):
    matrix = np.eye(2) + np.outer(weights, weights)
    quadratic = np.einsum("bi,ij,bj->b", x, np.linalg.inv(matrix), x)
    return -0.5 * (quadratic + np.log(np.linalg.det(matrix)) + 2 * math.log(2 * math.pi))


def test_a_fitted_posterior_of_a_linear_model_reaches_its_likelihood():
    """One latent dimension: the true posterior is a Gaussian, so the best ELBO is log p(x)."""
    weights = (2.0, 1.0)
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    model, params = linear(weights, logvar=-1.0)
    before, after = generalization.elbos(model, params, jnp.asarray(x), jax.random.key(1))
    assert np.all(np.asarray(after) >= np.asarray(before))
    np.testing.assert_allclose(after, exact(x, weights), atol=0.15)
    assert np.mean(np.asarray(before)) < np.mean(exact(x, weights)) - 0.2


def subject_of(model, params, train_x, test_x):
    splits = {"train": train_x, "valid": test_x[:0], "test": test_x}
    held = type("Rows", (), {name: data.Split(x) for name, x in splits.items()})()
    key = jax.random.key(0)
    return Subject(model, params, held, preprocess=lambda stored, _: stored, key=key)


@pytest.mark.parametrize(("center", "is_hole"), [(0.0, False), (6.0, True)])
def test_draws_are_far_where_the_codes_are_not_those_of_the_prior(center, is_hole):
    """Codes N(center, 1) and the prior N(0, 1): 5 % are far if the center is 0."""
    generator = np.random.default_rng(0)

    def rows(num):
        z = generator.normal(center, 1.0, size=(num, 1))
        return np.concatenate([z, 0 * z], axis=1).astype(np.float32)

    model, params = linear((1.0, 0.0), slope=1.0, logvar=-12.0)
    measured = holes.measure(subject_of(model, params, rows(1000), rows(500)))
    if is_hole:
        assert measured["far"] > 0.9
        assert measured["ratio"] > 10
    else:
        assert measured["far"] == pytest.approx(0.05, abs=0.04)
    assert (names_of(sound(measured={"holes": measured})) == ["holes"]) == is_hole


def test_the_shares_of_the_gap_add_up():
    """An encoder that is right on training rows alone: the gap is all the encoder's."""
    generator = np.random.default_rng(0)
    weights = (3.0, 0.0)

    def rows(center):
        return generator.normal((center, 0.0), 0.3, size=(100, 2)).astype(np.float32)

    # the posterior mean of this model is 0.3·x_1, its variance 0.1
    model, params = linear(weights, offset=0.3 * 3.0, logvar=math.log(0.1))
    near, far = rows(3.0), rows(-3.0)
    measured = generalization.measure(subject_of(model, params, near, far))
    expected = exact(near, weights).mean() - exact(far, weights).mean()
    assert measured["gap"] > 10
    assert measured["gap"] - measured["of_encoder"] == pytest.approx(expected, abs=0.1)


# --- Runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on digits whose variance is far too large."""
    directory = tmp_path_factory.mktemp("diagnosed") / "run"
    values = {"widths": "16", "latent_dim": "2", "epochs": "1", "variance": "10"}
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(pictures, "draw", lambda *_: [])
        train.train([config.from_flags({**values, "workdir": str(directory)})])
    (directory.parent / "said").write_text(said.getvalue())
    return directory


def examine(directory, **flags):
    doctor.main({**dict.fromkeys(doctor.FLAGS), "run": str(directory), **flags})


def test_a_run_ends_with_its_diagnosis(trained):
    result = json.loads((trained / "result.json").read_text())
    (finding,) = (each for each in result["diagnosis"] if each["what"] == "loss_scale")
    said = (trained.parent / "said").read_text()
    assert diagnosis.use(result) in said
    # the library names settings, the log flags
    assert "take variance=learned" in finding["remedy"]
    told = finding["evidence"].replace("variance=", "--variance=")
    assert f"finding: loss_scale: {told}; take --variance=learned" in said
    assert "active units" not in said
    assert result["effective_units"] == pytest.approx(
        float(elbo.effective_number(np.float32(result["rate_per_dim"]))), rel=1e-4
    )


def test_the_doctor_measures_prints_and_keeps(trained, capsys):
    with pytest.raises(UsageError, match="--run: name a run directory"):
        doctor.main(dict.fromkeys(doctor.FLAGS))
    examine(trained)
    out = capsys.readouterr().out
    kept = json.loads((trained / "evaluation" / "doctor-0.json").read_text())
    values = kept["metrics"]["doctor"]["values"]
    assert {*values["measured"]} == {"baseline", "generalization", "holes"}
    found = [finding["what"] for finding in values["diagnosis"]]
    assert {"loss_scale", "baseline"} <= {*found}
    for what in found:
        assert f"finding: {what}: " in out


def test_twins_differ_in_the_seed_alone():
    asked = [{"seed": "0"}, {"seed": "1"}, {"seed": "0", "beta": "4"}]
    settings = [config.from_flags(values).requested() for values in asked]
    results = [{"loss": number} for number in range(3)]
    assert diagnoses.twins_of(settings, results) == [{1: results[1]}, {0: results[0]}, {}]


def test_the_confusion_table_counts_runs():
    cases = [calibration.Case(fault, "") for fault in ("holes", "holes", calibration.HEALTHY)]
    found = [["holes", "collapse"], [], ["holes"]]
    lines = calibration.table(cases, found)
    assert lines[2:] == ["| `holes` | 2 | 1 | `collapse` 1 |", "| `none` | 1 | – | `holes` 1 |"]
    assert calibration.totals(cases, found) == (
        "planted faults found: 1 of 2; healthy runs with a finding: 1 of 1"
    )


def test_the_calibration_has_as_many_runs_as_the_page_says():
    faults = [case.fault for case in calibration.CASES]
    assert sum(fault in calibration.PLANTED for fault in faults) >= 30
    assert faults.count(calibration.HEALTHY) >= 30
    assert len(set(calibration.CASES)) == len(calibration.CASES)
    for case in calibration.CASES:
        config.from_flags(case.values())


# --- The page of a run


def test_the_page_escapes_everything_and_loads_nothing():
    """Names and settings may come from a stranger."""
    bad = "<script>alert(1)</script>"
    finding = {"what": bad, "evidence": bad, "remedy": f"take beta=1 {bad}"}
    result = {**RESULT, "status": bad, "diagnosis": [finding], "elbo": -5.0}
    lines = run_page.lines(pathlib.Path("runs", bad), bad, {bad: bad}, result, {bad: b"PNG"})
    text = "\n".join(lines)
    assert "<script" not in text
    assert f'content="{pages.POLICY}"' in text
    assert set(re.findall(r'src="([^"]*)"', text)) == {"data:image/png;base64,UE5H"}
    assert "href" not in text
    assert "url(" not in text
    assert "take --beta=1" in text
    # an error stands beside its number
    number = '<td class="number">'
    assert f"<td>loss</td>{number}5</td>{number}0.1</td>" in text
    parser = HTMLParser()
    parser.feed(text)


def test_text_is_aligned_left_and_numbers_right():
    cells = [("a", "1,234", "−0.5 ± 0.02", "2e-3", "12"), ("", "", "nan", "-1", "twelve")]
    head, *rows, _ = pages.table(("name", "n", "mean", "rate", "seed"), cells)
    classes = re.findall(r"<th( class=\"number\")?>", head)
    assert list(map(bool, classes)) == [False, True, True, True, False]
    for row in rows:
        assert re.findall(r"<td( class=\"number\")?>", row) == classes
    assert re.findall(r"text-align: (\w+)", pages.STYLE) == ["left", "right"]
    assert "td.number { text-align: right" in pages.STYLE
    assert [*pages.table(("a", "b"), [])] == ["<table><tr><th>a</th><th>b</th></tr>", "</table>"]


def test_a_picture_of_a_page_is_a_png_or_an_svg():
    assert 'src="data:image/png;base64,' in pages.picture(b"\x89PNG", "a")
    assert 'src="data:image/svg+xml;base64,' in pages.picture(b"<?xml version='1.0'?>", "a")


def test_a_run_leaves_its_page(trained):
    text = (trained / "report.html").read_text()
    result = json.loads((trained / "result.json").read_text())
    assert diagnosis.use(result).replace("'", "&#x27;") in text
    assert "loss_scale" in text
    assert f"experiments.doctor --run={trained}" in text


# --- The remedies, each on a run that has the fault

DIGITS, FACTORS, FEW = calibration.DIGITS, calibration.FACTORS, calibration.FEW
OWN_WORDS = {
    "widths": "4",
    "beta": "1",
    "learning_rate": "1e-3",
    "columns that never change": "factors.npz",
}
"""What is chosen where a remedy says no value: setting, or words → value."""


def changes(remedy):
    """The changes that a remedy offers, each alone: setting → value."""
    quoted = re.findall(r"(\w+)=('[^']*'|[^\s,;]+)", remedy)
    yield from ({name: value.strip("'").replace(" ", "")} for name, value in quoted)
    yield from ({name: OWN_WORDS[name]} for name in re.findall(r"`(\w+)`", remedy))
    if "columns that never change" in remedy:
        yield {"dataset": OWN_WORDS["columns that never change"]}


def findings_of(cases, folder):
    return [diagnoses.findings(evidence) for evidence in calibration.examine(cases, folder)]


def test_a_remedy_is_a_list_of_changes():
    remedy = "take posterior=ladder, or beta='linear(0, 1, 50%)', or smaller `widths`"
    expected = [{"posterior": "ladder"}, {"beta": "linear(0,1,50%)"}, {"widths": "4"}]
    assert [*changes(remedy)] == expected


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*calibration.PLANTED])
def test_the_remedies_of_a_finding_help(fault, tmp_path):
    """Each run with the fault is trained again with each of its remedies, which end it."""
    cases = [case for case in calibration.CASES if case.fault in (fault, calibration.BESIDE)]
    found = findings_of(cases, tmp_path / "planted")
    cases = [case for case in cases if case.fault == fault]
    again = []
    for case, findings in zip(cases, found, strict=False):
        (own,) = (finding for finding in findings if finding.what == fault)
        for change in changes(own.remedy):
            more = " ".join(f"{name}={value}" for name, value in change.items())
            again.append(calibration.Case(fault, f"{case.flags} {more}"))
            if fault == "seeds":  # which have to agree
                again.append(calibration.Case(fault, f"{case.flags} seed=0 {more}"))
    # remedies of several runs may lead to the same one
    again = [*{tuple(sorted(case.values().items())): case for case in again}.values()]
    for case, findings in zip(again, findings_of(again, tmp_path / "cured"), strict=True):
        assert fault not in [finding.what for finding in findings], case.flags
