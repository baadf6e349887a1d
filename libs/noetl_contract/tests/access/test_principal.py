"""Rights, namespaces and pools of principals."""

import pytest
from noetl_contract.access.principal import Principal
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
