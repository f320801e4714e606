// The page: views, keys and decisions.

import { CellView } from "./cell_view.js";
import { askReviewer, askWhetherInFile, connectDialogs } from "./dialogs.js";
import { byId } from "./dom.js";
import { escapeControl, number, plural } from "./format.js";
import { Gallery } from "./gallery.js";
import { Painter } from "./pictures.js";
import { Report } from "./report.js";
import { ReviewQueue } from "./review_queue.js";
import { ReviewView } from "./review_view.js";
import { showStatus } from "./status.js";
import { ReviewStore } from "./store.js";
import { showSummary } from "./summary.js";
import { loadCorrections, saveCorrections, showCorrections } from "./transfer.js";

/** @typedef {import("./report.js").ReportData} ReportData */
/** @typedef {import("./report.js").ReviewCall} ReviewCall */

const VIEWS = ["summary", "gallery", "review"];

export class App {
  /** @param {ReportData} data */
  constructor(data) {
    this.report = new Report(data);
    this.store = new ReviewStore(this.report, () => window.localStorage);
    this.view = "summary";
    this.narrow = window.matchMedia("(max-width: 52rem)");
    const painter = new Painter(this.report);
    this.cellView = new CellView(this.report, this.store, painter, {
      decide: (call) => void this.decide(call),
      undo: () => this.undo(),
      redraw: () => this.redraw(),
    });
    this.gallery = new Gallery(this.report, this.store, painter, () => this.showDetail());
    this.queue = new ReviewQueue(this.report, this.store);
    this.reviewView = new ReviewView(this.report, this.queue, this.cellView, this.narrow);
    this.keys = this.anywhereKeys();
    this.viewKeys = this.keysByView();
  }

  start() {
    this.listen();
    this.store.read();
    this.store.listeners.push(() => this.refresh());
    showSummary(this.report, {
      showCells: (filters) => {
        this.gallery.setFilters(filters);
        this.go("gallery");
      },
      startReview: () => this.go("review"),
    });
    this.gallery.start();
    this.queue.start();
    connectDialogs();
    byId("sandboxed").hidden = !isSandboxed();
    byId("loading").remove();
    this.refresh();
    this.go(location.hash.slice(1));
  }

  listen() {
    document.addEventListener("keydown", (event) => this.onKey(event));
    // A second tab with the same report must not overwrite the reviews of this one.
    window.addEventListener("storage", (event) => {
      if (event.key !== this.store.name) return;
      this.store.read();
      this.refresh();
      this.redraw();
    });
    window.addEventListener("beforeunload", (event) => {
      // Whether a file has arrived in the downloads folder is not known here.
      const { persistent, count } = this.store;
      if (!persistent && count) event.preventDefault();
    });
    window.addEventListener("hashchange", () => this.go(location.hash.slice(1)));
    /** @type {(id: string, action: () => void) => void} */
    const onClick = (id, action) => byId(id).addEventListener("click", action);
    const file = byId("file");
    onClick("save", () => saveCorrections(this.report, this.store));
    onClick("load", () => file.click());
    file.addEventListener("change", async () => {
      if (!file.files[0]) return;
      await this.load(file.files[0]);
      file.value = "";
    });
    onClick("reader", () => void this.changeReader());
    onClick("keys", () => byId("help").showModal());
    onClick("copy", () => showCorrections(this.report, this.store));
    for (const button of this.viewButtons()) {
      button.addEventListener("click", () => this.go(button.dataset.view));
    }
  }

  /** @returns {NodeListOf<HTMLElement>} */
  viewButtons() {
    return document.querySelectorAll("[data-view]");
  }

  /**
   * Show a view; the summary where there is no such view.
   *
   * @param {string} [name]
   */
  go(name = "") {
    this.view = VIEWS.includes(name) ? name : "summary";
    for (const view of VIEWS) byId(view).hidden = view !== this.view;
    for (const button of this.viewButtons()) {
      if (button.dataset.view === this.view) button.setAttribute("aria-current", "page");
      else button.removeAttribute("aria-current");
    }
    if (location.hash !== `#${this.view}`) {
      try {
        history.replaceState(null, "", `#${this.view}`);
      } catch {
        // a preview whose address cannot be changed
      }
    }
    if (this.view === "gallery") {
      this.gallery.layOut();
      this.gallery.scroller.focus({ preventScroll: true });
    }
    this.redraw();
  }

  /** Show the current cell again. */
  redraw() {
    if (this.view === "gallery") this.showDetail();
    if (this.view === "review") this.reviewView.show();
  }

  /** Show the selected cell beside the gallery. */
  showDetail() {
    const box = byId("detail");
    const cell = this.gallery.selected;
    box.className = "cell";
    if (cell === null || byId("gallery").hidden) {
      box.replaceChildren();
      return;
    }
    const sizes = this.narrow.matches
      ? { side: 150, small: 90, columns: 2 }
      : { side: 260, small: 116, columns: 3 };
    this.cellView.show(box, cell, sizes, false);
  }

  /** Update the header and the gallery's labels after a change of the reviews. */
  refresh() {
    const { count, unsaved, reviewer, persistent } = this.store;
    let state = `${number(count)} reviewed`;
    if (!persistent) state += ", only on this page";
    if (unsaved) state += ", not saved to a file yet";
    byId("progress").textContent = count ? state : "";
    byId("save").disabled = !count;
    const reader = byId("reader");
    reader.hidden = !reviewer;
    reader.textContent = escapeControl(`Reader: ${reviewer}`);
    byId("storage").hidden = persistent;
    this.gallery.relabel();
  }

  /** @returns {number | null} the cell that keys act on */
  currentCell() {
    if (this.view === "gallery") return this.gallery.selected;
    return this.view === "review" ? this.queue.cell : null;
  }

  /** @param {ReviewCall} call */
  async decide(call) {
    const cell = this.currentCell();
    if (cell === null) return;
    if (!this.report.hasImage(cell)) {
      showStatus("This cell cannot be reviewed: its image is not the one that was classified.");
      return;
    }
    if (!(await this.ensureReviewer())) return;
    const before = this.store.entry(cell);
    this.store.put(cell, {
      call,
      from: this.report.callOf(cell),
      model: this.report.modelHashOf(cell),
      note: before ? before.note : "",
      time: new Date().toISOString(),
      channels: this.cellView.channelsShown(cell),
      blinded: this.view === "review" && !this.store.isRevealed(cell),
    });
    showStatus(`Cell ${this.report.cells.cell[cell]}: ${call}`);
    if (this.view === "gallery") this.gallery.move(1);
    else {
      if (!before) this.queue.nextOpen();
      this.redraw();
    }
  }

  undo() {
    const cell = this.store.undo();
    if (cell === null) {
      showStatus("Nothing to undo.");
      return;
    }
    showStatus(`Undone: cell ${this.report.cells.cell[cell]}`);
    if (this.view === "gallery") this.gallery.select(cell);
    if (this.view === "review") {
      this.queue.goTo(cell);
      this.redraw();
    }
  }

  deleteReview() {
    const cell = this.currentCell();
    if (cell === null || !this.store.entry(cell)) return;
    this.store.put(cell, null);
    showStatus(`Cell ${this.report.cells.cell[cell]}: review deleted`);
    this.redraw();
  }

  /**
   * Ask for the reviewer's name unless it is known.
   *
   * @returns {Promise<boolean>} whether it is known now
   */
  async ensureReviewer() {
    if (!this.store.reviewer) {
      this.store.reviewer = await askReviewer();
      this.store.keep();
    }
    return Boolean(this.store.reviewer);
  }

  /** Start with another person, who sees no earlier decisions. */
  async changeReader() {
    if (this.store.unsaved && this.store.count) {
      showStatus("Save the corrections first: another reader starts with none.");
      return;
    }
    if (this.store.count) {
      const text =
        `${plural(this.store.count, "correction")} by ${this.store.reviewer} will be deleted from` +
        " this page. They were handed to the browser as a file, but the page cannot see whether" +
        " the browser saved it. Look for it in your downloads folder first.";
      if (!(await askWhetherInFile(text))) return;
    }
    const name = await askReviewer();
    if (!name || name === this.store.reviewer) return;
    this.store.begin(name);
    this.queue.start();
    this.redraw();
  }

  /** @param {File} file saved corrections */
  async load(file) {
    if (!(await loadCorrections(file, this.report, this.store))) return;
    this.queue.start();
    this.redraw();
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const modified = event.ctrlKey || event.metaKey || event.altKey;
    if (modified || document.querySelector("dialog[open]")) return;
    const key = event.key.toLowerCase();
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.matches("textarea, select, input:not([type=checkbox])")) {
      if (key === "escape") target.blur();
      return;
    }
    const action = this.viewKeys[this.view][key] || this.keys[key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** @returns {Record<string, () => void>} */
  anywhereKeys() {
    return {
      c: () => void this.decide("CTC"),
      l: () => void this.decide("leukocyte"),
      r: () => void this.decide("unsure"),
      u: () => this.undo(),
      delete: () => this.deleteReview(),
      n: () => {
        const box = this.view === "gallery" ? "detail" : "review";
        byId(box).querySelector("textarea:enabled")?.focus();
      },
      b: () => this.cellView.toggle("otherChannels"),
      o: () => this.cellView.toggle("activation"),
      s: () => saveCorrections(this.report, this.store),
      "?": () => byId("help").showModal(),
    };
  }

  /** @returns {Record<string, Record<string, () => void>>} */
  keysByView() {
    const { gallery, report } = this;
    /** @param {number} step */
    const moveReview = (step) => () => {
      this.queue.move(step);
      this.redraw();
    };
    return {
      gallery: {
        arrowleft: () => gallery.move(-1),
        arrowright: () => gallery.move(1),
        arrowup: () => gallery.move(-gallery.across),
        arrowdown: () => gallery.move(gallery.across),
        home: () => gallery.move(-report.count),
        end: () => gallery.move(report.count),
      },
      review: {
        arrowleft: moveReview(-1),
        arrowright: moveReview(1),
        arrowup: moveReview(-1),
        arrowdown: moveReview(1),
      },
      summary: {},
    };
  }
}

/** Whether the page is a preview of its own origin, which may forbid downloads and storage. */
function isSandboxed() {
  return window.origin === "null" && location.protocol !== "file:";
}
