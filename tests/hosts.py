"""Hosts: small versions of PaddleSeg's models that PointRendSeg is put on, and where Taps finds their maps."""

import dataclasses

import paddle
import yaml
from paddleseg.cvlibs import Config, SegBuilder

NUM_CLASSES = 5

CONFIG = """\
batch_size: 1
iters: 1
train_dataset:
  type: Dataset
  dataset_root: data
  train_path: data/train.txt
  num_classes: {num_classes}
  mode: train
  transforms: [{{type: Normalize}}]
optimizer: {{type: SGD}}
lr_scheduler: {{type: PolynomialDecay, learning_rate: 0.01}}
loss:
  types: [{{type: CrossEntropyLoss}}]
  coef: [1]
"""


@dataclasses.dataclass(frozen=True)
class Host:
    """A row of the table in docs/models.md.

    config: of the segmentor, without num_classes.
    coarse, coarse_stride, fine, fine_stride: what Taps finds.
    size_divisor: what the model itself needs of its images' sizes.
    outputs: how many it returns in training.
    static: whether the bare model can be traced, and predicts the same twice.
    fails_on: runtimes on which its export cannot be run, or computes something else; docs/deployment.md.
    """

    config: dict
    coarse: str | None
    coarse_stride: int
    fine: str
    fine_stride: int
    outputs: int = 1
    size_divisor: int = 1
    note: str = ""
    num_classes: int = NUM_CLASSES
    static: bool = True
    fails_on: tuple = ()


OPENVINO, PADDLE_INFERENCE = ("openvino",), ("paddle-inference",)
ONNX_RUNTIMES = ("onnxruntime", *OPENVINO)
EVERY_RUNTIME = (*ONNX_RUNTIMES, *PADDLE_INFERENCE)


def _resnet(output_stride, depth=18):
    return {"type": f"ResNet{depth}_vd", "output_stride": output_stride}


HRNET = {"type": "HRNet_W18_Small_V1"}
STDC = {"type": "STDC1"}
MOBILENET = {"type": "MobileNetV3_large_x1_0"}
ALIGNED = "its upsampling aligns corners"
ALIGNED_HERE = "its upsampling aligns corners; with `align_corners: false` head[0], stride 8"
MODE = "its upsampling has `align_mode: 1`"
FULL = "predicts at full size"
UNTRACED = "the model itself cannot be traced (`to_static`, export)"
MOBILESEG = {
    "cm_bin_sizes": [1, 2, 4],
    "cm_out_ch": 64,
    "arm_type": "UAFM_SpAtten",
    "arm_out_chs": [32, 64, 96],
    "seg_head_inter_chs": [32, 32, 32],
}
KNET = {
    "kernel_update_head_params": {
        "num_classes": NUM_CLASSES,
        "num_ffn_fcs": 1,
        "feedforward_channels": 64,
        "in_channels": 256,
        "out_channels": 256,
        "conv_kernel_size": 1,
    },
    "kernel_generate_head_params": {
        "head_layer": "FCNKernelHead",
        "in_channels": 512,
        "channels": 256,
        "num_classes": NUM_CLASSES,
    },
}


def _model(name, backbone=None, **options):
    return {"type": name, **({} if backbone is None else {"backbone": backbone}), **options}


HOSTS = {
    "FCN": Host(_model("FCN", HRNET), "head[0]", 4, "backbone[0]", 4),
    "UNet": Host(_model("UNet"), "cls", 1, "encode.double_conv", 1, note=FULL),
    "PSPNet": Host(_model("PSPNet", _resnet(8)), "head[0]", 8, "backbone[0]", 4, outputs=2),
    "DeepLabV3": Host(_model("DeepLabV3", _resnet(8), backbone_indices=[3]), "head[0]", 8, "backbone[0]", 4),
    "DeepLabV3P": Host(_model("DeepLabV3P", _resnet(16)), "head[0]", 4, "backbone[0]", 4),
    "GloRe": Host(_model("GloRe", _resnet(8)), "head[0]", 8, "backbone[0]", 4, outputs=2),
    "GINet": Host(
        _model("GINet", _resnet(8, 50)),
        None,
        1,
        "backbone[0]",
        4,
        outputs=2,
        fails_on=PADDLE_INFERENCE,
        note=ALIGNED_HERE,
    ),
    "OCRNet": Host(_model("OCRNet", HRNET, backbone_indices=[0]), "head[0]", 4, "backbone[0]", 4, outputs=2),
    "UPerNet": Host(_model("UPerNet", _resnet(32), backbone_indices=[0, 1, 2, 3]), "head[0]", 4, "backbone[0]", 4),
    "SegFormer": Host(
        _model("SegFormer", {"type": "MixVisionTransformer_B0"}, embedding_dim=256), "linear_pred", 4, "backbone[0]", 4
    ),
    "PPLiteSeg": Host(_model("PPLiteSeg", STDC), "seg_heads.0", 8, "backbone[1]", 4, outputs=3),
    "BiSeNetV2": Host(_model("BiSeNetV2"), "head", 8, "db.convs.4", 4, outputs=5),
    "STDCSeg": Host(_model("STDCSeg", STDC), None, 1, "cp.backbone[1]", 4, outputs=4, note=ALIGNED),
    "DANet": Host(
        _model("DANet", _resnet(8), backbone_indices=[2, 3]),
        None,
        1,
        "backbone[0]",
        4,
        outputs=4,
        fails_on=OPENVINO,
        note=MODE,
    ),
    "CCNet": Host(_model("CCNet", _resnet(8)), "head", 8, "backbone[0]", 4, outputs=2, fails_on=EVERY_RUNTIME),
    "ANN": Host(_model("ANN", _resnet(8)), "head[0]", 8, "backbone[0]", 4, outputs=2, fails_on=PADDLE_INFERENCE),
    "DNLNet": Host(_model("DNLNet", _resnet(8, 50)), None, 1, "backbone[0]", 4, outputs=2, note=MODE),
    "EMANet": Host(_model("EMANet", _resnet(8, 50)), "head[0]", 8, "backbone[0]", 4, outputs=2, fails_on=OPENVINO),
    "ENCNet": Host(_model("ENCNet", _resnet(8)), "head", 8, "backbone[0]", 4, outputs=3, fails_on=OPENVINO),
    "GCNet": Host(_model("GCNet", _resnet(8)), "head[0]", 8, "backbone[0]", 4, outputs=2),
    "ISANet": Host(
        _model("ISANet", _resnet(8, 50)), None, 1, "backbone[0]", 4, outputs=2, note=f"{MODE}; {UNTRACED}", static=False
    ),
    "DMNet": Host(
        _model("DMNet", _resnet(8)),
        None,
        1,
        "backbone[0]",
        4,
        outputs=2,
        size_divisor=8,
        note=f"{ALIGNED}; {UNTRACED}",
        static=False,
    ),
    "FastFCN": Host(_model("FastFCN", _resnet(8)), "cls_seg", 8, "backbone[0]", 4, outputs=3, fails_on=OPENVINO),
    "FastSCNN": Host(_model("FastSCNN"), "classifier", 8, "learning_to_downsample.dsconv_bn_relu1", 4, outputs=2),
    "HarDNet": Host(_model("HarDNet"), "cls_head", 2, "encoder.blks.1", 2),
    "PFPNNet": Host(
        _model("PFPNNet", _resnet(32, 50), backbone_indices=[0, 1, 2, 3], channels=256), "head[0]", 4, "backbone[0]", 4
    ),
    "SFNet": Host(
        _model("SFNet", _resnet(8), backbone_indices=[0, 1, 2, 3]),
        "head[0]",
        4,
        "backbone[0]",
        4,
        note=UNTRACED,
        static=False,
    ),
    "LRASPP": Host(_model("LRASPP", MOBILENET, backbone_indices=[0, 1, 3]), "lraspp_head", 4, "backbone[0]", 4),
    "DDRNet_23": Host(_model("DDRNet_23"), "head", 8, "layer1", 4, size_divisor=8),
    "BiseNetV1": Host(
        _model("BiseNetV1", _resnet(32)), "heads.2", 1, "backbone[0]", 4, outputs=3, size_divisor=8, note=ALIGNED
    ),
    "ESPNetV1": Host(
        _model("ESPNetV1"),
        "out_up",
        1,
        "encoder[1]",
        4,
        size_divisor=8,
        num_classes=19,
        note="predicts at full size; takes 19 classes only",
    ),
    "ESPNetV2": Host(
        _model("ESPNetV2"), None, 1, "backbone[1]", 4, outputs=2, size_divisor=16, note=ALIGNED, fails_on=ONNX_RUNTIMES
    ),
    "LPSNet": Host(
        _model("LPSNet", depths=[1, 3, 3, 10, 10], channels=[8, 24, 48, 96, 96], scale_ratios=[1, 0.25]),
        None,
        1,
        "nets.0.1",
        4,
        note=ALIGNED,
    ),
    "MobileSeg": Host(_model("MobileSeg", MOBILENET, **MOBILESEG), "seg_heads.0", 8, "backbone[0]", 4, outputs=3),
    "PPMobileSeg": Host(
        _model("PPMobileSeg", {"type": "MobileSeg_Tiny", "inj_type": "AAMSx8", "out_feat_chs": [32, 64, 128]}),
        "decode_head",
        8,
        "backbone.smb1",
        4,
    ),
    "RTFormer": Host(_model("RTFormer"), "seghead", 8, "layer1", 4, outputs=2, note=UNTRACED, static=False),
    "SegNeXt": Host(
        _model("SegNeXt", {"type": "MSCAN_T"}, decoder_cfg={"ham_channels": 256}),
        "decode_head",
        8,
        "backbone[0]",
        4,
        static=False,
        note="draws random numbers in evaluation",
    ),
    "TopFormer": Host(
        _model("TopFormer", {"type": "TopTransformer_Tiny"}), "decode_head", 8, "backbone.tpm[0]", 4, size_divisor=32
    ),
    "KNet": Host(
        _model("KNet", _resnet(8), backbone_indices=[3], **KNET),
        "kernel_update_head.2[0]",
        8,
        "backbone[0]",
        4,
        outputs=4,
        note="a list of stages in training, the last is sharpened",
        fails_on=EVERY_RUNTIME,
    ),
    "HRNetW48Contrast": Host(
        _model("HRNetW48Contrast", HRNET, bb_channels=240, drop_prob=0.1, proj_dim=64),
        "cls_head",
        4,
        "backbone[0]",
        4,
        outputs=2,
    ),
    "GSCNN": Host(
        _model("GSCNN", _resnet(16, 50)),
        "head[0]",
        4,
        "backbone[0]",
        4,
        outputs=4,
        static=False,
        note=UNTRACED,
    ),
    "PPHumanSegLite": Host(_model("PPHumanSegLite"), "depthwise_separable2", 2, "conv_bn1", 2),
    "ENet": Host(_model("ENet"), "transposed_conv", 1, "regular1_4", 4, note=FULL, fails_on=EVERY_RUNTIME),
    "U2Netp": Host(_model("U2Netp"), "outconv", 1, "stage1.rebnconv1", 1, outputs=7, note=FULL),
    "U2Net": Host(_model("U2Net"), "outconv", 1, "stage1.rebnconv1", 1, outputs=7, note=FULL),
    "AttentionUNet": Host(_model("AttentionUNet"), "conv_1x1", 1, "encoder.double_conv", 1, size_divisor=16, note=FULL),
    "UNetPlusPlus": Host(
        _model("UNetPlusPlus", in_channels=3),
        None,
        1,
        "conv2_0",
        4,
        size_divisor=16,
        note="predicts at full size, the mean of four maps",
    ),
    "UNet3Plus": Host(_model("UNet3Plus", in_channels=3), "outconv1", 1, "encoder[0]", 1, size_divisor=16, note=FULL),
    "SegNet": Host(_model("SegNet"), "deco5", 1, "enco1", 1, size_divisor=32, note=f"{FULL}; {UNTRACED}", static=False),
    "SINet": Host(_model("SINet"), "classifier", 1, "encoder.BR2", 4, size_divisor=32, note=FULL),
    "PortraitNet": Host(
        _model("PortraitNet", {"type": "MobileNetV2_x1_0"}), "head", 1, "backbone[0]", 4, size_divisor=32, note=FULL
    ),
}


def build_pointrend(folder, host):
    """PointRendSeg on a host, from YAML without further keys."""
    model = {"type": "PointRendSeg", "segmentor": {**host.config, "num_classes": host.num_classes}}
    path = folder / "model.yml"
    path.write_text(CONFIG.format(num_classes=host.num_classes) + yaml.dump({"model": model}))
    with paddle.utils.unique_name.guard():  # MobileNetV2 names its parameters, which Paddle refuses a second time
        return SegBuilder(Config(str(path))).model
