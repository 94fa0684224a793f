"""Step 3, Iterative Background Blur (IBB): the image is read again with its background blurred; docs/method.md 3."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from models.method import Method, Step
from models.reading import Reading, normalise_maps
from utils.settings import setting


@dataclass(frozen=True)
class BackgroundBlur(Step):
    """x_{t+1} = M_t * x0 + (1 - M_t) * blur_sigma(x0), A_k = PRM(n(mean over the rounds of A_k^s))."""

    name, title, reads_other_images = "ibb", "IBB", True
    enabled: bool = setting(
        True, help="read the image again with its background blurred; false leaves out stage ibb, too"
    )
    iterations: int = setting(1, low=0, high=20, help="rounds with a blurred background")
    tau: float = setting(0.3, low=0.01, high=1, help="map value from which a pixel stays sharp")
    sigma: float = setting(0.033, low=0.001, high=1, help="standard deviation of the blur, as a part of the long side")
    scales: tuple[float, ...] = setting((1.0,), low=0.1, high=8, help="blurred images are read at these sizes")

    def __call__(self, maps: Tensor, reading: Reading, before: Method) -> Tensor:
        """The maps that all rounds agree on. Similarity is judged on the features of the sharp image."""
        if not reading.classes or not self.iterations:
            return maps
        others = Method(before.steps, replace(before.views, scales=self.scales))
        rounds = [maps]  # A^0 of the sharp image, then A^1, A^2, ..
        blurred_images = reading.shown.setdefault(self.name, [])
        for _ in range(self.iterations):
            blurred = blur_background(reading.image, torch.stack(rounds).mean(dim=0), self.tau, self.sigma)
            blurred_images.append(blurred)
            rounds.append(others(reading.classifier, blurred, reading.classes))
        return before.repeat(normalise_maps(torch.stack(rounds).mean(dim=0)), reading)


def blur_background(image: Tensor, maps: Tensor, tau: float, sigma: float) -> Tensor:
    """x_{t+1} (3, H, W) with M_t = clip(max_k maps_k / tau, 0, 1).

    From x0 (3, H, W) and maps (K, h, w) in 0..1, the mean over the rounds so far, K at least 1; sigma is a share of the
    long side.
    """
    keep = (maps.amax(dim=0) / tau).clamp(0, 1)
    keep = interpolate(keep[None, None], image.shape[-2:], mode="bilinear", align_corners=False)[0]
    return keep * image + (1 - keep) * gaussian_blur(image, sigma * max(image.shape[-2:]))


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """A (C, H, W) image blurred by a Gaussian of `sigma` pixels cut off at 3 sigma; edges are repeated outwards."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = image[:, None]
    channels = pad(channels, (radius, radius, radius, radius), mode="replicate")
    channels = conv2d(channels, kernel.view(1, 1, 1, -1))
    return conv2d(channels, kernel.view(1, 1, -1, 1))[:, 0]
