"""config.yaml as it is, and files like it, for the tests of settings."""

from pathlib import Path

from utils.yaml_text import parse_yaml

FILE = Path(__file__).parents[2] / "config.yaml"
DOCUMENT = parse_yaml(FILE.read_text(encoding="utf-8"))[1]
PRESETS = DOCUMENT["presets"]


def flat(nested: dict, prefix: str = "") -> dict:
    out = {}
    for name, value in nested.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return out


def base() -> dict:
    return {name: value for name, value in DOCUMENT.items() if name not in ("preset", "presets")}


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path
