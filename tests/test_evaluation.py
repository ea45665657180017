"""Evaluation: a rank is a count that a loop can make, and all metrics follow from ranks."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import label_ranking_average_precision_score
from torch import nn
from torchmetrics.functional.retrieval import (
    retrieval_hit_rate,
    retrieval_normalized_dcg,
    retrieval_reciprocal_rank,
)

from s3rec_mini import (
    ModelConfig,
    PopRec,
    S3Rec,
    SequenceDataset,
    evaluate,
    load_dataset,
    metrics_from_ranks,
    per_user_metrics,
    planted_structure,
    rank_targets,
    recommend,
    sample_negatives,
)
from s3rec_mini.evaluation import ranks_among

seeds = st.integers(0, 2**32 - 1)
BOTH = pytest.mark.parametrize("protocol", ["full", "sampled"])


def dataset(sequences, num_items):
    return SequenceDataset(
        "tried", tuple(map(np.array, sequences)), torch.zeros(num_items + 2, 1, dtype=torch.uint8),
        tuple(f"item {i}" for i in range(num_items + 2)), ("[padding]",),
        tuple(f"user {u}" for u in range(len(sequences))))


def random_dataset(rng, num_users=12, num_items=30):
    """Sequences that repeat items: some targets are then in the history already."""
    lengths = rng.integers(3, 12, num_users)
    return dataset([rng.integers(1, num_items + 1, n) for n in lengths], num_items)


class Table(nn.Module):
    """Scores any item by what stands in a table for it and the newest item of the history.

    Integers make many ties. Padding and mask would win, if they were candidates.
    """

    def __init__(self, num_items, rng=None, levels=4, max_length=50):
        super().__init__()
        table = rng.integers(levels, size=(num_items + 2, num_items + 2)) if rng else (
            np.zeros((num_items + 2, num_items + 2)))
        table[:, [0, -1]] = 1000
        self.register_buffer("table", torch.from_numpy(table).float())
        self.max_length, self.device = max_length, torch.device("cpu")

    def forward(self, item_ids, causal=True):
        return self.table[item_ids]

    def score(self, states, candidates=None):
        return states.clone() if candidates is None else states.gather(1, candidates)


def slow_rank(scores, target, candidates):
    """One more than the other candidates that score at least as well: ties count against."""
    return 1 + sum(bool(scores[c] >= scores[target]) for c in candidates if c != target)


def unseen_items(history, target, num_items):
    return [i for i in range(1, num_items + 1) if i not in set(history) and i != target]


def s3rec(data, seed=0, **sizes):
    torch.manual_seed(seed)
    return S3Rec(ModelConfig.for_dataset(data, **{"hidden_size": 16, "max_length": 8, **sizes}))


# Ranks


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from(["validation", "test"]), st.sampled_from([3, 256]))
def test_full_ranks_are_those_of_a_loop_over_the_unseen_items(seed, split, batch_size):
    rng = np.random.default_rng(seed)
    data, at = random_dataset(rng), {"validation": -2, "test": -1}[split]
    model = Table(data.num_items, rng)
    ranks = rank_targets(model, data, split, "full", batch_size=batch_size)
    expected = [slow_rank(model.table[s[at - 1]], s[at],
                          unseen_items(s[:at], s[at], data.num_items)) for s in data.sequences]
    assert ranks.dtype == np.int64
    assert ranks.tolist() == expected


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from(["validation", "test"]), st.sampled_from([3, 256]))
def test_sampled_ranks_are_those_of_a_loop_over_the_negatives_given(seed, split, batch_size):
    rng = np.random.default_rng(seed)
    data, at = random_dataset(rng), {"validation": -2, "test": -1}[split]
    model = Table(data.num_items, rng)
    negatives = np.array([rng.choice(list({*range(1, 31)} - {*s[:at], s[at]}), 7, replace=False)
                          for s in data.sequences])
    ranks = rank_targets(model, data, split, "sampled", negatives, batch_size=batch_size)
    assert ranks.tolist() == [slow_rank(model.table[s[at - 1]], s[at], row)
                              for s, row in zip(data.sequences, negatives, strict=True)]
    assert np.array_equal(ranks, rank_targets(model, data, split, "sampled",
                                              negatives.astype(np.int32)))


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_ranks_of_the_model_are_those_of_scoring_one_user_at_a_time(seed):
    rng = np.random.default_rng(seed)
    data = random_dataset(rng)
    model = s3rec(data).train()  # dropout would show
    ranks = rank_targets(model, data)
    model.eval()
    for rank, s in zip(ranks, data.sequences, strict=True):
        newest = torch.tensor(s[:-1][-8:])[None]
        scores = (model(newest, causal=True)[0, -1] @ model.item_embedding.weight.T).detach()
        candidates = unseen_items(s[:-1], s[-1], data.num_items)
        # Another batch shape, another rounding: a near tie may fall either way.
        near = [int((scores[candidates] >= scores[s[-1]] + e).sum()) + 1 for e in (1e-5, -1e-5)]
        assert near[0] <= rank <= near[1]


def test_a_constant_scorer_ranks_every_target_last():
    data = random_dataset(np.random.default_rng(0))
    model = Table(data.num_items)
    unseen = [len(unseen_items(s[:-1], s[-1], data.num_items)) for s in data.sequences]
    assert rank_targets(model, data).tolist() == [1 + n for n in unseen]
    assert (rank_targets(model, data, protocol="sampled", negatives=9) == 10).all()


def test_seen_items_are_no_candidates_but_a_target_seen_before_is():
    data = dataset([[1, 2, 3, 4], [1, 2, 3, 1]], num_items=6)
    model = Table(6)
    model.table[3, 1:7] = torch.tensor([5.0, 9.0, 9.0, 4.0, 5.0, 0.0])
    # User 0: 4 loses to 5, since 1, 2, 3 are seen. User 1: its target 1 ties with 5; 2 is seen.
    assert rank_targets(model, data).tolist() == [2, 2]


@BOTH
def test_validation_does_not_know_the_test_item(protocol):
    rng = np.random.default_rng(1)
    data = random_dataset(rng)
    other = dataset([[*s[:-1], s[-1] % data.num_items + 1] for s in data.sequences], data.num_items)
    model = s3rec(data)
    before, after = (rank_targets(model, d, "validation", protocol, 9) for d in (data, other))
    assert np.array_equal(before, after)
    # The same change does show where it should.
    before, after = (rank_targets(model, d, "test", protocol, 9) for d in (data, other))
    assert not np.array_equal(before, after)


@BOTH
def test_the_test_item_is_predicted_from_the_validation_item_too(protocol):
    rng = np.random.default_rng(2)
    data, model = random_dataset(rng), Table(30, rng, levels=100)
    other = dataset([[*s[:-2], s[-2] % 30 + 1, s[-1]] for s in data.sequences], 30)
    negatives = [sorted(set(range(1, 31)) - {*s, o[-2]})[:4]
                 for s, o in zip(data.sequences, other.sequences, strict=True)]
    before, after = (rank_targets(model, d, "test", protocol, negatives) for d in (data, other))
    assert not np.array_equal(before, after)


def test_only_the_newest_max_length_items_of_a_history_are_read():
    rng = np.random.default_rng(3)
    long = rng.integers(1, 31, (10, 30))
    changed = long.copy()
    changed[:, :-9] = rng.integers(1, 31, (10, 21))  # 8 are read, one is the target
    negatives = rng.integers(1, 31, (10, 20))
    model = s3rec(dataset(long, 30))
    first, second = (ranks_among(model, *dataset(s, 30).held_out("test"), negatives)
                     for s in (long, changed))
    assert np.array_equal(first, second)
    changed[:, -9] = changed[:, -9] % 30 + 1
    states = [model.eval()(torch.from_numpy(s[:, -9:-1]), causal=True)[:, -1]
              for s in (long, changed)]
    assert not torch.equal(*states)  # the oldest of the 8 does count


@pytest.mark.parametrize("training", [True, False])
@BOTH
def test_the_mode_of_the_model_is_restored_and_dropout_is_off(protocol, training):
    data = random_dataset(np.random.default_rng(0))
    model = s3rec(data).train(training)
    first, second = (rank_targets(model, data, protocol=protocol, negatives=5) for _ in range(2))
    assert np.array_equal(first, second)
    assert model.training is training and model.blocks[0].dropout.training is training
    recommend(model, data, [1], 3)
    assert model.training is training


# Negatives


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 15))
def test_negatives_are_different_unseen_items_other_than_the_target(seed, count):
    data = random_dataset(np.random.default_rng(seed))
    histories, targets = data.held_out("test")
    negatives = sample_negatives(histories, targets, data.num_items, count, seed)
    assert negatives.shape == (data.num_users, count) and negatives.dtype == np.int64
    for row, history, target in zip(negatives, histories, targets, strict=True):
        assert len(set(row)) == count
        assert set(row) <= set(unseen_items(history, target, data.num_items))
    again = sample_negatives(histories, targets, data.num_items, count, seed)
    assert np.array_equal(negatives, again)


def test_every_unseen_item_is_drawn_equally_often_and_another_seed_draws_others():
    histories, targets = [np.array([1, 2])] * 4000, np.full(4000, 12)
    drawn = sample_negatives(histories, targets, 12, 3)
    counts = np.bincount(drawn.ravel(), minlength=13)[3:12]  # items 3…11, 12,000 draws
    assert stats.chisquare(counts).pvalue > 1e-4
    assert not np.array_equal(drawn, sample_negatives(histories, targets, 12, 3, seed=1))


def test_the_seed_of_evaluate_is_that_of_its_negatives():
    data = random_dataset(np.random.default_rng(0))
    model, (histories, targets) = Table(30, np.random.default_rng(1), 100), data.held_out("test")
    by_seed = [rank_targets(model, data, "test", "sampled", 9, seed) for seed in (0, 0, 1)]
    assert np.array_equal(by_seed[0], by_seed[1]) and not np.array_equal(by_seed[0], by_seed[2])
    drawn = sample_negatives(histories, targets, 30, 9, seed=1)
    assert np.array_equal(by_seed[2], rank_targets(model, data, "test", "sampled", drawn))


# Metrics. The tie rule is the pessimistic one, a candidate that scores like the target stands
# before it: else a model that scores all alike would be perfect, or a matter of luck.
# scikit-learn's label ranking has the same rule. torchmetrics breaks ties by the order of its sort
# (NDCG: by their mean), so there the target's score is lowered by less than a level.


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_metrics_agree_with_independent_libraries_where_scores_are_tied(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, 7, (20, 40)) * 1.0  # (users, candidates), the target first
    ranks = (scores >= scores[:, :1]).sum(1)
    ours = metrics_from_ranks(ranks)
    relevant = np.zeros(scores.shape, dtype=int)
    relevant[:, 0] = 1
    assert ours["MRR"] == pytest.approx(label_ranking_average_precision_score(relevant, scores))
    scores[:, 0] -= 0.5
    rows = list(zip(torch.from_numpy(scores), torch.from_numpy(relevant), strict=True))
    expected = {"MRR": np.mean([retrieval_reciprocal_rank(*row) for row in rows])}
    for k in (1, 5, 10, 20):
        expected[f"HR@{k}"] = np.mean([retrieval_hit_rate(*row, top_k=k) for row in rows])
    for k in (5, 10, 20):
        expected[f"NDCG@{k}"] = np.mean([retrieval_normalized_dcg(*row, top_k=k) for row in rows])
    assert ours == pytest.approx(expected, abs=1e-6)


def test_evaluate_agrees_with_scikit_learn_on_the_scores_of_a_model_with_ties():
    rng = np.random.default_rng(0)
    data, model = random_dataset(rng, num_users=40), Table(30, rng)
    histories, targets = data.held_out("test")
    negatives = sample_negatives(histories, targets, 30, 12)
    candidates = np.column_stack([targets, negatives])
    scores = np.array([model.table[h[-1], c].numpy()
                       for h, c in zip(histories, candidates, strict=True)])
    expected = label_ranking_average_precision_score(np.eye(13, dtype=int)[[0] * 40], scores)
    assert evaluate(model, data, "test", "sampled", 12)["MRR"] == pytest.approx(expected)


def test_metrics_of_a_user_are_their_closed_forms():
    table = per_user_metrics(np.array([1, 2, 5, 6, 20, 21]))
    assert table["HR@1"].tolist() == [1, 0, 0, 0, 0, 0]
    assert table["HR@5"].tolist() == [1, 1, 1, 0, 0, 0]
    assert table["HR@10"].tolist() == [1, 1, 1, 1, 0, 0]
    assert table["HR@20"].tolist() == [1, 1, 1, 1, 1, 0]
    assert table["MRR"].tolist() == pytest.approx([1, 1 / 2, 1 / 5, 1 / 6, 1 / 20, 1 / 21])
    gain = [1, np.log(2) / np.log(3), np.log(2) / np.log(6), np.log(2) / np.log(7),
            np.log(2) / np.log(21)]
    assert table["NDCG@5"].tolist() == pytest.approx([*gain[:3], 0, 0, 0])
    assert table["NDCG@10"].tolist() == pytest.approx([*gain[:4], 0, 0])
    assert table["NDCG@20"].tolist() == pytest.approx([*gain, 0])


# Baseline


def test_popularity_ranks_by_counts_of_the_training_items():
    data = random_dataset(np.random.default_rng(5), num_users=40)
    counts = Counter(int(item) for s in data.sequences for item in s[:-2])
    expected = [slow_rank(counts, s[-1], unseen_items(s[:-1], s[-1], 30)) for s in data.sequences]
    model = PopRec(data)
    assert rank_targets(model, data).tolist() == expected
    names = [*data.item_names[1:-1]]
    other = replace(data, item_names=("[padding]", *names[1:], names[0], "[mask]"))
    with pytest.raises(ValueError, match="under other numbers"):
        rank_targets(model, other)
    for nothing in ("films.csv", None, [1, 2]):
        with pytest.raises(TypeError, match="the data must be a SequenceDataset, not"):
            rank_targets(model, nothing)
    negatives = sample_negatives(*data.held_out("test"), 30, 9)
    assert rank_targets(model, data, "test", "sampled", negatives).tolist() == [
        slow_rank(counts, s[-1], row) for s, row in zip(data.sequences, negatives, strict=True)]
    top = recommend(model, data, [1, 2], 3)
    assert top["score"].tolist() == sorted((counts[i] for i in range(3, 31)), reverse=True)[:3]


# Recommendations


@pytest.fixture(scope="module")
def films():
    return load_dataset("movielens-small")


@pytest.fixture(scope="module")
def film_model(films):
    return s3rec(films, max_length=5)


TITLES = ["Toy Story (1995)", "Jumanji (1995)", "Heat (1995)"]


def test_recommendations_are_the_best_unseen_items_in_order(films, film_model):
    top = recommend(film_model, films, TITLES, k=20)
    ids = [films.item_names.index(title) for title in TITLES]
    with torch.no_grad():
        states = film_model.eval()(torch.tensor([ids]), causal=True)
    scores = (states[0, -1] @ film_model.item_embedding.weight.T).tolist()
    unseen = [i for i in range(1, films.num_items + 1) if i not in ids]
    best = sorted(unseen, key=lambda i: -scores[i])[:20]
    assert top["item"].tolist() == best
    assert top["name"].tolist() == [films.item_names[i] for i in best]
    assert top["score"].tolist() == pytest.approx([scores[i] for i in best], abs=1e-6)


def test_a_history_may_be_names_or_ids_or_both(films, film_model):
    ids = [films.item_names.index(title) for title in TITLES]
    named = recommend(film_model, films, TITLES)
    assert len(named) == 10
    for same in (ids, np.array(ids), [np.int32(ids[0]), *TITLES[1:]], tuple(ids), np.array(TITLES)):
        assert recommend(film_model, films, same).equals(named)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_nothing_from_the_history_is_ever_recommended(seed):
    rng = np.random.default_rng(seed)
    data = random_dataset(rng)
    history = rng.integers(1, 31, rng.integers(1, 25))
    unseen = 30 - len(set(history.tolist()))
    top = recommend(s3rec(data, seed % 1000), data, history, k=unseen)
    assert sorted(top["item"]) == sorted(set(range(1, 31)) - set(history.tolist()))
    with pytest.raises(ValueError, match=f"1…{unseen}"):
        recommend(s3rec(data), data, history, k=unseen + 1)


def test_the_newest_items_of_a_long_history_count(films, film_model):
    long = list(range(1, 41))
    top = recommend(film_model, films, long, 30)
    short = recommend(film_model, films, long[-5:], 65)  # may hold the 35 older ones
    short = short[~short["item"].isin(long)].head(30).reset_index(drop=True)
    assert top["item"].tolist() == short["item"].tolist()


@pytest.mark.parametrize("history, complaint", [
    ([], "non-empty"),
    (np.array([], dtype=int), "non-empty"),
    ("Toy Story (1995)", "list"),
    (["Toy Stori (1995)"], r"did you mean 'Toy Story \(1995\)'"),
    (["matrix"], "did you mean 'Matrix, The"),
    ([0], "called 0: integers stand for items in 1..3496"),
    ([3497], "called 3497: integers stand for items in 1..3496"),
    ([-1], "called -1: integers stand for items in 1..3496"),
    ([1.5], "is called 1.5"),
    ([None], "is called None"),
])
def test_a_history_that_cannot_be_read_is_an_error_that_says_why(
        films, film_model, history, complaint):
    with pytest.raises(ValueError, match=complaint):
        recommend(film_model, films, history)


@pytest.mark.parametrize("k", [0, -1, 3496])
def test_k_must_be_a_number_of_unseen_items(films, film_model, k):
    with pytest.raises(ValueError, match="k must lie in 1…3495"):
        recommend(film_model, films, ["Toy Story (1995)"], k)


# Bad input


@pytest.mark.parametrize("arguments, complaint", [
    (dict(split="train"), "validation"),
    (dict(protocol="half"), 'protocol must be "full" or "sampled"'),
    (dict(negatives=np.ones((11, 5), dtype=int)), r"shape \(12, K\)"),
    (dict(negatives=np.ones(12, dtype=int)), r"shape \(12, K\)"),
    (dict(negatives=np.ones((12, 5))), "integers"),
    (dict(negatives=np.zeros((12, 5), dtype=int)), "ids in 1…30, found 0…0"),
    (dict(negatives=np.full((12, 5), 31)), "ids in 1…30, found 31…31"),
    (dict(negatives=29), "unseen items"),
])
def test_bad_arguments_of_evaluate_are_named(arguments, complaint):
    data = random_dataset(np.random.default_rng(0))
    with pytest.raises(ValueError, match=complaint):
        evaluate(Table(30), data, **{"protocol": "sampled", **arguments})


@pytest.mark.parametrize("row, complaint", [
    ([4, 6, 7], "user 'user 1' hold the held-out item itself, 'item 4'"),
    ([7, 6, 2], "user 'user 1' hold an item of its history, 'item 2'"),
    ([5, 7, 5], "user 'user 1' hold an item twice, 'item 5'"),
])
def test_negatives_are_different_items_that_the_user_has_not_seen(row, complaint):
    data = dataset([[5, 6, 7, 8], [1, 2, 3, 4]], num_items=9)
    given = np.array([[1, 2, 3], [5, 6, 7]])
    assert evaluate(Table(9), data, protocol="sampled", negatives=given)["MRR"] == 0.25  # all tied
    given[1] = row
    with pytest.raises(ValueError, match=complaint):
        evaluate(Table(9), data, protocol="sampled", negatives=given)
    with pytest.raises(ValueError, match=complaint):
        rank_targets(Table(9), data, protocol="sampled", negatives=given.tolist())


def test_too_few_unseen_items_name_the_user_and_the_way_out():
    data = dataset([[1, 2, 3], [1, 2, 3, 4, 5]], num_items=6)
    with pytest.raises(ValueError, match=r"user 1 has only 1 unseen items, 2.*negatives=.*'full'"):
        sample_negatives(*data.held_out("test"), 6, 2)


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_an_error(protocol, value):
    data = random_dataset(np.random.default_rng(0))
    model = s3rec(data)
    with torch.no_grad():
        model.position_embedding.weight.fill_(value)
    with pytest.raises(ValueError, match="not finite"):
        evaluate(model, data, protocol=protocol, negatives=5)


@BOTH
def test_one_candidate_without_a_finite_score_is_an_error(protocol):
    data, _ = planted_structure(num_users=30, num_groups=2, items_per_group=20)
    model = Table(data.num_items)
    held = data.held_out("test")[1]
    rare = next(i for i in range(1, data.num_items + 1) if i not in held)
    model.table[:, rare] = torch.nan  # no target's own score
    negatives = [[min({*range(1, data.num_items + 1)} - {*s}) if rare in s else rare]
                 for s in data.sequences]
    with pytest.raises(ValueError, match="not finite"):
        evaluate(model, data, "test", protocol, negatives)


@pytest.mark.parametrize("ranks", [[], [0, 1], [[1, 2]], 3])
def test_ranks_must_be_a_list_of_numbers_from_one(ranks):
    with pytest.raises(ValueError, match="ranks must be"):
        per_user_metrics(np.array(ranks))


@pytest.mark.parametrize("k", [True, 2.0, "2", None])
def test_k_must_be_a_whole_number_and_may_be_numpys(films, film_model, k):
    with pytest.raises(ValueError, match=f"k must lie in 1…3495, .*not {k!r}"):
        recommend(film_model, films, ["Toy Story (1995)"], k)
    assert len(recommend(film_model, films, ["Toy Story (1995)"], np.int64(2))) == 2


@pytest.mark.parametrize("given", [np.array([3, 7]), (3, 7), np.array([3, 7], np.uint8)])
def test_a_history_may_come_in_whatever_holds_ids(films, film_model, given):
    assert recommend(film_model, films, given).equals(recommend(film_model, films, [3, 7]))


@pytest.mark.parametrize("score", [torch.nan, torch.inf])
@pytest.mark.parametrize("item", [5, 3496])
def test_a_diverged_model_recommends_nothing(films, film_model, score, item):
    class Diverged(Table):
        def score(self, states, candidates=None):
            scores = super().score(states, candidates)
            scores[:, item] = score
            return scores

    with pytest.raises(ValueError, match="scores are not finite: its training diverged"):
        recommend(Diverged(3496), films, [1, 2])
    excluded = Diverged(3496)
    excluded.score = lambda states: Table.score(excluded, states).index_fill_(
        1, torch.tensor([item]), -torch.inf)  # which is no divergence
    assert item not in recommend(excluded, films, [1, 2], 3493)["item"].to_numpy()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_any_type_of_float_is_measured_and_recommends(kind):
    data = random_dataset(np.random.default_rng(0))
    model, plain = s3rec(data).to(kind), s3rec(data)
    for protocol in ("full", "sampled"):
        found, expected = (evaluate(each, data, "test", protocol, 5)["MRR"]
                           for each in (model, plain))
        assert found == pytest.approx(expected, abs=0.1)
    top = recommend(model, data, [1, 2], 28)
    assert top["score"].dtype == np.float32 and top["score"].is_monotonic_decreasing
    expected = recommend(plain, data, [1, 2], 28).set_index("item")["score"]
    assert top.set_index("item")["score"].to_dict() == pytest.approx(
        expected.to_dict(), abs=0.02 * float(expected.abs().max()))


@pytest.mark.parametrize("count", [0, -1])
def test_no_negatives_are_an_error_and_not_a_perfect_score(count):
    data = random_dataset(np.random.default_rng(0))
    with pytest.raises(ValueError, match="negatives must be"):
        evaluate(Table(30), data, protocol="sampled", negatives=count)


def test_lists_of_negatives_of_several_lengths_are_refused_in_words():
    data = random_dataset(np.random.default_rng(0))
    lists = [[1, 2, 3], [4, 5], *[[1, 2, 3]] * (data.num_users - 2)]
    with pytest.raises(ValueError, match=r"negatives must be a number, or integers of shape"):
        evaluate(Table(30), data, protocol="sampled", negatives=lists)


@pytest.mark.parametrize("num_items", [29, 31])
@BOTH
def test_a_model_made_for_other_data_is_an_error(protocol, num_items):
    data = random_dataset(np.random.default_rng(0))
    other = s3rec(random_dataset(np.random.default_rng(0), num_items=num_items))
    for call in (lambda: evaluate(other, data, protocol=protocol, negatives=5),
                 lambda: recommend(other, data, [1, 2], 20)):
        with pytest.raises(ValueError, match=f"{num_items} items.*30"):
            call()


def test_the_mode_of_the_model_is_restored_after_an_error_too():
    data = random_dataset(np.random.default_rng(0))
    model = s3rec(data).train()
    with torch.no_grad():
        model.position_embedding.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        evaluate(model, data)
    assert model.training


class Bare:
    """What the module says a model is, and no more: it likes items with high ids."""

    max_length, device = 5, torch.device("cpu")

    def __call__(self, item_ids, causal):
        assert causal
        return torch.ones(*item_ids.shape, 1)

    def score(self, states, candidates=None):
        ids = torch.arange(14.0).repeat(len(states), 1)
        return ids if candidates is None else candidates.float()


@pytest.mark.parametrize("protocol", ["full", "sampled"])
def test_a_model_is_anything_with_what_the_module_says(protocol):
    data = make_data([[1, 2, 12, 3], [4, 5, 6, 11]], num_items=12)
    ranks = rank_targets(Bare(), data, protocol=protocol, negatives=np.array([[4, 5], [1, 12]]))
    better = {"full": [8, 1], "sampled": [2, 1]}[protocol]  # unseen ids above 3 and above 11
    assert ranks.tolist() == [1 + n for n in better]
    assert recommend(Bare(), data, [12, 11], k=2)["item"].tolist() == [10, 9]
