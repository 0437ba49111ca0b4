"use strict";
// The gallery's page. Data come as scripts that call viewmill.take(name, value), since a page that lies on a disk may
// load nothing else. Whatever the data say is set as text, never as markup.

const WORDS = ["source", "generator", "strategy", "label", "split"];
const NUMBERS = ["sigma", "strength", "psi", "guidance_scale", "steps", "safety_score", "realism_score"];
const SHOWN = { sigma: "σ", psi: "ψ", label: "class", guidance_scale: "guidance", safety_score: "safety score", realism_score: "realism score" };
const COLOURS = ["#3b6fe0", "#e0703b", "#2f9e6e", "#b253c9", "#c7a21b", "#d14b6f", "#3aa3b8", "#7d7f3a", "#8a6bd8", "#7a7f8a"];
const LOADED_FILES = 400; // of rows that are kept

const byId = (id) => document.getElementById(id);
const shown = (name) => SHOWN[name] ?? name.replaceAll("_", " ");

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  Object.assign(made, properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

// ---- data ------------------------------------------------------------------------------------------------------------

const waiting = new Map();
const loaded = new Map();

window.viewmill = {
  take(name, value) {
    loaded.set(name, value);
    waiting.get(name)?.resolve(value);
  },
};

function load(file, name) {
  if (loaded.has(name)) return Promise.resolve(loaded.get(name));
  if (!waiting.has(name)) {
    let resolve, reject;
    const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
    waiting.set(name, { promise, resolve });
    const script = element("script", { src: `data/${file}.js`, onload: () => script.remove() });
    script.onerror = () => { waiting.delete(name); reject(new Error(`${file}.js is missing`)); };
    document.head.append(script);
  }
  return waiting.get(name).promise;
}

async function rowsOf(set, group) {
  const number = Math.floor(group / set.perFile);
  const name = `${set.letter}-${String(number).padStart(5, "0")}`;
  const rows = await load(name, name);
  forget(name);
  return rows[group % set.perFile];
}

const recent = new Set();
function forget(name) {
  recent.delete(name);
  recent.add(name);
  for (const oldest of recent) {
    if (recent.size <= LOADED_FILES) return;
    recent.delete(oldest);
    loaded.delete(oldest);
    waiting.delete(oldest);
  }
}

async function open(set, letter) {
  set.letter = letter;
  set.columns = {};
  const parts = [];
  for (let first = 0; first < set.groups; first += set.perIndex) {
    const number = String(first / set.perIndex).padStart(5, "0");
    parts.push(load(`${letter}-index-${number}`, `${letter}-index-${first}`));
  }
  for (const part of await Promise.all(parts)) {
    for (const [name, values] of Object.entries(part)) set.columns[name] = (set.columns[name] ?? []).concat(values);
  }
  const { prompt, key } = set.columns;
  set.text = key.map((k, i) => `${prompt?.[i] ?? ""}\n${k}`.toLowerCase());
}

// ---- filters ---------------------------------------------------------------------------------------------------------

const state = { sets: [], varied: new Set(), query: [], words: {}, ranges: {}, region: null, lines: [], colours: new Map() };

function matches(set, group) {
  for (const word of state.query) if (!set.text[group].includes(word)) return false;
  for (const [name, wanted] of Object.entries(state.words)) {
    if (wanted !== "" && String(set.columns[name]?.[group] ?? "") !== wanted) return false;
  }
  for (const [name, [low, high]] of Object.entries(state.ranges)) {
    const value = set.columns[name]?.[group] ?? null;
    if (low !== null && !(value !== null && value >= low)) return false;
    if (high !== null && !(value !== null && value <= high)) return false;
  }
  return state.region === null || state.region.set !== set || state.region.groups.has(group);
}

function chosen(set) {
  const found = [];
  for (let group = 0; group < set.groups; group++) if (matches(set, group)) found.push(group);
  return found;
}

// Two sets stand side by side by what they show: groups of one prompt in one line.
function paired(left, right) {
  const waits = new Map();
  for (const group of chosen(right)) {
    const id = right.columns.positive_id[group];
    if (!waits.has(id)) waits.set(id, []);
    waits.get(id).push(group);
  }
  const both = [], alone = [];
  for (const group of chosen(left)) {
    const other = waits.get(left.columns.positive_id[group])?.shift();
    (other === undefined ? alone : both).push([group, other ?? null]);
  }
  const rest = [...waits.values()].flat().sort((a, b) => a - b);
  alone.forEach((line) => (line[1] = rest.shift() ?? null));
  return [...both, ...alone, ...rest.map((group) => [null, group])];
}

function refresh() {
  const [first, second] = state.sets;
  state.lines = second ? paired(first, second) : abreast(chosen(first), first);
  const total = state.sets.reduce((sum, set) => sum + set.groups, 0);
  const now = state.lines.reduce((sum, line) => sum + line.filter((group) => group !== null).length, 0);
  byId("count").textContent = `${now.toLocaleString("en")} of ${total.toLocaleString("en")} groups`;
  byId("list").scrollTop = 0;
  layOut();
  drawMap();
}

// As many groups beside each other as there is room for.
function abreast(groups, set) {
  const width = set.views * (set.thumb + 6) + 40;
  const columns = Math.max(1, Math.floor((byId("list").clientWidth - 30) / width));
  const lines = [];
  for (let first = 0; first < groups.length; first += columns) lines.push(groups.slice(first, first + columns));
  while (lines.length && lines.at(-1).length < columns) lines.at(-1).push(null);
  return lines;
}

function valuesOf(name) {
  return state.sets.flatMap((set) => set.columns[name] ?? []).filter((value) => value !== null);
}

function buildFilters() {
  const box = byId("filters");
  for (const name of WORDS) {
    const counts = new Map();
    for (const value of valuesOf(name)) counts.set(String(value), (counts.get(String(value)) ?? 0) + 1);
    if (counts.size < 2) continue;
    const select = element("select", { name });
    select.append(element("option", { value: "", textContent: "all" }));
    const order = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 500);
    for (const [value, count] of order) select.append(element("option", { value, textContent: `${value} (${count.toLocaleString("en")})` }));
    select.onchange = () => { state.words[name] = select.value; refresh(); };
    box.append(element("label", {}, shown(name), select));
  }
  for (const name of NUMBERS) {
    let low = Infinity, high = -Infinity;
    for (const value of valuesOf(name)) { low = Math.min(low, value); high = Math.max(high, value); }
    if (!(low < high)) continue;
    state.varied.add(name);
    const ends = [low, high].map((end) => element("input", { type: "number", step: "any", placeholder: Number(end.toPrecision(4)) }));
    ends[0].ariaLabel = `${shown(name)} at least`;
    ends[1].ariaLabel = `${shown(name)} at most`;
    for (const end of ends) end.oninput = () => {
      state.ranges[name] = ends.map((one) => (one.value === "" ? null : Number(one.value)));
      soon();
    };
    box.append(element("label", {}, shown(name), element("span", { className: "range" }, ends[0], "to", ends[1])));
  }
}

let timer = 0;
function soon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, 120);
}

function reset() {
  Object.assign(state, { query: [], words: {}, ranges: {}, region: null });
  for (const input of document.querySelectorAll("aside input")) input.value = "";
  for (const select of document.querySelectorAll("#filters select")) select.value = "";
  refresh();
}

// ---- the list: only the lines in sight exist -------------------------------------------------------------------------

const lineHeight = () => Math.max(...state.sets.map((set) => set.thumb)) + 58;
const MOST_PX = 12_000_000; // browsers lose count of taller pages

function layOut() {
  const height = Math.min(state.lines.length * lineHeight(), MOST_PX);
  byId("runway").style.height = `${height}px`;
  byId("runway").replaceChildren();
  drawn.clear();
  drawLines();
}

const drawn = new Map();
function drawLines() {
  const list = byId("list"), step = lineHeight(), real = state.lines.length * step;
  const height = Math.min(real, MOST_PX), view = list.clientHeight;
  const share = height > view ? list.scrollTop / (height - view) : 0;
  const top = height < real ? share * (real - view) : list.scrollTop; // where we are among all lines
  const first = Math.max(0, Math.floor(top / step) - 2);
  const end = Math.min(state.lines.length, Math.ceil((top + view) / step) + 2);
  for (const [number, node] of drawn) {
    if (number < first || number >= end) { node.remove(); drawn.delete(number); }
  }
  for (let number = first; number < end; number++) {
    if (!drawn.has(number)) {
      drawn.set(number, line(state.lines[number], step));
      byId("runway").append(drawn.get(number));
    }
    drawn.get(number).style.top = `${number * step - top + list.scrollTop}px`;
  }
}

function line(groups, height) {
  const made = element("section", { className: "line" });
  made.style.height = `${height}px`;
  groups.forEach((group, side) => {
    const set = state.sets[state.sets.length > 1 ? side : 0];
    made.append(group === null ? element("div", { className: "group" }) : cell(set, group));
  });
  return made;
}

function cell(set, group) {
  const { prompt, label, sigma, guidance_scale: guidance } = set.columns;
  const text = prompt?.[group] ?? label?.[group] ?? null;
  const title = element("p", {}, element("span", { className: text === null ? "prompt none" : "prompt", textContent: text ?? set.columns.key[group] }));
  const chips = [prompt?.[group] != null ? label?.[group] : null,
    state.varied.has("sigma") && sigma?.[group] != null ? `σ ${sigma[group]}` : null,
    state.varied.has("guidance_scale") && guidance?.[group] != null ? `guidance ${guidance[group]}` : null];
  for (const chip of chips) if (chip != null) title.append(element("span", { className: "chip", textContent: chip }));
  const views = element("div", { className: "views" });
  for (let view = 0; view < set.views; view++) views.append(picture(set, group, view, set.thumb));
  return element("div", { className: "group" }, title, views);
}

function picture(set, group, view, side) {
  const number = String(Math.floor(group / set.perFile)).padStart(5, "0");
  const made = element("button", { className: "view", type: "button", ariaLabel: `view ${view}` });
  const scale = side / set.thumb;
  Object.assign(made.style, {
    width: `${side}px`, height: `${side}px`,
    backgroundImage: `url("pictures/${set.letter}-${number}.webp")`,
    backgroundSize: `${set.views * set.thumb * scale}px auto`,
    backgroundPosition: `${-view * side}px ${-(group % set.perFile) * side}px`,
  });
  made.onclick = () => detail(set, group, view);
  return made;
}

// ---- one group -------------------------------------------------------------------------------------------------------

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

async function detail(set, group, view) {
  const rows = await rowsOf(set, group);
  const row = rows[view] ?? rows[0];
  byId("detail-title").textContent = row.prompt ?? row.label ?? row.key;
  const side = Math.min(2 * set.thumb, 192);
  byId("detail-views").replaceChildren(...rows.map((_, number) => {
    const made = picture(set, group, number, side);
    made.ariaPressed = String(number === view);
    return made;
  }));
  const member = `${row.key}.v${String(row.view).padStart(2, "0")}`;
  const isRendered = row.command === "rerender";
  byId("command").textContent = isRendered
    ? `python -m factory rerender ${quoted(set.url)} --view ${member} --out again`
    : `python -m manifests show ${quoted(set.url)} ${row.key}`;
  byId("command-hint").textContent = isRendered
    ? "Renders this image again from its row and compares it with the stored one." : "Shows all that is known of this group: nobody rendered it here.";
  const body = byId("row").tBodies[0];
  body.replaceChildren(...Object.entries(row).filter(([name]) => name !== "command").map(([name, value]) =>
    element("tr", {}, element("th", { textContent: name, scope: "row" }), element("td", { textContent: value }))));
  if (!byId("detail").open) byId("detail").showModal();
}

// ---- the map ---------------------------------------------------------------------------------------------------------

const mapped = () => state.sets.find((set) => set.hasMap);
let drag = null;

function buildMap() {
  const set = mapped();
  if (!set) return;
  byId("landscape").hidden = false;
  const select = byId("colour"), map = byId("map");
  for (const name of WORDS) if (new Set(set.columns[name] ?? []).size > 1) select.append(element("option", { value: name, textContent: shown(name) }));
  select.hidden = !select.options.length;
  select.onchange = colourMap;
  map.onpointerdown = (event) => { drag = { from: place(event), to: place(event) }; map.setPointerCapture(event.pointerId); };
  map.onpointermove = (event) => { if (drag) { drag.to = place(event); drawMap(); } };
  map.onpointerup = () => { const { from, to } = drag; drag = null; release(set, from, to); };
}

// The most frequent values get a colour of their own, the others share the last one.
function colourMap() {
  const counts = new Map();
  for (const value of mapped().columns[byId("colour").value] ?? []) counts.set(value, (counts.get(value) ?? 0) + 1);
  const order = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  const own = order.length > COLOURS.length ? COLOURS.length - 1 : COLOURS.length;
  state.colours = new Map(order.map((value, rank) => [value, COLOURS[Math.min(rank, own)]]));
  const told = order.slice(0, own).map((value) => [value ?? "none", state.colours.get(value)]);
  if (order.length > own) told.push([`${(order.length - own).toLocaleString("en")} others`, COLOURS[own]]);
  byId("legend").replaceChildren(...(order.length < 2 ? [] : told).map(([value, colour]) => {
    const dot = element("i");
    dot.style.backgroundColor = colour;
    return element("li", {}, dot, String(value));
  }));
  drawMap();
}

function place(event) {
  const box = byId("map").getBoundingClientRect();
  return [(2.1 * (event.clientX - box.left)) / box.width - 1.05, 1.05 - (2.1 * (event.clientY - box.top)) / box.height];
}

function release(set, from, to) {
  const points = set.columns.point;
  if (Math.hypot(to[0] - from[0], to[1] - from[1]) < 0.02) {
    let nearest = null, least = 0.05;
    points.forEach(([x, y], group) => {
      const far = Math.hypot(x - to[0], y - to[1]);
      if (far < least && matches(set, group)) [nearest, least] = [group, far];
    });
    if (nearest !== null) detail(set, nearest, 0);
    else { state.region = null; refresh(); }
    return;
  }
  const [x0, x1] = [from[0], to[0]].sort((a, b) => a - b), [y0, y1] = [from[1], to[1]].sort((a, b) => a - b);
  const groups = new Set();
  points.forEach(([x, y], group) => { if (x >= x0 && x <= x1 && y >= y0 && y <= y1) groups.add(group); });
  state.region = groups.size ? { set, groups } : null;
  refresh();
}

function drawMap() {
  const set = mapped();
  if (!set) return;
  const map = byId("map"), pen = map.getContext("2d"), size = map.width;
  const at = ([x, y]) => [((x + 1.05) / 2.1) * size, ((1.05 - y) / 2.1) * size];
  const values = set.columns[byId("colour").value] ?? [];
  pen.clearRect(0, 0, size, size);
  const dot = set.groups > 20_000 ? 2 : set.groups > 2_000 ? 5 : 8; // two of them are one on the screen
  for (const isIn of [false, true]) {
    pen.globalAlpha = isIn ? 0.8 : 0.12;
    set.columns.point.forEach((point, group) => {
      if (matches(set, group) !== isIn) return;
      const [x, y] = at(point);
      pen.fillStyle = state.colours.get(values[group]) ?? COLOURS[0];
      pen.fillRect(x - dot / 2, y - dot / 2, dot, dot);
    });
  }
  pen.globalAlpha = 1;
  if (drag) {
    const [[x0, y0], [x1, y1]] = [at(drag.from), at(drag.to)];
    pen.strokeStyle = "#8891a5";
    pen.strokeRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
  }
}

// ---- begin -----------------------------------------------------------------------------------------------------------

function title(set) {
  const of = set.groups < set.of ? `${set.groups.toLocaleString("en")} of ${set.of.toLocaleString("en")}` : set.groups.toLocaleString("en");
  return element("div", { className: "title" }, element("b", { textContent: set.name }),
    element("small", { textContent: `${of} groups × ${set.views} views · ${set.kind} · ${set.licence}` }),
    element("code", { textContent: set.root.slice(0, 12), title: set.root }));
}

async function begin() {
  state.sets = await load("sets", "sets");
  await Promise.all(state.sets.map((set, number) => open(set, "ab"[number])));
  document.title = `${state.sets.map((set) => set.name).join(" beside ")} · ViewMill gallery`;
  byId("titles").append(...state.sets.map(title));
  buildFilters();
  buildMap();
  if (mapped()) colourMap();
  byId("search").oninput = (event) => { state.query = event.target.value.toLowerCase().split(/\s+/).filter(Boolean); soon(); };
  byId("reset").onclick = reset;
  byId("list").onscroll = () => requestAnimationFrame(drawLines);
  addEventListener("resize", soon);
  byId("copy").onclick = async () => {
    await navigator.clipboard?.writeText(byId("command").textContent);
    byId("copy").textContent = "Copied";
    setTimeout(() => (byId("copy").textContent = "Copy"), 1200);
  };
  refresh();
  document.body.dataset.ready = "true";
}

begin().catch((error) => { byId("count").textContent = `This page is not whole: ${error.message}`; });
