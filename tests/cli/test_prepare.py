"""`prepare`: from a labelling tool's folder to a data set that trains, and the mistakes it names."""

import json
import shlex

import numpy as np
import pytest
from annotation_samples import labelme_folder
from command_line import error_line, outputs, run
from paddleseg.cvlibs import SegBuilder
from PIL import Image

from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.paddleseg.configs import build, load_config
from paddle_pointrend.paddleseg.datasets import check_samples


def test_a_prepared_folder_is_a_data_set_with_its_configs(tmp_path, capsys):
    source, out = labelme_folder(tmp_path / "photos"), tmp_path / "deep/mine: #1"
    assert run("prepare", "--from", "labelme", source, out) == 0
    table, _, rest = capsys.readouterr().out.partition("Wrote")
    cells = [line.split() for line in table.strip().splitlines()]
    assert [" ".join(row[:4]) for row in cells[1:4]] == ["background 0 4 1", "door 1 4 1", "roof 2 4 1"]
    assert cells[-1] == ["all", "4", "1", "100.00"]
    assert f"paddle-pointrend train --config {shlex.quote(str(out / 'semantic_fpn.yml'))}" in rest
    assert {path for path in outputs(out) if "/" not in path} == {
        "train.txt", "val.txt", "labels.txt", "dataset.yml", "semantic_fpn.yml", "pointrend_semantic_fpn.yml"
    }  # fmt: skip
    assert list(out.parent.iterdir()) == [out]
    for name in ("semantic_fpn.yml", "pointrend_semantic_fpn.yml"):
        config = load_config(out / name)
        assert config.dic["class_names"] == ["background", "door", "roof"]
        builder = SegBuilder(config)
        build(builder, name, "model")
        for part, count in (("train_dataset", 4), ("val_dataset", 1)):
            dataset = build(builder, name, part)
            assert len(dataset) == count
            check_samples(dataset, part)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "labelme", "{nowhere}", "{out}"], "nowhere: there is no such file or folder"),
        (["--from", "labelme", "{photos}", "{photos}"], "photos: cannot write this folder: it is there already"),
        (["--from", "voc", "{photos}", "{out}"], "photos: no folder SegmentationClass in it"),
        (["--from", "mask-rgb", "{photos}", "{out}"], "--from mask-rgb needs --labels FILE"),
        (["--from", "labelme", "{photos}", "{out}", "--val_share", "1"], "must lie between 0 and 1, got 1"),
        (["--from", "labelme", "{photos}", "{out}", "--labels", "{nowhere}"], "nowhere: cannot read this list"),
        (["--from", "labelme", "{photos}", "{out}", "--images", "{nowhere}"], None),
        (["--from", "labelme", "{photos}", "{out}", "--instances"], "--instances goes with --from coco"),
        (["--from", "coco", "{photos}", "{out}", "--instances"], "expected one JSON file of COCO's form"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, capsys, arguments, words):
    labelme_folder(tmp_path / "photos", count=2)
    places = {name: str(tmp_path / name) for name in ("nowhere", "photos", "out")}
    assert run("prepare", *(argument.format(**places) for argument in arguments)) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert words is None or words in last
    assert {path.name for path in tmp_path.iterdir()} == {"photos"}


def test_a_broken_annotation_leaves_nothing(tmp_path, capsys):
    source = labelme_folder(tmp_path / "photos")
    (source / "house 3.png").write_bytes((source / "house 3.png").read_bytes()[:200])
    assert run("prepare", "--from", "labelme", source, tmp_path / "out") == 2
    assert "house 3.json: its image house 3.png cannot be read" in capsys.readouterr().err.strip().splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    content = json.loads((source / "house 1.json").read_text())
    content["shapes"] = [{"label": "door"}]
    (source / "house 1.json").write_text(json.dumps(content))
    assert run("prepare", "--from", "labelme", source, tmp_path / "out") == 2
    assert "house 1.json: " in error_line(capsys)


def test_cocos_objects_become_a_data_set_of_instances(tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    images = [{"id": i, "file_name": f"{i}.png", "height": 8, "width": 8} for i in range(4)]
    for image in images:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(source / image["file_name"])
    box = {"category_id": 5, "bbox": [1, 1, 4, 4], "area": 16, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
    annotations = [{"id": i, "image_id": i, **box} for i in range(4)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "cell"}]}
    (source / "annotations.json").write_text(json.dumps(content))
    out = tmp_path / "out"
    assert run("prepare", "--from", "coco", "--instances", source, out) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:3] == [["cell", "3", "1"], ["images", "3", "1"]]
    options = {"annotations": "annotations/instances_train.json", "images": "images", "short_sides": [8]}
    data = CocoInstances(out, longest_side=8, mean=[0, 0, 0], std=[1, 1, 1], **options)
    assert len(data.coco.images) == len(data) == 3
