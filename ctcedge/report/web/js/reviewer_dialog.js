// The dialog that asks for the reviewer's name.

import { byId } from "./dom.js";

/**
 * Ask who reviews.
 *
 * @returns {Promise<string>} the name; empty where the dialog was cancelled
 */
export function askReviewer() {
  const dialog = byId("reviewer-dialog");
  const field = dialog.querySelector("input");
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    const onClose = () => {
      field.blur(); // a closed dialog keeps the focus, and the next key, until the next frame
      resolve(dialog.returnValue === "keep" ? field.value.trim() : "");
    };
    dialog.addEventListener("close", onClose, { once: true });
  });
}
