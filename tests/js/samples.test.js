import assert from "node:assert/strict";
import { test } from "node:test";

import {
  byNeed,
  SAMPLE_COLUMNS,
  shownColumns,
  sorted,
} from "../../ctcedge/report/web/js/samples.js";

const row = (sample, changes = {}) => ({
  sample,
  patient: null,
  kind: null,
  cells: 10,
  ctc: 0,
  review: 0,
  leukocyte: 10,
  unclassified: 0,
  pending: 0,
  clusters: 0,
  confirmed: 0,
  to_review: 0,
  volume_ml: null,
  ctc_per_ml: null,
  confirmed_per_ml: null,
  expected_false_positives: null,
  domain_shift: null,
  ...changes,
});
const names = (rows) => rows.map(({ sample }) => sample);
const column = (title) => SAMPLE_COLUMNS.find((each) => each.title === title);

test("samples that need a person most come first", () => {
  const rows = [row("A", { ctc: 9 }), row("B", { to_review: 3 }), row("C", { to_review: 7 })];
  assert.deepEqual(names(byNeed(rows)), ["C", "B", "A"]);
});

test("names are sorted as people count, and rows without a value come last", () => {
  const rows = [row("S10", { ctc_per_ml: 2 }), row("S9"), row("S1", { ctc_per_ml: 0.5 })];
  assert.deepEqual(names(sorted(rows, column("Sample"), false)), ["S1", "S9", "S10"]);
  assert.deepEqual(names(sorted(rows, column("CTC per mL"), false)), ["S1", "S10", "S9"]);
  assert.deepEqual(names(sorted(rows, column("CTC per mL"), true)), ["S10", "S1", "S9"]);
});

test("columns without a value are left out", () => {
  const titles = (rows) => shownColumns(SAMPLE_COLUMNS, rows).map(({ title }) => title);
  assert.ok(!titles([row("A")]).includes("CTC per mL"));
  assert.ok(titles([row("A"), row("B", { ctc_per_ml: 1 })]).includes("CTC per mL"));
  assert.ok(titles([row("A")]).includes("To look at"));
});
