"use strict";
// Shows the data in #data: a list of latents to search, filter and sort, and one latent in full.
// All text goes in as text, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  $("data").textContent = "";
  const { about, settings, vocab } = data;
  const ROW = 46; // Height of a row of the list; page.css has the same.
  const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };

  // --- columns, each decoded when it is asked for first
  const decoded = {};
  function column(name) {
    if (!(name in decoded)) {
      const { type, data: text } = data.columns[name];
      const characters = atob(text);
      const bytes = new Uint8Array(characters.length);
      for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
      decoded[name] = new ARRAYS[type](bytes.buffer);
      data.columns[name] = null;
    }
    return decoded[name];
  }
  function sums(array) {
    const out = new Uint32Array(array.length + 1);
    for (let i = 0; i < array.length; i++) out[i + 1] = out[i] + array[i];
    return out;
  }
  const number = column("number");
  const density = column("density");
  const mean = column("mean");
  const largest = column("largest");
  const examples = column("examples"); // Of each latent: of the top, then of each band.
  const kinds = settings.bands + 1;
  const first = sums(examples); // The first context of each kind of each latent.
  const start = column("start");
  const length = column("length");
  const peak = column("peak");
  const stream = column("stream");
  const cut = column("cut"); // Whether the text goes on in front of a context, 1, or behind it, 2.
  let offset = null; // Of the tokens of each context that are active.
  const place = new Map(); // From a latent's number to its place.
  number.forEach((n, i) => place.set(n, i));
  const hasTokens = "promoted_token" in data.columns;
  const UNIT = "Logits, above the mean of all tokens, of the decoder row brought to length 1 and multiplied " +
    "by the gain of the last norm and the output matrix. The norm's division is left out: compare them " +
    "with each other, not with logits of the model.";

  // --- small things
  const count = new Intl.NumberFormat("en");
  const short = (x) => (x === 0 ? "0" : Math.abs(x) >= 1000 || Math.abs(x) < 0.001 ? x.toExponential(1) : x.toPrecision(3));
  const percent = (x) => (x === 0 ? "never" : x < 0.0001 ? `${(100 * x).toExponential(1)} %` : `${Number((100 * x).toPrecision(2))} %`);
  const shown = (text) => text.replace(/\n/g, "↵").replace(/\t/g, "⇥");
  function element(tag, className, ...children) {
    const found = document.createElement(tag);
    if (className) found.className = className;
    found.append(...children);
    return found;
  }
  function drawn(tag, attributes, ...children) {
    const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
    found.append(...children);
    return found;
  }
  const peakToken = (context) => vocab[stream[start[context] + peak[context]]];
  const topOf = (latent) => [first[latent * kinds], first[latent * kinds + 1]];
  function words(latent) {
    // The tokens at which its highest examples are, each once, the most frequent first; with a
    // space in front or without, they are the same word.
    const [from, to] = topOf(latent);
    const times = new Map();
    for (let c = from; c < to; c++) {
      const word = shown(peakToken(c)).trim() || "␣";
      times.set(word, (times.get(word) || 0) + 1);
    }
    return [...times].sort((a, b) => b[1] - a[1]).slice(0, 4).map(([word]) => word).join("  ");
  }

  // --- search
  let joined = null; // The text of the stream, lower case, and where each token begins in it.
  function text() {
    if (!joined) {
      const begins = new Uint32Array(stream.length + 1);
      const small = vocab.map((token) => token.toLowerCase());
      const parts = new Array(stream.length);
      for (let i = 0; i < stream.length; i++) {
        parts[i] = small[stream[i]];
        begins[i + 1] = begins[i] + parts[i].length;
      }
      joined = { small, begins, whole: parts.join("") };
    }
    return joined;
  }
  function tokenAt(character) {
    const { begins } = text();
    let low = 0, high = begins.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (begins[middle] <= character) low = middle; else high = middle;
    }
    return low;
  }
  let hits = null; // For each token, where the next hit from there on ends; and the hits.
  let promotedHits = null; // For each token of the vocabulary, whether it is one where it is promoted.
  function look(query) {
    const { whole } = text();
    const NONE = 0xffffffff;
    hits = { ends: new Uint32Array(stream.length + 1).fill(NONE), inside: new Uint8Array(stream.length) };
    for (let at = whole.indexOf(query); at >= 0; at = whole.indexOf(query, at + 1)) {
      const from = tokenAt(at), to = tokenAt(at + query.length - 1) + 1;
      hits.ends[from] = Math.min(hits.ends[from], to);
      for (let i = from; i < to; i++) hits.inside[i] = 1;
    }
    for (let i = stream.length - 1; i >= 0; i--) hits.ends[i] = Math.min(hits.ends[i], hits.ends[i + 1]);
  }
  function tests(query, where) {
    const plain = query.trim().replace(/^(latent|#)\s*/i, "");
    const wanted = /^\d+$/.test(plain) ? Number(plain) : -1;
    const lower = query.toLowerCase();
    const found = [];
    const inText = where === "any" || where === "peak" || where === "context";
    hits = promotedHits = null;
    if (where === "any" || where === "number") found.push((l) => number[l] === wanted);
    if (inText) {
      look(lower);
      found.push((l) => {
        const [from, to] = topOf(l);
        for (let c = from; c < to; c++) {
          const begin = start[c];
          if (where === "peak" ? hits.inside[begin + peak[c]] : hits.ends[begin] <= begin + length[c]) return true;
        }
        return false;
      });
    }
    if (hasTokens && (where === "any" || where === "promoted")) {
      const is = text().small.map((token) => token.includes(lower));
      promotedHits = is;
      const promoted = column("promoted_token");
      const n = settings.tokens;
      found.push((l) => {
        for (let i = l * n; i < (l + 1) * n; i++) if (is[promoted[i]]) return true;
        return false;
      });
    }
    return (latent) => found.some((test) => test(latent));
  }

  // --- list
  let view = [];
  let falling = false;
  let selected = -1;
  const list = $("list"), rows = $("rows");
  function refresh() {
    const query = $("search").value;
    const bound = (id, otherwise) => {
      const value = parseFloat($(id).value.replace(",", "."));
      return Number.isFinite(value) ? value / 100 : otherwise;
    };
    const least = bound("least", 0), most = bound("most", 1);
    let test = () => true;
    hits = promotedHits = null;
    if (query.trim()) test = tests(query, $("where").value);
    view = [];
    for (let i = 0; i < number.length; i++) if (density[i] >= least && density[i] <= most && test(i)) view.push(i);
    const key = { number, density, mean, largest }[$("sort").value];
    view.sort((a, b) => (falling ? key[b] - key[a] : key[a] - key[b]) || a - b);
    const dead = view.reduce((sum, i) => sum + (density[i] === 0), 0);
    const of = view.length === number.length ? "" : ` of ${count.format(number.length)}`;
    $("count").textContent = `${count.format(view.length)}${of} latents${dead ? `, ${count.format(dead)} never active` : ""}`;
    rows.style.height = `${view.length * ROW}px`;
    list.scrollTop = 0;
    paint();
  }
  function paint() {
    const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    const to = Math.min(view.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
    const found = [];
    for (let i = from; i < to; i++) {
      const latent = view[i];
      const row = element("a", density[latent] ? "row" : "row dead",
        element("span", "number", String(number[latent])),
        element("span", "words", density[latent] ? words(latent) : "never active"),
        element("span", "figures", density[latent] ? percent(density[latent]) : "", element("br"),
          density[latent] ? `max ${short(largest[latent])}` : ""));
      row.href = `#latent-${number[latent]}`;
      row.tabIndex = -1;
      row.style.top = `${i * ROW}px`;
      if (latent === selected) row.setAttribute("aria-current", "true");
      found.push(row);
    }
    rows.replaceChildren(...found);
  }
  function reveal() {
    const at = view.indexOf(selected);
    if (at < 0) return;
    const top = at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  }
  function move(by) {
    if (!view.length) return;
    const at = view.indexOf(selected);
    const next = at < 0 ? 0 : Math.min(view.length - 1, Math.max(0, at + by));
    location.hash = `latent-${number[view[next]]}`;
  }

  // --- one latent
  function histogram(latent) {
    const bins = settings.bins, counts = column("histogram").subarray(latent * bins, (latent + 1) * bins);
    const top = Math.log1p(Math.max(...counts));
    const width = 400, height = 168, wide = width / bins;
    const picture = drawn("svg", { viewBox: `0 0 ${width} ${height + 20}`, role: "img", "aria-label": "Histogram of activations" });
    counts.forEach((n, i) => {
      const tall = n ? Math.max(2, (Math.log1p(n) / top) * height) : 0;
      const range = `${short((i / bins) * largest[latent])} to ${short(((i + 1) / bins) * largest[latent])}`;
      const bar = drawn("rect", { x: i * wide + 0.6, y: height - tall, width: wide - 1.2, height: tall, rx: 1 });
      bar.dataset.tip = `${count.format(n)} tokens at ${range}`;
      picture.append(bar);
    });
    picture.append(drawn("line", { x1: 0, x2: width, y1: height + 0.5, y2: height + 0.5 }));
    picture.append(drawn("text", { x: 0, y: height + 15 }, "0"));
    picture.append(drawn("text", { x: width, y: height + 15, "text-anchor": "end" }, short(largest[latent])));
    return picture;
  }
  function tokens(latent, which, className) {
    const n = settings.tokens, found = element("ol", "tokens");
    const ids = column(`${which}_token`), values = column(`${which}_value`);
    for (let i = latent * n; i < (latent + 1) * n; i++) {
      const word = element("span", className, shown(vocab[ids[i]]));
      if (which === "promoted" && promotedHits && promotedHits[ids[i]]) word.classList.add("found");
      const value = `${values[i] < 0 ? "−" : "+"}${Math.abs(values[i]).toFixed(2)}`;
      found.append(element("li", "", element("span", "word", word), element("span", "value", value)));
    }
    return found;
  }
  function nearest(latent) {
    const n = settings.nearest, found = element("div", "chips");
    const ids = column("nearest_latent"), cosine = column("nearest_cosine");
    for (let i = latent * n; i < (latent + 1) * n; i++) {
      const there = place.get(ids[i]);
      const chip = element(there === undefined ? "span" : "a", "", String(ids[i]), element("small", "", cosine[i].toFixed(2)));
      if (there !== undefined) {
        chip.href = `#latent-${ids[i]}`;
        chip.append(element("span", "words", words(there)));
      } else chip.dataset.tip = "not in this page";
      found.append(chip);
    }
    return found;
  }
  function context(latent, c) {
    offset = offset || sums(column("active"));
    const active = column("active_token"), activation = column("activation"), value = column("value");
    const line = element("p");
    const inWord = /^\S/.test(vocab[stream[start[c]]]);
    if (cut[c] & 1) line.append(element("span", "cut", inWord ? "…" : "… "));
    for (let i = 0, next = offset[c]; i < length[c]; i++) {
      const share = next < offset[c + 1] && active[next] === i ? activation[next++] / 255 : 0;
      const token = vocab[stream[start[c] + i]];
      const piece = element("span", i === peak[c] ? "t peak" : "t", i ? shown(token) : shown(token).trimStart());
      if (share) {
        const exact = i === peak[c] ? value[c] : share * largest[latent];
        piece.style.backgroundColor = `rgba(var(--glow), calc(${share.toFixed(3)} * var(--most)))`;
        piece.dataset.tip = short(exact);
      } else piece.dataset.tip = "0";
      if (hits && hits.inside[start[c] + i]) piece.classList.add("found");
      line.append(piece);
      if (token.endsWith("\n")) line.append("\n");
    }
    if (cut[c] & 2) line.append(element("span", "cut", "…"));
    return element("div", "context", element("span", "value", short(value[c])), line);
  }
  function contexts(latent, kind) {
    const found = element("div", "contexts");
    for (let c = first[latent * kinds + kind]; c < first[latent * kinds + kind + 1]; c++) found.append(context(latent, c));
    return found;
  }
  function stat(name, value) {
    return element("div", "", element("dt", "", name), element("dd", "", value));
  }
  function show() {
    const latent = selected, main = $("latent");
    if (latent < 0) return;
    const back = element("button", "", "‹"), on = element("button", "", "›");
    back.title = "Previous in the list (k)";
    on.title = "Next in the list (j)";
    back.addEventListener("click", () => move(-1));
    on.addEventListener("click", () => move(1));
    const parts = [element("div", "top", element("h2", "", `Latent ${number[latent]}`), element("div", "step", back, on))];
    const stats = element("dl", "stats", stat("active for", density[latent] ? `${percent(density[latent])} of tokens` : "no token"));
    if (density[latent]) stats.append(stat("mean when active", short(mean[latent])), stat("maximum", short(largest[latent])));
    parts.push(stats);
    const pair = element("div", "pair");
    if (density[latent]) pair.append(element("section", "", element("h3", "", "Activations, counts on a log scale"), histogram(latent)));
    if (hasTokens) {
      for (const [name, which, className] of [["Promotes", "promoted", "up"], ["Suppresses", "suppressed", "down"]]) {
        const heading = element("h3", "", name);
        heading.title = UNIT;
        pair.append(element("section", "", heading, tokens(latent, which, className)));
      }
    }
    parts.push(pair);
    if (settings.nearest) parts.push(element("h3", "", "Nearest decoder rows, by cosine"), nearest(latent));
    if (density[latent]) {
      parts.push(element("h3", "", "Highest activations"), contexts(latent, 0));
      for (let band = settings.bands; band >= 1; band--) {
        if (!examples[latent * kinds + band]) continue;
        const range = [band - 1, band].map((b) => short((b / settings.bands) * largest[latent]));
        parts.push(element("h3", "", `Drawn by chance from ${range[0]} to ${range[1]}`), contexts(latent, band));
      }
    } else parts.push(element("p", "note", "Active for no token of this split."));
    main.replaceChildren(...parts);
    main.scrollTop = 0;
    document.title = `${number[latent]} · ${about.title}`;
  }
  function go() {
    const match = /^#latent-(\d+)$/.exec(location.hash);
    const wanted = match ? place.get(Number(match[1])) : view[0];
    if (wanted === undefined) {
      selected = -1;
      $("latent").replaceChildren(element("p", "note", match ? `Latent ${match[1]} is not in this page.` : "Nothing is found."));
    } else selected = wanted;
    reveal();
    paint();
    show();
  }

  // --- what happens
  const tip = $("tip");
  document.addEventListener("mouseover", (event) => {
    const of = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !of;
    if (!of) return;
    tip.textContent = of.dataset.tip;
    const box = of.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, box.top - tip.offsetHeight - 5)}px`;
  });
  let waiting = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { refresh(); show(); }, 120);
  });
  for (const id of ["where", "sort", "least", "most"]) $(id).addEventListener("input", () => { refresh(); show(); });
  $("sort").addEventListener("input", () => { falling = $("sort").value !== "number"; turn(); });
  function turn() {
    $("direction").textContent = falling ? "↓" : "↑";
    refresh();
  }
  $("direction").addEventListener("click", () => { falling = !falling; turn(); });
  $("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    clearTimeout(waiting);
    refresh();
    if (view.length) location.hash = `latent-${number[view[0]]}`;
  });
  list.addEventListener("scroll", () => requestAnimationFrame(paint), { passive: true });
  addEventListener("resize", paint);
  addEventListener("hashchange", go);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing) return;
    const by = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    const inMain = event.target === $("latent") && event.key.startsWith("Arrow");
    if (by && !inMain) { event.preventDefault(); move(by); }
    if (event.key === "/") { event.preventDefault(); $("search").focus(); }
  });
  if (!hasTokens) $("where").querySelector("[value=promoted]").remove();
  $("about").textContent = about.text;
  $("measured").textContent = about.measured;
  refresh();
  go();
})();
