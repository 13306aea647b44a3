/* The schedule explorer. The actions come from ddg_ref (explorer_data.js, written when the book is built); what follows
   from them is computed here as ddg_ref does it: times (simulation.py), weight versions (versions.py), who waits for whom
   (deadlock.py). book/test_explorer.py holds the two against each other. */
"use strict";
(() => {

// ---- What workers do: lists of {k, kind, number}, modules counted from 1 ------------------------------------------

const OWN = "own";  // the name of a pasted schedule
const ITERATIONS = 160;  // in which a pipeline comes to repeat itself
const LARGEST = 2048;  // forward passes of a pasted schedule: more would make the page wait for seconds
const LONGEST = 8000;  // characters of one in a link

const action = text => {
  const [, k, kind, number] = /^(\d+)([FBIWUGL])(-?\d+)$/.exec(text);
  return {k: +k, kind, number: +number};
};

/** The program of a worker in iteration t: what it does in iteration 0, later; what has no batch yet is left out. */
const inIteration = (own, t, M) => own
  .map(a => ({...a, t, number: a.number + (a.kind === "U" ? t : t * M)}))
  .filter(a => a.number >= 0);

const source = (a, K) => a.kind === "F" ? (a.k > 1 ? a.k - 1 : 0) : "BIL".includes(a.kind) && a.k < K ? a.k + 1 : 0;
const target = (a, K) => a.kind === "F" ? (a.k < K ? a.k + 1 : 0) : "BIG".includes(a.kind) && a.k > 1 ? a.k - 1 : 0;
const name = a => `${a.k - 1}${a.kind}${a.number}`;

/** How long each kind of action of a module lasts; `each` stages share a device, on which a forward pass takes 1. */
const durations = (ratio, each) => ({F: 1 / each, B: ratio / each, G: ratio / each,
                                     I: ratio / 2 / each, W: ratio / 2 / each, U: 0, L: 0});

/** Play the workers' lists: bars with start and stop. Throws an Error with the reason if they wait for each other. */
function play(lists, K, times, latency) {
  const workerOf = {};
  lists.forEach((list, worker) => list.forEach(a => { workerOf[a.k] = worker; }));
  const steps = lists.map(list => list.flatMap(a => [
    ...(source(a, K) ? [{does: "take", a, other: source(a, K)}] : []),
    {does: "do", a, other: a.k},
    ...(target(a, K) ? [{does: "give", a, other: target(a, K)}] : [])]));
  const waiting = {}, next = steps.map(() => 0), clock = steps.map(() => 0), bars = lists.map(() => []);
  const channel = (from, to) => waiting[`${from}>${to}`] ??= [];
  const turns = steps.map((_, worker) => worker);
  while (turns.length) {
    const worker = turns.shift();
    for (; next[worker] < steps[worker].length; next[worker]++) {
      const {does, a, other} = steps[worker][next[worker]];
      if (does === "take") {
        const queue = channel(other, a.k);
        if (!queue.length) break;
        const message = queue.shift();
        if (message.number !== a.number) throw new Error(
          `${name(a)} (module ${a.k}): takes a message of micro-batch ${a.number} from module ${other}, gets that of ` +
          `${message.number}; let both have the same order`);
        clock[worker] = Math.max(clock[worker], message.at);
      } else if (does === "do") {
        bars[worker].push({...a, worker, start: clock[worker], stop: clock[worker] + times[a.kind]});
        clock[worker] += times[a.kind];
      } else {
        const far = workerOf[other] !== worker;
        channel(a.k, other).push({number: a.number, at: clock[worker] + (far ? latency : 0)});
      }
      if (does !== "do" && other in workerOf) turns.push(workerOf[other]);
    }
  }
  const blocked = steps.map((own, worker) => own[next[worker]]).filter(Boolean);
  if (blocked.length) {
    const {a, other} = blocked.reduce((x, y) => y.a.t < x.a.t || (y.a.t === x.a.t && y.a.k < x.a.k) ? y : x);
    throw new Error(`${name(a)} (module ${a.k}, iteration ${a.t}) can never happen: it waits for the ` +
      `${other < a.k ? "activation" : "error gradient"} of micro-batch ${a.number} from module ${other}; correct the order`);
  }
  return {bars, waiting};
}

/** Write on each bar which weights it uses, and find what a worker holds at most. */
function versions(bars, M, weights) {
  const most = {versions: 1, flights: 0, delay: 0};
  for (const own of bars) {
    const module = {};
    for (const bar of own) {
      const m = module[bar.k] ??= {version: 0, flight: new Map(), half: new Map(), gradients: new Map()};
      bar.used = m.version;
      if (bar.kind === "F") m.flight.set(bar.number, m.version);
      else if ("BIG".includes(bar.kind)) {
        bar.forward = m.flight.get(bar.number);
        m.flight.delete(bar.number);
        if (bar.kind === "I") m.half.set(bar.number, bar.forward); else m.gradients.set(bar.number, bar.forward);
      } else if (bar.kind === "W") {
        bar.forward = m.half.get(bar.number);
        m.half.delete(bar.number);
        m.gradients.set(bar.number, bar.forward);
      } else if (bar.kind === "U") {
        for (const [number, version] of m.gradients) if (Math.floor(number / M) === bar.number) {
          most.delay = Math.max(most.delay, m.version - version);
          m.gradients.delete(number);
        }
        m.version++;
      }
      if (bar.forward !== undefined && weights !== "current") bar.used = bar.forward;
      const kept = Object.values(module).reduce((sum, each) => sum + each.flight.size + each.half.size, 0);
      const old = new Set([m.version, ...m.flight.values(), ...m.half.values()]);
      most.flights = Math.max(most.flights, kept);
      if (weights !== "current") most.versions = Math.max(most.versions, old.size);
    }
  }
  return most;
}

/** Time per iteration, once the last `memory` iterations of all workers are earlier ones again, all later by one time. */
function repetition(bars, memory) {
  const ends = bars.map(own => own.reduce((all, bar) => { all[bar.t] = bar.stop; return all; }, []));
  for (let cycle = 1; cycle < ITERATIONS - memory; cycle++) {
    const later = ends.flatMap(own => Array.from({length: memory}, (_, i) =>
      own[ITERATIONS - 1 - i] - own[ITERATIONS - 1 - i - cycle]));
    if (Math.max(...later) - Math.min(...later) <= 1e-9 * Math.max(...later)) return later[0] / cycle;
  }
  return (Math.max(...ends.map(own => own.at(-1))) - Math.max(...ends.map(own => own[ITERATIONS / 2]))) / (ITERATIONS / 2 - 1);
}

/** All that the page shows of a schedule. */
function explore(schedule, programs, {K, M, ratio, latency}) {
  const stages = Math.max(...programs.flat().map(a => a.k)), each = stages / programs.length;
  const times = durations(ratio, each);
  const lists = count => programs.map(own =>
    Array.from({length: count}, (_, t) => inIteration(own, t, M)).flat());
  const lag = Math.max(0, ...programs.flat().map(a => -Math.floor(a.number / (a.kind === "U" ? 1 : M))));
  const {bars} = play(lists(lag + 3), stages, times, latency);
  versions(bars, M, schedule.weights);
  const long = play(lists(ITERATIONS), stages, times, latency).bars;
  const most = versions(long, M, schedule.weights);
  const period = repetition(long, lag + 3);
  const busy = programs.map(own => own.reduce((sum, a) => sum + times[a.kind], 0));
  const idle = busy.map(one => Math.max(0, 1 - one / period));
  return {bars, most, period, idle: idle.reduce((a, b) => a + b, 0) / idle.length};
}

// ---- A schedule in PyTorch's CSV form (schedule_files.py) -----------------------------------------------------------

/** What came, as a message shows it: cut short, in the quotes that Python would take. */
const quoted = text => {
  const short = text.slice(0, 40);
  return short.includes("'") && !short.includes('"') ? `"${short}"` : `'${short}'`;
};

function parse(text) {
  const rows = text.replace(/^\uFEFF/, "").split(/\r?\n/).map((line, row) => line.split(",").flatMap((cell, column) => {
    const both = /^\(([^;]*);([^;]*)\)OVERLAP_F_B$/.exec(cell.trim());
    return (both ? [both[1], both[2]] : [cell]).map(one => {
      const content = one.trim().replace(/^"(.*)"$/, "$1");
      if (!content || /^\d{1,6}REDUCE_GRAD$/.test(content)) return null;
      const found = /^(\d{1,6})([FBIW])(\d{1,6})$/.exec(content);
      const hint = /^\d+(UNSHARD|RESHARD|SEND_[FB]|RECV_[FB])\d*$/.test(content)
        ? "write computations only, one after the other: communication follows from them" : "correct it";
      if (!found) throw new Error(`row ${row + 1}, column ${column + 1}: expected an action like 0F0 (stage; F, B, I or W; ` +
        `micro-batch) or nothing, got ${quoted(content)}; ${hint}`);
      return {k: +found[1] + 1, kind: found[2], number: +found[3], t: 0, row: row + 1, column: column + 1};
    });
  }).filter(Boolean));
  while (rows.length && !rows.at(-1).length) rows.pop();
  return checked(rows);
}

/** The rows with their updates, if each stage lies on one rank and does everything once and in order. */
function checked(rows) {
  if (!rows.length) throw new Error("expected a row of actions for each rank, got none; 0F0,0B0 is the smallest schedule");
  const rankOf = {}, done = new Set();
  rows.forEach((row, rank) => {
    if (!row.length) throw new Error(`row ${rank + 1}: expected actions, got none; a rank has one stage at least`);
    for (const a of row) {
      const where = `row ${a.row}, column ${a.column}`, has = kind => done.has(`${a.k - 1}${kind}${a.number}`);
      if ((rankOf[a.k] ??= rank) !== rank) throw new Error(
        `${where}: expected stage ${a.k - 1} on one rank, that of row ${rankOf[a.k] + 1}, got ${name(a)}; move it`);
      if (has(a.kind)) throw new Error(`${where}: expected each action once, got ${name(a)} again; leave it out`);
      const before = {F: "", B: "F", I: "F", W: "I"}[a.kind], instead = {F: "", B: "I", I: "B", W: ""}[a.kind];
      if (before && !has(before)) throw new Error(
        `${where}: expected ${a.k - 1}${before}${a.number} before ${name(a)}; change the order`);
      if (instead && has(instead)) throw new Error(`${where}: expected one backward pass, whole or in halves, got ` +
        `${name(a)} after ${a.k - 1}${instead}${a.number}; leave one out`);
      done.add(name(a));
    }
  });
  const K = Math.max(...Object.keys(rankOf)), M = 1 + Math.max(...rows.flat().map(a => a.number));
  if (K * M > LARGEST) throw new Error(`expected at most ${LARGEST} forward passes, got ${K} stages with ${M} ` +
    "micro-batches; python -m ddg_ref schedule show draws larger ones");
  for (let k = 1; k <= K; k++) {
    if (!(k in rankOf)) throw new Error(`expected stages 0 to ${K - 1}, got none of stage ${k - 1}; add its actions`);
    for (let n = 0; n < M; n++) {
      const has = kind => done.has(`${k - 1}${kind}${n}`);
      const missing = !has("F") ? "F" : has("B") || has("W") ? "" : has("I") ? "W" : "B";
      if (missing) throw new Error(`row ${rankOf[k] + 1}: expected that stage ${k - 1} runs forward and backward on ` +
        `micro-batches 0 to ${M - 1}, got no ${k - 1}${missing}${n}; add it`);
    }
  }
  const programs = rows.map(row => [...row.map(({k, kind, number}) => ({k, kind, number})),
    ...[...new Set(row.map(a => a.k))].sort((a, b) => a - b).map(k => ({k, kind: "U", number: 0}))]);
  const {waiting} = play(rows, K, durations(2, 1), 0);
  for (const [link, left] of Object.entries(waiting)) if (left.length) {
    const [from, to] = link.split(">");
    throw new Error(`module ${to} never takes what module ${from} gives for micro-batch ${left[0].number}; let it`);
  }
  return {programs, K, M};
}

// ---- The page ---------------------------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
const KINDS = {F: "forward pass", B: "backward pass", I: "error gradient (half a backward pass)",
               W: "weight gradients (half a backward pass)", U: "update", G: "backward pass on a guess",
               L: "learning to guess"};
const DEFAULTS = {schedule: "ddg", K: 3, M: 4, ratio: 2, latency: 0, predict: false, large: false};
const round = value => String(+value.toFixed(3));

const element = (tag, content = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(content)) key in made ? made[key] = value : made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const drawn = (tag, attributes, text) => {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

class Explorer {
  constructor(root, data) {
    Object.assign(this, {root, data, own: null, revealed: new Set(), settings: {...DEFAULTS}});
    this.build();
    this.fromLink();
    window.addEventListener("hashchange", () => this.fromLink());
  }

  // -- settings and the link that holds them

  fromLink() {
    const given = new URLSearchParams(location.hash.slice(1)), settings = {...DEFAULTS};
    const csv = given.get("csv") ?? this.ownText, good = csv !== undefined && (csv === this.ownText || this.take(csv));
    const known = Object.keys(this.data.schedules).concat(good ? OWN : []);
    if (known.includes(given.get("schedule"))) settings.schedule = given.get("schedule");
    for (const key of ["K", "M", "ratio", "latency"]) {
      const value = Number(given.get(key));
      if (given.has(key) && Number.isFinite(value) && value >= 0 && value <= 16) settings[key] = value;
    }
    if (settings.schedule === OWN) Object.assign(settings, {K: this.own.K, M: this.own.M});
    for (const key of ["predict", "large"]) settings[key] = given.get(key) === "1";
    this.set(settings, false);
  }

  set(changes, push = true) {
    const settings = {...this.settings, ...changes};
    settings.ratio = Math.max(settings.ratio, 0.25);  // a bar must hold its name
    if (settings.schedule !== OWN) {
      const grid = Object.keys(this.data.schedules[settings.schedule].programs).map(key => key.split(",").map(Number));
      const nearest = (values, wanted) => values.reduce((a, b) => Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a);
      settings.K = nearest(grid.map(([K]) => K), settings.K);
      settings.M = nearest(grid.filter(([K]) => K === settings.K).map(([, M]) => M), settings.M);
      this.grid = grid;
    }
    this.settings = settings;
    this.revealed.clear();
    if (push) history.replaceState(null, "", this.link());
    this.render();
  }

  link() {
    const {schedule, K, M, ratio, latency, predict, large} = this.settings;
    const csv = schedule === OWN && this.ownText.length <= LONGEST && this.ownText;
    const settings = {schedule, K, M, ratio, latency, ...(predict && {predict: 1}), ...(large && {large: 1}), ...(csv && {csv})};
    return "#" + new URLSearchParams(settings);
  }

  // -- what stands on the page

  build() {
    const choice = (key, label, options) => {
      const select = element("select", {id: `explorer-${key}`, name: key});
      select.addEventListener("change", () => this.set({[key]: key === "schedule" ? select.value : Number(select.value)}));
      for (const [value, text] of options) select.append(element("option", {value, textContent: text}));
      this[`${key}Control`] = select;
      return element("label", {}, label, select);
    };
    const tick = (key, label) => {
      const box = element("input", {type: "checkbox", id: `explorer-${key}`});
      box.addEventListener("change", () => this.set({[key]: box.checked}));
      this[`${key}Control`] = box;
      return element("label", {}, box, label);
    };
    const numbers = values => values.map(value => [value, String(value)]);
    const copy = element("button", {type: "button", textContent: "Copy link"});
    copy.addEventListener("click", async () => {
      await navigator.clipboard?.writeText(location.href).catch(() => null);
      this.say(`Link: ${location.href}`);
    });
    this.controls = element("form", {className: "explorer-controls"},
      choice("schedule", "Schedule ", Object.entries(this.data.schedules).map(([key, {title}]) => [key, `${key}: ${title}`])),
      choice("K", "Modules K ", []), choice("M", "Micro-batches M ", []),
      choice("ratio", "Backward / forward ", numbers([1, 1.5, 2, 3])),
      choice("latency", "Latency ", numbers([0, 0.25, 0.5, 1, 2])),
      tick("predict", " predict the versions"), tick("large", " large"), copy);
    this.controls.addEventListener("submit", event => event.preventDefault());
    this.readouts = element("dl", {className: "explorer-readouts"});
    this.picture = element("div", {className: "explorer-picture"});
    this.live = element("p", {className: "explorer-said"});
    this.live.setAttribute("role", "status");
    this.live.setAttribute("aria-live", "polite");
    this.question = element("form", {className: "explorer-question", hidden: true});
    this.table = element("details", {className: "explorer-table"}, element("summary", {textContent: "The same as a table"}));
    this.root.replaceChildren(this.controls, this.readouts, this.picture, this.question, this.live, this.paste(), this.table);
  }

  paste() {
    const text = element("textarea", {id: "explorer-csv", rows: 5, spellcheck: false,
                                      placeholder: "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1"});
    const show = element("button", {type: "button", textContent: "Show it"});
    this.verdict = element("p", {className: "explorer-verdict"});
    this.verdict.setAttribute("role", "status");
    show.addEventListener("click", () => this.read(text.value));
    const box = element("details", {className: "explorer-own"},
      element("summary", {textContent: "A schedule of your own, in PyTorch's CSV form"}),
      element("label", {htmlFor: "explorer-csv", textContent: "A row for each rank; paste it, or drop a file here:"}),
      text, show, this.verdict);
    box.addEventListener("dragover", event => event.preventDefault());
    box.addEventListener("drop", async event => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      text.value = file ? await file.slice(0, 1 << 19).text() : event.dataTransfer.getData("text");
      this.read(text.value);
    });
    return box;
  }

  read(text) {
    if (this.take(text)) this.set({schedule: OWN, K: this.own.K, M: this.own.M});
  }

  /** Make a text the reader's own schedule, or say what is wrong with it. */
  take(text) {
    try {
      this.own = parse(text);
      this.ownText = text.trim();
      this.verdict.textContent = `No deadlock: ${this.own.programs.length} ranks, ${this.own.K} stages, ` +
        `${this.own.M} micro-batches; every action can happen, and nothing is left in the channels.`;
      return true;
    } catch (error) {
      this.verdict.textContent = error.message;
      this.verdict.closest("details").open = true;
      return false;
    }
  }

  render() {
    const {schedule, K, M, predict, large} = this.settings;
    const chosen = schedule === OWN ? {title: "yours", weights: "forward", exact: true} : this.data.schedules[schedule];
    this.programs = schedule === OWN ? this.own.programs
      : chosen.programs[`${K},${M}`].map(own => own.split(" ").map(action));
    this.found = explore(chosen, this.programs, this.settings);
    this.chosen = chosen;
    this.manyStages = Math.max(...this.programs.flat().map(a => a.k)) > this.programs.length || schedule === OWN;
    this.showControls();
    this.showReadouts();
    this.root.classList.toggle("explorer-large", large);
    this.draw();
    this.showTable();
    this.question.hidden = true;
    this.say(predict ? "Choose a bar, and say which weights it uses." : "");
  }

  showControls() {
    const {schedule, K, M} = this.settings;
    const fill = (select, values, value) => {
      select.replaceChildren(...[...new Set(values)].sort((a, b) => a - b).map(one => element("option", {value: one, textContent: one})));
      select.value = value;
      select.disabled = select.options.length < 2;
    };
    const own = this.scheduleControl.querySelector(`[value=${OWN}]`);
    if (this.own && !own) this.scheduleControl.append(element("option", {value: OWN, textContent: "your schedule"}));
    this.scheduleControl.value = schedule;
    this.KControl.labels[0].firstChild.data = schedule === OWN ? "Stages " : this.manyStages ? "Ranks " : "Modules K ";
    fill(this.KControl, schedule === OWN ? [K] : this.grid.map(([k]) => k), K);
    fill(this.MControl, schedule === OWN ? [M] : this.grid.filter(([k]) => k === K).map(([, m]) => m), M);
    for (const key of ["ratio", "latency"]) {
      const select = this[`${key}Control`], value = this.settings[key];
      if (![...select.options].some(option => +option.value === value)) select.append(element("option", {value, textContent: value}));
      select.value = value;
    }
    this.predictControl.checked = this.settings.predict;
    this.largeControl.checked = this.settings.large;
  }

  showReadouts() {
    const {most, period, idle} = this.found, [plain, heavy] = this.data.limits[most.delay] ?? [null, null];
    const limit = value => !this.chosen.exact ? "no theorem" : value === null ? "beyond the table" : round(value);
    const rows = {
      "an iteration takes": round(period), "bubble": `${round(100 * idle)}%`, "weight versions kept": most.versions,
      "micro-batches in flight": most.flights, "largest delay": `${most.delay} update${most.delay === 1 ? "" : "s"}`,
      "largest stable γL": limit(plain), "with momentum 0.9": limit(heavy),
    };
    this.readouts.replaceChildren(...Object.entries(rows).map(([term, value]) =>
      element("div", {}, element("dt", {textContent: term}), element("dd", {textContent: value}))));
  }

  say(text) { this.live.textContent = text; }

  // -- the picture

  label(bar) {
    const what = `${this.manyStages ? bar.k - 1 : ""}${bar.kind}${bar.number}`;
    if ("UL".includes(bar.kind)) return what;
    const version = this.chosen.weights === "predicted" ? `p${bar.used}` : `w${bar.used}`;
    return this.isShown(bar) ? `${what}·${version}${this.differs(bar) ? " ≠" : ""}` : `${what}·?`;
  }

  /** Whether the reader may see the version of a bar: who predicts has answered first. */
  isShown(bar) { return !this.settings.predict || this.revealed.has(this.id(bar)); }

  id(bar) { return `${bar.k}${bar.kind}${bar.number}`; }

  /** Whether a backward pass uses other weights than the forward pass of the same micro-batch did. */
  differs(bar) { return bar.forward !== undefined && bar.used !== bar.forward; }

  describe(bar) {
    const where = `${this.manyStages ? `stage ${bar.k - 1}` : `module ${bar.k}`}`;
    const part = bar.kind === "U" ? `after batch ${bar.number}` : `of micro-batch ${bar.number}`;
    const when = `from ${round(bar.start)} to ${round(bar.stop)}`;
    if ("UL".includes(bar.kind)) return `${where}: ${KINDS[bar.kind]} ${part}, ${when}`;
    if (!this.isShown(bar)) return `${where}: ${KINDS[bar.kind]} ${part}, ${when}; which weights?`;
    const ahead = this.chosen.weights === "predicted" ? ", predicted ahead" : "";
    const other = this.differs(bar) ? `; its forward pass used version ${bar.forward}` : "";
    return `${where}: ${KINDS[bar.kind]} ${part} with weights version ${bar.used}${ahead}, ${when}${other}`;
  }

  draw() {
    const bars = this.found.bars, large = this.settings.large;
    const lasting = bars.flat().filter(bar => bar.stop > bar.start);
    const font = large ? 19 : 13, height = 2.4 * font, left = 5.6 * font, widest = Math.max(...lasting.map(bar => this.label(bar).length));
    const unit = (0.62 * font * Math.max(widest, 6) + 8) / Math.min(...lasting.map(bar => bar.stop - bar.start));
    const end = Math.max(...lasting.map(bar => bar.stop)), width = left + unit * end + 12;
    const svg = drawn("svg", {width, height: (height + 8) * bars.length + 2 * font, role: "group", "font-size": font,
      "aria-label": `Who works when: ${this.settings.schedule}. Arrow keys go from bar to bar, Enter chooses one.`});
    bars.forEach((own, worker) => {
      const y = worker * (height + 8) + 4;
      svg.append(drawn("text", {x: 0, y: y + height / 2 + font / 3, class: "explorer-name"},
        `${this.manyStages ? "rank" : "module"} ${this.manyStages ? worker : worker + 1}`));
      svg.append(drawn("rect", {x: left, y, width: unit * end, height, class: "explorer-idle"}));
      for (const bar of own) svg.append(this.drawBar(bar, left + unit * bar.start, y, unit * (bar.stop - bar.start), height));
    });
    const base = bars.length * (height + 8) + font;
    for (let time = 0; time <= end; time += Math.max(1, Math.ceil(end / 24)))
      svg.append(drawn("text", {x: left + unit * time, y: base, class: "explorer-time"}, time));
    svg.addEventListener("keydown", event => this.move(event));
    this.picture.replaceChildren(svg);
    this.bars = [...svg.querySelectorAll(".explorer-bar")];
    this.bars[0]?.setAttribute("tabindex", 0);
  }

  drawBar(bar, x, y, width, height) {
    if (bar.stop === bar.start) {  // an update: a mark where the weights change
      const mark = drawn("path", {d: `M${x} ${y - 3}v${height + 6}`, class: `explorer-update kind-${bar.kind}`});
      mark.append(drawn("title", {}, this.describe(bar)));
      return mark;
    }
    const group = drawn("g", {class: `explorer-bar kind-${bar.kind}${this.isShown(bar) && this.differs(bar) ? " explorer-differs" : ""}`,
                              role: "button", tabindex: -1, "aria-label": this.describe(bar)});
    group.append(drawn("title", {}, this.describe(bar)), drawn("rect", {x, y, width, height, rx: 3}),
                 drawn("text", {x: x + width / 2, y: y + height / 2 + height / 7, "text-anchor": "middle"}, this.label(bar)));
    Object.assign(group.dataset, {worker: bar.worker, id: this.id(bar), start: bar.start, stop: bar.stop, label: this.label(bar)});
    group.addEventListener("click", () => this.choose(bar, group));
    group.bar = bar;
    return group;
  }

  move(event) {
    const here = this.bars.indexOf(document.activeElement);
    if (here < 0) return;
    const {bar} = this.bars[here];
    const inRow = worker => this.bars.filter(other => other.bar.worker === worker);
    const near = row => row.length && row.reduce((a, b) => Math.abs(b.bar.start - bar.start) < Math.abs(a.bar.start - bar.start) ? b : a);
    const row = inRow(bar.worker), place = row.indexOf(this.bars[here]);
    const next = {ArrowRight: row[place + 1], ArrowLeft: row[place - 1], Home: row[0], End: row.at(-1),
                  ArrowDown: near(inRow(bar.worker + 1)), ArrowUp: near(inRow(bar.worker - 1))}[event.key];
    if (event.key === "Enter" || event.key === " ") this.choose(bar, this.bars[here]);
    else if (!next) return;
    else this.focus(next);
    event.preventDefault();
  }

  focus(next) {
    this.bars.forEach(other => other.setAttribute("tabindex", -1));
    next.setAttribute("tabindex", 0);
    next.focus();
    this.say(this.describe(next.bar));
  }

  choose(bar, group) {
    if (this.isShown(bar)) return this.focus(group);
    const answer = element("input", {type: "number", min: 0, id: "explorer-answer", required: true});
    const ask = element("label", {htmlFor: "explorer-answer",
      textContent: `Which version of its weights does ${this.manyStages ? `stage ${bar.k - 1}` : `module ${bar.k}`} use for ` +
                   `${bar.kind}${bar.number}? `});
    this.question.replaceChildren(ask, answer, element("button", {textContent: "Check"}));
    this.question.hidden = false;
    this.question.onsubmit = event => {
      event.preventDefault();
      this.revealed.add(this.id(bar));
      this.question.hidden = true;
      this.draw();
      this.showTable();
      this.focus(this.bars.find(other => other.dataset.id === this.id(bar)));
      this.say(`${Number(answer.value) === bar.used ? "Right" : `Not ${answer.value}`}: ${this.describe(bar)}.`);
    };
    answer.focus();
  }

  showTable() {
    const head = element("tr", {}, ...["worker", "action", "from", "to"].map(text => element("th", {scope: "col", textContent: text})));
    const rows = this.found.bars.flat().map(bar => element("tr", {}, ...[
      bar.worker + (this.manyStages ? 0 : 1), this.describe(bar), round(bar.start), round(bar.stop)
    ].map(text => element("td", {textContent: text}))));
    this.table.replaceChildren(this.table.firstChild, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  }
}

const root = document.getElementById("explorer");
if (root) window.explorer = new Explorer(root, window.SCHEDULES);
})();
