"""Templates of playbooks, rendered like the original server does, in a sandbox.

Server and worker follow different rules; each function says whose. The module-level functions
share one :class:`Renderer` with default limits.
"""

from noetl_template.errors import TemplateError
from noetl_template.limits import Limits
from noetl_template.references import Reference, references
from noetl_template.render import (
    Renderer,
    Scope,
    evaluate_condition,
    evaluate_rule,
    has_server_syntax,
    has_worker_syntax,
    render_expression,
    render_server,
    render_worker,
)
from noetl_template.values import Json

__all__ = [
    "Json",
    "Limits",
    "Reference",
    "Renderer",
    "Scope",
    "TemplateError",
    "evaluate_condition",
    "evaluate_rule",
    "has_server_syntax",
    "has_worker_syntax",
    "references",
    "render_expression",
    "render_server",
    "render_worker",
]
