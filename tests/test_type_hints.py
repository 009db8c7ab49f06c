"""Every public function and method has type hints, those that a folder's `__all__` names."""

import importlib
import inspect
import pathlib

import pytest

import paddle_pointrend

PACKAGE = pathlib.Path(paddle_pointrend.__file__).parent
ROOMS = sorted({path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()} | {"losses", "files"})


def public_functions(room):
    """Yields the functions of a module's __all__, and the methods of its classes."""
    module = importlib.import_module(f"paddle_pointrend.{room}")
    for name in getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")]):
        thing = getattr(module, name)
        members = vars(thing).items() if inspect.isclass(thing) else [(name, thing)]
        for member, function in members:
            function = getattr(function, "__func__", getattr(function, "fget", function))  # class methods, properties
            function = inspect.unwrap(function) if callable(function) else function
            is_ours = inspect.isfunction(function) and function.__code__.co_filename.startswith(str(PACKAGE))
            if is_ours and (not member.startswith("_") or member == "__init__"):
                yield function


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_have_type_hints(room):
    missing = {}
    for function in public_functions(room):
        name, hints = f"{function.__module__}.{function.__qualname__}", function.__annotations__
        wanted = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
        wanted += ["return"] if function.__name__ != "__init__" else []
        if not set(wanted) <= set(hints):
            missing[name] = [part for part in wanted if part not in hints]
    assert not missing
