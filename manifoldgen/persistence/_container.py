"""The file: a safetensors container that ends with its own checksum."""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
from numpy.typing import NDArray
from torch import Tensor

_DIGEST_SIZE = 32
_MAX_HEADER = 100_000_000  # what readers of safetensors accept
_WIDTHS = {"64": 8, "32": 4, "16": 2}


class PersistenceError(ValueError):
    """An estimator that cannot be stored, or a file that cannot be loaded."""


class Block(NamedTuple):
    """A tensor as it lies in the file: safetensors' dtype, shape, bytes."""

    dtype: str
    shape: list[int]
    data: NDArray[np.uint8]


def pack(document: dict[str, Any], tensors: dict[str, Block]) -> list[Any]:
    """Return the pieces of a file, in order; the last is the checksum of the others."""
    header: dict[str, Any] = {
        "__metadata__": {"manifoldgen": json.dumps(document, allow_nan=False)}
    }
    # Wide items first, so that every tensor starts at a multiple of its item's size.
    ordered = sorted(
        tensors.items(), key=lambda item: -_WIDTHS.get(item[1].dtype[-2:], 1)
    )
    offset = 0
    for name, block in ordered:
        header[name] = _entry(block.dtype, block.shape, offset, block.data.nbytes)
        offset += block.data.nbytes
    header["[sha256]"] = _entry("U8", [_DIGEST_SIZE], offset, _DIGEST_SIZE)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise PersistenceError(
            f"The estimator's plain values take {len(text)} bytes as JSON, more than "
            f"the {_MAX_HEADER} of a header. Hold long lists as arrays."
        )
    pieces: list[Any] = [
        len(text).to_bytes(8, "little"),
        text,
        *(b.data for _, b in ordered),
    ]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return [*pieces, digest.digest()]


def _entry(dtype: str, shape: list[int], start: int, length: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + length]}


def read(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file."""
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "there is no such file"
        raise PersistenceError(f"{what}.")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PersistenceError(f"cannot be read ({error.strerror}).") from error


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the document and the tensors of a file whose checksum is right."""
    try:
        length = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + length])["__metadata__"]["manifoldgen"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise PersistenceError(
            "not a file that manifoldgen.save wrote, or its beginning is damaged."
        ) from error
    everything = memoryview(data)
    digest = hashlib.sha256(everything[:-_DIGEST_SIZE]).digest()
    if digest != everything[-_DIGEST_SIZE:]:
        raise PersistenceError(
            "damaged: cut off or altered, since its checksum does not match. Copy it "
            "again from where it was saved."
        )
    return json.loads(text), safetensors.torch.load(data)


def replace_file(path: str | os.PathLike[str], pieces: Sequence[Any]) -> None:
    """Write `pieces` to `path`: at any moment the old or the new file, whole."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"path must name a file, got the folder {target}.")
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    # Some systems cannot open or sync a folder. The file is whole all the same.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
