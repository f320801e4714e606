// All cells, clusters first, then by probability; only the rows in view are in the document.

const gallery = {
  WIDTH: 120,
  HEIGHT: 142,
  HEAD: 38,
  FEW: 48, // clusters shown before the single cells unless asked for all
  selected: null,
  found: [],
  rows: [], // {top, height, cells} or {top, height, text, more}
  tiles: new Map(), // what is in the document, by key of row content
  allClusters: false,
  scroller: document.getElementById("scroller"),
  canvas: document.getElementById("canvas"),
  form: document.getElementById("filters"),

  start() {
    const fill = (name, options) => this.form.elements[name].append(
      ...options.map(([value, text]) => make("option", { value }, text)));
    fill("call", [["", "all"], ...CALLS.map((call) => [call, `${MARKS[call]} ${call}`])]);
    fill("sample", [["", "all"], ...report.samples.map((name, i) => [String(i), name])]);
    const clusters = cells.cluster.some(Boolean) ? [["cluster", "cluster"]] : [];
    fill("reason", [["", "all"], ...clusters, ...report.reasons.map((name) => [name, name])]);
    fill("reviewed", [["", "all"], ["no", "not yet"], ["yes", "by me"], ["differs", "otherwise than the model"], ["before", "earlier"]]);
    this.form.addEventListener("input", () => this.filter());
    this.form.addEventListener("reset", () => setTimeout(() => this.filter()));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.scroller.addEventListener("scroll", () => this.fill(), { passive: true });
    this.canvas.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) this.select(Number(tile.dataset.cell));
    });
    new ResizeObserver(() => this.layOut()).observe(this.scroller);
    this.filter();
  },

  /** Show only what one filter lets through. */
  only(filters) {
    this.form.reset();
    for (const [name, value] of Object.entries(filters)) this.form.elements[name].value = value;
    this.filter();
    go("gallery");
  },

  filter() {
    const wanted = Object.fromEntries(new FormData(this.form));
    const text = wanted.text.trim().toLowerCase();
    this.found = [];
    for (let cell = 0; cell < count; cell += 1) {
      if (wanted.call && callOf(cell) !== wanted.call) continue;
      if (wanted.sample && cells.sample[cell] !== Number(wanted.sample)) continue;
      if (wanted.reason && !this.hasReason(cell, wanted.reason)) continue;
      if (wanted.reviewed && !this.isReviewed(cell, wanted.reviewed)) continue;
      if (text && !this.holds(cell, text)) continue;
      this.found.push(cell);
    }
    document.getElementById("shown").textContent = this.found.length === count
      ? several(count, "cell", "cells") : `${number(this.found.length)} of ${several(count, "cell", "cells")}`;
    if (!this.found.includes(this.selected)) this.selected = this.found[0] ?? null;
    this.scroller.scrollTop = 0;
    this.layOut();
    this.showDetail();
  },

  hasReason(cell, name) {
    return name === "cluster" ? Boolean(cells.cluster[cell]) : reasonsOf(cell).includes(name);
  },

  isReviewed(cell, which) {
    const entry = store.entry(cell);
    if (which === "before") return Boolean(report.reviews[cell]);
    if (which === "no") return !entry;
    return Boolean(entry) && (which === "yes" || entry.call !== callOf(cell));
  },

  holds(cell, text) {
    this.words ??= cells.path.map((path, i) => [path, sampleOf(i), cells.cell[i], cells.sha256[i]].join("\n").toLowerCase());
    const note = store.entry(cell)?.note || "";
    return this.words[cell].includes(text) || note.toLowerCase().includes(text);
  },

  /** Break the cells into rows for the width at hand. */
  layOut() {
    const width = this.scroller.clientWidth;
    if (!width) return;
    this.across = Math.max(1, Math.floor((width - 8) / this.WIDTH));
    const firstSingle = this.found.findIndex((cell) => !cells.cluster[cell]);
    const clusters = firstSingle < 0 ? this.found : this.found.slice(0, firstSingle);
    const single = firstSingle < 0 ? [] : this.found.slice(firstSingle);
    const folded = !this.allClusters && single.length > 0 && clusters.length > this.FEW;
    this.rows = [];
    this.listed = [];
    let top = 0;
    const add = (row) => {
      this.rows.push({ ...row, top });
      top += row.height;
    };
    const addCells = (some) => {
      for (let i = 0; i < some.length; i += this.across) add({ height: this.HEIGHT, first: this.listed.length + i, cells: some.slice(i, i + this.across) });
      this.listed.push(...some);
    };
    if (clusters.length) {
      add({ height: this.HEAD, text: `Clusters of touching cells: ${number(clusters.length)}`,
        more: folded ? `show all ${number(clusters.length)}` : this.allClusters && clusters.length > this.FEW ? "show fewer" : null });
      addCells(folded ? clusters.slice(0, this.FEW) : clusters);
    }
    if (single.length) {
      add({ height: this.HEAD, text: `Single cells: ${number(single.length)}`, more: null });
      addCells(single);
    }
    if (!this.found.length) add({ height: this.HEAD, text: "No cell fits these filters.", more: null });
    this.place = new Map(this.listed.map((cell, i) => [cell, i]));
    this.canvas.style.height = `${top}px`;
    this.empty();
    this.fill();
  },

  empty() {
    this.tiles.clear();
    this.canvas.replaceChildren();
  },

  /** Put the rows in view into the document, and take all others out. */
  fill() {
    const [from, to] = [this.scroller.scrollTop - this.HEIGHT, this.scroller.scrollTop + this.scroller.clientHeight + this.HEIGHT];
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].top + this.rows[middle].height < from) low = middle + 1;
      else high = middle;
    }
    const wanted = new Set();
    for (let i = low; i < this.rows.length && this.rows[i].top < to; i += 1) wanted.add(i);
    for (const [index, made] of this.tiles) {
      if (wanted.has(index)) continue;
      made.forEach((each) => each.remove());
      this.tiles.delete(index);
    }
    for (const index of wanted) {
      if (!this.tiles.has(index)) this.tiles.set(index, this.makeRow(this.rows[index]));
    }
    this.mark();
  },

  makeRow(row) {
    const made = row.cells ? row.cells.map((cell) => this.makeTile(cell)) : [this.makeHead(row)];
    made.forEach((each, column) => {
      each.style.top = `${row.top + 4}px`;
      each.style.order = String(row.top); // on paper
      if (row.cells) each.style.left = `${8 + column * this.WIDTH}px`;
    });
    this.canvas.append(...made);
    return made;
  },

  makeHead(row) {
    return make("div", { className: "heading", role: "presentation" }, make("h2", {}, row.text),
      row.more ? make("button", { type: "button", onclick: () => {
        this.allClusters = !this.allClusters;
        this.layOut();
      } }, row.more) : null);
  },

  makeTile(cell) {
    const canvas = make("canvas", {});
    const tile = make("div", { className: "tile", role: "option", id: `cell-${cell}` }, canvas);
    tile.dataset.cell = cell;
    if (cells.image[cell] === IMAGE_OK) paintTile(canvas, cell, 102);
    this.label(tile, cell);
    return tile;
  },

  label(tile, cell) {
    const entry = store.entry(cell);
    const earlier = report.reviews[cell];
    const call = callOf(cell);
    const words = `${call} ${probabilityText(cells.probability[cell])}`;
    while (tile.childNodes.length > 1) tile.lastChild.remove();
    tile.append(make("span", { className: `call ${call}` }, `${MARKS[call]} ${call === "leukocyte" ? "leuk." : call} ${shortProbability(cells.probability[cell])}`));
    if (entry || earlier) {
      const said = entry ? entry.call : earlier[earlier.length - 1].call;
      tile.append(make("b", { className: said === call ? "" : "differs" }, `${entry ? "✓" : "earlier:"} ${said === "leukocyte" ? "leuk." : said}`));
    }
    const told = [words, cells.cluster[cell] ? "cluster" : "", ...reasonsOf(cell), entry ? `reviewed: ${entry.call}` : ""];
    const label = harmless(`cell ${cells.cell[cell]} of ${sampleOf(cell)}: ${told.filter(Boolean).join(", ")}`);
    tile.setAttribute("aria-label", label);
    tile.title = label;
  },

  /** Bring labels and selection up to date. */
  mark() {
    for (const tile of this.canvas.querySelectorAll(".tile")) {
      const cell = Number(tile.dataset.cell);
      tile.setAttribute("aria-selected", String(cell === this.selected));
    }
    if (document.getElementById(`cell-${this.selected}`)) {
      this.scroller.setAttribute("aria-activedescendant", `cell-${this.selected}`);
    } else this.scroller.removeAttribute("aria-activedescendant");
  },

  relabel() {
    for (const tile of this.canvas.querySelectorAll(".tile")) this.label(tile, Number(tile.dataset.cell));
  },

  select(cell) {
    this.selected = cell;
    const row = this.rows.find((each) => each.cells?.includes(cell));
    if (row) {
      const below = row.top + row.height - this.scroller.clientHeight;
      if (this.scroller.scrollTop > row.top) this.scroller.scrollTop = row.top - (row === this.rows[1] ? this.HEAD : 0);
      else if (this.scroller.scrollTop < below) this.scroller.scrollTop = below;
    }
    this.fill();
    this.showDetail();
  },

  /** Move the selection by a number of cells. */
  move(step) {
    const place = this.place.get(this.selected) ?? 0;
    const next = Math.max(0, Math.min(this.listed.length - 1, place + step));
    if (this.listed.length) this.select(this.listed[next]);
  },

  showDetail() {
    const box = document.getElementById("detail");
    box.className = "cell";
    if (this.selected === null || document.getElementById("gallery").hidden) return box.replaceChildren();
    showCell(box, this.selected, { blind: false, ...(NARROW.matches ? { side: 150, small: 90, columns: 2 } : { side: 260, small: 116, columns: 3 }) });
  },
};
