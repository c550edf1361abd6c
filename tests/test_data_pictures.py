"""Pictures as users bring them: four pixels of known values in every mode, size and file."""

import dataclasses
import sys
import tracemalloc

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from vae_jax import data, looks
from vae_jax.data import _images, _pictures
from vae_jax.errors import DataError, UsageError
from vae_jax.lab import config, stored
from vae_jax.lab import pictures as drawing
from vae_jax.lab import train as training

FOUR = np.array([[10, 60], [110, 250]], np.uint8)
COLORS = np.stack([FOUR, FOUR[::-1], FOUR[:, ::-1]], axis=-1)
ALPHA = np.array([[255, 0], [51, 255]], np.uint8)


def load(folder, **options):
    return data.load(str(folder), scaling="none", num_valid=0, **options)


def write(folder, image, name="a.png", **options):
    """A picture to train on twice, one of them upside down, and one to test on."""
    for number, split in enumerate(("train", "train", "test")):
        path = folder / split / f"{number}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        own = image.transpose(PIL.Image.Transpose.FLIP_TOP_BOTTOM) if number == 1 else image
        own.save(path, **options)
    return folder


def first(dataset):
    return np.asarray(dataset.train.x[0])


def of(pixels, mode=None):
    image = PIL.Image.fromarray(pixels)
    return image if mode is None else image.convert(mode)


def merged(*channels, mode):
    return PIL.Image.merge(mode, [of(channel) for channel in channels])


def said(dataset, *texts):
    for text in texts:
        assert any(text in note for note in dataset.notes), dataset.notes


# --- Modes


def palette():
    image = PIL.Image.new("P", (2, 2))
    image.putpalette(COLORS.reshape(-1).tolist())
    image.putdata([0, 1, 2, 3])
    return image


BITS = PIL.Image.fromarray(FOUR > 100)
DEEP = FOUR.astype(np.uint16) * 257
BY_MODE = {
    "1 bit": (BITS, "a.png", (FOUR > 100)[..., None] * 1),
    "8 bits": (of(FOUR), "a.png", FOUR[..., None]),
    "16 bits": (of(DEEP), "a.png", DEEP[..., None]),
    "16 bits, tiff": (of(DEEP), "a.tif", DEEP[..., None]),
    "32 bits": (of(DEEP.astype(np.int32) * 2), "a.tif", DEEP[..., None].astype(np.int32) * 2),
    "float": (of(FOUR.astype(np.float32) / 8 - 9), "a.tif", FOUR[..., None] / 8 - 9),
    "color": (of(COLORS), "a.png", COLORS),
    "palette": (palette(), "a.png", COLORS),
    "palette of a gif": (palette(), "a.gif", COLORS),
    "gray and opaque": (merged(FOUR, FOUR | 255, mode="LA"), "a.png", FOUR[..., None]),
    "bmp": (of(COLORS), "a.bmp", COLORS),
    "webp": (of(COLORS), "a.webp", COLORS),
    "cmyk": (
        merged(255 - FOUR, 255 - FOUR[::-1], 255 - FOUR[:, ::-1], FOUR * 0, mode="CMYK"),
        "a.tif",
        COLORS,
    ),
}


@pytest.mark.parametrize("case", BY_MODE)
def test_pixels_of_each_mode_are_those_that_were_saved(tmp_path, case):
    image, name, expected = BY_MODE[case]
    options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    dataset = load(write(tmp_path, image, name, **options))
    found = first(dataset)
    assert found.shape == expected.shape == dataset.shape
    np.testing.assert_array_equal(found, expected)
    assert sum(row["what"].startswith("read") for row in dataset.manifest) == 3


def test_cielab_and_ycbcr_become_srgb(tmp_path):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    made = {"LAB": ImageCms.profileToProfile(of(COLORS), *profiles, outputMode="LAB")}
    if int(PIL.__version__.partition(".")[0]) > 10:  # older ones cannot read the TIFF they write
        made["YCbCr"] = of(COLORS, "YCbCr")
    for mode, image in made.items():
        dataset = load(write(tmp_path / mode, image, "a.tif"))
        np.testing.assert_allclose(first(dataset), COLORS, atol=8)
        said(dataset, "converted to sRGB")


def test_gray_among_color_is_color_and_depths_do_not_mix(tmp_path):
    write(tmp_path, of(COLORS))
    of(FOUR).save(tmp_path / "train" / "0a.png")
    dataset = load(tmp_path)
    np.testing.assert_array_equal(first(dataset), np.stack([FOUR] * 3, axis=-1))
    said(dataset, "1 gray pictures taken as color")
    (tmp_path / "train" / "0a.png").unlink()
    of(DEEP).save(tmp_path / "train" / "0a.tif")
    with pytest.raises(DataError, match=r"0a\.tif: has values of uint16, most of .* of uint8"):
        load(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_sizes_that_a_header_says_are_upright(tmp_path, suffix, orientation):
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"a.{suffix}"
    PIL.Image.new("L", (2, 5), 128).save(path, exif=exif)
    (page,), (picture,) = _pictures.pages(path, looks.Look()), _pictures.read(path, looks.Look())
    assert page.size == picture.pixels.shape[:2] == ((5, 2) if orientation < 5 else (2, 5))


# --- Transparency

OVER = {
    "white": FOUR * (ALPHA / 255) + 255 * (1 - ALPHA / 255),
    "black": FOUR * (ALPHA / 255),
    "#404040": FOUR * (ALPHA / 255) + 64 * (1 - ALPHA / 255),
}


@pytest.mark.parametrize("background", OVER)
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_pictures_are_put_on_a_background(tmp_path, mode, background):
    colors = [FOUR] if mode == "LA" else [FOUR, FOUR, FOUR]
    dataset = load(write(tmp_path, merged(*colors, ALPHA, mode=mode)), background=background)
    expected = np.stack([OVER[background]] * len(colors), axis=-1)
    np.testing.assert_allclose(first(dataset), expected, atol=1)
    said(dataset, f"3 pictures are transparent in places: composited over background={background}")


def test_a_background_has_its_own_color(tmp_path):
    dataset = load(
        write(tmp_path, merged(FOUR, FOUR, FOUR, FOUR * 0, mode="RGBA")), background="#0102ff"
    )
    assert first(dataset).reshape(-1, 3).tolist() == [[1, 2, 255]] * 4


def test_a_transparent_color_of_a_palette_or_of_gray_is_alpha(tmp_path):
    write(tmp_path / "palette", palette(), transparency=0)
    write(tmp_path / "gray", of(FOUR), transparency=10)
    for folder, own in (("palette", COLORS), ("gray", FOUR[..., None])):
        with pytest.raises(DataError, match="transparent in places: give background=white"):
            load(tmp_path / folder)
        expected = own.copy()
        expected[0, 0] = 255
        np.testing.assert_array_equal(first(load(tmp_path / folder, background="white")), expected)


def test_alpha_is_kept_as_the_last_channel(tmp_path):
    write(tmp_path, merged(FOUR, ALPHA, mode="LA"))
    expected = np.stack([FOUR, ALPHA], axis=-1)
    np.testing.assert_array_equal(first(load(tmp_path, background="alpha")), expected)
    of(COLORS).save(tmp_path / "test" / "2a.png")
    dataset = load(tmp_path, background="alpha")
    np.testing.assert_array_equal(first(dataset), np.stack([FOUR] * 3 + [ALPHA], axis=-1))
    np.testing.assert_array_equal(
        dataset.test.x[0], np.concatenate([COLORS, FOUR[..., None] | 255], -1)
    )


# --- Color profiles


def profile(gamma):
    """A gray or RGB profile that Pillow cannot make is made of sRGB's: other primaries."""
    raw = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(raw[128:132], "big")
    for entry in range(count):
        start = 132 + 12 * entry
        if raw[start : start + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            place = int.from_bytes(raw[start + 4 : start + 8], "big")
            curve = (
                b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big")
            )
            raw[place : place + len(curve)] = curve
            raw[start + 8 : start + 12] = len(curve).to_bytes(4, "big")
    return bytes(raw)


def test_a_color_profile_is_said_and_converted_if_asked(tmp_path):
    write(tmp_path, of(COLORS), icc_profile=profile(1.0))
    stored = load(tmp_path)
    np.testing.assert_array_equal(first(stored), COLORS)
    said(stored, "3 pictures have another color profile than sRGB, give icc=srgb to convert them")
    # linear light, as sRGB writes it
    light = COLORS / 255
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    converted = load(tmp_path, icc="srgb")
    np.testing.assert_allclose(first(converted), 255 * expected, atol=2)
    said(converted, "3 pictures were converted to sRGB from their own color profile")
    alpha = merged(*np.moveaxis(COLORS, -1, 0), ALPHA, mode="RGBA")
    write(tmp_path, alpha, icc_profile=profile(1.0))
    kept = first(load(tmp_path, icc="srgb", background="alpha"))
    np.testing.assert_array_equal(kept[..., 3], ALPHA)
    np.testing.assert_allclose(kept[..., :3], 255 * expected, atol=2)


def test_srgb_itself_is_kept_bit_for_bit_and_a_broken_profile_is_said(tmp_path):
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    dataset = load(write(tmp_path, of(COLORS), icc_profile=own), icc="srgb")
    np.testing.assert_array_equal(first(dataset), COLORS)
    assert not any("profile" in note for note in dataset.notes)
    broken = load(write(tmp_path, of(COLORS), icc_profile=own[:60]), icc="srgb")
    np.testing.assert_array_equal(first(broken), COLORS)
    said(broken, "3 pictures have a color profile that cannot be used")


# --- Sizes

WIDE = np.array([[0, 40, 80, 255], [0, 80, 120, 255]], np.uint8)
BY_LOOK = [
    # the middle two columns as they are
    ({"resize": (2, 2), "crop": "center"}, WIDE[:, 1:3]),
    ({"resize": (1, 1), "crop": "center"}, [[80]]),
    # the mean of two columns is that of a triangle over four, of the weights 1 3 3 1 at the ends
    ({"resize": (2, 4)}, WIDE),
    ({"resize": (4, 4), "pad": True}, np.pad(WIDE, ((1, 1), (0, 0)))),
    (
        {"resize": (4, 4), "pad": True, "background": "white"},
        np.pad(WIDE, ((1, 1), (0, 0)), constant_values=255),
    ),
    ({"resize": 1, "crop": "center"}, [[80]]),
]


@pytest.mark.parametrize(("options", "expected"), BY_LOOK, ids=lambda v: str(v)[:50])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_pictures_are_cropped_padded_and_resized(tmp_path, options, expected, kind):
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[kind]
    of((WIDE * np.float64(scale)).astype(kind)).save(tmp_path / "a.tif")
    usual = {"crop": "none", "pad": False, "background": None, "frames": "first", "icc": "stored"}
    (picture,) = _pictures.read(tmp_path / "a.tif", looks.make(**usual | options))
    assert picture.pixels.dtype == kind
    np.testing.assert_allclose(picture.pixels[..., 0], np.float64(expected) * scale, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"crop": "center"}, {"pad": True}])
def test_constant_pictures_of_any_size_stay_constant(tmp_path, options):
    sizes = [(3, 9), (9, 3), (5, 5), (1, 7)]
    for number, size in enumerate(sizes):
        PIL.Image.new("L", size, 50 * number + 50).save(tmp_path / f"{number}.png")
    dataset = load(tmp_path, resize=(4, 6), **options)
    rows = np.concatenate([dataset.train.x, dataset.test.x])[..., 0]
    assert rows.shape == (4, 4, 6)
    values = {frozenset(np.unique(row).tolist()) - {0} for row in rows}
    assert values == {frozenset({50 * n + 50}) for n in range(4)}
    said(dataset, "were resized to 6×4")
    is_told = any("stretched" in note for note in dataset.notes)
    assert is_told == (not options)


def test_transparent_edges_do_not_bleed_their_hidden_color(tmp_path):
    """Colors are averaged by their alpha: a hidden white pixel adds no white."""
    color = np.array([[90, 255]], np.uint8)
    alpha = np.array([[255, 0]], np.uint8)
    merged(color, alpha, mode="LA").save(tmp_path / "a.png")
    look = looks.Look(resize=(1, 1), background="alpha")
    (picture,) = _pictures.read(tmp_path / "a.png", look)
    np.testing.assert_allclose(picture.pixels[0, 0], [90, 127.5], atol=1)


def test_pictures_of_several_sizes_are_refused_with_the_flag(tmp_path):
    write(tmp_path, of(WIDE))
    of(FOUR).save(tmp_path / "test" / "2a.png")
    with pytest.raises(DataError, match=r"2a\.png: is 2×2 pixels, .* give resize=2,4, with crop"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "center"}, "crop=center: has no size to come to, give resize=64,64"),
        ({"pad": True}, "`pad=True`: has no size"),
        ({"resize": 4, "pad": True, "crop": "center"}, "crop=center: cuts what `pad=True` keeps"),
        ({"resize": 0}, "resize=0: must be a height and a width in pixels, 1 to"),
        ({"resize": (4, 4, 4)}, r"resize=\(4, 4, 4\): must be"),
        ({"resize": True}, "resize=True: must be"),
        ({"resize": 4, "crop": "middle"}, "crop='middle': must be one of none, center"),
        ({"frames": "last"}, "frames='last': must be one of first, all"),
        ({"icc": "rgb"}, "icc='rgb': must be one of stored, srgb"),
        ({"background": "purpl"}, "background='purpl': must be a color without"),
        ({"background": "#ffffff80"}, "background='#ffffff80': must be a color without"),
        ({"background": 3}, "background=3: must be a color"),
        ({"resize": 4, "pad": 1}, "pad=1: must be True or False"),
    ],
)
def test_settings_that_are_not_allowed_are_refused(tmp_path, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        load(write(tmp_path, of(FOUR)), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["digits", "a.csv", "a.txt", "a.npy"])
def test_settings_of_pictures_are_for_pictures(tmp_path, name):
    path = tmp_path / name
    path.write_text("a,b\n1,2\n3,4\n5,7\n")
    np.save(tmp_path / "a.npy", np.eye(4))
    with pytest.raises(UsageError, match=r"resize=4,4: is a setting of pictures, .*: leave it out"):
        load("digits" if name == "digits" else path, resize=(4, 4))


# --- Pages


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp"])
def test_pages_are_rows_if_all_are_asked_for(tmp_path, name):
    pages = [of(FOUR), of(FOUR // 2), of(FOUR // 4)]
    options = {"lossless": True} if name.endswith("webp") else {}
    write(tmp_path, pages[0], name, save_all=True, append_images=pages[1:], **options)
    alone = load(tmp_path)
    assert len(alone.train) == 2
    said(alone, "3 pictures have several frames, of which the first is read")
    dataset = load(tmp_path, frames="all")
    assert [len(dataset.train), len(dataset.test)] == [6, 3]
    for row, page in zip(dataset.test.x, pages, strict=True):
        np.testing.assert_array_equal(row[..., 0], np.asarray(page))
    assert [row["page"] for row in dataset.manifest] == [0, 1, 2] * 3


def test_one_file_of_pages_is_a_dataset(tmp_path):
    path = tmp_path / "stack.tif"
    pages = [of(FOUR // n) for n in range(1, 11)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"stack\.tif: is one file of pictures: give frames=all"):
        load(path)
    dataset = load(path, frames="all")
    rows = np.concatenate([dataset.train.x, dataset.test.x])[..., 0]
    assert len(dataset.sha256) == 64
    assert sorted(map(np.sum, rows)) == sorted(np.sum(np.asarray(p)) for p in pages)


# --- Labels in a table


def pictures(folder, names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        of(np.full((2, 2), number + 1, np.uint8)).save(path)
    return folder


def labels(dataset):
    """The user's label of each picture by the value of its pixels, None if unknown."""
    found = {}
    for split in (dataset.train, dataset.test):
        for row, label in zip(split.x, split.labels, strict=True):
            found[int(row.max())] = None if label < 0 else dataset.classes[label]
    return [found[value] for value in sorted(found)]


NAMES = [f"{n}.png" for n in range(6)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,label\n" + "\n".join(f"{n},{'ab'[i % 2]}" for i, n in enumerate(NAMES)), "ababab"),
        ("\n".join(f"{n[0]};{i}" for i, n in enumerate(NAMES)), [*range(6)]),
        ("id\tscore\tclass\n" + "\n".join(f"./{n}\t{i}\tx" for i, n in enumerate(NAMES)), "xxxxxx"),
        (
            "name,y\n" + "\n".join(f"{n},{10 - i}" for i, n in enumerate(NAMES[:5])),
            [10, 9, 8, 7, 6, None],
        ),
        (
            "name,y\n" + "\n".join(f"{n},{'' if i else 'a'}" for i, n in enumerate(NAMES)),
            ["a"] + [None] * 5,
        ),
        (
            "name,y\n" + "\n".join(f"{n},0{i}" for i, n in enumerate(NAMES)),
            [f"0{i}" for i in range(6)],
        ),
        ("\n".join(f"{5 - i},{n}" for i, n in enumerate(NAMES)), [5, 4, 3, 2, 1, 0]),
        ("\n".join(f"{i % 2},{i}" for i, n in enumerate(NAMES)), [0, 1] * 3),
    ],
)
def test_a_table_beside_pictures_has_their_labels(tmp_path, text, expected):
    pictures(tmp_path, NAMES)
    before = load(tmp_path)
    assert before.train.labels is None
    (tmp_path / "labels.csv").write_text(f"{text}\n")
    dataset = load(tmp_path)
    assert labels(dataset) == [*expected]
    assert dataset.sha256 != before.sha256
    # a run of before the table was read
    assert load(tmp_path, sha256=before.sha256).train.labels is None
    said(dataset, "labels.csv has the labels of")


def test_rows_and_pictures_without_a_match_are_named(tmp_path):
    pictures(tmp_path, NAMES)
    table = tmp_path / "labels.csv"
    table.write_text("name,y\n0.png,a\n1.png,b\nlost.png,b\n")
    dataset = load(tmp_path)
    said(dataset, "1 rows of labels.csv name no file: 'lost.png'", "4 pictures without a row")
    table.write_text("name,y\nx,a\ny,b\n")
    dataset = load(tmp_path)
    assert dataset.train.labels is None
    said(dataset, "labels.csv names none of the pictures: not used")


def test_paths_in_a_table_tell_pictures_of_one_name_apart(tmp_path):
    names = [f"{folder}/images/{n}.png" for folder in ("train", "test") for n in range(3)]
    pictures(tmp_path, names)
    (tmp_path / "labels.csv").write_text("".join(f"{n},{i}\n" for i, n in enumerate(names)))
    assert labels(load(tmp_path)) == [*range(6)]
    (tmp_path / "labels.csv").write_text("0.png,1\n")
    with pytest.raises(DataError, match=r"'0\.png' names 'te.*', 'tr.*': write the path of each"):
        load(tmp_path)
    (tmp_path / "labels.csv").unlink()
    for split in ("train", "test"):
        (tmp_path / split / "labels.csv").write_text("name,y\n0.png,a\n1.png,b\n2.png,b\n")
    assert labels(load(tmp_path)) == [*"abbabb"]


def test_folders_that_are_labels_come_before_a_table(tmp_path):
    pictures(tmp_path, ["cat/0.png", "cat/1.png", "dog/2.png", "dog/3.png"])
    before = load(tmp_path)
    (tmp_path / "labels.csv").write_text("name,y\n0.png,a\n1.png,b\n2.png,b\n")
    dataset = load(tmp_path)
    assert (dataset.classes, dataset.sha256) == (("cat", "dog"), before.sha256)
    said(dataset, "files that are not used: 'labels.csv'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,y\n0.png,a\n0.png,b\n", "gives 0.png the labels 'a' and 'b': leave one"),
        ("name,y\n0.png,a\n1.png\n", "has rows of 1, 2 cells"),
        ("0.png\n1.png\n", "has rows of 1 cells: must have a column of file names and one"),
        ("name,p,q\n0.png,a,b\n", "has the columns 'name', 'p', 'q', of which none or several"),
        (b"name,y\n0.png,\xff\n", "byte 13 is not UTF-8"),
        ("", "has rows of no cells"),
    ],
)
def test_a_table_that_says_no_labels_is_refused_in_a_line(tmp_path, content, message):
    pictures(tmp_path, NAMES)
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"labels\.csv: {message}") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


# --- Decoding


def test_pictures_are_decoded_once_and_a_change_is_seen(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_images, "_LEAST_CACHED", 1)
    decoded = []
    read = _pictures.read
    monkeypatch.setattr(_pictures, "read", lambda p, look: decoded.append(p) or read(p, look))
    folder = write(tmp_path / "pictures", of(FOUR))
    whole = load(folder)
    assert len(decoded) == 3
    again = load(folder)
    assert len(decoded) == 3
    for a, b in zip((whole.train, whole.test), (again.train, again.test), strict=True):
        np.testing.assert_array_equal(a.x, b.x, strict=True)
    assert (whole.manifest, whole.notes) == (again.manifest, again.notes)
    assert first(load(folder, resize=3)).shape == (3, 3, 1)
    assert len(decoded) == 6
    of(FOUR // 2).save(folder / "train" / "0a.png")
    changed = load(folder)
    assert len(decoded) == 9
    np.testing.assert_array_equal(first(changed)[..., 0], FOUR // 2)
    said(changed, "the source has changed and is read again")


def test_pixels_are_kept_for_each_look(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_images, "_LEAST_CACHED", 1)
    folder = write(tmp_path / "pictures", of(WIDE))
    whole = [first(load(folder, resize=2, **own)) for own in ({}, {"crop": "center"}) * 2]
    np.testing.assert_array_equal(whole[0], whole[2])
    np.testing.assert_array_equal(whole[1], whole[3])
    np.testing.assert_array_equal(whole[1][..., 0], WIDE[:, 1:3])
    assert (whole[0] != whole[1]).any()


def test_pictures_are_read_without_a_place_to_keep_them(tmp_path, monkeypatch):
    (tmp_path / "full").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "full"))
    monkeypatch.setattr(_images, "_LEAST_CACHED", 1)
    dataset = load(write(tmp_path / "pictures", of(FOUR)))
    np.testing.assert_array_equal(first(dataset)[..., 0], FOUR)
    said(dataset, "not cached, the next run reads the source again")


def test_reading_takes_less_than_twice_the_memory_of_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_images, "_LEAST_CACHED", 1)
    monkeypatch.setattr(_images, "_BLOCK_BYTES", 2**18)
    (tmp_path / "pictures").mkdir()
    for number in range(100):
        PIL.Image.new("RGB", (160, 160), (number, 2, 3)).save(tmp_path / f"pictures/{number}.bmp")
    for _ in range(2):  # from the files, and from the cache
        tracemalloc.start()
        dataset = load(tmp_path / "pictures")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * (dataset.train.x.nbytes + dataset.test.x.nbytes)


def test_streamed_pictures_stay_on_disk_and_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_images, "_BLOCK_BYTES", 9)  # two pictures
    folder = pictures(tmp_path / "pictures", NAMES)
    whole, streamed = load(folder), load(folder, loading="stream")
    assert streamed.streamed
    assert not isinstance(streamed.train.x, np.ndarray)
    for a, b in zip((whole.train, whole.test), (streamed.train, streamed.test), strict=True):
        np.testing.assert_array_equal(a.x, np.asarray(b.x), strict=True)


@pytest.mark.parametrize("workers", [1, 4])
def test_the_first_damaged_picture_is_named_by_any_number_of_threads(
    tmp_path, monkeypatch, workers
):
    monkeypatch.setattr(_pictures, "num_workers", lambda: workers)
    pictures(tmp_path, NAMES)
    raw = (tmp_path / "3.png").read_bytes()
    for name in ("3.png", "5.png"):
        (tmp_path / name).write_bytes(raw[:44])
    with pytest.raises(DataError, match=r"3\.png: not a readable image"):
        load(tmp_path)


BIG = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
DAMAGES = {
    "empty": lambda raw: b"",
    "a quarter": lambda raw: raw[: len(raw) // 4],
    "a half": lambda raw: raw[: len(raw) // 2],
    "text": lambda raw: b"this is no picture\n" * 9,
    "another kind": lambda raw: b"\x89PNG\r\n\x1a\n" + raw[8:],
    "without a head": lambda raw: bytes(32) + raw[32:],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "deflated.tif", "webp"])
def test_each_damage_of_each_format_is_one_line(tmp_path, suffix, damage):
    for number in range(4):
        options = {"compression": "tiff_deflate"} if suffix.startswith("deflated") else {}
        of(BIG).save(tmp_path / f"{number}.{suffix}", **options)
    raw = (tmp_path / f"2.{suffix}").read_bytes()
    if damage == "another kind" and suffix == "png":
        raw = raw[:8] + bytes(8) + raw[16:]
    (tmp_path / f"2.{suffix}").write_bytes(DAMAGES[damage](raw))
    with pytest.raises(DataError, match=rf"2\.{suffix}: not a readable image") as caught:
        load(tmp_path, resize=8)
    assert "\n" not in str(caught.value)


def test_damaged_exif_takes_no_picture_away_and_is_said(tmp_path):
    write(tmp_path, of(np.kron(FOUR, np.ones((8, 8), np.uint8))), "a.jpg", quality=100)
    path = tmp_path / "train" / "0a.jpg"
    whole = first(load(tmp_path))
    PIL.Image.open(path).save(
        path, exif=b"Exif\x00\x00" + b"MM\x00*\x00\x00\x00\x08\x00", quality="keep"
    )
    dataset = load(tmp_path)
    np.testing.assert_array_equal(first(dataset), whole)
    said(dataset, "1 pictures have damaged EXIF data")


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    pictures(tmp_path, NAMES)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 3)
    with pytest.raises(DataError, match=r"0\.png: not a readable image \(.*exceeds limit"):
        load(tmp_path)


def test_what_was_skipped_is_in_the_manifest(tmp_path):
    pictures(tmp_path, NAMES)
    (tmp_path / "notes.md").write_text("none")
    rows = load(tmp_path).manifest
    assert rows[-1] == {"file": "notes.md", "what": "skipped"}
    assert sorted(row["file"] for row in rows[:-1]) == NAMES


# --- Flags and run directories

GIVEN = {"resize": "8,6", "crop": "center", "background": "#fff", "frames": "all", "icc": "srgb"}


def test_settings_are_flags_and_identify_a_run():
    found = config.from_flags(GIVEN)
    assert (found.resize, found.pad) == ((8, 6), False)
    words = config.to_flags(dataclasses.replace(found, pad=True))
    assert {f"--{name}={value}" for name, value in GIVEN.items()} < {*words}
    assert "--pad=True" in words
    # of an older version that had none of them
    usual = config.default(found)
    assert not GIVEN.keys() & stored.identity_as_of(usual, (), usual).keys()
    assert GIVEN.keys() <= stored.identity_as_of(found, (), usual).keys()
    assert config.from_flags({"resize": "8"}).resize == (8, 8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resize": "8,8,8"}, "resize=8,8,8: must be a height and a width in pixels, 1 to"),
        ({"resize": "0"}, "resize=0: must be a height and a width"),
        ({"resize": "64x64"}, "resize=64x64: must be a height .*, such as 64,64"),
        ({"crop": "center"}, "crop=center: has no size to come to"),
        ({"crop": "middle"}, "crop=middle: unknown"),
        ({"frames": "last"}, "frames=last: unknown"),
    ],
)
def test_flags_that_do_not_fit_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        config.from_flags(values)


def test_a_run_directory_has_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "draw", lambda *_: [])
    pictures(tmp_path / "mine", NAMES)
    (tmp_path / "mine" / "notes.md").write_text("none")
    given = {"dataset": str(tmp_path / "mine"), "epochs": "0", "widths": "2", "resize": "2,2"}
    training.train([config.from_flags(given)], workdir=tmp_path / "run")
    lines = (tmp_path / "run" / "manifest.csv").read_text().splitlines()
    assert lines == ["file,what", *(f"{name},read" for name in NAMES), "notes.md,skipped"]
    assert "--resize=2,2" in (tmp_path / "run" / "command.txt").read_text()


# --- DICOM


def dicom(path, stored, **header):
    """A file of stored values as pydicom writes it."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    about = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    bits = stored.dtype.itemsize * 8
    about.Rows, about.Columns = stored.shape[-2:]
    about.BitsAllocated = about.BitsStored = bits
    about.HighBit = bits - 1
    about.SamplesPerPixel = 1
    about.PixelRepresentation = int(stored.dtype.kind == "i")
    about.PhotometricInterpretation = "MONOCHROME2"
    for name, value in header.items():
        setattr(about, name, value)
    about.PixelData = stored.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    about.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("stored", "header", "expected"),
    [
        (FOUR, {}, FOUR),
        (FOUR.astype(np.int16) - 100, {}, FOUR.astype(float) - 100),
        (DEEP, {"RescaleSlope": "0.5", "RescaleIntercept": "-1024"}, DEEP / 2 - 1024),
        (FOUR, {"PhotometricInterpretation": "MONOCHROME1"}, 255 - FOUR),
        (
            FOUR.astype(np.int16) - 100,
            {
                "PhotometricInterpretation": "MONOCHROME1",
                "RescaleSlope": "2",
                "RescaleIntercept": "5",
            },
            2.0 * (-1 - (FOUR.astype(float) - 100)) + 5,
        ),
    ],
)
def test_dicom_is_in_the_units_of_its_header(tmp_path, stored, header, expected):
    for number, split in enumerate(("train", "train", "test")):
        dicom(tmp_path / split / f"{number}.dcm", stored, **header)
    dataset = load(tmp_path)
    np.testing.assert_array_equal(first(dataset)[..., 0], expected)


def test_frames_and_sizes_of_dicom(tmp_path):
    stack = np.stack([FOUR, FOUR // 2])
    for number in range(3):
        dicom(tmp_path / f"{number}.dcm", stack + np.uint8(number), NumberOfFrames="2")
    assert sum(map(len, (load(tmp_path).train, load(tmp_path).test))) == 3
    dataset = load(tmp_path, frames="all", resize=1)
    rows = np.concatenate([dataset.train.x, dataset.test.x]).ravel()
    means = [np.rint((stack + n).mean(axis=(1, 2))) for n in range(3)]
    np.testing.assert_allclose(np.sort(rows), np.sort(np.concatenate(means)), atol=1)


def test_dicom_without_pydicom_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.dcm").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UsageError, match=r"a\.dcm: reading DICOM needs pydicom: pip install"):
        load(tmp_path)


def test_damaged_dicom_is_refused_in_a_line(tmp_path):
    pytest.importorskip("pydicom")
    (tmp_path / "a.dcm").write_bytes(b"no dicom\n" * 9)
    with pytest.raises(DataError, match=r"a\.dcm: not a readable DICOM file") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
