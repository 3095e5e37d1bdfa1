"""Grad-CAM: where in the image the evidence for a logit lies, as far as one layer can tell."""

import operator
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fracturelib._io.files import InputError
from fracturelib.explain.cam_methods import METHODS

TARGETS = ("fractured", "not fractured", "difference")
Maps = NDArray[np.float32]
Reshape = Callable[[Tensor], Tensor]


class GradCAM(AbstractContextManager["GradCAM"]):
    """Gradient-weighted class activation maps (Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74).

    Parameters
    ----------
    model : nn.Module
        (n, channels, h, w) -> (n, 2) logits of "not fractured" and "fractured", or (n, 1) of "fractured".
    layer : nn.Module or mapping of str to nn.Module
        A part of `model` whose output is (n, k, h', w'), or (n, h', w', k) where that can be told from it (`layout`);
        or several by name, explained in one pass. Of a layer that is called more than once, the last call counts.
    reshape : callable, optional
        From what a layer gives to (n, k, h', w'), by moving values only, where a layer gives something else: tokens
        (n, 1 + 196, k) by `lambda o: o[:, 1:].transpose(1, 2).unflatten(2, (14, 14))`, channels last by
        `lambda o: o.permute(0, 3, 1, 2)`.

    Notes
    -----
    The graph begins at the layer: its output becomes a leaf, and the gradient of the logit is asked for that leaf only.
    So what comes before the layer costs a plain forward pass, frozen weights do not matter, and no `.grad` is touched.
    A network with depthwise convolutions is given its images in the channels-last layout, which these like better.

    Examples
    --------
    >>> from fracturelib.models import SmallCNN
    >>> model = SmallCNN().eval()
    >>> with GradCAM(model, model.stage4) as cam:
    ...     maps = cam(torch.zeros(1, 1, 64, 64))
    """

    def __init__(
        self, model: nn.Module, layer: nn.Module | Mapping[str, nn.Module], *, reshape: Reshape | None = None
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model is {_kind(model)}; expected a torch.nn.Module")
        if not isinstance(layer, nn.Module | Mapping) or (isinstance(layer, Mapping) and not layer):
            raise InputError(f"layer is {_kind(layer)}; expected a part of the model, such as model.layer4, or a dict")
        if reshape is not None and not callable(reshape):
            raise InputError(f"reshape is {_kind(reshape)}; expected a function of what the layer gives")
        self.model, self.reshape = model, reshape
        self.single = isinstance(layer, nn.Module)
        self.layers: dict[str, nn.Module] = {"": layer} if isinstance(layer, nn.Module) else dict(layer)
        self._modules = list(model.modules())
        for name, module in self.layers.items():
            if not any(module is own for own in self._modules):
                raise InputError(f"{self._shown(name)} is not a part of the model; expected one that is")
        self._outputs: dict[str, Tensor] = {}
        self._listening = False
        self._depth = 0
        # What ran, by how many axes it has where it works on the last (0 where on the second); how many before a layer.
        self._ran: list[int] = []
        self._before: dict[str, int] = {}
        self._channels_last = any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in self._modules)
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        if not self._depth:
            self._hooks = [m.register_forward_hook(self._hook(name)) for name, m in self.layers.items()]
            if self.reshape is None and not all(_parts(m) for m in self.layers.values()):
                self._hooks += [m.register_forward_hook(self._note) for m in _parts(self.model)]
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        while self._hooks and not self._depth:
            self._hooks.pop().remove()
        self._outputs.clear()

    def _shown(self, name: str) -> str:
        return f"layer {name or type(self.layers[name]).__name__!r}"

    def _note(self, module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        last = isinstance(module, CHANNELS_LAST)
        # A linear layer on (n, k) tells nothing of places, nor does a norm of channels and places together.
        if self._listening and not (last and (output.ndim < 3 or len(getattr(module, "normalized_shape", ())) > 1)):
            self._ran.append(output.ndim if last else 0)

    def _hook(self, name: str) -> Callable[..., Tensor | None]:
        def cut(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self._listening:
                return None
            if not isinstance(output, Tensor) or (output.ndim != 4 and self.reshape is None):
                found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
                tokens = " (tokens, if that is what they are, need reshape)" if getattr(output, "ndim", 0) == 3 else ""
                raise InputError(
                    f"{self._shown(name)} gives no (n, k, h, w) tensor but {found}; expected one that does{tokens}"
                )
            self._before[name] = len(self._ran)
            torch.set_grad_enabled(True)
            # The first layer begins the graph; of the others the gradient flows on to those before them.
            kept = output if output.requires_grad else output.clone().requires_grad_()
            self._outputs[name] = kept
            return kept.clone()  # what follows may overwrite it in place

        return cut

    def __call__(
        self, x: Tensor, target: str | SupportsIndex = "fractured", *, relu: bool = True, method: str = "Grad-CAM"
    ) -> Any:
        """Explain a logit.

        Parameters
        ----------
        x : (n, channels, h, w) float32 Tensor
        target : str or integer
            "fractured", "not fractured", their "difference" (fractured minus not), or the index of a logit. A softmax
            would saturate: it is the logit that is explained.
        relu : bool
            Keep only evidence for the target. Otherwise the map has a sign, and where all that follows the layer is an
            average and a linear head, its sum is the logit minus the bias.
        method : str
            A key of `cam_methods.METHODS`.

        Returns
        -------
        (n, h', w') float32 ndarray, in logit units (Grad-CAM++ and Eigen-CAM in units of their own)
            For several layers, a dict of them.

        Raises
        ------
        InputError
            If it is called outside its `with` block, `x` is no Tensor, the target is unknown or, of more than two
            logits, not said, a layer did not run, does not give a map or not one whose channels can be told, or a
            number on the way is not finite.
        """
        evidence = self.evidence(x, target)
        maps = {name: combined(*parts, method=method, relu=relu) for name, parts in evidence.items()}
        return maps[""] if self.single else maps

    def evidence(self, x: Tensor, target: str | SupportsIndex = "fractured") -> dict[str, tuple[Tensor, Tensor]]:
        """What each layer said, and how the logit leans on it, from one pass: what `combined` makes every map of.

        Returns
        -------
        dict of str to (activation, gradient)
            Each (n, k, h', w') float Tensor, without a graph; the key is "" for a layer that was given by itself.
        """
        if not self._hooks:
            raise InputError("GradCAM was called outside its block; expected `with GradCAM(model, layer) as cam:`")
        if not isinstance(x, Tensor):
            raise InputError(f"x is {_kind(x)}; expected a torch.Tensor, (n, channels, h, w)")
        training = [module for module in self._modules if module.training]
        self._listening = True
        try:
            for module in training:
                module.training = False
            # Within inference mode there is no graph to cut; outside it, there is none before the first layer.
            with torch.inference_mode(mode=False), torch.no_grad():
                x = x.clone() if x.is_inference() else x
                logits, gradients = self._passed(x, target)
                outputs = dict(self._outputs)
        finally:
            self._listening = False
            self._outputs.clear()
            for module in training:
                module.training = True
        _require_finite("the logits", logits)
        found = {}
        for (name, activation), gradient in zip(outputs.items(), gradients, strict=True):
            shown = self._shown(name)
            if gradient is None:
                raise InputError(
                    f"{shown} does not reach the logit, or is detached on the way, as by a torch.no_grad of the model; "
                    "expected a layer that it depends on"
                )
            mapped = self._mapped(name, tuple(x.shape[2:]))
            found[name] = mapped(activation.detach()), mapped(gradient)
            for what, part in (("what", found[name][0]), ("the gradient of what", found[name][1])):
                _require_finite(f"{what} {shown} gives", part)
        return found

    def _passed(self, x: Tensor, target: str | SupportsIndex) -> tuple[Tensor, list[Tensor | None]]:
        """The logits, and the gradient at each layer in `_outputs`, None where there is none."""
        self._outputs.clear()
        self._ran.clear()
        logits = self._logits(x)
        missing = [name for name in self.layers if name not in self._outputs]
        if missing:
            raise InputError(f"{self._shown(missing[0])} did not run; expected a layer that the model uses")
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(f"the model gives {given}; expected logits, (n, 2) or (n, 1)")
        lean = logits.new_tensor(weights_of(target, logits.shape[1])).expand_as(logits)
        leaves = list(self._outputs.values())
        if not logits.requires_grad:
            return logits, [None] * len(leaves)
        return logits, list(torch.autograd.grad(logits, leaves, grad_outputs=lean, allow_unused=True))

    def _doubtful(self, name: str) -> bool:
        """Whether what ran just before a layer, or after it, has its channels last."""
        at = self._before[name]
        # Tokens may be made of what comes next; what comes of tokens may be laid out in either way.
        return any(axes > 2 for axes in self._ran[max(at - 1, 0) : at]) or self._ran[at : at + 1] == [4]

    def _mapped(self, name: str, image: tuple[int, ...]) -> Reshape:
        """How a layer's output becomes (n, k, h', w')."""

        def turn(output: Tensor) -> Tensor:
            if self.reshape is not None:
                turned: object = self.reshape(output)
                if not isinstance(turned, Tensor):
                    raise InputError(
                        f"reshape makes {type(turned).__name__} of {tuple(output.shape)}; expected (n, k, h, w)"
                    )
                if turned.ndim != 4 or len(turned) != len(output):
                    raise InputError(
                        f"reshape makes {tuple(turned.shape)} of {tuple(output.shape)}; expected (n, k, h, w)"
                    )
                return turned
            doubtful = self._doubtful(name)
            match layout(self.layers[name], tuple(output.shape), image, doubtful=doubtful):
                case "channels last":
                    return output.permute(0, 3, 1, 2)
                case "channels first":
                    return output
            raise InputError(
                f"{self._shown(name)} gives {tuple(output.shape)}, of which the channels may come second or last; "
                "expected reshape, such as lambda o: o.permute(0, 3, 1, 2) if they come last"
            )

        return turn

    def _logits(self, x: Tensor) -> Tensor:
        """What the network says, in the layout of memory that it is fastest in."""
        if self._channels_last and x.ndim == 4:
            try:
                return self.model(x.contiguous(memory_format=torch.channels_last))
            except RuntimeError:  # `view` refuses the layout; whatever else was wrong is wrong again below
                self._channels_last = False
                self._outputs.clear()
                self._ran.clear()
                torch.set_grad_enabled(False)
        return self.model(x)


def layout(module: nn.Module, shape: tuple[int, ...], image: tuple[int, ...], *, doubtful: bool = False) -> str:
    """Whether a layer's (n, a, b, c) has its "channels first" or "channels last"; "unclear" if it cannot be told.

    Places have the proportions of the image that they are places of, height and width (as far as strides that do not
    divide it allow); if both readings do, or neither, the last part of the layer that has channels says how many they
    are, and on which axis it works. Of a layer without such a part they come first, unless its neighbours in the model
    make that `doubtful`.
    """
    parts = _parts(module)
    own = channels_of(parts[-1]) if parts else None
    plausible = [_proportional((shape[i], shape[i + 1]), image) for i in (2, 1)]
    for fits in (plausible, [own == shape[1], own == shape[3]]):
        if fits[0] != fits[1]:
            return "channels first" if fits[0] else "channels last"
    doubtful = isinstance(parts[-1], CHANNELS_LAST) if parts else doubtful
    return "unclear" if doubtful else "channels first"


CHANNELS_SECOND = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)
CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm)


def _parts(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, (*CHANNELS_SECOND, *CHANNELS_LAST))]


def channels_of(module: nn.Module) -> int:
    """How many channels a convolution, a linear layer or a normalisation gives."""
    for name in ("out_channels", "out_features", "num_features", "num_channels"):
        if hasattr(module, name):
            return int(getattr(module, name))
    return int(module.normalized_shape[-1])  # type: ignore[index]


def _proportional(places: tuple[int, int], image: tuple[int, ...]) -> bool:
    """Whether a grid divides an image evenly, give or take a place at each side."""
    if len(image) != 2:
        return True
    return abs(places[0] * image[1] - places[1] * image[0]) <= sum(image)


def _kind(value: object) -> str:
    """What stands for an argument in an error: short text and empty things as they are, of the rest the type."""
    told = value is None or isinstance(value, str) or (isinstance(value, Mapping) and not value)
    return repr(value)[:80] if told else f"of type {type(value).__name__}"


def _require_finite(what: str, values: Tensor) -> None:
    odd = (~torch.isfinite(values)).flatten(1).any(dim=1).nonzero().flatten().tolist()
    if odd:
        raise InputError(f"{what}: not finite for image {odd[0]} of {len(values)}; expected numbers to explain")


def combined(activation: Tensor, gradient: Tensor, *, method: str = "Grad-CAM", relu: bool = True) -> Maps:
    """A layer's evidence as a method of `METHODS` combines it: two (n, k, h, w) -> (n, h, w) float32."""
    if method not in METHODS:
        raise InputError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    raw = METHODS[method](activation, gradient)
    _require_finite(f"the map of {method}", raw)
    return (raw.relu() if relu else raw).float().numpy()


def weights_of(target: str | SupportsIndex, columns: int) -> list[float]:
    """How much each of `columns` logits counts in a target; see `choose_logit`.

    Raises
    ------
    InputError
        If it is none, or is a name where there are more than two logits: which of them is the fracture's is not known.
    """
    index = _index(target)
    if index is not None:
        if not -columns <= index < columns:
            raise InputError(f"target is {index}; expected a logit from 0 to {columns - 1}")
        signs = {index: 1.0}
    elif not isinstance(target, str) or target not in TARGETS:
        raise InputError(f"target is {target!r}; expected one of {', '.join(TARGETS)}, or the index of a logit")
    elif columns > 2:
        raise InputError(f"target is {target!r} of {columns} logits; expected the index of one, 0 to {columns - 1}")
    elif columns == 1:
        signs = {0: -1.0 if target == "not fractured" else 1.0}
    else:
        signs = {"fractured": {1: 1.0}, "not fractured": {0: 1.0}, "difference": {0: -1.0, 1: 1.0}}[target]
    weights = [0.0] * columns
    for column, sign in signs.items():
        weights[column] = sign
    return weights


def _index(target: object) -> int | None:
    """An integer of whatever type; True is none."""
    if isinstance(target, bool) or getattr(target, "dtype", None) == torch.bool:
        return None
    try:
        return operator.index(target)  # type: ignore[arg-type]
    except TypeError:
        return None


def choose_logit(logits: Tensor, target: str | SupportsIndex) -> Tensor:
    """The evidence that a target stands for: (n, 2) or (n, 1) -> (n,)."""
    return logits @ logits.new_tensor(weights_of(target, logits.shape[1]))
