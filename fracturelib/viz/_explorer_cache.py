"""The explorer's memory: what a network said of an image is asked once."""

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn

from fracturelib._io.files import InputError
from fracturelib.explain.cam_methods import METHODS
from fracturelib.explain.gradcam import GradCAM, Maps, combined
from fracturelib.explain.perturbation import Progress, occlusion, score_cam, without
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import stages
from fracturelib.viz._explorer_render import Box, Picture

PLAIN, SCORE, OCCLUSION, LOCALIZER = "CAM", "Score-CAM", "Occlusion", "Taught map"
SLOW = (SCORE, OCCLUSION)
UNITLESS = ("Grad-CAM++", "Eigen-CAM", PLAIN, SCORE, LOCALIZER)  # not in logit units
REMEMBERED = 512  # images whose maps are kept
SHARED = 32  # images from which the shared scale is taken


class MapMemory:
    """Raw maps by image and target, and scores of covered images.

    Parameters
    ----------
    classifier : Classifier
    images : list of (size, size) uint8

    Attributes
    ----------
    passes : int
        How often a network ran.
    """

    def __init__(self, classifier: Classifier, images: list[Picture]) -> None:
        self.classifier, self.images, self.passes = classifier, images, 0
        self._given = len(images)
        self._maps: OrderedDict[tuple[int, str], dict[tuple[str, str], Maps]] = OrderedDict()
        self._tops: dict[tuple[str, str, str], float] = {}
        self._covered: dict[tuple[int, Box], float] = {}

    def maps(self, index: int, target: str) -> dict[tuple[str, str], Maps]:
        """Raw maps of an image from one pass: (layer, method) -> (h', w') float32; slow ones once computed."""
        key = (index, target)
        if key not in self._maps:
            classifier = self.classifier
            with GradCAM(classifier.model, stages(classifier.model)) as cam:
                evidence = cam.evidence(classifier.tensor(self.images[index][None]), target)
            self.passes += 1
            found = {
                (layer, method): combined(*parts, method=method)[0]
                for layer, parts in evidence.items()
                for method in METHODS
            }
            last, (activation, _) = list(evidence.items())[-1]
            weights = head_weights(classifier.model, target, activation.shape[1])
            if weights is not None:
                found[last, PLAIN] = plain_cam(activation, weights)
            if classifier.localizes:
                cells = classifier.localize(self.images[index][None])[0]
                found.update({(name, LOCALIZER): cells for name in evidence})
                self.passes += 1
            self._maps[key] = found
            while len(self._maps) > REMEMBERED:
                self._maps.popitem(last=False)
        self._maps.move_to_end(key)
        return self._maps[key]

    def raw(self, index: int, layer: str, method: str, target: str) -> Maps | None:
        """A raw map; None if the method does not apply to the layer, or is slow and was not computed yet."""
        return self.maps(index, target).get((layer, method))

    def compute(self, index: int, layer: str, method: str, target: str, *, progress: Progress | None = None) -> None:
        """Compute a slow map: Score-CAM of a layer, or occlusion, which is the same for all layers."""
        classifier = self.classifier
        x = classifier.tensor(self.images[index][None])
        found = self.maps(index, target)

        def counted(share: float) -> None:
            self.passes += 1
            if progress is not None:
                progress(share)

        if method == SCORE:
            module = stages(classifier.model)[layer]
            found[layer, SCORE] = score_cam(classifier.model, module, x, target, progress=counted)
            return
        side = max(8, classifier.size // 8)
        heat = occlusion(classifier.model, x, target, side=side, stride=side // 2, progress=counted)
        found.update({(name, OCCLUSION): heat for name in stages(classifier.model)})

    def top(self, layer: str, method: str, target: str) -> float:
        """The strongest evidence among the first images, a scale that is the same for all; 0 if there is none."""
        key = (layer, method, target)
        if method in SLOW:
            return 0.0
        if key not in self._tops:
            found = [self.raw(i, layer, method, target) for i in range(min(SHARED, self._given))]
            self._tops[key] = max((float(m.max()) for m in found if m is not None), default=0.0)
        return self._tops[key]

    def score_without(self, index: int, box: Box) -> float:
        """P(Fractured) when a rectangle (top, left, height, width, in input pixels) has the image's mean grey."""
        key = (index, box)
        if key not in self._covered:
            classifier = self.classifier
            x = without(classifier.tensor(self.images[index][None]), box)
            with torch.inference_mode():
                logits = classifier.model.eval()(x).double() / classifier.temperature
            self.passes += 1
            score = float(torch.softmax(logits, dim=1)[0, 1])
            if not np.isfinite(score):
                raise InputError("the network gives no number for the covered image; expected a score in 0..1")
            self._covered[key] = score
        return self._covered[key]

    def add(self, image: Picture) -> float:
        """Add an image, and score it."""
        score = float(self.classifier.scores(image[None])[0])
        self.images.append(image)
        self.passes += 1
        return score

    def clear(self) -> None:
        """Forget."""
        for memory in (self._maps, self._tops, self._covered):
            memory.clear()


def head_weights(model: nn.Module, target: str, channels: int) -> Tensor | None:
    """The linear head's weights for a target, (channels,), if the network ends in one called `head`; else None."""
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Linear) or head.in_features != channels:
        return None
    rows = head.weight.detach()
    if len(rows) > 2:
        return None
    if len(rows) == 1:
        return -rows[0] if target == "not fractured" else rows[0]
    return {"fractured": rows[1], "not fractured": rows[0]}.get(target, rows[1] - rows[0])


def plain_cam(activation: Tensor, weights: Tensor) -> Maps:
    """Class activation map (Zhou et al. 2016, doi 10.1109/CVPR.2016.319): (1, k, h, w), (k,) -> (h, w) float32."""
    return (activation[0] * weights[:, None, None]).sum(dim=0).relu().float().numpy()
