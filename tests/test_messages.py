"""What the command line says to mistakes: one table of commands, what each must name, and what it must say to do next.

Every row ends with exit code 2 and nothing but the message. Names in braces are files of the fixture `world`, or none.
"""

import ast
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.artifacts import Seed, seed_size, write_mask, write_seed
from data.shapes import SHAPES_CLASSES
from models.classifier import build_classifier
from models.segmenter import build_segmenter
from stages.config import load_config
from stages.networks import save_network
from tests.data.layouts_of_tools import put
from tests.project import ROOT, call, new_project, parsed, product_files

# A row: command and arguments => what the message holds, parted by |: what was wrong, then what to do.
TABLE = r"""
train --config {none}.yaml => none.yaml cannot be read
train --config {text.txt} => text.txt | expected 'key: value' lines
train --config {broken.yaml} => broken.yaml, line 3 | not valid YAML | mend the line
train --config {twice.yaml} => twice.yaml, line 3 | 'seed' was already set in line 1
train CONFIG --preset voc21 => there is no preset 'voc21' | known:
train CONFIG --set cam.epoch=3 => unknown setting 'cam.epoch' | did you mean 'cam.epochs'?
train CONFIG --set cam.epochs => --set cam.epochs | expected key.sub=value, for example
train CONFIG --set cam.epochs=many => 'cam.epochs' must be of type int, found 'many'
train CONFIG --set cam.epochs=-1 => 'cam.epochs' must be | found -1
train CONFIG --set cam.scales=[] => 'cam.scales' must be a list of at least one scale, for example [1.0], found []
train CONFIG --set prm.lo=0.9 => 'prm.lo' (0.9) must not be above 'prm.hi'
train CONFIG --set precision=fp8 => 'precision' must be one of off, auto, bf16, fp16, found 'fp8'
train CONFIG --set data.colors=[red] => must be RGB as quoted "#ff8000", found 'red'
train CONFIG --set device=tpu9 --stages cam => device 'tpu9' is not available here | use --set device=cpu or auto
train CONFIG --set precision=fp16 --stages cam => fp16 needs a CUDA device | use --set precision=bf16 or off
train CONFIG --set data.hints={none} => data.hints: there is no | expected hints of this project, LabelMe's or COCO's
train CONFIG --set data.hints={text.txt} => data.hints: | text.txt cannot be read as JSON | expected hints of
    this project
train CONFIG --stages seed => there is no stage 'seed' | known: cam,
train CONFIG --stages seeds => stage 'seeds' needs stage 'cam', which has not run | add it: --stages cam,seeds
train CONFIG --run {text.txt} => folder | cannot be written | choose another with --run
train CONFIG --set model.backbone=resnet51 => 'model.backbone' must be one of resnet50 | found 'resnet51'
train CONFIG --set data.kind=vocc => 'data.kind' must be one of voc, coco, folder, shapes, found 'vocc' | mean 'voc'?
train CONFIG --set data.kind= => 'data.kind' must be one of voc
train CONFIG --set affinity.kind=learnt => 'affinity.kind' must be one of none, learned, features, | 'learned'
train CONFIG --set affinity.refine=krf => 'affinity.refine' must be one of auto, none, par, crf, | 'crf'
train CONFIG --set pseudo.refine=median => 'pseudo.refine' must be one of none, par, crf, found 'median'
train CONFIG --set model.weights={none}.pth => none.pth | give the path of a .pth file
train CONFIG --set data.root={none} => none has no folder JPEGImages | set data.root to it, or
train CONFIG --set data.train_list=trian => there is no list 'trian' | lists there: train, val
train CONFIG --set data.train_list=train_aug => there is no list 'train_aug' | put train_aug.txt into
train CONFIG --set data.labels={none}.csv => there is no file | none.csv
train CONFIG --set data.labels={text.txt} => expected a .csv or a .npy file
train CONFIG --set data.kind=coco => there is no annotation file | expected COCO layout | set data.root and the
    list's name
train CONFIG --set data.kind=folder --set data.root={empty} => says nothing about classes | expected one sub-folder
    of images a class
train CONFIG --set data.kind=folder --set data.root={dataset} => says nothing about classes | expected one sub-folder
train CONFIG --set data.kind=folder --set data.root={own} --set data.train_list=some => there is no list 'some' |
    expected all, train, val, a name under
train CONFIG --set data.kind=folder --set data.root={own} --set 'data.colors=["#ff0000"]' => expected one for each
    of the 2 classes in their order: cat, dog
train CONFIG --set data.kind=shapes --set data.root={own} => holds no generated dataset | set data.root to a new
    folder
train CONFIG --set data.kind=coco --set data.download=true => fetches PASCAL VOC 2012 only | set data.download=false
data.check CONFIG --output {out} --set data.root={none} => problems to mend: | listed in
data.check --preset voc21 --output {out} => there is no preset 'voc21' | did you mean 'voc12'?
evaluate => one of the arguments --model_path --seeds --masks --run --compare is required
evaluate --model_path {none}.pth => there is no file | train first (python train.py --config config.yaml)
evaluate --model_path {text.txt} => text.txt cannot be read as weights | the file is damaged, or holds more than plain
    tensors
evaluate --model_path {tensors.pth} => is not an IBBNet checkpoint | expected a file that train.py wrote
evaluate CONFIG --model_path {pets.pth} => knows other classes than the data: cat, dog and | --config
evaluate CONFIG MODEL --split trian => there is no list 'trian' | lists there: train, val
evaluate CONFIG MODEL --set data.val_list= => data.val_list is empty | --set data.val_list=val
evaluate CONFIG MODEL --json {empty} => empty cannot be written (it is a folder
evaluate CONFIG --masks {text.txt} => text.txt: there is no such folder | check the path
evaluate CONFIG --masks {empty} => there is no mask | expected a palette or grey PNG
evaluate CONFIG --seeds {empty} => there is no seed file | run the stage that writes it
evaluate CONFIG --masks {small_masks} => they must be of one image
evaluate CONFIG --masks {strange_masks} => has value 99 | expected 0..6 or 255
evaluate CONFIG --masks {voc}/SegmentationClass --set data.root={strange_truth} => strange_truth | has value 99 |
    expected 0..6 or 255
evaluate CONFIG --masks {colour_masks} => is an image of mode RGB | save it as palette or grey PNG
evaluate CONFIG --seeds {strange_seeds} => has class 77 | the data has classes 0..5 | name the data
evaluate CONFIG --masks {empty} --set data.root={maskless} => there is no truth to evaluate against | evaluation
    needs one for each image
evaluate --run {empty} => is no run folder | expected a folder that train.py wrote
evaluate CONFIG --compare {empty} {empty} => neither a mask val_0001.png nor a seed file | expected a folder of masks,
    a folder of seeds, or a checkpoint
evaluate CONFIG --compare {segmenter.pth} {segmenter.pth} --csv x.csv => a comparison goes into --json | leave out --csv
evaluate CONFIG --compare {segmenter.pth} {none} => no such file or folder | expected a folder of masks
infer => the following arguments are required: --input
infer --input {none} MODEL => there is no such file or folder, and no file of this pattern | check the path
infer --input {empty} MODEL => no images in this folder | expected images, such as .jpg
infer --input {own} --no-recursive MODEL => its sub-folders were not searched (--recursive)
infer --input {text_image.jpg} MODEL => not one image can be read | give other files | is not an image
infer --input {own} --model_path {none}.pth => none.pth | train first (python train.py --config config.yaml)
infer --input {own} --model_path {text.txt} => cannot be read as weights
infer --input {own} MODEL --classes ruond => --classes: the network knows no class 'ruond' | it knows
infer --input {own} MODEL --labels {none}.csv => none.csv cannot be read | check the path
infer --input {own} MODEL --labels {text.txt} => expected the header 'image,labels'
infer --input {own} MODEL --labels {other.csv} => none of its 1 rows names an image | expected paths from the
    input folder
infer --input {own} MODEL --limit -1 => --limit -1 | expected a number of images, or 0 for all
infer --input {own} MODEL --limit few => invalid int value: 'few'
infer --input {own} MODEL --batch 0 => --batch 0 | leave it out for one at a time
infer --input {own} MODEL --classes , => --classes ,: expected names | leave it out to find all classes
infer --input {own} MODEL --tile 9 => --tile 9 | or 0 for whole images
infer --input {own} --model_path {classifier.pth} --tile 200 => --tile needs a segmentation network | leave --tile out
    or train on
infer --input {own} MODEL --device tpu9 => device 'tpu9' is not available here | device=cpu or auto
infer --input {own} MODEL --export cocoa => no format 'cocoa' | expected some of coco,
infer --input {own} MODEL --export voc => the VOC server takes masks of its own 20 classes
infer --input {own} MODEL --set pseudo.treshold=1 => did you mean 'pseudo.threshold'?
infer --input {own} MODEL --output {foreign} => was not written by infer.py and would be overwritten | choose
    another folder
infer --input {own} MODEL --output {text.txt} => cannot be written | choose a folder that can
infer --input {text.mp4} MODEL => cannot be read as a video | give another file, or convert this one
infer --input {text.mp4} MODEL --export coco => are for images | leave them out
exports.masks {none} --export coco --output {out} => there is no folder | expected masks ID.png in it
exports.masks {empty} --export coco --output {out} => holds no masks | expected ID.png in it
exports.masks {small_masks} --export coco --output {out} => does not say which classes | --classes cat,dog,...
exports.masks {strange_masks} --export coco --output {out} --classes cat,dog => has value 99, which no class has |
    with --classes
exports.masks {small_masks} --export yolo --output {out} --classes cat --images {none} => there is no such folder
exports.masks {small_masks} --export yolo --output {out} --classes cat --images {empty} => there is no image of
    mask | expected
exports.masks {small_masks} --export coco --output {out} --classes background,cat => 0 is background | remove what
exports.masks {small_masks} --export coco --output {out} --classes cat,dog,cat => each once | remove what is no class
exports.masks {small_masks} --export yolo,tar --output {out} => no format 'tar' | expected some of
evaluation.gather {empty} => at least two runs | give their folders or the files of evaluate.py --json
evaluation.gather {empty} {own} => holds no figures | expected a run folder with
exports.voc_server {segmenter.pth} --output {out} => is no segmentation network of VOC's 20 classes | give segmenter.pth
    of a run on VOC
exports.release {none}.pth {out}.pth => there is no file | give the path of a .pth file
exports.voc_server {none}.pth --output {out} => there is no file | give the path of a .pth file
exports.convert {none}.pth {out}.pth => none.pth
exports.convert {tensors.pth} {out}.pth => is neither IRN's res50_cam.pth | set model.weights to the file
exports.convert {segmenter.pth} {text.txt} => exists already | give another name, or remove it first
exports.onnx {classifier.pth} {out}.onnx => expected a segmentation network, such as segmenter.pth
exports.onnx {text.txt} {out}.onnx => cannot be read as weights
report {empty} --set data.hints=x.json => --set data.hints is for train.py | leave it out
report {empty} => is no run folder | expected a folder that train.py wrote
stages.describe {none}.pth => there is no file | give the path of a .pth file
stages.describe {numbers.pth} => and no weights | expected tensors by name
"""


def rows() -> list[tuple[str, list[str], list[str]]]:
    """Command, arguments and fragments of each row; an indented line goes on with the row above."""
    found = []
    for row in re.split(r"\n(?=\S)", TABLE.strip()):
        line, _, fragments = re.sub(r"\s*\n\s+", " ", row).partition(" => ")
        words = shlex.split(
            line.replace("CONFIG", "--config {settings.yaml}").replace("MODEL", "--model_path {segmenter.pth}")
        )
        found.append((words[0], words[1:], fragments.split(" | ")))
    return found


COMMANDS_WITHOUT = {"docs.figure"}  # makes the project's own images
TEXTS = {
    "text.txt": "some words",
    "broken.yaml": "seed: 1\nrun: [\n",
    "twice.yaml": "seed: 1\nrun: a\nseed: 2\n",
    "text_image.jpg": "no image",
    "text.mp4": "no video",
    "other.csv": "image,labels\nzzz.jpg,\n",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_backbone) -> Path:
    """A folder with every file that the table names."""
    folder = tmp_path_factory.mktemp("world")
    new_project(folder, tiny_backbone)
    shutil.copytree(folder / "voc", folder / "maskless", ignore=shutil.ignore_patterns("SegmentationClass"))
    cfg = load_config(folder / "settings.yaml")
    for name, classes in (("segmenter", SHAPES_CLASSES), ("pets", ("cat", "dog"))):
        network = build_segmenter(tiny_backbone, len(classes) + 1, "none", -2)
        save_network(folder / f"{name}.pth", "segmenter", network, classes, cfg, {})
    classifier = build_classifier(tiny_backbone, len(SHAPES_CLASSES), "none")
    save_network(folder / "classifier.pth", "classifier", classifier, SHAPES_CLASSES, cfg, {})
    torch.save({"some.weight": torch.zeros(2)}, folder / "tensors.pth")
    torch.save([1, 2, 3], folder / "numbers.pth")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    (folder / "empty").mkdir()
    put(folder, "own/cat/1.png", "own/dog/2.png", "foreign/masks/a.png", "dataset/train/1.png", "dataset/val/1.png")
    shutil.copytree(folder / "voc", folder / "strange_truth")
    for path in (folder / "voc/JPEGImages").iterdir():
        name, size = path.stem, Image.open(path).size[::-1]
        write_mask(folder / f"small_masks/{name}.png", np.ones((8, 8), np.uint8))
        for strange in ("strange_masks", "strange_truth/SegmentationClass"):
            write_mask(folder / f"{strange}/{name}.png", np.full(size, 99, np.uint8))
        put(folder, f"colour_masks/{name}.png")
        maps = np.zeros((1, *seed_size(*size)), np.float32)
        write_seed(folder / f"strange_seeds/{name}.npz", Seed(np.array([77]), maps, size))
    return folder


@pytest.mark.parametrize(("command", "arguments", "expected"), rows(), ids=lambda value: "".join(value)[:70])
def test_a_mistake_is_named_with_what_to_do(command, arguments, expected, world, tmp_path, monkeypatch):
    shutil.copy(ROOT / "config.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    words = [re.sub(r"\{(.+?)\}", rf"{world}/\1", word) for word in arguments]
    if command == "infer" and "--output" not in words:
        words += ["--output", str(tmp_path / "out")]
    ended = call(command, *words)
    assert ended.code == 2, ended.out + ended.err
    assert "Traceback" not in ended.err
    *_, message = ended.err.strip().splitlines()
    assert re.match(r"(error: |\S+: error: |.*\.py: error: |python -m \S+: error: )", message), ended.err
    for fragment in expected:
        assert fragment in message


def test_every_command_has_rows():
    commands = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in product_files()
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert commands - COMMANDS_WITHOUT == {command for command, _, _ in rows()}


# What tells a person what to do: a word of advice, what was expected instead, or what there is to choose from.
ADVICE = re.compile(
    r"\b(add|another|change|check|choose|convert|correct|delete|did you mean|download|evaluate|expected|export|"
    r"for example|give|goes into|install|it knows|known|leave|lists (there|all)|lower|make|may be|mend|must|name|"
    r"needs?|pip|put|remove|rename|run|save|separate|set|such as|take|train|update|use|write|already set)\b|nearest",
    re.IGNORECASE,
)


def text_of(node: ast.AST, variables: dict[str, str]) -> str:
    """The words of an expression, those of its variables included."""
    parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    parts += [variables.get(part.id, "") for part in ast.walk(node) if isinstance(part, ast.Name)]
    return " ".join(parts)


def test_every_message_says_what_to_do():
    found = {}
    for path in product_files():
        functions = [n for n in ast.walk(parsed(path)) if isinstance(n, ast.FunctionDef)]
        for nodes in ([*ast.walk(function)] for function in functions):
            given = [
                n for n in nodes if isinstance(n, ast.Assign) and isinstance(n.value, ast.JoinedStr | ast.Constant)
            ]
            variables = {ast.unparse(node.targets[0]): text_of(node.value, {}) for node in given}
            for error in (node.exc for node in nodes if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                is_built_elsewhere = isinstance(error.args[0], ast.Call | ast.Name) if error.args else True
                if getattr(error.func, "id", "") == "UserError" and not is_built_elsewhere:
                    found[f"{path.relative_to(ROOT)}:{error.lineno}"] = text_of(error.args[0], variables)
    assert len(found) > 100
    # What has no word of its own passes on a message that was made elsewhere.
    silent = {place: text for place, text in found.items() if re.search("[a-z]", text) and not ADVICE.search(text)}
    assert not silent, json.dumps(silent, indent=1)
