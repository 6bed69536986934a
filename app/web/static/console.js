// Copying, and pages that keep themselves up to date. Every page can be read without this.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

const EVERY_MS = 1000;

// Each element with data-live is replaced by that of the page as it is now. Not while it holds the focus, or text is
// selected: both would be lost. Where its state (the value of data-live) is another one, so is the rest of the page.
async function refresh() {
  const answer = await fetch(location.href);
  if (!answer.ok) throw new Error(String(answer.status));
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const shown of document.querySelectorAll("[data-live]")) {
    const now = page.getElementById(shown.id);
    if (now?.dataset.live !== shown.dataset.live) return location.reload();
    const inUse = shown.contains(document.activeElement) || !getSelection().isCollapsed;
    if (!inUse && !shown.isEqualNode(now)) shown.replaceWith(now);
  }
}

function repeat() {
  setTimeout(async () => {
    try {
      if (!document.hidden) await refresh();
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
    repeat();
  }, EVERY_MS);
}

if (document.querySelector("[data-live]")) repeat();
