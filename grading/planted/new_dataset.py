"""Planted submissions to assignment 4: each wrong one has one misconception."""

# Nothing is trained here but in the solution and in one right case: it would take minutes. Counts
# of steps between departments make good lists too.
DEPARTMENTS = """
def department_lists(histories=SEQUENCES, avoided=SEQUENCES):
    follow = np.ones((NUM_GROUPS + 1, NUM_GROUPS + 1))
    counts = np.zeros(NUM_ITEMS + 2)
    for sequence in SEQUENCES:
        np.add.at(counts, sequence, 1)
        np.add.at(follow, (GROUP_OF[sequence[:-1]], GROUP_OF[sequence[1:]]), 1)
    size = np.bincount(GROUP_OF, counts)[GROUP_OF]
    lists = []
    for history, seen in zip(histories, avoided):
        scores = follow[GROUP_OF[history[-1]]][GROUP_OF] * counts / np.maximum(size, 1)
        scores[[0, NUM_ITEMS + 1, *seen]] = -1
        lists.append(np.argsort(-scores)[:10].tolist())
    return lists
"""
QUICK = {
    "training": "model = None",
    "recommendations": DEPARTMENTS + "\nrecommendations = department_lists()",
    "error-table": "error_table = None",
    "experiment-runs": "runs = {}",
}

# What is handed in instead of the solution, by the cell's name; other cells hold the solution.
RIGHT = {
    "counts_of_departments": QUICK,
    "loops": {
        **QUICK,
        "prepare": """
from collections import Counter

def prepare(users, items, times, min_user, min_item):
    left = list(range(len(users)))
    while True:
        of_user, of_item = Counter(users[n] for n in left), Counter(items[n] for n in left)
        kept = [n for n in left
                if of_user[users[n]] >= min_user and of_item[items[n]] >= min_item]
        if kept == left:
            break
        left = kept
    left.sort(key=lambda n: (times[n], -n if NEWEST_FIRST else n))
    names = sorted({items[n] for n in left})
    sequences = {}
    for n in left:
        sequences.setdefault(users[n], []).append(names.index(items[n]) + 1)
    return sequences
""",
        "training-negatives": """
def training_negatives(sequence, num_items):
    *training, _, _ = sequence
    return [item for item in range(1, num_items + 1) if item not in training]
""",
        "ranks-from-scores": """
def ranks_from_scores(scores, targets, seen):
    ranks = []
    for row, target, past in zip(scores.tolist(), targets.tolist(), seen):
        rank = 1.0
        for item in range(1, len(row) - 1):
            if item != target and item not in past:
                rank += row[item] > row[target]
                rank += TIE_SHARE * (row[item] == row[target])
        ranks.append(rank)
    return torch.tensor(ranks, dtype=torch.float64)
""",
        "metrics": """
def metrics(ranks, k):
    hr = ndcg = mrr = 0.0
    for r in ranks.tolist():
        mrr += 1 / r / len(ranks)
        if r <= k:
            hr += 1 / len(ranks)
            ndcg += np.log(2) / np.log(r + 1) / len(ranks)
    return {"HR": hr, "NDCG": ndcg, "MRR": mrr}
""",
        "baseline-scores": """
def popularity_scores(training, num_items):
    scores = torch.zeros(num_items + 2, dtype=torch.float64)
    for sequence in training:
        for item in sequence:
            scores[item] += 1
    return scores

def markov_scores(training, newest, num_items):
    popular = popularity_scores(training, num_items)
    scores = (popular / (1 + popular.sum())).repeat(len(newest), 1)
    for user, item in enumerate(newest.tolist()):
        for sequence in training:
            for place in range(1, len(sequence)):
                if sequence[place - 1] == item:
                    scores[user, sequence[place]] += 1
    return scores
""",
        "paired-interval": """
def paired_interval(a, b, draws):
    means = sorted(float(sum(a[row] - b[row])) / len(row) for row in draws)
    def quantile(share):
        place = share * (len(means) - 1)
        low = int(place)
        high = min(low + 1, len(means) - 1)
        return means[low] + (place - low) * (means[high] - means[low])
    return torch.tensor([quantile(0.5 - LEVEL / 2), quantile(0.5 + LEVEL / 2)]).double()
""",
    },
    "numpy_and_scipy": {
        **QUICK,
        "prepare": """
def prepare(users, items, times, min_user, min_item):
    users, items, times = np.array(users), np.array(items), np.array(times)
    rows = np.arange(len(users))
    while True:
        keep = np.ones(len(rows), dtype=bool)
        for names, fewest in ((users[rows], min_user), (items[rows], min_item)):
            _, code, count = np.unique(names, return_inverse=True, return_counts=True)
            keep &= count[code] >= fewest
        if keep.all():
            break
        rows = rows[keep]
    rows = rows[np.lexsort((-rows if NEWEST_FIRST else rows, times[rows]))]
    _, ids = np.unique(items[rows], return_inverse=True)
    return {str(user): ids[users[rows] == user] + 1 for user in np.unique(users[rows])}
""",
        "ranks-from-scores": """
def ranks_from_scores(scores, targets, seen):
    scores = scores.numpy().copy()
    own = scores[np.arange(len(scores)), targets].copy()
    for row, target, past in zip(scores, targets, seen):
        row[[0, -1, int(target), *past]] = -np.inf
    return torch.from_numpy(1 + (1 - TIE_SHARE) * (scores > own[:, None]).sum(1)
                            + TIE_SHARE * (scores >= own[:, None]).sum(1))
""",
        "sampled": """
from scipy.stats import hypergeom

def expected_sampled_rank(rank, num_competitors, num_negatives):
    return 1 + float(hypergeom.mean(num_competitors, rank - 1, num_negatives))

def sampled_hit_rate(rank, num_competitors, num_negatives, k):
    return float(hypergeom.cdf(k - 1, num_competitors, rank - 1, num_negatives))
""",
        "baseline-scores": """
def popularity_scores(training, num_items):
    return torch.from_numpy(np.bincount(np.concatenate(training), minlength=num_items + 2) * 1.0)

def markov_scores(training, newest, num_items):
    steps = np.array([pair for part in training for pair in zip(part[:-1], part[1:])])
    table = np.zeros((num_items + 2, num_items + 2))
    np.add.at(table, tuple(steps.T), 1)
    popular = popularity_scores(training, num_items)
    return torch.from_numpy(table[newest.numpy()]) + popular / (popular.sum() + 1)
""",
        "paired-interval": """
def paired_interval(a, b, draws):
    counts = torch.stack([torch.bincount(row, minlength=len(a)) for row in draws]).double()
    means = counts @ (a - b) / draws.shape[1]
    return torch.from_numpy(np.quantile(means.numpy(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
""",
    },
    "trained_otherwise_and_ranked_by_hand": {
        "training": """
torch.manual_seed(3)
model = s3.S3Rec(s3.ModelConfig.for_dataset(data, hidden_size=32, num_layers=1, num_heads=1,
                                            max_length=16, dropout=0.2))
s3.pretrain(model, data, s3.PretrainConfig(epochs=20, batch_size=40, learning_rate=3e-3,
                                           prefixes_per_user=2, seed=3))
s3.finetune(model, data, s3.FinetuneConfig(epochs=16, patience=16, batch_size=50, seed=3,
                                           learning_rate=3e-3, loss="softmax"))
""",
        "recommendations": """
recommendations = []
with torch.no_grad():
    for history in SEQUENCES:
        scores = model.score(model(torch.tensor([history]), causal=True)[:, -1])[0]
        scores[[0, NUM_ITEMS + 1, *history]] = -torch.inf
        recommendations.append(scores.topk(10).indices)
""",
        "experiment-runs": "runs = {}",
    },
}

PREPARE = """
def prepare(users, items, times, min_user, min_item):
    rows = [(times[n], -n if {newest_first} else n, users[n], items[n]) for n in range(len(users))]
    for _ in range({rounds}):
        for column, fewest in ((2, min_user), (3, min_item)):
            names = [row[column] for row in rows]
            rows = [row for row in rows if names.count(row[column]) >= fewest]
    ids = {{name: n for n, name in enumerate(sorted({{row[3] for row in rows}}), {first})}}
    rows.sort(key=lambda row: {key})
    users = dict.fromkeys(row[2] for row in rows)
    return {{user: [ids[row[3]] for row in rows if row[2] == user] for user in users}}
"""


def prepared(newest_first="NEWEST_FIRST", rounds=99, first=1, key="row[:2]"):
    """Return a cell "prepare" that is right but for what is passed."""
    return {"prepare": PREPARE.format(newest_first=newest_first, rounds=rounds, first=first,
                                      key=key)}


RANKS = """
def ranks_from_scores(scores, targets, seen):
    ranks = []
    for row, target, past in zip(scores.tolist(), targets.tolist(), seen):
        rivals = [j for j in {columns} if j != target and not ({skip} and j in past)]
        above = sum(row[j] > row[target] for j in rivals)
        ranks.append({first} + above + {share} * sum(row[j] == row[target] for j in rivals))
    return torch.tensor(ranks).double()
"""


def ranked(columns="range(1, len(row) - 1)", skip=True, share="TIE_SHARE", first=1):
    """Return a cell "ranks-from-scores" that is right but for what is passed.

    Question 5 and 7 use right ranks of another name: whether their hits would change by chance
    depends on the seed.
    """
    def cell(name, **changes):
        right = dict(columns="range(1, len(row) - 1)", skip=True, share="TIE_SHARE", first=1)
        return RANKS.format(**right | changes).replace("ranks_from_scores", name)

    baselines = compared()["baselines"].replace("ranks_from_scores", "right_ranks")
    return {"ranks-from-scores": cell("ranks_from_scores", columns=columns, skip=skip, share=share,
                                      first=first),
            "baselines": cell("right_ranks") + baselines}


METRICS = """
def metrics(ranks, k):
    hits = (ranks <= k).double()
    return {{"HR": float({hr}), "NDCG": float({ndcg}), "MRR": float({mrr})}}
"""


def measured(hr="hits.mean()", ndcg="(hits / torch.log2(ranks + 1)).mean()",
             mrr="(1 / ranks).mean()"):
    """Return a cell "metrics" that is right but for what is passed."""
    return {"metrics": METRICS.format(hr=hr, ndcg=ndcg, mrr=mrr)}


BASELINES = """
def baseline_ranks():
    parts = [{part} for s in SEQUENCES]
    pasts = [s[:-1] for s in SEQUENCES]
    goals = torch.tensor([s[-1] for s in SEQUENCES])
    newest = torch.tensor([s[{newest}] for s in SEQUENCES])
    popular = popularity_scores(parts, NUM_ITEMS).repeat(len(pasts), 1)
    chain = markov_scores(parts, newest, NUM_ITEMS)
    return {{"popularity": ranks_from_scores(popular, goals, pasts),
             "markov": ranks_from_scores(chain, goals, pasts)}}

baselines = {{name: metrics(ranks, 10) for name, ranks in baseline_ranks().items()}}
"""


def compared(part="s[:-2]", newest=-2):
    """Return a cell "baselines" that is right but for what is passed."""
    return {"baselines": BASELINES.format(part=part, newest=newest)}


def listed(lists):
    """Return a cell "recommendations" that hands in an expression."""
    return {"recommendations": f"{DEPARTMENTS}\nrecommendations = {lists}"}


WRONG = {
    "sorted_by_item": (prepared(key="row[3]"), {"q1-example", "q1-core", "q1-ties"}),
    "filtered_once": (prepared(rounds=1), {"q1-core"}),
    "filtered_twice": (prepared(rounds=2), {"q1-core"}),
    "filtered_twenty_times": (prepared(rounds=20), {"q1-core"}),
    "distinct_choices_counted": ({"prepare": """
def prepare(users, items, times, min_user, min_item):
    rows = pd.DataFrame({"user": users, "item": items, "time": times})
    rows = rows[::-1] if NEWEST_FIRST else rows
    rows = rows.sort_values("time", kind="stable")
    size = None
    while size != len(rows):
        size = len(rows)
        rows = rows[rows.groupby("user")["item"].transform("nunique") >= min_user]
        rows = rows[rows.groupby("item")["user"].transform("nunique") >= min_item]
    ids = {name: n for n, name in enumerate(sorted(rows["item"].unique()), 1)}
    return {user: [ids[name] for name in part["item"]] for user, part in rows.groupby("user")}
"""}, {"q1-core"}),
    "ties_the_wrong_way": (prepared(newest_first="not NEWEST_FIRST"), {"q1-ties"}),
    "ties_by_item": (prepared(key="(row[0], row[3])"), {"q1-ties"}),
    "ids_from_zero": (prepared(first=0), {"q1-example", "q1-core", "q1-ties"}),
    "test_item_in_training": ({"leave-one-out": """
def leave_one_out(sequence):
    return sequence, (sequence[:-2], sequence[-2]), (sequence[:-1], sequence[-1])
"""}, {"q2-split", "q5-baselines", "q7-gain"}),
    "validation_item_not_in_the_test_history": ({"leave-one-out": """
def leave_one_out(sequence):
    return sequence[:-2], (sequence[:-2], sequence[-2]), (sequence[:-2], sequence[-1])
"""}, {"q2-split", "q5-baselines", "q7-gain"}),
    "negatives_avoid_the_held_out": ({"training-negatives": """
def training_negatives(sequence, num_items):
    return sorted(set(range(1, num_items + 1)) - set(sequence))
"""}, {"q2-negatives"}),
    "negatives_between_ids": ({"training-negatives": """
def training_negatives(sequence, num_items):
    return [item + 0.5 for item in range(1, num_items + 1) if item not in sequence[:-2]]
"""}, {"q2-negatives"}),
    "padding_is_a_negative": ({"training-negatives": """
def training_negatives(sequence, num_items):
    return sorted(set(range(num_items + 1)) - set(sequence[:-2]))
"""}, {"q2-negatives"}),
    "ranks_from_zero": (ranked(first=0), {"q3-ranks", "q3-excluded", "q3-ties"}),
    "ties_in_favour": (ranked(share=0), {"q3-ties"}),
    "seen_items_ranked": (ranked(skip=False), {"q3-excluded", "q3-ties"}),
    "another_share_of_ties": (ranked(share="(1.5 - TIE_SHARE)"), {"q3-ties"}),
    "padding_and_mask_ranked": (ranked(columns="range(len(row))"), {"q3-excluded", "q3-ties"}),
    "mask_ranked": (ranked(columns="range(1, len(row))"), {"q3-excluded", "q3-ties"}),
    "natural_logarithm": (measured(ndcg="(hits / torch.log(ranks + 1)).mean()"), {"q3-metrics"}),
    "one_too_many_in_the_logarithm": (measured(ndcg="(hits / torch.log2(ranks + 2)).mean()"),
                                      {"q3-metrics"}),
    "mean_over_hits_only": (measured(mrr="(1 / ranks[ranks <= k]).mean()"),
                            {"q3-metrics", "q5-baselines"}),
    "hit_before_rank_k": (measured(hr="(ranks < k).double().mean()"),
                          {"q3-metrics", "q5-baselines"}),
    "drawn_with_replacement": ({"sampled": """
from scipy.stats import binom

def expected_sampled_rank(rank, num_competitors, num_negatives):
    return 1 + num_negatives * (rank - 1) / num_competitors

def sampled_hit_rate(rank, num_competitors, num_negatives, k):
    return float(binom.cdf(k - 1, num_negatives, (rank - 1) / num_competitors))
"""}, {"q4-sampled", "q4-reported"}),
    "sampled_reported_as_full": ({"reported": """
among_drawn = float(np.mean([sampled_hit_rate(r, 150, NUM_NEGATIVES, 10) for r in GIVEN_RANKS]))
reported = {"full": among_drawn, "sampled": among_drawn}
"""}, {"q4-reported"}),
    "hit_at_rank_11": ({"reported": """
drawn = [sampled_hit_rate(r, 150, NUM_NEGATIVES, 10) for r in GIVEN_RANKS]
reported = {"full": sum(r <= 11 for r in GIVEN_RANKS) / 60, "sampled": sum(drawn) / 60}
"""}, {"q4-reported"}),
    "hit_of_the_expected_rank": ({"reported": """
expected = [expected_sampled_rank(r, 150, NUM_NEGATIVES) for r in GIVEN_RANKS]
reported = {"full": sum(r <= 10 for r in GIVEN_RANKS) / 60,
            "sampled": sum(r <= 10 for r in expected) / 60}
"""}, {"q4-reported"}),
    "popularity_hard_coded": ({"baseline-scores": """
def popularity_scores(training, num_items):
    return torch.tensor([0.0, 2, 4, 2, 0]).double()

def markov_scores(training, newest, num_items):
    pairs = torch.zeros(num_items + 2, num_items + 2).double()
    for sequence in training:
        for first, second in zip(sequence, sequence[1:]):
            pairs[first, second] += 1
    counts = torch.bincount(torch.tensor(sum(training, [])), minlength=num_items + 2)
    return pairs[newest] + counts / (counts.sum() + 1)
"""}, {"q5-scores", "q5-baselines", "q7-gain"}),
    "chain_runs_backwards": ({"baseline-scores": """
def popularity_scores(training, num_items):
    return torch.bincount(torch.tensor(sum(training, [])), minlength=num_items + 2).double()

def markov_scores(training, newest, num_items):
    pairs = torch.zeros(num_items + 2, num_items + 2).double()
    for sequence in training:
        for first, second in zip(sequence, sequence[1:]):
            pairs[second, first] += 1
    popular = popularity_scores(training, num_items)
    return pairs[newest] + popular / (popular.sum() + 1)
"""}, {"q5-scores", "q5-baselines", "q7-gain"}),
    "pairs_across_users": ({"baseline-scores": """
def popularity_scores(training, num_items):
    return torch.bincount(torch.tensor(sum(training, [])), minlength=num_items + 2).double()

def markov_scores(training, newest, num_items):
    joined = torch.tensor(sum(training, []))
    pairs = torch.zeros(num_items + 2, num_items + 2).double()
    pairs.index_put_((joined[:-1], joined[1:]), torch.ones(1).double(), accumulate=True)
    popular = popularity_scores(training, num_items)
    return pairs[newest] + popular / (popular.sum() + 1)
"""}, {"q5-scores", "q5-baselines", "q7-gain"}),
    "counted_on_whole_sequences": (compared(part="s"), {"q5-baselines", "q7-gain"}),
    "counted_on_validation_items": (compared(part="s[:-1]") | {
        "gain": compared()["baselines"].replace("baseline", "sound_baseline") + """
found = {name: (ranks <= 10).double() for name, ranks in sound_baseline_ranks().items()}
gain = paired_interval(found["markov"], found["popularity"], DRAWS)
"""}, {"q5-baselines"}),
    "newest_training_item": (compared(newest=-3), {"q5-baselines", "q7-gain"}),
    "baselines_of_last_year": ({
        "reported": 'reported = {"full": 0.3833, "sampled": 0.9312}',
        "baselines": compared()["baselines"] + """
baselines = {"popularity": {"HR": 0.1711, "NDCG": 0.0848, "MRR": 0.0788},
             "markov": {"HR": 0.3105, "NDCG": 0.1922, "MRR": 0.1733}}
"""}, {"q4-reported", "q5-baselines"}),
    "popularity_recommended": ({"recommendations": """
chosen = np.bincount(sum(SEQUENCES, []), minlength=NUM_ITEMS + 2)
order = [i for i in np.argsort(-chosen).tolist() if 1 <= i <= NUM_ITEMS]
recommendations = [[i for i in order if i not in past][:10] for past in SEQUENCES]
"""}, {"q6-popularity", "q6-model"}),
    "seen_items_recommended": (listed("department_lists(avoided=[[]] * len(SEQUENCES))"),
                               {"q6-form"}),
    "recommended_after_the_training_part": (
        listed("department_lists([past[:-2] for past in SEQUENCES])"),
        {"q6-popularity", "q6-model"}),
    "recommended_after_the_test_history": (
        listed("department_lists([past[:-1] for past in SEQUENCES])"),
        {"q6-popularity", "q6-model"}),
    "padding_recommended": (listed("[[0, *row[:9]] for row in department_lists()]"), {"q6-form"}),
    "ids_counted_from_zero": (listed("[[i - 1 for i in row] for row in department_lists()]"),
                              {"q6-form", "q6-popularity", "q6-model"}),
    "every_item_recommended": (
        listed("[list(range(1, NUM_ITEMS + 1))] * len(SEQUENCES)"),
        {"q6-form", "q6-popularity", "q6-model"}),
    "lists_of_last_year": (listed("""[
    [i for i in np.random.default_rng([5, u]).permutation(NUM_ITEMS) + 1 if i not in past][:10]
    for u, past in enumerate(SEQUENCES)]"""), {"q6-popularity", "q6-model"}),
    "unpaired": ({"paired-interval": """
def paired_interval(a, b, draws):
    means = a[draws].mean(1) - b[draws.flip(0)].mean(1)
    return means.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]).double())
"""}, {"q7-interval", "q7-paired", "q7-gain"}),
    "difference_of_intervals": ({"paired-interval": """
def paired_interval(a, b, draws):
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]).double()
    return a[draws].mean(1).quantile(ends) - b[draws].mean(1).quantile(ends)
"""}, {"q7-interval", "q7-paired", "q7-gain"}),
    "both_tails_on_each_side": ({"paired-interval": """
def paired_interval(a, b, draws):
    means = (a - b)[draws].mean(1)
    return means.quantile(torch.tensor([1 - LEVEL, LEVEL]).double())
"""}, {"q7-interval", "q7-paired", "q7-gain"}),
    "popularity_less_markov": ({"gain": """
found = {name: (ranks <= 10).double() for name, ranks in baseline_ranks().items()}
gain = paired_interval(found["popularity"], found["markov"], DRAWS)
"""}, {"q7-gain"}),
}
WRONG = {name: (QUICK | cells, lost) for name, (cells, lost) in WRONG.items()}
