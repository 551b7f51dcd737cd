// Keeps pages fresh: what they show is all there without this script, as it was when they were made.
//
// <main data-live>           fetched again and swapped when a build changes (server-sent events at /events)
// <time data-since="EPOCH">  how long something has lasted; <progress data-since> likewise
// <time datetime data-age>   an age, or a time to come
// <pre data-log="ADDRESS" data-begin data-end data-line [data-follow]>  a log: grows, and loads what came before
"use strict";

const SECOND = 1000;
const BLOCK = 2 ** 16; // bytes of earlier lines that are loaded at once
const MOST_LINES = 5000; // kept on the page while it follows
const DRAWN = 1000; // at once
const DECODER = new TextDecoder();
const CONTROL = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]/g;
const SGR = /\x1b\[([0-9;]*)m/;

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * SECOND));
const shown = () =>
  document.hidden ? new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true })) : null;

// Times

function duration(seconds) {
  if (seconds < 1) return `${Math.round(Math.max(seconds, 0) * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const units = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = units.findIndex(([count]) => count);
  return units.slice(first, first + 2).filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

const coarse = (seconds) => (seconds < 60 ? seconds : seconds - (seconds % 60));

function age(moment, now) {
  const seconds = now - moment;
  if (seconds >= 10) return `${duration(coarse(seconds))} ago`;
  return seconds >= 0 ? "just now" : `in ${duration(coarse(-seconds))}`;
}

function tick() {
  const now = Date.now() / SECOND - skew;
  for (const time of document.querySelectorAll("time[data-since]")) {
    time.textContent = duration(Math.max(Math.round(now - time.dataset.since), 1));
  }
  for (const bar of document.querySelectorAll("progress[data-since]")) {
    bar.value = Math.min(now - bar.dataset.since, bar.max * 0.97);
  }
  for (const time of document.querySelectorAll("time[data-age]")) {
    time.textContent = age(Date.parse(time.dateTime) / SECOND, now);
  }
}

// The reader's clock may be wrong: the page says what time the daemon had when it was made.
const skew = Date.now() / SECOND - Number(document.body.dataset.now || Date.now() / SECOND);

// Pages

const changed = (field) => (field.matches("option") ? field.selected !== field.defaultSelected : field.value !== field.defaultValue);
const busy = () =>
  !getSelection().isCollapsed ||
  document.activeElement?.matches("main input, main select") ||
  document.querySelector("main details[open]") !== null ||
  [...document.querySelectorAll("main .search :is(input, option)")].some(changed);

async function refresh() {
  const main = document.querySelector("main");
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-cache" });
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (busy() || !fresh || fresh.innerHTML === main.innerHTML) return;
  const focused = main.contains(document.activeElement) && document.activeElement.getAttribute("href");
  main.replaceWith(fresh);
  tick();
  if (focused) fresh.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

async function keepFresh() {
  let changed;
  let wake = () => {};
  const renew = () => {
    changed = true;
    wake();
  };
  let events = null;
  const listen = () => {
    events?.close(); // a hidden page holds no connection: a browser has few for one host
    events = document.hidden ? null : new EventSource("/events");
    events?.addEventListener("build", renew);
    events?.addEventListener("error", () => document.body.classList.add("stale"));
    events?.addEventListener("open", () => document.body.classList.remove("stale"));
    if (!document.hidden) renew();
  };
  document.addEventListener("visibilitychange", listen);
  listen();
  while (document.querySelector("main").hasAttribute("data-live")) {
    if (!changed) await Promise.race([new Promise((resolve) => (wake = resolve)), pause(15)]);
    await shown();
    changed = false;
    await refresh().catch(() => document.body.classList.add("stale"));
    await pause(0.5);
  }
  events?.close();
}

// Logs

class Terminal {
  colour = "";
  bold = false;

  change(codes) {
    for (const code of codes.split(";").map(Number)) {
      if (code === 0) [this.colour, this.bold] = ["", false];
      else if (code === 1 || code === 22) this.bold = code === 1;
      else if (code === 39) this.colour = "";
      else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) this.colour = `c${code % 10}`;
    }
  }

  part(text) {
    const clean = text.replace(CONTROL, "");
    const look = [this.colour, this.bold && "bold"].filter(Boolean).join(" ");
    if (!look) return clean;
    const span = document.createElement("span");
    span.className = look;
    span.textContent = clean;
    return span;
  }

  line(text, number, at) {
    const last = text.replace(/\r+$/, "").split("\r").pop();
    const line = document.createElement("span");
    line.className = last.startsWith("=== ") ? "line step" : "line";
    line.id = `L${number}`;
    if (at) line.dataset.at = at;
    const anchor = document.createElement("a");
    Object.assign(anchor, { className: "no", href: `#L${number}`, textContent: number, tabIndex: -1 });
    anchor.setAttribute("aria-hidden", "true");
    line.append(anchor);
    last.split(SGR).forEach((piece, place) => (place % 2 ? this.change(piece) : line.append(this.part(piece))));
    line.append("\n");
    return line;
  }
}

// A time for a narrow column: 0.4 s, 12 s, 3:05, 1:02:03
function clockText(seconds) {
  if (seconds < 59.5) return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, place) => (place ? String(part).padStart(2, "0") : part)).join(":");
}

function joined(one, other) {
  if (!one.length) return other;
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

// Where the lines of a part of a log begin, in bytes
function lineStarts(bytes) {
  const starts = [0];
  for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, end + 1)) starts.push(end + 1);
  return starts;
}

class Log {
  constructor(pre) {
    this.pre = pre;
    this.begin = Number(pre.dataset.begin); // where the page's first line begins in the log
    this.end = Number(pre.dataset.end); // how much of it was received
    this.next = Number(pre.dataset.line);
    this.first = this.next - pre.querySelectorAll(".line").length;
    this.begun = Number(pre.dataset.begun); // by the daemon's clock
    this.step = Number(pre.dataset.step);
    this.last = "";
    this.terminal = new Terminal();
    this.rest = new Uint8Array();
    this.pending = []; // lines that were received and are not on the page yet
    this.drawing = false;
    this.cost = 0; // milliseconds that drawing took last
    this.place = document.querySelector(".earlier");
    this.offerEarlier();
  }

  get atEnd() {
    return this.pre.scrollHeight - this.pre.scrollTop - this.pre.clientHeight < 40;
  }

  // Lines come as they are written: that is their time.
  take(bytes) {
    const now = Date.now() / SECOND - skew;
    if (!this.begun) this.begun = this.step = now;
    const all = joined(this.rest, bytes);
    let offset = this.end - this.rest.length;
    let start = 0;
    for (let stop = all.indexOf(10); stop >= 0; stop = all.indexOf(10, start)) {
      this.takeLine(all.subarray(start, stop), offset + start, now);
      start = stop + 1;
    }
    this.rest = all.subarray(start);
    this.end += bytes.length;
    if (this.pending.length > 4 * MOST_LINES && this.atEnd) this.skip(this.pending.length - DRAWN);
    this.drawSoon();
  }

  takeLine(bytes, offset, now) {
    const isStep = bytes[0] === 61 && bytes[1] === 61 && bytes[2] === 61 && bytes[3] === 32;
    if (isStep && /^=== [a-z-]+$/.test(DECODER.decode(bytes))) this.step = now;
    this.pending.push({ bytes, offset, since: now - (isStep ? this.begun : this.step) });
  }

  drawSoon() {
    if (this.drawing || !this.pending.length) return;
    this.drawing = true;
    // As much time for the reader as for drawing.
    setTimeout(() => requestAnimationFrame(() => this.draw()), this.cost);
  }

  draw() {
    this.drawing = false;
    const begun = performance.now();
    const { atEnd } = this; // else the reader is looking at something
    if (atEnd && this.pending.length > MOST_LINES) this.skip(this.pending.length - DRAWN);
    const lines = this.pending.splice(0, DRAWN);
    this.pre.append(...lines.map((line) => this.drawn(line)));
    if (atEnd) {
      while (this.pre.childElementCount > MOST_LINES) this.forgetFirst();
      this.offerEarlier();
      this.pre.scrollTop = this.pre.scrollHeight;
    }
    this.cost = performance.now() - begun;
    this.drawSoon();
  }

  drawn({ bytes, offset, since }) {
    const text = DECODER.decode(bytes);
    const line = this.terminal.line(text, this.next++, this.told(text, since));
    line.offset = offset;
    return line;
  }

  // What nobody could read as it went by: only the end goes on the page.
  skip(count) {
    this.pending.splice(0, count);
    this.next += count;
    this.first = this.next;
    this.begin = this.pending[0].offset;
    this.terminal = new Terminal();
    this.pre.replaceChildren();
  }

  // What a line's column says: nothing where it would say the same as the one before.
  told(line, seconds) {
    const text = clockText(Math.max(seconds, 0));
    const same = text === this.last && !line.startsWith("=== ");
    this.last = text;
    return same ? "" : text;
  }

  forgetFirst() {
    do {
      this.pre.firstElementChild.remove();
      this.first += 1;
    } while (this.pre.firstElementChild.offset === undefined); // those that came with the page, in one go
    this.begin = this.pre.firstElementChild.offset;
  }

  async receive() {
    const answer = await fetch(`${this.pre.dataset.log}&follow&offset=${this.end}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      this.take(value);
      while (this.pre.childElementCount + this.pending.length > 4 * MOST_LINES && !this.atEnd) await pause(0.2);
    }
    if (this.rest.length) this.take(new Uint8Array([10]));
  }

  async follow() {
    this.pre.scrollTop = this.pre.scrollHeight;
    for (let failures = 0; failures < 8; failures += 1) {
      try {
        return await this.receive();
      } catch {
        await pause(2 ** failures);
        await shown();
      }
    }
  }

  async earlier() {
    const from = Math.max(this.begin - BLOCK, 0);
    const part = `&offset=${from}&until=${this.begin}`;
    const times = fetch(this.pre.dataset.times + part).then((answer) => answer.json());
    const answer = await fetch(this.pre.dataset.log + part);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const cut = from ? bytes.indexOf(10) + 1 : 0;
    const starts = lineStarts(bytes.subarray(cut));
    const lines = DECODER.decode(bytes.subarray(cut)).replace(/\n$/, "").split("\n");
    const marks = await times.catch(() => []);
    const terminal = new Terminal();
    const height = this.pre.scrollHeight;
    const { last, atEnd } = this;
    this.last = "";
    this.first -= lines.length;
    let place = 0;
    const made = lines.map((text, number) => {
      const offset = from + cut + starts[number];
      while (place < marks.length && marks[place][0] <= offset) place += 1;
      const [, at, step] = marks[place - 1] ?? [];
      const since = (at - (text.startsWith("=== ") ? 0 : step)) / 1000;
      const line = terminal.line(text, this.first + number, at === undefined ? "" : this.told(text, since));
      line.offset = offset;
      return line;
    });
    this.last = last;
    this.pre.prepend(...made);
    const added = this.pre.scrollHeight - height;
    // Whoever was at the end is shown what they asked for, and does not follow any more.
    this.pre.scrollTop = atEnd ? added - this.pre.clientHeight / 2 : this.pre.scrollTop + added;
    this.begin = from + cut;
  }

  offerEarlier() {
    if (!this.begin || this.place?.querySelector("button")) return;
    if (!this.place?.isConnected) {
      this.place = document.createElement("p");
      this.place.className = "empty earlier";
      this.pre.before(this.place);
    }
    const button = document.createElement("button");
    button.textContent = "Show earlier lines";
    button.addEventListener("click", async () => {
      button.disabled = true;
      await this.earlier();
      button.disabled = false;
      if (!this.begin) this.place.remove();
    });
    this.place.append(" ", button);
  }
}

document.querySelectorAll("pre[data-log]").forEach((pre) => {
  const log = new Log(pre);
  if (pre.hasAttribute("data-follow")) log.follow();
  else if (!location.hash) pre.scrollTop = pre.scrollHeight;
});
setInterval(tick, SECOND);
keepFresh();
