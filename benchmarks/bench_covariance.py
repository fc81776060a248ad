"""Moments, factors and distances of rows on disk, against EmpiricalCovariance.

200,000 x 128 and 1,000,000 x 64 float32 rows in a file, which both read as a memmap.
"fit" is `factor(moments(X), "empirical")`, of which the moments are nearly all, against
`EmpiricalCovariance().fit(X)`; "distances" is `squared_distances(X)` against
`mahalanobis(X)`. Ours and scikit-learn's take turns, with a rest before each call: for
about 0.1 s after one of scikit-learn's the threads of OpenBLAS keep a core busy.

Memory is the most that a process of its own held beyond what it held before, after a
call on few rows: private pages (RssAnon of /proc/self/status), looked at every
millisecond. Pages of the file are the system's cache, not counted for either. One chunk
is the 16,384 rows that a thread of ours, or the generator of "fit of chunks", hands on.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _timing import alternate, megabytes, speed_against, table, write, write_text
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance

from manifoldgen.covariance import class_moments, factor, moments

SHAPES = ((200_000, 128), (1_000_000, 64))
CHUNK_ROWS = 16_384
CALLS = ("fit", "distances", "fit of chunks", "moments of 10 classes")


def rows_on_disk(folder: Path, n_samples: int, n_features: int) -> Path:
    """Write correlated rows about 5, a chunk at a time."""
    rng = np.random.default_rng(0)
    mixing = np.eye(n_features) + 0.3 / np.sqrt(n_features) * rng.standard_normal(
        (n_features, n_features)
    )
    path = folder / f"rows_{n_samples}_{n_features}.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_samples, n_features))
    for start in range(0, n_samples, CHUNK_ROWS):
        part = X[start : start + CHUNK_ROWS]
        part[:] = 5 + rng.standard_normal(part.shape, np.float32) @ mixing
    X.flush()
    return path


def chunks_of(X: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield copies of the rows, as a reader of many files would."""
    for start in range(0, len(X), CHUNK_ROWS):
        yield np.array(X[start : start + CHUNK_ROWS])


def contestants(X: NDArray[Any], few: NDArray[Any]) -> dict[str, dict[str, Any]]:
    """Return the calls by name and by who is called; `few` are fitted for distances."""
    ours = factor(moments(few), "empirical")
    peer = EmpiricalCovariance().fit(few)
    labels = np.arange(len(X)) % 10
    calls: dict[str, dict[str, Callable[[], Any]]] = {
        "fit": {
            "ours": lambda: factor(moments(X), "empirical"),
            "peer": lambda: EmpiricalCovariance().fit(X),
        },
        "distances": {
            "ours": lambda: ours.squared_distances(X),
            "peer": lambda: peer.mahalanobis(X),
        },
        "fit of chunks": {
            "ours": lambda: factor(moments(chunks_of(X)), "empirical"),
        },
        "moments of 10 classes": {"ours": lambda: class_moments(X, labels)},
    }
    return calls


def private_megabytes_of(call: Callable[[], Any]) -> float:
    """Return the most private memory of a call, in MB beyond what was held."""
    before = peak = megabytes("RssAnon")
    done = threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, megabytes("RssAnon"))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        call()
    finally:
        done.set()
        looker.join()
    return peak - before


def measure_memory(path: Path, name: str, who: str) -> float:
    """Return the MB of one call, in a new process."""
    command = [sys.executable, __file__, "--memory", str(path), name, who]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.rsplit("RESULT", 1)[1])


def print_memory(path: str, name: str, who: str) -> None:
    """Print the MB of one call, of this process."""
    X = np.load(path, mmap_mode="r")
    few = np.array(X[:2000])
    # what a first call loads is no part of it
    contestants(few, few)[name][who]()
    print("RESULT", private_megabytes_of(contestants(X, few)[name][who]))


def compare(path: Path, rounds: int, rest: float) -> dict[str, Any]:
    """Time the calls in turn, measure their memory, and compare what they return."""
    X = np.load(path, mmap_mode="r")
    results: dict[str, Any] = {}
    for name, calls in contestants(X, np.array(X[:20_000])).items():
        seconds = alternate(calls, rounds, rest)
        found: dict[str, Any] = {
            "seconds": {who: float(np.median(s)) for who, s in seconds.items()},
            "megabytes": {who: measure_memory(path, name, who) for who in calls},
        }
        if "peer" in seconds:
            found["speed"] = speed_against(seconds["ours"], seconds["peer"])
            found["ratio_of_medians"] = (
                found["seconds"]["peer"] / (found["seconds"]["ours"])
            )
        results[name] = found
    limit = (1.5 * CHUNK_ROWS * X.shape[1] * 4 + X.shape[1] ** 2 * 8) / 2**20
    results["megabytes_of_one_and_a_half_chunks_and_scatter"] = limit
    results["largest_differences"] = differences(X)
    return results


def differences(X: NDArray[Any]) -> dict[str, float]:
    """Return how far results are from those of scikit-learn in float64."""
    few = np.array(X[:: -(-len(X) // 20_000)], dtype=np.float64)
    peer = EmpiricalCovariance().fit(np.asarray(X, dtype=np.float64))
    ours = factor(moments(X), "empirical", ridge=0.0)
    std = np.sqrt(peer.covariance_.diagonal())
    gap = np.abs(ours.covariance() - peer.covariance_) / np.outer(std, std)
    ratio = ours.squared_distances(few) / peer.mahalanobis(few)
    return {
        "covariance, as correlation": float(gap.max()),
        "distances, relative": float(np.abs(ratio - 1).max()),
    }


def lines_of(shape: str, found: dict[str, Any]) -> list[str]:
    """Return the table of one shape in markdown."""
    rows = []
    for name in CALLS:
        one = found[name]
        seconds, memory = one["seconds"], one["megabytes"]
        speed = one.get("speed")
        rows.append(
            [
                name,
                f"{seconds['ours']:.3f}",
                f"{seconds['peer']:.3f}" if speed else None,
                f"{one['ratio_of_medians']:.1f} ({speed['lower']:.1f} to "
                f"{speed['upper']:.1f})"
                if speed
                else None,
                f"{memory['ours']:.1f}",
                f"{memory['peer']:.1f}" if speed else None,
            ]
        )
    columns = ["call", "ours, s", "scikit-learn, s", "ratio of medians (quartiles)"]
    limit = found["megabytes_of_one_and_a_half_chunks_and_scatter"]
    gaps = found["largest_differences"].items()
    return [
        f"## {shape}",
        "",
        table([*columns, "ours, MB", "scikit-learn, MB"], rows),
        "",
        f"- 1.5 chunks and the scatter: {limit:.1f} MB",
        *(f"- largest difference, {name}: {value:.1e}" for name, value in gaps),
        "",
    ]


def main() -> None:
    """Run every shape, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rest", type=float, default=0.3, help="seconds")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--folder", help="where the rows are written, 512 MB at most")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print_memory(*options.memory)
        return
    results, lines = {}, ["# Covariance", "", str(__doc__).partition("\n\n")[2], ""]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for n_samples, n_features in SHAPES:
            n_rows = n_samples // 10 if options.quick else n_samples
            path = rows_on_disk(Path(folder), n_rows, n_features)
            shape = f"{n_rows} x {n_features}"
            results[shape] = compare(path, options.rounds, options.rest)
            lines += lines_of(shape, results[shape])
            path.unlink()
    print("\n".join(lines))
    if not options.quick:
        write("covariance", results)
        write_text("covariance.md", "\n".join(lines))


if __name__ == "__main__":
    main()
