"""Images and probabilities for the tests of refinements."""

from collections.abc import Callable

import torch
from torch import Tensor

HEIGHT, WIDTH, EDGE = 40, 60, 33  # an image whose colour changes at column 33


def random_image(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def random_softmax(labels: int, height: int, width: int, seed: int = 1) -> Tensor:
    logits = 2 * torch.randn(labels, height, width, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(dim=0)


def two_colours() -> tuple[Tensor, Tensor]:
    """An image of two flat colours and where the right one is."""
    right = (torch.arange(WIDTH) >= EDGE).expand(HEIGHT, WIDTH)
    colours = torch.tensor([[70, 90, 60], [180, 120, 150]], dtype=torch.uint8)
    return colours[right.long()].permute(2, 0, 1).contiguous(), right


def soft_edge(column: float, softness: float = 4.0) -> Tensor:
    """Probabilities (2, H, W) whose boundary is blurred and lies at `column` instead of the colour edge."""
    right = torch.sigmoid((torch.arange(WIDTH) - column + 0.5) / softness).expand(HEIGHT, WIDTH)
    return torch.stack([1 - right, right])


def iou(prediction: Tensor, truth: Tensor) -> float:
    return ((prediction & truth).sum() / (prediction | truth).sum()).item()


def assert_edge_is_found(refine: Callable[[Tensor, Tensor], Tensor], least: float = 0.99) -> None:
    """Probabilities whose boundary lies beside the edge of the colours are refined to one on it."""
    image, truth = two_colours()
    for column in (EDGE - 6, EDGE + 6):
        probabilities = soft_edge(column)
        refined = refine(image, probabilities)
        assert_probabilities(refined, probabilities)
        assert iou(probabilities[1] > 0.5, truth) < 0.85
        assert iou(refined[1] > 0.5, truth) > least


def assert_probabilities(refined: Tensor, like: Tensor) -> None:
    assert refined.shape == like.shape
    assert refined.dtype == torch.float32
    assert torch.isfinite(refined).all()
    assert refined.min() >= 0
    torch.testing.assert_close(refined.sum(dim=0), torch.ones(like.shape[1:]), atol=1e-4, rtol=0)
