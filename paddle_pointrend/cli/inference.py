"""What val and predict share: augmentation, sliding window, PaddleSeg's inference."""

from paddleseg.core import infer
from paddleseg.utils import logger

from paddle_pointrend.cli.common import positive_int
from paddle_pointrend.errors import UsageError


def add_inference_arguments(parser, augment_flag, *, exported=False):
    """The flags of augmentation and sliding window; augment_flag is "--aug_eval" or "--aug_pred".

    With exported=True the help of --model_path tells of exported folders.
    """
    weights = "the trained weights, a .pdparams file or the folder that holds it"
    parser.add_argument("--model_path", help=weights + (", or a folder that export wrote" if exported else ""))
    parser.add_argument(augment_flag, action="store_true", help="average over --scales and flips")
    parser.add_argument("--scales", nargs="+", type=float, help=f"scales for {augment_flag}, default 1.0")
    parser.add_argument("--flip_horizontal", action="store_true", help=f"flip left to right too, with {augment_flag}")
    parser.add_argument("--flip_vertical", action="store_true", help=f"flip upside down too, with {augment_flag}")
    parser.add_argument("--is_slide", action="store_true", help="predict in a sliding window")
    for name in ("--crop_size", "--stride"):
        parser.add_argument(name, nargs=2, type=positive_int, metavar=("WIDTH", "HEIGHT"), help="for --is_slide")


def plain_options():
    """The options, as of `inference_options`, of one forward pass over the whole image."""
    flags = dict.fromkeys(("augment", "flip_horizontal", "flip_vertical", "is_slide"), False)
    return {**flags, "scales": [1.0], "crop_size": None, "stride": None}


def inference_options(args, test_config, augment_flag):
    """The arguments over the config's test_config, checked.

    Args:
        args: parsed arguments.
        test_config: the config's, with PaddleSeg's keys.
        augment_flag: "aug_eval" or "aug_pred", a key of both.

    Returns:
        dict with "augment", "scales", "flip_horizontal", "flip_vertical", "is_slide", "crop_size", "stride".

    Raises:
        UsageError: a window without size or stride, a stride that leaves gaps, a scale that is not above 0.
    """
    keys = ("scales", "flip_horizontal", "flip_vertical", "is_slide", "crop_size", "stride")
    options = {key: test_config.get(key) for key in keys}
    options["augment"] = bool(test_config.get(augment_flag))
    if getattr(args, augment_flag):
        given = {key: getattr(args, key) for key in ("scales", "flip_horizontal", "flip_vertical")}
        options.update(augment=True, **given)
    elif not options["augment"] and (args.scales or args.flip_horizontal or args.flip_vertical):
        logger.warning(f"--scales and --flip_... have no effect without --{augment_flag}")
    if args.is_slide:
        options.update(is_slide=True, crop_size=args.crop_size, stride=args.stride)
    elif args.crop_size or args.stride:
        logger.warning("--crop_size and --stride have no effect without --is_slide")
    scales = options["scales"] or 1.0
    options["scales"] = [float(s) for s in scales] if isinstance(scales, (list, tuple)) else [float(scales)]
    if min(options["scales"]) <= 0:
        raise UsageError(f"--scales must be above 0, got {options['scales']}")
    options.update({key: bool(options[key]) for key in ("flip_horizontal", "flip_vertical", "is_slide")})
    if options["is_slide"]:
        _check_window(options["crop_size"], options["stride"])
    return options


def _check_window(crop_size, stride):
    if not crop_size or not stride:
        raise UsageError("--is_slide needs --crop_size WIDTH HEIGHT and --stride WIDTH HEIGHT")
    if any(step > size for step, size in zip(stride, crop_size)):
        raise UsageError(f"--stride {list(stride)} is larger than --crop_size {list(crop_size)}: it leaves gaps")


def predict_logits(model, image, trans_info, options):
    """Logits [1, K, H, W] at the size the image had before its transforms.

    Args:
        model: a layer in eval mode; its first output counts.
        image: [1, C, h, w], transformed.
        trans_info: what the transforms noted about sizes.
        options: of `inference_options`.
    """
    window = {key: options[key] for key in ("is_slide", "crop_size", "stride")}
    if not options["augment"]:
        return infer.inference(model, image, trans_info=trans_info, **window)[1]
    augmentation = {key: options[key] for key in ("scales", "flip_horizontal", "flip_vertical")}
    return infer.aug_inference(model, image, trans_info=trans_info, **augmentation, **window)[1]
