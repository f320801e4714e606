// The place in the review list: candidates, and among them a random draw of cells called leukocyte.

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./store.js").ReviewStore} ReviewStore */

export class ReviewQueue {
  /**
   * @param {Report} report
   * @param {ReviewStore} store
   */
  constructor(report, store) {
    this.cells = report.data.list;
    this.store = store;
    this.position = 0;
  }

  /** The current cell; null where the list is empty. */
  get cell() {
    return this.cells[this.position] ?? null;
  }

  /** The cell after the current one, if there is one. */
  get following() {
    return this.cells[this.position + 1];
  }

  /** Number of reviewed cells. */
  get done() {
    return this.cells.filter((cell) => this.store.entry(cell)).length;
  }

  /** Go to the first cell without a review. */
  start() {
    this.position = Math.max(
      0,
      this.cells.findIndex((cell) => !this.store.entry(cell)),
    );
  }

  /** @param {number} step */
  move(step) {
    this.position = Math.max(0, Math.min(this.cells.length - 1, this.position + step));
  }

  /** Go to the next cell without a review, from the start again after the last cell. */
  nextOpen() {
    for (let step = 1; step <= this.cells.length; step += 1) {
      const position = (this.position + step) % this.cells.length;
      if (this.store.entry(this.cells[position])) continue;
      this.position = position;
      return;
    }
  }

  /**
   * Go to a cell, if it is in the list.
   *
   * @param {number} cell
   */
  goTo(cell) {
    const position = this.cells.indexOf(cell);
    if (position >= 0) this.position = position;
  }
}
