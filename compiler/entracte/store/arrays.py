"""Files of arrays: safetensors whose header follows from the arrays' ports alone.

So a reader parses nothing: the file begins with exactly these bytes and is exactly so long, or it
is refused. The header is filled up with spaces, so that the data begins on a page of any device
and can be mapped; arrays lie in the order of their ports, wider types first, without gaps.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

from entracte.ir import DType, Port

__all__ = ["PAGE_BYTES", "header_of", "in_order", "places_of"]

PAGE_BYTES = 16 << 10
"""Of Apple's devices: memory that Metal borrows begins on one."""
_NAMES = {DType.FP16: "F16", DType.FP32: "F32", DType.INT32: "I32"}


def in_order(ports: Sequence[Port]) -> tuple[Port, ...]:
    """As they lie in a file: wider types first, so that each array begins at a multiple of its
    element's bytes."""
    return tuple(sorted(ports, key=lambda p: -p.dtype.width_bytes))


def places_of(ports: Sequence[Port]) -> tuple[tuple[int, int], ...]:
    """Start and stop of each array's bytes, from the first byte of the data on."""
    places, at = [], 0
    for port in ports:
        places.append((at, at + port.size_bytes))
        at += port.size_bytes
    return tuple(places)


def header_of(ports: Sequence[Port]) -> bytes:
    """All that stands before the data: the header's length in 8 bytes, JSON, spaces."""
    body = {
        port.name: {
            "dtype": _NAMES[port.dtype],
            "shape": list(port.shape),
            "data_offsets": list(place),
        }
        for port, place in zip(ports, places_of(ports), strict=True)
    }
    text = json.dumps(body, separators=(",", ":")).encode()
    size = -(-(8 + len(text)) // PAGE_BYTES) * PAGE_BYTES - 8
    return struct.pack("<Q", size) + text.ljust(size)
