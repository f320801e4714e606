// Entry point of the report page.

import { App } from "./app.js";
import { byId } from "./dom.js";

new App(JSON.parse(byId("data").textContent)).start();
