import assert from "node:assert/strict";
import { test } from "node:test";

import { ReviewStore } from "../../ctcedge/report/web/js/store.js";
import { FakeStorage, entryOf, reportOf, storeOf } from "./report_data.js";

const report = reportOf([{ call: "CTC" }, {}, {}]);

test("reviews and revealed calls survive a reload", () => {
  const storage = new FakeStorage();
  const store = storeOf(report, storage);
  store.reviewer = "Ada";
  store.put(1, entryOf(report, 1, "CTC"));
  store.reveal(2);
  const again = storeOf(report, storage);
  again.read();
  assert.equal(again.reviewer, "Ada");
  assert.deepEqual(again.entry(1), entryOf(report, 1, "CTC"));
  assert.deepEqual([again.isRevealed(1), again.isRevealed(2)], [false, true]);
  assert.equal(again.unsaved, true);
  assert.equal(again.persistent, true);
});

test("what is kept has the names that earlier pages use", () => {
  const storage = new FakeStorage();
  const store = storeOf(report, storage);
  store.reveal(0);
  const kept = JSON.parse(storage.getItem("ctcedge/review/run"));
  assert.deepEqual(Object.keys(kept), ["reviewer", "entries", "seen", "unsaved"]);
  assert.deepEqual(kept.seen, [report.keys[0]]);
});

test("undo takes back one change after the other", () => {
  const store = storeOf(report);
  store.put(0, entryOf(report, 0, "CTC"));
  store.put(0, entryOf(report, 0, "unsure"));
  store.put(1, null);
  assert.equal(store.undo(), 1);
  assert.equal(store.undo(), 0);
  assert.equal(store.entry(0).call, "CTC");
  assert.equal(store.undo(), 0);
  assert.equal(store.entry(0), null);
  assert.equal(store.undo(), null);
});

test("a review of another call or another model does not count", () => {
  const store = storeOf(report);
  store.put(0, entryOf(report, 0, "CTC", { from: "review" }));
  store.put(1, entryOf(report, 1, "CTC", { model: "b".repeat(64) }));
  store.put(2, entryOf(report, 2, "CTC"));
  assert.deepEqual([store.entry(0), store.entry(1)], [null, null]);
  assert.equal(store.count, 1);
});

test("reviews are listed in the order of review", () => {
  const store = storeOf(report);
  for (const cell of [2, 0, 1, 0]) store.put(cell, entryOf(report, cell, "CTC"));
  assert.deepEqual(
    store.valid().map(([cell]) => cell),
    [2, 1, 0],
  );
});

test("another person starts without reviews and without revealed calls", () => {
  const store = storeOf(report);
  store.put(0, entryOf(report, 0, "CTC"));
  store.reveal(0);
  store.begin("Bo");
  assert.deepEqual([store.reviewer, store.count, store.isRevealed(0)], ["Bo", 0, false]);
  assert.equal(store.undo(), null);
  assert.equal(store.unsaved, false);
});

test("of loaded and present reviews the later one counts", () => {
  const store = storeOf(report);
  const later = { time: "2026-11-24T02:00:00.000Z" };
  store.put(0, entryOf(report, 0, "CTC", later));
  store.put(1, entryOf(report, 1, "CTC"));
  const loaded = new Map([
    [0, entryOf(report, 0, "unsure")],
    [1, entryOf(report, 1, "unsure", later)],
    [2, entryOf(report, 2, "leukocyte")],
  ]);
  store.merge("Ada", loaded);
  assert.deepEqual(
    [0, 1, 2].map((cell) => store.entry(cell).call),
    ["CTC", "unsure", "leukocyte"],
  );
  assert.equal(store.undo(), null);
});

test("listeners are called after each change", () => {
  const store = storeOf(report);
  let calls = 0;
  store.listeners.push(() => (calls += 1));
  store.put(0, entryOf(report, 0, "CTC"));
  store.reveal(1);
  store.reveal(1); // no change
  store.undo();
  assert.equal(calls, 3);
});

test("without storage the store works and reports that it does not persist", () => {
  const store = new ReviewStore(report, () => {
    throw new DOMException("denied", "SecurityError");
  });
  store.read();
  assert.equal(store.persistent, false);
  store.put(0, entryOf(report, 0, "CTC"));
  assert.equal(store.count, 1);
});

test("storage that becomes full is reported", () => {
  const storage = new FakeStorage();
  const store = storeOf(report, storage);
  store.read();
  storage.setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  store.put(0, entryOf(report, 0, "CTC"));
  assert.equal(store.persistent, false);
});

for (const kept of ["{", "7", '{"entries": 7}']) {
  test(`damaged storage is ignored: ${kept}`, () => {
    const storage = new FakeStorage();
    storage.setItem("ctcedge/review/run", kept);
    const store = storeOf(report, storage);
    store.read();
    assert.equal(store.count, 0);
    assert.equal(store.persistent, true);
  });
}
