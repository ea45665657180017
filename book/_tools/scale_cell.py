# FULL = True trains with the paper's settings: on a CPU minutes to hours.
# The text describes False; what it says of a run is a `claim`.
import warnings

from accelerate import Accelerator

FULL = False
device = Accelerator().device  # CUDA, MPS or CPU: `pretrain` and `finetune` use it

def scale(**short):  # of a short run; at full scale the defaults hold: the paper's
    return {} if FULL else short

def claim(holds):
    """Stop where the text is wrong about the short run; at full scale, warn only."""
    assert FULL or holds
    if not holds:
        warnings.warn("not so at full scale", stacklevel=2)

print("trains on", device)
