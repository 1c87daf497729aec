"""Make the report of the simulated tissue, and the picture of its upper part where there is a Chromium."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver

from napari_spotmix import deconvolve, simulate
from napari_spotmix.output.report import make_report

DOCS = Path(__file__).parent
PAGE = DOCS / "report" / "simulated.html"
PICTURE = DOCS / "pictures" / "report.jpg"
SIZE = 1000, 1240


def main() -> None:
    """Write both files."""
    tissue = simulate()
    result = deconvolve(tissue.spatial, tissue.reference, cell_type_key="cell_type")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(make_report(result, title="Simulated gut"), encoding="utf-8", newline="\n")
    if shutil.which("chromium") and shutil.which("chromedriver"):
        take_picture()


def take_picture() -> None:
    """Write what a browser shows of the page first."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in ("headless=new", "no-sandbox", "hide-scrollbars", f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
            size = {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.get(PAGE.as_uri())
            shot = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    shot.save(PICTURE, quality=85, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
