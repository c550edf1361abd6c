"""Sounds as series of frames, and back: raw samples, or the log energies of mel bands.

A recording of n samples becomes T frames [T, C]. Raw frames do not overlap: C = `frame` samples
each. Frames of mel bands overlap, C = `bands`; from them a recording is only estimated.
"""

import dataclasses
import functools
import io
import math
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.errors import UsageError, shown

__all__ = ["KINDS", "Framing", "encode", "make"]

KINDS = ("mel", "raw")
"""Values of sound."""
_SECONDS = 0.032  # of a frame, about: the next power of two
_BANDS = 40
_FLOOR = 1e-8  # of energy, 80 dB below a square wave; 16 bits round with 1e-10
_NUM_ITERATIONS = 60
_HIGHEST = 2**20


@dataclasses.dataclass(frozen=True)
class Framing:
    """How a recording becomes frames.

    Attributes:
        kind: 'mel' or 'raw'.
        rate: samples per second.
        frame: samples of a frame, F.
        hop: samples from a frame to the next; F for raw frames.
        bands: mel bands, M; not used for raw frames.
    """

    kind: str
    rate: int
    frame: int
    hop: int
    bands: int

    @property
    def num_channels(self) -> int:
        """C, the numbers of a frame (a count)."""
        return self.frame if self.kind == "raw" else self.bands

    def num_frames(self, num_samples: int) -> int:
        """T, the frames of a recording with so many samples (a count)."""
        return 1 + max(0, -(-(num_samples - self.frame) // self.hop))

    def frames(self, wave: np.ndarray) -> np.ndarray:
        """A recording as frames; silence fills the last one.

        Args:
            wave: [n], samples in [−1, 1).

        Returns:
            [T, C] float32: samples, or the natural logarithm of the mean energy in each band, plus
            a floor of 1e-8, where white noise of variance s² has s² in every band.

        Reference:
            Davis and Mermelstein 1980 (triangular bands on the mel scale).
        """
        framed = self._framed(np.asarray(wave, np.float64))
        if self.kind == "raw":
            return framed.astype(np.float32)
        energy = np.square(np.abs(np.fft.rfft(framed * self._window))) / np.sum(self._window**2)
        return np.log(energy @ self._weights.T + _FLOOR).astype(np.float32)

    def wave(self, frames: np.ndarray) -> np.ndarray:
        """Frames as a recording: exact for raw frames, an estimate of mel bands.

        The estimate finds samples whose frames have energies like those of the bands, alternating
        between energies and phases.

        Args:
            frames: [T, C]; NaN after the end is left out.

        Returns:
            [n] float64 in [−1, 1].

        Reference:
            Griffin and Lim 1984, Signal estimation from modified short-time Fourier transform,
            equation 6.
        """
        frames = np.asarray(frames, np.float64)
        frames = frames[~np.isnan(frames).all(axis=1)]
        if self.kind == "raw":
            return np.clip(np.nan_to_num(frames.reshape(-1)), -1, 1)
        bands = np.maximum(np.exp(np.nan_to_num(frames)) - _FLOOR, 0)
        energy = _nonnegative(self._weights, bands) * np.sum(self._window**2)
        spectrum = np.sqrt(energy).astype(complex)
        for _ in range(_NUM_ITERATIONS):
            own = np.fft.rfft(self._framed(self._overlapped(spectrum)) * self._window)
            spectrum = np.sqrt(energy) * own / np.maximum(np.abs(own), 1e-12)
        return np.clip(self._overlapped(spectrum), -1, 1)

    def check_bands(self) -> None:
        """Refuses bands [M] of which some hold no frequency of a frame.

        Raises:
            UsageError: there are too many.
        """
        if not self._weights.any(axis=1).all():
            raise UsageError(
                f"mel_bands={self.bands}: some hold no frequency of frames of {self.frame} samples:"
                f" give fewer mel_bands, or a longer frame, frame_length={4 * self.frame} say"
            )

    def _framed(self, wave: np.ndarray) -> np.ndarray:
        """Frames [T, F] of samples [n]."""
        num_frames = self.num_frames(len(wave))
        padded = np.zeros((num_frames - 1) * self.hop + self.frame)
        padded[: len(wave)] = wave
        every = np.lib.stride_tricks.sliding_window_view(padded, self.frame)
        return every[:: self.hop]

    def _overlapped(self, spectrum: np.ndarray) -> np.ndarray:
        """The samples [n] whose windowed frames are closest to spectra [T, F // 2 + 1]."""
        framed = np.fft.irfft(spectrum, self.frame) * self._window
        total = np.zeros((len(framed) - 1) * self.hop + self.frame)
        weight = np.zeros_like(total)
        for number, own in enumerate(framed):
            place = slice(number * self.hop, number * self.hop + self.frame)
            total[place] += own
            weight[place] += self._window**2
        return total / np.maximum(weight, 1e-3)

    @functools.cached_property
    def _window(self) -> np.ndarray:
        """Hann's window, [F]."""
        return np.sin(np.pi * (np.arange(self.frame) + 0.5) / self.frame) ** 2

    @functools.cached_property
    def _weights(self) -> np.ndarray:
        """The share of each frequency in each band, [M, F // 2 + 1]; each row sums to 1."""
        frequencies = np.fft.rfftfreq(self.frame, 1 / self.rate)
        highest = 2595 * math.log10(1 + self.rate / 2 / 700)
        edges = 700 * (10 ** (np.linspace(0, highest, self.bands + 2) / 2595) - 1)
        low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        rise = (frequencies - low) / (middle - low)
        fall = (high - frequencies) / (high - middle)
        weights = np.maximum(0, np.minimum(rise, fall))
        return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)


def encode(waves: Sequence[np.ndarray], rate: int) -> bytes:
    """Sounds one after the other, as the content of a .wav file of 16 bits.

    Args:
        waves: samples [n] in [−1, 1], each; a quarter of a second of silence follows.
        rate: samples per second (scalar).
    """
    pause = np.zeros(rate // 4)
    samples = np.concatenate([part for own in waves for part in (own, pause)])
    file = io.BytesIO()
    with wave.open(file, "wb") as held:
        held.setnchannels(1)
        held.setsampwidth(2)
        held.setframerate(rate)
        held.writeframes(np.clip(np.rint(samples * 2**15), -(2**15), 2**15 - 1).astype("<i2"))
    return file.getvalue()


def _nonnegative(weights: np.ndarray, bands: np.ndarray) -> np.ndarray:
    """Energies [T, F'] ≥ 0 whose bands weights [M, F'] · energies are close to bands [T, M].

    Reference:
        Lee and Seung 2001, Algorithms for non-negative matrix factorization, theorem 1, with fixed
        weights.
    """
    energy = bands @ (weights / np.maximum(weights.sum(axis=0), 1e-9))
    for _ in range(_NUM_ITERATIONS):
        energy = energy * (bands @ weights) / np.maximum(energy @ weights.T @ weights, 1e-30)
    return energy


def make(
    rate: int,
    *,
    sound: str | None = None,
    frame_length: int | None = None,
    frame_hop: int | None = None,
    mel_bands: int | None = None,
) -> Framing:
    """A framing from settings, with defaults by the rate of samples.

    Args:
        rate: samples per second (scalar).
        sound: one of `KINDS`; None means 'mel'.
        frame_length: samples of a frame; None: the power of two next to 32 ms.
        frame_hop: samples from a frame to the next; None: half a frame, of raw frames a whole one.
        mel_bands: a count; None: 40, or fewer for short frames.

    Raises:
        UsageError: a value is not allowed, or two do not go together.
    """
    kind = "mel" if sound is None else sound
    if kind not in KINDS:
        raise UsageError(f"sound={shown(sound)}: must be one of {', '.join(KINDS)}")
    given = {"frame_length": frame_length, "frame_hop": frame_hop, "mel_bands": mel_bands}
    for name, value in given.items():
        _refuse_no_count(name, value)
    if kind == "raw":
        for name in ("frame_hop", "mel_bands"):
            if given[name] is not None:
                raise UsageError(f"{name}={given[name]}: is of sound=mel: leave it out")
    frame = frame_length or 2 ** round(math.log2(max(_SECONDS * rate, 4)))
    hop = frame if kind == "raw" else frame_hop or max(1, frame // 2)
    if hop > frame:
        raise UsageError(
            f"frame_hop={hop}: leaves out samples between frames of {frame}: give at most"
            f" frame_hop={frame}"
        )
    framing = Framing(kind, rate, frame, hop, mel_bands or min(_BANDS, max(1, frame // 8)))
    if kind == "mel":
        framing.check_bands()
    return framing


def _refuse_no_count(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name}={shown(value)}: must be an integer, 1 or more")
    if value > _HIGHEST:
        raise UsageError(f"{name}={value}: must be at most {_HIGHEST}")
