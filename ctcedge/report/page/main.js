// Views, keys and decisions.

const NARROW = window.matchMedia("(max-width: 52rem)");
const VIEWS = ["summary", "gallery", "review"];
let view = "summary";

function go(name) {
  view = VIEWS.includes(name) ? name : "summary";
  for (const each of VIEWS) document.getElementById(each).hidden = each !== view;
  for (const button of document.querySelectorAll("[data-view]")) {
    if (button.dataset.view === view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  if (location.hash !== `#${view}`) history.replaceState(null, "", `#${view}`);
  if (view === "gallery") {
    gallery.layOut();
    gallery.scroller.focus({ preventScroll: true });
  }
  redraw();
}

function redraw() {
  if (view === "gallery") gallery.showDetail();
  if (view === "review") reviewing.show();
}

const current = () => (view === "gallery" ? gallery.selected : view === "review" ? reviewing.cell : null);

/** Ask once who reviews; resolves to whether there is a name now. */
function reviewer() {
  if (store.reviewer) return Promise.resolve(true);
  const dialog = document.getElementById("who");
  const field = dialog.querySelector("input");
  dialog.returnValue = "";
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "keep" && field.value.trim()) {
        store.reviewer = field.value.trim();
        store.keep();
      }
      resolve(Boolean(store.reviewer));
    }, { once: true });
  });
}

async function decide(call) {
  const cell = current();
  if (cell === null) return;
  if (!canReview(cell)) return tell("This cell cannot be reviewed: its image is not the one that was called.");
  if (!(await reviewer())) return;
  const before = store.entry(cell);
  store.put(cell, {
    call,
    from: callOf(cell),
    model: modelHash(cell),
    note: before ? before.note : "",
    time: timeNow(),
    channels: channelsShown(cell),
    blinded: view === "review" && !store.hasSeen(cell),
  });
  tell(`Cell ${cells.cell[cell]}: ${call}`);
  if (view === "review" && !before) reviewing.nextOpen();
  else if (view === "gallery") gallery.move(1);
  else redraw();
}

function undo() {
  const cell = store.undo();
  if (cell === null) return tell("Nothing to undo.");
  tell(`Undone: cell ${cells.cell[cell]}`);
  if (view === "review") reviewing.goTo(cell);
  else if (view === "gallery") gallery.select(cell);
}

function takeBack() {
  const cell = current();
  if (cell === null || !store.entry(cell)) return;
  store.put(cell, null);
  tell(`Cell ${cells.cell[cell]}: review taken back`);
  redraw();
}

const ANYWHERE = {
  c: () => decide("CTC"),
  l: () => decide("leukocyte"),
  r: () => decide("unsure"),
  u: undo,
  delete: takeBack,
  n: () => document.querySelector(`#${view === "gallery" ? "detail" : "review"} textarea:enabled`)?.focus(),
  b: () => flip("others"),
  o: () => flip("overlay"),
  s: save,
  "?": () => document.getElementById("help").showModal(),
};
const ARROWS = {
  gallery: {
    arrowleft: () => gallery.move(-1),
    arrowright: () => gallery.move(1),
    arrowup: () => gallery.move(-gallery.across),
    arrowdown: () => gallery.move(gallery.across),
    home: () => gallery.move(-count),
    end: () => gallery.move(count),
  },
  review: {
    arrowleft: () => reviewing.move(-1),
    arrowright: () => reviewing.move(1),
    arrowup: () => reviewing.move(-1),
    arrowdown: () => reviewing.move(1),
  },
  summary: {},
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const key = event.key.toLowerCase();
  if (event.target.matches("textarea, select, input:not([type=checkbox])")) {
    if (key === "escape") event.target.blur();
    return;
  }
  const action = ARROWS[view][key] || ANYWHERE[key];
  if (!action) return;
  event.preventDefault();
  action();
});

function refresh() {
  const done = store.count();
  const progress = document.getElementById("progress");
  progress.textContent = done ? `${number(done)} reviewed${store.unsaved ? ", not saved to a file yet" : ""}` : "";
  document.getElementById("save").disabled = !done;
  document.getElementById("storage").hidden = store.lasting;
  gallery.relabel();
}

// Old documents of two tabs must not overwrite each other.
window.addEventListener("storage", (event) => {
  if (event.key !== STORE) return;
  store.read();
  refresh();
  redraw();
});
window.addEventListener("beforeunload", (event) => {
  if (!store.lasting && store.unsaved && store.count()) event.preventDefault();
});
window.addEventListener("hashchange", () => go(location.hash.slice(1)));
document.getElementById("save").addEventListener("click", save);
document.getElementById("keys").addEventListener("click", () => document.getElementById("help").showModal());
document.getElementById("who-cancel").addEventListener("click", () => document.getElementById("who").close());
for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => go(button.dataset.view));
}

store.read();
store.listeners.push(refresh);
summaryView();
gallery.start();
reviewing.start();
document.getElementById("loading").remove();
refresh();
go(location.hash.slice(1));
