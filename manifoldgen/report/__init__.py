"""Figures of merit put together as plain data: quality, detection, search."""

from ._detection import corrupted_rows, detection_report
from ._embedding import embedding_report
from ._evaluate import evaluate_generator
from ._generation import generation_report
from ._generation_report import GenerationReport
from ._memorisation import MemorisationReport, memorisation_report
from ._search import search_report

__all__ = [
    "GenerationReport",
    "MemorisationReport",
    "corrupted_rows",
    "detection_report",
    "embedding_report",
    "evaluate_generator",
    "generation_report",
    "memorisation_report",
    "search_report",
]
