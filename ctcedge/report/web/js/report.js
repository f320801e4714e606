// Contents of the report: one column per property, one row per cell in the gallery's order.

/** @typedef {"CTC" | "review" | "leukocyte"} Call the model's */
/** @typedef {"CTC" | "leukocyte" | "unsure"} ReviewCall a person's */

/**
 * @typedef {object} Columns
 * @property {string[]} path
 * @property {number[]} sample
 * @property {string[]} cell
 * @property {string[]} sha256
 * @property {number[]} call
 * @property {number[]} probability
 * @property {number[]} prior
 * @property {number[][]} reasons
 * @property {number[]} cluster
 * @property {number[]} model
 * @property {(number | null)[]} um_per_px
 * @property {number[]} um_assumed
 * @property {number[]} width
 * @property {number[]} height
 * @property {(number | null)[]} ood_p_value
 * @property {number[]} image state of the image, an index of `images`
 * @property {(number | null)[]} strip
 * @property {number[]} tile_zoom
 */

/**
 * @typedef {object} Strip pictures of one cell side by side in one JPEG
 * @property {number} width
 * @property {number} height
 * @property {number} pitch distance from one picture to the next, pixels
 * @property {string[]} channels
 * @property {{side: number, window: number, values: number[]}} [activation]
 */

/**
 * @typedef {object} Figure
 * @property {string} name
 * @property {string} value
 * @property {string} note
 * @property {Record<string, string>} filter gallery filters that show the cells it counts
 */

/**
 * @typedef {object} SampleRow counts of a sample, or of a patient
 * @property {string} [sample]
 * @property {string | null} patient
 * @property {string | null} [kind]
 * @property {number} [samples]
 * @property {number} cells
 * @property {number} ctc
 * @property {number} review
 * @property {number} leukocyte
 * @property {number} unclassified
 * @property {number} pending
 * @property {number} clusters
 * @property {number} confirmed
 * @property {number} to_review
 * @property {number | null} volume_ml
 * @property {number | null} ctc_per_ml
 * @property {number | null} confirmed_per_ml
 * @property {{expected: number, low: number, high: number} | null} expected_false_positives
 * @property {{state: string, distance: number | null} | null} [domain_shift]
 * @property {number} [shifted_samples]
 */

/**
 * @typedef {object} ReportData content of the page's data block
 * @property {string} run_id
 * @property {string} report_id
 * @property {string} folder_name
 * @property {boolean} pseudonymised
 * @property {string[]} warnings
 * @property {Figure[]} figures
 * @property {[string, string][]} facts
 * @property {{review: number, ctc: number}[]} decisions
 * @property {string[]} samples
 * @property {SampleRow[]} [per_sample]
 * @property {SampleRow[]} [per_patient]
 * @property {string[]} reasons
 * @property {{name: string, version: string, sha256: string}[]} models
 * @property {{value: number, text: string}[]} priors
 * @property {string[]} images
 * @property {Record<string, {call: string, reviewer: string, time: string, note: string}[]>} reviews
 * @property {Columns} cells
 * @property {number[]} list
 * @property {{cells: number[], drawn: number, leukocytes: number, text: string}} draw
 * @property {Strip[]} strips
 * @property {{tile: number, across: number, why_small: string}} pictures
 */

/** @type {Call[]} */
export const CALLS = ["CTC", "review", "leukocyte"];

/** @type {Record<Call | ReviewCall, string>} */
export const MARKS = { CTC: "▲", review: "◆", unsure: "◆", leukocyte: "●" };

/** @type {Record<string, string>} */
export const REASONS = {
  "near-threshold": "the probability is close to the threshold",
  empty: "no cell found",
  "out-of-focus": "out of focus",
  truncated: "the crop's edge cuts the cell",
  debris: "dead cell or debris",
  "under-exposed": "under-exposed",
  "over-exposed": "over-exposed",
  "low-resolution": "too few pixels",
  colour: "in colour: an overlay, or no bright field",
  oversized: "far larger than a cell: a montage, or a wrong um/px",
  "multiple-objects": "another cell is in the crop",
  overlap: "cells overlap",
  "out-of-distribution": "out of distribution: differs from the model's training cells",
};

const IMAGE_SHOWN = 0;
const HASH_DIGITS = 20; // of the image's SHA-256 in a key

/** Read access to the report's contents by cell. */
export class Report {
  /** @param {ReportData} data */
  constructor(data) {
    this.data = data;
    this.cells = data.cells;
    this.count = data.cells.path.length;
    this.drawn = new Set(data.draw.cells);
    this.keys = cellKeys(data.cells);
    this.cellOfKey = new Map(this.keys.map((key, cell) => [key, cell]));
  }

  /**
   * @param {number} cell
   * @returns {Call}
   */
  callOf(cell) {
    return CALLS[this.cells.call[cell]];
  }

  /** @param {number} cell */
  sampleOf(cell) {
    return this.data.samples[this.cells.sample[cell]];
  }

  /** @param {number} cell */
  reasonsOf(cell) {
    return this.cells.reasons[cell].map((index) => this.data.reasons[index]);
  }

  /** @param {number} cell */
  modelHashOf(cell) {
    return this.data.models[this.cells.model[cell]].sha256;
  }

  /** @param {number} cell */
  priorOf(cell) {
    return this.data.priors[this.cells.prior[cell]];
  }

  /**
   * Earlier reviews, from the sidecar.
   *
   * @param {number} cell
   */
  earlierReviewsOf(cell) {
    return this.data.reviews[cell] || [];
  }

  /**
   * The pictures in full size; null where the report contains only the cell's tile.
   *
   * @param {number} cell
   */
  stripOf(cell) {
    const strip = this.cells.strip[cell];
    return strip === null ? null : this.data.strips[strip];
  }

  /** @param {number} cell */
  channelsOf(cell) {
    return this.stripOf(cell)?.channels ?? ["BF"];
  }

  /** @param {number} cell */
  hasActivation(cell) {
    return Boolean(this.stripOf(cell)?.activation);
  }

  /**
   * Whether the report shows the image that the model classified.
   *
   * @param {number} cell
   */
  hasImage(cell) {
    return this.cells.image[cell] === IMAGE_SHOWN;
  }

  /** @param {number} cell */
  imageProblemOf(cell) {
    return this.data.images[this.cells.image[cell]];
  }

  /**
   * Number of cells that a randomly drawn cell represents; null for other cells.
   *
   * @param {number} cell
   */
  weightOf(cell) {
    const { leukocytes, drawn } = this.data.draw;
    return this.drawn.has(cell) ? leukocytes / drawn : null;
  }
}

/**
 * Keys that identify cells across reports: the image, and the path where two crops hold the same
 * image.
 *
 * @param {Columns} cells
 * @returns {string[]}
 */
function cellKeys(cells) {
  /** @type {Map<string, number>} */
  const copies = new Map();
  for (const hash of cells.sha256) copies.set(hash, (copies.get(hash) || 0) + 1);
  return cells.sha256.map((hash, cell) =>
    copies.get(hash) === 1 ? imageKey(hash) : imageKey(hash, cells.path[cell]),
  );
}

/**
 * @param {string} hash
 * @param {string} [path]
 */
export function imageKey(hash, path) {
  const short = hash.slice(0, HASH_DIGITS);
  return path === undefined ? short : `${short} ${path}`;
}
