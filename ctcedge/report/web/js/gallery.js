// All cells, clusters first, then by probability. Only the rows in view are in the document.

import { byId, element } from "./dom.js";
import { escapeControl, number, plural, probabilityText, shortProbability } from "./format.js";
import {
  CellFilter,
  HEADING_HEIGHT,
  TILE_HEIGHT,
  TILE_WIDTH,
  layOutRows,
  rowsBetween,
} from "./gallery_layout.js";
import { CALLS, MARKS } from "./report.js";

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./store.js").ReviewStore} ReviewStore */
/** @typedef {import("./pictures.js").Painter} Painter */
/** @typedef {import("./gallery_layout.js").Row} Row */

const TILE_PICTURE = 102;

/** @param {string} call */
const shortCall = (call) => (call === "leukocyte" ? "leuk." : call);

export class Gallery {
  /**
   * @param {Report} report
   * @param {ReviewStore} store
   * @param {Painter} painter
   * @param {(cell: number | null) => void} onSelect called with the selected cell
   */
  constructor(report, store, painter, onSelect) {
    this.report = report;
    this.store = store;
    this.painter = painter;
    this.onSelect = onSelect;
    this.cellFilter = new CellFilter(report, store);
    /** @type {number | null} */
    this.selected = null;
    /** @type {number[]} cells that match the filters */
    this.matching = [];
    /** @type {number[]} cells in the rows, without folded clusters */
    this.listed = [];
    /** @type {Row[]} */
    this.rows = [];
    /** @type {Map<number, HTMLElement[]>} elements in the document, by row */
    this.elements = new Map();
    /** @type {Map<number, number>} place in `listed`, by cell */
    this.places = new Map();
    this.across = 1;
    this.unfolded = false;
    /** @type {HTMLElement} */
    this.scroller = byId("scroller");
    /** @type {HTMLElement} */
    this.canvas = byId("canvas");
    /** @type {HTMLFormElement} */
    this.form = byId("filters");
  }

  start() {
    this.fillForm();
    this.form.addEventListener("input", () => this.filter());
    this.form.addEventListener("reset", () => setTimeout(() => this.filter()));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.scroller.addEventListener("scroll", () => this.fill(), { passive: true });
    this.canvas.addEventListener("click", (event) => {
      const tile = /** @type {Element} */ (event.target).closest(".tile");
      if (tile instanceof HTMLElement) this.select(Number(tile.dataset.cell));
    });
    const paper = window.matchMedia("print"); // which shows the rows that are on the screen
    new ResizeObserver(() => {
      if (!paper.matches) this.layOut();
    }).observe(this.scroller);
    this.filter();
  }

  fillForm() {
    /** @type {(name: string, options: string[][]) => void} */
    const fill = (name, options) => {
      const all = [["", "all"], ...options];
      this.field(name).append(...all.map(([value, text]) => element("option", { value }, text)));
    };
    const { cells, data } = this.report;
    const reasons = [...(cells.cluster.some(Boolean) ? ["cluster"] : []), ...data.reasons];
    fill(
      "call",
      CALLS.map((call) => [call, `${MARKS[call]} ${call}`]),
    );
    fill(
      "sample",
      data.samples.map((name, i) => [String(i), name]),
    );
    fill(
      "reason",
      reasons.map((code) => [code, code]),
    );
    fill("reviewed", [
      ["no", "not yet"],
      ["yes", "by me"],
      ["differs", "different from the model"],
      ["before", "earlier"],
    ]);
  }

  /**
   * @param {string} name
   * @returns {any} field of the filter form
   */
  field(name) {
    return this.form.elements.namedItem(name);
  }

  /**
   * Reset the filters to the given values.
   *
   * @param {Record<string, string>} filters
   */
  setFilters(filters) {
    this.form.reset();
    for (const [name, value] of Object.entries(filters)) this.field(name).value = value;
    this.filter();
  }

  /** Apply the form's filters. */
  filter() {
    const { count } = this.report;
    this.matching = this.cellFilter.matches(Object.fromEntries(new FormData(this.form)));
    const all = plural(count, "cell");
    const some = this.matching.length;
    byId("match-count").textContent = some === count ? all : `${number(some)} of ${all}`;
    if (this.selected === null || !this.matching.includes(this.selected)) {
      this.selected = this.matching[0] ?? null;
    }
    this.scroller.scrollTop = 0;
    this.layOut();
    this.onSelect(this.selected);
  }

  /** Break the cells into rows for the present width. */
  layOut() {
    const width = this.scroller.clientWidth;
    if (!width) return;
    this.across = Math.max(1, Math.floor((width - 8) / TILE_WIDTH));
    const isCluster = (/** @type {number} */ cell) => Boolean(this.report.cells.cluster[cell]);
    const layout = layOutRows(this.matching, isCluster, this.across, this.unfolded);
    this.rows = layout.rows;
    this.listed = layout.listed;
    this.places = new Map(this.listed.map((cell, i) => [cell, i]));
    this.canvas.style.height = `${layout.height}px`;
    this.elements.clear();
    this.canvas.replaceChildren();
    this.fill();
  }

  /** Insert the rows in view into the document, and remove the others. */
  fill() {
    const { scrollTop, clientHeight } = this.scroller;
    const from = scrollTop - TILE_HEIGHT;
    const visible = rowsBetween(this.rows, from, scrollTop + clientHeight + TILE_HEIGHT);
    for (const [index, elements] of this.elements) {
      if (visible.has(index)) continue;
      elements.forEach((node) => node.remove());
      this.elements.delete(index);
    }
    for (const index of visible) {
      if (!this.elements.has(index)) this.elements.set(index, this.insertRow(this.rows[index]));
    }
    this.markSelected();
  }

  /** @param {Row} row */
  insertRow(row) {
    const { cells, top } = row;
    const elements = cells ? cells.map((cell) => this.tile(cell)) : [this.heading(row)];
    elements.forEach((node, column) => {
      node.style.top = `${top + 4}px`;
      node.style.order = String(top); // for print
      if (cells) node.style.left = `${8 + column * TILE_WIDTH}px`;
    });
    this.canvas.append(...elements);
    return elements;
  }

  /** @param {Row} row */
  heading({ text = "", more }) {
    const unfold = () => {
      this.unfolded = !this.unfolded;
      this.layOut();
    };
    const button = more ? element("button", { type: "button", onclick: unfold }, more) : null;
    const properties = { className: "heading", role: "presentation" };
    return element("div", properties, element("h2", {}, text), button);
  }

  /** @param {number} cell */
  tile(cell) {
    const canvas = element("canvas");
    const properties = { className: "tile", role: "option", id: `cell-${cell}` };
    const tile = element("div", properties, canvas);
    tile.dataset.cell = String(cell);
    if (this.report.hasImage(cell)) void this.painter.paintTile(canvas, cell, TILE_PICTURE);
    this.labelTile(tile, cell);
    return tile;
  }

  /**
   * @param {HTMLElement} tile
   * @param {number} cell
   */
  labelTile(tile, cell) {
    const { report } = this;
    const call = report.callOf(cell);
    const probability = report.cells.probability[cell];
    while (tile.childNodes.length > 1) tile.lastChild?.remove();
    const caption = `${MARKS[call]} ${shortCall(call)} ${shortProbability(probability)}`;
    tile.append(element("span", { className: `call ${call}` }, caption));
    const entry = this.store.entry(cell);
    const review = entry ?? report.earlierReviewsOf(cell).at(-1);
    if (review) {
      const className = review.call === call ? "" : "differs";
      const mark = entry ? "✓" : "earlier:";
      tile.append(element("b", { className }, `${mark} ${shortCall(review.call)}`));
    }
    const properties = [
      `${call} ${probabilityText(probability)}`,
      report.cells.cluster[cell] ? "cluster" : "",
      ...report.reasonsOf(cell),
      entry ? `reviewed: ${entry.call}` : "",
    ];
    const name = `cell ${report.cells.cell[cell]} of ${report.sampleOf(cell)}`;
    const label = escapeControl(`${name}: ${properties.filter(Boolean).join(", ")}`);
    tile.setAttribute("aria-label", label);
    tile.title = label;
  }

  /** @returns {NodeListOf<HTMLElement>} tiles in the document */
  tiles() {
    return this.canvas.querySelectorAll(".tile");
  }

  markSelected() {
    for (const tile of this.tiles()) {
      const isSelected = Number(tile.dataset.cell) === this.selected;
      tile.setAttribute("aria-selected", String(isSelected));
    }
    const id = `cell-${this.selected}`;
    if (byId(id)) this.scroller.setAttribute("aria-activedescendant", id);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  /** Update the labels of the tiles in the document. */
  relabel() {
    for (const tile of this.tiles()) this.labelTile(tile, Number(tile.dataset.cell));
  }

  /** @param {number} cell */
  select(cell) {
    this.selected = cell;
    const index = this.rows.findIndex((row) => row.cells?.includes(cell));
    if (index >= 0) this.scrollTo(index);
    this.fill();
    this.onSelect(cell);
  }

  /** @param {number} index of the row */
  scrollTo(index) {
    const { top, height } = this.rows[index];
    const below = top + height - this.scroller.clientHeight;
    if (this.scroller.scrollTop > top) {
      this.scroller.scrollTop = top - (index === 1 ? HEADING_HEIGHT : 0); // with the first heading
    } else if (this.scroller.scrollTop < below) this.scroller.scrollTop = below;
  }

  /**
   * Move the selection by a number of cells.
   *
   * @param {number} step
   */
  move(step) {
    if (!this.listed.length) return;
    const place = this.selected === null ? 0 : (this.places.get(this.selected) ?? 0);
    this.select(this.listed[Math.max(0, Math.min(this.listed.length - 1, place + step))]);
  }
}
