"""What a file may name: the classes known here, and what the caller trusts."""

import functools
import importlib
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA, IncrementalPCA, KernelPCA, TruncatedSVD
from sklearn.manifold import (
    MDS,
    TSNE,
    Isomap,
    LocallyLinearEmbedding,
    SpectralEmbedding,
)
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

import manifoldgen

from ..base import BaseTorchEstimator
from ..covariance import ClassMoments, FullFactor, LowRankFactor, Moments
from ..outliers._groups import Tail
from ..outliers._law import Law
from ._container import PersistenceError

_SCIKIT_LEARN: dict[str, type] = {
    f"{cls.__module__.partition('._')[0]}:{cls.__name__}": cls
    for cls in (
        BayesianGaussianMixture,
        FunctionTransformer,
        GaussianMixture,
        IncrementalPCA,
        Isomap,
        KernelDensity,
        KernelPCA,
        LocallyLinearEmbedding,
        MaxAbsScaler,
        MDS,
        MinMaxScaler,
        Normalizer,
        PCA,
        Pipeline,
        PowerTransformer,
        QuantileTransformer,
        RobustScaler,
        SpectralEmbedding,
        StandardScaler,
        TruncatedSVD,
        TSNE,
    )
}

RECORDS: dict[str, type] = {
    cls.__name__: cls
    for cls in (ClassMoments, FullFactor, Law, LowRankFactor, Moments, Tail)
}
"""Dataclasses that fitted estimators hold, which are stored field by field."""

KNOWN = ", ".join(cls.__name__ for cls in _SCIKIT_LEARN.values())
"""Names of the classes of scikit-learn that can be stored."""


def known_class(name: str) -> type | None:
    """Return the estimator of scikit-learn or manifoldgen that `name` stands for.

    Those of manifoldgen are its public estimators, "manifoldgen:LatentGAN" and so on.
    """
    package, _, public = name.partition(":")
    if package == "manifoldgen" and public in manifoldgen.__all__:
        value = getattr(manifoldgen, public)
        if isinstance(value, type) and issubclass(value, BaseEstimator):
            return value
    return _SCIKIT_LEARN.get(name)


def class_name(cls: type) -> str:
    """Return the name that stands for a class of estimators in a file."""
    for name, known in _SCIKIT_LEARN.items():
        if cls is known:
            return name
    public = f"manifoldgen:{cls.__name__}"
    return (
        public if known_class(public) is cls else f"{cls.__module__}:{cls.__qualname__}"
    )


def is_storable(cls: type) -> bool:
    """Return whether `cls` is a known class of estimators or a subclass of one."""
    return issubclass(cls, BaseTorchEstimator) or any(
        known_class(class_name(base)) is base for base in cls.__mro__
    )


def name_of(value: Any) -> str | None:
    """Return "module:qualname" of a class or function, None where it has no such.

    Examples
    --------
    >>> from collections import Counter
    >>> name_of(Counter)
    'collections:Counter'
    >>> name_of(Counter().most_common) is None
    True
    """
    if isinstance(value, np.ufunc):  # before numpy 2.2 they do not say where they are
        return f"numpy:{value.__name__}" if hasattr(np, value.__name__) else None
    module = getattr(value, "__module__", None)
    qualname = getattr(value, "__qualname__", None)
    bound = not isinstance(getattr(value, "__self__", None), ModuleType | None)
    if bound or not isinstance(module, str) or not isinstance(qualname, str):
        return None
    return None if qualname.endswith("<lambda>") else f"{module}:{qualname}"


def check_attribute(cls: type, name: Any) -> None:
    """Refuse an attribute whose name Python or the class gives a meaning of its own."""
    if isinstance(name, str) and name.isidentifier() and not name.startswith("__"):
        own = [vars(base)[name] for base in cls.__mro__ if name in vars(base)]
        if not own or not hasattr(type(own[0]), "__get__"):
            return
    raise PersistenceError(
        f"{name!r} cannot be a stored attribute of {cls.__name__}: it is no plain "
        "identifier, or would hide a method or property."
    )


def by_name(trusted: Iterable[Any]) -> dict[str, Any]:
    """Return trusted classes and functions by name; a string stands for itself."""
    if isinstance(trusted, str) or callable(trusted):
        raise TypeError(
            "trusted must be a list of classes, functions and 'module:qualname' "
            f"strings, got {trusted!r}. Put it in a list."
        )
    objects: dict[str, Any] = {}
    for entry in trusted:
        name = entry if isinstance(entry, str) else name_of(entry)
        if name is None or ":" not in name:
            raise TypeError(
                "trusted must hold classes, functions and 'module:qualname' strings, "
                f"got {entry!r} in it."
            )
        objects[name] = entry
        if not isinstance(entry, str):
            objects.setdefault(f"__main__:{name.partition(':')[2]}", entry)
    return objects


def trusted_objects(tree: Any, objects: dict[str, Any]) -> dict[str, Any]:
    """Return what the foreign names in `tree` stand for, or raise for the untrusted.

    `objects` is what `by_name` returns; names trusted as strings are imported here,
    where the file needs them.
    """
    names = list(dict.fromkeys(_foreign_names(tree)))
    missing = [name for name in names if name not in objects]
    if missing:
        raise PersistenceError(
            f"it needs code that is not manifoldgen's: {', '.join(missing)}. If you "
            f"trust that code, pass trusted={missing!r}, which imports it, or the "
            "classes and functions themselves in place of their names."
        )
    return {
        name: _imported(name) if isinstance(objects[name], str) else objects[name]
        for name in names
    }


def _foreign_names(node: Any) -> Iterator[str]:
    """Yield the names in a tree that only trust lets in."""
    if isinstance(node, list):
        for part in node:
            yield from _foreign_names(part)
    elif isinstance(node, dict):
        if node["type"] == "name":
            yield node["name"]
        elif node["type"] == "estimator" and known_class(node["class"]) is None:
            yield node["class"]
        for part in node.values():
            yield from _foreign_names(part)


def _imported(name: str) -> Any:
    module, _, qualname = name.partition(":")
    try:
        return functools.reduce(
            getattr, qualname.split("."), importlib.import_module(module)
        )
    except (ImportError, AttributeError) as error:
        raise PersistenceError(
            f"{name!r} is trusted but cannot be imported here ({error}). Pass the "
            "object itself in trusted in place of its name."
        ) from error
