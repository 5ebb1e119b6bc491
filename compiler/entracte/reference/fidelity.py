"""How close a result is to the right one."""

import math

import numpy as np

__all__ = ["psnr"]


def psnr(reference: np.ndarray, other: np.ndarray) -> float:
    """20 log10(max |reference| / root mean square error) in dB; infinite when equal.

    Of a result that is not finite where the reference is: minus infinity.
    """
    wanted = np.asarray(reference, np.float64)
    error = np.asarray(other, np.float64) - wanted
    if not np.isfinite(error).all():
        return -math.inf
    rms = math.sqrt(float(np.mean(error**2))) if error.size else 0.0
    peak = float(np.abs(wanted).max()) if wanted.size else 0.0
    if rms == 0.0:
        return math.inf
    return 20 * math.log10(peak / rms) if peak > 0 else -math.inf
