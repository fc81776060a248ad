"""Weights of a network from a local file, which may hold tensors and nothing else."""

import hashlib
import os
import pickle
import pickletools
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_SHOWN = 3
_BLOCK = 2**20
_CALLS = {"GLOBAL", "INST", "STACK_GLOBAL"}  # opcodes that name what is called
_UNREADABLE = (  # what a reader raises, by where the file was cut
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AssertionError,
    struct.error,
)
_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which checkpoints of others keep the weights."""
_PARALLEL = "module."  # what DataParallel writes before each name


def load_weights(
    network: nn.Module, path: Any, *, what: str, unused: Sequence[str] = ()
) -> str:
    """Put the weights of a file into `network` and return the SHA-256 of the file.

    Parameters
    ----------
    network : torch.nn.Module
    path : str or path-like
        A file of `torch.save` that holds a dict of names and tensors, or a file of
        safetensors. It is read as data: no code in it runs.
    what : str
        What errors call the network.
    unused : sequence of str, default=()
        Beginnings of names that may be in the file and are not looked at.

    Returns
    -------
    sha256 : str
        In hexadecimal digits.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, holds code, or holds the weights of another network.
    """
    file = _existing(path)
    digest = _sha256(file)
    state = _tensors_of(_read(file), file)
    if all(k.startswith(_PARALLEL) for k in state):
        state = {k.removeprefix(_PARALLEL): v for k, v in state.items()}
    state = {k: v for k, v in state.items() if not k.startswith(tuple(unused))}
    _check_same(state, network.state_dict(), file, what)
    network.load_state_dict({**network.state_dict(), **state})
    return digest


def _existing(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            "weights must be None, for random ones, or the path of a local file, got "
            f"{path!r}."
        )
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"weights must be the path of a local file, got {str(path)!r}, where there "
            "is none. Nothing is downloaded: fetch the file first, or pass "
            "weights=None for random features."
        )
    return file


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _read(file: Path) -> Any:
    """Return what a file holds, as data."""
    damaged = (
        f"weights={str(file)!r} cannot be read: the file is damaged, cut short, or no "
        "file of weights. Fetch it again, and compare its SHA-256 with the one that "
        "its source gives."
    )
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except SafetensorError as error:
            raise ValueError(f"{damaged} ({error})") from error
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # the name of a class or function to be called
        called = re.search(r"GLOBAL (\S+)", str(error))
        if called or _holds_calls(file):
            name = f" ({called[1]})" if called else ""
            raise ValueError(
                f"weights={str(file)!r} holds objects other than tensors{name}, which "
                "only code in the file could build, so it is not read: that code could "
                "do anything here. Where you trust it, load it yourself once, call "
                "torch.save(model.state_dict(), path), and pass that path."
            ) from error
        raise ValueError(damaged) from error  # torch would advise to run its code
    except _UNREADABLE as error:
        raise ValueError(f"{damaged} ({_first_line(error)})") from error


def _holds_calls(file: Path) -> bool:
    """Return whether a file is a pickle that calls something; nothing of it runs."""
    with file.open("rb") as stream:
        try:
            found = {operation.name for operation, _, _ in pickletools.genops(stream)}
        except (ValueError, UnicodeDecodeError):
            return False
    return bool(found & _CALLS)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]


def _tensors_of(found: Any, file: Path) -> dict[str, Tensor]:
    """Return names and tensors, which checkpoints may hold among other things."""
    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if (
        not isinstance(found, Mapping)
        or not found
        or not all(isinstance(k, str) for k in found)
        or not all(isinstance(v, Tensor) for v in found.values())
    ):
        raise ValueError(
            f"weights={str(file)!r} must hold a dict of names and tensors, as "
            f"torch.save(model.state_dict(), path) writes it, got {_kind(found)}."
        )
    return dict(found)


def _kind(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"a {type(found).__name__}"
    return f"a dict with the keys {', '.join(map(repr, [*found][:_SHOWN]))}, ..."


def _check_same(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: Path, what: str
) -> None:
    """Raise where names or shapes differ, and say in what."""
    both = [k for k in expected if k in state]
    shapes = [
        f"{k} {tuple(state[k].shape)} in place of {tuple(expected[k].shape)}"
        for k in both
        if state[k].shape != expected[k].shape
    ]
    # older files have no counts of batches, which evaluation does not use
    counts = ".num_batches_tracked"
    missing = [k for k in expected if k not in state and not k.endswith(counts)]
    differences = [
        f"{label}: {', '.join(found[:_SHOWN])}"
        + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        for label, found in (
            ("missing in the file", missing),
            ("not in the network", [k for k in state if k not in expected]),
            ("of another shape", shapes),
        )
        if found
    ]
    if differences:
        raise ValueError(
            f"weights={str(file)!r} must be those of {what}, and are of another "
            "network: name that one as backbone, or pass a file of this one. "
            f"{'; '.join(differences)}."
        )
    broken = [k for k in both if not torch.isfinite(state[k].float()).all()]
    if broken:
        raise ValueError(
            f"weights={str(file)!r} must be finite, and {broken[0]} is not."
        )
