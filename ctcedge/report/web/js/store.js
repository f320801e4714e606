// What a person has decided: kept in this browser, undone step by step, saved as a file.

const SCHEMA = "ctcedge/corrections/1";
const STORE = `ctcedge/review/${report.run_id}`;

/** Cells are told apart by image, and by path too where two crops hold the very same image. */
const keys = (() => {
  const seen = new Map();
  cells.sha256.forEach((hash) => seen.set(hash, (seen.get(hash) || 0) + 1));
  return cells.sha256.map((hash, cell) =>
    seen.get(hash) > 1 ? `${hash.slice(0, 20)} ${cells.path[cell]}` : hash.slice(0, 20));
})();
const cellOfKey = new Map(keys.map((key, cell) => [key, cell]));

const store = {
  reviewer: "",
  entries: new Map(), // by key, in the order of review
  seen: new Set(), // keys of cells whose call was shown in full
  unsaved: false,
  lasting: true,
  done: [], // what undo takes back
  listeners: [],

  read() {
    try {
      const kept = JSON.parse(localStorage.getItem(STORE)) || {};
      this.reviewer = String(kept.reviewer || "");
      this.entries = new Map(kept.entries || []);
      this.seen = new Set(kept.seen || []);
      this.unsaved = Boolean(kept.unsaved);
      localStorage.setItem(`${STORE}/try`, "1");
      localStorage.removeItem(`${STORE}/try`);
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof TypeError)) this.lasting = false;
    }
  },

  keep() {
    try {
      localStorage.setItem(STORE, JSON.stringify({
        reviewer: this.reviewer,
        entries: [...this.entries],
        seen: [...this.seen],
        unsaved: this.unsaved,
      }));
      this.lasting = true;
    } catch {
      this.lasting = false;
    }
    this.listeners.forEach((listener) => listener());
  },

  entry(cell) {
    const entry = this.entries.get(keys[cell]);
    return entry && entry.from === callOf(cell) && entry.model === modelHash(cell) ? entry : null;
  },

  /** Put another entry, or none, in a cell's place. */
  put(cell, entry) {
    const key = keys[cell];
    this.done.push([cell, this.entries.get(key)]);
    this.entries.delete(key);
    if (entry) this.entries.set(key, entry);
    this.unsaved = true;
    this.keep();
  },

  undo() {
    if (!this.done.length) return null;
    const [cell, before] = this.done.pop();
    this.entries.delete(keys[cell]);
    if (before) this.entries.set(keys[cell], before);
    this.unsaved = true;
    this.keep();
    return cell;
  },

  /** Begin with nothing reviewed and nothing seen, for another person. */
  begin(reviewer) {
    this.reviewer = reviewer;
    this.entries.clear();
    this.seen.clear();
    this.done = [];
    this.unsaved = false;
    this.keep();
  },

  /** Take over what a file holds, where it is later than what is here; undo does not reach it. */
  merge(reviewer, found) {
    this.reviewer = reviewer;
    for (const [cell, entry] of found) {
      const here = this.entry(cell);
      if (here && here.time >= entry.time) continue;
      this.entries.delete(keys[cell]);
      this.entries.set(keys[cell], entry);
    }
    this.done = [];
    this.keep();
  },

  /** Note that the call was shown, so that a later decision does not count as blinded. */
  show(cell) {
    if (this.seen.has(keys[cell])) return;
    this.seen.add(keys[cell]);
    this.keep();
  },

  hasSeen(cell) {
    return this.seen.has(keys[cell]);
  },

  count() {
    let found = 0;
    for (const key of this.entries.keys()) {
      const cell = cellOfKey.get(key);
      if (cell !== undefined && this.entry(cell)) found += 1;
    }
    return found;
  },
};

const modelHash = (cell) => report.models[cells.model[cell]].sha256;
const timeNow = () => new Date().toISOString();
const weightOf = (cell) => (drawn.has(cell) ? report.draw.leukocytes / report.draw.drawn : null);
const drawn = new Set(report.draw.cells);

/** The file that 'ctcedge review import' reads. */
function corrections() {
  const entries = [];
  for (const [key, entry] of store.entries) {
    const cell = cellOfKey.get(key);
    if (cell === undefined || store.entry(cell) === null) continue;
    entries.push({
      path: cells.path[cell],
      sample: sampleOf(cell),
      cell: cells.cell[cell],
      image_sha256: cells.sha256[cell],
      model_sha256: entry.model,
      from: entry.from,
      call: entry.call,
      note: entry.note,
      time: entry.time,
      channels: entry.channels,
      blinded: entry.blinded,
      weight: weightOf(cell),
    });
  }
  return {
    schema: SCHEMA,
    report_id: report.report_id,
    folder_name: report.folder_name,
    pseudonymised: report.pseudonymised,
    created: timeNow(),
    reviewer: store.reviewer,
    draw: { drawn: report.draw.drawn, leukocytes: report.draw.leukocytes },
    entries,
  };
}

function save() {
  if (!store.count()) return tell("Nothing to save: no cell is reviewed yet.");
  const text = JSON.stringify(corrections(), null, 1) + "\n";
  const link = make("a", {
    href: URL.createObjectURL(new Blob([text], { type: "application/json" })),
    download: `ctcedge-corrections-${timeNow().replace(/[:.]/g, "-")}.json`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  store.unsaved = false;
  store.keep();
  tell(`${several(store.count(), "correction", "corrections")} saved to your downloads: next, ctcedge review import`);
}

let toldTimer = 0;

/** Say something at the bottom of the page for a moment. */
function tell(text) {
  const place = document.getElementById("told");
  place.textContent = harmless(text);
  place.classList.add("on");
  clearTimeout(toldTimer);
  toldTimer = setTimeout(() => place.classList.remove("on"), Math.max(3000, 60 * text.length));
}
