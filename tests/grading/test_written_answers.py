"""The written answers that a teacher grades by: what they state is computed here."""

import math
import re

import nbformat
import torch
from conftest import ROOT

from s3rec_mini import info_nce


def solution(assignment, cell):
    """The text of a written answer's cell, its lines joined."""
    path = ROOT / "book" / "assignments" / f"{assignment}.ipynb"
    (text,) = (each.source for each in nbformat.read(path, as_version=4).cells if each.id == cell)
    return " ".join(text.split())


def test_what_the_answer_says_of_twins_among_the_negatives_is_so():
    # X = Y, uniform on four values, and the other 63 rows of a batch as negatives.
    said = re.search(r"left in, the best critic gives (\d\.\d+); taken out, it can win every round "
                     r"and gives log 64 = (\d\.\d+)", solution("mutual_information", "q6-written"))
    generator, batches, B = torch.Generator().manual_seed(0), 400, 64
    y = torch.randint(4, (batches, B), generator=generator)
    same = y[:, :, None] == y[:, None, :]  # (batches, B, B)
    f = torch.where(same, 0.0, -torch.inf)  # the best critic, log w + c
    own = torch.eye(B, dtype=torch.bool)
    others = f[:, ~own].view(batches * B, B - 1)
    left_in = math.log(B) - info_nce(torch.zeros(batches * B), others).mean().item()
    assert abs(left_in - float(said[1])) < 0.01 and left_in < math.log(4)
    taken_out = f.masked_fill(same, -torch.inf)[:, ~own].view(batches * B, B - 1)
    claimed = math.log(B) - info_nce(torch.zeros(batches * B), taken_out).mean().item()
    assert abs(claimed - float(said[2])) < 0.001 and claimed > math.log(4)
