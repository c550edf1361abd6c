"""Each remedy that a message names is carried out, and helps."""

import pytest
from remedies import of_data, of_flags  # noqa: F401
from remedies._cases import CASES, SaidError, fits

from vae_jax.errors import VaeJaxError


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
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
