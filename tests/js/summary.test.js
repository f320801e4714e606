import assert from "node:assert/strict";
import { test } from "node:test";

import { binned, decisionMarks, logOdds } from "../../ctcedge/report/web/js/histogram.js";
import { reasonCounts } from "../../ctcedge/report/web/js/summary.js";
import { reportOf } from "./report_data.js";

test("reasons are counted, the most frequent first, clusters among them", () => {
  const report = reportOf([{ reasons: [1], cluster: 1 }, { reasons: [0, 1] }, { reasons: [1] }]);
  assert.deepEqual(reasonCounts(report), [
    ["near-threshold", 3],
    ["cluster", 1],
    ["debris", 1],
  ]);
});

test("decisions are marked where they are the same for all cells", () => {
  const marks = (...decisions) => decisionMarks(reportOf([{}], { decisions }));
  assert.deepEqual(marks({ review: 0.4, ctc: 0.6 }), [0.4, 0.6]);
  assert.deepEqual(marks({ review: 0.5, ctc: 0.5 }), [0.5]);
  assert.deepEqual(marks({ review: 0, ctc: 1 }), []);
  assert.deepEqual(marks({ review: 0.4, ctc: 0.6 }, { review: 0.3, ctc: 0.3 }), []);
  assert.deepEqual(marks(), []);
});

test("every cell is in one bin, whatever its probability", () => {
  const probabilities = [0, 1e-9, 0.01, 0.5, 0.99, 1];
  const report = reportOf(probabilities.map((probability) => ({ probability, call: "CTC" })));
  const { low, high, counts } = binned(report, []);
  assert.ok(low <= logOdds(0) && high >= logOdds(1));
  assert.deepEqual(
    counts.map((bins) => bins.reduce((a, b) => a + b)),
    [6, 0, 0],
  );
});

test("the range includes the marks and at least three units on both sides", () => {
  const report = reportOf([{ probability: 0.5 }]);
  assert.deepEqual([binned(report, []).low, binned(report, []).high], [-3, 3]);
  assert.equal(binned(report, [0.999]).high, 7);
});
