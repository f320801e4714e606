// Dialogs. Scripts close them: where a page may not send forms, a form in a dialog closes nothing.

import { byId } from "./dom.js";
import { escapeControl } from "./format.js";

/** Let the buttons of all dialogs close them. */
export function connectDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest("button");
      if (button) closeDialog(dialog, button.value);
    });
  }
  const dialog = byId("reviewer-dialog");
  dialog
    .querySelector("input")
    .addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault(); // else the key would press the button that has the focus afterwards
      closeDialog(dialog, "keep");
    });
}

/**
 * Ask who reviews.
 *
 * @returns {Promise<string>} the name; empty where the dialog was cancelled
 */
export async function askReviewer() {
  const field = byId("reviewer-dialog").querySelector("input");
  field.value = "";
  const answer = answered("reviewer-dialog");
  field.focus();
  const name = (await answer) === "keep" ? field.value.trim() : "";
  field.blur(); // a closed dialog keeps the focus, and the next key, until the next frame
  return name;
}

/**
 * Ask whether the corrections of this reader are in a file, because they are about to be deleted.
 *
 * @param {string} text what will be lost otherwise
 * @returns {Promise<boolean>}
 */
export async function askWhetherInFile(text) {
  byId("reader-text").textContent = escapeControl(text);
  return (await answered("reader-dialog")) === "keep";
}

/** @param {string} text shown for copying */
export function showForCopying(text) {
  const field = byId("text-dialog").querySelector("textarea");
  field.value = text;
  void answered("text-dialog");
  field.focus();
  field.select();
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {string} value
 */
function closeDialog(dialog, value) {
  const field = dialog.querySelector("input");
  if (field && value && !field.value.trim()) field.focus();
  else dialog.close(value);
}

/**
 * Open a dialog.
 *
 * @param {string} id
 * @returns {Promise<string>} value of the button that closed it; empty where it was cancelled
 */
function answered(id) {
  const dialog = byId(id);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
