"use strict";
// The page is complete without this script: it makes tables sortable and, where the run has errors per pair, lets one
// threshold and one set of filters move the headline table, the charts and the lists together.
(() => {
const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const DASH = "–", FAILED = 65535, LARGEST = 65534, PER_PX = 1000;

async function unpack(id) {
  const bytes = Uint8Array.from(atob($(`#${id}`).textContent), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
const idle = () => new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));

/* ---- Numbers, as bench.summary.text writes them ---- */

function written(unit, value) {
  if (value === null || value === undefined || Number.isNaN(value)) return DASH;
  if (!Number.isFinite(value)) return "∞";
  if (unit === "share") return value.toFixed(3);
  if (unit === "px") return value.toFixed(2);
  if (unit === "count") return Number.isInteger(value) || Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(1);
  return value.toPrecision(3);
}
const px = t => `${Number(t.toFixed(1))} px`;
const errorText = code => code === null ? DASH : code === FAILED ? "∞" : code === LARGEST ? "> 65" : (code / PER_PX).toFixed(2);

/* ---- State: one threshold, four filters, two methods; kept in the address ---- */

const FILTERS = ["split", "sequence", "target", "method"];
const state = {t: 3, a: "", b: "", split: new Set(), sequence: new Set(), target: new Set(), method: new Set()};
let data = null;

function readAddress() {
  const found = new URLSearchParams(location.hash.slice(1));
  if (!location.hash.includes("=")) return false;
  const t = Number(found.get("t") ?? 3);
  state.t = Number.isFinite(t) ? Math.min(10, Math.max(0, Math.round(t * 10) / 10)) : 3;
  for (const key of FILTERS) {
    const known = new Set(choices(key).map(choice => choice.value));
    state[key] = new Set((found.get(key) ?? "").split(",").filter(value => known.has(value)));
  }
  for (const key of ["a", "b"]) if (data.methods.some(m => m.name === found.get(key))) state[key] = found.get(key);
  return true;
}
function writeAddress() {
  // Keys of others, such as the open card, stay.
  const kept = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  for (const key of ["t", "a", "b", ...FILTERS]) kept.delete(key);
  if (state.t !== 3) kept.set("t", state.t);
  for (const key of FILTERS) if (state[key].size) kept.set(key, [...state[key]].join(","));
  if (state.a !== firstTwo()[0]) kept.set("a", state.a);
  if (state.b !== firstTwo()[1]) kept.set("b", state.b);
  const text = kept.toString().replaceAll("%2C", ",");
  if (text || location.hash.includes("=")) history.replaceState(history.state, "", text ? `#${text}` : location.pathname + location.search);
}
function firstTwo() {
  const names = data.methods.map(m => m.name);
  return [names[0], names[names.length > 3 ? names.length - 2 : names.length - 1]];
}
function choices(key) {
  if (key === "method") return data.methods.map(m => ({value: m.name, text: m.label}));
  if (key === "split") return data.splits.filter(s => s.key !== "all").map(s => ({value: s.key, text: s.title}));
  const found = [...new Set(data[key])].filter(value => value !== "");
  return found.sort((x, y) => x.localeCompare(y, "en", {numeric: true})).map(value => ({value, text: value}));
}
const passes = (key, value) => !state[key].size || state[key].has(value);
const narrowed = () => state.sequence.size > 0 || state.target.size > 0;
const shownMethods = () => data.methods.filter(m => passes("method", m.name));
function chosenPairs(split = null) {
  return data.pairs.map((_, i) => i).filter(i =>
    passes("sequence", data.sequence[i]) && passes("target", data.target[i]) &&
    (split === null ? passes("split", data.split[i]) : split === "all" || split === data.split[i]));
}

/* ---- Metrics over chosen pairs ---- */

function accuracy(method, pairs, t) {
  const limit = Math.round(t * PER_PX);
  let sum = 0, n = 0;
  for (const i of pairs) {
    const errors = method.errors[i];
    if (errors === null) continue;
    sum += errors.filter(code => code <= limit).length / errors.length;
    n += 1;
  }
  return n ? sum / n : null;
}
function curve(method, pairs) {
  const steps = new Float64Array(102);
  let n = 0;
  for (const i of pairs) {
    const errors = method.errors[i];
    if (errors === null) continue;
    for (const code of errors) steps[Math.min(101, Math.ceil(code / 100))] += 1 / errors.length;
    n += 1;
  }
  let sum = 0;
  return [...steps.slice(0, 101)].map((step, k) => ({method: method.label, px: k / 10, share: (sum += step) / (n || 1)}));
}
function reduced(method, key, pairs) {
  const values = method.columns[key];
  if (!values) return null;
  const given = pairs.map(i => values[i]).filter(value => value !== null);
  const sum = given.reduce((total, value) => total + value, 0);
  return key === "failures" ? sum : given.length ? sum / given.length : null;
}
function interval(method, split) {
  return narrowed() || split === null ? null : data.intervals[`${method.name}|${split}|${state.t}`] ?? null;
}
const onlySplit = () => state.split.size === 0 ? "all" : state.split.size === 1 ? [...state.split][0] : null;
function quadrants() {
  const [a, b] = [state.a, state.b].map(name => data.methods.find(m => m.name === name));
  const limit = Math.round(state.t * PER_PX), found = [];
  for (const i of chosenPairs()) {
    if (a.errors[i] === null || b.errors[i] === null) continue;
    const [x, y] = [a.errors[i][0], b.errors[i][0]];
    const place = x <= limit ? (y <= limit ? 0 : 1) : y <= limit ? 2 : 3;
    found.push({pair: data.pairs[i], a: onScale(x), b: onScale(y), a_text: `${errorText(x)} px`, b_text: `${errorText(y)} px`,
      quadrant: data.quadrants[place]});
  }
  return found;
}
const onScale = code => Math.min(100, Math.max(0.05, code === FAILED ? 100 : code / PER_PX));

/* ---- Tables ---- */

const made = new Map();   // table element -> DataTable
let DataTable = null;

async function loadTables() {
  if (DataTable) return;
  const style = element("style", {textContent: await unpack("table-style")});
  const url = URL.createObjectURL(new Blob([await unpack("table-script")], {type: "text/javascript"}));
  const found = (await import(url)).default;
  document.head.prepend(style);
  const missing = (a, b) => (a === "") - (b === "");
  found.type("measured", {order: {
    asc: (a, b) => missing(a, b) || a - b, desc: (a, b) => missing(a, b) || b - a, pre: value => value === "" || value === null ? "" : Number(value)}});
  DataTable = found;
}
// One body: sections become a hidden first column by which rows stay grouped, whatever they are sorted by.
function flatten(table) {
  const bodies = [...table.tBodies], sections = bodies.some(body => $("tr.section", body));
  if (sections) table.tHead.rows[0].prepend(element("th", {textContent: "section", scope: "col"}));
  bodies.forEach((body, number) => {
    const title = $("tr.section", body)?.textContent.trim() ?? "";
    $("tr.section", body)?.remove();
    for (const row of [...body.rows]) {
      if (sections) {
        const cell = element("td", {textContent: title});
        cell.dataset.order = number;
        row.prepend(cell);
        row.dataset.section = title;
      }
      if (body !== bodies[0]) bodies[0].append(row);
    }
    if (body !== bodies[0]) body.remove();
  });
  return sections;
}
function enhance(table, hidden = []) {
  const sections = flatten(table), heads = [...table.tHead.rows[0].cells];
  for (const head of heads) head.innerHTML = broken(head.textContent.trim());
  const numeric = heads.map((head, i) => head.classList.contains("number") ? i : -1).filter(i => i >= 0);
  for (const row of table.tBodies[0].rows) for (const i of numeric) row.cells[i].dataset.order = row.cells[i].dataset.value ?? "";
  const name = heads.findIndex(head => head.dataset.key);
  const choosable = heads.length > 6, long = table.tBodies[0].rows.length > 12 && !(data && table.closest("#main"));
  made.set(table, new DataTable(table, {
    paging: false, info: false, autoWidth: false, order: [], searching: true,
    orderFixed: sections ? {pre: [[0, "asc"]]} : undefined,
    rowGroup: sections ? {dataSrc: row => typeof row[0] === "object" ? row[0].display : row[0]} : undefined,
    columnDefs: [
      {targets: numeric, type: "measured"},
      ...(sections ? [{targets: 0, visible: false}] : []),
      {targets: heads.map((head, i) => hidden.includes(head.dataset.key) ? i : -1).filter(i => i >= 0), visible: false},
    ],
    language: {search: "Find", searchPlaceholder: ""},
    layout: {
      topStart: choosable ? {buttons: [{extend: "colvis", text: "Columns", columns: (i, _, head) => i > name && head.dataset.key !== undefined}]} : null,
      topEnd: long ? "search" : null, bottomStart: null, bottomEnd: null,
    },
  }));
  describe(table);
}

// Long names may break behind an underscore.
const broken = name => element("span", {textContent: name}).innerHTML.replaceAll("_", "_<wbr>");

/* ---- Definitions: on hover and on focus ---- */

const tip = element("div", {id: "tip", role: "tooltip", hidden: true});
function describe(from) {
  for (const head of $$("[title]", from)) {
    head.dataset.meaning = head.title;
    head.removeAttribute("title");
    const target = $(".dt-column-order, [tabindex]", head) ?? head;
    if (!target.matches("[tabindex], button, a")) target.tabIndex = 0;
    target.setAttribute("aria-describedby", "tip");
  }
}
function showTip(event) {
  const head = event.target.closest?.("[data-meaning]");
  tip.hidden = !head;
  if (!head) return;
  tip.textContent = head.dataset.meaning;
  const box = head.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  const below = box.bottom + 6;
  tip.style.top = `${below + tip.offsetHeight > innerHeight ? box.top - tip.offsetHeight - 6 : below}px`;
}

/* ---- The headline table under the controls ---- */

let cells = [];   // {row, section, method, key, column, cell, html, value}
function prepareHeadline(table) {
  const heads = [...table.tHead.rows[0].cells];
  const at = heads.findIndex(head => head.dataset.key === "precision") + 1;
  const live = element("th", {textContent: "acc", className: "number", scope: "col"});
  live.dataset.key = "live";
  live.title = "Share of pairs whose mean corner error is at most the threshold of the slider, mean over estimations.";
  table.tHead.rows[0].insertBefore(live, heads[at]);
  const order = data.methods;
  [...table.tBodies].forEach((body, s) => {
    const title = $("tr.section", body)?.textContent.trim();
    const split = data.splits.find(each => each.title === title)?.key ?? data.splits[s].key;
    const section = $("tr.section th", body);
    if (section) section.colSpan += 1;
    [...body.rows].filter(row => !row.matches(".section")).forEach((row, m) => {
      row.insertBefore(element("td", {className: "number live"}), row.cells[at]);
      row.dataset.method = order[m].name;
      row.dataset.split = split;
      [...row.cells].forEach((cell, i) => {
        const key = table.tHead.rows[0].cells[i].dataset.key;
        if (i >= at) cells.push({row, split, method: order[m], key, cell, html: cell.innerHTML, value: cell.dataset.value ?? "", best: cell.classList.contains("best")});
      });
    });
  });
}
function updateHeadline(table) {
  const t = state.t, filtered = narrowed(), of = {};
  for (const s of data.splits) of[s.key] = chosenPairs(s.key);
  for (const each of cells) {
    const {cell, key, method, split} = each;
    const fixed = /^accuracy_([\d.]+)px$/.exec(key);
    if (key === "live") {
      const value = accuracy(method, of[split], t), ends = interval(method, split);
      cell.replaceChildren(written("share", value));
      if (ends) cell.append(element("span", {className: "interval", textContent: `[${ends.map(end => end.toFixed(3)).join(", ")}]`}));
      cell.dataset.value = cell.dataset.order = value ?? "";
      continue;
    }
    const whole = !filtered || !(fixed || method.columns[key]) ;
    if (whole) {
      cell.innerHTML = each.html;
      cell.dataset.value = each.value;
    } else {
      const value = fixed ? accuracy(method, of[split], Number(fixed[1])) : reduced(method, key, of[split]);
      cell.textContent = written(data.units[key], value);
      cell.dataset.value = value ?? "";
    }
    cell.classList.toggle("best", whole && each.best);
    cell.dataset.order = cell.dataset.value;
  }
  const grid = made.get(table);
  const head = $('#main th[data-key="live"]');
  if (head) ($(".dt-column-title", head) ?? head).textContent = `acc@${px(t)}`;
  if (grid) {
    grid.rows().invalidate("dom");
    grid.draw(false);
  }
  $("#filter-note").textContent = filtered
    ? "Filtered to some sequences or target images: intervals and marks hold for whole splits and are left out. Times, memory and metrics that are no mean over pairs are of the whole run."
    : data.thresholds.includes(t) ? "" : `No interval is shown at ${px(t)}: intervals were computed at ${data.thresholds.map(px).join(", ")}.`;
}
const rowShown = row => passes("method", row.dataset.method) &&
  (state.split.size ? state.split.has(row.dataset.split) : true);

/* ---- Accuracy by scene, and every pair ---- */

function updateScenes() {
  const table = $("#scenes table");
  if (!table) return;
  $("#scenes h2").textContent = `Accuracy at ${px(state.t)} by scene`;
  // Over a thousand cells of a full run: only while they show.
  if (!$("#scenes details").open) return;
  const groups = new Map();
  for (const i of chosenPairs()) groups.set(data.sequence[i], [...groups.get(data.sequence[i]) ?? [], i]);
  const grid = made.get(table), heads = grid ? grid.columns().header().toArray() : [...table.tHead.rows[0].cells];
  const rows = grid ? grid.rows().nodes().toArray() : [...table.tBodies[0].rows];
  for (const row of rows) {
    const scene = row.cells[0].textContent.trim();
    const pairs = groups.get(scene) ?? [];
    row.dataset.pairs = pairs.length;
    heads.forEach((head, i) => {
      const method = data.methods.find(m => m.name === head.dataset.key), cell = row.cells[i];
      if (head.dataset.key === "pairs") cell.textContent = cell.dataset.value = cell.dataset.order = pairs.length;
      if (!method || !cell) return;
      const value = accuracy(method, pairs, state.t);
      cell.textContent = written("share", value);
      cell.dataset.value = cell.dataset.order = value ?? "";
      cell.classList.add("heat");
      cell.style.setProperty("--share", value ?? 0);
    });
  }
  if (grid) {
    grid.rows().invalidate("dom");
    grid.draw(false);
  }
}
let pairGrid = null;
function makePairs() {
  const table = $("#pair-table");
  const rows = data.pairs.map((pair, i) => [i, data.split[i], ...data.methods.map(m => m.errors[i]?.[0] ?? null)]);
  const code = {type: "measured", className: "number", render: (value, kind) => kind === "display" ? errorText(value) : value ?? ""};
  pairGrid = new DataTable(table, {
    data: rows, deferRender: true, pageLength: 10, autoWidth: false, order: [], searching: true,
    columns: [
      {title: "pair", render: (i, kind) => kind === "display" ? `<button type="button" class="pair" data-pair="${i}"></button>` : data.pairs[i]},
      {title: "split"}, ...data.methods.map(m => ({title: broken(m.label), ...code})),
    ],
    createdRow: (row, [i]) => { $("button.pair", row).textContent = data.pairs[i]; },
    language: {search: "Find"}, layout: {topStart: {buttons: [{extend: "colvis", text: "Columns", columns: ":gt(0)"}]}, topEnd: "search", bottomStart: "info", bottomEnd: "paging"},
  });
  pairGrid.search.fixed("filters", (_, row) => passing.has(row[0]));
  table.addEventListener("click", event => {
    const button = event.target.closest("button.pair");
    if (button) openPair(data.pairs[Number(button.dataset.pair)]);
  });
}
let passing = new Set();
const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, {detail}));
const openPair = (pair, method = null) => tell("bench:pair", {pair, method});

/* ---- Charts ---- */

const views = new Map();   // name -> Vega view
let library = null;
const loadCharts = () => library ??= unpack("chart-script").then(text => {
  document.head.append(element("script", {type: "module", textContent: text}));
  return new Promise(done => {
    const wait = () => window.vegaEmbed ? done() : setTimeout(wait, 10);
    wait();
  });
});
const DATASETS = {
  points: () => shownMethods().filter(m => m.latency[0] !== null).map(m => {
    const value = accuracy(m, chosenPairs(), state.t), ends = interval(m, onlySplit());
    return {method: m.label, ms: m.latency[0], ms_low: m.latency[1] ?? m.latency[0], ms_high: m.latency[2] ?? m.latency[0],
      accuracy: value, low: ends?.[0] ?? value, high: ends?.[1] ?? value,
      interval: ends ? `[${ends.map(end => end.toFixed(3)).join(", ")}]` : "not computed here"};
  }).filter(point => point.accuracy !== null),
  curve: () => { const pairs = chosenPairs(); return shownMethods().flatMap(m => curve(m, pairs)); },
  cut: () => [{px: state.t}],
  pairs: quadrants,
  ecdf: () => shownMethods().flatMap(m => m.ecdf.map((ms, k) => ({method: m.label, ms, share: (k + 1) / m.ecdf.length}))),
  bars: () => shownMethods().flatMap(m => Object.entries(m.stages).filter(([, ms]) => ms !== null)
    .map(([stage, ms], rank) => ({method: m.label, stage, ms, rank}))),
};
const USES = {pareto: ["points"], corner_error: ["curve", "cut"], latency: ["ecdf"], scatter: ["pairs", "cut"], stages: ["bars"]};

async function mount(box) {
  const name = box.dataset.chart, spec = data.charts[name];
  await loadCharts();
  if (box.clientWidth < 560) spec.config.legend.columns = 1;
  spec.datasets = {...spec.datasets, ...Object.fromEntries(USES[name].map(set => [set, DATASETS[set]()]))};
  const {view} = await window.vegaEmbed(box, spec, {mode: "vega-lite", renderer: "svg", actions: false});
  views.set(name, view);
  if (name === "scatter") view.addEventListener("click", (_, item) => item?.datum?.pair && openPair(item.datum.pair));
  box.classList.add("ready");
  const picture = $("img.plot", box.parentElement);
  if (picture) {
    picture.hidden = true;
    $("svg", box)?.setAttribute("aria-label", picture.alt);
  }
  await refresh(name);
}
/* A chart that brings its data: the page of a comparison. */
async function mountOwn(box, spec) {
  await loadCharts();
  if (box.clientWidth < 560) spec.config.legend.columns = 1;
  await window.vegaEmbed(box, spec, {mode: "vega-lite", renderer: "svg", actions: false});
  box.classList.add("ready");
  const picture = $("img.plot", box.parentElement);
  picture.hidden = true;
  $("svg", box)?.setAttribute("aria-label", picture.alt);
}
async function startOwn() {
  const specs = JSON.parse(await unpack("own-charts"));
  const watch = new IntersectionObserver(entries => {
    for (const {isIntersecting, target} of entries) if (isIntersecting) {
      watch.unobserve(target);
      mountOwn(target, specs[target.dataset.chart]);
    }
  }, {rootMargin: "300px"});
  for (const name of Object.keys(specs)) {
    const figure = $(`figure[data-plot="${name}"]`);
    if (!figure) continue;
    const box = element("div", {className: "chart"});
    box.dataset.chart = name;
    $("figcaption", figure).after(box);
    watch.observe(box);
  }
}
async function refresh(name) {
  const view = views.get(name);
  for (const set of USES[name]) view.data(set, DATASETS[set]());
  await view.runAsync();
}
const seen = new IntersectionObserver(entries => {
  for (const {isIntersecting, target} of entries) if (isIntersecting) {
    seen.unobserve(target);
    mount(target);
  }
}, {rootMargin: "300px"});

/* ---- Controls ---- */

function fillMenus() {
  for (const key of FILTERS) {
    const box = $(`[data-filter="${key}"]`), found = choices(key);
    box.closest("details").hidden = found.length < 2;
    for (const {value, text} of found) {
      const input = element("input", {type: "checkbox", value, name: key});
      box.append(element("label", {}, input, ` ${text}`));
    }
  }
  for (const id of ["a", "b"]) {
    $(`#method-${id}`).append(...data.methods.map(m => element("option", {value: m.name, textContent: m.label})));
  }
}
function showControls() {
  $("#threshold").value = state.t;
  $("#threshold-text").textContent = `${state.t.toFixed(1)} px`;
  for (const key of FILTERS) {
    for (const input of $$(`[data-filter="${key}"] input`)) input.checked = state[key].has(input.value);
    const names = choices(key).filter(choice => state[key].has(choice.value)).map(choice => choice.text);
    $(`[data-chosen="${key}"]`).textContent = names.length === 0 ? "all" : names.length > 2 ? `${names.length} of ${choices(key).length}` : names.join(", ");
  }
  $("#method-a").value = state.a;
  $("#method-b").value = state.b;
  $("#count").textContent = `${passing.size} of ${data.pairs.length} pairs, ${shownMethods().length} of ${data.methods.length} methods`;
}
let waiting = false;
function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; update(); });
}
function update() {
  passing = new Set(chosenPairs());
  showControls();
  writeAddress();
  updateHeadline($("#main table"));
  updateScenes();
  const counts = Object.fromEntries(data.quadrants.map(name => [name, 0]));
  for (const point of quadrants()) counts[point.quadrant] += 1;
  for (const cell of $$("[data-quadrant]")) cell.textContent = counts[cell.dataset.quadrant];
  pairGrid?.draw();
  for (const name of views.keys()) refresh(name);
  tell("bench:threshold", {px: state.t});
  tell("bench:filter", {pairs: [...passing].map(i => data.pairs[i]), methods: shownMethods().map(m => m.name)});
}
function listen() {
  const form = $("#controls");
  form.addEventListener("input", event => {
    const input = event.target;
    if (input.id === "threshold") state.t = Number(Number(input.value).toFixed(1));
    else if (input.checked) state[input.name].add(input.value);
    else state[input.name]?.delete(input.value);
    changed();
  });
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", event => {
    event.preventDefault();
    Object.assign(state, {t: 3, split: new Set(), sequence: new Set(), target: new Set(), method: new Set()});
    changed();
  });
  for (const id of ["a", "b"]) $(`#method-${id}`).addEventListener("change", event => { state[id] = event.target.value; changed(); });
  addEventListener("hashchange", () => { if (readAddress()) changed(); });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape") for (const menu of $$("details.menu[open]")) menu.open = false;
  });
  document.addEventListener("click", event => {
    for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
}

async function start() {
  document.body.append(tip);
  for (const name of ["mouseover", "focusin"]) document.addEventListener(name, showTip);
  document.addEventListener("keydown", event => { if (event.key === "Escape") tip.hidden = true; });
  const closed = [];
  addEventListener("beforeprint", () => { for (const box of $$("details:not([open]):not(.menu)")) { box.open = true; closed.push(box); }
    if (data) updateScenes();
  });
  addEventListener("afterprint", () => { for (const box of closed.splice(0)) box.open = false; });
  await idle();
  const headline = $("#main table");
  if ($("#bench-data")) {
    data = JSON.parse(await unpack("bench-data"));
    [state.a, state.b] = firstTwo();
    readAddress();
    passing = new Set(chosenPairs());
    $("#controls").hidden = $("#versus").hidden = $("#every-pair").hidden = false;
    fillMenus();
    showControls();
    $("#main .scroll").after(element("p", {className: "note", id: "filter-note"}));
    prepareHeadline(headline);
    listen();
    updateHeadline(headline);
    for (const name of Object.keys(USES)) {
      const figure = $(`figure[data-plot="${name}"]`);
      if (figure) $("figcaption", figure).after(element("div", {className: "chart"}));
      const box = figure ? $(".chart", figure) : $(`#${name}`);
      if (!box) continue;
      box.dataset.chart = name;
      seen.observe(box);
    }
  }
  if ($("#own-charts")) await startOwn();
  await loadTables();
  for (const table of $$("table.numbers:not(#pair-table)")) {
    enhance(table, table === headline && data ? ["n_keypoints", "n_matches", "inlier_ratio", "latency_p90_ms"] : []);
    await idle();
  }
  if (data) {
    made.get(headline).search.fixed("filters", (_, __, index) => rowShown(made.get(headline).row(index).node()));
    const scenes = $("#scenes table");
    if (scenes) made.get(scenes).search.fixed("filters", (_, __, index) => made.get(scenes).row(index).node().dataset.pairs !== "0");
    makePairs();
    $("#scenes details")?.addEventListener("toggle", updateScenes);
    update();
  }
  document.documentElement.dataset.ready = "yes";
  window.bench = {data, openPair};
  tell("bench:ready", {data});
}
if (window.DecompressionStream) start();
})();
