"""Datasets by name or from a table on disk, and the weights that ship."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..datasets import SequenceDataset
from ..encoder import S3Rec
from .readers import Reading, read_attributes, read_interactions
from .synthetic import dataset_of_ids

DATA = Path(__file__).parents[1] / "data"

# The authors' repository has no licence: its files never ship here, but are downloaded by the
# reader (as they stand at this commit) or read from a folder.
_ADDRESS = ("https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/"
            "2a81540ae18615d88ef88227b0c066e5b74781e5/data/")
_AUTHORS = ("LastFM", "Beauty", "Toys_and_Games", "Sports_and_Outdoors", "Yelp")
# As sha256sum writes them: `sha256sum -c` checks a folder by the same file.
_SHA256 = dict(line.split()[::-1] for line in (DATA / "authors.sha256").read_text().splitlines())


def load_dataset(name: str, folder: str | os.PathLike | None = None) -> SequenceDataset:
    """Load a dataset by name.

    Parameters
    ----------
    name : str
        "movielens-small", which ships with the package, or one of the authors' (section 5.1):
        "LastFM", "Beauty", "Toys_and_Games", "Sports_and_Outdoors", "Yelp".
    folder : path, optional
        Where the authors' files lie, else the folder that $S3REC_DATA names. If neither is given
        they are downloaded once, with a progress bar, to the user's cache folder.

    Raises
    ------
    ValueError
        For an unknown name, or a file in the folder that is corrupt or of another version.
    FileNotFoundError
        If the folder lacks a file.
    OSError
        If a download failed or was not what the authors published. No part of it is kept.
    """
    if name == "movielens-small":
        return _movielens_small()
    if name not in _AUTHORS:
        known = {key.lower(): key for key in ("movielens-small", *_AUTHORS)}
        close = [known[key] for key in difflib.get_close_matches(str(name).lower(), known, n=1)]
        raise ValueError(f"there is no dataset {name!r}, only {', '.join(known.values())}."
                         + "".join(f" Did you mean {key!r}?" for key in close))
    lines = _fetch(f"{name}.txt", folder).read_text().splitlines()
    lists = json.loads(_fetch(f"{name}_item2attributes.json", folder).read_text())
    sequences = tuple(np.array(line.split()[1:], dtype=np.int64) for line in lines)  # users 1, 2, …
    num_attributes = max(max(ids, default=0) for ids in lists.values())
    table = torch.zeros(max(map(max, sequences)) + 2, num_attributes + 1, dtype=torch.uint8)
    for item, ids in lists.items():
        table[int(item), ids] = 1
    return dataset_of_ids(name, sequences, table)


def _fetch(file: str, folder: str | os.PathLike | None = None) -> Path:
    """Find one of the authors' files, download it if no folder is named, check its sha256."""
    folder = folder or os.environ.get("S3REC_DATA")
    if not folder:
        return _download(file)
    path = Path(folder).expanduser() / file
    if not path.is_file():
        raise FileNotFoundError(f"{file} is not in {path.parent}, the folder given or named by "
                                "S3REC_DATA: put it there, or give no folder to download it")
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256[file]:
        raise ValueError(f"{path} is corrupt or another version, as its sha256 is not "
                         f"{_SHA256[file]}: replace it by {_ADDRESS}{file}")
    return path


def _download(file: str) -> Path:
    import pooch  # not at the top: `import s3rec_mini` loads no download library

    cache = pooch.os_cache("s3rec-mini")
    try:  # pooch writes to a temporary file, and renames it once the sum is right
        return Path(pooch.retrieve(_ADDRESS + file, _SHA256[file], file, cache, progressbar=True))
    except (OSError, ValueError) as error:  # all that requests raises is an OSError
        raise OSError(f"could not download {_ADDRESS}{file} to {cache}, and kept nothing: {error}\n"
                      "Check connection and disk and try again, or get the file by other means and "
                      "name its folder in S3REC_DATA") from error


def open_dataset(name: str, attributes: Path | None = None,
                 reading: Reading | None = None) -> SequenceDataset:
    """Open a dataset by name, or a table on disk.

    Parameters
    ----------
    name : str
        As for `load_dataset`; or a file of interactions: CSV, TSV, MovieLens' and RecBole's files,
        Parquet, gzipped or not.
    attributes : Path, optional
        Another such file, with a column of items; its other columns are fields of attributes.
    reading : Reading, optional
        How to read the two files, where they do not say it themselves.

    Raises
    ------
    ValueError, OSError
        If a file cannot be read, or can be read in two ways, or for a dataset by name files or
        readings are given.
    """
    reading, path = reading or Reading(), Path(name)
    if name in ("movielens-small", *_AUTHORS) or not (path.suffix or path.exists()):
        said = Reading.differing({}, asdict(reading)) + ["attributes"] * (attributes is not None)
        if said:
            raise ValueError(f"{name} is no file and has attributes of its own: leave out "
                             + ", ".join(f"{option}=" for option in said))
        return load_dataset(name)
    frame = read_interactions(name, reading)
    extra = read_attributes(attributes, reading, frame["item"]) if attributes is not None else None
    return SequenceDataset.from_interactions(
        frame, attributes=extra, min_count=reading.min_count, name=name,
        list_separator=reading.list_separator, min_items=reading.min_items)


def movielens_interactions() -> pd.DataFrame:
    """Read the ratings behind "movielens-small", in the order in which its sequences hold them.

    That is time order, and by movieId (an arbitrary choice) within the same second. Seven ratings
    without a title are left out. GroupLens's terms lie beside the file.

    Returns
    -------
    pandas.DataFrame
        userId, movieId, rating (stars), timestamp (seconds since 1970), title, year and genres.
    """
    frame = pd.read_csv(DATA / "movielens-small.csv.gz").dropna(subset=["title"])
    return frame.astype({"year": int}).sort_values(["timestamp", "movieId"], ignore_index=True)


def _movielens_small() -> SequenceDataset:
    frame = movielens_interactions()
    films = frame.drop_duplicates("movieId").set_index("movieId")
    genres = films["genres"].where(films["genres"] != "(no genres listed)").str.split("|")
    decades = (films["year"] // 10 * 10).astype(str) + "s"
    attributes = pd.DataFrame({"genre": genres, "decade": decades}).reset_index()
    data = SequenceDataset.from_interactions(
        frame, "userId", "movieId", attributes=attributes, name="movielens-small")
    titles = (films["title"] + " (" + films["year"].astype(str) + ")").rename(index=str)
    names = titles[list(data.item_names[1:-1])]
    assert names.is_unique  # which titles without years are not
    return replace(data, item_names=("[padding]", *names, "[mask]"), dropped_items={
        titles[film]: count for film, count in data.dropped_items.items()})


def load_model(name: str) -> S3Rec:
    """Load weights that ship with the package, such as "movielens-small".

    Each file lies in ``s3rec_mini/data`` beside a model card that names the command that
    made it and the licence of its data.

    Raises
    ------
    ValueError
        If no weights of that name ship; the message lists those that do.
    """
    shipped = sorted(path.stem for path in DATA.glob("*.safetensors"))
    if name not in shipped:
        raise ValueError(f"no weights named {name!r} ship with s3rec_mini: there are {shipped}")
    return S3Rec.load(DATA / f"{name}.safetensors")
