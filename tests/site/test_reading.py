"""The reference part and what readers look for, in the built site."""

import re

import pytest
from test_site import DESKTOP, PAGES, PHONE, SITE, browser, served, visit  # noqa: F401

pytestmark = pytest.mark.skipif(not PAGES, reason="no built site: `make book` makes one")
API = "book/reference/api.html"
LEDGER = "book/reference/paper_and_code.html"


# ---- the package


def test_the_first_screen_of_the_package_leads_from_a_file_to_recommendations(visit):
    tab = visit(viewport=DESKTOP).open(API)
    shell, python = tab.locator("div.highlight pre").nth(0), tab.locator("div.highlight pre").nth(1)
    assert "s3rec recommend ratings.csv" in shell.inner_text()
    assert "s3.recommend(" in python.inner_text()
    for block in (shell, python):
        box = block.bounding_box()
        assert box["y"] + box["height"] <= DESKTOP["height"]
        assert block.evaluate("code => code.scrollWidth <= code.clientWidth")


def test_the_package_is_read_on_few_screens_its_details_folded(visit):
    tab = visit(viewport=DESKTOP).open(API)
    assert tab.evaluate("document.documentElement.scrollHeight") < 18 * DESKTOP["height"]
    name = tab.locator("table.names a", has_text="paired_difference")
    name.click()
    tab.locator("dt[id='s3rec_mini.tools.statistics.paired_difference']").wait_for()
    again = visit(viewport=DESKTOP).open(f"{API}#s3rec_mini.training.PretrainConfig")
    assert again.locator("dt[id='s3rec_mini.training.PretrainConfig']").is_visible()


def test_defaults_are_readable_and_each_module_stands_once():
    text = (SITE / API).read_text(encoding="utf8")
    assert "factory&gt;" not in text
    anchors = re.findall(r'<a class="headerlink" href="#(s3rec_mini[\w.]*)"', text)
    assert anchors and len(anchors) == len(set(anchors))
    for words in ("Who chose what, in which order", "Pictures of what"):
        assert len(re.findall(rf"<p\b[^\n]*{words}", text)) == 1


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_no_option_is_broken_at_its_hyphens(size, visit):
    tab = visit(viewport=size).open(API)
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    options = tab.locator("code .option")
    assert options.count() > 100
    assert options.evaluate_all("""spans => spans.filter(each => each.getClientRects().length > 1)
        .map(each => each.textContent)""") == []


# ---- the ledger


def test_the_ledger_begins_with_its_overview_and_opens_what_a_link_leads_to(visit):
    tab = visit(viewport=DESKTOP).open(LEDGER)
    assert tab.locator("article table").first.bounding_box()["y"] < 0.75 * DESKTOP["height"]
    assert tab.evaluate("document.documentElement.scrollHeight") < 10 * DESKTOP["height"]
    details = tab.locator("#ties dl")
    assert not details.is_visible()
    tab.locator("article table a", has_text="Ties").click()
    details.wait_for()


def test_the_notation_begins_with_a_few_letters_and_folds_the_many(visit):
    tab = visit(viewport=DESKTOP).open("book/reference/notation.html")
    letters = tab.locator("article table").first
    assert letters.bounding_box()["y"] < DESKTOP["height"] / 2
    assert 8 <= letters.locator("tbody tr").count() <= 12
    assert tab.evaluate("document.documentElement.scrollHeight") < 12 * DESKTOP["height"]
    assert tab.locator("div.math:visible").count() == 9


# ---- search

LOOKED_FOR = {  # what a reader types: the page that must be among the first three
    "cold start": "foundations/sequential_recommendation",
    "overfitting": "training/finetuning",
    "BPR": "training/finetuning",
    "leakage": "foundations/leaks_and_clocks",
    "Jensen": "foundations/information_deeper",
    "transformer": "foundations/self_attention",
    "positional encoding": "foundations/self_attention",
    "negative sampling": "training/finetuning",
    "learning rate": "training/finetuning",
    "hyperparameter": "reference/api",
    "GPU": "training/pretraining",
    "confidence interval": "training/evaluation",
    "significance": "training/evaluation",
    "popularity": "foundations/sequential_recommendation",
    "hit rate": "foundations/sequential_recommendation",
    "contrastive learning": "foundations/mutual_information",
    "KL divergence": "foundations/information_deeper",
    "masked item prediction": "objectives/masked_items",
    "BERT4Rec": "foundations/self_attention",
    "SASRec": "training/finetuning",
    "matrix factorization": "foundations/leaks_and_clocks",
    "t-SNE": "findings/inside_the_model",
    "early stopping": "training/finetuning",
    "fine" "-tuning": "training/finetuning",
    "own data": "findings/your_own_data",
    "CSV": "reference/api",
    "Colab": "reference/notebooks",
    "reproducibility": "findings/reproduction",
}


def results(tab, root, query):
    """Search, and return the links found, the first ones first."""
    tab.goto(f"{root}search.html?q={query.replace(' ', '+')}")
    tab.wait_for_function("document.querySelector('#search-results .search-summary')"
                          "?.textContent.includes('matching')")
    return tab.locator("#search-results ul.search > li > a")


def test_search_finds_first_what_a_reader_would_try(visit):
    visitor = visit()
    missed = {}
    for query, page in LOOKED_FOR.items():
        found = results(visitor.tab, visitor.root, query).evaluate_all(
            "links => links.slice(0, 3).map(link => link.getAttribute('href'))")
        if not any(link.startswith(f"book/{page}.html") for link in found):
            missed[query] = found
    assert missed == {}
    assert visitor.troubles == []


def test_what_search_quotes_is_prose_and_a_word_of_the_glossary_is_named(served, visit):
    visitor = visit(served)
    for query in ("Jensen", "density ratio", "InfoNCE"):
        found = results(visitor.tab, served, query)
        visitor.tab.wait_for_function(
            "document.querySelectorAll('#search-results .context').length > 2")
        quoted = visitor.tab.locator("#search-results .context").all_inner_texts()
        assert [each for each in quoted if re.search(r"\\(?!n\")[a-zA-Z(\[]|[_^]\{", each)] == []
        assert f"Glossary: {query}" in found.all_inner_texts()
    assert visitor.troubles == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_the_magnifier_stands_before_what_is_typed(size, visit):
    visitor = visit(viewport=size)
    for page in ("search.html?q=loss", "book/reference/glossary.html"):  # a field, a dialog
        tab = visitor.open(page)
        tab.keyboard.press("Control+k")
        (field,) = tab.locator("form.bd-search:visible").all()
        icon, text = field.evaluate("""form => {
            const icon = form.querySelector("i, svg").getBoundingClientRect();
            const input = form.querySelector("input"), box = input.getBoundingClientRect();
            return [icon.right, box.left + parseFloat(getComputedStyle(input).paddingLeft)];
        }""")
        assert 0 < icon < text


# ---- a phone, paper, night

CHAPTERS = [page for page in PAGES
            if re.match("book/(foundations|objectives|training|findings)/", page)]
SIZES = """levels => levels.map(level => document.querySelector(`article ${level}`))
    .filter(heading => heading).map(heading => parseFloat(getComputedStyle(heading).fontSize))"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_headings_step_down(size, visit):
    visitor = visit(viewport=size)
    for page in ("book/training/finetuning.html", "book/reference/notation.html"):
        sizes = visitor.open(page).evaluate(SIZES, ["h1", "h2", "h3", "p"])
        assert sizes == sorted(set(sizes), reverse=True) and len(sizes) >= 3


@pytest.mark.parametrize("page", CHAPTERS)
def test_code_wraps_on_a_phone_and_no_line_is_marked_twice(page, visit):
    tab = visit(viewport=PHONE).open(page)
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    code = tab.locator("div.cell_input pre:has(.line)")
    assert code.count() > 0
    assert code.evaluate_all("""blocks => blocks.filter(code => code.scrollWidth > code.clientWidth)
        .map(code => code.textContent.slice(0, 80))""") == []
    assert code.evaluate_all("blocks => blocks.every(block => !block.querySelector('.line .line'))")


def test_what_goes_on_stands_further_right_than_where_its_line_began(visit):
    tab = visit(viewport=PHONE).open("book/training/finetuning.html")
    wrapped = tab.locator("div.cell_input .line").evaluate_all("""lines => lines.map(line => {
            const range = document.createRange();
            range.selectNodeContents(line);
            const lefts = [...range.getClientRects()].map(box => box.left);
            const indent = +(line.style.getPropertyValue("--indent") || 0);
            const tops = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
            const last = [...range.getClientRects()].at(-1);
            const width = parseFloat(getComputedStyle(line).fontSize) * 0.55;
            return [tops.size, last.left - line.getBoundingClientRect().left, indent * width];
        }).filter(([rows]) => rows > 1)""")
    assert wrapped and all(left > indent for _, left, indent in wrapped)


KEPT = "figure, svg.hero, svg.chapter-map, div.math, div.cell_input, form.s3-explorer"


def test_paper_cuts_no_figure_and_has_what_stands_folded_below_a_heading(visit):
    for page in ("book/index.html", LEDGER, "book/foundations/mutual_information.html"):
        tab = visit(viewport=DESKTOP, color_scheme="dark").open(page)
        folded = "document.querySelectorAll(':is(h2, h3) + details.fold:not([open])').length"
        before = tab.evaluate(folded)
        tab.emulate_media(media="print")
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.evaluate(folded) == 0
        assert tab.evaluate("document.documentElement.dataset.theme") == "light"
        assert tab.locator(KEPT).evaluate_all("""kept => kept.filter(
            each => getComputedStyle(each).breakInside !== "avoid").length""") == 0
        assert tab.locator("details.fold > summary:visible").count() == 0
        tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert tab.evaluate(folded) == before
        assert tab.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_links_of_the_text_are_underlined_by_day_and_by_night(scheme, visit):
    tab = visit(viewport=DESKTOP, color_scheme=scheme).open("book/reference/glossary.html")
    lines = tab.locator("article p a.reference, article dd a.reference").evaluate_all(
        """links => links.map(link => getComputedStyle(link)).map(style =>
            [style.textDecorationLine, parseFloat(style.textDecorationThickness)])""")
    assert lines and all(line == "underline" for line, _ in lines)
    assert all(thick >= (1.4 if scheme == "dark" else 1) for _, thick in lines)
