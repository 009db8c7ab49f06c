"""Conversion of whole files through the command; that the converted network is the reference's is test_parity's."""

import argparse
import datetime
import functools
import pathlib
import pickle

import numpy as np
import paddle
import pytest
import torch_layouts
from paddleseg.cvlibs import Config, SegBuilder
from safetensors.numpy import save_file

from paddle_pointrend import cli
from paddle_pointrend.convert import BACKBONE_SOURCES, SOURCES, ConversionError, convert_state, left_out, rename_key
from paddle_pointrend.models.efficientnet_lite import EfficientNetLite
from paddle_pointrend.models.resnet import ResNet

CONFIGS = pathlib.Path(__file__).parents[2] / "configs/cityscapes"
MMSEG = str(CONFIGS / "pointrend_semantic_fpn_resnet50_mmseg.yml")
DETECTRON2 = str(CONFIGS / "pointrend_semantic_fpn_resnet101_detectron2.yml")
DEPTH_50 = ["--opts", "model.segmentor.backbone.depth=50"]
BACKBONES = {
    "torchvision": functools.partial(ResNet, 50),
    "resnet_v1c": functools.partial(ResNet, 50, deep_stem=True),
    "msra": functools.partial(ResNet, 50, stride_in_1x1=True, norm="FrozenBN"),
    "efficientnet_lite": functools.partial(EfficientNetLite, 0),
}


def random_tensors(layout):
    random = np.random.default_rng(0)
    tensors = {
        name: random.standard_normal(shape, dtype="float32") if shape else np.array(7)
        for name, shape in getattr(torch_layouts, layout)().items()
    }
    if layout == "msra":
        tensors |= {name: np.zeros_like(array) for name, array in tensors.items() if name == "conv1_b"}
    return tensors


@pytest.fixture(scope="module")
def mmseg_tensors():
    return random_tensors("mmseg")


@pytest.fixture(scope="module")
def mmseg_model():
    return SegBuilder(Config(MMSEG)).model


def convert(source, output, *arguments):
    return cli.main(["convert", str(source), str(output), *arguments])


def assert_renamed(state, tensors, layout, added=()):
    """Each tensor kept its values, none occurs twice, and nothing but `added` is new."""
    renamed = {key: rename_key(key, layout) for key in tensors}
    used = {new: tensors[key] for key, new in renamed.items() if new is not None}
    assert len(used) == sum(new is not None for new in renamed.values())
    assert set(state) == set(used) | set(added)
    for name, array in used.items():
        assert (state[name].numpy() == array).all(), name


class TestWholeNetworks:
    @pytest.mark.torch
    def test_torch_file_with_optimizer(self, tmp_path, mmseg_tensors, mmseg_model, capsys):
        torch = pytest.importorskip("torch")
        state = {name: torch.from_numpy(np.array(array)) for name, array in mmseg_tensors.items()}
        optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01, "params": [0]}]}
        torch.save({"meta": {"iter": 80000}, "state_dict": state, "optimizer": optimizer}, tmp_path / "official.pth")
        out = tmp_path / "new folder/out.pdparams"
        assert convert(tmp_path / "official.pth", out, "--from", "mmseg", "--config", MMSEG) == 0
        converted = paddle.load(str(out))
        assert_renamed(converted, mmseg_tensors, "mmseg")
        assert set(converted) == set(mmseg_model.state_dict())
        printed = capsys.readouterr().out
        assert f"--model_path '{out}'" in printed and f"model.pretrained={out}" in printed

    @pytest.mark.torch
    def test_what_training_leaves_in_a_checkpoint_is_left_out_and_named(
        self, tmp_path, mmseg_tensors, mmseg_model, capsys
    ):
        torch = pytest.importorskip("torch")
        more = {f"ema_{name.replace('.', '_')}": array for name, array in list(mmseg_tensors.items())[:3]}
        more |= {
            "auxiliary_head.conv_seg.weight": np.ones(3, "float32"),
            "data_preprocessor.mean": np.ones(3, "float32"),
        }
        state = {name: torch.tensor(array) for name, array in (mmseg_tensors | more).items()}
        meta = {"time": datetime.datetime.now(datetime.timezone.utc), "args": argparse.Namespace(lr=0.1)}
        torch.save({"meta": meta, "state_dict": state}, tmp_path / "epoch_1.pth")
        assert convert(tmp_path / "epoch_1.pth", tmp_path / "out.pdparams", "--from", "mmseg", "--config", MMSEG) == 0
        assert_renamed(paddle.load(str(tmp_path / "out.pdparams")), mmseg_tensors, "mmseg")
        counters = sum(name.endswith("num_batches_tracked") for name in mmseg_tensors)
        printed = capsys.readouterr().out
        assert f"left out, of no use here: {counters + 5} (" in printed
        assert [name for name in left_out(mmseg_tensors | more, "mmseg") if name not in mmseg_tensors] == list(more)

    def test_safetensors(self, tmp_path, mmseg_tensors):
        save_file(mmseg_tensors, tmp_path / "model.safetensors")
        out = tmp_path / "out.pdparams"
        assert convert(tmp_path / "model.safetensors", out, "--from", "mmseg", "--config", MMSEG) == 0
        assert_renamed(paddle.load(str(out)), mmseg_tensors, "mmseg")

    def test_detectron2_pickle(self, tmp_path):
        tensors = random_tensors("detectron2")
        with open(tmp_path / "model_final.pkl", "wb") as file:
            pickle.dump({"model": tensors, "__author__": "someone"}, file)
        out = tmp_path / "out.pdparams"
        arguments = ["--from", "detectron2", "--config", DETECTRON2, *DEPTH_50]
        assert convert(tmp_path / "model_final.pkl", out, *arguments) == 0
        assert_renamed(paddle.load(str(out)), tensors, "detectron2")

    def test_converted_weights_load_as_model_path(self, tmp_path, mmseg_tensors, mmseg_model):
        from paddle_pointrend.paddleseg.models import load_trained_weights

        paddle.save(convert_state(mmseg_tensors, "mmseg", mmseg_model), str(tmp_path / "out.pdparams"))
        load_trained_weights(mmseg_model, str(tmp_path / "out.pdparams"))
        fpn = mmseg_model.segmentor.fpn
        assert (fpn.laterals[3].weight.numpy() == mmseg_tensors["neck.lateral_convs.3.conv.weight"]).all()


class TestBackbones:
    @pytest.mark.parametrize("layout", BACKBONE_SOURCES)
    def test_every_tensor_finds_its_place(self, layout):
        tensors = random_tensors(layout)
        state = convert_state(tensors, layout, BACKBONES[layout]())
        added = [name for name in state if name.endswith(("_mean", "_variance"))] if layout == "msra" else []
        assert_renamed({name: paddle.to_tensor(array) for name, array in state.items()}, tensors, layout, added)

    def test_caffe2_statistics_do_nothing(self):
        state = convert_state(random_tensors("msra"), "msra", BACKBONES["msra"]())
        assert (state["layer3.2.bn2._mean"] == 0).all()
        np.testing.assert_allclose(state["layer3.2.bn2._variance"] + 1e-5, 1, rtol=1e-7)

    def test_command_converts_the_configs_backbone(self, tmp_path, capsys):
        save_file(random_tensors("resnet_v1c"), tmp_path / "v1c.safetensors")
        out = tmp_path / "backbone.pdparams"
        assert convert(tmp_path / "v1c.safetensors", out, "--from", "resnet_v1c", "--config", MMSEG) == 0
        assert set(paddle.load(str(out))) == set(ResNet(50, deep_stem=True).state_dict())
        assert f"model.segmentor.backbone.pretrained={out}" in capsys.readouterr().out


class TestTraining:
    """One iteration with a learning rate of nearly nothing: what is saved is what training started from."""

    @pytest.fixture
    def train(self, tmp_path, pointrend_config):
        def run(weights, *opts):
            text = pointrend_config.read_text().replace(
                "ResNet18_vd, output_stride: 32", "ResNet, depth: 50, deep_stem: true"
            )
            pointrend_config.write_text(text)
            arguments = ["--iters", "1", "--learning_rate", "1e-12", "--save_dir", str(tmp_path / "output")]
            paddle.save(weights, str(tmp_path / "weights.pdparams"))
            opts = [opt.format(weights=tmp_path / "weights.pdparams") for opt in opts]
            assert cli.main(["train", "--config", str(pointrend_config), *arguments, "--opts", *opts]) == 0
            return paddle.load(str(tmp_path / "output/iter_1/model.pdparams"))

        return run

    def test_starts_from_a_converted_backbone(self, train):
        tensors = random_tensors("resnet_v1c")
        weights = convert_state(tensors, "resnet_v1c", ResNet(50, deep_stem=True))
        trained = train(weights, "model.segmentor.backbone.pretrained={weights}")
        for part in ("conv1.6.weight", "layer3.5.conv2.weight", "bn1.bias"):
            np.testing.assert_allclose(trained[f"segmentor.backbone.{part}"].numpy(), weights[part], atol=1e-5)

    def test_starts_from_a_converted_whole_model_of_other_classes(self, train, mmseg_tensors, mmseg_model):
        weights = convert_state(mmseg_tensors, "mmseg", mmseg_model)
        widths = [
            f"model.segmentor.{key}" for key in ("fpn_channels=256", "head_channels=128", "head_levels=[0,1,2,3]")
        ]
        trained = train(weights, "model.pretrained={weights}", "model.point_head.hidden_channels=256", *widths)
        for name in (
            "segmentor.fpn.outputs.0.weight",
            "segmentor.head.branches.1.0.weight",
            "point_head.layers.0.bias",
        ):
            np.testing.assert_allclose(trained[name].numpy(), weights[name], atol=1e-5)
        assert trained["point_head.predictor.weight"].shape == [4, 260, 1]


@pytest.mark.parametrize(
    ("source", "key", "ours"),
    [
        ("mmseg", "backbone.stem.6.weight", "segmentor.backbone.conv1.6.weight"),
        ("mmseg", "backbone.stem.7.running_var", "segmentor.backbone.bn1._variance"),
        ("mmseg", "backbone.layer3.22.bn2.running_mean", "segmentor.backbone.layer3.22.bn2._mean"),
        ("mmseg", "backbone.layer1.0.downsample.1.num_batches_tracked", None),
        ("mmseg", "decode_head.0.scale_heads.3.4.conv.weight", "segmentor.head.branches.3.8.weight"),
        ("mmseg", "decode_head.0.scale_heads.2.2.bn.bias", "segmentor.head.branches.2.5.bias"),
        ("mmseg", "decode_head.1.fcs.2.conv.bias", "point_head.layers.2.bias"),
        ("detectron2", "backbone.bottom_up.stem.conv1.norm.bias", "segmentor.backbone.bn1.bias"),
        ("detectron2", "backbone.bottom_up.res4.22.conv3.norm.weight", "segmentor.backbone.layer3.22.bn3.weight"),
        ("detectron2", "backbone.bottom_up.res2.0.shortcut.weight", "segmentor.backbone.layer1.0.downsample.0.weight"),
        ("detectron2", "backbone.fpn_output5.bias", "segmentor.fpn.outputs.3.bias"),
        ("detectron2", "sem_seg_head.coarse_sem_seg_head.p5.2.norm.weight", "segmentor.head.branches.3.5.weight"),
        ("detectron2", "sem_seg_head.point_head.fc3.weight", "point_head.layers.2.weight"),
        ("msra", "res5_2_branch2b_bn_s", "layer4.2.bn2.weight"),
        ("msra", "res2_0_branch1_w", "layer1.0.downsample.0.weight"),
        ("msra", "res_conv1_bn_b", "bn1.bias"),
        ("msra", "conv1_b", None),
        ("torchvision", "fc.weight", None),
        ("efficientnet_lite", "_bn0.running_mean", "bn0._mean"),
        ("efficientnet_lite", "_blocks.12._depthwise_conv.weight", "blocks.12.depthwise_conv.weight"),
        ("efficientnet_lite", "_blocks.0._bn2.running_var", "blocks.0.bn2._variance"),
        ("efficientnet_lite", "_bn1.weight", None),
    ],
)
def test_names(source, key, ours):
    assert rename_key(key, source) == ours


class TestRefusals:
    def test_renamed_key_is_named(self, mmseg_tensors, mmseg_model):
        tensors = dict(mmseg_tensors)
        tensors["decode_head.1.fc_segment.weight"] = tensors.pop("decode_head.1.fc_seg.weight")
        with pytest.raises(ConversionError) as error:
            convert_state(tensors, "mmseg", mmseg_model)
        assert "1 missing: point_head.predictor.weight" in str(error.value)
        assert "1 unexpected: decode_head.1.fc_segment.weight" in str(error.value)

    def test_another_shape_is_named(self, mmseg_tensors, mmseg_model):
        tensors = mmseg_tensors | {"decode_head.0.conv_seg.bias": np.zeros(150, "float32")}
        with pytest.raises(
            ConversionError, match=r"1 of another shape: segmentor.head.classifier.bias \[150\] instead"
        ):
            convert_state(tensors, "mmseg", mmseg_model)

    def test_strides_in_another_place_are_refused_though_all_shapes_fit(self):
        tensors = random_tensors("torchvision")
        with pytest.raises(ConversionError, match="torchvision need `stride_in_1x1: false`"):
            convert_state(tensors, "torchvision", ResNet(50, stride_in_1x1=True))

    def test_backbone_of_another_depth_is_refused(self):
        with pytest.raises(ConversionError, match=r"missing: layer3\.6\.conv1\.weight"):
            convert_state(random_tensors("msra"), "msra", ResNet(101, stride_in_1x1=True, norm="FrozenBN"))
        deeper = random_tensors("msra") | {"res4_6_branch2a_bn_s": np.ones(256, "float32")}
        with pytest.raises(ConversionError, match=r"unexpected: res4_6_branch2a_bn_s, layer3\.6\.bn1\._mean"):
            convert_state(deeper, "msra", BACKBONES["msra"]())

    def test_unknown_source(self, mmseg_model):
        with pytest.raises(ValueError, match=f"one of {', '.join(SOURCES)}, got 'caffe'"):
            convert_state({}, "caffe", mmseg_model)

    @pytest.mark.parametrize(
        ("damage", "arguments", "message"),
        [
            (
                lambda data: data,
                ["--opts", "model.segmentor.backbone.depth=101"],
                "missing: segmentor.backbone.layer3.6",
            ),
            (lambda data: data[:10_000_000], [], "model.safetensors"),
            (lambda data: b"<html>404</html>", [], "model.safetensors"),
        ],
        ids=["wrong depth", "truncated", "web page"],
    )
    def test_command_says_why_in_one_line_and_keeps_the_old_output(
        self, tmp_path, mmseg_tensors, damage, arguments, message, capsys
    ):
        file, out = tmp_path / "model.safetensors", tmp_path / "out.pdparams"
        save_file(mmseg_tensors, file)
        file.write_bytes(damage(file.read_bytes()))
        out.write_text("as before")
        assert convert(file, out, "--from", "mmseg", "--config", MMSEG, *arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        assert out.read_text() == "as before"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "out.pdparams"]

    def test_malicious_file_is_refused_unexecuted(self, tmp_path, capsys):
        class Malicious:
            def __reduce__(self):
                return eval, (f"open({str(tmp_path / 'executed')!r}, 'w')",)

        (tmp_path / "model.pkl").write_bytes(pickle.dumps({"model": {"conv1.weight": Malicious()}}))
        code = convert(
            tmp_path / "model.pkl", tmp_path / "out.pdparams", "--from", "detectron2", "--config", DETECTRON2
        )
        assert code == 2
        assert "builtins.eval" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["model.pkl"]

    @pytest.mark.parametrize("output", ["out.pth", "a file/out.pdparams"])
    def test_output_that_cannot_be_written_is_found_before_the_work(self, tmp_path, output, capsys):
        (tmp_path / "a file").write_text("")
        assert convert(tmp_path / "none.pth", tmp_path / output, "--from", "mmseg", "--config", MMSEG) == 2
        assert output in capsys.readouterr().err
