"""What it saves to pad before the widening in EfficientNet-Lite's strided blocks: the same bits, in less time.

    python benchmarks/padding.py [--rounds 12]

One folded network scores the same four images with the padding early and where the paper has it, in turn.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor

from fracturelib.models.efficientnet_lite import Block, Lite0, fold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--size", type=int, default=384)
    args = parser.parse_args()
    torch.manual_seed(0)
    network = fold(Lite0().eval()).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, args.size, args.size).contiguous(memory_format=torch.channels_last)
    blocks = [b for b in network.modules() if isinstance(b, Block) and b.pads_at is not None]
    places = [b.pads_at for b in blocks]

    @torch.no_grad()
    def scored(early: bool) -> tuple[float, Tensor]:
        for block, place in zip(blocks, places, strict=True):
            block.pads_at = place if early else None
        begin = time.perf_counter()
        features = network(images)
        return time.perf_counter() - begin, features

    scored(True), scored(False)
    early, late = zip(*((scored(True), scored(False)) for _ in range(args.rounds)), strict=True)
    same = all(torch.equal(a, b) for (_, a), (_, b) in zip(early, late, strict=True))
    ratio = statistics.median(a / b for (a, _), (b, _) in zip(early, late, strict=True))
    print(
        f"padded early {statistics.median(t for t, _ in early):.3f} s, as published "
        f"{statistics.median(t for t, _ in late):.3f} s: {ratio:.2f} of the time; "
        f"{'the same bits' if same else 'OTHER BITS'}"
    )


if __name__ == "__main__":
    main()
