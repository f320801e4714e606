// The review list: candidates, and among them a random draw of cells called leukocyte, all without
// the model's call until the person has decided.

const reviewing = {
  at: 0,
  box: document.getElementById("review"),
  onlyOpen: false,

  start() {
    const first = report.list.findIndex((cell) => !store.entry(cell));
    this.at = first < 0 ? 0 : first;
  },

  get cell() {
    return report.list[this.at] ?? null;
  },

  show() {
    if (this.cell === null) {
      this.box.replaceChildren(make("div", { className: "reviewing" }, make("p", {}, "There is no cell to review: none is called CTC or review, and none leukocyte.")));
      return;
    }
    const done = report.list.filter((cell) => store.entry(cell)).length;
    const total = report.list.length;
    const shown = make("div", { className: "cell" });
    this.box.replaceChildren(make("div", { className: "reviewing" },
      make("div", { className: "where" },
        make("strong", {}, `Cell ${number(this.at + 1)} of ${number(total)}`),
        make("progress", { max: total, value: done, "aria-label": "reviewed" }),
        make("span", { className: "quiet" }, `${number(done)} reviewed`),
        make("button", { type: "button", onclick: () => this.move(-1), disabled: this.at === 0 }, "← back"),
        make("button", { type: "button", onclick: () => this.move(1), disabled: this.at === total - 1 }, "next →"),
        make("button", { type: "button", onclick: () => this.nextOpen(), disabled: done === total }, "next open")),
      shown,
      done === total ? make("p", { className: "strip" }, "All cells of the list are reviewed. Save the corrections.") : null,
      make("p", { className: "quiet" }, report.draw.words)));
    const side = this.side();
    const sizes = NARROW.matches ? { side: 240, small: 100, columns: 1 } : { side, small: Math.floor((side - 34) / 2), columns: 2 };
    showCell(shown, this.cell, { blind: true, ...sizes });
    const next = report.list[this.at + 1];
    if (next !== undefined && cells.strip[next] !== null) strips.get(cells.strip[next]);
  },

  /** Bright field as large as leaves room for the other channels and the words. */
  side() {
    const others = channelsShown(this.cell).length - 1;
    const wide = (Math.min(this.box.clientWidth, 1600) - 340) / (others > 1 ? 2 : others ? 1.5 : 1);
    return Math.floor(Math.max(240, Math.min(wide, this.box.clientHeight - 130, 640)));
  },

  move(step) {
    this.at = Math.max(0, Math.min(report.list.length - 1, this.at + step));
    this.show();
  },

  nextOpen() {
    for (let step = 1; step <= report.list.length; step += 1) {
      const at = (this.at + step) % report.list.length;
      if (store.entry(report.list[at])) continue;
      this.at = at;
      break;
    }
    this.show();
  },

  /** Go to a cell of the list, as undo does; others are not shown here. */
  goTo(cell) {
    const at = report.list.indexOf(cell);
    if (at >= 0) this.at = at;
    this.show();
  },
};
