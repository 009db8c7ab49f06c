"""Each transform alone, and against mmsegmentation's."""

import numpy as np
import paddle
import pytest
from paddleseg.transforms import Compose, Normalize
from transform_samples import as_mmseg, assert_same, assert_same_draws, mmseg_transforms, sample

import paddle_pointrend  # noqa: F401
from paddle_pointrend.data.transforms import PhotoMetricDistortion, RandomCrop, RandomResize, RGBToBGR
from paddle_pointrend.inference import undo_transforms


@pytest.fixture
def mmseg():
    return mmseg_transforms()


class TestRandomResize:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((1024, 2048), (512, 1024)),  # the short edge binds
            ((300, 2400), (256, 2048)),  # the long edge binds
            ((640, 480), (683, 512)),  # upright; 682.67 is rounded
        ],
    )
    def test_image_just_fits_into_the_bounds(self, size, expected):
        data = RandomResize([2048, 512])(sample(*size))
        assert data["img"].shape == (*expected, 3)
        assert data["label"].shape == expected

    def test_ratios_fill_their_range(self):
        resize = RandomResize([180, 120], [0.5, 2.0])
        heights = [resize(sample())["img"].shape[0] for _ in range(100)]
        assert 60 <= min(heights) < 75 and 220 < max(heights) <= 240
        assert len(set(heights)) > 50

    def test_labels_take_no_values_between_classes(self):
        data = RandomResize([131, 77])(sample())
        assert data["label"].dtype == np.uint8
        assert set(np.unique(data["label"])) == {0, 1, 2, 3, 255}

    def test_an_image_without_labels_is_resized_alone(self):
        data = {"img": sample()["img"], "trans_info": []}
        assert RandomResize([45, 30])(data)["img"].shape == (30, 45, 3)

    def test_labels_that_are_not_listed_keep_their_size(self):
        data = RandomResize([45, 30])({**sample(), "gt_fields": []})
        assert data["label"].shape == (60, 90)

    def test_an_image_of_one_channel_is_resized(self):
        data = {"img": sample()["img"][..., 0], "trans_info": []}
        assert RandomResize([45, 30])(data)["img"].shape == (30, 45)

    def test_a_side_never_vanishes(self):
        data = {"img": np.zeros((1, 1000, 3), "float32"), "trans_info": []}
        assert RandomResize([100, 50])(data)["img"].shape == (1, 100, 3)

    def test_predictions_come_back_at_the_images_own_size(self):
        dataset = [Compose([RandomResize([75, 30])])({"img": sample()["img"]})]
        batch = next(iter(paddle.io.DataLoader(dataset, batch_size=1)))
        assert batch["img"].shape == [1, 3, 30, 45]
        logits = undo_transforms(batch["img"].numpy(), batch["trans_info"], batch["img"].shape[2:])
        assert logits.shape == (1, 3, 60, 90)

    def test_normalized_images_are_refused(self):
        with pytest.raises(ValueError, match="put it before Normalize"):
            RandomResize([45, 30])(Normalize()(sample()))

    @pytest.mark.parametrize("scale", [512, [512], [512, 0], [512, 1.5]])
    def test_wrong_scales_are_refused(self, scale):
        with pytest.raises(ValueError, match=r"scale must be two whole numbers >= 1.*got"):
            RandomResize(scale)

    @pytest.mark.parametrize("ratio_range", [1, [1], [2, 1], [0, 1], [-1, 1], ["a", "b"]])
    def test_wrong_ratios_are_refused(self, ratio_range):
        with pytest.raises(ValueError, match=r"ratio_range must be .*got"):
            RandomResize([512, 512], ratio_range)

    @pytest.mark.torch
    @pytest.mark.parametrize("size", [(60, 90), (90, 60), (33, 200)])
    def test_equals_mmsegmentation(self, mmseg, size):
        ours, theirs = (
            RandomResize([160, 64], [0.5, 2.0]),
            mmseg["RandomResize"]((160, 64), (0.5, 2.0), keep_ratio=True),
        )
        assert_same_draws(ours, theirs, (sample(*size, seed=seed) for seed in range(50)))

    @pytest.mark.torch
    @pytest.mark.parametrize("size", [(60, 90), (90, 60), (33, 200), (375, 500), (512, 683)])
    def test_without_ratios_equals_the_resize_of_validation(self, mmseg, size):
        data = sample(*size)
        expected = mmseg["Resize"](scale=(2048, 512), keep_ratio=True)(as_mmseg(data))
        assert_same(RandomResize([2048, 512])(data), expected)


class TestRandomCrop:
    def test_image_and_label_are_cropped_alike(self):
        data = sample()
        data["img"][..., 0] = data["label"]
        for _ in range(20):
            cropped = RandomCrop([40, 20])(dict(data))
            assert cropped["img"].shape == (20, 40, 3)
            np.testing.assert_array_equal(cropped["img"][..., 0], cropped["label"])

    def test_windows_reach_all_corners(self):
        label = np.arange(20, dtype="uint8").reshape(4, 5)
        crop = RandomCrop([2, 2])
        corners = {
            crop({"img": label[..., None], "label": label, "gt_fields": ["label"]})["label"][0, 0] for _ in range(300)
        }
        assert corners == {5 * top + left for top in range(3) for left in range(4)}

    def test_shorter_sides_stay(self):
        data = RandomCrop([200, 20])(sample())
        assert data["img"].shape == (20, 90, 3)
        assert data["label"].shape == (20, 90)

    def test_a_window_with_too_much_of_one_class_is_drawn_again(self):
        data = sample()
        data["label"][...] = 0
        data["label"][20:40, 30:60] = 1

        def share_of_good_windows(crop):
            good = 0
            for _ in range(200):
                counts = np.bincount(crop(dict(data))["label"].ravel(), minlength=2)
                good += counts.max() / counts.sum() < 0.75
            return good / 200

        assert share_of_good_windows(RandomCrop([30, 20])) < 0.6
        assert share_of_good_windows(RandomCrop([30, 20], category_max_ratio=0.75)) > 0.98

    def test_an_image_of_one_class_ends_the_attempts(self):
        data = sample()
        data["label"][...] = 3
        assert RandomCrop([30, 20], category_max_ratio=0.75)(data)["img"].shape == (20, 30, 3)

    def test_ignored_pixels_do_not_count(self):
        crop = RandomCrop([4, 1], category_max_ratio=0.75)
        assert crop._is_mixed(np.array([0, 1, 255, 255]))
        assert not crop._is_mixed(np.array([0, 0, 0, 1]))
        assert not crop._is_mixed(np.array([0, 255, 255, 255]))
        assert not crop._is_mixed(np.array([255, 255, 255, 255]))
        assert RandomCrop([4, 1], category_max_ratio=0.75, ignore_index=1)._is_mixed(np.array([0, 1, 1, 255]))

    @pytest.mark.parametrize("crop_size", [512, [512, 512, 3], [0, 512], ["a", "b"]])
    def test_wrong_sizes_are_refused(self, crop_size):
        with pytest.raises(ValueError, match=r"crop_size must be two whole numbers >= 1.*got"):
            RandomCrop(crop_size)

    @pytest.mark.parametrize("ratio", [0, 1.5, "0.75"])
    def test_wrong_shares_are_refused(self, ratio):
        with pytest.raises(ValueError, match="category_max_ratio must be above 0 and at most 1, got"):
            RandomCrop([512, 512], ratio)

    @pytest.mark.torch
    @pytest.mark.parametrize("category_max_ratio", [1.0, 0.75, 0.4])
    @pytest.mark.parametrize("crop_size", [[40, 20], [100, 30]])
    def test_equals_mmsegmentation(self, mmseg, crop_size, category_max_ratio):
        ours = RandomCrop(crop_size, category_max_ratio)
        theirs = mmseg["RandomCrop"](tuple(reversed(crop_size)), category_max_ratio)
        assert_same_draws(ours, theirs, (sample(classes=2 + seed % 3, seed=seed) for seed in range(50)))


class TestPhotoMetricDistortion:
    def test_values_stay_whole_numbers_of_8_bit(self):
        for seed in range(20):
            image = PhotoMetricDistortion()(sample(seed=seed))["img"]
            assert image.dtype == np.float32 and image.min() >= 0 and image.max() <= 255
            np.testing.assert_array_equal(image, np.rint(image))

    def test_one_image_in_sixteen_stays_as_it_is(self):
        same = [np.array_equal(PhotoMetricDistortion()(sample())["img"], sample()["img"]) for _ in range(400)]
        assert 0.03 < np.mean(same) < 0.1

    def test_labels_stay(self):
        data = PhotoMetricDistortion()(sample())
        np.testing.assert_array_equal(data["label"], sample()["label"])

    def test_brightness_alone_moves_all_values_alike(self):
        distort = PhotoMetricDistortion(
            brightness_delta=32, contrast_range=[1, 1], saturation_range=[1, 1], hue_delta=0
        )
        grey = {"img": np.full((4, 4, 3), 100, "float32")}
        values = [np.unique(distort(dict(grey))["img"]) for _ in range(200)]
        assert all(len(value) == 1 for value in values)
        assert 68 <= min(values) < 75 and 125 < max(values) <= 132

    def test_all_options_at_nothing_leave_a_grey_image(self):
        distort = PhotoMetricDistortion(brightness_delta=0, contrast_range=[1, 1], saturation_range=[1, 1], hue_delta=0)
        grey = np.repeat(sample()["img"][..., :1], 3, axis=2)
        for _ in range(20):
            np.testing.assert_array_equal(distort({"img": grey})["img"], grey)

    def test_fractions_left_by_a_resize_are_rounded(self):
        distort = PhotoMetricDistortion()
        state = np.random.get_state()
        whole = distort(sample())["img"]
        np.random.set_state(state)
        fractions = sample()
        fractions["img"] = np.clip(fractions["img"] + 0.3, 0, 255)
        np.testing.assert_array_equal(distort(fractions)["img"], whole)

    @pytest.mark.parametrize(
        "options",
        [
            {"brightness_delta": -1},
            {"contrast_range": [1.5, 0.5]},
            {"contrast_range": 1.5},
            {"saturation_range": [-1, 1]},
            {"hue_delta": 200},
            {"hue_delta": 1.5},
        ],
        ids=str,
    )
    def test_wrong_options_are_refused(self, options):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be .*, got"):
            PhotoMetricDistortion(**options)

    def test_normalized_images_are_refused(self):
        with pytest.raises(ValueError, match="put it before Normalize"):
            PhotoMetricDistortion()(Normalize()(sample()))

    def test_images_of_one_channel_are_refused(self):
        with pytest.raises(ValueError, match=r"takes images \[H, W, 3\]"):
            PhotoMetricDistortion()({"img": sample()["img"][..., 0]})

    @pytest.mark.torch
    def test_equals_mmsegmentation(self, mmseg):
        ours, theirs = PhotoMetricDistortion(), mmseg["PhotoMetricDistortion"]()
        assert_same_draws(ours, theirs, (sample(30, 40, seed=seed) for seed in range(300)))


class TestRGBToBGR:
    def test_channels_are_reversed(self):
        data = RGBToBGR()(sample())
        np.testing.assert_array_equal(data["img"], sample()["img"][..., ::-1])
        assert data["img"].flags["C_CONTIGUOUS"]

    def test_twice_is_nothing(self):
        np.testing.assert_array_equal(RGBToBGR()(RGBToBGR()(sample()))["img"], sample()["img"])
