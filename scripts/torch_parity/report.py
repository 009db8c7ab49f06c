"""What compare_torch.py says of the comparisons: bounds, tables, a picture."""

import os

import numpy as np

BOUNDS = {  # docs/parity.md says what they mean
    "pixels beyond 2e-5 deviations": 1e-4,
    "pixels of another class": 1e-5,
    "loss": 1e-5,
    "gradient": 1e-3,
    "1 - cosine of gradient": 1e-5,
    "loss in trajectory": 1e-3,
    "parameter after trajectory": 1e-3,
}


def worst_figures(report: dict) -> dict[str, float]:
    """Finds what BOUNDS bounds: name -> the worst figure of the report's parts."""
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


def broken_bounds(report: dict) -> list[str]:
    """Writes a sentence for each of BOUNDS that the report breaks; a figure that is not a number breaks it too."""
    figures = worst_figures(report)
    return [
        f"{name}: {figure:.2e}, allowed {BOUNDS[name]:.0e}"
        for name, figure in figures.items()
        if not figure <= BOUNDS[name]
    ]


def evaluation_table(stages: dict[str, dict]) -> str:
    """Writes a text, one line a stage."""
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


def training_summary(report: dict) -> str:
    """Writes a text of what is not in the tables of evaluation."""
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


def draw(report: dict, path: str | os.PathLike) -> None:
    """Draws the relative error of every stage, of every gradient and along the trajectory, as one PNG."""
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
