"""The contents of the site, as far as they are seen without Sphinx; `make docs` builds it."""

import runpy

from fenced import ROOT


def test_every_page_has_a_place_in_the_contents() -> None:
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"))

    captions = [caption for caption, _ in conf["sections"](ROOT / "docs")]

    assert captions == list(conf["NAVIGATION"]), "what has no place comes last, under `More`"


def test_pages_outside_of_the_folder_are_in_the_contents_too() -> None:
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"))

    assert {"README", "CONTRIBUTING", "examples/README"} <= set(conf["_others"]())
