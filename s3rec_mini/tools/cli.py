"""The command line, ``s3rec``: the same stages as in Python, each with ``--help``.

NAME is a dataset's name or, but for `reproduce`, a file of interactions, which `Reading` says
how to read. Results are JSON that says with which command,
settings, seed, commit and machine they were made. The fields of the configs say what may be set:
`with_settings` makes the options of them.
"""

import inspect
import os
import re
import sys
import warnings
from dataclasses import MISSING, Field, asdict, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, get_args

import torch
import typer

from .. import training
from ..encoder import ModelConfig, S3Rec
from ..training import FinetuneConfig, PretrainConfig
from . import experiments
from .files import check_writable, is_checkpoint
from .negatives import negatives_for
from .readers import INTEGER, Reading
from .recommend import recommend as recommend_items
from .results import collect as collect_results
from .results import columns, write_record
from .settings import Settings, default, kinds
from .sources import load_dataset, open_dataset
from .tables import attribute_report
from .vocabulary import renumbered

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
                  help="S3-Rec: pretrain, finetune, evaluate and recommend.")


# ---- options

KEYWORD = inspect.Parameter.KEYWORD_ONLY
# Those that are files.
READ, WRITTEN = ("name", "attributes", "weights", "negatives"), ("output", "results")


def _argument(kind: type, text: str):
    return Annotated[kind, typer.Argument(help=text)]


def _option(kind: type, text: str, *names: str, **more):
    return Annotated[kind, typer.Option(*names, help=text, **more)]


Name = _argument(str, "Dataset, or a file of who chose what and when: CSV, Parquet, RecBole's, …")
Attributes = _option(Path | None, "A second such file: items, and columns of attributes.")
Weights = _argument(Path, "A model file, as pretrain and finetune write it.")
Output = _option(Path, "Model file to write.")
Checkpoint = _option(Path | None, "Folder to save to and resume from.")
Results = _option(Path | None, "JSON file to write; printed without it.")
Negatives = _option(str | None, "How many to draw for each user, 99 without it; or a file with a "
                    "line for each, USER ITEM ITEM …, such as the authors' NAME_sample.txt.")
Threads = _option(int | None, "Of torch; else OMP_NUM_THREADS, or one.", min=1, max=1024)


def with_settings(**without: tuple[str, ...]):
    """Let a command take configs, each made of an option for every field, and spare its files.

    It takes threads too.

    Configs are the arguments annotated with one; `without` names, by argument, the fields that are
    no options of this command. A field that has no default is none either; it is set to its least.
    Where an earlier config has a field of the same name, the option begins with the argument's
    name: ``--pretraining-epochs``.
    """

    def decorate(command):
        taken = inspect.signature(command).parameters.values()
        configs = {each.name: each.annotation for each in taken
                   if inspect.isclass(each.annotation) and issubclass(each.annotation, Settings)}
        options: dict[str, tuple[str, Field]] = {}  # by name: whose it is, and the field
        for argument, config in configs.items():
            for each in fields(config):
                name = each.name if each.metadata["option"] is None else each.metadata["option"]
                left_out = each.name in without.get(argument, ()) or default(each) is MISSING
                if name and not left_out:
                    options[f"{argument}_{name}" if name in options else name] = argument, each

        @wraps(command)
        def call(**given):
            torch.set_num_threads(given.pop("threads") or torch.get_num_threads())
            for argument, config in configs.items():
                own = {name: each for name, (owner, each) in options.items() if owner == argument}
                given[argument] = _config(config, own, {name: given.pop(name) for name in own})
            _spare(command.__name__, given)
            return command(**given)

        shown = [each.replace(kind=KEYWORD) for each in taken if each.name not in configs]
        shown += [_parameter(name, each) for name, (_, each) in options.items()]
        shown += [inspect.Parameter("threads", KEYWORD, default=None, annotation=Threads)]
        call.__signature__ = inspect.Signature(shown)
        call.__annotations__ = {each.name: each.annotation for each in shown}
        return call

    return decorate


def _parameter(name: str, declared: Field) -> inspect.Parameter:
    """Make the option of a setting: its text as help, what it may be where the type stands."""
    kind, usual, text = kinds(declared.type)[0], default(declared), declared.metadata["text"]
    signs = {"least": "≥", "above": ">", "most": "≤", "below": "<"}
    limits = [f"{signs[each]} {limit}" for each, limit in declared.metadata["limits"].items()]
    option = _option(declared.type, text, metavar="|".join(
        declared.metadata["choices"] or [" ".join([kind.__name__, *limits])]))
    if kind is dict:
        pairs = " ".join(f"{key}={value}" for key, value in usual.items())
        option = _option(list[str] | None, f"{text} Repeatable.", metavar="NAME=VALUE",
                         show_default=pairs or False)
        usual = None
    elif usual is False:
        option = _option(bool, text, f"--{name.replace('_', '-')}")  # no --no-smoke
    return inspect.Parameter(name, KEYWORD, default=usual, annotation=option)


def _config(config: type, options: dict[str, Field], given: dict) -> Settings:
    """Make a config of what was given for its options; an error names them, not the fields."""
    names = {each.name: f"--{name.replace('_', '-')}" for name, each in options.items()}
    least = {each.name: each.metadata["limits"]["least"] for each in fields(config)
             if default(each) is MISSING}
    try:
        return config(**least, **{each.name: _value(each, given[name])
                                  for name, each in options.items()})
    except ValueError as error:
        named = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), str(error))
        raise ValueError(named) from None


def _value(declared: Field, given):
    """Return the value of a setting: of pairs, NAME=VALUE, the default with these put over it."""
    if dict not in kinds(declared.type):
        return given
    kind = get_args(declared.type)[1]
    try:
        pairs = dict(pair.split("=") for pair in given or ())
        return default(declared) | {name: kind(value) for name, value in pairs.items()}
    except ValueError:
        raise ValueError(f"{declared.name} takes NAME=VALUE, VALUE being a {kind.__name__}, "
                         f"not {' '.join(given)}") from None


def _spare(command: str, given: dict) -> None:
    """Find out first, not after hours, that a command may write all that it will write.

    It writes over nothing that it reads or another option writes, and over no run that can go on.
    """
    paths = {name: Path(given[name]) for name in (*READ, *WRITTEN) if given.get(name)}
    if given.get("checkpoint"):
        paths["checkpoint"] = given["checkpoint"] / f"{command}.safetensors"
    for name in [name for name in paths if name not in READ]:
        path, others = paths[name], [paths[other] for other in paths if other != name]
        check_writable(path)
        # A file in the place of another one's folder is in its way too.
        if any(Path(os.path.realpath(other)).is_relative_to(os.path.realpath(path))
               for other in others) or (name in WRITTEN and is_checkpoint(path)):
            raise ValueError(f"--{name} would write over {path}, which this command reads, another "
                             f"option writes, or a run goes on from: choose another")


# ---- commands


@app.command()
@with_settings()
def data(name: Name, reading: Reading, attributes: Attributes = None):
    """Print a dataset's counts, its first user's history and its attributes."""
    dataset = open_dataset(name, attributes, reading)
    first = [dataset.item_names[item] for item in dataset.sequences[0][:10]]
    typer.echo(f"{dataset}\nuser {dataset.user_names[0]}: {' | '.join(first)} …\n"
               + attribute_report(dataset))


@app.command()
@with_settings()
def pretrain(name: Name, pretraining: PretrainConfig, sizes: ModelConfig, reading: Reading,
             output: Output = Path("pretrained.safetensors"), attributes: Attributes = None,
             checkpoint: Checkpoint = None, results: Results = None):
    """Pretrain a new model on the four objectives."""
    dataset = open_dataset(name, attributes, reading)
    model = experiments.new_model(dataset, sizes, pretraining.seed)
    history = training.pretrain(model, dataset, pretraining, checkpoint)
    model.save(output)
    write_record({"model": asdict(model.config), "pretraining": asdict(pretraining),
                  "history": columns(history)}, results)


@app.command()
@with_settings()
def finetune(name: Name, finetuning: FinetuneConfig, reading: Reading,
             weights: _option(Path | None, "Pretrained model; a new one without it.") = None,
             output: Output = Path("finetuned.safetensors"), attributes: Attributes = None,
             negatives: Negatives = None, checkpoint: Checkpoint = None, results: Results = None):
    """Finetune a pretrained or new model to predict the next item."""
    dataset = open_dataset(name, attributes, reading)
    model = _load(weights, dataset) if weights else experiments.new_model(
        dataset, ModelConfig.for_dataset(dataset), finetuning.seed)
    history = training.finetune(model, dataset, finetuning, checkpoint,
                                experiments.read_negatives(negatives, dataset))
    model.save(output)
    write_record({"model": asdict(model.config), "finetuning": asdict(finetuning),
                  "history": columns(history)}, results)


@app.command()
@with_settings()
def evaluate(name: Name, weights: Weights, reading: Reading, attributes: Attributes = None,
             split: _option(str, "test or validation.") = "test", negatives: Negatives = None,
             seed: _option(int, "Of the negatives.", min=0) = 0, results: Results = None):
    """Rank every user's held-out item among all items and among 99 negatives.

    Where somebody has not seen so few, the ranks among all items are printed alone.
    """
    dataset = open_dataset(name, attributes, reading)
    model, asked = _load(weights, dataset), experiments.read_negatives(negatives, dataset)
    dataset.held_out(split)  # there is one
    try:
        drawn = negatives_for(asked, dataset, split, seed)
    except ValueError as error:
        if not isinstance(asked, int):
            raise
        drawn, negatives = None, "none"
        typer.echo(f"ranked among all items only: {_in_options(error)}", err=True)
    measured, _ = experiments.measure(model, dataset, split, drawn, seed)
    write_record({"dataset": dataset.name, "weights": str(weights), "model": asdict(model.config),
                  "negatives": str(negatives or "99 drawn"), "seed": seed, **measured}, results)


@app.command(context_settings={"ignore_unknown_options": True})  # which may be items: -7
@with_settings()
def recommend(name: Name, weights: Weights, reading: Reading,
              history: _argument(list[str], "Items seen, oldest first: names, or whole numbers, "
                                 "which are the items' own where all of them are such, else ids."),
              attributes: Attributes = None, k: _option(int, "How many to recommend.") = 10):
    """Recommend the next items to somebody with this history."""
    dataset = open_dataset(name, attributes, reading)
    known = dataset.ids_by_key.keys() | dataset.dropped_items.keys()
    if wrong := [item for item in history if item.startswith("-") and item not in known]:
        raise ValueError(f"there is no option {wrong[0]}, and no item of that name: --help lists "
                         f"the options; items that look like one follow a lone --")
    seen = [int(one) if one not in known and INTEGER.fullmatch(one) else one for one in history]
    typer.echo(recommend_items(_load(weights, dataset), dataset, seen, k).to_string(index=False))


@app.command()
@with_settings(pretraining=("weights", "forms", "seed"), finetuning=("seed",))
def reproduce(names: _argument(list[str], "Datasets by name."), plan: experiments.Reproduction,
              finetuning: FinetuneConfig, pretraining: PretrainConfig, sizes: ModelConfig):
    """Train from scratch (SASRec) and from pretrained weights, and evaluate both on the test items.

    Runs whose results file exists are not run again, and one that was interrupted goes on.
    """
    experiments.reproduce(map(load_dataset, names), plan, sizes, pretraining, finetuning)


@app.command()
def collect(folder: _option(Path, "Where runs wrote results.") = experiments.Reproduction.folder,
            into: _option(Path, "Where those of a checkout are.") = Path("s3rec_mini/data/results"),
            replace: _option(bool, "Let a run take another's place.", "--replace") = False):
    """Merge the results of runs into those that travel with the package, the ranks too.

    No run is lost: one that is there already is left, and another one of its name is refused.
    """
    typer.echo(f"{len(collect_results(folder, into, replace))} new runs in {into}")


# ---- what commands share


def _load(weights: Path, dataset) -> S3Rec:
    """Load a model and let its items have the numbers they have in the data."""
    model = S3Rec.load(weights)
    fitting = renumbered(model, dataset)
    if fitting is not model:
        typer.echo(f"{weights} knows {model.config.num_items} items: the {dataset.num_items} of "
                   f"{dataset.name} are among them, found by name", err=True)
    return fitting


def main():
    """Run the command line; what the user can mend is one line, no traceback and no source."""
    sys.stdout.reconfigure(errors="backslashreplace")  # names, where a file takes fewer letters
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", category=UserWarning, module="s3rec_mini")
            warnings.showwarning = lambda message, *_, **__: typer.echo(
                f"s3rec: {_in_options(message)}", err=True)
            app()
    except (ValueError, OSError) as error:
        sys.exit(f"s3rec: {_in_options(error)}")
    except (MemoryError, RuntimeError) as error:
        if "memory" not in repr(error).lower():  # as torch says it in its RuntimeError
            raise
        sys.exit("s3rec: this takes more memory than there is: make the model or batches smaller")


ARGUMENTS = {"attributes", "negatives", *(each.name for config in (
    Reading, ModelConfig, PretrainConfig, FinetuneConfig) for each in fields(config))}


def _in_options(message: Exception | Warning) -> str:
    """Tell of options what a message tells of Python's arguments: --min-count for min_count=."""
    named = rf"\b({'|'.join(ARGUMENTS)})=(?:'(\w+)'|('[^']*'|\w*))|^(k|split)(?= must)"
    return re.sub(named, lambda at: "--" + (at[4] or (
        f"{at[1].replace('_', '-')} {at[2] or at[3]}").rstrip()), str(message))
