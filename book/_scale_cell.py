# FULL = True trains at the paper's scale: hours, not seconds.
# The text describes False.
from accelerate import Accelerator

FULL = False
device = Accelerator().device  # CUDA, MPS or CPU: `pretrain` and `finetune` use it

def scale(**short):
    """Settings of a short run; none at full scale: the defaults are the paper's."""
    return {} if FULL else short

print("trains on", device)
