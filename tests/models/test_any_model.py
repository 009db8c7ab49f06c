"""One battery for all models of PaddleSeg (hosts.py), built from YAML as a user would."""

import contextlib
import gc
import pathlib
import types
import weakref

import numpy as np
import paddle
import pytest
from hosts import HOSTS, build_pointrend
from paddle import nn

from paddle_pointrend import PointRendSeg

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "models.md"
# The models people ask for, and those of them that are also traced, run by default; all others with -m slow.
ALWAYS = (
    *("FCN", "UNet", "PSPNet", "DeepLabV3", "DeepLabV3P", "GloRe", "GINet", "OCRNet", "UPerNet", "SegFormer"),
    *("PPLiteSeg", "BiSeNetV2", "STDCSeg", "DANet", "CCNet", "DDRNet_23"),
)
STATIC = ("DeepLabV3P", "PSPNet", "UNet", "STDCSeg", "SegFormer", "DDRNet_23")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in HOSTS]
)
def case(request, tmp_path_factory):
    """One host: .name, .host (the row of the table), .model (built once, for all tests of this host)."""
    paddle.seed(0)
    host = HOSTS[request.param]
    model = build_pointrend(tmp_path_factory.mktemp("host"), host)
    return types.SimpleNamespace(name=request.param, host=host, model=model)


@pytest.fixture
def model(case):
    """The host's model in training, trainable, without gradients, with a point head that changes predictions."""
    model = case.model
    model.size_divisor, model.freeze_segmentor = case.host.size_divisor, False
    for parameter in model.parameters():
        parameter.stop_gradient = False
    model.clear_gradients()
    model.point_head.predictor.weight.set_value(paddle.randn(model.point_head.predictor.weight.shape))
    model.train()
    return model


@contextlib.contextmanager
def counting(*layers):
    """A list of how often each layer was called inside."""
    calls, handles = [0] * len(layers), []
    for i, layer in enumerate(layers):

        def count(layer, inputs, i=i):
            calls[i] += 1

        handles.append(layer.register_forward_pre_hook(count))
    yield calls
    for handle in handles:
        handle.remove()


def hooks(layer):
    return sum(len(sub._forward_post_hooks) + len(sub._forward_pre_hooks) for sub in layer.sublayers(include_self=True))


def state(layer):
    return {name: value.numpy().copy() for name, value in layer.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def backbone(segmentor):
    return getattr(segmentor, "backbone", segmentor)


def reached(layer):
    return {name for name, p in layer.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}


def tensors(output):
    """The tensors of one output; models return tuples and dicts among them, each for a loss of its own."""
    if isinstance(output, paddle.Tensor):
        return [output]
    return [t for part in (output.values() if isinstance(output, dict) else output) for t in tensors(part)]


def resize(logits, size):
    return nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def test_taps(case):
    host, taps = case.host, case.model.taps
    assert (taps.coarse, taps.coarse_stride) == (host.coarse, host.coarse_stride)
    assert (taps.fine, taps.fine_strides) == ([host.fine], [host.fine_stride])
    assert taps.num_classes == host.num_classes
    assert case.model.num_subdivision_points == [8192] * max(1, int(np.log2(host.coarse_stride)))


def test_one_forward_pass_for_coarse_and_fine(case, model):
    images = paddle.randn([2, 3, 64, 64])
    for switch in (model.train, model.eval):
        switch()
        with paddle.no_grad(), counting(model.segmentor, backbone(model.segmentor)) as calls:
            model(images)
        assert calls == [1, 1]


def test_training(case, model):
    before, images = hooks(model), paddle.randn([2, 3, 64, 64])
    outputs = model(images)
    *own, (point_logits, point_coords) = outputs
    assert len(own) == case.host.outputs
    assert [2, case.host.num_classes, 64, 64] in [list(t.shape) for output in own for t in tensors(output)]
    assert list(point_logits.shape) == [2, case.host.num_classes, 2048]
    assert list(point_coords.shape) == [2, 2048, 2]
    assert hooks(model) == before
    # Each output alone, the auxiliary ones too.
    for output in own:
        sum(t.square().sum() for t in tensors(output)).backward(retain_graph=True)
        assert reached(model.segmentor)
        assert not reached(model.point_head)
        model.clear_gradients()
    point_logits.square().sum().backward()
    assert reached(backbone(model.segmentor))
    assert reached(model.point_head) == {name for name, _ in model.point_head.named_parameters()}


def test_coarse_logits_in_training_are_those_behind_an_output(case, model):
    with paddle.no_grad():
        outputs, coarse, fine = model.segment(paddle.randn([2, 3, 64, 64]))
    assert list(coarse.shape) == [2, case.host.num_classes, *[64 // case.host.coarse_stride] * 2]
    assert list(fine[0].shape[2:]) == [64 // case.host.fine_stride] * 2
    differences = [
        float((resize(coarse, [64, 64]) - t).abs().max())
        for output in outputs
        for t in tensors(output)
        if t.shape == [2, case.host.num_classes, 64, 64]
    ]
    assert min(differences) <= 1e-5 * float(coarse.abs().max())


def test_no_activation_is_kept(case, model):
    read, kept = model.taps.read, []

    def spy(*args):
        outputs, coarse, fine = read(*args)
        kept.extend(weakref.ref(tensor) for tensor in (coarse, *fine))
        return outputs, coarse, fine

    model.taps.read = spy
    try:
        outputs = model(paddle.randn([2, 3, 64, 64]))
        outputs[-1][0].sum().backward()
    finally:
        del model.taps.read
    assert len(kept) == 2
    del outputs
    gc.collect()
    assert [ref() for ref in kept] == [None, None]


def test_frozen(case, model):
    frozen = PointRendSeg(model.segmentor, freeze_segmentor=True)
    frozen.train()
    assert not any(layer.training for layer in model.segmentor.sublayers(include_self=True))
    assert frozen.point_head.training
    before = state(model.segmentor)
    optimizer = paddle.optimizer.SGD(0.1, parameters=frozen.parameters(), weight_decay=0.1)
    outputs = frozen(paddle.randn([2, 3, 64, 64]))
    assert len(outputs) == 1
    assert list(outputs[0][0].shape) == [2, case.host.num_classes, 2048]
    outputs[0][0].square().sum().backward()
    assert not reached(model.segmentor)
    assert reached(frozen.point_head) == {name for name, _ in frozen.point_head.named_parameters()}
    optimizer.step()
    assert_same(before, state(model.segmentor))  # the batch statistics are part of it


def test_evaluation_at_an_odd_size(case, model):
    model.eval()
    images = paddle.randn([1, 3, 75, 98])
    paddle.seed(1)  # SegNeXt draws in evaluation
    with paddle.no_grad():
        refined = model(images)
        paddle.seed(1)
        coarse, again = model.predict_both(images)
    assert len(refined) == 1
    assert list(coarse.shape) == list(refined[0].shape) == [1, case.host.num_classes, 75, 98]
    np.testing.assert_array_equal(refined[0].numpy(), again.numpy())
    assert bool(paddle.isfinite(coarse).all())
    assert np.abs(coarse.numpy() - again.numpy()).max() > 1e-3


def test_coarse_prediction_is_the_bare_models(case, model):
    model.eval()
    images = paddle.randn([1, 3, 75, 98] if case.host.size_divisor == 1 else [1, 3, 64, 96])
    with paddle.no_grad():
        paddle.seed(1)
        coarse, _ = model.predict_both(images)
        paddle.seed(1)
        bare = model.segmentor(images)
    np.testing.assert_array_equal(coarse.numpy(), (bare[0] if isinstance(bare, (list, tuple)) else bare).numpy())


def test_checkpoints(case, model, tmp_path):
    paddle.save(model.segmentor.state_dict(), str(tmp_path / "base.pdparams"))
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    base, whole = (paddle.load(str(tmp_path / f"{name}.pdparams")) for name in ("base", "model"))
    assert model.segmentor.set_state_dict(base) == ([], [])
    assert model.set_state_dict(whole) == ([], [])
    names = {f"segmentor.{name}" for name in base} | {f"point_head.{name}" for name in model.point_head.state_dict()}
    assert set(whole) == names


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in STATIC else pytest.mark.slow)
        for name, host in HOSTS.items()
        if host.static
    ],
)
def test_static_with_dynamic_sizes_equals_eager(name, tmp_path):
    host = HOSTS[name]
    model = build_pointrend(tmp_path, host)
    model.size_divisor = host.size_divisor
    model.point_head.predictor.weight.set_value(paddle.randn(model.point_head.predictor.weight.shape))
    model.eval()
    batches = [paddle.randn([1, 3, 64, 96]), paddle.randn([2, 3, 75, 70])]
    with paddle.no_grad():
        expected = [model(images)[0].numpy() for images in batches]
        spec = [paddle.static.InputSpec([None, 3, None, None], "float32")]
        static = paddle.jit.to_static(model, input_spec=spec, full_graph=True)
        for images, eager in zip(batches, expected):
            # Logits of a random predictor reach 200, and the sums of a graph run in another order.
            np.testing.assert_allclose(static(images)[0].numpy(), eager, rtol=0, atol=1e-5 * np.abs(eager).max())


def table():
    """The table of docs/models.md."""
    lines = ["| model | coarse logits | stride | fine features | stride | note |", "|---|---|---|---|---|---|"]
    for name, host in sorted(HOSTS.items(), key=lambda row: row[0].lower()):
        coarse = "its output" if host.coarse is None else f"`{host.coarse}`"
        divisor = f"`size_divisor: {host.size_divisor}`" if host.size_divisor > 1 else ""
        note = "; ".join(filter(None, (host.note, divisor)))
        lines.append(f"| {name} | {coarse} | {host.coarse_stride} | `{host.fine}` | {host.fine_stride} | {note} |")
    return "\n".join(lines)


def test_the_docs_carry_the_table():
    assert table() in DOCS.read_text(), f"docs/models.md should have\n{table()}"
