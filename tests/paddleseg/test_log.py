"""PaddleSeg's log lines have the letters that were logged."""

import os
import subprocess
import sys

import pytest
from paddleseg.utils import logger

from paddle_pointrend.paddleseg import compat

LOG = "from paddleseg.utils import logger; logger.info('写入 输出/é')"


def _logged(program, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, timeout=120, check=True)
    return run.stdout.decode(encoding).splitlines()[-1]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", "写入 输出/é"), ("gbk", "写入 输出/é"), ("ascii", r"\u5199\u5165 \u8f93\u51fa/\xe9")],
)
def test_letters_are_logged_as_they_are(encoding, text):
    line = _logged(f"import paddle_pointrend; {LOG}", encoding)
    assert line.endswith(f" [INFO]\t{text}")


@pytest.mark.skipif(not hasattr(logger.log, "__wrapped__"), reason="the installed PaddleSeg logs letters as they are")
def test_failure_without_the_fix():
    assert _logged(LOG, "utf-8").endswith("/Ã©")  # the bytes c3 a9 of é as letters


def test_levels_below_the_one_that_is_set_are_left_out(capsys, monkeypatch):
    monkeypatch.setattr(logger, "log_level", 1)
    logger.info("unseen")
    logger.warning("seen")
    assert capsys.readouterr().out.endswith("[WARNING]\tseen\n")


def test_a_log_that_works_is_left_alone(monkeypatch):
    monkeypatch.setattr(logger, "log", working := lambda level=2, message="": None)
    assert compat.patch_log() == []
    assert logger.log is working
