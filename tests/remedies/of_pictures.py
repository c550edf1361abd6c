"""What is said of a user's pictures and recordings, and of the tables of their labels."""

import os
import re

import numpy as np
import PIL.Image
import pytest
import test_data_pictures as _pictures_test
import test_data_recordings as _recordings_test

from vae_jax import memory
from vae_jax.data import _images, _pictures

from ._cases import at, attempt, tries
from .of_data import DATA, PICTURES, RNG, draw, load, notes

LOOKS = "vae_jax/looks.py"
OPTIONS = r"(resize|crop|background|frames|icc)=(\S+?)[;,:]?(?: |$)"


def options_of(message):
    """The settings of pictures that a message names, as `data.load` takes them."""
    found = dict(re.findall(OPTIONS, message.partition(": ")[2]))
    if "resize" in found:
        found["resize"] = tuple(map(int, found["resize"].split(",")))
    return found


def wide(folder):
    """Pictures of which one has another shape; the path of that."""
    draw(folder)
    PIL.Image.fromarray(PICTURES[0][:2]).save(folder / "wide.png")
    return folder


def see_through(folder, mode="RGBA"):
    """Pictures of which one is transparent in places."""
    draw(folder, np.stack([PICTURES] * 3, axis=-1))
    hidden = PIL.Image.fromarray(RNG.integers(0, 200, (4, 5, 4), np.uint8)).convert(mode)
    hidden.save(folder / "000.png")
    return folder


def labeled(folder, text):
    """Pictures with a table of labels, the path of which is returned."""
    draw(folder)
    path = folder / "labels.csv"
    path.write_text(text)
    return path


# --- Settings


@tries(at(LOOKS, "Look.refuse")("is a setting of pictures, …: leave it out"))
def a_setting_of_pictures_for_others(folder, patch):
    yield attempt(load, "digits", resize=4)
    yield attempt(load, "digits")


@tries(at(LOOKS, "check_together")("has no size to come to, give resize=64,64, say"))
def a_crop_without_a_size(folder, patch):
    draw(folder)
    message = yield attempt(load, folder, crop="center")
    yield attempt(load, folder, **{"crop": "center"} | options_of(message))


@tries(at(LOOKS, "check_together")("crop=center: cuts what `pad=True` keeps: give one of them"))
def a_crop_and_a_pad(folder, patch):
    draw(folder)
    yield attempt(load, folder, resize=3, crop="center", pad=True)
    yield attempt(load, folder, resize=3, crop="center")
    yield attempt(load, folder, resize=3, pad=True)


@tries(at(LOOKS, "size")("resize=…: must be a height and a width in pixels, 1 to …: give (64, 64)"))
def a_size_of_three(folder, patch):
    draw(folder)
    message = yield attempt(load, folder, resize=(4, 4, 4))
    yield attempt(load, folder, resize=eval(re.search(r"give (\(.*?\))", message)[1]))


@tries(at(LOOKS, "_check_background")("give white, black or #808080, for example"))
def a_background_that_is_no_color(folder, patch):
    see_through(folder)
    message = yield attempt(load, folder, background="purpl")
    for color in re.search(r"give (.*), for", message)[1].replace(" or ", ", ").split(", "):
        yield attempt(load, folder, background=color)
    yield attempt(load, folder, background="alpha")


# --- Sizes, colors, pages

own = at(DATA + "_images.py", "_form")


@tries(own("give resize=…,…, with crop=center or `pad=True` to keep their shape"))
def pictures_of_two_sizes(folder, patch):
    message = yield attempt(load, wide(folder))
    size = options_of(message)["resize"]
    yield attempt(load, folder, resize=size)
    yield attempt(load, folder, resize=size, crop="center")
    yield attempt(load, folder, resize=size, pad=True)


@tries(own("all must be of one depth; convert it, or leave it out"))
def pictures_of_two_depths(folder, patch):
    draw(folder, [*PICTURES, 257 * PICTURES[0].astype(np.uint16)])
    message = yield attempt(load, folder)
    path = message.partition(": ")[0]
    deep = np.asarray(PIL.Image.open(path))
    PIL.Image.fromarray((deep // 257).astype(np.uint8)).save(path)
    yield attempt(load, folder)
    os.remove(path)
    yield attempt(load, folder)


@tries(at(DATA + "_images.py", "read")("give frames=all to read each of its pages, or the path"))
def one_file_of_pages(folder, patch):
    first, *others = map(PIL.Image.fromarray, PICTURES)
    path = folder / "a.tif"
    first.save(path, save_all=True, append_images=others)
    message = yield attempt(load, path)
    yield attempt(load, path, **options_of(message))
    draw(folder / "pictures")
    yield attempt(load, folder / "pictures")


@tries(at(DATA + "_images.py", "_alike")("repair it, or leave it out"))
def a_picture_that_changes_while_it_is_read(folder, patch):
    draw(folder)
    pages = _pictures.pages
    longer = attempt(lambda path, look: pages(path, look) * (1 + (path.name == "003.png")))
    patch.setattr(_images._pictures, "pages", longer)
    message = yield attempt(load, folder)
    path = message.partition(": ")[0]
    patch.setattr(_images._pictures, "pages", pages)
    yield attempt(load, folder)
    patch.setattr(_images._pictures, "pages", longer)
    os.remove(path)
    yield attempt(load, folder)


own = at(DATA + "_pictures.py", "_on_background")


@tries(own("give background=white, or another color to put it on, or background=alpha to keep"))
def a_transparent_picture(folder, patch):
    message = yield attempt(load, see_through(folder))
    for background in re.findall(r"background=(\w+)", message):
        yield attempt(load, folder, background=background)


@tries(at(DATA + "_pictures.py", "_refuse_alpha")("leave it out, or convert the picture"))
def alpha_of_a_deep_picture(folder, patch):
    draw(folder, PICTURES.astype(np.uint16) * 257)
    yield attempt(load, folder, background="alpha")
    yield attempt(load, folder)
    draw(folder)
    yield attempt(load, folder, background="alpha")


@tries(at(DATA + "_pictures.py", "_fitted")("give crop=center or `pad=True` to keep theirs"))
def pictures_that_are_stretched(folder, patch):
    wide(folder)
    yield attempt(notes, "stretched", folder, resize=(4, 5))
    yield attempt(notes, "stretched", folder, resize=(4, 5), crop="center")
    yield attempt(notes, "stretched", folder, resize=(4, 5), pad=True)


@tries(at(DATA + "_pictures.py", "_in_srgb")("give icc=srgb to convert them"))
def pictures_of_another_color_profile(folder, patch):
    draw(folder, np.stack([PICTURES] * 3, axis=-1))
    PIL.Image.open(folder / "000.png").save(
        folder / "000.png", icc_profile=_pictures_test.profile(1.0)
    )
    yield attempt(notes, "give icc=srgb", folder)
    yield attempt(notes, "give icc=srgb", folder, icc="srgb")


@tries(at(DATA + "_dicom.py", "read")("convert it to uncompressed DICOM or to PNG"))
def dicom_without_all_its_pixels(folder, patch):
    pytest.importorskip("pydicom")
    for number, picture in enumerate(PICTURES):
        _pictures_test.dicom(folder / f"{number}.dcm", picture, Rows=5 if number == 2 else 4)
    message = yield attempt(load, folder, resize=4)
    _pictures_test.dicom(folder / "2.dcm", PICTURES[2])
    assert message.startswith(str(folder / "2.dcm"))
    yield attempt(load, folder, resize=4)


# --- Tables of labels


@tries(at(DATA + "_label_files.py", "_refuse_two_labels")("leave one of the rows out"))
def two_labels_of_one_picture(folder, patch):
    path = labeled(folder, "name,y\n000.png,a\n001.png,b\n000.png,b\n")
    yield attempt(load, folder)
    path.write_text("name,y\n000.png,a\n001.png,b\n")
    yield attempt(load, folder)


@tries(at(DATA + "_label_files.py", "_of_table")("write the path of each from here"))
def a_name_of_two_pictures(folder, patch):
    for split in ("train", "test"):
        draw(folder / split)
    (folder / "labels.csv").write_text("000.png,a\n001.png,b\n")
    message = yield attempt(load, folder)
    paths = re.search(r"names '(.*?)', '(.*?)': write", message).groups()
    (folder / "labels.csv").write_text("".join(f"{path},a\n" for path in paths))
    yield attempt(load, folder)


@tries(at(DATA + "_label_files.py", "_rows")("is not UTF-8: convert it, for instance with iconv"))
def labels_that_are_no_utf_8(folder, patch):
    path = labeled(folder, "")
    path.write_bytes("name,y\n000.png,chêne\n001.png,b\n".encode("latin-1"))
    yield attempt(load, folder)
    path.write_bytes(path.read_bytes().decode("latin-1").encode())
    yield attempt(load, folder)


@tries(at(DATA + "_label_files.py", "_rows")("write it again, or leave it out"))
def labels_without_cells(folder, patch):
    path = labeled(folder, "name,y\n000.png,a\n001.png\n")
    yield attempt(load, folder)
    path.write_text("name,y\n000.png,a\n001.png,b\n")
    yield attempt(load, folder)
    path.unlink()
    yield attempt(load, folder)


@tries(at(DATA + "_label_files.py", "_column_of_labels")("call the one of labels so"))
def two_columns_of_labels(folder, patch):
    path = labeled(folder, "name,p,q\n000.png,a,1\n001.png,b,2\n")
    message = yield attempt(load, folder)
    for word in re.search(r"called (.*?): call", message)[1].replace(" or ", ", ").split(", "):
        path.write_text(f"name,p,{word}\n000.png,a,1\n001.png,b,2\n")
        yield lambda: load(folder).classes == (1, 2) or 1 / 0


# --- Recordings


def recordings(folder, num=6):
    """Recordings of 16 bits in a folder, which is returned."""
    for number in range(num):
        _recordings_test.write(folder / f"{number}.wav", RNG.integers(-999, 999, 2000))
    return folder


@tries(at(DATA + "_part.py", "Reading.refuse_sound")("is a setting of recordings, …: leave it out"))
def a_setting_of_sound_for_others(folder, patch):
    yield attempt(load, "digits", sound="raw")
    yield attempt(load, "digits")


own = at(DATA + "_recordings.py", "read")


@tries(own("give window=16 to cut it into series of 16, or the path of a folder of recordings"))
def one_recording(folder, patch):
    path = _recordings_test.write(folder / "a.wav", RNG.integers(-999, 999, 9000))
    message = yield attempt(load, path)
    yield attempt(load, path, window=int(re.search(r"window=(\d+)", message)[1]))
    yield attempt(load, recordings(folder / "several"))


@tries(at(DATA + "_recordings.py")("give fewer or shorter recordings"))
def recordings_of_too_much_memory(folder, patch):
    patch.setenv(memory.VARIABLE, str(200_000 / 2**30))
    yield attempt(load, recordings(folder / "many", 40))
    yield attempt(load, recordings(folder / "few", 3))
    for path in (folder / "many").iterdir():
        _recordings_test.write(path, RNG.integers(-999, 999, 50))
    yield attempt(load, folder / "many")


@tries(at(DATA + "_recordings.py", "_framing")("resample it, or leave it out"))
def a_recording_of_another_rate(folder, patch):
    recordings(folder)
    _recordings_test.write(folder / "9.wav", RNG.integers(-999, 999, 2000), rate=16000)
    message = yield attempt(load, folder)
    path = folder / "9.wav"
    assert message.startswith(str(path))
    _recordings_test.write(path, RNG.integers(-999, 999, 1000))
    yield attempt(load, folder)
    path.unlink()
    yield attempt(load, folder)


own = at(DATA + "_recordings.py", "_read_file")


@tries(own("is no recording of integers (…): save it as 16-bit PCM"))
def a_recording_of_floats(folder, patch):
    path = recordings(folder) / "0.wav"
    raw = bytearray(path.read_bytes())
    raw[20:22] = (3).to_bytes(2, "little")  # the format of floats
    path.write_bytes(raw)
    yield attempt(load, folder)
    _recordings_test.write(path, RNG.integers(-999, 999, 2000))
    yield attempt(load, folder)


@tries(own("fetch it again, or leave it out"))
def a_recording_that_ends_early(folder, patch):
    path = recordings(folder) / "0.wav"
    raw = path.read_bytes()
    path.write_bytes(raw[:-99])
    yield attempt(load, folder)
    path.write_bytes(raw)
    yield attempt(load, folder)
    path.unlink()
    yield attempt(load, folder)


@tries(at("vae_jax/sounds.py", "Framing.check_bands")("give fewer mel_bands, or a longer frame"))
def bands_without_a_frequency(folder, patch):
    message = yield attempt(load, recordings(folder), mel_bands=100)
    yield attempt(load, folder, mel_bands=20)
    length = int(re.search(r"frame_length=(\d+)", message)[1])
    yield attempt(load, folder, mel_bands=100, frame_length=length)


own = at("vae_jax/sounds.py", "make")


@tries(own("is of sound=mel: leave it out"))
def a_hop_of_raw_frames(folder, patch):
    recordings(folder)
    yield attempt(load, folder, sound="raw", frame_hop=8)
    yield attempt(load, folder, sound="raw")
    yield attempt(load, folder, sound="mel", frame_hop=8)


@tries(own("give at most frame_hop=…"))
def a_hop_of_more_than_a_frame(folder, patch):
    message = yield attempt(load, recordings(folder), frame_length=64, frame_hop=70)
    hop = int(re.search(r"at most frame_hop=(\d+)", message)[1])
    yield attempt(load, folder, frame_length=64, frame_hop=hop)
