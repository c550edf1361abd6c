"""Our own datasets, the splits, the checks, and the rule that a dataset is one file."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vae_jax.data
from vae_jax import data
from vae_jax.data import _npy, sprites
from vae_jax.data._dataset import Split, divide, sha256_of_arrays
from vae_jax.errors import DataError, UsageError

BINARIZED = "binarized_mnist/binarized_mnist_packedbits.npz"


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def all_sprites(shape, scales=range(6), rotations=range(40), x=16, y=16):
    """Pictures [len(scales), len(rotations), 64, 64] of one shape."""
    factors = [[shape, s, r, x, y] for s in scales for r in rotations]
    pictures = jax.jit(sprites.render)(np.array(factors, np.int32))
    return np.asarray(pictures).reshape(len(scales), len(rotations), 64, 64)


def test_names_are_the_modules():
    assert data.names() == ["binarized_mnist", "digits", "freyfaces", "sprites"]


def test_a_dataset_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "ramp.py").write_text(
        "import numpy as np\n"
        "from vae_jax.data._dataset import Split, image_dataset\n"
        "def load(data_dir, num_valid=None):\n"
        "    x = np.arange(40, dtype=np.uint8).reshape(10, 2, 2, 1)\n"
        "    parts = {'all': Split(x)}\n"
        "    return image_dataset('ramp', parts, num_valid, num_levels=256, sha256='')\n"
    )
    monkeypatch.setattr(vae_jax.data, "__path__", [*vae_jax.data.__path__, str(tmp_path)])
    assert "ramp" in data.names()
    assert data.load("ramp", num_valid=2).shape == (2, 2, 1)


# --- Splits


@pytest.mark.parametrize("num_rows", [3, 9, 10, 1797])
def test_divide_deals_each_row_once_and_always_the_same(num_rows):
    whole = Split(np.arange(num_rows), labels=np.arange(num_rows) % 7)
    splits = divide({"all": whole}, name="x")
    train, valid, test = (split.x for split in splits)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([train, valid, test])), np.arange(num_rows)
    )
    assert len(valid) == len(test) == max(1, num_rows // 10)
    for split, again in zip(splits, divide({"all": whole}, name="x"), strict=True):
        np.testing.assert_array_equal(split.x, again.x)
        np.testing.assert_array_equal(split.labels, split.x % 7)
        assert np.all(np.diff(split.x) > 0)


@pytest.mark.parametrize(("num_rows", "expected"), [(1_000, 100), (60_000, 5_000)])
def test_divide_holds_validation_out_of_train_alone(num_rows, expected):
    test = Split(np.arange(7) - 100)
    parts = {"train": Split(np.arange(num_rows)), "test": test}
    train, valid, kept = divide(parts, name="x")
    assert kept is test
    assert len(valid) == expected
    np.testing.assert_array_equal(np.sort(np.r_[train.x, valid.x]), np.arange(num_rows))


def test_divide_without_validation_keeps_train_whole_and_in_order():
    parts = {"train": Split(np.ones((5, 2, 3), np.uint8)), "test": Split(np.ones((4, 2, 3)))}
    train, valid, _ = divide(parts, 0, name="x")
    np.testing.assert_array_equal(train.x, parts["train"].x)
    assert valid.x.shape == (0, 2, 3)
    assert valid.x.dtype == np.uint8
    assert len(valid) == 0


def test_test_rows_do_not_depend_on_num_valid():
    whole = {"all": Split(np.arange(100))}
    np.testing.assert_array_equal(divide(whole, 30, name="x")[2].x, divide(whole, name="x")[2].x)


@pytest.mark.parametrize("num_valid", [-1, 90, 1_000])
def test_divide_refuses_to_leave_nothing_to_train_on(num_valid):
    with pytest.raises(UsageError, match=f"num_valid={num_valid}: must be >= 0 and leave"):
        divide({"all": Split(np.arange(100))}, num_valid, name="x")


def test_the_hash_of_arrays_is_of_dtype_shape_values_and_order():
    zeros = np.zeros((2, 3), np.int8)
    arrays = [
        [zeros],
        [zeros.astype(np.uint8)],
        [zeros.reshape(3, 2)],
        [zeros + np.int8(1)],
        [zeros, zeros.reshape(3, 2)],
        [zeros.reshape(3, 2), zeros],
    ]
    hashes = [sha256_of_arrays(each) for each in arrays]
    assert len(set(hashes)) == len(arrays)
    assert sha256_of_arrays([np.asfortranarray(zeros)]) == hashes[0]


# --- Digits


def test_digits_are_those_of_scikit_learn(digits):
    import sklearn.datasets

    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    assert [len(s) for s in (digits.train, digits.valid, digits.test)] == [1439, 179, 179]
    assert digits.shape == (8, 8, 1)
    assert digits.num_levels == 17
    assert digits.train.x.dtype == np.uint8
    decoded = np.concatenate(
        [jax.jit(digits.decode)(s.x) for s in (digits.train, digits.valid, digits.test)]
    )
    ours = np.concatenate([digits.train.labels, digits.valid.labels, digits.test.labels])

    def key(x, y):
        return sorted(map(tuple, np.c_[x.reshape(-1, 64), y].tolist()))

    assert key(decoded * 16, ours) == key(images, labels)


def test_digits_are_found_where_scikit_learn_keeps_them_elsewhere(digits, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    again = data.load("digits")
    assert again.sha256 == digits.sha256
    np.testing.assert_array_equal(again.train.x, digits.train.x)


def test_decoded_levels_are_k_over_the_greatest(digits):
    decoded = np.asarray(jax.jit(digits.decode)(digits.train.x))
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(np.unique(decoded), np.arange(17, dtype=np.float32) / 16)


# --- Sprites


def test_the_grid_of_sprites_is_whole_and_y_is_fastest():
    dataset = data.load("sprites")
    rows = np.concatenate([s.x for s in (dataset.train, dataset.valid, dataset.test)])
    assert len(rows) == 737_280
    order = np.ravel_multi_index(rows.T, sprites.FACTOR_SIZES)
    np.testing.assert_array_equal(np.sort(order), np.arange(737_280))
    assert np.ravel_multi_index((0, 0, 0, 0, 1), sprites.FACTOR_SIZES) == 1
    assert dataset.factor_sizes == (3, 6, 40, 32, 32)
    assert len(dataset.factor_names) == 5
    np.testing.assert_array_equal(dataset.test.factors, dataset.test.x)
    np.testing.assert_array_equal(dataset.test.labels, dataset.test.x[:, 0])
    assert jax.eval_shape(dataset.decode, dataset.test.x[:3]).shape == (3, *dataset.shape)


@pytest.mark.parametrize(("shape", "period"), [(0, 10), (1, 20), (2, 40)])
def test_rotations_differ_until_the_shape_meets_itself(shape, period):
    pictures = all_sprites(shape)
    for of_one_scale in pictures:
        assert len({picture.tobytes() for picture in of_one_scale}) == period
    np.testing.assert_array_equal(pictures, np.roll(pictures, period, axis=1))


def test_a_quarter_turn_of_the_factor_is_a_quarter_turn_of_the_picture():
    # The centre at pixel 32 has 31 pixels to one side and 32 to the other: leave out the first.
    for shape in range(3):
        pictures = all_sprites(shape)[:, :, 1:, 1:]
        turned = np.rot90(pictures, axes=(2, 3))
        np.testing.assert_array_equal(np.roll(pictures, -10, axis=1), turned)


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_area_grows_with_the_scale_as_its_square(shape):
    area = all_sprites(shape).sum(axis=(2, 3)).mean(axis=1)
    assert np.all(np.diff(area) > 0)
    np.testing.assert_allclose(area / area[-1], np.linspace(0.5, 1, 6) ** 2, rtol=0.03)


def test_areas_are_those_of_geometry():
    exact = [4 * 10.3**2, np.pi * 14.7 * 8.9, 3.66197 * 10.3**2]
    ours = [all_sprites(shape, [5]).sum(axis=(2, 3)).mean() for shape in range(3)]
    np.testing.assert_allclose(ours, exact, rtol=0.01)


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_a_step_of_position_is_a_pixel_and_nothing_is_cut_off(shape):
    def at(x, y):
        return all_sprites(shape, [0, 5], range(0, 40, 3), x, y)

    centre = at(16, 16)
    np.testing.assert_array_equal(at(17, 16), np.roll(centre, 1, axis=3))
    np.testing.assert_array_equal(at(16, 17), np.roll(centre, 1, axis=2))
    for x, y in ((0, 0), (0, 31), (31, 0), (31, 31)):
        corner = at(x, y)
        np.testing.assert_array_equal(corner.sum(axis=(2, 3)), centre.sum(axis=(2, 3)))
        assert corner[..., 0, :].max() == corner[..., -1, :].max() == 0
        assert corner[..., :, 0].max() == corner[..., :, -1].max() == 0


def test_shapes_differ_and_the_compiled_picture_is_the_eager_one():
    factors = np.array([[s, z, 7, 3, 9] for s in range(3) for z in range(6)], np.int32)
    eager = np.asarray(sprites.render(jnp.asarray(factors)))
    np.testing.assert_array_equal(eager, jax.jit(sprites.render)(factors))
    assert set(np.unique(eager)) == {0.0, 1.0}
    assert len({picture.tobytes() for picture in eager}) == 18


# --- Files of the data directory


def test_packed_bits_are_unpacked_as_numpy_does(data_dir):
    dataset = data.load("binarized_mnist", data_dir=data_dir)
    assert [len(s) for s in (dataset.train, dataset.valid, dataset.test)] == [
        50_000,
        10_000,
        10_000,
    ]
    assert dataset.test.x.shape == (10_000, 98)
    ours = jax.jit(dataset.decode)(dataset.test.x)
    theirs = np.unpackbits(np.load(data_dir / BINARIZED)["test"], axis=1)[:, :784]
    np.testing.assert_array_equal(np.asarray(ours).reshape(-1, 784), theirs)
    assert ours.dtype == jnp.float32
    with pytest.raises(UsageError, match="comes with its own 10000 rows for validation"):
        data.load("binarized_mnist", data_dir=data_dir, num_valid=10)


def test_freyfaces_keep_their_values(data_dir):
    dataset = data.load("freyfaces", data_dir=data_dir, num_valid=0)
    assert dataset.shape == (28, 20, 1)
    assert len(dataset.train) + len(dataset.test) == 1965
    assert dataset.train.labels is None
    stored = np.concatenate([dataset.train.x, dataset.test.x])
    assert (stored.min(), stored.max()) == (8, 238)
    np.testing.assert_allclose(
        jax.jit(dataset.decode)(dataset.train.x), dataset.train.x / np.float32(255), rtol=1e-6
    )


@pytest.mark.parametrize("name", ["freyfaces", "binarized_mnist"])
def test_a_missing_file_is_named_with_the_way_out(name, tmp_path):
    with pytest.raises(DataError) as error:
        data.load(name, data_dir=tmp_path)
    for part in (str(tmp_path / name), "`data_dir`", "VAE_JAX_DATA_DIR"):
        assert part in str(error.value)


def test_another_content_is_named_with_both_hashes(data_dir, tmp_path):
    images = _npy.read(data_dir / "freyfaces/freyfaces.npz", "images")
    images[7, 3, 2] ^= 1
    (tmp_path / "freyfaces").mkdir()
    np.savez(tmp_path / "freyfaces/freyfaces.npz", images=images)
    with pytest.raises(DataError, match=r"SHA-256 .* is [0-9a-f]{64}, expected b0ec1a9c"):
        data.load("freyfaces", data_dir=tmp_path)


def test_the_data_directory_is_that_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_JAX_DATA_DIR", str(tmp_path / "ours"))
    with pytest.raises(DataError, match=str(tmp_path / "ours")):
        data.load("freyfaces")
    monkeypatch.delenv("VAE_JAX_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=str(tmp_path / "cache/vae_jax/data/freyfaces")):
        data.load("freyfaces")


# --- Bad arguments


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "digit"}, "dataset 'digit' is unknown (did you mean digits?)"),
        ({"name": "fashion_mnits"}, "did you mean fashion_mnist?"),
        ({"name": ""}, "name='': must be the name of a dataset, or a path"),
        ({"name": "no/such.npz"}, "dataset 'no/such.npz': no such file"),
        ({"name": "../digits"}, "dataset '../digits': no such file"),
        ({"name": "_cache"}, "dataset '_cache' is unknown"),
        ({"name": "a\0b"}, "is unknown"),
        ({"name": "x" * 300}, "is unknown"),
        ({"name": "x/" * 3000}, "no such file"),
        ({"name": "digits", "scaling": "best"}, "scaling='best': must be one of auto, unit, none"),
        ({"name": "digits", "data_dir": "/no/such"}, "data_dir=/no/such: no such folder"),
        ({"name": "digits", "num_valid": 5_000}, "num_valid=5000: must be >= 0 and leave"),
        *(
            ({"name": "digits", setting: value}, f"{setting}={value!r}: must be an integer")
            for setting in ("num_valid", "window", "hop")
            for value in (1.5, 3.0, "3", True, np.float64(2))
        ),
    ],
)
def test_bad_arguments_are_refused_in_one_line(kwargs, message):
    with pytest.raises(UsageError) as error:
        data.load(**kwargs)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# --- Likelihood against values; dynamic binarization


def test_check_lets_through_what_fits(digits):
    continuous = dataclasses.replace(digits, num_levels=None, low=-1.0, high=1.0)
    for requires in ("unit", "levels", "real"):
        data.check(digits, requires, what="likelihood=any")
    data.check(continuous, "real", what="likelihood=gaussian")
    data.check(dataclasses.replace(continuous, low=0.0), "unit", what="likelihood=bernoulli")


@pytest.mark.parametrize(
    ("requires", "low", "high", "remedy"),
    [
        ("unit", -1.0, 1.0, "scaling=unit"),
        ("unit", 0.0, 1.5, "scaling=unit"),
        ("unit", np.nan, np.nan, "scaling=unit"),
        ("levels", 0.0, 1.0, "uint8"),
    ],
)
def test_check_refuses_what_does_not_fit_and_names_the_remedy(digits, requires, low, high, remedy):
    dataset = dataclasses.replace(digits, num_levels=None, low=low, high=high)
    with pytest.raises(DataError) as error:
        data.check(dataset, requires, what="likelihood=bernoulli")
    assert str(error.value).startswith("likelihood=bernoulli: needs")
    assert f"[{low:.4g}, {high:.4g}]" in str(error.value)
    assert remedy in str(error.value)


def test_check_knows_only_three_requirements(digits):
    with pytest.raises(ValueError, match="requires='odd'"):
        data.check(digits, "odd", what="likelihood=odd")


def test_binarize_draws_each_pixel_with_its_own_probability():
    x = jnp.broadcast_to(jnp.array([0.0, 0.3, 1.0])[None, :, None, None], (20_000, 3, 1, 1))
    key = jax.random.key(0)
    drawn = jax.jit(data.binarize)(key, x)
    assert drawn.dtype == jnp.float32
    assert drawn.shape == x.shape
    assert set(np.unique(drawn)) == {0.0, 1.0}
    mean = np.asarray(drawn.mean(axis=0)).ravel()
    assert mean[0] == 0
    assert mean[2] == 1
    assert abs(mean[1] - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 20_000)
    np.testing.assert_array_equal(drawn, data.binarize(key, x))


def test_a_copy_of_rows_is_one():
    x = np.arange(6.0).reshape(3, 2)
    copied = np.array(data.Rows(x))
    copied[0] = 9
    assert x[0].tolist() == [0, 1]
    assert np.shares_memory(np.asarray(data.Rows(x)), x)
