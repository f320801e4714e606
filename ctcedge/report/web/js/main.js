// Entry point of the report page.

import { App } from "./app.js";
import { byId } from "./dom.js";

try {
  new App(JSON.parse(byId("data").textContent)).start();
} catch (error) {
  const loading = byId("loading");
  const reason = `The report cannot be shown (${error}). Is the file complete?`;
  if (loading) loading.textContent = reason;
  throw error;
}
