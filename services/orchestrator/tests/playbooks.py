"""Playbooks that many tests start."""

LINEAR = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: linear, path: tests/linear}
workload: {message: hi}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: second}]}
  - step: second
    tool: {kind: noop}
"""

LOOP = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: loop, path: tests/loop}
workload: {items: [1, 2, 3]}
workflow:
  - step: start
    loop: {in: "{{ workload.items }}", iterator: item, spec: {mode: parallel}}
    tool: {kind: python, code: "result = item"}
    next: {arcs: [{step: last}]}
  - step: last
    tool: {kind: python, args: {all: "{{ start }}"}, code: "result = 1"}
"""
