"""The engine: torch alone, no scikit-learn."""

from .checkpoint import Checkpoint, fingerprint_of
from .history import History
from .loop import Outcome, run
from .optimizers import OPTIMIZERS, SCHEDULES, make_optimizer, schedule_factor
from .program import Batch, Program
from .samplers import EdgeSampler, RowSampler, Sampler
from .weights import RunningAverage, Snapshot

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Batch",
    "Checkpoint",
    "EdgeSampler",
    "History",
    "Outcome",
    "Program",
    "RowSampler",
    "RunningAverage",
    "Sampler",
    "Snapshot",
    "fingerprint_of",
    "make_optimizer",
    "run",
    "schedule_factor",
]
