"""What Taps says of paths and models that it cannot use."""

import paddle
import pytest
from paddle import nn
from paddleseg.models import DeepLabV3P, MscaleOCRNet
from paddleseg.models.backbones import HRNet_W18_Small_V1, ResNet18_vd
from tiny_segmentors import FullSizeSegmentor, TinySegmentor

from paddle_pointrend import PointRendSeg
from paddle_pointrend.models.taps import Taps


@pytest.fixture(scope="module", name="host")
def deeplab():
    return DeepLabV3P(5, ResNet18_vd(output_stride=16))


class TestErrors:
    MAPS = (
        r"the maps of DeepLabV3P are backbone\[0\] \(64 channels, stride 4\), "
        r"backbone\[1\] \(128 channels, stride 8\), .*, head\[0\] \(5 channels, stride 4\), and others further inside; "
        r"write for example taps: {fine: \[\"backbone\[0\]\"\]}"
    )

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("backbon", "there is no sublayer 'backbon' that DeepLabV3P calls"),
            ("backbone[0", r"there is no sublayer 'backbone\[0'"),
            (3, "there is no sublayer 3"),
            ("backbone", "'backbone' is no map"),
            ("backbone[4]", r"'backbone\[4\]' is no map"),
            ("head.aspp.global_avg_pool.0", "'head.aspp.global_avg_pool.0' is no map"),
        ],
    )
    def test_fine(self, host, path, reason):
        with pytest.raises(ValueError, match=f"taps.fine: {reason}.*; {self.MAPS}") as error:
            PointRendSeg(host, taps={"fine": [path]})
        assert str(error.value).count("channels, stride") == 5

    @pytest.mark.parametrize("fine", [[], ["backbone[1]", "backbone[0]"]])
    def test_number_and_order_of_fine_maps(self, host, fine):
        with pytest.raises(ValueError, match=rf"expected one map or more, fine -> coarse; {self.MAPS}"):
            PointRendSeg(host, taps={"fine": fine})

    def test_coarse(self, host):
        maps = (
            r"the maps of DeepLabV3P of as many channels as classes are head\[0\] \(5 channels, stride 4\); "
            r"write for example taps: {coarse: \"head\[0\]\"}"
        )
        with pytest.raises(ValueError, match=rf"taps.coarse: there is no sublayer 'heads' that .*; {maps}"):
            PointRendSeg(host, taps={"coarse": "heads"})
        message = r"taps.coarse: 'backbone\[1\]' has 128 channels, but DeepLabV3P predicts 5 classes"
        with pytest.raises(ValueError, match=f"{message}; {maps}"):
            PointRendSeg(host, taps={"coarse": "backbone[1]"})

    @pytest.mark.parametrize("taps", [{"corse": "head[0]"}, {1: 2}, "head[0]", ["head[0]"]])
    def test_other_keys(self, host, taps):
        with pytest.raises(ValueError, match=r"taps takes coarse: PATH and fine: \[PATH, ...\], got .*(corse|1|head)"):
            PointRendSeg(host, taps=taps)

    def test_a_map_that_is_no_exact_stride(self):
        host = TinySegmentor()
        host.auxiliary = nn.Conv2D(3, 3, 2)
        host.head = nn.Sequential(host.head, nn.Identity())
        forward = host.forward
        host.forward = lambda x: (host.auxiliary(host.backbone.stem(x)), forward(x))[1]
        with pytest.raises(ValueError, match=r"taps.fine: 'auxiliary' is no map \[N, C, H, W\] of a whole stride"):
            Taps(host, fine=["auxiliary"])

    def test_the_same_everywhere(self):
        host = TinySegmentor()
        host.head.weight.set_value(paddle.zeros_like(host.head.weight))
        assert Taps(host).coarse == "head"
        host.auxiliary.weight.set_value(paddle.zeros_like(host.auxiliary.weight))
        forward = host.forward
        host.forward = lambda x: (host.auxiliary(host.backbone(x)[1]), forward(x))[1]
        with pytest.raises(ValueError, match=r'TinySegmentor predicts the same everywhere.*: {coarse: "head"}'):
            Taps(host)
        assert Taps(host, coarse="head").coarse_stride == 4

    @pytest.mark.parametrize(
        ("host", "message"),
        [
            (nn.Linear(2, 3), r"Linear does not run on images of \[1, 3, 128, 192\], so its maps cannot be measured: "),
            (nn.Flatten(), r"Flatten returns a tensor of \[1, 73728\] for images .*, expected logits \[N, K, H, W\]"),
            (nn.Identity(), "Identity has no sublayer that is called once and yields a map"),
        ],
    )
    def test_a_layer_that_is_no_segmentor(self, host, message):
        with pytest.raises(ValueError, match=message):
            PointRendSeg(host)

    @pytest.mark.parametrize(
        ("change", "returns"),
        [
            (lambda outputs: {"logits": outputs[0]}, "a dict"),
            (lambda outputs: [], "a list of nothing"),
            (lambda outputs: [{"out": outputs[0]}], "a list of a dict"),
            (lambda outputs: outputs[0].argmax(axis=1), r"a tensor of \[1, 128, 192\]"),
            (lambda outputs: [outputs[0][:, :, 1:]], r"a list of a tensor of \[1, 3, 127, 192\]"),
        ],
    )
    def test_outputs_that_are_no_logits(self, change, returns):
        host = TinySegmentor()
        forward = host.forward
        host.forward = lambda x: change(forward(x))
        with pytest.raises(ValueError, match=f"TinySegmentor returns {returns} for images of .*, expected logits"):
            PointRendSeg(host)

    def test_no_logits_in_training(self):
        class Masks(FullSizeSegmentor):
            def forward(self, x):
                logits = super().forward(x)
                return [{"masks": logits[0]}] if self.training else [-logits[0]]

        with pytest.raises(ValueError, match=r"Masks returns a list of a dict in training.*set freeze_segmentor: true"):
            PointRendSeg(Masks())(paddle.randn([1, 3, 32, 32]))
        frozen = PointRendSeg(Masks(), freeze_segmentor=True)
        assert len(frozen(paddle.randn([1, 3, 32, 32]))) == 1

    def test_a_sublayer_that_training_does_not_call_once(self):
        class Other(TinySegmentor):
            times = 0

            def forward(self, x):
                for _ in range(self.times if self.training else 1):
                    self.backbone(x)
                return super().forward(x)

        host = Other()
        with pytest.raises(ValueError, match=r"taps.fine: 'backbone' is called 2 times"):
            PointRendSeg(host, taps={"fine": ["backbone[0]"]})
        model = PointRendSeg(TinySegmentor(), taps={"fine": ["norm"]})
        model.segmentor.forward = lambda x: [model.segmentor.head(x)]
        with pytest.raises(ValueError, match="TinySegmentor called 'norm' 0 times in training, expected once"):
            model(paddle.randn([1, 3, 32, 32]))

    def test_a_model_of_several_passes(self):
        host = MscaleOCRNet(5, HRNet_W18_Small_V1(), backbone_indices=[0])
        with pytest.raises(ValueError, match="MscaleOCRNet has no sublayer that is called once"):
            PointRendSeg(host)
