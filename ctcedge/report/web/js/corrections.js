// The file of corrections that 'ctcedge review import' reads, format ctcedge/corrections/1.

import { CALLS, imageKey } from "./report.js";

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./store.js").ReviewStore} ReviewStore */
/** @typedef {import("./store.js").Entry} Entry */

export const MAX_BYTES = 64 * 1024 * 1024;

const SCHEMA = "ctcedge/corrections/1";
const REVIEW_CALLS = ["CTC", "leukocyte", "unsure"];
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

/** Encodings by their byte-order marks. */
const UTF_16 = new Map([
  ["255,254", "utf-16le"],
  ["254,255", "utf-16be"],
]);

/**
 * The text of a file: UTF-8 or, where its byte-order mark says so, UTF-16, as some editors save it.
 *
 * @param {ArrayBuffer} bytes
 */
export function decodedText(bytes) {
  const [first, second] = new Uint8Array(bytes);
  return new TextDecoder(UTF_16.get(`${first},${second}`) ?? "utf-8").decode(bytes);
}

/**
 * Contents of the file.
 *
 * @param {Report} report
 * @param {ReviewStore} store
 * @param {string} created RFC 3339, UTC
 */
export function correctionsFile(report, store, created) {
  const { cells, data } = report;
  return {
    schema: SCHEMA,
    report_id: data.report_id,
    folder_name: data.folder_name,
    pseudonymised: data.pseudonymised,
    created,
    reviewer: store.reviewer,
    draw: { drawn: data.draw.drawn, leukocytes: data.draw.leukocytes },
    entries: store.valid().map(([cell, entry]) => ({
      path: cells.path[cell],
      sample: report.sampleOf(cell),
      cell: cells.cell[cell],
      image_sha256: cells.sha256[cell],
      model_sha256: entry.model,
      from: entry.from,
      call: entry.call,
      note: entry.note,
      time: entry.time,
      channels: entry.channels,
      blinded: entry.blinded,
      weight: report.weightOf(cell),
    })),
  };
}

/**
 * Read a saved file.
 *
 * @param {string} text
 * @param {Report} report
 * @param {ReviewStore} store
 * @returns {{reviewer: string, loaded: Map<number, Entry>, skipped: number}}
 * @throws {Error} with a message for the person, where the file cannot be loaded
 */
export function readCorrections(text, report, store) {
  const file = parsed(text);
  const { reviewer, entries } = file;
  if (store.count && reviewer !== store.reviewer) {
    throw new Error(
      `This file is by ${reviewer}, but the corrections on this page are by ${store.reviewer}.` +
        " Each reader saves one file; 'ctcedge review import' accepts both.",
    );
  }
  /** @type {Map<number, Entry>} */
  const loaded = new Map();
  let skipped = 0;
  for (const item of entries) {
    if (!isEntry(item)) throw new Error("The file is damaged: nothing was loaded.");
    const { call, from, note, time, channels, blinded, model_sha256: model } = item;
    const entry = { call, from, model, note, time, channels, blinded };
    const cell = matchingCell(item, report);
    if (cell === undefined) skipped += 1;
    else loaded.set(cell, entry);
  }
  if (!loaded.size) {
    throw new Error("No cell of this file is in this report with the same image, model and call.");
  }
  return { reviewer, loaded, skipped };
}

/**
 * @param {string} text
 * @returns {{reviewer: string, entries: any[]}}
 */
function parsed(text) {
  let file = null;
  try {
    file = JSON.parse(text);
  } catch {
    // reported below
  }
  const valid =
    file?.schema === SCHEMA &&
    Array.isArray(file.entries) &&
    isText(file.reviewer, 200) &&
    file.reviewer.trim();
  if (!valid) throw new Error("This is not a corrections file saved by a report page.");
  return file;
}

/** @param {any} item */
function isEntry(item) {
  return (
    item &&
    REVIEW_CALLS.includes(item.call) &&
    CALLS.includes(item.from) &&
    isText(item.image_sha256, 64) &&
    isText(item.model_sha256, 64) &&
    isText(item.path, 4096) &&
    isText(item.note, 2000) &&
    isText(item.time, 40) &&
    TIME.test(item.time) &&
    typeof item.blinded === "boolean" &&
    Array.isArray(item.channels) &&
    item.channels.length > 0 &&
    item.channels.every((/** @type {unknown} */ name) => isText(name, 200))
  );
}

/**
 * @param {unknown} value
 * @param {number} maxLength
 */
function isText(value, maxLength) {
  return typeof value === "string" && value.length <= maxLength;
}

/**
 * The cell with the entry's image, to which the same model gave the same call.
 *
 * @param {any} item
 * @param {Report} report
 * @returns {number | undefined}
 */
function matchingCell(item, report) {
  const hash = item.image_sha256;
  const candidates = [imageKey(hash, item.path), imageKey(hash)];
  return candidates
    .map((key) => report.cellOfKey.get(key))
    .find(
      (cell) =>
        cell !== undefined &&
        report.cells.sha256[cell] === hash &&
        report.hasImage(cell) &&
        report.modelHashOf(cell) === item.model_sha256 &&
        report.callOf(cell) === item.from,
    );
}
