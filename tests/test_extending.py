"""The page on changing the method: its code runs, and does what the page says."""

import importlib
import re
import sys

import pytest
import torch
from conftest import ROOT

import s3rec_mini as s3
from s3rec_mini.objectives import OBJECTIVES

PAGE = (ROOT / "book" / "reference" / "extending.md").read_text(encoding="utf8")


@pytest.fixture
def page(monkeypatch, capsys):
    """What the page's code leaves behind; the objectives are four again afterwards."""
    monkeypatch.setitem(OBJECTIVES, "segment_attributes", None)
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, namespace)
    return namespace


def test_the_fifth_objective_is_trained_with_the_four(page, tmp_path):
    history, model = page["history"], page["model"]
    weighed = sum(weight * history[-1][name] for name, weight in page["weights"].items())
    assert history[-1]["loss"] == pytest.approx(weighed, rel=1e-5)
    assert history[-1]["segment_attributes"] < history[0]["segment_attributes"]
    model.save(tmp_path / "model.safetensors")
    again = page["WithSegmentAttributes"].load(tmp_path / "model.safetensors")
    head = model.segment_attributes_head.weight
    assert again.segment_attributes_head.weight.equal(head.cpu())


def test_the_fifth_objective_is_the_sum_over_each_segments_attributes(page):
    data, model = page["data"], page["model"]
    batch = next(iter(s3.pretraining_batches(data, batch_size=7, seed=2)))
    with torch.no_grad():
        loss = s3.pretraining_losses(model, batch, data.item_attributes,
                                     objectives=("segment_attributes",))["segment_attributes"]
        states = model(batch.masked_segment)[:, -1]
    total = 0.0
    for state, segment in zip(states, batch.positive_segment, strict=True):
        logits = model.attribute_embedding.weight @ model.segment_attributes_head(state)
        films = [item for item in segment.tolist() if item not in (0, data.mask_id)]
        for attribute, logit in enumerate(logits.sigmoid().tolist()):
            has = any(data.item_attributes[film, attribute] for film in films)
            total -= torch.tensor(logit if has else 1 - logit).log().item()
    assert loss.item() == pytest.approx(total / len(batch), rel=1e-4)


def test_the_command_line_starts_with_a_fifth_objective(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "fifth", None)
    monkeypatch.delitem(sys.modules, "s3rec_mini.tools.experiments")
    module = importlib.import_module("s3rec_mini.tools.experiments")
    assert module.IN_FORM["paper"].keys() == {"aap", "mip", "map", "sp"}


def test_the_places_that_the_page_names_are_there():
    for path, names in re.findall(r"\| `([\w/]+\.py)`(?:: (.+?))? \|$", PAGE, re.MULTILINE):
        folder = ROOT if path.startswith("benchmarks/") else ROOT / "s3rec_mini"
        source = (folder / path).read_text(encoding="utf8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^(?:def|class|)\s*{name}\b", source, re.MULTILINE), (path, name)
