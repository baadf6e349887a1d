// Stands in for a built web UI: the calls that its screens make, with nothing to look at.
const env = window.__NOETL_ENV__;
const root = env.VITE_API_MODE === "direct" ? `${env.VITE_API_BASE_URL}/api` : `${env.VITE_GATEWAY_URL}/noetl`;
const text = (kind, path) => `apiVersion: noetl.io/v2
kind: ${kind}
metadata: {name: shown, path: ${path}, version: "1.0"}
workload: {word: hello}
workflow:
- step: start
  tool: {kind: python, args: {word: "{{ workload.word }}"}, code: "result = {'text': word}"}
`;
const calls = [];

async function call(screen, method, path, body) {
  const answer = await fetch(root + path, {
    method,
    headers: { "Content-Type": "application/json", "X-Session-Token": "dev-skip-auth" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const told = await answer.json();
  calls.push({ screen, method, path, status: answer.status, detail: told.detail });
  return told;
}

async function ended(id) {
  for (;;) {
    const told = await (await fetch(`${root}/executions/${id}/status`)).json();
    if (told.status !== "RUNNING") return told;
    await new Promise((next) => setTimeout(next, 50));
  }
}

async function screens(path) {
  await call("login", "GET", "/health");
  await call("login", "POST", "/auth/validate", { session_token: "dev-skip-auth" });
  await call("new playbook", "POST", "/catalog/register", { content: text("Playbook", path), resource_type: "Playbook" });
  await call("catalog", "POST", "/catalog/list", { resource_type: "Playbook" });
  const entry = await call("view", "POST", "/catalog/resource", { path, version: "latest" });
  await call("run form", "GET", `/catalog/${path}/ui_schema?version=latest`);
  await call("editor", "GET", `/catalog/playbook/content?playbook_id=${entry.catalog_id}`);
  await call("editor", "POST", "/catalog/playbooks/validate", { content: text("Playbook", path) });
  await call("editor", "PUT", `/catalog/playbook/content?playbook_id=${entry.catalog_id}`, { content: text("Playbook", path) });
  const run = await call("execute", "POST", "/execute", { catalog_id: entry.catalog_id, version: 1, workload: {}, merge: false });
  const status = await ended(run.execution_id);
  await call("test lab", "POST", "/execute", { path, version: "1.0", workload: {} });
  await call("executions", "GET", "/executions");
  const detail = await call("detail", "GET", `/executions/${run.execution_id}?page=1&page_size=100`);
  await call("rerun", "POST", `/executions/${run.execution_id}/rerun`, { workload: { word: "bye" }, resource_kind: "playbook" });
  await call("fix", "POST", `/executions/${run.execution_id}/analyze`, {});
  await call("analyze with AI", "POST", `/executions/${run.execution_id}/analyze/ai`, {});
  await call("explain with AI", "POST", "/catalog/playbooks/explain/ai", { path });
  await call("generate with AI", "POST", "/catalog/playbooks/generate/ai", { prompt: "x" });
  await call("agents", "POST", "/catalog/register", { content: text("Agent", `${path}/agent`), resource_type: "Playbook" });
  await call("agents", "POST", "/catalog/agents/list", {});
  const agent = await call("agents", "POST", "/execute", { path: `${path}/agent`, workload: {}, resource_kind: "agent" });
  await ended(agent.execution_id);
  const suite = `/playbook-tests/suites/${path}`;
  await call("test lab", "PUT", suite, { playbook_path: path, tests: [{ name: "one" }] });
  await call("test lab", "GET", suite);
  await call("test lab", "DELETE", suite);
  await call("credentials", "GET", "/credentials");
  const waiting = text("Playbook", `${path}/waits`).replace(/  tool:.*\n/, "  tool: {kind: wait, signal: go, timeout: 1h}\n");
  await call("stop", "POST", "/catalog/register", { content: waiting, resource_type: "Playbook" });
  const stopped = await call("stop", "POST", "/execute", { path: `${path}/waits`, workload: {} });
  await call("stop", "POST", `/executions/${stopped.execution_id}/stop`);
  const { judge } = await import("./check-51b6e2aa.js");
  return {
    verdict: judge("execution.status === 'COMPLETED'", status),
    ids: detail.events.map((event) => event.event_id),
    duration: detail.events.find((event) => event.event_type === "call.done").duration,
    execution: detail.execution_id === run.execution_id,
  };
}

function connected(clientId, onMessage) {
  return new Promise((told) => {
    const more = clientId ? `&client_id=${clientId}` : "";
    const source = new EventSource(`${env.VITE_GATEWAY_URL}/events?session_token=dev-skip-auth${more}`);
    source.addEventListener("message", (event) => told([source, JSON.parse(event.data).result]));
    for (const name of ["playbook/result", "playbook/progress"]) {
      source.addEventListener(name, (event) => onMessage(name, JSON.parse(event.data).params));
    }
  });
}

async function graphql(query, variables) {
  const answer = await fetch(`${env.VITE_GATEWAY_URL}/graphql`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: "Bearer dev-skip-auth" },
    body: JSON.stringify({ query, variables }),
  });
  return answer.json();
}

const EXECUTE = `mutation Execute($name: String!, $variables: JSON, $clientId: String) {
  executePlaybook(name: $name, variables: $variables, clientId: $clientId) { id executionId requestId status }
}`;

// As the UI draws it: the first of these that is true in JavaScript's sense, and as text.
function drawn(data) {
  const text = data.textOutput || data.text_output || data.summary || data.result;
  if (typeof text === "object" && text !== null) throw new Error("an object is drawn");
  return text;
}

// As the UI does behind a gateway: listen, start, get the result there, and once more after a break.
// What comes before the answer to the start is read, late on a busy machine, is not known and dropped.
async function awaited(path) {
  let known = null;
  let dropped = 0;
  let arrived;
  const inTime = new Promise((told) => (arrived = told));
  const [source, hello] = await connected("", (name, params) => {
    if (name !== "playbook/result") return;
    if (params.requestId === known) arrived(params);
    else dropped += 1;
  });
  const started = (await graphql(EXECUTE, { name: path, variables: { word: "page" }, clientId: hello.clientId })).data.executePlaybook;
  while (dropped === 0) await new Promise((later) => setTimeout(later, 10));
  known = started.requestId;
  const result = await inTime;
  source.close();
  const repeated = await new Promise((told) => {
    connected(hello.clientId, (name, params) => name === "playbook/result" && told(params));
  });
  return { client: hello.clientId, started, result, repeated, shown: drawn(result.data) };
}

const where = location.pathname;
history.pushState(null, "", "/executions");
const path = `shown/p${Date.now()}`;
const found = await screens(path);
found.awaited = await awaited(path);
found.where = where;
found.calls = calls;
document.getElementById("calls").textContent = calls.map((one) => `${one.status} ${one.method} ${one.path}`).join("\n");
window.found = found;
