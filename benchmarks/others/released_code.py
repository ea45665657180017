"""Time the authors' own pretraining, their files untouched. `versus.py` starts this in a process.

Reads from standard input what `versus.py` asks for, as JSON, and answers with a line of JSON. The
settings are the defaults of their `run_pretrain.py`. Theirs are the data set, the loader, the
model, the optimizer and the loop over an epoch; only the users are chosen here.
"""

import json
import sys
import time
from argparse import Namespace

import torch
from torch.utils.data import DataLoader, RandomSampler

asked = json.load(sys.stdin)
sys.path.insert(0, asked["folder"])

from datasets import PretrainDataset  # noqa: E402
from models import S3RecModel  # noqa: E402
from trainers import PretrainTrainer  # noqa: E402
from utils import get_item2attribute_json, get_user_seqs_long, set_seed  # noqa: E402

files = f"{asked['folder']}/data/{asked['name']}"
sequences, num_items, long_sequence = get_user_seqs_long(f"{files}.txt")
item2attribute, num_attributes = get_item2attribute_json(f"{files}_item2attributes.json")
args = Namespace(
    item_size=num_items + 2, mask_id=num_items + 1, attribute_size=num_attributes + 1,
    item2attribute=item2attribute, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
    hidden_act="gelu", attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.5,
    initializer_range=0.02, max_seq_length=50, lr=0.001, weight_decay=0.0, adam_beta1=0.9,
    adam_beta2=0.999, mask_p=0.2, aap_weight=0.2, mip_weight=1.0, map_weight=1.0, sp_weight=0.5,
    pre_batch_size=asked["batch_size"], model_name="Pretrain", data_name=asked["name"],
    log_file="/dev/null", no_cuda=True, cuda_condition=False,
)
set_seed(42)
trainer = PretrainTrainer(S3RecModel(args), None, None, None, args)
prefixes = PretrainDataset(args, [sequences[user] for user in asked["users"]], long_sequence)


def seconds(count: int) -> float:
    """Return the CPU seconds of an epoch of `count` prefixes."""
    sampler = RandomSampler(prefixes, num_samples=count)
    start = time.process_time()
    trainer.pretrain(0, DataLoader(prefixes, asked["batch_size"], sampler=sampler))
    return time.process_time() - start


seconds(asked["batch_size"])  # the first step of a process is slow
print(json.dumps({"sequences": len(prefixes), "CPU seconds": seconds(len(prefixes)),
                  "threads": torch.get_num_threads()}))
