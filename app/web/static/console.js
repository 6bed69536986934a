// Copying, live figures, and waiting for a job. Every page can be read without this.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

const EVERY_MS = 2000;

async function asked(url) {
  const answer = await fetch(url, {headers: {Accept: "application/json"}});
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

function repeat(look) {
  setTimeout(async () => {
    try {
      if (!document.hidden) await look();
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
    repeat(look);
  }, EVERY_MS);
}

const live = document.querySelector("[data-live]");
if (live) {
  repeat(async () => {
    const now = await asked(live.dataset.live);
    if (live.dataset.shape !== now.shape) location.reload();
    for (const place of document.querySelectorAll("[data-figure]")) {
      const text = now.figures[place.dataset.figure];
      if (text !== undefined && place.textContent !== text) place.textContent = text;
    }
    for (const line of document.querySelectorAll("[data-line]")) {
      line.setAttribute("points", now.lines[line.dataset.line] || "");
    }
  });
}

const job = document.querySelector("[data-job]");
if (job) {
  const watch = async () => {
    const now = await asked(job.dataset.job);
    if (now.phase !== job.dataset.phase) location.reload();
    const bar = job.querySelector("progress");
    if (now.total && now.phase === "replaying") bar.value = now.worked;
    const of = now.total && now.phase !== "surveying" ? " of " + now.total.toLocaleString("en") : "";
    job.querySelector("[data-worked]").textContent = now.worked.toLocaleString("en") + of + " dead letters";
    setTimeout(() => watch().catch(() => repeat(watch)), 400);
  };
  watch().catch(() => repeat(watch));
}
