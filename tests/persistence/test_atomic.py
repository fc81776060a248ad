"""Whatever stops a `save`, the old file stays, and nothing else is left."""

import errno
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA

from manifoldgen import load, save


@pytest.fixture
def pca():
    return PCA(4).fit(np.random.default_rng(0).normal(size=(100, 50)))


@pytest.fixture
def old(tmp_path, pca):
    path = tmp_path / "model.safetensors"
    save(PCA(2), path)
    return path


def assert_untouched(path):
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert load(path).n_components == 2


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_an_error_of_the_disk_leaves_the_old_file(function, old, pca, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left"):
        save(pca, old)
    monkeypatch.undo()
    assert_untouched(old)


def test_ctrl_c_leaves_the_old_file(old, pca, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(pca, old)
    monkeypatch.undo()
    assert_untouched(old)


def test_a_full_disk_leaves_the_old_file(old):
    """The kernel itself refuses the write: files may grow to 4096 bytes."""
    script = (
        "import resource, sys, numpy as np\n"
        "from sklearn.decomposition import PCA\n"
        "from manifoldgen import save\n"
        "pca = PCA(40).fit(np.random.default_rng(0).normal(size=(100, 50)))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    save(pca, sys.argv[1])\n"
        "except OSError as error:\n"
        "    print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(old)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == errno.EFBIG
    assert_untouched(old)


def test_a_folder_that_is_not_there_or_is_the_path(old, pca):
    with pytest.raises(FileNotFoundError):
        save(pca, old.parent / "absent" / "model")
    with pytest.raises(NotADirectoryError):
        save(pca, old / "model")
    with pytest.raises(IsADirectoryError, match="folder"):
        save(pca, old.parent)
    assert_untouched(old)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(old, pca):
    old.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            save(pca, old)
    finally:
        old.parent.chmod(0o700)
    assert_untouched(old)


def test_a_folder_that_cannot_be_synced_is_no_error(old, pca, monkeypatch):
    real = os.fsync

    def files_only(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    save(pca, old)
    assert load(old).n_components == 4


def test_permissions_and_links_are_kept(old, pca):
    old.chmod(0o640)
    link = old.with_name("link")
    link.symlink_to(old.name)
    save(pca, link)
    assert link.is_symlink()
    assert load(old).n_components == 4
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


def test_a_new_file_has_the_permissions_of_the_process(tmp_path, pca):
    (tmp_path / "other").touch()
    save(pca, tmp_path / "model")
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("other", "model")]
    assert modes[0] == modes[1]
