"""Set our training beside that of others: the same work, in turns, on one thread of the CPU.

    python benchmarks/versus.py released FOLDER LastFM   # FOLDER: a checkout of the authors' code
    python benchmarks/versus.py rectools Beauty --python PATH   # of an interpreter with RecTools

Times are CPU seconds. The two programs take turns, since the speed of a machine drifts: what
travels from one machine to another is the ratio of a pair. Each prints a line a pair, the
median, and all as a line of JSON.

**released** compares pretraining: all four objectives, dropout, the optimizer's step and the making
of batches, on every prefix of the same users, drawn at random. Theirs pads all to 50; ours pads a
batch to its longest prefix, and puts those of like length together, among 64 batches: fewer
`--batches` are done sooner, but leave ours more padding than a whole epoch has. What else differs
changes no count of work (the book's page "Paper and code" lists it).

**rectools** compares one epoch of finetuning, the validation left out: the newest 51 training
items of every user as one sequence, left-padded, batches of as many sequences, width 64, two blocks
of two heads, dropout 0.5, one negative a position for the pointwise loss. What differs in the work:
theirs pads to 50 and scores padding too; its feed-forward net is 64 wide, ours 256; its catalogue
lacks the items that nobody trains on.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer

import s3rec_mini as s3

app = typer.Typer(pretty_exceptions_enable=False)
OTHERS = Path(__file__).parent / "others"
EPOCHS = 3  # of our finetuning in a pair: theirs takes longer by an order of magnitude


def others(script: str, asked: dict, python: str = sys.executable) -> dict:
    """Run a script of `others` in a process with one thread; return its answer."""
    done = subprocess.run(
        [python, OTHERS / script], input=json.dumps(asked), capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"})
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def in_turns(work: str, name: str, pairs: int, theirs, ours) -> None:
    """Time both programs in turns; print each pair, and all of them as a line of JSON."""
    measured = []
    for number in range(1, pairs + 1):
        pair = {"theirs": theirs(), "ours": ours()}
        for one in pair.values():
            one["sequences/s"] = one["sequences"] / one["CPU seconds"]
        pair["ratio"] = pair["ours"]["sequences/s"] / pair["theirs"]["sequences/s"]
        measured.append(pair)
        rates = ", ".join(f"{pair[who]['sequences/s']:.0f} a second ({pair[who]['sequences']} in "
                          f"{pair[who]['CPU seconds']:.1f} CPU s)" for who in ("theirs", "ours"))
        typer.echo(f"{work}, {name}, pair {number}: sequences {rates}, {pair['ratio']:.2f} times")
    ratio = median(pair["ratio"] for pair in measured)
    typer.echo(f"{work}, {name}: {ratio:.2f} times, the median of {pairs}")
    typer.echo(json.dumps({
        "work": work, "dataset": name, "ratio": ratio, "pairs": measured,
        "machine": {"system": platform.platform(), "python": platform.python_version(),
                    "torch": torch.__version__, "threads": torch.get_num_threads(),
                    "CPU": torch.backends.cpu.get_cpu_capability(),
                    "load": round(os.getloadavg()[0], 1)}}))


def some_users(data, prefixes: int) -> np.ndarray:
    """Draw users until they have this many prefixes, or all."""
    counts = [min(len(sequence), 50) for sequence in data.training_sequences]
    order = np.random.default_rng(0).permutation(data.num_users)
    return np.sort(order[: np.searchsorted(np.cumsum(np.array(counts)[order]), prefixes) + 1])


def pretrain_ours(data, batch_size: int) -> dict:
    """Pretrain a new model for two epochs, and return the second: the first steps are slow."""
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data))
    _, record = s3.pretrain(model, data, s3.PretrainConfig(2, batch_size))
    return {"sequences": record["sequences"], "CPU seconds": record["cpu_seconds"]}


def finetune_ours(data, loss: str, batch_size: int) -> dict:
    """Finetune a new model; return the mean of the epochs after the first."""
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data)).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    for epoch in range(1 + EPOCHS):
        if epoch == 1:  # the first steps of a process are slow
            start, sequences, predictions = time.process_time(), 0, 0
        for batch in s3.finetuning_batches(data, batch_size=batch_size, epoch=epoch):
            optimizer.zero_grad()
            s3.finetuning_loss(model, batch, loss).backward()
            optimizer.step()
            if epoch:
                sequences, predictions = sequences + len(batch), predictions + batch.num_terms
    return {"sequences": sequences // EPOCHS, "predictions": predictions // EPOCHS,
            "CPU seconds": (time.process_time() - start) / EPOCHS}


@app.command()
def released(
    folder: Annotated[Path, typer.Argument(help="Checkout of the authors' code.")] = Path(),
    name: Annotated[str, typer.Argument(help="One of the authors' data sets.")] = "LastFM",
    pairs: int = 3, batches: int = 64, batch_size: int = 100,
):
    """Pretrain with the authors' released code and with ours."""
    if not (folder / "trainers.py").is_file():
        raise SystemExit(f"{folder} holds no trainers.py: give a checkout of the authors' code, "
                         f"made by git clone https://github.com/RUCAIBox/CIKM2020-S3Rec")
    data = s3.load_dataset(name, folder / "data")  # the very files that their code reads
    users = some_users(data, batches * batch_size)
    asked = {"folder": str(folder.resolve()), "name": name, "batch_size": batch_size,
             "users": users.tolist()}
    in_turns("pretraining, the released code and ours", name, pairs,
             lambda: others("released_code.py", asked),
             lambda: pretrain_ours(data.subset(users), batch_size))


@app.command()
def rectools(
    name: Annotated[str, typer.Argument(help="A data set.")] = "Beauty",
    python: Annotated[str, typer.Option(help="Interpreter that has RecTools.")] = sys.executable,
    loss: Annotated[str, typer.Option(help="softmax or pointwise; both if left out.")] = "",
    pairs: int = 1, batch_size: int = 256,
):
    """Finetune for an epoch with RecTools' SASRec and with ours."""
    if subprocess.run([python, "-c", "import rectools"], capture_output=True).returncode:
        raise SystemExit(f"{python} has no RecTools: python -m venv rectools && rectools/bin/pip "
                         f'install "rectools[torch]", then add --python rectools/bin/python')
    data = s3.load_dataset(name)
    asked = {"sequences": [s.tolist() for s in data.training_sequences], "batch_size": batch_size}
    theirs = {"softmax": "softmax", "pointwise": "BCE"}
    for own in [loss] if loss else theirs:
        in_turns(f"finetuning, {own}: RecTools and ours", name, pairs,
                 lambda own=own: others("rectools_sasrec.py", asked | {"loss": theirs[own]},
                                        python),
                 lambda own=own: finetune_ours(data, own, batch_size))


if __name__ == "__main__":
    torch.set_num_threads(1)
    app()
