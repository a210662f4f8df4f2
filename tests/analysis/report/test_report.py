"""The report in headless Chromium: no error, no request, sorting, hovering, phones, dark and light."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.figures.pareto import draw
from analysis.leaderboard.board import read_leaderboard
from analysis.pareto import front
from analysis.report.page import Section, panel, render, table, text
from analysis.report.sections import write_report
from analysis.tables import Column, Table
from tests.analysis.ledgers import CODE, Writer, alpha_study
from tests.conftest import ROOT
from wst.errors import InputError
from wst.ledger import Ledger

pytestmark = pytest.mark.slow  # draws pages, some in a browser

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
BAD = "<script>document.title='broken in'</script><img src=x onerror=\"document.title='broken in'\">"


@pytest.fixture(scope="session")
def page(alpha: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report([alpha], path)
    return path


@pytest.fixture(scope="session")
def demo_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the demo study, from the ledger that the documents keep."""
    path = tmp_path_factory.mktemp("demo") / "report.html"
    write_report([ROOT / "docs" / "demo"], path)
    return path


@pytest.fixture(params=["page", "demo_page"])
def either_page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Debian's chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *(f"user-data-dir={profile}", "window-size=1280,900"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def _open(browser: Any, page: Path, width: int = 1280) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())


def _draw_everything(browser: Any) -> None:
    """Scroll every picture into view, and wait until it is drawn."""
    count = browser.execute_script("return document.querySelectorAll('.plot').length")
    for i in range(count):
        browser.execute_script("document.querySelectorAll('.plot')[arguments[0]].scrollIntoView()", i)
        _until(
            browser,
            "return document.querySelectorAll('.plot')[arguments[0]].querySelector('.main-svg') !== null",
            i,
        )


def _until(browser: Any, script: str, *arguments: Any) -> None:
    for _ in range(100):
        if browser.execute_script(script, *arguments):
            return
        time.sleep(0.05)
    raise AssertionError(f"never true: {script}")


def _requests(browser: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith(("data:", "blob:"))]


_OVERLAPS = """
const names = [".legend", ".bglayer .bg", ".plot-container .gridlayer", ".g-xtitle", ".g-ytitle",
  ".xaxislayer-above", ".yaxislayer-above"];
const found = [];
for (const plot of document.querySelectorAll(".plot")) {
  const there = names.map((name) => [name, plot.querySelector(name)?.getBoundingClientRect()]);
  const seen = there.filter(([name, at]) => at && at.width > 0 && at.height > 0);
  for (const [one, a] of seen) for (const [other, b] of seen) {
    const inside = (low, high, from, to) => Math.min(high, to) - Math.max(low, from) > 2;
    if (one < other && inside(a.left, a.right, b.left, b.right) && inside(a.top, a.bottom, b.top, b.bottom)
      && !(one.includes("layer") && other.includes("layer"))) found.push([plot.id, one, other]);
  }
}
return found;
"""
"""Parts of a picture that lie over each other, though they are no layers of the same place."""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1400, "light")])
def test_no_error_no_request_no_overlap_and_nothing_wider_than_the_window(
    browser: Any, either_page: Path, width: int, scheme: str
) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    _open(browser, either_page, width)
    _draw_everything(browser)
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert _requests(browser) == [either_page.as_uri()]
    assert browser.execute_script("return document.querySelectorAll('.plot').length") >= 6
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(_OVERLAPS) == []
    cut = "return [...document.querySelectorAll('.wide')].filter((e) => e.scrollWidth > e.clientWidth)"
    if width == 1400:
        assert browser.execute_script(cut + ".map((e) => e.ariaLabel)") == []


def test_a_page_is_small_enough_for_a_mail(demo_page: Path) -> None:
    assert demo_page.stat().st_size < 1_500_000


def test_nothing_is_said_twice(page: Path, demo_page: Path) -> None:
    for words in (page.read_text(), demo_page.read_text()):
        notes = re.findall(r"<li>([^<]+)</li>", words)
        assert notes and len(set(notes)) == len(notes)
        headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", words)
        captions = re.findall(r"<figcaption[^>]*><strong>([^<]+)\.</strong>", words)
        assert captions and not set(headings) & set(captions)
        assert ">study<" not in words.split('<section id="test-reads"')[0]


@pytest.mark.slow
def test_tables_sort_by_number_with_the_keyboard(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    _open(browser, page)
    column = (
        "const t = document.querySelector('#leaderboard table');"
        "const i = [...t.tHead.rows[0].cells].findIndex((c) => c.textContent === 'sprite_ori');"
    )
    read = (
        column + "return [...t.tBodies[0].rows].map((r) => [r.cells[0].textContent, r.cells[i].textContent])"
    )
    button = browser.execute_script(column + "return t.tHead.rows[0].cells[i].querySelector('button')")
    button.send_keys(Keys.ENTER)
    assert [row[0] for row in browser.execute_script(read)] == ["base", "twin", "big", "lin", "gap"]
    button.send_keys(Keys.ENTER)
    rising = browser.execute_script(read)
    assert [row[1][:2] for row in rising] == ["20", "30", "42", "42", "-"]  # what is missing stays last
    sort = browser.execute_script(column + "return t.tHead.rows[0].cells[i].getAttribute('aria-sort')")
    assert sort == "ascending"


@pytest.mark.slow
def test_demo_sorts_and_shows_configurations(browser: Any, demo_page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    _open(browser, demo_page)
    read = (
        "const t = document.querySelector('#leaderboard table');"
        "const i = [...t.tHead.rows[0].cells].findIndex((c) => c.textContent === 'trainable');"
        "t.tHead.rows[0].cells[i].querySelector('button').click();"
        "return [...t.tBodies[0].rows].map((r) => parseInt(r.cells[i].textContent.replaceAll(',', '')))"
    )
    falling = browser.execute_script(read)
    assert falling == sorted(falling, reverse=True) and len(falling) == 8
    _draw_everything(browser)
    browser.execute_script("document.getElementById('front-plot').scrollIntoView({block: 'center'})")
    point = browser.find_elements("css selector", "#front-plot .scatterlayer .trace .points path")[0]
    ActionChains(browser).move_to_element(point).perform()
    _until(browser, "return document.querySelector('#front-plot .hoverlayer .hovertext') !== null")
    shown = browser.execute_script("return document.querySelector('#front-plot .hoverlayer').textContent")
    assert "parameters" in shown and "lr" in shown


@pytest.mark.slow
def test_points_of_the_front_show_their_configuration(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    _open(browser, page)
    _draw_everything(browser)
    browser.execute_script("document.getElementById('front-plot').scrollIntoView({block: 'center'})")
    point = browser.find_elements("css selector", "#front-plot .scatterlayer .trace .points path")[-1]
    ActionChains(browser).move_to_element(point).perform()
    _until(browser, "return document.querySelector('#front-plot .hoverlayer .hovertext') !== null")
    shown = browser.execute_script("return document.querySelector('#front-plot .hoverlayer').textContent")
    assert "lr 2.00e-2" in shown and "3,104 parameters" in shown


@pytest.mark.slow
def test_dark_and_light(browser: Any, either_page: Path) -> None:
    _open(browser, either_page)
    colours = {}
    for scheme in ("dark", "light"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        colours[scheme] = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert colours["dark"] != colours["light"] == "rgb(255, 255, 255)"


@pytest.mark.slow
def test_names_for_screen_readers(browser: Any, either_page: Path) -> None:
    _open(browser, either_page)
    assert browser.execute_script("return document.documentElement.lang") == "en"
    unnamed = (
        "return [...document.querySelectorAll('select, [role=img], [role=region], section')].filter((e) =>"
        " !(e.getAttribute('aria-label') || e.labels?.length"
        " || document.getElementById(e.getAttribute('aria-labelledby')))).length"
    )
    assert browser.execute_script(unnamed) == 0
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert browser.execute_script("return document.querySelectorAll('table caption').length") == (
        browser.execute_script("return document.querySelectorAll('table').length")
    )


def test_a_page_that_reloads_itself_comes_back_as_it_was_left(
    browser: Any, alpha: Path, tmp_path: Path
) -> None:
    write_report([alpha], tmp_path / "report.html", reload=1)
    _open(browser, tmp_path / "report.html")
    left = """
      window.scrollTo(0, 600);
      const choice = document.getElementById("front-plot-choice");
      choice.selectedIndex = 1;
      for (const fold of document.querySelectorAll("details")) fold.open = fold.dataset.fold === "alpha.yaml";
      return choice.selectedOptions[0].text;
    """
    chosen = browser.execute_script(left)
    _until(browser, "return performance.getEntriesByType('navigation')[0].type === 'reload'")
    _until(browser, "return document.readyState === 'complete' && window.scrollY === 600")
    found = browser.execute_script(
        "return [document.getElementById('front-plot-choice').selectedOptions[0].text,"
        " ...[...document.querySelectorAll('details[open]')].map((fold) => fold.dataset.fold)]"
    )
    assert found == [chosen, "alpha.yaml"]


def test_the_picture_of_a_front_draws_on_a_page_of_its_own(browser: Any, alpha: Path, tmp_path: Path) -> None:
    draw(front(read_leaderboard([alpha])), tmp_path / "front.html")
    assert (tmp_path / "front.html").stat().st_size < 1_000_000
    _open(browser, tmp_path / "front.html")
    _draw_everything(browser)
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert browser.execute_script("return document.querySelectorAll('.points path').length") >= 4


def _malicious(folder: Path) -> Path:
    """A ledger that holds markup wherever the schema lets text in."""
    own = folder.parent / "own.py"
    own.write_text("def adapt(backbone, *, note: str):\n    return backbone\n")
    variants: dict[str, Any] = {
        "one": {"method": str(own), "fixed": {"lr": 0.01, "note": BAD}},
        "two": {"method": str(own), "fixed": {"lr": 0.01, "note": "plain"}},
    }
    study = alpha_study(variants=variants, tasks=["digits"], search=None, checkpoint=BAD)
    writer = Writer(folder, study)
    with writer.ledger:
        for variant in variants:
            for number in range(2):
                writer.add(
                    *("digits", variant, "final", number, study.variants[variant].fixed),
                    seed=number,
                    reason=f"settings found {BAD}",
                    test_top1=0.5,
                    test_images=797,
                    node=BAD,
                    device=BAD,
                    preprocessing=BAD,
                    data_hash=BAD,
                )
        writer.add(
            *("digits", "one", "final", 2, study.variants["one"].fixed),
            seed=9,
            state="failed",
            error_type=BAD,
            error_text=BAD,
        )
    return folder


def test_markup_in_a_ledger_stays_text(tmp_path: Path) -> None:
    write_report([_malicious(tmp_path / "bad")], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


@pytest.mark.slow
def test_markup_in_a_ledger_does_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    write_report([_malicious(tmp_path / "bad")], tmp_path / "report.html")
    _open(browser, tmp_path / "report.html")
    _draw_everything(browser)
    assert browser.title == "Report on alpha"
    assert browser.execute_script("return document.images.length") == 0
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_every_text_of_a_page_is_escaped() -> None:
    import plotly.graph_objects as go

    drawn = go.Figure(layout={"title": {"text": BAD}})
    section = Section(
        "x",
        BAD,
        [
            text(BAD),
            table(Table(BAD, [Column("a")], [{"a": BAD}], [BAD])),
            *panel("f", BAD, BAD, {BAD: drawn}),
        ],
    )
    page = render(BAD, BAD, [section])
    assert "<script>document" not in page
    assert "<img src=x" not in page


def test_the_page_says_what_the_ledger_holds(page: Path) -> None:
    words = page.read_text().split('<script type="application/json"')[0] + page.read_text()
    for expected in (
        "Report on alpha",
        "gap: incomplete, 3 of 4 tasks",
        "0.64 slot-hours",  # 64 trials of 36 seconds
        "RuntimeError: it broke",
        "No read outside stage final, and one a seed and settings.",
        "wst tune alpha.yaml --out alpha",
        "inside the noise",
    ):
        assert expected in words, expected


def test_an_empty_ledger_gives_a_page_that_says_so(tmp_path: Path) -> None:
    with Ledger(tmp_path / "empty", alpha_study(), CODE):
        pass
    write_report([tmp_path / "empty"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for expected in (
        "0 trials",
        "No final trial has completed.",
        "Nothing was searched.",
        "No trial failed.",
    ):
        assert expected in page


def test_other_endings_are_refused(alpha: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"-o: expected a file ending in \.html; found 'report\.pdf'"):
        write_report([alpha], tmp_path / "report.pdf")
