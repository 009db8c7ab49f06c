"""Errors of exported networks, each a ValueError whose message says why and what to do."""


class RuntimeLoadError(ValueError):
    """An exported folder or a runtime that cannot be used."""


class ExportError(ValueError):
    """A model that cannot be exported, or whose export does not compute what the model does."""


class ImageSizeError(ValueError):
    """Images of a size that a runtime cannot run a network on."""
