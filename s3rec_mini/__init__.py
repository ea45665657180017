"""S3-Rec: self-supervised sequential recommendation, small enough to be read in an evening.

The book that builds this package step by step is its manual. The method is six files, to be read in
this order: `datasets`, `batches`, `encoder`, `objectives`, `training`, `evaluation`. `tools` holds
what they stand on and what is done with them, `looking` what shows a trained model.
"""

import sys

from .datasets import SequenceDataset
from .tools.readers import Reading
from .tools.sources import load_dataset, load_model, movielens_interactions, open_dataset
from .tools.synthetic import planted_structure
from .batches import (FinetuneBatch, PretrainBatch, cut_segments, finetuning_batches, mask_items,
                      pretraining_batches)
from .encoder import Block, ModelConfig, S3Rec, SelfAttention, visible_keys
from .objectives import (finetuning_loss, info_nce, pairwise_loss, pointwise_loss,
                         pretraining_losses, sampled_softmax_loss, softmax_loss)
from .training import FinetuneConfig, PretrainConfig, finetune, pretrain
from .evaluation import evaluate, metrics_from_ranks, per_user_metrics, rank_targets
from .tools.negatives import sample_negatives
from .tools.recommend import PopRec, recommend
from .tools.results import load_ranks, load_results
from .tools.statistics import bootstrap_intervals, paired_difference
from .tools.vocabulary import renumbered
from .tools import official
from .looking import inspection, plots, explorers

__version__ = "0.1.0"

__all__ = [
    "SequenceDataset", "Reading", "load_dataset", "load_model", "movielens_interactions",
    "open_dataset", "planted_structure",
    "FinetuneBatch", "PretrainBatch", "cut_segments", "finetuning_batches", "mask_items",
    "pretraining_batches",
    "Block", "ModelConfig", "S3Rec", "SelfAttention", "visible_keys",
    "finetuning_loss", "info_nce", "pairwise_loss", "pointwise_loss", "pretraining_losses",
    "sampled_softmax_loss", "softmax_loss",
    "FinetuneConfig", "PretrainConfig", "finetune", "pretrain",
    "evaluate", "metrics_from_ranks", "per_user_metrics", "rank_targets", "sample_negatives",
    "PopRec", "recommend", "load_ranks", "load_results", "bootstrap_intervals",
    "paired_difference", "renumbered", "official", "inspection", "plots", "explorers",
]  # fmt: skip


# The names under which the first edition had them: `from s3rec_mini.plots import …` works too.
for _module in (official, inspection, plots, explorers):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module
