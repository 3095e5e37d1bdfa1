"""Several processes, one training: whose part of a batch is whose, and what they tell each other (PyTorch DDP)."""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from fracturelib._io.files import InputError
from fracturelib._io.processes import end_with_parent

LOST = ("connection", "closed", "peer", "timed out", "gloo", "nccl")  # what the library says of a lost process
PATIENCE = timedelta(minutes=30)  # the longest that one process may keep the others waiting: a validation, a download


@dataclass(frozen=True)
class ProcessGroup:
    """One process among those that train together, this one; alone if nothing is said.

    Attributes
    ----------
    rank : int
        Of this process, from 0.
    count : int
        Of processes.
    device : str
        Where this process computes: "cpu", or "cuda:0" and so on.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    def part(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every count-th of a batch, this process's: (n,) -> (about n / count,)."""
        return indices[self.rank :: self.count]

    def total(self, value: float) -> float:
        """The sum of a number over all processes."""
        if self.count == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return float(tensor)

    def gathered(self, mine: NDArray[np.float64]) -> NDArray[np.float64]:
        """The whole, on every process, from what each found of its `part`."""
        if self.count == 1:
            return mine
        parts: list[NDArray[np.float64]] = [mine] * self.count
        dist.all_gather_object(parts, mine)
        whole = np.empty((sum(len(p) for p in parts), *mine.shape[1:]), mine.dtype)
        for rank, part in enumerate(parts):
            whole[rank :: self.count] = part
        return whole

    def joined(self, module: nn.Module) -> nn.Module:
        """The network whose gradients are averaged over the processes, its batch normalisation over all of a batch."""
        if self.count == 1:
            return module
        for parent in list(module.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.BatchNorm2d:
                    setattr(parent, name, WholeBatchNorm.of(child))
        return DistributedDataParallel(module)

    def apart(self, module: nn.Module, *, until: bool) -> AbstractContextManager[None]:
        """In which gradients add up in this process alone; `until` the last, when they are averaged over all."""
        return nullcontext() if until or self.count == 1 else cast(DistributedDataParallel, module).no_sync()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


class WholeBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all processes' images: (n, c, h, w) -> (n, c, h, w).

    As torch.nn.SyncBatchNorm, which is for GPUs only.
    """

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "WholeBatchNorm":
        """The same one, with the same parameters and statistics."""
        whole = cls(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        whole.weight, whole.bias = norm.weight, norm.bias
        whole.running_mean, whole.running_var = norm.running_mean, norm.running_var
        whole.num_batches_tracked = norm.num_batches_tracked
        return whole.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Images' features (n, c, h, w) to the same shape."""
        if not self.training:
            return super().forward(x)
        precision, x = x.dtype, x.float()  # sums over many places are too long for bfloat16
        mine = x.new_tensor([x.numel() / x.shape[1]])
        sums = all_reduce(torch.cat([x.sum(dim=(0, 2, 3)), mine]))  # a gradient flows back through it
        n, mean = sums[-1].detach(), sums[:-1] / sums[-1]
        centred = x - mean[:, None, None]
        variance = all_reduce((centred**2).sum(dim=(0, 2, 3))) / n
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(precision)


class _ToldError(Exception):
    """SIGTERM: torchrun stops the processes that are left when one is lost."""


def _stop(*_: object) -> None:
    raise _ToldError


def _number(name: str, default: int, *, least: int = 0, most: int = 100_000) -> int:
    """A whole number from the environment."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 7 and least <= int(text) <= most):
        raise InputError(f"{name} is {text!r} in the environment; expected a whole number from {least} to {most}")
    return int(text)


@contextmanager
def together() -> Iterator[ProcessGroup]:
    """The processes that `torchrun` started; alone without it. NCCL between GPUs, gloo between CPUs.

    Raises
    ------
    InputError
        If the environment holds a part only of what `torchrun` sets; in the processes that are left when one is lost.
    """
    count = _number("WORLD_SIZE", 1, least=1)
    if count == 1:
        yield ProcessGroup()
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise InputError(
            f"WORLD_SIZE is {count} in the environment, without {', '.join(missing)}; expected all of them, as "
            "torchrun sets them, or none, as after `unset WORLD_SIZE`"
        )
    _number("RANK", 0, most=count - 1)
    _number("MASTER_PORT", 0, most=65535)
    end_with_parent()
    gpu = torch.cuda.is_available()
    device = f"cuda:{_number('LOCAL_RANK', 0, most=max(0, torch.cuda.device_count() - 1))}" if gpu else "cpu"
    if gpu:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        words = (str(error).strip().splitlines() or [""])[0][:120]
        raise InputError(f"{count} processes do not find each other at {where} ({words}); expected torchrun") from None
    rank = dist.get_rank()
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield ProcessGroup(rank, count, device)
    except (RuntimeError, _ToldError) as error:
        words = str(error).strip().splitlines()[0] if str(error).strip() else "told to stop"
        if isinstance(error, RuntimeError) and not any(sign in words.lower() for sign in LOST):
            raise
        raise InputError(
            f"process {rank} of {count}: another process was lost ({words[:120]}); "
            "expected all to go on: give the same command again, and training goes on from the last whole epoch"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        dist.destroy_process_group()
