"""Carry values between the examiner and a student's kernel as text; nothing is ever unpickled.

This file runs on both sides. It knows numbers, strings, lists, tuples, sets, dicts, tensors, arrays
and random generators; a function is carried by its name, and is the other side's function of that
name.
"""

import base64
import io
import json

import numpy as np
import torch

LARGEST = 10 * 2**20  # bytes of an array
KINDS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def dumps(value) -> str:
    """Write a value as JSON.

    Raises
    ------
    TypeError
        If it is, or holds, something that cannot be carried, or a very large array.
    """
    return json.dumps(_packed(value))


def loads(text: str, functions: dict):
    """Read what `dumps` wrote; `functions` are those that may be named in it."""
    return _unpacked(json.loads(text), functions)


def examined(space: dict, name: str, arguments: str | None = None, gradient: str | None = None):
    """Return what the examiner asks of a name in a student's kernel: value, result or slopes."""
    if name not in space:
        return {"missing": True}
    if arguments is None:
        return {"function": True} if callable(space[name]) else {"value": dumps(space[name])}
    arguments = loads(arguments, space)
    if gradient is None:
        kept = [a for a in arguments if not isinstance(a, np.random.Generator)]
        before, value = dumps(kept), dumps(space[name](*arguments))
        if dumps(kept) != before:
            raise ValueError(f"{name} changes what it is given: work on a copy")
        return {"value": value}
    wanted = [a.requires_grad_() for a in arguments
              if isinstance(a, torch.Tensor) and a.is_floating_point()]
    value = space[name](*arguments)
    if not (isinstance(value, torch.Tensor) and value.requires_grad):  # detached from all of them
        return {"value": dumps([None] * len(wanted))}
    weighted = (value * loads(gradient, space)).sum()
    return {"value": dumps(list(torch.autograd.grad(weighted, wanted, allow_unused=True)))}


def _packed(value):
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return _packed(value.item())
    for name, kind in KINDS.items():
        if isinstance(value, kind):
            return {name: [_packed(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[_packed(key), _packed(part)] for key, part in value.items()]}
    if isinstance(value, torch.Tensor):
        return {"tensor": _bytes(value.detach().cpu().numpy())}
    if isinstance(value, np.ndarray):
        return {"array": _bytes(value)}
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    if callable(value) and hasattr(value, "__name__"):
        return {"function": value.__name__}
    raise TypeError(f"a {type(value).__name__} cannot be examined: numbers, strings, lists, dicts, "
                    f"tensors and arrays can")


def _unpacked(value, functions):
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind in KINDS:
        return KINDS[kind](_unpacked(part, functions) for part in content)
    if kind == "dict":
        return {_unpacked(key, functions): _unpacked(part, functions) for key, part in content}
    if kind in ("tensor", "array"):
        array = np.load(io.BytesIO(base64.b64decode(content)), allow_pickle=False)
        return torch.from_numpy(array) if kind == "tensor" else array
    if kind == "generator":
        generator = np.random.default_rng()
        generator.bit_generator.state = content
        return generator
    return functions[content]


def _bytes(array) -> str:
    if array.nbytes > LARGEST:
        raise TypeError(f"an array of shape {array.shape} is too large to be examined")
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()
