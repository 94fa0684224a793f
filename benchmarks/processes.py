"""What a second process brings: python -m benchmarks.processes [--processes 2]

The same short run on generated images, by one process and by several that torchrun starts, each with one thread and
no loader processes, by turns. Printed for each stage: the seconds of both and their ratio; With as many idle cores as
processes, the limit of the ratio is the number of processes. Stages of a second or two show what starting costs, not
what they do.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.common import scratch_folder

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("cam", "seeds", "context", "remove", "ibb", "correct", "affinity", "walk", "pseudo", "segment")
ROUNDS = 2
SETTINGS = (
    "workers=0",
    "device=cpu",
    "data.shapes_train=96",
    "data.shapes_val=4",
    "data.shapes_size=256",
    "cam.epochs=2",
    "affinity.kind=learned",
    "affinity.epochs=2",
    "affinity.crop_size=192",
    "affinity.batch_size=8",
    "affinity.refine=par",
    "ibb.epochs=2",
    "segment.epochs=2",
    "report.enabled=false",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.processes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    args = parser.parse_args()
    with scratch_folder() as name:
        folder = Path(name)
        alone, together = [], []
        for index in range(ROUNDS):
            alone.append(seconds(folder, f"alone{index}", 1))
            together.append(seconds(folder, f"together{index}", args.processes))
    print(f"{'stage':10}{'1 process':>12}{f'{args.processes} processes':>14}{'ratio':>8}")
    for stage in STAGES:
        one, several = (statistics.median(row[stage] for row in rows) for rows in (alone, together))
        print(f"{stage:10}{one:10.1f} s{several:12.1f} s{one / several:8.2f}")


def seconds(folder: Path, name: str, processes: int) -> dict[str, float]:
    """Seconds of each stage of a new run."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    settings = [*SETTINGS, f"data.root={folder / 'shapes'}", f"checkpoint={folder / name}.pth", f"run={folder / name}"]
    command = ["train.py", "--config", "config.yaml", "--preset", "demo", "--quiet"]
    command += [word for setting in settings for word in ("--set", setting)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*launcher, *command], check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    records = json.loads((folder / name / "stages.json").read_text())
    return {stage: records[stage]["seconds"] for stage in STAGES}


if __name__ == "__main__":
    main()
