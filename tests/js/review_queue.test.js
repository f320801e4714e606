import assert from "node:assert/strict";
import { test } from "node:test";

import { ReviewQueue } from "../../ctcedge/report/web/js/review_queue.js";
import { entryOf, reportOf, storeOf } from "./report_data.js";

const report = reportOf([{}, {}, {}, {}], { list: [3, 0, 2] });

function queueWith(...reviewed) {
  const store = storeOf(report);
  for (const cell of reviewed) store.put(cell, entryOf(report, cell, "CTC"));
  return new ReviewQueue(report, store);
}

test("the review starts at the first open cell", () => {
  const queue = queueWith(3);
  queue.start();
  assert.deepEqual([queue.cell, queue.following, queue.done], [0, 2, 1]);
});

test("a finished review starts at the first cell", () => {
  const queue = queueWith(0, 2, 3);
  queue.start();
  assert.deepEqual([queue.cell, queue.done], [3, 3]);
  queue.nextOpen();
  assert.equal(queue.cell, 3);
});

test("moving stops at both ends", () => {
  const queue = queueWith();
  queue.move(-1);
  assert.equal(queue.cell, 3);
  queue.move(5);
  assert.deepEqual([queue.cell, queue.following], [2, undefined]);
});

test("the next open cell is searched beyond the end", () => {
  const queue = queueWith(2);
  queue.move(1);
  queue.nextOpen();
  assert.equal(queue.cell, 3);
});

test("going to a cell outside the list changes nothing", () => {
  const queue = queueWith();
  queue.goTo(2);
  queue.goTo(1);
  assert.equal(queue.cell, 2);
});

test("an empty list has no cell", () => {
  const empty = reportOf([{}]);
  const queue = new ReviewQueue(empty, storeOf(empty));
  queue.start();
  queue.move(1);
  queue.nextOpen();
  assert.deepEqual([queue.cell, queue.done], [null, 0]);
});
