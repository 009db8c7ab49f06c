import builtins

import numpy as np
import pytest

from paddle_pointrend.inference import DenseCRF


def slow_mean_field(logits, image, crf):
    """Krähenbühl and Koltun, algorithm 1, over all pairs of pixels; kernels normalised to D^-1/2 K D^-1/2."""
    num_classes, height, width = logits.shape
    rows, columns = np.mgrid[:height, :width]
    positions = np.stack([columns.ravel(), rows.ravel()], 1).astype(float)
    colors = image.reshape(-1, 3).astype(float)
    kernels = []
    for weight, features in (
        (crf.smoothness_weight, positions / crf.smoothness_pixels),
        (
            crf.appearance_weight,
            np.concatenate([positions / crf.appearance_pixels, colors / crf.appearance_colors], 1),
        ),
    ):
        kernel = np.exp(-((features[:, None] - features[None]) ** 2).sum(2) / 2)
        scale = kernel.sum(1) ** -0.5
        kernels.append(weight * scale[:, None] * kernel * scale)
    unary = logits.reshape(num_classes, -1) - np.log(np.exp(logits.reshape(num_classes, -1)).sum(0))
    q = np.exp(unary)
    for _ in range(crf.steps):
        messages = unary + sum(q @ kernel for kernel in kernels)  # Potts: a label counts against all others
        q = np.exp(messages - messages.max(0))
        q /= q.sum(0)
    return q.reshape(logits.shape)


@pytest.fixture
def case():
    """Three classes in three colours, and logits that know them roughly."""
    rng = np.random.default_rng(0)
    truth = np.zeros((18, 24), int)
    truth[4:14, 3:12], truth[8:, 14:] = 1, 2
    image = np.array([[200, 60, 50], [40, 180, 60], [60, 70, 220]])[truth] + rng.integers(-6, 7, (18, 24, 3))
    logits = np.eye(3)[truth].transpose(2, 0, 1) + rng.standard_normal((3, 18, 24))
    return logits, image.astype("uint8"), truth


@pytest.mark.parametrize(
    "crf", [DenseCRF(appearance_pixels=8, appearance_colors=10), DenseCRF(1, 2, 2, 5, 20, steps=3)]
)
def test_it_is_mean_field_inference_over_all_pairs(case, crf):
    """The library filters on a lattice, which approximates the sums over all pixels."""
    pytest.importorskip("pydensecrf")
    logits, image, _ = case
    expected = slow_mean_field(logits, image, crf)
    refined = crf.refine(logits, image)
    assert refined.dtype == np.float32
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    assert np.abs(refined - expected).mean() < 0.02
    assert (refined.argmax(0) == expected.argmax(0)).mean() > 0.98
    before = np.exp(logits) / np.exp(logits).sum(0)
    assert np.abs(before - expected).mean() > 0.1


def test_it_corrects_what_colours_tell(case):
    pytest.importorskip("pydensecrf")
    logits, image, truth = case
    labels = DenseCRF(appearance_pixels=8, appearance_colors=10).refine(logits, image).argmax(0)
    assert (logits.argmax(0) == truth).mean() < 0.8
    assert (labels == truth).mean() > 0.97


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image[:-1], r"\[3, 18, 24\] height and width, got uint8 \[17, 24, 3\]"),
        (lambda image: image.astype("float32"), r"got float32 \[18, 24, 3\]"),
        (lambda image: image[..., 0], r"got uint8 \[18, 24\]"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(case, change, message):
    logits, image, _ = case
    with pytest.raises(ValueError, match=message):
        DenseCRF().refine(logits, change(image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothness_pixels": 0}, "smoothness_pixels must be a number of at least 0.1, got 0"),
        ({"appearance_pixels": 1e-9}, "appearance_pixels must be a number of at least 0.1, got 1e-09"),
        ({"appearance_colors": float("nan")}, "appearance_colors must be .*, got nan"),
        ({"appearance_weight": -1.0}, "appearance_weight must be a number of at least 0, got -1.0"),
        ({"smoothness_weight": float("inf")}, "smoothness_weight must be .*, got inf"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
    ],
)
def test_options_that_the_library_cannot_take_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DenseCRF(**options)


def test_logits_that_are_no_numbers_are_refused(case):
    logits, image, _ = case
    with pytest.raises(ValueError, match="the logits hold NaN or infinity"):
        DenseCRF().refine(np.where(logits == logits.max(), np.nan, logits), image)


def test_a_missing_library_is_named_with_its_extra(case, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pydensecrf"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pydensecrf is not installed: pip install .*\[crf\]"):
        DenseCRF().refine(*case[:2])
