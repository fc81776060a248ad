"""A file that a killed fit resumes from, and no other fit."""

import contextlib
import hashlib
import inspect
import os
import time
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch

_RELATIVE_COST = 0.05


class Checkpoint:
    """The state of one fit in a folder, under a name made from its fingerprint.

    Parameters
    ----------
    folder : str or path-like
        Made where it is missing.
    fingerprint : str
        Hexadecimal digest of what defines the fit (see `fingerprint_of`).

    Raises
    ------
    ValueError
        If the folder cannot be written, or the file holds another fit.
    """

    def __init__(self, folder: str | os.PathLike[str], fingerprint: str) -> None:
        self.path = Path(folder) / f"{fingerprint[:32]}.checkpoint"
        self.fingerprint = fingerprint
        self._written = -float("inf")
        self._cost = 0.0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            probe = self._temporary()
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ValueError(
                f"checkpoint must be a folder that can be written, got {folder!r} "
                f"({error.strerror}). Name another folder, or pass checkpoint=None."
            ) from error

    def _temporary(self) -> Path:
        return self.path.with_suffix(f".{os.getpid()}-{id(self)}.tmp")

    def load(self) -> dict[str, Any] | None:
        """Return the stored state, or None where there is none to resume."""
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            warnings.warn(
                f"The checkpoint {self.path} cannot be read ({error}); the fit starts "
                "from the beginning and will replace it.",
                stacklevel=2,
            )
            return None
        if not isinstance(content, dict) or (
            content.get("fingerprint") != self.fingerprint
        ):
            raise ValueError(
                f"The checkpoint {self.path} belongs to another fit: class, parameters "
                "or data differ. Delete the file, or name another folder in "
                "checkpoint=."
            )
        state: dict[str, Any] = content["state"]
        return state

    def due(self) -> bool:
        """Return whether writing now keeps the cost of writing under a twentieth."""
        return time.monotonic() - self._written >= self._cost / _RELATIVE_COST

    def save(self, state: dict[str, Any]) -> None:
        """Write `state` so that at every moment the old file or the new one is whole.

        A disk that is full is no reason to lose the fit: it warns and goes on.
        """
        start = time.monotonic()
        temporary = self._temporary()
        try:
            with temporary.open("wb") as file:
                torch.save({"fingerprint": self.fingerprint, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except (OSError, RuntimeError) as error:
            warnings.warn(
                f"The checkpoint {self.path} could not be written ({error}); the fit "
                "goes on without it.",
                stacklevel=2,
            )
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._written = time.monotonic()
        self._cost = self._written - start

    def remove(self) -> None:
        """Delete the file after success, and what killed processes left of others."""
        self.path.unlink(missing_ok=True)
        for left in self.path.parent.glob(f"{self.path.stem}.*.tmp"):
            left.unlink(missing_ok=True)


def fingerprint_of(parts: dict[str, Any]) -> str:
    """Return a digest of named parts, the same in every process.

    Arrays and tensors count by shape, dtype and bytes; functions and classes by name
    and code, with what they enclose; other callables by class and attributes; the rest
    by `repr`. Globals that a function refers to do not count.

    Examples
    --------
    >>> import numpy as np
    >>> a = fingerprint_of({"X": np.zeros(3), "seed": 0})
    >>> a == fingerprint_of({"X": np.zeros(3), "seed": 0})
    True
    >>> a == fingerprint_of({"X": np.zeros(3), "seed": 1})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"|{name}=".encode())
        _feed(digest, parts[name], {})
    return digest.hexdigest()


def _feed(digest: Any, value: Any, seen: dict[int, Any]) -> None:
    """Update `digest` with `value`; `seen` ends the circles of classes and closures."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(np.ascontiguousarray(value).data)
        return
    inside = _inside(value)
    if inside is None:
        digest.update(repr(value).encode())
        return
    name, items = inside
    digest.update(f"{name}[{len(items)}".encode())
    if id(value) not in seen:
        seen[id(value)] = value  # kept, so that no other object takes its id
        for item in items:
            digest.update(b",")
            _feed(digest, item, seen)


def _inside(value: Any) -> tuple[str, list[Any]] | None:
    """Return a name of `value` and what it is made of; None where `repr` says all."""
    if isinstance(value, (list, tuple)):
        return type(value).__name__, list(value)
    if isinstance(value, frozenset):  # a set's own order changes with the process
        return "frozenset", sorted(map(repr, value))
    if isinstance(value, Mapping):
        return type(value).__name__, [*value.keys(), *value.values()]
    if isinstance(value, CodeType):
        return value.co_name, [value.co_code, value.co_names, value.co_consts]
    if isinstance(value, FunctionType):
        name = f"{value.__module__}:{value.__qualname__}"
        cells = inspect.getclosurevars(value).nonlocals
        return name, [value.__code__, value.__defaults__, value.__kwdefaults__, cells]
    if isinstance(value, MethodType):
        return "method", [value.__func__, value.__self__]
    if isinstance(value, (staticmethod, classmethod)):
        return "method", [value.__func__]
    if isinstance(value, property):
        return "property", [value.fget]
    if isinstance(value, type):
        return f"{value.__module__}:{value.__qualname__}", _body_of(value)
    if isinstance(value, partial):
        return "partial", [value.func, value.args, value.keywords]
    plain = type(value).__repr__ is object.__repr__  # an address, new in each process
    if hasattr(value, "__dict__") and (plain or callable(value)):
        return "", [type(value), vars(value)]
    return ("", [type(value)]) if plain else None


def _body_of(kind: type) -> list[Any]:
    """Return what a class of the user's does: its attributes, and those it inherits."""
    if kind.__module__.partition(".")[0] in ("builtins", "torch", "abc", "typing"):
        return []
    body = [
        item
        for name, item in sorted(vars(kind).items())
        if isinstance(item, FunctionType) or not name.startswith("_")
    ]
    return [*body, *kind.__mro__[1:]]
