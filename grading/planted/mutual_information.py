"""Planted submissions to assignment 1: each wrong one has one misconception."""

# What is handed in instead of the solution, by the cell's name; other cells hold the solution.
RIGHT = {
    "loops": {
        "mutual-information": """
def mutual_information(counts):
    total, value = counts.sum().item(), 0.0
    for i in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            if counts[i, j] > 0:
                expected = counts[i].sum() * counts[:, j].sum() / total
                value = value + counts[i, j] / total * torch.log(counts[i, j] / expected)
    return value
""",
        "in-batch-info-nce": """
def in_batch_info_nce(queries, keys, groups):
    losses = []
    for i in range(len(queries)):
        others = [j for j in range(len(keys)) if j == i or groups[j] != groups[i]]
        scores = torch.stack([queries[i] @ keys[j] / TEMPERATURE for j in others])
        losses.append(torch.logsumexp(scores, 0) - scores[others.index(i)])
    return sum(losses) / len(losses)
""",
    },
    "entropies": {
        "mutual-information": """
def entropy(p):
    return torch.special.entr(p).sum()

def mutual_information(counts):
    p = counts / counts.sum()
    return entropy(p.sum(0)) + entropy(p.sum(1)) - entropy(p)
""",
    },
    "cross_entropy": {
        "info-nce": """
def info_nce(scores, temperature=TEMPERATURE):
    labels = torch.full((len(scores),), POSITIVE % scores.shape[1])
    return torch.nn.functional.cross_entropy(scores / temperature, labels)
""",
        "in-batch-info-nce": """
def in_batch_info_nce(queries, keys, groups):
    bias = torch.where(groups[None] == groups[:, None], -torch.inf, 0.0).double()
    bias.fill_diagonal_(0)
    logits = torch.einsum("ih,jh->ij", queries, keys) / TEMPERATURE + bias
    return F.cross_entropy(logits, torch.arange(len(logits)))
""",
        "best-critic": """
def best_critic(x, y):
    normal = torch.distributions.Normal
    return normal(RHO * x, (1 - RHO**2) ** 0.5).log_prob(y) - normal(0.0, 1.0).log_prob(y)
""",
    },
    "maximum_taken_off_with_a_helper_cell_above": {
        "info-nce": """
def log_sum(scores):
    top = scores.max(1, keepdim=True).values
    return (top + (scores - top).exp().sum(1, keepdim=True).log())[:, 0]

def info_nce(scores, temperature=TEMPERATURE):
    positive = scores[:, POSITIVE] / temperature
    return -torch.mean(positive - log_sum(scores / temperature))
""",
        "bounds": """
bounds = {K: np.log(1 + K) - info_nce(best_critic(*samples(K)), temperature=1).item()
          for K in NEGATIVES}
""",
    },
}

WRONG = {
    "bits": ({"mutual-information": """
def mutual_information(counts):
    p = counts / counts.sum()
    q = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
    return torch.where(p > 0, p * (p / q).log2(), 0.0).sum()
"""}, {"q1-tables", "q1-zeros"}),
    "zero_times_log_zero": ({"mutual-information": """
def mutual_information(counts):
    p = counts / counts.sum()
    return (p * (p / (p.sum(1, keepdim=True) * p.sum(0, keepdim=True))).log()).sum()
"""}, {"q1-zeros"}),
    "entropy_of_the_pair": ({"mutual-information": """
def mutual_information(counts):
    p = counts / counts.sum()
    return -(p[p > 0] * p[p > 0].log()).sum()
"""}, {"q1-tables", "q1-zeros"}),
    "zero_divided_by_zero": ({"mutual-information": """
def mutual_information(counts):
    given = counts / counts.sum(1, keepdim=True)
    p = counts.sum(1) / counts.sum()
    entropy = torch.special.entr
    return entropy(counts.sum(0) / counts.sum()).sum() - (p * entropy(given).sum(1)).sum()
"""}, {"q1-zeros"}),
    "wrong_sign": ({"info-nce": """
def info_nce(scores, temperature=TEMPERATURE):
    scores = scores / temperature
    return (scores[:, POSITIVE] - scores.logsumexp(1)).mean()
"""}, {"q2-values", "q2-random", "q2-gradient", "q2-large", "q5-bounds"}),
    "sum_for_mean": ({"info-nce": """
def info_nce(scores, temperature=TEMPERATURE):
    scores = scores / temperature
    return (scores.logsumexp(1) - scores[:, POSITIVE]).sum()
""", "bounds": """
bounds = {K: float(np.log(K + 1) - info_nce(best_critic(*samples(K)), 1.0) / 4000)
          for K in NEGATIVES}
"""}, {"q2-values", "q2-random", "q2-gradient", "q2-large"}),
    "positive_no_candidate": ({"info-nce": """
def info_nce(scores, temperature=TEMPERATURE):
    scores = scores / temperature
    column = POSITIVE % scores.shape[1]
    others = [k for k in range(scores.shape[1]) if k != column]
    return (scores[:, others].logsumexp(1) - scores[:, column]).mean()
"""}, {"q2-values", "q2-random", "q2-gradient", "q2-large", "q5-bounds"}),
    "temperature_multiplied": ({"info-nce": """
def info_nce(scores, temperature=TEMPERATURE):
    scores = scores * temperature
    return (scores.logsumexp(1) - scores[:, POSITIVE]).mean()
"""}, {"q2-random", "q2-gradient"}),
    "exp_overflows": ({"info-nce": """
def info_nce(scores, temperature=TEMPERATURE):
    exps = (scores / temperature).exp()
    return -(exps[:, POSITIVE] / exps.sum(1)).log().mean()
"""}, {"q2-large"}),
    "false_negatives_left_in": ({"in-batch-info-nce": """
def in_batch_info_nce(queries, keys, groups):
    scores = queries @ keys.T / TEMPERATURE
    return (scores.logsumexp(1) - scores.diagonal()).mean()
"""}, {"q3-false-negatives"}),
    "log_sum_over_positives": ({"in-batch-info-nce": """
def in_batch_info_nce(queries, keys, groups):
    scores = queries @ keys.T / TEMPERATURE
    same = groups[:, None] == groups
    return (scores.logsumexp(1) - scores.masked_fill(~same, -torch.inf).logsumexp(1)).mean()
"""}, {"q3-false-negatives"}),
    "masked_with_zero": ({"in-batch-info-nce": """
def in_batch_info_nce(queries, keys, groups):
    scores = queries @ keys.T / TEMPERATURE
    false = (groups[:, None] == groups) & ~torch.eye(len(scores), dtype=torch.bool)
    scores = scores * ~false
    return (scores.logsumexp(1) - scores.diagonal()).mean()
"""}, {"q3-false-negatives"}),
    "own_key_taken_out_too": ({"in-batch-info-nce": """
def in_batch_info_nce(queries, keys, groups):
    scores = queries @ keys.T / TEMPERATURE
    same = groups[:, None] == groups
    return (scores.masked_fill(same, -torch.inf).logsumexp(1) - scores.diagonal()).mean()
"""}, {"q3-distinct", "q3-direction", "q3-false-negatives"}),
    "keys_look_for_queries": ({"in-batch-info-nce": """
def in_batch_info_nce(queries, keys, groups):
    scores = queries @ keys.T / TEMPERATURE
    false = (groups[:, None] == groups) & ~torch.eye(len(scores), dtype=torch.bool)
    return (scores.masked_fill(false, -torch.inf).logsumexp(0) - scores.diagonal()).mean()
"""}, {"q3-direction", "q3-false-negatives"}),
    "no_gradient": ({"in-batch-info-nce": """
def in_batch_info_nce(queries, keys, groups):
    scores = queries.numpy() @ keys.numpy().T / TEMPERATURE
    false = (groups[:, None] == groups).numpy() & ~np.eye(len(scores), dtype=bool)
    scores = np.where(false, -np.inf, scores)
    return float((np.logaddexp.reduce(scores, 1) - scores.diagonal()).mean())
"""}, {"q3-direction"}),
    "factor_forgotten": ({"best-critic": """
def best_critic(x, y):
    return y**2 / 2 - (y - RHO * x) ** 2 / (2 * (1 - RHO**2))
""", "bounds": """
bounds = {K: float(np.log(K + 1) - info_nce(best_critic(*samples(K)), 1.0)) for K in NEGATIVES}
"""}, {"q4-critic"}),
    "log_of_the_negatives_alone": ({"bounds": """
bounds = {K: float(np.log(K) - info_nce(best_critic(*samples(K)), 1.0)) for K in NEGATIVES}
"""}, {"q5-bounds"}),
    "bound_at_the_training_temperature": ({"bounds": """
bounds = {K: float(np.log(K + 1) - info_nce(best_critic(*samples(K)))) for K in NEGATIVES}
"""}, {"q5-bounds"}),
    "bounds_of_last_year": ({"bounds": """
bounds = {1: 0.3157, 9: 0.6713, 99: 0.7204, 999: 0.7302}
"""}, {"q5-bounds"}),
}
