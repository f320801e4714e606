// One cell: its pictures, the model's call, and the person's decision.

import { element } from "./dom.js";
import { oodText, probabilityText, rareProbabilityText } from "./format.js";
import { MARKS, REASONS } from "./report.js";

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./report.js").Call} Call */
/** @typedef {import("./report.js").ReviewCall} ReviewCall */
/** @typedef {import("./store.js").ReviewStore} ReviewStore */
/** @typedef {import("./store.js").Entry} Entry */
/** @typedef {import("./pictures.js").Painter} Painter */
/** @typedef {import("./pictures.js").PictureSizes} PictureSizes */

/**
 * @typedef {object} CellActions
 * @property {(call: ReviewCall) => void} decide
 * @property {() => void} undo
 * @property {() => void} redraw
 */

const HIDDEN = "The model's call is hidden until you have decided.";

/** @param {Call | ReviewCall} call */
export function callMark(call) {
  return element("span", { className: `call ${call}` }, `${MARKS[call]} ${call}`);
}

/** Shows one cell in a box, with what the person has chosen to see. */
export class CellView {
  /**
   * @param {Report} report
   * @param {ReviewStore} store
   * @param {Painter} painter
   * @param {CellActions} actions
   */
  constructor(report, store, painter, actions) {
    this.report = report;
    this.store = store;
    this.painter = painter;
    this.actions = actions;
    this.options = { otherChannels: true, activation: false };
  }

  /**
   * @param {number} cell
   * @returns {string[]} channels that the person sees
   */
  channelsShown(cell) {
    return this.options.otherChannels ? this.report.channelsOf(cell) : ["BF"];
  }

  /** @param {"otherChannels" | "activation"} option */
  toggle(option) {
    this.options[option] = !this.options[option];
    this.actions.redraw();
  }

  /**
   * @param {HTMLElement} box
   * @param {number} cell
   * @param {PictureSizes} sizes
   * @param {boolean} blinded hide call, probability, reasons and earlier reviews until the cell is
   *   reviewed
   */
  show(box, cell, sizes, blinded) {
    const entry = this.store.entry(cell);
    const hidden = blinded && !entry;
    if (!hidden) this.store.reveal(cell);
    const activation = this.options.activation && !hidden && this.report.hasActivation(cell);
    box.replaceChildren(
      element(
        "div",
        {},
        this.painter.pictures(cell, { ...sizes, ...this.options, activation }),
        this.toggles(cell, hidden),
      ),
      element(
        "div",
        { className: "findings" },
        hidden ? element("p", { className: "verdict muted" }, HIDDEN) : this.verdict(cell),
        this.decisions(cell, entry),
        this.noteField(cell, entry),
        this.properties(cell, hidden),
      ),
    );
  }

  /**
   * @param {number} cell
   * @param {boolean} hidden
   */
  toggles(cell, hidden) {
    /** @type {(option: "otherChannels" | "activation", text: string) => HTMLElement} */
    const toggle = (option, text) => {
      const properties = {
        type: "checkbox",
        checked: this.options[option],
        onchange: () => this.toggle(option),
      };
      return element("label", {}, element("input", properties), ` ${text}`);
    };
    const hasOthers = this.report.channelsOf(cell).length > 1;
    const hasMap = !hidden && this.report.hasActivation(cell);
    return element(
      "div",
      { className: "toggles" },
      hasOthers ? toggle("otherChannels", "other channels (B)") : null,
      hasMap ? toggle("activation", "activation (O): orange for CTC, blue against") : null,
    );
  }

  /** @param {number} cell */
  verdict(cell) {
    const prior = this.report.priorOf(cell);
    const probability = this.report.cells.probability[cell];
    const rare = rareProbabilityText(probability, prior.value);
    const reasons = this.report
      .reasonsOf(cell)
      .map((code) => element("li", {}, REASONS[code] ? `${code}: ${REASONS[code]}` : code));
    const isCluster = Boolean(this.report.cells.cluster[cell]);
    return element(
      "div",
      { className: "verdict" },
      callMark(this.report.callOf(cell)),
      ` probability ${probabilityText(probability)}`,
      element("span", { className: "muted" }, ` if ${prior.text} cells were a CTC${rare}`),
      isCluster ? element("p", {}, "Cluster of touching cells") : null,
      reasons.length ? element("ul", { className: "reasons muted" }, ...reasons) : null,
    );
  }

  /**
   * @param {number} cell
   * @param {Entry | null} entry
   */
  decisions(cell, entry) {
    const disabled = !this.report.hasImage(cell);
    /** @type {(call: ReviewCall, key: string) => HTMLElement} */
    const button = (call, key) => {
      const properties = {
        type: "button",
        "aria-pressed": String(entry?.call === call),
        disabled,
        onclick: () => this.actions.decide(call),
      };
      return element("button", properties, callMark(call), " ", element("kbd", {}, key));
    };
    const undo = {
      type: "button",
      disabled: !this.store.undoSteps.length,
      onclick: () => this.actions.undo(),
    };
    return element(
      "div",
      { className: "decide" },
      button("CTC", "C"),
      button("leukocyte", "L"),
      button("unsure", "R"),
      element("button", undo, "Undo ", element("kbd", {}, "U")),
    );
  }

  /**
   * @param {number} cell
   * @param {Entry | null} entry
   */
  noteField(cell, entry) {
    const field = element("textarea", {
      maxLength: 2000,
      value: entry ? entry.note : "",
      disabled: !entry,
      rows: 2,
      placeholder: entry ? "" : "Decide first, then add a note.",
      onchange: () => {
        const current = this.store.entry(cell);
        if (current && current.note !== field.value) {
          this.store.put(cell, { ...current, note: field.value });
        }
      },
    });
    return element("label", { className: "note" }, "Note (N)", field);
  }

  /**
   * @param {number} cell
   * @param {boolean} hidden
   */
  properties(cell, hidden) {
    const { cells } = this.report;
    const rows = [
      ["sample", this.report.sampleOf(cell)],
      ["cell", cells.cell[cell]],
      ["file", cells.path[cell]],
      ["size", this.sizeText(cell)],
    ];
    if (!hidden) {
      const p = cells.ood_p_value[cell];
      if (p !== null) rows.push(["OOD", oodText(p)]);
      for (const { call, reviewer, time, note } of this.report.earlierReviewsOf(cell)) {
        const text = `${call} by ${reviewer}, ${time.slice(0, 10)}`;
        rows.push(["review", note ? `${text}: ${note}` : text]);
      }
    }
    rows.push(["image", `SHA-256 ${cells.sha256[cell].slice(0, 16)}…`]);
    return element(
      "dl",
      {},
      ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    );
  }

  /** @param {number} cell */
  sizeText(cell) {
    const { cells } = this.report;
    const um = cells.um_per_px[cell];
    const scale = um ? `${um} µm/px${cells.um_assumed[cell] ? " (assumed)" : ""}` : "µm/px unknown";
    return `${cells.width[cell]} × ${cells.height[cell]} px, ${scale}`;
  }
}
