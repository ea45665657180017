"""Intervals over users, and over users and seeds."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from s3rec_mini import bootstrap_intervals, metrics_from_ranks, paired_difference, per_user_metrics

# Intervals


def test_intervals_are_those_of_scipys_percentile_bootstrap():
    ranks = np.random.default_rng(0).geometric(0.1, 400)
    ours = bootstrap_intervals(ranks, level=0.9, samples=4000)
    for name, values in {"MRR": 1 / ranks, "HR@10": (ranks <= 10) * 1.0}.items():
        theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, confidence_level=0.9,
                                 method="percentile", rng=np.random.default_rng(1))
        theirs = theirs.confidence_interval
        width = theirs.high - theirs.low
        assert ours[name] == pytest.approx((theirs.low, theirs.high), abs=0.08 * width)


def test_intervals_cover_the_true_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    p = 0.1  # ranks are geometric: the mean of 1/rank is −p ln p / (1 − p), HR@10 is 1 − (1 − p)¹⁰
    truth = {"MRR": -p * np.log(p) / (1 - p), "HR@10": 1 - (1 - p) ** 10}
    covered = Counter()
    for seed in range(250):
        intervals = bootstrap_intervals(rng.geometric(p, 150), 0.8, samples=200, seed=seed)
        covered.update(n for n, mean in truth.items() if intervals[n][0] <= mean <= intervals[n][1])
    for name in truth:  # a standard error of 2.5 %
        assert 0.7 < covered[name] / 250 < 0.88


def test_intervals_are_a_function_of_ranks_and_seed():
    ranks = np.random.default_rng(0).geometric(0.1, 50)
    first, second, third = (bootstrap_intervals(ranks, samples=100, seed=s) for s in (0, 0, 1))
    assert first == second != third
    assert first.keys() == metrics_from_ranks(ranks).keys()


# Differences


def made_up_runs(rng, users=300, seeds=3, better=0.0, of_seeds=0.05, of_users=0.3):
    """Make two kinds of run whose log-ranks differ by `better`, and by luck of seeds and users."""
    ease = rng.normal(2, 1, users)
    taste = rng.normal(0, of_users, users)  # what the kinds make of a user, whatever the seed
    kinds = []
    for side in (better + taste, 0.0):
        luck = rng.normal(0, of_seeds, (seeds, 1))
        noise = rng.normal(0, 0.2, (seeds, users))
        kinds.append(np.maximum(np.exp(ease - side + luck + noise), 1).round().astype(int))
    return kinds


def test_a_difference_is_computed_as_its_formula_says():
    ranks, others = made_up_runs(np.random.default_rng(0), users=40, seeds=4)
    d = np.array([[1 / a - 1 / b for a, b in zip(x, y, strict=True)]
                  for x, y in zip(ranks, others, strict=True)])
    of_users, of_seeds = d.mean(0), d.mean(1)
    v_users, v_seeds = np.var(of_users) / 39, np.var(of_seeds) / 3
    degrees = (v_users + v_seeds) ** 2 / (v_users**2 / 39 + v_seeds**2 / 3)
    found = paired_difference(ranks, others, "MRR", level=0.9)
    assert found.mean == pytest.approx(d.mean())
    assert (found.users, found.seeds) == pytest.approx((v_users**0.5, v_seeds**0.5))
    assert found.half_width == pytest.approx(
        stats.t.ppf(0.95, degrees) * (v_users + v_seeds) ** 0.5)
    backwards = paired_difference(others, ranks, "MRR", level=0.9)
    assert backwards.mean == -found.mean and backwards.half_width == found.half_width


@pytest.mark.parametrize("luck", [dict(of_seeds=0.0), dict(of_seeds=0.1), dict(of_users=0.0)])
def test_a_difference_holds_the_truth_as_often_as_it_says_with_other_users_and_seeds(luck):
    truth = np.mean([paired_difference(*made_up_runs(
        np.random.default_rng([9, s]), users=4000, better=0.1, **luck)).mean for s in range(30)])
    held = 0
    for world in range(120):
        found = paired_difference(*made_up_runs(np.random.default_rng([1, world]), better=0.1,
                                                **luck), level=0.9)
        held += abs(found.mean - truth) <= found.half_width
    assert held / 120 > 0.83  # on the safe side; a standard error of 2.7 %


def test_seeds_alone_would_be_far_too_narrow():
    """What a first edition's verdicts overlooked: users and kinds interact, whatever the seed."""
    held = 0
    for world in range(120):
        ranks, others = made_up_runs(np.random.default_rng([2, world]), of_users=0.5, of_seeds=0.01)
        found = paired_difference(ranks, others)
        held += abs(found.mean) <= 1.96 * found.seeds
    assert held / 120 < 0.6


def test_more_comparisons_widen_the_interval_so_that_all_hold_at_once():
    ranks, others = made_up_runs(np.random.default_rng(0))
    one, of_six = (paired_difference(ranks, others, comparisons=n) for n in (1, 6))
    assert of_six.half_width > one.half_width and of_six.mean == one.mean
    same = paired_difference(ranks, others, level=1 - 0.05 / 6)
    assert of_six.half_width == pytest.approx(same.half_width)


def test_a_difference_is_decided_when_its_interval_leaves_out_zero():
    rng = np.random.default_rng(0)
    assert paired_difference(*made_up_runs(rng, better=1.0, of_seeds=0.0)).decided
    same = made_up_runs(rng)[0]
    nothing = paired_difference(same, same)
    assert nothing == (0, 0, 0, 0) and not nothing.decided


def test_a_comparison_needs_two_seeds_and_the_same_users():
    ranks, others = made_up_runs(np.random.default_rng(0))
    for wrong in [(ranks[:1], others[:1]), (ranks, others[:2]), (ranks[0], others[0])]:
        with pytest.raises(ValueError, match="two or more seeds"):
            paired_difference(*wrong)
    with pytest.raises(ValueError, match="the same users"):
        paired_difference(ranks, others[:, :10])
    assert "MRR" in per_user_metrics(ranks[0])
    with pytest.raises(ValueError, match="HR@10"):
        paired_difference(ranks, others, "HR10")
