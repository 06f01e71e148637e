"""A headless Chromium for tests of pages: Debian's own, installed where the tests may."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from support.debian import MissingError, install

INSTALL = "VOVNET_TEST_BROWSER"
"""The environment variable with which the tests install a browser where there is none."""

PACKAGES = ("chromium", "chromium-driver")
INSTALL_LIMIT_S = 600
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)


@contextmanager
def browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with an empty profile that records every request."""
    _install()
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def resize(driver: webdriver.Chrome, width: int, height: int) -> None:
    """Give the page itself a size, whatever the window around it takes."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def requests(driver: webdriver.Chrome) -> list[str]:
    """The addresses of all requests since the last call."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def faults(driver: webdriver.Chrome) -> list[str]:
    """What the page complained of since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def _install() -> None:
    """Install Debian's browser as root, where that is asked for."""
    if all(map(shutil.which, ("chromium", "chromedriver"))):
        return
    if INSTALL not in os.environ:
        raise MissingError(f"there is no chromium and chromedriver; as root, {INSTALL}=1 installs")
    install("chromium", PACKAGES, INSTALL_LIMIT_S)
