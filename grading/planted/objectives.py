"""Planted submissions to assignment 3: each wrong one has one misconception."""

# What is handed in instead of the solution, by the cell's name; other cells hold the solution.
RIGHT = {
    "loops": {
        "mask-items": """
def mask_items(item_ids, probability, generator):
    rows = []
    for row in item_ids.tolist():
        places = [t for t, item in enumerate(row) if item]
        always = places[ALWAYS]
        rows.append([MASK_ID if item and (t == always or generator.random() < probability) else item
                     for t, item in enumerate(row)])
    return torch.tensor(rows)
""",
        "draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    result = torch.zeros(len(histories), num_negatives, dtype=torch.int64)
    for user, history in enumerate(histories.tolist()):
        seen = set(history)
        for k in range(num_negatives):
            item = int(generator.integers(1, num_items + 1))
            while item in seen:
                item = int(generator.integers(1, num_items + 1))
            result[user, k] = item
    return result
""",
        "aap-loss": """
def aap_loss(states, item_ids, masked_ids, head, attribute_table, item_attributes):
    total = torch.zeros((), dtype=states.dtype)
    for b in range(item_ids.shape[0]):
        for t in range(item_ids.shape[1]):
            if masked_ids[b, t] in (0, MASK_ID):
                continue
            for a, embedding in enumerate(attribute_table):
                score = states[b, t] @ head @ embedding
                sign = 1 if item_attributes[item_ids[b, t], a] else -1
                total = total - F.logsigmoid(sign * score)
    return total / item_ids.shape[0]
""",
        "mip-loss": """
def mip_loss(states, item_ids, masked_ids, negative_ids, head, item_table):
    total = 0.0 * states.sum()
    for b, t in (item_ids != masked_ids).nonzero():
        ids = [item_ids[b, t], *negative_ids[b, t]]
        scores = torch.stack([states[b, t] @ (head @ item_table[i]) for i in ids])
        total = total - torch.log_softmax(scores, 0)[0]
    return total / len(states)
""",
        "map-loss": """
def map_loss(states, item_ids, masked_ids, head, attribute_table, item_attributes):
    total = 0.0 * states.sum()
    for b, t in (item_ids != masked_ids).nonzero().tolist():
        scores = attribute_table @ (states[b, t] @ head)
        has = item_attributes[item_ids[b, t]].tolist()
        own = [a for a in range(1, len(has)) if has[a]]
        lacks = [a for a in range(1, len(has)) if not has[a]]
        for a in own:
            total = total + (scores[[a, *lacks]].logsumexp(0) - scores[a]) / len(own)
    return total / len(states)
""",
        "segment-views": """
def segment_views(item_ids, starts, lengths, pool, pool_starts):
    context, positive, negative = item_ids.clone(), item_ids.clone(), item_ids.clone()
    for b in range(len(item_ids)):
        if lengths[b] == 0:
            continue
        begin = int((item_ids[b] == 0).sum() + starts[b])
        end = begin + int(lengths[b])
        positive[b][item_ids[b] != 0] = MASK_ID
        negative[b] = positive[b]
        context[b, begin:end] = MASK_ID
        positive[b, begin:end] = item_ids[b, begin:end]
        negative[b, begin:end] = pool[pool_starts[b]:pool_starts[b] + lengths[b]]
    return context, positive, negative
""",
        "sp-loss": """
def sp_loss(context, positive, negative, head):
    losses = []
    for s, p, n in zip(context, positive, negative):
        z = torch.sigmoid(s @ head @ p) - torch.sigmoid(s @ head @ n)
        losses.append(torch.log(1 + torch.exp(-z)))
    return torch.stack(losses).mean()
""",
        "pairwise-loss": """
def pairwise_loss(states, sequences, negative_ids, item_table):
    losses = []
    for b in range(states.shape[0]):
        for t in range(states.shape[1]):
            if sequences[b, t] != 0:
                pair = torch.stack([sequences[b, t + 1], negative_ids[b, t]])
                scores = item_table[pair] @ states[b, t]
                losses.append(F.softplus(scores[1] - scores[0]))
    return sum(losses) / len(losses)
""",
        "pretraining-loss": """
def pretraining_loss(losses, weights):
    total = 0.0
    for column, name in enumerate(OBJECTIVES):
        if weights.get(name, 0) != 0:
            total = total + weights[name] * losses[:, column].mean()
    return total
""",
    },
    "flattened_positions": {
        "mask-items": """
def mask_items(item_ids, probability, generator):
    rows, columns = np.nonzero(item_ids.numpy())
    hidden = generator.random(len(rows)) < probability
    ends = np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))  # first item of each row
    if ALWAYS == -1:
        ends = np.append(ends[1:], len(rows)) - 1
    hidden[ends] = True
    masked_ids = item_ids.clone()
    masked_ids[rows[hidden], columns[hidden]] = MASK_ID
    return masked_ids
""",
        "aap-loss": """
def aap_loss(states, item_ids, masked_ids, head, attribute_table, item_attributes):
    places = ((item_ids != 0) & (masked_ids != MASK_ID)).flatten().nonzero().squeeze(1)
    x = states.flatten(0, 1).index_select(0, places)  # (N, H)
    scores = torch.einsum("ni,ij,aj->na", x, head, attribute_table)
    has = item_attributes[item_ids.flatten()[places]].bool()
    return F.softplus(torch.where(has, -scores, scores)).sum() / item_ids.shape[0]
""",
        "mip-loss": """
def mip_loss(states, item_ids, masked_ids, negative_ids, head, item_table):
    places = (masked_ids == MASK_ID).flatten().nonzero().squeeze(1)
    x = states.reshape(-1, states.shape[-1])[places]
    ids = torch.cat([negative_ids.flatten(0, 1), item_ids.reshape(-1, 1)], 1)[places]
    scores = torch.einsum("ni,ij,nkj->nk", x, head, item_table[ids])
    last = torch.full((len(places),), ids.shape[1] - 1)
    return F.cross_entropy(scores, last, reduction="sum") / len(item_ids)
""",
        "map-loss": """
def map_loss(states, item_ids, masked_ids, head, attribute_table, item_attributes):
    places = (masked_ids == MASK_ID).flatten().nonzero().squeeze(1)
    s = torch.einsum("ni,ij,aj->na", states.flatten(0, 1)[places], head, attribute_table[1:])
    has = item_attributes[item_ids.flatten()[places], 1:].bool()  # (N, A)
    row, own = has.nonzero(as_tuple=True)  # a question for each attribute of each item
    allowed = ~has[row]
    allowed[torch.arange(len(row)), own] = True
    bias = torch.zeros(allowed.shape, dtype=s.dtype).masked_fill(~allowed, -torch.inf)
    losses = F.cross_entropy(s[row] + bias, own, reduction="none")
    return (losses / has.sum(1)[row]).sum() / len(item_ids)
""",
        "pairwise-loss": """
def pairwise_loss(states, sequences, negative_ids, item_table):
    places = (sequences[:, :-1].flatten() != 0).nonzero().squeeze(1)
    x = states.flatten(0, 1)[places]
    pair = torch.stack([sequences[:, 1:].flatten()[places], negative_ids.flatten()[places]], 1)
    scores = (item_table[pair] * x[:, None]).sum(2)  # (N, 2)
    return F.cross_entropy(scores, torch.zeros(len(places), dtype=torch.int64))
""",
        "pointwise-loss": """
def pointwise_loss(states, sequences, negative_ids, item_table):
    places = (sequences[:, :-1].flatten() != 0).nonzero().squeeze(1)
    x = states.flatten(0, 1)[places]
    pair = torch.stack([sequences[:, 1:].flatten()[places], negative_ids.flatten()[places]], 1)
    scores = (item_table[pair] * x[:, None]).sum(2)  # (N, 2)
    labels = torch.tensor([1.0, 0.0], dtype=scores.dtype).expand_as(scores)
    return 2 * F.binary_cross_entropy_with_logits(scores, labels)
""",
    },
    "everywhere_then_masked": {
        "aap-loss": """
def aap_loss(states, item_ids, masked_ids, head, attribute_table, item_attributes):
    scores = (states @ head) @ attribute_table.T  # (B, L, A + 1)
    losses = F.binary_cross_entropy_with_logits(
        scores, item_attributes[item_ids].double(), reduction="none").sum(2)
    unmasked = ((masked_ids > 0) & (masked_ids < MASK_ID)).double()
    return (losses * unmasked).sum(1).mean()
""",
        "mip-loss": """
def mip_loss(states, item_ids, masked_ids, negative_ids, head, item_table):
    scores = states @ head @ item_table.T  # (B, L, num_items + 2)
    positive = scores.gather(2, item_ids[:, :, None])
    candidates = torch.cat([positive, scores.gather(2, negative_ids)], 2)
    losses = candidates.logsumexp(2) - positive[:, :, 0]
    return torch.where(masked_ids == MASK_ID, losses, 0.0).sum(1).mean(0)
""",
        "map-loss": """
def map_loss(states, item_ids, masked_ids, head, attribute_table, item_attributes):
    scores = (states @ head @ attribute_table.T)[..., 1:]  # (B, L, A)
    has = item_attributes[item_ids][..., 1:].bool()
    gaps = scores[..., None, :] - scores[..., :, None]  # (B, L, A, A): candidate less positive
    gaps = gaps.masked_fill(~has[..., :, None] | has[..., None, :], -1e9)
    zero = torch.zeros_like(gaps[..., :1])  # the positive itself
    losses = torch.cat([zero, gaps], 3).logsumexp(3)  # (B, L, A)
    masked = (masked_ids == MASK_ID)[..., None] & has
    return ((losses * masked).sum(2) / has.sum(2).clamp(min=1)).sum(1).mean()
""",
        "sp-loss": """
def sp_loss(context, positive, negative, head):
    better = torch.einsum("bi,ij,bj->b", context, head, positive).sigmoid()
    worse = torch.einsum("bi,ij,bj->b", context, head, negative).sigmoid()
    two = torch.stack([better, worse], 1)
    return F.cross_entropy(two, torch.zeros(len(two), dtype=torch.int64))
""",
        "pairwise-loss": """
def pairwise_loss(states, sequences, negative_ids, item_table):
    inputs, targets = sequences[:, :-1], sequences[:, 1:]
    gap = (states * (item_table[targets] - item_table[negative_ids])).sum(2)  # (B, L)
    real = (inputs > 0).double()
    return (F.softplus(-gap) * real).sum() / real.sum()
""",
        "pretraining-loss": """
def pretraining_loss(losses, weights):
    w = torch.tensor([weights.get(name, 0.0) for name in OBJECTIVES]).double()
    return (losses[:, w != 0] @ w[w != 0]).mean()
""",
    },
    "numpy_and_a_helper_cell_above": {
        "mask-items": """
def one_row(row, probability, generator):
    size = int(np.count_nonzero(row))
    hidden = generator.binomial(1, probability, size).astype(bool)
    hidden[ALWAYS] = True
    return np.concatenate([row[:len(row) - size], np.where(hidden, MASK_ID, row[len(row) - size:])])

def mask_items(item_ids, probability, generator):
    rows = [one_row(row, probability, generator) for row in item_ids.numpy()]
    return torch.from_numpy(np.array(rows))
""",
        "draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    weights = np.ones((len(histories), num_items + 1))
    weights[np.arange(len(histories))[:, None], histories.numpy()] = 0
    weights[:, 0] = 0
    ends = weights.cumsum(1)
    draws = generator.random((len(histories), num_negatives)) * ends[:, -1:]
    found = [np.searchsorted(row, u, side="right") for row, u in zip(ends, draws)]
    return torch.tensor(np.array(found))
""",
        "segment-views": """
def segment_views(item_ids, starts, lengths, pool, pool_starts):
    rows = [[], [], []]
    for row, start, length, begin in zip(item_ids.tolist(), *(
            v.tolist() for v in (starts, lengths, pool_starts))):
        items = [item for item in row if item]
        padding = [0] * (len(row) - len(items))
        before, after = items[:start], items[start + length:]
        segment, foreign = items[start:start + length], pool.tolist()[begin:begin + length]
        views = [before + [MASK_ID] * length + after]
        for inside in (segment, foreign):
            views.append([MASK_ID] * len(before) + inside + [MASK_ID] * len(after))
        for view, found in zip(views if length else [items] * 3, rows):
            found.append(padding + view)
    return tuple(torch.tensor(found) for found in rows)
""",
        "pairwise-loss": """
def real_scores(states, sequences, negative_ids, item_table):
    scores = states @ item_table.T  # (B, L, num_items + 2)
    positive = scores.gather(2, sequences[:, 1:, None])[..., 0]
    negative = scores.gather(2, negative_ids[..., None])[..., 0]
    real = sequences[:, :-1].bool()
    return positive[real], negative[real]

def pairwise_loss(*arguments):
    positive, negative = real_scores(*arguments)
    return torch.mean(torch.logaddexp(positive, negative) - positive)
""",
        "pointwise-loss": """
def pointwise_loss(*arguments):
    positive, negative = real_scores(*arguments)
    return F.softplus(-positive).mean() + F.softplus(negative).mean()
""",
    },
}

# Most misconceptions are the solution with one thing changed; these are what is changed.
MASK = """
def mask_items(item_ids, probability, generator):
    real = item_ids != 0
    draws = torch.from_numpy(generator.random(tuple(item_ids.shape)))
    order = real.cumsum(1)
    always = order == (1 if ALWAYS == 0 else order[:, -1:])
    return torch.where(real & (always | (draws < probability)), MASK_ID, item_ids)
"""
AAP = """
def aap_loss(states, item_ids, masked_ids, head, attribute_table, item_attributes):
    places = (item_ids != 0) & (masked_ids == item_ids)
    scores = states[places] @ head @ attribute_table.T
    present = item_attributes[item_ids[places]].double()
    losses = F.binary_cross_entropy_with_logits(scores, present, reduction="none")
    return losses.sum() / len(item_ids)
"""
MIP = """
def mip_loss(states, item_ids, masked_ids, negative_ids, head, item_table):
    places = masked_ids != item_ids
    candidates = torch.cat([item_ids[..., None], negative_ids], 2)[places]
    queries = states[places] @ head
    scores = (item_table[candidates] @ queries[:, :, None]).squeeze(2)
    losses = scores.logsumexp(1) - scores[:, 0]
    return losses.sum() / len(item_ids)
"""
MAP = """
def map_loss(states, item_ids, masked_ids, head, attribute_table, item_attributes):
    places = masked_ids != item_ids
    scores = states[places] @ head @ attribute_table[1:].T
    own = item_attributes[item_ids[places]][:, 1:] > 0
    against = scores.masked_fill(own, -torch.inf).logsumexp(1, keepdim=True)
    losses = torch.logaddexp(scores, against) - scores
    means = losses.masked_fill(~own, 0).sum(1) / own.sum(1).clamp(min=1)
    return means.sum() / len(item_ids)
"""
SEGMENTS = """
def segment_views(item_ids, starts, lengths, pool, pool_starts):
    real = item_ids != 0
    place = real.cumsum(1) - 1 - starts[:, None]
    inside = real & (place >= 0) & (place < lengths[:, None])
    around = torch.where(real, MASK_ID, 0)
    foreign = pool[(pool_starts[:, None] + place).clamp(0, len(pool) - 1)]
    views = [torch.where(inside, MASK_ID, item_ids), torch.where(inside, item_ids, around),
             torch.where(inside, foreign, around)]
    return tuple(torch.where(lengths[:, None] == 0, item_ids, view) for view in views)
"""
SP = """
def sp_loss(context, positive, negative, head):
    queries = context @ head
    better, worse = (queries * positive).sum(1), (queries * negative).sum(1)
    return -F.logsigmoid(better.sigmoid() - worse.sigmoid()).mean()
"""
PAIRWISE = """
def pairwise_loss(states, sequences, negative_ids, item_table):
    real = sequences[:, :-1] != 0
    positive = item_table[sequences[:, 1:][real]]
    negative = item_table[negative_ids[real]]
    losses = -F.logsigmoid((states[real] * (positive - negative)).sum(1))
    return losses.mean()
"""
POINTWISE = """
def pointwise_loss(states, sequences, negative_ids, item_table):
    real = sequences[:, :-1] != 0
    positive = (states[real] * item_table[sequences[:, 1:][real]]).sum(1)
    negative = (states[real] * item_table[negative_ids[real]]).sum(1)
    losses = -F.logsigmoid(positive) - F.logsigmoid(-negative)
    return losses.mean()
"""


def but(answer: str, old: str, new: str) -> str:
    """Return an answer with one thing changed."""
    assert answer.count(old) == 1, (answer, old)
    return answer.replace(old, new)


Q1 = {"q1-certain", "q1-frequencies"}
Q2 = {"q2-unseen", "q2-uniform"}
Q3 = {"q3-values", "q3-random"}
Q4 = {"q4-values", "q4-random", "q4-gradients"}
Q5 = {"q5-values", "q5-random", "q5-edges"}
Q7 = {"q7-pairwise", "q7-positions"}

WRONG = {
    "padding_masked": ({"mask-items": but(MASK, "real & (always | (draws < probability))",
                                          "always & real | (draws < probability)")}, Q1),
    "probability_of_keeping": ({"mask-items": but(MASK, "draws < probability",
                                                  "draws >= probability")}, Q1),
    "always_the_other_end": ({"mask-items": but(MASK, "ALWAYS == 0", "ALWAYS == -1")}, Q1),
    "none_always_masked": ({"mask-items": but(MASK, "always | (draws < probability)",
                                              "(draws < probability)")}, Q1),
    "mask_id_is_num_items": ({"mask-items": but(MASK, "MASK_ID", "NUM_ITEMS")}, Q1),
    "a_fixed_number_of_masks": ({"mask-items": """
def mask_items(item_ids, probability, generator):
    masked_ids = item_ids.clone()
    for row in masked_ids:
        places = row.nonzero().squeeze(1).tolist()
        always = places.pop(ALWAYS)
        count = round(probability * len(places))
        row[[always, *generator.permutation(places)[:count].astype(int)]] = MASK_ID
    return masked_ids
"""}, {"q1-frequencies"}),
    "one_mask_for_all_rows": ({"mask-items": but(MASK, "tuple(item_ids.shape)",
                                                 "item_ids.shape[1]")},
                              {"q1-frequencies", "q1-generator"}),
    "generator_not_used": ({"mask-items": but(
        MASK, "torch.from_numpy(generator.random(tuple(item_ids.shape)))",
        "torch.rand(item_ids.shape)")}, {"q1-generator"}),
    "own_generator": ({"mask-items": but(MASK, "generator.random",
                                         "np.random.default_rng(0).random")}, {"q1-generator"}),
    "masked_in_place": ({"mask-items": but(
        MASK, "return torch.where(real & (always | (draws < probability)), MASK_ID, item_ids)",
        "item_ids[real & (always | (draws < probability))] = MASK_ID\n    return item_ids")},
        Q1 | {"q1-generator"}),
    "masks_shared_by_two_rows": ({"mask-items": but(
        MASK, "generator.random(tuple(item_ids.shape))",
        "generator.random(tuple(item_ids.shape)).repeat(2, 0)[:len(item_ids)]")},
        {"q1-frequencies"}),
    "mask_id_drawn": ({"draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    drawn = [generator.choice(np.setdiff1d(np.arange(1, num_items + 2), row), num_negatives)
             for row in histories.numpy()]
    return torch.from_numpy(np.stack(drawn))
"""}, Q2),
    "padding_drawn": ({"draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    drawn = [generator.choice(np.setdiff1d(np.arange(num_items + 1), row[row > 0]), num_negatives)
             for row in histories.numpy()]
    return torch.from_numpy(np.stack(drawn))
"""}, Q2),
    "last_item_never_drawn": ({"draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    drawn = [generator.choice(np.setdiff1d(np.arange(1, num_items), row), num_negatives)
             for row in histories.numpy()]
    return torch.from_numpy(np.stack(drawn))
"""}, Q2),
    "seen_items_drawn": ({"draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    return torch.from_numpy(generator.integers(1, num_items + 1, (len(histories), num_negatives)))
"""}, Q2),
    "last_item_alone_avoided": ({"draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    drawn = [generator.choice(np.setdiff1d(np.arange(1, num_items + 1), row[-1:]), num_negatives)
             for row in histories.numpy()]
    return torch.from_numpy(np.stack(drawn))
"""}, Q2),
    "a_seen_item_replaced_by_its_neighbour": ({"draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    drawn = generator.integers(1, num_items + 1, (len(histories), num_negatives))
    for row, history in zip(drawn, histories.tolist()):
        for k in range(num_negatives):
            while row[k] in history:
                row[k] = row[k] % num_items + 1
    return torch.from_numpy(drawn)
"""}, {"q2-uniform"}),
    "same_negatives_for_users_alike": ({"draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    draws = generator.random(num_negatives)
    result = []
    for row in histories.numpy():
        unseen = np.setdiff1d(np.arange(1, num_items + 1), row)
        result.append(unseen[(draws * len(unseen)).astype(int)])
    return torch.from_numpy(np.stack(result))
"""}, {"q2-uniform"}),
    "drawn_without_replacement": ({"draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    drawn = []
    for row in histories.numpy():
        unseen = np.setdiff1d(np.arange(1, num_items + 1), row)
        drawn.append(generator.permutation(np.resize(unseen, num_negatives)))
    return torch.from_numpy(np.stack(drawn))
"""}, {"q2-uniform"}),
    "padding_drawn_where_none_stands": ({"draw-negatives": """
def draw_negatives(histories, num_items, num_negatives, generator):
    drawn = [generator.choice(np.setdiff1d(np.arange(num_items + 1), row), num_negatives)
             for row in histories.numpy()]
    return torch.from_numpy(np.stack(drawn))
"""}, {"q2-uniform"}),
    "aap_at_masked_positions": ({"aap-loss": but(AAP, "(item_ids != 0) & (masked_ids == item_ids)",
                                                 "masked_ids != item_ids")}, Q3),
    "aap_at_padding_too": ({"aap-loss": but(AAP, "(item_ids != 0) & (masked_ids == item_ids)",
                                            "masked_ids == item_ids")}, Q3),
    "aap_at_masks_too": ({"aap-loss": but(AAP, "(item_ids != 0) & (masked_ids == item_ids)",
                                          "item_ids != 0")}, Q3),
    "aap_mean_over_columns": ({"aap-loss": but(AAP, "losses.sum()", "losses.mean(1).sum()")}, Q3),
    "aap_sum_over_the_batch": ({"aap-loss": but(AAP, " / len(item_ids)", "")}, Q3),
    "aap_mean_over_positions": ({"aap-loss": but(AAP, "/ len(item_ids)", "/ len(losses)")}, Q3),
    "aap_without_column_0": ({"aap-loss": but(AAP, "losses.sum()", "losses[:, 1:].sum()")}, Q3),
    "aap_head_transposed": ({"aap-loss": but(AAP, "@ head @", "@ head.T @")}, Q3),
    "aap_wrong_sign": ({"aap-loss": but(AAP, "return losses", "return -losses")}, Q3),
    "aap_log_of_sigmoid": ({"aap-loss": but(
        AAP, "F.binary_cross_entropy_with_logits(scores, present, reduction=\"none\")",
        "-torch.where(present > 0, scores.sigmoid(), 1 - scores.sigmoid()).log()")},
        {"q3-random"}),
    "aap_hard_coded": ({"aap-loss": """
def aap_loss(*arguments):
    return torch.tensor(3.607212)
"""}, {"q3-random"}),
    "aap_is_a_plain_number": ({"aap-loss": but(AAP, "losses.sum()", "losses.sum().item()")},
                              {"q3-random"}),
    "aap_log_of_a_sum": ({"aap-loss": but(
        AAP, "F.binary_cross_entropy_with_logits(scores, present, reduction=\"none\")",
        "torch.where(scores.abs() < 40, (1 + scores.exp()).log(), scores.relu()) "
        "- scores * present")}, {"q3-random"}),
    "mip_at_unmasked_positions": ({"mip-loss": but(
        MIP, "masked_ids != item_ids", "(masked_ids == item_ids) & (item_ids != 0)")}, Q4),
    "mip_everywhere": ({"mip-loss": but(MIP, "masked_ids != item_ids", "item_ids >= 0")}, Q4),
    "mip_at_every_item": ({"mip-loss": but(MIP, "masked_ids != item_ids", "item_ids > 0")}, Q4),
    "mip_of_the_mask_id": ({"mip-loss": but(MIP, "item_ids[..., None]", "masked_ids[..., None]")},
                           Q4),
    "mip_positive_no_candidate": ({"mip-loss": but(MIP, "scores.logsumexp",
                                                   "scores[:, 1:].logsumexp")}, Q4),
    "mip_squeezed": ({"mip-loss": but(MIP, ".squeeze(2)", ".squeeze(2).sigmoid()")}, Q4),
    "mip_sum_over_the_batch": ({"mip-loss": but(MIP, " / len(item_ids)", "")}, Q4),
    "mip_mean_over_positions": ({"mip-loss": but(MIP, "losses.sum() / len(item_ids)",
                                                 "losses.mean()")}, Q4),
    "mip_wrong_sign": ({"mip-loss": but(MIP, "return losses", "return -losses")}, Q4),
    "mip_head_transposed": ({"mip-loss": but(MIP, "@ head", "@ head.T")}, Q4),
    "mip_one_negative": ({"mip-loss": but(MIP, "negative_ids]", "negative_ids[..., :1]]")}, Q4),
    "mip_exp_overflows": ({"mip-loss": but(MIP, "scores.logsumexp(1)",
                                               "scores.exp().sum(1).log()")}, {"q4-gradients"}),
    "mip_head_detached": ({"mip-loss": but(MIP, "@ head", "@ head.detach()")}, {"q4-gradients"}),
    "map_of_the_mask_id": ({"map-loss": but(MAP, "item_attributes[item_ids[places]]",
                                            "item_attributes[masked_ids[places]]")}, Q5),
    "map_at_unmasked_positions": ({"map-loss": but(
        MAP, "masked_ids != item_ids", "(masked_ids == item_ids) & (item_ids != 0)")}, Q5),
    "map_log_sum_over_positives": ({"map-loss": but(
        MAP, "means = losses.masked_fill(~own, 0).sum(1) / own.sum(1).clamp(min=1)",
        "means = scores.logsumexp(1) - scores.masked_fill(~own, -1e9).logsumexp(1)\n"
        "    means = means * own.any(1)")}, {"q5-values", "q5-random"}),
    "map_all_attributes_candidates": ({"map-loss": but(
        MAP, "torch.logaddexp(scores, against)", "scores.logsumexp(1, keepdim=True)")}, Q5),
    "map_positive_no_candidate": ({"map-loss": but(
        MAP, "torch.logaddexp(scores, against)", "against")}, Q5),
    "map_sum_over_attributes": ({"map-loss": but(MAP, " / own.sum(1).clamp(min=1)", "")},
                                {"q5-values", "q5-random"}),
    "map_column_0_a_candidate": ({"map-loss": MAP.replace("[1:]", "").replace("[:, 1:]", "")}, Q5),
    "map_nothing_over_nothing": ({"map-loss": but(MAP, ".clamp(min=1)", "")}, {"q5-edges"}),
    "map_scores_cut_off": ({"map-loss": but(MAP, "own = item_attributes",
                                            "scores = scores.clamp(-40, 40)\n"
                                            "    own = item_attributes")}, {"q5-random"}),
    "map_tables_detached": ({"map-loss": but(MAP, "@ head @ attribute_table[1:].T",
                                             "@ (head @ attribute_table[1:].T).detach()")},
                            {"q5-random"}),
    "map_head_transposed": ({"map-loss": but(MAP, "@ head @", "@ head.T @")}, Q5),
    "map_mean_over_positions": ({"map-loss": but(MAP, "means.sum() / len(item_ids)",
                                                 "means.mean()")}, Q5),
    "segment_counted_in_columns": ({"segment-views": but(
        SEGMENTS, "real.cumsum(1) - 1", "torch.arange(item_ids.shape[1])")},
        {"q6-views", "q6-views-random"}),
    "segment_one_item_too_long": ({"segment-views": but(
        SEGMENTS, "place < lengths[:, None]", "place <= lengths[:, None]")},
        {"q6-views", "q6-views-random"}),
    "segment_padding_masked": ({"segment-views": but(
        SEGMENTS, "torch.where(real, MASK_ID, 0)", "torch.full_like(item_ids, MASK_ID)")},
        {"q6-views", "q6-views-random"}),
    "segment_in_padding": ({"segment-views": but(
        SEGMENTS, "torch.where(real, MASK_ID, 0)", "torch.zeros_like(item_ids)")},
        {"q6-views", "q6-views-random"}),
    "segment_of_one_item_lost": ({"segment-views": but(
        SEGMENTS, "lengths[:, None] == 0", "lengths[:, None] < 0")},
        {"q6-views", "q6-views-random"}),
    "foreign_segment_one_shorter": ({"segment-views": but(
        SEGMENTS, "torch.where(inside, foreign, around)",
        "torch.where(inside & (place < lengths[:, None] - 1), foreign, around)")},
        {"q6-views", "q6-views-random"}),
    "foreign_segment_never_from_the_end": ({"segment-views": but(
        SEGMENTS, "len(pool) - 1", "len(pool) - 2")}, {"q6-views-random"}),
    "foreign_segment_of_constant_length": ({"segment-views": but(
        SEGMENTS, "torch.where(inside, foreign, around)",
        "torch.where(real & (place >= 0) & (place < 2), foreign, around)")},
        {"q6-views", "q6-views-random"}),
    "foreign_segment_from_starts": ({"segment-views": but(
        SEGMENTS, "pool[(pool_starts[:, None]", "pool[(starts[:, None]")},
        {"q6-views", "q6-views-random"}),
    "sp_one_sigma": ({"sp-loss": but(SP, "better.sigmoid() - worse.sigmoid()", "better - worse")},
                     {"q6-loss"}),
    "sp_head_transposed": ({"sp-loss": but(SP, "@ head", "@ head.T")}, {"q6-loss"}),
    "sp_swapped": ({"sp-loss": but(SP, "better.sigmoid() - worse.sigmoid()",
                                   "worse.sigmoid() - better.sigmoid()")}, {"q6-loss"}),
    "sp_sum_over_the_batch": ({"sp-loss": but(SP, ".mean()", ".sum()")}, {"q6-loss"}),
    "sp_segments_detached": ({"sp-loss": but(
        SP, "(queries * positive).sum(1), (queries * negative).sum(1)",
        "(queries * positive.detach()).sum(1), (queries * negative.detach()).sum(1)")},
        {"q6-loss"}),
    "sp_gradient_not_a_number": ({"sp-loss": but(
        SP, "better.sigmoid() - worse.sigmoid()", "1 / (1 + (-better).exp()) - worse.sigmoid()")},
        {"q6-loss"}),
    "target_off_by_one": ({"pairwise-loss": but(PAIRWISE, "sequences[:, 1:]",
                                                "sequences[:, :-1]")}, Q7),
    "places_of_targets": ({"pairwise-loss": but(PAIRWISE, "real = sequences[:, :-1] != 0",
                                                "real = sequences[:, 1:] != 0")}, Q7),
    "padded_positions_in_the_mean": ({"pairwise-loss": but(
        PAIRWISE, "losses.mean()", "losses.sum() / negative_ids.numel()")}, Q7),
    "mean_of_means": ({"pairwise-loss": """
def pairwise_loss(states, sequences, negative_ids, item_table):
    rows = []
    for x, row, negatives in zip(states, sequences, negative_ids):
        real = row[:-1] != 0
        if real.any():
            gap = item_table[row[1:][real]] - item_table[negatives[real]]
            rows.append(-F.logsigmoid((x[real] * gap).sum(1)).mean())
    return torch.stack(rows).mean()
"""}, Q7),
    "sum_over_positions": ({"pairwise-loss": but(PAIRWISE, ".mean()", ".sum()")}, Q7),
    "pair_swapped": ({"pairwise-loss": but(PAIRWISE, "positive - negative",
                                           "negative - positive")}, Q7),
    "pairwise_overflows": ({"pairwise-loss": but(PAIRWISE, "-F.logsigmoid((states[real] * "
                                                 "(positive - negative)).sum(1))",
                                                 "-(states[real] * (positive - negative)).sum(1)"
                                                 ".sigmoid().log()")}, {"q7-positions"}),
    "pairwise_small_number_inside": ({"pairwise-loss": but(
        PAIRWISE, "-F.logsigmoid((states[real] * (positive - negative)).sum(1))",
        "-((states[real] * (positive - negative)).sum(1).sigmoid() + 1e-24).log()")},
        {"q7-positions"}),
    "pairwise_item_table_detached": ({"pairwise-loss": but(
        PAIRWISE, "(positive - negative)", "(positive - negative).detach()")}, {"q7-positions"}),
    "pairwise_hard_coded": ({"pairwise-loss": """
def pairwise_loss(*arguments):
    return torch.tensor(0.938457)
"""}, {"q7-positions"}),
    "pointwise_mean_of_two_terms": ({"pointwise-loss": but(POINTWISE, "losses.mean()",
                                                           "losses.mean() / 2")},
                                    {"q7-pointwise"}),
    "pointwise_overflows": ({"pointwise-loss": but(POINTWISE, "F.logsigmoid(-negative)",
                                                   "(1 - negative.sigmoid()).log()")},
                            {"q7-pointwise"}),
    "pointwise_is_a_plain_number": ({"pointwise-loss": but(
        POINTWISE, "losses.mean()", "losses.mean().item()")}, {"q7-pointwise"}),
    "pointwise_of_last_item": ({"pointwise-loss": but(POINTWISE, "sequences[:, 1:]",
                                                      "sequences[:, :-1]")}, {"q7-pointwise"}),
    "weights_swapped": ({"pretraining-loss": """
def pretraining_loss(losses, weights):
    names = ("aap", "mip", "map", "sp")
    return sum(weights[n] * losses[:, i].mean() for i, n in enumerate(names) if weights.get(n))
"""}, {"q8-weights"}),
    "weights_normalised": ({"pretraining-loss": """
def pretraining_loss(losses, weights):
    means = dict(zip(OBJECTIVES, losses.mean(0)))
    return sum(w * means[n] for n, w in weights.items() if w) / sum(weights.values())
"""}, {"q8-weights"}),
    "weights_of_the_course_alone": ({"pretraining-loss": """
def pretraining_loss(losses, weights):
    means = zip(OBJECTIVES, losses.mean(0))
    return sum(WEIGHTS[n] * mean for n, mean in means if not mean.isnan())
"""}, {"q8-weights"}),
    "weights_of_the_paper": ({"pretraining-loss": """
def pretraining_loss(losses, weights):
    paper = {"aap": 0.2, "mip": 1.0, "map": 1.0, "sp": 0.5}
    means = dict(zip(OBJECTIVES, losses.mean(0)))
    return sum(paper[n] * means[n] for n, w in weights.items() if w)
"""}, {"q8-weights"}),
    "zero_times_nan": ({"pretraining-loss": """
def pretraining_loss(losses, weights):
    w = torch.tensor([weights.get(n, 0.0) for n in OBJECTIVES]).double()
    return (losses * w).sum(1).mean()
"""}, {"q8-weights"}),
}
