"""Whether what a checkpoint says can be meant: each value by itself, and the shapes before anything is built."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fracturelib._io.files import InputError, printable
from fracturelib.data.labels import CLASSES, STUDY_CLASSES
from fracturelib.metrics.operating_point import GRAMMAR, parse_rule
from fracturelib.models.backbones import is_backbone
from fracturelib.models.familiarity import Familiarity, collected_features
from fracturelib.models.poolings import POOLINGS
from fracturelib.models.regions import Regions
from fracturelib.models.registry import MODELS, model_class
from fracturelib.models.tensor_file import TensorHeader

OLD_NAMES = {"taught_lite0": "localizing_efficientnet"}
VALUES = {
    "architecture", "size", "mean", "std", "fingerprint", "temperature", "thresholds", "default_rule", "classes",
    "version", "extra", "closer_look", "regions",
}  # fmt: skip
SIZES = (16, 4096)
WIDEST = 1024
STEEPEST = 1e6  # weight of a look, or of a feature for a region
FARTHEST = 100.0  # logits between the thresholds of two regions
MOST_REGIONS = 64
TEMPERATURES = (1e-3, 1e3)
DEVIATIONS = (1e-3, 1.0)  # `train.grey_statistics` gives none below


class OddCheckpointError(ValueError):
    """What cannot be meant, in words, and what was expected."""

    def __init__(self, words: str, expected: str) -> None:
        super().__init__(f"{printable(words)}; expected {expected}")


def _odd(name: str, found: object, expected: str) -> OddCheckpointError:
    shown = repr(found)
    return OddCheckpointError(f"{name} is {shown if len(shown) <= 80 else shown[:77] + '...'}", expected)


def _whole(value: object) -> bool:
    return type(value) is int


def _number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # type: ignore[arg-type]  # NaN is not below, either


def _is_text(value: object, *, longest: int = 200) -> bool:
    return isinstance(value, str) and len(value) <= longest


def is_name(value: object) -> bool:
    """Whether this is text of one line, of 200 characters at most."""
    return _is_text(value) and str(value).isprintable()


def from_older_version(values: Mapping[str, Any], version: int) -> dict[str, Any]:
    """The values of a checkpoint of an older format, as they are now; what is odd stays so.

    Until version 3 a network could score the mean of an image and its mirror image; one that did is refused. Until
    version 4 no threshold depended on the region.
    """
    if version >= 4:
        return dict(values) if version > 4 else {**values, "regions": None}
    mirrored = values.get("looks", 1) != 1 if version == 1 else values.get("tta", False) is not False
    if mirrored:
        raise OddCheckpointError("scores are means of two looks, as older checkpoints could have", "one look")
    new = {key: value for key, value in values.items() if key not in ("looks", "tta", "tta_calibration")}
    new["closer_look"] = new["regions"] = None
    if version > 1:
        return new
    extra, architecture = values.get("extra"), values.get("architecture")
    if isinstance(extra, dict):
        renamed = {"recipe": "config"}
        new["extra"] = {renamed.get(key, key): value for key, value in extra.items() if key != "two looks"}
    if isinstance(architecture, dict) and isinstance(name := architecture.get("name"), str):
        new["architecture"] = architecture | {"name": OLD_NAMES.get(name, name)}
    return new


def check_values(values: Mapping[str, Any]) -> None:
    """Raise `OddCheckpointError` unless these are the values of a classifier: what `Classifier` has, less its network.

    A threshold may be infinite: then nobody is predicted fractured.
    """
    if missing := sorted(VALUES - values.keys()):
        raise OddCheckpointError(f"values is without {', '.join(missing)}", "all of them")
    if extra := [key for key in values if key not in VALUES]:
        raise OddCheckpointError(f"values is with {extra[0]}", f"{', '.join(sorted(VALUES))} only")
    check_architecture(values["architecture"])
    localizing = values["architecture"]["name"] not in ("small_cnn", "study_network")
    least, most, step = (32, SIZES[1], 32) if localizing else (*SIZES, 1)
    if not _whole(values["size"]) or not least <= values["size"] <= most or values["size"] % step:
        raise _odd("size", values["size"], f"{least} to {most} pixels" + (", a multiple of 32" if localizing else ""))
    for name, (low, high) in (("mean", (0.0, 1.0)), ("std", DEVIATIONS)):
        if not _number(values[name]) or not low <= values[name] <= high:
            raise _odd(name, values[name], f"a number in {low:g}..{high:g}")
    for name in ("fingerprint", "version", "default_rule"):
        if not is_name(values[name]):
            raise _odd(name, values[name], "text of one line")
    classes = classes_of(values["architecture"]["name"])
    if not isinstance(values["classes"], list | tuple) or tuple(values["classes"]) != classes:
        raise _odd("classes", values["classes"], f"{', '.join(classes)}, in this order")
    low, high = TEMPERATURES
    if not _number(values["temperature"]) or not low <= values["temperature"] <= high:
        raise _odd("temperature", values["temperature"], f"a number in {low:g}..{high:g}")
    _check_thresholds(values["thresholds"], "", values["default_rule"])
    _check_closer_look(values)
    _check_regions(values["regions"], values["architecture"]["name"])
    _check_extra(values["extra"])


def classes_of(architecture: str) -> tuple[str, str]:
    """What a network of that name tells apart, label 0 first."""
    return STUDY_CLASSES if architecture == "study_network" else CLASSES


def _check_closer_look(values: Mapping[str, Any]) -> None:
    """Raise `OddCheckpointError` unless a network that can look closer says how that counts, and no other does."""
    found, able = values["closer_look"], values["architecture"].get("closer", False)
    if (found is not None) != able:
        raise _odd("closer_look", found, "weights and thresholds" if able else "none, as the architecture has none")
    if found is None:
        return
    if not isinstance(found, dict) or found.keys() != {"weights", "thresholds"}:
        raise _odd("closer_look", found, "weights and thresholds")
    weights = found["weights"]
    if not isinstance(weights, list | tuple) or len(weights) != 3 or not all(map(_number, weights)):
        raise _odd("weights of closer_look", weights, "three numbers")
    if min(weights[:2]) < 0 or max(map(abs, weights)) > STEEPEST:
        raise _odd("weights of closer_look", weights, f"those of both looks 0 or more, none beyond {STEEPEST:g}")
    _check_thresholds(found["thresholds"], " of closer_look", values["default_rule"])


def _check_regions(found: object, architecture: str) -> None:
    """Raise `OddCheckpointError` unless thresholds move by region as `Regions.values` says it, or not at all."""
    if found is None:
        return
    if classes_of(architecture) == STUDY_CLASSES:
        raise _odd("regions", found, "none, of a network of studies")
    if not isinstance(found, dict) or found.keys() != {"names", "shifts", "weights", "added"}:
        raise _odd("regions", found, "names, shifts, weights and added")
    names = found["names"]
    if not isinstance(names, list) or not 1 <= len(set(map(str, names))) == len(names) <= MOST_REGIONS:
        raise _odd("names of regions", names, f"1 to {MOST_REGIONS} different ones")
    if not all(map(is_name, names)):
        raise _odd("names of regions", names, "text of one line each")
    for name, most, rows in (("shifts", FARTHEST, [found["shifts"]]), ("added", STEEPEST, [found["added"]]),
                             ("weights", STEEPEST, found["weights"])):  # fmt: skip
        if not isinstance(rows, list) or not all(_are_numbers(row, len(names), most) for row in rows):
            raise OddCheckpointError(
                f"{name} of regions are not {len(names)} numbers", f"one for each region, none beyond {most:g}"
            )


def _are_numbers(row: object, count: int, most: float) -> bool:
    return isinstance(row, list) and len(row) == count and all(_number(x) and abs(x) <= most for x in row)


def require_fitting_regions(found: Regions | None, model: nn.Module) -> None:
    """Raise `OddCheckpointError` unless the region is judged by as many features as `model` has."""
    if found is not None and len(found.weights) != (own := _features_of(model)):
        raise OddCheckpointError(f"regions are of {len(found.weights)} features", f"{own}, as the network has")


def _features_of(model: nn.Module) -> int:
    """How many features `collected_features` gives of an image."""
    with collected_features(model.eval()) as features, torch.inference_mode():
        model(torch.zeros(1, 1, 32, 32))
        return features().shape[1]


def _check_thresholds(thresholds: object, of: str, rule: str) -> None:
    if not isinstance(thresholds, dict) or not all(map(is_name, thresholds)):
        raise _odd(f"thresholds{of}", thresholds, "a threshold for each rule")
    for name, value in thresholds.items():
        if not (_number(value) and 0 <= value <= 1) and not (type(value) is float and value == math.inf):
            raise _odd(f"threshold of {name}{of}", value, "a score in 0..1, or inf where nobody is predicted fractured")
        _check_rule(name, value, of)
    if rule not in thresholds:
        raise OddCheckpointError(
            f"thresholds{of} is for {', '.join(thresholds) or 'no rule'}", f"one for {rule}, which decides"
        )


def _check_rule(name: str, threshold: float, of: str) -> None:
    try:
        rule = parse_rule(name)
    except InputError:
        raise _odd(f"a rule in thresholds{of}", name, f"one such as {GRAMMAR}") from None
    # A rule's name has six digits of its score.
    if rule.name == "score" and f"{rule.value:g}" != f"{threshold:g}":
        raise _odd(f"threshold of {name}{of}", threshold, f"{rule.value:g}, as the rule says")


def _check_extra(extra: object) -> None:
    if not isinstance(extra, dict) or not all(map(_is_text, extra)):
        raise _odd("extra", extra, "plain values by name")
    _check_plain("extra", extra)
    for name in ("config", "start"):
        if not isinstance(extra.get(name, {}), dict):
            raise _odd(f"extra {name}", extra[name], "values by name")
    if not _is_text(extra.get("attribution", ""), longest=5000):
        raise _odd("extra attribution", extra["attribution"], "text")
    images = extra.get("validation images", 1)
    if not _whole(images) or not 1 <= images < 2**48:
        raise _odd("extra validation images", images, "how many they are, 1 or more")


def _check_plain(name: str, value: object, depth: int = 0) -> None:
    if depth > 16:
        raise OddCheckpointError(f"{name} is nested more than 16 deep", "plain values")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _odd(f"a key in {name}", key, "text")
            _check_plain(name, inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_plain(name, inner, depth + 1)
    elif type(value) not in (str, int, float, bool, type(None)):
        raise OddCheckpointError(
            f"a value in {name} is of type {type(value).__name__}", "text, numbers, lists and values by name"
        )


def check_architecture(architecture: object) -> None:
    """Raise `OddCheckpointError` unless it names a network of `MODELS` with options that it takes, none absurd."""
    if not isinstance(architecture, dict) or not isinstance(architecture.get("name"), str):
        raise _odd("architecture", architecture, "a name and options")
    name = architecture["name"]
    if name not in MODELS and not is_backbone(name):
        raise _odd("architecture", name, f"one of {', '.join(sorted(MODELS))}, torchvision:NAME, timm:NAME")
    known = inspect.signature(model_class(name)).parameters
    for option, value in architecture.items():
        if option == "name":
            continue
        if option not in known:
            raise OddCheckpointError(f"architecture is {name} with {option}", f"{', '.join(known)} only")
        if option == "pooling":
            if value not in POOLINGS:
                raise _odd(option, value, f"one of {', '.join(POOLINGS)}")
            continue
        if option == "closer":
            if type(value) is not bool:
                raise _odd(option, value, "True or False")
        elif not _whole(value) or not 1 <= value <= WIDEST:
            raise _odd(option, value, f"a whole number in 1..{WIDEST}")


def check_shapes(architecture: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    """Raise `OddCheckpointError` unless these are a network's tensors by name, shape and kind; allocates nothing."""
    options = {k: v for k, v in architecture.items() if k != "name"}
    try:
        with torch.device("meta"):
            own = model_class(architecture["name"])(**options).state_dict()
    except InputError as error:  # a network of a library that is not here
        raise OddCheckpointError(*str(error).split("; expected ", 1)) from None
    except Exception as error:  # of other people's networks, too
        raise _odd("architecture", dict(architecture), f"options that fit ({printable(error)[:100]})") from None
    for name, tensor in own.items():
        found = weights.get(name)
        if not isinstance(found, TensorHeader):
            raise OddCheckpointError(f"weights is without {name}", f"the {len(own)} tensors of {architecture['name']}")
        if found.shape != tuple(tensor.shape):
            raise _odd(name, found.shape, f"shape {tuple(tensor.shape)}")
        if ("float" in found.dtype) != tensor.is_floating_point() or found.dtype == "bool":
            raise OddCheckpointError(f"{name} is of {found.dtype}", str(tensor.dtype).removeprefix("torch."))
    if more := [name for name in weights if name not in own]:
        raise OddCheckpointError(f"weights is with {more[0]}", f"the {len(own)} tensors of {architecture['name']}")


def check_weights(model: nn.Module) -> None:
    """Raise `OddCheckpointError` unless every number of a network is one, and no variance or count is negative."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            wrong = int((~torch.isfinite(value)).sum())
            raise OddCheckpointError(f"{name} is NaN or infinite in {wrong} of {value.numel()} places", "numbers")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise OddCheckpointError(f"{name} is negative ({float(value.min()):g})", "variances of 0 or more")
        if name.endswith("num_batches_tracked") and bool((value < 0).any()):
            raise OddCheckpointError(f"{name} is negative ({int(value.min())})", "a count of 0 or more")


def familiarity_of(kept: object, model: nn.Module) -> Familiarity:
    """What a checkpoint says of images familiar to `model`; raise `OddCheckpointError` if it cannot be meant."""
    if not isinstance(kept, Mapping) or not all(isinstance(value, torch.Tensor) for value in kept.values()):
        raise OddCheckpointError("familiarity is no mapping of tensors", "tensors by name, or none")
    try:
        found = Familiarity.of_tensors(kept)
    except (ValueError, TypeError, RuntimeError) as error:
        raise OddCheckpointError(f"familiarity {printable(error)[:100]}", "what `fracture train` leaves") from None
    if len(found.centre) != (own := _features_of(model)):
        raise OddCheckpointError(f"familiarity is of {len(found.centre)} features", f"{own}, as the network has")
    return found


def refusal(path: object, error: OddCheckpointError) -> InputError:
    """The one line that names the file."""
    return InputError(f"{path}: a checkpoint that does not fit together: {error}")
