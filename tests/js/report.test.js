import assert from "node:assert/strict";
import { test } from "node:test";

import { HASHES, reportOf } from "./report_data.js";

test("columns are read by cell", () => {
  const report = reportOf([{ call: "CTC", reasons: [1, 0], sample: 1 }, { image: 1 }], {
    reviews: { 1: [{ call: "CTC" }] },
  });
  assert.equal(report.count, 2);
  assert.equal(report.callOf(0), "CTC");
  assert.equal(report.sampleOf(0), "S2");
  assert.deepEqual(report.reasonsOf(0), ["near-threshold", "debris"]);
  assert.equal(report.modelHashOf(0), HASHES.model);
  assert.deepEqual([report.hasImage(0), report.hasImage(1)], [true, false]);
  assert.equal(report.imageProblemOf(1), "The image changed.");
  assert.deepEqual(report.earlierReviewsOf(0), []);
  assert.equal(report.earlierReviewsOf(1).length, 1);
});

test("keys contain the path where two crops hold the same image", () => {
  const sha256 = HASHES.first;
  const report = reportOf([{ sha256 }, { sha256 }, { sha256: HASHES.second }]);
  const [first, second, third] = report.keys;
  assert.equal(first, `${"1".repeat(20)} S1/0_BF.png`);
  assert.equal(second, `${"1".repeat(20)} S1/1_BF.png`);
  assert.equal(third, "2".repeat(20));
  assert.equal(report.cellOfKey.get(second), 1);
});

test("cells without a strip show bright field only, without an activation map", () => {
  const strips = [{ channels: ["BF", "DAPI"], activation: { side: 1, window: 1, values: [0] } }];
  const report = reportOf([{}, { strip: 0 }], { strips });
  assert.deepEqual([report.channelsOf(0), report.channelsOf(1)], [["BF"], ["BF", "DAPI"]]);
  assert.deepEqual([report.hasActivation(0), report.hasActivation(1)], [false, true]);
  assert.equal(report.stripOf(0), null);
});

test("randomly drawn cells have a weight", () => {
  const draw = { cells: [1], drawn: 2, leukocytes: 9, text: "" };
  const report = reportOf([{}, {}], { draw });
  assert.deepEqual([report.weightOf(0), report.weightOf(1)], [null, 4.5]);
});
