// Rows per sample and per patient: a chart of the samples to look at first, and sortable tables.

import { callMark } from "./cell_view.js";
import { element } from "./dom.js";
import { number, plural } from "./format.js";

/** @typedef {import("./report.js").Report} Report */
/** @typedef {import("./report.js").SampleRow} SampleRow */
/** @typedef {import("./summary.js").SummaryActions} SummaryActions */

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {(row: SampleRow) => string | number | null} value by which rows are sorted
 * @property {(row: SampleRow) => string} [text] what is shown, if not the value
 * @property {boolean} [always] whether the column is shown where no row has a value, or all have 0
 */

const ROWS = 50; // shown before the reader asks for all
const BARS = 20;

/** @type {Column[]} */
const COUNTS = [
  { title: "Cells", value: (row) => row.cells, always: true },
  { title: "CTC", value: (row) => row.ctc, always: true },
  { title: "Review", value: (row) => row.review, always: true },
  { title: "Leukocyte", value: (row) => row.leukocyte, always: true },
  { title: "Unclassified", value: (row) => row.unclassified },
  { title: "Pending", value: (row) => row.pending },
  { title: "Clusters", value: (row) => row.clusters },
  { title: "Confirmed", value: (row) => row.confirmed, always: true },
  { title: "To look at", value: (row) => row.to_review, always: true },
  {
    title: "Expected false positives",
    value: (row) => row.expected_false_positives?.expected ?? null,
    text: (row) => falsePositivesText(row),
  },
  { title: "Volume, mL", value: (row) => row.volume_ml },
  { title: "CTC per mL", value: (row) => row.ctc_per_ml },
  { title: "Confirmed per mL", value: (row) => row.confirmed_per_ml },
];

/** @type {Column[]} */
const OF_SAMPLES = [
  { title: "Sample", value: (row) => row.sample ?? "", always: true },
  { title: "Patient", value: (row) => row.patient },
  { title: "Kind", value: (row) => row.kind ?? null },
  ...COUNTS,
  {
    title: "Domain shift",
    value: (row) => row.domain_shift?.distance ?? null,
    text: (row) => shiftText(row),
  },
];

/** @type {Column[]} */
const OF_PATIENTS = [
  { title: "Patient", value: (row) => row.patient ?? "", always: true },
  { title: "Samples", value: (row) => row.samples ?? 0, always: true },
  ...COUNTS,
  { title: "Samples with domain shift", value: (row) => row.shifted_samples ?? 0 },
];

/**
 * The rows of the report; null where it has none.
 *
 * @param {Report} report
 * @param {SummaryActions} actions
 */
export function sampleRows(report, actions) {
  const { per_sample: samples = [], per_patient: patients = [] } = report.data;
  if (!samples.length) return null;
  const cells = samples.reduce((sum, row) => sum + row.to_review, 0);
  const note =
    `${plural(cells, "cell")} to look at: called CTC or review, and not reviewed when this page` +
    " was made. Confirmed: called CTC by the latest review.";
  return element(
    "div",
    { className: "samples" },
    element("h2", {}, "Samples"),
    element("p", { className: "muted" }, note),
    chart(report, samples, actions),
    table(OF_SAMPLES, byNeed(samples), "sample", (row) => showSample(report, row, actions)),
    ...(patients.length
      ? [element("h2", {}, "Patients"), table(OF_PATIENTS, byNeed(patients), "patient", () => null)]
      : []),
  );
}

/**
 * Rows in the order in which they need a person.
 *
 * @param {SampleRow[]} rows
 */
export function byNeed(rows) {
  return [...rows].sort((a, b) => b.to_review - a.to_review || b.ctc - a.ctc);
}

/**
 * Rows in the order of a column; rows without a value come last, in either direction.
 *
 * @param {SampleRow[]} rows
 * @param {Column} column
 * @param {boolean} descending
 */
export function sorted(rows, column, descending) {
  const sign = descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [first, second] = [column.value(a), column.value(b)];
    if (first === null || second === null) return Number(first === null) - Number(second === null);
    if (typeof first === "string") {
      return sign * first.localeCompare(String(second), "en-GB", { numeric: true });
    }
    return sign * (first - Number(second));
  });
}

/**
 * Columns that have something to show.
 *
 * @param {Column[]} columns
 * @param {SampleRow[]} rows
 */
export function shownColumns(columns, rows) {
  return columns.filter(({ always, value }) => always || rows.some((row) => value(row)));
}

export const SAMPLE_COLUMNS = OF_SAMPLES;

/** @param {SampleRow} row */
function falsePositivesText({ expected_false_positives: expected }) {
  if (!expected) return "";
  const value = expected.expected < 10 ? expected.expected.toFixed(1) : number(expected.expected);
  return `${value} (${number(expected.low)} to ${number(expected.high)})`;
}

/** @param {SampleRow} row */
function shiftText({ domain_shift: shift }) {
  if (!shift) return "";
  if (shift.state === "insufficient" || shift.distance === null) return "too few cells";
  return shift.state === "shifted" ? `yes, ${number(shift.distance)}` : "no";
}

/**
 * @param {Report} report
 * @param {SampleRow} row
 * @param {SummaryActions} actions
 */
function showSample(report, row, actions) {
  const index = report.data.samples.indexOf(row.sample ?? "");
  return index < 0 ? null : () => actions.showCells({ sample: String(index) });
}

/**
 * @param {string} name
 * @param {(() => void) | null} show
 */
function nameOf(name, show) {
  return show ? element("button", { type: "button", onclick: show }, name) : name;
}

/**
 * @param {Report} report
 * @param {SampleRow[]} samples
 * @param {SummaryActions} actions
 */
function chart(report, samples, actions) {
  const rows = byNeed(samples.filter((row) => row.ctc || row.review)).slice(0, BARS);
  if (rows.length < 2) return null;
  const max = Math.max(...rows.map((row) => row.ctc + row.review));
  const bars = element("div", { className: "bars" });
  for (const row of rows) {
    const bar = element("div", { className: "bar", "aria-hidden": "true" });
    for (const [call, count] of /** @type {const} */ ([
      ["CTC", row.ctc],
      ["review", row.review],
    ])) {
      const part = element("i", { className: call });
      part.style.width = `${(100 * count) / max}%`;
      if (count) bar.append(part);
    }
    const perMl = row.ctc_per_ml === null ? "" : `, ${number(row.ctc_per_ml)} CTC per mL`;
    bars.append(
      element("div", {}, nameOf(row.sample ?? "", showSample(report, row, actions))),
      bar,
      element("span", { className: "number" }, `${row.ctc} CTC, ${row.review} review${perMl}`),
    );
  }
  const part = samples.length > rows.length ? `, the first ${rows.length}` : "";
  const title = `CTC and review by sample${part}`;
  const marks = [callMark("CTC"), "  ", callMark("review")];
  return element("figure", {}, element("figcaption", {}, title, "  ", ...marks), bars);
}

/**
 * @param {Column[]} all
 * @param {SampleRow[]} rows
 * @param {string} noun
 * @param {(row: SampleRow) => (() => void) | null} show the cells of a row
 */
function table(all, rows, noun, show) {
  const columns = shownColumns(all, rows);
  const body = element("tbody");
  const more = element("button", { type: "button" });
  const headers = columns.map((column) => {
    const text = typeof column.value(rows[0]) === "string";
    const button = element("button", { type: "button", onclick: () => sort(column) }, column.title);
    return element("th", { scope: "col", className: text ? "" : "number" }, button);
  });
  let order = rows;
  let shown = ROWS;
  /** @type {{column: Column | null, descending: boolean}} */
  const by = { column: null, descending: false };

  const draw = () => {
    const visible = order.slice(0, shown).map((row) =>
      element(
        "tr",
        {},
        ...columns.map((column, index) => {
          const value = column.value(row);
          const shownText = column.text
            ? column.text(row)
            : typeof value === "number"
              ? number(value)
              : (value ?? "");
          if (index === 0) return element("th", { scope: "row" }, nameOf(shownText, show(row)));
          const className = typeof value === "number" ? "number" : "";
          return element("td", { className }, shownText);
        }),
      ),
    );
    body.replaceChildren(...visible);
    more.hidden = order.length <= shown;
    more.textContent = `Show all ${plural(order.length, noun)}`;
  };
  /** @param {Column} column */
  const sort = (column) => {
    const isText = typeof column.value(rows[0]) === "string";
    by.descending = by.column === column ? !by.descending : !isText;
    by.column = column;
    order = sorted(rows, column, by.descending);
    headers.forEach((header, index) => {
      if (columns[index] !== column) header.removeAttribute("aria-sort");
      else header.setAttribute("aria-sort", by.descending ? "descending" : "ascending");
    });
    draw();
  };
  more.addEventListener("click", () => {
    shown = order.length;
    draw();
  });
  draw();
  return element(
    "div",
    { className: "rows", tabIndex: 0, role: "region", "aria-label": `Results by ${noun}` },
    element("table", {}, element("thead", {}, element("tr", {}, ...headers)), body),
    more,
  );
}
