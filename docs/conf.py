"""Sphinx configuration; `make docs` builds the site from the repository's root.

The source folder is the root (`-c docs`), so the links between README, tutorials and
design notes are the same here and in the repository. Nothing is downloaded: other
projects' types are set as plain text (no intersphinx), and tutorials show the outputs
that are stored in them.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import botorch_flexibo  # noqa: E402

project = "botorch-flexibo"
author = "botorch-flexibo contributors"
release = version = botorch_flexibo.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "_public_api",
]
root_doc = "docs/index"
include_patterns = [
    "benchmarks/README.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**.md",
    "docs/**.rst",
    "tutorials/*.md",
    "tutorials/*.ipynb",
]
exclude_patterns = [".venv", ".git", "build", "dist", "out", "**.ipynb_checkpoints"]

# An unresolved reference is a warning, and warnings are errors.
nitpicky = True
nb_execution_mode = "off"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# As in the sources: the class says what it is, `__init__` has the arguments.
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"botorch-flexibo {release}"
html_copy_source = False
html_show_sphinx = False
html_extra_path = ["_static/index.html"]  # the site starts at docs/index.html
