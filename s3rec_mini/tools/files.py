"""Files written whole or not at all, over nothing but files; weights that are checked first."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import torch
from psutil import pid_exists
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

FOUR_HEADS = {"aap_head", "mip_head", "map_head", "sp_head"}


def check_writable(path: Path) -> None:
    """Raise OSError if a file cannot be written; no link, device or folder is written over."""
    folder = next(each for each in path.absolute().parents if each.exists())
    other = path.is_symlink() or (path.exists() and not path.is_file())
    locked = not all(os.access(each, os.W_OK) for each in (folder, path) if each.exists())
    if other or locked or not folder.is_dir():
        raise OSError(f"cannot write {path}: check that its folder exists, is writable, and that "
                      f"it is a plain file, not protected, no link or device")


@contextmanager
def replacing(path) -> Iterator[Path]:
    """Give a temporary path beside `path` and move it there once the block ends without error.

    A reader thus finds the old file or the new one, never half of one. An OSError names the path.
    What a killed process has left of the file, the next one to write it takes away.
    """
    path = Path(path)
    check_writable(path)
    unfinished = path.with_name(f".{path.name[:50]}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{escape(path.name[:50])}.[0-9]*.unfinished"):
            if not pid_exists(int(left.suffixes[-2][1:])):  # its process was killed
                left.unlink(missing_ok=True)
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise OSError(f"cannot write {path} ({error}): check that its folder exists, is writable "
                      f"and has room; the file is as it was") from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path, content: bytes) -> None:
    """Let a file hold this, or what it held before."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_tensors(path, tensors: dict[str, Tensor], metadata: dict, dtype=None) -> None:
    """Write tensors with JSON metadata as one safetensors file, all of it or nothing.

    ValueError if they are not finite, or `dtype`, the type to store them in, is none of floats.
    """
    if dtype not in (None, torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise ValueError(f"dtype must be a type of float, such as torch.float16, not {dtype!r}")
    tensors = {name: value.detach().to("cpu", dtype or value.dtype).contiguous()
               for name, value in tensors.items()}
    if not all(value.isfinite().all() for value in tensors.values()):
        raise ValueError(f"cannot write {path}: weights are not finite in {dtype or 'their type'}")
    # As bytes: safetensors' own writer makes files that nobody but their owner can read.
    write_whole(path, save(tensors, {"s3rec_mini": json.dumps(metadata)}))


def read_tensors(path) -> tuple[dict[str, Tensor], dict]:
    """Read what `write_tensors` wrote. Nothing in a file is ever executed.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is corrupt or was not written by this package.
    """
    with expected(f"{path} is not a safetensors file of s3rec_mini, or it is damaged: write it "
                  f"again with S3Rec.save (the authors' .pt files are read by "
                  f"s3rec_mini.official.load_checkpoint)"), safe_open(existing(path), "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _metadata(file)  # noqa: SIM118


def _metadata(file: safe_open) -> dict:
    return json.loads((file.metadata() or {})["s3rec_mini"])


def existing(path) -> Path:
    """Return the path of a file that is there; FileNotFoundError if it is not."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return Path(path)


@contextmanager
def expected(complaint: str) -> Iterator[None]:
    """Let whatever comes of reading a mangled file be a ValueError that begins with `complaint`.

    An OSError stays what it is. Other errors are of a dozen kinds, pickle's and zip's among them.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{complaint} ({repr(error)[:150]})") from error


def is_checkpoint(path) -> bool:
    """Say whether a file holds a run that can go on, by what it says of itself."""
    with suppress(OSError, ValueError), expected("no run"), safe_open(path, "pt") as file:
        return "run" in _metadata(file)
    return False


def load_weights(model: nn.Module, tensors: dict[str, Tensor], source) -> None:
    """Copy `tensors` into the model after checking every name and shape.

    A head that is not one of the paper's four may be missing, and keeps the weights it has. On the
    device "meta", where nothing is held, all that is done is the checking.

    Raises
    ------
    ValueError
        If another tensor is missing, or one is unknown, of another shape or holds no floats;
        `source` is named.
    """
    own = model.state_dict()
    there = {name.split(".")[0] for name in tensors}
    added = {name: value for name, value in own.items() if name.split(".")[0].endswith("_head")
             and name.split(".")[0] not in there | FOUR_HEADS}
    tensors = added | tensors
    here, there = ({name: tuple(value.shape) if value.is_floating_point() else value.dtype
                    for name, value in group.items()} for group in (own, tensors))
    if wrong := sorted(n for n in here.keys() | there.keys() if here.get(n) != there.get(n)):
        raise ValueError(f"{source} does not fit the model: {len(wrong)} tensors differ, the first "
                         f"is {wrong[0]}, {there.get(wrong[0], 'missing')} there and "
                         f"{here.get(wrong[0], 'unknown')} here: make a model of the file's sizes")
    if not any(value.is_meta for value in own.values()):
        model.load_state_dict(tensors)
