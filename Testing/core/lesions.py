"""Small images of a body with a lesion, networks whose reasons are known, and maps that explain nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from meddl.saliency.baselines import make_baseline
from meddl.saliency.faithfulness.examined import Examined
from meddl.saliency.methods.method import Method, RawAttribution, Work
from meddl.saliency.options import ExplainOptions
from meddl.saliency.scorer import Scorer
from scipy.ndimage import gaussian_filter

SIZE = 20


def lesion_image(random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a body with a bright rim and a lesion in air ``(1, 1, i, j, k)``, and the lesion ``(i, j, k)`` bool."""
    places = np.indices((SIZE,) * 3) - (SIZE - 1) / 2
    radius = np.sqrt(((places / np.array([8.5, 8, 9])[:, None, None, None]) ** 2).sum(axis=0))
    texture = gaussian_filter(random.standard_normal((SIZE,) * 3), 1.5)
    image = np.where(radius < 1, 1 + 0.25 * texture / texture.std(), 0.0)
    image += np.where((radius < 1) & (radius > 0.85), 0.8, 0)
    middle = random.uniform(-3, 3, 3)
    lesion = ((places - middle[:, None, None, None]) ** 2).sum(axis=0) < random.uniform(1.8, 2.6) ** 2
    image = np.where(lesion, image + 2.0, image) + 0.03 * random.standard_normal(image.shape)
    image = (image - image.mean()) / image.std()
    return torch.from_numpy(image.astype(np.float32))[None, None], torch.from_numpy(lesion)


def trained_unet(steps: int = 60) -> torch.nn.Module:
    """Return a small U-Net that finds such lesions."""
    from monai.networks.nets import UNet

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        random = np.random.default_rng(0)
        network = UNet(3, 1, 2, (8, 16, 32), (2, 2), norm="instance")
        optimizer = torch.optim.Adam(network.parameters(), 5e-3)
        for _ in range(steps):
            images, lesions = zip(*(lesion_image(random) for _ in range(4)), strict=True)
            loss = torch.nn.functional.cross_entropy(
                network(torch.cat(images)), torch.stack(lesions).long(), weight=torch.tensor([1.0, 10.0])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


class PlaceNetwork(torch.nn.Module):
    """The answer is the sum over one place of what a kernel sees there, and nothing else."""

    def __init__(self, place: torch.Tensor) -> None:
        super().__init__()
        self.kernel = torch.nn.Conv3d(1, 4, 3, padding=1, bias=False)
        self.weights = torch.nn.Parameter(place.float().expand(1, 4, *place.shape).clone())
        with torch.no_grad():
            self.kernel.weight.fill_(1 / 27)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (torch.relu(self.kernel(image)) * self.weights).sum(dim=(1, 2, 3, 4))[:, None]


class MadeUp(Method):
    """A map that a function makes of the scorer and the image."""

    title = source = "made up"

    def __init__(self, make: Callable[[Scorer, torch.Tensor], torch.Tensor], signed: bool = True, id: str = "") -> None:
        self._make = make
        self.signed = signed  # type: ignore[misc]
        self.id = id or "made_up"  # type: ignore[misc]

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        return RawAttribution(self._make(scorer, image.detach().clone())[0].detach().float())


def gradient(scorer: Scorer, image: torch.Tensor) -> torch.Tensor:
    image.requires_grad_()
    return torch.autograd.grad(scorer(image).sum(), image)[0].abs()


def edges_of(scorer: Scorer, image: torch.Tensor) -> torch.Tensor:
    steep = np.sqrt(sum(each**2 for each in np.gradient(image[0, 0].numpy())))
    return torch.from_numpy(steep)[None, None]


def edges_with_some_gradient(scorer: Scorer, image: torch.Tensor) -> torch.Tensor:
    """An edge map with a touch of the network, as guided backpropagation gives of deep networks."""
    size = gradient(scorer, image.clone())
    return edges_of(scorer, image) * (1 + 0.2 * size / size.std())


def noise(scorer: Scorer, image: torch.Tensor) -> torch.Tensor:
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(5))


def examined(
    scorer: Scorer, image: torch.Tensor, method: Method, truth: torch.Tensor | None = None, **choices: object
) -> Examined:
    """Return a method's map of an image, ready to be measured."""
    options = ExplainOptions(**choices)  # type: ignore[arg-type]
    work = Work(options, baseline=make_baseline(image, options))
    return Examined(scorer, image, method.attribute(scorer, image, work), method, work, truth)
