"""Figures of merit put together as plain data: quality, detection, search."""

from ._detection import corrupted_rows, detection_report
from ._embedding import embedding_report
from ._generation import generation_report
from ._search import search_report

__all__ = [
    "corrupted_rows",
    "detection_report",
    "embedding_report",
    "generation_report",
    "search_report",
]
