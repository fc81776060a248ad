"""Alternate contestants in one run and compare them pair by pair."""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def alternate(
    contestants: dict[str, Callable[[], Any]], rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each round, all in turn.

    One round before the first is not counted; the order turns by one each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            contestants[name]()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def speed_against(ours: list[float], other: list[float]) -> dict[str, float]:
    """Return quartiles of ``other / ours`` over pairs; above 1 ours is faster."""
    low, middle, high = np.percentile(np.divide(other, ours), [25, 50, 75])
    return {"lower": float(low), "median": float(middle), "upper": float(high)}


def write(name: str, results: dict[str, Any]) -> None:
    """Write results as JSON beside what they were measured with."""
    import sklearn
    import torch

    RESULTS.mkdir(exist_ok=True)
    machine = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"versions": machine, **results}, indent=1) + "\n")
    print(f"wrote {path.relative_to(RESULTS.parent.parent)}")
