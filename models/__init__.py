"""Tensors: backbones, the classifier, activation maps and the method that corrects them, refinement, segmentation."""

import torch

# The torchvision of PyPI is compiled for CUDA, so a CPU-only torch cannot load its library. Then `import torchvision`
# (which timm needs) fails because it describes two operators that are unknown. Nothing in this project calls either.
if torch.version.cuda is None and torch.version.hip is None:
    _library = torch.library.Library("torchvision", "FRAGMENT")  # operators live as long as this object
    for _name in ("nms", "qnms"):
        if not torch._C._dispatch_has_kernel(f"torchvision::{_name}"):
            _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
