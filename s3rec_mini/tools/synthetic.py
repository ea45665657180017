"""A generated world whose mutual informations are known exactly."""

import math

import numpy as np
import torch

from ..datasets import SequenceDataset


def dataset_of_ids(name: str, sequences, item_attributes: torch.Tensor) -> SequenceDataset:
    """Make a dataset that has no names but "item 17", "attribute 5" and "user 1"."""
    rows, columns = item_attributes.shape
    items, attributes, users = ([f"{kind} {number}" for number in range(1, end)] for kind, end in (
        ("item", rows - 1), ("attribute", columns), ("user", len(sequences) + 1)))
    return SequenceDataset(name, sequences, item_attributes, ("[padding]", *items, "[mask]"),
                           ("[padding]", *attributes), users)


def planted_structure(num_users=400, num_groups=8, items_per_group=20, attributes_per_group=2,
                      stay=0.8, lengths=(5, 30), segment_length=2, seed=0,
                      ) -> tuple[SequenceDataset, dict[str, float]]:
    """Generate data whose mutual informations (equation 1) are known exactly.

    Items form groups; an item has all attributes of its group. A user starts in any group, stays
    for the next item with probability `stay`, else moves to another; the item is any of the group.
    All of these choices are uniform, so the chain of groups is stationary.

    Parameters
    ----------
    num_users, num_groups, items_per_group, attributes_per_group : int
        Sizes, 1 or more; 2 groups or more.
    stay : float
        Probability in [0, 1].
    lengths : tuple of int
        Shortest (3 or more) and longest sequence; lengths are uniform between them.
    segment_length : int
        Items in the segment of "segment_neighbours".
    seed : int

    Returns
    -------
    data : SequenceDataset
        num_groups * items_per_group items and num_groups * attributes_per_group attributes, both
        numbered group by group.
    information : dict of str to float
        In nats, of an item and: "item_attribute", one of its attributes (uniform; equation 5);
        "item_previous", the item before; "item_neighbours", the two around it (6);
        "segment_neighbours", for a segment instead of the item, the two around it (8).

    Raises
    ------
    ValueError
        For arguments outside these ranges.

    Notes
    -----
    Given its group an item tells nothing more, so these are informations of groups. Let h(n) be the
    entropy of the group n steps from a known one, G the number of groups, A and B the groups before
    and after a segment S of n. The chain is Markov and symmetric in time, so
    I(S; A, B) = H(A, B) - H(A | S) - H(B | S) = log G + h(n + 1) - 2 h(1).
    """
    sizes = (num_users, num_groups - 1, items_per_group, attributes_per_group, segment_length)
    if min(sizes) < 1 or not 0 <= stay <= 1 or not 3 <= lengths[0] <= lengths[1]:
        raise ValueError("sizes must be 1 or more, groups 2 or more, stay in [0, 1] and lengths in "
                         f"order from 3 up, not {sizes} (groups - 1), {stay=}, {lengths=}")
    rng = np.random.default_rng(seed)
    ends = rng.integers(lengths[0], lengths[1], size=num_users, endpoint=True)  # (users,)
    shape = (num_users, lengths[1])
    steps = rng.integers(1, num_groups, size=shape) * (rng.random(shape) >= stay)  # 0: it stays
    steps[:, 0] = rng.integers(num_groups, size=num_users)
    groups = steps.cumsum(axis=1) % num_groups  # (users, longest)
    items = groups * items_per_group + rng.integers(items_per_group, size=shape) + 1
    own = np.kron(np.eye(num_groups), np.ones((items_per_group, attributes_per_group)))
    table = torch.from_numpy(np.pad(own, [(1, 1), (1, 0)]).astype(np.uint8))
    sequences = tuple(row[:end] for row, end in zip(items, ends, strict=True))
    data = dataset_of_ids("planted structure", sequences, table)
    return data, _planted_information(num_groups, stay, segment_length)


def _planted_information(num_groups: int, stay: float, segment_length: int) -> dict[str, float]:
    def h(steps: int) -> float:  # nats; `shrink` is the second eigenvalue of the chain
        shrink = stay - (1 - stay) / (num_groups - 1)
        same = (1 + (num_groups - 1) * shrink**steps) / num_groups
        outcomes = [(same, 1), (1 - same, num_groups - 1)]  # probability, in how many equal parts
        return -sum(p * math.log(p / parts) for p, parts in outcomes if p > 0)

    whole = math.log(num_groups)
    return {"item_attribute": whole, "item_previous": whole - h(1),
            "item_neighbours": whole + h(2) - 2 * h(1),
            "segment_neighbours": whole + h(segment_length + 1) - 2 * h(1)}
