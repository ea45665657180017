"""A new setting takes two edits: shown on a copy of the package, to which one is added."""

import os
import re
import shutil
import sys
from dataclasses import asdict

import pytest
from conftest import ROOT, run

import s3rec_mini as s3

PAGE = (ROOT / "book" / "reference" / "extending.md").read_text(encoding="utf8")
# What each of the two edits comes after, and what it adds, as the page shows it.
PLACES = ("validation negatives.\", least=0, most=2**32 - 1)\n",
          "sampled_items=config.sampled_items))\n")
ADDED = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package in which finetuning knows weight decay."""
    folder = tmp_path_factory.mktemp("edited")
    shutil.copytree(ROOT / "s3rec_mini", folder / "s3rec_mini",
                    ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "s3rec_mini" / "training.py"
    source = path.read_text(encoding="utf8")
    for place, added in zip(PLACES, ADDED, strict=True):
        assert source.count(place) == 1
        source = source.replace(place, place + added)
    path.write_text(source, encoding="utf8")
    return folder


def python(copy, code, **variables):
    environment = {**os.environ, "PYTHONPATH": str(copy), "TQDM_DISABLE": "1", **variables}
    return run(sys.executable, "-c", code, cwd=copy, env=environment)


def test_the_setting_is_documented_checked_and_used(copy):
    script = """
import torch, s3rec_mini as s3
assert "weight_decay : float = 0.0\\n    Of Adam: how much" in s3.FinetuneConfig.__doc__
try:
    s3.FinetuneConfig(weight_decay=-1)
except ValueError as error:
    print(error)
data, _ = s3.planted_structure(num_users=20)
norms = []
for decay in (0.0, 10.0):
    torch.manual_seed(0)
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data, hidden_size=8))
    s3.finetune(model, data, s3.FinetuneConfig(epochs=3, weight_decay=decay))
    norms.append(model.item_embedding.weight.norm())
print(bool(norms[1] < norms[0]))"""
    said = python(copy, script, ACCELERATE_USE_CPU="true").splitlines()
    assert said == ["weight_decay must be a number of at least 0, not -1", "True"]


def test_the_setting_is_an_option_of_the_command_line(copy):
    help_text = python(copy, "import sys; sys.argv = ['s3rec', 'finetune', '--help']\n"
                             "from s3rec_mini.tools.cli import main\nmain()", COLUMNS="200")
    (line,) = (line for line in help_text.splitlines() if "--weight-decay" in line)
    assert "Of Adam: how much weights shrink" in line and "0.0" in line


def test_what_was_made_before_the_setting_still_counts(copy, tmp_path):
    """A run that this program began goes on in the one that knows a setting more."""
    data, _ = s3.planted_structure(num_users=20)
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data, hidden_size=8))
    model.save(tmp_path / "start.safetensors", data=data)
    s3.finetune(model, data, s3.FinetuneConfig(epochs=1), tmp_path / "checkpoint")
    saved = asdict(s3.FinetuneConfig())
    script = f"""
import s3rec_mini as s3
data, _ = s3.planted_structure(num_users=20)
assert s3.FinetuneConfig.differing({saved!r}, {{**{saved!r}, "weight_decay": 0.0}}) == []
for decay in (0.0, 0.1):
    model = s3.S3Rec.load({str(tmp_path / "start.safetensors")!r})
    config = s3.FinetuneConfig(epochs=2, weight_decay=decay)
    try:
        print(len(s3.finetune(model, data, config, {str(tmp_path / "checkpoint")!r})))
    except ValueError as error:
        print("refused" if "another run, whose settings differ" in str(error) else error)"""
    assert python(copy, script, ACCELERATE_USE_CPU="true").split() == ["2", "refused"]
