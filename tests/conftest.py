"""What several test files share: small data, a model whose every weight matters, a full disk.

The package's tests lie in this folder (`make test`), others in folders below it: of the book as
files and programs, of the grading, of the built site.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from contextlib import contextmanager
from pathlib import Path

import pytest

# Before torch is loaded, and for what tests start: models this small gain nothing from a second
# thread, and beside other programs threads that wait for each other lose much.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from hypothesis import HealthCheck, settings

import s3rec_mini as s3
from s3rec_mini.tools import official
from s3rec_mini.tools.readers import Reading
from s3rec_mini.tools.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("ACCELERATE_USE_CPU", "true")  # models are compared on the CPU, bit for bit

# The same examples everywhere, and no deadline: other programs share the machine.
settings.register_profile("quick", max_examples=20, deadline=None, derandomize=True)
# `make fuzz`: other examples each time, and many.
settings.register_profile("fuzz", max_examples=1500, deadline=None, print_blob=True,
                          suppress_health_check=list(HealthCheck))
settings.load_profile("quick")


def cases(number):
    """Let hypothesis try so many cases in `make test`, and more in `make fuzz`."""
    return settings(max_examples=max(number, settings().max_examples))


def run(*command, **options):
    """Run a command and return its output; a failure shows it."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def make_data(sequences, num_items, num_attributes=4, name="small"):
    """Make a dataset in which item 1 has no attribute, item 2 all of them, the others some."""
    table = torch.zeros(num_items + 2, num_attributes + 1, dtype=torch.uint8)
    table[1:-1, 1:] = torch.from_numpy(
        np.random.default_rng(0).integers(0, 2, (num_items, num_attributes)))
    table[1], table[2, 1:] = 0, 1
    names = [tuple(map(str, range(n))) for n in (num_items + 2, num_attributes + 1, len(sequences))]
    return s3.SequenceDataset(name, tuple(map(np.array, sequences)), table, *names)


def with_names(model):
    """Let a model know what its items and attributes are called."""
    model.vocabulary = Vocabulary(
        tuple(f"item {number}" for number in range(model.config.num_items)),
        tuple(f"attribute {number}" for number in range(model.config.num_attributes)))
    return model


def make_model(num_items=12, num_attributes=4, seed=0, **settings):
    """Make a float64 model that computes exactly what its weights say, each far from zero.

    Biases, norms and padding rows too (the authors' padding rows are not zero either): under the
    small weights that training starts from, many a mistake would change nothing one can see.
    """
    settings = dict(hidden_size=8, num_layers=2, num_heads=2, max_length=50, dropout=0.0) | settings
    model = s3.S3Rec(s3.ModelConfig(num_items, num_attributes, **settings)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator).double() * 0.5)
    return with_names(model).eval()


def export_checkpoint(model, path):
    """Write weights under the authors' names, as their code would have saved them."""
    theirs = {}
    for name, names in official._names(model).items():
        pieces = model.state_dict()[name].detach().cpu().chunk(len(names))
        theirs |= {their: piece.clone() for their, piece in zip(names, pieces, strict=True)}
    path.parent.mkdir(exist_ok=True)
    torch.save(theirs, path)


@contextmanager
def full_disk(room=4000):
    """Let the kernel refuse to write more than `room` bytes to a file, as a full disk does."""
    resource = pytest.importorskip("resource", reason="only Unix limits the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


class Bomb:
    """Unpickled by anything that executes a pickle, it creates the file `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the files it is made of, as an sdist would hold them."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "s3rec_command.py"):
        shutil.copy(ROOT / name, source)
    unwanted = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for folder in ("s3rec_mini", "tests", "book"):
        shutil.copytree(ROOT / folder, source / folder, ignore=unwanted)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", built, source)
    (path,) = built.glob("s3rec_mini-*.whl")
    return path


@pytest.fixture
def on_colab(tmp_path, wheel, monkeypatch):
    """Return what executes a notebook on a machine like Colab's, from an empty folder.

    The wheel lies beside the notebook, as a reader uploads it. The first cell has to install it and
    no other library: everything else that is installed here is there, at versions that must stay.
    """
    client = pytest.importorskip("nbclient", reason="needs the extra book")
    interpreter, theirs, added = colab_machine(tmp_path)
    start_kernels_with(interpreter, tmp_path, monkeypatch)
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(wheel, empty)

    def execute(notebook):
        before = names(theirs), names(added)
        client.NotebookClient(
            notebook,
            timeout=600,  # seconds a cell, on a busy machine; a page promises 60 on two cores
            kernel_name="colab",
            resources={"metadata": {"path": str(empty)}},
        ).execute()
        package, _ = wheel.name.split("-py3-")
        assert names(theirs) == before[0]  # torch, numpy and the rest, at their versions
        assert names(added) - before[1] == {
            "s3rec_mini", "s3rec_command.py", f"{package}.dist-info"}

    return execute


def colab_machine(folder):
    """Make an interpreter, packages of its own, and a place for what pip adds to them.

    Everything that is installed here is there but the package, and `google.colab` is imported
    before the first cell, as Colab's kernel does.
    """
    here = Path(sysconfig.get_path("purelib"))
    theirs, environment = folder / "dist-packages", folder / "environment"
    theirs.mkdir()
    for entry in here.iterdir():
        if not re.match(r"s3rec_mini|__editable__", entry.name) and entry.suffix != ".pth":
            (theirs / entry.name).symlink_to(entry)
    venv.create(environment, symlinks=True)
    (added,) = environment.glob("lib/python*/site-packages")
    (added / "google" / "colab").mkdir(parents=True)
    (added / "google" / "colab" / "__init__.py").touch()
    (added / "colab.pth").write_text(f"{theirs}\nimport google.colab\n", encoding="utf8")
    return environment / "bin" / "python", theirs, added


def start_kernels_with(interpreter, folder, monkeypatch):
    """Let the kernel named "colab" run on `interpreter`, which knows nothing of this checkout."""
    kernel = folder / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    start = [str(interpreter), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": start, "display_name": "Colab"}))
    monkeypatch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
    monkeypatch.delenv("S3REC_DATA", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # what the package needs is there, or pip fails
    monkeypatch.setenv("TQDM_DISABLE", "1")


def names(folder):
    """Name what lies in a folder of packages, versions included."""
    return {path.name for path in folder.iterdir() if path.name != "__pycache__"}


@pytest.fixture(scope="session")
def reference():
    """Return the folder of numbers that the authors' code gave."""
    return Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def authors_files():
    """Return the folder with the authors' data and checkpoint, or skip the test."""
    if not os.environ.get("S3REC_DATA"):
        pytest.skip("S3REC_DATA names no folder with the authors' files")
    return Path(os.environ["S3REC_DATA"])


@pytest.fixture(scope="session")
def lastfm(authors_files):
    return s3.load_dataset("LastFM")


@pytest.fixture(scope="session")
def golden_batch(reference):
    """Return the authors' 16 pretraining examples, under our names, and what their code gave."""
    numbers = np.load(reference / "official_lastfm.npz")
    theirs = ["pos_items", "masked_item_sequence", "neg_items", "masked_segment_sequence",
              "pos_segment", "neg_segment"]
    return s3.PretrainBatch(*(torch.from_numpy(numbers[name]) for name in theirs)), numbers


@pytest.fixture
def authors_model(authors_files, lastfm):
    return s3.official.load_checkpoint(authors_files / "LastFM-epochs-150.pt", dataset=lastfm)


LAYOUTS = ["movielens", "dat", "100k", "amazon", "retailrocket", "recbole"]


@pytest.fixture(scope="session")
def layouts(tmp_path_factory):
    """Write MovieLens as other people's files hold such data; say how each is read."""
    return movielens_layouts(tmp_path_factory.mktemp("layouts"), s3.movielens_interactions())


def movielens_layouts(folder, frame):
    """Write ratings in six public layouts; give {layout: ([interactions, attributes], reading)}.

    None says who wrote it: the layouts are those of MovieLens (25M, 1M and 100K), Amazon's ratings,
    RetailRocket's events and RecBole, their headers and separators to the letter.
    """
    frame = frame.rename(columns={"userId": "user", "movieId": "item", "timestamp": "time"})
    films = frame.drop_duplicates("item").assign(
        title=lambda films: films["title"] + " (" + films["year"].astype(str) + ")")
    films = films.sort_values("item")[["item", "title", "genres"]].astype(str)

    def write(name, header, separator, rows, encoding="utf-8"):
        lines = [header] * bool(header) + [separator.join(row) for row in rows]
        path = folder / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
        return str(path)

    quoted = [(item, '"{}"'.format(title.replace('"', '""')) if re.search('[,"]', title) else title,
               genres) for item, title, genres in films.itertuples(index=False)]
    latin = [tuple(cell.encode("latin-1", "replace").decode("latin-1") for cell in row)
             for row in films.itertuples(index=False)]
    cells = frame[["user", "item", "rating", "time"]].astype(str)
    rows = list(cells.itertuples(index=False))
    whole = [(user, item, rating[0], time) for user, item, rating, time in rows]
    events = [(f"{time}000", user, "view", item, "") for user, item, _, time in rows]
    numbers = Reading(user="1", item="2", time="4")
    return {
        "movielens": ([write("ratings.csv", "userId,movieId,rating,timestamp", ",", rows),
                       write("movies.csv", "movieId,title,genres", ",", quoted)], Reading()),
        "dat": ([write("ratings.dat", "", "::", whole),
                 write("movies.dat", "", "::", latin, "latin-1")], Reading()),
        "100k": ([write("u.data", "", "\t", whole), None], Reading()),
        "amazon": ([write("ratings_Films.csv", "", ",", rows), None], numbers),
        "retailrocket": ([write("events.csv", "timestamp,visitorid,event,itemid,transactionid", ",",
                                events), None], Reading()),
        "recbole": ([write("ml.inter", "user_id:token\titem_id:token\trating:float\t"
                           "timestamp:float", "\t", rows),
                     write("ml.item", "item_id:token\tmovie_title:token_seq\tgenres:token_seq",
                           "\t", [(item, title, genres.replace(" ", "_").replace("|", " "))
                                  for item, title, genres in films.itertuples(index=False)])],
                    Reading()),
    }
