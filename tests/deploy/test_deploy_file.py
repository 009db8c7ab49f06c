"""deploy.yaml: what is written is read, and what transforms do to pixels."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from paddleseg.cvlibs import manager
from paddleseg.transforms import Compose
from tiny_export import TinyNetwork, write_export

from paddle_pointrend.deploy.deploy_file import FORMATS, DeployFile, normalization
from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.deploy.preprocessing import Preprocessing
from paddle_pointrend.deploy.runtimes import load_runtime
from paddle_pointrend.deploy.runtimes.loading import existing_onnx_file

RGB_TO_BGR = {"type": "RGBToBGR"}
NORMALIZE = {"type": "Normalize", "mean": [0.2, 0.4, 0.6], "std": [0.1, 0.2, 0.5]}


@pytest.mark.parametrize(("file_format", "output"), [("onnx", "logits"), ("paddle", "label")])
def test_what_is_written_is_read(tmp_path, file_format, output):
    transforms = [RGB_TO_BGR, NORMALIZE]
    written = DeployFile.for_export(
        format=file_format,
        output=output,
        classes=("kerb", "Stra\u00dfe"),
        palette=np.eye(2, 3, dtype=np.uint8),
        image_channels=3,
        transforms=transforms,
    )
    written.write(tmp_path)
    read = DeployFile.read(tmp_path)
    assert read == written
    assert (read.makes_labels, read.transforms, read.num_classes) == (output == "label", transforms, 2)
    text = (tmp_path / "deploy.yaml").read_text()
    keys = [line.split(":")[0] for line in text.splitlines() if line[0].isalpha()]
    described = ["Deploy", "format", "output", "num_classes", "classes", "palette", "channels", "mean", "std"]
    assert keys == [*described, "precision"]


def test_names_of_classes_in_any_locale(tmp_path):
    program = (
        "import sys; from paddle_pointrend.deploy.deploy_file import DeployFile; DeployFile.for_export(format='onnx', "
        "output='logits', classes=['\\u9053\\u8def'], palette=[[0, 0, 0]], image_channels=3).write(sys.argv[1])"
    )
    ascii_locale = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=ascii_locale, timeout=120)
    assert list(DeployFile.read(tmp_path).classes) == ["道路"]


@pytest.mark.parametrize(
    ("transforms", "image_channels", "expected"),
    [
        ([], 3, ("rgb", [0, 0, 0], [1, 1, 1])),
        ([{"type": "Normalize"}], 4, ("rgb", [127.5] * 4, [127.5] * 4)),
        ([RGB_TO_BGR, NORMALIZE], 3, ("bgr", [51, 102, 153], [25.5, 51, 127.5])),
    ],
)
def test_normalization_by_hand(transforms, image_channels, expected):
    found = normalization(transforms, image_channels)
    assert found["channels"] == expected[0]
    np.testing.assert_allclose(found["mean"], expected[1])
    np.testing.assert_allclose(found["std"], expected[2])


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [NORMALIZE],
        [RGB_TO_BGR],
        [RGB_TO_BGR, NORMALIZE],
        [NORMALIZE, RGB_TO_BGR],
        [RGB_TO_BGR, NORMALIZE, RGB_TO_BGR],
        [NORMALIZE, {"type": "Normalize", "mean": [0.001, 0.002, 0.003], "std": [0.004]}],
    ],
)
def test_the_input_is_what_paddleseg_makes(transforms):
    image = np.random.RandomState(0).randint(0, 256, (5, 4, 3)).astype(np.uint8)
    steps = [manager.TRANSFORMS[step["type"]](**{k: v for k, v in step.items() if k != "type"}) for step in transforms]
    expected = Compose(steps)({"img": image[..., ::-1].astype(np.float32)})["img"]  # it takes OpenCV's BGR
    found, _ = Preprocessing(**normalization(transforms))(image)
    np.testing.assert_allclose(found.transpose(2, 0, 1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Deploy", [1]),
        ("Deploy", {"transforms": [{"mean": 1}]}),
        ("Deploy", {"transforms": {"type": "Normalize"}}),
        ("format", ["onnx"]),
        ("output", "other"),
        ("num_classes", "many"),
        ("num_classes", True),
        ("channels", None),
        ("mean", [0, float("nan"), 0]),
        ("std", [1, 0, 1]),
        ("std", "1"),
        ("palette", [[1, 2]]),
        ("palette", [[0, 0, 256]]),
        ("sha256", ["model.onnx"]),
        ("sha256", {"model.onnx": 1}),
        ("precision", "int4"),
    ],
)
def test_a_file_that_was_changed_is_refused_in_one_line(tmp_path, key, value):
    options = {"classes": ("a", "b"), "palette": [[0, 0, 0], [1, 1, 1]], "image_channels": 3}
    DeployFile.for_export(format="onnx", output="logits", **options).write(tmp_path)
    file = tmp_path / "deploy.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), key: value}))
    with pytest.raises(RuntimeLoadError) as error:
        DeployFile.read(tmp_path)
    assert str(error.value).startswith(f"{file}: {key} is ")
    assert "\n" not in str(error.value)


def test_a_file_that_executes_or_grows_is_refused(tmp_path):
    for text in ("Deploy: !!python/object/apply:os.getpid []", "a: &a [*a]", "- 1"):
        (tmp_path / "deploy.yaml").write_text(text)
        with pytest.raises(RuntimeLoadError, match=r"deploy\.yaml"):
            DeployFile.read(tmp_path)


@pytest.mark.parametrize("place", ["../secret", "/etc/passwd", "linked"])
def test_onnx_whose_tensors_are_in_other_files_is_refused(tmp_path, place):
    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "export"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "linked").symlink_to(tmp_path / "secret")
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4], bytes(16), raw=True)
    value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])
    node = onnx.helper.make_node("Identity", ["w"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [value], [tensor]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert existing_onnx_file(folder, "model.onnx") == folder / "model.onnx"
    inside = model.graph.initializer[0]
    inside.ClearField("raw_data")
    inside.data_location = onnx.TensorProto.EXTERNAL
    inside.external_data.add(key="location", value=place)
    content = model.SerializeToString()
    for written in (content, content.replace(b"\x08location", b"\x88\x80\x00location")):  # another way to write 8
        (folder / "model.onnx").write_bytes(written)
        with pytest.raises(RuntimeLoadError, match="is refused: its tensors are in other files"):
            existing_onnx_file(folder, "model.onnx")
    (folder / "model.onnx").write_bytes(b"")
    with pytest.raises(RuntimeLoadError, match="is empty"):
        existing_onnx_file(folder, "model.onnx")


@pytest.mark.parametrize(("file_format", "runtime"), [("paddle", "paddle-inference"), ("onnx", "onnxruntime")])
def test_damaged_networks_are_refused_and_folders_without_checksums_read(tmp_path, file_format, runtime):
    pytest.importorskip({"onnx": "onnxruntime", "paddle": "paddle"}[file_format])
    folder = write_export(tmp_path / "export", TinyNetwork(), file_format)
    load_runtime(runtime, folder)  # an export of an earlier version
    DeployFile.read(folder).with_checksums(folder).write(folder)
    load_runtime(runtime, folder)
    for file in [folder / name for name in DeployFile.read(folder).files]:
        content = file.read_bytes()
        for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
            file.write_bytes(damaged)
            with pytest.raises(RuntimeLoadError, match=rf"{file.name} is damaged: deploy.yaml has another sha256"):
                load_runtime(runtime, folder)
        file.write_bytes(content)
    load_runtime(runtime, folder)


def test_checksums_are_those_of_the_files(tmp_path, exported_once):
    folder = exported_once(TinyNetwork, "paddle")[1]
    found = yaml.safe_load((folder / "deploy.yaml").read_text())["sha256"]
    expected = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FORMATS["paddle"].values()}
    assert found == expected
