"""Sphinx on what `tools/site.py` has assembled: `make site`. Nothing is fetched, neither here nor by the pages."""

import os
import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import sphinx

project = "fracturelib"
author = "the fracturelib authors"
copyright = "the fracturelib authors. For education and research, never for clinical use"
release = distribution("fracturelib").version

extensions = ["myst_nb", "sphinx_design", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_parts/**", "_made/**"]
default_role = "code"  # docstrings write `x` as Markdown does
language = "en"
nitpicky = False

# Lessons: executed already, and shown as they were stored.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # no script from another host: widgets need Python anyhow
nb_merge_streams = True
nb_output_stderr = "remove"
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline", "attrs_block"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
myst_linkify_fuzzy_links = False

# MathJax 3 from the wheel sphinx-mathjax-offline; only the script and the fonts that TeX needs.
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would fetch what reads formulas aloud from elsewhere
_mathjax = Path(str(distribution("sphinx_mathjax_offline").locate_file("sphinx-mathjax-offline/static/mathjax")))
html_static_path = ["_static"]


def _finish(app: sphinx.application.Sphinx, error: Exception | None) -> None:
    """Add MathJax, and take away the templates that the themes leave among their files."""
    if error is None:
        static = Path(app.outdir) / "_static"
        fonts = "output/chtml/fonts/woff-v2"
        shutil.copytree(_mathjax / fonts, static / "mathjax" / fonts, dirs_exist_ok=True)
        shutil.copyfile(_mathjax / "tex-chtml.js", static / "mathjax" / "tex-chtml.js")
        for template in static.glob("*macros.html"):
            template.unlink()


# The public names, from their docstrings.
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "sphinx_book_theme"
html_title = "How far can you trust a fracture classifier?"
html_css_files = ["site.css"]
html_js_files = [("glossary.js", {"defer": "defer"})]
html_use_index = False
html_show_sourcelink = False
html_copy_source = False
html_last_updated_fmt = None
html_favicon = "_static/favicon.svg"
_repository = os.environ.get("SITE_REPOSITORY", "").rstrip("/")  # such as https://github.com/NAME/fracturelib
_hosted = _repository.startswith("https://github.com/")
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "use_repository_button": bool(_repository),
    "use_issues_button": _hosted,
    "show_toc_level": 2,
    "navbar_persistent": [],
    "home_page_in_toc": True,
    "toc_title": "On this page",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "extra_footer": "Simulated radiographs throughout; no patient is shown. "
    "<strong>For education and research, never for clinical use.</strong>",
}
if _repository:
    html_theme_options |= {"repository_url": _repository, "repository_branch": "main"}
if _hosted:
    html_theme_options["launch_buttons"] = {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    }
html_context = {"default_mode": "auto"}


def _plain(*given: Any) -> None:
    """Docstrings are plain text with a little Markdown: what reStructuredText would take for markup is escaped."""
    lines: list[str] = given[-1]
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[i] = line.replace("**options", r"\*\*options").replace("|", r"\|")


def setup(app: sphinx.application.Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", _finish)
    app.connect("autodoc-process-docstring", _plain, priority=400)
