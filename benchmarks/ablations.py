"""The ablations: pretraining with something left out or changed, measured on all users.

    python benchmarks/ablations.py movielens-small --seeds 3     # --help lists the options

A run whose results file is there is not run again, and one that was interrupted goes on.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import s3rec_mini as s3
from s3rec_mini.tools import streams
from s3rec_mini.tools.cli import with_settings
from s3rec_mini.tools.experiments import IN_FORM, make
from s3rec_mini.tools.settings import Settings, setting

# What is changed of the whole pretraining: fields of PretrainConfig, or the share of users.
ALL = s3.PretrainConfig().weights
VARIATIONS: dict[str, dict] = {
    "all-released": {},
    **{f"without-{name}": {"weights": ALL | {name: 0.0}} for name in ALL},
    **{f"only-{name}": {"weights": {name: ALL[name]}} for name in ALL},
    **{f"all-{form}": {"forms": IN_FORM[form]} for form in ("paper", "infonce")},
    **{f"epochs-{epochs}": {"epochs": epochs} for epochs in (10, 25, 50)},
    **{f"data-{percent}": {"share": percent / 100} for percent in (20, 40, 60, 80)},
    **{f"data-20-{form}": {"share": 0.2, "forms": IN_FORM[form]} for form in ("paper", "infonce")},
    "scratch": {"epochs": 0},
    **{f"scratch-data-{percent}": {"epochs": 0, "share": percent / 100}
       for percent in (20, 40, 60, 80)}}


@dataclass(frozen=True)
class Experiment(Settings):
    """How often the experiment runs, and where it writes."""

    seeds: int = setting(3, "How many seeds: 0, 1, …", least=1)
    folder: Path = setting(Path("runs/results"), "Where records and ranks of each run go.")
    runs: Path = setting(Path("runs"), "Where checkpoints go.")


app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
@with_settings(pretraining=("weights", "forms", "seed"), finetuning=("seed",))
def ablate(
    name: Annotated[str, typer.Argument(help="Dataset by name.")], plan: Experiment,
    finetuning: s3.FinetuneConfig, pretraining: s3.PretrainConfig, sizes: s3.ModelConfig,
    variation: Annotated[list[str] | None, typer.Option(
        help=f"Repeatable; else {', '.join(VARIATIONS)}.")] = None,
):
    """Pretrain with something left out or changed, finetune, and evaluate on all users.

    In data-P, on P % of the users, batches shrink by the same share: an epoch has as many steps.
    """
    if unknown := sorted(set(variation or ()) - VARIATIONS.keys()):
        raise ValueError(f"there is no variation {unknown[0]}: choose from {', '.join(VARIATIONS)}")
    data = s3.load_dataset(name)
    for seed, label in product(range(plan.seeds), variation or VARIATIONS):
        change = {"share": 1.0, **VARIATIONS[label]}
        share = change.pop("share")
        # Of two shares with one seed the smaller is part of the larger.
        order = streams.generator("users left out", seed).permutation(data.num_users)
        part = data if share == 1 else data.subset(np.sort(order[:round(share * data.num_users)]))
        tuned, trained = (replace(config, seed=seed, batch_size=round(share * config.batch_size))
                          for config in (finetuning, pretraining))
        trained = None if change.get("epochs") == 0 else replace(trained, **change)
        where = Path(data.name, "ablations", f"{label}-seed{seed}")
        make(plan, where, {"dataset": data.name, "variation": label, "users": part.num_users}, data,
             part, sizes, tuned, trained, plan.runs / where / f"pretraining-seed{seed}",
             probe=partial(probed, data))


def probed(data, model) -> dict[str, float]:
    """Ask how well a linear probe reads the attributes off the item embeddings."""
    frame = s3.inspection.probe_attributes(model.item_vectors, data.item_attributes)
    return frame[["auc", "control_auc"]].mean().to_dict()


if __name__ == "__main__":
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(f"ablations: {error}")
