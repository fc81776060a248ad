"""Save and load estimators: tensors and JSON in one file, and no code in it.

File layout
-----------
The file is a safetensors file [1]_, so any reader of that format shows the tensors:

==============  ==================================================================
bytes           content
==============  ==================================================================
8               length N of the header, unsigned, little-endian
N               header: JSON, padded with spaces to a multiple of 8
the rest        the tensors, little-endian, in the order of the header, no gaps
the last 32     sha256 of every byte before; in the header, the tensor ``[sha256]``
==============  ==================================================================

A tensor is named by the path of its attribute, such as ``steps[0][1].mean_``. The
header's ``__metadata__`` has one entry, ``manifoldgen``: JSON with ``format_version``,
``versions`` (of manifoldgen, numpy, scikit-learn and torch at saving) and
``estimator``, the root of a tree. In it null, truth values, strings, finite numbers
and lists stand for themselves; anything else is an object with a ``type``:

* "estimator": ``class``; ``state``, pairs of attribute and value; ``networks``, pairs
  of attribute and "network" (``training``, ``frozen`` and ``state``, pairs of weight
  and value); for a KernelDensity ``rows`` and ``weights``.
* "array" and "tensor": ``tensor``, its name; ``strides`` in items where it is not
  contiguous, because products of another layout may round in another way; ``dtype``
  and, where safetensors lacks that dtype and holds bytes, ``shape``.
* "objects" (an array of objects), "scalar" (of numpy), "float" (nan, inf), "complex",
  "bytes", "tuple", "dict", "path", "device", "RandomState", "History", "partial".
* "NeighborIndex": ``metric``; ``arrays``, a "dict" of its rows, members and starts.
* "record": ``class``, a dataclass of those in this package, such as Moments;
  ``fields``, pairs of field and value.
* "name": "module:qualname" of a class or function.

An object that is referred to twice is stored twice. A Pipeline's ``memory`` is not
stored, because joblib unpickles what lies in that folder.

Threat model
------------
A file may come from an enemy. `load` unpickles nothing, evaluates nothing and imports
no module because a file names it. It makes objects of the estimators of manifoldgen,
of those of scikit-learn in a list in this package, and of what is in `trusted`: it
calls their constructors, which store, and writes their attributes, except names that
Python or the class gives a meaning. Networks are rebuilt by the code of their class,
and stopped where they outgrow the weights in the file; the tree of a KernelDensity is
rebuilt by scikit-learn. Time and memory are at most in proportion to the size of the
file, whatever sizes it declares.

What remains with the caller: a class or function in `trusted` runs with arguments from
the file, of any size, and must bear them. The checksum finds accidents and not
attacks, for who alters a file can renew it. A file can hold a wrong model, and
parameters of its own choice, such as the folder of a ``checkpoint``: look at
``get_params()`` before `fit` where the file is not yours.

References
----------
.. [1] Hugging Face, "Safetensors", https://huggingface.co/docs/safetensors
"""

import os
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

import manifoldgen

from ..base import resolve_device
from ._container import PersistenceError, pack, read, replace_file, unpack
from ._decode import Decoder
from ._encode import Encoder
from ._trust import by_name, trusted_objects

__all__ = ["FORMAT_VERSION", "PersistenceError", "load", "save"]

FORMAT_VERSION = 1


def save(
    estimator: BaseEstimator,
    path: str | os.PathLike[str],
    *,
    include_data: bool = False,
) -> None:
    """Write an estimator, fitted or not, to one file that holds no code.

    The file is complete or it is not there: it is written beside `path`, synced, and
    renamed. The module's docstring describes its layout.

    Parameters
    ----------
    estimator : estimator
        One of manifoldgen or a subclass of one, or a Pipeline, scaler, PCA,
        IncrementalPCA, TruncatedSVD, mixture, KernelDensity or FunctionTransformer of
        scikit-learn; nested ones too. Its reducers of data to maps, Isomap, TSNE and
        so on, while they are not fitted. A Pipeline loses its `memory`.
    path : str or path-like
        Replaced where it exists.
    include_data : bool, default=False
        Store training rows too, where an estimator holds any. A fitted KernelDensity
        is its training rows, a QuantileTransformer the values of their columns, and a
        map with ``placement="neighbors"`` looks new rows up among them, so these need
        True.

    Raises
    ------
    PersistenceError
        If something cannot be stored; the message names the attribute. Nothing is
        written then.
    OSError
        If the file cannot be written; a file that was there before is untouched.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from manifoldgen import load, save
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.safetensors"
    ...     save(pipeline, path)
    ...     again = load(path)
    >>> np.array_equal(again.transform(X), pipeline.transform(X))
    True
    """
    if not isinstance(estimator, BaseEstimator):
        raise PersistenceError(f"save takes an estimator, got {estimator!r}.")
    encoder = Encoder(include_data)
    tree = encoder.value(estimator, (type(estimator).__name__,))
    document = {
        "format_version": FORMAT_VERSION,
        "versions": _versions(),
        "estimator": tree,
    }
    replace_file(path, pack(document, encoder.tensors))


def load(
    path: str | os.PathLike[str],
    *,
    trusted: Iterable[Any] = (),
    device: str | None = None,
) -> Any:
    """Return the estimator that `save` wrote, without running code from the file.

    What it computes is what the saved one computes, bit for bit on the same kind of
    device, and it can be fitted further. The module's docstring says what a file from
    an enemy can and cannot do.

    Parameters
    ----------
    path : str or path-like
        A file that `save` wrote.
    trusted : iterable of class, function or str, default=()
        Classes and functions that the file may use beyond those of manifoldgen and
        scikit-learn: networks, losses, callbacks, estimators of yours. An object is
        used as it is; a string "module:qualname" is imported when the file names it.
        A class or function also stands for one of its name that was saved from a
        script (``__main__``).
    device : str, default=None
        Where networks go, such as "cpu" or "cuda"; None is the device they were on,
        or the CPU with a `DeviceWarning` where that is not here.

    Returns
    -------
    estimator : estimator

    Raises
    ------
    PersistenceError
        If there is no such file, if it is damaged or not one of `save`, if a newer
        manifoldgen wrote it, or if it names a class or function that is not in
        `trusted`; the message then says what to pass.

    Warns
    -----
    InconsistentVersionWarning
        If another version of scikit-learn wrote the file.
    DeviceWarning
        If a device is not on this machine.
    """
    objects = by_name(trusted)
    target = None if device is None else str(resolve_device(device))
    try:
        document, tensors = unpack(read(path))
        _check_versions(document)
        tree = document["estimator"]
        foreign = trusted_objects(tree, objects)
        estimator = Decoder(tensors, foreign, target).value(tree)
        if not isinstance(estimator, BaseEstimator):
            raise ValueError("not an estimator")
    except Warning:  # made an error by the caller's filters
        raise
    except PersistenceError as error:
        raise PersistenceError(f"{os.fspath(path)}: {error}") from error.__cause__
    except Exception as error:
        raise PersistenceError(
            f"{os.fspath(path)}: no estimator can be made of its content "
            f"({type(error).__name__}: {error})."
        ) from error
    return estimator


def _versions() -> dict[str, str]:
    return {
        "manifoldgen": manifoldgen.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
    }


def _check_versions(document: dict[str, Any]) -> None:
    written, versions = document["format_version"], document["versions"]
    if written > FORMAT_VERSION:
        raise PersistenceError(
            f"written in format {written} by manifoldgen {versions['manifoldgen']}; "
            f"manifoldgen {manifoldgen.__version__} reads formats up to "
            f"{FORMAT_VERSION}. Upgrade manifoldgen."
        )
    if versions["scikit-learn"] != sklearn.__version__:
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=document["estimator"]["class"].rpartition(":")[2],
                current_sklearn_version=sklearn.__version__,
                original_sklearn_version=versions["scikit-learn"],
            ),
            stacklevel=3,
        )
