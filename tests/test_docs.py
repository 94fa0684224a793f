"""What the documentation names exists: files, commands, their options, settings. Its figures are made by code."""

import re
import shlex
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from docs import figure
from stages.config import load_config
from tests.project import ROOT, call
from tests.test_scripts import SCRIPTS

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
HISTORY = ("log.md", "CHANGELOG.md")  # they name what there was, too
SCREEN = 45  # lines


@cache
def options(command: str) -> set[str]:
    """The options of a script or module, as its --help lists them."""
    ended = call(command, "--help")
    assert ended.code == 0, command
    return set(re.findall(r"--[a-z_][\w-]*", ended.out))


def commands(page: Path) -> list[list[str]]:
    """Words of every command line `python ...`, indented or between backticks, without `python`."""
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"^    python (.+)$", text, re.MULTILINE) + [
        " ".join(found.split()) for found in re.findall(r"`python ([^`]+)`", text)
    ]
    return [shlex.split(re.split(r"\s{3,}", line)[0]) for line in lines]


def anchors(page: Path) -> set[str]:
    """What a link can name behind `#`: headings as GitHub writes them, and anchors of the page's own."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="(\w+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_commands_options_and_settings_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            name, _, heading = target.partition("#")
            path = page.parent / name if name else page
            assert path.exists(), target
            assert not heading or heading in anchors(path), target
    if page.name in HISTORY:
        return
    sections = {name: set(values) for name, values in load_config(None).to_dict().items() if isinstance(values, dict)}
    for section, name in re.findall(r"`(?:--set )?([a-z]+)\.([a-z_]+)\b(?!\.)(?:[:=][^`]*)?`", text):
        if section in sections and name not in ("py", "md", "html", "jpg", "json", "pth", "txt", "predict"):
            assert name in sections[section], f"{section}.{name}"
    for words in commands(page):
        script = words[1] if words[0] == "-m" else words[0].removesuffix(".py").replace("/", ".")
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        if words[0] == "-m" and script in ("venv", "pip", "pytest"):
            continue
        assert (ROOT / f"{script.replace('.', '/')}.py").is_file(), words
        if given:
            assert given <= options(script), words
        settings = [after for word, after in pairwise(words) if word == "--set" and "..." not in after]
        if settings:
            load_config(ROOT / "config.yaml", overrides=settings)


BENCHMARKS = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "def main" in path.read_text()]


def test_every_script_and_benchmark_says_what_it_does_and_its_exit_code_is_kept():
    for path in BENCHMARKS:
        assert call(f"benchmarks.{path.stem}", "--help").well().out.startswith("usage: ")
        assert path.read_text().endswith("sys.exit(run_script(main))\n")
    for script in SCRIPTS:
        assert f"python {script}.py " in call(script, "--help").well().out


@pytest.mark.long
def test_figures_are_made_by_code(finished, tmp_path):
    assert {path.stem for path in (ROOT / "docs").glob("*.jpg")} == set(figure.FIGURES)
    call("docs.figure", finished.run, "method", "--output", tmp_path).well()
    made, kept = Image.open(tmp_path / "method.jpg"), Image.open(ROOT / "docs/method.jpg")
    assert made.width == kept.width  # the same columns
    assert (ROOT / "docs/method.jpg").stat().st_size < 400_000


def test_the_log_has_an_index_of_its_experiments_newest_first_and_each_fits_on_a_screen():
    text = (ROOT / "docs/log.md").read_text(encoding="utf-8")
    pattern = r'^## <a id="(\w+)"></a>(\S+): ([^\n]+)\n(.*?)(?=^## |\Z)'  # anchor, date, title, text
    found = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    assert len(found) == text.count("\n## ") > 40
    index = re.findall(r"^\| (\S+) \| \[(.+)\]\(#(\w+)\) \|$", text, re.MULTILINE)
    assert index == [(date, title, anchor) for anchor, date, title, _ in found]
    dates = [date for _, date, _, _ in found]
    assert dates == sorted(dates, reverse=True)
    assert [anchor for anchor, *_, body in found if len(body.strip().splitlines()) >= SCREEN] == []


def test_pages_show_their_figures_and_the_first_screen_of_the_readme_results_and_the_two_commands():
    page = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    assert all(f"({name}.jpg)" in page for name in ("method", "threshold"))
    screen = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert len(screen.splitlines()) < SCREEN
    assert len(re.findall(r"^\| .*\d %.*\|$", screen, re.MULTILINE)) == 6
    shown = re.findall(r'<img src="([^"]+)"', screen)
    assert shown == ["docs/result.jpg"]
    assert (ROOT / shown[0]).is_file()
    assert len(re.findall(r"^    \S.+$", screen, re.MULTILINE)) == 2


def test_the_map_of_the_repository_is_whole_and_true():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folder, named = ROOT, set()
    tree = text.partition("## A map")[2].partition("\n[docs/")[0]
    for indent, words in re.findall(r"^    ( *)(\S.*?) {3}", tree, re.MULTILINE):
        for word in words.split(", "):
            path = (folder if indent else ROOT) / word
            assert path.exists(), word
            named.add(str(path.relative_to(ROOT)))
        if words.endswith("/") and not indent:
            folder = ROOT / words
    rooms = {path.parent.name for path in ROOT.glob("*/*.py") if not path.parent.name.startswith(".")}
    assert named >= rooms | {path.name for path in ROOT.glob("*.py")}
