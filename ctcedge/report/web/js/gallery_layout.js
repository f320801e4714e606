// Which cells the gallery shows, and in which rows.

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./store.js").ReviewStore} ReviewStore */

import { number } from "./format.js";

/**
 * @typedef {object} Filters values of the filter form; an empty value matches all cells
 * @property {string} [call]
 * @property {string} [sample] index of the sample
 * @property {string} [reason] a reason's code, or "cluster"
 * @property {string} [reviewed] "no", "yes", "differs" or "before"
 * @property {string} [text]
 */

/**
 * @typedef {object} Row
 * @property {number} top
 * @property {number} height
 * @property {number[]} [cells] the cells of a row of tiles
 * @property {string} [text] text of a heading
 * @property {string | null} [more] label of the heading's button
 */

/** @typedef {Omit<Row, "top">} UnplacedRow */

export const TILE_WIDTH = 120;
export const TILE_HEIGHT = 142;
export const HEADING_HEIGHT = 38;
export const FOLDED_CLUSTERS = 48; // clusters shown above the single cells while folded

/** Finds the cells that match the filters. */
export class CellFilter {
  /**
   * @param {Report} report
   * @param {ReviewStore} store
   */
  constructor(report, store) {
    this.report = report;
    this.store = store;
    /** @type {string[] | null} */
    this.searchTexts = null;
  }

  /**
   * @param {Filters} filters
   * @returns {number[]}
   */
  matches(filters) {
    const text = (filters.text ?? "").trim().toLowerCase();
    const matching = [];
    for (let cell = 0; cell < this.report.count; cell += 1) {
      if (this.matchesCell(cell, filters) && (!text || this.containsText(cell, text))) {
        matching.push(cell);
      }
    }
    return matching;
  }

  /**
   * @param {number} cell
   * @param {Filters} filters
   */
  matchesCell(cell, { call, sample, reason, reviewed }) {
    return (
      (!call || this.report.callOf(cell) === call) &&
      (!sample || this.report.cells.sample[cell] === Number(sample)) &&
      (!reason || this.hasReason(cell, reason)) &&
      (!reviewed || this.isReviewed(cell, reviewed))
    );
  }

  /**
   * @param {number} cell
   * @param {string} reason
   */
  hasReason(cell, reason) {
    if (reason === "cluster") return Boolean(this.report.cells.cluster[cell]);
    return this.report.reasonsOf(cell).includes(reason);
  }

  /**
   * @param {number} cell
   * @param {string} which
   */
  isReviewed(cell, which) {
    const entry = this.store.entry(cell);
    if (which === "before") return this.report.earlierReviewsOf(cell).length > 0;
    if (which === "no") return !entry;
    return entry !== null && (which === "yes" || entry.call !== this.report.callOf(cell));
  }

  /**
   * @param {number} cell
   * @param {string} text in lower case
   */
  containsText(cell, text) {
    const { path, cell: names, sha256 } = this.report.cells;
    this.searchTexts ??= path.map((value, i) =>
      [value, this.report.sampleOf(i), names[i], sha256[i]].join("\n").toLowerCase(),
    );
    const note = this.store.entry(cell)?.note ?? "";
    return this.searchTexts[cell].includes(text) || note.toLowerCase().includes(text);
  }
}

/**
 * Break cells into rows: clusters, then single cells, each under a heading.
 *
 * @param {number[]} cells in the gallery's order, clusters first
 * @param {(cell: number) => boolean} isCluster
 * @param {number} across tiles per row
 * @param {boolean} unfolded whether to show all clusters
 * @returns {{rows: Row[], listed: number[], height: number}} `listed` are the cells in the rows
 */
export function layOutRows(cells, isCluster, across, unfolded) {
  const firstSingle = cells.findIndex((cell) => !isCluster(cell));
  const clusters = firstSingle < 0 ? cells : cells.slice(0, firstSingle);
  const singles = firstSingle < 0 ? [] : cells.slice(firstSingle);
  const many = clusters.length > FOLDED_CLUSTERS;
  const folded = !unfolded && singles.length > 0 && many;
  /** @type {number[]} */
  const listed = [];
  /** @type {UnplacedRow[]} */
  const rows = [];
  /** @param {number[]} group */
  const addTiles = (group) => {
    for (let i = 0; i < group.length; i += across) {
      rows.push({ height: TILE_HEIGHT, cells: group.slice(i, i + across) });
    }
    for (const cell of group) listed.push(cell);
  };
  if (clusters.length) {
    const more = folded ? `show all ${number(clusters.length)}` : "show fewer";
    rows.push({
      height: HEADING_HEIGHT,
      text: `Clusters of touching cells: ${number(clusters.length)}`,
      more: folded || (unfolded && many) ? more : null,
    });
    addTiles(folded ? clusters.slice(0, FOLDED_CLUSTERS) : clusters);
  }
  if (singles.length) {
    const text = `Single cells: ${number(singles.length)}`;
    rows.push({ height: HEADING_HEIGHT, text, more: null });
    addTiles(singles);
  }
  if (!cells.length) {
    rows.push({ height: HEADING_HEIGHT, text: "No cells match these filters.", more: null });
  }
  return { ...placed(rows), listed };
}

/**
 * @param {UnplacedRow[]} rows
 * @returns {{rows: Row[], height: number}}
 */
function placed(rows) {
  let height = 0;
  const withTops = rows.map((row) => {
    const top = height;
    height += row.height;
    return { ...row, top };
  });
  return { rows: withTops, height };
}

/**
 * Indices of the rows that overlap a range of heights.
 *
 * @param {Row[]} rows
 * @param {number} from
 * @param {number} to
 * @returns {Set<number>}
 */
export function rowsBetween(rows, from, to) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height < from) low = middle + 1;
    else high = middle;
  }
  const visible = new Set();
  for (let i = low; i < rows.length && rows[i].top < to; i += 1) visible.add(i);
  return visible;
}
