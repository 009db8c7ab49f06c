"""The page in a real browser without a window: Debian's chromium, driven by playwright. Skipped where one is missing.

PAGE_SCREENSHOTS=FOLDER keeps pictures of the page to look at.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from command_line import REPOSITORY

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(trained, varied_weights, tmp_path_factory):
    """(the page's address, the folder of temporary files, the config) of a running `paddle-pointrend app`."""
    temporary, port = tmp_path_factory.mktemp("temporary"), free_port()
    arguments = ["--model_path", varied_weights, "--config", trained.config, "--port", port, "--max_mb", 1]
    process = subprocess.Popen(
        [sys.executable, "-m", "paddle_pointrend", "app", *map(str, arguments)],
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(REPOSITORY), "no_proxy": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell ignores Ctrl-C for what it runs in the background, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        output = []
        for line in process.stdout:
            output.append(line)
            if line.startswith("The page is at"):
                break
        assert process.poll() is None, "".join(output)
        yield f"http://127.0.0.1:{port}", temporary, port
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert not list(temporary.glob("paddle-pointrend-app-*"))


@pytest.fixture
def page(server, tmp_path):
    """A tab that has the page, and `requests`, all addresses that it asked for."""
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1100, "height": 1500}
        )
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        tab.requests = []
        tab.on("request", lambda request: tab.requests.append(request.url))
        tab.goto(server[0])
        tab.wait_for_selector("#photograph input[type=file]", state="attached")
        yield tab
        context.close()


def give(page, field, path):
    page.set_input_files(f"#{field} input[type=file]", str(path))


def keep_screenshot(page, name):
    if os.environ.get("PAGE_SCREENSHOTS"):
        page.screenshot(path=str(pathlib.Path(os.environ["PAGE_SCREENSHOTS"]) / f"{name}.png"), full_page=True)


def left_behind(temporary):
    return [path for path in temporary.rglob("*") if path.is_file() and path.suffix in (".png", ".jpg", ".webp")]


def test_a_photograph_its_label_and_the_controls(page, server, trained):
    give(page, "photograph", trained.root / "images/val0.png")
    page.wait_for_selector("#compare-whole")
    over = page.locator("#compare-whole .over")
    assert over.evaluate("image => image.naturalWidth") == 64
    before = over.evaluate("image => getComputedStyle(image).clipPath"), over.bounding_box()
    keep_screenshot(page, "uploaded")
    page.locator("#compare-whole input").fill("20")
    after = over.evaluate("image => getComputedStyle(image).clipPath")
    assert before[0] == "inset(0px 0px 0px 50%)" and after == "inset(0px 0px 0px 20%)"
    keep_screenshot(page, "slider_moved")
    steps = page.locator("#result figcaption").all_inner_texts()
    assert [re.search(r"(\d+) points, (.*)", text).groups() for text in steps] == [
        ("64", "16 x 16"),
        ("64", "32 x 32"),
        ("64", "64 x 64"),
    ]
    give(page, "truth", trained.root / "labels/val0.png")
    page.wait_for_selector("#result pre.scores")
    assert "boundary IoU" in page.locator("#result pre.scores").inner_text()
    keep_screenshot(page, "with_label")
    slider = page.locator("#points input[type=range]")
    slider.focus()
    slider.press("ArrowRight")
    slider.evaluate("input => input.dispatchEvent(new Event('pointerup', {bubbles: true}))")
    page.wait_for_function("document.querySelector('#result').innerText.includes('128 points')")
    number = page.locator("#points input[type=number]")
    for typed, key in (("256", "Enter"), ("64", "Tab")):
        number.fill(typed)
        number.press(key)
        page.wait_for_function(f"document.querySelector('#result').innerText.includes('{typed} points')")
    assert left_behind(server[1]) == []
    assert [url for url in page.requests if not url.startswith((server[0], "data:", "blob:"))] == []


def test_bad_files_are_messages_and_the_page_goes_on(page, server, trained, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"GIF89a is not what this is")
    give(page, "photograph", bad)
    page.wait_for_selector("#result [role=alert]")
    assert "no picture" in page.locator("#result").inner_text()
    keep_screenshot(page, "bad_file")
    give(page, "truth", trained.root / "labels/val0.png")
    page.wait_for_function("document.querySelector('#result').innerText.includes('Upload the photograph first')")
    give(page, "photograph", trained.root / "images/val1.png")
    page.wait_for_selector("#compare-whole")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(2_000_000))
    give(page, "photograph", large)
    page.wait_for_selector(".toast-body, [data-testid=toast-body]")
    keep_screenshot(page, "large_file")
    assert left_behind(server[1]) == []


def test_only_this_machine_is_answered(server):
    with urllib.request.urlopen(server[0]) as answer:
        assert answer.status == 200
    addresses = {address[4][0] for address in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in addresses - {"127.0.0.1"}:
        with socket.socket() as probe:
            assert probe.connect_ex((address, server[2])) != 0 or address.startswith("127.")
