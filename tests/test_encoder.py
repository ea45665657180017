"""The encoder: equal to torch's own layers, blind to padding and the future, safe on the disk."""

import errno
import json
import os
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from conftest import Bomb, full_disk, make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import s3rec_mini as s3
from s3rec_mini import encoder
from s3rec_mini.encoder import ModelConfig, S3Rec
from s3rec_mini.tools import fast, files
from s3rec_mini.tools.dropout import Dropout
from s3rec_mini.tools.fast import item_states, newest_states, packed
from s3rec_mini.tools.files import load_weights
from s3rec_mini.tools.vocabulary import Vocabulary

SIZES = [  # hidden size, layers, heads, length
    pytest.param(8, 1, 1, 3, id="smallest"),
    pytest.param(12, 3, 4, 7, id="deep"),
    pytest.param(6, 2, 6, 1, id="one-position"),
    pytest.param(64, 2, 2, 50, id="paper"),
]
both_directions = pytest.mark.parametrize("causal", [False, True], ids=["both-ways", "causal"])


def padded(lengths, width, num_items=12, seed=0):
    """Return a random sequence a row, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(1, num_items + 1, (n,), generator=generator) for n in lengths]
    return torch.stack([F.pad(row, (width - len(row), 0)) for row in rows])


def gradients(model, value):
    """Return the gradient of each parameter, zero where there is none."""
    return torch.autograd.grad(value, list(model.parameters()), allow_unused=True,
                               materialize_grads=True)


def weighed(states, where):
    """Bring states to one number in which each counts differently."""
    weights = torch.linspace(-1, 1, states.numel(), dtype=states.dtype).view_as(states)
    return (states * weights)[where].sum()


def torch_layers(model):
    """Build torch's own post-norm layers, which share the parameters of the model's blocks."""
    layers = []
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(
            model.config.hidden_size, model.config.num_heads, 4 * model.config.hidden_size,
            dropout=0, activation="gelu", layer_norm_eps=1e-12, batch_first=True).double()
        layer.self_attn.in_proj_weight = block.attention.query_key_value.weight
        layer.self_attn.in_proj_bias = block.attention.query_key_value.bias
        for theirs, ours in [(layer.self_attn.out_proj, block.attention.output),
                             (layer.linear1, block.expand), (layer.linear2, block.contract),
                             (layer.norm1, block.attention_norm),
                             (layer.norm2, block.feed_forward_norm)]:
            theirs.weight, theirs.bias = ours.weight, ours.bias
        layers.append(layer)
    return layers


def encoded_by_torch(model, sequence, causal):
    """Encode one sequence that has no padding. Returns (n, H)."""
    length = len(sequence)
    states = model.item_embedding.weight[sequence]
    states = states + model.position_embedding.weight[model.max_length - length:]
    norm = model.embedding_norm
    states = F.layer_norm(states, states.shape[-1:], norm.weight, norm.bias, 1e-12)[None]
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1) if causal else None
    for layer in torch_layers(model):
        states = layer(states, src_mask=hidden)
    return states[0]


@both_directions
@pytest.mark.parametrize("hidden_size, num_layers, num_heads, length", SIZES)
def test_the_encoder_equals_torchs_own_layers_on_each_sequence_without_its_padding(
        hidden_size, num_layers, num_heads, length, causal):
    model = make_model(hidden_size=hidden_size, num_layers=num_layers, num_heads=num_heads,
                       max_length=length)
    items = padded([length, (length + 1) // 2, 1], length)
    real = items != 0
    states = model(items, causal=causal)
    assert states.shape == (3, length, hidden_size)
    expected = torch.zeros_like(states)
    expected[real] = torch.cat([encoded_by_torch(model, row[row != 0], causal) for row in items])
    torch.testing.assert_close(states[real], expected[real], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradients(model, weighed(states, real)),
                               gradients(model, weighed(expected, real)), rtol=1e-7, atol=1e-9)


def test_the_authors_causal_states_come_out(authors_model, golden_batch):
    batch, numbers = golden_batch
    with torch.no_grad():
        last = authors_model(batch.items, causal=True)[:, -1]
    torch.testing.assert_close(last, torch.from_numpy(numbers["finetune_last_state"]),
                               rtol=0, atol=1e-4)


@given(st.integers(0, 8), st.integers(0, 1000))
def test_the_future_never_reaches_a_causal_state(position, seed):
    model = make_model()
    items = padded([10, 6], 10, seed=seed)
    changed = items.clone()
    changed[:, position + 1:] = items[:, position + 1:] % 12 + 1  # another item, each
    now = slice(0, position + 1)
    torch.testing.assert_close(model(changed, causal=True)[:, now][items[:, now] != 0],
                               model(items, causal=True)[:, now][items[:, now] != 0])
    # Without the mask the future does arrive, so the comparison above can fail.
    assert not torch.allclose(model(changed)[0, now], model(items)[0, now])


def test_no_gradient_flows_from_a_causal_state_to_a_later_item():
    model = make_model()
    items = torch.arange(1, 11)[None]
    (gradient,) = torch.autograd.grad(model(items, causal=True)[0, 4].square().sum(),
                                      model.item_embedding.weight)
    assert gradient[1:6].abs().sum(1).gt(0).all()
    assert gradient[6:].abs().max() == 0


@both_directions
@given(extra=st.integers(1, 20))
def test_more_padding_changes_no_real_position(causal, extra):
    model = make_model()
    items = padded([10, 6, 1], 10)
    wider = F.pad(items, (extra, 0))
    real = items != 0
    states, wide = model(items, causal=causal), model(wider, causal=causal)[:, extra:]
    torch.testing.assert_close(wide[real], states[real])
    torch.testing.assert_close(gradients(model, weighed(wide, real)),
                               gradients(model, weighed(states, real)))


def test_the_padding_items_own_embedding_reaches_no_real_position():
    model = make_model()
    items = padded([10, 6, 1], 10)
    before = model(items)
    with torch.no_grad():
        model.item_embedding.weight[0] += 100
    torch.testing.assert_close(model(items)[items != 0], before[items != 0])


@both_directions
def test_the_path_that_returns_attention_equals_the_fused_one(causal):
    model = make_model()
    items = padded([10, 6, 1, 0], 10)  # the last row is padding and nothing else
    everywhere = torch.ones_like(items, dtype=torch.bool)
    fused = model(items, causal=causal)
    plain, attention = model(items, causal=causal, return_attention=True)
    assert attention.shape == (2, 4, 2, 10, 10)
    assert fused.isfinite().all()
    torch.testing.assert_close(plain, fused)
    ours = gradients(model, weighed(fused, everywhere))
    assert all(gradient.isfinite().all() for gradient in ours)
    torch.testing.assert_close(gradients(model, weighed(plain, everywhere)), ours)
    # Training takes the plain path on a CPU; without dropout it is the same function.
    torch.testing.assert_close(model.train()(items, causal=causal), fused)


@both_directions
@given(lengths=st.lists(st.integers(1, 10), min_size=1, max_size=5))
def test_attention_sums_to_one_and_none_of_it_goes_to_padding_or_the_future(causal, lengths):
    items = padded(lengths, 10)
    _, attention = make_model()(items, causal=causal, return_attention=True)
    torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention[..., 0]))
    for row, length in enumerate(lengths):
        start = 10 - length
        seen = attention[:, row, :, start:]  # (layers, heads, real queries, keys)
        assert seen[..., :start].eq(0).all()
        if causal:
            assert seen[..., start:].triu(1).eq(0).all()
            assert seen[..., start:].diagonal(dim1=-2, dim2=-1).gt(0).all()
        else:
            assert seen[..., start:].gt(0).all()


@both_directions
@pytest.mark.parametrize("training", [True, False])  # the plain attention and the fused one
@pytest.mark.parametrize("whole", [0, 1, 3, 4])
def test_states_of_the_newest_items_are_those_of_the_whole_pass(causal, training, whole):
    model = make_model().train(training)
    items = padded([10, 6, 1, 3], 10)
    states = model(items, causal=causal)
    first, newest = newest_states(model, items, whole, causal)
    assert first.shape == (whole, 10, 8) and newest.shape == (4 - whole, 8)
    ours = torch.cat([first.flatten(), newest.flatten()])
    expected = torch.cat([states[:whole].flatten(), states[whole:, -1].flatten()])
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(gradients(model, weighed(ours, slice(None))),
                               gradients(model, weighed(expected, slice(None))))


@both_directions
@pytest.mark.parametrize("training", [True, False])  # the plain attention and the fused one
@given(lengths=st.lists(st.integers(0, 10), min_size=1, max_size=130))
@settings(max_examples=15)
def test_states_of_items_alone_are_those_of_the_padded_pass(causal, training, lengths):
    model = make_model().train(training)
    items = padded(lengths, 10)
    positions = items.flatten().nonzero().squeeze(1)
    states = model(items, causal=causal).flatten(0, 1)[positions]
    ours = item_states(model, items, positions, causal)
    torch.testing.assert_close(ours, states)
    torch.testing.assert_close(gradients(model, weighed(ours, slice(None))),
                               gradients(model, weighed(states, slice(None))))


def test_items_alone_are_encoded_elsewhere_as_well():
    items = padded([10, 6], 10)
    positions = items.flatten().nonzero().squeeze(1)
    states = item_states(make_model().to("meta"), items.to("meta"), positions.to("meta"))
    assert states.shape == (16, 8) and states.device.type == "meta"


@given(st.integers(1, 50).flatmap(lambda width: st.tuples(
    st.just(width), st.lists(st.integers(0, width), min_size=1, max_size=300))))
def test_packed_sequences_share_rows_and_no_place(example):
    width, lengths = example
    ends, rows = packed(lengths, width)
    taken = [place for end, length in zip(ends, lengths, strict=True)
             for place in range(end - length, end)]
    assert len(set(taken)) == len(taken) == sum(lengths)
    assert all(0 <= place < rows * width for place in taken)
    for end, length in zip(ends, lengths, strict=True):  # nobody's sequence is broken over two rows
        assert not length or (end - length) // width == (end - 1) // width


def test_packed_rows_of_long_tailed_lengths_are_nearly_full():
    # Lengths as in the data: half of them 1 to 4, few of them long.
    lengths = [1 + int(1.3 / (1 - u)) for u in torch.linspace(0, 0.97, 256).tolist()]
    _, rows = packed(lengths, max(lengths))
    assert rows * max(lengths) < 1.05 * sum(lengths)


def test_attention_is_the_softmax_of_scaled_products():
    model = make_model(num_layers=1, num_heads=2, hidden_size=8)
    items = padded([3], 3)
    _, attention = model(items, return_attention=True)
    positions = model.position_embedding.weight[-3:]
    states = model.embedding_norm(model.item_embedding(items) + positions)
    weight, bias = (p.split(8) for p in model.blocks[0].attention.query_key_value.parameters())
    for head in (slice(0, 4), slice(4, 8)):
        query, key = ((states[0] @ weight[i].T + bias[i])[:, head] for i in (0, 1))
        for q in range(3):
            scores = torch.stack([query[q] @ key[k] / 2 for k in range(3)])  # 2 = sqrt(8 / 2 heads)
            torch.testing.assert_close(attention[0, 0, head.start // 4, q],
                                       scores.exp() / scores.exp().sum())


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_dropout_drops_its_share_and_keeps_the_mean(probability):
    torch.manual_seed(0)
    ones = torch.ones(401, 997)  # not a multiple of eight
    dropped = Dropout(probability).train()(ones)
    assert abs(dropped.eq(0).double().mean() - probability) < 1 / 256
    assert abs(dropped.double().mean() - 1) < (0.01 if probability < 0.99 else 0.1)
    assert len(dropped.unique()) == 2  # 0, and one value for all that stay


def test_dropout_of_zero_changes_nothing():
    x = torch.randn(30, 7)
    assert Dropout(0).train()(x).equal(x)


def test_dropout_follows_the_seed_and_differs_from_call_to_call():
    dropout, x = Dropout(0.5).train(), torch.randn(50, 20)
    torch.manual_seed(1)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(1)
    assert dropout(x).equal(first)
    assert not second.equal(first)
    torch.manual_seed(2)
    assert not dropout(x).equal(first)


def test_dropout_treats_rows_columns_and_neighbours_independently():
    torch.manual_seed(0)
    kept = Dropout(0.5).train()(torch.ones(4096, 64)).gt(0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(64)
    assert correlation.abs().max() < 0.09  # 2,016 pairs, a standard error of 1/64


def test_dropout_is_off_in_evaluation_and_its_gradient_is_its_mask():
    x = torch.randn(40, 30, requires_grad=True)
    assert Dropout(0.5).eval()(x) is x
    dropped = Dropout(0.5).train()(x)
    (gradient,) = torch.autograd.grad(dropped.sum(), x)
    torch.testing.assert_close(gradient * x, dropped)


def test_a_model_drops_in_training_only():
    model = make_model(dropout=0.5)
    items = padded([10, 6], 10)
    assert model(items).equal(model(items))
    assert not model.train()(items).equal(model(items))


def test_dropout_reaches_embeddings_attention_and_both_halves_of_a_block():
    model = make_model(dropout=0.5).train()
    calls = []
    for name, module in model.named_modules():
        if isinstance(module, Dropout):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    model(padded([5], 5))
    block = ["attention.weight_dropout", "dropout", "dropout"]
    assert calls == ["dropout", *(f"blocks.{n}.{part}" for n in (0, 1) for part in block)]


def test_scores_of_candidates_are_columns_of_the_full_scores():
    model = make_model()
    states = model(padded([10, 6], 10))[:, -1]
    scores = model.score(states)
    candidates = torch.tensor([[3, 1, 3, 12], [7, 0, 13, 2]])
    assert scores.shape == (2, 14)
    torch.testing.assert_close(model.score(states, candidates), scores.gather(1, candidates))
    torch.testing.assert_close(scores[1, 5], sum(model.item_embedding.weight[5] * states[1]))


def test_integers_of_32_bits_do_as_well():
    model, items = make_model(), padded([10, 6], 10)
    assert model(items.int()).equal(model(items))


@pytest.mark.parametrize("items, error, message", [
    (torch.ones(2, 3), TypeError, "must be whole numbers, .*not torch.float32"),
    (torch.ones(2, 3, dtype=torch.bool), TypeError, "must be whole numbers, .*not torch.bool"),
    (torch.ones(3, dtype=torch.int64), ValueError, r"must be \(B, L\).*not \(3,\)"),
    (torch.ones(1, 2, 3, dtype=torch.int64), ValueError, r"must be \(B, L\).*not \(1, 2, 3\)"),
    (torch.ones(2, 0, dtype=torch.int64), ValueError, r"1 <= L <= 6.*not \(2, 0\)"),
    (torch.ones(2, 7, dtype=torch.int64), ValueError, r"<= 6 .*\(2, 7\): keep the newest items"),
    (torch.tensor([[1, -1]]), ValueError, "item id -1 is outside 0…13"),
    (torch.tensor([[0, 1], [1, 0]]), ValueError, "padding .0. after an item: pad on the left"),
    (torch.tensor([[1, 14]]), ValueError, "item id 14 is outside 0…13.*13 masks"),
    (torch.ones(2, 3, dtype=torch.int64, device="meta"), ValueError,
     r"on meta, the model on cpu: use item_ids.to\(model.device\)"),
])
def test_items_that_do_not_fit_are_refused_with_one_clear_message(items, error, message):
    with pytest.raises(error, match=message):
        make_model(max_length=6)(items)


@pytest.mark.parametrize("ids", [
    [[3, 1, 4]], np.array([[3, 1, 4]]), np.array([[3, 1, 4]], dtype=np.uint16),
    pd.DataFrame([[3, 1, 4]]), torch.tensor([[3, 1, 4]], dtype=torch.int16)])
def test_ids_may_come_in_whatever_holds_whole_numbers(ids):
    model, expected = make_model(), torch.tensor([[3, 1, 4]])
    states = model(expected)
    assert model(ids).equal(states)
    assert model.score(states[:, -1], ids).equal(model.score(states[:, -1], expected))


@pytest.mark.parametrize("ids", [np.array([[3.0, 1.0]]), [["3", "1"]], [[3, None]],
                                 np.array([[True, True]]), pd.DataFrame([["a", "b"]])])
def test_what_holds_no_whole_numbers_is_refused_wherever_ids_are_taken(ids):
    model = make_model()
    for take in (model, lambda ids: model.score(torch.ones(1, 8), ids)):
        with pytest.raises(TypeError, match=r"must be whole numbers, such as torch\.int64, not"):
            take(ids)


@pytest.mark.parametrize("flag", ["False", "no", 0, None])
@pytest.mark.parametrize("name", ["causal", "return_attention"])
def test_a_flag_is_a_bool(name, flag):
    model = make_model()
    with pytest.raises(ValueError, match=f"{name} must be True or False, not {flag!r}"):
        model(torch.tensor([[1, 2]]), **{name: flag})
    if name == "causal":
        for read in (fast.newest_states, lambda *rest, **more: fast.item_states(
                *rest, torch.tensor([0, 1]), **more)):
            with pytest.raises(ValueError, match="causal must be True or False"):
                read(model, torch.tensor([[1, 2]]), causal=flag)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_any_type_of_float_scores_states_of_any_other(kind):
    plain = make_model(hidden_size=4)
    model, items = make_model(hidden_size=4).to(kind), torch.tensor([[3, 1, 4]])
    for states in (model(items)[:, -1], plain(items)[:, -1]):
        expected = plain.score(plain(items)[:, -1])
        torch.testing.assert_close(model.score(states).double(), expected, atol=0.1, rtol=0.1)
        assert model.score(states, items).dtype == kind


@pytest.mark.parametrize("field, value", [
    ("num_items", 1), ("num_items", 5.0), ("num_items", "5"), ("num_attributes", -1),
    ("hidden_size", 0), ("num_layers", 0), ("num_heads", 0), ("max_length", 0), ("dropout", 1.0),
    ("dropout", -0.1), ("dropout", float("nan")), ("hidden_size", None), ("dropout", "half"),
    ("num_items", 10**30), ("hidden_size", 2**40), ("num_layers", 10**9), ("num_heads", True),
])
def test_a_size_out_of_range_is_named(field, value):
    with pytest.raises(ValueError, match=rf"{field} must .*{value!r}"):
        ModelConfig(**(dict(num_items=10, num_attributes=3) | {field: value}))


def test_heads_must_share_the_hidden_size():
    with pytest.raises(ValueError, match="hidden_size 64 must be a multiple of num_heads 3"):
        ModelConfig(10, 3, num_heads=3)


def test_a_config_is_the_papers_unless_told_otherwise_and_does_not_change():
    config = ModelConfig(10, 3)
    assert (config.hidden_size, config.num_layers, config.num_heads) == (64, 2, 2)
    assert (config.max_length, config.dropout) == (50, 0.5)
    with pytest.raises(AttributeError):
        config.dropout = 0.1


def test_new_weights_are_small_and_follow_the_seed():
    torch.manual_seed(3)
    model = S3Rec(ModelConfig(500, 40))
    torch.manual_seed(3)
    again = S3Rec(ModelConfig(500, 40)).state_dict()
    assert all(value.equal(again[name]) for name, value in model.state_dict().items())
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            assert value.eq(0).all(), name
        elif "norm" in name:
            assert value.eq(1).all(), name
        else:
            assert abs(value.std() - 0.02) < 0.001, name
    assert model.item_embedding.weight[0].eq(0).all()
    assert model.attribute_embedding.weight[0].eq(0).all()


# --- on the disk -------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """Return a float32 model and the file it was saved to."""
    model = make_model(dropout=0.25).float()
    path = tmp_path / "models" / "model.safetensors"  # in a folder that is not there yet
    model.save(path)
    return model, path


def same_weights(one, other):
    theirs = other.state_dict()
    return all(value.equal(theirs[name]) for name, value in one.state_dict().items())


def test_a_saved_model_comes_back_bit_for_bit_and_ready_to_evaluate(saved):
    model, path = saved
    loaded = S3Rec.load(path)
    assert loaded.config == model.config
    assert not loaded.training
    assert same_weights(model, loaded)
    assert os.listdir(path.parent) == ["model.safetensors"]
    items = padded([10, 6], 10)
    assert loaded(items).equal(model(items))


def test_float16_halves_the_file_and_comes_back_as_float32(saved):
    model, path = saved
    half = path.with_name("half.safetensors")
    model.save(half, dtype=torch.float16)
    assert {value.dtype for value in load_file(half).values()} == {torch.float16}
    loaded = S3Rec.load(half)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].equal(value.half().float()), name
    assert same_weights(model, S3Rec.load(path))  # saving did not change the model


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.safetensors"):
        S3Rec.load(tmp_path / "nowhere.safetensors")


@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    make_model(hidden_size=2).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(ValueError, match="not a safetensors file of s3rec_mini, or it is damaged"):
        S3Rec.load(path)


@given(st.binary(max_size=200))
def test_noise_is_refused(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "model.safetensors"
    path.write_bytes(noise)
    with pytest.raises(ValueError, match="not a safetensors file of s3rec_mini"):
        S3Rec.load(path)


@pytest.mark.parametrize("metadata, message", [
    (None, "not a safetensors file of s3rec_mini"),
    ({"format": "pt"}, "not a safetensors file of s3rec_mini"),
    ({"s3rec_mini": "{"}, "not a safetensors file of s3rec_mini"),
    ({"s3rec_mini": "[]"}, "no valid model config"),
    ({"s3rec_mini": "{}"}, "no valid model config"),
    ({"s3rec_mini": json.dumps({"run": {}, "history": []})}, r"\(a checkpoint\?\)"),
    ({"s3rec_mini": json.dumps({"config": {"num_items": 5}})}, "no valid model config"),
    ({"s3rec_mini": json.dumps({"config": {"num_items": 0, "num_attributes": 1}})},
     "no valid model config.*num_items"),
    ({"s3rec_mini": json.dumps({"config": {"num_items": 5, "num_attributes": 1, "speed": 1}})},
     "no valid model config.*speed"),
])
def test_somebody_elses_safetensors_file_is_refused(tmp_path, metadata, message):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(2)}, path, metadata)
    with pytest.raises(ValueError, match=message):
        S3Rec.load(path)


def test_weights_of_other_sizes_are_refused_and_the_first_is_named(saved):
    model, path = saved
    metadata = {"s3rec_mini": json.dumps({"config": vars(ModelConfig(12, 4, hidden_size=16))})}
    save_file(load_file(path), path, metadata)
    with pytest.raises(ValueError, match=r"does not fit the model: \d+ tensors differ.*aap_head"):
        S3Rec.load(path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"other\.pt does not fit .*first is speed, \(1,\) there"):
        load_weights(model, before | {"speed": torch.ones(1)}, source="other.pt")
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def with_config(path, other, **changes):
    """Write the tensors of a model file beside a config with other sizes, as `save` would."""
    tensors, metadata = encoder.read_tensors(path)
    encoder.write_tensors(other, tensors, {"config": metadata["config"] | changes})
    return other


@pytest.mark.parametrize("claim", [
    dict(num_items=10**9), dict(num_attributes=10**9), dict(max_length=10**6, hidden_size=10**5),
    dict(num_layers=100), dict(hidden_size=10**5), dict(num_items=13)])
def test_a_small_file_that_claims_much_is_refused_before_it_takes_any_memory(
        saved, claim, monkeypatch):
    _, path = saved
    large = with_config(path, path.with_name("large.safetensors"), **claim)
    taken = []
    monkeypatch.setattr(encoder.nn.init, "normal_", lambda weight, **_: taken.append(weight.device))
    with pytest.raises(ValueError, match=r"large\.safetensors does not fit the model: \d+ tensors"):
        S3Rec.load(large)
    assert {device.type for device in taken} == {"meta"}


def test_a_model_that_names_its_items_is_loaded_without_a_warning(tmp_path):
    model = make_model(num_items=2, num_attributes=1).float()
    model.vocabulary = Vocabulary(("a", "b"), ("red",))
    model.save(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = S3Rec.load(tmp_path / "model")
    assert loaded.device.type == "cpu" and loaded.vocabulary == model.vocabulary


@pytest.mark.parametrize("claim", [
    dict(num_items=10**30), dict(num_layers=10**9), dict(dropout="")])
def test_a_file_that_claims_what_no_model_has_is_refused_in_words(saved, claim):
    _, path = saved
    with pytest.raises(ValueError, match=rf"no valid model config.*{next(iter(claim))} must be"):
        S3Rec.load(with_config(path, path, **claim))


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_a_file_whose_tensors_are_no_floats_is_refused(saved, kind):
    _, path = saved
    tensors, metadata = encoder.read_tensors(path)
    tensors["aap_head.bias"] = tensors["aap_head.bias"].to(kind)
    encoder.write_tensors(path, tensors, metadata)
    with pytest.raises(ValueError, match=f"first is aap_head.bias, {kind} there"):
        S3Rec.load(path)


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64, torch.float8_e5m2,
                                  "float16", np.float16])
def test_weights_are_saved_in_a_type_of_float_alone(saved, kind):
    model, path = saved
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"dtype must be a type of float, such as torch\.float16"):
        model.save(path, dtype=kind)
    assert path.read_bytes() == before


def test_weights_that_are_not_finite_or_too_large_for_a_type_are_not_saved(saved):
    model, path = saved
    before = path.read_bytes()
    with torch.no_grad():
        model.mip_head.bias[1] = 70000
    with pytest.raises(ValueError, match=r"weights are not finite in torch\.float16"):
        model.save(path, torch.float16)
    model.save(path.with_name("wide"), torch.bfloat16)
    for wrong in (torch.nan, torch.inf):
        with torch.no_grad():
            model.mip_head.bias[1] = wrong
        with pytest.raises(ValueError, match="weights are not finite in their type"):
            model.save(path)
    assert path.read_bytes() == before


def test_loading_a_pickle_never_executes_it(tmp_path):
    sign, path = tmp_path / "executed", tmp_path / "model.safetensors"
    for write in (lambda: path.write_bytes(pickle.dumps(Bomb(sign))),
                  lambda: torch.save(Bomb(sign), path)):
        write()
        with pytest.raises(ValueError, match="not a safetensors file of s3rec_mini"):
            S3Rec.load(path)
        assert not sign.exists()
    pickle.loads(pickle.dumps(Bomb(sign)))
    assert sign.exists()  # it would have gone off


def no_room(path, content):
    path.write_text("half a file")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file_as_it_was_and_no_other(saved, monkeypatch):
    _, path = saved
    before = path.read_bytes()
    other = make_model(num_items=400, hidden_size=32)
    with full_disk(), pytest.raises(OSError, match=r"cannot write .*model\.safetensors.*has room"):
        other.save(path)
    monkeypatch.setattr(files.Path, "write_bytes", no_room)
    with pytest.raises(OSError, match=r"No space left on device.*the file is as it was"):
        other.save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["model.safetensors"]


def test_an_interrupted_save_leaves_the_old_file_as_it_was_and_no_other(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()

    def interrupted(path, content):
        path.write_text("half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(files.Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["model.safetensors"]


def test_a_file_is_as_readable_as_any_other(saved):
    _, path = saved
    other = path.with_name("other")
    other.write_bytes(b"")
    assert path.stat().st_mode == other.stat().st_mode


def test_a_file_is_moved_into_place_whole(saved, monkeypatch):
    model, path = saved
    before, moves = path.read_bytes(), []

    def killed(source, target):
        moves.append((S3Rec.load(source).config, str(target)))  # all there before the move
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        model.half().save(path)
    assert moves == [(model.config, str(path))]
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    places = [file / "model.safetensors"]
    if os.geteuid():  # root may write to locked folders
        places.append(locked / "model.safetensors")
    if os.path.isdir("/proc/self"):  # but not here
        places.append("/proc/self/model.safetensors")
    for place in places:
        with pytest.raises(OSError, match=f"cannot write {place}.*folder exists, is writable"):
            make_model().save(place)
    assert file.read_text() == "in the way"
    assert not os.listdir(locked)


def test_a_folder_in_the_files_place_is_left_alone(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(OSError, match="cannot write"):
        make_model().save(tmp_path / "model.safetensors")
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_weights_that_do_not_ship_are_not_found_and_those_that_do_are_listed():
    with pytest.raises(ValueError, match=r"no weights named 'moovielens'.*there are \["):
        s3.load_model("moovielens")


# --- on another device -------------------------------------------------------------------------


@both_directions
@pytest.mark.parametrize("training", [True, False])
def test_everything_the_encoder_makes_is_on_its_own_device(training, causal, monkeypatch):
    # The meta device computes shapes alone, but refuses to mix with a CPU as a GPU would.
    model = make_model(dropout=0.5).to("meta").train(training)
    items = padded([10, 6], 10).to("meta")
    assert model.device.type == "meta"
    states, attention = model(items, causal=causal, return_attention=True)
    (states.sum() + attention.sum() + model(items, causal=causal).sum()
     + model.score(states[:, -1]).sum() + model.score(states[:, -1], items).sum()).backward()
    assert model.item_embedding.weight.grad.device.type == "meta"

    monkeypatch.setattr(encoder, "visible_keys",
                        lambda *_: torch.ones(2, 1, 10, 10, dtype=torch.bool))
    with pytest.raises((RuntimeError, NotImplementedError), match=r"device|meta"):
        model(items, causal=causal)


def test_items_left_on_the_cpu_are_refused():
    with pytest.raises(ValueError, match="item_ids are on cpu, the model on meta"):
        make_model().to("meta")(padded([10, 6], 10))
