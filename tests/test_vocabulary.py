"""A model knows what its items are called, and data with other numbers are told so or mapped."""

import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import s3rec_mini as s3
from s3rec_mini.tools.vocabulary import Vocabulary, renumbered

RING = 150  # whoever has bought item i buys item i + 1 next


def ring(first=101, left_out=(), users=300, rows=8, shuffled=False):
    """Make a table of walks along a ring of items first … first + 149, without some of them."""
    items = [i for i in range(first, first + RING) if i not in left_out]
    if shuffled:
        np.random.default_rng(0).shuffle(items)
    return pd.DataFrame([(user, items[(user + step) % len(items)], step)
                         for user in range(users) for step in range(rows)],
                        columns=["user", "item", "timestamp"])


def read(frame, **changes):
    return s3.SequenceDataset.from_interactions(frame.astype(changes), time="timestamp")


def successor(data):
    """Make a model that answers each item of `data` with the next one of the ring.

    Its item vectors are a hot one each; attention and the feed-forward net are silent.
    """
    config = s3.ModelConfig.for_dataset(data, hidden_size=RING, num_layers=1, num_heads=1,
                                        dropout=0.0, max_length=10)
    model = s3.S3Rec(config).eval()
    after = {int(a): int(b) for s in data.sequences for a, b in pairwise(s)}
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embedding_norm.weight.fill_(1)
        for norm in ("attention_norm", "feed_forward_norm"):
            getattr(model.blocks[0], norm).weight.fill_(1)
        model.item_embedding.weight[1:-1] = torch.eye(RING)[:data.num_items]
        # What an item's state answers: its own place in the ring, moved by one, through the net.
        move = torch.zeros(RING, RING)
        for item, following in after.items():
            move[following - 1, item - 1] = 10.0
        model.blocks[0].expand.weight[:RING] = torch.eye(RING)
        model.blocks[0].contract.weight[:, :RING] = move
    return model


@pytest.fixture(scope="module")
def shop():
    data = read(ring())
    model = successor(data)
    assert s3.evaluate(model, data)["MRR"] == 1.0
    model.vocabulary = data.vocabulary
    return data, model


# What is known, and where it is kept


def test_training_tells_a_model_what_its_items_are_called():
    data, _ = s3.planted_structure(num_users=20)
    for train, config in ((s3.pretrain, s3.PretrainConfig(epochs=1)),
                          (s3.finetune, s3.FinetuneConfig(epochs=1, validation_protocol="full"))):
        model = s3.S3Rec(s3.ModelConfig.for_dataset(data, hidden_size=8))
        assert model.vocabulary is None
        train(model, data, config)
        assert model.vocabulary == (data.item_names[1:-1], data.attribute_names[1:])


def test_data_with_other_attributes_do_not_name_a_model(tmp_path):
    items = [f"i{number}" for number in range(10)]
    frame = pd.DataFrame([(f"u{user}", items[(user + step) % 10], step) for user in range(15)
                          for step in range(8)], columns=["user", "item", "timestamp"])

    def shop(*colours):
        attributes = {item: [colours[n % 2]] for n, item in enumerate(items)} if colours else None
        return s3.SequenceDataset.from_interactions(frame, time="timestamp", attributes=attributes)

    red, green, bare = shop("red", "blue"), shop("red", "green"), shop()
    model = s3.S3Rec(s3.ModelConfig.for_dataset(red, hidden_size=8, num_layers=1))
    with pytest.raises(ValueError, match=r"the model has 2 attributes, .* has 0"):
        model.save(tmp_path / "m", data=bare)
    model.vocabulary = red.vocabulary
    with pytest.raises(ValueError, match=r"does not know 1 of the 2 attributes .*'green'"):
        model.save(tmp_path / "m", data=green)
    assert not list(tmp_path.iterdir())


def test_a_file_holds_the_vocabulary_and_older_ones_say_what_cannot_be_checked(shop, tmp_path):
    data, model = shop
    path = tmp_path / "model.safetensors"
    model.save(path)
    assert s3.S3Rec.load(path).vocabulary == data.vocabulary

    trained_by_hand = successor(data)
    trained_by_hand.save(path)
    with pytest.warns(UserWarning, match=r"model\.safetensors does not say what its items are"):
        assert s3.S3Rec.load(path).vocabulary is None
    trained_by_hand.save(path, data=data)
    assert s3.S3Rec.load(path).vocabulary == data.vocabulary
    other = read(ring(left_out=[110]))
    with pytest.raises(ValueError, match=r"150 items.*has 149"):
        trained_by_hand.save(path, data=other)
    assert s3.S3Rec.load(path).vocabulary == data.vocabulary  # as it was

    save_file(load_file(path), path, {"s3rec_mini": '{"config": {"num_items": 150, '
              '"num_attributes": 0, "hidden_size": 150, "num_layers": 1, "num_heads": 1, '
              '"max_length": 10}}'})  # as an older edition wrote it
    with pytest.warns(UserWarning, match=r"save\(path, data=data\)"):
        s3.S3Rec.load(path)


@pytest.mark.parametrize("names", ["[1, 2]", '[["a"], []]', '["ab"]', '[[1, 2], []]', "{}", "7"])
def test_a_damaged_vocabulary_is_refused(names, tmp_path):
    path = tmp_path / "model.safetensors"
    model = s3.S3Rec(s3.ModelConfig(2, 0, hidden_size=2))
    model.vocabulary = Vocabulary(("a", "b"), ())
    model.save(path)
    assert s3.S3Rec.load(path).vocabulary == (("a", "b"), ())
    config = '{"num_items": 2, "num_attributes": 0, "hidden_size": 2}'
    save_file(load_file(path), path, {
        "s3rec_mini": f'{{"config": {config}, "vocabulary": {names}}}'})
    with pytest.raises(ValueError, match="does not name as many items"):
        s3.S3Rec.load(path)


def test_the_weights_that_ship_know_their_items():
    data = s3.load_dataset("movielens-small")
    assert s3.load_model("movielens-small").vocabulary == data.vocabulary


# Other data


def test_the_same_items_under_other_numbers_are_refused_or_found_by_name():
    as_text = read(ring(first=5, shuffled=True), item=str)  # "100" comes before "95"
    as_numbers = read(ring(first=5, shuffled=True))
    model = successor(as_numbers)
    assert s3.evaluate(model, as_text)["MRR"] < 0.1  # what nobody noticed
    model.vocabulary = as_numbers.vocabulary
    for call in (lambda: s3.evaluate(model, as_text), lambda: s3.recommend(model, as_text, ["7"]),
                 lambda: s3.finetune(model, as_text),
                 lambda: s3.inspection.nearest_items(model, as_text, "7")):
        with pytest.raises(ValueError, match=r"under other numbers.*renumbered\(model, data\)"):
            call()
    found = renumbered(model, as_text)
    assert s3.evaluate(found, as_text)["MRR"] == 1.0 and found.vocabulary == as_text.vocabulary
    assert renumbered(found, as_text) is found
    back = renumbered(found, as_numbers)
    assert all(a.equal(b) for a, b in zip(back.parameters(), model.parameters(), strict=True))


def test_of_next_months_file_a_new_item_is_named_and_one_that_is_gone_does_no_harm(shop):
    model = shop[1]
    without = ring(left_out=[110, 111])
    fewer = read(without)
    with pytest.raises(ValueError, match="under other numbers, among the 150"):
        s3.evaluate(model, fewer)
    top = s3.recommend(renumbered(model, fewer), fewer, [120], k=1)
    assert top["name"].tolist() == ["121"]
    another = without.replace({"item": {101: 999}})
    with pytest.raises(ValueError, match=r"does not know 1 of the 148 items of .*'999'"):
        s3.evaluate(model, read(another))
    with pytest.raises(ValueError, match="does not know 1 of the 148 items"):
        renumbered(model, read(another))


def test_attributes_are_found_by_name_too():
    data, _ = s3.planted_structure(num_users=30, num_groups=2)
    order = [0, *reversed(range(1, data.num_attributes + 1))]
    other = s3.SequenceDataset("other", data.sequences, data.item_attributes[:, order],
                               data.item_names, tuple(data.attribute_names[i] for i in order),
                               data.user_names)
    model = s3.S3Rec(s3.ModelConfig.for_dataset(data, hidden_size=8))
    s3.pretrain(model, data, s3.PretrainConfig(epochs=1))
    with pytest.raises(ValueError, match="attributes of other under other numbers"):
        s3.pretrain(model, other, s3.PretrainConfig(epochs=1))
    s3.evaluate(model, other)  # ranks nothing by them
    found = renumbered(model, other)
    rows = found.attribute_embedding.weight
    assert rows.equal(model.attribute_embedding.weight[order])
    s3.pretrain(found, other, s3.PretrainConfig(epochs=1))


# Raw ids


def test_where_keys_are_integers_an_integer_is_the_items_own(shop):
    frame = pd.concat([ring(), pd.DataFrame({"user": [0, 0, 1, 2], "item": [7, 42, 7, 7],
                                             "timestamp": 99})])
    data, model = read(frame), shop[1]
    assert (data.num_items, data.item_id(101), data.item_id("250")) == (150, 1, 150)
    assert data.item_id(np.int64(107)) == 7
    with pytest.raises(ValueError, match=r"item 7 is not in .*with 3 interactions it was dropped"):
        data.item_id(7)
    with pytest.raises(ValueError, match=r"item '42' is not in .*with 1 interactions"):
        data.item_id("42")
    with pytest.raises(ValueError, match=r"called 100: integers stand for items in 101\.\.250"):
        data.item_id(100)
    for wrong in (True, 101.0, None, b"101"):
        with pytest.raises(ValueError, match="no item of"):
            data.item_id(wrong)
    model.vocabulary = data.vocabulary
    top = s3.recommend(model, data, [105, 106], k=2)
    assert top["item"].tolist()[0] == 107 and top["name"][0] == "107"
    again = s3.recommend(model, data, top["item"].tolist()[:1], k=1)
    assert again["item"].tolist() == [108]
    assert s3.inspection.nearest_items(model, data, 101)["item"].min() >= 101


def test_where_keys_are_names_an_integer_is_a_number_and_where_both_could_be_it_is_neither():
    films = s3.load_dataset("movielens-small")
    assert films.item_id(7) == 7 and films.item_id("Toy Story (1995)") == 1
    with pytest.raises(ValueError, match=r"'.*' is not in movielens-small: with \d interactions"):
        films.item_id(next(iter(films.dropped_items)))
    padded = ring().astype({"item": str})
    padded["item"] = padded["item"].str.zfill(5)
    data = read(padded)
    assert data.item_id("00103") == 3
    with pytest.raises(ValueError, match=r"no item of .* is called 103"):
        data.item_id(103)
    mixed = padded.replace({"item": {"00103": "B7"}})
    with pytest.raises(ValueError, match=r"no item of .* is called 3:"):
        read(mixed).item_id(3)


def test_the_command_line_finds_items_by_their_own_ids(tmp_path):
    """Raw ids in, raw ids out; last month's model answers for this month's file, or says why."""
    def s3rec(*arguments):
        code = "from s3rec_mini.tools.cli import main; main()"
        return subprocess.run([sys.executable, "-c", code, *map(str, arguments)],
                              capture_output=True, text=True)

    shop, month, new = (tmp_path / f"{name}.csv" for name in ("shop", "month", "new"))
    ring().to_csv(shop, index=False)
    ring(left_out=[110]).to_csv(month, index=False)
    ring(left_out=[110]).replace({"item": {101: 999}}).to_csv(new, index=False)
    model = successor(read(ring()))
    model.save(tmp_path / "m", data=read(ring()))

    done = s3rec("recommend", shop, tmp_path / "m", 105, 106, "--k", 1)
    assert done.stdout.splitlines()[1].split()[:2] == ["107", "107"] and not done.stderr
    done = s3rec("recommend", shop, tmp_path / "m", 7)
    assert done.returncode == 1 and "no item of" in done.stderr and "7" in done.stderr
    done = s3rec("recommend", month, tmp_path / "m", 105, "--k", 1)
    assert done.stdout.splitlines()[1].split()[:2] == ["106", "106"]
    assert re.search(r"m knows 150 items: the 149 of .*month\.csv are among them", done.stderr)
    for command in (["evaluate", new, tmp_path / "m"], ["recommend", new, tmp_path / "m", 105],
                    ["finetune", new, "--weights", tmp_path / "m", "--output", tmp_path / "o"]):
        done = s3rec(*command)
        assert done.returncode == 1 and "does not know 1 of the 149 items" in done.stderr
        assert "Traceback" not in done.stderr and not (tmp_path / "o").exists()
