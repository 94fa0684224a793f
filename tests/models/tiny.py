"""A backbone of a few hundred weights, to see the properties of the method without the price of a real one."""

import torch
from torch import Tensor, nn

from models.chain import Backbone
from models.classifier import Classifier
from models.method import Method
from models.reading import normalise_maps
from models.steps import BackgroundBlur, ClassActivationMap, GradFusion, PartialReactivation, Step

CLASSES = [2, 0, 3]
SCALES = (1.0, 0.5)


class TinyBackbone(Backbone):
    """Five small stages; random but fixed weights, scale and running statistics."""

    parts = tuple((f"blocks.{number}",) for number in range(5))
    strides = (2, 4, 8, 16, 16)
    channels = (4, 6, 8, 8, 10)

    def __init__(self, seed: int = 0):
        super().__init__()
        before = (3, *self.channels)
        steps = (2, 2, 2, 2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before[i], before[i + 1], 3, steps[i], 1), nn.BatchNorm2d(before[i + 1]), nn.SiLU())
            for i in range(len(steps))
        )
        random = torch.Generator().manual_seed(seed)
        for name, values in self.state_dict().items():
            if values.is_floating_point():
                noise = torch.randn(values.shape, generator=random)
                spread = (1 / values[0].numel()) ** 0.5 if values.ndim == 4 else 0.2
                values.copy_(spread * noise + (1.0 if name.endswith(("1.weight", "running_var")) else 0.0))


def tiny_classifier(num_classes: int = 4, seed: int = 0) -> Classifier:
    """In evaluation mode, weights without gradient, as a loaded classifier is."""
    classifier = Classifier(TinyBackbone(seed), num_classes)
    random = torch.Generator().manual_seed(seed + 1)
    classifier.classifier.weight.data.normal_(generator=random)
    return classifier.eval().requires_grad_(False)


def cams(classifier: Classifier, x: Tensor) -> Tensor:
    """(B, 3, H, W) normalised images -> (B, C, h, w) class activation maps, ReLU(w_k . F), not normalised."""
    return classifier.activation(classifier.backbone.stages(x))


def make_image(height: int = 64, width: int = 96, seed: int = 0) -> Tensor:
    """(3, H, W): smooth blotches with a little noise, about as spread as a normalised photograph."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, max(2, height // 12), max(2, width // 12), generator=random)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)[0]
    return smooth + 0.1 * torch.randn(3, height, width, generator=random)


def random_maps(*shape: int, seed: int = 0) -> Tensor:
    return normalise_maps(torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) ** 2)


def random_features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + 1


def make_method(gfm: Step | None = None, prm: Step | None = None, ibb: Step | None = None, flip: bool = True) -> Method:
    """CAM at two scales, and the given steps in their order."""
    steps = [step for step in (gfm, prm, ibb) if step is not None]
    return Method([ClassActivationMap(scales=SCALES, flip=flip), *steps])


def full_method(flip: bool = True) -> Method:
    """All steps, with two rounds of blurred background."""
    return make_method(GradFusion(), PartialReactivation(), BackgroundBlur(iterations=2), flip)
