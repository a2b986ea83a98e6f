"""The page of a validation in a headless Chromium; skipped where there is none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from browser import Browser, find_browser

FRAMES = ".choices button"
DRAWN = "document.querySelector('.viewer').dataset.drawn"


@pytest.fixture(scope="module")
def browser():
    path = find_browser()
    if path is None:
        pytest.skip("there is no Chromium to open pages with")
    with Browser(path) as opened:
        yield opened


@pytest.fixture
def opened(browser, page):
    """The page with its 3-D view open."""
    browser.size(700, 900)
    browser.open(page)
    browser.click(".opener button")
    browser.wait(f"{DRAWN} === '0'")
    yield browser
    assert browser.problems == []
    assert [a for a in browser.requests if not a.startswith("data:")] == [page.as_uri()]


def _pixels(browser, selector=".stage"):
    from matplotlib.image import imread

    return imread(io.BytesIO(browser.picture(selector)))[..., :3]


def _choose(browser, number):
    browser.click(f".choices li:nth-child({number + 1}) button")
    browser.wait(f"{DRAWN} === '{number}'")


def test_nothing_is_unpacked_before_the_view_is_opened(browser, page):
    browser.open(page)
    assert browser.evaluate("typeof $3Dmol") == "undefined"
    assert browser.evaluate("document.querySelectorAll('canvas').length") == 0
    assert browser.evaluate("document.querySelector('.panel').hidden") is True
    assert browser.problems == [] and [r[:5] for r in browser.requests].count("file:") == 1


def test_a_molecule_is_drawn(opened):
    seen = _pixels(opened)
    drawn = (seen < 0.9).any(axis=2).mean()
    assert 0.01 < drawn < 0.6, f"{100 * drawn:.1f} % of the view is not white"
    # Carbon by strain, nitrogen blue, oxygen red: a picture, not a silhouette.
    assert len(np.unique((seen * 15).round().reshape(-1, 3), axis=0)) > 50


def test_buttons_switch_frames(opened):
    names = opened.evaluate(f"[...document.querySelectorAll('{FRAMES}')].map(b => b.innerText)")
    assert len(names) >= 3 and "invalid: bonds" in " ".join(names)
    pictures, reasons = [], []
    for number in range(len(names)):
        _choose(opened, number)
        pressed = f"[...document.querySelectorAll('{FRAMES}')].map(b => b.ariaPressed)"
        assert opened.evaluate(pressed) == [str(k == number).lower() for k in range(len(names))]
        reasons.append(opened.evaluate("document.querySelector('.reason').innerText"))
        title = names[number].split("\n")[0]
        assert reasons[-1].startswith(f"{title}. ")
        label = opened.evaluate("document.querySelector('.stage').getAttribute('aria-label')")
        assert title in label
        pictures.append(_pixels(opened))
    for k in range(1, len(names)):
        assert np.abs(pictures[k] - pictures[k - 1]).max() > 0.2
    assert any("CA-CB is" in reason for reason in reasons)


def test_controls_and_keys_change_the_view(opened):
    before = _pixels(opened)
    for act in (
        lambda: opened.click("[data-do=fault]"),
        lambda: opened.click("[data-do=whole]"),
        lambda: opened.click("[name=hydrogens]"),
        lambda: opened.click("[name=native]"),
        lambda: opened.evaluate(
            "(() => { const s = document.querySelector('[name=color]'); s.value = 'chain';"
            "s.dispatchEvent(new Event('change')); })()"
        ),
        lambda: (opened.evaluate("document.querySelector('.stage').focus()"),
                 opened.press("ArrowLeft")),
        lambda: opened.press("+"),
    ):  # fmt: skip
        act()
        after = _pixels(opened)
        assert np.abs(after - before).max() > 0.1
        before = after


def test_a_telephone_shows_it_all(opened):
    opened.size(390, 844, phone=True)
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
    right = "[...document.querySelectorAll('.viewer *')].map(e => e.getBoundingClientRect().right)"
    opened.wait(f"Math.max(...{right}) <= 390")
    assert (_pixels(opened) < 0.9).any()


def test_without_webgl_the_page_says_so(browser, page):
    browser.open(page)
    browser.evaluate("HTMLCanvasElement.prototype.getContext = () => null")
    browser.click(".opener button")
    browser.wait("document.querySelector('.opener').innerText.includes('cannot be shown')")


def test_the_page_may_not_load_anything(browser, page):
    browser.open(page)
    script = "fetch('data:text/plain,x').then(() => 'loaded', () => 'refused')"
    assert browser.evaluate(script) == "refused"
