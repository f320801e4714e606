// One cell: pictures, what the model says, and the person's decision.

const shownNow = { others: true, overlay: false };

const channelsShown = (cell) => {
  const strip = cells.strip[cell];
  return strip === null || !shownNow.others ? ["BF"] : report.strips[strip].channels;
};

const canReview = (cell) => cells.image[cell] === IMAGE_OK;

/** Show one cell in a box.
 *
 * blind: hide call, probability, reasons and earlier reviews until the cell is reviewed.
 * sizes: of bright field, of the other channels, and how many of these stand side by side.
 */
function showCell(box, cell, { blind, ...sizes }) {
  const entry = store.entry(cell);
  const hidden = blind && !entry;
  if (!hidden) store.show(cell);
  box.replaceChildren(...[
    make("div", {}, pictures(cell, { ...sizes, others: shownNow.others, overlay: shownNow.overlay && !hidden && hasActivation(cell) }),
      switches(cell, hidden)),
    make("div", { className: "said" },
      hidden ? make("p", { className: "verdict quiet" }, "The model's call is hidden until you have decided.") : verdict(cell),
      decisions(cell, entry),
      noteField(cell, entry),
      facts(cell, hidden)),
  ]);
}

function switches(cell, hidden) {
  const toggle = (name, text) => make("label", {}, make("input", {
    type: "checkbox", checked: shownNow[name], onchange: () => flip(name) }), ` ${text}`);
  const strip = cells.strip[cell];
  const more = strip !== null && report.strips[strip].channels.length > 1;
  return make("div", { className: "shown" },
    more ? toggle("others", "other channels (B)") : null,
    !hidden && hasActivation(cell) ? toggle("overlay", "activation (O): orange for CTC, blue against") : null);
}

function flip(name) {
  shownNow[name] = !shownNow[name];
  redraw();
}

function verdict(cell) {
  const prior = report.priors[cells.prior[cell]];
  const reasons = reasonsOf(cell);
  return make("div", { className: "verdict" },
    callMark(callOf(cell)),
    ` probability ${probabilityText(cells.probability[cell])}`,
    make("span", { className: "quiet" }, ` if ${prior.words} cells were a CTC${rareWords(cells.probability[cell], prior.value)}`),
    cells.cluster[cell] ? make("p", {}, "Cluster of touching cells") : null,
    reasons.length ? make("ul", { className: "reasons quiet" }, ...reasons.map((name) =>
      make("li", {}, REASONS[name] ? `${name}: ${REASONS[name]}` : name))) : null);
}

/** What a probability would be where CTCs are as rare as in blood. */
function rareWords(p, prior) {
  if (prior <= 0.01) return "";
  const rare = 1 / 5000;
  const odds = p * rare * (1 - prior);
  return `, ${probabilityText(odds / (odds + (1 - p) * (1 - rare) * prior))} if 1 in 5,000 were`;
}

function decisions(cell, entry) {
  const button = (call, key) => make("button", {
    type: "button", "aria-pressed": String(entry?.call === call), disabled: !canReview(cell), onclick: () => decide(call) },
  callMark(call), " ", make("kbd", {}, key));
  return make("div", { className: "decide" },
    button("CTC", "C"), button("leukocyte", "L"), button("unsure", "R"),
    make("button", { type: "button", disabled: !store.done.length, onclick: undo }, "Undo ", make("kbd", {}, "U")));
}

function noteField(cell, entry) {
  const field = make("textarea", {
    maxLength: 2000, value: entry ? entry.note : "", disabled: !entry, rows: 2,
    placeholder: entry ? "" : "Decide first, then add a note.",
    onchange: () => {
      const now = store.entry(cell);
      if (now && now.note !== field.value) store.put(cell, { ...now, note: field.value });
    },
  });
  return make("label", { className: "note" }, "Note (N)", field);
}

function facts(cell, hidden) {
  const rows = [["sample", sampleOf(cell)], ["cell", cells.cell[cell]], ["file", cells.path[cell]]];
  const um = cells.um_per_px[cell];
  rows.push(["size", `${cells.width[cell]} × ${cells.height[cell]} px`
    + (um ? `, ${um} µm/px${cells.um_assumed[cell] ? " (assumed)" : ""}` : ", µm/px unknown")]);
  if (!hidden) {
    if (cells.unlike[cell] !== null) rows.push(["likeness", unlikeWords(cells.unlike[cell])]);
    for (const earlier of report.reviews[cell] || []) {
      rows.push(["review", `${earlier.call} by ${earlier.reviewer}, ${earlier.time.slice(0, 10)}${earlier.note ? `: ${earlier.note}` : ""}`]);
    }
  }
  rows.push(["image", `SHA-256 ${cells.sha256[cell].slice(0, 16)}…`]);
  return make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

const unlikeWords = (p) =>
  `${p < 0.001 ? "fewer than 0.1" : Number((100 * p).toPrecision(2))} % of the model's validation cells are as far from its training cells`;
