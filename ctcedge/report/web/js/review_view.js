// The review: one cell of the list at a time, without the model's call until the person has decided.

import { byId, element } from "./dom.js";
import { number } from "./format.js";

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./review_queue.js").ReviewQueue} ReviewQueue */
/** @typedef {import("./cell_view.js").CellView} CellView */

const EMPTY = "No cell to review: none is called CTC or review, and none leukocyte.";
const DONE = "All cells of the list are reviewed. Save the corrections.";

export class ReviewView {
  /**
   * @param {Report} report
   * @param {ReviewQueue} queue
   * @param {CellView} cellView
   * @param {MediaQueryList} narrow
   */
  constructor(report, queue, cellView, narrow) {
    this.report = report;
    this.queue = queue;
    this.cellView = cellView;
    this.narrow = narrow;
    /** @type {HTMLElement} */
    this.box = byId("review");
  }

  show() {
    const { cell, done } = this.queue;
    if (cell === null) {
      const text = element("p", {}, EMPTY);
      this.box.replaceChildren(element("div", { className: "reviewing" }, text));
      return;
    }
    const isDone = done === this.queue.cells.length;
    const cellBox = element("div", { className: "cell" });
    const page = element(
      "div",
      { className: "reviewing" },
      this.navigation(done),
      cellBox,
      isDone ? element("p", { className: "banner" }, DONE) : null,
      element("p", { className: "muted" }, this.report.data.draw.text),
    );
    this.box.replaceChildren(page);
    this.cellView.show(cellBox, cell, this.sizes(cell), true);
    this.cellView.painter.prefetch(this.queue.following);
  }

  /** @param {number} done */
  navigation(done) {
    const { position, cells } = this.queue;
    const total = cells.length;
    /** @type {(text: string, disabled: boolean, go: () => void) => HTMLElement} */
    const button = (text, disabled, go) => {
      const onclick = () => {
        go();
        this.show();
      };
      return element("button", { type: "button", disabled, onclick }, text);
    };
    return element(
      "div",
      { className: "position" },
      element("strong", {}, `Cell ${number(position + 1)} of ${number(total)}`),
      element("progress", { max: total, value: done, "aria-label": "reviewed" }),
      element("span", { className: "muted" }, `${number(done)} reviewed`),
      button("← back", position === 0, () => this.queue.move(-1)),
      button("next →", position === total - 1, () => this.queue.move(1)),
      button("next open", done === total, () => this.queue.nextOpen()),
    );
  }

  /** @param {number} cell */
  sizes(cell) {
    if (this.narrow.matches) return { side: 240, small: 100, columns: 1 };
    const side = this.side(cell);
    return { side, small: Math.floor((side - 34) / 2), columns: 2 };
  }

  /**
   * Side of bright field: as large as the other channels and the text permit.
   *
   * @param {number} cell
   */
  side(cell) {
    const others = this.cellView.channelsShown(cell).length - 1;
    const parts = others > 1 ? 2 : others ? 1.5 : 1;
    const width = (Math.min(this.box.clientWidth, 1600) - 340) / parts;
    return Math.floor(Math.max(240, Math.min(width, this.box.clientHeight - 130, 640)));
  }
}
