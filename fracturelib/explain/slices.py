"""Which slice of a study decided, and where in it: evidence slice by slice, maps through the slices, and the truth.

A study is a volume (s, h, w) uint8; its network is a `StudyNetwork` in a `Classifier`; the truth is a mask (s, h, w)
bool of the torn part.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import GradCAM
from fracturelib.explain.localization import grown, tolerance_at
from fracturelib.explain.overlay import upsample
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import stages
from fracturelib.models.study import READ, StudyNetwork, centre, middle_slices, present_slices

Volume = NDArray[np.uint8]
Truth = NDArray[np.bool_]
Place = tuple[int, int, int]


class SliceExplainer:
    """What a network makes of each slice of a study, which slice decides, and whether that is where the tear is.

    Evidence is the logit of "torn" minus that of "whole", before the temperature.

    Parameters
    ----------
    classifier : Classifier
        Of a `StudyNetwork`.

    Raises
    ------
    InputError
        If the network is none of studies; by each method, if a study is no (s, h, w) uint8.

    Examples
    --------
    >>> classifier = Classifier(StudyNetwork("mean", width=4), {"name": "study_network"}, 32, 0.5, 0.2)
    >>> study = np.random.default_rng(0).integers(0, 256, (5, 32, 32)).astype(np.uint8)
    >>> explainer = SliceExplainer(classifier)
    >>> explainer.evidence(study)["weight"].round(2).tolist()  # the middle three are read
    [0.0, 0.33, 0.33, 0.33, 0.0]
    >>> explainer.deciding_slice(study) in (1, 2, 3), explainer.maps(study).shape
    (True, (5, 32, 32))
    """

    def __init__(self, classifier: Classifier) -> None:
        if not isinstance(classifier.model, StudyNetwork):
            raise InputError(f"the network is {classifier.architecture['name']}; expected study_network")
        self.classifier, self.model = classifier, classifier.model.eval()

    def _tensor(self, study: Volume) -> torch.Tensor:
        """As the network wants it: (1, s, h, w)."""
        if not isinstance(study, np.ndarray) or study.ndim != 3 or study.dtype != np.uint8 or not study.size:
            found = f"{study.dtype} of shape {study.shape}" if isinstance(study, np.ndarray) else type(study).__name__
            raise InputError(f"study is {found}; expected uint8, (slices, height, width)")
        return self.classifier.tensor(study[None])

    def evidence(self, study: Volume) -> pd.DataFrame:
        """What each slice adds to the evidence that the study shows a tear: (s, h, w) uint8 -> one row a slice.

        weight: how much the pooling makes of it, 0..1, with the sum 1. evidence: of the slice by itself. contribution:
        weight times evidence; the sum is the study's evidence. change: the study's evidence minus that of the study
        without the slice (all of it, where no other slice is read). All are 0 for slices that the network does not
        read.
        """
        x = self._tensor(study)
        with torch.inference_mode():
            places, _ = self.model.places(x)
            features, logits = self.model.each_slice(x[:, places[0]])  # (1, k, ...)
            k = len(places[0])
            every = torch.cat([torch.ones(1, k), 1 - torch.eye(k)]).bool()  # in row 1 + i all but slice i
            weights = self.model.weights(features.expand(k + 1, -1, -1), logits.expand(k + 1, -1, -1), every)
            weights = torch.where(every, weights, 0.0)  # where there is no other slice, nothing is left
            own = logits[0, :, 1] - logits[0, :, 0]
            evidence = weights @ own  # of the study, and of the study without each slice
        values = {
            "weight": weights[0],
            "evidence": own,
            "contribution": weights[0] * own,
            "change": evidence[0] - evidence[1:],
        }
        found = pd.DataFrame({name: value.double().numpy() for name, value in values.items()}, index=places[0].numpy())
        return found.reindex(range(len(study)), fill_value=0.0).rename_axis("slice")

    def deciding_slice(self, study: Volume) -> int:
        """The slice without which the evidence for a tear would fall most: the largest change of `evidence`.

        Only slices that the pooling gives a weight are asked.
        """
        return deciding_of(self.evidence(study))

    def maps(self, study: Volume, *, layer: str | None = None) -> NDArray[np.float32]:
        """Grad-CAM of the study's evidence for a tear, through every slice: (s, h, w) float32, in logit units.

        `layer` is "stage1" (fine) to "stage4" (coarse), the last if not given; another is an InputError. Slices that
        the pooling gives no weight are 0, and so is what the network does not read.
        """
        layers = stages(self.model)
        name = list(layers)[-1] if layer is None else layer
        if name not in layers:
            raise InputError(f"layer is {name!r}; expected one of {', '.join(layers)}")
        x = self._tensor(study)
        with GradCAM(self.model, layers[name]) as cam:
            heats = cam(x, "difference")
        maps = np.zeros(study.shape, np.float32)
        read = maps[(slice(None), *centre(*study.shape[1:]))]  # a view
        for place, heat in zip(self.model.places(x)[0][0].tolist(), heats, strict=True):
            read[place] = upsample(heat, read.shape[1:])
        return maps

    def judge(self, studies: Sequence[Volume] | Volume, masks: Sequence[Truth] | Truth) -> pd.DataFrame:
        """Whether the deciding slice shows the tear, and whether the map's peak lies in it, for each torn study.

        Parameters
        ----------
        studies : n of (s, h, w) uint8
        masks : n of (s, h, w) bool
            None of them empty.

        Returns
        -------
        DataFrame
            One row a study; 1 for yes and 0 for no, or a probability.
            slice, slice of the middle, slice by chance: whether the slice that is chosen shows a part of the tear.
            peak, peak of the middle, peak by chance: whether the place that is chosen lies in the mask, dilated as by
            `grown_in_slices`. The middle is the middle of the middle slice; chance is any slice that is read by
            networks of several, and any place that they read in it.

        Raises
        ------
        InputError
            If shapes do not fit, or a mask is empty or none.
        """
        if len(studies) != len(masks) or not len(masks):
            raise InputError(
                f"masks has {len(masks)} volumes; expected one for each of {len(studies)} studies, at least one"
            )
        rows = []
        for i, (given, mask) in enumerate(zip(studies, masks, strict=True)):
            study = np.ascontiguousarray(given)  # a mirrored view has strides that PyTorch does not take
            if not np.isin(mask, (0, 1)).all():
                raise InputError(f"mask {i} has values other than 0 and 1; expected a mask")
            if mask.shape != study.shape or not mask.any():
                raise InputError(
                    f"mask {i} has shape {mask.shape} and {int(mask.sum())} pixels; expected a tear in {study.shape}"
                )
            if not present_slices(torch.from_numpy(study[None])).any():
                raise InputError(f"study {i} has one grey value in each slice; expected one that shows something")
            rows.append(self._judged(study, mask.astype(bool), grown_in_slices(mask)))
        return pd.DataFrame(rows)

    def _judged(self, study: Volume, mask: Truth, near: Truth) -> dict[str, float]:
        """A row of `judge`; `near` is the mask with what counts beside it."""
        shows = np.asarray(mask.any(axis=(1, 2)))
        present = present_slices(torch.from_numpy(study[None]))
        read, middle = (middle_slices(present, part)[0].numpy() for part in (READ, 0.0))
        peak = volume_peak(self.maps(study))
        return {
            "slice of the middle": float(shows[middle].any()),
            "slice by chance": float(shows[read].mean()),
            "peak of the middle": float(near[middle, study.shape[1] // 2, study.shape[2] // 2].any()),
            "peak by chance": float(near[(read, *centre(*study.shape[1:]))].mean()),
            "slice": float(shows[self.deciding_slice(study)]),
            "peak": float(peak is not None and near[peak]),
        }


def deciding_of(evidence: pd.DataFrame) -> int:
    """The slice that decides, of a table of `SliceExplainer.evidence`."""
    return int(evidence["change"].where(evidence["weight"] > 0).idxmax())


def volume_peak(maps: NDArray[np.float32]) -> Place | None:
    """Slice, row and column of the strongest evidence: (s, h, w) -> three int; None if there is none.

    Examples
    --------
    >>> maps = np.zeros((2, 3, 3), np.float32)
    >>> maps[1, 2, 0] = 0.5
    >>> volume_peak(maps)
    (1, 2, 0)
    """
    if not np.isfinite(maps).all():
        raise InputError("maps has values that are not finite; expected numbers")
    if not maps.max(initial=0.0) > 0:
        return None
    place, row, column = np.unravel_index(int(np.argmax(maps)), maps.shape)
    return int(place), int(row), int(column)


def grown_in_slices(mask: Truth) -> Truth:
    """A mask dilated within each slice by `tolerance_at` its size: (s, h, w) bool -> the same.

    Slices without a part of the mask stay empty.
    """
    near = tolerance_at(mask.shape[1])
    return np.stack([grown(part, near) > 0 if part.any() else np.zeros(part.shape, bool) for part in mask])
