"""Rights, namespaces and pools of principals."""

import pytest
from noetl_contract.access.principal import Principal, starting
from noetl_contract.access.rights import COMMAND_RIGHTS, ROLE_RIGHTS, Right, Role


def somebody(*roles: Role, **parts: object) -> Principal:
    return Principal.model_validate({"name": "ada", "kind": "key", "roles": roles} | parts)


def test_every_role_has_rights_and_no_role_reads_secrets_in_clear() -> None:
    assert set(ROLE_RIGHTS) == set(Role)
    assert all(Right.SECRETS_READ not in rights for rights in ROLE_RIGHTS.values())
    assert somebody(Role.ADMIN, grants=["secrets.read"]).may(Right.SECRETS_READ)


def test_every_right_but_the_one_by_name_is_the_admin_s() -> None:
    assert ROLE_RIGHTS[Role.ADMIN] | {Right.SECRETS_READ} == set(Right)


def test_nobody_without_a_role_may_anything_but_what_is_public() -> None:
    assert [right for right in Right if somebody().may(right)] == [Right.PUBLIC]


def test_a_capability_has_its_own_rights_whatever_roles_and_grants_say() -> None:
    command = somebody(
        Role.ADMIN, kind="capability", execution_id=7, event_id=8, grants=["secrets.read"]
    )

    assert command.rights() == COMMAND_RIGHTS
    assert {one for one in Right if command.may(one)} == COMMAND_RIGHTS | {Right.PUBLIC}
    assert not command.may(Right.EXECUTIONS_CANCEL)
    assert not command.may(Right.WORKERS_REGISTER)


@pytest.mark.parametrize(
    ("namespaces", "path", "reached"),
    [
        (["team-a/"], "team-a/x", True),
        (["team-a"], "team-a/x", True),
        (["team-a/"], "team-a", True),
        (["team-a/"], "team-ab/x", False),
        (["team-a"], "team-ab", False),
        (["team-a/"], "/team-a/x", True),
        (["team-a/"], "x/team-a/x", False),
        ([""], "anything", True),
        ([], "anything", False),
    ],
)
def test_a_namespace_is_a_prefix_of_whole_parts(
    namespaces: list[str], path: str, *, reached: bool
) -> None:
    assert somebody(Role.VIEWER, namespaces=namespaces).reaches(path) is reached


def test_system_paths_and_its_pool_need_their_right() -> None:
    author = somebody(Role.AUTHOR, namespaces=[""], pools=["*"])
    system = somebody(Role.SYSTEM)

    assert (author.may_change("team/x"), author.may_change("system/x")) == (True, False)
    assert (author.may_run_on("gpu"), author.may_run_on("system")) == (True, False)
    assert (system.may_change("system/x"), system.may_run_on("system")) == (True, True)


def test_pools_beside_the_open_ones_are_granted_by_name() -> None:
    operator = somebody(Role.OPERATOR, namespaces=[""], pools=["gpu"])

    assert [operator.may_run_on(pool) for pool in ("shared", "gpu", "other")] == [True, True, False]


def test_an_execution_s_namespace_is_the_narrowest_one() -> None:
    two = somebody(Role.OPERATOR, namespaces=["team/", "team/a/"])

    assert (two.namespace_of("team/a/x"), two.namespace_of("team/x")) == ("team/a/", "team/")
    assert somebody(Role.ADMIN).namespace_of("team/x") == ""


def test_what_is_kept_of_a_registrant_is_its_reach() -> None:
    author = somebody(Role.AUTHOR, namespaces=["team-a"], pools=["gpu"], grants=["secrets.read"])
    kept, whole = author.as_registrant(), somebody(Role.ADMIN).as_registrant()

    assert (kept.name, kept.namespaces, kept.pools) == (author.name, ("team-a",), ("gpu",))
    assert kept.rights() == frozenset()
    assert (whole.reaches("any/x"), whole.may_run_on("gpu")) == (True, True)
    assert not starting(whole, "any/x", name="t").may_change("system/x")
    assert not starting(whole, "any/x", name="t").may_run_on("system")


@pytest.mark.parametrize(
    ("path", "folder"),
    [("team-a/x", "team-a"), ("/team-a/b/x", "team-a/b"), ("team-a", "team-a"), ("/a/", "a")],
)
def test_without_a_registrant_a_start_stays_in_its_folder(path: str, folder: str) -> None:
    who = starting(None, path, name="trigger:t")

    assert who.namespaces == (folder,)
    assert who.namespace_of(path) == folder
    assert (who.name, who.may(Right.EXECUTIONS_START), who.is_whole) == ("trigger:t", True, False)


@pytest.mark.parametrize(
    ("namespaces", "other", "both"),
    [
        ([""], [""], ("",)),
        (["team-a"], [""], ("team-a",)),
        ([""], ["team-a"], ("team-a",)),
        (["team-a/x", "team-b"], ["team-a"], ("team-a/x",)),
        (["team-a"], ["team-a/x", "team-b"], ("team-a/x",)),
        (["team-a"], ["team-b"], ()),
    ],
)
def test_two_reach_together_what_each_of_them_reaches(
    namespaces: list[str], other: list[str], both: tuple[str, ...]
) -> None:
    one = somebody(Role.GATEWAY, namespaces=namespaces, pools=["gpu", "cpu"])

    together = one.narrowed(somebody(Role.WORKER, namespaces=other, pools=["cpu", "tpu"]))
    assert (together.namespaces, together.pools) == (both, ("cpu",))
    assert one.narrowed(somebody(Role.ADMIN)).namespaces == tuple(sorted(namespaces))


def test_every_pool_together_with_some_is_those() -> None:
    every = somebody(Role.GATEWAY, namespaces=[""], pools=["*"])

    assert every.narrowed(somebody(Role.WORKER, namespaces=[""], pools=["gpu"])).pools == ("gpu",)
    assert every.narrowed(every).pools == ("*",)
