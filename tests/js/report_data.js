// A small report for the unit tests of the page's modules.

import { CALLS, Report } from "../../ctcedge/report/web/js/report.js";
import { ReviewStore } from "../../ctcedge/report/web/js/store.js";

export const HASHES = { first: "1".repeat(64), second: "2".repeat(64), model: "a".repeat(64) };

/**
 * @param {object[]} rows properties of the cells that differ from the defaults
 * @param {object} [changes] of the report's data
 */
export function reportOf(rows, changes = {}) {
  const cells = {};
  const defaults = (cell) => ({
    path: `S1/${cell}_BF.png`,
    sample: 0,
    cell: String(cell),
    sha256: String(cell).padStart(20, "0").padEnd(64, "f"),
    call: "leukocyte",
    probability: 0.1,
    prior: 0,
    reasons: [],
    cluster: 0,
    model: 0,
    um_per_px: 0.5,
    um_assumed: 0,
    width: 64,
    height: 64,
    ood_p_value: null,
    image: 0,
    strip: null,
    tile_zoom: 1,
  });
  rows.forEach((row, cell) => {
    for (const [name, value] of Object.entries({ ...defaults(cell), ...row })) {
      (cells[name] ??= []).push(name === "call" ? CALLS.indexOf(value) : value);
    }
  });
  return new Report({
    run_id: "run",
    report_id: "b".repeat(64),
    folder_name: "folder",
    pseudonymised: false,
    decisions: [{ review: 0.4, ctc: 0.6 }],
    samples: ["S1", "S2"],
    reasons: ["debris", "near-threshold"],
    models: [{ name: "by-hand", version: "1", sha256: HASHES.model }],
    priors: [{ value: 0.5, text: "1 in 2" }],
    images: ["", "The image changed."],
    reviews: {},
    list: [],
    draw: { cells: [], drawn: 0, leukocytes: 0, text: "" },
    strips: [],
    cells,
    ...changes,
  });
}

/** A browser's storage. */
export class FakeStorage {
  constructor() {
    this.items = new Map();
  }

  getItem(name) {
    return this.items.get(name) ?? null;
  }

  setItem(name, value) {
    this.items.set(name, value);
  }

  removeItem(name) {
    this.items.delete(name);
  }
}

export const storeOf = (report, storage = new FakeStorage()) =>
  new ReviewStore(report, () => storage);

/** A valid entry of the store. */
export const entryOf = (report, cell, call, changes = {}) => ({
  call,
  from: report.callOf(cell),
  model: report.modelHashOf(cell),
  note: "",
  time: "2026-11-24T01:00:00.000Z",
  channels: ["BF"],
  blinded: true,
  ...changes,
});
