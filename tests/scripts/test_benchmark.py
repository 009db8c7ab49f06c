"""scripts/benchmark.py: arithmetic and tables on given seconds, its processes, and that both sides compute the same."""

import json
import pathlib

import benchmark
import numpy as np
import pytest
from benchmarking import networks, results, sections, torch_networks, workers
from benchmarking import report as benchmark_report
from tqdm import tqdm

PNG = b"\x89PNG"


def _record(entry, seconds, *, group=0, shape=(1, 512, 1024), points=None, peak=2e9, cold=False, error=None):
    return {
        "entry": entry,
        "shape": list(shape),
        "points": points,
        "group": group,
        "seconds": seconds,
        "warmup": 9.0,
        "cold": cold,
        "loaded_bytes": 1e9,
        "peak_bytes": peak,
        "error": error,
    }


def _section(records):
    machine = {"date": "2026-01-01", "cpu": "a processor", "load": 0.5, "versions": {"numpy": "1.26.4"}}
    return {"machine": machine, "settings": {"network": "r101_cityscapes", "threads": 2}, "records": records}


def _runtimes():
    return [
        _record("mmsegmentation", [1.0, 2.0, 3.0]),
        _record("openvino", [0.4, 0.8, 1.8]),
        _record("coarse openvino", [0.38, 0.77, 1.75]),
        _record("mmsegmentation", [1.0, 1.0, 2.0], group=1, peak=3e9),
        _record("onnxruntime", [0.7, 0.6, 1.0], group=1),
        _record("coarse onnxruntime", [0.5, 0.5, 0.5], group=1),
        _record("paddle", [8.0, None, None], group=1, cold=True),
        _record("paddleseg", [None] * 3, group=1, peak=None, error="MemoryError: no"),
    ]


def _refinement(shape, scale, points=8196):
    values = {"mmsegmentation": 0.2, "paddle": 0.1, "openvino": 0.5, "coarse openvino": 0.45}
    return [
        _record(entry, [scale * value, 2 * scale * value], group=i // 2, shape=shape, points=points)
        for i, (entry, value) in enumerate(values.items())
    ]


@pytest.fixture
def report():
    fidelity = {"entry": "openvino", "shape": [8, 512, 1024], "error": None}
    values = {"max_difference": 3e-5, "labels_different": 2e-5}
    sizes = {(1, 512, 1024): 1, (1, 1024, 2048): 4}
    return {
        "runtimes": _section(_runtimes()),
        "fidelity": _section([{**fidelity, "part": part, **values} for part in ("coarse", "pointrend")]),
        "refinement": _section([record for size in sizes.items() for record in _refinement(*size)]),
        "points": _section([record for i in (1, 4) for record in _refinement((1, 512, 1024), i, 1024 * i)]),
        "training": _section([_record("mmsegmentation", [2.0, 4.0]), _record("paddle", [3.0, 5.0], peak=5e9)]),
    }


def test_ratios_are_taken_within_a_round_and_a_group():
    rows = {row["entry"]: row for row in benchmark_report.runtime_rows(_runtimes())}
    assert rows["openvino"]["ratio"] == pytest.approx((0.4, 0.4, 0.5))
    assert rows["onnxruntime"]["ratio"] == pytest.approx((0.55, 0.6, 0.65))
    assert rows["mmsegmentation"]["ratio"] == (1, 1, 1)
    assert rows["mmsegmentation"]["rounds"] == 6 and rows["mmsegmentation"]["peak_bytes"] == 3e9
    assert rows["paddle"]["ratio"][1] == 8 and rows["paddle"]["rounds"] == 1 and rows["paddle"]["cold"]
    assert rows["paddleseg"]["ratio"] is None and rows["paddleseg"]["error"] == "MemoryError: no"


def test_refinement_is_what_it_adds_to_the_coarse_network_of_its_runtime():
    shares = benchmark_report.share_rows(_runtimes())
    assert shares["openvino"][1] == pytest.approx(0.8 / 0.77 - 1)
    assert set(shares) == {"openvino", "onnxruntime"}
    seconds = benchmark_report.refinement_seconds(_refinement((1, 512, 1024), 1))
    np.testing.assert_allclose(seconds["openvino"], [0.05, 0.1])
    assert list(seconds) == ["mmsegmentation", "paddle", "openvino"]
    failed = [
        {**record, "seconds": [None] * 2} if record["entry"].startswith("coarse ") else record
        for record in _refinement((1, 512, 1024), 1)
    ]
    assert list(benchmark_report.refinement_seconds(failed)) == ["mmsegmentation", "paddle"]


def test_growth_is_the_exponent_of_time_in_pixels(report):
    assert benchmark_report.growth(report["refinement"]) == pytest.approx(
        {"mmsegmentation": 1.0, "paddle": 1.0, "openvino": 1.0}
    )


def test_report_is_written_and_reads_back(report, tmp_path):
    results.save(report, tmp_path)
    assert json.loads((tmp_path / "benchmark.json").read_text()) == report
    assert [path.read_bytes()[:4] for path in tmp_path.glob("*.png")] == [PNG]
    text = (tmp_path / "benchmark.md").read_text()
    assert "|  | 1x512x1024: time / mmsegmentation's | refinement adds | peak GB | other labels |" in text
    assert "| openvino | 0.40 (0.40 to 0.50) | 4% | 2.00 | 2e-05 |" in text
    assert "| onnxruntime | 0.60 (0.55 to 0.65) | 40% | 2.00 | - |" in text
    assert "| paddle | 8.00 (8.00 to 8.00) (cold) | - | 2.00 | - |" in text
    assert "| paddleseg | MemoryError: no | - | - | - |" in text
    assert "\n| coarse " not in text
    assert "mmsegmentation, 1x512x1024: 1.50 (1.00 to 2.00) s, 6 rounds." in text
    refinement = "- refinement of 1x512x1024, 1024 points a step: mmsegmentation 300 (250 to 350) ms; paddle 150"
    assert refinement in text and "paddle / mmsegmentation 0.50 (0.50 to 0.50)" in text
    assert "- training step of 1x512x1024, paddle: 4.00 (3.50 to 4.50) s, 1.38 (1.31 to 1.44) of" in text
    assert "runtimes, fidelity, refinement, points, training: numpy 1.26.4." in text


def test_the_page_is_made_of_its_json(tmp_path, capsys):
    docs = pathlib.Path(__file__).resolve().parents[2] / "docs"
    assert benchmark.main(["--from_json", str(docs / "benchmarks.json"), "--save_dir", str(tmp_path)]) == 0
    text = (tmp_path / "benchmark.md").read_text()
    assert text in capsys.readouterr().out and (tmp_path / "benchmark.png").read_bytes()[:4] == PNG
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) > 5 and "\n".join(table) in (docs / "benchmarks.md").read_text()


def test_a_report_of_failures_only_is_written(tmp_path):
    failed = [_record(entry, [None, None], peak=None, error="no") for entry in ("mmsegmentation", "openvino")]
    results.save({name: _section(failed) for name in ("runtimes", "refinement", "training")}, tmp_path)
    text = (tmp_path / "benchmark.md").read_text()
    assert "| openvino | no | - | - | - |" in text and "openvino: no" in text


def test_groups_have_the_reference_and_keep_units_whole():
    units = [["a", "coarse a"], ["b"], ["c"], ["d"]]
    assert sections.grouped(units, 3) == [["mmsegmentation", *group] for group in (["a", "coarse a"], "bc", "d")]
    assert sections.grouped(units, 1) == [["mmsegmentation", *unit] for unit in units]
    assert sections.grouped(units, 9) == [["mmsegmentation", "a", "coarse a", "b", "c", "d"]]


def test_differences_of_logits_and_labels():
    theirs = np.zeros((2, 2, 1, 4), "float32")
    theirs[:, 1] = 1
    ours = theirs + np.float32(0.25)
    ours[0, 0, 0, 0] = 3
    assert sections.differences(ours, theirs) == {"max_difference": 3.0, "labels_different": 0.125}


class _FakeWorker:
    """A worker whose runs take as long as its entry's name says; "broken" fails in its second run."""

    loaded_bytes, peak_bytes = 10, 20
    runs = ()

    def __init__(self, spec, log):
        self.name, self.count = spec["entry"], 0
        if self.name == "absent":
            raise workers.WorkerError("it is not there")

    def run(self):
        self.count += 1
        self.runs.append(self.name)
        if self.name == "broken" and self.count == 2:
            raise workers.WorkerError("it broke")
        return {"seconds": float(self.name) if self.name != "broken" else 1.0}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """The records of entries in three rounds with a budget of 10 seconds, by name; and the order of the runs."""

    def run(*entries):
        monkeypatch.setattr(workers, "Worker", _FakeWorker)
        monkeypatch.setattr(_FakeWorker, "runs", [])
        specs = [{"entry": entry, "shape": (1, 2, 3)} for entry in entries]
        with tqdm(disable=True) as progress:
            records = workers.measure(specs, 3, 10, tmp_path, progress)
        return {record["entry"]: record for record in records}, _FakeWorker.runs

    return run


def test_entries_run_alternately_and_in_both_directions(measured):
    records, runs = measured("1", "2")
    assert runs == ["1", "2", *"12", *"21", *"12"]
    assert records["2"]["seconds"] == [2, 2, 2] and records["2"]["warmup"] == 2
    assert (records["2"]["loaded_bytes"], records["2"]["peak_bytes"]) == (10, 20)


def test_slow_entries_leave_rounds_out(measured):
    records, runs = measured("1", "6", "11")
    assert records["6"]["seconds"] == [6, None, None] and not records["6"]["cold"]
    assert records["11"]["seconds"] == [11, None, None] and records["11"]["cold"]
    assert runs.count("11") == 1


def test_an_entry_that_fails_leaves_the_others_alone(measured):
    records, _ = measured("1", "broken", "absent")
    assert records["1"]["seconds"] == [1, 1, 1] and records["1"]["error"] is None
    assert records["broken"]["error"] == "it broke" and records["broken"]["warmup"] == 1
    assert records["absent"]["error"] == "it is not there" and records["absent"]["peak_bytes"] is None


def test_a_worker_that_fails_says_why(tmp_path):
    spec = {"task": "nothing", "entry": "x", "threads": 1}
    with pytest.raises(workers.WorkerError, match=r"AttributeError: .*'nothing'"):
        workers.Worker(spec, tmp_path / "log")
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_worker_runs_measures_and_saves(tmp_path):
    spec = {"task": "random_images", "entry": "x", "threads": 1}  # not a function of a spec
    with pytest.raises(workers.WorkerError):
        workers.run_once(spec, tmp_path / "log")
    networks.prepare_stub({"folder": str(tmp_path), "points": [16], "formats": []})
    spec = {"task": "refinement", "entry": "paddle", "threads": 1, "folder": str(tmp_path)}
    spec |= {"shape": (1, 32, 64), "points": 16}
    with workers.Worker(spec, tmp_path / "log") as worker:
        reply = worker.run(save=tmp_path / "refined.npy")
    assert reply["seconds"] > 0 and reply["peak_bytes"] >= worker.loaded_bytes > 1e7
    assert np.load(tmp_path / "refined.npy").shape == (1, 19, 32, 64)


def test_int8_entries_are_made_of_the_float32_export(tmp_path):
    for package in ("paddle2onnx", "onnxruntime", "ml_dtypes"):
        pytest.importorskip(package)
    networks.prepare_stub({"folder": str(tmp_path), "points": [16], "formats": ["onnx", "onnx-int8"]})
    spec = {"folder": str(tmp_path), "shape": (1, 32, 64), "points": 16, "threads": 1}
    exact, rounded = (networks.refinement({**spec, "entry": f"onnxruntime{kind}"})() for kind in ("", "-int8"))
    assert rounded.shape == exact.shape == (1, 19, 32, 64)
    assert 0 < np.abs(rounded - exact).mean() < 0.2 * exact.std()


def test_images_are_repeatable_and_about_normalised():
    images = networks.random_images((2, 65, 70))
    assert images.shape == (2, 3, 65, 70) and images.dtype == np.float32
    np.testing.assert_array_equal(images, networks.random_images((2, 65, 70)))
    assert 0.5 < images.std() < 2


def test_paddlesegs_own_pointrend_runs_after_its_patch():
    call = networks._eager(networks._paddleseg("ResNet50_vd"))
    logits = call(networks.random_images((1, 64, 128)))
    assert logits.shape == (1, 19, 64, 128) and np.isfinite(logits).all()


def test_sizes_are_checked(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--sizes", "512"])
    assert "expected HEIGHTxWIDTH" in capsys.readouterr().err


@pytest.mark.torch
def test_both_sides_refine_the_same_maps_alike(tmp_path):
    pytest.importorskip("mmseg")
    networks.prepare_stub({"folder": str(tmp_path), "points": [256], "formats": []})
    spec = {"folder": str(tmp_path), "shape": (1, 64, 128), "points": 256, "threads": 2}
    ours, theirs = (
        np.asarray(networks.refinement({**spec, "entry": entry})()) for entry in ("paddle", "mmsegmentation")
    )
    assert theirs.std() > 0.01
    far = np.abs(ours - theirs).max(axis=1) > 1e-4 * theirs.std()
    assert far.mean() < 1e-3


@pytest.mark.torch
def test_what_a_torch_user_gets_with_a_line_has_the_labels_of_eager(tmp_path):
    for package in ("mmseg", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    shape = (1, 64, 128)
    spec = {"folder": str(tmp_path), "network": "r50_cityscapes", "threads": 1, "shape": shape}
    networks.prepare({**spec, "formats": []})
    torch_networks.prepare_torch(spec)
    images = networks.random_images(shape)
    entries = ("mmsegmentation-channels-last", "mmsegmentation-onnxruntime", "mmsegmentation-openvino")
    for part in ("", "coarse "):
        eager = torch_networks.torch_network({**spec, "entry": f"{part}mmsegmentation"})(images)
        assert eager.shape == (1, 19, 64, 128)
        for entry in entries:
            logits = torch_networks.torch_network({**spec, "entry": part + entry})(images)
            assert sections.differences(logits, eager)["labels_different"] < 1e-3
            if part:  # at refined pixels rounding may choose another point
                np.testing.assert_allclose(logits, eager, atol=1e-3)


@pytest.mark.torch
@pytest.mark.parametrize("entry", ["mmsegmentation", "coarse paddle"])
def test_a_training_step_trains(entry, tmp_path):
    pytest.importorskip("mmseg")
    spec = {"entry": entry, "network": "r50_cityscapes", "threads": 1, "shape": (2, 64, 64)}
    step = networks.training(spec)
    losses = [step() for _ in range(2)]
    assert np.isfinite(losses).all() and losses[0] != losses[1]


@pytest.mark.slow
@pytest.mark.torch
def test_benchmark_runs_every_section_on_small_images(tmp_path, capsys):
    for package in ("mmseg", "openvino", "paddle2onnx"):
        pytest.importorskip(package)
    options = "--network r50_cityscapes --sizes 64x128 --resolutions 64x128 128x256 --points 64 --batches 2"
    options += " --entries openvino paddle-inference mmsegmentation-onnxruntime --rounds 2 --budget 5 --images 2"
    assert benchmark.main([*options.split(), "--save_dir", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert list(report) == ["runtimes", "fidelity", "refinement", "points", "training"]
    errors = [record["error"] for section in report.values() for record in section["records"]]
    assert errors == [None] * len(errors)
    assert all(record["labels_different"] < 1e-3 for record in report["fidelity"]["records"])
    coarse = [record for record in report["fidelity"]["records"] if record["part"] == "coarse"]
    assert len(coarse) == 3 and all(record["max_difference"] < 1e-3 for record in coarse)
    assert "| mmsegmentation-onnxruntime |" in capsys.readouterr().out


def test_another_run_replaces_what_it_measures_anew():
    def record(entry, group, seconds, shape=(1, 2, 3)):
        return {"entry": entry, "group": group, "seconds": seconds, "shape": list(shape), "points": None}

    reference = benchmark_report.REFERENCE
    old = [record(reference, 0, 1), record("paddle", 0, 2), record(reference, 1, 3), record("openvino", 1, 4)]
    new = [record(reference, 0, 5), record("paddle", 0, 6)]
    assert results.merged(old, new) == [*old[2:], record(reference, 2, 5), record("paddle", 2, 6)]
    other_size = [record(reference, 0, 7, (1, 4, 6)), record("paddle", 0, 8, (1, 4, 6))]
    assert [r["group"] for r in results.merged(old, other_size)] == [0, 0, 1, 1, 2, 2]
    fidelity = [{"shape": [1, 2, 3], "entry": "openvino", "part": part, "error": None} for part in ("coarse", "all")]
    assert results.merged(fidelity, [{**fidelity[1], "error": "x"}]) == [fidelity[0], {**fidelity[1], "error": "x"}]
