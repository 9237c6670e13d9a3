// Cards and gallery of pairs. Opened by the event "bench:pair" {pair, method?, order?}; "bench:filter" {pairs, methods?}
// says which pairs the page shows, "bench:threshold" {px} what counts as right.
(() => {
  "use strict";
  const at = id => document.getElementById(id);
  const dialog = at("card"), view = at("card-view"), gallery = at("cards-gallery");
  const SVG = view.namespaceURI, NONE = -32768, MOST = 12, FAILED_PX = 1000;
  let data = null, filter = null, taken = null, order = [], open = null, chosen = null, opener = null, px = null;

  // ---- data ----
  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }

  function read() {
    if (data) return data;
    data = JSON.parse(at("cards-data").textContent);
    const buffer = bytes(data.numbers).buffer;
    let from = 0;
    const take = (type, n) => {
      const part = new type(buffer.slice(from, from + n * type.BYTES_PER_ELEMENT));
      from += n * type.BYTES_PER_ELEMENT;
      return part;
    };
    const rows = data.pairs.length * data.methods.length;
    data.errors = take(Float32Array, rows);
    data.ended = take(Uint8Array, rows);
    data.place = new Map(data.pairs.map((pair, number) => [pair, number]));
    data.card = new Map();
    if (data.images) {
      const cards = data.carded.length, width = data.card_methods.length;
      data.outlines = take(Int16Array, cards * 8);
      data.estimates = take(Int16Array, cards * width * 8);
      data.counts = take(Int32Array, cards * width * 2);
      data.starts = new Int32Array(cards * width + 1);
      for (let k = 0; k < cards * width; k++)
        data.starts[k + 1] = data.starts[k] + Math.min(Math.max(data.counts[2 * k], 0), data.most);
      const stored = data.starts[cards * width];
      data.matches = take(data.coordinate_bytes === 1 ? Uint8Array : Uint16Array, stored * 4);
      data.correct = take(Uint8Array, Math.ceil(stored / 8));
      data.carded.forEach((pair, number) => data.card.set(pair, number));
    }
    return data;
  }

  const error = (pair, method) => data.errors[data.place.get(pair) * data.methods.length + method];
  const outcome = (pair, method) => data.outcomes[data.ended[data.place.get(pair) * data.methods.length + method]] ?? "";

  function row(pair, method) {
    const card = data.card.get(pair), column = data.images ? data.card_methods.indexOf(data.methods[method]) : -1;
    return card === undefined || column < 0 ? -1 : card * data.card_methods.length + column;
  }

  function counted(pair, method) {
    const k = row(pair, method);
    return k < 0 || data.counts[2 * k] < 0 ? null : {matches: data.counts[2 * k], correct: data.counts[2 * k + 1]};
  }

  // Matches as rows x, y (reference), x, y (target) in parts of the sides, and whether each is correct.
  function matches(pair, method) {
    const k = row(pair, method), found = [];
    if (k < 0) return found;
    const steps = 256 ** data.coordinate_bytes;
    for (let i = data.starts[k]; i < data.starts[k + 1]; i++) {
      const ends = [0, 1, 2, 3].map(c => (data.matches[4 * i + c] + 0.5) / steps);
      found.push({ends, correct: Boolean(data.correct[i >> 3] >> (i & 7) & 1)});
    }
    return found;
  }

  function corners(source, number) {
    const xy = Array.from(source.subarray(8 * number, 8 * number + 8));
    return number < 0 || xy[0] === NONE ? null : [0, 1, 3, 2].map(c => [xy[2 * c] / 4096, xy[2 * c + 1] / 4096]);
  }

  // ---- words ----
  function rounded(value) {
    return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
  }

  function said(pair, method) {
    const value = error(pair, method);
    if (Number.isNaN(value)) return "–";
    return Number.isFinite(value) ? `${rounded(value)} px` : (outcome(pair, method) || "failed").replaceAll("_", " ");
  }

  function put(parent, name, attributes = {}, text = null) {
    const inside = parent.namespaceURI === SVG || name === "svg";
    const made = inside ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== null) made.textContent = text;
    parent.append(made);
    return made;
  }

  // ---- drawing ----
  // Both images in one drawing, `wide` beside or else above one another; returns where each lies.
  function images(svg, pair, wide) {
    const ends = data.ends[data.card.get(pair)], gap = 10;
    const heights = ends.map(end => 500 * data.sizes[end][1] / data.sizes[end][0]);
    const boxes = wide
      ? [{x: 0, y: 0}, {x: 500 + gap, y: 0}] : [{x: 0, y: 0}, {x: 0, y: heights[0] + gap}];
    const size = wide ? [1000 + gap, Math.max(...heights)] : [500, heights[0] + gap + heights[1]];
    svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
    return boxes.map((box, side) => {
      const inner = put(svg, "svg", {...box, width: 500, height: heights[side], viewBox: "0 0 1 1", preserveAspectRatio: "none"});
      const href = `data:image/jpeg;base64,${data.images[ends[side]]}`;
      put(inner, "image", {href, width: 1, height: 1, preserveAspectRatio: "none"});
      return {...box, inner, width: 500, height: heights[side]};
    });
  }

  function outline(box, ring, kind) {
    if (!ring) return;
    const points = ring.map(([x, y]) => `${x},${y}`).join(" ");
    if (!kind.includes("other")) {
      // Casings lie below all outlines, so that the true one shows through the dashes of an estimate upon it.
      const casing = put(box.inner, "polygon", {points, class: "casing"});
      box.inner.querySelector("polygon:not(.casing)")?.before(casing);
    }
    put(box.inner, "polygon", {points, class: kind});
  }

  function draw() {
    view.replaceChildren();
    const there = data.card.has(open);
    view.toggleAttribute("hidden", !there);
    document.querySelector(".card-keys").hidden = !there;
    const words = [];
    const label = data.labels[chosen], count = counted(open, chosen), found = matches(open, chosen);
    if (there) {
      const boxes = images(view, open, dialog.clientWidth >= 640), [left, right] = boxes;
      const place = (box, x, y) => `${(box.x + x * box.width).toFixed(2)} ${(box.y + y * box.height).toFixed(2)}`;
      for (const correct of [false, true]) {
        const shown = at(correct ? "card-right" : "card-wrong").checked;
        for (const {ends} of shown ? found.filter(match => match.correct === correct) : [])
          put(view, "path", {
            d: `M${place(left, ends[0], ends[1])}L${place(right, ends[2], ends[3])}`,
            class: `match ${correct ? "right" : "wrong"}`,
          });
      }
      outline(right, corners(data.outlines, data.card.get(open)), "true");
      if (at("card-every").checked)
        data.methods.forEach((_, method) => {
          if (method !== chosen) outline(right, corners(data.estimates, row(open, method)), "estimated other");
        });
      const estimate = corners(data.estimates, row(open, chosen));
      outline(right, estimate, "estimated");
      if (count) {
        words.push(`${label}: ${found.length} of ${count.matches} matches drawn` +
          (found.length < count.matches ? ", spread evenly over the ranking" : "") +
          `; ${count.correct} of ${count.matches} are correct within ${data.correct_px} px.`);
      } else if (row(open, chosen) >= 0) {
        words.push(data.counts[2 * row(open, chosen)] === -1 ? `${label} matches nothing.`
          : `The run did not keep its features: no matches and no estimated outline of ${label} to draw.`);
      }
      if (count && !estimate) words.push(`${label} has no estimated outline: ${said(open, chosen)}.`);
      view.setAttribute("aria-label", `Reference and target image of ${open} with the matches and the estimated ` +
        `outline of ${label}, corner error ${said(open, chosen)}. ${words.join(" ")}`);
    } else {
      words.push(!data.images ? `No pictures: ${data.missing || "this run has none"}.`
        : data.missing ? `No pictures of this pair: ${data.missing}.`
        : `The page has pictures of ${data.carded.length} of ${data.pairs.length} pairs, drawn at random, to stay small.`);
    }
    at("card-words").textContent = words.join(" ");
    for (const line of at("card-rows").rows) {
      line.classList.toggle("chosen", Number(line.dataset.method) === chosen);
      line.querySelector("button").setAttribute("aria-pressed", Number(line.dataset.method) === chosen);
    }
  }

  function fill() {
    const place = order.indexOf(open);
    at("card-title").textContent = open;
    at("card-place").textContent = place < 0 ? "" : `${place + 1} of ${order.length}`;
    at("card-back").disabled = at("card-on").disabled = order.length < 2;
    const body = at("card-rows");
    body.replaceChildren();
    data.methods.forEach((_, method) => {
      const line = put(body, "tr", {"data-method": method});
      const button = put(put(line, "th", {scope: "row"}), "button", {type: "button"}, data.labels[method]);
      button.addEventListener("click", () => { chosen = method; draw(); });
      const value = error(open, method), count = counted(open, method);
      put(line, "td", {class: "number"}, Number.isFinite(value) ? rounded(value) : Number.isNaN(value) ? "–" : "∞");
      put(line, "td", {}, outcome(open, method).replaceAll("_", " "));
      put(line, "td", {class: "number"}, count ? String(count.matches) : "–");
      put(line, "td", {class: "number"}, count ? String(count.correct) : "–");
    });
    draw();
  }

  // ---- address ----
  // The hash holds keys and values (`split=v&pair=...`) or names a section; a section's name is not touched on loading.
  const keys = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

  function address(pair) {
    const known = keys();
    if (pair === null) known.delete("pair"); else known.set("pair", pair);
    const text = known.toString().replaceAll("%2F", "/");
    if (text !== location.hash.slice(1)) history.replaceState(history.state, "", text ? `#${text}` : location.pathname + location.search);
  }

  // ---- opening, stepping, closing ----
  const shownPairs = () => (filter ?? read().pairs).filter(pair => read().place.has(pair));

  function show(pair, method = null, among = null) {
    if (!read().place.has(pair)) return;
    order = among && among.includes(pair) ? among : shownPairs();
    open = pair;
    const wanted = typeof method === "string" ? data.methods.indexOf(method) : method ?? chosen ?? 0;
    chosen = wanted < 0 ? 0 : wanted;
    if (!dialog.open) {
      opener = document.activeElement;
      dialog.showModal();
      at("card-title").focus();
    }
    fill();
    address(pair);
  }

  function step(by) {
    if (order.length < 2) return;
    const place = order.indexOf(open);
    show(order[place < 0 ? 0 : (place + by + order.length) % order.length], null, order);
  }

  dialog.addEventListener("close", () => {
    open = null;
    address(null);
    if (opener?.isConnected) opener.focus();
  });
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", event => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    step(by);
  });
  at("card-close").addEventListener("click", () => dialog.close());
  at("card-back").addEventListener("click", () => step(-1));
  at("card-on").addEventListener("click", () => step(1));
  for (const id of ["card-right", "card-wrong", "card-every"]) at(id).addEventListener("change", draw);
  let beside = null;
  addEventListener("resize", () => {
    const wide = dialog.clientWidth >= 640;
    if (dialog.open && wide !== beside) draw();
    beside = wide;
  });

  // ---- gallery ----
  // At most one pair of a sequence, in order.
  function distinct(pairs) {
    const seen = new Set();
    return pairs.filter(pair => {
      const sequence = data.sequences[data.place.get(pair)];
      return !seen.has(sequence) && seen.add(sequence);
    });
  }

  function worst(method) {
    const found = shownPairs().filter(pair => !(error(pair, method) <= px) && !Number.isNaN(error(pair, method)));
    const many = pair => counted(pair, method)?.matches ?? 0;
    // Among failures the one with the most matches comes first: it shows the most.
    const worse = (a, b) => error(b, method) - error(a, method) || 0;
    found.sort((a, b) => (error(a, method) === error(b, method) ? many(b) - many(a) : worse(a, b)) || (a < b ? -1 : 1));
    return found.map(pair => ({pair, method, words: said(pair, method)}));
  }

  const compared = () => [...data.methods.keys()].filter(method => !taken || taken.includes(data.methods[method]));

  function discordant() {
    const found = [];
    for (const pair of shownPairs()) {
      const known = compared().filter(method => !Number.isNaN(error(pair, method)));
      const best = known.reduce((a, b) => (error(pair, b) < error(pair, a) ? b : a), known[0]);
      const last = known.reduce((a, b) => (error(pair, b) > error(pair, a) ? b : a), known[0]);
      if (!known.length || !(error(pair, best) <= px) || error(pair, last) <= px) continue;
      const spread = Math.min(error(pair, last), FAILED_PX) / Math.max(error(pair, best), 0.01);
      const words = `${data.labels[best]} ${said(pair, best)}, ${data.labels[last]} ${said(pair, last)}`;
      found.push({pair, method: last, words, spread});
    }
    return found.sort((a, b) => b.spread - a.spread || (a.pair < b.pair ? -1 : 1));
  }

  const lazily = "IntersectionObserver" in window ? new IntersectionObserver(entries => {
    for (const entry of entries.filter(one => one.isIntersecting)) {
      lazily.unobserve(entry.target);
      entry.target.draw();
    }
  }, {rootMargin: "300px"}) : {observe: svg => svg.draw(), disconnect() {}};

  function list() {
    const which = at("cards-list").value;
    if (!which) {
      gallery.replaceChildren();
      at("cards-count").textContent = "No method with corner errors is shown.";
      return;
    }
    const found = which === "discordant" ? discordant() : worst(Number(which));
    const scenes = new Set(distinct(found.map(one => one.pair))), all = found.filter(one => scenes.delete(one.pair));
    const shown = all.slice(0, MOST), total = shownPairs().length;
    const what = which === "discordant" ? `have a method within ${px} px and another that is not` : `are not within ${px} px`;
    at("cards-count").textContent = `${found.length} of ${total} pairs ${what}, in ${all.length} sequences; ` +
      `${shown.length} shown, ${which === "discordant" ? "largest ratio of errors" : "largest error"} first, ` +
      "at most one of a sequence.";
    lazily.disconnect();
    gallery.replaceChildren();
    for (const {pair, method, words} of shown) {
      const button = put(put(gallery, "li"), "button", {type: "button", "data-pair": pair});
      if (data.card.has(pair)) {
        const svg = put(button, "svg", {"aria-hidden": "true"});
        svg.draw = () => {
          const [, target] = images(svg, pair, true);
          outline(target, corners(data.outlines, data.card.get(pair)), "true");
          outline(target, corners(data.estimates, row(pair, method)), "estimated");
        };
        lazily.observe(svg);
      }
      const text = put(button, "span");
      put(text, "strong", {}, pair);
      text.append(words);
      button.addEventListener("click", () => show(pair, method, shown.map(one => one.pair)));
    }
  }

  function start() {
    read();
    const thresholds = [...data.thresholds].sort((a, b) => a - b);
    px = px ?? thresholds[Math.floor(thresholds.length / 2)];
    choices();
    for (const id of ["cards-list", "cards-px"])
      at(id).addEventListener("change", () => { px = Number(at("cards-px").value); list(); });
    at("cards-lead").textContent = !data.images ? `No pictures: ${data.missing || "this run has none"}.`
      : "A pair opens with a click: both images, a sample of the matches of each method" +
        ` (at most ${data.most} a method), both outlines and the errors of all methods. In an open pair the arrow keys go on.` +
        (data.missing ? ` Some pairs have no pictures: ${data.missing}.` : "") +
        (data.carded.length < data.pairs.length && !data.missing
          ? ` Pictures of ${data.carded.length} of ${data.pairs.length} pairs, drawn at random, to keep the page small.` : "");
    list();
  }

  function choices() {
    const level = at("cards-px"), lists = at("cards-list"), before = lists.value;
    level.replaceChildren();
    for (const t of [...new Set([...data.thresholds, px])].sort((a, b) => a - b))
      put(level, "option", {value: t}, `${t} px`);
    level.value = String(px);
    lists.replaceChildren();
    const shown = compared().filter(method => data.pairs.some(pair => !Number.isNaN(error(pair, method))));
    if (shown.length > 1) put(lists, "option", {value: "discordant"}, "where methods differ most");
    for (const method of shown) put(lists, "option", {value: method}, `the worst of ${data.labels[method]}`);
    if ([...lists.options].some(option => option.value === before)) lists.value = before;
  }

  // A slider tells many times a second: once for each drawn frame is enough.
  let waiting = false;
  function soon() {
    if (!begun || waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      choices();
      list();
    });
  }

  let begun = false;
  function begin() {
    if (begun) return;
    begun = true;
    start();
  }

  document.addEventListener("bench:pair", event => show(event.detail.pair, event.detail.method ?? null, event.detail.order ?? null));
  document.addEventListener("bench:filter", event => {
    filter = event.detail.pairs ?? null;
    taken = event.detail.methods ?? null;
    soon();
  });
  document.addEventListener("bench:threshold", event => {
    px = Number(event.detail.px);
    // The page has a control of its own for it.
    at("cards-px").parentElement.hidden = true;
    soon();
  });
  addEventListener("hashchange", () => {
    const pair = keys().get("pair");
    if (pair && pair !== open) show(pair);
    else if (!pair && dialog.open) dialog.close();
  });

  at("pairs").hidden = false;
  const sections = document.querySelector("nav[aria-label=Sections]");
  if (sections) {
    const link = put(sections, "a", {href: "#pairs"}, "Pairs");
    sections.querySelector('[href="#matches"], [href="#conditions"], [href="#reading"]')?.before(link);
  }
  const whenNear = "IntersectionObserver" in window ? new IntersectionObserver(entries => {
    if (!entries.some(entry => entry.isIntersecting)) return;
    whenNear.disconnect();
    begin();
  }, {rootMargin: "600px"}) : null;
  if (whenNear) whenNear.observe(at("pairs")); else begin();
  addEventListener("beforeprint", begin);
  const linked = keys().get("pair");
  if (linked) show(linked);
})();
