"""Sounds as .wav: the writer of `run/outputs.py`'s audio, sample by sample as they are made."""

import wave
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.run.comment import comment_wave
from entracte.run.spool import Spool

if TYPE_CHECKING:
    import numpy as np

_MOST_BYTES = 2**32 - 2**12
_MOST_CHANNELS = 65535
_MOST_RATE = 2**31 - 1


def to_samples(sound: Any, low: float = -1.0, high: float = 1.0) -> "np.ndarray":
    """(1, samples) or (1, channels, samples) -> int16 (samples, channels).

    round(32767 (2 (x - low) / (high - low) - 1)) in fp32, half to even, within -32768 to 32767; NaN
    is silence.
    """
    import numpy as np

    array = np.asarray(sound, dtype=np.float32)[0]
    rows = array.reshape(-1, array.shape[-1]).T
    if (low, high) != (-1.0, 1.0):
        rows = 2 * ((rows - np.float32(low)) / np.float32(high - low)) - 1
    levels = np.clip(np.rint(np.nan_to_num(rows * 32767.0)), -32768, 32767)
    made: np.ndarray = levels.astype("<i2")
    return made


def wave_fault(shape: tuple[int, ...], rate: float) -> str | None:
    """What keeps a sound out of a .wav; None where nothing does."""
    channels = shape[1] if len(shape) == 3 else 1
    if rate != int(rate) or not 1 <= rate <= _MOST_RATE:
        return f".wav has whole numbers of samples a second, not {rate:g}"
    if channels > _MOST_CHANNELS:
        return f".wav has at most {_MOST_CHANNELS} channels, not {channels}"
    if 2 * channels * shape[-1] > _MOST_BYTES:
        return f".wav holds at most {_MOST_BYTES} bytes, not {2 * channels * shape[-1]}"
    return None


class Wave:
    """A .wav of 16 bits that grows."""

    def __init__(self, path: Path, shape: tuple[int, ...], rate: float, metadata: str = "") -> None:
        self._path, self._metadata = path, metadata
        self._file = wave.open(str(path), "wb")  # noqa: SIM115 (closed by `finish` and `abandon`)
        self._file.setnchannels(shape[1] if len(shape) == 3 else 1)
        self._file.setsampwidth(2)
        self._file.setframerate(int(rate))

    def take(self, samples: "np.ndarray") -> None:
        """The next samples."""
        self._file.writeframesraw(samples.tobytes())

    def finish(self, _: Mapping[str, Spool]) -> None:
        """All samples came: their number is written."""
        self._file.writeframes(b"")
        self._file.close()
        if self._metadata:
            comment_wave(self._path, self._metadata)

    def abandon(self) -> None:
        """It is not to be."""
        with suppress(Exception):
            self._file.close()
