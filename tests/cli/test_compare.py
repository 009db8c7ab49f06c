"""`compare`: two runs side by side, and files that are none."""

import json

import pytest
from command_line import error_line, run


def summary(miou, classes):
    return {"miou": miou, "macc": 0.5, "acc": 0.5, "boundary_iou": None, "class_iou": classes, "class_acc": classes,
            "class_boundary_iou": [None] * len(classes)}  # fmt: skip


def write(path, predictions, **more):
    path.write_text(json.dumps({"predictions": predictions, **more}))
    return path


def test_runs_stand_side_by_side_and_the_last_predictions_are_subtracted(tmp_path, capsys):
    first = write(tmp_path / "a.json", {"prediction": summary(0.5, [0.4, None])}, config="a.yml", images=10)
    second = {"coarse": summary(0.3, [0.1, 0.2]), "refined": summary(0.625, [0.5, 0.75])}
    second = write(tmp_path / "b.json", second, images=9, classes=["road", "sky"], model_path="w.pdparams")
    assert run("compare", first, second) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"A: {first}, config a.yml", f"B: {second}, model_path w.pdparams"]
    rows = {line[:20].split("  ")[0]: line.split() for line in lines[2:]}
    assert "A prediction  B coarse  B refined  difference" in lines[2]
    assert rows["mIoU"][1:] == ["50.00", "30.00", "62.50", "+12.50"]
    assert rows["IoU: road"][2:] == ["40.00", "10.00", "50.00", "+10.00"]
    assert rows["IoU: sky"][2:] == ["-", "20.00", "75.00", "-"]
    assert lines[-1] == "note: the images differ: 10 in A, 9 in B"


def test_the_demos_file_compares_with_itself(tmp_path, capsys):
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps({"coarse": summary(0.3, [0.1]), "refined": summary(0.4, [0.2])}))
    assert run("compare", file, file) == 0
    assert "+0.00" in capsys.readouterr().out


def of_instances(ap, classes):
    kind = dict.fromkeys(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"), ap)
    return {key: {**kind, "class_ap": classes} for key in ("box", "mask", "boundary")}


def test_runs_with_instances_compare_too(tmp_path, capsys):
    first = write(tmp_path / "a.json", {"prediction": of_instances(0.25, [0.5, None])}, classes=["cat", "dog"])
    second = tmp_path / "b.json"  # as demo --instances writes it
    second.write_text(json.dumps({"coarse": of_instances(0.3, [0.5, 0.1]), "refined": of_instances(0.5, [0.75, 0.25])}))
    assert run("compare", first, second) == 0
    rows = {line[:20].split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows["mask AP"][2:] == ["25.00", "30.00", "50.00", "+25.00"]
    assert rows["mask AP: cat"][3:] == ["50.00", "50.00", "75.00", "+25.00"]
    assert rows["boundary AP: dog"][3:] == ["-", "10.00", "25.00", "-"]


def test_instances_are_not_compared_with_label_maps(tmp_path, capsys):
    first = write(tmp_path / "a.json", {"prediction": of_instances(0.25, [0.5])})
    second = write(tmp_path / "b.json", {"refined": summary(0.5, [0.4])})
    assert run("compare", first, second) == 2
    assert "a.json has measures of instances, " in error_line(capsys)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "b.json: cannot read this file"),
        ("{", "b.json is not valid JSON"),
        ("[]", "b.json holds no measures, expected what val --json wrote"),
        ('{"predictions": {"refined": {"mask": {}}}}', "b.json holds no measures, expected"),
        (json.dumps({"refined": summary("much", [0.4])}), "b.json holds no measures, expected"),
        (json.dumps({"refined": summary(0.5, [0.4]) | {"class_iou": 0.4}}), "b.json holds no measures, expected"),
        (json.dumps({"predictions": {"refined": summary(0.5, [0.4])}, "classes": ["a", "b"]}), "other numbers of"),
        ("three", "has 1 classes, "),
    ],
)
def test_files_that_do_not_compare_are_named(tmp_path, capsys, content, words):
    first, second = write(tmp_path / "a.json", {"refined": summary(0.5, [0.4])}), tmp_path / "b.json"
    if content == "three":
        write(second, {"refined": summary(0.5, [0.4, 0.5, 0.6])})
    elif content is not None:
        second.write_text(content)
    assert run("compare", first, second) == 2
    assert words in error_line(capsys)
