"""Fixtures of the reference device's tests: packages are made with coremltools, quietly."""

from __future__ import annotations

import logging
import os

os.environ.setdefault("TQDM_DISABLE", "1")
logging.getLogger("coremltools").setLevel(logging.ERROR)

import warnings  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def make(tmp_path):
    """Factory of `packages.Maker`s that write below the test's own folder."""
    from packages import Maker

    return Maker(tmp_path)
