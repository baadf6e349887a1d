# Each recipe is one line that also works without make.

.PHONY: setup demo check docs test bench chaos fuzz access-fuzz schemathesis lock schedules recorded stops triggers libraries waits mistakes fat-cycle hostile edge lists console containers chart release chart-run chart-scale

# Compiled sources are kept, whatever a container's image says: each process that a test or a
# stack starts would compile all of its own anew.
export PYTHONDONTWRITEBYTECODE =

MEMBERS := $(wildcard libs/*/src services/*/src packages/*/src) cli/src testkit/src
TYPED := $(MEMBERS) tools/chart tools/checks tools/containers tools/docs tools/image/parts.py tools/image/strip.py tools/release

setup:
	@tools/bootstrap

demo:
	@tools/bootstrap --run
	.venv/bin/noetl-server run examples/hello.yaml

check: setup
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy $(TYPED) && .venv/bin/lint-imports && PYTHONWARNINGS=ignore .venv/bin/sqlfluff lint -q libs services migrations && .venv/bin/python tools/checks/everything.py && .venv/bin/python tools/chart/check.py && .venv/bin/python tools/docs/pages.py --check

# The types alone.
.PHONY: types
types:
	.venv/bin/mypy $(TYPED)

# The pages of docs/ that are written from the code, and the site of all pages in build/site.
docs: setup
	.venv/bin/python tools/docs/pages.py
	.venv/bin/python tools/docs/site.py

# The same in a browser, at http://127.0.0.1:8000; port=9000 for another one.
.PHONY: docs-serve
docs-serve: setup
	.venv/bin/python tools/docs/pages.py
	.venv/bin/python tools/docs/site.py --serve $(or $(port),8000)

# Three processes, because a third of a test's time is waiting, which leaves no core of two idle; a
# fourth has to collect all tests and start servers too, and was no faster. One where all would have
# to share servers that somebody named.
processes = 3
pytest = .venv/bin/pytest $(if $(NOETL_NATS_URL)$(POSTGRES_HOST),,-n $(processes) --dist loadgroup) --durations=30 --durations-min=5

# All tests but those marked `slow`; of a path all.
test: setup
	$(pytest) $(or $(path),-m "not slow")

# The tests marked `slow`, which `make test` leaves out: they wait for real time.
.PHONY: slow-tests
slow-tests: setup
	$(pytest) -m slow $(args)

# The playbooks of the acceptance tests, with each setting of NOETL_INGRESS for each transport of the
# workers; args="--ingress stream" for one setting.
.PHONY: acceptance
acceptance: setup
	.venv/bin/python tests/e2e/acceptance/both_settings.py $(args)

# Every proof below, one after the other, and a table of results and seconds; args=--short for
# those that every change has to pass, args="--only traces,chaos" for some.
.PHONY: proofs
proofs: setup
	.venv/bin/python tools/ci/prove_all.py $(args)

# The Helm chart with the value sets of its tests; args="--values production.yaml" for your own.
chart: setup
	.venv/bin/python tools/chart/check.py $(args)

# What the chart says, as processes with its variables, jobs, probes and triggers, without a cluster.
chart-run: setup
	.venv/bin/python tools/chart/rehearsal.py

# All that the chart scales, there and back by KEDA's sums, under load; args="--of worker --commands 60 --seconds 50".
chart-scale: setup
	.venv/bin/python tools/chart/scaling_rehearsal.py $(args)

# What the system costs on this machine; args="--help" lists the cases.
bench: setup
	.venv/bin/python -m benchmarks $(args)

# What workers and clients get over HTTP; args="--against CHECKOUT" compares with another one.
edge: setup
	.venv/bin/python benchmarks/edge.py $(args)

# What rounds of a cycle with large results cost, and reads beside a reader of its log.
fat-cycle: setup
	.venv/bin/python benchmarks/fat_cycle.py $(args)

# Many executions that wait, released at once; args="--size 100000" for more.
waits: setup
	.venv/bin/python benchmarks/waits.py $(args)

# Every list, filter and page over many executions; args="--size 1000000" takes 15 GB and an hour.
lists: setup
	.venv/bin/python benchmarks/lists.py $(args)

# Alerts, as Prometheus's own promtool judges them, and all queries in a Prometheus that scrapes a
# stack; as root it is installed when it isn't there.
.PHONY: monitoring
monitoring: setup
	command -v promtool >/dev/null || { apt-get update -qq; apt-get install -y --no-install-recommends prometheus; }
	.venv/bin/pytest -n 0 tests/monitoring tools/checks/tests/test_monitoring.py
	PYTHONPATH=tests/monitoring .venv/bin/python tests/monitoring/prometheus_proof.py

# Three brokers under load, those that lead are killed; args="--rounds 5 --rate 50".
.PHONY: cluster
cluster: setup
	PYTHONPATH=tests/e2e/outages .venv/bin/python tests/e2e/outages/cluster_proof.py $(args)

# One execution's trace through every service, for each transport of the workers.
.PHONY: traces
traces: setup
	PYTHONPATH=tests/traces .venv/bin/python tests/traces/trace_proof.py

# A model of writes and commands, explored; args=--traces shows what each of its rules is good for.
.PHONY: model
model: setup
	PYTHONPATH=tests/model .venv/bin/python tests/model/model_proof.py $(args)

# The code changed in the places that guarantees rest on, and tests that have to notice;
# args="--only cascade" for some.
.PHONY: mutants
mutants: setup
	PYTHONPATH=tests/mutants .venv/bin/python tests/mutants/mutants_proof.py $(args)

# The services behind PgBouncer in transaction mode; as root it is installed when it isn't there.
.PHONY: pooler
pooler: setup
	command -v pgbouncer >/dev/null || test -x /usr/sbin/pgbouncer || { apt-get update -qq; apt-get install -y --no-install-recommends pgbouncer; }
	.venv/bin/python tools/chart/pooler_rehearsal.py $(args)

chaos: setup
	.venv/bin/python tests/e2e/outages/chaos.py $(args)

# The shipped processes on virtual time under seeded troubles, and planted defects until they are
# found; args="--seconds 3600 --first 100000" for other seeds, args="--only 'stale copy'" for one defect.
.PHONY: simulate
simulate: setup
	.venv/bin/python -m tests.simulation.proof $(args)

# A backup under load, a crash, and two restores: beside the broker's newer store and an empty one.
.PHONY: drill
drill: setup
	.venv/bin/python tests/e2e/outages/restore_drill.py $(args)

# Every service restarted, and the release before migrated and replaced, under load; args="--only restart".
.PHONY: rolling
rolling: setup
	PYTHONPATH=tests/e2e/outages:tests/rolling .venv/bin/python tests/rolling/proof.py $(args)

# Passwords of shards changed under load; args="--seconds 120 --every 2" for more.
.PHONY: rotation
rotation: setup
	.venv/bin/python tests/rotation/proof.py $(args)

# A token that is about to end, used a thousand times at once over three catalogs.
.PHONY: renewals
renewals: setup
	.venv/bin/python tests/rotation/renewals.py $(args)

# Messages through each source under kills; args="--sources nats,redis --messages 500" for less.
# As root RabbitMQ is installed when it isn't there.
triggers: setup
	command -v rabbitmq-server >/dev/null || test -x /usr/sbin/rabbitmq-server || { apt-get update -qq; apt-get install -y --no-install-recommends rabbitmq-server; }
	PYTHONPATH=tests/e2e/triggers .venv/bin/python tests/e2e/triggers/proof.py $(args)

# Kill workers between the result and the end of a command; args="--kills 200" for more.
recorded: setup
	.venv/bin/python tests/stopping/recorded.py $(args)

# How long after a cancel the work of each tool is gone; args="--rounds 50" for more.
stops: setup
	.venv/bin/python tests/stopping/stops.py $(args)

# Libraries from a real index; args="--find-links FOLDER" without a network.
libraries: setup
	.venv/bin/python tests/libraries/proof.py $(args)

# A cut-over from an existing server and back, while clients go on; args="--clients 20 --rounds 10".
.PHONY: moving
moving: setup
	PYTHONPATH=tests/moving .venv/bin/python tests/moving/moving_proof.py $(args)

# The package of the tool kind snowflake with its driver, against fakesnow; args="-k moving".
.PHONY: snowflake
snowflake: setup
	.venv/bin/python packages/noetl_tool_snowflake/tests/snowflake_proof.py $(args)

fuzz: setup
	.venv/bin/python tests/attacks/fuzz.py $(args)

# Random callers, names, pages and bodies at every route; args="--cases 50000" for more.
access-fuzz: setup
	PYTHONPATH=tests/conformance .venv/bin/python tests/security/edge/fuzz_routes.py $(args)

# Templates that stand for too much, in every place, and what others notice; args="--others 60" for more.
hostile: setup
	.venv/bin/python tests/security/templates/hostile.py $(args)

# Thousands of generated requests after the OpenAPI document; args="--max-examples 100" for more.
schemathesis: setup
	.venv/bin/python tests/conformance/generated.py $(args)

# Schedules under kills, on a clock that is moved on and on the real one; args="--minutes 10" for more.
schedules: setup
	.venv/bin/python tests/schedules/proof.py $(args)

# Containers of steps on a real engine, ending in every way; args="--socket PATH --many 200".
.PHONY: container-tool
container-tool: setup
	PYTHONPATH=tools/containers .venv/bin/python tests/containers/proof.py $(args)

# The same as Jobs: args="--kubeconfig FILE --image busybox:1.37" for a cluster for tests, else one
# of this machine from NOETL_KUBE_BINARIES.
.PHONY: cluster-tool
cluster-tool: setup
	PYTHONPATH=tools/containers:tools/chart .venv/bin/python tests/containers/jobs.py $(args)

# Builds the images and proves the stack of compose.yaml; args=--own-engine brings an engine up.
containers: setup
	PYTHONPATH=tools/image .venv/bin/python tools/containers/prove.py $(args)

# Wheels, source, chart, lists of contents, images and checksums of this commit, into dist.
release: setup
	PYTHONPATH=tools/image:tools/containers:tools/chart .venv/bin/python tools/release/release.py $(args)

# After a change of dependencies; args=--upgrade takes new versions of everything.
lock:
	tools/bootstrap --uv-only && .uv/bin/uv lock --quiet $(args) && .uv/bin/uv export --quiet --all-packages --all-groups --no-group docs --no-emit-workspace --no-header --output-file requirements.txt && .uv/bin/uv export --quiet --only-group docs --no-header --output-file tools/docs/site.txt && for list in requirements tests/server; do .uv/bin/uv pip compile --quiet --generate-hashes --python-version 3.13 --no-header $(args) --output-file packages/noetl_tool_snowflake/$$list.txt packages/noetl_tool_snowflake/$$list.in || exit 1; done

# Every page of the console in Chromium, on a desktop, a phone and in the dark, with its pictures in
# .noetl/console, and how soon a change is seen.
console: setup
	command -v chromium >/dev/null || { apt-get update -qq; apt-get install -y --no-install-recommends chromium; }
	mkdir -p .noetl/console && NOETL_CONSOLE_PAGES=all NOETL_CONSOLE_SHOTS=.noetl/console \
		.venv/bin/pytest -q -s -n 0 -p no:cacheprovider tests/e2e/console $(args)

# What the console's pages cost with a million runs and with a loop of 10,000 iterations;
# args="--size 100000 --iterations 1000".
.PHONY: console-million
console-million: setup
	.venv/bin/python benchmarks/console.py $(args)

# What the authors of the broken playbooks in tests/playbooks/mistakes are told; args names some.
mistakes: setup
	.venv/bin/python tests/playbooks/mistakes_table.py $(args)

# Ten versions of a plug-in replaced under a hundred executions, then what a call costs.
.PHONY: plugins
plugins: setup
	NOETL_PLUGIN_RUNS=10 .venv/bin/pytest -q -n 0 tests/playbooks/test_plugins.py && .venv/bin/python benchmarks/plugins.py $(args)
