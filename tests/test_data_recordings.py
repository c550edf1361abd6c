"""Recordings: frames of samples and of mel bands with known answers, and the way back."""

import wave

import numpy as np
import pytest

from vae_jax import data, sounds
from vae_jax.errors import DataError, UsageError

RATE = 8000
RNG = np.random.default_rng(0)


def write(path, samples, rate=RATE, width=2, channels=1):
    """Integers [n] or [n, channels] as a .wav file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        raw = np.asarray(samples).reshape(-1)
        if width == 1:
            file.writeframes((raw + 128).astype(np.uint8).tobytes())
        else:
            file.writeframes(raw.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes())
    return path


def clips(folder, num=6, length=1000):
    """Recordings of integers of 16 bits, of several lengths; returns them."""
    made = [RNG.integers(-(2**15), 2**15, length + 100 * n) for n in range(num)]
    for number, samples in enumerate(made):
        write(folder / f"{number}.wav", samples)
    return made


def load(path, **options):
    return data.load(str(path), num_valid=0, **options)


def said(dataset, text):
    assert any(text in note for note in dataset.notes), dataset.notes


def whole(x):
    """A series without the NaN after its end."""
    return x[~np.isnan(x).all(axis=-1)]


# --- Frames


@pytest.mark.parametrize("scaling", ["auto", "none", "unit"])
def test_raw_frames_become_the_same_samples_again(tmp_path, scaling):
    made = clips(tmp_path)
    dataset = load(
        tmp_path,
        sound="raw",
        frame_length=64,
        scaling=scaling,
    )
    assert (dataset.kind, dataset.shape) == ("sequence", (24, 64))
    found = {}
    for split in (dataset.train, dataset.test):
        for x in split.x:
            samples = np.rint(dataset.wave(x) * 2**15).astype(int)
            found[len(whole(x))] = samples
    for samples in made:
        own = found[-(-len(samples) // 64)]
        if scaling == "unit":  # clips what test has beyond train
            continue
        np.testing.assert_array_equal(own[: len(samples)], samples)
        assert not own[len(samples) :].any()


@pytest.mark.parametrize("frame", [256, 512])
@pytest.mark.parametrize("hop", [0.25, 0.5, 1])
def test_white_noise_has_its_variance_in_each_band(frame, hop):
    framing = sounds.make(RATE, frame_length=frame, frame_hop=int(hop * frame))
    frames = framing.frames(RNG.normal(0, 0.1, 200_000))
    energies = np.exp(frames).mean(axis=0)
    assert frames.shape[1] == framing.bands
    np.testing.assert_allclose(energies, 0.01, rtol=0.15)


def test_a_tone_is_in_the_band_of_its_frequency_and_silence_is_the_floor():
    framing = sounds.make(RATE)
    # HTK's mel scale, with M + 2 edges from 0 to half the rate
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    centers = 700 * (10 ** (np.linspace(0, top, framing.bands + 2)[1:-1] / 2595) - 1)
    for band in (5, 15, 25):
        tone = 0.5 * np.sin(2 * np.pi * centers[band] * np.arange(RATE) / RATE)
        assert set(np.argmax(framing.frames(tone)[1:-1], axis=1)) == {band}
    np.testing.assert_allclose(framing.frames(np.zeros(999)), np.log(1e-8), rtol=1e-6)


def test_the_sound_of_bands_has_these_bands():
    framing = sounds.make(RATE)
    time = np.arange(4000) / RATE
    noise = framing.frames(RNG.normal(0, 0.1, len(time)) * np.exp(-3 * time))
    again = framing.frames(framing.wave(noise))
    assert np.abs(noise - again).mean() < 0.3
    tone = framing.frames(0.5 * np.sin(2 * np.pi * 440 * time))
    spectrum = np.abs(np.fft.rfft(framing.wave(tone)[:4000]))
    assert abs(np.fft.rfftfreq(4000, 1 / RATE)[np.argmax(spectrum)] - 440) < 40
    again = framing.frames(framing.wave(tone))
    is_loud = tone[1:-1] > tone.max() - 3
    assert np.abs(tone - again)[1:-1][is_loud].mean() < 0.3


@pytest.mark.parametrize("num_samples", [1, 255, 256, 257, 384, 385, 1000])
def test_frames_cover_every_sample_and_no_more(num_samples):
    for framing in (sounds.make(RATE), sounds.make(RATE, sound="raw")):
        num = framing.num_frames(num_samples)
        assert len(framing.frames(np.ones(num_samples))) == num
        assert (num - 1) * framing.hop + framing.frame >= num_samples
        assert num == 1 or (num - 2) * framing.hop + framing.frame < num_samples


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_defaults_are_near_32_milliseconds(rate):
    framing = sounds.make(rate)
    assert 0.022 < framing.frame / rate < 0.046
    assert framing.hop * 2 == framing.frame


# --- Files


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_integers_of_any_width_are_read(tmp_path, width):
    top = 2 ** (8 * width - 1)
    samples = [[-top, 0, top // 2, top - 1], [0, 1, -1, top // 4], [1, 2, 3, 4]]
    for number, own in enumerate(samples):
        write(tmp_path / ("test" if number == 2 else "train") / f"{number}.wav", own, width=width)
    dataset = load(tmp_path, sound="raw", frame_length=4, scaling="none")
    np.testing.assert_allclose(dataset.train.x[:, 0], np.array(samples[:2]) / top, atol=1e-7)


def test_channels_are_averaged_and_said(tmp_path):
    both = np.array([[100, 300], [-100, 100], [0, 2], [8, -8]])
    for number in range(3):
        write(tmp_path / f"{number}.wav", both * (number + 1), channels=2)
    dataset = load(tmp_path, sound="raw", frame_length=4, scaling="none")
    rows = np.concatenate([dataset.train.x, dataset.test.x])[:, 0] * 2**15
    assert sorted(rows[:, 0].tolist()) == [200, 400, 600]
    said(dataset, "3 recordings have several channels: averaged")


def test_labels_and_splits_of_recordings(tmp_path):
    for split in ("train", "test"):
        for word in ("no", "yes"):
            clips(tmp_path / "folders" / split / word, 3)
    dataset = load(tmp_path / "folders")
    assert dataset.classes == ("no", "yes")
    assert [len(dataset.train), len(dataset.test)] == [6, 6]
    clips(tmp_path / "table")
    lines = (f"{n}.wav,{'ab'[n % 2]}\n" for n in range(6))
    (tmp_path / "table" / "labels.csv").write_text("".join(lines))
    dataset = load(tmp_path / "table")
    assert dataset.classes == ("a", "b")
    said(dataset, "6 recordings of 0.125 to 0.188 s at 8,000 samples per second")


def test_one_recording_is_cut_in_time(tmp_path):
    path = write(tmp_path / "long.wav", np.arange(8000))
    with pytest.raises(DataError, match=r"long\.wav: is one recording, .* give window=16"):
        load(path)
    dataset = load(path, window=10, sound="raw", frame_length=8, scaling="none")
    assert dataset.shape == (10, 8)
    assert dataset.train.x.max() < dataset.test.x.min()
    np.testing.assert_array_equal(
        np.rint(dataset.wave(dataset.test.x[-1]) * 2**15), np.arange(7920, 8000)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sound": "mfcc"}, "sound='mfcc': must be one of mel, raw"),
        ({"sound": "raw", "frame_hop": 8}, "frame_hop=8: is of sound=mel: leave it out"),
        ({"sound": "raw", "mel_bands": 8}, "mel_bands=8: is of sound=mel"),
        ({"frame_length": 64, "frame_hop": 65}, "frame_hop=65: leaves out samples between"),
        ({"frame_length": 0}, "frame_length=0: must be an integer, 1 or more"),
        ({"frame_length": 2.5}, r"frame_length=2\.5: must be an integer"),
        ({"mel_bands": 200}, "mel_bands=200: some hold no frequency of frames of 256"),
        ({"frame_length": 2**21}, "frame_length=2097152: must be at most"),
    ],
)
def test_settings_of_sound_that_do_not_fit_are_refused(tmp_path, options, message):
    clips(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        load(tmp_path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["digits", "a.npy", "a.txt"])
def test_settings_of_sound_are_for_recordings(tmp_path, name):
    np.save(tmp_path / "a.npy", np.eye(4))
    (tmp_path / "a.txt").write_text("ab\ncd\nef\n")
    path = name if name == "digits" else tmp_path / name
    with pytest.raises(UsageError, match=r"sound=raw: is a setting of recordings, .*: leave it"):
        load(path, sound="raw")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable recording"),
        (b"RIFF\x00\x00\x00\x00WAVE", "is no recording of integers|not a readable recording"),
        (b"no sound at all" * 9, "is no recording of integers .*: save it as 16-bit PCM"),
    ],
)
def test_damaged_recordings_are_refused_in_a_line(tmp_path, content, message):
    clips(tmp_path)
    (tmp_path / "3.wav").write_bytes(content)
    with pytest.raises(DataError, match=rf"3\.wav: ({message})") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_recordings_that_end_early_or_have_another_rate_are_named(tmp_path):
    clips(tmp_path)
    raw = (tmp_path / "3.wav").read_bytes()
    (tmp_path / "3.wav").write_bytes(raw[:-100])
    with pytest.raises(DataError, match=r"3\.wav: holds 1,250 of the 1,300 samples"):
        load(tmp_path)
    write(tmp_path / "3.wav", np.arange(1000), rate=16000)
    with pytest.raises(DataError, match=r"3\.wav: has 16,000 samples per second, most of"):
        load(tmp_path)


def test_what_is_written_is_read_again(tmp_path):
    samples = RNG.integers(-(2**15), 2**15, 500)
    content = sounds.encode([samples / 2**15, np.array([2.0, -2.0])], RATE)
    for number in range(3):
        (tmp_path / f"{number}.wav").write_bytes(content)
    x = load(tmp_path, sound="raw", frame_length=4504, scaling="none").test.x[0, 0]
    found = np.rint(x * 2**15).astype(int)
    np.testing.assert_array_equal(found[:500], samples)
    assert not found[500:2500].any()
    assert found[2500:2502].tolist() == [2**15 - 1, -(2**15)]


def test_only_recordings_become_sound():
    with pytest.raises(UsageError, match="digits: holds no recordings"):
        data.load("digits").wave(np.zeros((2, 2)))
