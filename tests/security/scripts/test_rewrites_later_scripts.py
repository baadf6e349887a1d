"""A script changes a class of the standard library, to read and answer for scripts behind it.

The change names nothing private, so no look at its text finds it. Scripts of other executions
never run in its process.
"""

from noetl_testkit.stack import Stack
from steps import python_step, result_of

_POISON = """
    import json, operator, os
    def mine(self, text, *more):
        return {"code": "result = 'ATTACKER'", "name": "<x>", "args": {}, "execution_id": 1,
                "step": "x", "server_url": ""}
    operator.methodcaller("__setattr__", json.JSONDecoder, "decode", mine)(type)
    result = os.getpid()
"""
_VICTIM = """
    import json, os
    result = [os.getpid(), json.loads("[1]")]
"""
_SCRIPTS = 40


def test_scripts_of_other_executions_get_other_processes(nats_stack: Stack) -> None:
    poisoned, found = set(), []
    with nats_stack.client() as client:
        poison = python_step("security/scripts/poison", _POISON)
        victim = python_step("security/scripts/victim", _VICTIM)
        for number in range(_SCRIPTS):
            if number % 4 == 0:
                poisoned.add(result_of(client, "security/scripts/poison", poison))
            found.append(result_of(client, "security/scripts/victim", victim))

    assert [value for _, value in found] == [[1]] * _SCRIPTS
    assert not poisoned & {pid for pid, _ in found}
