"""The losses: InfoNCE, the four pretraining objectives, the finetuning losses (equations 2–9).

Each pretraining objective comes in three forms, chosen one by one.

released
    What the authors' code computes, the default. AAP and MAP are a binary cross-entropy over all
    attribute columns, MIP and SP compare one positive with one negative, −log σ(σ(s⁺) − σ(s⁻)).
paper
    Equations 5–8 as printed: a critic σ(xᵀWy), the positive left out of the sum over negatives.
infonce
    InfoNCE proper, equations 2 and 3: a critic xᵀWy without σ, the positive among the candidates.

Losses are what is minimised. B sequences, L positions, H hidden size, N predictions, A attributes.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import FinetuneBatch, PretrainBatch
from .encoder import S3Rec
from .tools.fast import in_blocks, item_states, newest_states

FORMS = ("released", "paper", "infonce")
FINETUNING_LOSSES = ("pairwise", "pointwise", "softmax", "sampled_softmax")


def info_nce(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """InfoNCE, equation 2: how badly a critic tells the positive from its negatives.

    Takes scores f(x, y) of positives, (N,), and f(x, ỹ) of K negatives each, (N, K); −inf leaves a
    negative out. Returns (N,) losses in nats, −f(x, y) + log Σ exp f over the positive and its
    negatives. The log of the number of candidates minus the mean loss bounds the mutual information
    from below, if the negatives are drawn from the marginal. ValueError if the shapes do not fit.
    """
    if positive_scores.dim() != 1 or negative_scores.shape[:-1] != positive_scores.shape:
        raise ValueError(f"info_nce takes scores (N,) and (N, K), not "
                         f"{tuple(positive_scores.shape)} and {tuple(negative_scores.shape)}")
    candidates = torch.cat([positive_scores[:, None], negative_scores], 1)  # (N, 1 + K)
    return candidates.logsumexp(1) - positive_scores


def printed_contrast(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Return the contrast of equations 5–8 as printed: as `info_nce`, the positive no candidate.

    With scores in (0, 1) the loss is at least log K − 1; with unbounded scores it has no lower
    bound.
    """
    return negative_scores.logsumexp(1) - positive_scores


CONTRASTS = {"paper": printed_contrast, "infonce": info_nce}


def all_scores(head, queries: Tensor, targets: Tensor, form: str) -> Tensor:
    """Score N queries against M targets by xᵀWy, in (0, 1) in the printed form. Returns (N, M).

    The head's weight is Wᵀ: a linear layer computes Wᵀx, and its product with y is the score.
    """
    scores = F.linear(queries, head.weight) @ targets.T
    return scores.sigmoid() if form == "paper" else scores


def attribute_cross_entropy(head, states: Tensor, model: S3Rec, present: Tensor) -> Tensor:
    """Ask each of N states which attributes its item has: released AAP and MAP, summed to ()."""
    logits = head(states) @ model.attribute_embedding.weight.T  # (N, A + 1)
    # Column 0, which no item has, counts as in the authors' code.
    return F.binary_cross_entropy_with_logits(logits, present.to(logits.dtype), reduction="sum")


def attribute_contrast(head, queries: Tensor, model: S3Rec, present: Tensor, form: str) -> Tensor:
    """Contrast each attribute of an item with those it lacks: equations 5 and 7, summed to ().

    An item counts with the mean over its attributes; one with none, or with all, counts 0.
    """
    scores = all_scores(head, queries, model.attribute_embedding.weight[1:], form)  # (N, A)
    positives = present[:, 1:].bool()
    positives = positives & ~positives.all(1, keepdim=True)
    against = scores.masked_fill(positives, -torch.inf).logsumexp(1, keepdim=True)  # (N, 1)
    # All negatives of a row act through their log-sum alone, so that sum stands in for them.
    against = against.expand_as(scores).reshape(-1, 1)
    losses = CONTRASTS[form](scores.flatten(), against).view_as(scores)  # (N, A)
    return (losses.masked_fill(~positives, 0).sum(1) / positives.sum(1).clamp(min=1)).sum()


def one_negative_loss(head, states: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """−log σ(σ(s⁺) − σ(s⁻)), the released MIP and SP, from (N, H) each and summed to ()."""
    queries = head(states)
    # Beyond 60 the σ is flat, and slopes near 1e-38, for which a CPU needs many times as long, are
    # left out: while SP stands still, its scores are near −100, and a step took up to four times.
    own, other = ((queries * items).sum(-1).clamp(-60, 60).sigmoid()
                  for items in (positives, negatives))
    return -F.logsigmoid(own - other).sum()


def aap_loss(model: S3Rec, states, items, item_attributes, form: str = "released") -> Tensor:
    """Associated attribute prediction, equation 5: which attributes belong to this item.

    `items` (N,) stand at unmasked positions and `states` (N, H) are the encoder's there. The
    released form scores these states, the others the items' own embeddings. `item_attributes` is
    the table of `SequenceDataset`. Returns the () loss summed over positions, and over attribute
    columns in the released form; the others take the mean over an item's attributes, the E of
    equation 5.
    """
    present = item_attributes[items]  # (N, A + 1), one gather of rows
    if form == "released":
        return attribute_cross_entropy(model.aap_head, states, model, present)
    return attribute_contrast(model.aap_head, model.item_embedding(items), model, present, form)


def map_loss(model: S3Rec, states, items, item_attributes, form: str = "released") -> Tensor:
    """Masked attribute prediction, equation 7: which attributes the masked item has.

    As `aap_loss`, but `items` are those that were masked, and every form scores the `states` there.
    """
    present = item_attributes[items]  # (N, A + 1)
    if form == "released":
        return attribute_cross_entropy(model.map_head, states, model, present)
    return attribute_contrast(model.map_head, states, model, present, form)


def mip_loss(model: S3Rec, states, items, negative_items, form: str = "released") -> Tensor:
    """Masked item prediction, equation 6: which item was masked.

    `states` (N, H) are the encoder's at masked positions, `items` (N,) what was masked there, and
    `negative_items` (N,) one unseen item each, for the released form; the others contrast with all
    items. Returns the () loss summed over positions.
    """
    if form == "released":
        pair = model.item_embedding(torch.stack([items, negative_items]))  # (2, N, H), one look-up
        return one_negative_loss(model.mip_head, states, *pair)

    candidates = model.item_vectors  # once: its gradient is as large as the whole table

    def contrast(states: Tensor, items: Tensor) -> Tensor:
        scores = all_scores(model.mip_head, states, candidates, form)  # (N, num_items)
        if form == "infonce":  # with all items as candidates, equation 3
            return softmax_loss(scores, items)
        positive = scores.gather(1, items[:, None] - 1)  # (N, 1)
        others = scores.scatter(1, items[:, None] - 1, -torch.inf)
        return printed_contrast(positive.squeeze(1), others)

    return in_blocks(contrast, states, items).sum()


def sp_loss(model: S3Rec, context, positive, negative, form: str = "released") -> Tensor:
    """Segment prediction, equation 8: which segment was cut out of this sequence.

    Takes newest states (B, H) of the masked sequences, of their segments and, for the released
    form, of the foreign segments; the other forms contrast a row with the positive segments of all
    other rows (which lie at other places and have other lengths, so that the gap's shape tells much
    of the answer). Returns the () loss summed over sequences.
    """
    if form == "released":
        return one_negative_loss(model.sp_head, context, positive, negative)
    if len(context) < 2:
        raise ValueError(f"sp in the form {form!r} contrasts sequences: give it at least two")
    scores = all_scores(model.sp_head, context, positive, form)  # (B, B), own segment: diagonal
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return CONTRASTS[form](scores.diagonal(), scores.masked_fill(own, -torch.inf)).sum()


class Views(NamedTuple):
    """What the objectives look at: the batch, and what the encoder made of M and V of its places.

    States `masked` (M, H), `visible` (V, H), and newest ones, `context`, `positive` and `negative`
    (B, H), if segments were encoded; items (M,) and (V,).
    """

    batch: PretrainBatch
    masked: Tensor
    hidden_items: Tensor
    negative_items: Tensor
    visible: Tensor
    visible_items: Tensor
    context: Tensor | None = None
    positive: Tensor | None = None
    negative: Tensor | None = None


def encode_views(model: S3Rec, batch: PretrainBatch, segments: bool = True) -> Views:
    """Encode the masked sequences and, if asked, the three segment views, in one pass."""
    views = [batch.masked_items]
    if segments:
        views += [batch.masked_segment, batch.positive_segment, batch.negative_segment]
    states, newest = newest_states(model, torch.cat(views), whole=len(batch))  # (B, L, H), (3B, H)
    states, items = states.flatten(0, 1), batch.items.flatten()  # (B·L, H), (B·L,)
    masked, visible = batch.masked_positions, batch.unmasked_positions
    return Views(batch, states[masked], items[masked], batch.negative_items.flatten()[masked],
                 states[visible], items[visible], *(newest.split(len(batch)) if segments else ()))


# What each objective takes of the views. A fifth is added here; it has a head and a weight too.
OBJECTIVES = {
    "aap": lambda model, views, attributes, form: aap_loss(
        model, views.visible, views.visible_items, attributes, form),
    "mip": lambda model, views, attributes, form: mip_loss(
        model, views.masked, views.hidden_items, views.negative_items, form),
    "map": lambda model, views, attributes, form: map_loss(
        model, views.masked, views.hidden_items, attributes, form),
    "sp": lambda model, views, attributes, form: sp_loss(
        model, views.context, views.positive, views.negative, form)}


def pretraining_losses(model: S3Rec, batch: PretrainBatch, item_attributes: Tensor,
                       forms: dict[str, str] | None = None, objectives: tuple[str, ...] = (
                           "aap", "mip", "map", "sp")) -> dict[str, Tensor]:
    """Return the pretraining losses of a batch (equations 5–8, section 4.2).

    Parameters
    ----------
    model : S3Rec
        Encodes the four views of the batch in one pass, in both directions.
    batch, item_attributes : PretrainBatch, Tensor
        On the model's device; the table is (num_items + 2, num_attributes + 1) uint8.
    forms : dict, optional
        Form of each objective, "released" where it is not named.
    objectives : tuple of str
        Which of `OBJECTIVES` to compute.

    Returns
    -------
    dict of str to Tensor
        () losses, each summed over its predictions and averaged over the B sequences.
    """
    forms = forms_of(forms)
    if unknown := sorted(set(objectives) - OBJECTIVES.keys()):
        raise ValueError(f"objectives may hold {tuple(OBJECTIVES)}, not {unknown}")
    expected = (model.config.num_items + 2, model.config.num_attributes + 1)
    if tuple(item_attributes.shape) != expected:
        raise ValueError(f"item_attributes must be (num_items + 2, num_attributes + 1) = "
                         f"{expected} for this model, not {tuple(item_attributes.shape)}")
    views = encode_views(model, batch, segments=not set(objectives) <= {"aap", "mip", "map"})
    return {name: OBJECTIVES[name](model, views, item_attributes, forms[name]) / len(batch)
            for name in objectives}


def forms_of(forms: dict[str, str] | None) -> dict[str, str]:
    """Return the form of every objective, "released" where `forms` names none."""
    forms = dict.fromkeys(OBJECTIVES, "released") | (forms or {})
    for objective, form in forms.items():
        if objective not in OBJECTIVES or form not in FORMS:
            raise ValueError(f"forms may hold {tuple(OBJECTIVES)}, each one of {FORMS}, "
                             f"not {objective!r}: {form!r}")
    return forms


def pairwise_loss(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Pairwise rank loss, equation 9: −log σ(s⁺ − s⁻). Takes and returns (N,)."""
    return -F.logsigmoid(positive_scores - negative_scores)


def pointwise_loss(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Binary cross-entropy −log σ(s⁺) − log(1 − σ(s⁻)), of the released code and SASRec, (N,)."""
    return -F.logsigmoid(positive_scores) - F.logsigmoid(-negative_scores)


def softmax_loss(scores: Tensor, items: Tensor) -> Tensor:
    """Cross-entropy over all items: InfoNCE with every item a candidate, equation 3.

    Takes scores (N, num_items), without padding and mask, and the next items (N,); returns (N,).
    """
    return F.cross_entropy(scores, items - 1, reduction="none")


def sampled_softmax_loss(positive_scores, scores, items, drawn, num_items: int) -> Tensor:
    """Cross-entropy over all items, estimated from K of them: the softmax where that is too dear.

    Takes scores of the next `items`, (N,) each, and `scores` (N, K) of the `drawn` items (K,), all
    different; returns (N,). Each drawn item stands for num_items / K of its kind, the logQ
    correction, and one that is the next item itself is left out. With all items drawn, the loss is
    the softmax's.
    """
    scores = scores + math.log(num_items / len(drawn))
    return info_nce(positive_scores, scores.masked_fill(drawn == items[:, None], -torch.inf))


def finetuning_loss(model: S3Rec, batch: FinetuneBatch, loss: str = "pairwise",
                    sampled_items: int = 1024) -> Tensor:
    """Return the next-item loss of a batch, the encoder causal, a () mean (section 4.3).

    `loss` is "pairwise", the paper's equation 9, "pointwise", the released code's, "softmax", or
    "sampled_softmax", for which `sampled_items` are drawn for the whole batch, uniformly.
    """
    if loss not in FINETUNING_LOSSES:
        raise ValueError(f"loss must be one of {FINETUNING_LOSSES}, not {loss!r}")
    states = item_states(model, batch.items, batch.positions, causal=True)  # (N, H)
    positives = batch.positive_items.flatten()[batch.positions]  # (N,)
    if loss == "softmax":
        candidates = model.item_vectors.T  # (H, num_items)
        return in_blocks(lambda some, wanted: softmax_loss(some @ candidates, wanted),
                         states, positives).mean()
    if loss == "sampled_softmax":
        num_items = len(model.item_vectors)
        drawn = 1 + torch.randperm(num_items, device=states.device)[:sampled_items]  # (K,)
        own, candidates = model.item_embedding(positives), model.item_embedding(drawn).T  # (H, K)
        return sampled_softmax_loss((states * own).sum(-1), states @ candidates, positives, drawn,
                                    num_items).mean()
    negatives = batch.negative_items.flatten()[batch.positions]
    pair = model.item_embedding(torch.stack([positives, negatives]))  # (2, N, H), one look-up
    contrast = pairwise_loss if loss == "pairwise" else pointwise_loss
    return contrast(*(states * pair).sum(-1)).mean()
