"""The steps of the method, in order. Another one: its file in this folder, and its line here."""

from models.method import Step
from models.steps.cam import ClassActivationMap
from models.steps.gfm import GradFusion
from models.steps.ibb import BackgroundBlur
from models.steps.layercam import LayerFusion
from models.steps.prm import PartialReactivation
from models.steps.regioncam import RegionPropagation
from models.steps.sipe import ImagePrototypes

STEPS: list[type[Step]] = [
    ClassActivationMap,
    GradFusion,
    LayerFusion,
    RegionPropagation,
    PartialReactivation,
    ImagePrototypes,
    BackgroundBlur,
]
