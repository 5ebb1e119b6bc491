"""The Swift package: it builds without a warning, and its own tests pass."""

import re

from tests.swift import built, done


def test_its_own_tests_pass():
    chain = built()
    ran = done(chain.swift("test", "--skip-build"))
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said[-8000:]
    counted = re.search(r"Test run with (\d+) tests passed", said)
    assert counted is not None and int(counted[1]) >= 4, said[-2000:]
