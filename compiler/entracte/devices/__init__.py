"""Devices: what executes packages. One small protocol, three implementations.

`null` counts bytes and computes nothing; `reference` executes MLPackages with torch on any
machine; `coreml` hands them to Core ML on macOS. Importing this package imports none of them.
The first two can also load less than a package at once (`PagedDevice`).
"""

from entracte.devices.protocol import Device, Handle, PagedDevice

__all__ = ["Device", "Handle", "PagedDevice"]
