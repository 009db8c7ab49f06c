"""The parser of arguments, which needs none of the packages that the commands need."""

import argparse
from typing import NoReturn

from paddle_pointrend.errors import UsageError


class ArgumentParser(argparse.ArgumentParser):
    """Raises a UsageError of one line where argparse prints the usage and exits."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help lists the arguments")
