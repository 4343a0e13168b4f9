"""Fixtures of all scenarios."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import node  # noqa: E402

_missing = {}


@pytest.fixture(params=node.BACKENDS)
def io(request):
    """Each way the node does its input and output; io_uring only where the kernel lets it."""
    if request.param == "uring":
        if "uring" not in _missing:
            _missing["uring"] = node.uring_missing()
        if _missing["uring"]:
            pytest.skip(_missing["uring"])
    return request.param
