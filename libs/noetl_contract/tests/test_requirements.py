"""Requirements of steps, and their refusals."""

from typing import Any

import pytest
from noetl_contract.libraries.python import allows
from noetl_contract.libraries.requirements import (
    BadRequirements,
    package_of,
    requirements_of,
)

HEADER = """# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "six >= 1.16",
# ]
# ///
import six
"""


@pytest.mark.parametrize(
    ("config", "packages", "python"),
    [
        ({"requirements": ["pandas==2.3.3", "six", "six"]}, ("pandas==2.3.3", "six"), None),
        ({"requirements": ["a[b,c]>=1,<2 ; python_version > '3.8'"]},
         ("a[b,c]>=1,<2 ; python_version > '3.8'",), None),
        ({"code": HEADER}, ("six >= 1.16",), ">=3.11"),
        ({"code": HEADER.rstrip()[: HEADER.index("import")]}, ("six >= 1.16",), ">=3.11"),
        ({"script": {"source": {"code": HEADER}}, "requirements": ["a"]},
         ("a", "six >= 1.16"), ">=3.11"),
    ],
)  # fmt: skip
def test_requirements_are_read(
    config: dict[str, Any], packages: tuple[str, ...], python: str | None
) -> None:
    found = requirements_of(config)

    assert found is not None
    assert (found.packages, found.python) == (packages, python)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"code": "result = 1"},
        {"code": "text = '# /// script'"},
        {"requirements": []},
        {"requirements": None},
        {"code": "# /// script\n# dependencies = []\n# ///\n"},
        {"code": "# /// other\n# a\n# ///\n"},
        {"script": "no mapping"},
    ],
)
def test_most_steps_ask_for_nothing(config: dict[str, Any]) -> None:
    assert requirements_of(config) is None


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"requirements": "pandas"}, "not a list"),
        ({"requirements": [{"a": 1}]}, "is no text"),
        ({"requirements": ["{{ library }}"]}, "is a template"),
        ({"requirements": ["a @ https://host/a.whl"]}, "is no package with a version"),
        ({"requirements": ["git+https://host/a"]}, "is no package"),
        ({"requirements": ["./a"]}, "is no package"),
        ({"requirements": ["-r list.txt"]}, "is no package"),
        ({"requirements": ["a --index-url https://host"]}, "is no package"),
        ({"requirements": ["a\n--index-url=https://host"]}, "is no package"),
        ({"requirements": ["a" * 301]}, "is no package"),
        ({"requirements": [f"a{number}" for number in range(101)]}, "101 requirements"),
        ({"code": "# /// script\n# dependencies = []\n"}, "is not closed"),
        ({"code": HEADER + HEADER}, "two headers"),
        ({"code": "# /// script\n# dependencies = [\n# ///\n"}, "is no TOML"),
        ({"code": HEADER.replace(">=3.11", "three")}, "is no version"),
    ],
)
def test_what_is_no_requirement_is_named(config: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadRequirements, match=problem):
        requirements_of(config)


def test_the_order_of_requirements_makes_no_difference() -> None:
    one, other = ({"requirements": names} for names in (["a", "b"], ["b", "a"]))
    more = {"requirements": ["a", "b"], "code": HEADER}

    digests = [found.digest for config in (one, other, more) if (found := requirements_of(config))]

    assert digests[0] == digests[1] != digests[2]


def test_packages_have_one_name() -> None:
    assert package_of("Zope.Interface[x]>=1") == "zope-interface"


@pytest.mark.parametrize(
    ("specifier", "allowed"),
    [
        (">=3.11", True), (">=3.13.2", True), (">=3.14", False), (">3.13", True),
        ("<4", True), ("<3.13", False), ("<3.13.5", True), ("<=3.12", False),
        ("==3.13.*", True), ("==3.*", True), ("==3.12.*", False), ("==3.13", True),
        ("!=3.13.1", True), ("!=3.13.*", False), ("~=3.11", True), ("~=3.12.1", False),
        (">=3.11, <3.13", False), (">= 3.11,<4", True),
    ],
)  # fmt: skip
def test_versions_of_python_are_compared(specifier: str, *, allowed: bool) -> None:
    assert allows(specifier, "3.13") is allowed
