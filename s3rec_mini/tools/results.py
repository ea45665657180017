"""What a run writes down, and the results that travel with the package.

A run's record, ``FOLDER/RUN.json``, says with which command, settings, seeds, commit and machine it
was made; ``RUN.npz`` beside it holds every user's ranks. `collect` merges such files into those of
the package, one JSON Lines file a dataset, which `load_results` and `load_ranks` read.
"""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .files import expected, replacing, write_whole

RESULTS = Path(__file__).parents[1] / "data" / "results"  # those that travel with the package


def columns(history: list[dict]) -> dict[str, list]:
    """Turn a history into one list of numbers, of five digits, a column."""
    frame = pd.json_normalize(history)
    return {name: [float(f"{value:.5g}") for value in frame[name]] for name in frame}


def write_record(record: dict, path: Path | None) -> None:
    """Write a result with where it comes from as JSON, or print it where there is no path."""
    origin = {"command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), "commit": _commit(),
              "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} "
                         f"threads, Python {platform.python_version()}, torch {torch.__version__}"}
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in (origin | record).items())
    text = "{\n" + ",\n".join(lines) + "\n}"
    if path is None:
        return print(text)
    write_whole(path, f"{text}\n".encode())


def _commit() -> str:
    """Name the commit of a checkout, marked if the package differs, or the installed version."""
    git = ["git", "-C", str(RESULTS.parents[1])]
    try:  # an installed package may lie within somebody else's checkout, which does not track it
        for asked in (["ls-files", "--error-unmatch", "__init__.py"],
                      ["status", "--porcelain=v2", "--branch", "*.py"]):
            told = subprocess.check_output([*git, *asked], stderr=subprocess.DEVNULL, text=True)
    except (OSError, subprocess.CalledProcessError):
        from .. import __version__

        return f"s3rec-mini {__version__}, not a checkout"
    return told.split()[2] + " with changes" * any(line[0] != "#" for line in told.splitlines())


def write_ranks(ranks: dict[str, np.ndarray], num_items: int, path: Path) -> None:
    """Write ranks in the fewest bytes that hold them, two or four for those among all items."""
    largest = {"full": max(num_items, 2**8), "sampled": ranks["sampled"].max()}
    small = {name: ranks[name].astype(np.min_scalar_type(largest[name])) for name in ranks}
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **small)


# ---- results files


def load_results(folder: str) -> dict[str, list[dict]]:
    """Read the results that travel with the package, such as those of "movielens-small".

    ``s3rec reproduce`` and ``benchmarks/ablations.py`` make them; each run names its command.

    Parameters
    ----------
    folder : str
        Such as "LastFM" or "movielens-small/ablations"; ``data/results/README.md`` lists them.

    Returns
    -------
    dict of str to list of dict
        For each kind of run ("scratch-pairwise", …) the records of its runs, by seed.

    Raises
    ------
    ValueError
        If there are no results of that folder; the message lists those that there are.
    """
    stored = {key: record for path in sorted(RESULTS.glob("*.jsonl"))
              for key, record in _read_lines(path).items()}
    runs = {run: record for (where, run), record in stored.items() if where == folder.strip("/")}
    if not runs:
        there = sorted({where for where, _ in stored})
        raise ValueError(f"no results ship in {folder!r}: choose from {', '.join(there)}")
    return _by_kind(runs)


def load_ranks(folder: str) -> dict[str, list[dict[str, np.ndarray]]]:
    """Read the ranks of every user's test item, where a run of `load_results` kept them.

    They are in the repository, not in what pip installs.

    Parameters
    ----------
    folder : str
        As for `load_results`.

    Returns
    -------
    dict of str to list of dict
        For each kind of run, by seed, {"full": ranks, "sampled": ranks}, (num_users,) int64 each.

    Raises
    ------
    ValueError
        If no run of that folder has any.
    """
    ranks = {}
    for path in (RESULTS / "ranks" / folder).glob("*-seed*.npz"):
        with np.load(path) as stored:
            ranks[path.stem] = {name: stored[name].astype(np.int64) for name in stored}
    if not ranks:
        raise ValueError(f"no ranks are kept in {folder!r}: a checkout has those of newer runs")
    return _by_kind(ranks)


def collect(folder: Path, into: Path, overwrite: bool = False) -> list[Path]:
    """Merge the results files below `folder` into those that travel with the package.

    Parameters
    ----------
    folder : Path
        Holds ``FOLDER/RUN.json`` and the ranks beside them, which stay there.
    into : Path
        Holds ``DATASET.jsonl``, a line a run, and ``ranks/FOLDER/RUN.npz``.
    overwrite : bool
        Let a run take the place of another one of its folder and name.

    Returns
    -------
    list of Path
        Those whose runs were not there yet, or took the place of others.

    Raises
    ------
    ValueError
        If another run of that folder and name is there, or a file is no results file; it stays as
        it was, and what comes before it is merged.
    OSError
        If a file cannot be written; it is the old one still.
    """
    read, taken, paths = cache(_read_lines), [], sorted(folder.rglob("*.json"))
    if not paths:
        raise ValueError(f"there is no results file below {folder}")
    for path in paths:
        record, where = read_record(path), path.parent.relative_to(folder).as_posix()
        file, key = into / f"{Path(record['dataset']).name}.jsonl", (where, path.stem)
        lines = read(file)
        if lines.get(key, record) != record and not overwrite:
            raise ValueError(f"{file} holds another run {path.stem} of {where} than {path}: delete "
                             f"one of them, or replace it with --replace")
        if (ranks := path.with_suffix(".npz")).exists():
            with replacing(into / "ranks" / where / ranks.name) as unfinished:
                shutil.copyfile(ranks, unfinished)
        if lines.get(key) != record:
            lines[key] = record
            _write_lines(lines, file)
            taken.append(path)
    return taken


def read_record(path: Path) -> dict:
    """Read what a run wrote; ValueError if it is something else."""
    with expected(f"{path} is no results file: move it away"):
        record = json.loads(path.read_text())
        return record | {"dataset": str(Path(record["dataset"]))}


def _read_lines(path: Path) -> dict[tuple[str, str], dict]:
    """Read a JSON Lines file: each run's record by its folder and name."""
    with expected(f"{path} is no file of results, or it is damaged"):
        records = map(json.loads, path.read_text().splitlines() if path.exists() else ())
        return {(record.pop("folder"), record.pop("run")): record for record in records}


def _write_lines(records: dict[tuple[str, str], dict], path: Path) -> None:
    keys = sorted(records, key=lambda key: (key[0], *_in_order(key[1])))
    lines = (json.dumps({"folder": key[0], "run": key[1]} | records[key]) for key in keys)
    write_whole(path, "".join(f"{line}\n" for line in lines).encode())


def _by_kind(runs: dict) -> dict[str, list]:
    """Sort what there is of each run, "KIND-seedN", into a list by seed for each kind."""
    kinds: dict[str, list] = {}
    for run in sorted(runs, key=_in_order):
        kinds.setdefault(run.rpartition("-seed")[0], []).append(runs[run])
    return kinds


def _in_order(run: str) -> tuple[int, str]:
    return len(run), run  # seed 10 after seed 9
