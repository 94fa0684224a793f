"""Label Studio's JSON: a list of tasks, each with its image and what was chosen, in the long form or in JSON-MIN."""

from pathlib import Path
from typing import Any

from data.image_names import composed
from data.label_table import LABEL_COLUMNS, LabelTable, Row, flat


def read_label_studio(path: Path, tasks: list[Any]) -> LabelTable:
    """The labels of every task that has an annotation: choices, and the labels of boxes, polygons and brushes."""
    rows: list[Row] = []
    without = 0
    for position, task in enumerate(tasks, start=1):
        if not isinstance(task, dict):
            continue
        inner = task.get("data")
        data = inner if isinstance(inner, dict) else task
        name = next((data[key] for key in ("image", "img", "file_upload") if isinstance(data.get(key), str)), "")
        labels = _labels_of(task)
        if labels is None or not name:
            without += 1
        else:
            rows.append((f"{path}, task {task.get('id', position)}", name, {composed(label) for label in labels}))
    notes = [f"{path}: {without} tasks have no annotation or no image and are left out"] if without else []
    return LabelTable((), rows, notes)


def _labels_of(task: dict[str, Any]) -> list[str] | None:
    """What the annotations or the columns of a task chose; None where there are none."""
    if "annotations" not in task:
        column = next((name for name in LABEL_COLUMNS if name in task), None)
        return None if column is None else flat(task[column])
    done = [one for one in task["annotations"] or () if isinstance(one, dict) and not one.get("was_cancelled")]
    results = [result for one in done for result in one.get("result") or () if isinstance(result, dict)]
    values = [result["value"] for result in results if isinstance(result.get("value"), dict)]
    chosen = [inner for value in values for key, inner in value.items() if key == "choices" or key.endswith("labels")]
    return [label for inner in chosen for label in flat(inner)] if done else None
