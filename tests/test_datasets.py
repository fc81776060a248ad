import io
import sys

import numpy as np
import pytest
from PIL import Image

from manifoldgen import datasets
from manifoldgen.datasets import (
    Rows,
    load_array,
    load_cifar10,
    load_digits,
    load_image_folder,
    load_mnist,
    split_rows,
)


@pytest.fixture(autouse=True)
def _no_folder_named(monkeypatch):
    monkeypatch.delenv("MANIFOLDGEN_DATA", raising=False)


def save_image(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype=np.uint8)).save(path)


# Splits


def test_digits_are_split_by_class():
    rows = load_digits()
    split = split_rows(rows, test_size=0.2, random_state=3)
    assert split.image_shape == (1, 8, 8)
    assert rows.X.dtype == np.float32
    assert (rows.X.min(), rows.X.max()) == (0.0, 16.0)
    share = np.bincount(split.y_test) / np.bincount(rows.y)
    assert np.all(np.abs(share - 0.2) < 0.01)
    again = split_rows(rows, test_size=0.2, random_state=3)
    np.testing.assert_array_equal(split.X_test, again.X_test)


def test_rows_are_split_without_labels_or_with_a_class_of_one():
    X = np.arange(20.0)[:, None]
    split = split_rows(Rows(X))
    assert (len(split.X_train), len(split.X_test)) == (15, 5)
    assert split.y_train is split.y_test is None
    assert sorted(np.r_[split.X_train, split.X_test].ravel()) == sorted(X.ravel())
    single = split_rows(Rows(X, np.array([1] + [0] * 19)))
    assert len(single.y_test) == 5
    many = split_rows(Rows(X, np.arange(20) // 2))
    assert len(many.y_test) == 5


# MNIST and CIFAR-10


@pytest.fixture
def mnist_folder(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "mnist.npz",
        X_train=rng.integers(0, 256, (5, 28, 28), dtype=np.uint8),
        y_train=np.arange(5, dtype=np.uint8),
        X_test=rng.integers(0, 256, (2, 28, 28), dtype=np.uint8),
        y_test=np.array([7, 2], dtype=np.uint8),
    )
    return tmp_path


def test_mnist_from_a_folder(mnist_folder, monkeypatch):
    split = load_mnist(mnist_folder)
    with np.load(mnist_folder / "mnist.npz") as file:
        np.testing.assert_array_equal(split.X_train, file["X_train"].reshape(5, 784))
    assert split.X_test.dtype == np.uint8
    assert split.y_test.tolist() == [7, 2]
    assert split.image_shape == (1, 28, 28)
    monkeypatch.setenv("MANIFOLDGEN_DATA", str(mnist_folder))
    np.testing.assert_array_equal(load_mnist().X_test, split.X_test)


def test_a_folder_without_the_file_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"folder must hold mnist\.npz"):
        load_mnist(tmp_path)
    monkeypatch.setenv("MANIFOLDGEN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"MANIFOLDGEN_DATA must hold cifar10"):
        load_cifar10()


def test_a_file_with_other_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "mnist.npz", X_train=np.zeros(2))
    with pytest.raises(ValueError, match="must hold y_train, X_test, y_test"):
        load_mnist(tmp_path)


def test_openml_is_asked_where_no_folder_is_named(monkeypatch):
    X = np.repeat(np.arange(70_000)[:, None] % 256, 2, axis=1).astype(float)
    asked = []

    def fetch(name, **kwargs):
        asked.append(name)
        return X, np.array(["3"] * 70_000, dtype=object)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    split = load_mnist()
    assert asked == ["mnist_784"]
    assert (len(split.X_train), len(split.X_test)) == (60_000, 10_000)
    assert split.X_test[0, 0] == 60_000 % 256
    assert split.y_train[0] == 3

    def offline(name, **kwargs):
        raise OSError("no route")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", offline)
    with pytest.raises(FileNotFoundError, match=r"no route.*MANIFOLDGEN_DATA"):
        load_mnist()


def test_cifar_decodes_one_jpeg_a_row(tmp_path):
    colors = np.array([[255, 0, 0], [0, 0, 255], [0, 255, 0]], dtype=np.uint8)
    parts = []
    for color in colors:
        buffer = io.BytesIO()
        Image.fromarray(np.tile(color, (32, 32, 1))).save(buffer, "JPEG", quality=95)
        parts.append(np.frombuffer(buffer.getvalue(), dtype=np.uint8))
    ends = np.cumsum([0] + [len(part) for part in parts])
    np.savez(
        tmp_path / "cifar10.npz",
        jpeg_train=np.concatenate(parts[:2]),
        offset_train=ends[:3],
        y_train=[4, 5],
        jpeg_test=parts[2],
        offset_test=[0, len(parts[2])],
        y_test=[6],
    )
    split = load_cifar10(tmp_path)
    assert split.image_shape == (3, 32, 32)
    rows = np.concatenate([split.X_train, split.X_test]).reshape(3, 3, 32, 32)
    expected = colors[:, :, None, None].astype(int)
    assert np.abs(rows.astype(int) - expected).max() <= 3
    assert split.y_train.tolist() == [4, 5]


# Arrays


def test_npy_of_images_says_their_shape(tmp_path):
    images = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    np.save(tmp_path / "x.npy", images)
    rows = load_array(tmp_path / "x.npy")
    assert rows.image_shape == (3, 4, 5)
    np.testing.assert_array_equal(rows.X, images.reshape(2, 60))
    np.save(tmp_path / "grey.npy", images[:, 0])
    assert load_array(tmp_path / "grey.npy").image_shape == (1, 4, 5)
    np.save(tmp_path / "rows.npy", images[:, 0, 0])
    assert load_array(tmp_path / "rows.npy").image_shape is None


def test_npz_holds_rows_and_labels(tmp_path):
    X, y, t = np.eye(3), np.array([0, 1, 1]), np.array(["a", "b", "c"])
    np.savez(tmp_path / "d.npz", X=X, y=y, t=t)
    assert load_array(tmp_path / "d.npz").y.tolist() == [0, 1, 1]
    assert load_array(tmp_path / "d.npz", labels="t").y.tolist() == ["a", "b", "c"]
    np.savez(tmp_path / "one.npz", anything=X)
    np.testing.assert_array_equal(load_array(tmp_path / "one.npz").X, X)
    np.savez(tmp_path / "two.npz", a=X, b=X)
    with pytest.raises(ValueError, match=r"as 'X' or as its only array.*'a', 'b'"):
        load_array(tmp_path / "two.npz")


@pytest.mark.parametrize(
    ("text", "labels", "X", "y"),
    [
        ("1,2\n3,4\n", None, [[1, 2], [3, 4]], None),
        ("a,b\n1,2\n\n3,4\n", None, [[1, 2], [3, 4]], None),
        ("a,b,c\n1,u,2\n3,v,4\n", "b", [[1, 2], [3, 4]], ["u", "v"]),
        ("a,b\n1,7\n3,8\n", "b", [[1], [3]], [7, 8]),
        ("\ufeffa,b\n1e-3,2\n", None, [[0.001, 2]], None),
    ],
)
def test_csv(tmp_path, text, labels, X, y):
    path = tmp_path / "d.csv"
    path.write_text(text, encoding="utf-8")
    rows = load_array(path, labels=labels)
    np.testing.assert_array_equal(rows.X, X)
    assert (rows.y if y is None else rows.y.tolist()) == y


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n3\n", "row 2 has 1 values where 2"),
        ("a,b\n1,2\n3,cat\n", "row 2, column 'b' is no number: 'cat'"),
        ("1,2\n3,\n", "row 2, column 2 is no number: ''"),
    ],
)
def test_csv_that_is_no_table_of_numbers(tmp_path, text, message):
    path = tmp_path / "d.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_array(path)


def test_labels_from_another_file(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3))
    np.save(tmp_path / "y.npy", np.array([2, 1, 0]))
    (tmp_path / "y.txt").write_text("cat\ndog\ncat\n")
    x = tmp_path / "x.npy"
    assert load_array(x, labels=tmp_path / "y.npy").y.tolist() == [2, 1, 0]
    assert load_array(x, labels=tmp_path / "y.txt").y.tolist() == ["cat", "dog", "cat"]
    (tmp_path / "short.txt").write_text("cat\n")
    with pytest.raises(ValueError, match="one for each of the 3 rows"):
        load_array(x, labels=tmp_path / "short.txt")
    with pytest.raises(ValueError, match="labels must be an array or a column"):
        load_array(x, labels="kind")


def test_a_path_that_is_no_file_or_of_another_kind(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_array(tmp_path / "no.npy")
    (tmp_path / "x.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"must end in \.npy, \.npz or \.csv"):
        load_array(tmp_path / "x.xlsx")
    for name in ("x.npy", "x.npz"):
        (tmp_path / name).write_bytes(b"not an array")
        with pytest.raises(ValueError, match=f"{name} is no a"):
            load_array(tmp_path / name)


def test_objects_and_single_rows_are_refused(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="no array of numbers"):
        load_array(tmp_path / "o.npy")
    np.save(tmp_path / "v.npy", np.arange(3))
    with pytest.raises(ValueError, match=r"must hold numbers of shape.*\(3,\)"):
        load_array(tmp_path / "v.npy")
    np.save(tmp_path / "t.npy", np.array([["a"]]))
    with pytest.raises(ValueError, match="must hold numbers"):
        load_array(tmp_path / "t.npy")


# Folders of images


def test_folder_of_classes(tmp_path):
    save_image(tmp_path / "dog" / "a.png", [[1, 2], [3, 4], [5, 6]])
    save_image(tmp_path / "cat" / "b.png", [[7, 8], [9, 10], [11, 12]])
    (tmp_path / "notes.txt").write_text("not an image")
    rows = load_image_folder(tmp_path)
    assert rows.y.tolist() == ["cat", "dog"]
    assert rows.image_shape == (1, 3, 2)
    np.testing.assert_array_equal(rows.X, [range(7, 13), range(1, 7)])
    assert rows.X.dtype == np.uint8


def test_one_colour_image_makes_all_colour(tmp_path):
    color = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    save_image(tmp_path / "a.png", color)
    save_image(tmp_path / "b.png", [[9, 9], [9, 9]])
    rows = load_image_folder(tmp_path)
    assert rows.y is None
    assert rows.image_shape == (3, 2, 2)
    np.testing.assert_array_equal(rows.X[0].reshape(3, 2, 2)[1], color[:, :, 1])
    np.testing.assert_array_equal(rows.X[1], np.full(12, 9))


def test_images_of_several_sizes_want_one(tmp_path):
    save_image(tmp_path / "a.png", np.zeros((4, 6)))
    save_image(tmp_path / "b.png", np.full((2, 3), 200))
    with pytest.raises(ValueError, match=r"4 x 6 in a\.png and 2 x 3 in b\.png"):
        load_image_folder(tmp_path)
    rows = load_image_folder(tmp_path, size=(5, 4))
    assert rows.image_shape == (1, 5, 4)
    assert rows.X[1].tolist() == [200] * 20


def test_folders_that_hold_no_usable_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_image_folder(tmp_path / "no")
    with pytest.raises(FileNotFoundError, match="holds no image"):
        load_image_folder(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        load_image_folder(tmp_path)


def test_loose_images_beside_classes_are_refused(tmp_path):
    save_image(tmp_path / "dog" / "a.png", np.zeros((2, 2)))
    save_image(tmp_path / "loose.png", np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"not both; loose\.png"):
        load_image_folder(tmp_path)


def test_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2), dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png must have 8 bits"):
        load_image_folder(tmp_path)


def test_without_pillow_the_error_says_what_to_install(tmp_path, monkeypatch):
    save_image(tmp_path / "a.png", np.zeros((2, 2)))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        datasets.load_image_folder(tmp_path)
