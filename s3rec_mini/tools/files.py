"""Files that are written whole or not at all, and weights that are checked before they are used."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

__all__ = ["load_weights", "read_tensors", "replacing", "write_tensors"]

FOUR_HEADS = {"aap_head", "mip_head", "map_head", "sp_head"}


@contextmanager
def replacing(path) -> Iterator[Path]:
    """Give a temporary path beside `path` and move it there once the block ends without error.

    A reader thus finds the old file or the new one, never half of one. An OSError names the path.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise OSError(
            f"cannot write {path} ({error}): check that its folder exists, is writable and has "
            f"room; nothing was changed"
        ) from error
    finally:
        if unfinished.parent.is_dir():
            unfinished.unlink(missing_ok=True)


def write_tensors(path, tensors: dict[str, Tensor], metadata: dict) -> None:
    """Write tensors with JSON metadata as one safetensors file, all of it or nothing."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as unfinished:
        # Bytes, as safetensors' own writer makes files that nobody but their owner can read.
        unfinished.write_bytes(save(tensors, {"s3rec_mini": json.dumps(metadata)}))


def read_tensors(path) -> tuple[dict[str, Tensor], dict]:
    """Read what `write_tensors` wrote. Nothing in a file is ever executed.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is corrupt or was not written by this package.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {})["s3rec_mini"])
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a safetensors file of s3rec_mini, or it is damaged ({error}): "
            f"write it again with S3Rec.save; the authors' .pt files are read by "
            f"s3rec_mini.official.load_checkpoint"
        ) from error


def load_weights(model: nn.Module, tensors: dict[str, Tensor], source) -> None:
    """Copy `tensors` into the model after checking every name and shape.

    A head that is not one of the paper's four may be missing, and keeps the weights it has.

    Raises
    ------
    ValueError
        If another tensor is missing, or one is unknown or of another shape; `source` is named.
    """
    own = model.state_dict()
    there = {name.split(".")[0] for name in tensors}
    added = {name: value for name, value in own.items() if name.split(".")[0].endswith("_head")
             and name.split(".")[0] not in there | FOUR_HEADS}
    tensors = added | tensors
    here, there = ({name: tuple(value.shape) for name, value in group.items()}
                   for group in (own, tensors))
    wrong = sorted(n for n in here.keys() | there.keys() if here.get(n) != there.get(n))
    if wrong:
        raise ValueError(
            f"{source} does not fit the model: {len(wrong)} tensors differ, the first is "
            f"{wrong[0]}, {there.get(wrong[0], 'missing')} there and "
            f"{here.get(wrong[0], 'unknown')} here. "
            f"Build the model with the sizes the file was made with"
        )
    model.load_state_dict(tensors)
