"""A report as text, HTML and JSON, made by hand."""

import errno
import json
import os
from html.parser import HTMLParser

import numpy as np
import pytest

from manifoldgen import GenerationReport

FIGURES = {
    "generated": {
        "frechet_distance": 12.34567,
        "coverage": 0.5,
        "two_sample_p_value": 3.2e-101,
        "downstream_ratio": None,
    },
    "real": {"frechet_distance": 3.0, "coverage": 0.97, "two_sample_p_value": 0.4},
}
PER_CLASS = {
    7: {
        "generated": {"share": 0.1234, "coverage": 0.8, "frechet_distance": 12345.6},
        "real": {"share": 0.1, "coverage": 0.9, "frechet_distance": None},
    },
    "<b>": {"generated": {"share": 0.25}, "real": {"share": 0.5}},
}


def made(**changes):
    plain = {
        "figures": FIGURES,
        "n_samples": {"generated": 90, "real": 80},
        "n_neighbors": 5,
        "units": "2 columns as they are",
        "per_class": PER_CLASS,
        "seconds": {"sample_from": 1.25, "kernel_distance": 2.0, "features": 0.5},
    }
    return GenerationReport(**{**plain, **changes})


def test_the_table_by_hand():
    assert str(made()) == (
        "2 columns as they are; balls of 5 neighbours\n"
        "\n"
        "                               generated            real  best\n"
        "rows                                  90              80\n"
        "\n"
        "generated against real\n"
        "  frechet_distance                 12.35               3  low\n"
        "  coverage                           0.5            0.97  high\n"
        "\n"
        "does it follow the distribution\n"
        "  two_sample_p_value            3.2e-101             0.4  high\n"
        "\n"
        "by class, generated/real\n"
        "  class              share    coverage     frechet\n"
        "  7            0.123/0.100   0.80/0.90     12346/-\n"
        "  <b>          0.250/0.500         -/-         -/-\n"
        "\n"
        "3.8 seconds: kernel_distance 2.0, sample_from 1.2"
    )


def test_a_full_table_fits_88_columns():
    names = ("share", "precision", "recall", "density", "coverage", "frechet_distance")
    of_class = {"generated": dict.fromkeys(names, 1.234), "real": {}}
    of_class["real"] = dict.fromkeys(names, 123.456)
    rows = ("generated", "reconstruction", "halves")
    report = made(
        figures={row: dict.fromkeys(names[1:], -1.23456e-100) for row in rows},
        n_samples=dict.fromkeys(rows, 10_000),
        per_class={f"a very long label, number {k}": of_class for k in range(25)},
        seconds=dict.fromkeys(
            ("precision_recall_density_coverage", "classifier_two_sample_test"), 123.4
        ),
    )
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 88
    assert lines[-3] == "  and 5 more in per_class"


class Cells(HTMLParser):
    """Collects rows of cells, and fails on tags that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.rows = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_html_holds_what_the_text_does():
    page = Cells()
    page.feed(made()._repr_html_())
    assert page.open == []
    assert page.rows == [
        ["", "generated", "real", "best"],
        ["rows", "90", "80", ""],
        ["generated against real"],
        ["frechet_distance", "12.35", "3", "low"],
        ["coverage", "0.5", "0.97", "high"],
        ["does it follow the distribution"],
        ["two_sample_p_value", "3.2e-101", "0.4", "high"],
        ["class", "share", "coverage", "frechet"],
        ["7", "0.123/0.100", "0.80/0.90", "12346/-"],
        ["<b>", "0.250/0.500", "-/-", "-/-"],
    ]


def test_json_is_there_and_back(tmp_path):
    path = tmp_path / "report.json"
    report = made()
    text = report.to_json(path)
    assert path.read_text() == text
    read = GenerationReport.from_json(text)
    assert read == report
    assert list(read.per_class) == [7, "<b>"]
    assert read.seconds == report.seconds
    assert json.loads(text)["figures"]["generated"]["downstream_ratio"] is None


def test_rows_are_no_part_of_json_nor_of_what_is_equal():
    points = np.zeros((3, 2))
    with_rows = made(plane={"real": points, "generated": points})
    assert with_rows == made(seconds={})
    assert with_rows.to_json() == made().to_json()
    assert GenerationReport.from_json(with_rows.to_json()).plane is None


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(function, tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    old = made(n_neighbors=3).to_json(path)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left"):
        made().to_json(path)
    monkeypatch.undo()
    assert path.read_text() == old
    assert [it.name for it in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("text", ["report.json", "{}", "[1]", '{"per_class": [{}]}'])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"must be what GenerationReport\.to_json"):
        GenerationReport.from_json(text)


def test_a_report_cannot_be_changed_by_accident():
    with pytest.raises(AttributeError):
        made().n_neighbors = 3
