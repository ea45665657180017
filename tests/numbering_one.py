"""Files whose users and items the first edition (commit e576628) numbered, and what stored that.

    git worktree add /tmp/one e576628 && cp tests/numbering_one.py /tmp/one/tests/ && cd /tmp/one
    python tests/numbering_one.py > FILE

writes what `tests/reference/numbering.json` holds.
"""

import json
import tempfile
from pathlib import Path

import pandas as pd

from s3rec_mini import SequenceDataset

KEYS = {  # no two of a kind are the same number: those the first edition joined without a word
    "whole numbers": ["10", "9", "100", "2", "-3", "0", "-20", "33"],
    "leading zeros": ["010", "9", "0100", "2", "00033", "1", "07", "5"],
    "signs and blanks": ["+10", "9", " 100", "2 ", "-3", "+4", "  33", "8"],
    "beyond 53 bits": ["9007199254740993", "9007199254740992", "99", "9007199254740991",
                       "10000000000000000", "9223372036854775807", "-9007199254740993", "1"],
    "unsigned": ["18446744073709551615", "9", "9223372036854775808", "10", "100", "2", "3", "33"],
    "beyond 64 bits": ["99999999999999999999", "9", "100000000000000000000", "10", "2", "3",
                       "33", "340282366920938463463374607431768211455"],
    "fractions": ["10.0", "9.5", "100.25", "2.125", "-3.5", ".5", "33.", "1"],
    "exponents": ["1e3", "200", "3E1", "2e-2", "9", "1.5e2", "7.0", "10"],
    "words": ["b", "a", "B", "A", "ab", "aB", "é", "z"],
    "words and numbers": ["item 10", "item 9", "item 100", "10", "9", "B003", "100", "2"],
    "nearly numbers": ["1_0", "9", "100", "2", "33", "7", "5", "0"],
    "other digits": ["١٠", "9", "100", "2", "33", "7", "5", "0"],
    "hexadecimal": ["0x10", "9", "100", "2", "33", "7", "5", "0"],
    "commas": ["1,5", "1,25", "10", "9", "100", "2", "33", "7"],
    "truth": ["True", "False"],
}


def written(keys, folder):
    """Write a ring of these items, and one of these users, as one file; return its path."""
    path = Path(folder) / "ring.csv"
    rows = [f'"{user}","{keys[(row + step) % len(keys)]}",{step}'
            for row, user in enumerate(keys) for step in range(5)]
    path.write_text("\n".join(["user,item,timestamp", *rows, ""]), encoding="utf8")
    return path


def sequences(data):
    """Say who chose what, both by number; each key is a user's too, so all orders show."""
    return [items.tolist() for items in data.sequences]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        frames = {kind: pd.read_csv(written(keys, folder)) for kind, keys in KEYS.items()}
    stored = {kind: sequences(SequenceDataset.from_interactions(frame))
              for kind, frame in frames.items()}
    print(json.dumps(stored))
