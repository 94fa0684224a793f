"""What runs on a GPU is what runs on the CPU, up to the precision of its arithmetic; skipped without a GPU."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from data.dataset import TrainingSampler
from data.transforms import RandomCrop, Sides
from models.affinity import AffinityNet
from models.pairs import affinity_losses
from models.random_walk import random_walk
from models.refinement import par
from models.segmenter import Segmenter, segmentation_loss
from stages.reading import prepare, to_seed
from tests.models.tiny import TinyBackbone, full_method, make_image, tiny_classifier
from utils.compute import Compute
from utils.engine import Optimisation, Plan, TrainingData, train_network
from utils.run import Run
from utils.settings import RunSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU (CUDA)")

CPU = Compute(torch.device("cpu"))
PRECISIONS = {"off": 1e-3, "bf16": 0.05, "fp16": 0.05}  # of the loss, relative; a mantissa of 8 or 11 bits


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """TF32 would round products to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@contextmanager
def no_waiting() -> Iterator[None]:
    """No value is read from the GPU inside."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Blotches(Dataset):
    """Images and masks by their draw."""

    def __getitem__(self, draw: tuple[int, int]) -> dict:
        position, _ = draw
        image = make_image(64, 64, seed=position)
        return {"image": image, "mask": (image[0] > 0).long(), "name": str(position)}


def losses(network: nn.Module, batch: dict) -> dict[str, Tensor]:
    return {"segmentation": segmentation_loss(network(batch["image"]), batch["mask"])}


def segmenter() -> Segmenter:
    torch.manual_seed(0)
    network = Segmenter(TinyBackbone(), 2)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the devices draw other numbers
    return network


def train(folder: Path, compute: Compute) -> tuple[dict[str, float], nn.Module]:
    run = Run(RunSettings(run=str(folder)))
    run.fingerprint = "f"
    network = compute.network(segmenter())
    optimisation = Optimisation(lr=0.02, lr_head_factor=1.0, momentum=0.9, weight_decay=1e-4)
    plan = Plan("toy", "toy", 2, optimisation, compute, workers=0, seed=0)
    figures = train_network(run, plan, network, TrainingData(Blotches(), TrainingSampler(8, 4, seed=0)), losses)
    return figures, network


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_steps_have_the_losses_of_the_cpu(tmp_path, precision, channels_last):
    expected, _ = train(tmp_path / "cpu", CPU)
    figures, network = train(tmp_path / "gpu", Compute(torch.device("cuda"), precision, channels_last))
    assert figures["loss"] == pytest.approx(expected["loss"], rel=PRECISIONS[precision])
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_a_compiled_network_trains_the_same(tmp_path):
    expected, _ = train(tmp_path / "cpu", CPU)
    figures, _ = train(tmp_path / "gpu", Compute(torch.device("cuda"), compile=True))
    assert figures["loss"] == pytest.approx(expected["loss"], rel=1e-3)


def test_a_training_step_waits_for_nothing(tmp_path):
    """No value is read from the GPU between the first step and the end of the epoch."""
    network = segmenter().cuda().train()
    batch = {"image": make_image(64, 64)[None].cuda(), "mask": torch.zeros(1, 64, 64, dtype=torch.int64, device="cuda")}
    losses(network, batch)["segmentation"].backward()
    with no_waiting():
        losses(network, batch)["segmentation"].backward()


def test_crops_are_unpacked_as_on_the_cpu_and_wait_for_nothing():
    crop = RandomCrop(48, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), scale_range=(0.3, 1.2))
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 4), dtype=np.uint8)
    image, mask = Image.fromarray(noise[..., :3]), Image.fromarray(noise[..., 3])
    batch = default_collate([crop(image, mask, np.random.default_rng(seed)) for seed in range(4)])
    on_gpu = {name: values.cuda() for name, values in batch.items()}
    with no_waiting():
        found = crop.unpack(on_gpu)
    expected = crop.unpack(batch)
    torch.testing.assert_close(found["image"].cpu(), expected["image"])
    assert ((found["image"] == 0).cpu() == (expected["image"] == 0)).all()
    assert torch.equal(found["mask"].cpu(), expected["mask"])


def test_affinity_losses_are_those_of_the_cpu_and_wait_for_nothing():
    torch.manual_seed(0)
    network = AffinityNet(TinyBackbone(), displacement=True)
    images = torch.stack([make_image(96, 96, seed) for seed in range(2)])
    labels = torch.randint(0, 3, (2, 24, 24))
    expected = affinity_losses(*network(images), labels, 5)
    network, images, labels = network.cuda(), images.cuda(), labels.cuda()
    affinity_losses(*network(images), labels, 5)
    with no_waiting():
        found = affinity_losses(*network(images), labels, 5)
    for name, loss in expected.items():
        assert found[name].item() == pytest.approx(loss.item(), rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize(("precision", "tolerance"), [("off", 2), ("bf16", 26)])  # of 255
def test_seeds_are_those_of_the_cpu(precision, tolerance):
    pixels = (torch.rand(3, 80, 120, generator=torch.Generator().manual_seed(0)) * 255).byte()
    method = full_method()
    maps = []
    for compute in (CPU, Compute(torch.device("cuda"), precision)):
        classifier = compute.network(copy.deepcopy(tiny_classifier()))
        image = prepare(pixels, classifier, compute, Sides())
        with compute.autocast():
            maps.append(to_seed(method(classifier, image, [0, 2]), [0, 2], pixels.shape[-2:]).maps)
    differences = np.abs(maps[0] - maps[1]) * 255
    assert np.quantile(differences, 0.95) <= tolerance
    assert maps[0].max() > 0.9


def test_the_random_walk_is_that_of_the_cpu_for_any_images_that_walk_together():
    random = torch.Generator().manual_seed(0)
    sizes = [(40, 50), (50, 40), (40, 50)]
    cams = [torch.rand(3, *size, generator=random) for size in sizes]
    edges = [torch.rand(size, generator=random) for size in sizes]
    found = random_walk([maps.cuda() for maps in cams], [edge.cuda() for edge in edges])
    for maps, cam, edge in zip(found, cams, edges, strict=True):
        expected = random_walk([cam], [edge])[0]
        assert maps.device.type == "cuda"
        assert torch.allclose(maps.cpu(), expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
        assert torch.equal(maps, random_walk([cam.cuda()], [edge.cuda()])[0])


def test_par_is_that_of_the_cpu():
    random = torch.Generator().manual_seed(0)
    image = (torch.rand(3, 90, 130, generator=random) * 255).byte()
    probabilities = torch.rand(4, 90, 130, generator=random).softmax(dim=0)
    expected = par(image, probabilities, 10)
    assert torch.allclose(par(image, probabilities.cuda(), 10).cpu(), expected, atol=1e-4)
