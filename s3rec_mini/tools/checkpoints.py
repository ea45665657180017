"""The file a run is saved to and resumed from: weights, optimizer, history, in safetensors.

The random state needs no saving, since each epoch sets its own: a run that was killed goes on from
its last finished epoch and ends with the weights of an unbroken one.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor

from ..encoder import ModelConfig, S3Rec
from .files import expected, load_weights, read_tensors, write_tensors
from .settings import Settings


class Checkpoint:
    """A run's file in `folder`, or none; `more` are further things that tell one run from another.

    Raises
    ------
    ValueError
        From `resume`: if the file is damaged, another run's, or holds more epochs than asked for.
    OSError
        From `save`: if the file cannot be written.
    """

    def __init__(self, folder, config: Settings, model: S3Rec, data, **more):
        stage = type(config).__name__.removesuffix("Config").lower()
        self.path = Path(folder) / f"{stage}.safetensors" if folder else None
        self.config, self.epochs = type(config), config.epochs
        settings = {name: value for name, value in asdict(config).items() if name != "epochs"}
        self.identity = {"stage": stage, "settings": settings, "model": asdict(model.config),
                         "data": data.fingerprint, "processes": PartialState().num_processes,
                         "starting weights": digest(model.state_dict().values()), **more}

    def save(self, model, optimizer, history, best=None) -> None:
        """Replace the file by the state of this moment; of several processes the first does it."""
        if self.path is None or not PartialState().is_main_process:
            return
        groups = {"model": model.state_dict(), "best": best or {}}
        for index, state in optimizer.state_dict()["state"].items():
            groups[f"optimizer.{index}"] = state
        tensors = {f"{group}/{name}": value for group, values in groups.items()
                   for name, value in values.items()}
        write_tensors(self.path, tensors, {"run": self.identity, "history": history})

    def resume(self, model, optimizer) -> tuple[list[dict], dict[str, Tensor]]:
        """Return the history and best weights saved so far, and set model and optimizer to them."""
        if self.path is None or not self.path.exists():
            return [], {}
        tensors, metadata = read_tensors(self.path)
        groups: dict[str, dict[str, Tensor]] = {}
        with expected(f"{self.path} is no checkpoint, or it is damaged: delete it"):
            different, history = self._differing(metadata["run"]), [*metadata["history"]]
            for key, value in tensors.items():
                group, name = key.split("/")
                groups.setdefault(group, {})[name] = value
            weights, best = groups.pop("model"), groups.pop("best", {})
            states = {int(group.split(".")[1]): state for group, state in groups.items()}
            measured = ({**record, **record.get("validation", {})} for record in history)
            sum(record["loss"] + record["MRR" if best else "seconds"] for record in measured)
        if different:
            raise ValueError(f"{self.path} holds another run, whose {' and '.join(different)} "
                             f"differ: choose another checkpoint folder, or delete this one; in "
                             f"Python, make the model anew after the same torch.manual_seed")
        if len(history) > self.epochs:
            raise ValueError(f"{self.path} holds {len(history)} epochs, more than the "
                             f"{self.epochs} asked for: choose another checkpoint folder")
        load_weights(model, weights, self.path)
        optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
        return history, best

    def _differing(self, saved: dict) -> list[str]:
        """Name what differs; what one of both does not know is at its default, or equal."""
        configs = {"settings": self.config, "model": ModelConfig}
        return [name for name, own in self.identity.items() if (
            configs[name].differing(saved.get(name, {}), own) if name in configs
            else saved.get(name, own if name == "processes" else None) != own)]


def digest(tensors: Iterable[Tensor]) -> str:
    """Return the sha256 (hex) of tensors' bytes."""
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()
