"""The scripts that prepare data, on tiny folders of the layouts they read."""

import importlib.util
import json
import re
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import Config, SegBuilder

import paddle_pointrend  # noqa: F401

SCRIPTS = Path(__file__).parents[2] / "scripts"


def _load(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def test_prepare_camvid_makes_lists_and_turns_void_into_ignore(tmp_path, capsys):
    source, target = tmp_path / "CamVid", tmp_path / "camvid"
    label = np.array([[0, 11], [10, 3]], np.uint8)
    for split in ("train", "val"):
        _write(source / split / "a.png", np.zeros((2, 2, 3), np.uint8))
        _write(source / f"{split}annot" / "a.png", label)
    assert _load("prepare_camvid").main([str(source), str(target)]) == 0
    image, label_name = (target / "val.txt").read_text().split()
    assert (target / image).exists()
    assert cv2.imread(str(target / label_name), cv2.IMREAD_UNCHANGED).tolist() == [[0, 255], [10, 3]]
    assert "1 images" in capsys.readouterr().out


def test_prepare_camvid_names_a_missing_folder(tmp_path, capsys):
    assert _load("prepare_camvid").main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert "trainannot" in capsys.readouterr().err


@pytest.fixture
def cityscapes(tmp_path):
    for split in ("train", "val", "test"):
        _write(tmp_path / f"leftImg8bit/{split}/town/town_0_leftImg8bit.png", np.zeros((4, 8, 3), np.uint8))
    for split in ("train", "val"):
        polygons = tmp_path / f"gtFine/{split}/town/town_0_gtFine_polygons.json"
        polygons.parent.mkdir(parents=True)
        polygons.write_text(json.dumps({"imgHeight": 4, "imgWidth": 8, "objects": []}))
    return tmp_path


def test_prepare_cityscapes_draws_missing_labels_and_writes_lists(cityscapes, monkeypatch, capsys):
    drawn = []

    def json2labelImg(source, target, encoding):  # noqa: N802
        drawn.append((Path(source).name, encoding))
        _write(Path(target), np.zeros((4, 8), np.uint8))

    module = types.ModuleType("cityscapesscripts.preparation.json2labelImg")
    module.json2labelImg = json2labelImg
    for name in ("cityscapesscripts", "cityscapesscripts.preparation"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    script = _load("prepare_cityscapes")
    # Drawn in this process: the stand-in above does not travel to a pool's workers.
    for polygons in sorted(cityscapes.glob("gtFine/*/*/*.json")):
        script.draw_label(polygons)
    assert drawn == [("town_0_gtFine_polygons.json", "trainIds")] * 2
    assert script.main([str(cityscapes)]) == 0
    assert "0 label images drawn, 2 were there" in capsys.readouterr().out
    assert (cityscapes / "train.txt").read_text().split() == [
        "leftImg8bit/train/town/town_0_leftImg8bit.png",
        "gtFine/train/town/town_0_gtFine_labelTrainIds.png",
    ]
    assert (cityscapes / "test.txt").read_text().split() == ["leftImg8bit/test/town/town_0_leftImg8bit.png"]
    assert not list(cityscapes.rglob(".*"))


def test_prepare_cityscapes_writes_instances(cityscapes, capsys):
    script = _load("prepare_cityscapes")
    assert script.main([str(cityscapes), "--instances"]) == 2
    assert "town_0_gtFine_instanceIds.png: there is no such file" in capsys.readouterr().err
    ids = np.zeros((4, 8), np.uint16)
    ids[:2, :3], ids[2:, 5:], ids[0, 7] = 26000, 24001, 26001
    for split in ("train", "val"):
        _write(cityscapes / f"gtFine/{split}/town/town_0_gtFine_instanceIds.png", ids)
    assert script.main([str(cityscapes), "--instances"]) == 0
    assert "instances_val.json: 1 images, 3 objects" in capsys.readouterr().out
    content = json.loads((cityscapes / "annotations/instances_train.json").read_text())
    assert content["images"][0]["file_name"] == "town/town_0_leftImg8bit.png"
    assert [item["category_id"] for item in content["annotations"]] == [24, 26, 26]
    assert len(content["categories"]) == 8


def test_prepare_cityscapes_says_what_is_missing(cityscapes, tmp_path, monkeypatch, capsys):
    script = _load("prepare_cityscapes")
    assert script.main([str(cityscapes / "gtFine")]) == 2
    assert "leftImg8bit" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "cityscapesscripts", None)
    assert script.main([str(cityscapes)]) == 2
    assert "pip install" in capsys.readouterr().err


def test_results_table_puts_seeds_into_one_row_with_their_mean(tmp_path, capsys):
    files = []
    for seed, miou in ((1, 0.25), (2, 0.50)):
        summary = {"miou": miou, "macc": 0.5, "boundary_iou": 0.125}
        report = {"config": "configs/camvid/net.yml", "predictions": {"coarse": summary, "refined": summary}}
        files.append(tmp_path / f"{seed}.json")
        files[-1].write_text(json.dumps(report))
    _load("results_table").main([str(path) for path in files])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows[0] == "| net | coarse | 25.00, 50.00: **37.50** | 50.00, 50.00: **50.00** | 12.50, 12.50: **12.50** |"
    assert len(rows) == 2


def test_results_table_has_a_dash_for_what_was_not_measured(tmp_path, capsys):
    files = []
    for name, boundary_iou in (("one", None), ("two", 0.5)):
        summary = {"miou": None, "macc": 0.5, "boundary_iou": boundary_iou}
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps({"config": "net.yml", "predictions": {"prediction": summary}}))
    _load("results_table").main([str(path) for path in files])
    row = capsys.readouterr().out.splitlines()[2]
    assert row == "| net | prediction | - | 50.00, 50.00: **50.00** | -, 50.00: **50.00** |"


@pytest.fixture
def tiny_model(pointrend_config, tmp_path):
    """The arguments --config and --model_path of a tiny PointRendSeg."""
    model = SegBuilder(Config(str(pointrend_config))).model
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    return ["--config", str(pointrend_config), "--model_path", str(tmp_path / "model.pdparams")]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--output", "label"], ["--runtime", "paddle-inference"]],
    ids=["eager", "labels", "exported"],
)
def test_refinement_latency_prints_medians_and_ratio(tiny_model, capsys, arguments):
    _load("refinement_latency").main([*tiny_model, "--size", "64", "96", "--rounds", "3", *arguments])
    printed = capsys.readouterr().out
    assert re.search(r"64x96, (logits|label), paddle(-inference)?, 3 rounds, cpu", printed)
    median = float(re.search(r"ratio: +([\d.]+) \(", printed)[1])
    assert median > 0


def test_refinement_latency_takes_random_weights(pointrend_config, capsys):
    _load("refinement_latency").main(["--config", str(pointrend_config), "--size", "64", "96", "--rounds", "1"])
    assert "ratio:" in capsys.readouterr().out


@pytest.mark.slow
def test_adaptive_points_scores_all_variants_and_draws_them(tiny_model, tmp_path, capsys):
    arguments = ["--runtime", "paddle-inference", "--thresholds", "0", "1", "--save_dir", str(tmp_path / "out")]
    _load("adaptive_points").main([*tiny_model, *arguments])
    names = ["coarse", "margin <= 0", "margin <= 1", "all points"]
    records = json.loads((tmp_path / "out" / "adaptive_points.json").read_text())
    assert [record["name"] for record in records] == names
    assert all(len(record["seconds"]) == 3 and 0 <= record["miou"] <= 1 for record in records)
    assert records[-1]["ratios"] == [1, 1, 1]
    assert cv2.imread(str(tmp_path / "out" / "adaptive_points.png")) is not None
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in names)


def test_compare_runtimes_counts_every_pixel_of_every_runtime(tiny_model, tmp_path, capsys):
    arguments = ["--runtimes", "paddle-inference", "--save_dir", str(tmp_path / "out")]
    _load("compare_runtimes").main([*tiny_model, *arguments])
    *eager, coarse, refined = json.loads((tmp_path / "out" / "compare_runtimes.json").read_text())
    assert [record["runtime"] for record in eager] == ["paddle", "paddle"]
    assert (coarse["part"], refined["part"]) == ("coarse", "refined")
    for ours, theirs in zip((coarse, refined), eager):
        assert ours["miou"] == pytest.approx(theirs["miou"], abs=1e-3)
        assert theirs["different"] == theirs["max_difference"] == 0
    assert coarse["pixels"] == refined["pixels"] == 3 * 64 * 64
    assert coarse["max_difference"] < 1e-4
    assert "| paddle-inference | refined |" in capsys.readouterr().out


def test_compare_runtimes_in_int8(tiny_model, tiny_dataset, tmp_path, capsys):
    for package in ("onnxruntime", "paddle2onnx", "ml_dtypes"):
        pytest.importorskip(package)
    script, names = _load("compare_runtimes"), ["onnxruntime", "onnxruntime-int8-all"]
    with pytest.raises(SystemExit):
        script.main([*tiny_model, "--runtimes", *names])
    assert "entries in int8 need --calibration" in capsys.readouterr().err
    arguments = ["--calibration", str(tiny_dataset / "images"), "--save_dir", str(tmp_path / "out")]
    script.main([*tiny_model, "--runtimes", *names, *arguments])
    records = json.loads((tmp_path / "out" / "compare_runtimes.json").read_text())[2:]
    assert [(record["runtime"], record["part"]) for record in records] == [
        (name, part) for name in names for part in ("coarse", "refined")
    ]
    assert all(record["different"] / record["pixels"] < 1e-3 for record in records[:2])
    assert all(0 < record["different"] / record["pixels"] < 0.2 for record in records[2:])
    assert records[1]["time"] == 1


def test_compare_runtimes_sees_what_differs():
    script = _load("compare_runtimes")
    model = types.SimpleNamespace(predict_both=lambda images: (images, images))

    class Dataset:
        num_classes = 2

        def __len__(self):
            return 1

        def __getitem__(self, i):
            return {"img": np.stack([np.zeros([2, 2]), np.eye(2)]), "label": np.array([[1, 0], [0, 1]])}

    def swapped(images):
        return images[:, ::-1]

    *eager, record = script.compare(model, {("onnxruntime", "refined"): swapped}, Dataset())
    assert [(found["runtime"], found["part"], found["miou"]) for found in eager] == [
        ("paddle", "coarse", 1), ("paddle", "refined", 1)
    ]  # fmt: skip
    assert record == {
        "runtime": "onnxruntime", "part": "refined", "max_difference": 1.0, "different": 2, "pixels": 4,
        "miou": 0.25, "boundary_iou": 0.25, "seconds": pytest.approx(0, abs=1), "time": 1.0,
    }  # fmt: skip
