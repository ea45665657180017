"""Planted submissions to assignment 2: each wrong one has one misconception."""

# What is handed in instead of the solution, by the cell's name; other cells hold the solution.
RIGHT = {
    "loops": {
        "visible-keys": """
def visible_keys(item_ids, causal):
    rows, size = item_ids.shape
    visible = torch.zeros(rows, size, size, dtype=torch.bool)
    for b in range(rows):
        first = size - int((item_ids[b] != 0).sum())
        for q in range(size):
            visible[b, q, q] = True
            for k in range(first, q + 1 if causal else size):
                if abs(q - k) < WINDOW or k < first + SINKS:
                    visible[b, q, k] = True
    return visible
""",
        "attention": """
def attention(query, key, value, visible):
    rows = []
    for b in range(query.shape[0]):
        for q in range(query.shape[1]):
            seen = [k for k in range(key.shape[1]) if visible[b, q, k]]
            if not seen:
                rows.append(value[b, 0] * 0)
                continue
            scores = key[b, seen] @ query[b, q] / query.shape[2] ** 0.5
            rows.append(torch.softmax(scores, 0) @ value[b, seen])
    return torch.stack(rows).view(*query.shape[:2], -1)
""",
        "embedded": """
def embedded(item_ids, item_table, position_table):
    rows, places = item_ids.shape[0], min(item_ids.shape[1], len(position_table))
    result = torch.zeros(rows, places, item_table.shape[1], dtype=item_table.dtype)
    for b in range(rows):
        for age in range(places):
            item = item_ids[b, -1 - age]
            if item:
                place = age if NEWEST_ROW == 0 else len(position_table) - 1 - age
                result[b, places - 1 - age] = item_table[item] + position_table[place]
    return result
""",
        "leave-one-out": """
def leave_one_out(sequences, num_items):
    def fill(items):
        items = items[-MAX_LENGTH:]
        return [0] * (MAX_LENGTH - len(items)) + items

    inputs = [fill(sequence[:-3]) for sequence in sequences]
    targets = [fill(sequence[1:-2]) for sequence in sequences]
    allowed = [[i > 0 and i not in s[:-2] for i in range(num_items + 1)] for s in sequences]
    held_out = [sequence[-2:] for sequence in sequences]
    return tuple(map(torch.tensor, (inputs, targets, allowed, held_out)))
""",
    },
    "einsum_and_all_heads_at_once": {
        "visible-keys": """
def visible_keys(item_ids, causal):
    size = item_ids.shape[1]
    ones = torch.ones(size, size, dtype=torch.bool)
    band = ones.triu(1 - WINDOW) & ones.tril(WINDOW - 1)
    real = item_ids.ne(0)
    first = size - real.sum(1, keepdim=True)
    sink = torch.arange(size).expand_as(item_ids) < first + SINKS
    seen = real.unsqueeze(1) & (band | sink.unsqueeze(1))
    return (seen.tril() if causal else seen) | torch.eye(size, dtype=torch.bool)
""",
        "attention": """
def attention(query, key, value, visible):
    scores = torch.einsum("bqd,bkd->bqk", query, key) / np.sqrt(query.size(-1))
    empty = ~visible.any(-1, keepdim=True)
    scores = torch.where(visible | empty, scores, -torch.inf)
    return torch.einsum("bqk,bkm->bqm", F.softmax(scores, -1) * ~empty, value)
""",
        "multi-head": """
def multi_head(inputs, weights, visible):
    split = "blc,nhc->nblh"
    projected = torch.einsum(split, inputs, weights[:3])
    if HEAD_COLUMNS == "blocks":
        heads = projected.unflatten(-1, (NUM_HEADS, -1)).transpose(2, 3)
    else:
        heads = projected.unflatten(-1, (-1, NUM_HEADS)).permute(0, 1, 4, 2, 3)
    query, key, value = heads  # (B, heads, L, D) each
    scores = query @ key.mT / query.shape[-1] ** 0.5
    mixed = scores.masked_fill(~visible[:, None], -torch.inf).softmax(-1) @ value
    if HEAD_COLUMNS == "blocks":
        joined = mixed.transpose(1, 2).flatten(2)
    else:
        joined = mixed.permute(0, 2, 3, 1).flatten(2)
    return joined @ weights[3].mT
""",
        "embedded": """
def embedded(item_ids, item_table, position_table):
    kept = item_ids[:, max(item_ids.shape[1] - len(position_table), 0):]
    age = torch.arange(kept.shape[1]).flip(0)
    place = age if NEWEST_ROW == 0 else len(position_table) - 1 - age
    summed = F.embedding(kept, item_table) + F.embedding(place, position_table)
    return summed.masked_fill(kept.eq(0).unsqueeze(-1), 0.0)
""",
    },
    "weights_by_exp_and_a_helper_cell_above": {
        "attention": """
def log_weights(scores, visible):
    scores = torch.where(visible, scores, scores.new_tensor(-torch.inf))
    top = scores.amax(-1, keepdim=True).detach().clamp(min=-1e300)
    grown = (scores - top).exp()
    return grown / grown.sum(-1, keepdim=True).clamp(min=1e-300)

def attention(query, key, value, visible):
    scores = torch.bmm(query, key.transpose(1, 2)).div(query.shape[-1] ** 0.5)
    return torch.bmm(log_weights(scores, visible), value)
""",
        "leaks": """
def depends(encoder, inputs, item_ids, key):
    # Several other vectors: none of them a shift or a multiple of the one that was there.
    states = encoder(inputs, item_ids)
    others = [inputs[key].flip(0), inputs[key] ** 2 - 1, torch.zeros_like(inputs[key])]
    others += list(torch.eye(inputs.shape[1], dtype=inputs.dtype))
    moved = torch.zeros(len(inputs), dtype=torch.bool)
    for other in others:
        change = torch.cat([inputs[:key], other[None], inputs[key + 1:]])
        moved |= ~torch.isclose(encoder(change, item_ids), states, rtol=0, atol=1e-10).all(1)
    return moved

def leaks(encoder, inputs, item_ids):
    result = set()
    for key in range(len(inputs)):
        for query in depends(encoder, inputs, item_ids, key).nonzero().flatten():
            query = int(query)
            if item_ids[query] > 0 and not (key <= query and item_ids[key] > 0):
                result.add((query, key))
    return result
""",
        "verdicts": """
padded = int((ROW == 0).sum())
queries = range(padded, len(ROW))
LATER = {(q, k) for q in queries for k in queries if k > q}
PADDING = {(q, k) for q in queries for k in range(padded)}
NEXT = {(q, q + 1) for q in queries if q + 1 < len(ROW)}
verdicts = {}
for encoder in ENCODERS:
    for source, pairs in zip(SOURCES, [set(), NEXT, LATER, PADDING, LATER | PADDING]):
        if leaks(encoder, INPUTS, ROW) == pairs:
            verdicts[encoder.__name__] = source
""",
    },
    "numpy": {
        "visible-keys": """
def visible_keys(item_ids, causal):
    ids = item_ids.numpy()
    q, k = np.indices((ids.shape[1], ids.shape[1]))
    rank = np.where(ids != 0, np.cumsum(ids != 0, 1), 10**6)[:, None, :]
    seen = ((np.abs(q - k) < WINDOW) | (rank <= SINKS)) & (rank < 10**6)
    if causal:
        seen &= k <= q
    return torch.from_numpy(seen | (q == k))
""",
        "multi-head": """
def multi_head(inputs, weights, visible):
    # Put each head's columns side by side, go by blocks, and put them back.
    size = inputs.shape[-1]
    order = np.arange(size)
    if HEAD_COLUMNS == "strided":
        order = np.argsort(order % NUM_HEADS, kind="stable")
    q, k, v = [(inputs @ w.T)[..., order].chunk(NUM_HEADS, -1) for w in weights[:3]]
    z = torch.cat([attention(*head, visible) for head in zip(q, k, v)], -1)
    return z[..., np.argsort(order)] @ weights[3].T
""",
        "leaks": """
def leaks(encoder, inputs, item_ids):
    rng = np.random.default_rng(5)
    size, items = len(item_ids), item_ids.numpy() != 0
    influence = np.zeros((size, size), dtype=bool)
    for _ in range(3):
        for k in range(size):
            other = inputs.numpy().copy()
            other[k] += rng.uniform(-2, 2, inputs.shape[1])
            gap = encoder(torch.from_numpy(other), item_ids) - encoder(inputs, item_ids)
            influence[:, k] |= np.abs(gap.numpy()).max(1) > 1e-10
    forbidden = np.triu(np.ones((size, size), dtype=bool), 1) | ~items
    return set(zip(*np.nonzero(influence & forbidden & items[:, None])))
""",
        "leave-one-out": """
def leave_one_out(sequences, num_items):
    arrays = [np.array(sequence) for sequence in sequences]
    pairs = np.zeros((2, len(arrays), MAX_LENGTH + 1), dtype=np.int64)
    for user, array in enumerate(arrays):
        steps = np.stack([array[:-3], array[1:-2]])[:, -MAX_LENGTH:]
        pairs[:, user, MAX_LENGTH + 1 - steps.shape[1]:] = steps
    seen = np.zeros((len(arrays), num_items + 1), dtype=bool)
    seen[:, 0] = True
    for row, array in zip(seen, arrays):
        row[array[:-2]] = True
    held_out = np.stack([array[-2:] for array in arrays])
    inputs, targets = torch.from_numpy(pairs[:, :, 1:].copy())
    return inputs, targets, torch.from_numpy(~seen), torch.from_numpy(held_out)
""",
    },
}

MASK = """
def visible_keys(item_ids, causal):
    items = item_ids != 0
    places = torch.arange(item_ids.shape[1])
    distance = places[:, None] - places
    near, sinks = distance.abs() < WINDOW, items.cumsum(1) <= SINKS
    seen = items[:, None] & (near | sinks[:, None])
    if causal:
        seen = seen & (distance >= 0)
    return seen | (distance == 0)
"""
HEADS = """
def multi_head(inputs, weights, visible):
    columns = torch.arange(inputs.shape[-1])
    blocks, strided = columns.view(NUM_HEADS, -1), columns.view(-1, NUM_HEADS).T
    owned, other = (blocks, strided) if HEAD_COLUMNS == "blocks" else (strided, blocks)
    query, key, value = (inputs @ weight.T for weight in weights[:3])
    joined = torch.zeros_like(inputs)
    for own in owned:
        joined[..., own] = attention(query[..., own], key[..., own], value[..., own], visible)
    return joined @ weights[3].T
"""
LEAKS = """
def leaks(encoder, inputs, item_ids):
    before = encoder(inputs, item_ids)
    found = set()
    for key in range(len(item_ids)):
        changed = inputs.clone()
        changed[key] = inputs[key].flip(0) ** 2 - 0.3
        moved = (encoder(changed, item_ids) - before).abs().amax(1) > 1e-10
        for query in range(len(item_ids)):
            if moved[query] and item_ids[query] and (key > query or not item_ids[key]):
                found.add((query, key))
    return found
"""
SPLIT = """
def leave_one_out(sequences, num_items):
    inputs = torch.zeros(len(sequences), MAX_LENGTH, dtype=torch.int64)
    targets = torch.zeros_like(inputs)
    allowed = torch.ones(len(sequences), num_items + 1, dtype=torch.bool)
    allowed[:, 0] = False
    for user, sequence in enumerate(sequences):
        training = sequence[:-2]
        allowed[user, training] = False
        first = [0] * MAX_LENGTH + training[:-1]
        second = [0] * MAX_LENGTH + training[1:]
        inputs[user] = torch.tensor(first[-MAX_LENGTH:])
        targets[user] = torch.tensor(second[-MAX_LENGTH:])
    return inputs, targets, allowed, torch.tensor([sequence[-2:] for sequence in sequences])
"""


def changed(source, old, new):
    """Plant one mistake in a right answer."""
    assert source.count(old) == 1, old
    return source.replace(old, new)


RIGHT["without_mistakes_planted"] = {
    "visible-keys": MASK, "multi-head": HEADS, "leaks": LEAKS, "leave-one-out": SPLIT,
}

ALL_OF_1 = {"q1-causal", "q1-random"}
ALL_OF_5 = {"q5-encoders", "q5-verdicts"}
ALL_OF_6 = {"q6-example", "q6-negatives"}

WRONG = {
    "causal_mask_missing": ({
        "visible-keys": changed(MASK, "if causal:", "if False:"),
    }, ALL_OF_1),
    "mask_off_by_one": ({
        "visible-keys": changed(MASK, "distance >= 0", "distance >= -1"),
    }, ALL_OF_1),
    "mask_transposed": ({
        "visible-keys": changed(MASK, "places[:, None] - places", "places - places[:, None]"),
    }, ALL_OF_1),
    "mask_always_causal": ({
        "visible-keys": changed(MASK, "if causal:", "if True:"),
    }, {"q1-random"}),
    "padding_attended_to": ({
        "visible-keys": changed(MASK, "items[:, None] & (near | sinks[:, None])",
                                "near | sinks[:, None] & items[:, None]"),
    }, ALL_OF_1),
    "padding_does_not_see_itself": ({
        "visible-keys": changed(MASK, "return seen | (distance == 0)", "return seen"),
    }, ALL_OF_1),
    "oldest_are_the_first_columns": ({
        "visible-keys": changed(MASK, "items.cumsum(1) <= SINKS", "(places < SINKS)[None]"),
    }, ALL_OF_1),
    "window_one_too_wide": ({
        "visible-keys": changed(MASK, "< WINDOW", "<= WINDOW"),
    }, ALL_OF_1),
    "window_alone": ({
        "visible-keys": changed(MASK, "near | sinks[:, None]", "near"),
    }, ALL_OF_1),
    "not_scaled": ({"attention": """
def attention(query, key, value, visible):
    weights = (query @ key.mT).masked_fill(~visible, -torch.inf).softmax(-1)
    return weights.masked_fill(~visible, 0) @ value
"""}, {"q2-example", "q2-random", "q3-random"}),
    "scaled_by_the_number_of_keys": ({"attention": """
def attention(query, key, value, visible):
    scores = query @ key.mT / key.shape[1] ** 0.5
    weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
    return weights.masked_fill(~visible, 0) @ value
"""}, {"q2-example", "q2-random", "q2-large", "q3-random"}),
    "softmax_over_the_queries": ({"attention": """
def attention(query, key, value, visible):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    weights = scores.masked_fill(~visible, -torch.inf).softmax(1)
    return weights.masked_fill(~visible, 0) @ value
"""}, {"q2-example", "q2-random", "q2-large", "q3-random"}),
    "mask_after_the_softmax": ({"attention": """
def attention(query, key, value, visible):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return scores.softmax(-1) * visible @ value
"""}, {"q2-example", "q2-random", "q2-large", "q2-nothing-seen", "q3-example", "q3-random"}),
    "hidden_scores_are_zero": ({"attention": """
def attention(query, key, value, visible):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return (scores * visible).softmax(-1) @ value
"""}, {"q2-example", "q2-random", "q2-large", "q2-nothing-seen", "q3-example", "q3-random"}),
    "small_finite_number_added": ({"attention": """
def attention(query, key, value, visible):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return (scores - 10_000 * ~visible).softmax(-1) @ value
"""}, {"q2-large", "q2-nothing-seen"}),
    "large_finite_number_filled_in": ({"attention": """
def attention(query, key, value, visible):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return scores.masked_fill(~visible, -1e9).softmax(-1) @ value
"""}, {"q2-nothing-seen"}),
    "exp_overflows": ({"attention": """
def attention(query, key, value, visible):
    grown = (query @ key.mT / query.shape[-1] ** 0.5).exp() * visible
    return grown / grown.sum(-1, keepdim=True).clamp(min=1e-30) @ value
"""}, {"q2-large"}),
    "nan_where_nothing_is_seen": ({"attention": """
def attention(query, key, value, visible):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return scores.masked_fill(~visible, -torch.inf).softmax(-1) @ value
"""}, {"q2-nothing-seen"}),
    "nan_replaced_in_the_result_alone": ({"attention": """
def attention(query, key, value, visible):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    return (scores.masked_fill(~visible, -torch.inf).softmax(-1) @ value).nan_to_num(0)
"""}, {"q2-nothing-seen"}),
    "scaled_by_all_columns": ({
        "multi-head": changed(HEADS, "attention(query[",
                              "attention(NUM_HEADS ** -0.5 * query["),
    }, {"q3-random"}),
    "heads_joined_in_the_wrong_order": ({
        "multi-head": changed(HEADS, "return joined", """\
return torch.cat([joined[..., own] for own in owned], -1)[..., other.flatten()]"""),
    }, {"q3-example", "q3-random"}),
    "heads_of_another_course": ({
        "multi-head": changed(HEADS, 'if HEAD_COLUMNS == "blocks" else',
                              'if HEAD_COLUMNS != "blocks" else'),
    }, {"q3-random"}),
    "one_head": ({"multi-head": """
def multi_head(inputs, weights, visible):
    query, key, value = (inputs @ weight.T for weight in weights[:3])
    return attention(query, key, value, visible) @ weights[3].T
"""}, {"q3-random"}),
    "matrices_transposed": ({
        "multi-head": HEADS.replace(".T for weight", " for weight").replace("[3].T", "[3]"),
    }, {"q3-random"}),
    "heads_detached": ({
        "multi-head": changed(HEADS, "= attention(query[",
                              "= attention(query.detach()["),
    }, {"q3-random"}),
    "positions_from_the_left": ({"embedded": """
def embedded(item_ids, item_table, position_table):
    item_ids = item_ids[:, -len(position_table):]
    summed = item_table[item_ids] + position_table[:item_ids.shape[1]]
    return summed * (item_ids != 0)[..., None]
"""}, {"q4-example", "q4-padding"}),
    "positions_from_the_oldest_item": ({"embedded": """
def embedded(item_ids, item_table, position_table):
    item_ids = item_ids[:, -len(position_table):]
    places = ((item_ids != 0).cumsum(1) - 1).clamp(min=0)
    return (item_table[item_ids] + position_table[places]) * (item_ids != 0)[..., None]
"""}, {"q4-example", "q4-padding"}),
    "end_of_the_table_of_another_course": ({"embedded": """
def embedded(item_ids, item_table, position_table):
    item_ids = item_ids[:, -len(position_table):]
    length = item_ids.shape[1]
    places = position_table[-length:] if NEWEST_ROW == 0 else position_table[:length].flip(0)
    return (item_table[item_ids] + places) * (item_ids != 0)[..., None]
"""}, {"q4-example", "q4-padding"}),
    "padding_keeps_its_position": ({"embedded": """
def embedded(item_ids, item_table, position_table):
    item_ids = item_ids[:, -len(position_table):]
    length = item_ids.shape[1]
    places = position_table[-length:] if NEWEST_ROW == -1 else position_table[:length].flip(0)
    return item_table[item_ids] * (item_ids != 0)[..., None] + places
"""}, {"q4-example", "q4-padding"}),
    "tables_that_cannot_be_trained": ({"embedded": """
def embedded(item_ids, item_table, position_table):
    ids, table = item_ids[:, -len(position_table):].numpy(), item_table.detach().numpy()
    places = position_table.detach().numpy()[::1 if NEWEST_ROW == -1 else -1][-ids.shape[1]:]
    return torch.from_numpy((table[ids] + places) * (ids != 0)[..., None])
"""}, {"q4-padding"}),
    "oldest_items_of_a_long_row_kept": ({"embedded": """
def embedded(item_ids, item_table, position_table):
    item_ids = item_ids[:, :len(position_table)]
    length = item_ids.shape[1]
    places = position_table[-length:] if NEWEST_ROW == -1 else position_table[:length].flip(0)
    return (item_table[item_ids] + places) * (item_ids != 0)[..., None]
"""}, {"q4-padding"}),
    "gradients_alone": ({"leaks": """
def leaks(encoder, inputs, item_ids):
    slopes = torch.autograd.functional.jacobian(lambda x: encoder(x, item_ids), inputs)
    depends = slopes.abs().amax((1, 3)) > 1e-10
    return {(q, k) for q in range(len(inputs)) for k in range(len(inputs))
            if depends[q, k] and item_ids[q] and (k > q or not item_ids[k])}
"""}, ALL_OF_5),
    "a_common_shift": ({
        "leaks": changed(LEAKS, "inputs[key].flip(0) ** 2 - 0.3", "inputs[key] + 1"),
    }, ALL_OF_5),
    "rounding_taken_for_a_leak": ({
        "leaks": changed(LEAKS, ".amax(1) > 1e-10", ".amax(1) > 0"),
    }, ALL_OF_5),
    "tolerance_too_large": ({
        "leaks": changed(LEAKS, "> 1e-10", "> 1e-2"),
    }, ALL_OF_5),
    "tolerance_of_a_millionth": ({
        "leaks": LEAKS.replace("item_ids):", "item_ids, tolerance=1e-6):").replace(
            "> 1e-10", "> tolerance"),
        "verdicts": changed(RIGHT["weights_by_exp_and_a_helper_cell_above"]["verdicts"],
                            "INPUTS, ROW)", "INPUTS, ROW, 1e-10)"),
    }, {"q5-encoders"}),
    "queries_at_padding_reported": ({
        "leaks": changed(LEAKS, "and item_ids[query] and", "and"),
    }, {"q5-example"} | ALL_OF_5),
    "padding_never_suspected": ({
        "leaks": changed(LEAKS, "(key > query or not item_ids[key])", "key > query"),
    }, {"q5-example"} | ALL_OF_5),
    "key_first": ({
        "leaks": changed(LEAKS, "add((query, key))", "add((key, query))"),
    }, {"q5-example"} | ALL_OF_5),
    "verdicts_of_last_year": ({"verdicts": """
verdicts = {
    "encoder_a": "all later items and padding", "encoder_b": "all later items",
    "encoder_c": "padding", "encoder_d": "the next item", "encoder_e": "all later items",
    "encoder_f": "nowhere", "encoder_g": "all later items",
}
"""}, {"q5-verdicts"}),
    "target_is_the_input": ({
        "leave-one-out": changed(SPLIT, "+ training[1:]", "+ training[:-1]"),
    }, ALL_OF_6),
    "validation_item_is_a_target": ({
        "leave-one-out": changed(SPLIT, "+ training[1:]", "+ sequence[2:-1]"),
    }, ALL_OF_6),
    "validation_item_trained_on": ({
        "leave-one-out": changed(SPLIT, "training = sequence[:-2]", "training = sequence[:-1]"),
    }, ALL_OF_6),
    "held_out_items_are_never_negatives": ({
        "leave-one-out": changed(SPLIT, "allowed[user, training]", "allowed[user, sequence]"),
    }, {"q6-negatives"}),
    "negatives_avoid_what_is_read_alone": ({
        "leave-one-out": changed(SPLIT, "allowed[user, training]",
                                 "allowed[user, training[-MAX_LENGTH - 1:]]"),
    }, {"q6-negatives"}),
    "oldest_items_of_a_long_history_kept": ({
        "leave-one-out": SPLIT.replace("training[:-1]", "training[:-1][:MAX_LENGTH]").replace(
            "training[1:]", "training[1:][:MAX_LENGTH]"),
    }, {"q6-negatives"}),
}
