"""Write every setting with its default and help into config.yaml, and the tables of the steps into docs/method.md.

    python docs/settings.py

A setting is a field of its class (stages, data/settings.py, models/steps). The presets of config.yaml
stay as they are.
"""

import re
import sys
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from stages.config import parts
from utils.settings import Part

ROOT = Path(__file__).parents[1]
TITLES = {
    "cam": "stage cam: training of the classifier, and how its maps are read",
    "gfm": "Grad Fusion Module",
    "layercam": "optional step: LayerCAM of earlier stages",
    "regioncam": "optional step: Region-CAM",
    "prm": "Partial Reactivation Module",
    "sipe": "optional step: image-specific prototypes, as SIPE chooses them",
    "ibb": "Iterative Background Blur, and training on blurred images (stages ibb and correct)",
    "seeds": "stage seeds, and prediction of classes",
    "context": "stages context and remove: what occurs together with each class",
    "affinity": "stages affinity (IRN's boundary network) and walk",
    "pseudo": "stage pseudo: seeds -> masks",
    "segment": "stage segment: DeepLabV3; how the network is trained holds for stage ibb, too",
    "infer": "infer.py, and evaluate.py with a network",
    "report": "stages ablation and report",
}
COMMENT = 32  # column of comments
TABLE = re.compile(r"<!-- settings of (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def sections() -> dict[str, list[Part]]:
    """The parts of the configuration by section, in the order of the file."""
    found: dict[str, list[Part]] = {}
    for part in parts():
        found.setdefault(part.section, []).append(part)
    return found


def settings_text() -> str:
    """The settings part of config.yaml."""
    lines = []
    for section, of_section in sections().items():
        if section:
            title = TITLES.get(section)
            lines.append(f"{section + ':':{COMMENT}}# {title}" if title else f"{section}:")
        for part in of_section:
            lines += [_line(key, setting) for key, setting in part.keys().items()]
        lines.append("")
    return "\n".join(lines)


def _line(key: str, setting: Field) -> str:
    _, dot, name = key.rpartition(".")
    line = f"{'  ' if dot else ''}{name}: {value_text(setting.default)}"
    comment = setting.metadata["help"]
    return f"{line:{COMMENT - 2}}  # {comment}" if comment else line


def value_text(value: Any) -> str:
    """A default as YAML on one line."""
    value = {} if value is MISSING else list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, default_style='"' if value == "" else None)
    return text.strip().removesuffix("...").strip()


def table_text(section: str) -> str:
    """The settings of a section as a table for documents."""
    rows = ["| setting | default | |", "|---|---|---|"]
    for part in sections()[section]:
        for key, setting in part.keys().items():
            rows.append(f"| `{key}` | `{value_text(setting.default)}` | {setting.metadata['help']} |")
    return "\n".join(rows)


def updated(text: str) -> str:
    """config.yaml with the settings as the code has them."""
    start, end = text.index("\nrun:") + 1, text.index("presets:\n")
    return f"{text[:start]}{settings_text()}{text[end:]}"


def with_tables(text: str) -> str:
    """A document with its tables of settings as the code has them."""
    return TABLE.sub(lambda found: f"<!-- settings of {found[1]} -->\n{table_text(found[1])}\n<!-- end -->", text)


def main() -> None:
    """The command."""
    for path, change in ((ROOT / "config.yaml", updated), (ROOT / "docs/method.md", with_tables)):
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
