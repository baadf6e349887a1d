// Show the lines that steps print while a run goes on.
"use strict";
(() => {
  const MOST_LINES = 2000;
  const NEAR = 40;

  const place = document.querySelector("[data-output]");
  if (place === null || window.EventSource === undefined) return;
  const list = place.querySelector("ol");
  const taken = new Map(); // by run, as lines come again after a break

  const cell = (kind, name, text) => {
    const made = document.createElement(kind);
    made.className = name;
    made.textContent = text;
    return made;
  };

  const add = (time, step, stream, text) => {
    const line = document.createElement("li");
    line.className = stream === "" ? "missing" : stream;
    line.append(
      cell("span", "time", time.slice(11, 23)), " ", cell("span", "step", step), " ",
      cell("span", "stream", stream), " ", cell("code", "text", text),
    );
    list.append(line);
    while (list.childElementCount > MOST_LINES) list.firstElementChild.remove();
  };

  const show = (said) => {
    const run = `${said.event_id}:${said.attempts}`;
    const last = taken.get(run) ?? 0;
    const lines = said.lines.filter((line) => line.number > last);
    const isBehind = said.lines.length === 0;
    const missing = isBehind ? said.dropped : Math.min(said.dropped, (lines[0]?.number ?? 0) - last - 1);
    if (missing > 0) add(lines[0]?.time ?? "", said.step, "", `${missing} lines were left out`);
    for (const line of lines) add(line.time, said.step, line.stream, line.text);
    taken.set(run, lines.at(-1)?.number ?? (isBehind ? last + said.dropped : last));
  };

  const source = new EventSource(place.dataset.output);
  source.addEventListener("output", (event) => {
    place.hidden = false;
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR;
    show(JSON.parse(event.data));
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  });
  source.addEventListener("end", () => {
    source.close();
    // What was printed is in the results now.
    if (place.dataset.reload !== undefined) window.location.reload();
  });
})();
