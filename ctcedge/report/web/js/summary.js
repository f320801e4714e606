// Counts, warnings, charts and facts.

const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

const logOdds = (p) => Math.log(Math.max(p, 1e-7) / Math.max(1 - p, 1e-7));

/** Where the calls review and CTC begin, if that is the same for all cells. */
function decisionMarks() {
  const [decision, other] = report.decisions;
  return decision && !other ? [...new Set([decision.review, decision.ctc])].filter((p) => p > 0 && p < 1) : [];
}

/** Bars of each call side by side, CTC on the right, evenly spaced in log-odds, heights by the counts' logarithm. */
function histogram() {
  const [left, top, width, height, bins] = [46, 8, 420, 150, 24];
  const odds = cells.probability.map(logOdds);
  const marks = decisionMarks();
  const all = [...marks.map(logOdds), -3, 3];
  const low = Math.floor(odds.reduce((a, b) => Math.min(a, b), Math.min(...all)));
  const high = Math.ceil(odds.reduce((a, b) => Math.max(a, b), Math.max(...all)));
  const counts = CALLS.map(() => new Array(bins).fill(0));
  odds.forEach((value, cell) => {
    const bin = Math.min(bins - 1, Math.floor((value - low) / (high - low) * bins));
    counts[cells.call[cell]][bin] += 1;
  });
  const most = Math.max(10, ...counts.flat());
  const rise = (n) => height * Math.log10(1 + n) / Math.log10(1 + most);
  const chart = draw("svg", { viewBox: `0 0 ${left + width + 16} ${top + height + 34}`, role: "img" });
  const words = CALLS.map((call, i) => `${number(counts[i].reduce((a, b) => a + b))} ${call}`);
  chart.append(draw("title", {}, `Histogram of probabilities: ${words.join(", ")}`));
  for (let n = 1; n <= most; n *= 10) {
    const y = top + height - rise(n);
    chart.append(draw("line", { class: "axis", x1: left, x2: left + width, y1: y, y2: y }));
    chart.append(draw("text", { x: left - 5, y: y + 4, "text-anchor": "end" }, number(n)));
  }
  chart.append(draw("line", { class: "axis", x1: left, x2: left + width, y1: top + height, y2: top + height }));
  for (const p of marks) {
    const x = left + width * (logOdds(p) - low) / (high - low);
    chart.append(draw("line", { class: "mark", x1: x, x2: x, y1: top, y2: top + height }));
  }
  const step = width / bins;
  CALLS.forEach((call, i) => {
    const bar = (step - 2) / CALLS.length;
    const path = counts[i].map((n, bin) => n
      ? `M${(left + bin * step + 1 + (CALLS.length - 1 - i) * bar).toFixed(1)} ${top + height}v${-rise(n).toFixed(1)}h${bar.toFixed(1)}V${top + height}z` : "");
    chart.append(draw("path", { class: call, d: path.join("") }));
  });
  const ticks = [1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999];
  let last = -100;
  for (const p of ticks.filter((each) => logOdds(each) >= low && logOdds(each) <= high)) {
    const x = left + width * (logOdds(p) - low) / (high - low);
    if (x - last < 38) continue;
    last = x;
    chart.append(draw("text", { x, y: top + height + 14, "text-anchor": "middle" }, p < 0.001 ? p.toExponential(0) : String(p)));
  }
  chart.append(draw("text", { x: left + width / 2, y: top + height + 30, "text-anchor": "middle" }, "probability of CTC"));
  return chart;
}

function reasonBars() {
  const counts = new Map();
  const add = (name) => counts.set(name, (counts.get(name) || 0) + 1);
  for (let cell = 0; cell < count; cell += 1) {
    reasonsOf(cell).forEach(add);
    if (cells.cluster[cell]) add("cluster");
  }
  const rows = [...counts].sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...rows.map(([, n]) => n));
  const bars = make("div", { className: "bars" });
  for (const [name, n] of rows) {
    const fill = make("i");
    fill.style.width = `${100 * n / most}%`;
    bars.append(
      make("button", { type: "button", title: REASONS[name] || "", onclick: () => gallery.only({ reason: name }) }, name),
      make("div", { className: "bar", "aria-hidden": "true" }, fill),
      make("span", { className: "number" }, number(n)),
    );
  }
  return rows.length ? bars : make("p", { className: "quiet" }, "No reason was given for any cell.");
}

function summaryView() {
  const figure = ({ name, value, small, only }) => make("div", {},
    make("dt", {}, Object.keys(only).length ? make("button", { type: "button", onclick: () => gallery.only(only) }, name) : name),
    make("dd", { className: value.length > 14 ? "long" : "" }, value, small ? make("small", {}, small) : null));
  const facts = make("table", { className: "facts" }, make("tbody", {}, ...report.facts.map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));
  const legend = make("p", { className: "quiet" }, ...CALLS.flatMap((call) => [callMark(call), "  "]),
    "Counts on a logarithmic scale; probabilities evenly spaced in log-odds.",
    decisionMarks().length ? ` Dashed: ${decisionMarks().length > 1 ? "where review and CTC begin" : "where CTC begins"}.` : "");
  const begin = make("div", { className: "begin" },
    make("button", { type: "button", onclick: () => go("review") }, "Start the review"),
    make("p", { className: "quiet" }, report.draw.words));
  const box = make("div", { className: "summary" },
    report.warnings.length ? make("ul", { className: "warnings" }, ...report.warnings.map((text) => make("li", {}, text))) : null,
    make("dl", { className: "figures" }, ...report.figures.map(figure)),
    report.list.length ? begin : null,
    make("div", { className: "charts" },
      make("figure", {}, make("figcaption", {}, make("h2", {}, "Probability")), histogram(), legend),
      make("figure", {}, make("figcaption", {}, make("h2", {}, "Quality"),
        make("p", { className: "quiet" }, "Why cells are called review, and clusters of touching cells.")), reasonBars())),
    facts);
  document.getElementById("summary").append(box);
}
