"""The page in a real browser: it sorts, filters, slides, prints, and serves keyboards, dark rooms and screen readers."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from hipseg.report.page import render_page
from tests.report.pages import make_page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page with spaces, 'quotes' & more")
    path = folder / "report.html"
    path.write_text(render_page(make_page(folder)), encoding="utf-8")
    return path


def listed(page):
    return page.locator("#patient-table tbody tr:not([hidden]) th").all_text_contents()


def test_a_column_sorts_up_and_down(opened, file):
    page = opened(file)
    assert listed(page) == ["c-empty", "c-missed", "c-good"]
    head = page.get_by_role("button", name="unet: Dice", exact=True)
    head.click()
    assert listed(page) == ["c-empty", "c-missed", "c-good"]
    head.click()
    assert listed(page) == ["c-good", "c-missed", "c-empty"]
    assert page.locator("th", has=head).get_attribute("aria-sort") == "descending"


def test_words_sort_by_the_alphabet(opened, file):
    page = opened(file)
    page.get_by_role("button", name="Case", exact=True).click()
    assert listed(page) == ["c-empty", "c-good", "c-missed"]


def test_the_filter_leaves_what_contains_all_words_in_one_cell(opened, file):
    page = opened(file)
    words = page.get_by_label("Show cases with one cell")
    words.fill("c-m")
    assert listed(page) == ["c-missed"]
    assert page.locator("#shown").text_content() == "1 of 3 shown"
    # On the case that unet missed the other arm has a Dice of 0.900.
    words.fill("unet: dice 0.000")
    assert listed(page) == ["c-missed"]
    words.fill("unet: dice 0.900")
    assert listed(page) == []
    words.fill("note unet: prediction is empty")
    assert listed(page) == ["c-missed"]
    words.fill("")
    assert len(listed(page)) == 3


def test_the_slider_changes_picture_and_outlines_by_keyboard(opened, file):
    page = opened(file)
    picture, truth = page.locator("#pixels"), page.locator("#outlines path[data-name=truth]")
    before = picture.get_attribute("href"), truth.get_attribute("d")
    assert page.locator("#place").text_content() == "slice 13 of 30"
    page.locator("#slice").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#place").text_content() == "slice 12 of 30"
    assert before[0] != picture.get_attribute("href")
    assert before[1] != truth.get_attribute("d")


def test_an_outline_can_be_hidden(opened, file):
    page = opened(file)
    assert page.locator("#outlines path").count() == 3
    page.get_by_label("unet, Dice n/a", exact=True).uncheck()
    assert page.locator("#outlines path").count() == 2
    page.get_by_role("button", name="Next").click()
    assert page.locator("#outlines path").count() == 2


def test_a_switch_shows_the_dashes_of_its_outline(opened, file):
    page = opened(file)
    dashes = "all => all.map(one => [one.getAttribute('stroke'), one.getAttribute('stroke-dasharray')])"
    switches, outlines = (page.locator(where).evaluate_all(dashes) for where in ("#arms line", "#outlines path"))
    assert switches == outlines
    assert len({dash for _, dash in switches}) == 3


def test_the_dice_of_each_arm_stands_beside_the_pictures(opened, file):
    page = opened(file)
    page.get_by_role("button", name="Next").click()
    said = page.locator("#arms label").all_text_contents()
    assert said[:2] == ["truth", "unet, Dice 0.000"]
    assert said[2].endswith(", Dice 0.900")


def test_a_case_of_the_table_is_shown_by_enter(opened, file):
    page = opened(file)
    page.get_by_role("button", name="c-good").focus()
    page.keyboard.press("Enter")
    assert page.locator("#case option:checked").text_content() == "c-good"
    assert "c-good" in page.locator("#picture-title").text_content()


def test_an_attack_in_a_name_stays_a_name(opened, file):
    page = opened(file)
    assert page.title() == "hipseg study"
    assert page.locator("#arms label").nth(2).text_content().startswith("<script>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend(opened, file, scheme):
    page = opened(file, scheme)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_dark_mode_is_dark(opened, file):
    shades = [opened(file, scheme).evaluate("getComputedStyle(document.body).backgroundColor") for scheme in ("light", "dark")]
    assert shades == ["rgb(255, 255, 255)", "rgb(20, 23, 26)"]


def test_it_prints_without_controls_and_keeps_tables_whole(opened, file):
    page = opened(file)
    page.emulate_media(media="print")
    assert not page.locator("#slice").is_visible()
    assert page.locator("#picture").is_visible()
    breaks = page.locator("tr, figure").evaluate_all("all => all.map((one) => getComputedStyle(one).breakInside)")
    assert set(breaks) == {"avoid"}
    # A4 without margins at 96 dots an inch: nothing may stick out to the right.
    page.set_viewport_size({"width": 794, "height": 1123})
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    assert page.pdf(format="A4").startswith(b"%PDF")
