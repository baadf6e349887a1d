// Ask for the changing part of a page twice a second, while somebody looks and nobody is typing in it.
"use strict";
(() => {
  const PAUSE_MS = 500;

  const isQuiet = (part) =>
    !part.contains(document.activeElement?.closest("input, select, textarea, details[open]") ?? null) &&
    part.querySelector("input:checked, details[open]") === null &&
    part.dataset.busy !== "yes";

  const look = () => {
    if (document.visibilityState !== "visible" || window.htmx === undefined) return;
    for (const part of document.querySelectorAll("[data-live]")) {
      if (isQuiet(part)) window.htmx.trigger(part, "refresh");
    }
  };

  document.addEventListener("htmx:beforeRequest", (event) => { event.target.dataset.busy = "yes"; });
  document.addEventListener("htmx:afterRequest", (event) => { event.target.dataset.busy = "no"; });
  setInterval(look, PAUSE_MS);
})();
