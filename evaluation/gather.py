"""Several runs of one experiment to mean and deviation.

    python -m evaluation.gather runs/seed0 runs/seed1 runs/seed2                       their reports
    python -m evaluation.gather a.json b.json c.json --csv table.csv               files of evaluate.py --json

The deviation is that of a sample (n - 1). Runs must be repeats: of the same list, backbone, weights, scales, labels.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import csv
import json
import sys
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from stages.files import REPORT
from utils.errors import UserError, run_script, script_parser
from utils.files import atomic_path

HEADERS = {"miou": "mIoU", "miou_best": "best", "over_activation": "over", "under_activation": "under"}
MUST_AGREE = ("kind", "labels", "list", "backbone", "weights", "scales", "flip", "refine", "affinity")


def gather(paths: list[Path]) -> dict[str, dict[str, Any]]:
    """The evaluations that all these runs, or files of `evaluate.py --json`, have, by title.

    Each has `list`, `n_images`, and `figures`: name -> the value of each run (0..1), of those that all runs have.
    """
    if len(paths) < 2:
        raise UserError("a deviation needs at least two runs; give their folders or the files of evaluate.py --json")
    read = [_read(path) for path in paths]
    bare = [{title: row | {"evaluated": {}} for title, row in rows.items()} for rows in read]  # without folders
    for one, other in combinations(range(len(paths)), 2):
        if bare[one] == bare[other]:
            what = f"{paths[one]} and {paths[other]} have the same figures, as one run and its copy have"
            raise UserError(f"{what}; give runs of different seeds")
    gathered = {}
    for title in (title for title in read[0] if all(title in other for other in read)):
        rows = [evaluations[title] for evaluations in read]
        about = [{"images": row["n_images"]} | row["evaluated"] for row in rows]
        for path, other in zip(paths, about, strict=True):
            if differing := [key for key in ("images", *MUST_AGREE) if other.get(key) != about[0].get(key)]:
                differ = f"{differing[0]} is {about[0].get(differing[0])} and {other.get(differing[0])}"
                raise UserError(f"{title}: {paths[0]} and {path} are no repeats: {differ}; evaluate all the same way")
        figures = {name: [row[name] for row in rows] for name in HEADERS}
        for name in rows[0]["per_class"]:
            figures[f"iou {name}"] = [row["per_class"].get(name, {}).get("iou") for row in rows]
        figures = {name: values for name, values in figures.items() if None not in values}
        gathered[title] = {"list": about[0].get("list", ""), "n_images": rows[0]["n_images"], "figures": figures}
    if not gathered:
        raise UserError(f"{paths[0]} and the others have no evaluation in common; evaluate the same of all")
    return gathered


def _read(path: Path) -> dict[str, dict[str, Any]]:
    file = path / REPORT if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rows = {title: row for title, row in content.items() if isinstance(row, dict) and "miou" in row}
        if "miou" in content:
            about = content["evaluated"]
            labels = f", {about['labels']} labels" if about.get("labels") else ""
            rows = {f"{about['kind']}{labels}": content} | rows
        if not rows:
            raise ValueError("no entry has a mIoU")
        for row in rows.values():
            figures = [row[name] for name in HEADERS] + [one["iou"] for one in row["per_class"].values()]
            if not all(figure is None or isinstance(figure, int | float) for figure in figures) or row["miou"] is None:
                raise TypeError("a figure is no number")
            if not isinstance(row["n_images"], int) or not isinstance(row["evaluated"].get("list", ""), str):
                raise TypeError("n_images or the list's name is of another type")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        wanted = f"a run folder with {REPORT}, or a file of evaluate.py --json"
        raise UserError(f"{file} holds no figures ({type(error).__name__}: {error}); expected {wanted}") from error
    return rows


def table(gathered: dict[str, dict[str, Any]]) -> str:
    """A line for each evaluation, mean ± deviation in per cent."""
    headers = "".join(f"{name:>14}" for name in HEADERS.values())
    lines = [f"{f'{_runs(gathered)} runs, mean ± deviation':34}{'list':>12}{'images':>10}{headers}"]
    for title, row in gathered.items():
        found = (row["figures"].get(name) for name in HEADERS)
        cells = (f"{100 * fmean(values):.2f} ± {100 * stdev(values):.2f}" if values else "-" for values in found)
        lines.append(f"{title:34}{row['list']:>12}{row['n_images']:>10}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


def write_table(path: Path, gathered: dict[str, dict[str, Any]]) -> None:
    """A line for each figure, IoU of classes among them: mean, deviation, and each run's value (0..1)."""
    runs = (f"run {number + 1}" for number in range(_runs(gathered)))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["measured", "list", "n_images", "figure", "mean", "deviation", *runs])
        for title, row in gathered.items():
            for name, values in row["figures"].items():
                writer.writerow([title, row["list"], row["n_images"], name, fmean(values), stdev(values), *values])


def _runs(gathered: dict[str, dict[str, Any]]) -> int:
    return len(next(iter(gathered.values()))["figures"]["miou"])


def main() -> None:
    """The command."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or a file of evaluate.py --json")
    add("--csv", type=Path, metavar="FILE", help="also write the figures as a table, one line a figure")
    args = parser.parse_args()
    gathered = gather(args.runs)
    print(table(gathered))
    if args.csv:
        write_table(args.csv, gathered)


if __name__ == "__main__":
    sys.exit(run_script(main))
