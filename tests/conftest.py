"""What all tests share: one thread, real digits, and the device of the GPU tests."""

import os

# scipy reads it once, when it is imported; without it scikit-learn skips a check
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import pytest
import torch
from sklearn.datasets import load_digits


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        default=None,
        help="cuda, cuda:<n> or mps for the tests marked gpu; the first one that is "
        "here by default",
    )


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits():
    """500 digits of 64 pixels in 0..16 and their labels; not to be changed."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:500], y[:500]
    X.setflags(write=False)
    return X, y


@pytest.fixture(scope="session")
def accelerator(request):
    """The device that tests marked gpu run on."""
    named = request.config.getoption("--device")
    if named is not None:
        return named
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    pytest.skip("no CUDA or MPS device here")
