"""Check the package on a GPU against the CPU, and measure it there: one command, six minutes.

    python benchmarks/gpu.py                      # on a machine with a CUDA GPU
    python benchmarks/gpu.py --device cpu --small  # the same steps where there is none

It compares losses and gradients of one batch, and an epoch of both stages, with the CPU's; kills a
run and resumes it; and prints sequences per second, in float32, in bfloat16 and compiled, with the
share of an epoch that goes into waiting for batches. Nothing is fetched: the data are generated, or
ship. Each section stands alone: one that fails is printed, and the others go on; the exit status is
0 if all passed.
"""

import copy
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of a checkout, installed or not
import s3rec_mini as s3

FORMS = {form: dict.fromkeys(("aap", "mip", "map", "sp"), form) for form in ("released", "infonce")}
LOSSES = ("pairwise", "pointwise", "softmax")
VARIANTS = {"float32": {}, "bfloat16": {"ACCELERATE_MIXED_PRECISION": "bf16"},
            "compiled": {"ACCELERATE_DYNAMO_BACKEND": "inductor",
                         "ACCELERATE_DYNAMO_USE_DYNAMIC": "true"}}
NEAR = 1e-3  # the largest relative difference that other orders of addition are allowed


# ---- what a process of its own does: accelerate finds one device a process


def world(small: bool):
    """Return generated data: some thousand users and items, or few."""
    sizes = dict(num_users=60, items_per_group=10) if small else dict(
        num_users=6000, num_groups=40, items_per_group=250, lengths=(10, 60))
    return s3.planted_structure(**sizes)[0]


def new_model(data, **sizes):
    """Return a model that starts from the same weights each time."""
    torch.manual_seed(0)
    return s3.S3Rec(s3.ModelConfig.for_dataset(data, **sizes))


def one_epoch(small: bool) -> dict:
    """Pretrain and finetune for an epoch without dropout; return the losses."""
    data = s3.load_dataset("movielens-small").subset(np.arange(40 if small else 300))
    model = new_model(data, dropout=0.0)
    config = s3.PretrainConfig(epochs=1, batch_size=50, prefixes_per_user=2)
    first = s3.pretrain(model, data, config)[0]
    second = s3.finetune(model, data, s3.FinetuneConfig(epochs=1, batch_size=50))[0]
    return {"device": str(model.device), "finetuning": second["loss"],
            **{name: first[name] for name in ("aap", "mip", "map", "sp", "loss")}}


def a_run(small: bool, folder: str) -> dict:
    """Pretrain for six epochs with dropout, saving to `folder`; return the last loss."""
    data = world(small=True)
    config = s3.PretrainConfig(epochs=6, batch_size=20)
    return {"loss": s3.pretrain(new_model(data), data, config, folder)[-1]["loss"]}


def speed(small: bool) -> dict:
    """Pretrain an epoch to warm up and one to time; return sequences per second, and waiting."""
    data, batch_size = world(small), 50 if small else 400
    config = s3.PretrainConfig(epochs=2, batch_size=batch_size, prefixes_per_user=4)
    model = new_model(data)
    record = s3.pretrain(model, data, config)[-1]
    start = time.perf_counter()
    for batch in s3.pretraining_batches(data, batch_size=batch_size, prefixes_per_user=4, epoch=1):
        batch.to(model.device)
    waiting = time.perf_counter() - start
    on_gpu = model.device.type == "cuda"
    return {"sequences/s": record["sequences"] / record["seconds"], "loss": record["loss"],
            "share of waiting for batches": waiting / record["seconds"],
            "peak MiB": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None}


WORK = {"one_epoch": one_epoch, "a_run": a_run, "speed": speed}


def start(device: str, work: str, *arguments, **variables) -> subprocess.Popen:
    """Start one of `WORK` in a process that finds `device`."""
    environment = {**os.environ, "TQDM_DISABLE": "1", **variables}
    environment.pop("ACCELERATE_USE_CPU", None)
    if device == "cpu":
        environment["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, __file__, "--work", json.dumps([work, *arguments])]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen, seconds: float = 150) -> dict:
    """Wait for a process and return what it printed."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise RuntimeError(f"not done within {seconds:.0f} seconds") from None
    if process.returncode:
        raise RuntimeError(err.strip().splitlines()[-1] if err.strip() else process.returncode)
    return json.loads(out.splitlines()[-1])


# ---- sections: each returns what it found, with the largest relative difference under "difference"


def difference(found, wanted) -> float:
    """Return the largest difference of two tensors, by the largest element of the second."""
    found, wanted = (torch.as_tensor(x, dtype=torch.float64, device="cpu") for x in (found, wanted))
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12))


def losses_of(model, data, batch, triples) -> dict:
    """Return every pretraining and finetuning loss as a function without arguments."""
    table = data.item_attributes.to(model.device)
    examples, triples = batch.to(model.device), triples.to(model.device)
    found = {f"{form} pretraining": lambda forms=forms: sum(
        s3.pretraining_losses(model, examples, table, forms).values())
        for form, forms in FORMS.items()}
    return found | {f"{loss} finetuning": lambda loss=loss: s3.finetuning_loss(
        model, triples, loss) for loss in LOSSES}


def losses_and_gradients(device: str, small: bool) -> dict:
    """Compare the losses and gradients of a batch of MovieLens with those of the CPU."""
    data = s3.load_dataset("movielens-small")
    batch = next(iter(s3.pretraining_batches(data, batch_size=16 if small else 100)))
    triples = next(iter(s3.finetuning_batches(data, batch_size=16 if small else 100)))
    here = new_model(data, dropout=0.0).double()
    there = copy.deepcopy(here).to(device)
    differences = {}
    for name in losses_of(here, data, batch, triples):
        (loss, gradient), (wanted, wanted_gradient) = (
            loss_and_gradient(model, losses_of(model, data, batch, triples)[name])
            for model in (there, here))
        differences[f"{name}, loss"] = difference(loss, wanted)
        differences[f"{name}, gradient"] = difference(gradient, wanted_gradient)
    return {"difference": max(differences.values()), **differences}


def loss_and_gradient(model, loss) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a loss and its gradient by all weights that it depends on."""
    model.zero_grad()
    value = loss()
    value.backward()
    return value.detach(), torch.cat([
        weight.grad.flatten().cpu() for weight in model.parameters() if weight.grad is not None])


def an_epoch(device: str, small: bool) -> dict:
    """Compare the losses of an epoch of both stages with those of the CPU."""
    processes = [start(where, "one_epoch", small) for where in (device, "cpu")]
    found, wanted = (answer(process) for process in processes)
    if not found["device"].startswith(device):
        raise RuntimeError(f"accelerate took {found['device']}, not {device}")
    differences = {name: difference(found[name], wanted[name]) for name in wanted
                   if name != "device"}
    return {"difference": max(differences.values()), **differences}


def kill_and_resume(device: str, small: bool) -> dict:
    """Kill a run once it has saved two epochs, resume it, and compare with an unbroken one."""
    with tempfile.TemporaryDirectory() as folder:
        broken, whole = (str(Path(folder, name)) for name in ("broken", "whole"))
        process, saved = start(device, "a_run", small, broken), Path(broken, "pretrain.safetensors")
        times: set[int] = set()
        while len(times) < 2 and process.poll() is None:
            times |= {saved.stat().st_mtime_ns} if saved.exists() else set()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        process.communicate()
        resumed = answer(start(device, "a_run", small, broken))["loss"]
        unbroken = answer(start(device, "a_run", small, whole))["loss"]
    if not killed:
        raise RuntimeError("the run was done before it could be killed")
    return {"difference": difference(resumed, unbroken), "the same bits": resumed == unbroken}


def throughput(device: str, small: bool) -> dict:
    """Measure pretraining in each variant; the losses must stay near those of float32."""
    found, failed = {}, {}
    for name, variables in VARIANTS.items():
        if small and name == "compiled":
            continue  # a minute of compiling tells nothing about a tiny run
        try:
            found[name] = answer(start(device, "speed", small, **variables))
        except RuntimeError as error:
            failed[name] = str(error)[:200]
    plain = found["float32"]["loss"]
    apart = max(abs(run["loss"] / plain - 1) for run in found.values())
    # A different precision is another run: its loss may differ by a few in a hundred, no more.
    return {"difference": 0.0 if apart < 0.05 else apart, **found, **failed}


SECTIONS = (losses_and_gradients, an_epoch, kill_and_resume, throughput)


def main(
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the steps.")] = "cuda",
    small: Annotated[bool, typer.Option("--small", help="Seconds instead of minutes.")] = False,
    results: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    work: Annotated[str | None, typer.Option(hidden=True)] = None,
):
    """Check and measure."""
    if work:  # this process was started by one of the sections
        name, *arguments = json.loads(work)
        print(json.dumps(WORK[name](*arguments)))
        return
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA GPU here: --device cpu --small tries the steps without")
    record = {"python": platform.python_version(), "torch": torch.__version__, "device": device,
              "name": torch.cuda.get_device_name() if device == "cuda" else platform.processor()}
    print(json.dumps(record))
    for section in SECTIONS:
        begun = time.perf_counter()
        try:
            found = section(device, small)
            found["passed"] = found["difference"] < NEAR
        except Exception as error:  # whatever it is, the other sections tell more
            found = {"passed": False, "error": f"{type(error).__name__}: {error}"}
        record[section.__name__] = found | {"took s": round(time.perf_counter() - begun, 1)}
        print(f"{'PASS' if found['passed'] else 'FAIL'} {section.__name__}: "
              f"{json.dumps(record[section.__name__], indent=1)}", flush=True)
    if results:
        results.write_text(json.dumps(record, indent=1) + "\n")
    passed = [record[section.__name__]["passed"] for section in SECTIONS]
    print(f"{sum(passed)} of {len(passed)} sections passed")
    sys.exit(not all(passed))


if __name__ == "__main__":
    typer.run(main)
