"""A file that a killed fit resumes from, and no other fit."""

import contextlib
import hashlib
import os
import time
import warnings
from pathlib import Path
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
        """Delete the file after success."""
        self.path.unlink(missing_ok=True)


def fingerprint_of(parts: dict[str, Any]) -> str:
    """Return a digest of named parts: arrays by shape, dtype and bytes, others by repr.

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
        value = parts[name]
        digest.update(f"|{name}=".encode())
        if isinstance(value, np.ndarray):
            digest.update(f"{value.shape}{value.dtype}".encode())
            digest.update(np.ascontiguousarray(value).data)
        elif isinstance(value, type) or callable(value):
            digest.update(f"{value.__module__}:{value.__qualname__}".encode())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
