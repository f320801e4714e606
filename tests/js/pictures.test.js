import assert from "node:assert/strict";
import { test } from "node:test";

import { ImageCache, channelName, scaleBarLength } from "../../ctcedge/report/web/js/pictures.js";

test("pictures are decoded once while they are among the last used", async () => {
  const decoded = [];
  const decode = async (line) => {
    decoded.push(line);
    return line;
  };
  const cache = new ImageCache(["a", "b", "c"], 2, decode);
  for (const index of [0, 1, 0, 2, 0, 1]) await cache.get(index);
  assert.deepEqual(decoded, ["a", "b", "c", "b"]);
  assert.equal(await cache.get(1), "b");
});

test("scale bars leave most of the picture free", () => {
  assert.equal(scaleBarLength(0.5, 102, false), 20);
  assert.equal(scaleBarLength(0.1, 260, true), 5);
  assert.equal(scaleBarLength(0.001, 100, true), undefined);
});

test("bright field has a name", () => {
  assert.deepEqual([channelName("BF"), channelName("DAPI")], ["bright field", "DAPI"]);
});
