"""Small runs that `test_training` makes here, in a process that is killed, and in two at once."""

import json
import os
import signal
import sys

import torch
from accelerate import PartialState

from s3rec_mini import (
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    S3Rec,
    finetune,
    planted_structure,
    pretrain,
    training,
)

# Stage: its function, its config, and what yields its batches.
STAGES = {
    "pretrain": (pretrain, PretrainConfig, "pretraining_batches"),
    "finetune": (finetune, FinetuneConfig, "finetuning_batches"),
}
SETTINGS = {"pretrain": dict(batch_size=51), "finetune": dict(batch_size=11,
                                                             validation_protocol="full")}


def planted(**changes):
    """41 users, an odd number, and 32 items in four groups."""
    sizes = dict(num_users=41, num_groups=4, items_per_group=8, lengths=(4, 12), stay=0.9)
    return planted_structure(**{**sizes, **changes})[0]


def fresh_model(data, dropout=0.5, seed=0, **sizes):
    torch.manual_seed(seed)
    sizes = dict(hidden_size=16, max_length=8, dropout=dropout) | sizes
    return S3Rec(ModelConfig.for_dataset(data, **sizes))


def config(stage, **settings):
    return STAGES[stage][1](**{**SETTINGS[stage], **settings})


def run(stage, checkpoint=None, data=None, model=None, dropout=0.5, **settings):
    """Return a trained model and its history."""
    data = data or planted()
    model = model or fresh_model(data, dropout)
    return model, STAGES[stage][0](model, data, config(stage, **settings), checkpoint)


def run_until_killed(stage, folder):
    """Start a run of four epochs and kill this very process in the middle of the third."""
    name, started = STAGES[stage][2], []
    batches = getattr(training, name)

    def killing(*args, **options):
        started.append(name)
        for number, batch in enumerate(batches(*args, **options)):
            if len(started) == 3 and number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    setattr(training, name, killing)
    run(stage, folder, epochs=4)


def run_both(folder):
    """Run both stages without dropout, in as many processes as were launched."""
    for stage in STAGES:
        model, history = run(stage, dropout=0.0, epochs=2)
        if PartialState().is_main_process:
            model.save(f"{folder}/{stage}.safetensors")
            with open(f"{folder}/{stage}.json", "w") as file:
                json.dump([PartialState().num_processes, history], file)


if __name__ == "__main__":
    {"killed": run_until_killed, "both": run_both}[sys.argv[1]](*sys.argv[2:])
