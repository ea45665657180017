"""Time an epoch of RecTools' SASRec. `versus.py` starts this with an interpreter that has RecTools.

Reads from standard input what `versus.py` asks for, as JSON, and answers with a line of JSON. The
epoch alone is timed, from its first batch to its last step, not what they prepare before it.
"""

import json
import sys
import time
import warnings

import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")  # of Lightning: a loader without workers, no GPU, and so on
asked = json.load(sys.stdin)
frame = pd.DataFrame(
    [(user, item, 1.0, time) for user, items in enumerate(asked["sequences"])
     for time, item in enumerate(items)],
    columns=["user_id", "item_id", "weight", "datetime"])
frame["datetime"] = pd.to_datetime(frame["datetime"], unit="s")


class Clock(Callback):
    """Takes the CPU seconds of the epoch, and counts its sequences and predictions."""

    sequences = predictions = 0

    def on_train_epoch_start(self, *_):
        """Start."""
        self.start = time.process_time()

    def on_train_batch_end(self, trainer, module, outputs, batch, *_):
        """Count."""
        self.sequences += len(batch["y"])
        self.predictions += int((batch["y"] != 0).sum())

    def on_train_epoch_end(self, *_):
        """Stop."""
        self.seconds = time.process_time() - self.start


clock = Clock()
model = SASRecModel(
    n_blocks=2, n_heads=2, n_factors=64, session_max_len=50, dropout_rate=0.5, lr=0.001, epochs=1,
    loss=asked["loss"], n_negatives=1, batch_size=asked["batch_size"],
    get_trainer_func=lambda: Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[clock], logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False))
model.fit(Dataset.construct(frame))
clock = next(c for c in model.fit_trainer.callbacks if isinstance(c, Clock))  # they copy it
print(json.dumps({"sequences": clock.sequences, "predictions": clock.predictions,
                  "CPU seconds": clock.seconds, "threads": torch.get_num_threads()}))
