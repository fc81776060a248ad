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
    contestants: dict[str, Callable[[], Any]], rounds: int, rest: float = 0.0
) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each round, all in turn.

    One round before the first is not counted; the order turns by one each round. A rest
    of some seconds before each leaves it none of the threads of the one before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds + 1):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            time.sleep(rest)
            start = time.perf_counter()
            contestants[name]()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def speed_against(ours: list[float], other: list[float]) -> dict[str, float]:
    """Return quartiles of ``other / ours`` over pairs; above 1 ours is faster."""
    low, middle, high = np.percentile(np.divide(other, ours), [25, 50, 75])
    return {"lower": float(low), "median": float(middle), "upper": float(high)}


def seconds_and_peak(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what a call returns, its seconds, and its peak in MB above what was held.

    Linux alone tells the peak of a stretch of a process. `ru_maxrss` would not do: a
    process inherits that of the one that started it.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held
    before = megabytes("VmRSS")
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    return result, seconds, megabytes("VmHWM") - before


def megabytes(figure: str) -> float:
    """Return a figure that Linux keeps of the memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{figure}:")[1].split()[0]) / 1024


def write(name: str, results: dict[str, Any]) -> None:
    """Write results as JSON beside what they were measured with."""
    import sklearn
    import torch

    machine = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    # first, and of this run where the results bring those of another
    found = {"versions": machine} | results | {"versions": machine}
    write_text(f"{name}.json", json.dumps(found, indent=1))


def merge(name: str, results: dict[str, Any]) -> dict[str, Any]:
    """Write results into those of earlier runs, and return them all.

    A run that is cut short leaves what it found, and another one adds to it.
    """
    found = _merged(load(name), results)
    write(name, found)
    return found


def load(name: str) -> dict[str, Any]:
    """Return what earlier runs found, {} where there were none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write_text(file: str, text: str) -> None:
    """Write one file of the results and say so."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / file
    part = path.with_suffix(".part")
    part.write_text(text + "\n")
    part.replace(path)  # a run that is killed here leaves the old one
    print(f"wrote {path.relative_to(RESULTS.parent.parent)}", flush=True)


def table(columns: list[str], rows: list[list[Any]]) -> str:
    """Return a table in markdown; None is an empty cell."""
    cells = [columns, ["---"] * len(columns)]
    for row in rows:
        cells.append(["" if it is None else str(it).replace("|", "/") for it in row])
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _merged(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    both = {**before, **after}
    for name in before.keys() & after.keys():
        if isinstance(before[name], dict) and isinstance(after[name], dict):
            both[name] = _merged(before[name], after[name])
    return both
