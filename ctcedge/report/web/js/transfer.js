// Corrections handed to the browser as a file, shown as text, and loaded from a file.

import { MAX_BYTES, correctionsFile, decodedText, readCorrections } from "./corrections.js";
import { showForCopying } from "./dialogs.js";
import { element } from "./dom.js";
import { plural } from "./format.js";
import { showStatus } from "./status.js";

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./store.js").ReviewStore} ReviewStore */

const URL_LIFETIME_MS = 60000; // of a download

/**
 * Hand the corrections to the browser as a file. A page cannot see whether the browser saves it.
 *
 * @param {Report} report
 * @param {ReviewStore} store
 */
export function saveCorrections(report, store) {
  const { count } = store;
  if (!count) {
    showStatus("Nothing to save: no cell is reviewed yet.");
    return;
  }
  const created = new Date().toISOString();
  const blob = new Blob([content(report, store, created)], { type: "application/json" });
  const name = `ctcedge-corrections-${created.replace(/[:.]/g, "-")}.json`;
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), URL_LIFETIME_MS);
  store.unsaved = false;
  store.keep();
  const next = store.persistent
    ? "next: ctcedge review import"
    : "if it is not there, leave this page open and use 'Show the corrections as text'";
  showStatus(
    `${plural(count, "correction")} handed to the browser as ${name}.` +
      ` Look for it in your downloads folder; ${next}`,
  );
}

/**
 * Show the corrections as text, where the browser saves no file.
 *
 * @param {Report} report
 * @param {ReviewStore} store
 */
export function showCorrections(report, store) {
  if (store.count) showForCopying(content(report, store, new Date().toISOString()));
  else showStatus("Nothing to show: no cell is reviewed yet.");
}

/**
 * @param {Report} report
 * @param {ReviewStore} store
 * @param {string} created
 */
function content(report, store, created) {
  return `${JSON.stringify(correctionsFile(report, store, created), null, 1)}\n`;
}

/**
 * Load corrections that were saved earlier, or in another browser.
 *
 * @param {File} file
 * @param {Report} report
 * @param {ReviewStore} store
 * @returns {Promise<boolean>} whether the store has changed
 */
export async function loadCorrections(file, report, store) {
  if (file.size > MAX_BYTES) {
    showStatus("The file is too large to be corrections.");
    return false;
  }
  try {
    const text = decodedText(await file.arrayBuffer());
    const { reviewer, loaded, skipped } = readCorrections(text, report, store);
    store.merge(reviewer, loaded);
    const cells = plural(skipped, "cell is", "cells are");
    const left = skipped ? `; ${cells} not in this report or changed since` : "";
    showStatus(`${plural(loaded.size, "correction")} by ${reviewer} loaded${left}`);
    return true;
  } catch (error) {
    showStatus(error instanceof Error ? error.message : String(error));
    return false;
  }
}
