// Messages at the bottom of the page.

import { byId } from "./dom.js";
import { escapeControl } from "./format.js";

const MIN_MS = 3000;
const MS_PER_LETTER = 60;

let timer = 0;

/**
 * Show a message for some seconds.
 *
 * @param {string} text
 */
export function showStatus(text) {
  const status = byId("status");
  status.textContent = escapeControl(text);
  status.classList.add("on");
  clearTimeout(timer);
  const duration = Math.max(MIN_MS, MS_PER_LETTER * text.length);
  timer = window.setTimeout(() => status.classList.remove("on"), duration);
}
