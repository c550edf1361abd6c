"""Labels: the user's own values are class indices inside, and what is no class is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from properties import initial

from vae_jax import data, labels, likelihoods, networks, objectives
from vae_jax.errors import DataError, UsageError
from vae_jax.evaluation import _shared
from vae_jax.lab import config, resolved
from vae_jax.model import Model
from vae_jax.objectives import _conditions, m2

SHAPE, L = (6,), 2
TENS, WORDS, HALVES = (10, 20, 30), ("cat", "dog", "owl"), (0.1, 0.5, 2.5)


def make(classes=None, num=3):
    modules = networks.build("mlp", shape=SHAPE, latent_dim=L, widths=(4,))
    model = Model(*modules, likelihoods.Gaussian(), SHAPE, L, num_conditions=num)
    return model.replace(classes=classes)


@pytest.mark.parametrize(
    ("classes", "given"),
    [
        (None, [2, 0, 1]),
        (None, np.array([2, 0, 1], np.uint8)),
        (None, np.array([2.0, 0.0, 1.0])),
        (TENS, [30, 10, 20]),
        (TENS, jnp.array([30, 10, 20])),
        (TENS, np.array([30, 10, 20], np.float16)),
        (WORDS, ["owl", "cat", "dog"]),
        (WORDS, np.array([b"owl", b"cat", b"dog"])),
        (WORDS, np.array(["owl", "cat", "dog"], object)),
        (HALVES, [2.5, 0.1, 0.5]),
        (HALVES, np.array([2.5, 0.1, 0.5], np.float32)),
        (TENS, jnp.array([30, 10, 20], jnp.bfloat16)),
        ((-1, 1, "none"), np.array(["none", -1, 1], object)),
        (None, np.eye(3)[[2, 0, 1]]),
        (None, np.eye(3, dtype=int)[[2, 0, 1]]),
        ((), np.eye(3, dtype=np.float32)[[2, 0, 1]]),
    ],
)
def test_a_users_labels_become_unit_vectors(classes, given):
    condition = make(classes).given(given).condition
    assert condition.dtype == jnp.float32
    np.testing.assert_array_equal(condition, np.eye(3)[[2, 0, 1]])


def test_numbers_stay_as_they_are():
    numbers = jax.random.normal(jax.random.key(0), (5, 3))
    for classes in (None, WORDS, ()):
        assert make(classes).given(numbers).condition is numbers


def test_one_label_is_that_of_every_row():
    model = make(WORDS)
    params, z = initial(model), jnp.ones((4, L))
    alone = model.given("dog").decode(params, z)
    np.testing.assert_array_equal(alone, model.given(["dog"] * 4).decode(params, z))


@pytest.mark.parametrize(
    ("classes", "given", "message"),
    [
        (None, 7, "condition: 7 in row 0 is none of the classes 0 … 2: give one of these"),
        (None, [0, 3, 1, 9], r"3 in row 1 \(and 1 more\) is none of the classes 0 … 2"),
        (None, jnp.array([0, -1]), "-1 in row 1 is none of the classes 0 … 2"),
        (None, [0.5, 1.0], "0.5 in row 0 is none"),
        (None, [np.nan, 1.0], "nan in row 0 is none"),
        (None, ["cat"], "'cat' in row 0 is none of the classes 0 … 2"),
        (None, ["1"], "'1' in row 0 is none of the classes 0 … 2"),
        (None, [None, 1], "None in row 0"),
        (TENS, [1], "1 in row 0 is none of the classes 10, 20, 30"),
        (TENS, ["10"], "'10' in row 0 is none of the classes 10, 20, 30"),
        (WORDS, ["cat", "Dog"], "'Dog' in row 1 is none of the classes 'cat', 'dog', 'owl'"),
        (WORDS, [0], "0 in row 0 is none of the classes 'cat', 'dog', 'owl'"),
        (HALVES, [0.1000001], "0.1000001 in row 0"),
        (None, np.zeros((5, 2)), r"shape \[5, 2\], .* labels \[B\], .* 0 … 2, or numbers \[B, 3\]"),
        (WORDS, np.array([["cat"]]), r"shape \[1, 1\], .* one of 'cat', 'dog', 'owl'"),
        (WORDS, np.array([["cat"] * 3]), r"shape \[1, 3\], .* one of 'cat', 'dog', 'owl'"),
        (None, np.zeros((2, 2, 3)), r"shape \[2, 2, 3\]"),
        (None, [[0], [1, 2]], "must be one label for each row"),
        ((), [0, 1], r"takes 3 numbers for each row: give numbers \[B, 3\]"),
        (("a", "b"), ["a"], "the model has 2 for num_conditions=3: give as many"),
    ],
)
def test_unknown_classes_are_refused_in_one_line(classes, given, message):
    with pytest.raises(UsageError, match=message) as error:
        make(classes).given(given)
    assert "\n" not in str(error.value)


def test_masked_arrays_are_refused():
    labels = np.ma.masked_array([0, 1, 2], [False, True, False])
    with pytest.raises(
        DataError, match=r"^condition: 1 of 3 values are masked, the first in row 1"
    ):
        make().given(labels)
    with pytest.raises(DataError, match=r"^codes: 1 of 3 values are masked"):
        _shared.require_finite(codes=labels)
    make().given(np.ma.masked_array([0, 1, 2]))


def test_a_model_without_conditions_says_so():
    with pytest.raises(UsageError, match=r"takes 0 numbers .* make it with make_model\("):
        make(num=0).given([1, 2])


def test_many_classes_are_named_in_short():
    assert labels.named(tuple(range(100, 130))).endswith("109, … (30 in all)")
    assert labels.named(1000) == "0 … 999"


@pytest.mark.parametrize(
    ("classes", "given"),
    [(None, [1, 3, -1, 0]), (TENS, [20, 21, 1, 10]), (HALVES, np.float32([0.5, 0.6, 2, 0.1]))],
)
def test_under_jit_what_is_no_class_is_nan(classes, given):
    """Never a row of zeros, which would be a condition that says "no class"."""
    model = make(classes)
    params = initial(model)

    @jax.jit
    def see(given):
        own = model.given(given)
        return own.condition, own.decode(params, jnp.ones((4, L)))

    condition, decoded = see(jnp.asarray(given))
    expected = np.eye(3)[[1, 0, 0, 0]]
    expected[1:3] = np.nan
    np.testing.assert_array_equal(condition, expected)
    np.testing.assert_array_equal(np.isnan(decoded).all(axis=1), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(decoded).any(axis=1), [False, True, True, False])


def test_words_are_looked_at_outside_of_jit():
    with pytest.raises(UsageError, match=r"the classes are words .* outside of jit"):
        jax.jit(lambda c: make(WORDS).given(c).condition)(jnp.array([0]))
    inside = jax.jit(lambda: make(WORDS).given(["dog"]).condition)()
    np.testing.assert_array_equal(inside, [[0, 1, 0]])


def test_batches_hold_class_indices_whatever_the_users_labels():
    index = np.array([2, 0, 1], np.int32)
    for classes in (None, TENS, WORDS):
        model = make(classes)
        by_index = model.given_encoded(jnp.asarray(index)).condition
        np.testing.assert_array_equal(by_index, jax.nn.one_hot(index, 3))
        given = _conditions.given(model, {}, {"condition": jnp.asarray(index)})
        np.testing.assert_array_equal(given.condition, by_index)
        assert np.isnan(model.given_encoded(jnp.array([3, -1])).condition).all()


@pytest.mark.parametrize("unknown", [-1, np.nan, None, "", "  "])
def test_unknown_labels_are_minus_one(unknown):
    given = np.array([20, unknown, 10], object)
    found = labels.indices(given, TENS, what="labels", may_be_unknown=True)
    np.testing.assert_array_equal(found, [1, -1, 0])
    assert found.dtype == np.int32
    with pytest.raises(UsageError, match=r"^labels: .* in row 1 is none of the classes 10, 20, 30"):
        labels.indices(given, TENS, what="labels")


def test_minus_one_may_be_a_class():
    found = labels.indices([1, -1], (-1, 1), what="labels", may_be_unknown=True)
    np.testing.assert_array_equal(found, [1, 0])


def dataset_of(values, classes):
    digits = data.load("digits", num_valid=100)
    part = digits.train[np.arange(len(values))]
    part = dataclasses.replace(part, labels=np.asarray(values, np.int32))
    return dataclasses.replace(digits, train=part, valid=part, test=part, classes=classes)


@pytest.mark.parametrize("objective", ["cvae", "m2"])
@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        ([0, 1, 2] * 40, None, None),
        ([0, 1, 2] * 40, WORDS, WORDS),
        ([0, 2, 2] * 40, WORDS, ("cat", "owl")),
        ([30, 10, 20] * 40, None, TENS),
        ([0, 1, 2] * 40, TENS, TENS),
    ],
)
def test_a_run_takes_the_labels_of_its_data(objective, values, classes, expected):
    dataset = dataset_of(values, classes)
    flags = {"objective": objective, "latent_dim": "2", "widths": "4"}
    model = resolved.resolve([config.from_flags(flags)], dataset).model(2)
    assert model.classes == expected
    user = [values[0] if classes is None else classes[values[0]]]
    assert float(model.given(user).condition.sum()) == 1.0


def test_numbers_of_the_data_are_not_labels():
    dataset = dataset_of([0, 1] * 60, None)
    parts = {
        split: dataclasses.replace(dataset.train, condition=np.ones((120, 2), np.float32))
        for split in ("train", "valid", "test")
    }
    objective = objectives.bind("cvae", num_examples=120, condition="array")
    assert objective.conditions(dataclasses.replace(dataset, **parts)).classes == ()


def test_the_class_that_m2_finds_is_one_of_the_model(monkeypatch):
    model = make(WORDS)
    monkeypatch.setattr(m2, "_logits", lambda *_: jnp.eye(3)[jnp.array([2, 0])])
    given = m2.given(model, {"objective": None}, {"x": jnp.ones((2, *SHAPE))})
    np.testing.assert_array_equal(given.condition, np.eye(3)[[2, 0]])


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["cat", "-1", "dog", "", "NA"], ("cat", "dog")),
        (np.array(["cat", -1, "dog", None, np.nan], object), ("cat", "dog")),
        ([0, 1, -1, 2], (0, 1, 2)),
        ([0.0, np.nan, -1.0, 2.0], (0, 2)),
        ([-1, 1, 1, -1], (-1, 1)),
        ([-2, -1, 0, 1], (-2, -1, 0, 1)),
    ],
)
def test_unknown_labels_are_the_same_in_memory_and_in_a_file(values, classes, tmp_path):
    """−1 is unknown beside words as beside numbers, unless it must be a class."""
    assert labels.classes_in(values, what="labels") == classes
    found = labels.indices(values, classes, what="labels", may_be_unknown=True)
    assert sorted({*found.tolist()} - {-1}) == [*range(len(classes))]
    many = [*values] * 10
    x = np.random.default_rng(0).random((len(many), 4)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["" if v is None else str(v) for v in many]))
    words = any(isinstance(value, str) for value in classes)
    if not words:
        np.savez(tmp_path / "a.npz", x=x, y=np.array(many))
    read = data.load(tmp_path / "a.npz")
    assert (read.classes or tuple(range(len(classes)))) == classes
    share = np.mean(np.asarray(found) < 0)
    held = np.concatenate([read.train.labels, read.valid.labels, read.test.labels])
    assert np.mean(held < 0) == pytest.approx(share)
