// Keeps a page fresh where it says so: <main data-live="SECONDS"> is fetched again and swapped, and
// <pre data-follow="ADDRESS&offset=N"> grows with its log. Without this script both show the state at loading.
"use strict";

const LONGEST_LOG = 2 ** 20; // characters kept on the page
const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]/g;

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const busy = () => document.hidden || !getSelection().isCollapsed;

async function refresh() {
  const main = document.querySelector("main");
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("main");
  if (busy() || !fresh) return;
  const focused = main.contains(document.activeElement) && document.activeElement.getAttribute("href");
  main.replaceWith(fresh);
  if (focused) fresh.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

async function keepFresh() {
  let failures = 0;
  for (;;) {
    const seconds = document.querySelector("main").dataset.live;
    if (!seconds) return;
    await pause(Math.min(Number(seconds) * 2 ** failures, 60));
    if (busy()) continue;
    try {
      await refresh();
      failures = 0;
    } catch {
      failures += 1;
    }
    document.body.classList.toggle("stale", failures > 0);
  }
}

function shown(line) {
  return line.replace(/\r$/, "").split("\r").pop().replace(ESCAPES, "");
}

function append(log, lines) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(lines.map((line) => shown(line) + "\n").join(""));
  if (log.textContent.length > LONGEST_LOG) {
    log.textContent = log.textContent.slice(-LONGEST_LOG / 2);
  }
  if (atEnd) log.scrollTop = log.scrollHeight;
}

async function receive(log, address, position) {
  address.search = address.search.replace(/&offset=\d+/, `&offset=${position.offset}`);
  const answer = await fetch(address, { cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  const decoder = new TextDecoder();
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (position.rest + decoder.decode(value, { stream: true })).split("\n");
    position.rest = lines.pop();
    position.offset += value.length;
    if (lines.length) append(log, lines);
  }
  if (position.rest) append(log, [position.rest]);
}

async function follow(log) {
  const address = new URL(log.dataset.follow, location.href);
  const position = { offset: Number(address.search.match(/offset=(\d+)/)[1]), rest: "" };
  log.scrollTop = log.scrollHeight;
  for (let failures = 0; failures < 8; failures += 1) {
    try {
      return await receive(log, address, position);
    } catch {
      await pause(2 ** failures);
    }
  }
}

document.querySelectorAll("pre.log").forEach((log) => {
  if (log.dataset.follow) follow(log);
});
keepFresh();
