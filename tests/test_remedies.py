"""Each remedy that a message names is carried out, and helps."""

import pytest
from remedies import of_data, of_flags, of_python, of_storage, of_training  # noqa: F401
from remedies._cases import CASES, SaidError, fits

from vae_jax.errors import VaeJaxError


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
        assert fits(words, message), f"{words!r} is not said by {message!r}"
    num, passes = 0, steps.send(message)
    while passes is not None:
        passes()
        num, passes = num + 1, next(steps, None)
    assert num > 0
