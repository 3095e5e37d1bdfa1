"""A picture with words for those who cannot see it."""

import ipywidgets as widgets
from traitlets import Unicode


class TitledImage(widgets.Image):
    """An image whose `tooltip` is its title on the page, which is what a screen reader reads.

    The page takes a widget with a tooltip to have a description too, which `ipywidgets.Image` has not.
    """

    description = Unicode("").tag(sync=True)
