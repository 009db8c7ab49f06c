import json

import paddle
import pytest
from command_line import run
from paddleseg.core import infer
from paddleseg.cvlibs import SegBuilder

from paddle_pointrend import evaluate, load_model
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation.metrics import SegmentationMetrics
from paddle_pointrend.inference import InferenceOptions
from paddle_pointrend.paddleseg import datasets, evaluation, load_config

RESIZED = "val_dataset.transforms=[{'type':'Resize','target_size':[80,96]},{'type':'Normalize'}]"


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, []),
        (
            {"scales": (1.5, 0.75), "flip_vertical": True, "window": (48, 40), "window_stride": (24, 32)},
            [
                *("--aug_eval", "--scales", 1.5, 0.75, "--flip_vertical"),
                *("--is_slide", "--crop_size", 48, 40, "--stride", 24, 32),
            ],
        ),
    ],
)
def test_measures_what_the_command_writes(trained, varied_weights, tmp_path, options, flags):
    arguments = ["--config", trained.config, "--model_path", varied_weights, "--json", tmp_path / "measures.json"]
    assert run("val", *arguments, *flags) == 0
    expected = json.loads((tmp_path / "measures.json").read_text())["predictions"]
    found = evaluate(trained.config, varied_weights, options=InferenceOptions(**options), progress=False)
    assert list(found) == ["coarse", "refined"]
    assert json.loads(json.dumps(found)) == expected


def test_takes_a_layer_and_a_config_that_are_loaded_already(trained, varied_weights):
    config = load_config(trained.config, [RESIZED])
    layer = load_model(config, varied_weights)
    layer.train()
    expected = evaluate(trained.config, varied_weights, [RESIZED], progress=False)
    assert evaluate(config, layer, progress=False) == expected
    assert not layer.training
    with pytest.raises(UsageError, match="opts change a YAML file"):
        evaluate(config, layer, [RESIZED])


def test_augmentation_and_window_equal_paddlesegs_on_each_image(trained, varied_weights):
    """Counts of the confusion matrix, of images that are resized before."""
    config = load_config(trained.config, [RESIZED])
    layer = load_model(config, varied_weights)
    options = {"scales": [1.25, 0.5], "flip_horizontal": True}
    dataset = SegBuilder(config).val_dataset
    metrics = SegmentationMetrics(dataset.num_classes, dataset.ignore_index)
    for i in range(len(dataset)):
        data = dataset[i]
        with paddle.no_grad():
            x = paddle.to_tensor(data["img"][None])
            slide = {"is_slide": True, "crop_size": (60, 50), "stride": (40, 30)}
            labels, _ = infer.aug_inference(layer, x, data["trans_info"], **options, **slide)
        metrics.update(labels.numpy()[0, 0], data["label"][0])
    window = {"window": (60, 50), "window_stride": (40, 30)}
    found = evaluate(config, layer, options=InferenceOptions(**options, **window), progress=False)
    for name, value in metrics.summary().items():
        assert found["refined"][name] == pytest.approx(value, abs=1e-3)


def test_a_dataset_that_is_not_there(trained, varied_weights):
    (trained.folder / "one.txt").write_text("images/none.png labels/val0.png\n")
    opts = [f"val_dataset.val_path={trained.folder / 'one.txt'}"]
    with pytest.raises(UsageError, match="val_dataset: 1 of 2 listed files do not exist"):
        evaluate(trained.config, varied_weights, opts)


def test_nothing_is_read_after_a_mistake(trained, varied_weights, monkeypatch):
    """Read ahead in a thread, what OpenCV prints of a later file would come after the error."""
    (trained.folder / "data" / "broken.png").write_bytes(b"no image")
    images = ["broken.png", *["images/val0.png"] * 5]
    (trained.folder / "six.txt").write_text("".join(f"{image} labels/val0.png\n" for image in images))
    read = []

    def read_sample(dataset, index):
        read.append(int(index))
        return datasets.read_sample(dataset, index)

    monkeypatch.setattr(evaluation, "read_sample", read_sample)
    with pytest.raises(UsageError, match=r"cannot read .*broken\.png"):
        evaluate(trained.config, varied_weights, [f"val_dataset.val_path={trained.folder / 'six.txt'}"], progress=False)
    assert set(read) == {0}
