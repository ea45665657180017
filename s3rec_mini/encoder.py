"""The encoder: embeddings, self-attention, and `S3Rec`, the model (paper section 4.1, equation 4).

One transformer encoder serves both stages. Pretraining reads a sequence in both directions;
finetuning adds the causal mask, so that a position sees only what came before it. Sequences are
padded on the left and positions are counted from the right: the newest item always takes the last
learned position, however wide the batch.

Shapes: B sequences, L positions, H hidden size.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

__all__ = ["ModelConfig", "S3Rec", "load_model"]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the model; by default the paper's (section 5.1.4), else the released code's.

    Parameters
    ----------
    num_items, num_attributes : int
        Items have ids 1…num_items, attributes 1…num_attributes (0 attributes are allowed).
    hidden_size : int
        Width H of embeddings and states; a multiple of `num_heads`.
    num_layers, num_heads : int
        Depth of the encoder and attention heads a layer.
    max_length : int
        Number of learned positions; longer histories keep their newest items.
    dropout : float
        Probability in [0, 1), realised in steps of 1/256 on a CPU.

    Raises
    ------
    ValueError
        If a size is out of range; the message names it.
    """

    num_items: int
    num_attributes: int
    hidden_size: int = 64
    num_layers: int = 2
    num_heads: int = 2
    max_length: int = 50
    dropout: float = 0.5

    def __post_init__(self):
        smallest = dict(num_items=2, num_attributes=0, hidden_size=1, num_layers=1, num_heads=1,
                        max_length=1)
        for name, least in smallest.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of num_heads {self.num_heads}"
            )
        if not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {self.dropout!r}")

    @classmethod
    def for_dataset(cls, data, **settings) -> "ModelConfig":
        """Return a config with the counts of `data` and any other field given by name."""
        return cls(num_items=data.num_items, num_attributes=data.num_attributes, **settings)


class Dropout(nn.Module):
    """Dropout that draws one random byte an element.

    On a CPU torch draws dropout's mask one number after another, which took a third of the
    training time; eight mask bytes cut from each 64-bit number cost an eighth of that. Elsewhere
    torch's own dropout runs. Both follow `torch.manual_seed`.
    """

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability
        # Of the 256 values of a byte: 1 at least, and 255 at most, as no byte holds 256.
        self.kept_bytes = min(max(round(256 * (1 - probability)), 1), 255)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.probability)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        # In place the answers stay bytes, 1 or 0; as bool the next line would take twice the time.
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape).lt_(self.kept_bytes)
        return x * kept.to(x.dtype).mul_(256 / self.kept_bytes)


class SelfAttention(nn.Module):
    """Multi-head self-attention, equation 4: softmax(QKᵀ/√(H/heads)) V, heads concatenated."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.weight_dropout = Dropout(config.dropout)

    def forward(self, states: Tensor, context: Tensor, visible: Tensor,
                return_attention: bool = False):
        """Mix for each of `states` (B, Q, H) those of `context` (B, L, H) that it sees.

        `visible` (B, 1, Q, L) says who sees whom. Returns what was mixed, (B, Q, H), and the
        weights (B, heads, Q, L), or None for the weights where the fused kernel, which never forms
        them, did the work.
        """
        if states is context:  # one product is faster than two
            query, key, value = self._heads(self.query_key_value(states))
        else:
            size = states.shape[-1]
            weight, bias = self.query_key_value.weight, self.query_key_value.bias
            (query,) = self._heads(F.linear(states, weight[:size], bias[:size]))
            key, value = self._heads(F.linear(context, weight[size:], bias[size:]))
        mixed, weights = self._mix(query, key, value, visible, return_attention)
        return self.output(mixed), weights  # (B, Q, H)

    def _heads(self, states: Tensor) -> Tensor:
        """Split (B, L, n·H) into n tensors (B, heads, L, H / heads)."""
        size = self.output.in_features // self.num_heads
        return states.unflatten(-1, (-1, self.num_heads, size)).permute(2, 0, 3, 1, 4)

    def _mix(self, query, key, value, visible, return_attention):
        """Attend with queries (B, heads, Q, H / heads) and their keys and values, of L each."""
        weights = None
        # Torch's fused kernels have no dropout on a CPU, so training there takes the plain path.
        if return_attention or (self.training and query.device.type == "cpu"):
            scores = (query / query.shape[-1] ** 0.5) @ key.mT  # (B, heads, Q, L)
            # Added, since filling costs another pass over the scores here and in the gradient.
            hidden = torch.where(visible, 0.0, -torch.inf).to(scores.dtype)  # (B, 1, Q, L)
            weights = (scores + hidden).softmax(-1)
            mixed = self.weight_dropout(weights) @ value  # (B, heads, Q, H / heads)
        else:
            dropout = self.weight_dropout.probability if self.training else 0.0
            mixed = F.scaled_dot_product_attention(query, key, value, visible, dropout)
        return mixed.transpose(1, 2).flatten(2), weights  # (B, Q, H)


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

    def forward(self, states: Tensor, context: Tensor, visible: Tensor,
                return_attention: bool = False):
        mixed, weights = self.attention(states, context, visible, return_attention)
        states = self.attention_norm(states + self.dropout(mixed))  # (B, Q, H)
        changed = self.contract(F.gelu(self.expand(states)))  # (B, Q, 4H) -> (B, Q, H)
        return self.feed_forward_norm(states + self.dropout(changed)), weights


def visible_keys(item_ids: Tensor, causal: bool) -> Tensor:
    """Say which key positions each query position may attend to.

    Parameters
    ----------
    item_ids : Tensor
        (B, L) integer ids, 0 where padded.
    causal : bool
        Hide every key to the right of its query.

    Returns
    -------
    Tensor
        (B, 1, L, L) bool, True where query (row) sees key (column). Padding is seen by nobody but
        itself: a softmax over no key at all would be NaN.
    """
    length = item_ids.shape[1]
    real = (item_ids != 0)[:, None, None, :]  # (B, 1, 1, L)
    square = torch.ones(length, length, dtype=torch.bool, device=item_ids.device)
    order = square.tril() if causal else square
    return (real & order) | torch.eye(length, dtype=torch.bool, device=item_ids.device)


def packed(lengths: list[int], width: int) -> tuple[list[int], int]:
    """Lay sequences into rows of `width` places, several to a row, so that little stays empty.

    Parameters
    ----------
    lengths : list of int
        How many places each sequence takes, `width` at most.
    width : int
        Places in a row.

    Returns
    -------
    (list of int, int)
        Where each sequence ends (the place after its last) in the flattened rows, and how many
        rows there are. The longest come first, each into the fullest row that has room for it.
    """
    rows_by_room: list[list[int]] = [[] for _ in range(width + 1)]
    ends, rows = [0] * len(lengths), 0
    for sequence in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[sequence]
        room = next((room for room in range(length, width) if rows_by_room[room]), width)
        if not rows_by_room[room]:
            rows_by_room[room].append(rows)
            rows += 1
        row = rows_by_room[room].pop()
        rows_by_room[room - length].append(row)
        ends[sequence] = (row + 1) * width - room + length
    return ends, rows


class S3Rec(nn.Module):
    """The S3-Rec model: one encoder, an item and an attribute table, four pretraining heads.

    The heads `aap_head`, `mip_head`, `map_head` and `sp_head` hold the bilinear forms W of
    equations 5–8; finetuning and prediction (equation 9) do not use them.

    Parameters
    ----------
    config : ModelConfig
        Sizes. Weights start as N(0, 0.02), biases and the padding rows as zero at the start;
        call `torch.manual_seed` first for a repeatable start.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        size = config.hidden_size
        # Two more rows than items: 0 pads, num_items + 1 masks.
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
    def max_length(self) -> int:
        """Longest sequence the model reads."""
        return self.config.max_length

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.item_embedding.weight.device

    def forward(self, item_ids: Tensor, causal: bool = False, return_attention: bool = False):
        """Encode sequences (equation 4).

        Parameters
        ----------
        item_ids : Tensor
            (B, L) int64 or int32 ids in 0…num_items + 1, padded on the left with 0,
            1 <= L <= max_length.
        causal : bool
            False reads in both directions (pretraining), True only leftwards (finetuning).
        return_attention : bool
            Also return the attention weights.

        Returns
        -------
        Tensor or (Tensor, Tensor)
            States (B, L, H); with `return_attention` also the weights (layers, B, heads, L, L).
            States at padded positions carry no meaning.

        Raises
        ------
        TypeError, ValueError
            If ids are not integers, not (B, L), too many, elsewhere than the weights, or (checked
            on a CPU only: on a GPU it would wait for the device) out of range or padded on the
            right.
        """
        self._check(item_ids)
        states = self._embedded(item_ids, self._newest_positions(item_ids))  # (B, L, H)
        visible = visible_keys(item_ids, causal)  # (B, 1, L, L)
        attention = []
        for block in self.blocks:
            states, weights = block(states, states, visible, return_attention)
            attention.append(weights)
        return (states, torch.stack(attention)) if return_attention else states

    def item_states(self, item_ids: Tensor, positions: Tensor, causal: bool = False) -> Tensor:
        """Encode sequences for the states of their items alone, without the padding.

        On a CPU, where padding costs as much as items, several short sequences share a row, and
        none of them sees another. The result is the same.

        Parameters
        ----------
        item_ids : Tensor
            (B, L), as for `forward`.
        positions : Tensor
            (N,) int64: where the flattened `item_ids` are not 0, in ascending order.
        causal : bool
            As for `forward`.

        Returns
        -------
        Tensor
            (N, H), what ``model(item_ids, causal).flatten(0, 1)[positions]`` is.
        """
        if item_ids.device.type != "cpu":
            return self(item_ids, causal).flatten(0, 1)[positions]
        self._check(item_ids)
        length = item_ids.shape[1]
        lengths = (item_ids != 0).sum(1).tolist()
        width = max(1, *lengths)
        ends, rows = packed(lengths, width)  # R rows of W places
        sequence, column = positions // length, positions % length  # (N,), (N,)
        places = torch.tensor(ends)[sequence] - length + column  # (N,)

        def in_rows(values: Tensor) -> Tensor:
            """Put the values (N,) of the items into their places, (R, W), and 0 elsewhere."""
            return values.new_zeros(rows * width).index_put((places,), values).view(rows, width)

        ids = in_rows(item_ids.flatten()[positions])
        learned = in_rows(self.max_length - length + column)  # the newest item has the last one
        states = self._embedded(ids, self.position_embedding(learned))  # (R, W, H)
        owners = in_rows(sequence + 1)
        visible = owners[:, None, :, None] == owners[:, None, None, :]  # (R, 1, W, W)
        visible = visible.tril() if causal else visible
        for block in self.blocks:
            states, _ = block(states, states, visible)
        return states.flatten(0, 1)[places]

    def newest_states(self, item_ids: Tensor, whole: int = 0, causal: bool = False):
        """Encode sequences of which all but the first `whole` are wanted at the newest item only.

        Of those the last block computes nothing else, which spares most of its work.

        Parameters
        ----------
        item_ids : Tensor
            (B, L), as for `forward`.
        whole : int
            How many rows, from the first on, are wanted at every position.
        causal : bool
            As for `forward`.

        Returns
        -------
        (Tensor, Tensor)
            (whole, L, H) and (B - whole, H), what ``model(item_ids, causal)[:whole]`` and
            ``model(item_ids, causal)[whole:, -1]`` are.
        """
        self._check(item_ids)
        states = self._embedded(item_ids, self._newest_positions(item_ids))  # (B, L, H)
        visible = visible_keys(item_ids, causal)  # (B, 1, L, L)
        for block in self.blocks[:-1]:
            states, _ = block(states, states, visible)
        sizes = [whole, len(states) - whole]
        (first, others), (first_sees, others_see) = states.split(sizes), visible.split(sizes)
        first, _ = self.blocks[-1](first, first, first_sees)
        newest, _ = self.blocks[-1](others[:, -1:], others, others_see[:, :, -1:])
        return first, newest[:, 0]

    def _newest_positions(self, item_ids: Tensor) -> Tensor:
        return self.position_embedding.weight[-item_ids.shape[1] :]  # (L, H), newest last

    def _embedded(self, item_ids: Tensor, positions: Tensor) -> Tensor:
        return self.dropout(self.embedding_norm(self.item_embedding(item_ids) + positions))

    def score(self, states: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Score items as the next one by the product e_iᵀ F_t (equation 9).

        Parameters
        ----------
        states : Tensor
            (B, H) states, one a sequence.
        candidates : Tensor, optional
            (B, K) int64 item ids; every item is scored without it.

        Returns
        -------
        Tensor
            (B, K), or (B, num_items + 2), where the columns of padding and mask mean nothing.
        """
        if candidates is None:
            return states @ self.item_embedding.weight.T
        return torch.einsum("bh,bkh->bk", states, self.item_embedding(candidates))

    def _check(self, item_ids: Tensor) -> None:
        if item_ids.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"item_ids must be int64 or int32, not {item_ids.dtype}")
        if item_ids.dim() != 2 or not 1 <= item_ids.shape[1] <= self.config.max_length:
            raise ValueError(
                f"item_ids must be (B, L) with 1 <= L <= {self.config.max_length} (max_length), "
                f"not {tuple(item_ids.shape)}: keep the newest items of longer sequences"
            )
        if item_ids.device.type != self.device.type:
            raise ValueError(
                f"item_ids are on {item_ids.device}, the model on {self.device}: "
                f"use item_ids.to(model.device)"
            )
        last = self.config.num_items + 1
        if item_ids.device.type == "cpu" and item_ids.numel():
            low, high = int(item_ids.min()), int(item_ids.max())
            if low < 0 or high > last:
                raise ValueError(
                    f"item id {low if low < 0 else high} is outside 0…{last}: ids run from 1 to "
                    f"{last - 1}, 0 pads and {last} masks"
                )
            if ((item_ids[:, :-1] != 0) & (item_ids[:, 1:] == 0)).any():
                raise ValueError("item_ids have padding (0) after an item: pad on the left, so "
                                 "that the newest item stands last")

    def save(self, path, dtype: torch.dtype | None = None) -> None:
        """Write weights and config to a safetensors file, all of it or nothing.

        Parameters
        ----------
        path : str or Path
            The file; its folder is made if missing.
        dtype : torch.dtype, optional
            Store in this type (float16 halves the file); `load` gives back float32.

        Raises
        ------
        OSError
            If the file cannot be written; an older file of that name is left as it was.
        """
        weights = self.state_dict()
        tensors = {name: value.to(dtype or value.dtype) for name, value in weights.items()}
        write_tensors(path, tensors, {"config": asdict(self.config)})

    @classmethod
    def load(cls, path) -> "S3Rec":
        """Read a model that `save` wrote, onto the CPU, in float32 and in evaluation mode.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is not (or no longer) a model of this package.
        """
        tensors, metadata = read_tensors(path)
        try:
            model = cls(ModelConfig(**metadata["config"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no valid model config ({error})") from None
        model.load_weights(tensors, source=path)
        return model.eval()

    def load_weights(self, tensors: dict[str, Tensor], source) -> None:
        """Copy `tensors` into the model after checking every name and shape.

        Raises
        ------
        ValueError
            If a tensor is missing, unknown or of another shape; `source` is named in the message.
        """
        own = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        given = {name: tuple(value.shape) for name, value in tensors.items()}
        if own != given:
            wrong = sorted(n for n in own.keys() | given.keys() if own.get(n) != given.get(n))
            name = wrong[0]
            raise ValueError(
                f"{source} does not fit the model: {len(wrong)} tensors differ, the first is "
                f"{name}, {given.get(name, 'missing')} there and {own.get(name, 'unknown')} here. "
                f"Build the model with the sizes the file was made with"
            )
        self.load_state_dict(tensors)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()


def load_model(name: str) -> S3Rec:
    """Load weights that ship with the package, such as "movielens-small".

    Each file lies in ``s3rec_mini/data`` beside a model card that names the command that
    made it and the licence of its data.

    Raises
    ------
    ValueError
        If no weights of that name ship; the message lists those that do.
    """
    folder = resources.files("s3rec_mini") / "data"
    shipped = sorted(f.name.removesuffix(".safetensors") for f in folder.iterdir()
                     if f.name.endswith(".safetensors"))
    if name not in shipped:
        raise ValueError(f"no weights named {name!r} ship with s3rec_mini: there are {shipped}")
    with resources.as_file(folder / f"{name}.safetensors") as path:
        return S3Rec.load(path)


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
