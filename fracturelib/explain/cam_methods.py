"""From what a layer said and how the logit leans on it to a map: one short formula for each method."""

from collections.abc import Callable

import torch
from torch import Tensor

Combine = Callable[[Tensor, Tensor], Tensor]


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Each channel weighs what the logit gains from it on average (Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74).

    Parameters
    ----------
    activation, gradient : (n, k, h, w) float Tensor
        The layer's output, and the gradient of a logit with respect to it.

    Returns
    -------
    (n, h, w) float Tensor, with signs
    """
    weights = gradient.flatten(2).mean(dim=2).unsqueeze(1)  # (n, 1, k)
    return torch.bmm(weights, activation.flatten(2)).squeeze(1).unflatten(1, activation.shape[2:])


def hires_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Each place of each channel weighs by itself (Draelos & Carin 2020, arXiv 2011.08891).

    Where everything that follows is linear its sum is the logit minus the bias. Shapes as `grad_cam`.
    """
    return (gradient * activation).sum(dim=1)


def layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """As HiResCAM, with what speaks against the logit left out (Jiang et al. 2021, doi 10.1109/TIP.2021.3089943)."""
    return (gradient.relu() * activation).sum(dim=1)


def grad_cam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Places that push a channel's gradient up weigh more (Chattopadhay et al. 2018, doi 10.1109/WACV.2018.00097).

    The weights are those of an exponential of the logit, so that only first derivatives are needed; their scale is not
    that of the logit. Shapes as `grad_cam`.
    """
    squared = gradient.square()
    total = activation.sum(dim=(2, 3), keepdim=True)
    below = 2 * squared + total * squared * gradient
    share = torch.where(gradient != 0, squared / (below + 1e-6), 0)
    return ((share * gradient.relu()).sum(dim=(2, 3), keepdim=True) * activation).sum(dim=1)


def eigen_cam(activation: Tensor, gradient: Tensor) -> Tensor:  # noqa: ARG001, as all methods have it
    """What the channels vary in most, whatever the logit (Muhammad & Yeasin 2020, doi 10.1109/IJCNN48605.2020.9206626).

    The projection on the first principal component, channels centred. A component has no sign of its own: it is chosen
    so that places of higher mean activation are positive. Shapes as `grad_cam`; `gradient` is not used.
    """
    n, _, h, w = activation.shape
    places = activation.flatten(2).transpose(1, 2)  # (n, h w, k)
    centred = places - places.mean(dim=1, keepdim=True)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[:, :1]  # (n, 1, k)
    heat = (centred * direction).sum(dim=2)  # (n, h w)
    leaning = (heat * centred.mean(dim=2)).sum(dim=1, keepdim=True)
    return (heat * torch.where(leaning < 0, -1.0, 1.0)).reshape(n, h, w)


METHODS: dict[str, Combine] = {
    "Grad-CAM": grad_cam,
    "Grad-CAM++": grad_cam_plus_plus,
    "LayerCAM": layer_cam,
    "HiResCAM": hires_cam,
    "Eigen-CAM": eigen_cam,
}
