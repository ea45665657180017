"""The encoder: embeddings, self-attention, and `S3Rec`, the model (paper section 4.1, equation 4).

One transformer encoder serves both stages: pretraining reads in both directions, finetuning adds
the causal mask. Sequences are padded on the left and positions are counted from the right, so that
the newest item always takes the last learned position, however wide the batch. B sequences, L
positions, H hidden size. `tools.fast` computes the same states in less time.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .tools.checks import as_ids, checked_ids
from .tools.dropout import Dropout
from .tools.files import expected, load_weights, read_tensors, write_tensors
from .tools.settings import Settings, setting
from .tools.vocabulary import Vocabulary, check_fit


@dataclass(frozen=True)
class ModelConfig(Settings):
    """Sizes of the model; by default the paper's (section 5.1.4), else the released code's."""

    num_items: int = setting(text="Items have ids 1…num_items.", least=2, most=10**9)
    num_attributes: int = setting(text="Attributes have ids 1…num_attributes.", least=0, most=10**9)
    hidden_size: int = setting(64, "Width H, a multiple of num_heads.", least=1, most=10**5)
    num_layers: int = setting(2, "Blocks of the encoder.", least=1, most=100)
    num_heads: int = setting(2, "Attention heads a block.", least=1)
    max_length: int = setting(50, "Learned positions, for the newest items.", least=1, most=10**6)
    dropout: float = setting(0.5, "Probability, in steps of 1/256 on a CPU.", least=0, below=1)

    def __post_init__(self):
        super().__post_init__()
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of num_heads "
                             f"{self.num_heads}")

    @classmethod
    def for_dataset(cls, data, **settings) -> "ModelConfig":
        """Return a config with the counts of `data` and any other field given by name."""
        return cls(num_items=data.num_items, num_attributes=data.num_attributes, **settings)


class SelfAttention(nn.Module):
    """Multi-head self-attention, equation 4: softmax(QKᵀ/√(H/heads)) V, heads concatenated."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.weight_dropout = Dropout(config.dropout)

    def forward(self, states: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the `states` (B, L, H) that each position sees, as `visible` (B, 1, L, L) says.

        Returns what was mixed, (B, L, H), and the weights (B, heads, L, L).
        """
        return self.mix(*self.split_heads(self.query_key_value(states)), visible)

    def split_heads(self, states: Tensor) -> Tensor:
        """Split (B, L, n·H) into n tensors (B, heads, L, H / heads)."""
        size = self.output.in_features // self.num_heads
        return states.unflatten(-1, (-1, self.num_heads, size)).permute(2, 0, 3, 1, 4)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor):
        """Let queries (B, heads, Q, H / heads) attend to the keys and values of L positions."""
        scores = (query / query.shape[-1] ** 0.5) @ key.mT  # (B, heads, Q, L)
        # Added, since filling costs another pass over the scores here and in the gradient.
        hidden = torch.where(visible, 0.0, -torch.inf).to(scores.dtype)  # (B, 1, Q, L)
        weights = (scores + hidden).softmax(-1)
        mixed = self.weight_dropout(weights) @ value  # (B, heads, Q, H / heads)
        return self.output(mixed.transpose(1, 2).flatten(2)), weights  # (B, Q, H)


class Block(nn.Module):
    """A post-norm transformer block: attention, then a feed-forward net with GELU."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        size = config.hidden_size
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(size, eps=1e-12)
        self.expand = nn.Linear(size, 4 * size)
        self.contract = nn.Linear(4 * size, size)
        self.feed_forward_norm = nn.LayerNorm(size, eps=1e-12)
        self.dropout = Dropout(config.dropout)

    def forward(self, states: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new states (B, L, H) and the attention weights (B, heads, L, L)."""
        mixed, weights = self.attention(states, visible)
        return self.after_attention(states, mixed), weights

    def after_attention(self, states: Tensor, mixed: Tensor) -> Tensor:
        """Add what was mixed to the states, then the feed-forward net's answer."""
        states = self.attention_norm(states + self.dropout(mixed))  # (B, L, H)
        changed = self.contract(F.gelu(self.expand(states)))  # (B, L, 4H) -> (B, L, H)
        return self.feed_forward_norm(states + self.dropout(changed))


def visible_keys(item_ids: Tensor, causal: bool) -> Tensor:
    """Say which key positions (columns) each query position (row) may attend to.

    Takes `item_ids` (B, L), 0 where padded; `causal` hides every key to the right of its query.
    Returns (B, 1, L, L) bool. Padding is seen by nobody but itself: a softmax over no key would be
    NaN.
    """
    length = item_ids.shape[1]
    real = (item_ids != 0)[:, None, None, :]  # (B, 1, 1, L)
    square = torch.ones(length, length, dtype=torch.bool, device=item_ids.device)
    order = square.tril() if causal else square
    return (real & order) | torch.eye(length, dtype=torch.bool, device=item_ids.device)


class S3Rec(nn.Module):
    """The S3-Rec model: one encoder, an item and an attribute table, four pretraining heads.

    The heads `aap_head`, `mip_head`, `map_head` and `sp_head` hold the bilinear forms W of
    equations 5–8; finetuning and prediction (equation 9) do not use them. Weights start as N(0,
    0.02), biases and the padding rows as zero; call `torch.manual_seed` first for a repeatable
    start.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, self.max_length = config, config.max_length
        self.vocabulary: Vocabulary | None = None  # what its items are called: training sets it
        size = config.hidden_size
        # Two more rows than items: 0 pads, the last one masks.
        self.item_embedding = nn.Embedding(config.num_items + 2, size, padding_idx=0)
        self.attribute_embedding = nn.Embedding(config.num_attributes + 1, size, padding_idx=0)
        self.position_embedding = nn.Embedding(config.max_length, size)
        self.embedding_norm = nn.LayerNorm(size, eps=1e-12)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.aap_head = nn.Linear(size, size)
        self.mip_head = nn.Linear(size, size)
        self.map_head = nn.Linear(size, size)
        self.sp_head = nn.Linear(size, size)
        self.apply(_initialise)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.item_embedding.weight.device

    @property
    def item_vectors(self) -> Tensor:
        """(num_items, H) the items' embeddings, without those of padding and mask."""
        return self.item_embedding.weight[1:-1]

    def forward(self, item_ids: Tensor, causal: bool = False, return_attention: bool = False):
        """Encode sequences (equation 4).

        Parameters
        ----------
        item_ids : Tensor
            (B, L) whole ids in 0…num_items + 1, an array too, padded on the left with 0, 1 <= L <=
            max_length; what is not so is refused (on a GPU, which would have to be waited for, only
            what its shape and type tell).
        causal, return_attention : bool
            Read only leftwards (finetuning), not both ways; also return the attention weights.

        Returns
        -------
        Tensor or (Tensor, Tensor)
            States (B, L, H), which mean nothing where padded; weights (layers, B, heads, L, L).
        """
        item_ids = checked_ids(self, item_ids, causal=causal, return_attention=return_attention)
        states = self.embed(item_ids, self.newest_positions(item_ids.shape[1]))  # (B, L, H)
        visible = visible_keys(item_ids, causal)  # (B, 1, L, L)
        attention = []
        for block in self.blocks:
            states, weights = block(states, visible)
            attention.append(weights)
        return (states, torch.stack(attention)) if return_attention else states

    def newest_positions(self, length: int) -> Tensor:
        """(L, H) the learned positions of a sequence so long; the newest item has the last one."""
        return self.position_embedding.weight[-length:]

    def embed(self, item_ids: Tensor, positions: Tensor) -> Tensor:
        """(B, L, H) what the first block reads: items plus `positions`, which broadcast."""
        return self.dropout(self.embedding_norm(self.item_embedding(item_ids) + positions))

    def score(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Score items as the next one by the product e_iᵀ F_t (equation 9).

        Takes `states` (B, H), one a sequence, and perhaps the ids of `candidates` (B, K). Returns
        (B, K), or without candidates (B, num_items + 2), where the columns of padding and mask mean
        nothing.
        """
        states = states.to(self.item_embedding.weight.dtype)
        if candidates is None:
            return states @ self.item_embedding.weight.T
        candidates = as_ids("candidates", candidates, self.device)
        return torch.einsum("bh,bkh->bk", states, self.item_embedding(candidates))

    def save(self, path, dtype: torch.dtype | None = None, data=None) -> None:
        """Write weights, config and vocabulary to the safetensors file `path`.

        All of it or nothing (OSError). With `dtype`, a type of float, the weights are stored in it:
        float16 halves the file. ValueError if they are not finite in it. `data` names the items of
        a model that was trained by other means than `pretrain` and `finetune`.
        """
        if data is not None:
            check_fit(self, data)
            check_fit(self, data, "attributes")
        metadata = {"config": asdict(self.config), "vocabulary": (data or self).vocabulary}
        write_tensors(path, self.state_dict(), metadata, dtype)

    @classmethod
    def load(cls, path) -> "S3Rec":
        """Read a model that `save` wrote, onto the CPU, in float32 and in evaluation mode.

        FileNotFoundError or ValueError if there is no such file, or it is no model of this package.
        Of one that does not name its items a warning says so.
        """
        tensors, metadata = read_tensors(path)
        with expected(f"{path} holds no valid model config (a checkpoint?)"), torch.device("meta"):
            claimed = cls(ModelConfig.from_saved(metadata["config"]))
        load_weights(claimed, tensors, path)  # before it takes any memory: a small file may lie
        model = cls(claimed.config)
        load_weights(model, tensors, path)
        model.vocabulary = Vocabulary.from_saved(metadata.get("vocabulary"), model.config, path)
        return model.eval()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx])
