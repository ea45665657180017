"""Batches: every view rebuilt by a slow loop, every draw uniform, nothing held out ever seen."""

from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import make_data
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

import s3rec_mini as s3
from s3rec_mini.batches import (
    FinetuneBatch,
    PretrainBatch,
    Unseen,
    by_length,
    cut_segments,
    finetuning_batches,
    left_padded,
    pretraining_batches,
)

USERS, ITEMS = 12, 40
MASK = ITEMS + 1
LONGEST = 20  # max_length in these tests


def uniform(counts):
    """Say whether counts may come from uniform draws (a wrong no: once in 100,000)."""
    return chisquare(list(counts)).pvalue > 1e-5


@pytest.fixture(scope="module")
def data():
    """Return sequences of 3 to 30 items; nobody but user u has item u + 1, with which u starts.

    So the owner of a batch's row is known by its first item, if the sequence was not shortened.
    """
    generator = np.random.default_rng(5)
    lengths = [3, 3, 4, 5, 6, 8, 10, 12, 14, 16, 22, 30]
    return make_data([[user + 1, *generator.integers(USERS + 1, ITEMS + 1, length - 1)]
                      for user, length in enumerate(lengths)], ITEMS)


def pretraining(data, **settings):
    return list(pretraining_batches(data, **dict(max_length=LONGEST, batch_size=16) | settings))


def finetuning(data, **settings):
    return list(finetuning_batches(data, **dict(max_length=LONGEST, batch_size=5) | settings))


both_stages = pytest.mark.parametrize("stage", [pretraining, finetuning])


def equal(one, other):
    """Compare every tensor of two epochs, index tensors too."""
    return len(one) == len(other) and all(
        getattr(a, field.name).equal(getattr(b, field.name))
        for a, b in zip(one, other, strict=True) for field in fields(a))


def rows(batches, name="items"):
    """Yield each row of each batch as a list without its padding."""
    for batch in batches:
        for row in getattr(batch, name).tolist():
            yield [item for item in row if item]


def owner(row):
    """Return the user whose row of items it is, None if shortened."""
    first = next(item for item in row if item)
    return first - 1 if first <= USERS else None


def contains(pool, piece):
    """Say whether `piece` occurs in `pool` without a gap."""
    return any(pool[i:i + len(piece)] == piece for i in range(len(pool) - len(piece) + 1))


# --- nothing held out --------------------------------------------------------------------------


def other_ending(data, seed):
    """Replace every user's last two items by others."""
    generator = np.random.default_rng(seed)
    sequences = []
    for sequence in data.sequences:
        others = np.setdiff1d(np.arange(1, ITEMS + 1), sequence[-2:])
        sequences.append(np.append(sequence[:-2], generator.choice(others, 2)))
    return replace(data, sequences=tuple(sequences))


@both_stages
@given(seed=st.integers(0, 1000), epoch=st.integers(0, 5))
def test_other_held_out_items_leave_every_batch_bit_equal(data, stage, seed, epoch):
    changed = other_ending(data, seed)
    draw = dict(seed=seed, epoch=epoch)
    assert equal(stage(data, **draw), stage(changed, **draw))
    if stage is pretraining:
        draw |= dict(prefixes_per_user=2)
        assert equal(stage(data, **draw), stage(changed, **draw))


@pytest.mark.parametrize("stage, where", [(pretraining, "pool"), (finetuning, "avoid")])
def test_the_released_codes_leak_can_be_had(data, stage, where):
    def leaking(data):
        return stage(data, **{where: data.sequences})

    assert not equal(leaking(data), leaking(other_ending(data, 0)))


def test_the_released_pool_holds_the_held_out_items_and_the_default_pool_does_not(data):
    ours = [*range(1, USERS + 1), *range(USERS + 1, ITEMS - 1)]
    data = replace(data, sequences=tuple(
        np.array([*sequence[:-2] % (ITEMS - 2) + 1, ITEMS - 1, ITEMS])
        for sequence in data.sequences))
    for pool, expected in [(None, False), (data.sequences, True)]:
        found = {item for epoch in range(5)
                 for row in rows(pretraining(data, pool=pool, epoch=epoch), "negative_segment")
                 for item in row}
        assert (ITEMS in found) is expected
        assert (ITEMS - 1 in found) is expected
        assert found & set(ours)


def held_out_drawn(data, stage, **settings):
    """Return the users whose negatives held an item that they have, but only among the held out."""
    hit = set()
    for epoch in range(30):
        for batch in stage(data, epoch=epoch, **settings):
            for row, drawn in zip(batch.items.tolist(), batch.negative_items.tolist(), strict=True):
                user = owner(row)
                if user is not None:
                    held_out = set(data.sequences[user][-2:]) - set(data.training_sequences[user])
                    if held_out & set(drawn):
                        hit.add(user)
    return hit


@both_stages
def test_negatives_may_be_held_out_items(data, stage):
    # Whoever avoids them tells the model that what it never sees as a negative comes next.
    assert len(held_out_drawn(data, stage)) > USERS / 2


def test_the_released_negatives_avoid_the_held_out_items(data):
    assert not held_out_drawn(data, finetuning, avoid=data.sequences)


# --- negatives ---------------------------------------------------------------------------------


@both_stages
def test_negatives_are_items_that_the_user_has_not_trained_on(data, stage):
    checked = 0
    for epoch in range(5):
        for batch in stage(data, epoch=epoch):
            if stage is pretraining:
                where, elsewhere = batch.items != batch.masked_items, batch.items
            else:
                where, elsewhere = batch.items != 0, torch.zeros_like(batch.items)
            for row, negatives, here in zip(batch.items.tolist(), batch.negative_items, where,
                                            strict=True):
                drawn = negatives[here].tolist()
                assert all(1 <= item <= ITEMS for item in drawn)
                if owner(row) is not None:
                    assert not set(drawn) & set(data.training_sequences[owner(row)].tolist())
                    checked += len(drawn)
            assert batch.negative_items[~where].equal(elsewhere[~where])
    assert checked > 100


def test_negatives_are_uniform_over_the_unseen_items():
    unseen = Unseen([np.array([1, 3, 3, 5]), np.array([20]), np.arange(2, 20)], 20)
    users = np.random.default_rng(0).integers(0, 3, (300, 200))
    drawn = unseen.draw(users, np.random.default_rng(1))
    assert drawn.shape == users.shape
    for user, seen in enumerate([{1, 3, 5}, {20}, set(range(2, 20))]):
        counts = np.bincount(drawn[users == user], minlength=21)
        assert {item for item in range(21) if not counts[item]} == {0, *seen}
        assert uniform(counts[counts > 0])


@both_stages
def test_a_user_who_has_seen_every_item_is_named(stage):
    data = make_data([[1, 2, 3], [2, 2, 1, 3, 4, 1, 1]], 4)
    with pytest.raises(ValueError, match=r"user 1 has seen all 4 items.*remove that user"):
        stage(data)


def test_a_user_may_have_seen_all_items_but_one():
    data = make_data([[1, 2, 3], [2, 2, 1, 3, 1, 4]], 4)
    for batch in pretraining(data, mask_probability=1.0):
        long = batch.items[:, :-1].ne(0).any(1)  # no row of user 0, who has one item
        assert batch.negative_items[long][batch.items[long] != 0].eq(4).all()


# --- masks -------------------------------------------------------------------------------------


def test_the_last_item_is_always_masked_and_padding_never(data):
    for batch in pretraining(data):
        assert batch.masked_items[:, -1].eq(MASK).all()
        masked = batch.items != batch.masked_items
        assert batch.masked_items[masked].eq(MASK).all()
        assert not masked[batch.items == 0].any()


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.7, 1.0])
def test_the_other_items_are_masked_with_the_given_probability(data, probability):
    masks = []
    for epoch in range(30):
        for batch in pretraining(data, mask_probability=probability, epoch=epoch):
            masked = (batch.items != batch.masked_items)[:, :-1]
            masks.append(masked[batch.items[:, :-1] != 0])
    masks = torch.cat(masks).double()
    error = (probability * (1 - probability) / len(masks)) ** 0.5
    assert abs(masks.mean() - probability) <= 4 * error
    assert len(masks) > 10_000


# --- segments ----------------------------------------------------------------------------------


def check_segments(items, masked, positive, negative, pool, mask):
    """Check the views of one row, given as lists without padding; return place and length."""
    if len(items) == 1:
        assert masked == positive == negative == items
        return None
    hidden = [i for i, item in enumerate(masked) if item == mask]
    start, end = hidden[0], hidden[-1] + 1
    assert hidden == list(range(start, end))
    assert 1 <= end - start <= len(items) // 2
    around = [mask] * start, [mask] * (len(items) - end)
    assert masked == items[:start] + [mask] * (end - start) + items[end:]
    assert positive == around[0] + items[start:end] + around[1]
    assert negative[:start] == around[0]
    assert negative[end:] == around[1]
    assert contains(pool, negative[start:end])
    return start, end - start


def test_a_loop_rebuilds_every_segment(data):
    pool = np.concatenate(data.training_sequences).tolist()
    names = ["items", "masked_segment", "positive_segment", "negative_segment"]
    lengths = Counter()
    for epoch in range(10):
        for batch in pretraining(data, epoch=epoch):
            for name in names[1:]:
                assert getattr(batch, name).eq(0).equal(batch.items == 0)
        for views in zip(*(rows(pretraining(data, epoch=epoch), name) for name in names),
                         strict=True):
            found = check_segments(*views, pool, MASK)
            lengths[found is None] += 1
    assert lengths[True] == 10 * (2 + 10)  # the first prefix of every user, and no other, is short
    assert lengths[False] > 500


def test_a_negative_segment_may_span_two_users():
    pool = np.array([1, 2, 3, 4])
    sequences = np.full((500, 4), 5)
    _, _, negative = cut_segments(sequences, pool, 9, np.random.default_rng(0))
    pairs = {tuple(item for item in row if item != 9) for row in negative.tolist()}
    assert pairs == {(1,), (2,), (3,), (4,), (1, 2), (2, 3), (3, 4)}


@pytest.mark.parametrize("size", [2, 3, 8, 9])
def test_lengths_places_and_sources_of_segments_are_uniform(size):
    count = 6000
    sequences = np.tile(np.append([0, 0], np.arange(1, size + 1)), (count, 1))
    pool = np.arange(101, 151)
    views = cut_segments(sequences, pool, 999, np.random.default_rng(2))
    lengths, places, sources = Counter(), {}, {}
    for masked, positive, negative in zip(*(view[:, 2:].tolist() for view in views), strict=True):
        place, length = check_segments(sequences[0, 2:].tolist(), masked, positive, negative,
                                       pool.tolist(), 999)
        lengths[length] += 1
        places.setdefault(length, Counter())[place] += 1
        sources.setdefault(length, Counter())[negative[place]] += 1
    assert sorted(lengths) == list(range(1, size // 2 + 1))
    assert size < 4 or uniform(lengths.values())
    for length in lengths:
        assert sorted(places[length]) == list(range(size - length + 1))
        assert uniform(places[length].values())
        assert sorted(sources[length]) == list(range(101, 151 - length + 1))
        assert uniform(sources[length].values())


# --- prefixes and padding ----------------------------------------------------------------------


def all_prefixes(data, max_length):
    return Counter(tuple(sequence[-max_length:][:size].tolist())
                   for sequence in data.training_sequences
                   for size in range(1, min(len(sequence), max_length) + 1))


@pytest.mark.parametrize("max_length", [1, 5, 20, 50])
def test_every_prefix_of_the_newest_training_items_comes_once(data, max_length):
    found = Counter(map(tuple, rows(pretraining(data, max_length=max_length))))
    assert found == all_prefixes(data, max_length)


def test_movielens_has_28089_prefixes():
    data = s3.load_dataset("movielens-small")
    batches = list(pretraining_batches(data, batch_size=500))
    assert sum(map(len, batches)) == 28_089
    assert Counter(map(tuple, rows(batches))) == all_prefixes(data, 50)
    # Prefixes of one length go together, so padding them costs next to nothing.
    assert torch.cat([batch.items.flatten() for batch in batches]).eq(0).double().mean() < 0.05


def test_random_prefixes_are_as_many_as_asked_and_of_every_length_alike(data):
    drawn = Counter()
    for epoch in range(300):
        epochs = list(rows(pretraining(data, prefixes_per_user=3, epoch=epoch)))
        assert len(epochs) == 3 * USERS
        drawn.update(map(tuple, epochs))
    assert set(drawn) == set(all_prefixes(data, LONGEST))
    for sequence in data.training_sequences:
        newest = sequence[-LONGEST:].tolist()
        counts = [drawn[tuple(newest[:size + 1])] for size in range(len(newest))]
        assert sum(counts) == 900
        assert len(counts) == 1 or uniform(counts)


@both_stages
def test_every_batch_is_padded_on_the_left_to_its_own_longest_row(data, stage):
    widths = set()
    for batch in stage(data):
        assert batch.items[:, -1].ne(0).all()
        assert batch.items[:, 0].ne(0).any()
        real = (batch.items != 0).int()
        assert real.diff(dim=1).ge(0).all()  # never padding again after the first item
        widths.add(batch.items.shape[1])
    assert len(widths) > 1
    assert max(widths) == LONGEST


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=6))
def test_left_padded_rows_end_on_the_right(sequences):
    ends = np.cumsum([len(sequence) for sequence in sequences])
    starts = ends - [len(sequence) for sequence in sequences]
    matrix = left_padded(np.concatenate(sequences), starts, ends)
    width = max(map(len, sequences))
    assert matrix.tolist() == [[0] * (width - len(row)) + row for row in sequences]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=400), st.integers(1, 5))
def test_batches_of_like_length_hold_every_sequence_once(lengths, batch_size):
    batches = by_length(np.array(lengths), batch_size, np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert max(map(len, batches)) <= batch_size
    spread = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch))
                    for batch in batches)
    if len(lengths) <= 64 * batch_size:  # one group, so the batches cut up the sorted lengths
        assert all(low <= high for (_, low), (high, _) in pairwise(spread))


@pytest.mark.parametrize("rest", [1, 9])
def test_no_batch_is_much_smaller_than_another(rest):
    lengths = np.random.default_rng(0).integers(1, 50, 2 * 64 * 20 + rest)
    sizes = [len(batch) for batch in by_length(lengths, 20, np.random.default_rng(0))]
    assert min(sizes) > max(sizes) / 2


def test_batches_come_in_random_order_of_length(data):
    lengths = [batch.items.shape[1] for batch in pretraining(data, batch_size=4)]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))


# --- finetuning --------------------------------------------------------------------------------


@pytest.mark.parametrize("max_length", [1, 4, 20, 50])
def test_a_loop_rebuilds_every_input_and_target_of_finetuning(data, max_length):
    batches = finetuning(data, max_length=max_length)
    expected = Counter()
    for sequence in data.training_sequences:
        if len(sequence) > 1:  # with one item there is nothing to predict
            newest = sequence[-max_length - 1:].tolist()
            expected[tuple(newest[:-1]), tuple(newest[1:])] += 1
    inputs, targets = (map(tuple, rows(batches, name)) for name in ("items", "positive_items"))
    assert Counter(zip(inputs, targets, strict=True)) == expected
    for batch in batches:
        assert batch.items.ne(0).equal(batch.positive_items != 0)
        assert batch.items.ne(0).equal(batch.negative_items != 0)


def test_finetuning_batches_are_of_like_size(data):
    sizes = [len(batch) for batch in finetuning(data, batch_size=4)]
    assert sum(sizes) == USERS - 2  # two have one training item
    assert max(sizes) <= 4
    assert max(sizes) - min(sizes) <= 1


def test_data_with_nothing_to_finetune_on_is_refused_with_a_reason():
    data = make_data([[1, 2, 3], [3, 2, 1]], 5)
    with pytest.raises(ValueError, match="training item"):
        finetuning(data)


# --- randomness --------------------------------------------------------------------------------


@both_stages
def test_the_same_seed_and_epoch_give_the_same_batches_and_others_give_others(data, stage):
    first = stage(data, seed=1, epoch=2)
    assert equal(first, stage(data, seed=1, epoch=2))
    np.random.seed(0)  # neither NumPy's nor torch's global generator matters
    torch.manual_seed(0)
    assert equal(first, stage(data, seed=1, epoch=2))
    for other in [dict(seed=1, epoch=3), dict(seed=2, epoch=2), dict(seed=2, epoch=1)]:
        assert not equal(first, stage(data, **other))
        assert (Counter(map(tuple, rows(first)))
                == Counter(map(tuple, rows(stage(data, **other)))))


# --- the batch itself --------------------------------------------------------------------------


@both_stages
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_part_the_rows_of_a_batch(data, stage, count):
    for batch in stage(data):
        shards = [batch.shard(index, count) for index in range(count)]
        assert sum(map(len, shards)) == len(batch)
        assert sum(shard.num_terms for shard in shards) == batch.num_terms
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
        for field in fields(batch):
            if not field.name.endswith("positions"):
                whole = torch.empty_like(batch.items)
                for index, shard in enumerate(shards):
                    whole[index::count] = getattr(shard, field.name)
                assert whole.equal(getattr(batch, field.name))


def test_index_tensors_point_at_masked_visible_and_real_positions(data):
    for batch in pretraining(data):
        items, masked = batch.items.flatten().tolist(), batch.masked_items.flatten().tolist()
        assert batch.num_terms == len(batch) == len(batch.items)
        assert batch.masked_positions.tolist() == [
            i for i, item in enumerate(masked) if item == MASK]
        assert batch.unmasked_positions.tolist() == [
            i for i, item in enumerate(items) if item and masked[i] != MASK]
    for batch in finetuning(data):
        assert batch.positions.tolist() == [
            i for i, item in enumerate(batch.items.flatten().tolist()) if item]
        assert batch.num_terms == len(batch.positions)


@both_stages
def test_moving_a_batch_moves_its_index_tensors_and_finds_none_anew(data, stage):
    batch = stage(data)[0]
    moved = batch.to("meta")  # where nonzero() would fail: its result has no shape
    for field in fields(batch):
        there, here = getattr(moved, field.name), getattr(batch, field.name)
        assert there.device.type == "meta"
        assert (there.shape, there.dtype) == (here.shape, here.dtype)
    assert equal([batch.to("cpu")], [batch])


def matrices(count, **changes):
    """Return `count` matrices of ids that make a batch, some replaced, by number."""
    items = [torch.ones(2, 3, dtype=torch.int64) for _ in range(count)]
    for number, tensor in changes.items():
        items[int(number[1:])] = tensor
    return items


def test_positions_that_are_given_are_kept_and_only_others_found():
    items = torch.tensor([[0, 4, 5]])
    masked = torch.tensor([[0, 4, 9]])
    given = torch.tensor([7])
    batch = PretrainBatch(items, masked, *[items] * 4, masked_positions=given)
    assert batch.masked_positions is given and batch.unmasked_positions.tolist() == [1]


@pytest.mark.parametrize("kind, count", [(PretrainBatch, 6), (FinetuneBatch, 3)])
def test_tensors_that_make_no_batch_are_refused_by_name(kind, count):
    names = [field.name for field in fields(kind)][:count]
    kind(*matrices(count))
    for number, name in enumerate(names):
        with pytest.raises(TypeError, match=f"{name} must be whole numbers.*not torch.float32"):
            kind(*matrices(count, **{f"n{number}": torch.ones(2, 3)}))
        with pytest.raises(TypeError, match=f"{name} must be whole numbers.*not bool"):
            kind(*matrices(count, **{f"n{number}": np.ones((2, 3), dtype=bool)}))
        if number:
            for shape in [(2, 4), (3, 3), (6,), (1, 2, 3)]:
                wrong = torch.ones(*shape, dtype=torch.int64)
                with pytest.raises(ValueError, match=rf"{name} must be \(B, L\) = \(2, 3\) like"):
                    kind(*matrices(count, **{f"n{number}": wrong}))
    with pytest.raises(ValueError, match=r"items must be \(B, L\)"):
        kind(*[torch.ones(3, dtype=torch.int64)] * count)


@pytest.mark.parametrize("whole", [np.int64, np.int32, np.uint8, torch.int32, torch.uint8])
@pytest.mark.parametrize("kind, count", [(PretrainBatch, 6), (FinetuneBatch, 3)])
def test_whole_numbers_of_any_kind_make_a_batch(kind, count, whole):
    expected = kind(*matrices(count))
    given = [each.to(whole) if isinstance(whole, torch.dtype) else each.numpy().astype(whole)
             for each in matrices(count)]
    for one, other in zip(vars(kind(*given)).values(), vars(expected).values(), strict=True):
        assert one.dtype == torch.int64 and one.equal(other)
