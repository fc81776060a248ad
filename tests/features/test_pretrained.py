"""Features by networks from files and by random ones, and files that are no good."""

import hashlib
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from manifoldgen.features import PretrainedFeatures
from manifoldgen.nn.backbones import vgg_or_resnet

X = load_digits().data[:60] / 16
IMAGES = np.random.RandomState(0).randint(0, 256, (5, 12, 12)).astype(np.uint8)


class Small(nn.Module):
    """Maps three channels to four, then to two columns."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))


class Shaped(nn.Module):
    def __init__(self, image_shape):
        super().__init__()
        self.layer = nn.Linear(image_shape[1] * image_shape[2], 3)

    def forward(self, images):
        return self.layer(images.flatten(1))


def no_module():
    return 3


def broken():
    raise OSError("no licence")


@pytest.fixture(scope="module")
def resnet():
    return vgg_or_resnet("resnet18", torch.Generator().manual_seed(3)).eval()


@pytest.fixture(scope="module")
def weights(resnet, tmp_path_factory):
    """Return a file as torchvision's are: with the weights of a classifier."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    classifier = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save({**resnet.state_dict(), **classifier}, path)
    return path


@torch.no_grad()
def test_weights_from_a_file_by_hand(resnet, weights):
    features = PretrainedFeatures(
        "resnet18", weights=weights, layers=("layer1", "layer3"), size=20
    ).fit(IMAGES)
    shares = torch.from_numpy(IMAGES).float()[:, None] / 255
    large = nn.functional.interpolate(
        shares.expand(-1, 3, -1, -1), 20, mode="bilinear", antialias=True
    )
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = (large - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(
        3, 1, 1
    )
    maps = resnet.activations(images, ("layer1", "layer3"))
    expected = torch.cat([found.mean((2, 3)) for found in maps], 1)
    np.testing.assert_allclose(
        features.transform(IMAGES), expected, rtol=1e-4, atol=1e-5
    )
    assert features.group_lengths_ == (64, 256)
    assert features.weights_sha256_ == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert not features.is_random_
    assert features.description_ == f"resnet18, weights {features.weights_sha256_[:12]}"
    assert features.get_feature_names_out()[0] == "pretrainedfeatures0"


def test_random_features_say_that_they_are():
    features = PretrainedFeatures("vgg11", layers="pool2", size=8, random_state=0)
    features.fit(X)
    assert (
        features.set_params(image_shape=(1, 8, 8)).fit(X).transform(X).shape[1] == 128
    )
    assert features.is_random_
    assert features.weights_sha256_ is None
    assert features.description_ == "random features of vgg11"
    assert features.get_feature_names_out()[127] == "randomfeatures127"
    again = PretrainedFeatures(**features.get_params()).fit(X)
    np.testing.assert_array_equal(again.transform(X), features.transform(X))
    other = again.set_params(random_state=1).fit(X)
    assert not np.array_equal(other.transform(X), features.transform(X))


def test_safetensors_and_checkpoints_hold_the_same_weights(tmp_path):
    with torch.random.fork_rng():
        own = Small()
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    torch.save({"epoch": 3, "state_dict": own.state_dict()}, tmp_path / "own.pt")
    found = [
        PretrainedFeatures(
            Small, weights=tmp_path / name, layers=("body", "output"), pooling="max"
        ).fit(IMAGES)
        for name in ("own.safetensors", "own.pt")
    ]
    images = torch.from_numpy(IMAGES).float()[:, None].expand(-1, 3, -1, -1) / 255
    with torch.no_grad():
        expected = torch.cat([own.body(images).amax((2, 3)), own(images)], 1)
    for features in found:
        np.testing.assert_allclose(features.transform(IMAGES), expected, atol=1e-6)
        assert features.description_.startswith("Small, weights ")


def test_a_class_may_take_the_shape_of_the_images():
    features = PretrainedFeatures(Shaped, random_state=0).fit(IMAGES)
    assert features.layers_ == ("output",)
    assert features.transform(IMAGES).shape == (5, 3)
    state = torch.get_rng_state()
    again = PretrainedFeatures(Shaped, random_state=0).fit(IMAGES)
    np.testing.assert_array_equal(again.transform(IMAGES), features.transform(IMAGES))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a file with the weights of a small network."""
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    with torch.random.fork_rng():
        torch.save(Small().state_dict(), path)
    return path


class Runs:
    """What a pickle of this would do is to call os.system."""

    def __reduce__(self):
        return os.system, ("true",)


def truncated(path, weights):
    path.write_bytes(weights.read_bytes()[:-100])


def half(path, weights):
    path.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def short_legacy(path, weights):
    state = torch.load(weights, weights_only=True)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])


def empty(path, weights):
    path.write_bytes(b"")


def text(path, weights):
    path.write_text("<html>404</html>")


def code(path, weights):
    torch.save({"head.weight": Runs()}, path)


def plain_pickle(path, weights):
    path.write_bytes(pickle.dumps({"head.weight": Runs()}, protocol=2))


def plain_pickle_of_today(path, weights):
    path.write_bytes(pickle.dumps({"head.weight": Runs()}))


def whole_module(path, weights):
    torch.save(nn.Linear(2, 2), path)


def no_tensors(path, weights):
    torch.save({"accuracy": 0.9, "epoch": 3}, path)


def of_another(path, weights):
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).state_dict(), path)


def spoilt(path, weights):
    state = torch.load(weights, weights_only=True)
    state["body.0.weight"][0, 0, 0, 0] = torch.nan
    torch.save(state, path)


def wider(path, weights):
    state = torch.load(weights, weights_only=True)
    state["body.0.weight"] = torch.zeros(8, 3, 3, 3)
    del state["head.bias"]
    torch.save(state, path)


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (truncated, "damaged, cut short.*SHA-256"),
        (half, "damaged, cut short"),
        (short_legacy, "damaged, cut short"),
        (empty, "damaged, cut short"),
        (text, "damaged, cut short"),
        (code, r"other than tensors.*only code.*torch\.save\(model\.state_dict"),
        (plain_pickle, "other than tensors.*only code"),
        (plain_pickle_of_today, "other than tensors.*only code"),
        (whole_module, "other than tensors.*only code"),
        (no_tensors, r"dict of names and tensors.*keys 'accuracy', 'epoch'"),
        (
            of_another,
            r"those of Small.*missing in the file: body\.0\.weight, .* 1 more",
        ),
        (of_another, r"not in the network: 0\.weight, 0\.bias\.$"),
        (spoilt, r"must be finite, and body\.0\.weight is not"),
        (wider, r"missing in the file: head\.bias; of another shape: body\.0\.weight"),
        (wider, r"\(8, 3, 3, 3\) in place of \(4, 3, 3, 3\)\.$"),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_no_good(write, match, tmp_path, small):
    path = tmp_path / "weights.pth"
    write(path, small)
    features = PretrainedFeatures(Small, weights=path)
    with pytest.raises(ValueError, match=match):
        features.fit(IMAGES)
    assert not [name for name in vars(features) if name.endswith("_")]


def test_files_of_data_parallel_name_the_same_network(tmp_path, small):
    state = torch.load(small, weights_only=True)
    path = tmp_path / "parallel.pth"
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    one, other = (PretrainedFeatures(Small, weights=it) for it in (small, path))
    np.testing.assert_array_equal(
        one.fit_transform(IMAGES), other.fit_transform(IMAGES)
    )


def test_random_weights_are_the_same_at_each_fit_unless_asked_for_others():
    first, again = (PretrainedFeatures().fit_transform(IMAGES) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = PretrainedFeatures(random_state=1).fit_transform(IMAGES)
    assert not np.array_equal(first, other)


def test_a_file_that_is_not_there():
    features = PretrainedFeatures("resnet18", weights="nowhere/resnet18.pth")
    with pytest.raises(
        FileNotFoundError, match=r"'nowhere/resnet18.pth'.*fetch the fi"
    ):
        features.fit(IMAGES)


def test_a_damaged_file_of_safetensors(tmp_path):
    path = tmp_path / "own.safetensors"
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(ValueError, match="damaged, cut short"):
        PretrainedFeatures(Small, weights=path).fit(IMAGES)


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"backbone": "vgg12"}, ValueError, r"vgg11.*resnet152.*got 'vgg12'"),
        ({"backbone": 3}, TypeError, "backbone must be None, one of .*got 3"),
        ({"backbone": nn.Linear(1, 1)}, TypeError, "the class itself, not an"),
        ({"backbone": no_module}, TypeError, "must build a torch.nn.Module, got int"),
        ({"backbone": broken}, OSError, "no licence"),
        ({"weights": 3}, TypeError, "weights must be None.*got 3"),
        ({"layers": "conv9"}, ValueError, "conv1, conv2, conv3, got 'conv9'"),
        ({"layers": ()}, TypeError, r"layers must be None, .*got \(\)"),
        ({"layers": ("conv1", "conv1")}, ValueError, "each layer once"),
        ({"pooling": "median"}, ValueError, "'flatten', got 'median'"),
        ({"size": 0}, ValueError, "size must be an int >= 1, got 0"),
        ({"size": (3, 4, 5)}, ValueError, r"\(height, width\) in pixels, got"),
        ({"mean": (0.1, 0.2)}, ValueError, "one for each of the 1 channels"),
        ({"std": 0.0}, ValueError, r"std must be .* got 0.0"),
        ({"batch_size": 0}, ValueError, "batch_size must be an int >= 1, got 0"),
        (
            {"backbone": "vgg11"},
            ValueError,
            r"'vgg11' cannot take images of shape \(3, 12, 12\) up to .*pool5.*size=",
        ),
        ({"image_shape": (2, 6, 12), "backbone": "vgg11"}, ValueError, "3 channels"),
    ],
)
def test_bad_parameters(parameters, error, match):
    rows = IMAGES.reshape(5, 144) if "image_shape" in parameters else IMAGES
    with pytest.raises(error, match=match):
        PretrainedFeatures(**parameters).fit(rows)


def test_images_that_are_too_small_pass_up_to_an_earlier_layer_or_resized():
    early = PretrainedFeatures("vgg11", layers="pool3", random_state=0).fit(IMAGES)
    assert early.transform(IMAGES).shape == (5, 256)
    late = PretrainedFeatures("vgg11", size=(32, 40), random_state=0).fit(IMAGES[:1])
    assert late.group_lengths_ == (512,)


def test_the_size_of_a_batch_changes_rounding_alone():
    whole = PretrainedFeatures(random_state=0).fit(IMAGES)
    parts = PretrainedFeatures(batch_size=3, random_state=0).fit(IMAGES)
    np.testing.assert_allclose(
        parts.transform(IMAGES), whole.transform(IMAGES), rtol=1e-5, atol=1e-6
    )
