"""S3-Rec: self-supervised sequential recommendation, small enough to be read in an evening.

The book that builds this package step by step is its manual. `plots` imports matplotlib when it
draws, and the command line is imported when asked for: a training job loads no plotting library.
"""

import sys

from . import official
from .batches import FinetuneBatch, PretrainBatch, finetuning_batches, pretraining_batches
from .datasets import SequenceDataset, load_dataset, planted_structure
from .encoder import ModelConfig, S3Rec, load_model
from .evaluation import (
    PopRec,
    bootstrap_intervals,
    evaluate,
    load_results,
    metrics_from_ranks,
    per_user_metrics,
    rank_targets,
    recommend,
    sample_negatives,
)
from .looking import explorers, inspection, plots
from .objectives import finetuning_loss, info_nce, pretraining_losses
from .training import FinetuneConfig, PretrainConfig, finetune, pretrain

for _looking in (explorers, inspection, plots):  # `import s3rec_mini.plots` works as well
    sys.modules[_looking.__name__.replace(".looking", "")] = _looking

__version__ = "0.1.0"

__all__ = [
    "FinetuneBatch",
    "FinetuneConfig",
    "ModelConfig",
    "PopRec",
    "PretrainBatch",
    "PretrainConfig",
    "S3Rec",
    "SequenceDataset",
    "bootstrap_intervals",
    "evaluate",
    "explorers",
    "finetune",
    "finetuning_batches",
    "finetuning_loss",
    "info_nce",
    "inspection",
    "load_dataset",
    "load_model",
    "load_results",
    "metrics_from_ranks",
    "official",
    "per_user_metrics",
    "planted_structure",
    "plots",
    "pretrain",
    "pretraining_batches",
    "pretraining_losses",
    "rank_targets",
    "recommend",
    "sample_negatives",
]
