// Corrections that were saved earlier, or in another browser, back into the page.

const MOST_BYTES = 64 * 1024 * 1024;
const WORDS = ["CTC", "leukocyte", "unsure"];
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

const isText = (value, most) => typeof value === "string" && value.length <= most;

/** An entry of the file as the store keeps it, or null where it is none. */
function loadedEntry(told) {
  const sound = told && WORDS.includes(told.call) && CALLS.includes(told.from)
    && isText(told.image_sha256, 64) && isText(told.model_sha256, 64) && isText(told.path, 4096)
    && isText(told.note, 2000) && isText(told.time, 40) && TIME.test(told.time)
    && typeof told.blinded === "boolean" && Array.isArray(told.channels)
    && told.channels.length > 0 && told.channels.every((name) => isText(name, 200));
  if (!sound) return null;
  const { call, from, note, time, channels, blinded, model_sha256: model } = told;
  return { call, from, model, note, time, channels, blinded };
}

/** The cell that an entry is of: the same image, called the same by the same model. */
function cellOf(told, entry) {
  const same = (cell) => cell !== undefined && cells.sha256[cell] === told.image_sha256
    && canReview(cell) && modelHash(cell) === entry.model && callOf(cell) === entry.from;
  const short = told.image_sha256.slice(0, 20);
  return [cellOfKey.get(`${short} ${told.path}`), cellOfKey.get(short)].find(same);
}

/** Read a saved file; throws an Error that says in plain words what does not fit. */
function readCorrections(text) {
  let file = null;
  try {
    file = JSON.parse(text);
  } catch {
    // told below
  }
  if (file?.schema !== SCHEMA || !Array.isArray(file.entries) || !isText(file.reviewer, 200) || !file.reviewer.trim()) {
    throw new Error("This is no file of corrections that a report page saved.");
  }
  if (store.count() && file.reviewer !== store.reviewer) {
    throw new Error(`These corrections are by ${file.reviewer}, and those here by ${store.reviewer}: each reader saves a file, and 'ctcedge review import' takes both.`);
  }
  const found = new Map();
  let lost = 0;
  for (const told of file.entries) {
    const entry = loadedEntry(told);
    if (!entry) throw new Error("The file is damaged: nothing was loaded.");
    const cell = cellOf(told, entry);
    if (cell === undefined) lost += 1;
    else found.set(cell, entry);
  }
  if (!found.size) throw new Error("No cell of this file is in this report, with the same image, model and call.");
  return { reviewer: file.reviewer, found, lost };
}

async function load(file) {
  if (file.size > MOST_BYTES) return tell("The file is too large to be corrections.");
  try {
    const { reviewer, found, lost } = readCorrections(await file.text());
    store.merge(reviewer, found);
    reviewing.start();
    redraw();
    tell(`${several(found.size, "correction", "corrections")} by ${reviewer} loaded`
      + (lost ? `; ${number(lost)} are of cells that are not here, or that changed since` : ""));
  } catch (error) {
    tell(error.message);
  }
}
