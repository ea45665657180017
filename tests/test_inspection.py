"""Inspection: numbers that a loop gives too."""

import numpy as np
import pytest
import torch

from s3rec_mini import ModelConfig, S3Rec, load_dataset, planted_structure
from s3rec_mini.looking.inspection import (
    attention_by_distance,
    attention_maps,
    nearest_items,
    probe_attributes,
    project_embeddings,
)


@pytest.fixture
def model():
    """One with weights far from zero: its attention is far from even."""
    torch.manual_seed(0)
    model = S3Rec(ModelConfig(20, 3, hidden_size=8, num_layers=2, num_heads=2, max_length=6))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


ITEMS = [3, 1, 4, 15, 9]


# Attention


@pytest.mark.parametrize("causal", [False, True])
def test_attention_maps_are_what_the_model_returns(model, causal):
    maps = attention_maps(model, ITEMS, causal)
    _, expected = model.eval()(torch.tensor([ITEMS]), causal=causal, return_attention=True)
    assert maps.shape == (2, 2, 5, 5) and maps.dtype == torch.float32 and not maps.requires_grad
    assert torch.equal(maps, expected[:, 0])
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 5))
    above = torch.ones(5, 5, dtype=torch.bool).triu(1)
    assert bool((maps[:, :, above] == 0).all()) == causal


@torch.no_grad()
def test_attention_of_the_first_layer_is_equation_4_by_a_loop(model):
    states = model.item_embedding.weight[ITEMS] + model.position_embedding.weight[-5:]
    states = torch.nn.functional.layer_norm(
        states, (8,), model.embedding_norm.weight, model.embedding_norm.bias)
    projection = model.blocks[0].attention.query_key_value
    maps = attention_maps(model, ITEMS, causal=True)
    for head in range(2):
        rows = slice(4 * head, 4 * head + 4)
        query, key = (states @ projection.weight.view(3, 8, 8)[i, rows].T
                      + projection.bias.view(3, 8)[i, rows] for i in (0, 1))
        for q in range(5):
            grown = [float((query[q] @ key[k] / 2).exp()) for k in range(q + 1)]
            expected = [g / sum(grown) for g in grown] + [0] * (4 - q)
            assert maps[0, head, q].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_attention_maps_know_no_dropout_and_restore_the_mode(model, training):
    model.train(training)
    assert torch.equal(attention_maps(model, ITEMS), attention_maps(model, ITEMS))
    assert model.training is training and model.blocks[0].dropout.training is training


def test_attention_maps_read_the_newest_items_in_any_kind_of_list(model):
    long = [7, 7, 7, *ITEMS, 2]  # six positions are learned
    expected = attention_maps(model, long[-6:])
    for items in (long, tuple(long), np.array(long), np.array(long, dtype=np.int32)):
        assert torch.equal(attention_maps(model, items), expected)


def test_attention_maps_read_a_sequence_of_a_dataset_without_a_warning(model):
    data, _ = planted_structure(num_users=3, num_groups=2, items_per_group=10)
    torch.set_warn_always(True)  # else only the first one in a process is seen
    try:
        attention_maps(model, data.sequences[0])
    finally:
        torch.set_warn_always(False)


@pytest.mark.parametrize("items, complaint", [([], "at least one item"), ([22], "item id 22"),
                                              ([-1, 3], "item id -1")])
def test_attention_of_nothing_or_of_unknown_items_is_an_error(model, items, complaint):
    with pytest.raises(ValueError, match=complaint):
        attention_maps(model, items)


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_distance_is_a_mean_over_a_loop(model, causal):
    rng = np.random.default_rng(0)
    sequences = [rng.integers(1, 21, n) for n in (2, 3, 4, 5, 9)]
    frame = attention_by_distance(model, sequences, length=4, causal=causal)
    assert list(frame) == ["layer", "head", "query", "distance", "weight"]
    pairs = {(q, q - k) for q in range(1, 5) for k in range(1, 5) if k <= q or not causal}
    assert set(zip(frame["query"], frame["distance"], strict=True)) == pairs
    assert len(frame) == 2 * 2 * len(pairs)
    for row in frame.itertuples():
        seen = []
        for sequence in sequences:
            if len(sequence) >= 4:  # three of the five
                maps = attention_maps(model, sequence[-4:], causal)[row.layer - 1, row.head - 1]
                seen.append(float(maps[row.query - 1, row.query - 1 - row.distance]))
        assert len(seen) == 3
        assert row.weight == pytest.approx(np.mean(seen), abs=1e-6)
    per_query = frame.groupby(["layer", "head", "query"])["weight"].sum()
    assert per_query.to_numpy() == pytest.approx(np.ones(16), abs=1e-5)


def test_attention_by_distance_of_many_users_is_the_mean_over_their_parts(model):
    rng = np.random.default_rng(2)
    sequences = [rng.integers(1, 21, 3) for _ in range(700)]  # three passes
    whole = attention_by_distance(model, sequences, 3)["weight"]
    parts = [attention_by_distance(model, part, 3)["weight"] * len(part)
             for part in (sequences[:100], sequences[100:])]
    assert whole.to_numpy() == pytest.approx((sum(parts) / 700).to_numpy(), abs=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_attention_by_distance_knows_no_dropout_and_restores_the_mode(model, training):
    model.train(training)
    first, second = (attention_by_distance(model, [ITEMS], 5) for _ in range(2))
    assert first.equals(second) and model.training is training


def test_attention_by_distance_needs_a_sequence_that_is_long_enough(model):
    with pytest.raises(ValueError, match="no sequence has 4 items"):
        attention_by_distance(model, [np.array([1, 2, 3])], length=4)


@pytest.mark.parametrize("length", [0, 7])
def test_attention_by_distance_needs_a_length_that_the_model_reads(model, length):
    with pytest.raises(ValueError, match=r"length must .*6"):
        attention_by_distance(model, [np.arange(1, 10), np.arange(1, 9)], length=length)


# Embeddings


@pytest.fixture(scope="module")
def films():
    return load_dataset("movielens-small")


@pytest.fixture(scope="module")
def film_model(films):
    torch.manual_seed(1)
    return S3Rec(ModelConfig.for_dataset(films, hidden_size=8))


def test_nearest_items_are_those_of_a_loop_over_cosines(films, film_model):
    vectors = film_model.item_embedding.weight.detach().double().numpy()
    item = films.item_id("Toy Story (1995)")
    cosines = {i: vectors[i] @ vectors[item] / np.linalg.norm(vectors[i])
               / np.linalg.norm(vectors[item])
               for i in range(1, films.num_items + 1) if i != item}
    best = sorted(cosines, key=cosines.get, reverse=True)[:7]
    near = nearest_items(film_model, films, "Toy Story (1995)", k=7)
    assert near["item"].tolist() == best
    assert near["name"].tolist() == [films.item_names[i] for i in best]
    assert near["cosine"].tolist() == pytest.approx([cosines[i] for i in best], abs=1e-5)


@pytest.mark.parametrize("kind", [int, np.int64])
def test_nearest_items_takes_an_id_as_well_as_a_name(films, film_model, kind):
    item = films.item_id("Toy Story (1995)")
    named = nearest_items(film_model, films, "Toy Story (1995)")
    assert nearest_items(film_model, films, kind(item)).equals(named)


def test_nearest_items_never_returns_padding_mask_or_the_item(films, film_model):
    near = nearest_items(film_model, films, films.item_names[5], k=10**6)
    assert sorted(near["item"]) == [i for i in range(1, films.num_items + 1) if i != 5]


@pytest.mark.parametrize("k", [0, -1, True, 2.0, "3"])
def test_nearest_items_are_as_many_as_a_whole_number_says(films, film_model, k):
    with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
        nearest_items(film_model, films, 1, k)


def test_nearest_items_of_an_unknown_title_suggest_one(films, film_model):
    with pytest.raises(ValueError, match="did you mean 'Toy Story"):
        nearest_items(film_model, films, "toy story")


def test_pca_is_the_singular_value_decomposition_up_to_signs():
    vectors = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [9.0, 5.0, 1.0, 1.0, 0.5, 0.1])
    centred = (vectors - vectors.mean(0)).double().numpy()
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * scale[:2]
    for given in (vectors, vectors.numpy(), torch.nn.Parameter(vectors)):
        points = project_embeddings(given)
        assert points.shape == (30, 2)
        signs = np.sign((points * expected).sum(0))
        assert points * signs == pytest.approx(expected, abs=1e-4)


def test_tsne_keeps_planted_clusters_together_and_follows_its_seed():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(3), 12)
    vectors = rng.normal(size=(36, 5)).astype(np.float32) + 12 * np.eye(5)[groups]
    points = project_embeddings(vectors, "tsne", seed=1)
    assert points.shape == (36, 2)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argsort(1)[:, :5]
    assert (groups[nearest] == groups[:, None]).all()
    assert np.array_equal(points, project_embeddings(vectors, "tsne", seed=1))


def test_three_vectors_are_enough_for_either_map():
    vectors = np.eye(3, 4, dtype=np.float32)
    for method in ("pca", "tsne"):
        assert np.isfinite(project_embeddings(vectors, method)).all()
        with pytest.raises(ValueError, match="at least three vectors, not 2"):
            project_embeddings(vectors[:2], method)
    with pytest.raises(ValueError, match='"pca" or "tsne", not \'umap\''):
        project_embeddings(vectors, "umap")


# Probes


def planted(num_items=400, size=16, strength=3.0, seed=0):
    """Four groups of items, an attribute each, that vectors show by a shift in one direction."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(4, size=num_items)
    directions = np.linalg.qr(rng.normal(size=(size, size)))[0][:4]
    vectors = rng.normal(size=(num_items, size)) + strength * directions[groups]
    table = torch.zeros(num_items + 2, 5, dtype=torch.uint8)
    table[np.arange(1, num_items + 1), groups + 1] = 1
    return vectors, table


def test_a_probe_reads_planted_groups_and_its_control_does_not():
    vectors, table = planted()
    frame = probe_attributes(vectors, table)
    assert list(frame) == ["attribute", "positives", "auc", "control_auc"]
    assert frame["attribute"].tolist() == [1, 2, 3, 4]  # column 0 is no attribute
    assert frame["positives"].tolist() == table.sum(0)[1:].tolist()
    assert frame["auc"].min() > 0.97
    assert abs(frame["control_auc"].mean() - 0.5) < 0.1


def test_a_probe_finds_as_much_as_a_shift_in_one_direction_allows():
    # Of two normal groups shifted by s, the best direction orders a pair with probability Φ(s/√2).
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=20_000)
    vectors = rng.normal(size=(20_000, 3)) + label[:, None] * np.array([0.6, 0.0, 0.8])
    table = torch.zeros(20_002, 2, dtype=torch.uint8)
    table[1:-1, 1] = torch.from_numpy(label)
    frame = probe_attributes(vectors, table)
    expected = 0.5 * (1 + torch.erf(torch.tensor(1 / 2.0))).item()  # Φ(1/√2) = (1 + erf(1/2)) / 2
    assert frame["auc"][0] == pytest.approx(expected, abs=0.02)


def test_a_probe_of_random_vectors_finds_nothing():
    _, table = planted(num_items=1000)
    rng = np.random.default_rng(1)
    found = [probe_attributes(rng.normal(size=(1000, 8)), table, seed)["auc"].mean()
             for seed in range(3)]
    assert abs(np.mean(found) - 0.5) < 0.04


def test_vectors_that_name_their_items_tell_a_probe_nothing_of_other_items():
    # A vector that names its item (one-hot) tells nothing of other items: no probe generalises.
    _, table = planted(num_items=200)
    frame = probe_attributes(np.eye(200), table)
    assert frame["auc"].tolist() == pytest.approx([0.5] * 4)
    assert frame["control_auc"].tolist() == pytest.approx([0.5] * 4)


def test_a_probe_is_judged_on_items_it_was_not_trained_on_by_counting_pairs():
    vectors, table = planted(strength=1.0)
    frame = probe_attributes(vectors, table, seed=3)
    order = np.random.default_rng(3).permutation(400)
    train, test = order[:280], order[280:]
    x = (vectors - vectors[train].mean(0)) / vectors[train].std(0)
    x = torch.from_numpy(np.column_stack([x, np.ones(400)]))
    for row in frame.itertuples():
        y = table[1:-1, row.attribute].double()
        weights = torch.zeros(17, dtype=torch.float64)
        for _ in range(20):  # Newton's method for the penalised likelihood; no penalty on the bias
            p = torch.sigmoid(x[train] @ weights)
            penalty = torch.eye(17, dtype=torch.float64)
            penalty[-1, -1] = 0
            slope = x[train].T @ (p - y[train]) + penalty @ weights
            curvature = (x[train].T * (p * (1 - p))) @ x[train] + penalty
            weights = weights - torch.linalg.solve(curvature, slope)
        scores = (x @ weights)[test]
        has = y[test] == 1
        pairs = (scores[has][:, None] > scores[~has][None]).double()
        assert row.auc == pytest.approx(float(pairs.mean()), abs=0.005)


def test_a_probe_follows_its_seed_and_takes_tensors_and_parameters(film_model, films):
    vectors = film_model.item_embedding.weight[1:-1]
    first = probe_attributes(vectors, films.item_attributes)
    assert first.equals(probe_attributes(vectors.detach().numpy(), films.item_attributes))
    assert not first.equals(probe_attributes(vectors, films.item_attributes, seed=1))
    assert len(first) > 20 and first["positives"].min() >= 20


def test_rare_attributes_and_those_of_nearly_all_are_left_out():
    vectors, table = planted(num_items=200)
    table[1:-1, 3] = 0
    table[1:20, 3] = 1  # 19 items
    table[1:-1, 4] = 1
    table[1:20, 4] = 0  # 181 of 200
    assert probe_attributes(vectors, table)["attribute"].tolist() == [1, 2]
    table[1:-1] = 0
    with pytest.raises(ValueError, match=r"no attribute .*20 items"):
        probe_attributes(vectors, table)


@pytest.mark.parametrize("spoil, complaint", [
    (lambda v: v[:-1], r"vectors must be \(400, H\).*not \(399, 16\)"),
    (lambda v: v[:, 0], r"vectors must be \(400, H\).*not \(400,\)"),
    (lambda v: np.where(np.arange(16) == 3, np.nan, v), "NaN"),
    (lambda v: np.where(np.arange(16) == 3, np.inf, v), "infinite"),
])
def test_vectors_that_cannot_be_probed_are_an_error(spoil, complaint):
    vectors, table = planted()
    with pytest.raises(ValueError, match=complaint):
        probe_attributes(spoil(vectors), table)


# Numbers and flags of other kinds


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_any_type_of_float_can_be_looked_into(model, kind):
    data, _ = planted_structure(num_users=30, num_groups=4, items_per_group=5)
    model = S3Rec(ModelConfig.for_dataset(data, hidden_size=8, max_length=6)).to(kind)
    maps = attention_maps(model, ITEMS)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 5), atol=0.02, rtol=0)
    assert attention_by_distance(model, data.sequences, 3)["weight"].between(0, 1).all()
    assert nearest_items(model, data, 3)["cosine"].between(-1.01, 1.01).all()
    assert project_embeddings(model.item_vectors).shape == (20, 2)


def test_the_text_false_is_no_flag(model):
    with pytest.raises(ValueError, match="causal must be True or False, not 'False'"):
        attention_maps(model, ITEMS, causal="False")
