"""What training keeps so as to go on as if it had not stopped: `STAGE.last.pth`, written by the main process."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.checkpoint import load_tensors, save_tensors
from utils.distributed import barrier, gather, is_main, rank, total, world_size
from utils.errors import UserError

SAVE_EVERY = 60.0  # seconds between resumable states


class TrainingState:
    """What training needs to go on: `parts`, such as the network and its optimizer, each with a state of its own.

    Another number of processes may go on from it: they see the same images, but draw new dropout.
    """

    def __init__(self, path: Path, fingerprint: str, device: torch.device, parts: dict[str, Any]):
        self.path, self.fingerprint, self.device, self.parts = path, fingerprint, device, parts
        self.saved_at = time.monotonic()

    def load(self) -> tuple[int, dict[str, Tensor]]:
        """The steps done, and this process's part of the epoch's sums of losses; 0 and none without such a state."""
        content = self._read()
        step = content.get("step", 0)
        if len(set(gather(step))) > 1:
            remedy = "the run folder must be the same for all: on several machines give one that they share with --run"
            raise UserError(f"processes find different states {self.path} to go on from; {remedy}")
        if not step:
            return 0, {}
        for name, part in self.parts.items():
            part.load_state_dict(content[name])
        if len(content["noise"]) == world_size():
            noise = content["noise"][rank()]
            torch.set_rng_state(noise["cpu"])
            if "cuda" in noise and self.device.type == "cuda":
                torch.cuda.set_rng_state(noise["cuda"], self.device)
        # The sums are those of all processes: the main one goes on from them, the others from nothing.
        return step, {name: sums.to(self.device) * is_main() for name, sums in content["totals"].items()}

    def is_due(self) -> bool:
        """Whether the last state is old; one process asks, so that all agree."""
        return is_main() and time.monotonic() - self.saved_at > SAVE_EVERY

    def save(self, step: int, totals: dict[str, Tensor]) -> None:
        """Write the state; all processes call it, and it is there when they return."""
        noise = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            noise["cuda"] = torch.cuda.get_rng_state(self.device)
        content = {"fingerprint": self.fingerprint, "step": step, "totals": sum_totals(totals), "noise": gather(noise)}
        if is_main():
            save_tensors(self.path, content | {name: part.state_dict() for name, part in self.parts.items()})
        barrier()
        self.saved_at = time.monotonic()

    def _read(self) -> dict[str, Any]:
        try:
            content = load_tensors(self.path) if self.path.is_file() else {}
        except UserError:
            return {}  # a state is only a short cut
        expected = {"fingerprint", "step", "totals", "noise", *self.parts}
        fits = isinstance(content, dict) and expected <= set(content) and content["fingerprint"] == self.fingerprint
        return content if fits else {}


def sum_totals(totals: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars by name, each summed over all processes, in one message."""
    if not totals:
        return {}
    return dict(zip(totals, total(torch.stack(list(totals.values()))).unbind(), strict=True))
