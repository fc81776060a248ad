import json

import numpy as np
import pytest

from manifoldgen import (
    energy_distance,
    membership_auc,
    precision_recall_density_coverage,
)
from manifoldgen.metrics import near_copy_share
from manifoldgen.report import generation_report


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_generation_report_holds_the_metrics_by_name(rng):
    train, real, drawn = rng.normal(size=(3, 60, 2))
    report = generation_report({"model": drawn, "copies": train}, real, train)
    shares = precision_recall_density_coverage(real, drawn)
    assert report["model"] == {
        **shares._asdict(),
        "energy_distance": energy_distance(real, drawn),
        "near_copies": near_copy_share(train, drawn),
        "membership_auc": membership_auc(train, real, drawn),
        "membership_auc_error": np.sqrt(121 / (12 * 60 * 60)),
    }
    assert report["copies"]["near_copies"] == 1.0
    assert report["copies"]["membership_auc"] == 1.0
    json.dumps(report, allow_nan=False)
