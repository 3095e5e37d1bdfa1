"""The precision that a training computes in: bfloat16 where the processor multiplies it faster, float32 elsewhere."""

import torch

from fracturelib._io.files import InputError


def resolved_precision(precision: str) -> str:
    """The precision to compute in: for "auto", what this processor does fastest.

    Raises
    ------
    InputError
        If there is no precision of that name.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise InputError(f"precision is {precision!r}; expected auto, float32 or bfloat16")
    if precision != "auto":
        return precision
    capable = torch.cpu.get_capabilities()
    fast = capable.get("avx512_bf16") or capable.get("amx_bf16") or capable.get("bf16")
    return "bfloat16" if fast or torch.cuda.is_available() else "float32"


def autocast(device: str, precision: str) -> torch.autocast:
    """In which what is computed is computed in bfloat16, if that is the precision."""
    return torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bfloat16")
