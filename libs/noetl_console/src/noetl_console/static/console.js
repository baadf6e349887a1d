// Ask for the changing part of a page three times a second, while somebody looks and nobody is typing in it.
"use strict";
(() => {
  const PAUSE_MS = 333;

  const isQuiet = (part) =>
    !part.contains(document.activeElement?.closest("input, select, textarea, details[open]") ?? null) &&
    part.querySelector("input:checked, details[open]") === null &&
    part.dataset.busy !== "yes" &&
    !hasSelection(part);

  const hasSelection = (part) => {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
  };

  // What had the focus is another element after the change: keyboards go on from its successor.
  let focused = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const active = document.activeElement;
    focused = event.target.contains(active) ? active?.getAttribute("href") ?? null : null;
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (focused === null) return;
    const successor = document.querySelector(`[data-live] a[href="${CSS.escape(focused)}"]`);
    successor?.focus({ preventScroll: true });
    focused = null;
  });

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
