"""Modules that stand in for what is imported and not called."""

import importlib.abc
import importlib.machinery
import types

# Imported by detectron2, not called by its semantic segmentation; replaced where they are not installed.
_REPLACEABLE = ("torchvision", "pycocotools", "omegaconf", "hydra", "cloudpickle", "tabulate", "tensorboard")


class Placeholder(types.ModuleType):
    """A module that has every name; what it has can be a base class or a decorator, but not be used."""

    __path__ = ()
    __version__ = "0.20.0"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__module__": self.__name__})


class PlaceholderFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last, so that an installed module is preferred."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in _REPLACEABLE or name == "detectron2._C":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Placeholder(spec.name)

    def exec_module(self, module):
        pass
