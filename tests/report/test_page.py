"""The page as text: everything escaped, everything inside, the worst case first."""

import base64
import hashlib
import re

import pytest

from hipseg.report.page import list_patients, render_page
from tests.report.pages import ATTACK, make_page, make_scores


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return make_page(tmp_path_factory.mktemp("page"))


def test_the_worst_case_comes_first_and_an_undefined_one_before_all():
    rows = list_patients(make_scores())
    assert [row.case for row in rows] == ["c-empty", "c-missed", "c-good"]
    assert [cell.dice for cell in rows[1].cells] == ["0.000", "0.900"]
    assert rows[0].note == f"unet, {ATTACK}: truth and prediction are both empty"
    assert rows[1].note == "unet: the prediction is empty, the truth is not"
    assert rows[2].note == ""


def test_a_case_that_an_arm_has_not_scored_yet_keeps_its_place(page):
    scores = make_scores()
    rows = list_patients({"unet": scores["unet"], "late": scores["unet"][:1]})
    assert [row.cells[1] is None for row in rows] == [True, True, False]


def test_no_name_becomes_markup(page):
    text = render_page(page)
    assert "<script>document" not in text
    assert "&lt;script&gt;document" in text
    assert text.count("<script") == 2


def test_the_policy_allows_just_the_page_s_own_style_and_script(page):
    text = render_page(page)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src &#39;none&#39;")
    for tag in ("style", "script"):
        (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy.replace("&#43;", "+")


def test_nothing_of_the_page_lies_elsewhere(page):
    text = render_page(page)
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    assert "url(" not in text
    assert "@import" not in text


def test_a_study_without_any_result_has_a_page(page, tmp_path):
    nothing = dict.fromkeys(("standings", "arms", "blocks", "patients", "plots", "cases"), ())
    empty = make_page(tmp_path, **nothing, why_no_cases="No case is scored yet.", provenance={})
    text = render_page(empty)
    assert "No fold is complete yet." in text
    assert "No run was found." in text
    assert "case-data" not in text.split("<script>")[0]


def test_the_words_of_a_row_of_the_comparison_are_its_heads(page):
    table = render_page(page).split("<caption>Scores over cases</caption>")[1].split("</table>")[0]
    assert '<th scope="row" class="word">unet</th>' in table
    assert '<td class="number">0.900 ± 0.100</td>' in table


def test_arms_and_stamp_are_on_the_page(page):
    text = render_page(page)
    assert "PARTIAL: fold 1 of arm unet is missing" in text
    assert "arms were trained for 3 and 5 epochs" in text
    assert "0.900 ± 0.100" in text
    assert ATTACK not in text
