"""The losses: InfoNCE, the four pretraining objectives, the finetuning losses (equations 2–9).

Each pretraining objective comes in three forms, chosen one by one.

released
    What the authors' code computes, the default. AAP and MAP are a binary cross-entropy over all
    attribute columns, MIP and SP compare one positive with one negative, −log σ(σ(s⁺) − σ(s⁻)).
paper
    Equations 5–8 as printed: a critic σ(xᵀWy), the positive left out of the sum over negatives.
infonce
    InfoNCE proper, equations 2 and 3: a critic xᵀWy without σ, the positive among the candidates.

Losses are what is minimised: the form paper is the negative of equations 5–8. B sequences, L
positions, H hidden size, N predictions, A attributes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import FinetuneBatch, PretrainBatch
from .encoder import S3Rec

__all__ = ["FINETUNING_LOSSES", "FORMS", "OBJECTIVES", "aap_loss", "finetuning_loss", "info_nce",
           "map_loss", "mip_loss", "pairwise_loss", "pointwise_loss", "pretraining_losses",
           "printed_contrast", "softmax_loss", "sp_loss"]

OBJECTIVES = ("aap", "mip", "map", "sp")
FORMS = ("released", "paper", "infonce")


def info_nce(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """InfoNCE, equation 2: how badly a critic tells the positive from its negatives.

    log of the number of candidates minus the mean loss bounds the mutual information from below,
    if the negatives are drawn from the marginal.

    Parameters
    ----------
    positive_scores : Tensor
        (N,) float critic scores f(x, y).
    negative_scores : Tensor
        (N, K) scores f(x, ỹ) of K negatives each; −inf leaves a negative out.

    Returns
    -------
    Tensor
        (N,) losses in nats, −f(x, y) + log Σ exp f(x, ỹ) over the positive and its negatives.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if positive_scores.dim() != 1 or negative_scores.shape[:-1] != positive_scores.shape:
        raise ValueError(f"info_nce takes scores (N,) and (N, K), not "
                         f"{tuple(positive_scores.shape)} and {tuple(negative_scores.shape)}")
    candidates = torch.cat([positive_scores[:, None], negative_scores], 1)  # (N, 1 + K)
    return candidates.logsumexp(1) - positive_scores


def printed_contrast(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Return the contrast of equations 5–8 as printed: the positive is no candidate.

    Parameters and result are those of `info_nce`. With scores in (0, 1) the loss is at least
    log K − 1; with unbounded scores it has no lower bound.
    """
    return negative_scores.logsumexp(1) - positive_scores


def _several_positives(scores: Tensor, positives: Tensor, contrast) -> Tensor:
    """Contrast each positive of a row with the row's negatives; mean over its positives.

    `scores` is (N, M), `positives` (N, M) bool; a row with no positive or no negative counts 0.
    Returns (N,).
    """
    positives = positives & ~positives.all(1, keepdim=True)
    against = scores.masked_fill(positives, -torch.inf).logsumexp(1, keepdim=True)  # (N, 1)
    # All negatives of a row act through their log-sum alone, so that sum stands in for them.
    losses = contrast(scores.flatten(), against.expand_as(scores).reshape(-1, 1)).view_as(scores)
    return losses.masked_fill(~positives, 0).sum(1) / positives.sum(1).clamp(min=1)


def _contrast(form: str):
    return printed_contrast if form == "paper" else info_nce


def _critic(head, states: Tensor, targets: Tensor, form: str) -> Tensor:
    """Score N states against M targets by xᵀWy, in (0, 1) in the printed form. Returns (N, M).

    The head's weight is Wᵀ: a linear layer computes Wᵀx, and its product with y is the score.
    """
    scores = F.linear(states, head.weight) @ targets.T
    return scores.sigmoid() if form == "paper" else scores


def _attribute_loss(head, states, items, attribute_table, item_attributes, form) -> Tensor:
    present = item_attributes[items]  # (N, A + 1) uint8, one gather of rows
    if form == "released":
        logits = head(states) @ attribute_table.T  # (N, A + 1); column 0, never present, counts
        return F.binary_cross_entropy_with_logits(logits, present.to(logits.dtype), reduction="sum")
    scores = _critic(head, states, attribute_table[1:], form)  # (N, A)
    return _several_positives(scores, present[:, 1:].bool(), _contrast(form)).sum()


def _one_negative(head, states, positives, negatives) -> Tensor:
    """−log σ(σ(s⁺) − σ(s⁻)) of the released MIP and SP, from (N, H) each. Returns (N,)."""
    queries = head(states)
    better = (queries * positives).sum(-1).sigmoid() - (queries * negatives).sum(-1).sigmoid()
    return -F.logsigmoid(better)


def aap_loss(model: S3Rec, states, items, item_attributes, form: str = "released") -> Tensor:
    """Associated attribute prediction, equation 5: which attributes belong to this item.

    Parameters
    ----------
    model : S3Rec
        For its tables and `aap_head`.
    states : Tensor
        (N, H) encoder states at unmasked positions; the released form scores these, the others
        the item's own embedding.
    items : Tensor
        (N,) int64 items there.
    item_attributes : Tensor
        (num_items + 2, num_attributes + 1) uint8, as in `SequenceDataset`.
    form : {"released", "paper", "infonce"}
        See the module.

    Returns
    -------
    Tensor
        () loss summed over positions, and over attribute columns in the released form; the others
        take the mean over an item's attributes, the E of equation 5.
    """
    if form != "released":
        states = model.item_embedding(items)  # (N, H)
    table = model.attribute_embedding.weight  # (A + 1, H)
    return _attribute_loss(model.aap_head, states, items, table, item_attributes, form)


def map_loss(model: S3Rec, states, items, item_attributes, form: str = "released") -> Tensor:
    """Masked attribute prediction, equation 7: which attributes the masked item has.

    As `aap_loss`, but `states` (N, H) are those at masked positions, in every form, and `items`
    (N,) the items that were masked there. Returns the () loss summed over positions.
    """
    table = model.attribute_embedding.weight  # (A + 1, H)
    return _attribute_loss(model.map_head, states, items, table, item_attributes, form)


def mip_loss(model: S3Rec, states, items, negative_items, form: str = "released") -> Tensor:
    """Masked item prediction, equation 6: which item was masked.

    Parameters
    ----------
    model : S3Rec
        For its item table and `mip_head`.
    states : Tensor
        (N, H) encoder states at masked positions.
    items, negative_items : Tensor
        (N,) int64 masked items and one unseen item each; only the released form looks at the
        latter, the others contrast with all items.
    form : {"released", "paper", "infonce"}
        See the module.

    Returns
    -------
    Tensor
        () loss summed over positions.
    """
    if form == "released":
        pair = model.item_embedding(torch.stack([items, negative_items]))  # (2, N, H), one look-up
        return _one_negative(model.mip_head, states, *pair).sum()
    if form == "infonce":  # over all items InfoNCE is softmax cross-entropy, equation 3
        return softmax_loss(model, F.linear(states, model.mip_head.weight), items).sum()
    scores = _critic(model.mip_head, states, model.item_embedding.weight[1:-1], form)
    positive = scores.gather(1, items[:, None] - 1)  # (N, 1)
    others = scores.scatter(1, items[:, None] - 1, -torch.inf)  # (N, num_items)
    return printed_contrast(positive.squeeze(1), others).sum()


def sp_loss(model: S3Rec, context, positive, negative, form: str = "released") -> Tensor:
    """Segment prediction, equation 8: which segment was cut out of this sequence.

    Parameters
    ----------
    model : S3Rec
        For its `sp_head`.
    context, positive, negative : Tensor
        (B, H) last-position states of the masked sequences, of their segments and of the foreign
        segments. Only the released form looks at the last; the others contrast a row with the
        positive segments of all other rows. Those lie at other places and have other lengths, so
        that the gap's shape alone tells much of the answer.
    form : {"released", "paper", "infonce"}
        See the module.

    Returns
    -------
    Tensor
        () loss summed over sequences.

    Raises
    ------
    ValueError
        If the form needs other rows and there is only one.
    """
    if form == "released":
        return _one_negative(model.sp_head, context, positive, negative).sum()
    if len(context) < 2:
        raise ValueError(f"sp in the form {form!r} contrasts a sequence with the others of its "
                         f"batch: give it at least two")
    scores = _critic(model.sp_head, context, positive, form)  # (B, B), own segment on the diagonal
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return _contrast(form)(scores.diagonal(), scores.masked_fill(own, -torch.inf)).sum()


def pretraining_losses(
    model: S3Rec,
    batch: PretrainBatch,
    item_attributes: Tensor,
    forms: dict[str, str] | None = None,
    objectives: tuple[str, ...] = OBJECTIVES,
) -> dict[str, Tensor]:
    """Return the pretraining losses of a batch (equations 5–8, section 4.2).

    Parameters
    ----------
    model : S3Rec
        Encodes the four views of the batch in one pass, in both directions.
    batch : PretrainBatch
        On the model's device.
    item_attributes : Tensor
        (num_items + 2, num_attributes + 1) uint8 on the model's device.
    forms : dict, optional
        Form of each objective, "released" where it is not named.
    objectives : tuple of str
        Which of "aap", "mip", "map", "sp" to compute.

    Returns
    -------
    dict of str to Tensor
        () losses, each summed over its predictions and averaged over the B sequences.

    Raises
    ------
    ValueError
        If a form or objective is unknown, or the attribute table has another shape.
    """
    forms = checked_forms(forms)
    if unknown := set(objectives) - set(OBJECTIVES):
        raise ValueError(f"objectives may hold {OBJECTIVES}, not {sorted(unknown)}")
    expected = (model.config.num_items + 2, model.config.num_attributes + 1)
    if tuple(item_attributes.shape) != expected:
        raise ValueError(f"item_attributes must be (num_items + 2, num_attributes + 1) = "
                         f"{expected} for this model, not {tuple(item_attributes.shape)}")
    if "sp" in objectives:
        views = torch.cat([batch.masked_items, batch.masked_segment, batch.positive_segment,
                           batch.negative_segment])  # (4B, L)
        states, newest = model.newest_states(views, whole=len(batch))  # (B, L, H), (3B, H)
        segments = newest.split(len(batch))  # context, positive, negative: (B, H) each
    else:
        states = model(batch.masked_items)  # (B, L, H)
    states, items = states.flatten(0, 1), batch.items.flatten()  # (B·L, H), (B·L,)
    masked, visible = batch.masked_positions, batch.unmasked_positions
    negatives = batch.negative_items.flatten()[masked]
    compute = {
        "aap": lambda form: aap_loss(model, states[visible], items[visible], item_attributes, form),
        "mip": lambda form: mip_loss(model, states[masked], items[masked], negatives, form),
        "map": lambda form: map_loss(model, states[masked], items[masked], item_attributes, form),
        "sp": lambda form: sp_loss(model, *segments, form),
    }
    return {name: compute[name](forms[name]) / len(batch) for name in objectives}


def checked_forms(forms: dict[str, str] | None) -> dict[str, str]:
    """Return the form of every objective, "released" where `forms` names none."""
    forms = dict.fromkeys(OBJECTIVES, "released") | (forms or {})
    for objective, form in forms.items():
        if objective not in OBJECTIVES or form not in FORMS:
            raise ValueError(f"forms may hold {OBJECTIVES}, each one of {FORMS}, "
                             f"not {objective!r}: {form!r}")
    return forms


def pairwise_loss(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Pairwise rank loss, equation 9: −log σ(s⁺ − s⁻). Takes and returns (N,)."""
    return -F.logsigmoid(positive_scores - negative_scores)


def pointwise_loss(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Binary cross-entropy −log σ(s⁺) − log(1 − σ(s⁻)), of the released code and SASRec.

    Takes and returns (N,).
    """
    return -F.logsigmoid(positive_scores) - F.logsigmoid(-negative_scores)


def softmax_loss(model: S3Rec, states: Tensor, items: Tensor) -> Tensor:
    """Cross-entropy over all items: InfoNCE with every item a candidate, equation 3.

    Takes states (N, H) and the next items (N,); returns (N,).
    """
    candidates = model.item_embedding.weight[1:-1].T  # (H, num_items), no padding, no mask
    # 256 states at a time: the scores of a whole batch, 100 MB on Beauty, fit no cache and are
    # asked of the system anew at each step, which makes a step on a CPU half as long again.
    return torch.cat([
        F.cross_entropy(some @ candidates, wanted - 1, reduction="none")
        for some, wanted in zip(states.split(256), items.split(256), strict=True)
    ])


FINETUNING_LOSSES = ("pairwise", "pointwise", "softmax")


def finetuning_loss(model: S3Rec, batch: FinetuneBatch, loss: str = "pairwise") -> Tensor:
    """Return the next-item loss of a batch, the encoder causal (equation 9, section 4.3).

    Parameters
    ----------
    model : S3Rec
        Encodes `batch.items` from left to right.
    batch : FinetuneBatch
        On the model's device.
    loss : {"pairwise", "pointwise", "softmax"}
        The paper's loss, the released code's, or cross-entropy over all items.

    Returns
    -------
    Tensor
        () mean over the real positions.

    Raises
    ------
    ValueError
        If the loss is unknown.
    """
    if loss not in FINETUNING_LOSSES:
        raise ValueError(f"loss must be one of {FINETUNING_LOSSES}, not {loss!r}")
    states = model.item_states(batch.items, batch.positions, causal=True)  # (N, H)
    positives = batch.positive_items.flatten()[batch.positions]  # (N,)
    if loss == "softmax":
        return softmax_loss(model, states, positives).mean()
    negatives = batch.negative_items.flatten()[batch.positions]
    pair = model.item_embedding(torch.stack([positives, negatives]))  # (2, N, H), one look-up
    contrast = pairwise_loss if loss == "pairwise" else pointwise_loss
    return contrast(*(states * pair).sum(-1)).mean()
