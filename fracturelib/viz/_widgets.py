"""What the explorers' widgets share: a picture with words, and how they are freed."""

from collections.abc import Iterable

import ipywidgets as widgets
from traitlets import Unicode


class TitledImage(widgets.Image):
    """An image whose `tooltip` is its title on the page, which is what a screen reader reads.

    The page takes a widget with a tooltip to have a description too, which `ipywidgets.Image` has not.
    """

    description = Unicode("").tag(sync=True)


def close_all(made: Iterable[widgets.DOMWidget]) -> None:
    """Free widgets, with their styles and layouts, and whoever listens to them."""
    for widget in made:
        widget.unobserve_all()
        for part in (getattr(widget, "style", None), getattr(widget, "layout", None)):
            if part is not None:
                part.close()
        widget.close()
