"""Label Studio's JSON: a list of tasks, each with its image and what was chosen, in the long form or in JSON-MIN."""

from pathlib import Path
from typing import Any

from data.image_names import composed
from data.label_table import LABEL_COLUMNS, LabelTable, Row, flat


def read_label_studio(path: Path, tasks: list[Any]) -> LabelTable:
    """The labels of every task that has an annotation: choices, and the labels of boxes, polygons and brushes."""
    rows: list[Row] = []
    without = 0
    for place, task in enumerate(tasks, start=1):
        if not isinstance(task, dict):
            continue
        inner = task.get("data")
        data = inner if isinstance(inner, dict) else task
        name = next((data[key] for key in ("image", "img", "file_upload") if isinstance(data.get(key), str)), "")
        labels = _of_annotations(task["annotations"]) if "annotations" in task else _of_columns(task)
        if labels is None or not name:
            without += 1
        else:
            rows.append((f"{path}, task {task.get('id', place)}", name, {composed(label) for label in labels}))
    notes = [f"{path}: {without} tasks have no annotation or no image and are left out"] if without else []
    return LabelTable((), rows, notes)


def _of_annotations(annotations: Any) -> list[str] | None:
    """What the annotations of a task chose; None where there are none."""
    done = [one for one in annotations if isinstance(one, dict) and not one.get("was_cancelled")] if annotations else []
    results = [result for one in done for result in one.get("result") or [] if isinstance(result, dict)]
    values = [result["value"] for result in results if isinstance(result.get("value"), dict)]
    return (
        [
            label
            for value in values
            for key, chosen in value.items()
            if key == "choices" or key.endswith("labels")
            for label in flat(chosen)
        ]
        if done
        else None
    )


def _of_columns(task: dict[str, Any]) -> list[str] | None:
    column = next((name for name in LABEL_COLUMNS if name in task), None)
    return None if column is None else flat(task[column])
