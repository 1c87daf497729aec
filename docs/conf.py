"""How Sphinx makes the site (`make site`). The source folder is the root of the repository, not `docs`:
relative links between the pages, README and CHANGELOG then hold on the site and on a code forge alike."""

import sys
from importlib.metadata import version as version_of
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

#: MathJax in one file, from the package django-static-mathjax: the site asks nothing of the network.
MATHJAX = Path(str(files("mathjax"))) / "static" / "mathjax" / "es5" / "tex-svg-full.js"

project = "napari-spotmix"
author = "The napari-spotmix developers"
project_copyright = author
release = version_of(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "site_extension",
]

# Pages
root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "docs/**.md",
]
# Folders without pages, such as .venv, are not even looked through.
exclude_patterns = [
    path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ("docs", "benchmarks")
]
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]  # formulas as code forges render them
myst_heading_anchors = 4
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

# Docstrings
default_role = "py:obj"  # a name in single backticks links to what it names, where that is public
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have the types, with shapes and units
napoleon_google_docstring = False
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"

# Look
html_theme = "sphinx_book_theme"
html_title = f"{project} {release}"
html_static_path = ["theme", str(MATHJAX)]
mathjax_path = MATHJAX.name
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_show_sphinx = False
html_context = {"default_mode": "auto"}  # light or dark, as the browser asks
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # the search is in the sidebar
}
