"""The steps of the method, in order. Another one: its file in this folder, and its line here."""

from models.steps.base import Step
from models.steps.cam import ClassActivationMap
from models.steps.gfm import GradFusion
from models.steps.ibb import BackgroundBlur
from models.steps.prm import PartialReactivation

STEPS: list[type[Step]] = [
    ClassActivationMap,
    GradFusion,
    PartialReactivation,
    BackgroundBlur,
]
