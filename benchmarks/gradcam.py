"""What a heat map costs: `python benchmarks/gradcam.py [--rounds 30]`.

Interleaved in one run, medians, as ratios to a plain forward pass of the same network on the same image: one map of the
last layer by us, grad-cam, torchcam and captum (those that are installed); ours of four stages at once; and the
forward pass again with the image in the channels-last layout, which we choose for networks with depthwise convolutions.
Then one tick of the explorer's opacity at 512 pixels, and how often the network ran for it. Stop everything else first.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import densenet121, mobilenet_v3_small, resnet18

from fracturelib.explain.gradcam import GradCAM
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import build_model, stages
from fracturelib.models.small_cnn import SmallCNN
from fracturelib.viz.gradcam_explorer import GradCAMExplorer

Work = Callable[[], Any]


def peers(model: nn.Module, layer: nn.Module, x: Tensor) -> dict[str, Work]:
    """One map of `layer` by each library that is installed, from its usual call."""
    found: dict[str, Work] = {}
    try:
        from pytorch_grad_cam import GradCAM as Theirs
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        pass
    else:

        def grad_cam() -> Any:
            with Theirs(model=model, target_layers=[layer]) as cam:
                return cam(input_tensor=x, targets=[ClassifierOutputTarget(1)])

        found["grad-cam"] = grad_cam
    try:
        from torchcam.methods import GradCAM as TorchCAM
    except ImportError:
        pass
    else:

        def torch_cam() -> Any:
            with TorchCAM(model, layer) as cam:
                return cam(1, model(x))

        found["torchcam"] = torch_cam
    try:
        from captum.attr import LayerGradCam
    except ImportError:
        pass
    else:
        found["captum"] = lambda: LayerGradCam(model, layer).attribute(x, target=1, relu_attributions=True)
    return found


def interleaved(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for i in range(rounds + 3):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if i >= 3:
                took[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in took.items()}


def passes(name: str, model: nn.Module, last: nn.Module, four: dict[str, nn.Module], x: Tensor, rounds: int) -> None:
    model.eval()

    def plain() -> Tensor:
        with torch.inference_mode():
            return model(x)

    def plain_channels_last() -> Tensor:
        with torch.inference_mode():
            return model(x.contiguous(memory_format=torch.channels_last))

    def one() -> Any:
        with GradCAM(model, last) as cam:
            return cam(x)

    def all_four() -> Any:
        with GradCAM(model, four) as cam:
            return cam(x)

    works: dict[str, Work] = {"forward": plain, "one map": one, "four stages": all_four, **peers(model, last, x)}
    times = interleaved({**works, "forward, channels last": plain_channels_last}, rounds)
    base = times.pop("forward")
    shown = ", ".join(f"{key} {value / base:.2f}" for key, value in times.items())
    print(f"{name}, {tuple(x.shape)}: a forward pass {1000 * base:.1f} ms; times that: {shown}")


def tick(rounds: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 512, 512), dtype=np.uint8)
    classifier = Classifier(build_model("small_cnn", seed=0), {"name": "small_cnn"}, 512, 0.5, 0.2)
    explorer = GradCAMExplorer(classifier, images, [0, 1, 0, 1])
    calls: list[int] = []
    handle = classifier.model.register_forward_hook(lambda *_: calls.append(1))
    took = []
    for i in range(rounds + 3):
        start = time.perf_counter()
        explorer.opacity.value = 0.3 + 0.05 * (i % 5)
        took.append(time.perf_counter() - start)
    handle.remove()
    print(f"a tick of opacity at 512 pixels: {1000 * np.median(took[3:]):.1f} ms, the network ran {len(calls)} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    colour = torch.randn(1, 3, 224, 224)
    resnet = resnet18(num_classes=2)
    parts = {f"layer{i}": resnet.get_submodule(f"layer{i}") for i in range(1, 5)}
    passes("resnet18", resnet, parts["layer4"], parts, colour, rounds)
    dense = densenet121(num_classes=2)
    blocks = {f"denseblock{i}": dense.features.get_submodule(f"denseblock{i}") for i in range(1, 5)}
    passes("densenet121", dense, dense.features, blocks, colour, rounds)
    mobile = mobilenet_v3_small(num_classes=2)
    some = {str(i): mobile.features[i] for i in (1, 3, 8, 12)}
    passes("mobilenet_v3_small", mobile, mobile.features, some, colour, rounds)
    ours = SmallCNN()
    passes("small_cnn", ours, ours.stage4, stages(ours), torch.randn(1, 1, 224, 224), rounds)
    tick(rounds)


if __name__ == "__main__":
    main()
