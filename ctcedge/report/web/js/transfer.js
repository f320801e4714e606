// Corrections saved to a download, and loaded from a file.

import { MAX_BYTES, correctionsFile, readCorrections } from "./corrections.js";
import { element } from "./dom.js";
import { plural } from "./format.js";
import { showStatus } from "./status.js";

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./store.js").ReviewStore} ReviewStore */

const URL_LIFETIME_MS = 60000; // of a download

/**
 * Save the corrections as a download.
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
  const content = JSON.stringify(correctionsFile(report, store, created), null, 1);
  const blob = new Blob([`${content}\n`], { type: "application/json" });
  const link = element("a", {
    href: URL.createObjectURL(blob),
    download: `ctcedge-corrections-${created.replace(/[:.]/g, "-")}.json`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), URL_LIFETIME_MS);
  store.unsaved = false;
  store.keep();
  const saved = plural(count, "correction");
  showStatus(`${saved} saved to your downloads. Next: ctcedge review import`);
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
    const { reviewer, loaded, skipped } = readCorrections(await file.text(), report, store);
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
