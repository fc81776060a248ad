import json
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_wine

from manifoldgen.cli import main
from manifoldgen.cli._arguments import make_parser, read_split, widths_for
from manifoldgen.cli._text import table

QUICK = ["--quick", "--n-jobs", "1", "--n-components"]


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    """A table with a column of text, as a .csv file."""
    X, y = load_wine(return_X_y=True)
    path = tmp_path_factory.mktemp("wine") / "wine.csv"
    names = ",".join([*(f"column {k}" for k in range(X.shape[1])), "kind"])
    lines = [
        ",".join([*map(str, row), f"kind {k}"]) for row, k in zip(X, y, strict=True)
    ]
    path.write_text("\n".join([names, *lines]))
    return path


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Colour images in a folder for each class."""
    folder = tmp_path_factory.mktemp("faces")
    X, y = load_digits(return_X_y=True)
    for k in range(160):
        grey = (X[k].reshape(8, 8) * 15).astype(np.uint8)
        path = folder / f"{'abc'[y[k] % 3]}" / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.stack([grey, 255 - grey, grey], axis=-1)).save(path)
    return folder


def read(out):
    def refuse(text):
        raise AssertionError(f"{text} is not plain JSON")

    return json.loads((out / "report.json").read_text(), parse_constant=refuse)


def split_of(*argv):
    return read_split(make_parser().parse_args(["demo", *map(str, argv)]))


# Runs


def test_demo_of_a_table_leaves_out_pictures_and_says_so(wine, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    argv = ["demo", "--data", str(wine), "--labels", "kind", "--out", str(out)]
    assert main([*argv, *QUICK, "2", "3"]) == 0
    report = read(out)
    assert report["data"]["n_labels"] == 3
    assert report["data"]["image_shape"] is None
    assert [row["value"] for row in report["search"]] == [2, 3]
    assert sum(row["chosen"] for row in report["search"]) == 1
    written = sorted(path.name for path in out.glob("*.png"))
    assert written == sorted(report["figures"])
    assert {"search.png", "neighbor_map.png"} <= set(written)
    assert "samples.png" not in written
    text = capsys.readouterr().out
    assert "Left out: pictures of rows (no images: see --image-shape)" in text
    for heading in ("Latent width", "Generated rows", "Corrupted rows"):
        assert heading in text


def test_demo_of_images_draws_them_by_label(faces, tmp_path):
    plt.close("all")
    argv = ["demo", "--data", str(faces), "--out", str(tmp_path), *QUICK, "3"]
    assert main(argv) == 0
    report = read(tmp_path)
    assert report["data"]["image_shape"] == [3, 8, 8]
    names = {"samples", "reconstructions", "corrupted", "by_label", "overview"}
    assert {f"{name}.png" for name in names} <= set(report["figures"])
    assert "search.png" not in report["figures"]
    assert set(report["generation"]) == {
        "LatentGAN",
        "GaussianMixture(10)",
        "real, held out",
    }
    assert set(report["detection"]["ManifoldScorer"]) == {
        "noise",
        "shuffled",
        "inverted",
    }
    with Image.open(tmp_path / "overview.png") as image:
        assert min(image.size) > 500
    assert plt.get_fignums() == []


def test_one_seed_gives_one_report(wine, tmp_path):
    reports = []
    for name in ("one", "two"):
        out = tmp_path / name
        argv = ["demo", "--data", str(wine), "--labels", "kind", "--out", str(out)]
        assert main([*argv, *QUICK, "2"]) == 0
        report = read(out)
        del report["run"]["seconds"]
        for row in report["search"]:
            del row["fit_seconds"]
        reports.append(report)
    assert reports[0] == reports[1]


# Errors of the user


def complaint(capsys, *argv):
    """Return what is said on standard error: one line, and status 2."""
    assert main(["demo", *map(str, argv)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_missing_file(capsys, tmp_path):
    path = tmp_path / "no.csv"
    assert f"no such file: '{path}'" in complaint(capsys, "--data", path)


def test_text_where_numbers_belong(capsys, wine):
    assert "column 'kind' is no number" in complaint(capsys, "--data", wine)
    argv = ("--data", wine, "--labels", "species")
    assert "labels must be an array or a column" in complaint(capsys, *argv)


def test_rows_with_nan(capsys, tmp_path):
    X = np.ones((200, 3))
    X[[3, 7], 1] = np.nan
    X[9, 2] = 1e300
    np.save(tmp_path / "x.npy", X)
    said = complaint(capsys, "--data", tmp_path / "x.npy")
    assert "3 of 200 rows hold NaN or infinity" in said


def test_too_few_rows(capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.repeat(np.arange(140.0)[:, None], 3, axis=1))
    said = complaint(capsys, "--data", tmp_path / "x.npy")
    assert "150 different rows are needed" in said
    assert "got 140" in said


def test_image_shape_of_another_size(capsys):
    said = complaint(capsys, "--image-shape", 1, 8, 9)
    assert (
        "--image-shape must multiply to the 64 values of a row, got (1, 8, 9)" in said
    )


def test_folder_that_cannot_be_written_to(capsys, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    assert f"cannot write to --out {path}" in complaint(capsys, "--out", path)


def test_width_that_the_data_do_not_have(capsys, wine):
    argv = ("--data", wine, "--labels", "kind", "--n-components", 2, 14)
    assert "must be at most 13 for these data, got 14" in complaint(capsys, *argv)


def test_options_without_their_data(capsys):
    assert "--resize is for a folder" in complaint(capsys, "--resize", 8, 8)
    assert "--labels is for a .npy" in complaint(capsys, "--labels", "kind")


def test_unknown_device(capsys):
    assert "device must be 'auto', 'cpu'" in complaint(capsys, "--device", "tpu9")


@pytest.mark.parametrize(
    "argv", [["--seed", "-1"], ["--n-jobs", "0"], ["--n-components", "0"], ["--what"]]
)
def test_arguments_out_of_bounds(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["demo", *argv])
    assert stopped.value.code == 2
    assert argv[0] in capsys.readouterr().err


# Parts


def test_equal_rows_are_taken_once(tmp_path):
    X = np.random.default_rng(0).normal(size=(200, 2))
    np.savez(tmp_path / "d.npz", X=np.r_[X, X[:50]], y=np.r_[:200, :50])
    split = split_of("--data", tmp_path / "d.npz")
    rows = np.r_[split.X_train, split.X_test]
    labels = np.r_[split.y_train, split.y_test]
    assert len(np.unique(labels)) == len(labels) == 200
    np.testing.assert_array_equal(rows, X.astype(np.float32)[labels])
    few = split_of("--data", tmp_path / "d.npz", "--max-rows", 160)
    assert len(few.X_train) + len(few.X_test) == 160


def test_default_widths_are_those_that_fit():
    assert widths_for(None, np.zeros((300, 64))) == [4, 8, 16, 32]
    assert widths_for(None, np.zeros((300, 5))) == [2, 4]
    assert widths_for(None, np.zeros((300, 1))) == [1]
    assert widths_for([8, 2, 8], np.zeros((300, 64))) == [2, 8]


def test_table_lines_up():
    assert table(("", "a"), [("long", "1"), ("x", "22.5")]).split("\n") == [
        "           a",
        "  long     1",
        "  x     22.5",
    ]


def test_help_explains_and_needs_no_torch():
    code = (
        "import sys, manifoldgen.cli as cli\n"
        "try: cli.main(['demo', '--help'])\n"
        "finally: assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for word in ("--data", "--image-shape", "sub-folder", "report.json", "examples"):
        assert word in done.stdout


def test_module_runs_as_a_command(tmp_path):
    argv = [sys.executable, "-m", "manifoldgen", "demo", "--data", str(tmp_path / "no")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("manifoldgen: error: no such file")
