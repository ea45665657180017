"""A setting is one field: what it checks, what it documents, how saved ones are compared."""

import json
from dataclasses import asdict, dataclass, fields
from fractions import Fraction

import numpy as np
import pytest

from s3rec_mini import FinetuneConfig, ModelConfig, PretrainConfig
from s3rec_mini.tools.settings import Settings, setting


@dataclass(frozen=True)
class Example(Settings):
    """An example."""

    size: int = setting(text="How large.", least=2)
    rate: float = setting(0.5, "How fast.", above=0, most=1)
    each: int | None = setting(None, "How many each.", least=1)
    way: str = setting("left", "Which way.", choices=("left", "right"))
    leaky: bool = setting(False, "Whether it leaks.")
    parts: dict[str, float] = setting(dict(a=1.0), "Parts.")


def test_every_setting_stands_in_the_docstring_with_its_default_and_its_range():
    text = Example.__doc__
    assert text.startswith("An example.\n\nParameters\n----------\nsize : int\n    How large. At")
    assert "rate : float = 0.5\n    How fast. Above 0 and at most 1." in text
    assert "each : int or None = None\n" in text
    assert "way : str = 'left'\n    Which way. One of 'left', 'right'." in text
    for config in (ModelConfig, PretrainConfig, FinetuneConfig):
        assert all(f"\n{each.name} : " in config.__doc__ for each in fields(config))
        assert all(each.metadata["text"].endswith(".") for each in fields(config))


@pytest.mark.parametrize("given, complaint", [
    (dict(size=1), "size must be a whole number of at least 2, not 1"),
    (dict(size=2.0), "size must be a whole number of at least 2, not 2.0"),
    (dict(size=True), "size must be a whole number of at least 2, not True"),
    (dict(rate=0), "rate must be a number above 0 and at most 1, not 0"),
    (dict(rate=1.5), "rate must be a number above 0 and at most 1, not 1.5"),
    (dict(rate=float("nan")), "rate must be a number"),
    (dict(rate="fast"), "rate must be a number above 0 and at most 1, not 'fast'"),
    (dict(each=0), "each must be a whole number of at least 1 or None, not 0"),
    (dict(way="up"), "way must be one of 'left', 'right', not 'up'"),
    (dict(way=None), "way must be one of"),
    (dict(leaky="no"), "leaky must be True or False, not 'no'"),
    (dict(leaky=0), "leaky must be True or False, not 0"),
    (dict(leaky="False"), "leaky must be True or False, not 'False'"),
    (dict(leaky=None), "leaky must be True or False, not None"),
    (dict(each=True), "each must be a whole number of at least 1 or None, not True"),
    (dict(leaky=np.True_), "leaky must be True or False"),
    (dict(rate=np.True_), "rate must be a number"),
    (dict(parts=[1]), r"parts must be a dict, not \[1\]"),
])
def test_a_value_out_of_range_is_refused_in_words(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        Example(**{"size": 3, **given})


def test_numpys_numbers_are_numbers_and_kept_as_pythons_own():
    example = Example(np.int64(3), rate=np.float64(0.25), each=np.int32(4),
                      parts={"b": np.float32(0.5), "c": np.int64(2), "d": Fraction(1, 4)})
    assert (example.size, example.rate, example.each) == (3, 0.25, 4)
    assert type(example.size) is type(example.each) is int
    assert type(example.rate) is float
    assert json.loads(json.dumps(asdict(example)))["parts"] == dict(b=0.5, c=2.0, d=0.25)


@pytest.mark.parametrize("text", ["False", "no", "", "0", b"", None, 0, 1])
@pytest.mark.parametrize("config, leak", [(PretrainConfig, "held_out_segments"),
                                          (FinetuneConfig, "held_out_negatives")])
def test_no_text_and_no_number_switches_a_leak_on_or_off(config, leak, text):
    with pytest.raises(ValueError, match=f"{leak} must be True or False, not "):
        config(**{leak: text})
    assert not getattr(config(), leak) and getattr(config(**{leak: True}), leak) is True


def test_each_config_has_its_own_copy_of_a_default_dict():
    assert Example(2).parts == Example(3).parts == {"a": 1.0}
    assert Example(2).parts is not Example(3).parts


@pytest.mark.parametrize("saved, asked, different", [
    (dict(size=2), dict(size=2), []),
    (dict(size=2), dict(size=2, rate=0.5), []),  # saved before the setting was there
    (dict(size=2), dict(size=2, rate=0.25), ["rate"]),
    (dict(size=2, rate=0.5), dict(size=2), []),
    (dict(size=2, speed=9), dict(size=2), ["speed"]),
    (dict(size=2, old=7), dict(size=2), []),  # removed, and at the default it had
    (dict(size=2, old=8), dict(size=2), ["old"]),
])
def test_a_setting_that_a_file_does_not_name_is_at_its_default(
        saved, asked, different, monkeypatch):
    monkeypatch.setattr(Example, "retired", {"old": 7})
    assert Example.differing(saved, asked) == different


def test_a_config_is_made_of_what_any_edition_saved(monkeypatch):
    assert Example.from_saved(dict(size=4)) == Example(4)
    with pytest.raises(ValueError, match="this version has no setting old"):
        Example.from_saved(dict(size=4, old=7))
    monkeypatch.setattr(Example, "retired", {"old": 7})
    assert Example.from_saved(dict(size=4, old=7)) == Example(4)
    with pytest.raises(ValueError, match="this version has no setting old"):
        Example.from_saved(dict(size=4, old=8))
