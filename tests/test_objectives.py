"""The losses: equal to the authors' numbers and to slow loops over the equations, above bounds."""

import itertools
import json
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import export_checkpoint, make_data, make_model
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from s3rec_mini import encoder
from s3rec_mini.batches import FinetuneBatch, PretrainBatch, pretraining_batches
from s3rec_mini.objectives import (
    FINETUNING_LOSSES,
    FORMS,
    OBJECTIVES,
    finetuning_loss,
    info_nce,
    mip_loss,
    pairwise_loss,
    pointwise_loss,
    pretraining_losses,
    printed_contrast,
    sampled_softmax_loss,
    softmax_loss,
    sp_loss,
)
from s3rec_mini.tools.fast import in_blocks

ITEMS, ATTRIBUTES = 12, 4
MASK = ITEMS + 1
TABLE = make_data([[1, 2, 3]], ITEMS, ATTRIBUTES).item_attributes
FLOOR = math.log(1 + 1 / math.e)  # 0.3133, the least that −log σ(σ(a) − σ(b)) can be

every_form = pytest.mark.parametrize("form", FORMS)
scores = st.floats(-30, 30, allow_nan=False)


def batch_of(lengths, seed=0):
    """Make a batch by hand, without the code that the package draws its batches with."""
    generator = torch.Generator().manual_seed(seed)

    def items(count):
        return torch.randint(1, ITEMS + 1, (count,), generator=generator)

    views = [[] for _ in range(6)]
    for length in lengths:
        row, other, negatives = items(length), items(length), items(length)
        masked = torch.rand(length, generator=generator) < 0.3
        masked[-1] = True
        size = max(length // 2, 1)
        inside = torch.zeros(length, dtype=torch.bool)
        inside[length // 4:length // 4 + size] = True
        parts = [row, row.masked_fill(masked, MASK), torch.where(masked, negatives, row),
                 row.masked_fill(inside, MASK), row.masked_fill(~inside, MASK),
                 other.masked_fill(~inside, MASK)]
        if length == 1:
            parts[3:] = [row, row, row]
        for view, part in zip(views, parts, strict=True):
            view.append(F.pad(part, (max(lengths) - length, 0)))
    return PretrainBatch(*map(torch.stack, views))


def with_both_ends(batch):
    """Let item 1 (no attribute) and item 2 (all attributes) be both masked and visible."""
    views = [getattr(batch, name).clone() for name in ("items", "masked_items", "negative_items")]
    for column, item, hidden in [(-1, 1, True), (-2, 2, True), (-3, 1, False), (-4, 2, False)]:
        views[0][-1, column] = item
        views[1][-1, column] = MASK if hidden else item
        views[2][-1, column] = 3 if hidden else item
    return PretrainBatch(*views, batch.masked_segment, batch.positive_segment,
                         batch.negative_segment)


BATCHES = {
    "one-item-sequences": batch_of([1, 1, 1]),
    "mixed": with_both_ends(batch_of([1, 6, 2, 9])),
    "length-50": batch_of([50, 3], seed=1),
}
every_batch = pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)


# --- slow loops, written from the paper's equations and the ledger of its code ------------------


def sigma(x):
    return 1 / (1 + (-x).exp())


def binary_cross_entropy(score, present):
    return -sigma(score).log() if present else -(1 - sigma(score)).log()


def contrast(score, others, form):
    """One term of equations 5–8: `others` are the negatives; the positive joins in InfoNCE."""
    if form == "paper":
        score, others = sigma(score), [sigma(other) for other in others]
    candidates = others if form == "paper" else [score, *others]
    return sum(candidate.exp() for candidate in candidates).log() - score


def attributes_by_loop(head, vector, item, model, form):
    table = model.attribute_embedding.weight
    if form == "released":
        return sum(binary_cross_entropy((head.weight @ vector + head.bias) @ table[column],
                                        TABLE[item, column] == 1)
                   for column in range(ATTRIBUTES + 1))
    has = [a for a in range(1, ATTRIBUTES + 1) if TABLE[item, a]]
    lacks = [a for a in range(1, ATTRIBUTES + 1) if not TABLE[item, a]]
    if not has or not lacks:
        return 0.0
    critic = {a: (head.weight @ vector) @ table[a] for a in has + lacks}
    return sum(contrast(critic[a], [critic[o] for o in lacks], form) for a in has) / len(has)


def pair_by_loop(head, vector, positive, negative):
    query = head.weight @ vector + head.bias
    return -sigma(sigma(query @ positive) - sigma(query @ negative)).log()


def losses_by_loop(model, batch, form):
    """Compute all four losses, a sequence, a position, an attribute at a time."""
    items = model.item_embedding.weight
    sums = dict.fromkeys(OBJECTIVES, 0.0)
    contexts, segments = [], []
    for row in range(len(batch)):
        real = batch.items[row] != 0  # encode each sequence alone and without its padding
        sequence, masked, negatives, context, own, other = (
            getattr(batch, name)[row][real] for name in
            ("items", "masked_items", "negative_items", "masked_segment", "positive_segment",
             "negative_segment"))
        states = model(masked[None])[0]
        for state, item, shown, negative in zip(states, sequence, masked, negatives, strict=True):
            if shown != MASK:
                vector = state if form == "released" else items[item]
                sums["aap"] += attributes_by_loop(model.aap_head, vector, item, model, form)
                continue
            sums["map"] += attributes_by_loop(model.map_head, state, item, model, form)
            if form == "released":
                sums["mip"] += pair_by_loop(model.mip_head, state, items[item], items[negative])
            else:
                critic = [(model.mip_head.weight @ state) @ items[i] for i in range(1, ITEMS + 1)]
                score = critic.pop(int(item) - 1)
                sums["mip"] += contrast(score, critic, form)
        context, own, other = (model(view[None])[0, -1] for view in (context, own, other))
        if form == "released":
            sums["sp"] += pair_by_loop(model.sp_head, context, own, other)
        contexts.append(context)
        segments.append(own)
    if form != "released":
        for row, context in enumerate(contexts):
            critic = [(model.sp_head.weight @ context) @ segment for segment in segments]
            score = critic.pop(row)
            sums["sp"] += contrast(score, critic, form)
    return {name: torch.as_tensor(value, dtype=torch.float64) / len(batch)
            for name, value in sums.items()}


def gradients(model, value):
    if not value.requires_grad:  # a loop that added up nothing
        return [torch.zeros_like(weight) for weight in model.parameters()]
    return torch.autograd.grad(value, list(model.parameters()), allow_unused=True,
                               materialize_grads=True, retain_graph=True)


@every_form
@every_batch
def test_each_objective_equals_a_loop_over_its_equation_in_values_and_gradients(batch, form):
    model = make_model(num_layers=1)
    ours = pretraining_losses(model, batch, TABLE, dict.fromkeys(OBJECTIVES, form))
    loops = losses_by_loop(model, batch, form)
    assert list(ours) == list(OBJECTIVES)
    for name in OBJECTIVES:
        torch.testing.assert_close(ours[name], loops[name], rtol=1e-9, atol=1e-12, msg=name)
        for (weight, _), got, expected in zip(model.named_parameters(),
                                              gradients(model, ours[name]),
                                              gradients(model, loops[name]), strict=True):
            if weight == "item_embedding.weight":
                got, expected = got[1:], expected[1:]  # the padding row takes no gradient in ours
            torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-10,
                                       msg=f"{name}, {weight}")


def test_each_objective_may_take_a_form_of_its_own():
    model, batch = make_model(), BATCHES["mixed"]
    all_alike = {form: pretraining_losses(model, batch, TABLE, dict.fromkeys(OBJECTIVES, form))
                 for form in FORMS}
    forms = dict(aap="paper", map="infonce", sp="paper")
    for name, loss in pretraining_losses(model, batch, TABLE, forms).items():
        torch.testing.assert_close(loss, all_alike[forms.get(name, "released")][name])
    for name in OBJECTIVES:
        assert len({round(float(all_alike[form][name].detach()), 6) for form in FORMS}) == 3


def test_an_objective_computed_alone_is_the_same():
    model, batch = make_model(), BATCHES["mixed"]
    together = pretraining_losses(model, batch, TABLE)
    for name in OBJECTIVES:
        alone = pretraining_losses(model, batch, TABLE, objectives=(name,))
        assert list(alone) == [name]
        torch.testing.assert_close(alone[name], together[name])


@every_form
def test_padding_adds_nothing_to_a_pretraining_loss(form):
    model, batch = make_model(), BATCHES["mixed"]
    wider = PretrainBatch(*(F.pad(getattr(batch, name), (7, 0)) for name in
                            ("items", "masked_items", "negative_items", "masked_segment",
                             "positive_segment", "negative_segment")))
    forms = dict.fromkeys(OBJECTIVES, form)
    torch.testing.assert_close(pretraining_losses(model, wider, TABLE, forms),
                               pretraining_losses(model, batch, TABLE, forms))


# --- the authors' numbers ----------------------------------------------------------------------


def test_the_authors_four_losses_come_out(authors_model, golden_batch, lastfm):
    batch, numbers = golden_batch
    losses = pretraining_losses(authors_model, batch, lastfm.item_attributes)
    for name in OBJECTIVES:
        assert 16 * losses[name].item() == pytest.approx(float(numbers[f"{name}_loss"]), rel=1e-4)


def test_the_authors_gradient_norms_come_out(authors_model, golden_batch, lastfm, reference,
                                             tmp_path):
    losses = pretraining_losses(authors_model, golden_batch[0], lastfm.item_attributes)
    weights = dict(aap=0.2, mip=1.0, map=1.0, sp=0.5)
    (16 * sum(weights[name] * losses[name] for name in OBJECTIVES)).backward()
    with torch.no_grad():  # exporting the gradients in the weights' place gives them their names
        for weight in authors_model.parameters():
            weight.copy_(weight.grad)
    export_checkpoint(authors_model, tmp_path / "gradients.pt")
    ours = {name: value.double().norm().item()
            for name, value in torch.load(tmp_path / "gradients.pt", weights_only=True).items()}
    theirs = json.loads((reference / "official_lastfm_grad_norms.json").read_text())
    assert {f"grad_norm.{name}" for name in ours} == set(theirs)
    for name, norm in ours.items():
        if name.endswith("key.bias"):  # softmax does not feel a shift of all keys: round-off
            assert norm < 1e-4, name
        else:
            assert norm == pytest.approx(theirs[f"grad_norm.{name}"], rel=1e-3), name


# --- attributes --------------------------------------------------------------------------------


def test_column_0_counts_in_the_released_cross_entropy_and_nowhere_else():
    model, batch = make_model(), BATCHES["mixed"]
    for form in FORMS:
        losses = pretraining_losses(model, batch, TABLE, dict(aap=form, map=form))
        gradient = gradients(model, losses["aap"] + losses["map"])[1]
        assert gradient.shape == (ATTRIBUTES + 1, 8)
        assert gradient[1:].ne(0).any()
        assert gradient[0].ne(0).any().item() is (form == "released")
    # With a zero vector its logit is 0, which costs log 2 a position.
    with torch.no_grad():
        model.attribute_embedding.weight.zero_()
    losses = pretraining_losses(model, batch, TABLE)
    columns = ATTRIBUTES + 1
    for name, positions in [("aap", batch.unmasked_positions), ("map", batch.masked_positions)]:
        assert losses[name].item() == pytest.approx(len(positions) * columns * math.log(2) / 4)


@pytest.mark.parametrize("form", ["paper", "infonce"])
@pytest.mark.parametrize("item", [1, 2], ids=["no-attribute", "all-attributes"])
def test_an_item_without_anything_to_contrast_counts_nothing(item, form):
    model = make_model()
    items = torch.full((2, 4), item)
    masked = items.clone()
    masked[:, 2:] = MASK
    batch = PretrainBatch(items, masked, items, masked, items, items)
    losses = pretraining_losses(model, batch, TABLE, dict(aap=form, map=form),
                                objectives=("aap", "map"))
    for loss in losses.values():
        assert loss.item() == 0
        assert all(gradient.eq(0).all() for gradient in gradients(model, loss))


@every_form
def test_losses_and_gradients_stay_finite_for_extreme_scores(form):
    model, batch = make_model(), BATCHES["mixed"]
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(40)
    losses = pretraining_losses(model.float(), batch, TABLE, dict.fromkeys(OBJECTIVES, form))
    assert all(loss.isfinite() for loss in losses.values())
    assert all(g.isfinite().all() for g in gradients(model, sum(losses.values())))


@every_form
def test_data_without_any_attribute_trains_the_other_objectives(form):
    model, table = make_model(num_attributes=0), torch.zeros(ITEMS + 2, 1, dtype=torch.uint8)
    losses = pretraining_losses(model, BATCHES["mixed"], table, dict.fromkeys(OBJECTIVES, form))
    assert all(g.isfinite().all() for g in gradients(model, sum(losses.values())))
    if form != "released":
        assert losses["aap"].item() == losses["map"].item() == 0


# --- InfoNCE -----------------------------------------------------------------------------------

contrasts = st.integers(1, 6).flatmap(lambda k: st.lists(
    st.lists(scores, min_size=k + 1, max_size=k + 1), min_size=1, max_size=5))


@given(contrasts)
def test_info_nce_is_its_closed_form_and_softmax_cross_entropy(rows):
    table = torch.tensor(rows, dtype=torch.float64)
    loss = info_nce(table[:, 0], table[:, 1:])
    closed = [math.log(sum(math.exp(other - row[0]) for other in row)) for row in rows]
    torch.testing.assert_close(loss, torch.tensor(closed, dtype=torch.float64))
    first = torch.zeros(len(rows), dtype=torch.int64)
    torch.testing.assert_close(loss, F.cross_entropy(table, first, reduction="none"))


@given(contrasts)
def test_the_printed_contrast_leaves_the_positive_out(rows):
    table = torch.tensor(rows, dtype=torch.float64)
    loss = printed_contrast(table[:, 0], table[:, 1:])
    closed = [math.log(sum(math.exp(other) for other in row[1:])) - row[0] for row in rows]
    torch.testing.assert_close(loss, torch.tensor(closed, dtype=torch.float64))


def test_a_negative_at_minus_infinity_is_left_out():
    positive = torch.tensor([0.3, -1.0], requires_grad=True)
    negative = torch.tensor([[1.0, -torch.inf, 2.0], [-torch.inf, 0.5, -torch.inf]])
    short = torch.stack([info_nce(positive[:1], torch.tensor([[1.0, 2.0]]))[0],
                         info_nce(positive[1:], torch.tensor([[0.5]]))[0]])
    loss = info_nce(positive, negative)
    torch.testing.assert_close(loss, short)
    (gradient,) = torch.autograd.grad(loss.sum(), positive)
    assert gradient.isfinite().all()


@given(st.lists(st.floats(0, 1), min_size=2, max_size=100))
def test_scores_between_0_and_1_keep_the_loss_above_its_floor(values):
    table = torch.tensor([values], dtype=torch.float64)
    negatives = len(values) - 1
    loss = info_nce(table[:, 0], table[:, 1:]).item()
    assert loss >= math.log(1 + negatives / math.e) - 1e-12
    bound = math.log(negatives + 1) - loss
    assert bound <= math.log(math.e * (negatives + 1) / (math.e + negatives)) + 1e-12 < 1
    printed = printed_contrast(table[:, 0], table[:, 1:]).item()
    assert printed >= math.log(negatives) - 1 - 1e-12


def test_the_floor_is_reached_at_the_ends_of_the_interval():
    for negatives, bound in [(1, 0.380), (99, 0.983)]:
        loss = info_nce(torch.ones(1), torch.zeros(1, negatives)).item()
        assert loss == pytest.approx(math.log(1 + negatives / math.e), abs=1e-6)
        assert math.log(negatives + 1) - loss == pytest.approx(bound, abs=5e-4)


def test_without_sigma_the_printed_contrast_has_no_floor_and_info_nce_has():
    far = torch.tensor([1e4])
    assert printed_contrast(far, -far[None]).item() == -2e4
    assert info_nce(far, -far[None]).item() == 0


def test_uniform_candidates_certify_information_where_there_is_none():
    # X and Y are independent, so I = 0; the critic is f(x, y) = log p(y).
    p = torch.tensor([0.9, 0.1], dtype=torch.float64)
    both = torch.tensor([[0, 1], [1, 0]])  # the candidates are all of Y: each positive, the other
    f = p.log()[both]
    uniform = math.log(2) - (p * info_nce(f[:, 0], f[:, 1:])).sum().item()
    assert uniform == pytest.approx(0.368, abs=5e-4)
    entropy = -(p * p.log()).sum().item()
    assert uniform == pytest.approx(math.log(2) - entropy)  # the gap that the log|Y| hides
    # Negatives drawn from the marginal, as equation 2 demands, claim nothing of the kind.
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    f = p.log()[pairs]
    marginal = math.log(2) - (p[pairs].prod(1) * info_nce(f[:, 0], f[:, 1:])).sum().item()
    assert marginal <= 0
    # Uniform draws certify what is left after KL(p‖uniform) is taken off: here nothing.
    losses = info_nce(p.log()[pairs[:, 0]], p.log()[pairs[:, 1:]])
    drawn = math.log(2) - (p[pairs[:, 0]] / 2 * losses).sum().item()
    assert 0 < drawn <= math.log(2) - entropy


def test_info_nce_refuses_shapes_that_do_not_fit():
    for positive, negative in [((3,), (2, 4)), ((3, 1), (3, 4)), ((3,), (3,)), ((3,), (3, 2, 2))]:
        with pytest.raises(ValueError, match=r"info_nce takes scores \(N,\) and \(N, K\), not"):
            info_nce(torch.ones(positive), torch.ones(negative))


# --- bounds and special cases of the released forms --------------------------------------------


@given(scale=st.sampled_from([0.1, 1, 100, 1e4]), seed=st.integers(0, 100))
def test_released_mip_and_sp_stay_above_the_two_candidate_floor(scale, seed):
    model = make_model(seed=seed)
    states = scale * torch.randn(20, 8, generator=torch.Generator().manual_seed(seed)).double()
    items = torch.arange(20) % ITEMS + 1
    for row in range(20):
        one = slice(row, row + 1)
        mip = mip_loss(model, states[one], items[one], items[one] % ITEMS + 1)
        sp = sp_loss(model, states[one], states[one], -states[one])
        for loss in (mip.item(), sp.item()):
            assert FLOOR - 1e-12 <= loss <= math.log(1 + math.e) + 1e-12
    assert round(FLOOR, 4) == 0.3133


def test_released_sp_of_one_item_sequences_is_log_2():
    data = make_data([[1, 2, 3], [4, 5, 6], [7, 8, 9]], ITEMS)  # one training item each
    (batch,) = pretraining_batches(data)
    assert batch.items.shape == (3, 1)
    loss = pretraining_losses(make_model(), batch, TABLE)["sp"]
    assert loss.item() == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize("score", [3.0, 30.0, 86.0, 1e4])
def test_no_slope_of_released_sp_is_so_small_that_a_cpu_needs_long_for_it(score):
    model = make_model().float()
    with torch.no_grad():
        model.sp_head.weight.copy_(torch.eye(8)), model.sp_head.bias.zero_()
    context, other = (torch.full((2, 8), x, requires_grad=True) for x in (1.0, 0.5))
    segment = torch.full((2, 8), -score / 8)  # its scores are −score, the other's positive
    loss = sp_loss(model, context, segment, other)
    own, others = (torch.tensor(x, dtype=torch.float64).sigmoid() for x in (-score, 4.0))
    assert loss.item() == pytest.approx(-2 * (own - others).sigmoid().log().item(), rel=1e-6)
    loss = sp_loss(model, context, segment, 2 * segment)  # both far down: the plateau
    (slopes,) = torch.autograd.grad(1e-3 * loss, context)  # weighed, and a mean
    least = torch.finfo(torch.float32).tiny
    assert not ((slopes != 0) & (slopes.abs() < least)).any()
    assert slopes.ne(0).all() == (score < 60)


def test_an_objective_leaves_the_other_heads_alone():
    model, batch = make_model(), BATCHES["mixed"]
    losses = pretraining_losses(model, batch, TABLE)
    names = [name for name, _ in model.named_parameters()]
    for objective in OBJECTIVES:
        touched = {name.split("_")[0] for name, gradient in
                   zip(names, gradients(model, losses[objective]), strict=True)
                   if name.endswith("head.weight") and gradient.ne(0).any()}
        assert touched == {objective}


# --- finetuning --------------------------------------------------------------------------------


@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=6))
def test_pairwise_and_pointwise_losses_are_their_formulas(pairs):
    positive, negative = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    pairwise = [math.log1p(math.exp(n - p)) for p, n in pairs]
    pointwise = [math.log1p(math.exp(-p)) + math.log1p(math.exp(n)) for p, n in pairs]
    torch.testing.assert_close(pairwise_loss(positive, negative),
                               torch.tensor(pairwise, dtype=torch.float64))
    torch.testing.assert_close(pointwise_loss(positive, negative),
                               torch.tensor(pointwise, dtype=torch.float64))


def test_softmax_loss_counts_every_item_and_neither_padding_nor_mask():
    model = make_model()
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(300, 8, generator=generator).double()  # more than it takes at a time
    items = torch.cat([torch.tensor([1, ITEMS]),
                       torch.randint(1, ITEMS + 1, (298,), generator=generator)])
    loss = softmax_loss(states @ model.item_vectors.T, items)
    assert loss.shape == (300,)
    candidates = model.item_vectors.T
    assert in_blocks(lambda s, i: softmax_loss(s @ candidates, i), states, items).allclose(loss)
    for state, item, got in zip(states, items, loss, strict=True):
        scores = [model.item_embedding.weight[i] @ state for i in range(1, ITEMS + 1)]
        expected = sum(score.exp() for score in scores).log() - scores[item - 1]
        torch.testing.assert_close(got, expected)


def test_the_sampled_softmax_lets_each_drawn_item_stand_for_its_share_of_all():
    """Summed over all draws, the estimate of the other items' sum is that sum."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 7, dtype=torch.float64, generator=generator)
    items = torch.tensor([1, 4, 7])
    own = scores.gather(1, items[:, None] - 1).squeeze(1)
    sums = []
    for chosen in itertools.combinations(range(7), 3):
        drawn = torch.tensor(chosen) + 1
        loss = sampled_softmax_loss(own, scores[:, chosen], items, drawn, num_items=7)
        assert loss.shape == (3,)
        sums.append((loss + own).exp())  # of the positive and of those that the drawn stand for
    torch.testing.assert_close(torch.stack(sums).mean(0), scores.exp().sum(1))


def test_the_sampled_softmax_draws_anew_at_each_step_and_as_many_as_asked():
    model, batch = make_model(), finetune_batch([5, 1, 8])
    torch.manual_seed(1)
    losses = [finetuning_loss(model, batch, "sampled_softmax", 3) for _ in range(2)]
    assert not losses[0].allclose(losses[1])
    torch.manual_seed(1)
    assert finetuning_loss(model, batch, "sampled_softmax", 3).equal(losses[0])
    model.zero_grad()
    losses[0].backward()
    touched = model.item_embedding.weight.grad.abs().sum(1).nonzero().flatten().tolist()
    with_its_own = {*batch.items[batch.items != 0].tolist(),
                    *batch.positive_items[batch.items != 0].tolist()}
    assert 1 <= len(set(touched) - with_its_own) <= 3


def finetune_batch(lengths, extra=0):
    """Make rows of random items, padded `extra` further than needed."""
    generator = torch.Generator().manual_seed(0)
    views = [torch.stack([F.pad(torch.randint(1, ITEMS + 1, (n,), generator=generator),
                                (max(lengths) - n + extra, 0)) for n in lengths])
             for _ in range(3)]
    return FinetuneBatch(*views)


@pytest.mark.parametrize("loss", FINETUNING_LOSSES)
@pytest.mark.parametrize("lengths", [[1], [5, 1, 8], [50, 2]], ids=str)
def test_the_finetuning_loss_is_a_mean_over_real_positions_found_by_a_loop(loss, lengths):
    model, batch = make_model(), finetune_batch(lengths)
    embedding = model.item_embedding.weight
    terms = []
    for row in range(len(batch)):
        real = batch.items[row] != 0
        views = [view[row][real] for view in
                 (batch.items, batch.positive_items, batch.negative_items)]
        states = model(views[0][None], causal=True)[0]
        for state, positive, negative in zip(states, *views[1:], strict=True):
            good, bad = embedding[positive] @ state, embedding[negative] @ state
            everything = sum((e @ state).exp() for e in embedding[1:-1])
            terms.append({"pairwise": -sigma(good - bad).log(),
                          "pointwise": -sigma(good).log() - (1 - sigma(bad)).log(),
                          "softmax": everything.log() - good,
                          "sampled_softmax": everything.log() - good}[loss])  # of all items
    assert len(terms) == sum(lengths) == batch.num_terms
    ours, loop = finetuning_loss(model, batch, loss), sum(terms) / len(terms)
    torch.testing.assert_close(ours, loop)
    for (name, _), got, expected in zip(model.named_parameters(), gradients(model, ours),
                                        gradients(model, loop), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-9, msg=name)
    wider = finetune_batch(lengths, extra=50 - max(lengths))
    torch.testing.assert_close(finetuning_loss(model, wider, loss), ours)


def test_finetuning_is_pairwise_unless_told_otherwise_and_uses_no_head():
    model, batch = make_model(), finetune_batch([5, 1, 8])
    loss = finetuning_loss(model, batch)
    assert loss.equal(finetuning_loss(model, batch, "pairwise"))
    for (name, _), gradient in zip(model.named_parameters(), gradients(model, loss), strict=True):
        assert ("head" in name or name.startswith("attribute")) == bool(gradient.eq(0).all()), name


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("forms", [{"map": "printed"}, {"cap": "paper"}, {"sp": None}])
def test_an_unknown_form_or_objective_is_refused(forms):
    with pytest.raises(ValueError, match=r"forms may hold \('aap', .*'infonce'\), not"):
        pretraining_losses(make_model(), BATCHES["mixed"], TABLE, forms)


def test_an_objective_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="aab"):
        pretraining_losses(make_model(), BATCHES["mixed"], TABLE, objectives=("aab",))


@pytest.mark.parametrize("form", ["paper", "infonce"])
def test_segments_need_another_row_to_contrast_with(form):
    with pytest.raises(ValueError, match=rf"sp in the form '{form}' .*at least two"):
        pretraining_losses(make_model(), batch_of([5]), TABLE, {"sp": form})
    assert pretraining_losses(make_model(), batch_of([5]), TABLE)["sp"].isfinite()


@pytest.mark.parametrize("shape", [(13, 5), (14, 4), (14,), (5, 14)], ids=str)
def test_an_attribute_table_of_other_data_is_refused(shape):
    with pytest.raises(ValueError, match=r"num_attributes \+ 1\) = \(14, 5\) for this model, not"):
        pretraining_losses(make_model(), BATCHES["mixed"], torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize("loss", ["bpr", "", None])
def test_an_unknown_finetuning_loss_is_refused(loss):
    with pytest.raises(ValueError, match=r"loss must be one of \('pairwise', .*\), not"):
        finetuning_loss(make_model(), finetune_batch([3]), loss)


# --- on another device -------------------------------------------------------------------------


def on_meta(training):
    # The meta device computes shapes alone, but refuses to mix with a CPU as a GPU would.
    return make_model(dropout=0.5).to("meta").train(training)


@every_form
@pytest.mark.parametrize("training", [True, False])
def test_pretraining_makes_every_tensor_on_the_models_device(training, form):
    model, batch = on_meta(training), BATCHES["mixed"].to("meta")
    losses = pretraining_losses(model, batch, TABLE.to("meta"), dict.fromkeys(OBJECTIVES, form))
    sum(losses.values()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None or (form != "released" and name.endswith("head.bias")), name


@pytest.mark.parametrize("loss", FINETUNING_LOSSES)
@pytest.mark.parametrize("training", [True, False])
def test_finetuning_makes_every_tensor_on_the_models_device(training, loss):
    model = on_meta(training)
    finetuning_loss(model, finetune_batch([5, 1, 8]).to("meta"), loss).backward()
    assert model.item_embedding.weight.grad.device.type == "meta"


def mixing():
    """Expect torch to refuse tensors of two devices in one operation."""
    return pytest.raises((RuntimeError, NotImplementedError), match=r"device|meta")


def test_a_tensor_left_on_the_cpu_is_caught(monkeypatch):
    model, batch, table = on_meta(False), BATCHES["mixed"].to("meta"), TABLE.to("meta")
    with mixing():
        pretraining_losses(model, batch, TABLE)
    with pytest.raises(ValueError, match="on cpu, the model on meta"):
        pretraining_losses(model, BATCHES["mixed"], table)
    with pytest.raises(ValueError, match="on cpu, the model on meta"):
        finetuning_loss(model, finetune_batch([5]))
    for part in ("aap_head", "mip_head", "map_head", "sp_head", "embedding_norm"):
        stray = on_meta(False)
        setattr(stray, part, getattr(stray, part).to_empty(device="cpu"))
        with mixing():
            pretraining_losses(stray, batch, table)
    with monkeypatch.context() as planted:  # made on the CPU in the midst of the computation
        planted.setattr(encoder.F, "gelu", lambda x: torch.zeros(x.shape, dtype=x.dtype))
        with mixing():
            pretraining_losses(model, batch, table)
        with mixing():
            finetuning_loss(model, finetune_batch([5]).to("meta"))


class WithoutDeviceGuard(TorchFunctionMode):
    """Route x[...] and ~x past Python's bindings, which ask a CPU build of torch for a GPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.__invert__:
            return torch.bitwise_not(*args)
        if function is not torch.Tensor.__getitem__:
            return function(*args, **(kwargs or {}))
        (x, keys), dim = args, 0
        for key in keys if isinstance(keys, tuple) else (keys,):
            if isinstance(key, int):
                x = x.select(dim, key)
                continue
            if key is None:
                x = x.unsqueeze(dim)
            elif isinstance(key, slice):
                start, end, _ = key.indices(x.shape[dim])
                x = x.narrow(dim, start, end - start)
            else:
                x = torch.ops.aten.index.Tensor(x, [None] * dim + [key])
            dim += 1
        return x


@every_form
@pytest.mark.parametrize("training", [True, False])
def test_a_forward_pass_on_a_pretended_gpu_stays_there(training, form):
    mode = FakeTensorMode()

    def fake(like, device="cuda:0"):
        return FakeTensor(mode, like.detach().to("meta"), torch.device(device))

    model = make_model(dropout=0.5).train(training)
    for module in model.modules():
        for name, weight in module._parameters.items():
            module._parameters[name] = fake(weight)
    examples, triples = BATCHES["mixed"], finetune_batch([5, 1, 8])
    batch, triples = (type(b)(*(fake(tensor) for tensor in vars(b).values()))
                      for b in (examples, triples))
    table, stray = fake(TABLE), fake(TABLE, "cpu")
    forms = dict.fromkeys(OBJECTIVES, form)
    with mode, torch.no_grad(), WithoutDeviceGuard():
        losses = [*pretraining_losses(model, batch, table, forms).values(),
                  *(finetuning_loss(model, triples, loss) for loss in FINETUNING_LOSSES)]
        assert {loss.device.type for loss in losses} == {"cuda"}
        with pytest.raises(RuntimeError, match="same device"):
            pretraining_losses(model, batch, stray, forms)
