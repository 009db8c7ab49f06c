"""Who may import whom (docs/design.md). Imports inside functions count too; those for type checkers alone do not."""

import ast
import pathlib

import pytest

import paddle_pointrend

PACKAGE = pathlib.Path(paddle_pointrend.__file__).parent
# A folder or file of the package -> the others it may import.
LAYERS = {
    "files": (),
    "environment": (),
    "diagnosis": (),
    "errors": (),
    "option_checks": (),
    "run_state": ("errors",),
    "downloads": ("files", "errors"),
    "yaml_files": ("errors",),
    "points": ("option_checks",),
    "data": ("errors",),
    "losses": ("points",),
    "models": ("points", "downloads", "option_checks"),
    "evaluation": ("data", "files"),
    "inference": ("option_checks",),
    "convert": ("models",),
    "scenes": ("data", "files"),
    "paddleseg": (
        *("models", "losses", "data", "evaluation", "inference", "convert"),
        *("files", "errors", "downloads", "yaml_files", "run_state"),
    ),
    "deploy": ("models", "points", "evaluation", "inference", "data", "files", "environment", "errors", "yaml_files"),
    "app": ("deploy", "paddleseg", "models", "evaluation", "inference", "data", "errors"),
}
FREE = ("cli", "__init__", "__main__")
# (file, what it imports) -> why it may.
EXCEPTIONS = {
    ("deploy/predictor.py", "paddleseg"): "Predictor.from_config builds the network of a PaddleSeg config, when called",
}
# A package of others -> who may import it.
OUTSIDE = {
    "paddleseg": ("paddleseg", "cli"),
    "torch": ("convert",),
    "openvino": ("deploy",),
    "onnxruntime": ("deploy",),
    "paddle.inference": ("deploy",),
    "gradio": ("app",),
    "pydensecrf": ("inference",),
    "pycocotools": ("data", "evaluation"),
}


def imports(source):
    """Yields (line, full name) of every import; `from a import b` gives a.b."""
    nodes = [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}") for alias in node.names)
        is_for_type_checkers = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        nodes += node.orelse if is_for_type_checkers else ast.iter_child_nodes(node)


def wrong_imports(path, source):
    """Yields a sentence for each import that a file, a path inside the package, may not make."""
    room = path.split("/")[0].removesuffix(".py")
    may_import = LAYERS.get(room, ())
    for line, name in imports(source):
        place, parts = f"paddle_pointrend/{path}:{line}", name.split(".")
        if parts[0] == "paddle_pointrend" or name.startswith("."):
            target = parts[1] if parts[0] and len(parts) > 1 and parts[1] in (*LAYERS, *FREE) else "__init__"
            if not (room in FREE or target == room or target in may_import or (path, target) in EXCEPTIONS):
                yield f"{place}: {room} may not import {name}, only {', '.join(may_import) or 'nothing of ours'}"
        for other, rooms in OUTSIDE.items():
            if f"{name}.".startswith(f"{other}.") and room not in rooms:
                yield f"{place}: only {' and '.join(rooms)} may import {other}"


def test_every_folder_and_file_has_a_place():
    assert {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")} - {"__pycache__"} <= {*LAYERS, *FREE}


def test_imports_follow_the_layers():
    files = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    wrong = [sentence for path, source in files.items() for sentence in wrong_imports(path, source)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("path", "source", "words"),
    [
        ("points/a.py", "import cv2\nfrom paddle_pointrend.models import taps", "points/a.py:2: points may not import"),
        ("models/taps.py", "def f():\n    import paddle_pointrend.cli.train", "taps.py:2: models may not import"),
        ("models/taps.py", "from paddle_pointrend import PointRendSeg", "taps.py:1: models may not import"),
        ("models/taps.py", "from . import weights", "taps.py:1: models may not import"),
        ("losses.py", "from paddleseg.models import losses", "losses.py:1: only paddleseg and cli may import"),
        ("data/a.py", "from paddle import inference", "data/a.py:1: only deploy may import paddle.inference"),
        ("deploy/export.py", "from paddle_pointrend.paddleseg import models", "export.py:1: deploy may not import"),
        ("deploy/predictor.py", "from paddle_pointrend.paddleseg import models", None),
        ("cli/val.py", "import paddleseg\nfrom paddle_pointrend import scenes", None),
        ("convert/a.py", "if TYPE_CHECKING:\n    import onnxruntime\nimport torch.nn", None),
    ],
)
def test_a_wrong_import_is_named(path, source, words):
    found = list(wrong_imports(path, source))
    assert len(found) == (words is not None)
    assert words is None or words in found[0]
