// Decisions of the person at this page: kept in the browser, with undo.

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./report.js").Call} Call */
/** @typedef {import("./report.js").ReviewCall} ReviewCall */

/**
 * @typedef {object} Entry one cell's review
 * @property {ReviewCall} call
 * @property {Call} from the model's call at that time
 * @property {string} model SHA-256 of the model
 * @property {string} note
 * @property {string} time RFC 3339, UTC
 * @property {string[]} channels channels that were shown
 * @property {boolean} blinded whether the model's call had not been shown before
 */

/** Reviews by cell. */
export class ReviewStore {
  /**
   * @param {Report} report
   * @param {() => Storage} storage returns the browser's storage, or throws where it is denied
   */
  constructor(report, storage) {
    this.report = report;
    this.name = `ctcedge/review/${report.data.run_id}`;
    this.reviewer = "";
    /** @type {Map<string, Entry>} entries by cell key, in the order of review */
    this.entries = new Map();
    /** @type {Set<string>} keys of cells whose call has been shown */
    this.revealed = new Set();
    this.unsaved = false;
    this.persistent = true;
    /** @type {(() => void)[]} functions to call after each change */
    this.listeners = [];
    this.storage = storage;
    /** @type {[number, Entry | undefined][]} */
    this.undoSteps = [];
  }

  /** Read what the browser has kept. */
  read() {
    try {
      const storage = this.storage();
      const kept = JSON.parse(storage.getItem(this.name) || "null") || {};
      this.reviewer = String(kept.reviewer || "");
      this.entries = new Map(kept.entries || []);
      this.revealed = new Set(kept.seen || []);
      this.unsaved = Boolean(kept.unsaved);
      storage.setItem(`${this.name}/try`, "1");
      storage.removeItem(`${this.name}/try`);
    } catch (error) {
      const damaged = error instanceof SyntaxError || error instanceof TypeError;
      if (!damaged) this.persistent = false;
    }
  }

  /** Write everything to the browser's storage, and notify the listeners. */
  keep() {
    const kept = {
      reviewer: this.reviewer,
      entries: [...this.entries],
      seen: [...this.revealed],
      unsaved: this.unsaved,
    };
    try {
      this.storage().setItem(this.name, JSON.stringify(kept));
      this.persistent = true;
    } catch {
      this.persistent = false;
    }
    for (const listener of this.listeners) listener();
  }

  /**
   * The cell's review; null where there is none, or the model's call has changed since.
   *
   * @param {number} cell
   * @returns {Entry | null}
   */
  entry(cell) {
    const entry = this.entries.get(this.report.keys[cell]);
    const valid =
      entry &&
      entry.from === this.report.callOf(cell) &&
      entry.model === this.report.modelHashOf(cell);
    return valid ? entry : null;
  }

  /**
   * Replace or delete a cell's review.
   *
   * @param {number} cell
   * @param {Entry | null} entry
   */
  put(cell, entry) {
    const key = this.report.keys[cell];
    this.undoSteps.push([cell, this.entries.get(key)]);
    this.replace(key, entry);
    this.unsaved = true;
    this.keep();
  }

  /**
   * Undo the last change.
   *
   * @returns {number | null} the cell; null where there is nothing to undo
   */
  undo() {
    const step = this.undoSteps.pop();
    if (!step) return null;
    const [cell, before] = step;
    this.replace(this.report.keys[cell], before ?? null);
    this.unsaved = true;
    this.keep();
    return cell;
  }

  /**
   * Delete all reviews and start with another person.
   *
   * @param {string} reviewer
   */
  begin(reviewer) {
    this.reviewer = reviewer;
    this.entries.clear();
    this.revealed.clear();
    this.undoSteps = [];
    this.unsaved = false;
    this.keep();
  }

  /**
   * Add reviews from a file, except where a later one is present. Undo does not reach them.
   *
   * @param {string} reviewer
   * @param {Map<number, Entry>} loaded entries by cell
   */
  merge(reviewer, loaded) {
    this.reviewer = reviewer;
    for (const [cell, entry] of loaded) {
      const present = this.entry(cell);
      if (present && present.time >= entry.time) continue;
      this.replace(this.report.keys[cell], entry);
    }
    this.undoSteps = [];
    this.keep();
  }

  /**
   * Record that the cell's call was shown: a later decision is not blinded.
   *
   * @param {number} cell
   */
  reveal(cell) {
    const key = this.report.keys[cell];
    if (this.revealed.has(key)) return;
    this.revealed.add(key);
    this.keep();
  }

  /** @param {number} cell */
  isRevealed(cell) {
    return this.revealed.has(this.report.keys[cell]);
  }

  /**
   * Valid reviews of cells in this report, in the order of review.
   *
   * @returns {[number, Entry][]}
   */
  valid() {
    /** @type {[number, Entry][]} */
    const valid = [];
    for (const key of this.entries.keys()) {
      const cell = this.report.cellOfKey.get(key);
      const entry = cell === undefined ? null : this.entry(cell);
      if (cell !== undefined && entry) valid.push([cell, entry]);
    }
    return valid;
  }

  /** Number of valid reviews. */
  get count() {
    return this.valid().length;
  }

  /**
   * @param {string} key
   * @param {Entry | null} entry
   */
  replace(key, entry) {
    this.entries.delete(key);
    if (entry) this.entries.set(key, entry);
  }
}
