import assert from "node:assert/strict";
import { test } from "node:test";

import {
  CellFilter,
  FOLDED_CLUSTERS,
  HEADING_HEIGHT,
  TILE_HEIGHT,
  layOutRows,
  rowsBetween,
} from "../../ctcedge/report/web/js/gallery_layout.js";
import { entryOf, reportOf, storeOf } from "./report_data.js";

const report = reportOf(
  [
    { cluster: 1, sample: 1 },
    { call: "CTC", reasons: [0], sample: 1, cell: "Ab7" },
    { call: "review", reasons: [1] },
    { reasons: [0, 1] },
  ],
  { reviews: { 3: [{ call: "CTC" }] } },
);

const range = (length) => Array.from({ length }, (_, i) => i);

test("filters match by call, sample, reason and text", () => {
  const filter = new CellFilter(report, storeOf(report));
  assert.deepEqual(filter.matches({}), [0, 1, 2, 3]);
  assert.deepEqual(filter.matches({ call: "leukocyte" }), [0, 3]);
  assert.deepEqual(filter.matches({ sample: "1" }), [0, 1]);
  assert.deepEqual(filter.matches({ sample: "0" }), [2, 3]);
  assert.deepEqual(filter.matches({ reason: "debris" }), [1, 3]);
  assert.deepEqual(filter.matches({ reason: "cluster" }), [0]);
  assert.deepEqual(filter.matches({ reason: "debris", call: "CTC" }), [1]);
  assert.deepEqual(filter.matches({ text: " aB7 " }), [1]);
  assert.deepEqual(filter.matches({ text: "s2" }), [0, 1]);
  assert.deepEqual(filter.matches({ text: "nothing such" }), []);
});

test("filters match by review and by note", () => {
  const store = storeOf(report);
  store.put(1, entryOf(report, 1, "CTC", { note: "Odd rim" }));
  store.put(2, entryOf(report, 2, "CTC"));
  const filter = new CellFilter(report, store);
  assert.deepEqual(filter.matches({ reviewed: "yes" }), [1, 2]);
  assert.deepEqual(filter.matches({ reviewed: "no" }), [0, 3]);
  assert.deepEqual(filter.matches({ reviewed: "differs" }), [2]);
  assert.deepEqual(filter.matches({ reviewed: "before" }), [3]);
  assert.deepEqual(filter.matches({ text: "odd RIM" }), [1]);
});

test("clusters come first, each group under a heading", () => {
  const { rows, listed, height } = layOutRows([0, 1, 2, 3, 4], (cell) => cell < 1, 3, false);
  assert.deepEqual(
    rows.map(({ text, cells }) => text ?? cells),
    ["Clusters of touching cells: 1", [0], "Single cells: 4", [1, 2, 3], [4]],
  );
  assert.deepEqual(listed, [0, 1, 2, 3, 4]);
  assert.equal(rows[2].top, HEADING_HEIGHT + TILE_HEIGHT);
  assert.equal(height, 2 * HEADING_HEIGHT + 3 * TILE_HEIGHT);
});

test("many clusters are folded above single cells, unless there are no others", () => {
  const many = FOLDED_CLUSTERS + 2;
  const isCluster = (cell) => cell < many;
  const folded = layOutRows(range(many + 1), isCluster, 10, false);
  assert.equal(folded.rows[0].more, `show all ${many}`);
  assert.equal(folded.listed.length, FOLDED_CLUSTERS + 1);
  const unfolded = layOutRows(range(many + 1), isCluster, 10, true);
  assert.equal(unfolded.rows[0].more, "show fewer");
  assert.equal(unfolded.listed.length, many + 1);
  const alone = layOutRows(range(many), isCluster, 10, false);
  assert.equal(alone.rows[0].more, null);
  assert.equal(alone.listed.length, many);
});

test("no cell gives one heading", () => {
  const { rows } = layOutRows([], () => false, 3, false);
  assert.deepEqual(
    rows.map(({ text }) => text),
    ["No cells match these filters."],
  );
});

test("rows in view are found by height", () => {
  const { rows } = layOutRows(range(30000), () => false, 5, false);
  assert.deepEqual([...rowsBetween(rows, 0, TILE_HEIGHT)], [0, 1]);
  const middle = rows[3000].top;
  assert.deepEqual([...rowsBetween(rows, middle + 1, middle + TILE_HEIGHT + 1)], [3000, 3001]);
  assert.equal(rowsBetween(rows, 1e9, 2e9).size, 0);
});
