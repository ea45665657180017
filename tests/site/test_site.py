"""The built site, read as a reader reads it: in a browser, offline, by day and night, on a phone.

`make site` builds the book where it is not up to date and runs these tests.
"""

import io
import re
import shutil
import threading
from collections import Counter
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

SITE = ROOT / "_build" / "html"
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html")
               if p.relative_to(SITE).parts[0] != "_static")
FOLDER = SITE.as_uri() + "/"
BUDGET = 1_000_000  # bytes of a page's own HTML and pictures
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)

pytestmark = pytest.mark.skipif(not PAGES, reason="no built site: `make book` makes one")
every_page = pytest.mark.parametrize("page", PAGES)
READ = [page for page in PAGES if page != "index.html"]  # that one leads on to book/index.html


class Tags(HTMLParser):
    """Every tag of a page, with its attributes."""

    def __init__(self, path):
        super().__init__()
        self.found = []
        self.feed(path.read_text(encoding="utf8"))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def tags(page):
    return Tags(SITE / page).found


# ---- as files


def addresses(page):
    """What a page links to, fetches or shows, with the anchor if one is named."""
    for tag, attributes in tags(page):
        address = attributes.get("src") or attributes.get("href")
        if address and tag != "base" and not urlsplit(address).scheme and address[:2] != "//":
            yield address


def test_every_link_within_the_site_leads_somewhere():
    anchors = {page: {a[key] for _, a in tags(page) for key in ("id", "name") if a.get(key)}
               for page in PAGES}
    broken = []
    for page in PAGES:
        for address in set(addresses(page)):
            path, anchor = urldefrag(urljoin(page, address))
            path = unquote(urlsplit(path).path)
            missing = not (SITE / path).is_file()
            if missing or (anchor and path in anchors and unquote(anchor) not in anchors[path]):
                broken.append(f"{page}: {address}")
    assert broken == []


@every_page
def test_no_id_stands_twice_on_a_page(page):
    ids = Counter(attributes["id"] for _, attributes in tags(page) if "id" in attributes)
    assert [name for name, times in ids.items() if times > 1] == []


@every_page
def test_a_page_and_its_pictures_keep_to_the_budget(page):
    pictures = {urljoin(page, a["src"].split("?")[0]) for tag, a in tags(page) if tag == "img"}
    weights = {name: (SITE / unquote(name)).stat().st_size for name in {page, *pictures}}
    assert sum(weights.values()) <= BUDGET, weights


def described(page):
    """The content of a page's <meta> tags, by name or property."""
    metas = (attributes for tag, attributes in tags(page) if tag == "meta")
    return {m.get("name") or m.get("property"): m.get("content") for m in metas}


@pytest.mark.parametrize("page", READ)
def test_a_page_tells_search_engines_and_previews_what_it_is(page):
    about = described(page)
    assert 50 <= len(about["description"]) <= 160
    assert not re.search(r"[\\$<{]", about["description"])
    assert about["og:description"] == about["description"]
    assert about["og:title"] and about["og:image:alt"] and about["og:site_name"]
    (canonical,) = (a["href"] for tag, a in tags(page) if a.get("rel") == "canonical")
    assert about["og:url"] == canonical
    if urlsplit(canonical).scheme:  # then it is where the site is published
        root = canonical.removesuffix(page)
        assert canonical == root + page
        picture = about["og:image"].removeprefix(root)
    else:
        assert urljoin(page, canonical) == page
        picture = urljoin(page, about["og:image"])
    assert (SITE / picture).is_file()


def test_no_two_pages_have_the_same_description():
    found = [described(page)["description"] for page in READ]
    assert sorted(found) == sorted(set(found))


# ---- in a browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need it")
    if CHROMIUM is None:
        pytest.skip("no Chromium: on Debian or Ubuntu, apt-get install chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


class Visit:
    """A page in the browser, and what went wrong there."""

    def __init__(self, browser, root, **settings):
        self.root, self.troubles = root, []
        self.context = browser.new_context(**settings)
        self.context.route("**/*", self.watch)
        self.tab = self.context.new_page()
        self.tab.on("console", lambda message: self.note(message.text, message.type == "error"))
        self.tab.on("pageerror", lambda error: self.note(str(error)))
        self.tab.on("requestfailed", lambda request: self.note(f"failed: {request.url}"))
        self.tab.on("response", lambda r: self.note(f"{r.status}: {r.url}", r.status >= 400))

    def watch(self, route):
        """No request may leave the site; `data:` is no request."""
        if route.request.url.startswith((self.root, "data:")):
            route.continue_()
        else:
            self.note(f"leaves the site: {route.request.url}")
            route.abort()

    def note(self, trouble, counts=True):
        if counts:
            self.troubles.append(trouble)

    def open(self, page):
        """Load a page until its formulas are set and its pictures are there."""
        self.tab.goto(self.root + page, wait_until="load")
        self.settle()
        return self.tab

    def settle(self):
        self.tab.wait_for_load_state("load")
        self.tab.evaluate("window.MathJax?.startup?.promise")
        self.tab.evaluate("""Promise.all([...document.images].map(image => {
            image.loading = "eager";
            return image.decode().catch(() => null);
        }))""")


@pytest.fixture
def visit(browser):
    """Return a function that makes visitors, from a folder unless another root is named."""
    made = []

    def make(root=FOLDER, **settings):
        made.append(Visit(browser, root, **{"viewport": DESKTOP} | settings))
        return made[-1]

    yield make
    for each in made:
        each.context.close()


VISIBLE_TEXT = """
    [...document.querySelectorAll("body *")]
        .filter(element => !element.closest("pre, code, script, style, mjx-container, [hidden]"))
        .flatMap(element => [...element.childNodes])
        .filter(node => node.nodeType === Node.TEXT_NODE)
        .map(node => node.data).join("\\n")
"""
RAW_TEX = r"\$\$|\\[(\[]|\\[a-z]{2,}"
MISSING_PICTURES = "[...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
OVERFLOW = """
    document.documentElement.scrollWidth <= innerWidth ? [] :
        [...document.querySelectorAll("body *")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .slice(0, 5).map(e => e.outerHTML.slice(0, 120))
"""


def violations(tab):
    """What axe-core finds serious or critical, as readable lines."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    rules = {"resultTypes": ["violations"], "preload": False}  # it would fetch the style sheets
    paths = {"exclude": [["mjx-container > svg"]]}  # thousands, one for each glyph
    found = axe.Axe().run(tab, context=paths, options=rules).response["violations"]
    return [f"{each['id']}: {node['target']} {node['html'][:160]} {node['failureSummary']}"
            for each in found if each["impact"] in ("serious", "critical")
            for node in each["nodes"]]


@pytest.mark.slow
@pytest.mark.parametrize("page", READ)
@pytest.mark.parametrize(("scheme", "checked"), [("light", PHONE), ("dark", DESKTOP)],
                         ids=["light", "dark"])
def test_a_page_reads_well_offline(page, scheme, checked, visit):
    """By day and by night, on a desk and on a phone; axe-core, slow, looks once in each light."""
    visitor = visit(color_scheme=scheme, reduced_motion="reduce")
    tab = visitor.open(page)
    assert tab.evaluate("document.documentElement.dataset.theme") == scheme
    assert tab.evaluate(MISSING_PICTURES) == []
    assert re.findall(RAW_TEX, tab.evaluate(VISIBLE_TEXT)) == []
    assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    for size in (DESKTOP, PHONE):
        tab.set_viewport_size(size)
        assert tab.evaluate(OVERFLOW) == [], size
    tab.set_viewport_size(checked)
    tab.wait_for_timeout(1000)  # the theme then lets the keyboard reach what has begun to scroll
    assert violations(tab) == []
    assert visitor.troubles == []


PRINTED = "div.cell_output .output:is(.stream, .text_plain):not(.columns) pre"
CUT = """
    pattern => [...document.querySelectorAll(pattern)]
        .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 80))
"""
# Formulas of a line at which the next character, on the next line, is no letter and no space.
PARTED = """
    [...document.querySelectorAll("span.math")].filter(formula => {
        const next = formula.nextSibling ?? formula.parentElement.nextSibling;
        if (next?.nodeType !== Node.TEXT_NODE || !/^[.,;:!?)]/.test(next.data)) return false;
        const range = document.createRange();
        range.setStart(next, 0);
        range.setEnd(next, 1);
        const [mark, box] = [range, formula].map(each => each.getBoundingClientRect());
        return mark.width > 0 && mark.left < box.left;
    }).map(formula => formula.parentElement.textContent.slice(0, 80))
"""
# Names in the code of tables that stand on two lines, but for where the build lets them break.
BROKEN = """
    [...document.querySelectorAll("td code .pre")].flatMap(code => [...code.childNodes])
        .filter(text => /^[\\w.]+$/.test(text.data ?? "")).filter(text => {
            const range = document.createRange();
            range.selectNode(text);
            return range.getClientRects().length > 1;
        }).map(text => text.data)
"""


@pytest.mark.slow
@pytest.mark.parametrize("page", READ)
def test_a_phone_shows_printed_lines_whole_and_breaks_lines_where_it_should(page, visit):
    tab = visit(viewport=PHONE, reduced_motion="reduce").open(page)
    assert tab.evaluate(CUT, PRINTED) == []
    assert tab.evaluate(PARTED) == []
    assert tab.evaluate(BROKEN) == []


def test_the_nine_equations_fit_a_phone(visit):
    tab = visit(viewport=PHONE).open("book/reference/notation.html")
    assert tab.locator("div.math mjx-container").count() == 9
    assert tab.evaluate(CUT, "div.math mjx-container") == []


def test_formulas_break_for_a_phone_on_phones_alone(visit):
    rows = "div.math [data-mml-node=mtr]"
    desk = visit().open("book/reference/notation.html")
    assert desk.evaluate(CUT, "div.math mjx-container") == []
    phone = visit(viewport=PHONE).open("book/reference/notation.html")
    assert phone.locator(rows).count() == desk.locator(rows).count() + 9
    assert desk.locator("[data-mml-node=merror]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_wide_table_has_a_shadow_where_more_of_it_lies(scheme, visit):
    """Two pictures of the right edge, of a wide table that scrolls and of its end."""
    tab = visit(viewport=PHONE, color_scheme=scheme).open("book/reference/notation.html")
    wide = tab.locator(".pst-scrollable-table-container").nth(1)
    assert wide.evaluate("table => table.scrollWidth > table.clientWidth")
    tab.add_style_tag(content="td *, th * { visibility: hidden }")  # leave the ground alone
    seen = []
    for place in (0, 1000):
        wide.evaluate("(table, place) => table.scrollTo(place, 0)", place)
        wide.evaluate("table => table.scrollIntoView()")
        box = wide.bounding_box()
        edge = {"x": box["x"] + box["width"] - 4, "y": box["y"] + 150, "width": 2, "height": 200}
        picture = Image.open(io.BytesIO(tab.screenshot(clip=edge))).convert("L")
        seen.append(np.asarray(picture, float).mean())
    shaded, plain = seen
    assert plain - shaded > 20 if scheme == "light" else shaded - plain > 20


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def served():
    """Return the address of a plain file server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["file", "server"])
def root(request):
    """Return where the site is read from: a folder, then a plain file server."""
    return FOLDER if request.param == "file" else request.getfixturevalue("served")


@pytest.mark.slow
def test_every_page_reads_well_from_a_plain_file_server(served, visit):
    visitor = visit(served)
    visitor.tab.goto(served)
    visitor.tab.wait_for_url("**/book/index.html")
    for page in READ:
        visitor.tab.goto(served + page, wait_until="load")
        assert visitor.tab.evaluate("document.fonts.ready.then(() => document.title)")
    assert visitor.troubles == []


def test_search_finds_a_word_and_leads_to_its_page(root, visit):
    visitor = visit(root)
    tab = visitor.open("book/index.html")
    tab.keyboard.press("Control+k")
    tab.keyboard.type("leakage")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/search.html?q=leakage*")
    found = tab.locator("#search-results li a")
    found.first.wait_for()
    found.filter(has_text="Glossary").first.click()
    tab.wait_for_url("**/glossary.html*")
    visitor.settle()
    assert "leakage" in tab.locator("article").inner_text().lower()
    assert visitor.troubles == []


def test_a_choice_of_light_or_dark_holds_on_the_next_page(root, visit):
    visitor = visit(root, color_scheme="light")
    tab = visitor.open("book/reference/glossary.html")
    switch = tab.locator(".theme-switch-button:visible")
    seen = []
    while "dark" not in seen and len(seen) < 3:
        switch.click()
        seen.append(tab.evaluate("document.documentElement.dataset.theme"))
    assert seen[-1] == "dark"
    tab.locator("a.right-next").click()
    tab.wait_for_url("**/api.html")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(visit):
    tab = visit().open("book/reference/glossary.html")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent").strip() == "Skip to main content"
    tab.evaluate("window.reached = [document.activeElement]")
    for _ in range(25):
        tab.keyboard.press("Tab")
        shown = tab.evaluate("""() => {
            const here = document.activeElement, before = window.reached.at(-1);
            window.reached.push(here);
            const style = getComputedStyle(here), box = here.getBoundingClientRect();
            return {
                name: here.outerHTML.slice(0, 120),
                follows: !!(before.compareDocumentPosition(here) & 4),
                visible: box.width > 0 && box.right > 0 && box.bottom > 0,
                marked: style.outlineStyle !== "none" || style.boxShadow !== "none",
            };
        }""")
        assert shown["follows"] and shown["visible"] and shown["marked"], shown
    tab.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    tab.locator("#pst-skip-link a").focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('#main-content') !== null")


def test_the_chapters_open_and_close_on_a_phone(visit):
    tab = visit(viewport=PHONE).open("book/reference/glossary.html")
    chapter = tab.locator("nav a", has_text="Masked attributes").first
    assert not chapter.is_visible()
    tab.locator("button.primary-toggle:visible").click()
    chapter.wait_for()
    assert tab.evaluate("document.activeElement.closest('dialog') !== null")
    tab.keyboard.press("Escape")
    chapter.wait_for(state="hidden")
    tab.locator("button.primary-toggle:visible").click()
    chapter.click()
    tab.wait_for_url("**/masked_attributes.html")


def test_a_solution_opens_by_click_and_by_key(visit):
    tab = visit().open("book/foundations/self_attention.html")
    solution = tab.locator(".solution").first
    body, button = solution.locator(".section, section").first, solution.locator("button").first
    assert not body.is_visible()
    button.click()
    body.wait_for()
    button.press("Enter")
    body.wait_for(state="hidden")
