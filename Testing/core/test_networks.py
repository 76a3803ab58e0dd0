"""MedDL's own networks: shapes, order, what they refuse, and that naming them costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from meddl.models.allowed_targets import find_target
from meddl.networks import DenoisingCNN, RecurrentClassifier, VectorToImage
from meddl.networks.vector_to_image import for_plain_noise

CORE = Path(__file__).resolve().parents[2] / "MedDLExtension" / "MedDLCore"


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("shape", [(2, 1, 16, 24, 5), (1, 3, 16, 8, 8, 4)])
def test_recurrent_classifier_answers_one_row_per_sequence(cell: str, shape: tuple[int, ...]) -> None:
    network = RecurrentClassifier(len(shape) - 3, shape[1], 4, features=(4, 8), hidden=6, cell=cell).eval()

    logits = network(torch.randn(shape))

    assert logits.shape == (shape[0], 4)
    assert network.evidence is not None and network.evidence.shape == (shape[0], shape[-1])
    torch.testing.assert_close(network.evidence.sum(dim=1), torch.ones(shape[0]))


def test_recurrent_classifier_takes_any_length() -> None:
    network = RecurrentClassifier(2, 1, 2, features=(4,), hidden=3).eval()
    assert [network(torch.zeros(1, 1, 8, 8, length)).shape[0] for length in (1, 2, 31)] == [1, 1, 1]


def test_recurrent_classifier_tells_the_order_of_its_images() -> None:
    """The same images backwards are another sequence: a network that only averaged over slices could not tell."""
    torch.manual_seed(0)
    network = RecurrentClassifier(2, 1, 2, features=(4, 8), hidden=8)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    ramp = torch.linspace(-1, 1, 6).expand(8, 8, 6)
    stacks = torch.stack([ramp, ramp.flip(-1)])[:, None]
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(stacks), torch.tensor([0, 1])).backward()
        optimizer.step()

    assert network.eval()(stacks).argmax(dim=1).tolist() == [0, 1]


def test_recurrent_classifier_says_what_it_does_not_take() -> None:
    with pytest.raises(ValueError, match="must have 5 axes"):
        RecurrentClassifier(2, 1, 2)(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3"):
        RecurrentClassifier(1, 1, 2)
    with pytest.raises(ValueError, match="'gru' or 'lstm'"):
        RecurrentClassifier(2, 1, 2, cell="rnn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        RecurrentClassifier(2, 1, 2, features=())


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_denoiser_begins_by_changing_nothing(spatial_dims: int) -> None:
    image = torch.randn(1, 2, *[8] * spatial_dims)
    network = DenoisingCNN(spatial_dims, 2, features=4, layers=3)

    assert torch.equal(network(image), torch.zeros_like(image))


def test_denoiser_sees_as_far_as_it_has_layers() -> None:
    torch.manual_seed(0)
    network = DenoisingCNN(2, 1, features=4, layers=3)
    torch.nn.init.normal_(network.last.conv.weight)
    image = torch.zeros(1, 1, 15, 15)
    changed = image.clone()
    changed[..., 7, 7] = 1

    where = (network(changed) != network(image)).nonzero()[:, 2:]

    assert where.min() >= 4 and where.max() <= 10


def test_denoiser_needs_two_layers() -> None:
    with pytest.raises(ValueError, match="2 or more"):
        DenoisingCNN(2, 1, layers=1)


@pytest.mark.parametrize("name", ["DenoisingCNN", "RecurrentClassifier"])
def test_configs_may_name_the_networks(name: str) -> None:
    target = find_target(f"meddl.networks.{name}")
    assert target is not None and target.is_network
    assert target.load() is getattr(__import__("meddl.networks", fromlist=[name]), name)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, meddl.networks as n; assert 'RecurrentClassifier' in dir(n); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=CORE, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="no attribute 'Missing'"):
        __import__("meddl.networks").networks.Missing  # noqa: B018


@pytest.mark.parametrize(
    ("size", "features"), [((16, 24), (4, 8, 8)), ((16, 8, 24), (4, 8, 8, 8)), ((10, 7), (4,)), ((10, 6), (4, 8))]
)
def test_vector_to_image_fills_the_size_and_each_number_tells(size: tuple[int, ...], features: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = VectorToImage(5, size, features).eval()
    numbers = torch.randn(3, 5, requires_grad=True)

    images = network(numbers)
    (slope,) = torch.autograd.grad(images[1].square().sum(), numbers)

    assert images.shape == (3, 1, *size)
    assert (slope[1] != 0).all() and (slope[[0, 2]] == 0).all()


def test_vector_to_image_takes_no_brightness_away() -> None:
    """Ten times the numbers make some ten times the image: nothing within is normalized."""
    torch.manual_seed(0)
    network = VectorToImage(5, (16, 16), (4, 8, 8))
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(value)
    numbers = torch.randn(4, 5)
    torch.testing.assert_close(network(10 * numbers), 10 * network(numbers))


def test_vector_to_image_of_plain_noise_is_that_of_the_shaped_noise() -> None:
    torch.manual_seed(0)
    network, noise = VectorToImage(5, (8, 8), (4, 8)), torch.randn(6, 5)
    mean, factor = torch.randn(5), torch.randn(5, 5)
    wanted = network(mean + noise @ factor.T)

    network.load_state_dict(for_plain_noise(network.state_dict(), mean, factor))

    torch.testing.assert_close(network(noise), wanted)


def test_vector_to_image_says_what_it_does_not_take() -> None:
    with pytest.raises(ValueError, match="cannot be halved 2 times"):
        VectorToImage(5, (16, 10), (4, 8, 8))
    with pytest.raises(ValueError, match="cannot be halved -1 times"):
        VectorToImage(5, (16, 16), ())
    assert find_target("meddl.networks.VectorToImage") is not None
