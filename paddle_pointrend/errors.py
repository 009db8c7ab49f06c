"""The error of a mistake in what was asked, and messages on one line."""


class UsageError(ValueError):
    """A mistake in what was asked: a file, a config, an argument.

    The message is one line that says what is wrong, what was expected and, where one is known, the fix. The command
    line prints it and exits with 2; anything else that is raised is a fault of the program.
    """


def one_line(error: BaseException) -> str:
    """Writes an exception's message without line breaks; its type's name where it has none."""
    message = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
    return " ".join(message.split()) or type(error).__name__
