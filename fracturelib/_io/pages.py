"""HTML pages from the templates beside this file: what is put in is escaped, and the page loads nothing."""

import base64
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fracturelib._io import NOTICE
from fracturelib._io.files import counted, printable

_PAGES = Environment(
    loader=PackageLoader("fracturelib._io"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_PAGES.globals["notice"] = NOTICE
_PAGES.filters |= {"printable": printable, "counted": counted}


def page(template: str, *, mark: str, **values: Any) -> str:
    """The page that a template makes.

    Parameters
    ----------
    template : str
        A file's name in `templates`, without its suffix.
    mark : str
        HTML of our own for the page's head, by which a later run knows what it may replace.
    **values
        What the template names.
    """
    return _PAGES.get_template(f"{template}.html").render(mark=Markup(mark), **values) + "\n"


def beginning(mark: str) -> re.Pattern[str]:
    """How a page of ours begins, by which a later run knows it: nothing but the head's first tags before its mark."""
    tags = r"<!doctype html>\s*(?:<html[^>]*>)?\s*(?:<head>)?\s*(?:<meta charset=[^>]*>)?\s*"
    return re.compile(tags + re.escape(mark), re.IGNORECASE)


def inlined(picture: bytes, kind: str) -> str:
    """A picture of kind "png" or "jpeg" as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
