"""Tensors: backbones, the classifier, activation maps and the method that corrects them, refinement, segmentation."""

import torch


def _let_torchvision_load() -> None:
    """Declare two operators that torchvision's Python side describes at import, where its compiled side cannot load.

    The torchvision of PyPI is compiled for CUDA. With a CPU-only torch its library cannot be loaded. Then `import
    torchvision` (which timm needs) fails because `nms` and `qnms` are unknown. Nothing in this project calls either.
    """
    if torch.version.cuda is not None or torch.version.hip is not None:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not torch._C._dispatch_has_kernel(f"torchvision::{name}"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)  # operators live as long as their library object


_KEPT: list[torch.library.Library] = []
_let_torchvision_load()
