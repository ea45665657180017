"""Files: whole or not there, and never in the place of anything else."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import full_disk, make_model

import s3rec_mini
from s3rec_mini.tools import files, results

HELD = """
import os, signal, sys
from s3rec_mini.tools.files import replacing

with replacing(sys.argv[1]) as unfinished:
    unfinished.write_bytes(b"half")
    print(unfinished, flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def writer(path, fate):
    """Start a process that writes to a file, and is killed within or goes on when told so."""
    root = str(Path(s3rec_mini.__file__).parents[1])
    return subprocess.Popen([sys.executable, "-c", HELD, path, fate], stdout=subprocess.PIPE,
                            stdin=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Whole or not there


def test_what_a_kill_leaves_behind_is_gone_with_the_next_write(tmp_path):
    path = tmp_path / "a[1].json"  # a name that is a pattern too
    for _ in range(2):
        killed = writer(path, "killed")
        left = Path(killed.communicate()[0].strip())
        assert left.exists() and not path.exists()
    (tmp_path / ".b.json.7.unfinished").write_text("of another file")
    results.write_record({}, path)
    assert names(tmp_path) == [".b.json.7.unfinished", "a[1].json"]


def test_what_a_living_process_is_writing_is_left_to_it(tmp_path):
    path = tmp_path / "a.json"
    other = writer(path, "goes on")
    unfinished = Path(other.stdout.readline().strip())
    for _ in range(2):
        results.write_record({}, path)
        assert names(tmp_path) == [unfinished.name, "a.json"]
    assert unfinished.read_bytes() == b"half"
    other.communicate("")
    assert other.returncode == 0 and path.read_bytes() == b"half"
    assert names(tmp_path) == ["a.json"]


# Only over files

WRITERS = {
    "a model": lambda path: make_model(hidden_size=2).save(path),
    "a record": lambda path: results.write_record({}, path),
    "ranks": lambda path: results.write_ranks({"full": np.ones(3), "sampled": np.ones(3)}, 3, path),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_only_a_regular_file_is_ever_written_over(write, tmp_path):
    (tmp_path / "file").write_text("precious")
    for name, target in dict(link="file", broken="nothing", loop="loop").items():
        (tmp_path / name).symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    before = names(tmp_path)
    places = [tmp_path / name for name in ("link", "broken", "loop", "pipe", "folder")]
    for place in [*places, Path("/dev/null"), Path("/dev/stdout")]:
        kind = place.lstat().st_mode
        with pytest.raises(OSError, match=f"cannot write {place}: check .*no link or device"):
            write(place)
        assert place.lstat().st_mode == kind
    assert names(tmp_path) == before and (tmp_path / "file").read_text() == "precious"
    write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() != b"precious"
    (tmp_path / "linked").symlink_to("folder")  # a linked folder is as good as any
    write(tmp_path / "linked" / "file")
    assert (tmp_path / "folder" / "file").exists()


def test_asking_whether_a_file_can_be_written_makes_no_folder(tmp_path):
    files.check_writable(tmp_path / "deep" / "er" / "file")
    assert not names(tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write .*deep: check that its folder exists"):
        files.check_writable(tmp_path / "file" / "deep")


def test_a_file_that_is_protected_is_left(tmp_path, monkeypatch):
    """Whom the system would let write over it, as root."""
    path = tmp_path / "model"
    path.write_text("precious")
    monkeypatch.setattr(os, "access", lambda each, mode: each != path)
    with pytest.raises(OSError, match=r"cannot write .*model: check .*not protected"):
        files.write_whole(path, b"new")
    assert path.read_text() == "precious"


def test_an_error_says_of_no_other_file_that_it_is_as_it_was(tmp_path):
    with full_disk(room=10), pytest.raises(OSError, match=r"cannot write .*the file is as it was"):
        results.write_record({"a": 1}, tmp_path / "r.json")
    assert not names(tmp_path)


def test_a_checkpoint_is_told_from_a_model_and_from_anything_else(tmp_path):
    make_model(hidden_size=2).save(tmp_path / "model")
    files.write_tensors(tmp_path / "run", {"model/a": torch.ones(1)}, {"run": {}, "history": []})
    (tmp_path / "text").write_text("text")
    assert [files.is_checkpoint(tmp_path / name) for name in ("model", "run", "text", "none", ".")
            ] == [False, True, False, False, False]
