// Histogram of probabilities: bars of each call side by side, evenly spaced in log-odds, with
// heights by the logarithm of the count.

import { svgElement } from "./dom.js";
import { number } from "./format.js";
import { CALLS } from "./report.js";

/** @typedef {import("./report.js").Report} Report */

const [LEFT, TOP, WIDTH, HEIGHT] = [46, 8, 420, 150];
const BINS = 24;
const MIN_TICK_DISTANCE = 38;
const TICKS = [1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999];

/** @param {number} p */
export const logOdds = (p) => Math.log(Math.max(p, 1e-7) / Math.max(1 - p, 1e-7));

/**
 * Probabilities at which the calls review and CTC start; empty unless they are the same for all
 * cells.
 *
 * @param {Report} report
 * @returns {number[]}
 */
export function decisionMarks(report) {
  const [decision, other] = report.data.decisions;
  if (!decision || other) return [];
  return [...new Set([decision.review, decision.ctc])].filter((p) => p > 0 && p < 1);
}

/**
 * @param {Report} report
 * @param {number[]} marks probabilities that the axis includes
 * @returns {{low: number, high: number, counts: number[][]}} range in log-odds; counts by call, bin
 */
export function binned(report, marks) {
  const odds = report.cells.probability.map(logOdds);
  const included = [...marks.map(logOdds), -3, 3];
  const low = Math.floor(odds.reduce((a, b) => Math.min(a, b), Math.min(...included)));
  const high = Math.ceil(odds.reduce((a, b) => Math.max(a, b), Math.max(...included)));
  const counts = CALLS.map(() => new Array(BINS).fill(0));
  odds.forEach((value, cell) => {
    const bin = Math.min(BINS - 1, Math.floor(((value - low) / (high - low)) * BINS));
    counts[report.cells.call[cell]][bin] += 1;
  });
  return { low, high, counts };
}

/**
 * @param {Report} report
 * @returns {SVGElement}
 */
export function histogram(report) {
  const marks = decisionMarks(report);
  const { low, high, counts } = binned(report, marks);
  const max = Math.max(10, ...counts.flat());
  const bottom = TOP + HEIGHT;
  /** @param {number} n */
  const barHeight = (n) => (HEIGHT * Math.log10(1 + n)) / Math.log10(1 + max);
  /** @param {number} p */
  const x = (p) => LEFT + (WIDTH * (logOdds(p) - low)) / (high - low);
  const viewBox = `0 0 ${LEFT + WIDTH + 16} ${bottom + 34}`;
  const chart = svgElement("svg", { viewBox, role: "img" });
  /** @type {(className: string, x1: number, y1: number, x2: number, y2: number) => void} */
  const line = (className, x1, y1, x2, y2) =>
    chart.append(svgElement("line", { class: className, x1, x2, y1, y2 }));
  /** @type {(text: string, x: number, y: number, anchor: string) => void} */
  const label = (text, left, y, anchor) =>
    chart.append(svgElement("text", { x: left, y, "text-anchor": anchor }, text));

  chart.append(svgElement("title", {}, `Histogram of probabilities: ${totals(counts)}`));
  for (let n = 1; n <= max; n *= 10) {
    const y = bottom - barHeight(n);
    line("axis", LEFT, y, LEFT + WIDTH, y);
    label(number(n), LEFT - 5, y + 4, "end");
  }
  line("axis", LEFT, bottom, LEFT + WIDTH, bottom);
  for (const p of marks) line("mark", x(p), TOP, x(p), bottom);
  CALLS.forEach((call, i) => {
    const d = bars(counts[i], CALLS.length - 1 - i, barHeight, bottom); // CTC on the right
    chart.append(svgElement("path", { class: call, d }));
  });
  let last = -Infinity;
  for (const p of TICKS.filter((tick) => logOdds(tick) >= low && logOdds(tick) <= high)) {
    if (x(p) - last < MIN_TICK_DISTANCE) continue;
    last = x(p);
    label(p < 0.001 ? p.toExponential(0) : String(p), last, bottom + 14, "middle");
  }
  label("probability of CTC", LEFT + WIDTH / 2, bottom + 30, "middle");
  return chart;
}

/** @param {number[][]} counts */
function totals(counts) {
  const sums = counts.map((bins) => bins.reduce((a, b) => a + b));
  return CALLS.map((call, i) => `${number(sums[i])} ${call}`).join(", ");
}

/**
 * Path of one call's bars.
 *
 * @param {number[]} bins
 * @param {number} place of the call among the bars of a bin
 * @param {(n: number) => number} barHeight
 * @param {number} bottom
 */
function bars(bins, place, barHeight, bottom) {
  const step = WIDTH / BINS;
  const width = (step - 2) / CALLS.length;
  return bins
    .map((n, bin) => {
      if (!n) return "";
      const left = (LEFT + bin * step + 1 + place * width).toFixed(1);
      const rise = barHeight(n).toFixed(1);
      return `M${left} ${bottom}v-${rise}h${width.toFixed(1)}V${bottom}z`;
    })
    .join("");
}
