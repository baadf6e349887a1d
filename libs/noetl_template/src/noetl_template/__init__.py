"""Templates of playbooks, rendered in a sandbox like the reference server renders them.

Server and worker follow different rules, and each function names the rules that it follows. The
functions of this module share one :class:`Renderer` with default limits.
"""

from noetl_template.errors import (
    NotAtHand,
    SecretMissing,
    TemplateError,
    TemplateLimitError,
    ValueNotAtHand,
)
from noetl_template.limits import Limits, SharedWork, shared_work, work_spent
from noetl_template.references import lookups, references
from noetl_template.render import (
    Renderer,
    Scope,
    compile_conditions,
    compile_templates,
    evaluate_condition,
    evaluate_rule,
    evaluate_worker_condition,
    has_server_syntax,
    named_value,
    render_config,
    render_expression,
    render_server,
    render_task,
    render_worker,
    use_limits,
)
from noetl_template.stored import MISSING, UNKNOWN, Outline, Parts, Stored, with_fetched
from noetl_template.syntax.literals import has_worker_syntax, literal, templates_in
from noetl_template.syntax.lookups import Reference
from noetl_template.values import KEYCHAIN, Json, Kind, Secrets

__all__ = [
    "KEYCHAIN",
    "MISSING",
    "UNKNOWN",
    "Json",
    "Kind",
    "Limits",
    "NotAtHand",
    "Outline",
    "Parts",
    "Reference",
    "Renderer",
    "Scope",
    "SecretMissing",
    "Secrets",
    "SharedWork",
    "Stored",
    "TemplateError",
    "TemplateLimitError",
    "ValueNotAtHand",
    "compile_conditions",
    "compile_templates",
    "evaluate_condition",
    "evaluate_rule",
    "evaluate_worker_condition",
    "has_server_syntax",
    "has_worker_syntax",
    "literal",
    "lookups",
    "named_value",
    "references",
    "render_config",
    "render_expression",
    "render_server",
    "render_task",
    "render_worker",
    "shared_work",
    "templates_in",
    "use_limits",
    "with_fetched",
    "work_spent",
]
