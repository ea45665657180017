"""The reference part as files: what its pages must name, and code that runs."""

import re
from dataclasses import replace

from conftest import ROOT

import s3rec_mini as s3
from s3rec_mini.tools import cli

REFERENCE = ROOT / "book" / "reference"


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
