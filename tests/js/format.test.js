import assert from "node:assert/strict";
import { test } from "node:test";

import * as format from "../../ctcedge/report/web/js/format.js";

test("nouns agree with their number", () => {
  assert.equal(format.plural(1, "cell"), "1 cell");
  assert.equal(format.plural(0, "cell"), "0 cells");
  assert.equal(format.plural(30000, "cell is", "cells are"), "30,000 cells are");
});

test("characters that do not print are escaped", () => {
  assert.equal(format.escapeControl("a\u202eb\nc\u2028"), "a\\u{202e}b\\u{a}c\\u{2028}");
  assert.equal(format.escapeControl("café 细胞 <b>"), "café 细胞 <b>");
});

test("probabilities have more digits close to 0 and 1", () => {
  const texts = [0, 0.00123, 0.456, 0.99, 0.9987, 0.999999999, 1].map(format.probabilityText);
  assert.deepEqual(texts, ["0", "0.0012", "0.46", "0.99", "0.9987", "1.000000", "1"]);
});

test("short probabilities fit a tile", () => {
  const texts = [0, 0.00002, 0.5, 0.99951, 1].map(format.shortProbability);
  assert.deepEqual(texts, ["0", "2e-5", "0.50", ">0.999", "1"]);
});

test("a probability is converted to the prevalence in blood unless its prior is low", () => {
  assert.equal(format.rareProbabilityText(0.9, 0.5), ", 0.0018 if 1 in 5,000 were");
  assert.equal(format.rareProbabilityText(0.9, 0.01), "");
});

test("the p-value of the OOD score is a percentage", () => {
  assert.match(format.oodText(0.1234), /^12 % of the model's validation cells/);
  assert.match(format.oodText(0.0001), /^fewer than 0.1 % of/);
});
