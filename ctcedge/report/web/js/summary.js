// Warnings, figures, charts and facts.

import { callMark } from "./cell_view.js";
import { byId, element } from "./dom.js";
import { number } from "./format.js";
import { decisionMarks, histogram } from "./histogram.js";
import { CALLS, REASONS } from "./report.js";
import { sampleRows } from "./samples.js";

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./report.js").Figure} Figure */

/**
 * @typedef {object} SummaryActions
 * @property {(filters: Record<string, string>) => void} showCells
 * @property {() => void} startReview
 */

const LONG_VALUE = 14; // letters

/**
 * Number of cells by reason, the most frequent first; clusters count as a reason.
 *
 * @param {Report} report
 * @returns {[string, number][]}
 */
export function reasonCounts(report) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  const add = (/** @type {string} */ code) => counts.set(code, (counts.get(code) || 0) + 1);
  for (let cell = 0; cell < report.count; cell += 1) {
    report.reasonsOf(cell).forEach(add);
    if (report.cells.cluster[cell]) add("cluster");
  }
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/**
 * @param {Report} report
 * @param {SummaryActions} actions
 */
export function showSummary(report, actions) {
  const { warnings, list } = report.data;
  const items = warnings.map((text) => element("li", {}, text));
  const summary = element(
    "div",
    { className: "summary" },
    items.length ? element("ul", { className: "warnings" }, ...items) : null,
    figures(report, actions),
    list.length ? startButton(report, actions) : null,
    sampleRows(report, actions),
    charts(report, actions),
    facts(report),
  );
  byId("summary").append(summary);
}

/**
 * @param {Report} report
 * @param {SummaryActions} actions
 */
function figures(report, actions) {
  /** @param {Figure} figure */
  const box = ({ name, value, note, filter }) => {
    const properties = { type: "button", onclick: () => actions.showCells(filter) };
    const title = Object.keys(filter).length ? element("button", properties, name) : name;
    const className = value.length > LONG_VALUE ? "long" : "";
    const small = note ? element("small", {}, note) : null;
    return element("div", {}, element("dt", {}, title), element("dd", { className }, value, small));
  };
  return element("dl", { className: "figures" }, ...report.data.figures.map(box));
}

/**
 * @param {Report} report
 * @param {SummaryActions} actions
 */
function startButton(report, actions) {
  const properties = { type: "button", onclick: () => actions.startReview() };
  return element(
    "div",
    { className: "start" },
    element("button", properties, "Start the review"),
    element("p", { className: "muted" }, report.data.draw.text),
  );
}

/**
 * @param {Report} report
 * @param {SummaryActions} actions
 */
function charts(report, actions) {
  /** @type {(title: string, ...content: (Node | null)[]) => HTMLElement} */
  const chart = (title, note, ...content) =>
    element("figure", {}, element("figcaption", {}, element("h2", {}, title), note), ...content);
  const why = "Why cells are called review, and clusters of touching cells.";
  return element(
    "div",
    { className: "charts" },
    chart("Probability", null, histogram(report), legend(report)),
    chart("Quality", element("p", { className: "muted" }, why), reasonBars(report, actions)),
  );
}

/** @param {Report} report */
function legend(report) {
  const marks = decisionMarks(report).length;
  const dashed = marks > 1 ? "where review and CTC start" : "where CTC starts";
  return element(
    "p",
    { className: "muted" },
    ...CALLS.flatMap((call) => [callMark(call), "  "]),
    "Counts on a logarithmic scale; probabilities evenly spaced in log-odds.",
    marks ? ` Dashed: ${dashed}.` : "",
  );
}

/**
 * @param {Report} report
 * @param {SummaryActions} actions
 */
function reasonBars(report, actions) {
  const rows = reasonCounts(report);
  if (!rows.length) return element("p", { className: "muted" }, "No cell has a reason.");
  const max = Math.max(...rows.map(([, n]) => n));
  const bars = element("div", { className: "bars" });
  for (const [code, n] of rows) {
    const bar = element("i");
    bar.style.width = `${(100 * n) / max}%`;
    const properties = {
      type: "button",
      title: REASONS[code] || "",
      onclick: () => actions.showCells({ reason: code }),
    };
    bars.append(
      element("button", properties, code),
      element("div", { className: "bar", "aria-hidden": "true" }, bar),
      element("span", { className: "number" }, number(n)),
    );
  }
  return bars;
}

/** @param {Report} report */
function facts(report) {
  const rows = report.data.facts.map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)),
  );
  return element("table", { className: "facts" }, element("tbody", {}, ...rows));
}
