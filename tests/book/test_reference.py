"""The reference part as files: what its pages must name, and code that runs."""

import re
from dataclasses import replace

import nbformat
import numpy as np
import pytest
from conftest import ROOT

import s3rec_mini as s3
from s3rec_mini.tools import cli

BOOK = ROOT / "book"
REFERENCE = BOOK / "reference"
PAGES = sorted(path for path in (*BOOK.rglob("*.md"), *BOOK.rglob("*.ipynb"))
               if not ({".ipynb_checkpoints"} & set(path.parts)
                       or (path.parent.name == "assignments" and path.suffix == ".ipynb")))


def page(name):
    return (REFERENCE / f"{name}.md").read_text(encoding="utf8")


# ---- the package


def block(language):
    """The first block of code of the page of the package, in that language."""
    return re.search(rf"```{language}\n(.*?)```", page("api"), re.DOTALL)[1]


def test_the_lines_from_a_file_to_recommendations_run(tmp_path, monkeypatch, capsys):
    frame = s3.movielens_interactions().rename(columns={"user": "userId", "item": "movieId"})
    some = frame["userId"].isin(frame["userId"].unique()[:200])
    ids = frame["movieId"].astype("category").cat.codes  # whole numbers, as in MovieLens' file
    frame.assign(movieId=ids)[some].to_csv(tmp_path / "ratings.csv", index=False)
    for name, config in (("pretrain", s3.PretrainConfig()), ("finetune", s3.FinetuneConfig())):
        train = getattr(s3, name)
        monkeypatch.setattr(s3, name, lambda model, data, given=config, train=train: train(
            model, data, replace(given, epochs=1)))
    monkeypatch.chdir(tmp_path)
    known = s3.SequenceDataset.from_interactions(
        frame.assign(movieId=ids)[some], "userId", "movieId", "timestamp").item_names[1:3]
    exec(block("python").replace("[1, 260]", str([int(name) for name in known])), {})
    assert len(capsys.readouterr().out.splitlines()) == 6  # a head and five films


def test_the_commands_from_a_file_to_recommendations_are_those_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    commands = [line.partition("  #")[0] for line in block("sh").splitlines()[1:]]
    assert [line.split()[1] for line in commands] == [
        "data", "pretrain", "finetune", "evaluate", "recommend"]
    assert [line for line in commands if line not in readme] == []


def test_the_page_of_the_package_has_every_public_name_by_task_and_each_module_once():
    text = page("api")
    tasks = text[text.index("| You want to"):text.index("\n\n", text.index("| You want to"))]
    named = re.findall(r"`(\w+)[\w.]* <", tasks)
    assert sorted(named) == sorted(s3.__all__)
    modules = re.findall(r"^```\{documented\} (\S+)", text, re.MULTILINE)
    package = ROOT / "s3rec_mini"
    there = {".".join(path.relative_to(ROOT).with_suffix("").parts)
             for folder in (package, package / "tools", package / "looking")
             for path in folder.glob("*.py") if path.stem not in ("__init__", "cli")}
    assert sorted(modules) == sorted(there | {"s3rec_mini.looking.explorers"})
    assert cli.app.info.help  # the command line stands below, made from the program


# ---- the ledger of paper and code


def paragraphs(path):
    """The paragraphs of a page, each on one line."""
    if path.suffix == ".md":
        text = path.read_text(encoding="utf8")
    else:
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return [" ".join(each.split()) for each in re.split(r"\n\s*\n", text)]


def test_the_ledgers_overview_names_each_difference_and_trap():
    text = page("paper_and_code")
    overview = text[:text.index("## The four objectives")]
    labels = re.findall(r"^\(((?:ledger|trap)-[\w-]+)\)=", text, re.MULTILINE)
    assert len(labels) > 20
    assert [label for label in labels if f"`{label}`" not in overview
            and f"<{label}>`" not in overview] == []


def test_no_page_of_students_says_what_becomes_of_the_bound_when_twins_are_taken_out():
    """It is asked in the second assignment, question 6; its solution alone says it."""
    said = [each for path in PAGES for each in paragraphs(path)
            if re.search("false.negative", each, re.IGNORECASE) and "bound" in each]
    assert said == []


def mean(runs, protocol, metric):
    return np.mean([run[protocol]["metrics"][metric] for run in runs])


def test_what_the_ledger_calls_large_and_small_is_so_in_the_stored_results():
    lastfm = s3.load_results("LastFM")
    scratch, printed, released = (mean(lastfm[name], "sampled", "MRR") for name in (
        "scratch-pointwise", "pretrained-paper-pointwise", "pretrained-pointwise"))
    longer = mean(lastfm["LastFM-epochs-150-pointwise"], "sampled", "MRR")
    assert released / scratch > 1.2
    assert abs(printed / scratch - 1) < 0.03 and abs(longer / released - 1) < 0.02
    for runs in map(s3.load_results, ("Beauty", "Toys_and_Games")):
        for start in ("scratch", "pretrained"):
            pairwise, pointwise, softmax = (mean(runs[f"{start}-{loss}"], "full", "NDCG@10")
                                            for loss in ("pairwise", "pointwise", "softmax"))
            assert abs(pairwise / pointwise - 1) < 0.1 and softmax / pairwise > 1.5


# ---- said once


def test_pages_that_compare_the_code_with_ours_say_ties_and_stopping_as_the_ledger_does():
    """One row each, the same on every page, with a link to the ledger."""
    rows = {}
    for path in PAGES:
        text = "\n".join(paragraphs(path)) if path.stem != "paper_and_code" else ""
        for row in re.findall(r"\| ((?:\{ref\}`)?(?:A tie|Ties|Stopping|Early stopping)\b[^|]*"
                              r"\|[^|]*\|([^|]*)\|[^|]*)\|", text):
            if row[1].strip() != "–":
                rows.setdefault(row[0].strip("{ref}`").split()[0], set()).add(row[0])
    assert all(len(said) == 1 for said in rows.values()), rows
    assert all("<ledger-" in each for said in rows.values() for each in said), rows
    assert sorted(rows) == ["A", "Stopping"]


def test_every_proof_ends_with_the_same_sign():
    text = "\n".join(each for path in PAGES for each in paragraphs(path))
    assert text.count("∎") > 5
    assert re.findall(r"\\(?:square|blacksquare|Box|qed)\b|[□■◻]|Q\.E\.D", text) == []


def test_the_bibliography_names_entries_as_the_text_cites_them(monkeypatch):
    monkeypatch.syspath_prepend(BOOK / "_tools")
    bibliography = pytest.importorskip("s3rec_bibliography", reason="needs the extra book")
    from pybtex.database import parse_file

    entries = parse_file(REFERENCE / "references.bib").entries.values()
    labels = bibliography.AuthorYear().format_labels(list(entries))
    assert {"Zhou et al., 2020", "Kang and McAuley, 2018", "Bengio and Senécal, 2008"} < set(labels)
    assert ":style: author_year" in page("bibliography")


# ---- the glossary

FIELD = """
    AAP, MIP, MAP, SP, InfoNCE, NT-Xent, KL divergence, Kullback–Leibler divergence, PCA, t-SNE,
    ablation, attention, attribute, augmentation, average precision, baseline, batch, batch size,
    binary cross-entropy, block, bootstrap, causal mask, ceiling, checkpoint, context, control,
    cosine, critic, cross-entropy, density ratio, dot product, dropout, early stopping, embedding,
    encoder, entropy, epoch, expectation, false negative, feed-forward network, finetuning, floor,
    from scratch, gradient, head, hard negative, history, hit rate, hyperparameter, interaction,
    item, key, layer normalisation, leak, learning rate, leave-one-out, linear probe, logQ
    correction, logistic function, logit, long tail, loss, marginal, mask, mask id, matrix
    factorisation, mutual information, nat, negative, optimiser, padding, pairwise loss, patience,
    plateau, pointwise loss, pointwise mutual information, positional embedding, positive,
    post-norm, prefix, pretraining, query, rank, recommender, residual connection, rival, saddle,
    sampled softmax, score, seed, segment, self-attention, self-supervised, sequence, sequential
    recommendation, softmax, state, swap, temperature, test, tie, transformer, user, validation,
    value, view"""


def test_the_glossary_finds_the_words_of_the_field():
    terms = re.findall(r"^(?!```|:|#)(\S.*)$", page("glossary").split(":sorted:")[1], re.MULTILINE)
    assert len(terms) == len({term.lower() for term in terms})
    wanted = [" ".join(word.split()) for word in FIELD.split(",")]
    assert sorted(set(wanted) - set(terms)) == []


def test_a_word_of_the_glossary_leads_to_a_page():
    entries = re.split(r"\n\n(?=\S)", page("glossary").split(":sorted:")[1])
    assert [entry for entry in entries if "{doc}" not in entry and entry.strip("`\n ")] == []
