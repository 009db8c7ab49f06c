"""Trained weights exported, on every runtime, against eager Paddle: logits and labels on a val set.

    python scripts/compare_runtimes.py --config configs/camvid/pointrend_semantic_fpn_resnet18_stride8.yml \
        --model_path output/camvid/stride8/iter_600/model.pdparams

Runs every image of the config's val_dataset through eager Paddle and through the exported network, refined and coarse
alone, on each runtime that is installed, and writes a table and a JSON file.
"""

import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import numpy as np
import paddle
from exports import export_coarse
from reports import write_report
from tqdm import tqdm

from paddle_pointrend.cli.common import build
from paddle_pointrend.cli.inference import load_trained_model
from paddle_pointrend.export import export_model
from paddle_pointrend.runtimes import FORMATS, installed_runtimes, load_runtime

PARTS = ("coarse", "refined")


def load_all(model, names, folder):
    """(runtime, part) -> the runtime, of the network exported to `folder` in the formats that they read."""
    for file_format in {FORMATS[name] for name in names}:
        export_coarse(model, folder / f"coarse-{file_format}", format=file_format)
        export_model(model, folder / f"refined-{file_format}", format=file_format)
    return {(name, part): load_runtime(name, folder / f"{part}-{FORMATS[name]}") for name in names for part in PARTS}


def compare(model, runtimes, dataset):
    """A record for each runtime and part: the largest difference of logits, and the pixels whose labels differ."""
    records = {key: {"max_difference": 0.0, "different": 0, "pixels": 0} for key in runtimes}
    for i in tqdm(range(len(dataset)), unit="image"):
        images = dataset[i]["img"][None].astype("float32")
        with paddle.no_grad():
            expected = dict(zip(PARTS, (logits.numpy() for logits in model.predict_both(paddle.to_tensor(images)))))
        for (name, part), run in runtimes.items():
            got, record = run(images), records[name, part]
            record["max_difference"] = max(record["max_difference"], float(np.abs(got - expected[part]).max()))
            record["different"] += int((got.argmax(axis=1) != expected[part].argmax(axis=1)).sum())
            record["pixels"] += got[0, 0].size
    return [{"runtime": name, "part": part, **record} for (name, part), record in records.items()]


def table(records):
    """The records as Markdown."""
    lines = ["| runtime | network | largest difference of logits | pixels of another label | share |"]
    lines.append("|---|---|---|---|---|")
    for record in records:
        pixels = f"{record['different']} of {record['pixels']}"
        share = f"{record['different'] / record['pixels']:.1e}"
        lines.append(
            f"| {record['runtime']} | {record['part']} | {record['max_difference']:.1e} | {pixels} | {share} |"
        )
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    names = [name for name in installed_runtimes() if name in FORMATS]
    parser.add_argument("--runtimes", nargs="+", choices=FORMATS, default=names)
    parser.add_argument("--save_dir", type=pathlib.Path, default=pathlib.Path("output/compare_runtimes"))
    args = parser.parse_args(argv)
    args.save_dir.mkdir(parents=True, exist_ok=True)
    _, builder, model = load_trained_model(args)
    dataset = build(builder, args.config, "val_dataset")
    with tempfile.TemporaryDirectory() as folder:
        records = compare(model, load_all(model, args.runtimes, pathlib.Path(folder)), dataset)
    write_report(args.save_dir, "compare_runtimes", records, table(records))


if __name__ == "__main__":
    main()
