"""Compares our networks with the torch references, stage by stage and step by step, on the same random weights.

    pip install -e .[torch,test] -c constraints.txt
    python scripts/compare_torch.py --reference mmseg
    pip install fvcore iopath   # of detectron2, which itself need not be installed
    python scripts/compare_torch.py --reference detectron2 --detectron2 path/to/a/checkout

Evaluation: every stage, the logits, the classes. Training: both losses, the gradient of every parameter, the running
statistics, and a trajectory of SGD steps of the recipe across the end of its warm-up. Then each side's preprocessing of
a raw image, and the choice of training points from given random numbers. Prints a table, writes a JSON file and
a picture into --output, and ends with exit code 1 if a bound is broken. About 5 minutes on one core.
"""

import argparse
import json
import os
import pathlib
import sys
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import numpy as np
import paddle
from torch_parity import references as torch_references
from torch_parity import stages as parity

from paddle_pointrend import sample_training_points
from paddle_pointrend.convert import rename_key
from paddle_pointrend.files import check_writable, write_json

CONFIGS = pathlib.Path(__file__).resolve().parent.parent / "configs"
# Our config's name -> the reference's.
MMSEG_CONFIGS = {
    "cityscapes/pointrend_semantic_fpn_resnet101_mmseg.yml": "r101_cityscapes",
    "cityscapes/pointrend_semantic_fpn_resnet50_mmseg.yml": "r50_cityscapes",
    "ade20k/pointrend_semantic_fpn_resnet101_mmseg.yml": "r101_ade20k",
    "ade20k/pointrend_semantic_fpn_resnet50_mmseg.yml": "r50_ade20k",
}
DETECTRON2_CONFIG = "cityscapes/pointrend_semantic_fpn_resnet101_detectron2.yml"
EVALUATED = ((1, 512, 1024), (1, 333, 517), (2, 512, 1024))
TRAINED = (2, 128, 256)
BEFORE_WARMUP_ENDS = 10  # the trajectory starts so many iterations before
BOUNDS = {  # docs/parity.md says what they mean
    "pixels beyond 2e-5 deviations": 1e-4,
    "pixels of another class": 1e-5,
    "loss": 1e-5,
    "gradient": 1e-3,
    "1 - cosine of gradient": 1e-5,
    "loss in trajectory": 1e-3,
    "parameter after trajectory": 1e-3,
}


class Pair:
    """A reference and our network of the same weights.

    Args:
        reference: of torch_references.
        config: the path of our YAML file.
        seed: of the random weights.
    """

    def __init__(self, reference, config, seed=0):
        self.reference, self.config, self.seed = reference, pathlib.Path(config), seed
        self.renew()

    def renew(self, **manner):
        """Builds our side anew, and gives both sides the random weights of a manner of random_state."""
        self.state = parity.random_state(self.reference.shapes(), self.seed, **manner)
        self.builder = parity.build(self.config)
        self.model = self.builder.model
        parity.load_reference_state(self.model, self.state, self.reference.source)
        self.reference.load(self.state)

    @property
    def losses(self):
        """The loss layers, in the order of the model's outputs."""
        losses = self.builder.loss
        if list(losses["coef"]) != [1, 1]:
            raise ValueError(f"{self.config}: the comparison wants coef: [1, 1], got {losses['coef']}")
        return losses["types"]

    def ours_named(self, tensors):
        """A reference's dict under our names; what we have no use for is left out."""
        renamed = {rename_key(name, self.reference.source): array for name, array in tensors.items()}
        renamed.pop(None, None)
        return renamed

    def batch(self, shape, seed):
        """Images, labels and training points."""
        coords = parity.random_coords(shape[0], self.reference.num_train_points, seed)
        labels = parity.smooth_labels(shape, self.reference.num_classes, seed)
        return parity.smooth_image(shape, seed), labels, coords


def build_pair(reference, config=None, detectron2=None):
    """A Pair of the named reference ("mmseg" or "detectron2"); config is our YAML file, None for the ResNet-101 one."""
    if reference == "detectron2":
        return Pair(torch_references.Detectron2Reference(detectron2), config or CONFIGS / DETECTRON2_CONFIG)
    config = pathlib.Path(config or CONFIGS / next(iter(MMSEG_CONFIGS)))
    name = "/".join(config.resolve().parts[-2:])
    if name not in MMSEG_CONFIGS:
        raise ValueError(f"{name}: mmsegmentation's config is known for {', '.join(MMSEG_CONFIGS)} only")
    return Pair(torch_references.MMSegReference(MMSEG_CONFIGS[name]), config)


def compare_evaluation(pair, shape, seed=0):
    """Errors of every stage in evaluation: stage -> measures.

    Points are compared as sets, because points that are unsure alike may come in another order, and their features and
    logits where both sides chose them.
    """
    images = parity.smooth_image(shape, seed)
    theirs, ours = pair.reference.evaluate(images), parity.paddle_stages(pair.model, images)
    if list(ours) != list(theirs):
        raise ValueError(f"the sides have different stages: {list(ours)} and {list(theirs)}")
    return {stage: _stage_errors(ours, theirs, stage) for stage in theirs}


def _stage_errors(ours, theirs, stage):
    step, _, name = stage.partition(".")
    if name == "indices":
        share = parity.share_of_common(ours[stage], theirs[stage])
        return {"shape": list(theirs[stage].shape), "share_common": share}
    if stage == "argmax":
        return {"shape": list(theirs[stage].shape), "share_different": float((ours[stage] != theirs[stage]).mean())}
    if name in ("coords", "fine", "coarse", "logits"):
        shape = list(theirs[stage].shape)
        return parity.map_errors(*parity.aligned_points(ours, theirs, step, name)) | {"shape": shape}
    return parity.map_errors(ours[stage], theirs[stage])


def compare_training(pair, shape, seed=1):
    """One training step: the losses, every gradient, every running statistic. Dict of dicts."""
    pair.renew(calm=True)
    batch = pair.batch(shape, seed)
    their_losses, their_gradients = pair.reference.train_step(*batch)
    with _sizes_of_batch_norms(pair.model) as sizes:
        our_losses, our_gradients = parity.paddle_train_step(pair.model, pair.losses, *batch)
    their_gradients = pair.ours_named(their_gradients)
    if set(their_gradients) != set(our_gradients):
        raise ValueError(f"gradients of one side only: {sorted(set(their_gradients) ^ set(our_gradients))}")
    gradients = {
        name: {
            "relative_l2": parity.relative_l2(our_gradients[name], theirs),
            "cosine": parity.cosine(our_gradients[name], theirs),
            "norm": float(np.linalg.norm(theirs)),
        }
        for name, theirs in their_gradients.items()
    }
    return {
        "losses": _losses(our_losses, their_losses),
        "gradients": gradients,
        "statistics": _compare_statistics(pair, sizes),
    }


def _losses(ours, theirs):
    names = ("coarse", "point")
    return {name: {"ours": a, "theirs": b, "relative": abs(a - b) / abs(b)} for name, a, b in zip(names, ours, theirs)}


def _compare_statistics(pair, sizes):
    """Running statistics after one step: as they are, and as two known differences of the reference explain them.

    Torch's running variance is the unbiased one, n / (n - 1) of Paddle's; and mmsegmentation runs the coarse head
    twice in a step, so that its statistics move twice.
    """
    ours = {name: tensor.numpy() for name, tensor in pair.model.state_dict().items()}
    first, theirs = pair.ours_named(pair.state), pair.ours_named(pair.reference.state())
    plain, explained = {}, {}
    for layer, size in sizes.items():
        twice = pair.reference.source == "mmseg" and layer.startswith("segmentor.head.")
        kept = 0.9**2 if twice else 0.9
        for part, factor in (("_mean", 1), ("_variance", size / (size - 1))):
            name = f"{layer}.{part}"
            of_batch = (ours[name].astype("float64") - 0.9 * first[name]) / 0.1
            expected = kept * first[name] + (1 - kept) * factor * of_batch
            plain[name] = parity.relative_l2(ours[name], theirs[name])
            explained[name] = parity.relative_l2(expected, theirs[name])
    return {"as_they_are": plain, "explained": explained}


class _sizes_of_batch_norms:  # noqa: N801  a context manager, used like a function
    """Inside, notes how many numbers each batch norm of a model averages over: layer's name -> count."""

    def __init__(self, model):
        self.layers = [(n, m) for n, m in model.named_sublayers() if isinstance(m, paddle.nn.BatchNorm2D)]
        self.sizes = {}

    def __enter__(self):
        self.hooks = [layer.register_forward_post_hook(self._note(name)) for name, layer in self.layers]
        return self.sizes

    def __exit__(self, *exception):
        for hook in self.hooks:
            hook.remove()

    def _note(self, name):
        def note(layer, inputs, output):
            self.sizes[name] = output.size // output.shape[1]

        return note


def compare_trajectory(pair, shape, steps=20, progress=print):
    """SGD steps of both recipes from just before the end of the warm-up, on the same batches and points.

    The layers that give logits start with the deviation that both references start one with, 0.01.

    Returns:
        Dict: the start, for each step losses and learning rates, and for each parameter the relative distance at the
        end, "parameters", and that distance in relation to how far the parameter moved, "movements".
    """
    pair.renew(calm=True, predictor_std=0.01)
    start = pair.reference.warmup_iters - BEFORE_WARMUP_ENDS
    their_step, our_step = pair.reference.sgd(start), _paddle_sgd(pair, start)
    rows = []
    for i in range(steps):
        batch = pair.batch(shape, 100 + i)
        their_losses, their_lr = their_step(*batch)
        our_losses, our_lr = our_step(*batch)
        rows.append(_losses(our_losses, their_losses) | {"our_lr": our_lr, "their_lr": their_lr})
        worst = max(rows[-1][name]["relative"] for name in ("coarse", "point"))
        progress(f"  step {start + i}: losses {our_losses[0]:.4f} {our_losses[1]:.4f}, relative error {worst:.1e}")
    first, theirs = pair.ours_named(pair.state), pair.ours_named(pair.reference.state())
    ours = {name: p.numpy() for name, p in pair.model.named_parameters() if not p.stop_gradient}
    return {
        "start": start,
        "steps": rows,
        "parameters": {name: parity.relative_l2(ours[name], theirs[name]) for name in ours},
        "movements": {name: parity.relative_l2(ours[name] - first[name], theirs[name] - first[name]) for name in ours},
    }


def _paddle_sgd(pair, start):
    """The recipe of the config at an iteration: a function (images, labels, coords) -> (losses, lr)."""
    optimizer, losses = pair.builder.optimizer, pair.losses
    for _ in range(start):
        pair.builder.lr_scheduler.step()

    def step(*batch):
        lr = optimizer.get_lr()
        coarse, point = parity.paddle_losses(pair.model, losses, *batch)
        (coarse + point).backward()
        optimizer.step()
        pair.builder.lr_scheduler.step()
        pair.model.clear_gradients()
        return (float(coarse), float(point)), lr

    return step


def compare_preprocessing(pair, size=(200, 312), seed=2):
    """A raw image through each side's own preprocessing: errors of the logits.

    Ours is the validation transforms of the config, but for those that resize the image.
    """
    from paddleseg.transforms import Compose

    pair.renew()
    image = parity.smooth_image((1, *size), seed)[0].transpose(1, 2, 0)
    image = np.clip(image * 50 + 120, 0, 255).astype("uint8")
    transforms = [t for t in pair.builder.val_transforms if "Resize" not in type(t).__name__]
    prepared = Compose(transforms)({"img": image.copy()})["img"].astype("float32")[None]
    pair.model.eval()
    with paddle.no_grad():
        ours = pair.model(paddle.to_tensor(prepared))[0].numpy()
    return parity.map_errors(ours, pair.reference.predict_raw(image)[None])


def compare_sampling(pair, seed=3):
    """The share of equal training points when both sides draw the same random numbers."""
    count, num_points = 2, pair.reference.num_train_points
    logits = parity.smooth_image((count * pair.reference.num_classes, 32, 64), seed)[:, 0]
    logits = logits.reshape(count, pair.reference.num_classes, 32, 64)
    candidates = parity.random_coords(count, 3 * num_points, seed)
    uniform = parity.random_coords(count, num_points - int(0.75 * num_points), seed + 1)
    theirs = pair.reference.sampled_points(logits, candidates, uniform, num_points)
    numbers = [paddle.to_tensor(candidates), paddle.to_tensor(uniform)]
    with mock.patch.object(paddle, "rand", side_effect=numbers):
        ours = sample_training_points(paddle.to_tensor(logits), num_points).numpy()
    sets = [{tuple(point) for point in side[i]} for i in range(count) for side in (ours, theirs)]
    return float(np.mean([len(a & b) / num_points for a, b in zip(sets[::2], sets[1::2])]))


def worst_figures(report):
    """What BOUNDS bounds: name -> the worst figure of the report's parts."""
    figures = {}
    if report.get("evaluation"):
        logits = [stages["logits"] for stages in report["evaluation"].values()]
        figures["pixels beyond 2e-5 deviations"] = max(1 - row["share_within"] for row in logits)
        classes = [stages["argmax"]["share_different"] for stages in report["evaluation"].values()]
        figures["pixels of another class"] = max(classes)
    if report.get("training"):
        gradients = report["training"]["gradients"].values()
        figures["loss"] = max(row["relative"] for row in report["training"]["losses"].values())
        figures["gradient"] = max(row["relative_l2"] for row in gradients)
        figures["1 - cosine of gradient"] = max(1 - row["cosine"] for row in gradients)
    if report.get("trajectory"):
        steps = report["trajectory"]["steps"]
        figures["loss in trajectory"] = max(row[name]["relative"] for row in steps for name in ("coarse", "point"))
        figures["parameter after trajectory"] = max(report["trajectory"]["parameters"].values())
    return figures


def broken_bounds(report):
    """A sentence for each bound of BOUNDS that the report breaks; a figure that is not a number breaks it too."""
    figures = worst_figures(report)
    return [
        f"{name}: {figure:.2e}, allowed {BOUNDS[name]:.0e}"
        for name, figure in figures.items()
        if not figure <= BOUNDS[name]
    ]


def run(pair, shapes, train_shape, steps):
    """The whole report."""
    report = {"reference": pair.reference.source, "config": pair.config.name, "bounds": BOUNDS, "evaluation": {}}
    for shape in shapes:
        title = "x".join(map(str, shape))
        print(f"evaluation {title} ...", flush=True)
        report["evaluation"][title] = compare_evaluation(pair, shape)
        print(evaluation_table(report["evaluation"][title]), flush=True)
    print("preprocessing and sampling ...", flush=True)
    report["preprocessing"] = compare_preprocessing(pair)
    report["sampling"] = compare_sampling(pair)
    print(f"one training step, {'x'.join(map(str, train_shape))} ...", flush=True)
    report["training"] = compare_training(pair, train_shape)
    print(f"trajectory of {steps} steps ...", flush=True)
    report["trajectory"] = compare_trajectory(pair, train_shape, steps) if steps else None
    report["figures"] = worst_figures(report)
    return report


def evaluation_table(stages):
    """Text, one line a stage."""
    lines = [f"  {'stage':<15} {'shape':<22} {'max error':>10} {'relative':>10} {'rel. L2':>10}  within 2e-5"]
    for stage, row in stages.items():
        shape = "x".join(map(str, row["shape"]))
        if "share_within" in row:
            errors = f"{row['max_error']:10.1e} {row['max_relative']:10.1e} {row['relative_l2']:10.1e}"
            lines.append(f"  {stage:<15} {shape:<22} {errors}  {100 * row['share_within']:.4f} %")
        elif "share_common" in row:
            lines.append(f"  {stage:<15} {shape:<22} {100 * row['share_common']:.4f} % of the points in common")
        else:
            lines.append(f"  {stage:<15} {shape:<22} {100 * row['share_different']:.4f} % of the pixels differ")
    return "\n".join(lines)


def training_summary(report):
    """Text: what is not in the tables of evaluation."""
    lines = [
        f"preprocessing of a raw image: {report['preprocessing']['max_relative']:.1e} deviations at most",
        f"training points chosen alike from the same random numbers: {100 * report['sampling']:.2f} %",
    ]
    training, trajectory = report["training"], report["trajectory"]
    for name, row in training["losses"].items():
        lines.append(
            f"{name} loss: {row['ours']:.6f}, theirs {row['theirs']:.6f}, relative error {row['relative']:.1e}"
        )
    gradients = training["gradients"]
    worst = max(gradients, key=lambda name: gradients[name]["relative_l2"])
    median = np.median([row["relative_l2"] for row in gradients.values()])
    lines.append(f"gradients of {len(gradients)} parameters: median {median:.1e}, worst {worst} {gradients[worst]}")
    for name, errors in training["statistics"].items():
        if errors:
            lines.append(f"running statistics {name.replace('_', ' ')}: worst {max(errors.values()):.1e}")
    if trajectory:
        rates = max(abs(row["our_lr"] / row["their_lr"] - 1) for row in trajectory["steps"])
        movements = sorted(trajectory["movements"].values())
        worst = max(trajectory["parameters"], key=trajectory["parameters"].get)
        lines += [
            f"worst parameter after the trajectory: {worst}, {trajectory['parameters'][worst]:.1e}",
            f"learning rates of the trajectory: relative difference at most {rates:.1e}",
            f"movement of the parameters: median {np.median(movements):.1e}, worst {movements[-1]:.1e}",
        ]
    lines += [f"{name}: {value:.2e} (allowed {BOUNDS[name]:.0e})" for name, value in report["figures"].items()]
    return "\n".join(lines)


def draw(report, path):
    """The relative error of every stage, of every gradient and along the trajectory, as one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (stages, gradients, losses) = plt.subplots(1, 3, figsize=(16, 5), gridspec_kw={"width_ratios": [3, 2, 2]})
    for title, rows in report["evaluation"].items():
        known = {stage: row for stage, row in rows.items() if "relative_l2" in row and not stage.endswith("coords")}
        stages.semilogy(list(known), [row["relative_l2"] for row in known.values()], "o-", label=title)
    stages.set(title="Evaluation: relative L2 error of each stage")
    stages.tick_params(axis="x", rotation=90)
    stages.legend()
    errors = sorted(row["relative_l2"] for row in report["training"]["gradients"].values())
    gradients.semilogy(errors, label="parameters, sorted")
    gradients.axhline(BOUNDS["gradient"], color="grey", linestyle="--", label="allowed")
    gradients.set(title="Training: relative L2 error of gradients", xlabel="parameter")
    gradients.legend()
    for name in ("coarse", "point") if report["trajectory"] else ():
        rows = report["trajectory"]["steps"]
        # An error of zero has no place on a log scale.
        losses.semilogy([max(row[name]["relative"], 1e-9) for row in rows], label=f"{name} loss")
    losses.axhline(BOUNDS["loss in trajectory"], color="grey", linestyle="--", label="allowed")
    losses.set(title="Trajectory: relative error of the losses", xlabel="step")
    losses.legend()
    figure.suptitle(f"{report['config']} against {report['reference']}, random weights, float32, CPU")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", choices=("mmseg", "detectron2"), required=True)
    parser.add_argument("--config", type=pathlib.Path, help="our YAML file; default: the ResNet-101 of Cityscapes")
    parser.add_argument("--detectron2", type=pathlib.Path, help="a checkout of detectron2")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="evaluate this size only")
    parser.add_argument("--batch", type=int, default=1, help="images in the batch of --size")
    parser.add_argument("--train_size", type=int, nargs=2, metavar=("H", "W"), default=TRAINED[1:])
    parser.add_argument("--steps", type=int, default=20, help="of the trajectory; 0 leaves it out")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output/parity"))
    args = parser.parse_args(argv)
    if args.reference == "detectron2" and args.detectron2 is None:
        parser.error("--reference detectron2 needs --detectron2 FOLDER, a checkout of its repository")
    args.output.mkdir(parents=True, exist_ok=True)
    files = {kind: args.output / f"{args.reference}.{kind}" for kind in ("json", "png")}
    for file in files.values():
        check_writable(file)
    shapes = [(args.batch, *args.size)] if args.size else EVALUATED
    pair = build_pair(args.reference, args.config, args.detectron2)
    report = run(pair, shapes, (TRAINED[0], *args.train_size), args.steps)
    print(training_summary(report))
    write_json(files["json"], json.loads(json.dumps(report, default=str)))
    draw(report, files["png"])
    print(f"wrote {files['json']} and {files['png']}")
    broken = broken_bounds(report)
    for sentence in broken:
        print(f"BROKEN {sentence}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
