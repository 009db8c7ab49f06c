"""The training profiler: its options, which iterations it records, its file and tables."""

import json
import re

import paddle
import pytest
from paddle.profiler import RecordEvent

from paddle_pointrend.paddleseg import profiler
from paddle_pointrend.paddleseg.profiler import ProfilerOptions, check_options, parse_options


@pytest.fixture(autouse=True)
def _no_earlier_training():
    profiler.forget()
    yield
    profiler.forget()


def test_options_are_those_of_paddleseg():
    text = "batch_range=[50, 60]; state=CPU; sorted_key=ave; tracer_option=OpDetail; profile_path=a b.json"
    expected = ProfilerOptions((50, 60), "CPU", "ave", "OpDetail", "a b.json", False)
    assert parse_options(text + "; exit_on_finished=No;") == expected
    assert parse_options("") == ProfilerOptions((10, 20), "All", "total", "Default", "/tmp/profile", True)
    assert parse_options("batch_range=0,3;exit_on_finished=T") == ProfilerOptions(batch_range=(0, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[10,20]", r"'\[10,20\]': expected key=value; key=value; ... with keys from batch_range, state"),
        ("range=[10,20]", "'range=.* with keys from batch_range"),
        ("batch_range=[10]", r"batch_range is '\[10\]', expected \[first,last\], two whole numbers"),
        ("batch_range=[1,2,3]", "batch_range is"),
        ("batch_range=[-1,2]", "batch_range is"),
        ("batch_range=[3,3]", "the first below the last"),
        ("state=cpu", "state is 'cpu', expected one of CPU, GPU, All"),
        ("sorted_key=calls", "sorted_key is 'calls', expected one of total, max, min, ave"),
        ("tracer_option=All", "tracer_option is 'All', expected one of Default, OpDetail, AllOpDetail"),
        ("state=CPU;profile_path=", "profile_path is '', expected the path of a file"),
        ("exit_on_finished=maybe", "exit_on_finished is 'maybe', expected true or false"),
    ],
)
def test_refuses_options_that_are_none(text, message):
    with pytest.raises(ValueError, match=message) as raised:
        parse_options(text)
    assert "\n" not in str(raised.value)


def test_refuses_a_range_beyond_the_training(tmp_path):
    options = ProfilerOptions((2, 4), profile_path=str(tmp_path / "profile.json"))
    check_options(options, 5)
    with pytest.raises(ValueError, match="batch_range ends at 4, which takes 5 iterations, and the training has 4"):
        check_options(options, 4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["missing/profile.json", "."])
def test_refuses_a_path_that_cannot_be_written(tmp_path, path):
    with pytest.raises(ValueError, match=f"profile_path: cannot write {tmp_path}"):
        check_options(ProfilerOptions((2, 4), profile_path=str(tmp_path / path)), 5)


def _train(options, iterations):
    """Iterations whose names, "iteration 1" and so on, stand in the timeline."""
    net = paddle.nn.Linear(4, 4)
    for i in range(1, iterations + 1):
        with RecordEvent(f"iteration {i}"):
            net(paddle.ones([2, 4])).tanh().mean().backward()
        profiler.add_profiler_step(options)


@pytest.mark.parametrize(("batch_range", "recorded"), [("[2,5]", [4, 5, 6]), ("[0,1]", [2])])
def test_records_the_iterations_that_paddleseg_would(tmp_path, capsys, batch_range, recorded):
    # PaddleSeg 2.8.0 starts the old profiler at its call of number batch_range[0], counted from 0, and stops it at
    # that of number batch_range[1]; its calls come after the iterations.
    path = tmp_path / "profile.json"
    with pytest.raises(SystemExit) as stop:
        _train(f"batch_range={batch_range}; profile_path={path}", 9)
    assert stop.value.code == 0
    events = [event for event in json.loads(path.read_text())["traceEvents"] if "name" in event]
    names = [event["name"].split("[")[0] for event in events]
    assert [name for name in names if name.startswith("iteration")] == [f"iteration {i}" for i in recorded]
    assert len([name for name in names if name.startswith("ProfileStep")]) == len(recorded)
    printed = capsys.readouterr().out
    first, last = recorded[0], recorded[-1]
    assert printed.splitlines()[-1].startswith(f"Profiled iterations {first} to {last} of this run. The timeline is in")
    assert str(path) in printed.splitlines()[-1]
    assert "Model Summary" in printed
    assert "tanh dygraph" in printed
    assert "Perf Summary" not in printed


def test_goes_on_where_it_should_not_exit_and_records_once(tmp_path, capsys):
    path = tmp_path / "profile.json"
    _train(f"batch_range=[1,2]; exit_on_finished=false; profile_path={path}", 6)
    assert capsys.readouterr().out.count("Profiled iterations 3 to 3") == 1
    profiler.forget()
    _train(f"batch_range=[1,2]; exit_on_finished=false; profile_path={path}", 6)
    assert "Profiled iterations 3 to 3" in capsys.readouterr().out


def test_without_options_nothing_is_recorded(capsys):
    _train(None, 3)
    assert capsys.readouterr().out == ""


# The numbers of a row: "tanh dygraph   3   0.12 / 0.04 / 0.05 / 0.03 / 9.10 ...": total, average, max, min, share.
_ROW = re.compile(r"^(\w+ dygraph|Global_\w+) +\d+ +([\d.]+) / ([\d.]+) / ([\d.]+) / ([\d.]+) / ", re.MULTILINE)


@pytest.mark.parametrize(("key", "column"), [("total", 1), ("ave", 2), ("max", 3), ("min", 4)])
def test_sorts_the_table_of_operators(tmp_path, capsys, key, column):
    options = f"batch_range=[1,4]; sorted_key={key}; exit_on_finished=false; profile_path={tmp_path / 'profile.json'}"
    _train(options, 6)
    rows = _ROW.findall(capsys.readouterr().out.split("Operator Summary")[1])
    times = [float(row[column]) for row in rows]
    assert len(times) > 3
    assert times == sorted(times, reverse=key != "min")  # Paddle's order


def test_details_of_operators(tmp_path, capsys):
    tables = {}
    for detail in ("Default", "OpDetail", "AllOpDetail"):
        profiler.forget()
        path = tmp_path / detail
        _train(f"batch_range=[1,2]; tracer_option={detail}; exit_on_finished=false; profile_path={path}", 4)
        tables[detail] = capsys.readouterr().out.split("Operator Summary")[1]
    assert "infer_meta" not in tables["Default"]
    assert "infer_meta" in tables["OpDetail"]
    assert "All threads merged" in tables["OpDetail"]
    assert "infer_meta" in tables["AllOpDetail"]
    assert "All threads merged" not in tables["AllOpDetail"]


def test_each_process_has_its_file(monkeypatch):
    options = ProfilerOptions(profile_path="/runs/profile.json")
    assert str(profiler._path_of_this_process(options)) == "/runs/profile.json"
    monkeypatch.setattr(paddle.distributed, "get_rank", lambda: 2)
    assert str(profiler._path_of_this_process(options)) == "/runs/profile.rank2.json"
