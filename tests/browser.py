"""A headless Chromium for tests of pages, and what must hold of every page: nothing broken, no console message."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

DESKTOP, PHONE = (1400, 900), (390, 844)


def open_browser() -> Iterator:
    """Yield a selenium driver; skip by name where there is no selenium, Chromium or driver."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (requirements-dev.txt)")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver_path = shutil.which("chromedriver")
    if not chromium or not driver_path:
        pytest.skip("needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    without = ["gpu", "dev-shm-usage", "background-networking", "quic", "sync", "component-update"]
    words = ["headless=new", "no-sandbox", "hide-scrollbars", "no-first-run", *(f"disable-{name}" for name in without)]
    for word in words:
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    try:
        yield driver
    finally:
        driver.quit()


def choose(driver, name: str, value: str) -> None:
    """Choose an option as a person does."""
    from selenium.webdriver.support.select import Select

    Select(driver.find_element("id", name)).select_by_visible_text(value)


def press(driver, *keys: str) -> None:
    """Press keys, by their letter or their name in selenium."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    ActionChains(driver).send_keys(*(getattr(Keys, key, key) for key in keys)).perform()


def visit(driver, path: Path, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
    """Open a page from the disk, without a network, in a window of that size."""
    network = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    window = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", network)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    driver.get_log("browser")
    driver.get(path.resolve().as_uri())


def problems(driver, folder: Path) -> list[str]:
    """What is wrong with a page: console messages, broken images, links that lead nowhere, letters cut off."""
    found = [f"console: {entry['message']}" for entry in driver.get_log("browser") if entry["level"] != "INFO"]
    broken = driver.execute_async_script(
        """const done = arguments[arguments.length - 1];
        const images = [...document.images];
        images.forEach((image) => { image.loading = "eager"; });
        Promise.all(images.map((image) => image.decode().then(() => "", () => image.alt || "without a name")))
          .then((names) => done(names.filter(Boolean)));"""
    )
    found += [f"image: {name}" for name in broken]
    links = driver.execute_script(
        "return [...document.querySelectorAll('a[href]')].map((link) => link.getAttribute('href'))"
    )
    for link in links:
        if link.startswith("#"):
            if not driver.execute_script("return document.getElementById(arguments[0]) !== null", unquote(link[1:])):
                found.append(f"link: {link}")
        elif urlsplit(link).scheme or not (folder / unquote(link)).is_file():
            found.append(f"link: {link}")
    wide = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if wide > 0:
        found.append(f"the page is {wide} pixels wider than its window")
    cut = driver.execute_script(
        """return [...document.querySelectorAll('svg text')].filter((text) => {
          const letters = text.getBoundingClientRect(), plot = text.ownerSVGElement.getBoundingClientRect();
          return letters.left < plot.left - 1 || letters.right > plot.right + 1;
        }).map((text) => text.textContent);"""
    )
    return found + [f"a plot cuts off: {text}" for text in cut]


def overlaps(driver, selector: str) -> list[str]:
    """Pairs of shown elements of a selector whose boxes overlap."""
    return driver.execute_script(
        """const shown = [...document.querySelectorAll(arguments[0])]
          .map((element) => [element, element.getBoundingClientRect()])
          .filter(([, box]) => box.width && box.height);
        const pairs = [];
        shown.forEach(([one, a], number) => shown.slice(number + 1).forEach(([other, b]) => {
          if (one.contains(other) || other.contains(one)) return;
          const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
          const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
          const name = (element) => element.textContent.trim().slice(0, 40);
          if (across > 1 && down > 1) pairs.push(`${name(one)} / ${name(other)}`);
        }));
        return pairs;""",
        selector,
    )
