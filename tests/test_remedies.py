"""Each remedy that a message names is carried out, and helps.

The cases are in `tests/remedies/`. A message that names a remedy is found in the source, and must
be that of a case, of a test elsewhere, or of a reason why it cannot be tried.
"""

import ast
import re
import tomllib

import pytest
from remedies import (  # noqa
    _messages,
    of_columns,
    of_counts,
    of_data,
    of_face,
    of_flags,
    of_hub,
    of_likelihoods,
    of_lossless,
    of_mistakes,
    of_pictures,
    of_posteriors,
    of_priors,
    of_python,
    of_samplers,
    of_schema,
    of_settings_files,
    of_sklearn,
    of_storage,
    of_tables,
    of_training,
    of_uses,
)
from remedies._cases import CASES, SaidError, fits, is_of
from remedies.elsewhere import ELSEWHERE, UNTRIED

from vae_jax.cli.commands import evaluate, export
from vae_jax.errors import VaeJaxError
from vae_jax.lab import config
from vae_jax.lab.flags import as_flags

pytestmark = pytest.mark.usefixtures("traced_once")
MESSAGES = _messages.messages()
TRIED = {key for case in CASES for key in case.keys}
TODO = (
    "names a remedy that no test carries out: add a case to tests/remedies/ that provokes the "
    "message and does what it says, or enter the test that does in tests/remedies/elsewhere.py"
)


def each_case():
    for case in CASES:
        yield pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.is_slow else [])


@pytest.mark.parametrize("case", list(each_case()))
def test_the_remedies_of_a_message_help(case, tmp_path, monkeypatch):
    steps = case.steps(tmp_path, monkeypatch)
    provoke = next(steps)
    with pytest.raises((VaeJaxError, SaidError)) as caught:
        provoke()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for _, words in case.keys:
        # of a line of the log the settings are flags already
        assert fits(as_flags(words), as_flags(message)), f"{words!r} is not said by {message!r}"
    num, passes = 0, steps.send(message)
    while passes is not None:
        passes()
        num, passes = num + 1, next(steps, None)
    assert num > 0


def test_every_message_with_a_remedy_is_tried():
    known = [*TRIED, *ELSEWHERE, *UNTRIED]
    for message in MESSAGES:
        told = f"{message.path}:{message.line}, in {message.function or 'the file'}: "
        is_known = any(is_of(key, message) for key in known)
        assert is_known, f"{told}{message.text!r} {TODO}"


def test_every_tried_message_still_exists():
    for key in [*TRIED, *ELSEWHERE, *UNTRIED]:
        assert any(is_of(key, message) for message in MESSAGES), f"no message holds {key}"


def test_cases_have_names_of_their_own():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


def test_remedies_tried_elsewhere_name_existing_tests():
    for node in ELSEWHERE.values():
        file, name = node.split("::")
        source = ast.parse((_messages.ROOT / "tests" / file).read_text())
        assert name in {each.name for each in ast.walk(source) if isinstance(each, ast.FunctionDef)}


def flags_known():
    fields = config.flag_fields() + config.flag_fields(config.Plan)
    own = {field.name for field in fields} | config.hyperparameter_flags().keys()
    return own | evaluate.flag_texts().keys() | export.FLAGS.keys()


def test_flags_that_remedies_name_are_flags():
    known = flags_known()
    for message in MESSAGES:
        source = (_messages.ROOT / message.path).read_text()
        named = re.findall(r"--(\w+)|`(\w+)(?:=True)?`", message.text)
        for name in (flag or setting for flag, setting in named):
            # other programs define theirs beside what they say
            assert name in known or f'"{name}"' in source, f"--{name}: {message}"


def test_extras_that_remedies_name_are_offered():
    project = tomllib.loads((_messages.ROOT / "pyproject.toml").read_text())["project"]
    named = {
        extra
        for message in MESSAGES
        for pattern in (r"vae_jax\[(\w+)\]", r"EXTRAS=([\w,]+)")
        for found in re.findall(pattern, message.text)
        for extra in found.split(",")
    }
    assert named == {
        *("anndata", "cluster", "dicom", "excel", "hub", "ray", "tensorflow", "yaml"),
    }
    assert named <= project["optional-dependencies"].keys()


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ('raise E("a: give b")', ["a: give b"]),
        ('raise E(f"{a}: is {b}, give {c}")', ["…: is …, give …"]),
        ('raise E(f"{a}: is " f"wrong; give {c}")', ["…: is wrong; give …"]),
        ("raise E(f\"{a}: wrong{f', or leave {b} out' if c else str()}\")", [", or leave … out"]),
        ('"""Give a."""', []),
        ('x = flag("give this", "take that")', []),
        ('raise E("a: must be at least 1")', []),
        ('TEXT = "share of the rows, run of a name, keep=1: must be 2"', []),
    ],
)
def test_messages_are_found_in_a_source(tmp_path, monkeypatch, source, texts):
    monkeypatch.setattr(_messages, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(source)
    found = [message.text for message in _messages._in_python(tmp_path / "a.py")]
    assert [text for text in found if _messages.is_remedy(text)] == texts


def test_a_new_message_is_missed_until_it_is_tried():
    new = _messages.Message("vae_jax/losses.py", "new", 1, "x: is wrong, rescale it")
    assert _messages.is_remedy(new.text)
    assert not any(is_of(key, new) for key in [*TRIED, *ELSEWHERE, *UNTRIED])
