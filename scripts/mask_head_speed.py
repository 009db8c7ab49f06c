"""Time and memory of PointRend's mask head beside detectron2's, on the same boxes of one image.

    python scripts/mask_head_speed.py --detectron2 path/to/a/checkout

Random features and weights, 80 classes, boxes of 20 to 400 pixels in an image of 800x1088. Both heads are timed in
turns in one process, by the time that the processor spends on it and by the clock. Memory is how much a process of its
own grows while the head runs. Needs what compare_detectron2_instances.py needs.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from measuring.timing import alternate, quartiles

HEIGHT, WIDTH, STRIDE, CHANNELS, NUM_CLASSES = 800, 1088, 4, 256, 80


def inputs(num_boxes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws P2 [1, C, h, w], boxes [D, 4] and classes [D]."""
    random = np.random.default_rng(seed)
    shape = (1, CHANNELS, HEIGHT // STRIDE, WIDTH // STRIDE)
    centres = random.uniform(0.1, 0.9, (num_boxes, 2)) * [WIDTH, HEIGHT]
    halves = np.exp(random.uniform(np.log(10), np.log(200), (num_boxes, 2)))
    boxes = np.concatenate([centres - halves, centres + halves], axis=1).clip(0, [WIDTH, HEIGHT] * 2)
    classes = random.integers(0, NUM_CLASSES, num_boxes)
    return random.standard_normal(shape, dtype="float32"), boxes.astype("float32"), classes


def our_head(p2: np.ndarray, boxes: np.ndarray, classes: np.ndarray) -> Callable[[], object]:
    """Makes a function that predicts with our head."""
    import paddle

    from paddle_pointrend.models import PointRendMaskHead

    head = PointRendMaskHead(NUM_CLASSES)
    head.eval()
    features, boxes, classes = (paddle.to_tensor(array) for array in (p2, boxes, classes))
    return lambda: head.predict([features], boxes, [len(boxes)], classes)


def their_head(p2: np.ndarray, boxes: np.ndarray, classes: np.ndarray, folder: str) -> Callable[[], object]:
    """Makes a function that predicts with detectron2's head."""
    import torch
    from torch_parity.detectron2_instances import InstanceReference

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    head = InstanceReference(folder, "pointrend_r50").heads.mask_head
    from detectron2.structures import Boxes, Instances

    def predict():
        instances = Instances((HEIGHT, WIDTH))
        instances.pred_boxes, instances.pred_classes = Boxes(torch.from_numpy(boxes)), torch.from_numpy(classes)
        with torch.no_grad():
            return head({"p2": torch.from_numpy(p2)}, [instances])

    return predict


def measure_memory(side: str, num_boxes: int, folder: str, queue: multiprocessing.Queue) -> None:
    """Puts into the queue by how many megabytes this process grows while a head runs."""
    given = inputs(num_boxes)
    predict = our_head(*given) if side == "ours" else their_head(*given, folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predict()
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def measure_time(heads: Sequence[Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Times heads in turns: what is measured -> seconds [repeats, len(heads)]."""
    spent: list[list[float]] = [[] for _ in heads]

    def noting(predict: Callable[[], object], seconds: list[float]) -> Callable[[], None]:
        def call() -> None:
            start = time.process_time()
            predict()
            seconds.append(time.process_time() - start)

        return call

    by_clock = alternate([noting(head, seconds) for head, seconds in zip(heads, spent)], repeats)
    return {"processor's time": np.array(spent).T[-repeats:], "time by the clock": by_clock}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectron2", default=os.environ.get("DETECTRON2"), help="a checkout; default: $DETECTRON2")
    parser.add_argument("--boxes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    if args.detectron2 is None:
        parser.error("--detectron2 FOLDER is needed, a checkout of its repository")
    context, memory = multiprocessing.get_context("spawn"), {}
    for side in ("ours", "theirs"):
        queue = context.Queue()
        process = context.Process(target=measure_memory, args=(side, args.boxes, args.detectron2, queue))
        process.start()
        memory[side] = queue.get()
        process.join()
        print(f"memory, {side}: {memory[side]:.0f} MB", flush=True)
    given = inputs(args.boxes)
    heads = [our_head(*given), their_head(*given, args.detectron2)]
    for name, seconds in measure_time(heads, args.repeats).items():
        ours, theirs = seconds.T
        print(f"{name} of {args.boxes} boxes, seconds, median (quartiles): ours {quartiles(ours)}", end=", ")
        print(f"theirs {quartiles(theirs)}; ours / theirs {quartiles(ours / theirs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
