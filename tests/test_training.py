"""Training: a loop that anybody could write by hand, which no kill, restart or leak can change."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import full_disk
from safetensors.torch import save_file
from training_runs import STAGES, config, fresh_model, planted, run

import s3rec_mini
from s3rec_mini import (
    FinetuneConfig,
    PopRec,
    PretrainConfig,
    S3Rec,
    SequenceDataset,
    encoder,
    evaluate,
    finetune,
    finetuning_batches,
    finetuning_loss,
    objectives,
    pretrain,
    pretraining_batches,
    pretraining_losses,
    sample_negatives,
    training,
)
from s3rec_mini.tools import devices
from s3rec_mini.tools import negatives as drawing

BOTH = pytest.mark.parametrize("stage", STAGES)
WEIGHTS = dict(aap=0.2, mip=1.0, map=1.0, sp=0.5)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    """Say whether two models or dicts of tensors are equal bit for bit."""
    first, second = (x if isinstance(x, dict) else x.state_dict() for x in (first, second))
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def without_seconds(history):
    return [{k: v for k, v in record.items() if "seconds" not in k} for record in history]


def checkpoint_file(stage, folder):
    return Path(folder) / f"{stage}.safetensors"


def in_a_process(*args, launcher=(), **environment):
    """Run training_runs.py in a process of its own, or in those that a launcher starts."""
    paths = [str(Path(s3rec_mini.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    script = Path(__file__).with_name("training_runs.py")
    return subprocess.run(
        [sys.executable, *launcher, script, *map(str, args)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths),
                          "OMP_NUM_THREADS": str(torch.get_num_threads())} | environment)


# What is learned


@pytest.fixture(scope="module")
def learned():
    """A model pretrained, then finetuned, where four groups of items hold together."""
    data = planted(num_users=150, lengths=(6, 16))
    model = fresh_model(data, dropout=0.1, hidden_size=32, num_layers=1, max_length=16)
    history = pretrain(model, data, PretrainConfig(
        epochs=15, batch_size=64, prefixes_per_user=4, learning_rate=1e-2))
    pretrained = weights(model)
    later = finetune(model, data, FinetuneConfig(
        epochs=10, batch_size=64, learning_rate=3e-3, validation_protocol="full"))
    finetuned = S3Rec(model.config)
    finetuned.load_state_dict(model.state_dict())
    model.load_state_dict(pretrained)
    return SimpleNamespace(data=data, pretrained=model.eval(), finetuned=finetuned.eval(),
                           pretraining=history, finetuning=later)


def test_every_loss_falls_where_there_is_something_to_learn(learned):
    for objective in WEIGHTS:
        first, last = (learned.pretraining[i][objective] for i in (0, -1))
        assert last < 0.85 * first
    assert learned.finetuning[-1]["loss"] < 0.95 * learned.finetuning[0]["loss"]


@torch.no_grad()
def test_pretraining_learns_which_attributes_an_item_and_a_context_have(learned):
    model, data = learned.pretrained, learned.data
    table = model.attribute_embedding.weight[1:]  # two attributes for each of the four groups

    def group_predicted(states, head):
        return (head(states) @ table.T).view(-1, 4, 2).sum(2).argmax(1)

    items = torch.arange(1, data.num_items + 1)
    predicted = group_predicted(model(items[:, None])[:, 0], model.aap_head)
    assert (predicted == (items - 1) // 8).float().mean() > 0.9  # by chance 0.25
    # The group of an item whose place is masked: its neighbour's, in nine cases of ten. Test items
    # are masked here, so that nothing is known by heart.
    masked = torch.tensor(np.array([[*s[-6:-1], data.mask_id] for s in data.sequences]))
    hidden = torch.tensor([s[-1] for s in data.sequences])
    predicted = group_predicted(model(masked)[:, -1], model.map_head)
    assert (predicted == (hidden - 1) // 8).float().mean() > 0.7  # by chance 0.25


def test_a_finetuned_model_is_far_better_than_popularity(learned):
    ours, popular = (evaluate(m, learned.data)["MRR"]
                     for m in (learned.finetuned, PopRec(learned.data)))
    assert ours > 2 * popular


# The loop


class HandWrittenAdam:
    """Kingma and Ba's algorithm 1, β 0.9 and 0.999, ε 1e-8."""

    def __init__(self, parameters, learning_rate):
        self.parameters, self.learning_rate, self.step_number = list(parameters), learning_rate, {}
        self.means = {p: torch.zeros_like(p) for p in self.parameters}
        self.squares = {p: torch.zeros_like(p) for p in self.parameters}

    @torch.no_grad()
    def step(self):
        for p in self.parameters:
            if p.grad is None:
                continue
            t = self.step_number[p] = self.step_number.get(p, 0) + 1
            self.means[p] = 0.9 * self.means[p] + 0.1 * p.grad
            self.squares[p] = 0.999 * self.squares[p] + 0.001 * p.grad**2
            mean, square = self.means[p] / (1 - 0.9**t), self.squares[p] / (1 - 0.999**t)
            p -= self.learning_rate * mean / (square.sqrt() + 1e-8)
            p.grad = None


def hand_written_pretraining(model, data, epochs):
    optimizer = HandWrittenAdam(model.parameters(), 3e-3)
    for epoch in range(epochs):
        for batch in pretraining_batches(data, 8, 51, 0.3, 2, seed=7, epoch=epoch):
            losses = pretraining_losses(model, batch, data.item_attributes, {"mip": "infonce"})
            (0.3 * losses["aap"] + 1.0 * losses["mip"] + 2.0 * losses["sp"]).backward()
            optimizer.step()


def hand_written_finetuning(model, data, epochs):
    optimizer = HandWrittenAdam(model.parameters(), 3e-3)
    for epoch in range(epochs):
        for batch in finetuning_batches(data, 8, 11, seed=7, epoch=epoch):
            finetuning_loss(model, batch, "pointwise").backward()
            optimizer.step()


def without_key_biases(model):
    """A key bias moves no attention weight: its gradient is round-off, which Adam blows up."""
    state = weights(model)
    for name in [n for n in state if n.endswith("query_key_value.bias")]:
        state[name] = state[name].view(3, -1)[[0, 2]]
    return state


@BOTH
def test_the_loop_is_the_one_that_anybody_would_write_by_hand(stage, monkeypatch):
    data, mrr = planted(), iter(range(1, 9))
    monkeypatch.setattr(training, "metrics_from_ranks", lambda _: {"MRR": next(mrr)})  # last: best
    settings = {"pretrain": dict(weights=dict(aap=0.3, mip=1.0, map=0, sp=2.0), prefixes_per_user=2,
                                 mask_probability=0.3, forms={"mip": "infonce"}),
                "finetune": dict(loss="pointwise")}[stage]
    ours, _ = run(stage, data=data, dropout=0.0, epochs=2, learning_rate=3e-3, seed=7, **settings)
    expected = fresh_model(data, dropout=0.0)
    before = weights(expected)
    {"pretrain": hand_written_pretraining, "finetune": hand_written_finetuning}[stage](
        expected, data, 2)
    expected = without_key_biases(expected)
    for name, value in without_key_biases(ours).items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4, msg=name)
    assert not same(before, ours)


def test_the_history_holds_the_mean_losses_of_the_epoch():
    data = planted()
    _, history = run("pretrain", data=data, dropout=0.0, epochs=1, learning_rate=1e-12)
    # At such a rate the weights stand still: the epoch's losses are those of one huge batch.
    start = fresh_model(data, dropout=0.0)
    sums, sequences = dict.fromkeys(WEIGHTS, 0.0), 0
    for batch in pretraining_batches(data, 8, 51):
        for name, loss in pretraining_losses(start, batch, data.item_attributes).items():
            sums[name] += float(loss.detach()) * len(batch)
        sequences += len(batch)
    record = history[0]
    assert record["epoch"] == 0 and record["seconds"] > 0
    assert record["sequences"] == sequences == sum(min(len(s) - 2, 8) for s in data.sequences)
    for name, total in sums.items():
        assert record[name] == pytest.approx(total / sequences, rel=1e-5)
    weighted = sum(WEIGHTS[name] * record[name] for name in WEIGHTS)
    assert record["loss"] == pytest.approx(weighted, rel=1e-5)


def test_the_finetuning_loss_in_the_history_is_a_mean_over_positions():
    data = planted()
    _, history = run("finetune", data=data, dropout=0.0, epochs=1, learning_rate=1e-12)
    model, total, positions = fresh_model(data, dropout=0.0), 0.0, 0
    for batch in finetuning_batches(data, 8, 11):
        count = int((batch.items != 0).sum())
        total, positions = total + float(finetuning_loss(model, batch).detach()) * count, (
            positions + count)
    assert history[0]["loss"] == pytest.approx(total / positions, rel=1e-5)


@BOTH
def test_a_run_is_a_function_of_data_config_and_seed(stage):
    runs = []
    for seed, outside in ((3, 0), (3, 99), (4, 0)):
        model = fresh_model(planted())
        torch.manual_seed(outside), np.random.seed(outside)  # what happened before must not count
        runs.append(run(stage, model=model, epochs=2, seed=seed))
    (first, one), (second, two), (third, three) = runs
    assert same(first, second) and without_seconds(one) == without_seconds(two)
    assert not same(first, third) and one[0]["loss"] != three[0]["loss"]


@BOTH
def test_every_epoch_draws_its_batches_and_its_dropout_anew(stage, monkeypatch):
    # At a rate of 1e-12 nothing but the draws can change the loss.
    def losses(dropout):
        _, history = run(stage, epochs=3, learning_rate=1e-12, dropout=dropout)
        return len({round(record["loss"], 5) for record in history})

    assert losses(dropout=0.0) == 3
    batches = list(getattr(training, STAGES[stage][2])(planted(), 8))
    monkeypatch.setattr(training, STAGES[stage][2], lambda *_, **__: batches)
    assert losses(dropout=0.0) == 1 and losses(dropout=0.5) == 3


@BOTH
def test_gradients_left_from_before_do_not_enter_the_first_step(stage):
    clean, dirty = fresh_model(planted()), fresh_model(planted())
    sum(p.sum() for p in dirty.parameters()).backward()
    for model in (clean, dirty):
        run(stage, model=model, epochs=1)
    assert same(clean, dirty)


# Objectives


@pytest.mark.parametrize("others", [{}, dict(aap=0, map=0.0, sp=0)])
def test_objectives_that_weigh_nothing_are_neither_computed_nor_trained(others, monkeypatch):
    def never(*_):
        raise AssertionError("computed")

    for name in ("aap_loss", "map_loss", "sp_loss"):
        monkeypatch.setattr(objectives, name, never)
    before = fresh_model(planted())
    model, history = run("pretrain", epochs=1, weights=dict(mip=1.0, **others))
    assert without_seconds(history)[0].keys() == {"epoch", "mip", "loss", "sequences"}
    before, after = weights(before), weights(model)
    frozen = ("aap_head", "map_head", "sp_head", "attribute_embedding")
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith(frozen), name


@pytest.mark.parametrize("objective", WEIGHTS)
def test_each_objective_is_trained_in_the_form_that_is_asked_for(objective):
    data, seen = planted(), set()
    model = fresh_model(data, dropout=0.0)
    batch, = pretraining_batches(data, 8, 1000)
    for form in objectives.FORMS:
        losses = pretraining_losses(model, batch, data.item_attributes, {objective: form})
        _, history = run("pretrain", data=data, dropout=0.0, epochs=1, batch_size=1000,
                         forms={objective: form})
        for name in WEIGHTS:
            assert history[0][name] == pytest.approx(float(losses[name].detach()), rel=1e-5)
        seen.add(round(history[0][objective], 3))
    assert len(seen) == 3  # or nothing was tested


@pytest.mark.parametrize("loss", objectives.FINETUNING_LOSSES)
def test_finetuning_uses_the_loss_that_is_asked_for(loss):
    data = planted()
    batch, = finetuning_batches(data, 8, 1000)
    expected = float(finetuning_loss(fresh_model(data, dropout=0.0), batch, loss).detach())
    _, history = run("finetune", data=data, dropout=0.0, epochs=1, batch_size=1000, loss=loss)
    assert history[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_finetuning_leaves_the_heads_and_the_attributes_as_they_were():
    before = weights(fresh_model(planted()))
    after = weights(run("finetune", epochs=2)[0])
    frozen = ("aap_head", "mip_head", "map_head", "sp_head", "attribute_embedding")
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith(frozen), name


@pytest.mark.parametrize("stage, settings", [
    ("pretrain", {}), ("pretrain", dict(forms=dict.fromkeys(WEIGHTS, "infonce"))),
    ("finetune", {}), ("finetune", dict(loss="softmax"))])
def test_the_padding_item_stays_zero(stage, settings):
    # That of the attributes does not: the released AAP and MAP score it as a column never present.
    model, _ = run(stage, epochs=2, **settings)
    assert not model.item_embedding.weight[0].any()


def plain(data):
    """The same sequences, with no attributes."""
    return SequenceDataset("plain", data.sequences, data.item_attributes[:, :1].clone(),
                           data.item_names, data.attribute_names[:1], data.user_names)


def test_data_without_attributes_train_on_the_two_objectives_that_need_none():
    data = plain(planted())
    for weighed in (WEIGHTS, dict(aap=0.1, sp=1.0), dict(map=0.1, mip=1.0)):
        with pytest.raises(ValueError, match=r"no attributes.*, or both the weight 0 "):
            run("pretrain", data=data, epochs=1, weights=weighed)
    _, history = run("pretrain", data=data, epochs=1, weights=dict(mip=1.0, sp=0.5))
    assert history[0].keys() >= {"mip", "sp"}
    run("finetune", data=data, epochs=1)


def test_finetuning_on_one_training_item_a_user_is_an_error_that_says_so():
    data = planted(lengths=(3, 3))
    run("pretrain", data=data, epochs=1)
    with pytest.raises(ValueError, match="two training items"):
        run("finetune", data=data, epochs=1)


# What is held out


def with_other_last_two(data):
    """Every user's last two items replaced by others."""
    sequences = [np.concatenate([s[:-2], s[-2:] % data.num_items + 1]) for s in data.sequences]
    return replace(data, sequences=tuple(sequences))


def test_pretraining_cannot_tell_what_is_held_out():
    data = planted()
    first, second = (run("pretrain", data=d, epochs=2) for d in (data, with_other_last_two(data)))
    assert same(first[0], second[0])
    assert without_seconds(first[1]) == without_seconds(second[1])


def test_what_is_held_out_changes_nothing_but_the_validation_of_finetuning():
    data = planted()
    (first, one), (second, two) = (run("finetune", data=d, epochs=3)
                                   for d in (data, with_other_last_two(data)))
    assert [r["loss"] for r in one] == [r["loss"] for r in two]
    assert [r["validation"] for r in one] != [r["validation"] for r in two]
    first, second = (run("finetune", data=d, epochs=1)[0]  # one epoch: no best one to choose
                     for d in (data, with_other_last_two(data)))
    assert same(first, second)


@pytest.mark.parametrize("stage, leak", [("pretrain", "held_out_segments"),
                                         ("finetune", "held_out_negatives")])
def test_the_leaks_of_the_released_code_can_be_had(stage, leak):
    data = planted()
    leaking = [run(stage, data=d, epochs=1, **{leak: True})[1][0]["loss"]
               for d in (data, with_other_last_two(data))]
    assert leaking[0] != leaking[1]


# Early stopping


def script_validation(monkeypatch, values):
    """Let the validation MRR of each epoch be the next of `values`; return each epoch's weights."""
    epochs, values = [], iter(values)

    def scripted(model, *_):
        epochs.append(weights(model))
        return {"MRR": next(values)}

    monkeypatch.setattr(training, "ranks_among", scripted)
    monkeypatch.setattr(training, "metrics_from_ranks", dict)
    return epochs


@pytest.mark.parametrize("values, patience, stops_after, best", [
    ([1, 3, 2, 2, 9], 2, 4, 1),
    ([3, 3, 3, 9], 2, 3, 0),  # as good is not better
    ([1, 2, 1, 3, 2, 2, 9], 2, 6, 3),
    ([2, 1, 9], 1, 2, 0),
    ([1, 2, 3, 4], 1, 4, 3),
])
def test_training_stops_after_patience_epochs_and_keeps_the_best(
        values, patience, stops_after, best, monkeypatch):
    epochs = script_validation(monkeypatch, values)
    model, history = run("finetune", epochs=len(values), patience=patience)
    assert [record["validation"]["MRR"] for record in history] == values[:stops_after]
    assert same(model, epochs[best])
    assert stops_after == 1 or not same(epochs[0], epochs[1])


@pytest.mark.parametrize("protocol", ["full", "sampled"])
def test_the_model_that_is_kept_has_the_best_validation_mrr(protocol):
    data, last_was_best = planted(), []
    for seed in range(4):
        model = fresh_model(data)
        history = finetune(model, data, config("finetune", epochs=5, seed=seed, learning_rate=1e-2,
                                               validation_protocol=protocol), negatives=15)
        seen = [record["validation"]["MRR"] for record in history]
        kept = evaluate(model, data, "validation", protocol, negatives=15, seed=seed)
        assert kept == history[int(np.argmax(seen))]["validation"]
        last_was_best.append(seen[-1] == max(seen))
    assert not all(last_was_best)  # or keeping the last would do


def test_a_run_that_stopped_early_is_over_also_after_a_restart(monkeypatch, tmp_path):
    epochs = script_validation(monkeypatch, [1, 3, 2, 2])
    run("finetune", tmp_path, epochs=9, patience=2)
    monkeypatch.setattr(training, "finetuning_batches", None)  # whoever trains fails
    model, history = run("finetune", tmp_path, epochs=99, patience=2)
    assert len(history) == 4 and same(model, epochs[1])


# Checkpoints


@BOTH
def test_a_killed_run_goes_on_to_the_same_weights(stage, tmp_path, monkeypatch):
    killed = in_a_process("killed", stage, tmp_path)
    assert killed.returncode == -9, killed.stderr
    _, saved = encoder.read_tensors(checkpoint_file(stage, tmp_path))
    assert len(saved["history"]) == 2
    started, batches = [], getattr(training, STAGES[stage][2])
    monkeypatch.setattr(training, STAGES[stage][2],
                        lambda *args, **options: started.append(1) or batches(*args, **options))
    resumed, history = run(stage, tmp_path, epochs=4)
    assert len(started) == 2  # the third epoch from its beginning, and the fourth
    unbroken, expected = run(stage, epochs=4)
    assert same(resumed, unbroken)
    assert without_seconds(history) == without_seconds(expected)


@BOTH
def test_a_finished_run_is_not_trained_again_but_a_longer_one_goes_on(stage, tmp_path, monkeypatch):
    first, history = run(stage, tmp_path, epochs=2)
    before = checkpoint_file(stage, tmp_path).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(training, STAGES[stage][2], None)  # whoever trains fails
        again, same_history = run(stage, tmp_path, epochs=2)
    assert same(first, again) and history == same_history
    assert checkpoint_file(stage, tmp_path).read_bytes() == before
    longer, longer_history = run(stage, tmp_path, epochs=4)
    unbroken, unbroken_history = run(stage, epochs=4)
    assert same(longer, unbroken)
    assert without_seconds(longer_history) == without_seconds(unbroken_history)


def test_a_checkpoint_changes_nothing_in_the_run_and_both_stages_share_a_folder(tmp_path):
    for stage in STAGES:
        saved, _ = run(stage, tmp_path / "deep" / "er", epochs=2)
        assert same(saved, run(stage, epochs=2)[0])
    assert sorted(p.name for p in (tmp_path / "deep" / "er").iterdir()) == [
        "finetune.safetensors", "pretrain.safetensors"]


def refused(stage, folder, complaint, **changes):
    """A run that must not start: its model and the checkpoint file stay as they are."""
    file = checkpoint_file(stage, folder)
    before, data = file.read_bytes(), changes.pop("data", planted())
    model = changes.pop("model", None) or fresh_model(data)
    untouched = weights(model)
    with pytest.raises(ValueError, match=complaint):
        run(stage, folder, data=data, model=model, **{"epochs": 3, **changes})
    assert file.read_bytes() == before
    assert same(model, untouched)
    assert [p.name for p in Path(folder).iterdir()] == [file.name]


@BOTH
def test_the_checkpoint_of_another_run_is_refused(stage, tmp_path):
    run(stage, tmp_path, epochs=1)
    settings = [dict(seed=1), dict(learning_rate=0.01), dict(batch_size=7)]
    settings += {"pretrain": [dict(weights=dict(mip=1.0)), dict(forms={"sp": "paper"}),
                              dict(mask_probability=0.3), dict(prefixes_per_user=1),
                              dict(held_out_segments=True)],
                 "finetune": [dict(patience=3), dict(loss="softmax"),
                              dict(held_out_negatives=True)]}[stage]
    for changed in settings:
        refused(stage, tmp_path, "holds another run, .* settings differ", **changed)
    other = with_other_last_two(planted())
    refused(stage, tmp_path, "another run, .* data differ", data=other)
    refused(stage, tmp_path, "another run, .* settings and data differ", data=other, seed=1)
    wider = fresh_model(planted(), hidden_size=32)
    refused(stage, tmp_path, "another run, .* model and starting weights differ", model=wider)
    if stage == "finetune":
        with pytest.raises(ValueError, match=r"another run, .* settings and negatives differ"):
            finetune(fresh_model(planted()), planted(),
                     config("finetune", epochs=3, validation_protocol="sampled"), tmp_path, 5)
    # Or a model finetuned from other weights would silently become the one that was saved.
    refused(stage, tmp_path, "whose starting weights differ", model=fresh_model(planted(), seed=9))


@pytest.mark.parametrize("negatives", [9.7, None, True, 0, 10**6])
def test_validation_negatives_that_cannot_be_had_are_found_out_before_training(
        negatives, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "finetuning_batches", None)  # whoever trains fails
    with pytest.raises(ValueError, match="negatives"):
        finetune(fresh_model(planted()), planted(),
                 config("finetune", validation_protocol="sampled"), tmp_path, negatives)
    assert not list(tmp_path.iterdir())


def test_validation_negatives_are_drawn_once(monkeypatch):
    drawn = []
    monkeypatch.setattr(drawing, "sample_negatives",
                        lambda *arguments: drawn.append(1) or sample_negatives(*arguments))
    settings = config("finetune", epochs=3, validation_protocol="sampled")
    history = finetune(fresh_model(planted()), planted(), settings, negatives=5)
    assert len(history) == 3 and len(drawn) == 1


def test_validation_negatives_may_be_columns_of_a_larger_table(tmp_path):
    data = planted()
    table = sample_negatives(*data.held_out("validation"), data.num_items, 10)
    runs = [finetune(fresh_model(data), data, config("finetune", epochs=2, patience=5,
                     validation_protocol="sampled"), folder, negatives=negatives)
            for folder, negatives in [(tmp_path, table[:, 2:7]), (None, table[:, 2:7].copy())]]
    assert without_seconds(runs[0]) == without_seconds(runs[1])


@BOTH
def test_a_checkpoint_of_more_epochs_than_asked_for_is_refused(stage, tmp_path):
    run(stage, tmp_path, epochs=2)
    refused(stage, tmp_path, "holds 2 epochs, more than the 1 asked for", epochs=1)


@BOTH
def test_a_trained_model_is_left_in_evaluation_mode(stage):
    model, _ = run(stage, epochs=1)
    assert not any(module.training for module in model.modules())


@BOTH
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "foreign", "a model"])
def test_a_file_that_is_no_checkpoint_is_an_error_and_left_alone(stage, damage, tmp_path):
    run(stage, tmp_path, epochs=1)
    file = checkpoint_file(stage, tmp_path)
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-100])
    elif damage == "flipped":
        file.write_bytes(b"\xff" * 20 + content[20:])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "text":
        file.write_text("epoch,loss\n1,2\n")
    elif damage == "foreign":
        save_file({"weight": torch.ones(2)}, file, {"format": "pt"})
    else:
        fresh_model(planted()).save(file)
    refused(stage, tmp_path, file.name)


@BOTH
def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(stage, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write .*file.*check that its folder"):
        run(stage, tmp_path / "file", epochs=1)
    assert (tmp_path / "file").read_text() == "in the way"


@BOTH
def test_a_full_disk_is_an_error_and_leaves_the_checkpoint_of_before(stage, tmp_path):
    run(stage, tmp_path, epochs=1)
    before = checkpoint_file(stage, tmp_path).read_bytes()
    with full_disk(), pytest.raises(OSError, match=r"cannot write.*room; the file is as it was"):
        run(stage, tmp_path, epochs=3)
    assert checkpoint_file(stage, tmp_path).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    assert same(run(stage, tmp_path, epochs=2)[0], run(stage, epochs=2)[0])


def test_a_checkpoint_made_with_other_validation_negatives_is_refused(tmp_path):
    data = planted()
    settings = config("finetune", epochs=1, validation_protocol="sampled")
    finetune(fresh_model(data), data, settings, tmp_path, negatives=15)
    with pytest.raises(ValueError, match=r"another run, .* negatives differ"):
        finetune(fresh_model(data), data, replace(settings, epochs=2), tmp_path, negatives=5)


# Divergence


@BOTH
def test_a_loss_that_diverges_is_an_error_that_says_what_to_do(stage):
    with pytest.raises(ValueError, match="lower the learning rate"):
        run(stage, epochs=3, learning_rate=1e6)
    model = fresh_model(planted())
    with torch.no_grad():
        model.item_embedding.weight[3] = torch.nan
    with pytest.raises(ValueError, match=r"loss became nan .*lower the learning rate"):
        run(stage, model=model, epochs=1)


@BOTH
def test_an_epoch_that_diverged_is_not_saved(stage, tmp_path, monkeypatch):
    run(stage, tmp_path, epochs=1)
    before = checkpoint_file(stage, tmp_path).read_bytes()
    name = {"pretrain": "pretraining_losses", "finetune": "finetuning_loss"}[stage]
    loss = getattr(training, name)

    def infinite(*args, **settings):
        value = loss(*args, **settings)
        return ({k: v * torch.inf for k, v in value.items()} if stage == "pretrain"
                else value * torch.inf)

    with monkeypatch.context() as patch:
        patch.setattr(training, name, infinite)
        with pytest.raises(ValueError, match=r"loss became (inf|nan)"):
            run(stage, tmp_path, epochs=2)
    assert checkpoint_file(stage, tmp_path).read_bytes() == before


def last_step_explodes(monkeypatch, stage, epoch):
    """Let a rate of 1e308 be that of the last step of an epoch alone, whose loss knows nothing."""
    name, count = STAGES[stage][2], [0]
    batches = getattr(training, name)

    def whole(*args, **options):
        count[0] += 1
        yield next(batches(*args, **options))

    monkeypatch.setattr(training, name, whole)
    prepared = devices.prepared

    def armed(*arguments):
        trained, optimizer = prepared(*arguments)
        step = optimizer.step

        def explode():
            if count[0] == epoch:
                optimizer.param_groups[0]["lr"] = 1e308
            step()

        optimizer.step = explode
        return trained, optimizer

    monkeypatch.setattr(devices, "prepared", armed)


@pytest.mark.parametrize("epoch", [1, 2])
@BOTH
def test_weights_that_the_last_step_made_infinite_are_neither_returned_nor_saved(
        stage, epoch, tmp_path, monkeypatch):
    last_step_explodes(monkeypatch, stage, epoch)
    with pytest.raises(ValueError, match=r"or a weight infinite: lower the learning rate; a .*"
                                         r"still holds the epoch before"):
        run(stage, tmp_path, epochs=3)
    if epoch == 1:
        assert not list(tmp_path.iterdir())
    else:
        tensors, saved = encoder.read_tensors(checkpoint_file(stage, tmp_path))
        assert len(saved["history"]) == 1
        assert all(value.isfinite().all() for value in tensors.values())


@BOTH
def test_a_rate_of_1e308_is_an_error_also_where_an_epoch_is_one_step(stage, tmp_path):
    with pytest.raises(ValueError, match="or a weight infinite: lower the learning rate"):
        run(stage, tmp_path, epochs=1, batch_size=1000, learning_rate=1e308)
    assert not list(tmp_path.iterdir())


# Mangled checkpoints


def rewritten(file, change):
    """Write a checkpoint anew with other content, as one that was written so."""
    tensors, metadata = encoder.read_tensors(file)
    metadata = change(tensors, metadata) or metadata
    encoder.write_tensors(file, tensors, metadata)


def without(mapping, key):
    del mapping[key]


@pytest.mark.parametrize("change", {
    "no run": lambda tensors, saved: without(saved, "run"),
    "run is text": lambda tensors, saved: saved | {"run": "pretrain"},
    "settings are a list": lambda tensors, saved: saved | {"run": saved["run"] | {"settings": []}},
    "no history": lambda tensors, saved: without(saved, "history"),
    "history is nothing": lambda tensors, saved: saved | {"history": None},
    "history is a number": lambda tensors, saved: saved | {"history": 2},
    "history is text": lambda tensors, saved: saved | {"history": "ab"},
    "epochs are numbers": lambda tensors, saved: saved | {"history": [1, 2]},
    "epochs are empty": lambda tensors, saved: saved | {"history": [{}, {}]},
    "a loss is text": lambda tensors, saved: saved["history"][1].update(loss="low"),
    "no weights": lambda tensors, saved: [without(tensors, name) for name in list(tensors)
                                          if name.startswith("model/")] and None,
    "a weight is gone": lambda tensors, saved: without(tensors, "model/aap_head.bias"),
    "a weight more": lambda tensors, saved: tensors.update({"model/speed": torch.ones(1)}),
    "a weight is whole": lambda tensors, saved: tensors.update(
        {"model/aap_head.bias": tensors["model/aap_head.bias"].int()}),
    "another group": lambda tensors, saved: tensors.update({"speed": torch.ones(1)}),
}.items(), ids=lambda item: item[0])
@BOTH
def test_a_checkpoint_that_was_mangled_is_refused_in_words(stage, change, tmp_path):
    run(stage, tmp_path, epochs=2)
    rewritten(checkpoint_file(stage, tmp_path), change[1])
    refused(stage, tmp_path, f"{stage}.safetensors (is no checkpoint|holds|does not fit)")


@pytest.mark.parametrize("validation", [None, {}, {"MRR": "high"}, [0.5]])
def test_a_history_without_a_validation_to_go_by_is_refused(validation, tmp_path):
    run("finetune", tmp_path, epochs=2)
    rewritten(checkpoint_file("finetune", tmp_path),
              lambda tensors, saved: saved["history"][1].update(validation=validation))
    refused("finetune", tmp_path, "is no checkpoint, or it is damaged: delete it")


# Several processes


@BOTH
def test_a_run_does_not_go_on_with_another_number_of_processes(stage, tmp_path):
    run(stage, tmp_path, epochs=1)
    rewritten(checkpoint_file(stage, tmp_path),
              lambda tensors, saved: saved | {"run": saved["run"] | {"processes": 2}})
    refused(stage, tmp_path, "holds another run, whose processes differ")


@BOTH
def test_an_older_checkpoint_that_does_not_say_how_many_processes_goes_on(stage, tmp_path):
    run(stage, tmp_path, epochs=1)
    rewritten(checkpoint_file(stage, tmp_path),
              lambda tensors, saved: without(saved["run"], "processes"))
    assert same(run(stage, tmp_path, epochs=2)[0], run(stage, epochs=2)[0])


@pytest.mark.slow
def test_two_processes_train_to_the_losses_of_one(tmp_path):
    # `accelerate launch --cpu` starts one process, whatever --num_processes says, unless it is
    # given MPI; --multi_gpu is its way to torchrun, and the variable keeps that on the CPU.
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
                "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
                "--main_process_port", "0"]
    launched = in_a_process("both", tmp_path, launcher=launcher,
                            ACCELERATE_USE_CPU="true", OMP_NUM_THREADS="1")
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert "find_unused_parameters" not in launched.stderr  # torch warns where it is of no use
    for stage in STAGES:
        one, expected = run(stage, dropout=0.0, epochs=2)
        processes, history = json.loads((tmp_path / f"{stage}.json").read_text())
        assert processes == 2
        for ours, theirs in zip(expected, history, strict=True):
            assert theirs.pop("validation", None) == pytest.approx(ours.pop("validation", None))
            ours, theirs = without_seconds([ours, theirs])
            assert theirs == pytest.approx(ours, rel=1e-5)
        two = without_key_biases(S3Rec.load(tmp_path / f"{stage}.safetensors"))
        for name, value in without_key_biases(one).items():
            torch.testing.assert_close(two[name], value, atol=2e-5, rtol=1e-4, msg=name)


class LastOfThree:
    """What `Accelerator` is to the last of three processes, as far as it needs no other."""

    process_index, num_processes, is_main_process = 2, 3, False
    device = torch.device("cpu")

    def __init__(self, **_):
        pass

    def prepare(self, *parts):
        return parts

    def unwrap_model(self, stage):
        return stage

    def backward(self, loss):
        loss.backward()

    def reduce(self, sums):
        return sums


@BOTH
def test_a_batch_smaller_than_the_number_of_processes_is_an_error(stage, monkeypatch):
    monkeypatch.setattr(devices, "Accelerator", LastOfThree)
    run(stage, epochs=1, batch_size=20)  # enough for all
    with pytest.raises(ValueError, match=r"a batch of . sequences cannot be shared by 3 processes"):
        run(stage, epochs=1, batch_size=2)


# Bad input


@pytest.mark.parametrize("settings, complaint", [
    (dict(epochs=0), "epochs"),
    (dict(epochs=2.0), "epochs"),
    (dict(batch_size=0), "batch_size"),
    (dict(batch_size="8"), "batch_size"),
    (dict(learning_rate=0), "learning_rate"),
    (dict(learning_rate=-1e-3), "learning_rate"),
    (dict(learning_rate=float("nan")), "learning_rate"),
    (dict(learning_rate=float("inf")), "learning_rate"),
    (dict(learning_rate="fast"), "learning_rate"),
    (dict(seed=-1), "seed"),
    (dict(seed=0.5), "seed"),
])
@BOTH
def test_settings_of_both_stages_are_checked_when_made(stage, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        config(stage, **settings)


@pytest.mark.parametrize("settings, complaint", [
    (dict(mask_probability=-0.1), "mask_probability"),
    (dict(mask_probability=1.1), "mask_probability"),
    (dict(mask_probability=float("nan")), "mask_probability"),
    (dict(prefixes_per_user=0), "prefixes_per_user"),
    (dict(weights={}), "weights"),
    (dict(weights=dict(mip=0, sp=0.0)), "weights"),
    (dict(weights=dict(mip=-1.0, sp=2.0)), "weights"),
    (dict(weights=dict(nsp=1.0)), "weights"),
    (dict(weights=dict(mip=float("nan"), sp=1.0)), "weights"),
    (dict(weights=dict(mip=float("inf"))), "weights"),
    (dict(mask_probability="0.2"), "mask_probability"),
    (dict(prefixes_per_user=1.5), "prefixes_per_user"),
    (dict(weights=dict(mip="1")), "weights"),
    (dict(forms=dict(mip="printed")), "forms"),
    (dict(forms=dict(nsp="paper")), "forms"),
])
def test_settings_of_pretraining_are_checked_when_made(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        PretrainConfig(**settings)


@pytest.mark.parametrize("settings, complaint", [
    (dict(patience=0), "patience"),
    (dict(patience=1.5), "patience"),
    (dict(loss="listwise"), "loss must be one of"),
    (dict(validation_protocol="half"), "validation_protocol"),
])
def test_settings_of_finetuning_are_checked_when_made(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        FinetuneConfig(**settings)


def test_whole_numbers_as_weights_are_as_good_as_floats():
    (whole, _), (floats, _) = (run("pretrain", epochs=1, weights=dict(mip=one, sp=one))
                               for one in (1, 1.0))
    assert same(whole, floats)


@BOTH
def test_a_model_made_for_other_data_is_an_error(stage):
    other = planted(items_per_group=9)
    with pytest.raises(ValueError, match=r"36 items.*has 32.*for_dataset"):
        run(stage, model=fresh_model(other), epochs=1)
    other = fresh_model(planted(attributes_per_group=3))
    if stage == "finetune":  # which reads none
        run(stage, model=other, epochs=1)
        return
    with pytest.raises(ValueError, match=r"12 attributes.*has 8.*for_dataset"):
        run(stage, model=other, epochs=1)


def test_the_defaults_are_the_papers():
    pretraining, finetuning = PretrainConfig(), FinetuneConfig()
    assert pretraining.weights == WEIGHTS and pretraining.mask_probability == 0.2
    assert (pretraining.epochs, pretraining.batch_size, finetuning.batch_size) == (100, 200, 256)
    assert pretraining.learning_rate == finetuning.learning_rate == 1e-3
    assert (finetuning.loss, finetuning.patience) == ("pairwise", 10)
    assert not pretraining.held_out_segments and not finetuning.held_out_negatives
